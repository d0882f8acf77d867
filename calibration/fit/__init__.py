"""Fits of the operators of :mod:`mltwin.models.gpu.operators` to measured timings.

All are least squares of log(model / measured) with a soft-L1 loss (scale 0.1), in the logarithm
of the parameters within physical bounds: relative errors count alike at all sizes and outliers
little. Deterministic: no random start, no random split.
"""

from .attention import fit_decode, fit_prefill
from .collectives import fit_collective
from .elementwise import fit_elementwise
from .gemm import GEMM_LEAST, fit_gemm
from .host import SamplerCost, fit_sampler, launch_times
from .mixed import fit_chain, fit_mixed, fit_overlap, mixed_rows, mixed_seconds, transfer_mixed
from .moe import fit_moe, usable_experts
from .power import PowerLaw, average_watts, fit_power, power_rows
from .robust import LOSS_SCALE, Array, FitError, fit_error, robust_fit, shapes
from .trees import fit_trees

__all__ = [
    "GEMM_LEAST",
    "LOSS_SCALE",
    "Array",
    "FitError",
    "PowerLaw",
    "SamplerCost",
    "average_watts",
    "fit_chain",
    "fit_collective",
    "fit_decode",
    "fit_elementwise",
    "fit_error",
    "fit_gemm",
    "fit_mixed",
    "fit_moe",
    "fit_overlap",
    "fit_power",
    "fit_prefill",
    "fit_sampler",
    "fit_trees",
    "launch_times",
    "mixed_rows",
    "mixed_seconds",
    "power_rows",
    "robust_fit",
    "shapes",
    "transfer_mixed",
    "usable_experts",
]
