"""Run the serving kernel on an input: the driver between Python and `advance`."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from mltwin.sim.errors import KernelError
from mltwin.sim.eventlog import EventLog
from mltwin.sim.ticks import NEVER, TICKS_PER_S

from .commitment import ERROR_PLACE
from .control import ERROR_SCALE
from .defaults import default_functions
from .invariants import check_state, states
from .kernel import DRAIN_LOGS, FAILED, IDLE_TURNS, RUNNING, STEPPED, advance
from .layout import BATCH
from .lifecycle import ERROR_ROUTE
from .network import ERROR_FLOWS
from .outcome import REPLICA_COLUMNS, REQUEST_COLUMNS, Outcome
from .passes import read_out
from .planning import ERROR_COUNT, ERROR_TIME
from .queues import ERROR_KEY, ERROR_SCORE
from .state import make_state
from .store_state import fetch_columns, store_totals
from .tables import FETCHING, NEW, PARKED, STATE_NAMES, ServingInput

_END = NEVER - 1
_LOG_ROWS = 1 << 16
Progress = Callable[[float, int], None]


def simulate(
    inp: ServingInput,
    policies: Mapping[str, Any] | None = None,
    *,
    log: bool = False,
    batches: bool = False,
    until: int | None = None,
    check: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Simulate an input with the compiled kernel.

    Args:
        inp: requests, replicas, network, control; see `ServingInput`.
        policies: compiled first-class function (`mltwin.sim.jit.kernel`) per hook; the others get
            the defaults of `defaults`.
        log: keep the event log.
        batches: keep one row per planned batch (`state.BATCH`).
        until: ticks after which to stop; None runs until every request has ended.
        check: check all conservation laws after each event (slow; for tests).
        progress: called with (share of requests that have ended, simulated ticks) now and then.

    Raises:
        KernelError: a policy answered nonsense, a conservation law is broken, or requests wait
            for each other for ever.
    """
    functions = {**default_functions(), **(policies or {})}
    rows = EventLog(_LOG_ROWS if log else 0)
    batch_rows: list[np.ndarray] = []
    S = make_state(
        inp, functions, log=len(rows.log), batches=_LOG_ROWS if batches else 0, check=check
    )
    S.replace(**rows.tables())
    _drive(S, _END if until is None else until, progress, rows, batch_rows)
    counts = states(S)
    _raise_errors(S, until, counts)
    check_state(S, counts)
    outcome = _outcome(S)
    if log:
        outcome.log = rows.rows()
    if batches:
        outcome.batches = np.concatenate([*batch_rows, S.batches[: S.glob[0].log_batches]])
    return outcome


def _drive(
    S: Any, end: int, progress: Progress | None, rows: EventLog, batch_rows: list[np.ndarray]
) -> None:
    """Call `advance` until it is done, in epochs if somebody watches."""
    epoch = _first_epoch(S, end) if progress else end
    target = min(end, epoch)
    while True:
        status = _advance(S, target)
        if status == STEPPED:
            check_state(S)
        elif status == DRAIN_LOGS:
            rows.drain()
            batch_rows.append(S.batches[: S.glob[0].log_batches].copy())
            S.glob[0].log_batches = 0
        elif status == RUNNING and target < end:
            if progress:
                progress(float(S.glob[0].ended) / max(1, len(S.req)), int(S.glob[0].now))
            target = min(end, target + epoch)
        else:
            break
    if progress and status != FAILED:
        progress(1.0, int(S.glob[0].now))


def _advance(S: Any, until: int) -> int:
    try:
        return int(advance(S, until))
    except (ArithmeticError, LookupError, ValueError) as error:
        c = S.ctx[0]
        raise KernelError(
            f"a policy failed at tick {int(c.now)} (request {int(c.request)}, replica "
            f"{int(c.replica)}): {type(error).__name__}: {error}"
        ) from error


