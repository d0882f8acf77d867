"""The benchmark's task as one client does it, in NumPy: what Flower's clients run.

In a module of its own, so that Flower's worker processes import it and keep the data they made:
pickled with each message it would make Flower slower than it is.
"""

import functools
from typing import Any

import numpy as np

from .federated_learning_peers import BATCH, SAMPLES, STEPS, first_weights, numpy_step, pool


def first_arrays(sizes: list[int]) -> list[Any]:
    """The first model, one array for each layer; softmax regression starts at 0."""
    weights = first_weights(sizes)
    return [np.zeros_like(weights[0])] if len(weights) == 1 else weights


@functools.cache
def _data(sizes: tuple[int, ...], clients: int) -> tuple[Any, Any, Any]:
    x, labels, rows = pool(list(sizes), clients)
    return x, np.eye(sizes[-1], dtype=np.float32)[labels], rows


def learn(arrays: list[Any], client: int, clients: int) -> list[Any]:
    """A client's steps over its samples in an order of its own; the model that it ends with."""
    sizes = (*(len(matrix) - 1 for matrix in arrays), arrays[-1].shape[1])
    x, targets, rows = _data(sizes, clients)
    weights = [matrix[None].copy() for matrix in arrays]
    order = np.random.default_rng(client).permutation(rows[client])
    for step in range(STEPS):
        chosen = order[np.arange(step * BATCH, (step + 1) * BATCH) % SAMPLES]
        numpy_step(weights, x[chosen][None], targets[chosen][None])
    return [matrix[0] for matrix in weights]
