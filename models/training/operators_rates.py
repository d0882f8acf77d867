"""How kernels of a training run compare with those a GPU profile was fitted to.

A profile's matrix products were timed alone, in short bursts. In a run that goes on the GPU is at
its power limit, lowers its clock, and they take longer. By how much is read from whole prompts of
Llama-2-70B on two GPUs (Splitwise, 2023: prompts of 1,024 tokens and more, one at a time), less
everything else; bandwidths are those of PyTorch's kernels (Vidur, 2024). Nothing is fitted to
training runs. :mod:`mltwin.calibration.fit.training_kernels` fits these numbers again.
"""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class TrainingRates:
    """Rates of one GPU type.

    Attributes:
        gemm_time: time of matrix products over that of the profile.
        norm, activation, pointwise: bytes/s of PyTorch's LayerNorm, GELU and addition, by what
            they must read and write.
        basis: rows fitted to.
    """

    gemm_time: float
    norm: float
    activation: float
    pointwise: float
    basis: str


RATES = {
    "h100-sxm-80gb": TrainingRates(
        gemm_time=1.398,
        norm=1.997e12,
        activation=2.467e12,
        pointwise=3.196e12,
        basis="splitwise, 20 prompts; vidur compute/h100",
    ),
    "a100-sxm-80gb": TrainingRates(
        gemm_time=1.253,
        norm=0.9754e12,
        activation=1.348e12,
        pointwise=1.704e12,
        basis="splitwise, 20 prompts; vidur compute/a100",
    ),
}
_BANDWIDTHS = {"h100-sxm-80gb": 3.35e12, "a100-sxm-80gb": 2.039e12}


def training_rates(profile: Any) -> TrainingRates:
    """The rates of a profile's GPU.

    For a GPU without such measurements they are means of those that have them: of the time of
    matrix products, and of the shares of the memory bandwidth.
    """
    if profile.name in RATES:
        return RATES[profile.name]

    def share(name: str) -> float:
        parts = [getattr(RATES[gpu], name) / most for gpu, most in _BANDWIDTHS.items()]
        return float(sum(parts) / len(parts) * profile.facts.hbm_bandwidth)

    slower = sum(known.gemm_time for known in RATES.values()) / len(RATES)
    return TrainingRates(
        gemm_time=round(slower, 3),
        norm=share("norm"),
        activation=share("activation"),
        pointwise=share("pointwise"),
        basis="not measured: means of " + " and ".join(RATES),
    )