def _first_epoch(S: Any, end: int) -> int:
    """Ticks between calls of `progress`: a hundredth of the arrivals' span, at least 1 s."""
    span = int(S.info["arrival"].max(initial=0))
    return max(TICKS_PER_S, span // 100)


def _raise_errors(S: Any, until: int | None, counts: np.ndarray) -> None:
    g = S.glob[0]
    request, answer = int(g.error_request), int(g.error_answer)
    if g.error == ERROR_KEY:
        raise KernelError(f"priority: the key of request {request} at replica {answer} is NaN")
    if g.error == ERROR_SCORE:
        raise KernelError(f"preempt or evict: the score for request {request} is NaN")
    if g.error == ERROR_TIME:
        raise KernelError(
            f"an iteration on replica {request} takes {answer} ticks at "
            f"{int(g.now) / TICKS_PER_S:.0f} s: less than one tick, over 3 days, or past day 96"
        )
    if g.error == ERROR_COUNT:
        raise KernelError(
            f"replica {request} has decoded {answer} iterations without a pause: too many"
        )
    if g.error == ERROR_ROUTE:
        raise KernelError(
            f"route: request {request} was sent to replica {answer}, which {_why(S, answer)}"
        )
    if g.error == ERROR_PLACE:
        raise KernelError(
            f"place_decode: request {request} was sent to replica {answer}, which {_why(S, answer)}"
        )
    if g.error == ERROR_SCALE:
        raise KernelError(f"scale: the answer {answer} is no action that applies")
    if g.error == ERROR_FLOWS:
        raise KernelError(f"more transfers at once than the table holds (request {request})")
    if until is None and (np.any(counts[NEW + 1 : PARKED]) or counts[FETCHING]):
        where = ", ".join(f"{counts[k]} {name}" for k, name in enumerate(STATE_NAMES) if counts[k])
        raise KernelError(
            f"nothing can happen any more at {int(g.now) / TICKS_PER_S:.3f} s, but requests are "
            f"left ({where}): they hold the blocks that each other needs"
        )


def _why(S: Any, r: int) -> str:
    if not 0 <= r < len(S.rep):
        return f"does not exist (there are {len(S.rep)})"
    names = ("is stopped", "is starting", "lacks the role for it", "is draining", "has failed")
    return names[int(S.replicas[r].state)]


def _outcome(S: Any) -> Outcome:
    """Columns of the result, read out of the kernel's tables."""
    g, rep = S.glob[0], S.rep
    now = int(g.idle_since if g.idle_turns > IDLE_TURNS else g.now)
    up = np.asarray(rep["up_ticks"]) + np.where(
        np.asarray(rep["up_since"]) >= 0, now - np.asarray(rep["up_since"]), 0
    )
    replicas = {n: np.asarray(rep[n]) for n in REPLICA_COLUMNS if n != "up_ticks"}
    return Outcome(
        requests=_requests(S) | fetch_columns(S),
        replicas={**replicas, "up_ticks": up},
        totals={
            "hit_tokens": int(g.hit_tokens),
            "evictions": int(g.evictions),
            "flows": int(g.flows),
            "refused": int(g.refused),
            "cancelled": int(g.cancelled),
            "done": int(g.done),
            "end": now,
        },
        gaps=np.asarray(S.gaps),
        stores=store_totals(S),
        fabric=np.asarray(S.link_moved)[2 * int(S.par[0].n_nics) :].copy(),
        counters={n: int(g[n]) for n in ("events", "plans", "solves", "flows")},
    )


def _requests(S: Any) -> dict[str, np.ndarray]:
    ticks = ("arrival", "scheduled", "first", "finish", "transfer")
    counts = ("generated", "cached", "prefill_replica", "replica", "preempted", "attempts")
    columns: dict[str, np.ndarray] = {
        **{name: np.empty(len(S.req), np.int64) for name in ticks},
        **{name: np.empty(len(S.req), np.int32) for name in counts},
        "state": np.empty(len(S.req), np.int8),
    }
    read_out(S.info, S.req, *columns.values())
    return {name: columns[name] for name in REQUEST_COLUMNS}


__all__ = ["BATCH", "simulate"]
