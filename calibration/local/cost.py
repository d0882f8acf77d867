"""The time of a step of the engine from what it computes.

t = a + b tokens + c context + d pairs + e sequences + f [the number of tokens changed]

The last term is the engine's own: a step with another number of tokens than the one before it
prepares its kernels anew. All terms are non-negative. The serving kernel's table has the same form
without it (:func:`plain_cells`), so a cost fitted without the term (``changes=False``) is what the
project's simulator can use as it stands.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.calibration.fit.robust import robust_fit
from mltwin.models.serving.tables import IterationCells
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import TICKS_PER_S

from .replay import Work

Array = npt.NDArray[np.float64]
# (least, start, most) of each term, in seconds: from a large machine's to a slow one's.
_BOUNDS = {
    "base": (1e-5, 2e-3, 1.0),
    "token": (1e-7, 1e-4, 1e-1),
    "context": (1e-11, 5e-7, 1e-3),
    "pair": (1e-12, 3e-8, 1e-4),
    "sequence": (1e-9, 3e-5, 1e-1),
    "change": (1e-8, 1e-3, 1.0),
}
LEAST_STEPS = 50


@dataclass(frozen=True)
class StepCost:
    """Seconds of a step: one field a term, ``scale`` over all of them."""

    base: float
    token: float
    context: float
    pair: float
    sequence: float
    change: float = 0.0
    scale: float = 1.0

    def seconds(
        self,
        tokens: npt.ArrayLike,
        context: npt.ArrayLike,
        pairs: npt.ArrayLike,
        sequences: npt.ArrayLike,
        changed: npt.ArrayLike = 0.0,
    ) -> Array:
        """Seconds of steps; arguments as in :class:`~.replay.Work`, arrays that broadcast."""
        terms = (
            self.base
            + self.token * np.asarray(tokens, float)
            + self.context * np.asarray(context, float)
            + self.pair * np.asarray(pairs, float)
            + self.sequence * np.asarray(sequences, float)
            + self.change * np.asarray(changed, float)
        )
        return np.asarray(self.scale * terms)

    def of(self, work: Work) -> Array:
        """Seconds of each step of a run."""
        return self.seconds(work.tokens, work.context, work.pairs, work.sequences, work.changed)

    def speed(self, work: Work) -> float:
        """How slow a run was against this cost: all its steps' time over all the predicted."""
        return float(work.seconds.sum() / self.of(work).sum())

    def scaled(self, factor: float) -> "StepCost":
        """The same cost, all of it longer by a factor."""
        return StepCost(**{**asdict(self), "scale": self.scale * factor})

    def adjusted(self, work: Work) -> "StepCost":
        """This cost at the speed of a short run: two factors, then the sum made equal.

        One factor is for what grows with tokens computed (arithmetic), one for all else (weights
        read from memory, calls): neighbours slow the two down differently, and a short run is
        enough to tell two numbers, not six. Fitted robustly in log space, each within 1/8 to 8.
        """

        def predict(factors: dict[str, float]) -> Array:
            return self._split(**factors).of(work)

        bounds = {"rest": (0.125, 1.0, 8.0), "arithmetic": (0.125, 1.0, 8.0)}
        found = self._split(**robust_fit(predict, work.seconds, bounds))
        return found.scaled(found.speed(work))

    def _split(self, rest: float, arithmetic: float) -> "StepCost":
        return StepCost(
            base=rest * self.base,
            token=arithmetic * self.token,
            context=rest * self.context,
            pair=arithmetic * self.pair,
            sequence=rest * self.sequence,
            change=rest * self.change,
            scale=self.scale,
        )

    def data(self) -> dict[str, float]:
        """The terms as JSON-able values."""
        return asdict(self)


def fit_cost(work: Work, *, changes: bool = True) -> StepCost:
    """A cost from measured steps: robust in log space, then scaled to the sum of all steps.

    The robust fit is about the typical step. What queues add up is the mean, stalls included, so
    the scale makes the predicted total equal to the measured one.

    Raises:
        InputError: fewer than ``LEAST_STEPS`` steps.
    """
    if len(work.seconds) < LEAST_STEPS:
        raise InputError(
            f"{len(work.seconds)} steps are too few to fit", mend=f"run {LEAST_STEPS} or more"
        )
    bounds = {k: v for k, v in _BOUNDS.items() if changes or k != "change"}

    def predict(terms: dict[str, float]) -> Array:
        return StepCost(**terms).of(work)

    found = StepCost(**robust_fit(predict, work.seconds, bounds))
    return found.scaled(found.speed(work))


def step_errors(cost: StepCost, work: Work) -> dict[str, Any]:
    """How far a cost is from measured steps: per step and in sum, in per cent."""
    error = 100.0 * (cost.of(work) / work.seconds - 1.0)
    return {
        "steps": len(error),
        "median_abs_pct": float(np.median(np.abs(error))),
        "p90_abs_pct": float(np.quantile(np.abs(error), 0.9)),
        "sum_pct": 100.0 * (1.0 / cost.speed(work) - 1.0),
    }


def plain_cells(cost: StepCost) -> IterationCells:
    """The cost as the serving kernel's table, in ticks; its ``change`` term is left out."""

    def ticks(seconds: float) -> int:
        return round(cost.scale * seconds * TICKS_PER_S)

    return IterationCells(
        token_row=np.zeros(1, np.int32),
        context_knots=np.array([0, 2**60], np.int64),
        cells=np.array([[ticks(cost.base), ticks(cost.token), ticks(cost.context), 0]], np.int64),
        per_sequence=ticks(cost.sequence),
        per_work=ticks(cost.pair),
    )
