"""What tasks of examples share: metrics; of dense layers: shapes and first weights."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim import rng_arrays
from mltwin.sim.errors import InputError

from .tables import Examples

Array = npt.NDArray[Any]

# First weights are drawn under an entity that is no client.
_FIRST_LAYER = 2**40

# Whose samples are copied together.
_CLIENTS_AT_ONCE = 10_000


class Layout:
    """Where the parameters of dense layers stand in one vector.

    A layer of a inputs and b units is a matrix [a + 1, b], row-major, its last row the biases;
    layers follow one another. So softmax regression is W [features, classes], then b [classes].

    Attributes:
        sizes: inputs of the first layer, then units of each.
        parameters: length of the vector.
    """

    def __init__(self, sizes: Sequence[int]) -> None:
        self.sizes = tuple(sizes)
        self.shapes = [(a + 1, b) for a, b in zip(self.sizes[:-1], self.sizes[1:], strict=True)]
        self.parameters = sum(rows * units for rows, units in self.shapes)

    def matrices(self, weights: Array) -> list[Array]:
        """Views of a vector, one [inputs + 1, units] for each layer."""
        ends = np.cumsum([rows * units for rows, units in self.shapes])[:-1]
        parts = np.split(weights, ends)
        return [part.reshape(shape) for part, shape in zip(parts, self.shapes, strict=True)]

    def initial(self, seed: int) -> Array:
        """float64[parameters]: hidden layers normal with variance 2/inputs, the rest 0.

        He et al., Delving Deep into Rectifiers (2015), equation 10. The last layer starts at 0, so
        that the first loss is log(classes).
        """
        weights = np.zeros(self.parameters)
        for layer, matrix in enumerate(self.matrices(weights)[:-1]):
            inputs, units = matrix.shape[0] - 1, matrix.shape[1]
            draws = rng_arrays.normals(
                seed, rng_arrays.TRAINING, _FIRST_LAYER + layer, np.arange(inputs * units)
            )
            matrix[:-1] = draws.reshape(inputs, units) * np.sqrt(2.0 / inputs)
        return weights


class Evaluated:
    """Metrics of a model on examples, from what a task says of samples."""

    examples: Examples

    def test_samples(self, weights: Array, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """float32[m] losses, bool[m] whether the class was found, float32[m, classes] logits."""
        raise NotImplementedError

    @property
    def held_out(self) -> tuple[Array, Array]:
        """Samples and labels to evaluate on: those of no client; without any, all."""
        data = self.examples
        return (data.test_x, data.test_y) if len(data.test_y) else (data.x, data.y)

    def evaluate(self, weights: Array) -> dict[str, float]:
        """Metrics of a model on held-out data (on all data where none is).

        Returns:
            `loss`, of classes `accuracy`, of two that both occur `auc`: the share of pairs of a
            sample of each in which that of class 1 has the higher score, ties half.
        """
        x, y = self.held_out
        losses, right, logits = self.test_samples(np.asarray(weights, np.float32), x, y)
        found = {"loss": mean(losses)}
        if self.examples.classes:
            found["accuracy"] = float(right.mean())
        if self.examples.classes == 2 and 0 < np.count_nonzero(y) < len(y):
            found["auc"] = area_under_curve(logits[:, 1] - logits[:, 0], y)
        return found

    def client_metrics(self, weights: Array) -> dict[str, Array]:
        """How a model does at each client: on its held-out samples, without any on its own.

        Returns:
            float64[N] `loss` and `accuracy`, int64[N] `samples` that they are of.
        """
        data, count = self.examples, self.examples.clients
        theirs = np.flatnonzero(data.test_client >= 0)
        owner = data.test_client[theirs]
        losses, right, _ = self.test_samples(weights, data.test_x[theirs], data.test_y[theirs])
        sums = [np.bincount(owner, values, count) for values in (losses, right)]
        found = np.stack(sums).astype(np.float64)  # of no samples, bincount gives integers
        samples = np.bincount(owner, minlength=count)
        missing = np.flatnonzero(samples == 0)
        for low in range(0, len(missing), _CLIENTS_AT_ONCE):
            own = missing[low : low + _CLIENTS_AT_ONCE]
            rows, owner = rows_of(data, own)
            losses, right, _ = self.test_samples(weights, data.x[rows], data.y[rows])
            found[:, own] = [np.bincount(owner, values, len(own)) for values in (losses, right)]
            samples[own] = data.samples[own]
        return {"loss": found[0] / samples, "accuracy": found[1] / samples, "samples": samples}


class Classifier(Evaluated):
    """A network of dense layers for examples of classes.

    Args:
        examples: who has which data.
        hidden: units of each hidden layer; none: softmax regression.
        l2: added to each gradient, times the weights (PyTorch's `weight_decay`). Losses are those
            of the data alone.

    Attributes:
        parameters: d.
        flops_per_sample: 6 a weight: a multiplication and an addition each for the output, the
            gradient by the weight and the gradient by its input.

    Raises:
        InputError: data without classes, a layer without units, l2 below 0.
    """

    def __init__(self, examples: Examples, hidden: Sequence[int] = (), l2: float = 0.0) -> None:
        if examples.classes < 2:
            raise InputError(
                f"data {examples.name!r} have {examples.classes} classes",
                where="task",
                mend="a classifier wants at least 2; make classes of the targets",
            )
        wrong = [units for units in hidden if units < 1]
        if wrong or not 0 <= l2 < np.inf:
            raise InputError(
                f"a layer of {wrong[0]} units" if wrong else f"l2 is {l2}", where="task"
            )
        self.examples = examples
        self.l2 = float(l2)
        self.layout = Layout((examples.x.shape[1], *hidden, examples.classes))
        self.parameters = self.layout.parameters
        self.flops_per_sample = 6.0 * self.parameters

    def initial(self, seed: int) -> Array:
        """float64[d], the first model, as `Layout.initial` says."""
        return self.layout.initial(seed)


def rows_of(examples: Examples, clients: Array) -> tuple[Array, Array]:
    """Pool rows of clients, one client after another, and for each row which of the clients."""
    chosen = np.asarray(clients, np.int64)
    counts = examples.samples[chosen]
    owner = np.repeat(np.arange(len(chosen)), counts)
    starts = np.cumsum(counts) - counts
    within = np.arange(len(owner)) - starts[owner]
    return examples.row[examples.first[chosen][owner] + within], owner


def mean(values: Array) -> float:
    """The mean, added in float64 from the first to the last."""
    return float(np.cumsum(values.astype(np.float64))[-1] / len(values))


def area_under_curve(scores: Array, labels: Array) -> float:
    """Share of (0, 1) pairs of labels that the scores put in order, ties half.

    Mann and Whitney's U over the number of pairs; NaN where a score is.
    """
    if np.isnan(scores).any():
        return float("nan")
    _, place, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    ranks = (ends - (counts - 1) / 2)[place]
    positive = labels == 1
    ones = int(np.count_nonzero(positive))
    above = float(np.sum(ranks[positive])) - ones * (ones + 1) / 2
    return above / (ones * (len(labels) - ones))
