"""The figure of collectives: every table counts alike, however many sizes it has."""

import numpy as np
import pandas as pd

from benchmarks.network_nccl import Score, exchange_table, nccl_median_pct, weighted_median_pct


def errors(*values: float) -> pd.DataFrame:
    return pd.DataFrame({"error": values})


def test_a_table_of_many_rows_counts_as_one() -> None:
    parts = [errors(*np.full(1000, 0.5)), errors(-0.01), errors(0.02), errors()]
    assert weighted_median_pct(parts) == 2.0


def test_the_figures_are_of_nccl_inside_a_node() -> None:
    scores = [
        Score("a", "nccl.all_reduce", 3, errors(0.01, -0.03, 0.02), errors(0.06)),
        Score("b", "vllm.all_reduce", 1, errors(0.9), errors(0.9)),
        Score("c", "nccl.all_reduce.across", 1, errors(0.9), errors(0.9)),
    ]
    assert nccl_median_pct(scores) == {"nccl_sizes_median_pct": 2.0, "nccl_counts_median_pct": 6.0}


def test_the_exchange_is_told_with_its_errors() -> None:
    assert "dispatch.normal" in exchange_table()
