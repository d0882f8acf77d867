"""Error bars of runs: paired draws, intervals in every form of a result, and what has none."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mltwin as mt
from mltwin.models.gpu.draw import COMPOSITION_SIGMA
from mltwin.models.gpu.profile import load_profile
from mltwin.uncertainty import (
    ErrorBars,
    coverage,
    interval_text,
    mean_interval,
    paired_difference,
    spread_of,
)

SCENARIO = {
    "system": "serving",
    "name": "small",
    "workload": {"requests": 60, "rate": 8.0},
    "model": {"name": "llama-3.1-8b"},
    "cluster": {"mixed": {"replicas": 2}},
    "slo": {"ttft_ms": 60.0, "tpot_ms": 9.0},
}
DRAWS = 6


def scenario(**changes: Any) -> mt.Scenario:
    return mt.Scenario.parse(SCENARIO).changed(changes)


def profile_file(folder: Path, factor: float) -> str:
    """The H100 with its stated errors scaled and nothing assumed, in a file of its own."""
    profile = load_profile("h100-sxm-80gb")
    rows = [
        dataclasses.replace(row, sigma=factor * row.sigma, median=factor * row.median)
        for row in profile.provenance
    ]
    for name in ("host", *COMPOSITION_SIGMA):
        rows.append(dataclasses.replace(rows[0], operator=name, sigma=0.0, median=0.0))
    path = folder / f"gpu-{factor}.json"
    path.write_text(dataclasses.replace(profile, provenance=tuple(rows)).to_json())
    return str(path)


@pytest.fixture(scope="module")
def plain() -> mt.Result:
    return scenario().run()


@pytest.fixture(scope="module")
def barred() -> mt.Result:
    return scenario().run(error_bars=DRAWS, workers=1)


def test_the_run_itself_is_the_same(plain: mt.Result, barred: mt.Result) -> None:
    assert barred.digest == plain.digest and barred.metrics == plain.metrics
    assert plain.error_bars is None and "error_bars" not in plain.summary()


def test_every_metric_has_its_draws(barred: mt.Result) -> None:
    bars = barred.error_bars
    assert bars is not None and bars.draws == DRAWS
    assert set(bars.values) == set(barred.metrics) == set(bars.intervals)
    table = barred.frame("error_bars")
    assert list(table) == ["draw", "metric", "value"]
    assert len(table) == DRAWS * len(barred.metrics)
    assert len(set(bars.values["p50_tpot_ms"])) == DRAWS
    assert len(set(bars.values["prompt_tokens"])) == 1  # the same requests
    for metric in ("p50_ttft_ms", "p99_tpot_ms", "mean_e2e_ms", "request_goodput"):
        low, high = bars.intervals[metric]
        assert 0 < low < high < 3 * low
        np.testing.assert_allclose((low, high), np.quantile(bars.values[metric], [0.025, 0.975]))


def test_a_draw_is_a_run_of_its_own(barred: mt.Result) -> None:
    """What the table says of a draw is what that draw gives when it is run alone."""
    again = scenario().redraw(barred, 3)
    bars = barred.error_bars
    assert bars is not None
    assert again.metrics == {name: values[3] for name, values in bars.values.items()}
    twin = scenario().redraw(barred, 3, reference=True)
    assert twin.digest == again.digest != barred.digest


def test_threads_change_nothing(barred: mt.Result) -> None:
    threaded = scenario().run(error_bars=DRAWS, workers=4)
    for name, column in barred.tables["error_bars"].items():
        np.testing.assert_array_equal(threaded.tables["error_bars"][name], column)


def test_without_error_the_bars_are_points(tmp_path: Path) -> None:
    exact = scenario(**{"cluster.mixed.gpu": profile_file(tmp_path, 0.0)})
    result = exact.run(error_bars=2, workers=1)
    assert exact.redraw(result, 1).digest == result.digest
    assert result.error_bars is not None
    for metric, (low, high) in result.error_bars.intervals.items():
        assert low == high == result.metrics[metric]


def test_more_error_is_wider(tmp_path: Path) -> None:
    widths = []
    for factor in (0.5, 3.0):
        gpu = profile_file(tmp_path, factor)
        bars = scenario(**{"cluster.mixed.gpu": gpu}).run(error_bars=16).error_bars
        assert bars is not None
        low, high = bars.intervals["p50_tpot_ms"]
        widths.append(high / low - 1)
    assert widths[1] > 2.5 * widths[0] > 0


def test_results_show_them(barred: mt.Result) -> None:
    summary = barred.summary()
    json.dumps(summary, allow_nan=False)
    found = summary["error_bars"]
    assert found["draws"] == DRAWS and found["level"] == 0.95
    assert found["intervals"]["p99_ttft_ms"] == list(barred.error_bars.intervals["p99_ttft_ms"])
    latencies, totals = barred.report()
    text = barred.error_bars.text("p50_tpot_ms")
    assert ".." in text and text in str(latencies) and text in latencies.markdown()
    assert "6 draws" in latencies.caption and "6 draws" in totals.caption
    assert totals.columns == ["metric", "value", "95 %", "unit"]
    row = next(row for row in totals.rows if row[0] == "request_goodput")
    assert row[2] == barred.error_bars.text("request_goodput")


def test_they_are_stored_and_read_back(tmp_path: Path, barred: mt.Result) -> None:
    back = mt.Result.load(barred.save(tmp_path))
    assert back.digest == barred.digest and back.error_bars is not None
    assert back.error_bars.data() == barred.error_bars.data()
    assert back.summary() == barred.summary()


def test_other_limits_drop_them(barred: mt.Result) -> None:
    """Goodput of the draws was counted against the limits of the run."""
    assert barred.with_limits({"ttft": 1.0}).error_bars is None  # type: ignore[attr-defined]
    assert barred.error_bars is not None


def test_progress_reaches_the_end() -> None:
    seen: list[float] = []
    scenario().run(error_bars=3, workers=1, progress=lambda share, now: seen.append(share))
    assert seen == sorted(seen) and seen[-1] == 1.0


@pytest.fixture(scope="module")
def compared() -> mt.Comparison:
    base = scenario(name="one")
    same = base.changed({"name": "same"})
    changes = {"name": "sjf", "policy.priority": "shortest_job", "cluster.mixed.replicas": 1}
    return mt.compare([base, same, base.changed(changes)], error_bars=DRAWS, workers=2)


def test_policies_meet_the_same_draws(compared: mt.Comparison) -> None:
    assert compared.difference_bars("same", "p50_tpot_ms") == (0.0, 0.0)
    one, other = (compared.runs[name][0].error_bars for name in ("one", "sjf"))
    assert one is not None and other is not None
    by_hand = other.values["p50_tpot_ms"] / one.values["p50_tpot_ms"] - 1
    expected = np.quantile(by_hand, [0.025, 0.975])
    np.testing.assert_allclose(compared.difference_bars("sjf", "p50_tpot_ms"), expected)
    # Paired, what both share cancels: the difference is surer than either.
    alone = np.std(other.values["p50_tpot_ms"]) / np.mean(other.values["p50_tpot_ms"])
    assert np.std(by_hand) < 0.7 * alone


def test_comparisons_show_them(compared: mt.Comparison) -> None:
    table = compared.table(["p50_tpot_ms", "completed"])
    first = table.rows[0]
    assert ".." in str(first[1]) and ".." in str(first[5]) and "%" in str(first[5])
    assert table.rows[1][1] == 60 and table.rows[1][5] == "+0.0 %"
    assert "6 draws" in table.caption
    data = compared.data()
    json.dumps(data, allow_nan=False)
    against = data["sjf"][0]["error_bars"]["vs_first"]["p50_tpot_ms"]
    assert against == list(compared.difference_bars("sjf", "p50_tpot_ms") or ())


def test_seeds_and_draws_together(tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    base = scenario(name="a")
    found = mt.compare(
        [base, base.changed({"name": "b", "cluster.mixed.replicas": 1})],
        seeds=[0, 1],
        error_bars=3,
        workers=2,
        store=tmp_path,
        progress=lambda done, n: steps.append((done, n)),
    )
    assert steps[-1] == (16, 16) and [done for done, _ in steps] == list(range(1, 17))
    stored = [mt.Result.load(path.parent) for path in tmp_path.glob("*/run.json")]
    assert len(stored) == 4 and all(run.error_bars is not None for run in stored)
    low, high = found.difference_bars("b", "p50_tpot_ms") or (0, 0)
    assert 0 < low <= high
    assert "2 seeds" in found.table().caption


def test_runs_without_bars_compare_as_before() -> None:
    found = mt.compare([scenario(name="a"), scenario(name="b")], seeds=[0, 1])
    assert found.difference_bars("b", "p50_tpot_ms") is None
    assert isinstance(found.table(["p50_tpot_ms"]).rows[0][1], float)
    assert "error_bars" not in found.data()["a"][0]
    assert "by chance" in found.table().caption


def result_with(values: dict[str, list[float]]) -> mt.Result:
    made = mt.Result({name: numbers[0] for name, numbers in values.items()})
    bars = ErrorBars(
        {n: np.array(v, float) for n, v in values.items()}, len(next(iter(values.values())))
    )
    made.tables["error_bars"] = bars.columns()
    return made


def test_what_some_draw_lacks_has_no_interval() -> None:
    bars = ErrorBars.of_metrics([{"a": 1.0, "b": 2.0}, {"a": 3.0}])
    assert bars.interval("b") is None and bars.text("b") == "-" and bars.interval("c") is None
    assert list(bars.intervals) == ["a"] and bars.interval("a", level=1.0) == (1.0, 3.0)
    back = ErrorBars.of_columns(bars.columns())
    assert list(back.values) == ["a", "b"] and np.isnan(back.values["b"][1])


def test_pairs_that_do_not_fit_have_no_difference() -> None:
    one, two = result_with({"a": [1.0, 2.0]}), result_with({"a": [2.0, 3.0]})
    assert paired_difference([two], [one], "a") == pytest.approx((0.5125, 0.9875))
    assert paired_difference([two], [one], "b") is None
    assert paired_difference([two], [result_with({"a": [1.0, 2.0, 3.0]})], "a") is None
    assert paired_difference([two], [result_with({"a": [0.0, 2.0]})], "a") is None
    assert paired_difference([two], [mt.Result({"a": 1.0})], "a") is None
    assert mean_interval([one, two], "a") == pytest.approx((1.525, 2.475))
    assert mean_interval([one, mt.Result({"a": 1.0})], "a") is None


def test_intervals_as_text() -> None:
    assert interval_text((31.25, 33.0)) == "31.25..33"
    assert interval_text((60.0, 60.0)) == "60"
    assert spread_of(np.array([])) is None


def test_coverage_counts_bounds() -> None:
    assert coverage([(0, 1), (0, 1), (2, 3), (5, 6)], [0.5, 1.0, 4.0, 5.0]) == 0.75
    for intervals, measured in (([], []), ([(0, 1)], [1.0, 2.0])):
        with pytest.raises(mt.InputError, match="give one"):
            coverage(intervals, measured)
    with pytest.raises(mt.InputError, match="NaN"):
        coverage([(0, np.nan)], [1.0])


@pytest.mark.parametrize("draws", [1, 0, -3, 10_001, 2.5, True, "ten"])
def test_numbers_of_draws_that_cannot_be(draws: Any) -> None:
    for call in (lambda: scenario().run(error_bars=draws), lambda: compare_one(draws)):
        with pytest.raises(mt.InputError, match=r"error_bars: .* draws"):
            call()


def compare_one(draws: Any) -> mt.Comparison:
    return mt.compare([scenario()], error_bars=draws)


def test_a_profile_that_states_no_error_is_refused(tmp_path: Path) -> None:
    bare = dataclasses.replace(load_profile("h100-sxm-80gb"), provenance=())
    path = tmp_path / "bare.json"
    path.write_text(bare.to_json())
    gpu = scenario(**{"cluster.mixed.gpu": str(path)})
    gpu.run()
    with pytest.raises(mt.InputError, match=r"cluster\.mixed: gpu: .*states no error of its fit"):
        gpu.run(error_bars=2)


def test_any_system_with_draws_gets_error_bars() -> None:
    class Fitted(mt.Scenario):
        """A system with one fitted number, known to 10 %."""

        def simulate(self, seed: int, **options: Any) -> mt.Result:
            """The number itself."""
            return mt.Result({"x": 10.0})

        def redraw(self, result: mt.Result, index: int, **options: Any) -> mt.Result:
            """Nine, ten or eleven."""
            return mt.Result({"x": result.metrics["x"] + index - 1})

    result = Fitted().run(error_bars=3)
    assert result.error_bars is not None
    assert result.error_bars.interval("x", level=1.0) == (9.0, 11.0)
    assert "95 %" in str(result.table()) and result.digest == Fitted().run().digest
    assert result.summary()["error_bars"]["draws"] == 3


def test_systems_without_fitted_models_say_so() -> None:
    class Bare(mt.Scenario):
        """A system that nothing was fitted for."""

        def simulate(self, seed: int, **options: Any) -> mt.Result:
            """One number."""
            return mt.Result({"x": 1.0})

    with pytest.raises(mt.InputError, match=r"error_bars: .*no fitted parameters"):
        Bare().run(error_bars=2)
