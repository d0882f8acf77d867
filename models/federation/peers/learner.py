"""Training and judging models along a timeline: what all protocols of peers share."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Local, Task
from mltwin.sim.rng_arrays import PEERS, bits

from .timeline import Learned, Setting, measure
from .work import local_steps

Array = npt.NDArray[Any]

_JUDGED = 10**9
"""Counter of the draws that choose peers to be evaluated, apart from those of overlays."""


class Learner:
    """The task of a setting.

    Args:
        setting: of the run.
        versions: its last version, which is judged whatever its number; None: not known yet.

    Attributes:
        initial: float64[d], the model that all peers start from.
        learned: metrics so far.
    """

    def __init__(self, setting: Setting, versions: int | None) -> None:
        assert setting.task is not None
        self.setting = setting
        self.task: Task = setting.task
        self.steps = local_steps(setting.clients, setting.plan)
        self.initial = np.asarray(self.task.initial(setting.seed), np.float64)
        self.learned = Learned({}, self.initial)
        self.last = versions
        order = np.argsort(bits(setting.seed, PEERS, np.arange(setting.peers), _JUDGED))
        self.judged = np.sort(order[: setting.evaluate_peers])

    def lr(self, version: int) -> float:
        """The step size in a version (round)."""
        plan = self.setting.plan
        every = plan.lr_decay_every
        return plan.lr * plan.lr_decay ** (version // every if every else 0)

    def train(self, starts: Array, peers: Array, dispatches: Array, version: int) -> Array:
        """float64[n, d], what local training adds to float[n, d] models, as one batch."""
        with np.errstate(all="ignore"):
            made = self.task.train(
                np.ascontiguousarray(starts, np.float32),
                np.arange(len(peers)),
                np.asarray(peers, np.int64),
                np.asarray(dispatches, np.int64),
                self.steps[peers],
                Local(lr=self.lr(version), batch=self.setting.plan.batch),
                self.setting.seed,
            )
        return made.delta.astype(np.float64)

    def version(self, number: int, models: Array) -> bool:
        """A version was made: judge it. True: it ends the run.

        Args:
            number: of the version; 0 is the initial model.
            models: float64[N, d] of all peers, or float64[d] of the one common model.
        """
        one = models.ndim == 1
        if not np.isfinite(models).all():
            return self._stop(number, f"version {number} is not finite: lower the learning rate")
        if number % max(1, self.setting.plan.evaluate_every) and number != self.last:
            return False
        mean = models if one else models.mean(axis=0)
        metrics = measure(self.task, mean, None if one else models, list(self.judged))
        if not np.isfinite(metrics["loss"]):
            return self._stop(
                number, f"the loss of version {number} is not finite: lower the learning rate"
            )
        self.learned.metrics[number] = metrics
        self.learned.weights = mean
        target = self.setting.plan.target
        if target is not None and metrics.get("accuracy", -np.inf) >= target:
            self.learned.stop = number
            self.learned.why = f"accuracy {target:g} reached at version {number}"
            return True
        return False

    def _stop(self, number: int, why: str) -> bool:
        self.learned.stop, self.learned.why = number, why
        self.learned.complete = False
        return True
