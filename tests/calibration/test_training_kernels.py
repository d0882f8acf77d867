"""Rates of training kernels are what the measurements give."""

import numpy as np
import pytest

from mltwin.calibration.fit.training_kernels import fit_training_rates, prompt_ratios
from mltwin.models.gpu.profile import load_profile
from mltwin.models.training.operators_rates import RATES, training_rates


@pytest.mark.data
@pytest.mark.parametrize("gpu", sorted(RATES))
def test_a_refit_gives_the_shipped_rates(gpu: str, data_dir) -> None:
    fitted, shipped = fit_training_rates(data_dir, gpu), RATES[gpu]
    for name in ("gemm_time", "norm", "activation", "pointwise"):
        assert getattr(fitted, name) == pytest.approx(getattr(shipped, name), rel=2e-3)
    assert fitted.basis == shipped.basis


@pytest.mark.data
def test_prompts_agree_among_themselves(data_dir) -> None:
    """Sizes from 1,024 to 8,192 tokens, each asked five times, give about one ratio."""
    for gpu in RATES:
        ratios = prompt_ratios(data_dir, gpu)
        assert len(ratios) == 20
        assert np.std(ratios) / np.mean(ratios) < 0.06


def test_a_gpu_without_measurements_gets_means() -> None:
    rates = training_rates(load_profile("b200"))
    assert rates.gemm_time == pytest.approx((1.398 + 1.253) / 2, abs=1e-3)
    assert rates.basis.startswith("not measured")
    assert 0.3 * 7.7e12 < rates.norm < rates.pointwise < 7.7e12
