"""Fits of the operators of :mod:`mltwin.models.gpu.operators` to measured timings.

All are least squares of log(model / measured) with a soft-L1 loss (scale 0.1), in the logarithm
of the parameters within physical bounds: relative errors count alike at all sizes and outliers
little. Deterministic: no random start, no random split.
"""

from .attention import fit_decode, fit_prefill
from .collectives import fit_collective
from .elementwise import fit_elementwise
from .gemm import GEMM_LEAST, fit_gemm
from .moe import fit_moe, usable_experts
from .robust import LOSS_SCALE, Array, FitError, fit_error, robust_fit, shapes
from .trees import fit_trees

__all__ = [
    "GEMM_LEAST",
    "LOSS_SCALE",
    "Array",
    "FitError",
    "fit_collective",
    "fit_decode",
    "fit_elementwise",
    "fit_error",
    "fit_gemm",
    "fit_moe",
    "fit_prefill",
    "fit_trees",
    "robust_fit",
    "shapes",
    "usable_experts",
]
