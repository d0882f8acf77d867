"""Errors of predicted kernel times as rows of a report."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from .kernel_report import OURS, KernelRow

if TYPE_CHECKING:
    from mltwin.calibration.cases import Case
    from mltwin.calibration.fit import FitError

RESAMPLES = 200
Mask = npt.NDArray[np.bool_]


def errors_of(
    task: str, case: "Case", scored: Mask, times: Any, basis: str, predictor: str = OURS
) -> KernelRow:
    """The errors of predicted times of a case, with an interval of the median."""
    what = (task, case.source.name, case.operator, predictor, basis)
    return error_row(*what, times, case.measured, scored, case.shapes())


def error_row(
    task: str,
    gpu: str,
    operator: str,
    predictor: str,
    basis: str,
    times: Any,
    measured: npt.NDArray[np.float64],
    scored: Mask,
    shapes: npt.NDArray[np.int64],
) -> KernelRow:
    """The errors of predicted times; ours with an interval of the median."""
    from mltwin.calibration.fit import fit_error

    error = fit_error(times, measured, scored, shapes)
    row = row_of(task, gpu, operator, predictor, basis, error, len(np.unique(shapes[scored])))
    if predictor != OURS:
        return row
    wrong = np.abs(times[scored] / measured[scored] - 1)
    low, high = _median_interval(wrong, shapes[scored])
    return replace(row, median_low_pct=low, median_high_pct=high)


def _median_interval(
    errors: npt.NDArray[np.float64], shapes: npt.NDArray[np.int64]
) -> tuple[float | None, float | None]:
    """95 % bootstrap interval of the median, in per cent: shapes are resampled, not rows, since
    those of one shape stand or fall together. None of a single shape."""
    from mltwin.sim.stats import bootstrap_ci

    order = np.argsort(shapes, kind="stable")
    ends = np.flatnonzero(np.diff(shapes[order])) + 1
    groups = np.split(errors[order], ends)
    if len(groups) < 2:
        return None, None

    def median(places: npt.NDArray[np.float64]) -> float:
        return float(np.median(np.concatenate([groups[int(place)] for place in places])))

    found = bootstrap_ci(np.arange(len(groups)), median, seed=0, resamples=RESAMPLES)
    return round(100 * found.low, 2), round(100 * found.high, 2)


def count_shapes(case: "Case", mask: Mask) -> int:
    """How many shapes the rows are of."""
    return len(np.unique(case.shapes()[mask]))


def row_of(
    task: str, gpu: str, operator: str, predictor: str, basis: str, error: "FitError", shapes: int
) -> KernelRow:
    """An error as a row, in per cent."""
    return KernelRow(
        task=task,
        gpu=gpu,
        operator=operator,
        predictor=predictor,
        basis=basis,
        rows=error.held_rows,
        shapes=shapes,
        median_pct=round(100 * error.median, 2),
        p95_pct=round(100 * error.p95, 2),
        bias_pct=round(100 * error.bias, 2),
    )
