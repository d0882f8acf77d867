"""Few parameters from a running deployment: which of them its data can tell, and how surely.

An iteration lasts ``scale`` times what the profile says the GPU needs, plus the host's time. Over
iterations (or means of many) that is a straight line: measured = scale g + host + e n, with g the
GPU's seconds and e n the host's per-sequence part, which is kept. The two are told apart only if
g varies; otherwise one of them is fitted with the other kept, and if not even that is sure, none
is. Standard errors are White's (Econometrica 48, 1980), so that unequal noise does no harm.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

Array = npt.NDArray[np.float64]

MAX_SCALE_ERROR = 0.05
"""A scale is identified if its standard error is below 5 %."""
MAX_HOST_ERROR_S = 3e-4
"""A host overhead is identified if its standard error is below 0.3 ms."""
LEAST_POINTS = 3


@dataclass(frozen=True)
class Drift:
    """How a deployment differs from its profile.

    Attributes:
        scale: the GPU's part lasts this many times as long (1: as in the profile).
        host_s: seconds of host overhead per iteration.
        scale_error, host_error_s: standard errors; 0 for a parameter that was kept.
        fitted: names of the parameters that were estimated.
        kept: why others were not.
    """

    scale: float
    host_s: float
    scale_error: float
    host_error_s: float
    fitted: tuple[str, ...]
    kept: str = ""


def estimate_drift(
    gpu_s: Array, measured_s: Array, host_s: float, weights: Array | None = None
) -> Drift:
    """Scale and host overhead from iteration times.

    Args:
        gpu_s: (n,) the profile's GPU seconds of each iteration (or mean of many).
        measured_s: (n,) what it took, the per-sequence part of the host taken off.
        host_s: the profile's host overhead, kept where it cannot be told.
        weights: (n,) how many iterations each point stands for.

    Raises:
        InputError: fewer than 3 points, times that are not positive, or data that identify
            neither parameter.
    """
    gpu_s, measured_s = np.asarray(gpu_s, float), np.asarray(measured_s, float)
    if len(gpu_s) < LEAST_POINTS:
        raise InputError(
            f"{len(gpu_s)} points cannot identify anything",
            mend=f"give at least {LEAST_POINTS}, at different loads",
        )
    if not (np.all(np.isfinite(measured_s)) and np.all(measured_s > 0) and np.all(gpu_s > 0)):
        raise InputError("iteration times must be positive and finite")
    # Relative errors count alike, whatever the length of an iteration.
    weight = (np.ones_like(gpu_s) if weights is None else np.asarray(weights, float)) / (
        measured_s**2
    )
    both = np.column_stack([gpu_s, np.ones_like(gpu_s)])
    values, errors = _weighted(both, measured_s, weight)
    if _sure(values[0], errors[0], errors[1]) and values[1] >= 0:
        scale, host, scale_error, host_error = (float(v) for v in (*values, *errors))
        return Drift(scale, host, scale_error, host_error, ("scale", "host_s"))
    value, error = _weighted(gpu_s[:, None], measured_s - host_s, weight)
    if value[0] > 0 and error[0] <= MAX_SCALE_ERROR * value[0]:
        why = (
            "host overhead and scale cannot be told apart at these loads: the overhead is kept"
            if values[1] >= 0
            else "a negative host overhead would fit best: it is kept"
        )
        return Drift(float(value[0]), host_s, float(error[0]), 0.0, ("scale",), why)
    raise InputError(
        f"the data cannot identify the scale (standard error {error[0]:.0%})",
        mend="measure longer, or at several loads",
    )


def _sure(scale: float, scale_error: float, host_error_s: float) -> bool:
    return bool(
        scale > 0
        and np.isfinite(scale_error)
        and scale_error <= MAX_SCALE_ERROR * scale
        and host_error_s <= MAX_HOST_ERROR_S
    )


def _weighted(design: Array, target: Array, weight: Array) -> tuple[Array, Array]:
    """Weighted least squares with White's standard errors (HC1); infinite where singular."""
    points, unknowns = design.shape
    scaled = design * weight[:, None]
    normal = design.T @ scaled
    size = np.sqrt(np.diag(normal))
    # Condition of the problem with unit columns: 1e-12 leaves no digits.
    if np.linalg.cond(normal / np.outer(size, size)) > 1e10 or points <= unknowns:
        kept = np.linalg.lstsq(scaled, target * weight, rcond=None)[0]
        return np.asarray(kept, float), np.full((unknowns,), np.inf)
    inverse = np.linalg.inv(normal)
    values = inverse @ scaled.T @ target
    residual = target - design @ values
    meat = scaled.T @ (scaled * residual[:, None] ** 2)
    covariance = inverse @ meat @ inverse * points / (points - unknowns)
    return np.asarray(values, float), np.asarray(np.sqrt(np.diag(covariance)), float)
