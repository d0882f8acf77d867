"""Serving scenarios: files, overrides, hashes, and every way to get one wrong."""

import tomllib
from pathlib import Path
from typing import Any

import pytest

import mltwin as mt
from mltwin.mainjob import default_traffic, variants
from mltwin.policies import defaults
from mltwin.serving import Policies
from mltwin.serving_run import lower
from mltwin.templates import scenario_schema, scenario_template

SMALL: dict[str, Any] = {
    "system": "serving",
    "workload": {"requests": 20},
    "model": {"name": "llama-3.1-8b"},
    "cluster": {"mixed": {"replicas": 2}},
}


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """base with nested changes."""
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def test_the_template_is_the_default_scenario() -> None:
    parsed = mt.Scenario.parse(tomllib.loads(scenario_template()))
    assert parsed == mt.ServingScenario()


def test_the_template_names_every_field() -> None:
    text = scenario_template()
    for section in ("workload", "model", "network", "policy", "control", "slo"):
        assert f"[{section}]" in text
        for field in type(getattr(mt.ServingScenario(), section)).model_fields:
            assert f"\n{field} = " in text or f"\n# {field} = " in text


def test_default_policies_are_those_of_the_registry() -> None:
    assert Policies().model_dump() == {hook: policy.name for hook, policy in defaults().items()}


def test_the_schema_is_whole() -> None:
    schema = scenario_schema()
    assert {"workload", "cluster", "policy"} <= set(schema["properties"])


def test_files_round_trip(tmp_path) -> None:
    scenario = mt.ServingScenario().with_(
        workload__rate=7.5,
        workload__trace={"arrivals": {"process": "poisson", "rate_per_s": 1.0}, "requests": 5},
        policy__route={"name": "prefix_affinity", "ratio": 2.0},
        control__failures=[{"pool": "mixed", "index": 1, "at_s": 5.0, "until_s": 9.0}],
        cluster__mixed__engine={"name": "sarathi", "max_tokens": 256},
        slo__ttft_ms=200.0,
        name='a "name" with = signs',
    )
    for full in (False, True):
        scenario.save(tmp_path / "s.toml", full=full)
        back = mt.Scenario.load(tmp_path / "s.toml")
        assert back == scenario and back.hash == scenario.hash


def test_the_hash_follows_what_is_simulated() -> None:
    plain = mt.ServingScenario()
    assert plain.hash == mt.ServingScenario(name="x", seed=9).hash
    assert plain.hash == plain.set("cluster.mixed.tp", 4).hash
    for path, value in (("workload.rate", 3.0), ("policy.route", "random"), ("slo.ttft_ms", 1.0)):
        assert plain.set(path, value).hash != plain.hash


def test_hash_is_stable() -> None:
    """Pinned: a change here changes the key of every stored result. Update it on purpose."""
    a = mt.Scenario.parse(tomllib.loads(scenario_template())).hash
    assert a == mt.ServingScenario().hash and len(a) == 64


def test_pools_as_rows() -> None:
    rows = [{"name": "prefill", "replicas": 2}, {"name": "decode", "replicas": 1}]
    scenario = mt.Scenario.parse({"system": "serving", "pools": rows})
    assert list(scenario.cluster) == ["prefill", "decode"]
    assert [scenario.role(name) for name in scenario.cluster] == ["prefill", "decode"]
    assert scenario.replicas == 3


def test_overrides() -> None:
    scenario = mt.ServingScenario()
    assert scenario.set("cluster.mixed.replicas", 4).cluster["mixed"].replicas == 4
    assert scenario.set("cluster.mixed.replicas", 4).cluster["mixed"].tp == 4
    assert scenario.with_(workload__rate=2.0).workload.rate == 2.0
    assert scenario.set("workload.rate", 2.0).set("workload.rate", None) == scenario
    named = scenario.set("policy.route", "prefix_affinity").set("policy.route.ratio", 3.0)
    assert named.policy.route == {"name": "prefix_affinity", "ratio": 3.0}
    failures = [{"pool": "mixed", "at_s": 1.0}]
    failing = scenario.set("control.failures", failures).set("control.failures.0.at_s", 2.0)
    assert failing.control.failures[0].at_s == 2.0
    with pytest.raises(Exception, match="frozen"):
        scenario.seed = 3  # type: ignore[misc]


