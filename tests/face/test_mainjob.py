"""The main job, on little traffic."""

import json
import math
from dataclasses import replace

import pandas as pd
import pytest
from rich.console import Console

import mltwin as mt
from mltwin.mainjob import (
    CHAT_CLASSES,
    LOADS,
    LONG_CLASSES,
    Cell,
    SloClass,
    Study,
    Traffic,
    best_variant,
    default_traffic,
    nice,
    study,
    traffic_of,
)
from mltwin.mainjob_report import (
    answer,
    capacity,
    capacity_table,
    load_table,
    report_text,
    tried_table,
    winner_table,
    write_study,
)


@pytest.fixture(scope="module")
def found(tmp_path_factory) -> Study:
    folder = tmp_path_factory.mktemp("runs")
    traffic = Traffic("azure-conv-synthetic", seeds=(0, 1))
    return study(traffic, requests=400, store=folder, workers=2)


def test_it_meets_every_set_up_at_every_load(found: Study) -> None:
    assert [s.family for s in found.chosen] == ["colocated", "disaggregated", "mixed pool"]
    assert len(found.cells) == 3 * len(found.rates) * 2 and len(found.rates) == len(LOADS)
    assert {(c.set_up.family, c.rate, c.seed) for c in found.cells} == {
        (s.family, rate, seed) for s in found.chosen for rate in found.rates for seed in (0, 1)
    }
    assert all(c.metrics["requests"] == 400 for c in found.cells)


def test_attainment_falls_with_load(found: Study) -> None:
    for set_up in found.chosen:
        mine = [c for c in found.cells if c.set_up is set_up and c.seed == 0]
        light = next(c for c in mine if c.rate == found.rates[0])
        heavy = next(c for c in mine if c.rate == found.rates[-1])
        for slo in CHAT_CLASSES:
            assert heavy.attainment[slo.name] <= light.attainment[slo.name]


def test_stricter_classes_are_harder(found: Study) -> None:
    for cell in found.cells:
        shares = [cell.attainment[slo.name] for slo in CHAT_CLASSES]
        assert shares == sorted(shares)


def test_the_chosen_are_the_best_tried(found: Study) -> None:
    for set_up in found.chosen:
        family = [c for c in found.tried if c.set_up.family == set_up.family]
        means = {c.set_up.variant: sum(c.attainment.values()) for c in family}
        assert means[set_up.variant] == pytest.approx(max(means.values()), abs=3e-4)


def test_tables_and_sentences(found: Study) -> None:
    assert len(load_table(found).rows) == 3 * len(found.rates)
    assert len(winner_table(found).rows) == len(found.rates)
    assert len(capacity_table(found).rows) == 3
    assert len(tried_table(found).rows) == len(found.tried)
    assert len(answer(found)) == 3
    text = report_text(found)
    assert "overview.png" in text and "Seeds: 0, 1" in text


def test_the_folder_of_results(tmp_path, found: Study) -> None:
    written = write_study(found, tmp_path / "main")
    assert all(path.stat().st_size > 500 for path in written)
    manifest = json.loads((tmp_path / "main" / "run.json").read_text())
    assert manifest["rates"] == list(found.rates) and len(manifest["digests"]) == len(found.cells)
    runs = pd.read_parquet(tmp_path / "main" / "runs.parquet")
    assert len(runs) == len(found.cells)
    again = mt.Scenario.parse(manifest["set_ups"][0]["scenario"])
    assert again == found.chosen[0].scenario


def test_equal_work_gives_equal_digests(found: Study) -> None:
    again = study(found.traffic, requests=400, workers=1)
    assert [c.digest for c in again.cells] == [c.digest for c in found.cells]


def with_shares(found: Study, shares: list[float]) -> Study:
    """The study with these shares of the chat class at rising load for all set-ups."""
    by_rate = dict(zip(found.rates, shares, strict=True))
    cells = [replace(c, attainment={"chat": by_rate[c.rate]}) for c in found.cells]
    return replace(found, cells=cells)


def test_capacity_by_hand(found: Study) -> None:
    chat = CHAT_CLASSES[1]
    rates = found.rates
    half = with_shares(found, [1.0, 0.95, 0.85, 0.5, 0.2, 0.0])
    assert capacity(half, "colocated", chat) == pytest.approx((rates[1] + rates[2]) / 2)
    assert capacity(with_shares(found, [0.8] + [0.1] * 5), "colocated", chat) == 0
    assert capacity(with_shares(found, [0.99] * 6), "colocated", chat) == math.inf


def test_ties_go_to_the_lower_tail(found: Study) -> None:
    one, two = found.tried[:2]

    def cell(base: Cell, share: float, tail: float) -> Cell:
        return replace(base, attainment={"chat": share}, metrics={"p99_ttft_ms": tail})

    assert best_variant([cell(one, 0.9, 5.0), cell(two, 0.9, 4.0)]) is two.set_up
    assert best_variant([cell(one, 0.91, 5.0), cell(two, 0.9, 4.0)]) is one.set_up


def test_too_few_requests_have_no_knee() -> None:
    with pytest.raises(mt.InputError, match="use more requests"):
        study(Traffic("azure-conv-synthetic", seeds=(0,)), requests=2)


@pytest.mark.parametrize(("rate", "rounded"), [(0.123, 0.12), (9.96, 10), (47, 47), (183, 180)])
def test_nice_rates(rate: float, rounded: float) -> None:
    assert nice(rate) == pytest.approx(rounded)


@pytest.mark.data
@pytest.mark.slow
def test_real_traces(data_dir, monkeypatch) -> None:
    """The mean attainment of the synthetic trace is near that of the trace it was made to."""
    monkeypatch.setenv("MLTWIN_DATA", str(data_dir))
    made, real = (
        study(Traffic(name, seeds=(0,))) for name in ("azure-conv-synthetic", "azure-conv-2023")
    )
    assert made.knee == pytest.approx(real.knee, rel=0.35)


def test_a_trace_by_name_gets_the_classes_of_the_whole_job() -> None:
    long, plain = traffic_of("mooncake-conv"), traffic_of("some/file.csv")
    assert long.prefix_caching and long.classes == LONG_CLASSES
    assert not plain.prefix_caching and plain.classes == CHAT_CLASSES and plain.seeds == (0,)
    assert default_traffic()[0] == traffic_of("azure-conv-synthetic")


def test_where_all_fail_nobody_wins(found: Study) -> None:
    hopeless = SloClass("hopeless", 1e-6, 1e-6)
    cells = [replace(cell, attainment={"hopeless": 0.0}) for cell in found.cells]
    none = replace(found, traffic=replace(found.traffic, classes=(hopeless,)), cells=cells)
    table = winner_table(none)
    assert all(row[1] == "none (best 0 %)" for row in table.rows)


def test_the_tables_fit_into_100_columns(found: Study) -> None:
    for table in (load_table(found), capacity_table(found)):
        made = replace(table, caption="").rich()
        assert Console(width=300).measure(made).maximum <= 100
