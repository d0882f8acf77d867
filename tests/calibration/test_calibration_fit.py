"""Fits find parameters that are known, in spite of outliers."""

import numpy as np
import pandas as pd
import pytest

from mltwin.calibration import fit
from mltwin.models.gpu.operators import (
    AllReduceCost,
    DecodeCost,
    GemmCost,
    MoeCost,
    PrefillCost,
    Residual,
)


def grid(**values: list) -> pd.DataFrame:
    """All combinations of the values, one row each."""
    return pd.MultiIndex.from_product(values.values(), names=list(values)).to_frame(index=False)


def with_outliers(seconds: np.ndarray) -> np.ndarray:
    """Every 19th time doubled, all of them jittered by 1 %."""
    rng = np.random.default_rng(3)
    noisy = seconds * np.exp(rng.normal(0, 0.01, len(seconds)))
    noisy[::19] *= 2
    return noisy


def test_decode() -> None:
    truth = DecodeCost(1.2e-5, 2.5e-8, 3.0e12, 1.5)
    rows = grid(
        batch=[2**i for i in range(12)],
        context=[1, 4, 256, 1024, 4096, 16384, 65536],
        heads=[8, 32, 64],
        kv_heads=[1, 2, 8],
        head_dim=[128],
    )
    b, c, h, k = (rows[name].to_numpy(float) for name in ("batch", "context", "heads", "kv_heads"))
    exact = truth.seconds(b, b * c, c, h, k, 128)
    rows["seconds"] = with_outliers(exact)
    found, error = fit.fit_decode(
        rows, sms=132, bandwidth=3.35e12, kv_bytes=2, l2_bytes=5e7, serial=False
    )
    assert found.overhead_s == pytest.approx(truth.overhead_s, rel=0.03)
    assert found.item_s == pytest.approx(truth.item_s, rel=0.03)
    assert found.bandwidth == pytest.approx(truth.bandwidth, rel=0.03)
    assert error.median < 0.02
    assert error.held_rows > 0


def test_prefill() -> None:
    truth = PrefillCost(1.3e-5, 6.5e14, 2.6e-12, 2.0, 7e-11, 2.0)
    rows = grid(
        batch=[1, 2, 8, 32, 128],
        tokens=[16, 64, 256, 1024, 4096, 16384],
        heads=[4, 8, 16, 32, 64],
        kv_heads=[1, 2, 4, 8],
        head_dim=[128],
    )
    b, t, h, k = (rows[c].to_numpy(float) for c in ("batch", "tokens", "heads", "kv_heads"))
    rows["seconds"] = with_outliers(truth.seconds(b * t, b * t * (t + 1) / 2, t, h, k, 128))
    found, error = fit.fit_prefill(rows, flops=9.89e14)
    for name in ("overhead_s", "flops", "token_s", "kv_share", "serial_s"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), rel=0.1), name
    assert error.median < 0.02


def test_all_reduce() -> None:
    truth = AllReduceCost(4.5e-6, 2.5e11, 0.7)
    rows = pd.DataFrame({"size_bytes": 2 ** np.arange(8, 31)})
    rows["seconds"] = truth.seconds(rows["size_bytes"].to_numpy())
    found, error = fit.fit_all_reduce(rows, bandwidth=4.5e11)
    assert found.alpha_s == pytest.approx(truth.alpha_s, rel=0.01)
    assert found.bandwidth == pytest.approx(truth.bandwidth, rel=0.01)
    assert found.power == pytest.approx(truth.power, rel=0.01)
    assert error.p95 < 0.01


def test_moe() -> None:
    truth = MoeCost(4e-5, 5e-8, 6e14, 3e12, 1.5, 16, 1.0, 3e-12)
    shapes = [(2048, 768, 128, 8), (4096, 14336, 8, 2), (7168, 2048, 256, 8), (6144, 2560, 160, 8)]
    parts = []
    for hidden, width, experts, chosen in shapes:
        part = grid(tokens=[2**i for i in range(15)], tp=[1, 2, 4, 8])
        part = part.assign(hidden=hidden, width=width, experts=experts, chosen=chosen, ep=1)
        parts.append(part)
    rows = pd.concat(parts, ignore_index=True)
    rows = fit.usable_experts(rows)
    names = ("tokens", "hidden", "width", "experts", "chosen")
    rows["seconds"] = truth.seconds(*(rows[c].to_numpy(float) for c in names))
    found, error = fit.fit_moe(rows, flops=9.89e14, bandwidth=3.35e12, weight_bytes=2)
    assert error.median < 0.02
    assert found.overhead_s == pytest.approx(truth.overhead_s, rel=0.1)


def test_experts_that_are_fitted() -> None:
    good = {"ep": 1, "tp": 4, "tokens": 64, "chosen": 8, "width": 1024}
    odd = [{"ep": 2}, {"tp": 16}, {"tokens": 20000}, {"chosen": 22}]
    kept = fit.usable_experts(pd.DataFrame([good] + [{**good, **change} for change in odd]))
    assert kept["width"].tolist() == [256]


def test_gemm_with_a_residual() -> None:
    grid_m, grid_nk = (1.0, 256.0, 8192.0), (64.0, 4096.0, 65536.0)
    bump = tuple(int(v) for v in np.linspace(-150, 150, 27))
    truth = GemmCost(
        132, 2e-6, 8.3e14, 2.8e12, 9e-7, 2.5, 0.5, 4.0, residual=Residual(
            grid_m, grid_nk, grid_nk, bump
        )
    )  # fmt: skip
    sizes = [128, 512, 1024, 2048, 4096, 8192, 16384]
    rows = grid(m=[1, 8, 64, 128, 256, 512, 1024, 4096, 8192], n=sizes, k=sizes)
    rows["seconds"] = truth.seconds(*(rows[c].to_numpy(float) for c in ("m", "n", "k")))
    found, error = fit.fit_gemm(
        rows,
        sms=132,
        flops=9.89e14,
        bandwidth=3.35e12,
        weight_bytes=2,
        activation_bytes=2,
    )
    assert error.median < 0.03
    assert found.residual is not None
    physical = found.physical(*(rows[c].to_numpy(float) for c in ("m", "n", "k")))
    without = np.median(np.abs(physical / rows["seconds"].to_numpy() - 1))
    assert error.median < 0.7 * without


def test_a_residual_is_bounded_by_its_grid() -> None:
    residual = Residual((1.0, 16.0), (64.0, 128.0), (64.0, 128.0), (0,) * 4 + (1000,) * 4)
    assert residual.factor(1, 64, 64) == pytest.approx(1.0)
    assert residual.factor(4, 100, 77) == pytest.approx(np.exp(0.5))
    for m in (16, 5000):
        assert residual.factor(m, 1, 10**6) == pytest.approx(np.e)


def test_fits_are_deterministic() -> None:
    rows = pd.DataFrame({"size_bytes": 2 ** np.arange(8, 31)})
    rows["seconds"] = with_outliers(AllReduceCost(4e-6, 2e11, 0.8).seconds(rows["size_bytes"]))
    assert fit.fit_all_reduce(rows, bandwidth=4.5e11) == fit.fit_all_reduce(rows, bandwidth=4.5e11)


def test_errors_are_of_the_held_out_rows() -> None:
    predicted, measured = np.array([1.0, 1.2, 0.9]), np.ones(3)
    error = fit.fit_error(predicted, measured, np.array([False, True, True]))
    assert (error.rows, error.held_rows) == (1, 2)
    assert error.median == pytest.approx(0.15)
    assert error.bias == pytest.approx(0.05)
    assert fit.fit_error(predicted, measured, np.zeros(3, bool)).held_rows == 0
