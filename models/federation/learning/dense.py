"""Dense layers, forward and back, for a block of samples at a time.

Samples are worked on five at a time: the forward pass then has five sums to add to in turn, and a
row of weights is loaded once for five. Inputs are taken a tile at a time, so that the weights of
large layers stay in the cache while all samples of a block pass. In which order numbers are added
is said in `plain`, which does the same in NumPy; how they are laid out in `panels`.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler

from .lanes import (
    exp,
    first,
    largest,
    load,
    log32,
    minus_one_at,
    not_below,
    splat,
    spread,
    store,
    total,
    where_positive,
)

TILE = 256
"""Inputs at a time."""

_ZERO, _ONE = np.float32(0), np.float32(1)
_LEAST = np.float32(-np.inf)


@handler
def forward(
    weights: Any,
    start: int,
    inputs: int,
    panels: int,
    x: Any,
    at: Any,
    spot: int,
    count: int,
    out: Any,
    out_start: int,
) -> None:
    """Values of a layer: out[s] = bias + sum over f of x[at[spot + s] + f] * weights[f].

    Args:
        weights, start: panels of the layer from there.
        x, at, spot: inputs of sample s from x[at[spot + s]]; `at` goes on to a multiple of five.
        out, out_start: [count, panels * 16] from there, room for a multiple of five.
    """
    width = panels * 16
    for panel in range(panels):
        base = start + panel * (inputs + 1) * 16
        bias = load(weights, base + inputs * 16)
        for low in range(0, inputs, TILE):
            high = min(inputs, low + TILE)
            for s in range(0, count, 5):
                here, place = spot + s, out_start + s * width + panel * 16
                a, b, c, d, e = at[here], at[here + 1], at[here + 2], at[here + 3], at[here + 4]
                sum_a = sum_b = sum_c = sum_d = sum_e = bias
                if low:
                    sum_a, sum_b = load(out, place), load(out, place + width)
                    sum_c, sum_d = load(out, place + 2 * width), load(out, place + 3 * width)
                    sum_e = load(out, place + 4 * width)
                for f in range(low, high):
                    row = load(weights, base + f * 16)
                    sum_a = sum_a + row * spread(x, a + f)
                    sum_b = sum_b + row * spread(x, b + f)
                    sum_c = sum_c + row * spread(x, c + f)
                    sum_d = sum_d + row * spread(x, d + f)
                    sum_e = sum_e + row * spread(x, e + f)
                store(out, place, sum_a)
                store(out, place + width, sum_b)
                store(out, place + 2 * width, sum_c)
                store(out, place + 3 * width, sum_d)
                store(out, place + 4 * width, sum_e)


@handler
def add_products(
    gradient: Any,
    start: int,
    inputs: int,
    panels: int,
    x: Any,
    at: Any,
    spot: int,
    count: int,
    errors: Any,
    errors_start: int,
) -> None:
    """gradient[f] += x[at[spot + s] + f] * errors[s] of a layer, sample by sample.

    The input of the bias is 1. Arguments as of `forward`.
    """
    width = panels * 16
    fives = count - count % 5
    for panel in range(panels):
        base = start + panel * (inputs + 1) * 16
        from_panel = errors_start + panel * 16
        for low in range(0, inputs, TILE):
            high = min(inputs, low + TILE)
            for s in range(0, fives, 5):
                here, place = spot + s, from_panel + s * width
                a, b, c, d, e = at[here], at[here + 1], at[here + 2], at[here + 3], at[here + 4]
                of_a, of_b = load(errors, place), load(errors, place + width)
                of_c, of_d = load(errors, place + 2 * width), load(errors, place + 3 * width)
                of_e = load(errors, place + 4 * width)
                for f in range(low, high):
                    row = load(gradient, base + f * 16)
                    row = row + of_a * spread(x, a + f)
                    row = row + of_b * spread(x, b + f)
                    row = row + of_c * spread(x, c + f)
                    row = row + of_d * spread(x, d + f)
                    row = row + of_e * spread(x, e + f)
                    store(gradient, base + f * 16, row)
            for s in range(fives, count):
                a, error = at[spot + s], load(errors, from_panel + s * width)
                for f in range(low, high):
                    row = load(gradient, base + f * 16)
                    store(gradient, base + f * 16, row + error * spread(x, a + f))
        row = load(gradient, base + inputs * 16)
        for s in range(count):
            row = row + load(errors, from_panel + s * width)
        store(gradient, base + inputs * 16, row)


@handler
def transpose(weights: Any, start: int, inputs: int, units: int, out: Any, place: int) -> None:
    """The weights of a layer as panels of a layer of `units` inputs that has biases 0."""
    for panel in range((inputs + 15) // 16):
        base = place + panel * (units + 1) * 16
        here = min(16, inputs - panel * 16)
        for unit in range(units):
            column = start + (unit // 16) * (inputs + 1) * 16 + panel * 256 + unit % 16
            row = base + unit * 16
            store(out, row, splat(_ZERO))
            for k in range(here):
                out[row + k] = weights[column + k * 16]
        store(out, base + units * 16, splat(_ZERO))


@handler
def rectify(values: Any, start: int, length: int) -> None:
    """Values below 0 become 0; NaN stays, so that what diverged is seen."""
    for place in range(start, start + length, 16):
        store(values, place, not_below(load(values, place), _ZERO))


@handler
def mask(numbers: Any, errors: int, values: int, length: int) -> None:
    """Errors of rectified units: 0 where the value is not above 0.

    Args:
        errors, values: where in `numbers` they start.
    """
    for k in range(0, length, 16):
        kept = where_positive(load(numbers, values + k), load(numbers, errors + k))
        store(numbers, errors + k, kept)


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
    for s in range(count):
        whole = numbers[totals + s]
        numbers[losses + s] = log32(whole) + numbers[losses + s]
        numbers[totals + s] = _ONE / whole
    for s in range(count):
        base, label = start + s * width, np.int64(labels[rows[begin + s]])
        share = spread(numbers, totals + s)
        for panel in range(panels):
            place = base + panel * 16
            store(numbers, place, minus_one_at(load(numbers, place) * share, label - panel * 16))
