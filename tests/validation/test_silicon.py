"""Measured closed-loop runs: reading, pairing, scales that leave a configuration out, replay."""

import csv
import math
import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mltwin.sim.errors import InputError
from mltwin.validation import silicon
from mltwin.validation.silicon import Outcome, chosen, figures, fitted_pairs
from mltwin.validation.silicon_rows import read_runs

ROW = {
    "id": "a", "silicon_data_source": "db-dump/2026-01-01; silicon_concurrency=8",
    "backend": "vllm", "backend_version": "0.19.0", "model_path": "meta-llama/Llama-3.1-70B",
    "system": "h100_sxm", "precision": "fp8", "mode": "agg", "isl": 1024, "osl": 1024,
    "gemm_quant_mode": "fp8", "moe_quant_mode": "", "batch_size": 8, "tp_size": 4, "pp_size": 1,
    "attention_dp_size": 1, "moe_tp_size": 4, "moe_ep_size": 1, "silicon_ttft_ms": 120.0,
    "silicon_tpot_ms": 14.0,
}  # fmt: skip


def write(path: Path, *rows: dict) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(ROW))
        writer.writeheader()
        writer.writerows({**ROW, **row} for row in rows)
    return path


def outcomes(tmp_path: Path, count: int = 5) -> list[Outcome]:
    """Runs of ``count`` concurrencies, predicted 20 % too fast in TPOT and 10 % in TTFT."""
    rows = [
        {"id": str(i), "silicon_data_source": f"db-dump/x; silicon_concurrency={2**i}",
         "silicon_tpot_ms": 10.0 + i}
        for i in range(count)
    ]  # fmt: skip
    runs = read_runs(write(tmp_path / "rows.csv", *rows))
    return [Outcome(run, 0.9 * run.ttft_s, 0.8 * run.tpot_s, 8.0, 1.0, "") for run in runs]


def test_a_row_is_read(tmp_path: Path) -> None:
    (run,) = read_runs(write(tmp_path / "rows.csv", {}))
    assert (run.concurrency, run.prompt, run.output, run.known) == (8, 1024, 1024, True)
    assert (run.ttft_s, run.tpot_s) == (0.12, 0.014)
    assert run.sides[0].tp == 4 and not run.disaggregated


def test_repeats_count_once(tmp_path: Path) -> None:
    again = {"id": "b", "silicon_data_source": "db-dump/other; silicon_concurrency=8"}
    other = {"id": "c", "silicon_tpot_ms": 15.0}
    assert [r.row_id for r in read_runs(write(tmp_path / "r.csv", {}, again, other))] == ["a", "c"]


