"""Robust least squares in log space, and the error on held-out rows."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

Array = npt.NDArray[np.float64]
Bounds = Mapping[str, tuple[float, float, float]]
LOSS_SCALE = 0.1


@dataclass(frozen=True)
class FitError:
    """Absolute relative error on rows the fit did not see.

    Attributes:
        rows, held_rows: rows fitted to and rows held out.
        median, p95: of the absolute error, as fractions.
        bias: median of the signed error.
        sigma: scale of the error that one shape keeps over all its rows, in log time: the 68th
            percentile over the held-out shapes of the absolute mean log error. (Errors of rows
            average out within an iteration, that of a shape does not.)
    """

    rows: int
    held_rows: int
    median: float
    p95: float
    bias: float
    sigma: float = 0.0


def fit_error(
    predicted: Array,
    measured: Array,
    held: npt.NDArray[np.bool_],
    shapes: npt.ArrayLike | None = None,
) -> FitError:
    """Error on the held-out rows (on all rows when none are held out).

    Args:
        shapes: which shape each row is of (any labels); None: each row is its own.
    """
    scored = held if held.any() else np.ones_like(held)
    error = predicted[scored] / measured[scored] - 1
    median, p95 = np.quantile(np.abs(error), [0.5, 0.95])
    return FitError(
        rows=int((~held).sum()),
        held_rows=int(held.sum()),
        median=round(float(median), 4),
        p95=round(float(p95), 4),
        bias=round(float(np.median(error)), 4),
        sigma=round(_shape_error(np.log1p(error), shapes, scored), 4),
    )


def shapes(rows: pd.DataFrame, *names: str) -> npt.NDArray[np.int64]:
    """A label for each row that is the same where the named columns are."""
    return np.asarray(rows.groupby(list(names), sort=True).ngroup(), np.int64)


def _shape_error(
    log_error: Array, shapes: npt.ArrayLike | None, scored: npt.NDArray[np.bool_]
) -> float:
    if shapes is not None:
        _, group = np.unique(np.asarray(shapes)[scored], return_inverse=True)
        log_error = np.bincount(group, log_error) / np.bincount(group)
    return float(np.quantile(np.abs(log_error), 0.68))


def robust_fit(
    predict: Callable[[dict[str, float]], Array], measured: Array, bounds: Bounds
) -> dict[str, Any]:
    """Parameters that minimise the robust log error.

    Args:
        predict: from named parameters to times, shape of ``measured``.
        bounds: name to (least, start, most), all positive.
    """
    from scipy.optimize import least_squares

    names = list(bounds)
    low, start, high = (np.log([bounds[n][i] for n in names]) for i in range(3))

    def parameters(x: Array) -> dict[str, float]:
        return dict(zip(names, np.exp(x).tolist(), strict=True))

    def residuals(x: Array) -> Array:
        return np.log(predict(parameters(x)) / measured)

    found = least_squares(
        residuals,
        start,
        bounds=(low - 1e-9, high + 1e-9),
        loss="soft_l1",
        f_scale=LOSS_SCALE,
        x_scale=0.3,
        max_nfev=80,
    )
    # Six digits are far below the fit's error and keep the files short and stable.
    return {name: float(f"{value:.6g}") for name, value in parameters(found.x).items()}
