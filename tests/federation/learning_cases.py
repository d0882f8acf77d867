"""Data and dispatches that the tests of learning share."""

from typing import Any

import numpy as np

from mltwin.models.federation.hooks import Local
from mltwin.models.federation.learning.tables import Examples


def clouds(
    clients: int = 6,
    features: int = 5,
    classes: int = 3,
    seed: int = 0,
    samples: tuple[int, int] = (1, 60),
    test: int = 70,
) -> Examples:
    """Normal clouds around a centre for each class; clients of samples[0] to samples[1] rows."""
    draw = np.random.default_rng(seed)
    sizes = draw.integers(samples[0], samples[1] + 1, clients)
    count = int(sizes.sum())
    centres = draw.normal(size=(classes, features))
    y, test_y = draw.integers(0, classes, count), draw.integers(0, classes, test)
    return Examples.make(
        centres[y] + draw.normal(size=(count, features)),
        y,
        np.concatenate([[0], np.cumsum(sizes)]),
        draw.permutation(count),
        centres[test_y] + draw.normal(size=(test, features)),
        test_y,
        classes=classes,
        name="clouds",
    )


def dispatches(task: Any, count: int, seed: int = 0, most_steps: int = 5) -> tuple[Any, ...]:
    """Arguments of `train` before `local`: models at random, clients that may come twice."""
    draw = np.random.default_rng(seed)
    first = task.initial(3) + 0.2 * draw.normal(size=(3, task.parameters))
    return (
        first.astype(np.float32),
        draw.integers(0, 3, count),
        draw.integers(0, task.examples.clients, count).astype(np.int32),
        draw.integers(0, 50, count),
        draw.integers(0, most_steps + 1, count),
    )


def rules(task: Any, count: int, seed: int = 0) -> dict[str, Local]:
    """All that `Local` may ask for, alone and together."""
    draw = np.random.default_rng(seed)
    size = task.parameters
    small = 0.05 * draw.normal(size=(count, size))
    return {
        "plain": Local(),
        "full": Local(batch=0, lr=0.3),
        "rates": Local(batch=3, lr=draw.uniform(0.01, 0.5, count)),
        "prox": Local(batch=7, prox=0.3),
        "correction": Local(correction=small[0]),
        "corrections": Local(correction=small, momentum=0.5),
        "momentum": Local(momentum=0.9),
        "clip": Local(clip=0.3),
        "anchor": Local(anchor=small[0]),
        "adapt": Local(batch=3, adapt=small[0], pull=0.3),
        "adapt fast": Local(0.3, 4, prox=0.1, momentum=0.5, adapt=3 * small[1], pull=-5.0),
        "anchor and adapt": Local(anchor=small[0], adapt=small[1], pull=0.1),
        "all": Local(0.2, 4, 0.1, small, 0.8, 0.2, small[0]),
        "diverging": Local(lr=1e25),
        "diverging and adapt": Local(lr=1e25, adapt=small[0]),
    }