@pytest.mark.parametrize(
    ("change", "words"),
    [({"silicon_tpot_ms": -1}, "silicon_tpot_ms is -1"), ({"tp_size": 2.5}, "tp_size is 2.5")],
)
def test_bad_rows_name_the_place(tmp_path: Path, change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        read_runs(write(tmp_path / "rows.csv", change))


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("id,isl\n1,2\n")
    with pytest.raises(InputError, match="system"):
        read_runs(path)
    with pytest.raises(InputError, match=r"silicon_sample\.csv"):
        read_runs(tmp_path / "nothing")


def test_pairs_carry_the_deployment(tmp_path: Path) -> None:
    first = outcomes(tmp_path)[0]
    ttft, tpot = first.pairs()
    assert (ttft.metric, tpot.metric) == ("ttft_mean", "tpot_mean")
    assert (ttft.model, ttft.mode, ttft.gpu) == ("llama-3.1-70b", "agg", "h100_sxm")
    assert ttft.error_pct == pytest.approx(-10) and tpot.error_pct == pytest.approx(-20)


def test_load_is_judged_by_the_knee(tmp_path: Path) -> None:
    bins = [o.load_bin for o in outcomes(tmp_path, 6)]  # concurrency 1 ... 32, knee 8
    assert bins == ["below", "below", "at", "at", "at", "past"]
    assert replace(outcomes(tmp_path)[0], knee=math.nan).load_bin == "-"


def test_a_scale_comes_from_the_other_configurations(tmp_path: Path) -> None:
    found = outcomes(tmp_path)
    assert all(p.error_pct == pytest.approx(0) for p in fitted_pairs(found))
    # One outlier does not help itself: its scale is that of the others.
    odd = replace(found[2], tpot_s=found[2].run.tpot_s * 4)
    pairs = [p for p in fitted_pairs([*found[:2], odd, *found[3:]]) if p.metric == "tpot_mean"]
    errors = np.array([p.error_pct for p in pairs])
    assert errors[2] == pytest.approx(100 * (4 / 0.8 - 1))
    assert abs(np.delete(errors, 2)).max() == pytest.approx(0)


def test_repeats_of_a_configuration_are_left_out_together(tmp_path: Path) -> None:
    rows = [{"id": "a"}, {"id": "b", "silicon_tpot_ms": 28.0}]
    runs = read_runs(write(tmp_path / "rows.csv", *rows))
    assert runs[0].config == runs[1].config
    found = [Outcome(run, run.ttft_s, 0.5 * run.tpot_s, 8.0, 1.0, "") for run in runs]
    assert [p.error_pct for p in fitted_pairs(found) if p.metric == "tpot_mean"] == [-50, -50]


def test_figures_count_what_was_not_answered(tmp_path: Path) -> None:
    found = outcomes(tmp_path)
    lost = Outcome(found[0].run, None, None, math.nan, 0.0, "no tables")
    got = figures([*found, lost])
    assert got["silicon_answered_share"] == pytest.approx(5 / 6)
    assert got["silicon_all_tpot_median_pct"] == pytest.approx(20)
    assert got["silicon_tpot_median_pct"] == pytest.approx(20)
    assert got["silicon_fitted_ttft_median_pct"] == pytest.approx(0)


def test_a_sample_is_the_same_every_time(tmp_path: Path) -> None:
    runs = [o.run for o in outcomes(tmp_path, 12)]
    some = chosen(runs, 5)
    assert some == chosen(runs, 5) and len(some) == 5
    assert [r.row_id for r in some] == sorted((r.row_id for r in some), key=int)
    assert chosen(runs, None) == runs == chosen(runs, 99)


def test_a_run_is_replayed(tmp_path: Path) -> None:
    """Llama-3.1-70B on 4 H100: decode reads 70 GB of weights at 4 x 3.35 TB/s, so TPOT lies
    between 5 and 25 ms, and grows with concurrency; an unknown model is answered by a reason."""
    pytest.importorskip("aiconfigurator_core")
    rows = [
        {"id": "a"},
        {"id": "b", "silicon_data_source": "db-dump/x; silicon_concurrency=64"},
        {"id": "c", "model_path": "someone/unknown-7b"},
    ]
    pairs = silicon.validate_silicon(write(tmp_path / "rows.csv", *rows), jobs=1)
    tpot = {p.row_id: p for p in pairs if p.metric == "tpot_mean"}
    assert 0.005 < tpot["a"].predicted < tpot["b"].predicted < 0.040
    assert tpot["c"].predicted is None and "unknown-7b" in tpot["c"].note
    assert silicon.validate_silicon(tmp_path / "rows.csv", jobs=1) == pairs


@pytest.mark.data
@pytest.mark.skipif("MLTWIN_DATA" not in os.environ, reason="needs MLTWIN_DATA")
def test_a_sample_of_the_shared_rows() -> None:
    """Loose bounds on 24 rows: the figures are `python -m benchmarks.fidelity`'s."""
    pytest.importorskip("aiconfigurator_core")
    runs = chosen(read_runs(os.environ["MLTWIN_DATA"]), 24)
    got = figures(silicon.predict_runs(runs, jobs=2))
    assert got["silicon_answered_share"] > 0.8
    assert got["silicon_all_tpot_median_pct"] < 30
    assert got["silicon_all_ttft_median_pct"] < 60
