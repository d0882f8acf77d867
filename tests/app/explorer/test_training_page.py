"""The training page: a step as the command line has it, plans, and what does not fit."""

import pytest
from drawn_page import drawn_page

import mltwin as mt
from mltwin.app.explorer.pages.training import DEFAULTS, FIELDS
from mltwin.training import TrainingScenario


def test_a_step_shows_its_run() -> None:
    page = drawn_page("training", **{"plan.dp": "4", "batch.tokens": "4096"})
    assert not page.error
    changes = {"plan.dp": 4, "batch.tokens": 4096}
    expected = mt.run(TrainingScenario().changed(changes)).metrics["step_ms"]
    assert float(page.metric[0].value) == pytest.approx(expected, rel=0.01)


def test_plans_are_listed() -> None:
    page = drawn_page("training", mode="plans", gpus="8", sequences="8")
    assert not page.error
    assert float(page.metric[1].value) > 0.2


def test_what_does_not_fit_is_told() -> None:
    page = drawn_page("training", model="llama-3.1-405b")
    assert "GiB" in page.error[0].value
    none = drawn_page("training", mode="plans", model="llama-3.1-405b", gpus="2", sequences="8")
    assert "no plan fits" in none.error[0].value


def test_choices_are_fields_of_the_scenario() -> None:
    base = TrainingScenario()
    for fields in FIELDS.values():
        for path in fields:
            assert base.set(path, DEFAULTS[path]) == base


@pytest.mark.parametrize("choice", ["mode"])
def test_a_wrong_link_is_told_in_a_line(choice: str) -> None:
    assert "there is no 'mesh'" in drawn_page("training", **{choice: "mesh"}).error[0].value


@pytest.mark.parametrize(("choice", "value"), [("gpus", "99999999"), ("sequences", "0")])
def test_a_search_that_is_too_large_gives_way_to_the_defaults(choice: str, value: str) -> None:
    page = drawn_page("training", mode="plans", **{choice: value})
    assert "could not be followed" in page.warning[0].value


@pytest.mark.parametrize(
    ("choice", "value"),
    [("model", "--refused"), ("model", "/etc/passwd"), ("gpu", "x.json"), ("recipe", "own"),
     ("batch.tokens", "-5")],
)  # fmt: skip
def test_plans_of_nothing_known_are_told_in_a_line(choice: str, value: str) -> None:
    page = drawn_page("training", mode="plans", **{choice: value})
    assert len(page.error) == 1 and "\n" not in page.error[0].value