def test_a_new_pool_is_a_whole_table() -> None:
    scenario = mt.ServingScenario().set("cluster.spare", {"replicas": 1, "tp": 4})
    assert scenario.replicas == 9


BAD = [
    ({"workload": {"rat": 5}}, "workload.rat", "did you mean 'rate'"),
    ({"workloads": {}}, "workloads", "did you mean 'workload'"),
    ({"workload": {"rate": 0.0}}, "workload.rate", "greater than 0"),
    ({"workload": {"rate": "5"}}, "workload.rate", "valid number"),
    ({"workload": {"rate": float("nan")}}, "workload.rate", "finite"),
    ({"workload": {"requests": 0}}, "workload.requests", "greater than or equal to 1"),
    ({"workload": {"requests": True}}, "workload.requests", "valid integer"),
    ({"workload": {"window_s": [5.0, 2.0]}}, "workload.window_s", "interval"),
    ({"workload": {"window_s": [1.0]}}, "workload.window_s", "at least 2"),
    ({"workload": {"rate": 1.0, "rate_scale": 2.0}}, "workload", "both given"),
    ({"workload": {"concurrency": 3, "rate": 1.0}}, "workload", "closed loop"),
    ({"workload": {"arrivals": "poison"}}, "workload.arrivals", "did you mean 'poisson'"),
    ({"workload": {"arrivals": "gamma", "rate_scale": 2.0}}, "workload.rate_scale", "at a rate"),
    ({"workload": {"tenants": {"a": 0.0}}}, "workload.tenants.a", "not above 0"),
    ({"cluster": {"mixed": {"replica": 2}}}, "cluster.mixed.replica", "did you mean 'replicas'"),
    ({"cluster": {"mixed": {"replicas": 0}}}, "cluster", "no replicas"),
    ({"cluster": {"mixed": {"role": "prefil"}}}, "cluster.mixed.role", "'prefill'"),
    ({"cluster": {"mixed": {"role": "prefill"}}}, "cluster", "no pool does decode"),
    ({"cluster": {"mixed": {"role": "decode"}}}, "cluster", "no pool does prefill"),
    ({"cluster": {"mixed": {"engine": "vlm_v1"}}}, "cluster.mixed.engine", "'vllm_v1'"),
    ({"cluster": {"mixed": {"engine": {"chunk": True}}}}, "cluster.mixed.engine.chunk", "unknown"),
    (
        {"cluster": {"mixed": {"engine": {"name": "vllm_v0", "chunked": True}}}},
        "cluster.mixed.engine.chunked",
        "split engine",
    ),
    ({"cluster": {"mixed": {"max_tokens": 8}}}, "cluster.mixed.engine.max_tokens", "below"),
    ({"cluster": {"mixed": {"initially_up": 9}}}, "cluster.mixed.initially_up", "more than"),
    ({"cluster": {"mixed": {"gpu_memory_utilization": 1.5}}}, "gpu_memory_utilization", "1"),
    ({"pools": [{"replicas": 1}]}, "pools.0", "name"),
    ({"pools": 3}, "pools", "list of tables"),
    ({"control": {"failures": [{"pool": "mixd", "at_s": 1.0}]}}, "failures.0.pool", "'mixed'"),
    (
        {"control": {"failures": [{"pool": "mixed", "index": 2, "at_s": 1.0}]}},
        "failures.0.index",
        "2 replicas",
    ),
    (
        {"control": {"failures": [{"pool": "mixed", "at_s": 2.0, "until_s": 1.0}]}},
        "failures.0.until_s",
        "not after",
    ),
    ({"control": {"failures": [{"pool": "mixed"}]}}, "control.failures.0.at_s", "missing"),
    ({"slo": {"ttft": 5.0}}, "slo.ttft", "did you mean 'ttft_ms'"),
    ({"slo": {"ttft_ms": -5.0}}, "slo.ttft_ms", "greater than 0"),
    ({"system": "servin"}, "system", "did you mean 'serving'"),
    ({"system": 3}, "system", "unknown"),
    ({"seed": -1}, "seed", "greater than or equal to 0"),
    ({"block_tokens": 0}, "block_tokens", "greater than or equal to 1"),
]


