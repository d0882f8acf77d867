"""Counters of a serving run: requests in flight, and what waits, runs and is held on replicas.

Those of replicas are samples at the ends of runs of identical iterations, so between two samples
they show the last one. Where a replica stands still they are 0; but in clusters that move KV only
`running` is, since blocks may be held, and requests wait, for transfers.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mltwin.serving_frontend import received, sent

from .thin import Ints
from .timeline import Timeline

if TYPE_CHECKING:
    from mltwin.serving_result import ServingResult

_EACH = 64  # replicas up to which each has counters of its own


def add_counters(made: Timeline, result: "ServingResult", window: tuple[int, int]) -> None:
    """Requests in flight; for each pool (and replica, if they are few) waiting, running, KV use."""
    _in_flight(made, result, window)
    replicas = len(result.facts["pool_of"])
    pools = result.facts["pools"]
    pool_of = np.asarray(result.facts["pool_of"], np.int64)
    batches = {name: column.astype(np.int64) for name, column in result.tables["batches"].items()}
    moves = any(pool["role"] != "mixed" for pool in pools)
    replica, time, values = _steps(batches, keep_blocks=moves)
    titles = [f"{pool['name']} ({pool['role']}, {pool['gpu']})" for pool in pools]
    for p, pool in enumerate(pools):
        mine = pool_of[replica] == p
        blocks = int(pool["kv_blocks"]) * int((pool_of == p).sum())
        for name, unit, column, scale in (
            ("waiting", "requests", "waiting", 1.0),
            ("running", "requests", "decoding", 1.0),
            ("KV use", "%", "blocks", 100.0 / max(blocks, 1)),
        ):
            when, total = _sum(replica[mine], time[mine], values[column][mine])
            title = f"{name}, {pool['name']}"
            _add(made, titles[p], title, unit, when, total * scale, window, shown=True)
    if replicas > _EACH:
        made.notes.append(f"counters of each of the {replicas} replicas: those of pools are there")
        return
    for r in range(replicas):
        mine = replica == r
        for name, unit, value in (
            ("KV blocks", "blocks", values["blocks"]),
            ("waiting", "requests", values["waiting"]),
        ):
            title = f"{name}, replica {r}"
            _add(made, titles[pool_of[r]], title, unit, time[mine], value[mine], window)


def _in_flight(made: Timeline, result: "ServingResult", window: tuple[int, int]) -> None:
    columns = result.tables["requests"]
    begins, ends = sent(columns), received(columns, "finish")[columns["finish"] >= 0]
    times = np.concatenate([begins, ends])
    steps = np.concatenate([np.ones(len(begins), np.int64), np.full(len(ends), -1, np.int64)])
    when, total = _running_sum(times, steps)
    _add(made, "cluster", "requests in flight", "requests", when, total, window, shown=True)


def _steps(batches: dict[str, Ints], *, keep_blocks: bool) -> tuple[Ints, Ints, dict[str, Ints]]:
    """Replica, time and values of samples: at the end of each batch, and 0 where it then stands
    still. Sorted by (replica, time)."""
    order = np.lexsort((batches["start"], batches["replica"]))
    replica, start, end = (batches[name][order] for name in ("replica", "start", "end"))
    idle = np.r_[(start[1:] > end[:-1]) | (np.diff(replica) != 0), True] if len(end) else []
    idle = np.flatnonzero(idle)
    zero = np.zeros(len(idle), np.int64)
    place = np.argsort(np.r_[np.arange(len(order)) * 2, idle * 2 + 1], kind="stable")
    values = {}
    for name in ("waiting", "decoding", "blocks"):
        column = batches[name][order]
        after = column[idle] if keep_blocks and name != "decoding" else zero
        values[name] = np.r_[column, after][place]
    return np.r_[replica, replica[idle]][place], np.r_[end, end[idle]][place], values


def _sum(replica: Ints, time: Ints, value: Ints) -> tuple[Ints, Ints]:
    """The sum over replicas of step functions, at every instant at which one changes."""
    begins = np.r_[True, np.diff(replica) != 0] if len(replica) else np.zeros(0, bool)
    before = np.r_[0, value[:-1]] if len(value) else value
    return _running_sum(time, value - np.where(begins, 0, before))


def _running_sum(time: Ints, change: Ints) -> tuple[Ints, Ints]:
    order = np.argsort(time, kind="stable")
    times, total = time[order], np.cumsum(change[order])
    last = np.r_[np.diff(times) != 0, True] if len(times) else np.zeros(0, bool)
    return times[last], total[last]


def _add(
    made: Timeline,
    process: str,
    name: str,
    unit: str,
    time: Ints,
    value: NDArray[Any],
    window: tuple[int, int],
    *,
    shown: bool = False,
) -> None:
    """Add a counter's samples of a window; the last before it stands at its start."""
    low, high = window
    first = max(0, int(np.searchsorted(time, low, side="right")) - 1)
    inside = slice(first, int(np.searchsorted(time, high, side="right")))
    made.counter(
        process, name, np.maximum(time[inside], low), value[inside], unit=unit, shown=shown
    )
