"""Softmax cross entropy of a block of samples, and its gradient by the logits."""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler

from .lanes import (
    divide,
    exp,
    first,
    largest,
    load,
    log,
    minus_one_at,
    spread,
    store,
    total,
)

_ZERO, _ONE = np.float32(0), np.float32(1)
_LEAST = np.float32(-np.inf)


@handler
def cross_entropies(
    numbers: Any,
    start: int,
    classes: int,
    panels: int,
    labels: Any,
    rows: Any,
    begin: int,
    count: int,
    losses: int,
    totals: int,
) -> None:
    """Softmax cross entropy; logits become errors, p - [class is the sample's].

    In short loops one after another: each is bound by throughput, where one long loop would wait
    for the sums of a sample before it gets on with the next.

    Args:
        numbers, start: logits [count, panels * 16] from there.
        labels: sample s is of class labels[rows[begin + s]].
        losses, totals: where in `numbers` to put the losses and, for a while, sums.
    """
    width = panels * 16
    for s in range(count):
        base = start + s * width
        highest = largest(first(load(numbers, base), classes, _LEAST))
        for panel in range(1, panels):
            left = classes - panel * 16
            here = largest(first(load(numbers, base + panel * 16), left, _LEAST))
            if here > highest:
                highest = here
        numbers[totals + s] = highest
        numbers[losses + s] = highest - numbers[base + labels[rows[begin + s]]]
    for s in range(count):
        base = start + s * width
        highest_lanes = spread(numbers, totals + s)
        powers = first(exp(load(numbers, base) - highest_lanes), classes, _ZERO)
        store(numbers, base, powers)
        for panel in range(1, panels):
            place, left = base + panel * 16, classes - panel * 16
            more = first(exp(load(numbers, place) - highest_lanes), left, _ZERO)
            store(numbers, place, more)
            powers = powers + more
        numbers[totals + s] = total(powers)
    for s in range(0, count, 16):
        whole = load(numbers, totals + s)
        store(numbers, losses + s, log(whole) + load(numbers, losses + s))
        store(numbers, totals + s, divide(_ONE, whole))
    for s in range(count):
        base, label = start + s * width, np.int64(labels[rows[begin + s]])
        share = spread(numbers, totals + s)
        for panel in range(panels):
            place = base + panel * 16
            store(numbers, place, minus_one_at(load(numbers, place) * share, label - panel * 16))
