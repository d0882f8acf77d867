"""Gradient inversion for softmax regression: data that would have made a given update.

Wang, Ma, Gao and Huang 2024 (Tackling intertwined data and device heterogeneities in federated
learning with unlimited staleness): the server looks for dummy samples and soft labels such that
local training on them, from the model that the client held, gives the client's update; training
on them from the current model then estimates the update that the client would send now.

All is float64 and without BLAS, so that the bits do not depend on threads.
"""

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

DECAYS = (3 / 8, 5 / 8, 7 / 8)
"""Shares of the iterations after which the step size falls to a tenth."""
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8


class Dummies(NamedTuple):
    """Made-up data.

    Attributes:
        x: float64[n, features + 1], the last column 1.
        y: float64[n, classes], shares of the classes, each row adds to 1.
    """

    x: Array
    y: Array


def local_training(model: Array, data: Dummies, steps: int, lr: float) -> Array:
    """float64[d], update by `steps` steps of gradient descent on the mean loss of all samples.

    model: float64[d], matrix [features + 1, classes] row by row, the last row the biases.
    """
    path = _path(model.reshape(data.x.shape[1], -1), data, steps, lr)
    return (path[-1][0] - path[0][0]).ravel()


def invert(
    model: Array,
    update: Array,
    start: Dummies,
    *,
    steps: int,
    lr: float,
    iterations: int,
    rate: float,
) -> Dummies:
    """Dummy data whose local training gives an update.

    Minimises the L1 distance of the updates by Adam over samples and the logits of their labels,
    and returns the best data met.

    Args:
        model: float64[d], that the client held; update: float64[d], that it sent.
        start: first samples; `start.y` holds the first logits.
        steps, lr: of local training.
        iterations, rate: of Adam; the rate falls as `DECAYS` says.
    """
    classes = start.y.shape[1]
    matrix, target = model.reshape(-1, classes), update.reshape(-1, classes)
    x, logits = start.x.copy(), start.y.copy()
    first = [np.zeros_like(x), np.zeros_like(logits)]
    second = [np.zeros_like(x), np.zeros_like(logits)]
    best, least = Dummies(x, _softmax(logits)), np.inf
    for number in range(iterations):
        data = Dummies(x, _softmax(logits))
        path = _path(matrix, data, steps, lr)
        off = path[-1][0] - matrix - target
        error = float(np.abs(off).sum())
        if error < least:
            best, least = data, error
        slopes = _slopes(path, data, np.sign(off), lr)
        step = rate * 0.1 ** sum(number >= share * iterations for share in DECAYS)
        moved = []
        for i, (value, slope) in enumerate(zip((x, logits), slopes, strict=True)):
            first[i] = BETA1 * first[i] + (1 - BETA1) * slope
            second[i] = BETA2 * second[i] + (1 - BETA2) * slope * slope
            mean = first[i] / (1 - BETA1 ** (number + 1))
            spread = np.sqrt(second[i] / (1 - BETA2 ** (number + 1)))
            moved.append(value - step * mean / (spread + EPSILON))
        x, logits = moved
        x[:, -1] = 1.0
    return best


def _path(matrix: Array, data: Dummies, steps: int, lr: float) -> list[tuple[Array, Array]]:
    """(weights, predicted shares) before each step; after the last step weights alone count."""
    path = []
    for _ in range(steps):
        shares = _softmax(_product(data.x, matrix))
        path.append((matrix, shares))
        slope = _product(data.x.T, shares - data.y) / len(data.x)
        matrix = matrix - lr * slope
    path.append((matrix, data.y))
    return path


def _slopes(
    path: list[tuple[Array, Array]], data: Dummies, adjoint: Array, lr: float
) -> tuple[Array, Array]:
    """Derivatives by samples and by logits of labels of <adjoint, last weights>, backwards."""
    count = len(data.x)
    by_x, by_y = np.zeros_like(data.x), np.zeros_like(data.y)
    for weights, shares in reversed(path[:-1]):
        pushed = _product(data.x, adjoint)
        turned = _jacobian(shares, pushed)
        by_y += lr / count * pushed
        by_x -= lr / count * (_product(shares - data.y, adjoint.T) + _product(turned, weights.T))
        adjoint = adjoint - lr / count * _product(data.x.T, turned)
    return by_x, _jacobian(data.y, by_y)


def _jacobian(shares: Array, vectors: Array) -> Array:
    """The symmetric derivative of softmax, diag(p) - p p', times vectors, row by row."""
    return shares * (vectors - (shares * vectors).sum(axis=1, keepdims=True))


def _softmax(logits: Array) -> Array:
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return raised / raised.sum(axis=1, keepdims=True)


def _product(left: Array, right: Array) -> Array:
    return np.einsum("ij,jk->ik", left, right)
