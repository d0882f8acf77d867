"""Parallel plans: what each part changes, and what it leaves alone."""

import numpy as np
import pytest

from mltwin.models.gpu import IterationModel, load_profile
from mltwin.models.gpu.operators import MixedCost
from mltwin.models.gpu.parallel import Plan
from mltwin.models.llm import load_model
from mltwin.sim.errors import InputError

H100 = "h100-sxm-80gb"
BATCH = ([(512, 0)], [1500] * 40)


@pytest.mark.parametrize(
    ("plan", "model", "message"),
    [
        ({"tp": 0}, "mixtral-8x7b", "1 or more"),
        ({"tp": 4, "ep": 3}, "mixtral-8x7b", r"ep=3 does not divide tp x dp = 4; use one of"),
        ({"tp": 2, "dp": 2}, "llama-3.1-8b", "without experts"),
        ({"tp": 1, "dp": 16, "ep": 16}, "mixtral-8x7b", "ep=16 does not divide 8 experts"),
    ],
)
def test_plans_that_cannot_be_are_refused(plan: dict, model: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        Plan(**plan).check(load_model(model))


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", "glm-5"])
def test_the_breakdown_sums_to_the_whole(name: str) -> None:
    model = IterationModel(name, H100, tp=8, pp=2, overlap_comm=0.3, launch_floor_s=0.05)
    parts = model.breakdown(*BATCH)
    assert sum(parts.values()) == pytest.approx(model.seconds(*BATCH), rel=1e-9)
    below = model.seconds([], [9])  # where the floor is longer than the work
    assert sum(model.breakdown([], [9]).values()) == pytest.approx(below)
    assert model.breakdown([], [9])["idle"] > 0
    assert ("experts" in parts) and (parts["experts"] > 0) == (load_model(name).moe is not None)


def test_gemms_are_those_of_the_model() -> None:
    model = IterationModel("llama-3.1-8b", H100, tp=2)
    cost = model.profile.operators.gemm["bfloat16"]
    by_hand = sum(
        g.count * float(cost.seconds(64, g.n, g.k))
        for g in model.model.gemms(2)
        if g.kind == "token"
    )
    assert model.breakdown([], [100] * 64)["gemm"] == pytest.approx(by_hand, rel=1e-12)


def test_experts_see_the_tokens_of_all_ranks() -> None:
    one = IterationModel("qwen3-30b-a3b", H100, tp=1)
    moe = one.model.moe
    assert moe is not None
    cost = one.profile.operators.moe["bfloat16"]
    spread = IterationModel("qwen3-30b-a3b", H100, tp=1, dp=4, ep=4)
    expected = moe.layers * float(
        cost.seconds(400, 2048, moe.intermediate_size, moe.experts, moe.experts_per_token, ep=4)
    )
    assert spread.breakdown([], [100] * 100)["experts"] == pytest.approx(expected)
    same = ("gemm", "attention", "head", "elementwise", "host")
    for part in same:
        assert spread.breakdown([], [9] * 8)[part] == one.breakdown([], [9] * 8)[part]


def test_a_rank_of_experts_reads_its_share_of_them() -> None:
    cost = load_profile(H100).operators.moe["bfloat16"]
    sizes = (4096, 2048, 768, 128, 8)
    whole, quarter = (float(cost.seconds(*sizes, ep=ep)) for ep in (1, 4))
    assert whole / 4 < quarter < whole / 2


def test_attention_data_parallelism_exchanges_tokens() -> None:
    alone = IterationModel("qwen3-30b-a3b", H100)
    assert alone.breakdown(*BATCH)["communication"] == 0
    for ranks, measured in ((8, True), (16, False)):
        spread = IterationModel("qwen3-30b-a3b", H100, dp=ranks, ep=ranks)
        times = [spread.breakdown([(n, 0)], [])["communication"] for n in (64, 8192)]
        assert 0 < times[0] < times[1]
        assert any("expert exchange" in note for note in spread.notes) != measured


def test_ungraphed_prefill_waits_for_its_launches() -> None:
    full = IterationModel("llama-3.1-8b", H100)
    eager = IterationModel("llama-3.1-8b", H100, graphs="decode", launch_s_per_layer=4e-4)
    assert eager.seconds([], [100] * 8) == full.seconds([], [100] * 8)
    small = eager.seconds([(16, 0)], [])
    assert small == pytest.approx(32 * 4e-4 + eager.host_s + eager.sequence_s)
    assert eager.seconds([(8192, 0)], []) == full.seconds([(8192, 0)], [])
    never = IterationModel("llama-3.1-8b", H100, graphs="none", launch_s_per_layer=4e-4)
    assert never.seconds([], [100]) > 32 * 4e-4


def test_hidden_communication_is_never_more_than_the_work() -> None:
    plain, hidden = (
        IterationModel("llama-3.1-70b", H100, tp=8, overlap_comm=share) for share in (0.0, 1.0)
    )
    for batch in (([], [50]), ([(4096, 0)], [])):
        parts = plain.breakdown(*batch)
        gained = plain.seconds(*batch) - hidden.seconds(*batch)
        work = parts["gemm"] + parts["experts"] + parts["attention"]
        assert gained == pytest.approx(min(parts["communication"], work))


def test_linear_layers_do_not_slow_down_with_context() -> None:
    model = IterationModel("qwen3.5-397b-a17b", H100, tp=2, dp=4, ep=8)
    assert model.window_layers == {0: 15}
    short, long = (model.breakdown([], [c] * 16) for c in (1000, 50_000))
    assert short["linear_attention"] == long["linear_attention"] > 0
    assert long["attention"] > 5 * short["attention"]


def test_sparse_attention_reads_its_best_keys_and_indexes_all() -> None:
    model = IterationModel("glm-5", H100, tp=8)
    assert model.window_layers == {2048: 78}
    at, beyond, far = (model.breakdown([], [c] * 16)["attention"] for c in (2048, 8192, 65536))
    assert at < beyond < far
    dense = IterationModel("deepseek-v3", H100, tp=8)
    growth = dense.breakdown([], [65536] * 16)["attention"] / 61
    assert far / 78 < growth


@pytest.mark.parametrize("power", [1.0, 1.7, 8.0])
def test_one_call_of_both_lies_between_the_longer_and_the_sum(power: float) -> None:
    cost = MixedCost(power)
    p, d = np.array([0.0, 1e-4, 3e-4, 5e-4]), np.array([2e-4, 1e-4, 1e-5, 0.0])
    both = cost.seconds(p, d)
    assert np.all(both <= p + d + 1e-18) and np.all(both >= np.maximum(p, d))
    assert both[0] == 2e-4 and both[3] == 5e-4


@pytest.mark.parametrize(
    ("options", "message"),
    [({"graphs": "some"}, "graphs 'some'"), ({"overlap_comm": 1.5}, "overlap_comm 1.5")],
)
def test_wrong_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        IterationModel("llama-3.1-8b", H100, **options)
