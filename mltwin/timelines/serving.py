"""The timeline of a serving run: batches on replicas, KV transfers on links, requests, counters."""

from typing import TYPE_CHECKING

import numpy as np

from mltwin.models.serving.hooks import DRAINING, FAILED, ROLES, STARTING, STOPPED, UP
from mltwin.models.serving.outcome import LOST, REPLICA_ROLE, REPLICA_STATE
from mltwin.models.serving.tables import STATE_NAMES
from mltwin.serving_frontend import received, sent
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import TICKS_PER_S

from .opening import open_timeline
from .phases import PHASES, RequestLog, Transfers, kv_transfers, request_phases
from .serving_counters import add_counters
from .thin import SLOWEST_SHARE, Ints, sample
from .timeline import Arrows, Instant, Timeline, Tracks, Window

if TYPE_CHECKING:
    from mltwin.serving_result import ServingResult

_STATES = {
    STOPPED: "stopped",
    STARTING: "starting",
    UP: "up",
    DRAINING: "draining",
    FAILED: "failed",
}
_ROLES = {code: name for name, code in ROLES.items()}
_KINDS = (
    ("prefill", "prefill {prefill_tokens}", "#e8833a"),
    ("decode", "decode x {iterations}", "#4c8bd6"),
    ("mixed", "mixed {prefill_tokens} + {sequences}", "#8f6bc9"),
)
_TRANSFER_COLOUR = "#3aa17e"
_DOWN_COLOURS = {STOPPED: "#b9bdc4", STARTING: "#e3c34a", FAILED: "#d64550"}
_MOST_ARROWS = 20_000


def serving_timeline(
    result: "ServingResult",
    *,
    window_s: Window | None = None,
    requests: int = 500,
    seed: int = 0,
) -> Timeline:
    """See `ServingResult.timeline`."""
    logged = with_logs(result)
    end = int(logged.facts["totals"]["end"])
    made, window = open_timeline(result, end, window_s)
    for name, text, colour in _KINDS:
        made.kind(name, text=text, colour=colour)
    lanes = _lanes(made, logged)
    _batches(made, logged, lanes, window)
    _states(made, logged, lanes, window, end)
    add_counters(made, logged, window)
    log = RequestLog.of(dict(logged.tables["log"]))
    moved = kv_transfers(log, end)
    _transfers(made, logged, lanes, moved, window)
    _requests(made, logged, log, window, end, requests, seed)
    _say_lost(made, logged)
    return made


def with_logs(result: "ServingResult") -> "ServingResult":
    """The run with its logs: itself, or the scenario run once more.

    Raises InputError where that is impossible or gives another result.
    """
    if "batches" in result.tables and "log" in result.tables:
        return result
    if result.scenario is None:
        raise InputError("the run kept no log and its scenario is unknown", where=result.label)
    again = result.scenario.run(result.seed, log=True, batches=True)
    if again.digest != result.digest:
        raise InputError(
            "running it again for its log gives another result",
            where=result.label,
            mend="the code or the data has changed since; run it anew",
        )
    return again  # type: ignore[return-value]


def _lanes(made: Timeline, result: "ServingResult") -> Ints:
    """A lane for each replica; processes are the pools."""
    pools = result.facts["pools"]
    titles = [f"{pool['name']} ({pool['role']}, {pool['gpu']})" for pool in pools]
    of = result.facts["pool_of"]
    return np.array([made.lane(titles[p], f"replica {r}") for r, p in enumerate(of)], np.int64)


def _batches(made: Timeline, result: "ServingResult", lanes: Ints, window: tuple[int, int]) -> None:
    """A slice for each run of identical iterations."""
    low, high = window
    batches = result.tables["batches"]
    inside = np.flatnonzero((batches["end"] > low) & (batches["start"] < high))
    rows = {name: column[inside].astype(np.int64) for name, column in batches.items()}
    prefill, decoding = rows["prefill_tokens"], rows["decoding"]
    kind = np.where(prefill == 0, 1, np.where(decoding == 0, 0, 2))
    made.slices(
        lanes[rows["replica"]],
        rows["start"],
        rows["end"],
        kind=kind,
        sums={
            "iterations": rows["iterations"],
            "prefill_tokens": prefill * rows["iterations"],
            "decode_tokens": decoding * rows["iterations"],
        },
        peaks={"sequences": decoding, "context": rows["context"]},
    )


def _states(
    made: Timeline, result: "ServingResult", lanes: Ints, window: tuple[int, int], end: int
) -> None:
    """Times in which a replica was not up, and the moments at which that changed."""
    log, (low, high) = result.tables["log"], window
    changes = np.flatnonzero(np.isin(log["kind"], (REPLICA_STATE, REPLICA_ROLE)))
    never_up = np.flatnonzero(result.tables["replicas"]["up_ticks"] == 0)
    state: dict[int, int] = dict.fromkeys(never_up.tolist(), STOPPED)
    since: dict[int, int] = {}
    for i in changes.tolist():
        time, replica, value = (int(log[name][i]) for name in ("time", "entity", "value"))
        if log["kind"][i] == REPLICA_ROLE:
            text = f"role: {_ROLES.get(value, value)}"
        else:
            text = _STATES.get(value, str(value))
            was = state.get(replica, STOPPED if value in (STARTING, UP) else UP)
            _down(made, lanes[replica], was, since.get(replica, 0), time, window)
            state[replica], since[replica] = value, time
        if low <= time <= high:
            made.instants.append(Instant(int(lanes[replica]), time, text))
    for replica, value in state.items():
        _down(made, lanes[replica], value, since.get(replica, 0), end, window)
    lost = log["kind"] == LOST
    pairs, counts = np.unique(
        np.stack([log["time"][lost], log["value"][lost]]), axis=1, return_counts=True
    )
    for (time, replica), count in zip(pairs.T.tolist(), counts.tolist(), strict=True):
        if low <= time <= high:
            made.instants.append(Instant(int(lanes[replica]), time, f"{count} requests lost"))


