"""What all searches stand on: runs made once, counted, and made in as many threads as pay."""

import time
from typing import Any, Literal

import pytest
from search_systems import FleetScenario

import mltwin as mt
from mltwin.searches import runs as module
from mltwin.searches.limits import Limit, as_limits, parse_limit
from mltwin.searches.runs import Runs


class SlowScenario(mt.Scenario):
    """Takes its time."""

    system: Literal["toy-slow"] = "toy-slow"
    nap_s: float = 0.04

    def simulate(self, seed: int, **options: object) -> mt.Result:
        del options
        time.sleep(self.nap_s)
        return mt.Result({"seed_s": float(seed)})


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The workers of each round that is made."""
    seen: list[Any] = []
    made = module.run_jobs

    def run_jobs(jobs: Any, **options: Any) -> Any:
        seen.append(options["workers"])
        return made(jobs, **options)

    monkeypatch.setattr(module, "run_jobs", run_jobs)
    return seen


def test_a_run_is_made_once() -> None:
    FleetScenario.calls.clear()
    with Runs(2) as runs:
        first = runs.rows([FleetScenario(a=1), FleetScenario(a=2)])
        again = runs.rows(
            [FleetScenario(a=2), FleetScenario(a=3), FleetScenario(a=2, name="other")]
        )
    assert runs.made == 6 == len(FleetScenario.calls)
    assert again[0] == first[1] == again[2]


def test_short_runs_go_one_after_the_other(rounds: list[Any]) -> None:
    with Runs(2) as runs:
        for n in range(1, 4):
            runs.rows([FleetScenario(a=n)])
    assert rounds == [None, 1, 1]


def test_long_runs_go_together(rounds: list[Any]) -> None:
    with Runs(2) as runs:
        for n in (1, 2):
            runs.rows([SlowScenario(nap_s=0.04 + 0.001 * n)])
    assert rounds == [None, None]


def test_workers_that_are_asked_for_are_kept(rounds: list[Any]) -> None:
    with Runs(2, workers=3) as runs:
        for n in range(1, 4):
            runs.rows([FleetScenario(a=n)])
    assert rounds == [3, 3, 3]


def test_limits_as_they_are_written() -> None:
    assert parse_limit(" p99_ttft_ms <= 5e2 ") == Limit("p99_ttft_ms", 500.0, False)
    assert parse_limit("slo_attainment>=0.9").text == "slo_attainment >= 0.9"
    assert parse_limit("p99_ttft_ms=500") == Limit("p99_ttft_ms", 500.0, False)
    assert as_limits({"request_goodput": 3}) == (Limit("request_goodput", 3.0, True),)
    for text in ("p99_ttft_ms", "<=5", "a<=b", "a<=nan", "a<=inf", "gpus=3", "a<<5"):
        with pytest.raises(mt.InputError):
            parse_limit(text)


def test_what_keeps_a_limit() -> None:
    most, least = Limit("x_s", 2.0, False), Limit("y", 2.0, True)
    assert most.met(2.0) and not most.met(2.1) and not most.met(None) and not most.met(float("nan"))
    assert least.met(2.0) and not least.met(1.9) and least.better(3.0, 2.5)
    assert most.excess(3.0) == 0.5 and most.excess(1.0) == -0.5 and most.excess(None) == 1.0
