"""The scenario in the house: files, checks, metrics, store, comparison, sweep, curves, pictures."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import mltwin as mt
from mltwin.semantic import SemanticScenario
from mltwin.semantic_curves import ThresholdCurve, threshold_curve, with_threshold
from mltwin.semantic_result import SemanticResult


def small(**changes: Any) -> SemanticScenario:
    """1,500 queries in 16 dimensions, with changes by dotted path (`__` for the dot)."""
    base = {"workload.queries": 1500, "workload.dimensions": 16}
    return SemanticScenario().changed(
        base | {key.replace("__", "."): value for key, value in changes.items()}
    )


def run(seed: int = 1, **changes: Any) -> SemanticResult:
    result = small(**changes).run(seed)
    assert isinstance(result, SemanticResult)
    assert result.violations == []
    return result


def test_files_and_hashes(tmp_path: Path) -> None:
    path = tmp_path / "cache.toml"
    path.write_text(
        'system = "semantic-cache"\n[cache]\nentries = 50\n'
        '[categories.faq]\ntraffic = "dense"\nthreshold = 0.9\n'
    )
    scenario = mt.Scenario.load(path)
    assert isinstance(scenario, SemanticScenario) and list(scenario.categories) == ["faq"]
    assert scenario.categories["faq"].traffic.settings()["exponent"] == 1.0
    scenario.save(tmp_path / "again.toml")
    assert mt.Scenario.load(tmp_path / "again.toml") == scenario
    changed = scenario.set("categories.faq.traffic.intents", 9)
    assert changed.hash != scenario.hash
    assert changed.categories["faq"].traffic.settings()["intents"] == 9


def test_runs_are_deterministic_and_the_twin_agrees() -> None:
    scenario = small(llm__servers=20, adaptive__on=True, categories__code__lowest_threshold=0.8)
    first = scenario.run(3)
    assert first.digest == scenario.run(3).digest != scenario.run(4).digest
    assert first.digest == scenario.run(3, reference=True).digest
    assert first.metrics == scenario.run(3, reference=True).metrics


def test_metrics_add_up() -> None:
    result = run(workload__queries=4000)
    m, queries = result.metrics, result.queries
    shares = [m[f"{name}_ratio"] for name in ("hit", "joined", "miss", "uncached")]
    assert sum(shares) == pytest.approx(1) and m["llm_calls"] == round(m["miss_ratio"] * 4000)
    got = queries["outcome"].isin(["hit", "joined"])
    assert m["false_hit_ratio"] == pytest.approx(queries["false"].sum() / got.sum())
    assert m["mean_latency_ms"] == pytest.approx(queries["latency_ms"].mean())
    table = result.categories
    assert table["queries"].sum() == 4000
    weighted = (table["hit_ratio"] * table["queries"]).sum() / 4000
    assert weighted == pytest.approx(m["hit_ratio"])
    assert table["saved_dollars"].sum() == pytest.approx(m["saved_dollars"])
    assert m["code_hit_ratio"] == table.set_index("category").loc["code", "hit_ratio"]
    every = m["saved_dollars"] + m["cost_dollars"] - 4000 * 2e-6
    assert every == pytest.approx(result.tables["queries"]["dollars"].sum())
    assert (table["threshold"] == [0.92, 0.82, 0.68, 0.7]).all()


def test_false_and_stale_hits_by_hand(tmp_path: Path) -> None:
    """0 and 1: the same answer; 2: near, but another answer; 3: the answer has changed."""
    table = pa.table(
        {
            "embedding": [[1.0, 0.0], [1.0, 0.0], [1.0, 0.1], [1.0, 0.0]],
            "time": [0.0, 10.0, 20.0, 30.0],
            "intent": ["a", "a", "b", "a"],
            "version": [0, 0, 0, 1],
        }
    )
    path = tmp_path / "q.parquet"
    pq.write_table(table, path)
    result = SemanticScenario().with_(workload__embeddings=str(path), cache__threshold=0.9).run()
    assert isinstance(result, SemanticResult)
    queries = result.queries
    assert queries["outcome"].tolist() == ["miss", "hit", "hit", "hit"]
    assert queries["false"].tolist() == [False, False, True, False]
    assert queries["stale"].tolist() == [False, False, False, True]
    assert result.metrics["false_hit_ratio"] == pytest.approx(1 / 3)
    assert result.metrics["useful_hit_ratio"] == 0.25
    bare = tmp_path / "bare.parquet"
    pq.write_table(table.select(["embedding"]), bare)
    told = SemanticScenario().with_(workload__embeddings=str(bare)).run()
    assert "false_hit_ratio" not in told.metrics and "False hits are not counted" in told.notes[0]
    with pytest.raises(mt.InputError, match="the file has no such category"):
        SemanticScenario().changed(
            {"workload.embeddings": str(path), "categories.code.threshold": 0.5}
        ).run()


def test_costs_show_in_latencies() -> None:
    fast = {"index__embed_ms": 2.0, "index__search_us": 0.0, "index__fetch_ms": 5.0}
    result = run(**fast)
    hits = result.queries.query("outcome == 'hit'")["latency_ms"]
    assert np.allclose(hits, 7.0)
    remote = run(**{**fast, "index__kind": "remote"})
    hits = remote.queries.query("outcome == 'hit'")["latency_ms"]
    assert np.allclose(hits, 30.0)
    later = result.metrics["hit_ratio"] - remote.metrics["hit_ratio"]
    assert 0 <= later < 0.01, "answers are there 28 ms later"
    assert remote.metrics["mean_lookup_ms"] == pytest.approx(30.0)
    grown = run(index__search_us=1000.0, index__search_exponent=1.0, index__embed_ms=0.0)
    looked = grown.tables["queries"]["ready"] - grown.tables["queries"]["arrival"]
    assert looked[0] == 0 and looked.max() <= grown.metrics["insertions"] / 5000 * 1e6


def test_an_uncached_category_pays_nothing() -> None:
    result = run(categories__chat__cached=False)
    chat = result.queries.query("category == 'chat'")
    assert (chat["outcome"] == "uncached").all()
    assert result.metrics["uncached_ratio"] == pytest.approx(len(chat) / 1500)
    service = result.tables["queries"]["service"][chat.index] / 1e6
    assert np.allclose(chat["latency_ms"], service)


def test_quotas_are_shared_out() -> None:
    quota = run(cache__entries=1000, categories__news__quota=100).categories["quota"]
    assert quota.tolist() == [350, 200, 350, 100]
    assert run(cache__entries=0).metrics["hit_ratio"] == 0
    tight, wide = run(cache__entries=40), run(cache__entries=100_000)
    assert tight.metrics["hit_ratio"] < wide.metrics["hit_ratio"]
    assert wide.metrics["evictions"] == 0 < tight.metrics["evictions"]


def test_a_shorter_ttl_trades_hits_for_freshness() -> None:
    short, long = (run(workload__queries=6000, categories__news__ttl_s=ttl) for ttl in (5.0, 500.0))
    assert short.metrics["news_hit_ratio"] < long.metrics["news_hit_ratio"]
    assert short.metrics["news_stale_hit_ratio"] < long.metrics["news_stale_hit_ratio"]


def test_load_adaptive_rules_relieve_an_overloaded_llm() -> None:
    fixed = {"workload__queries": 4000, "llm__servers": 14}
    lowest = {f"categories__{c}__lowest_threshold": 0.6 for c in ("code", "docs", "chat", "news")}
    calm, moved = run(**fixed), run(**fixed, **lowest, adaptive__on=True)
    assert moved.metrics["llm_calls"] < 0.95 * calm.metrics["llm_calls"]
    assert moved.metrics["mean_llm_wait_ms"] < calm.metrics["mean_llm_wait_ms"]
    assert moved.metrics["false_hit_ratio"] > calm.metrics["false_hit_ratio"]
    assert 0 < moved.metrics["mean_moved"] < 1 and calm.metrics["llm_busy"] <= 1


def test_truncation_is_told() -> None:
    result = run(neighbours__most=1)
    assert result.metrics["truncated_misses"] > 0
    assert any("raise neighbours.most" in note for note in result.notes)
    assert run().metrics["truncated_misses"] == 0


WRONG = {
    "workload.embeddings": ("none.parquet", "workload.embeddings: there is no file"),
    "workload.columns": ({"time": "t"}, "give workload.embeddings"),
    "cache.eviction": ("lifo", "unknown value 'lifo'"),
    "cache.threshold": (3.0, "less than or equal to 2"),
    "categories.code.lowest_threshold": (0.99, "0.99 is above the threshold 0.92"),
    "categories.code.longest_ttl_s": (5.0, "5 is below the TTL"),
    "categories.code.quota": (5000, "quotas add up to 5,000"),
    "categories.code.treshold": (0.5, "did you mean 'threshold'"),
    "categories.code.traffic": ("denser", "unknown value 'denser'"),
    "categories.code.traffic.base": (0.99, "not in order"),
    "categories.coding.threshold": (0.9, "there is no 'coding'"),
    "adaptive.on": (True, "no load without a limit"),
    "adaptive.high": (0.5, "not above adaptive.low"),
    "workload.rate": (1e-9, "take more than 73 years"),
    "neighbours.floor": (0.9, "lies below the floor"),
    "neighbours.method": ("flat", "unknown value 'flat'"),
}


@pytest.mark.parametrize("path", WRONG)
def test_what_does_not_fit_is_one_clear_error(path: str) -> None:
    value, why = WRONG[path]
    with pytest.raises(mt.InputError, match=why):
        small().set(path, value).run()


def test_too_long_and_too_many() -> None:
    slow = {"llm.servers": 1, "workload.queries": 10_000, "categories.code.llm_ms": 1e9}
    with pytest.raises(mt.InputError, match="more than 73 years"):
        small().changed({**slow}).run()
    often = {"llm.servers": 1, "adaptive.on": True, "adaptive.period_s": 1e-9}
    with pytest.raises(mt.InputError, match="looks at the load are more than"):
        small().changed(often).run()


def test_store_compare_sweep(tmp_path: Path) -> None:
    result = run()
    back = mt.Result.load(result.save(tmp_path))
    assert isinstance(back, SemanticResult)
    assert back.metrics == result.metrics and back.digest == result.digest
    assert back.categories.equals(result.categories)
    loose = small(cache__eviction="lfu", cache__entries=100)
    tight = loose.set("cache.eviction", "fifo")
    compared = mt.compare([loose, tight], seeds=[0, 1])
    assert "hit_ratio" in str(compared.table())
    swept = mt.sweep(small(), {"cache.entries": [50, 500]}, seeds=2, backend="serial")
    means = swept.means()["hit_ratio"]
    assert means[0] < means[1]


def test_shown(tmp_path: Path) -> None:
    result = run()
    text = "\n".join(map(str, result.report()))
    assert "hit_ratio" in text and "break even hit" in text and "news" in text
    result.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert {"latency", "latency_hit", "latency_miss"} <= set(result.samples())
    assert result.report_html(tmp_path / "a.html").stat().st_size > 10_000


def test_threshold_curves(tmp_path: Path) -> None:
    levels = [0.6, 0.7, 0.8, 0.9, 0.98]
    base = small(workload__dimensions=64)
    curve = threshold_curve(base, levels, seed=1)
    one = with_threshold(base, 0.8).run(1)
    rows = {(row["threshold"], row["category"]): row for row in curve.rows}
    assert rows[0.8, "all"]["hit_ratio"] == one.metrics["hit_ratio"]
    assert rows[0.8, "chat"]["false_hit_ratio"] == one.metrics["chat_false_hit_ratio"]
    best = curve.best(0.02)
    assert set(best) == {"code", "docs", "chat", "news"}
    assert best["chat"] < best["code"], "sparse categories bear lower thresholds"
    apart = with_threshold(base, best).run(1).metrics
    single = with_threshold(base, curve.best_single(0.02)).run(1).metrics
    assert apart["false_hit_ratio"] <= 0.02 and single["false_hit_ratio"] <= 0.02
    assert apart["useful_hit_ratio"] > single["useful_hit_ratio"]
    assert len(curve.frame()) == 25 and len(curve.table().rows) == 5
    curve.plot(tmp_path / "curve.svg")
    with pytest.raises(mt.InputError, match="no thresholds"):
        threshold_curve(small(), [])


def test_the_best_threshold_is_safe_at_every_higher_one() -> None:
    rows = [
        {"threshold": t, "category": "all", "false_hit_ratio": f}
        for t, f in [(0.5, 0.0), (0.6, 0.3), (0.7, 0.01), (0.8, 0.0)]
    ]
    assert ThresholdCurve(rows, "x").best_single(0.02) == 0.7
    assert ThresholdCurve(rows, "x").best_single(0.5) == 0.5
    assert ThresholdCurve(rows, "x").best_single(-1.0) == 0.8
    with pytest.raises(mt.InputError, match="false"):
        ThresholdCurve([{"threshold": 0.5, "category": "all"}], "x").best_single(0.1)


def test_the_timeline_shows_calls_and_levels() -> None:
    result = run(workload__queries=300, llm__servers=8)
    made = result.timeline()
    assert {lane.process for lane in made.lanes} == {"LLM"} and len(made.lanes) <= 8
    work = made.work
    assert len(work) == result.metrics["llm_calls"]
    assert int(work.busy.sum()) == result.facts["totals"]["busy_ticks"] * 1000
    frame = made.counter_frame()
    entries = frame[frame["counter"] == "entries"]
    assert entries["value"].iloc[-1] == result.metrics["resident_entries"]
    assert frame[frame["counter"] == "waiting"]["value"].iloc[-1] == 0
    part = result.timeline(window_s=(1.0, 2.0))
    assert 0 < len(part.work) < len(work)
    assert 1.0 in set(part.counter_frame()["time_s"]), "what held before the window is in it"
    free = run(workload__queries=200).timeline()
    assert len(free.work) == run(workload__queries=200).metrics["llm_calls"]
