"""The adapter system from its scenario: all modes, both engines, files, errors."""

import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mltwin as mt
from mltwin.adapters import AdapterScenario
from mltwin.adapters_result import AdapterResult
from mltwin.adapters_routing import regret_slope
from mltwin.adapters_serving import TIERS, adapter_sizes, load_ticks, pace

MODES = {
    "serving": {"workload.requests": 300, "adapters.count": 30, "serving.memory_gb": 1.0},
    "routing": {"routing.requests": 600, "routing.adapters": 6, "routing.resident": 2},
    "agents": {"agents.conversations": 20, "agents.turns": 6, "agents.memory_gb": 0.5},
    "memory": {"memory.requests": 400, "memory.memory_gb": 2.0, "memory.every": 50},
}


def scenario(mode: str, **changes) -> AdapterScenario:
    """A short run of a mode."""
    return AdapterScenario(name=mode).changed({"mode": mode, **MODES[mode], **changes})


@pytest.mark.parametrize("mode", MODES)
def test_a_run_is_sound_and_repeats(mode: str, tmp_path: Path) -> None:
    made = scenario(mode)
    made.check()
    result = mt.run(made, seed=3)
    assert isinstance(result, AdapterResult) and result.mode == mode
    assert not result.violations
    assert all(np.isfinite(value) for value in result.metrics.values())
    assert set(result.headline) & set(result.metrics)
    assert result.digest == made.run(3).digest != made.run(4).digest
    back = mt.Result.load(result.save(tmp_path))
    assert isinstance(back, AdapterResult)
    assert back.digest == result.digest and back.metrics == result.metrics
    for mine, theirs in zip(back.report(), result.report(), strict=True):
        assert sorted(str(mine).splitlines()) == sorted(str(theirs).splitlines())
    result.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").read_bytes()[:4] == b"\x89PNG"
    assert all(len(sample.values) for sample in result.samples().values())


@pytest.mark.parametrize("mode", MODES)
def test_the_plain_twin_gives_the_same_run(mode: str) -> None:
    made = scenario(mode)
    assert made.run(5).digest == made.run(5, reference=True).digest


def test_policies_order_as_they_should() -> None:
    base = AdapterScenario()
    hits = {
        policy: base.set("serving.policy", policy).run().metrics["hit_ratio"]
        for policy in ("lru", "lfu", "static", "gdsf", "oracle", "random")
    }
    assert hits["oracle"] == max(hits.values()) and hits["static"] > hits["lru"] > hits["random"]


def test_a_slower_store_makes_requests_wait_longer() -> None:
    runs = [
        scenario("serving", **{"store.tier": tier}).run().metrics
        for tier in ("dram", "ssd", "remote")
    ]
    waits = [run["mean_adapter_wait_ms"] for run in runs]
    assert waits[0] < waits[1] < waits[2]


def test_times_follow_the_documented_formulas() -> None:
    made = scenario("serving", **{"serving.efficiency": 0.5, "serving.slowdown": 0.1})
    model, facts = made.loaded_model(), made.loaded_gpu().facts
    prefill, decode = pace(made)
    assert prefill == pytest.approx(
        1.1 * 2 * model.parameters / (facts.peak_flops["bfloat16"] * 0.5)
    )
    assert decode == pytest.approx(1.1 * model.weight_bytes / (facts.hbm_bandwidth * 0.5))
    sizes = adapter_sizes(made, 5)
    assert sizes[4] == sizes[0] and sizes[1] == 2 * sizes[0] == sizes[2] // 2
    given = load_ticks(made.set("store.gb_per_s", 10.0).set("store.latency_ms", 1.0), sizes)
    np.testing.assert_allclose(given, 1e6 + sizes / 10, atol=1)