def _down(
    made: Timeline, lane: int, state: int, start: int, end: int, window: tuple[int, int]
) -> None:
    start, end = max(start, window[0]), min(end, window[1])
    if state in _DOWN_COLOURS and end > start:
        made.kind(_STATES[state], colour=_DOWN_COLOURS[state])
        made.slices(lane, start, end, kind=_STATES[state])


def _transfers(
    made: Timeline,
    result: "ServingResult",
    lanes: Ints,
    moved: Transfers,
    window: tuple[int, int],
) -> None:
    """A lane for the link into each replica, with arrows from the prefill and to the decode."""
    inside = (moved.end > window[0]) & (moved.start < window[1])
    made.kind("transfer", colour=_TRANSFER_COLOUR)
    links = np.zeros(len(inside), np.int64)
    for replica in np.unique(moved.destination[inside]).tolist():
        mine = inside & (moved.destination == replica)
        link = made.rows_of(
            "KV transfers", f"to replica {replica}", moved.start[mine], moved.end[mine]
        )
        links[mine] = link
        made.slices(link, moved.start[mine], moved.end[mine], kind="transfer", sums={"requests": 1})
    shown = np.flatnonzero(inside & (moved.ready > window[0]) & (moved.end < window[1]))
    if len(shown) > _MOST_ARROWS:
        shown = np.sort(sample(np.zeros(len(shown)), _MOST_ARROWS, 0))
    if not len(shown):
        return
    joins = _next_start(result, moved.destination[shown], moved.end[shown])
    made.arrows = [
        Arrows(
            "KV out",
            lanes[moved.source[shown]],
            moved.ready[shown],
            links[shown],
            moved.start[shown],
        ),
        Arrows("KV in", links[shown], moved.end[shown], lanes[moved.destination[shown]], joins),
    ]


def _next_start(result: "ServingResult", replica: Ints, time: Ints) -> Ints:
    """The start of the first batch of each replica at or after a time; the time if none comes."""
    batches = result.tables["batches"]
    found = time.copy()
    for one in np.unique(replica).tolist():
        starts = np.sort(batches["start"][batches["replica"] == one])
        mine = replica == one
        at = np.searchsorted(starts, time[mine])
        here = np.r_[starts, 0][at]
        found[mine] = np.where(at < len(starts), here, time[mine])
    return found


def _requests(
    made: Timeline,
    result: "ServingResult",
    log: RequestLog,
    window: tuple[int, int],
    end: int,
    most: int,
    seed: int,
) -> None:
    """A track for each chosen request: the slowest, and others drawn evenly."""
    columns = result.tables["requests"]
    start, stop = sent(columns), received(columns, "finish")
    stop = np.where(columns["finish"] >= 0, stop, end)
    ids = np.flatnonzero((stop >= window[0]) & (start <= window[1]) & (stop >= start))
    chosen = ids[sample((stop - start)[ids].astype(float), most, seed)]
    if 0 < len(chosen) < len(ids):
        slow = round(SLOWEST_SHARE * most)
        made.notes.append(
            f"{len(chosen):,} of {len(ids):,} requests: the {slow:,} slowest, the others drawn "
            f"evenly (seed {seed})"
        )
    if not len(chosen):
        return
    phases = request_phases(log.of_requests(chosen, len(start)), end)
    row = np.zeros(len(start), np.int64)
    row[chosen] = np.arange(len(chosen))
    outside = []
    if "frontend" in columns:
        outside.append(("front end", start[chosen], columns["arrival"][chosen]))
    if "returned" in columns:
        outside.append(("return", stop[chosen] - columns["returned"][chosen], stop[chosen]))
    owners = [row[phases.request]] + [np.arange(len(chosen))] * len(outside)
    names = [PHASES[kind] for kind in phases.kind.tolist()]
    tenants = result.facts["tenants"]
    many = len(tenants) > 1
    numbers = {
        name: columns[column][chosen]
        for name, column in (
            ("prompt_tokens", "prompt"),
            ("output_tokens", "output"),
            ("cached_tokens", "cached"),
            ("preemptions", "preempted"),
            ("prefill_replica", "prefill_replica"),
            ("replica", "replica"),
        )
    }
    numbers["state"] = np.array(STATE_NAMES)[columns["state"][chosen]]
    numbers |= {f"{name}_ms": ms[chosen] for name, ms in result.latencies.items()}
    made.tracks.append(
        Tracks(
            "requests",
            [f"request of {tenants[t]}" if many else "request" for t in columns["tenant"][chosen]],
            chosen,
            start[chosen],
            stop[chosen],
            numbers,
            np.concatenate(owners),
            np.concatenate([phases.start, *(low for _, low, _ in outside)]),
            np.concatenate([phases.end, *(high for _, _, high in outside)]),
            names + [name for name, low, _ in outside for _ in range(len(low))],
        )
    )


def _say_lost(made: Timeline, result: "ServingResult") -> None:
    """Iterations that a failure cut off are counted as busy but have no batch."""
    batches, replicas = result.tables["batches"], result.tables["replicas"]
    drawn = np.zeros(len(replicas["up_ticks"]), np.int64)
    np.add.at(drawn, batches["replica"], batches["end"] - batches["start"])
    missing = int((replicas["busy_prefill"] + replicas["busy_decode"] - drawn).sum())
    if missing:
        made.notes.append(
            f"{missing / TICKS_PER_S:.3g} s of iterations before a failure, in the plan that it "
            "cut off"
        )
