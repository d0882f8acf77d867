"""One local step: from a gradient to the next weights."""

from typing import Any, NamedTuple

import numpy as np

from mltwin.sim.jit import handler

from .lanes import further, load, splat, store
from .panels import INPUTS, LAYERS, LENGTH, START, UNITS, copy, of

MOST_GAIN, LEAST_FACTOR, MOST_FACTOR = 1.1, 0.1, 10.0
"""Bounds of an adapted step size: of its gain in one step, of what it is multiplied by in all."""


class Rule(NamedTuple):
    """`hooks.Local` and the task's l2 in numbers; the step size is apart, one for each dispatch.

    Attributes:
        batch: samples of a step, 0 all.
        l2, prox, momentum: float32.
        clip, pull: float64.
        corrected, anchored, adapts: whether there is a correction, an anchor, a direction by which
            the step size adapts.
    """

    batch: Any
    l2: Any
    prox: Any
    momentum: Any
    clip: Any
    pull: Any
    corrected: Any
    anchored: Any
    adapts: Any


class Models(NamedTuple):
    """The models in panels that training has room for, one after another.

    Attributes:
        start: what the client was sent; weights: what it has now.
        gradient: of a step; correction: added to it; velocity: of momentum.
        anchor, estimate: g_0 and g_k of variance-reduced steps.
        before: weights before the last step; last: the gradient there, of this step's batch.
        adapt, change: by which the step size adapts; the last step's change of the weights.
    """

    start: Any
    weights: Any
    gradient: Any
    correction: Any
    velocity: Any
    anchor: Any
    estimate: Any
    before: Any
    last: Any
    adapt: Any
    change: Any


MODELS = len(Models._fields)


@handler(forceinline=True)
def models_in(room: Any, length: int) -> Models:
    """Models of `length` numbers each, from the start of `room`."""
    return Models(
        room,
        further(room, length),
        further(room, 2 * length),
        further(room, 3 * length),
        further(room, 4 * length),
        further(room, 5 * length),
        further(room, 6 * length),
        further(room, 7 * length),
        further(room, 8 * length),
        further(room, 9 * length),
        further(room, 10 * length),
    )


@handler(forceinline=True)
def is_plain(rule: Rule) -> bool:
    """Whether a step is lr times the gradient and nothing else."""
    changed = rule.corrected or rule.l2 or rule.prox or rule.clip or rule.momentum
    return not (changed or rule.anchored or rule.adapts)


@handler
def follow_anchor(models: Models, share: Any, step: int, length: int) -> None:
    """Replace a sum of gradients by the variance-reduced estimate, times the samples of a step.

    g_k = g_{k-1} + (grad - last), of one batch at the present and the last weights.
    """
    gradient, last, estimate = models.gradient, models.last, models.estimate
    if step == 0:
        copy(models.anchor, estimate, length)
    for place in range(0, length, 16):
        if step:
            change = load(gradient, place) * splat(share) - load(last, place) * splat(share)
            store(estimate, place, load(estimate, place) + change)
        store(gradient, place, load(estimate, place))


@handler
def descend(layers: Any, rule: Rule, models: Models, share: Any, lr: Any) -> None:
    """weights -= lr * g, g the mean gradient with all that the rule adds to it.

    The gradient is the sum of those of samples, whose share is `share` (with an anchor the
    estimate, whose share is 1).
    """
    weights, gradient, length = models.weights, models.gradient, of(layers, 0, LENGTH)
    for place in range(0, length, 16):
        g, w = load(gradient, place) * splat(share), load(weights, place)
        if rule.l2:
            g = g + splat(rule.l2) * w
        if rule.prox:
            g = g + splat(rule.prox) * (w - load(models.start, place))
        if rule.corrected:
            g = g + load(models.correction, place)
        store(gradient, place, g)
    cut = np.float32(1)
    if rule.clip:
        norm = np.sqrt(_inner(layers, gradient, gradient))
        if norm > rule.clip:
            cut = np.float32(rule.clip / norm)
    for place in range(0, length, 16):
        g = load(gradient, place)
        if cut != np.float32(1):
            g = g * splat(cut)
        if rule.momentum:
            g = splat(rule.momentum) * load(models.velocity, place) + g
            store(models.velocity, place, g)
        store(weights, place, load(weights, place) - splat(lr) * g)


@handler
def adapted(layers: Any, rule: Rule, models: Models, step: int, factor: float) -> float:
    """What the next step size is multiplied by, where it adapts as `hooks.Local.adapt` says.

    The gradient is no longer there afterwards: it is this step's change of the weights.
    """
    length, now = of(layers, 0, LENGTH), models.gradient
    if step == 0:
        copy(models.adapt, models.change, length)
        return factor
    for place in range(0, length, 16):
        store(now, place, load(models.weights, place) - load(models.before, place))
    agreement = _inner(layers, now, models.change) + rule.pull * _inner(layers, now, models.adapt)
    copy(now, models.change, length)
    gain = 1.0 + agreement
    factor *= MOST_GAIN if gain > MOST_GAIN else gain
    if factor > MOST_FACTOR:
        factor = MOST_FACTOR
    elif factor < LEAST_FACTOR:
        factor = LEAST_FACTOR
    return factor


@handler
def _inner(layers: Any, a: Any, b: Any) -> float:
    """Inner product of parameters in panels, added in the natural order."""
    total = 0.0
    for layer in range(of(layers, 0, LAYERS)):
        inputs, units = of(layers, layer, INPUTS), of(layers, layer, UNITS)
        start = of(layers, layer, START)
        for f in range(inputs + 1):
            for unit in range(units):
                place = start + (unit // 16) * (inputs + 1) * 16 + f * 16 + unit % 16
                total += np.float64(a[place]) * np.float64(b[place])
    return total
