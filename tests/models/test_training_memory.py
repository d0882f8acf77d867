"""Memory of a training step against the papers' formulas."""

from dataclasses import replace

import pytest

from mltwin.models.gpu.profile import load_profile
from mltwin.models.llm.config import load_model
from mltwin.models.llm.model import Model
from mltwin.models.training.memory import (
    activation_bytes,
    check_memory,
    in_flight,
    memory_bytes,
    stage_memory,
)
from mltwin.models.training.plan import TrainingBatch, TrainingPlan
from mltwin.sim.errors import InputError

HIDDEN, HEADS = 12288, 96
GPT3 = Model(
    name="gpt3",
    hidden_size=HIDDEN,
    layers=96,
    heads=HEADS,
    kv_heads=HEADS,
    head_dim=HIDDEN // HEADS,
    intermediate_size=4 * HIDDEN,
    vocab_size=51200,
    windows=(0,) * 96,
    max_context=2048,
    gated_mlp=False,
    tied_embeddings=True,
)
LLAMA = load_model("llama-3.1-8b")


@pytest.mark.parametrize("tp", [1, 2, 8])
def test_activations_are_those_of_korthikanti(tp: int) -> None:
    """Arithmetic of arXiv 2205.05198: equations 1, 2 and 4, table 2."""
    attention = 5 * HEADS * 2048
    whole = {"flash": False, "dropout": True, "tokens": 2048}
    plain = TrainingPlan(tp=tp, sequence_parallel=False)
    assert activation_bytes(GPT3, plain, **whole) == pytest.approx(
        HIDDEN * (10 + 24 / tp) + attention / tp
    )
    split = TrainingPlan(tp=tp)
    assert activation_bytes(GPT3, split, **whole) == pytest.approx(
        HIDDEN * 34 / tp + attention / tp
    )
    selective = replace(split, recompute="selective")
    assert activation_bytes(GPT3, selective, **whole) == pytest.approx(HIDDEN * 34 / tp)
    full = replace(plain, recompute="full")
    assert activation_bytes(GPT3, full) == 2 * HIDDEN


def test_states_take_sixteen_bytes_and_are_split_as_zero_says() -> None:
    """ZeRO, arXiv 1910.02054, figure 1: 16 bytes a parameter; 4 + 12/N, 2 + 14/N, 16/N."""
    batch = TrainingBatch(1, 2048)
    n = LLAMA.parameters

    def states(zero: int) -> float:
        plan = TrainingPlan(dp=64, zero=zero, gradient_bytes=2)
        parts = memory_bytes(LLAMA, plan, batch)
        return (parts.weights + parts.gradients + parts.optimizer) / n

    assert states(0) == pytest.approx(16)
    assert states(1) == pytest.approx(4 + 12 / 64)
    # Split gradients are kept in float32, and gathered weights counted as buffers.
    assert states(2) == pytest.approx(2 + 16 / 64)
    assert states(3) == pytest.approx(16 / 64)


def test_hybrid_sharding_splits_over_fewer() -> None:
    batch = TrainingBatch(1, 2048)
    plan = TrainingPlan(dp=64, zero=3)
    narrow = memory_bytes(LLAMA, replace(plan, shard=8), batch)
    assert narrow.optimizer == pytest.approx(8 * memory_bytes(LLAMA, plan, batch).optimizer)


def test_stages_share_the_model() -> None:
    batch = TrainingBatch(1, 2048)
    plan = TrainingPlan(pp=4, tp=2, microbatches=8)
    stages = [stage_memory(LLAMA, plan, batch, s) for s in range(4)]
    norms = (2 * LLAMA.layers + 1) * LLAMA.hidden_size
    assert sum(s.weights for s in stages) == pytest.approx(
        2 * ((LLAMA.parameters - norms) / 2 + norms)
    )
    assert [s.logits > 0 for s in stages] == [False, False, False, True]
    # 1F1B: stage s holds p - s micro-batches.
    assert stages[0].activations == pytest.approx(4 * stages[3].activations)


def test_micro_batches_in_flight() -> None:
    def most(schedule: str, v: int = 1, m: int = 16) -> list[int]:
        plan = TrainingPlan(pp=4, schedule=schedule, interleave=v, microbatches=m)
        return [in_flight(plan, s) for s in range(4)]

    assert most("gpipe") == [16] * 4
    assert most("1f1b") == most("zb-h1") == [4, 3, 2, 1]
    assert most("1f1b", m=2) == [2, 2, 2, 1]
    assert most("interleaved", 2) == [11, 9, 7, 5]


def test_a_plan_that_does_not_fit_names_parts_and_mend() -> None:
    profile = load_profile("h100-sxm-80gb")
    plan, batch = TrainingPlan(dp=8), TrainingBatch(2, 8192)
    with pytest.raises(InputError) as caught:
        check_memory(LLAMA, plan, batch, profile)
    text = str(caught.value)
    for word in ("llama-3.1-8b", "dp8", "activations", "optimizer", "GiB", "it fits with"):
        assert word in text
    assert "recompute='full' and zero=3" in text
    light = replace(plan, recompute="full", zero=3)
    assert check_memory(LLAMA, light, batch, profile).total < profile.facts.usable_bytes


def test_a_model_that_fits_nowhere_says_what_to_do() -> None:
    profile = load_profile("a100-sxm-80gb")
    with pytest.raises(InputError, match="use more GPUs"):
        check_memory(load_model("llama-3.1-405b"), TrainingPlan(), TrainingBatch(1, 512), profile)


def test_experts_are_spread_over_their_ranks() -> None:
    mixtral = load_model("mixtral-8x7b")
    batch = TrainingBatch(1, 4096)
    whole = memory_bytes(mixtral, TrainingPlan(dp=8), batch).weights
    spread = memory_bytes(mixtral, TrainingPlan(dp=8, ep=8), batch).weights
    assert whole - spread == pytest.approx(2 * mixtral.routed_parameters * 7 / 8)
