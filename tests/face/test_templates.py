"""Templates that work as they are, and the shelf."""

import tomllib

import pytest

import mltwin as mt
from mltwin.doctor import doctor_table, is_warm, warm_up
from mltwin.models.serving.hooks import HOOKS
from mltwin.policies import resolve
from mltwin.policies.hooks import HOOKS as ALL_HOOKS
from mltwin.scenario import system_names
from mltwin.shelf import (
    engines_table,
    gpu_info,
    gpus_table,
    hooks_table,
    model_info,
    models_table,
    policies_table,
    policy_source,
    trace_info,
    traces_table,
)
from mltwin.templates import policy_template, scenario_template, write_new


@pytest.mark.parametrize("hook", HOOKS)
def test_a_policy_template_runs_compiled(tmp_path, hook: str) -> None:
    path = write_new(tmp_path / "mine.py", policy_template(hook))
    policy, params = resolve(str(path), hook)
    assert policy.hook == hook and len(params) == 1
    data = {
        "system": "serving",
        "workload": {"requests": 30, "rate": 20.0},
        "model": {"name": "llama-3.1-8b"},
        "cluster": {"prefill": {"replicas": 2}, "decode": {"replicas": 2, "initially_up": 1}},
        "policy": {hook: f"{path}:{policy.name}"},
    }
    result = mt.Scenario.parse(data).run()
    assert result.violations == [] and result.metrics["unfinished"] == 0
    twin = mt.Scenario.parse(data).run(reference=True)
    assert twin.digest == result.digest


def test_a_score_template_runs_compiled(tmp_path) -> None:
    path = write_new(tmp_path / "mine.py", policy_template("evict_object"))
    data = {
        "system": "caching",
        "workload": {"trace": {"requests": 3000, "accesses": {"pattern": "zipf", "objects": 300}}},
        "tiers": [{"share": 0.1, "eviction": str(path)}],
    }
    result = mt.Scenario.parse(data).run()
    data["tiers"][0]["eviction"] = {"name": f"{path}:recent_and_popular", "weight": 0}
    lru = mt.Scenario.parse(data).run()
    data["tiers"][0]["eviction"] = "lru"
    assert lru.metrics["hit_ratio"] == mt.Scenario.parse(data).run().metrics["hit_ratio"]
    assert result.metrics["hit_ratio"] > lru.metrics["hit_ratio"]


def test_unknown_hooks_and_existing_files(tmp_path) -> None:
    with pytest.raises(mt.InputError, match="did you mean 'route'"):
        policy_template("rout")
    path = write_new(tmp_path / "a.txt", "1")
    with pytest.raises(mt.InputError, match="exists already"):
        write_new(path, "2")
    assert write_new(path, "2", force=True).read_text() == "2"
    with pytest.raises(mt.InputError, match="cannot be written"):
        write_new(tmp_path / "no" / "such" / "file", "")


def test_the_shelf() -> None:
    assert ["llama-3.1-8b"] in [row[:1] for row in models_table().rows]
    assert ["h100-sxm-80gb"] in [row[:1] for row in gpus_table().rows]
    assert "azure-conv-synthetic" in str(traces_table())
    assert {row[0] for row in policies_table().rows} == set(ALL_HOOKS)
    assert {row[0] for row in policies_table("route").rows} == {"route"}
    assert len(hooks_table().rows) == len(ALL_HOOKS)
    assert "vllm_v1" in str(engines_table())
    assert "327,680" in str(model_info("llama-3.1-70b"))
    assert "gemm" in str(gpu_info("h100-sxm-80gb")[1])
    assert "rows" in str(trace_info("azure-conv-synthetic"))
    assert "def least_tokens" in policy_source("least_tokens")
    with pytest.raises(mt.InputError, match="least_tokens"):
        policy_source("least_token")
    with pytest.raises(mt.InputError, match="route"):
        policies_table("rout")


def test_the_doctor(monkeypatch, tmp_path) -> None:
    rows = {row[0]: row for row in doctor_table().rows}
    assert rows["mltwin"][1] == mt.__version__ and rows["numba"][2] == ""
    monkeypatch.setenv("MLTWIN_DATA", str(tmp_path / "nowhere"))
    assert "correct it" in str(doctor_table())


def test_warming_up_tells_what_it_compiles() -> None:
    told: list[str] = []
    assert warm_up(told.append) > 0
    assert any("kernel" in text for text in told) and len(told) > 20
    assert is_warm()


def test_everything_offered_is_there() -> None:
    for name in mt.__all__:
        assert getattr(mt, name) is not None
    assert set(mt.__all__) <= set(dir(mt))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        mt.nothing  # noqa: B018


@pytest.mark.parametrize("system", system_names())
def test_a_scenario_template_is_the_scenario_without_changes(system: str) -> None:
    text = scenario_template(system)
    made = mt.Scenario.parse(tomllib.loads(text))
    plain = mt.Scenario.parse({"system": system})
    assert made.data() == plain.data()


def test_a_template_shows_the_tables_of_an_empty_list() -> None:
    text = scenario_template("network")
    given = text.replace("# [[changes]]", "[[changes]]").replace(
        "# at_ms = <number>", "at_ms = 1.0"
    )
    given = given.replace("# link = <text>", 'link = "a->b"', 1)
    given = given.replace("# share = <number>", "share = 0.5")
    change = mt.Scenario.parse(tomllib.loads(given)).changes[0]
    assert (change.at_ms, change.link, change.share) == (1.0, "a->b", 0.5)
