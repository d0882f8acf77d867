"""A picture of every fit: predicted against measured, and the error against the size."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .cases import Case
from .refit_operators import Fitted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SEEN, HELD, FAINT = "#B8C4CE", "#D55E00", "#767676"
MOST_POINTS = 20_000


def plot_fits(fits: Iterable[Fitted], folder: str | Path) -> list[Path]:
    """One PNG a fit, named as the operator, into a folder that is made if missing; their paths.

    Raises:
        InputError: the folder or a file cannot be written.
    """
    place = Path(folder)
    written = []
    try:
        place.mkdir(parents=True, exist_ok=True)
        for one in fits:
            path = place / f"{one.operator}.png"
            draw_fit(one).savefig(path, dpi=130)
            written.append(path)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(place)) from None
    return written


def draw_fit(one: Fitted) -> "Figure":
    """Left: predicted against measured seconds. Right: relative error against the size of the
    call. Rows held out stand over those of the fit."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    error = one.error
    which = f"{error.held_rows} held-out rows" if error.held_rows else "the fitted rows"
    figure.suptitle(
        f"{one.operator}: median error {error.median:.1%}, p95 {error.p95:.1%} on {which}",
        x=0.01, ha="left", fontsize=10, fontweight="bold",
    )  # fmt: skip
    wrong = one.predicted / one.measured - 1
    for mask, colour, label in ((~one.held, SEEN, "fitted"), (one.held, HELD, "held out")):
        rows = _thinned(mask)
        if len(rows):
            style: dict[str, Any] = {"color": colour, "markersize": 2, "label": label, "alpha": 0.6}
            left.plot(one.measured[rows], one.predicted[rows], "o", **style)
            right.plot(np.maximum(one.size[rows], 1e-12), 100 * wrong[rows], "o", **style)
    ends = [one.measured.min(), one.measured.max()]
    left.plot(ends, ends, color=FAINT, linewidth=1)
    left.set(xscale="log", yscale="log", xlabel="measured, s", ylabel="predicted, s")
    right.set(xscale="log", xlabel=one.axis, ylabel="error, %")
    right.axhline(0, color=FAINT, linewidth=1)
    # A few outliers must not hide the rest; beyond 10 % the axis is logarithmic.
    right.set_yscale("symlog", linthresh=10)
    left.legend(fontsize=7, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=8)
    return figure


def fitted_case(case: Case, cost: Any) -> Fitted:
    """A case and its cost in a profile, as a fit to draw."""
    from .cases import FAMILIES

    arithmetic, memory = case.work()
    return Fitted(
        operator=case.operator,
        cost=cost,
        rows=case.rows,
        shape=FAMILIES[case.family].shape,
        predicted=case.predict(cost),
        held=case.held,
        method="",
        size=np.maximum(arithmetic, memory),
        axis="seconds of the call on paper (data sheet)",
    )


def _thinned(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    rows = np.flatnonzero(mask)
    return rows[:: max(1, len(rows) // MOST_POINTS)]
