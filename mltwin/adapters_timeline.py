"""The timeline of mode serving: requests in their slots, loads on the link, what is waiting."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.adapters import TICKS_PER_S
from mltwin.models.adapters.tables import MISS
from mltwin.sim import ticks
from mltwin.sim.errors import InputError

from .timelines.opening import open_timeline
from .timelines.timeline import Timeline, Window

if TYPE_CHECKING:
    from .adapters_result import AdapterResult

_SCALE = ticks.TICKS_PER_S // TICKS_PER_S  # the timeline counts finer ticks


def adapter_timeline(result: "AdapterResult", window_s: Window | None = None) -> Timeline:
    """Slots, link and waiting requests of a run, or of these seconds of it.

    Raises InputError for a run of another mode, or a window that is none.
    """
    if result.mode != "serving":
        raise InputError(
            f"a run of mode {result.mode} has no time to show",
            where=result.label,
            mend="set mode = 'serving'",
        )
    requests = result.tables["requests"]
    load = result.tables["adapters"]["load"]
    moments: dict[str, Any] = {
        name: requests[name].astype(np.int64) * _SCALE
        for name in ("arrival", "ready", "start", "finish")
    }
    end = int(requests["finish"].max())
    made, (low, high) = open_timeline(result, end, window_s, ticks_per_s=TICKS_PER_S)
    made.kind("request", text="adapter {adapter}", colour="#4c8bd6")
    made.kind("load", text="load adapter {adapter}", colour="#e8833a")
    _loads(made, requests, moments, load, (low, high))
    _slots(made, requests, moments, (low, high))
    for name, since, until in (
        ("waiting for an adapter", "arrival", "ready"),
        ("waiting for a slot", "ready", "start"),
        ("running", "start", "finish"),
    ):
        both = np.concatenate([moments[since], moments[until]])
        times, place = np.unique(both, return_inverse=True)
        steps = np.repeat([1.0, -1.0], len(moments[since]))
        level = np.cumsum(np.bincount(place, steps))  # after all that happens at a tick
        made.counter("requests", name, times, level, unit="requests", shown=True)
    return made


def _loads(
    made: Timeline, requests: Any, moments: Any, load: np.ndarray, window: tuple[int, int]
) -> None:
    """A load ends when the request that missed becomes ready."""
    missed = requests["found"] == MISS
    adapter = requests["adapter"][missed].astype(np.int64)
    end = moments["ready"][missed]
    start = end - load[adapter] * _SCALE
    inside = (end > window[0]) & (start < window[1])
    made.slices(
        made.lane("store", "link"),
        start[inside],
        end[inside],
        kind="load",
        peaks={"adapter": adapter[inside]},
    )


def _slots(made: Timeline, requests: Any, moments: Any, window: tuple[int, int]) -> None:
    inside = np.flatnonzero((moments["finish"] > window[0]) & (moments["start"] < window[1]))
    order = inside[np.argsort(moments["start"][inside], kind="stable")]
    start, end = moments["start"][order], moments["finish"][order]
    made.slices(
        made.rows_of("slots", "slot", start, end),
        start,
        end,
        kind="request",
        peaks={"adapter": requests["adapter"][order].astype(np.int64), "request": order},
    )
