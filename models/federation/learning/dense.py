"""Dense layers, forward and back, for a block of samples at a time.

Samples are worked on in groups, ten at a time where there are as many: a row of weights is loaded
once for ten, which have a sum each to add to in turn; on the way back four rows of the gradient
are added up side by side, as each alone would wait for itself. Inputs are taken a tile at a time,
so that the weights of large layers stay in the cache while all samples of a block pass. In which
order numbers are added is said in `plain`, which does the same in NumPy; how they are laid out in
`panels`.
"""

from typing import Any, NamedTuple

import numpy as np

from mltwin.sim.jit import handler

from .lanes import (
    add_products,
    add_to_each,
    load,
    load_rows,
    not_below,
    places,
    repeat,
    splat,
    stepped,
    store,
    store_rows,
    where_positive,
)

TILE = 256
"""Inputs at a time."""

ONE, FOUR, FIVE, TEN = (0,), (0,) * 4, (0,) * 5, (0,) * 10
"""Groups: how many at a time."""

_ZERO = np.float32(0)


class Layer(NamedTuple):
    """Where a layer of `inputs` stands: its panels, `panels` of them, from `start`."""

    start: Any
    inputs: Any
    panels: Any


class Samples(NamedTuple):
    """Inputs of `count` samples: those of sample s are x[at[spot + s]:].

    In `at` another place follows for each that `count` is short of a multiple of ten.
    """

    x: Any
    at: Any
    spot: Any
    count: Any


class Step(NamedTuple):
    """What becomes of the sum of the gradients of samples.

    Attributes:
        gradient: what it is added to; fresh: which is 0, whatever stands there.
        descends: it is not stored, but weights -= lr * (gradient * share).
        weights, share, lr: of that.
    """

    gradient: Any
    fresh: Any
    descends: Any
    weights: Any
    share: Any
    lr: Any


@handler
def forward(weights: Any, layer: Layer, samples: Samples, out: Any, out_start: int) -> None:
    """Values of a layer: out[s] = bias + sum over f of x[at[spot + s] + f] * weights[f].

    Args:
        weights: in panels.
        out, out_start: [count, panels * 16] from there, room for a multiple of ten samples.
    """
    for panel in range(layer.panels):
        for low in range(0, layer.inputs, TILE):
            for s in range(0, samples.count, 10):
                if samples.count - s > 5:
                    _forward_group(weights, layer, panel, low, samples, s, out, out_start, TEN)
                else:
                    _forward_group(weights, layer, panel, low, samples, s, out, out_start, FIVE)


@handler(forceinline=True)
def _forward_group(
    weights: Any,
    layer: Layer,
    panel: int,
    low: int,
    samples: Samples,
    s: int,
    out: Any,
    out_start: int,
    group: Any,
) -> None:
    """A tile of one panel, for as many samples from s as the group has."""
    base = layer.start + panel * (layer.inputs + 1) * 16
    place, width = out_start + (s * layer.panels + panel) * 16, layer.panels * 16
    starts = places(samples.at, samples.spot + s, group)
    if low:
        sums = load_rows(out, place, width, group)
    else:
        sums = repeat(load(weights, base + layer.inputs * 16), group)
    for f in range(low, min(layer.inputs, low + TILE)):
        sums = add_to_each(sums, load(weights, base + f * 16), samples.x, starts, f)
    store_rows(out, place, width, sums)


@handler
def add_gradients(layer: Layer, samples: Samples, errors: Any, place: int, step: Step) -> None:
    """gradient[f] += x[at[spot + s] + f] * errors[s] of a layer, sample by sample.

    The input of the bias is 1.

    Args:
        errors, place: [count, panels * 16] from there.
        step: what becomes of the gradient.
    """
    for panel in range(layer.panels):
        for low in range(0, layer.inputs, TILE):
            s = 0
            while s < samples.count:
                if samples.count - s >= 10:
                    _add_group(layer, panel, low, samples, s, errors, place, step, TEN)
                    s += 10
                elif samples.count - s >= 5:
                    _add_group(layer, panel, low, samples, s, errors, place, step, FIVE)
                    s += 5
                else:
                    _add_group(layer, panel, low, samples, s, errors, place, step, ONE)
                    s += 1
        _add_biases(layer, panel, samples.count, errors, place, step)


@handler(forceinline=True)
def _add_group(
    layer: Layer,
    panel: int,
    low: int,
    samples: Samples,
    s: int,
    errors: Any,
    place: int,
    step: Step,
    group: Any,
) -> None:
    """A tile of one panel, for as many samples from s as the group has."""
    base, width = layer.start + panel * (layer.inputs + 1) * 16, layer.panels * 16
    starts = places(samples.at, samples.spot + s, group)
    factors = load_rows(errors, place + s * width + panel * 16, width, group)
    here = Step(
        step.gradient,
        step.fresh and s == 0,
        step.descends and s + len(group) == samples.count,
        step.weights,
        step.share,
        step.lr,
    )
    high = min(layer.inputs, low + TILE)
    fours = high - (high - low) % 4
    for f in range(low, fours, 4):
        _add_rows(base, f, samples.x, starts, factors, here, FOUR)
    for f in range(fours, high):
        _add_rows(base, f, samples.x, starts, factors, here, ONE)


@handler(forceinline=True)
def _add_rows(base: int, f: int, x: Any, starts: Any, factors: Any, step: Step, group: Any) -> None:
    """As many inputs from f as the group has."""
    place = base + f * 16
    if step.fresh:
        sums = repeat(splat(_ZERO), group)
    else:
        sums = load_rows(step.gradient, place, 16, group)
    sums = add_products(sums, factors, x, starts, f)
    if step.descends:
        weights = load_rows(step.weights, place, 16, group)
        store_rows(step.weights, place, 16, stepped(weights, sums, step.share, step.lr))
    else:
        store_rows(step.gradient, place, 16, sums)


@handler(forceinline=True)
def _add_biases(layer: Layer, panel: int, count: int, errors: Any, place: int, step: Step) -> None:
    """The biases of one panel, whose inputs are 1."""
    bias = layer.start + (panel * (layer.inputs + 1) + layer.inputs) * 16
    row = splat(_ZERO) if step.fresh else load(step.gradient, bias)
    for s in range(count):
        row = row + load(errors, place + (s * layer.panels + panel) * 16)
    if step.descends:
        change = splat(step.lr) * (row * splat(step.share))
        store(step.weights, bias, load(step.weights, bias) - change)
    else:
        store(step.gradient, bias, row)


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
