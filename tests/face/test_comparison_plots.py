"""Pictures of comparisons: what is drawn is what was computed."""

import numpy as np
import pandas as pd
import pytest
from dice_system import DiceScenario

import mltwin as mt
from mltwin.comparison_plots import plot_cdfs, plot_forest, plot_over_time
from mltwin.field_plots import front, heat_grid, plot_heat, plot_pareto
from mltwin.plots import figure_bytes
from mltwin.samples import Sample, sample_of, table_samples, windowed

HOSTILE = ["_hidden", "$\\frac{", "<script>|", "\u6f22\u5b57"]


@pytest.fixture(scope="module")
def two() -> mt.Comparison:
    scenarios = [DiceScenario(name="base"), DiceScenario(name="slower", slow=1.5, noise=0.01)]
    return mt.compare(scenarios, seeds=range(4), workers=1)


def lines(figure) -> dict[str, np.ndarray]:
    """Data of the named lines of a figure's first panel."""
    found = {line.get_label(): line.get_xydata() for line in figure.axes[0].get_lines()}
    return {name: data for name, data in found.items() if not name.startswith("_child")}


def test_a_limit_is_told_out_of_the_way_of_the_legend() -> None:
    from mltwin.plots import draw_limit, new_figure, tell_apart

    with new_figure(1, 1, (4.0, 3.0)) as (figure, axes):
        panel = axes[0, 0]
        for name in ("one", "a rather long name of a variant"):
            panel.plot([1, 10], [0, 1], label=name)
        draw_limit(panel, 9.0, "SLO")
        draw_limit(panel, None, "none")
        tell_apart(panel)
    figure_bytes(figure, "png")
    assert panel.get_title(loc="right") == "dashed: SLO 9" and not panel.texts
    legend, frame = panel.get_legend(), panel.get_window_extent()
    told = panel.title.get_window_extent(), panel._right_title.get_window_extent()
    assert all(text.y0 >= frame.y1 for text in told)
    assert legend.get_window_extent().y1 <= frame.y1


def test_columns_by_name(two: mt.Comparison) -> None:
    run = two.runs["base"][0]
    assert set(table_samples(run)) == {"waits.wait_ms", "waits.time_s"}
    sample = sample_of(run, "wait_ms")
    assert sample.unit == "ms" and len(sample.values) == 200
    assert np.array_equal(sample.at_s, run.tables["waits"]["time_s"])
    assert sample_of(run, "waits.time_s").at_s is None
    with pytest.raises(mt.InputError, match="did you mean"):
        sample_of(run, "waits.wait")
    run.tables["more"] = {"wait_ms": np.ones(2)}
    with pytest.raises(mt.InputError, match="several tables"):
        sample_of(run, "wait_ms")
    del run.tables["more"]


def test_windows_of_time() -> None:
    sample = Sample.of([1.0, 2.0, np.nan, 4.0, 8.0], [0.0, 0.9, 1.5, 2.0, 3.0])
    edges = np.array([0.0, 1.0, 2.0, 3.0])
    mean = windowed(sample, edges, "mean")
    assert mean[0] == 1.5 and np.isnan(mean[1]) and mean[2] == 6.0  # the last bound is within
    assert windowed(sample, edges, "count").tolist() == [2.0, 0.0, 2.0]
    assert windowed(sample, 2 * edges, "rate").tolist() == [1.0, 1.0, 0.0]
    assert windowed(sample, edges, "max")[2] == 8 and windowed(sample, edges, "p50")[2] == 6
    for wrong in ("median", "p101", "p"):
        with pytest.raises(mt.InputError, match="statistic"):
            windowed(sample, edges, wrong)
    with pytest.raises(mt.InputError, match="no times"):
        windowed(Sample.of([1.0]), edges, "mean")


def test_distributions_are_those_of_all_seeds(two: mt.Comparison) -> None:
    found = lines(plot_cdfs(two, "waits.wait_ms"))
    values = np.concatenate([run.tables["waits"]["wait_ms"] for run in two.runs["slower"]])
    x, y = found["slower"][:, 0], found["slower"][:, 1]
    assert x[-1] == values.max() and y[-1] == 1.0
    for value, share in zip(x, y, strict=True):
        assert share == pytest.approx(np.mean(values <= value))


def test_courses_over_time(two: mt.Comparison) -> None:
    found = lines(plot_over_time(two, "wait_ms", "mean"))
    assert set(found) == {"base", "slower"} and len(found["base"]) > 10
    with pytest.raises(mt.InputError, match="no times"):
        plot_over_time(two, "waits.time_s")


