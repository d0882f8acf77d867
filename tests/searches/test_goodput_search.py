"""The goodput frontier: against queueing theory, against an exhaustive grid, and its edges."""

import json
import math
from typing import ClassVar, Literal

import numpy as np
import pytest
from pydantic import Field
from search_systems import QueueScenario, attainment_frontier, serving

import mltwin as mt
from mltwin.searches.frontier import Frontier


@pytest.fixture(scope="module")
def queue() -> Frontier:
    return mt.goodput(QueueScenario(customers=100_000), rate_field="rate", tolerance=0.005, seeds=8)


def test_it_finds_the_closed_form_of_a_queue(queue: Frontier) -> None:
    """M/M/1: 90 % within 10 s up to a rate of 1 - ln(10) / 10."""
    exact = attainment_frontier(10.0, 0.9)
    assert exact == pytest.approx(0.76974, abs=1e-5)
    assert queue.rate == pytest.approx(exact, rel=0.01)
    interval = queue.interval
    assert interval is not None and interval.n == 8
    assert interval.low < exact < interval.high
    assert interval.half_width < 0.02 * exact


def test_an_error_of_three_per_cent_would_be_noticed(queue: Frontier) -> None:
    """The check above has power."""
    exact = attainment_frontier(10.0, 0.9)
    assert queue.interval is not None
    assert not queue.interval.low < 1.03 * exact < queue.interval.high
    assert not queue.interval.low < 0.97 * exact < queue.interval.high


def test_it_equals_an_exhaustive_grid_of_rates() -> None:
    scenario = serving()
    found = mt.goodput(scenario, tolerance=0.05, low=5.0, high=200.0, seeds=2)
    rates = [float(f"{5.0 * 1.05**i:.6g}") for i in range(75) if 5.0 * 1.05**i < 200]
    kept = []
    for rate in [*rates, 200.0]:
        runs = [scenario.set("workload.rate", rate).run(s).metrics for s in (0, 1)]
        kept.append(np.mean([m["slo_attainment"] for m in runs]) >= 0.9)
    first_miss = kept.index(False)
    assert 0 < first_miss < len(rates)
    assert found.rate == rates[first_miss - 1] and found.fails_at == rates[first_miss]
    assert found.runs < 2 * 40


@pytest.mark.parametrize("workers", [1, 7])
def test_the_answer_does_not_depend_on_the_workers(workers: int) -> None:
    one = mt.goodput(serving(), workers=3, seeds=3)
    other = mt.goodput(serving(), workers=workers, seeds=3)
    assert (one.rate, one.fails_at, one.by_seed) == (other.rate, other.fails_at, other.by_seed)


def test_each_seed_has_a_frontier_of_its_own() -> None:
    scenario = QueueScenario(customers=2000)
    found = mt.goodput(scenario, rate_field="rate", tolerance=0.01, seeds=[3, 4, 5])
    for seed in (3, 4, 5):
        alone = mt.goodput(scenario, rate_field="rate", tolerance=0.01, seeds=[seed])
        assert alone.rate is not None and alone.fails_at is not None
        # Interpolated between neighbouring points of the grid.
        assert alone.rate <= found.by_seed[seed] <= alone.fails_at


def test_pairs_of_rates_meet_the_same_seeds() -> None:
    found = mt.goodput(QueueScenario(customers=2000), rate_field="rate", seeds=[7, 9])
    assert all([row.seed for row in point.rows] == [7, 9] for point in found.points)
    frame = found.frame()
    assert set(frame["seed"]) == {7, 9} and len(frame) == found.runs


def test_an_slo_out_of_reach_says_what_came_closest() -> None:
    found = mt.goodput(QueueScenario(customers=2000, limit_s=0.5), rate_field="rate")
    # Even alone, a share of 1 - exp(-0.5) = 39 % is done within half a second.
    assert not found.reached and found.rate is None
    assert found.best is not None
    assert found.best.mean("slo_attainment") == pytest.approx(1 - math.exp(-0.5), abs=0.03)
    assert "No rate keeps slo_attainment >= 0.9" in found.answer()[0]
    assert json.loads(json.dumps(found.data()))["rate"] is None


def test_too_few_requests_are_never_too_much() -> None:
    found = mt.goodput(QueueScenario(customers=3, limit_s=50.0), rate_field="rate")
    assert found.rate is not None and found.fails_at is None
    assert "no rate that was tried is too much" in found.notes[0]


def test_bounds_are_kept() -> None:
    found = mt.goodput(QueueScenario(customers=2000), rate_field="rate", low=0.2, high=0.4)
    assert found.rate == 0.4 and found.fails_at is None
    assert all(0.2 <= point.rate <= 0.4 for point in found.points)
    found = mt.goodput(QueueScenario(customers=2000), rate_field="rate", low=0.95, high=1.2)
    assert found.rate is None and min(p.rate for p in found.points) == 0.95


def test_other_metrics_have_a_frontier_too() -> None:
    """M/M/1: a mean sojourn of at most 4 s up to a rate of 3/4."""
    found = mt.goodput(
        QueueScenario(customers=50_000),
        rate_field="rate",
        metric="mean_sojourn_s",
        most=4.0,
        tolerance=0.01,
        seeds=8,
    )
    assert found.interval is not None and found.interval.low < 0.75 < found.interval.high
    assert found.rate == pytest.approx(0.75, rel=0.03)


