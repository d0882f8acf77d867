"""The serving page: its choices make the scenario they say, its charts show the run's figures."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mltwin import InputError, Scenario, ServingScenario, choices
from mltwin.app.explorer import serving_charts as charts
from mltwin.app.explorer.controls import bounds, choices_of, field_info, label_of
from mltwin.app.explorer.copies import command_of, python_of, toml_of
from mltwin.app.explorer.safe import check_scenario
from mltwin.app.explorer.serving_choices import (
    DEFAULTS,
    EXAMPLES,
    UPLOAD,
    command_words,
    policy_of,
    scenario_data,
)
from mltwin.app.explorer.serving_choices import (
    label_of as words_of,
)
from mltwin.app.explorer.serving_view import RunView, made_view
from mltwin.app.explorer.show import MAX_POINTS


def scenario(**changes: Any) -> Scenario:
    return check_scenario(scenario_data({**DEFAULTS, **changes}, {}))


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_example_is_a_scenario_that_runs(name: str) -> None:
    result = scenario(**{**EXAMPLES[name], "requests": 50}).run()
    assert result.metrics["requests"] == 50 and "slo_attainment" in result.metrics


def test_choices_reach_the_scenario() -> None:
    made = scenario(
        rate=3.5,
        split=True,
        prefill={"replicas": 3, "gpu": "a100-sxm-80gb", "tp": 2, "engine": "vllm_v1"},
        policies={"route": "random", "admit": {"name": "queue_limit", "limit": 7.0}},
        e2e_ms=9000.0,
        seed=5,
        more="[control]\nsnapshot_s = 0.5",
    )
    assert isinstance(made, ServingScenario)
    assert made.workload.rate == 3.5 and made.seed == 5 and made.control.snapshot_s == 0.5
    assert set(made.cluster) == {"prefill", "decode"} and made.cluster["prefill"].replicas == 3
    assert made.policy.admit == {"name": "queue_limit", "limit": 7.0} and made.slo.e2e_ms == 9000
    assert made.cluster["decode"].dollars_per_gpu_hour == DEFAULTS["price"]
    assert scenario(price=0.0).cluster["mixed"].dollars_per_gpu_hour is None  # type: ignore[attr-defined]
    assert scenario(ttft_ms=0.0).slo.ttft_ms is None  # type: ignore[attr-defined]


def test_an_upload_is_used_by_its_owner_and_shown_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "abc123.csv"
    given = {**DEFAULTS, "trace": UPLOAD + path.name}
    data = scenario_data(given, {"mine.csv": path})
    assert data["workload"]["trace"] == str(path)
    shown = scenario_data(given, {"mine.csv": path}, shown=True)
    assert shown["workload"]["trace"] == "mine.csv"
    with pytest.raises(InputError, match="uploaded by someone else"):
        scenario_data(given, {})


@pytest.mark.parametrize("bars", [-1, 51, 10**9])
def test_too_many_draws_are_refused(bars: int) -> None:
    with pytest.raises(InputError, match="draws"):
        command_words({**DEFAULTS, "error_bars": bars})


def test_more_fields_that_are_no_toml_are_told() -> None:
    with pytest.raises(InputError, match="is not TOML"):
        scenario(more="[[[")


def test_policies_are_read_leniently() -> None:
    assert policy_of("lru") == ("lru", {})
    assert policy_of({"name": "x", "limit": 3, "y": "z"}) == ("x", {"limit": 3})
    assert policy_of(None) == policy_of(3) == ("", {})


def test_a_view_is_described_by_what_differs() -> None:
    assert words_of(DEFAULTS) == "defaults"
    changed = {**DEFAULTS, "rate": 30.0, "split": True, "policies": {"route": {"name": "random"}}}
    assert words_of(changed) == "rate 30, split, policies route random"


def test_what_is_copied_makes_the_same_scenario(tmp_path: Path) -> None:
    made = scenario(split=True, requests=40, policies={"admit": {"name": "queue_limit"}})
    (tmp_path / "s.toml").write_text(toml_of(made))
    assert Scenario.load(tmp_path / "s.toml") == made
    space: dict[str, Any] = {}
    exec(python_of(made), space)
    assert space["scenario"] == made and space["result"].digest == made.run().digest
    assert "error_bars=7" in python_of(made, error_bars=7)
    command = command_of(toml_of(made), "s.toml", words=("run", "--error-bars", "7"))
    assert command.endswith("END\nmltwin run s.toml --error-bars 7\n")


@pytest.fixture(scope="module")
def run() -> tuple[Any, RunView]:
    result = scenario(requests=4000, rate=26.0, split=True).run()
    return result, made_view(result)


def test_the_view_holds_the_runs_own_figures(run: tuple[Any, RunView]) -> None:
    result, view = run
    assert view.metrics == result.metrics and view.digest == result.digest
    curve = view.curves[view.curves["latency"] == "TTFT"]
    at = dict(zip(curve["share"], curve["ms"], strict=True))
    assert at[0.5] == result.metrics["p50_ttft_ms"] and at[1.0] == result.metrics["max_ttft_ms"]
    nearest = min(at, key=lambda share: abs(share - 0.99))
    assert at[nearest] == pytest.approx(result.metrics["p99_ttft_ms"], rel=0.02)
    assert [str(t) for t in view.tables] == [str(t) for t in result.report()]


def test_requests_in_the_system_add_up(run: tuple[Any, RunView]) -> None:
    result, view = run
    columns = result.tables["requests"]
    wide = view.system.pivot(index="at_s", columns="state", values="requests")
    middle = wide.index[len(wide) // 2]
    ticks = middle * 1e12
    inside = (columns["arrival"] <= ticks) & (columns["finish"] > ticks)
    assert wide.loc[middle].sum() == inside.sum() and (view.system["requests"] >= 0).all()
    assert wide.iloc[-1].sum() == 0


def test_replicas_are_named_within_their_pools(run: tuple[Any, RunView]) -> None:
    result, view = run
    assert set(view.replicas["replica"]) == {"prefill 0", "prefill 1", "decode 0", "decode 1"}
    busy = view.replicas[view.replicas["iterations"] == "decode only"]["share"]
    expected = result.tables["replicas"]["busy_decode"] / result.tables["replicas"]["up_ticks"]
    assert np.allclose(busy, expected)


def test_charts_are_small_and_linked(run: tuple[Any, RunView]) -> None:
    _, view = run
    for frame in (view.curves, view.sample, view.windows, view.system, view.replicas):
        assert 0 < len(frame) <= MAX_POINTS
    spec = charts.latency_chart(view, view).to_dict()
    text = json.dumps(spec)
    assert '"brush"' in text and '"empty": false' in text and "http" not in spec.get("data", {})
    for chart in (charts.system_chart(view), charts.replica_chart(view)):
        chart.to_dict()


def test_a_run_without_completions_is_drawn() -> None:
    refused = scenario(requests=5, policies={"admit": {"name": "queue_limit", "limit": 0.0}}).run()
    view = made_view(refused)
    assert refused.metrics["completed"] == 0 and not len(view.curves)
    charts.latency_chart(view).to_dict()
    charts.system_chart(view).to_dict()


def test_fields_are_found_by_path() -> None:
    info = field_info(ServingScenario, "cluster.mixed.replicas")
    assert bounds(info) == (0, 4096) and info.description == "how many"
    arrivals = field_info(ServingScenario, "workload.arrivals").annotation
    assert choices_of(arrivals) == ["trace", "poisson", "gamma", "deterministic"]
    assert bounds(field_info(ServingScenario, "workload.rate")) == (0, None)
    for wrong in ("workload.nonsense", "nonsense", "cluster.mixed.nonsense", "name.x"):
        with pytest.raises(InputError, match="has no field"):
            field_info(ServingScenario, wrong)
    assert label_of("workload.think_s") == "Think (s)"


def test_what_a_form_offers_is_there() -> None:
    assert "llama-3.1-70b" in choices.model_names() and "h100-sxm-80gb" in choices.gpu_names()
    assert next(iter(choices.traces_here())) == "azure-conv-synthetic"
    offered = choices.policies_by_hook()
    assert offered["admit"][0].name == "always" and set(offered) == set(choices.hook_texts())
    limit = next(p for p in offered["admit"] if p.name == "queue_limit")
    assert limit.params == {"limit": 100.0} and limit.summary
    assert "vllm_v1" in choices.engine_texts()
