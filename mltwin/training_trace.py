"""A run of a task graph as a timeline: one process a device, one lane a stream.

from mltwin.training_trace import save_trace

save_trace(run, "step.json.gz")  # for ui.perfetto.dev
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mltwin.models.training.tables import CATEGORIES, HOST_STREAM, KINDS, NOTHING
from mltwin.timelines.timeline import MAX_EVENTS, Arrows, Timeline

if TYPE_CHECKING:
    from mltwin.models.training.executor import GraphRun

_NO_DEVICE = "no device"
_STREAMS = ("compute", "communication")


def graph_timeline(run: "GraphRun", *, title: str = "task graph", arrows: bool = True) -> Timeline:
    """The timeline of a run: what each stream did, named and coloured by category.

    Tasks that no stream runs stand in a process of their own, but for joins and delays, which are
    not drawn. The tasks of the critical path have a lane at the top.

    Args:
        run: of `execute`.
        title: of the picture.
        arrows: draw dependencies between streams.
    """
    graph = run.graph
    timeline = Timeline(title, about={"graph": graph.describe(), "run": run.describe()})
    for category in CATEGORIES:
        timeline.kind(category)
    path = run.critical_path()
    lane = timeline.lane("critical path", "critical path")
    chain = path.tasks[path.ticks > 0]
    _draw(timeline, run, chain, np.full(len(chain), lane, np.int64))
    lanes = np.full(len(graph), -1, np.int64)
    names = [
        timeline.lane(f"device {device}", stream_name(stream, graph.category[run.server == server]))
        for server, (device, stream) in enumerate(
            zip(run.device.tolist(), run.stream.tolist(), strict=True)
        )
    ]
    on = run.server >= 0
    lanes[on] = np.array(names, np.int64)[run.server[on]]
    loose = np.flatnonzero(~on & (graph.kind != NOTHING))
    if len(loose):
        loose = loose[np.lexsort((loose, run.start[loose]))]
        lanes[loose] = timeline.rows_of(_NO_DEVICE, "tasks", run.start[loose], run.end[loose])
    drawn = np.flatnonzero((lanes >= 0) & ((run.end > run.start) | (graph.kind != NOTHING)))
    _draw(timeline, run, drawn, lanes[drawn])
    if arrows:
        timeline.arrows.append(_dependencies(run, lanes))
    return timeline


def save_trace(
    run: "GraphRun", path: str | Path, *, title: str = "task graph", max_events: int = MAX_EVENTS
) -> list[str]:
    """Write a run to a .json or .json.gz file for Perfetto; what was left out, one line each.

    Raises:
        InputError: another ending, a place that cannot be written, or too few events allowed.
    """
    return graph_timeline(run, title=title).save(path, max_events=max_events)


def stream_name(stream: int, categories: npt.ArrayLike = ()) -> str:
    """What a stream is called.

    Args:
        stream: its number.
        categories: those of its tasks, by number: a further stream of one category bears its name.
    """
    if stream >= HOST_STREAM:
        return f"host thread {stream - HOST_STREAM}"
    if stream < len(_STREAMS):
        return _STREAMS[stream]
    found = np.unique(np.asarray(categories, np.int64))
    only = CATEGORIES[found[0]] if len(found) == 1 and found[0] else ""
    return f"{only} (stream {stream})" if only else f"stream {stream}"


def _draw(
    timeline: Timeline,
    run: "GraphRun",
    tasks: np.ndarray,
    lanes: np.ndarray,
) -> None:
    """Slices of tasks, those of one name together."""
    graph = run.graph
    by_name = tasks[np.argsort(graph.name[tasks], kind="stable")]
    lane_of = dict(zip(tasks.tolist(), lanes.tolist(), strict=True))
    for same in np.split(by_name, np.flatnonzero(np.diff(graph.name[by_name])) + 1):
        if not len(same):
            continue
        text = graph.names[graph.name[same[0]]]
        moved = graph.bytes[same].astype(np.int64)
        timeline.slices(
            np.array([lane_of[task] for task in same.tolist()], np.int64),
            run.start[same],
            run.end[same],
            kind=graph.category[same].astype(np.int64),
            text=text or KINDS[graph.kind[same[0]]],
            sums={"bytes": moved} if moved.any() else None,
        )


def _dependencies(run: "GraphRun", lanes: np.ndarray) -> Arrows:
    """From the end of what a task waited for to its start, where these stand on two lanes."""
    graph = run.graph
    task = np.repeat(np.arange(len(graph)), np.diff(graph.after_first))
    before = graph.after.astype(np.int64)
    shown = (lanes[task] >= 0) & (lanes[before] >= 0) & (lanes[task] != lanes[before])
    task, before = task[shown], before[shown]
    return Arrows("waits for", lanes[before], run.end[before], lanes[task], run.start[task])
