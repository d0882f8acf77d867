"""The timeline of a long training run: phases of the job, checkpoints, failures, nodes."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.training.reliability_tables import (
    E_CHECKPOINT,
    E_CRASHED,
    E_DONE,
    E_FAILED,
    E_REMOVED,
    E_REPLACED,
    E_RESHARDING,
    E_RESTARTING,
    E_RUNNING,
    E_SLOW,
    E_UP,
    E_WAITING,
    TICKS_PER_S,
)

from .timelines.opening import open_timeline
from .timelines.timeline import Timeline, Window

if TYPE_CHECKING:
    from .reliability_result import TrainingRunResult

PS_PER_NS = 1000
"""Timelines count picoseconds."""

_INSTANTS = {
    E_FAILED: "node {entity} fails",
    E_REMOVED: "node {entity} is taken",
    E_CRASHED: "a process on node {entity} dies",
    E_SLOW: "node {entity} turns slow",
    E_REPLACED: "node {entity} is replaced by node {value}",
}


def run_timeline(result: "TrainingRunResult", window_s: Window | None = None) -> Timeline:
    """See `TrainingRunResult.timeline`.

    Raises InputError: no such window, or a run longer than a timeline can be.
    """
    end_ns = int(result.facts["end"])
    made, window = open_timeline(result, end_ns, window_s, ticks_per_s=TICKS_PER_S)
    end = end_ns * PS_PER_NS
    if result.facts["thinned"] > 1:
        made.notes.append(f"One of {result.facts['thinned']} checkpoints is shown.")
    events = result.tables["events"]
    _phases(made, events, end, window)
    _instants(made, events, window)
    _counts(made, events, window)
    return made


def _phases(made: Timeline, events: Any, end: int, window: Window) -> None:
    """What the job does, from each change to the next; a checkpoint ends by itself."""
    kinds = {
        E_RUNNING: made.kind("train", text="train", colour="#009E73"),
        E_CHECKPOINT: made.kind("checkpoint", text="checkpoint", colour="#E69F00"),
        E_RESTARTING: made.kind("restart", text="restart", colour="#CC79A7"),
        E_RESHARDING: made.kind("remap", text="remap", colour="#9467BD"),
        E_WAITING: made.kind("wait", text="wait for nodes", colour="#444444"),
    }
    rows = np.flatnonzero(np.isin(events["kind"], (*kinds, E_DONE)))
    time, kind = events["time"][rows] * PS_PER_NS, events["kind"][rows]
    until = np.append(time[1:], end)
    start, stop, code = [], [], []
    for at, to, what, value in zip(time, until, kind, events["value"][rows], strict=True):
        if what == E_CHECKPOINT:
            back = min(at + value * PS_PER_NS, to)
            start += [at, back]
            stop += [back, to]
            code += [kinds[E_CHECKPOINT], kinds[E_RUNNING]]
        elif what != E_DONE:
            start.append(at)
            stop.append(to)
            code.append(kinds[int(what)])
    low, high = np.array(start, np.int64), np.array(stop, np.int64)
    keep = (high > low) & (high > window[0]) & (low < window[1])
    made.slices(
        made.lane("job", "phase"), low[keep], high[keep], kind=np.array(code, np.int64)[keep]
    )


def _instants(made: Timeline, events: Any, window: Window) -> None:
    """Failures of the job's nodes, and other things that take no time."""
    from .timelines.timeline import Instant

    lane = made.lane("job", "nodes")
    for row in np.flatnonzero(np.isin(events["kind"], list(_INSTANTS))):
        time = int(events["time"][row]) * PS_PER_NS
        if window[0] <= time <= window[1]:
            text = _INSTANTS[int(events["kind"][row])]
            values = {"entity": events["entity"][row], "value": events["value"][row]}
            made.instants.append(Instant(lane, time, text.format(**values)))


def _counts(made: Timeline, events: Any, window: Window) -> None:
    """Nodes that train, and nodes that are back."""
    for kind, column, name in ((E_RUNNING, "entity", "training"), (E_UP, "value", "up")):
        mine = events["kind"] == kind
        time = events["time"][mine] * PS_PER_NS
        before = np.flatnonzero(time < window[0])[-1:]
        inside = np.flatnonzero((time >= window[0]) & (time <= window[1]))
        keep = np.concatenate([before, inside])
        times = np.maximum(time[keep], int(window[0]))
        made.counter("nodes", name, times, events[column][mine][keep].astype(float), shown=True)