def test_adapters_come_from_tenants_or_contexts(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    rows = [f"{i},10,5,{'ab'[i % 3 == 0]}" for i in range(60)]
    trace.write_text("\n".join(["arrived_at,prompt,output,tenant", *rows]) + "\n")
    made = scenario(
        "serving",
        **{
            "workload.trace": str(trace),
            "workload.columns": {
                "arrival": "arrived_at",
                "prompt": "prompt",
                "output": "output",
                "tenant": "tenant",
            },
            "workload.requests": 0,
            "workload.rate": 0.0,
            "workload.arrivals": "trace",
            "adapters.popularity": "tenants",
        },
    )
    used = made.run().tables["requests"]["adapter"]
    assert sorted(np.bincount(used).tolist()) == [20, 40]
    clustered = scenario("serving", **{"adapters.popularity": "contextual"}).run()
    assert len(set(clustered.tables["requests"]["adapter"].tolist())) > 3


def test_a_hot_cache_begins_with_the_most_popular() -> None:
    cold, warm = (scenario("serving", **{"serving.warm": w}).run() for w in (False, True))
    assert warm.metrics["hit_ratio"] > cold.metrics["hit_ratio"] and not warm.violations


def test_events_can_be_kept() -> None:
    kept = scenario("serving").run(log=True)
    assert kept.digest == scenario("serving").run().digest
    log = kept.tables["log"]
    assert (np.diff(log["time"]) >= 0).all() and set(log["kind"].tolist()) == set(range(6))


def test_the_timeline_shows_slots_and_link(tmp_path: Path) -> None:
    result = scenario("serving").run()
    made = result.timeline()
    work = made.work
    names = np.array([made.lanes[lane].process for lane in work.lane])
    assert (names == "slots").sum() == 300
    assert (names == "store").sum() == result.metrics["loads"]
    levels = {c.name: made.samples.counter == i for i, c in enumerate(made.counters)}
    assert made.samples.value[levels["running"]].max() <= 32
    assert all(made.samples.value[mine][-1] == 0 for mine in levels.values())
    made.save(tmp_path / "t.json.gz")
    part = result.timeline(window_s=(5.0, 6.0))
    assert 0 < len(part.work.start) < len(work.start)
    with pytest.raises(mt.InputError, match="has no time to show"):
        scenario("memory").run().timeline()


def test_polar_plus_learns_and_the_oracle_has_no_regret() -> None:
    found = {}
    for name in ("polar_plus", "static", "oracle"):
        changes = {"routing.controller": name, "routing.requests": 8000}
        found[name] = AdapterScenario(mode="routing").changed(changes).run().metrics
    assert found["oracle"]["regret"] == pytest.approx(0, abs=1e-9)
    assert "regret_slope" not in found["oracle"]
    assert found["polar_plus"]["regret"] < 0.5 * found["static"]["regret"]
    assert found["polar_plus"]["regret_slope"] < 0.7


def test_slope_of_a_power_law() -> None:
    at = np.unique(np.geomspace(1, 1e5, 100).round()).astype(np.int64)
    for power in (0.3, 1.0):
        assert regret_slope(at, 7 * at**power) == pytest.approx(power)
    assert regret_slope(at, np.zeros(len(at))) is None
    assert regret_slope(at[:3], at[:3] * 1.0) is None


def matrix(path: Path, rows: int = 400, **columns) -> Path:
    """A reward matrix whose second adapter is best where x0 is positive."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=rows)
    data = {"x0": x, "x1": np.ones(rows), "r0": -x, "r1": x, "r2": np.full(rows, -1.0), **columns}
    pq.write_table(pa.table(data), path)
    return path


def test_a_users_rewards_are_learnt(tmp_path: Path) -> None:
    path = matrix(tmp_path / "rewards.parquet")
    made = AdapterScenario(mode="routing").changed(
        {"routing.rewards": str(path), "routing.resident": 2, "routing.bonus": 0.1}
    )
    made.check()
    result = made.run()
    assert result.metrics["requests"] == 400 and sorted(result.facts["best"]) == [0, 1]
    assert result.metrics["mean_reward"] > 0.7 * np.abs(pq.read_table(path)["x0"].to_numpy()).mean()
    assert any("not linear" in note for note in result.notes)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"r1": ["a"] * 400}, "column 'r1' is not a number"),
        ({"x1": [None] + [1.0] * 399}, "column 'x1' is empty or not finite"),
    ],
)
def test_a_bad_matrix_is_told(tmp_path: Path, columns, message) -> None:
    path = matrix(tmp_path / "rewards.parquet", **columns)
    with pytest.raises(mt.InputError, match=message):
        AdapterScenario(mode="routing").set("routing.rewards", str(path)).run()


def test_files_that_are_no_matrix_are_told(tmp_path: Path) -> None:
    base = AdapterScenario(mode="routing")
    with pytest.raises(mt.InputError, match="no such file"):
        base.set("routing.rewards", str(tmp_path / "none.parquet")).check()
    (tmp_path / "text.parquet").write_text("no")
    with pytest.raises(mt.InputError, match="is not Parquet"):
        base.set("routing.rewards", str(tmp_path / "text.parquet")).run()
    pq.write_table(pa.table({"x0": [1.0]}), tmp_path / "narrow.parquet")
    with pytest.raises(mt.InputError, match="has no column r0"):
        base.set("routing.rewards", str(tmp_path / "narrow.parquet")).run()


@pytest.mark.parametrize(
    ("mode", "changes", "message"),
    [
        ("serving", {"model": "llama-9"}, "model: .*llama-9"),
        ("serving", {"gpu": "h1000"}, "gpu: .*h1000"),
        ("serving", {"workload.trace": "azure-con-synthetic"}, "no trace or file"),
        ("serving", {"adapters.targets": ["w"]}, "adapters.*unknown projection"),
        ("agents", {"agents.targets": ["k", "v"]}, "needs every adapted projection"),
    ],
)
def test_names_are_looked_up_before_the_run(mode, changes, message) -> None:
    with pytest.raises(mt.InputError, match=message):
        scenario(mode, **changes).check()


@pytest.mark.parametrize(
    ("mode", "changes", "message"),
    [
        ("serving", {"serving.memory_gb": 0.01}, "the largest adapter takes"),
        ("agents", {"agents.memory_gb": 0.001}, "adapters take"),
        ("routing", {"routing.resident": 9}, "9 of 6 adapters"),
        ("memory", {"memory.shares": [0.0, 0.0, 0.0]}, "not all 0"),
        ("serving", {"adapters.ranks": [0]}, "ranks must be 1"),
        ("routing", {"routing.requests": 10**6, "routing.adapters": 60}, "at most 50000000"),
        ("agents", {"agents.conversations": 10**5, "agents.turns": 100}, "at most 2000000"),
        ("memory", {"memory.requests": 2_000_000, "memory.experts_per_request": 50}, "at most 20"),
    ],
)
def test_what_does_not_fit_is_told(mode, changes, message) -> None:
    with pytest.raises(mt.InputError, match=message):
        scenario(mode, **changes).run()


def test_it_is_compared_and_swept(tmp_path: Path) -> None:
    path = tmp_path / "lora.toml"
    scenario("serving").save(path)
    loaded = mt.Scenario.load(path)
    assert loaded == scenario("serving") and loaded.system == "adapter-cache"
    compared = mt.compare([loaded, loaded.set("serving.policy", "oracle")], seeds=[0, 1])
    assert "hit_ratio" in compared.table().markdown()
    swept = mt.sweep(scenario("memory"), {"memory.sharing": ["static", "pool"]}, seeds=1)
    assert "static" in str(swept.table(["miss_seconds"]))


@pytest.mark.data
@pytest.mark.skipif(not os.environ.get("MLTWIN_DATA"), reason="MLTWIN_DATA names no folder")
def test_bandwidths_are_those_measured() -> None:
    """Bytes of the weights over the median loading time of ServerlessLLM's loader."""
    folder = Path(os.environ["MLTWIN_DATA"], "traces/serverless/serverlessllm_loading/h100_2025")
    from mltwin.models.llm import load_model

    for tier, model, file in (
        ("dram", "qwen3-32b", "cached/Qwen_Qwen3-32B_sllm_5_cached.json"),
        ("ssd", "llama-3.1-8b", "random/meta-llama_Llama-3.1-8B-Instruct_sllm_30_random.json"),
    ):
        rows = json.loads((folder / file).read_text())
        seconds = float(np.median([row["loading_time"] for row in rows]))
        assert TIERS[tier][0] == pytest.approx(
            load_model(model).weight_bytes / seconds / 1e9, abs=0.06
        )