def test_the_forest_shows_each_interval(two: mt.Comparison) -> None:
    differences = two.differences(["mean_wait_ms", "refused", "requests"])
    panel = plot_forest(differences).axes[0]
    drawn = [line.get_xydata() for line in panel.get_lines()]
    row = differences.rows[0]
    for bounds in (row.together, row.interval):
        assert any(np.allclose(xy[:, 0], 100 * np.array(bounds)) for xy in drawn if len(xy) == 2)
    texts = [tick.get_text() for tick in panel.get_yticklabels()]
    assert texts == ["mean_wait_ms", "requests"]  # refused is 0: no relative size


def test_heat_maps() -> None:
    frame = pd.DataFrame({"x": [1, 1, 2], "y": ["a", "a", "b"], "m_ms": [1.0, 3.0, 5.0]})
    grid = heat_grid(frame, "x", "y", "m_ms")
    assert grid.loc["a", 1] == 2.0 and np.isnan(grid.loc["a", 2]) and grid.loc["b", 2] == 5.0
    written = [text.get_text() for text in plot_heat(frame, "x", "y", "m_ms").axes[0].texts]
    assert written == ["2", "5"]
    with pytest.raises(mt.InputError, match="no column"):
        plot_heat(frame, "x", "z", "m_ms")


def test_pareto_fronts() -> None:
    frame = pd.DataFrame(
        {
            "scenario": ["a", "b", "c", "d", "a"],
            "p99_ttft_ms": [10.0, 20.0, 20.0, 5.0, 12.0],
            "throughput": [100.0, 200.0, 150.0, 50.0, 100.0],
        }
    )
    found = front(frame, "p99_ttft_ms", "throughput").set_index("scenario")
    assert found["on_front"].to_dict() == {"a": True, "b": True, "c": False, "d": True}
    assert found.loc["a", "p99_ttft_ms"] == 11.0
    named = [t.get_text() for t in plot_pareto(frame, "p99_ttft_ms", "throughput").axes[0].texts]
    assert sorted(named) == ["a", "b", "d"]
    with pytest.raises(mt.InputError, match="neither way"):
        front(frame.assign(gpus=1), "gpus", "throughput")


@pytest.mark.filterwarnings("ignore:Glyph")
def test_any_name_is_drawn(tmp_path) -> None:
    compared = mt.compare([DiceScenario(name=name) for name in HOSTILE], workers=1)
    figure = plot_cdfs(compared, "wait_ms")
    texts = [text.get_text().strip() for text in figure.axes[0].get_legend().get_texts()]
    assert texts == compared.names
    for number, drawn in enumerate((figure, plot_forest(compared.differences()))):
        drawn.savefig(tmp_path / f"{number}.png")
    first, second = (figure_bytes(plot_cdfs(compared, "wait_ms"), "svg") for _ in range(2))
    assert first == second
    compared.plot_cdf("wait_ms", tmp_path / "c.svg")
    compared.plot_over_time("wait_ms", tmp_path / "t.png", statistic="p90")
    compared.plot_differences(tmp_path / "f.pdf")
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("c.svg", "t.png", "f.pdf"))


def test_a_comparison_draws_its_fields(tmp_path) -> None:
    scenarios = [
        DiceScenario(name=f"{slow} {waits}", slow=slow, waits=waits, refuse=waits % 3)
        for slow in (1.0, 2.0)
        for waits in (20, 30)
    ]
    compared = mt.compare(scenarios, seeds=range(2), workers=1)
    drawn = compared.plot_heat("slow", "waits", "mean_wait_ms", tmp_path / "h.png")
    assert len(drawn.axes[0].texts) == 4
    compared.plot_pareto("mean_wait_ms", "throughput", tmp_path / "p.svg")
    assert all((tmp_path / name).stat().st_size > 1000 for name in ("h.png", "p.svg"))
    with pytest.raises(mt.InputError, match="did you mean"):
        compared.plot_heat("slw", "waits", "mean_wait_ms")


def test_heat_maps_of_mixed_values() -> None:
    frame = pd.DataFrame({"x": ["lru", 3, None], "y": [1, 1, 2], "m": [1.0, 2.0, 3.0]})
    grid = heat_grid(frame, "x", "y", "m")
    values = grid.to_numpy()
    assert values.size == 6 and sorted(values[np.isfinite(values)]) == [1.0, 2.0, 3.0]
    panel = plot_heat(frame, "x", "y", "m").axes[0]
    assert [tick.get_text() for tick in panel.get_xticklabels()] == ["3", "lru", "-"]
