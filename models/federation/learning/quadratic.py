"""Clients with quadratic losses: what theory is written for, exact and cheap."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Local, Updates
from mltwin.sim import rng_arrays
from mltwin.sim.errors import InputError

Array = npt.NDArray[Any]


class QuadraticTask:
    """Client i has the loss 1/2 (w - c_i)' A_i (w - c_i).

    Local steps are gradient descent in float64, whatever the batch. With plain steps, step size
    eta and E steps the update is exactly (I - (I - eta A_i)^E) (c_i - w).

    Args:
        curvature: A, float64[N, d, d] symmetric, or [N, d] the diagonals.
        centre: c, float64[N, d].
        noise: standard deviation of what each coordinate of each step's gradient is off by,
            normal and keyed by (seed, client, dispatch, step, coordinate).
        share: float64[N], weights of the clients in the common loss; None: all alike.

    Attributes:
        optimum: float64[d], where the common loss is least.

    Raises:
        InputError: shapes that do not fit, values that are not finite, a negative noise, a common
            loss without one least point.
    """

    separable = True

    def __init__(
        self,
        curvature: npt.ArrayLike,
        centre: npt.ArrayLike,
        noise: float = 0.0,
        share: npt.ArrayLike | None = None,
    ) -> None:
        self.curvature = np.asarray(curvature, np.float64)
        self.centre = np.asarray(centre, np.float64)
        count, self.parameters = _checked(self.curvature, self.centre)
        if not 0 <= noise < np.inf:
            raise InputError(f"noise is {noise}", where="task")
        self.noise = float(noise)
        given = np.ones(count) if share is None else np.asarray(share, np.float64)
        self.share = given / given.sum()
        self.flops_per_sample = 2.0 * self.curvature[0].size
        self.optimum = self._optimum()

    def _optimum(self) -> Array:
        everyone = np.arange(len(self.centre))
        pull = self._times(everyone, self.centre)
        weights = self.share.reshape(-1, *[1] * (self.curvature.ndim - 1))
        total = (weights * self.curvature).sum(0)
        target = (self.share[:, None] * pull).sum(0)
        with np.errstate(divide="ignore", invalid="ignore"):
            try:
                found = target / total if total.ndim == 1 else np.linalg.solve(total, target)
            except np.linalg.LinAlgError:
                found = np.full(self.parameters, np.nan)
        if not np.isfinite(found).all():
            raise InputError("the common loss has no single least point", where="task")
        return found

    def _times(self, clients: Array, vectors: Array) -> Array:
        """float64[n, d], A_i times a vector for each client; the order of the sums is fixed."""
        chosen = self.curvature[clients]
        if chosen.ndim == 2:
            return chosen * vectors
        product = np.zeros_like(vectors)
        for column in range(self.parameters):
            product = product + chosen[:, :, column] * vectors[:, column, None]
        return product

    def initial(self, seed: int) -> Array:
        """float64[d], zeros."""
        return np.zeros(self.parameters)

    def train(
        self,
        versions: Array,
        which: Array,
        clients: Array,
        dispatches: Array,
        steps: Array,
        local: Local,
        seed: int,
    ) -> Updates:
        """Local training of n dispatches, as `hooks.Task.train` says.

        Deltas have the type of `versions`: with float64 versions nothing is rounded.
        """
        start = np.asarray(versions, np.float64)[which]
        lr = np.broadcast_to(np.asarray(local.lr, np.float64), (len(clients),))[:, None]
        correction = 0.0 if local.correction is None else np.asarray(local.correction, np.float64)
        weights = start
        estimate = last = velocity = np.zeros_like(start)
        factor, change = np.ones(len(clients)), np.zeros_like(start)
        loss, squared = np.zeros(len(clients)), np.zeros(len(clients))
        with np.errstate(over="ignore", invalid="ignore"):
            for step in range(int(steps.max(initial=0))):
                works = (step < steps)[:, None]
                distance = weights - self.centre[clients]
                slope = self._times(clients, distance)
                value = 0.5 * _row_sums(distance * slope)
                loss = loss + np.where(works[:, 0], value, 0.0)
                squared = squared + np.where(works[:, 0], value * value, 0.0)
                gradient = slope + self._noise(clients, dispatches, step, seed)
                if local.anchor is not None:
                    gradient = (
                        estimate + (slope - last)  # one batch for both: the noise is the same
                        if step
                        else np.broadcast_to(np.asarray(local.anchor, np.float64), start.shape)
                    )
                    estimate, last = gradient, slope
                gradient = gradient + local.prox * (weights - start) + correction
                if local.clip:
                    norm = np.sqrt(_row_sums(gradient * gradient))
                    over = norm > local.clip
                    cut = np.where(over, local.clip / np.where(over, norm, 1.0), 1.0)
                    gradient = gradient * cut[:, None]
                velocity = local.momentum * velocity + gradient
                before = weights
                weights = np.where(works, weights - lr * factor[:, None] * velocity, weights)
                if local.adapt is not None:
                    past = change if step > 1 else np.asarray(local.adapt, np.float64)[None]
                    change = weights - before
                    factor = _adapted(factor, change, past, local) if step else factor
            taken = np.maximum(steps, 1)
            delta = (weights - start).astype(versions.dtype)
        return Updates(delta, loss / taken, squared / taken)

    def _noise(self, clients: Array, dispatches: Array, step: int, seed: int) -> Array | float:
        if not self.noise:
            return 0.0
        keys: Any = rng_arrays.bits(seed, rng_arrays.TRAINING, clients, dispatches)
        numbers = np.arange(self.parameters)
        return self.noise * rng_arrays.normals(keys[:, None], rng_arrays.TRAINING, step, numbers)

    def evaluate(self, weights: Array) -> dict[str, float]:
        """The common `loss`, and the `distance` to its optimum."""
        everyone = np.arange(len(self.centre))
        with np.errstate(over="ignore", invalid="ignore"):
            losses = self.losses(weights, everyone)
            distance = np.asarray(weights, np.float64) - self.optimum
            return {
                "loss": float((self.share * losses).sum()),
                "distance": float(np.sqrt((distance * distance).sum())),
            }

    def losses(self, weights: Array, clients: Array) -> Array:
        """float64[n], loss of each client."""
        distance = np.asarray(weights, np.float64) - self.centre[clients]
        return 0.5 * _row_sums(distance * self._times(clients, distance))

    def gradients(self, weights: Array, clients: Array) -> Array:
        """float64[n, d], gradient of each client's loss, without noise."""
        return self._times(clients, np.asarray(weights, np.float64) - self.centre[clients])


def _checked(curvature: Array, centre: Array) -> tuple[int, int]:
    """N and d."""
    if centre.ndim != 2 or not centre.size or curvature.ndim not in (2, 3):
        raise InputError(f"curvature {curvature.shape}, centre {centre.shape}", where="task")
    count, size = centre.shape
    if curvature.shape != (count, *[size] * (curvature.ndim - 1)):
        raise InputError(
            f"curvature {curvature.shape} for {count} clients of {size} parameters", where="task"
        )
    for name, values in (("curvature", curvature), ("centre", centre)):
        bad = np.argwhere(~np.isfinite(values))
        if len(bad):
            raise InputError(f"{name}{bad[0].tolist()} is {values[tuple(bad[0])]}", where="task")
    return count, size


def _adapted(factor: Array, change: Array, last: Array, local: Local) -> Array:
    """float64[n], what the next step sizes are multiplied by, as `hooks.Local.adapt` says."""
    agreement = _row_sums(change * last) + local.pull * _row_sums(change * local.adapt)
    return np.clip(factor * np.minimum(1.0 + agreement, 1.1), 0.1, 10.0)


def _row_sums(values: Array) -> Array:
    """Sums of the rows, from the first column to the last."""
    return np.cumsum(values, axis=1)[:, -1]
