"""The system `web-cache` in the house: files, runs, comparison, sweep, store, errors."""

from pathlib import Path

import numpy as np
import pytest

import mltwin as mt
from mltwin.web import WebScenario
from mltwin.web_metrics import fairness, violations
from mltwin.web_result import WebResult

SMALL = {"graph.users": 80, "activity.objects": 100, "requests.requests": 3000,
         "requests.objects": 300}  # fmt: skip


def small(**more: object) -> WebScenario:
    return WebScenario().changed(SMALL | {k.replace("__", "."): v for k, v in more.items()})


@pytest.mark.parametrize("kind", ["friends", "cdn"])
def test_the_default_runs_and_breaks_no_law(kind: str) -> None:
    scenario = WebScenario(kind=kind)  # type: ignore[arg-type]
    result = scenario.run()
    assert isinstance(result, WebResult) and not result.violations
    assert result.digest == scenario.run().digest != scenario.run(1).digest
    assert 0.3 < result.metrics["offload_ratio"] < 0.9


@pytest.mark.parametrize(
    "more",
    [
        {"browser__cache_mb": 1.0, "sessions__minutes": 2.0, "browser__upload_mbit_per_s": 0.1},
        {"browser__choose": "random", "sessions__diurnal": 0.5, "browser__resume": True},
        {"graph__kind": "barabasi_albert", "activity__publisher_skew": 1.0},
        {"kind": "cdn", "cdn__edge_gb": 0.01, "cdn__parent_gb": 0.02},
        {"kind": "cdn", "cdn__policy": "sieve", "cdn__collapse": False, "cdn__edge_gb": 0.01},
        {"kind": "cdn", "cdn__policy": "fifo", "cdn__parent": False, "cdn__edge_gb": 0.01},
    ],
)
def test_the_reference_gives_the_same_result(more: dict[str, object]) -> None:
    scenario = small(**more)
    fast, plain = scenario.run(5), scenario.run(5, reference=True)
    assert fast.digest == plain.digest and fast.metrics == plain.metrics
    assert not fast.violations


@pytest.mark.parametrize("kind", ["friends", "cdn"])
def test_it_is_stored_compared_and_swept(kind: str, tmp_path: Path) -> None:
    base = small(kind=kind, name="base")
    folder = base.run(2).save(tmp_path)
    back = mt.Result.load(folder)
    assert isinstance(back, WebResult) and back.metrics == base.run(2).metrics
    assert back.sources == base.run(2).sources
    field, values = ("sessions.online_share", [0.2, 0.9]) if kind == "friends" else (
        "cdn.edge_gb", [0.001, 1.0])  # fmt: skip
    compared = mt.compare([base, base.set(field, values[1]).set("name", "more")], seeds=range(2))
    assert "offload_ratio" in compared.table().markdown()
    swept = mt.sweep(base, {field: values}, seeds=2, workers=1)
    metric = "offload_ratio" if kind == "friends" else "edge_hit_ratio"
    low, high = (row[metric] for row in swept.means().to_dict("records"))
    assert low < high
    base.run().plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert np.isfinite(base.run().samples()["latency"].values).all()


def test_seeds_pair_scenarios() -> None:
    """The same views, whatever the browsers do."""
    a, b = (small(browser__cache_mb=mb).run(3).tables["views"] for mb in (1.0, 100.0))
    assert np.array_equal(a["time"], b["time"]) and np.array_equal(a["user"], b["user"])


def test_a_graph_and_a_trace_from_files(tmp_path: Path) -> None:
    (tmp_path / "edges.txt").write_text("a b\nb c\nc a\nc d\n")
    (tmp_path / "web.toml").write_text(
        'system = "web-cache"\n[graph]\nkind = "file"\nedges = "edges.txt"\n'
        "[activity]\nobjects = 50\nview_probability = 1.0\n"
    )
    scenario = mt.Scenario.load(tmp_path / "web.toml")
    scenario.check()
    result = scenario.run()
    assert result.facts["users"] == 4 and result.metrics["requests"] > 50
    rows = "".join(f"{t},{t % 3},{1000 * (t % 3 + 1)}\n" for t in range(30))
    (tmp_path / "trace.csv").write_text("t,key,bytes\n" + rows)
    columns = {"arrival": "t", "key": "key", "size_bytes": "bytes"}
    traced = WebScenario(kind="cdn").changed(
        {"requests.trace": str(tmp_path / "trace.csv"), "requests.columns": columns}
    )
    traced.check()
    found = traced.run()
    assert found.metrics["requests"] == 30
    assert sorted(set(found.tables["requests"]["bytes"].tolist())) == [1000, 2000, 3000]


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("kind", "cdns", "kind: .*did you mean 'cdn'"),
        ("graph.edges", "e.txt", "go together"),
        ("graph.degree", 1000, "1000 friends among 1000 users"),
        ("sessions.online_share", 0.0, "sessions.online_share"),
        ("browser.upload_mbit_per_s", 1e-9, "too slow for 4 uploads"),
        ("cdn.policy", "lrru", "did you mean 'lru'"),
    ],
)
def test_bad_fields_are_told(field: str, value: object, said: str) -> None:
    with pytest.raises(mt.InputError, match=said):
        WebScenario().set(field, value).run()


def test_missing_files_are_told() -> None:
    missing = WebScenario().changed({"graph.kind": "file", "graph.edges": "none.txt"})
    for call in (missing.check, missing.run):
        with pytest.raises(mt.InputError, match=r"none\.txt"):
            call()
    with pytest.raises(mt.InputError, match=r"requests\.trace"):
        WebScenario(kind="cdn").set("requests.trace", "none.csv").check()


def test_laws_can_be_broken() -> None:
    for kind in ("friends", "cdn"):
        result = small(kind=kind).run()
        totals = {name: value + 1 for name, value in result.facts["totals"].items()}
        assert violations(result.tables, {**result.facts, "totals": totals})


def test_fairness() -> None:
    assert fairness(np.array([3.0, 3.0, 3.0])) == 1
    assert fairness(np.array([1.0, 0.0, 0.0, 0.0])) == 0.25


def test_nothing_viewed_is_no_error() -> None:
    result = small(activity__view_probability=0.0).run()
    assert result.metrics["requests"] == 0 and result.notes and not result.violations
    result.plot()


def test_tables_of_the_other_kind_are_noted() -> None:
    small = {"system": "web-cache", "requests": {"requests": 50, "objects": 10}}
    found = mt.Scenario.parse({**small, "kind": "cdn", "sessions": {"minutes": 5.0}}).run(seed=1)
    assert list(found.notes) == ["[sessions] is set but not looked at: kind = 'cdn'."]
    assert not mt.Scenario.parse({**small, "kind": "cdn"}).run(seed=1).notes
