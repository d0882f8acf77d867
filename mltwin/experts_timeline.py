"""The timeline of an expert cache: what the GPU does, what each stream loads, and why."""

from typing import TYPE_CHECKING

import numpy as np

from mltwin.models.experts import TICKS_PER_S, run_plan
from mltwin.models.experts.tables import COMPUTE, END, GATE, LOAD, STALL, VISIT, Plan
from mltwin.sim import ticks
from mltwin.sim.errors import InputError

from .timelines.opening import open_timeline
from .timelines.timeline import Timeline, Window

if TYPE_CHECKING:
    from .experts_result import ExpertResult

_SCALE = ticks.TICKS_PER_S // TICKS_PER_S  # the timeline counts finer ticks


def expert_timeline(result: "ExpertResult", window_s: Window | None = None) -> Timeline:
    """GPU and streams of a run, or of these seconds of it; the scenario is run again with a log.

    Raises InputError for a window that is none, or a result without its scenario.
    """
    from .experts import ExpertScenario
    from .experts_run import lower

    if not isinstance(result.scenario, ExpertScenario):
        raise InputError("the run does not know its scenario", where=result.label)
    plan = lower(result.scenario, result.seed).plan
    log = np.array(run_plan(plan, log=True).log, np.int64)
    end = result.facts["totals"]["end"]
    made, (low, high) = open_timeline(result, end, window_s, ticks_per_s=TICKS_PER_S)
    _work(made, plan, log, (low, high))
    _loads(made, plan, log, (low, high))
    gate = log[log[:, 1] == GATE]
    activations = np.maximum(np.diff(plan.visit_start)[gate[:, 2]], 1)
    made.counter(
        "GPU", "hits of a layer", gate[:, 0] * _SCALE, gate[:, 3] / activations, shown=True
    )
    return made


def _work(made: Timeline, plan: Plan, log: np.ndarray, window: tuple[int, int]) -> None:
    """What the GPU did: from each begin to the next."""
    kinds = {
        VISIT: made.kind("dense", text="layer {layer}", colour="#56B4E9"),
        COMPUTE: made.kind("expert", text="layer {layer}: expert {expert}", colour="#0072B2"),
        STALL: made.kind("stalled", text="layer {layer}: waits for {lacking}", colour="#D55E00"),
    }
    lane = made.lane("GPU", "compute")
    rows = log[np.isin(log[:, 1], (*kinds, END))]
    start, end = rows[:-1, 0] * _SCALE, rows[1:, 0] * _SCALE
    rows = rows[:-1]
    for kind, code in kinds.items():
        mine = (rows[:, 1] == kind) & (end > window[0]) & (start < window[1]) & (end > start)
        entity, value = rows[mine, 2], rows[mine, 3]
        layer = entity // plan.experts if kind == COMPUTE else entity % plan.layers
        peaks = {"layer": layer}
        if kind == COMPUTE:
            peaks["expert"] = entity % plan.experts
        if kind == STALL:
            peaks["lacking"] = value
        made.slices(lane, start[mine], end[mine], kind=np.full(len(layer), code), peaks=peaks)


def _loads(made: Timeline, plan: Plan, log: np.ndarray, window: tuple[int, int]) -> None:
    """Loads on each stream, those on demand and those on a prediction."""
    rows = log[log[:, 1] == LOAD]
    stream, prefetch = rows[:, 3] // 2, rows[:, 3] % 2
    lanes = np.array([made.lane("link", f"stream {i}") for i in range(plan.streams)])
    codes = np.array(
        [
            made.kind("on demand", text="layer {layer}: expert {expert}", colour="#E69F00"),
            made.kind("prefetch", text="layer {layer}: expert {expert}", colour="#009E73"),
        ]
    )
    start = rows[:, 0] * _SCALE
    end = start + plan.load_ticks[rows[:, 2]] * _SCALE
    mine = (end > window[0]) & (start < window[1])
    made.slices(
        lanes[stream[mine]],
        start[mine],
        end[mine],
        kind=codes[prefetch[mine]],
        peaks={"layer": rows[mine, 2] // plan.experts, "expert": rows[mine, 2] % plan.experts},
    )
