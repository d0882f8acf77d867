"""Local SGD of small networks as plain NumPy loops: the readable twin of the compiled kernels.

Clients one after another, steps one after another; every operation on float32 values in a fixed
order, so that `softmax` and `mlp` can be compared with it bit for bit. What that order is:

- A sum over inputs or samples goes from the first to the last: from the bias through the
  features, and from 0 through the samples of a step.
- The sum over classes goes by halves of 16 lanes (`sum_of_lanes`).
- exp and log are the polynomials of `exp32` and `log32`: no C library has a say.
- Losses are added in float64, sample by sample.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Local, Updates
from mltwin.sim import rng_arrays

from .classifier import Classifier, mean
from .tables import Examples

Array = npt.NDArray[Any]

LANES = 16

# Cephes, expf.c and logf.c (S. L. Moshier): errors below 2 units in the last place.
_LOG2_E = np.float32(1.44269504088896341)
_LN2_HIGH, _LN2_LOW = np.float32(0.693359375), np.float32(-2.12194440e-4)
_SMALLEST = np.float32(-87.0)
_TO_INTEGER = np.float32(12582912.0)  # 1.5 * 2**23: adding it rounds to whole numbers
_ROOT_BITS = np.int32(0x3F3504F3)  # of the square root of 1/2
_EXP = [1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 0.5]
_LOG = [
    *(7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1),
    *(-1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1),
]


def exp32(x: Array) -> Array:
    """exp of float32 values that are at most 0, as of -87 below that; of NaN it is NaN."""
    bounded = np.where(x < _SMALLEST, _SMALLEST, x)
    shifted = bounded * _LOG2_E + _TO_INTEGER
    whole = shifted - _TO_INTEGER
    rest = (bounded - whole * _LN2_HIGH) - whole * _LN2_LOW
    series = _polynomial(rest, _EXP) * (rest * rest) + rest + np.float32(1)
    power = ((shifted.view(np.int32) << 23) + (127 << 23)).view(np.float32)
    return series * power


def log32(x: Array) -> Array:
    """Natural log of float32 values that are at least 1; of inf and NaN it is NaN."""
    bits = x.view(np.int32) - _ROOT_BITS
    exponent = (bits >> 23).astype(np.float32)
    fraction = ((bits & 0x7FFFFF) + _ROOT_BITS).view(np.float32) - np.float32(1)
    square = fraction * fraction
    series = _polynomial(fraction, _LOG) * fraction * square
    series = series + exponent * _LN2_LOW - square * np.float32(0.5)
    return (fraction + series + exponent * _LN2_HIGH) + (x - x)


def _polynomial(x: Array, coefficients: Sequence[float]) -> Array:
    total = np.full_like(x, np.float32(coefficients[0]))
    for coefficient in coefficients[1:]:
        total = total * x + np.float32(coefficient)
    return total


def sum_of_lanes(values: Array) -> Array:
    """float32[m] sums of float32[m, classes]: blocks of 16 onto the first, then halves."""
    width = -(-values.shape[1] // LANES) * LANES
    padded = np.zeros((len(values), width), np.float32)
    padded[:, : values.shape[1]] = values
    total = padded[:, :LANES]
    for start in range(LANES, width, LANES):
        total = total + padded[:, start : start + LANES]
    while total.shape[1] > 1:
        half = total.shape[1] // 2
        total = total[:, :half] + total[:, half:]
    return total[:, 0]


def order_of_samples(seed: int, client: int, dispatch: int, samples: int) -> Iterator[int]:
    """The samples of a dispatch in the order of use: one shuffle of all of them after another.

    Fisher and Yates from the front, so that a pass that ends early has cost no more than it used;
    draws are the SplitMix64 sequence from the bits of (seed, TRAINING, client, dispatch).
    """
    state = int(rng_arrays.bits(seed, rng_arrays.TRAINING, client, dispatch))
    rows = list(range(samples))
    while True:
        for place in range(samples):
            state = (state + 0x9E3779B97F4A7C15) % 2**64
            other = place + (((_mixed(state) >> 32) * (samples - place)) >> 32)
            rows[place], rows[other] = rows[other], rows[place]
            yield rows[place]


def _mixed(state: int) -> int:
    x = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
    x = (x ^ (x >> 27)) * 0x94D049BB133111EB % 2**64
    return x ^ (x >> 31)


class PlainNetwork(Classifier):
    """`kernel` in NumPy: dense layers, rectified linear units, softmax on top."""

    def logits(self, weights: Array, x: Array) -> list[Array]:
        """Values of each hidden layer, then the logits: float32[m, units]."""
        values: list[Array] = []
        inputs = x
        for matrix in self.layout.matrices(weights):
            total = np.repeat(matrix[-1:], len(x), axis=0)
            for unit in range(len(matrix) - 1):
                total = total + inputs[:, unit, None] * matrix[unit]
            inputs = np.where(total < 0, np.float32(0), total)
            values += [inputs]
        values[-1] = total
        return values

    def test_samples(self, weights: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """float32[m] losses, bool[m] whether the class was found, float32[m, classes] logits."""
        with np.errstate(all="ignore"):
            logits = self.logits(weights, x)[-1]
            losses, _ = _cross_entropy(logits, y)
        return losses, _largest(logits) == y, logits

    def gradient_sum(self, weights: Array, x: Array, y: Array) -> tuple[Array, Array]:
        """float32[d] gradient of the sum of the losses of m samples, float32[m] losses."""
        *hidden, logits = self.logits(weights, x)
        losses, errors = _cross_entropy(logits, y)
        gradient = np.zeros_like(weights)
        matrices = self.layout.matrices(weights)
        sums = self.layout.matrices(gradient)
        layers = [x, *hidden]
        for layer in reversed(range(len(layers))):
            inputs = layers[layer]
            for sample in range(len(x)):
                sums[layer][:-1] += inputs[sample, :, None] * errors[sample]
                sums[layer][-1] += errors[sample]
            if layer:
                below = np.zeros_like(inputs)
                for unit in range(errors.shape[1]):
                    below = below + errors[:, unit, None] * matrices[layer][:-1, unit]
                errors = np.where(inputs > 0, below, np.float32(0))
        return gradient, losses

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
        """Local training of n dispatches, as `hooks.Task.train` says."""
        count = len(clients)
        lr = np.broadcast_to(np.asarray(local.lr, np.float32), (count,))
        delta = np.zeros((count, self.parameters), np.float32)
        loss, squared = np.zeros(count), np.zeros(count)
        with np.errstate(all="ignore"):
            for i in range(count):
                start = np.asarray(versions[which[i]], np.float32)
                end, losses = self._descend(
                    start,
                    int(clients[i]),
                    int(dispatches[i]),
                    int(steps[i]),
                    lr[i],
                    local,
                    _correction(local, i),
                    seed,
                )
                delta[i] = end - start
                if len(losses):
                    loss[i], squared[i] = mean(losses), mean(losses * losses)
        return Updates(delta, loss, squared)

    def _descend(
        self,
        start: Array,
        client: int,
        dispatch: int,
        steps: int,
        lr: np.float32,
        local: Local,
        correction: Array | None,
        seed: int,
    ) -> tuple[Array, Array]:
        """The weights after the steps of one dispatch, float64[...] losses of their samples."""
        data = self.examples
        rows = data.row[data.first[client] : data.first[client + 1]]
        size = min(local.batch, len(rows)) or len(rows)
        order = order_of_samples(seed, client, dispatch, len(rows))
        weights, before = start, start
        estimate = velocity = np.zeros_like(start)
        factor, change = 1.0, local.adapt
        seen: list[Array] = [np.zeros(0)]
        for step in range(steps):
            batch = rows if size == len(rows) else rows[[next(order) for _ in range(size)]]
            x, y = data.x[batch], data.y[batch]
            share = np.float32(1) / np.float32(size)
            total, losses = self.gradient_sum(weights, x, y)
            gradient = total * share
            seen.append(losses.astype(np.float64))
            if local.anchor is not None:
                if step == 0:
                    estimate = np.asarray(local.anchor, np.float32)
                else:
                    last = self.gradient_sum(before, x, y)[0] * share
                    estimate = estimate + (gradient - last)
                gradient = estimate
            if self.l2:
                gradient = gradient + np.float32(self.l2) * weights
            if local.prox:
                gradient = gradient + np.float32(local.prox) * (weights - start)
            if correction is not None:
                gradient = gradient + correction
            if local.clip:
                norm = np.sqrt(np.cumsum(gradient.astype(np.float64) ** 2)[-1])
                if norm > local.clip:
                    gradient = gradient * np.float32(local.clip / norm)
            if local.momentum:
                velocity = np.float32(local.momentum) * velocity + gradient
                gradient = velocity
            rate = np.float32(np.float64(lr) * factor)
            before, weights = weights, weights - rate * gradient
            if local.adapt is not None and step:
                change, last_change = weights - before, change
                factor = _adapted(factor, change, last_change, local)
        return weights, np.concatenate(seen)

    def losses(self, weights: Array, clients: Array) -> Array:
        """float64[n], mean loss of a model on all data of each client."""
        single = np.asarray(weights, np.float32)
        data = [self._data(client) for client in clients]
        return np.array([mean(self.test_samples(single, x, y)[0]) for x, y in data])

    def gradients(self, weights: Array, clients: Array) -> Array:
        """float32[n, d], full gradient of a model on the data of each client."""
        single = np.asarray(weights, np.float32)
        found = np.zeros((len(clients), self.parameters), np.float32)
        with np.errstate(all="ignore"):
            for i, client in enumerate(clients):
                x, y = self._data(client)
                total, _ = self.gradient_sum(single, x, y)
                found[i] = total * (np.float32(1) / np.float32(len(x)))
                if self.l2:
                    found[i] = found[i] + np.float32(self.l2) * single
        return found

    def _data(self, client: int) -> tuple[Array, Array]:
        data = self.examples
        rows = data.row[data.first[client] : data.first[client + 1]]
        return data.x[rows], data.y[rows]


class PlainSoftmax(PlainNetwork):
    """Softmax regression."""

    def __init__(self, examples: Examples, l2: float = 0.0) -> None:
        super().__init__(examples, (), l2)


class PlainMlp(PlainNetwork):
    """A multilayer perceptron."""

    def __init__(self, examples: Examples, hidden: Sequence[int] = (32,), l2: float = 0.0) -> None:
        super().__init__(examples, hidden, l2)


def _correction(local: Local, dispatch: int) -> Array | None:
    """float32[d], what the gradients of one of the dispatches are corrected by."""
    if local.correction is None:
        return None
    given = np.asarray(local.correction, np.float32)
    return given[dispatch] if given.ndim == 2 else given


def _adapted(factor: float, change: Array, last: Array | None, local: Local) -> float:
    """What the next step size is multiplied by, as `hooks.Local.adapt` says."""
    agreement = _inner(change, last) + local.pull * _inner(change, local.adapt)
    factor *= min(1.0 + agreement, 1.1)
    return min(max(factor, 0.1), 10.0)


def _inner(a: Array, b: Any) -> float:
    """Inner product of float32 values, added in float64 from the first to the last."""
    return float(np.cumsum(a.astype(np.float64) * np.asarray(b, np.float32))[-1])


def _cross_entropy(logits: Array, y: Array) -> tuple[Array, Array]:
    """float32[m] losses and float32[m, classes], their gradients by the logits."""
    highest = logits[:, 0]
    for unit in range(1, logits.shape[1]):
        highest = np.where(logits[:, unit] > highest, logits[:, unit], highest)
    centred = logits - highest[:, None]
    powers = exp32(centred)
    total = sum_of_lanes(powers)
    samples = np.arange(len(y))
    errors = powers * (np.float32(1) / total)[:, None]
    errors[samples, y] -= np.float32(1)
    return log32(total) + (highest - logits[samples, y]), errors


def _largest(logits: Array) -> Array:
    """The class of each sample: the first of those with the largest logit."""
    best, found = logits[:, 0], np.zeros(len(logits), np.int64)
    for unit in range(1, logits.shape[1]):
        better = logits[:, unit] > best
        best, found = np.where(better, logits[:, unit], best), np.where(better, unit, found)
    return found
