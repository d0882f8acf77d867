"""The planner page: its choices, its charts, and that it says what the command line says."""

import json
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from drawn_page import drawn_page
from streamlit.testing.v1 import AppTest

import mltwin as mt
from mltwin.app.explorer import serving_choices
from mltwin.app.explorer.copies import command_of, toml_of
from mltwin.app.explorer.planner_charts import (
    PlanView,
    curve_chart,
    made_view,
    map_chart,
    near_pairs,
    size_chart,
    view_of,
)
from mltwin.app.explorer.planner_choices import (
    DEFAULTS,
    EXAMPLES,
    command_words,
    python_text,
    scenario_of,
    serving_view,
)
from mltwin.searches.planning import Plan
from mltwin.text import show

SMALL = {
    **DEFAULTS,
    "model": "llama-3.1-8b",
    "gpu": "a100-sxm-80gb",
    "tp": 1,
    "rate": 50.0,
    "requests": 300,
    "ttft_ms": 300.0,
    "tpot_ms": 30.0,
    "most": 8,
    "seeds": 2,
}


@pytest.fixture(scope="module")
def found() -> Plan:
    return mt.plan(scenario_of(SMALL, {}), most=8, seeds=2)


@pytest.fixture(scope="module")
def seen(found) -> PlanView:
    return made_view(json.loads(json.dumps(found.data())))


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_every_example_is_a_plan(name: str) -> None:
    scenario = scenario_of({**DEFAULTS, **EXAMPLES[name]}, {})
    assert scenario.system == "serving" and set(scenario.data()["cluster"]) == {"mixed"}


def test_decode_may_be_on_other_gpus() -> None:
    scenario = scenario_of({**SMALL, "other": True, "decode_gpu": "l40s", "decode_tp": 2}, {})
    pools = scenario.data()["cluster"]
    assert pools["prefill"]["gpu"] == "a100-sxm-80gb" and pools["decode"]["gpu"] == "l40s"
    assert pools["decode"]["tp"] == 2 and pools["decode"]["dollars_per_gpu_hour"] == 2.5


def test_what_no_visitor_may_run_is_refused() -> None:
    for changes, words in (
        ({"requests": 10**6}, "from 1 to"),
        ({"most": 10**6}, "from 1 to"),
        ({"seeds": 0}, "from 1 to"),
        ({"trace": "/etc/passwd"}, "cannot be used"),
        ({"model": "../../x.json"}, "cannot be used"),
        ({"rate": -1.0}, "rate"),
    ):
        with pytest.raises(mt.InputError, match=words):
            scenario_of({**SMALL, **changes}, {})
    with pytest.raises(mt.InputError, match="share"):
        command_words({**SMALL, "share": 0.0})


def test_the_page_says_what_the_command_line_says(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path, seen: PlanView
) -> None:
    file = tmp_path / "traffic.toml"
    file.write_text(toml_of(scenario_of(SMALL, {})), "utf-8")
    code, text, err = call(
        "search", "plan", file, *command_words(SMALL), "--out", tmp_path / "o", "--format", "json"
    )
    assert code == 0, err
    from_page = view_of(tmp_path / "o")
    assert from_page.answer == seen.answer == json.loads(text)["answer"]
    assert from_page.figures == seen.figures
    assert from_page.pairs.equals(seen.pairs)


def test_the_map_holds_the_answer(found, seen: PlanView) -> None:
    best = seen.pairs[seen.pairs["best"]]
    assert len(best) == 1
    pair = tuple(found.disaggregated.values.values())
    assert (best.iloc[0]["prefill"], best.iloc[0]["decode"]) == pair
    assert bool(near_pairs(seen)["best"].any()) and len(near_pairs(seen)) <= 81
    shares = seen.pairs["share"].between(0, 1)
    assert shares.all()


def test_charts_are_charts(seen: PlanView) -> None:
    for chart in (map_chart(seen), size_chart(seen, 0.9), curve_chart(seen, 0.9)):
        assert len(chart.to_dict()["layer"]) >= 2
    rows = {row[0]: row[1:] for row in seen.table().rows}
    assert rows["GPUs"] == [show(seen.figures[name]["GPUs"]) for name in seen.figures]


def test_what_is_copied_gives_the_same(seen: PlanView) -> None:
    scenario = scenario_of(SMALL, {}, shown=True)
    script = python_text(scenario, SMALL).replace('found.save("plan")\n', "")
    names: dict = {}
    exec(script, names)
    assert names["found"].answer() == seen.answer
    command = command_of(toml_of(scenario), "t.toml", words=("search plan", *command_words(SMALL)))
    last = shlex.split(command.splitlines()[-1])
    assert last[:3] == ["mltwin", "search", "plan"] and last[3] == "t.toml"
    toml = command.partition("<<'END'\n")[2].partition("\nEND")[0]
    assert mt.Scenario.parse(tomllib.loads(toml)) == scenario


def test_the_answer_opens_on_the_serving_page(found, seen: PlanView) -> None:
    """Its scenario there runs as the plan's does: the same digest."""
    view = serving_view(SMALL, seen.best, seen.counts[seen.best])
    data = serving_choices.scenario_data({**serving_choices.DEFAULTS, **view}, {})
    there = mt.Scenario.parse(data)
    here = found.found[found.best].answer_scenario
    assert there.run(0).digest == here.run(0).digest


def test_no_plan_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(mt.InputError, match="no plan"):
        view_of(tmp_path)
    (tmp_path / "found.json").write_text('{"kind": "goodput"}')
    with pytest.raises(mt.InputError, match="no plan"):
        view_of(tmp_path)


def drawn(**choices: Any) -> AppTest:
    return drawn_page("planner", **choices)


def test_the_page_draws_a_link_and_follows_its_controls(seen: PlanView) -> None:
    link = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in SMALL.items()
        if value != DEFAULTS[name]
    }
    app = drawn(**link)
    assert not app.error and not app.warning
    assert f"= {seen.figures[seen.best]['GPUs']:g} GPUs" in app.success[0].value
    values = {metric.label: metric.value for metric in app.metric}
    assert values["GPUs"] == show(seen.figures[seen.best]["GPUs"])
    assert values["TTFT p99 (ms)"] == show(seen.figures[seen.best]["p99_ttft_ms"])
    toggle = next(t for t in app.toggle if t.label == "Decode on other GPUs")
    toggle.set_value(True).run()
    assert [box.label for box in app.selectbox].count("Decode GPU") == 1
    assert not app.exception and "true" in app.query_params["other"]


def test_an_slo_out_of_reach_is_one_line() -> None:
    app = drawn(requests="300", seeds="1", most="2", ttft_ms="1.0", rate="100.0")
    assert len(app.error) == 1 and "No cluster up to 2" in app.error[0].value


def test_a_link_to_nothing_gives_way_to_the_defaults() -> None:
    app = drawn(most="100000", requests="500", seeds="1")
    assert "could not be followed" in app.warning[0].value and not app.error
    assert app.success