class HillScenario(mt.Scenario):
    """Attainment falls, then rises again, as it does where an autoscaler wakes up."""

    system: Literal["toy-hill"] = "toy-hill"
    rate: float = Field(1.0, gt=0)
    clients: int = Field(4, ge=1)
    bad: ClassVar[tuple[float, float]] = (2.4, 2.9)

    def simulate(self, seed: int, **options: object) -> mt.Result:
        del options
        good = self.rate < 4 and not self.bad[0] < self.rate < self.bad[1] and self.clients < 37
        return mt.Result({"slo_attainment": 1.0 if good else 0.0, "seed_s": float(seed)})


def test_a_dip_is_noticed_and_said() -> None:
    """Bisection between 1 and 4 would step over the dip; the look around does not."""
    found = mt.goodput(HillScenario(), rate_field="rate", seeds=2)
    assert found.rate is not None and found.rate <= 2.4 < found.fails_at <= 2.9
    assert any("not monotone" in note for note in found.notes)
    unchecked = mt.goodput(HillScenario(), rate_field="rate", seeds=2, check=False)
    assert unchecked.rate == pytest.approx(4.0, rel=0.03)


def test_fields_of_whole_numbers_are_found_exactly() -> None:
    found = mt.goodput(HillScenario(), rate_field="clients", seeds=2)
    assert found.rate == 36 and found.fails_at == 37 and isinstance(found.rate, int)


def test_seeds_far_apart_have_an_interval_on_whole_numbers_too() -> None:
    """Frontiers at 10, 40 and 160: the mean over seeds sits at one of them, each is found."""

    class Spread(HillScenario):
        system: Literal["toy-spread"] = "toy-spread"  # type: ignore[assignment]

        def simulate(self, seed: int, **options: object) -> mt.Result:
            del options
            good = self.clients <= (10, 40, 160)[seed]
            return mt.Result({"slo_attainment": 1.0 if good else 0.5, "seed_s": float(seed)})

    found = mt.goodput(Spread(), rate_field="clients", seeds=3, least=0.8)
    assert found.rate == 40
    assert [int(found.by_seed[seed]) for seed in range(3)] == [10, 40, 160]
    assert found.interval is not None and found.interval.low < 40 < found.interval.high


def test_seeds_that_change_nothing_are_run_once() -> None:
    class Calm(HillScenario):
        system: Literal["toy-calm"] = "toy-calm"  # type: ignore[assignment]

        def simulate(self, seed: int, **options: object) -> mt.Result:
            return super().simulate(0, **options)

    found = mt.goodput(Calm(), rate_field="clients", seeds=5)
    assert found.rate == 36 and found.seeds == (0,) and found.interval is None
    assert any("all seeds give the same run" in note for note in found.notes)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rate_field": "rat"}, "unknown key"),
        ({"rate_field": "limit_s", "low": 3.0, "high": 2.0}, "not below"),
        ({"rate_field": "rate", "tolerance": 0.0}, "tolerance"),
        ({"rate_field": "rate", "low": -1.0}, "is no rate"),
        ({"rate_field": "rate", "metric": "slo"}, "no metric 'slo'"),
        ({"rate_field": "rate", "seeds": 0}, "no seeds"),
        ({"rate_field": "rate", "least": 0.9, "most": 0.1}, "one of least and most"),
        ({"rate_field": "rate", "backend": "smoke"}, "backend"),
        ({"rate_field": "system"}, "is no rate"),
    ],
)
def test_bad_questions_are_refused(options: dict, words: str) -> None:
    with pytest.raises(mt.InputError, match=words):
        mt.goodput(QueueScenario(customers=50), **options)


def test_a_scenario_without_slo_says_so() -> None:
    with pytest.raises(mt.InputError, match=r"slo\.ttft_ms"):
        mt.goodput(serving(**{"slo.ttft_ms": None, "slo.tpot_ms": None}))


def test_it_is_written_to_files(tmp_path) -> None:
    found = mt.goodput(serving(name="<b>=1+1"), seeds=2, tolerance=0.1)
    written = found.save(tmp_path / "out")
    assert [path.name for path in written] == [
        "found.json",
        "rows.csv",
        "found.svg",
        "report.html",
    ]
    data = json.loads(written[0].read_text("utf-8"))
    assert data["rate"] == found.rate and len(data["points"]) == len(found.points)
    page = written[3].read_text("utf-8")
    assert "<b>=1" not in page and "&lt;b&gt;=1" in page
    again = mt.Scenario.parse(data["scenario"])
    assert again == found.scenario


def test_a_store_answers_without_running_again(tmp_path) -> None:
    seen: list[str] = []
    first = mt.goodput(serving(), seeds=2, tolerance=0.1, store=tmp_path)
    again = mt.goodput(
        serving(),
        seeds=2,
        tolerance=0.1,
        store=tmp_path,
        progress=lambda _, text: seen.append(text),
    )
    assert again.data() == first.data()
    assert all(
        a.wall_s == b.wall_s
        for p, q in zip(first.points, again.points, strict=True)
        for a, b in zip(p.rows, q.rows, strict=True)
    )


def test_progress_never_goes_back() -> None:
    shares: list[float] = []
    mt.goodput(serving(), seeds=2, tolerance=0.1, progress=lambda share, _: shares.append(share))
    assert shares == sorted(shares) and shares[-1] == 1.0
