"""Plans: what divides, what a plan says of itself."""

from dataclasses import replace

import pytest

from mltwin.models.llm.config import load_model
from mltwin.models.training.plan import TrainingBatch, TrainingPlan
from mltwin.sim.errors import InputError

LLAMA = load_model("llama-3.1-8b")
BATCH = TrainingBatch(2, 8192)


def test_sizes_of_a_plan() -> None:
    plan = TrainingPlan(dp=4, cp=2, tp=8, pp=4, microbatches=6, zero=1)
    assert plan.world == 256
    assert plan.data_ranks == plan.sharding == 8
    assert plan.sequences(BATCH) == 48
    assert plan.step_tokens(BATCH) == 48 * 8192
    assert plan.describe() == "dp4 tp8 pp4 cp2 zero1 1f1b m6"


def test_layers_are_dealt_to_the_stages() -> None:
    plan = TrainingPlan(pp=4, schedule="interleaved", interleave=3, microbatches=4)
    layers = plan.chunk_layers(LLAMA)
    assert len(layers) == 12 and sum(layers) == LLAMA.layers
    assert layers == (3,) * 8 + (2,) * 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"dp": 0}, "1 or more"),
        ({"schedule": "2f2b"}, "use one of ('gpipe'"),
        ({"recompute": "some"}, "use one of ('none'"),
        ({"precision": "fp4"}, "use one of ('bf16'"),
        ({"zero": 4}, "use one of (0, 1, 2, 3)"),
        ({"dp": 4, "shard": 3}, "use one of [1, 2, 4]"),
        ({"dp": 4, "ep": 3}, "use one of [1, 2, 4]"),
        ({"pp": 2, "interleave": 2}, "'interleaved'"),
        ({"schedule": "interleaved", "interleave": 2}, "pp of 2 or more"),
    ],
)
def test_a_plan_that_cannot_be_is_one_clear_line(changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError) as caught:
        TrainingPlan(**changes)  # type: ignore[arg-type]
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("plan", "gpus", "says"),
    [
        (TrainingPlan(dp=4, tp=2), 16, "= 8 ranks for 16 GPUs"),
        (TrainingPlan(tp=3), 3, "tp=3 does not divide 32 heads"),
        (TrainingPlan(pp=64), 64, "pp=64 exceeds 32 layers"),
        (
            TrainingPlan(pp=16, schedule="interleaved", interleave=4, microbatches=16),
            16,
            "for 32 layers",
        ),
        (
            TrainingPlan(pp=4, schedule="interleaved", interleave=2, microbatches=6),
            4,
            "use a multiple of 4",
        ),
        (TrainingPlan(dp=2, cp=3), 6, "sequences of 8192 tokens over cp 3"),
        (TrainingPlan(dp=2, ep=2), 2, "ep=2 for 0 experts"),
    ],
)
def test_a_model_that_the_plan_does_not_divide(plan: TrainingPlan, gpus: int, says: str) -> None:
    with pytest.raises(InputError) as caught:
        plan.check(LLAMA, BATCH, gpus)
    assert says in str(caught.value)


def test_a_batch_needs_tokens() -> None:
    with pytest.raises(InputError):
        TrainingBatch(1, 0)


def test_experts_divide() -> None:
    mixtral = load_model("mixtral-8x7b")
    plan = TrainingPlan(dp=8, ep=8)
    plan.check(mixtral, BATCH)
    with pytest.raises(InputError, match="ep=16 for 8 experts"):
        replace(plan, dp=16, ep=16).check(mixtral, BATCH)
