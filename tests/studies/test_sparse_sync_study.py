"""The study of sparse updates still finds what its page says, and its codes are of that length."""

from pathlib import Path

import numpy as np
import pytest

from studies._common import Options
from studies.sparse_sync import entropy_bits, gaps_of, rice_bits, rounded, study, varint_bits


def test_a_hundred_needs_values_coded_too(tmp_path: Path) -> None:
    found = study(Options(tmp_path, quick=True))
    assert (tmp_path / "sparse_sync.png").read_bytes()[:4] == b"\x89PNG"
    one = found["one_percent"]
    assert one["indices for nothing"] == pytest.approx(100, rel=0.03)
    assert one["int32"] == pytest.approx(100 / 3, rel=0.03)
    assert one["varint gaps"] < one["Rice gaps"] <= 1.01 * one["no code is shorter"] < 70
    rates = {(row["rate"], row["updates"]): row for row in found["by_rate"]}
    usual = rates[1e-6, 1]
    assert 0.008 < usual["density"] < 0.012 and usual["one_step"] > 0.85
    assert usual["coded"] > 140 > 80 > usual["plain"]["Rice gaps"]
    assert rates[1e-6, 16]["density"] > 5 * usual["density"]
    lines = found["by_line"]
    assert lines["all weights"][1] == pytest.approx(112, rel=0.01)
    assert lines["Rice and steps"][1] < 1 and found["scan_s"] < 0.01


def test_rounding_is_to_the_nearest_bf16() -> None:
    exact = np.array([1.0, 1.0 + 2**-7, -2.0, 0.0], np.float32)
    assert np.diff(rounded(exact[:2])).tolist() == [1]
    assert rounded(exact[2:3])[0] == -rounded(-exact[2:3])[0]
    near = np.array([1.0 + 0.4 * 2**-7, 1.0 + 0.6 * 2**-7, 1.0 + 2**-8], np.float32)
    assert (rounded(near) - rounded(exact[:1])).tolist() == [0, 1, 0]  # a tie goes to the even


def test_lengths_of_codes() -> None:
    changed = np.zeros(400, bool)
    changed[[0, 1, 130, 399]] = True
    assert gaps_of(changed).tolist() == [0, 0, 128, 268]
    assert varint_bits(gaps_of(changed)) == 8 * (1 + 1 + 2 + 2)
    # k = 6: quotients 0, 0, 2, 4, each with a stop and six bits of remainder.
    assert rice_bits(gaps_of(changed)) == 6 + 4 * 7
    assert entropy_bits(0.5) == 1.0
