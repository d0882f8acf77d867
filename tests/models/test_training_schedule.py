"""Pipeline schedules: valid orders, and the published bubbles through executed graphs."""

import pytest

from mltwin.models.training.executor import execute
from mltwin.models.training.plan import TrainingPlan
from mltwin.models.training.step_closed import step_ticks
from mltwin.models.training.step_graph import build_graph
from mltwin.models.training.step_schedule import bubble_fraction, stage_actions
from mltwin.models.training.step_work import Piece, StepWork, Unit
from mltwin.sim.errors import InputError

CHUNKS = {"gpipe": (1,), "1f1b": (1,), "interleaved": (1, 2, 4), "zb-h1": (1,)}
CASES = [
    (schedule, p, m, v)
    for schedule, chunks in CHUNKS.items()
    for p, m in ((2, 8), (4, 8), (4, 16), (8, 8), (8, 24))
    for v in chunks
]


def ideal(plan: TrainingPlan, forward: int, backward: int, weights: int) -> StepWork:
    """Equal stages without transfers, gathers or updates; ticks are of one stage."""
    v = plan.interleave
    split = plan.schedule == "zb-h1"
    unit = Unit(
        name="block",
        forward=(Piece("forward", forward // v),),
        backward=(Piece("backward", (backward + (0 if split else weights)) // v),),
        weights=(Piece("backward", weights),) if split else (),
        gather=0,
        reduce=0,
        parameters=0.0,
    )
    none = (0,) * plan.pp
    return StepWork(plan, ((unit,),) * plan.chunks, 0, 0.0, none, none, 0, 1.0)


@pytest.mark.parametrize(("schedule", "p", "m", "v"), CASES)
def test_bubbles_are_the_published_ones(schedule: str, p: int, m: int, v: int) -> None:
    plan = TrainingPlan(pp=p, schedule=schedule, microbatches=m, interleave=v)
    for forward, backward, weights in ((1000, 1000, 1000), (1200, 1400, 1000)):
        work = ideal(plan, forward, backward, weights)
        run = execute(build_graph(work))
        busy = m * (forward + backward + weights)
        bubble = bubble_fraction(
            schedule, p, m, v, forward=forward, backward=backward, weights=weights
        )
        assert run.makespan == pytest.approx(busy * (1 + bubble), abs=1e-6)
        assert run.bubble == pytest.approx(bubble / (1 + bubble))
        assert step_ticks(work) == run.makespan


@pytest.mark.parametrize(("schedule", "p", "m", "v"), CASES)
def test_every_stage_does_everything_once_in_a_possible_order(
    schedule: str, p: int, m: int, v: int
) -> None:
    for stage in range(p):
        actions = stage_actions(schedule, p, m, v, stage)
        kinds = "FBW" if schedule == "zb-h1" else "FB"
        mine = range(stage, p * v, p)
        assert sorted(actions) == sorted(
            (what, chunk, i) for what in kinds for chunk in mine for i in range(m)
        )
        place = {action: i for i, action in enumerate(actions)}
        for what, chunk, i in actions:
            if what != "F":
                earlier = "F" if what == "B" else "B"
                assert place[earlier, chunk, i] < place[what, chunk, i]  # type: ignore[index]


def test_zero_bubble_holds_no_more_than_1f1b() -> None:
    for stage in range(4):
        held = most = 0
        for what, _, _ in stage_actions("zb-h1", 4, 12, 1, stage):
            held += (what == "F") - (what == "B")
            most = max(most, held)
        assert most == 4 - stage


def test_unknown_schedules_are_refused() -> None:
    with pytest.raises(InputError, match="no schedule 'x'"):
        stage_actions("x", 2, 2, 1, 0)
    with pytest.raises(InputError, match="no schedule 'x'"):
        bubble_fraction("x", 2, 2)
    with pytest.raises(InputError, match="6 micro-batches over 4"):
        stage_actions("interleaved", 4, 6, 2, 0)