@pytest.mark.parametrize(("changes", "place", "words"), BAD, ids=lambda v: str(v)[:60])
def test_bad_scenarios_are_told(changes: dict[str, Any], place: str, words: str) -> None:
    with pytest.raises(mt.InputError) as caught:
        mt.Scenario.parse(merged(SMALL, changes), where="file.toml")
    told = str(caught.value)
    assert told.startswith("file.toml: ") and place in told and words in told, told
    assert "\n" not in told and caught.value.exit_code == 2


BAD_WHEN_LOWERED = [
    ({"workload": {"trace": "azure-conv-sintetic"}}, "workload.trace", "no such file"),
    ({"workload": {"trace": {"requests": 5}}}, "workload.trace", "arrivals"),
    ({"workload": {"window_s": [1e6, 2e6]}}, "workload.trace", "no requests"),
    ({"workload": {"tenants": {"b": 1.0}}}, "workload.tenants.b", "no tenant 'b'"),
    ({"workload": {"options": {"no_such": 1}}}, "workload.trace", "no_such"),
    ({"model": {"name": "lama-3.1-8b"}}, "model.name", "llama-3.1-8b"),
    ({"model": {"dtype": "bf17"}}, "model.dtype", "bf17"),
    ({"model": {"kv_dtype": "fp9"}}, "model.kv_dtype", "fp9"),
    ({"model": {"quantisation": "int3"}}, "model.quantisation", "int3"),
    ({"cluster": {"mixed": {"gpu": "h100"}}}, "cluster.mixed: gpu", "h100-sxm-80gb"),
    ({"cluster": {"mixed": {"tp": 3}}}, "cluster.mixed", "tp=3"),
    ({"model": {"name": "llama-3.1-70b"}}, "cluster.mixed", "GiB"),
    ({"cluster": {"mixed": {"kv_blocks": 1}}}, "cluster", "longer than"),
    ({"policy": {"route": "least_token"}}, "policy.route", "least_tokens"),
    ({"policy": {"route": "fcfs"}}, "policy.route", "fcfs"),
    ({"policy": {"route": {"name": "prefix_affinity", "rato": 1.0}}}, "policy.route", "ratio"),
    ({"policy": {"route": "nowhere.py:f"}}, "nowhere.py", ""),
    ({"prefix_caching": True}, "prefix_caching", "no prefix blocks"),
    (
        {
            "prefix_caching": True,
            "block_tokens": 16,
            "workload": {"trace": "mooncake-conv-synthetic"},
        },
        "block_tokens",
        "512",
    ),
]


@pytest.mark.parametrize(("changes", "place", "words"), BAD_WHEN_LOWERED, ids=lambda v: str(v)[:60])
def test_bad_names_are_told_when_lowered(changes: dict[str, Any], place: str, words: str) -> None:
    scenario = mt.Scenario.parse(merged(SMALL, changes))
    with pytest.raises(mt.InputError) as caught:
        lower(scenario, 0)
    told = str(caught.value)
    assert place in told and words in told, told
    assert "\n" not in told


def test_paths_are_taken_from_the_scenarios_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "mine.py").write_text(
        "from mltwin.policies import policy\n\n\n"
        '@policy("admit")\ndef nobody(_request, _replicas, _tenants, _ctx, _params, _memory):\n'
        '    """Refuse all."""\n    return 0\n'
    )
    (tmp_path / "t.csv").write_text(
        "arrived_at,num_prefill_tokens,num_decode_tokens\n0,9,2\n1,9,2\n"
    )
    text = (
        'system = "serving"\n[workload]\ntrace = "t.csv"\n[model]\nname = "llama-3.1-8b"\n'
        '[policy]\nadmit = "mine.py:nobody"\n'
    )
    (tmp_path / "s.toml").write_text(text)
    monkeypatch.chdir(Path(__file__).parent)
    lowered = lower(mt.Scenario.load(tmp_path / "s.toml").set("cluster.mixed.tp", 1), 0)
    assert len(lowered.trace) == 2 and lowered.policies["admit"].name == "nobody"
    assert list(lowered.facts["sources"]) == ["policy.admit"]


def test_the_main_jobs_variants_are_valid() -> None:
    for family in variants(default_traffic()[0]):
        for set_up in family:
            assert set_up.scenario.gpus == 32


@pytest.mark.parametrize("system", [["x"], 3, {"name": "serving"}, "servign"])
def test_what_is_no_system_is_refused(system) -> None:
    with pytest.raises(mt.InputError, match="unknown system"):
        mt.Scenario.parse({"system": system})
