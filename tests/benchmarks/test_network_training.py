"""Predicted training runs against measured ones."""

import pytest

from benchmarks.network_training import cases, foundry_cases, measure, mpt
from mltwin.models.training.mfu import mfu
from mltwin.sim.errors import InputError

PEAK = {"a100-sxm-80gb": 312e12, "h100-sxm-80gb": 989.5e12}


@pytest.mark.data
def test_rows_are_read_and_mfu_is_counted_as_the_table_counts_it(data_dir) -> None:
    """6 N + 12 L h T at the measured tokens per second is the row's own MFU."""
    import pandas as pd

    path = data_dir / "groundtruth" / "llm-foundry" / "mpt_training.csv"
    table = pd.read_csv(path)
    rows = list(foundry_cases(path))
    assert len(rows) == len(table)
    for case, stated, rate in zip(rows, table["MFU"], table["Throughput (T/s/GPU)"], strict=True):
        if case.plan.precision == "bf16":
            own = mfu(case.model, case.batch.tokens, rate, PEAK[case.gpu])
            assert own * 100 == pytest.approx(stated, rel=0.02), case.name


@pytest.mark.data
def test_every_table_of_torchtitan_is_read(data_dir) -> None:
    rows = [c for c in cases(data_dir) if c.group.startswith("torchtitan")]
    assert len(rows) == 12 + 18
    assert {c.plan.world for c in rows} == {8, 64, 128, 256, 512}


@pytest.mark.data
def test_the_median_error_is_within_its_bar(data_dir) -> None:
    found = measure(data_dir)
    assert found["rows"] == 159
    assert found["training_mfu_median_pct"] <= 12
    # PyTorch's peak also holds what its allocator keeps: ours is what the tensors need.
    assert found["memory"]["rows"] == 18
    assert -35 < found["memory"]["bias_pct"] < 0


def test_a_missing_table_is_named(tmp_path) -> None:
    with pytest.raises(InputError, match="no such table"):
        list(cases(tmp_path))


def test_an_mpt_model_has_the_parameters_of_its_table() -> None:
    assert mpt("7b", 2048).parameters == 6658859008
    assert mpt("125m", 2048).parameters == 125311488
