"""The timeline of a semantic cache: calls on the LLM's servers, entries and waiting calls."""

from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.semantic.tables import JOINED, KEPT, REFUSED

from .timelines.opening import open_timeline
from .timelines.timeline import Timeline, Window

if TYPE_CHECKING:
    from .semantic_result import SemanticResult

PS_PER_NS = 1000
"""Timelines count picoseconds."""


def semantic_timeline(result: "SemanticResult", window_s: Window | None) -> Timeline:
    """See `SemanticResult.timeline`.

    Raises InputError: no such window, or a run longer than a timeline can be.
    """
    columns = result.tables["queries"]
    end_ns = int(columns["done"].max())
    made, window = open_timeline(result, end_ns, window_s, ticks_per_s=10**9)
    _calls(made, columns, result.facts["categories"], window)
    _levels(made, columns, window)
    return made


def _calls(made: Timeline, columns: Any, names: list[str], window: Window) -> None:
    """One row a server that is at work at the same time; which of them does what is free."""
    kinds = np.array([made.kind(name) for name in names])
    start, end = columns["called"] * PS_PER_NS, columns["done"] * PS_PER_NS
    own = columns["outcome"] != JOINED
    shown = np.flatnonzero(
        own & (columns["called"] >= 0) & (end >= window[0]) & (start <= window[1])
    )
    shown = shown[np.argsort(start[shown], kind="stable")]
    if len(shown):
        lanes = made.rows_of("LLM", "server", start[shown], end[shown])
        made.slices(lanes, start[shown], end[shown], kind=kinds[columns["category"][shown]])


def _levels(made: Timeline, columns: Any, window: Window) -> None:
    """Entries in the cache, and calls that wait for a server."""
    own = columns["called"] >= 0
    entry = (columns["left"] >= KEPT) & (columns["left"] != REFUSED)
    left = entry & (columns["left_at"] >= 0)
    levels = {
        ("cache", "entries"): (columns["done"][entry], columns["left_at"][left]),
        ("LLM", "waiting"): (columns["ready"][own], columns["called"][own]),
    }
    for (process, name), (up, down) in levels.items():
        time = np.concatenate([up, down]) * PS_PER_NS
        step = np.concatenate([np.ones(len(up)), -np.ones(len(down))])
        order = np.lexsort((step, time))
        time, value = time[order], np.cumsum(step[order])
        last = np.flatnonzero(np.r_[np.diff(time) > 0, True]) if len(time) else np.zeros(0, int)
        time, value = time[last], value[last]
        inside = (time >= window[0]) & (time <= window[1])
        before = np.flatnonzero(time < window[0])[-1:]
        keep = np.concatenate([before, np.flatnonzero(inside)])
        times = np.maximum(time[keep], window[0])
        made.counter(process, name, times, value[keep], shown=True)
