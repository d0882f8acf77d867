"""Bytes of adapters and of KV across agents, against counts by hand."""

import pytest

from mltwin.models.adapters.sizes import (
    SCHEMES,
    adapter_bytes,
    adapter_parameters,
    kv_split,
    prefilled_tokens,
    projection,
)
from mltwin.models.llm import load_model
from mltwin.sim.errors import InputError

MODEL = load_model("llama-3.1-8b")  # 32 layers, hidden 4096, 8 key-value heads of 128, MLP 14336
ALL = ["q", "k", "v", "o", "gate", "up", "down"]


def test_an_adapter_by_hand() -> None:
    """PEFT prints 41,943,040 trainable parameters for Llama-3.1-8B, rank 16, all projections."""
    assert adapter_parameters(MODEL, 16, ["q", "v"]) == 32 * 16 * (4096 + 4096 + 4096 + 1024)
    assert adapter_parameters(MODEL, 16, ALL) == 41_943_040
    assert adapter_bytes(MODEL, 16, ALL) == 2 * 41_943_040
    assert adapter_bytes(MODEL, 16, ALL, "float32") == 4 * 41_943_040
    assert adapter_bytes(MODEL, 32, ["o"]) == 2 * adapter_bytes(MODEL, 16, ["o"])
    assert projection(MODEL, "down") == (14336, 4096) and projection(MODEL, "k") == (4096, 1024)


@pytest.mark.parametrize(
    ("model", "rank", "targets", "message"),
    [
        ("llama-3.1-8b", 8, ["w"], "unknown projection 'w'"),
        ("llama-3.1-8b", 8, [], "name each projection once"),
        ("llama-3.1-8b", 8, ["q", "q"], "name each projection once"),
        ("llama-3.1-8b", 0, ["q"], "rank 0"),
        ("opt-13b", 8, ["gate"], "have no gate"),
        ("mixtral-8x7b", 8, ["up"], "are experts"),
        ("deepseek-v3", 8, ["q"], "latent or linear"),
    ],
)
def test_what_there_is_not(model, rank, targets, message) -> None:
    with pytest.raises(InputError, match=message):
        adapter_bytes(load_model(model), rank, targets)


def test_kv_of_a_token_by_hand() -> None:
    split = kv_split(MODEL, 8)
    base = 32 * 2 * 8 * 128 * 2
    low = 32 * 8 * 2
    assert (split.base_bytes, split.low_rank_bytes, split.whole_bytes) == (base, low, 0)
    assert split.token_bytes("separate", 3) == 3 * base
    assert split.token_bytes("full_shared", 3) == base
    assert split.token_bytes("base_shared", 3) == base + 3 * low
    assert split.token_bytes("base_lr_shared", 3) == base + low


def test_keys_that_are_adapted_but_not_split_stay_each_agents_own() -> None:
    split = kv_split(MODEL, 8, adapted=("k", "v"), split=("v",))
    keys = 32 * 8 * 128 * 2
    assert split.whole_bytes == keys
    assert split.token_bytes("base_shared", 3) == keys + 3 * (keys + 32 * 8 * 2)
    both = kv_split(MODEL, 8, adapted=("k", "v"), split=("k", "v"))
    assert both.low_rank_bytes == 2 * 32 * 8 * 2 and both.whole_bytes == 0
    with pytest.raises(InputError, match="needs every adapted projection"):
        split.token_bytes("base_lr_shared", 3)


def test_one_agent_gains_nothing_and_more_gain_at_most_their_number() -> None:
    split = kv_split(MODEL, 16)
    assert split.token_bytes("base_shared", 1) > split.token_bytes("separate", 1)
    for agents in range(2, 40):
        sizes = {scheme: split.token_bytes(scheme, agents) for scheme in SCHEMES}
        assert sizes["full_shared"] < sizes["base_lr_shared"] < sizes["base_shared"]
        assert sizes["base_shared"] < sizes["separate"] == agents * sizes["full_shared"]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_capacities_are_the_largest_that_fit(scheme: str) -> None:
    split, adapter, budget = kv_split(MODEL, 8), 10_000_000, 5_000_000_000
    tokens = split.capacity_tokens(scheme, 4, budget, adapter)
    per_token = split.token_bytes(scheme, 4)
    assert 4 * adapter + tokens * per_token <= budget < 4 * adapter + (tokens + 1) * per_token
    agents = split.capacity_agents(scheme, 5000, budget, adapter)
    fits = [
        a * adapter + 5000 * split.token_bytes(scheme, a) <= budget for a in (agents, agents + 1)
    ]
    assert fits == [True, False]
    assert split.capacity_agents(scheme, 10**6, budget, adapter) == 0


def test_without_weights_of_their_own_agents_that_share_all_are_unlimited() -> None:
    assert kv_split(MODEL, 8).capacity_agents("base_lr_shared", 100, 10**9) == -1
    assert kv_split(MODEL, 8).capacity_tokens("separate", 3, 10, 100) == 0


def test_only_a_shared_a_saves_computing() -> None:
    assert [prefilled_tokens(s, 3, 1000) for s in SCHEMES] == [3000, 1000, 3000, 1000]
    with pytest.raises(InputError, match="unknown scheme"):
        prefilled_tokens("none", 3, 1000)


@pytest.mark.parametrize(("adapted", "split"), [(("q",), ()), (("k",), ("v",))])
def test_bad_splits_are_told(adapted, split) -> None:
    with pytest.raises(InputError):
        kv_split(MODEL, 8, adapted, split)
