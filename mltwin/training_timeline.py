"""The timeline of a run of the system `training`: the step is executed again and drawn."""

from typing import TYPE_CHECKING

from .timelines.timeline import Timeline, Window, window_ticks
from .training_run import executed
from .training_trace import graph_timeline

if TYPE_CHECKING:
    from .training_result import TrainingResult


def training_timeline(result: "TrainingResult", window_s: Window | None = None) -> Timeline:
    """Streams of all devices, the critical path first.

    Raises InputError for a window that is none.
    """
    run = executed(result.scenario, result.seed)  # type: ignore[arg-type]
    made = graph_timeline(run, title=result.label)
    made.run_s = run.makespan_s
    if window_s is not None:
        low, high = window_ticks(window_s)
        made.window = (low, max(low, min(high, run.makespan)))
    return made
