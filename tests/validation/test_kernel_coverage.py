"""Error bars of kernels hold about what they claim, on shapes that no fit saw."""

from pathlib import Path

import pytest

from mltwin.sim.errors import InputError
from mltwin.validation.coverage import by_family, coverage_table, kernel_coverage

pytestmark = pytest.mark.data


def test_error_bars_of_kernels_cover_held_out_shapes(data_dir: Path) -> None:
    """B200 and H100; the form of the draws was chosen with the H100 and A100 in view."""
    found = kernel_coverage(data_dir, ("h100-sxm-80gb", "b200"))
    assert {one.gpu for one in found} == {"h100-sxm-80gb", "b200"}
    shapes = sum(one.shapes for one in found)
    whole = sum(one.shapes * one.share_95 for one in found) / shapes
    narrow = sum(one.shapes * one.share_68 for one in found) / shapes
    assert shapes > 500
    assert 0.90 < whole < 0.99
    assert 0.62 < narrow < 0.85
    for family in by_family(found):
        assert family.share_95 > 0.85, family
    text = str(coverage_table(found))
    assert "gemm.bfloat16" in text and "many" in text


def test_unknown_gpus_and_empty_folders(data_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no held-out rows"):
        kernel_coverage(data_dir, ("b300",))
    with pytest.raises(InputError):
        kernel_coverage(tmp_path)
