"""Error bars of whole runs against what was measured."""

import numpy as np
import pytest

from mltwin.validation.coverage_runs import _covered, run_coverage, run_coverage_table


def test_shares_are_those_of_a_normal_error() -> None:
    rng = np.random.default_rng(1)
    spread = np.full(4000, 0.1)
    predicted = rng.normal(-4, 1, 4000)
    measured = predicted + rng.normal(0, 0.1, 4000)
    found = _covered("tpot", np.stack([measured, predicted, spread], axis=1))
    assert found.share_68 == pytest.approx(0.68, abs=0.02)
    assert found.share_95 == pytest.approx(0.95, abs=0.01)
    assert found.width == pytest.approx(0.1)
    too_narrow = _covered("tpot", np.stack([measured, predicted, spread / 10], axis=1))
    assert too_narrow.share_95 < 0.3
    assert "within 95 %" in run_coverage_table([found]).markdown()


def test_runs_are_drawn(tmp_path) -> None:
    pytest.importorskip("aiconfigurator_core")
    from test_silicon import write

    path = write(tmp_path / "rows.csv", {"silicon_tpot_ms": 10.0}, {"silicon_tpot_ms": 1000.0})
    tpot, ttft = run_coverage(path, draws=3, select=lambda run: True)
    assert (tpot.metric, tpot.runs, ttft.runs) == ("tpot", 2, 2)
    assert 0.01 < tpot.width < 0.5
    assert tpot.share_95 <= 0.5  # no error bar reaches a thousand milliseconds
