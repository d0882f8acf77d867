"""`[prefix_pool]` of serving scenarios: what it takes, what it gives, and that it may be absent."""

import tomllib
from typing import Any

import numpy as np
import pytest

import mltwin as mt
from mltwin.models.serving.tables import FETCHES, STORE_POLICIES, WRITES
from mltwin.prefix_pool import PrefixPool
from mltwin.serving_run import lower
from mltwin.templates import scenario_template

BASE: dict[str, Any] = {
    "system": "serving",
    "prefix_caching": True,
    "workload": {"trace": "mooncake-conv-synthetic", "requests": 400, "rate_scale": 0.5},
    "model": {"name": "llama-3.1-8b"},
    "cluster": {"mixed": {"replicas": 2, "kv_blocks": 300}},
    "prefix_pool": {"pool_gb": 200.0, "host_gb": 20.0},
}


def scenario(**changes: Any) -> mt.Scenario:
    return mt.Scenario.parse(BASE).with_(**changes)


def test_a_run_tells_what_was_fetched() -> None:
    result = scenario().run(seed=1)
    m = result.metrics
    assert not result.violations
    assert m["fetches"] > 10 and m["pool_read_gb"] > 0
    requests = result.requests
    assert requests["fetched_tokens"].sum() == m["fetched_tokens"]
    waited = requests["fetch_ms"].dropna()
    assert len(waited) == (requests["fetch_ms"] > 0).sum() >= (requests["fetched_tokens"] > 0).sum()
    assert m["mean_fetch_ms"] == pytest.approx(waited.mean())
    block_gb = 512 * 131072 / 1e9
    blocks = m["fetched_tokens"] / 512
    assert m["pool_read_gb"] + m["host_read_gb"] == pytest.approx(blocks * block_gb)
    assert m["saved_prefill_tokens"] == result.facts["totals"]["hit_tokens"]
    assert "KV fetch (ms)" in str(result.table())
    assert result.summary()["fetch_ms"]["mean"] == m["mean_fetch_ms"]


def test_never_fetching_is_no_pool() -> None:
    idle = scenario(prefix_pool__fetch="never").run(seed=1)
    without = scenario(prefix_pool=None).run(seed=1)
    for name, column in without.tables["requests"].items():
        assert np.array_equal(column, idle.tables["requests"][name]), name
    assert idle.metrics["fetches"] == 0 and "fetches" not in without.metrics
    assert "fetched" not in without.tables["requests"]


def test_the_reference_gives_the_same() -> None:
    small = scenario(workload__requests=60)
    assert small.run(seed=2).digest == small.run(seed=2, reference=True).digest


def test_a_stored_run_reads_back(tmp_path: Any) -> None:
    result = scenario().run(seed=1)
    result.save(tmp_path / "run")
    again = mt.Result.load(tmp_path / "run")
    assert again.metrics == result.metrics and again.digest == result.digest


def test_the_timeline_has_fetches() -> None:
    timeline = scenario().run(seed=1).timeline(requests=200)
    assert any("KV fetch" in tracks.phase_name for tracks in timeline.tracks)


def test_scenarios_without_a_pool_keep_their_hash() -> None:
    """Baselines and stored runs are known by it."""
    assert "prefix_pool" not in mt.ServingScenario().data()
    assert "prefix_pool" not in mt.ServingScenario().data(full=False)


def test_the_template_comments_the_section_out() -> None:
    text = scenario_template()
    start = text.index("# [prefix_pool]")
    lines = text[start:].split("\n\n")[0].splitlines()
    assert all(line.startswith("# ") for line in lines)
    given = "\n".join(line.removeprefix("# ") for line in lines if "<" not in line)
    section = tomllib.loads(given)["prefix_pool"]
    assert PrefixPool.model_validate(section) == PrefixPool()


def test_what_a_scenario_may_say_is_what_the_kernel_knows() -> None:
    for field, known in (("fetch", FETCHES), ("write", WRITES), ("evict", STORE_POLICIES)):
        told = PrefixPool.model_json_schema()["properties"][field]["enum"]
        assert set(told) == set(known)


def test_sizes_become_blocks() -> None:
    stores = lower(scenario(prefix_pool__host_blocks=7), 0).input.stores  # type: ignore[arg-type]
    assert stores is not None
    assert stores.host_blocks == 7
    assert stores.pool_blocks == int(200e9 / (512 * 131072))
    assert 0 < stores.depth_cost < 1


@pytest.mark.parametrize(
    ("changes", "where", "mend"),
    [
        ({"prefix_caching": False}, "prefix_pool", "prefix_caching = true"),
        ({"prefix_pool": {}}, "prefix_pool", "give host_gb or pool_gb"),
        ({"prefix_pool": {"pool_gb": 1e-6}}, "prefix_pool", "give host_gb or pool_gb"),
        ({"prefix_pool__fetch": "sometimes"}, "prefix_pool.fetch", "known: always"),
        ({"prefix_pool__pool": 3}, "prefix_pool.pool", "did you mean 'pool_gb'?"),
        ({"prefix_pool__pool_gb_per_s": 0.0}, "prefix_pool.pool_gb_per_s", None),
    ],
)
def test_bad_values_are_one_clear_error(changes: Any, where: str, mend: str | None) -> None:
    with pytest.raises(mt.InputError) as error:
        scenario(**changes).run(seed=0)
    assert error.value.where == where
    assert mend is None or mend in (error.value.mend or "")


def test_reach_cost_is_cost_based_without_a_pool() -> None:
    runs = [
        scenario(prefix_pool=None, policy__route=name).run(seed=3)
        for name in ("cost_based", "reach_cost")
    ]
    assert runs[0].digest == runs[1].digest


def test_a_router_that_sees_the_stores_finds_more() -> None:
    """Behind host tiers, which only their own replica reads."""
    base = scenario(prefix_pool={"host_gb": 1000.0}, cluster__mixed__replicas=4)
    found = {
        name: base.with_(policy__route=name, workload__requests=600, workload__rate_scale=0.2)
        .run(seed=0)
        .metrics["prefix_hit_ratio"]
        for name in ("least_requests", "reach_cost")
    }
    assert found["reach_cost"] > 1.5 * found["least_requests"]
