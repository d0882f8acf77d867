"""One local step: from a gradient to the next weights."""

from typing import Any, NamedTuple

import numpy as np

from mltwin.sim.jit import handler

from .lanes import load, splat, store


class Rule(NamedTuple):
    """`hooks.Local` and the task's l2 in arrays; the step size is apart, one for each dispatch.

    Attributes:
        batch: samples of a step, 0 all.
        l2, prox, momentum: float32.
        clip: float64.
        correction: float32[0, 1 or n, d].
        anchor: float32[0 or d].
    """

    batch: Any
    l2: Any
    prox: Any
    momentum: Any
    clip: Any
    correction: Any
    anchor: Any


@handler
def follow_anchor(gradient: Any, last: Any, share: Any, estimate: Any, step: int) -> None:
    """Replace a sum of gradients by the variance-reduced estimate, times the samples of a step.

    Args:
        gradient, last: sums of gradients at the present and the last weights, of one batch.
        estimate: g_{k-1}, becomes g_k = g_{k-1} + (grad - last); at step 0 it is g_0 already.
    """
    for place in range(0, len(gradient), 16):
        if step:
            change = load(gradient, place) * splat(share) - load(last, place) * splat(share)
            store(estimate, place, load(estimate, place) + change)
        store(gradient, place, load(estimate, place))


@handler
def descend(
    layers: Any,
    rule: Rule,
    weights: Any,
    start: Any,
    gradient: Any,
    share: Any,
    lr: Any,
    correction: Any,
    velocity: Any,
) -> None:
    """weights -= lr * g, g the mean gradient with all that the rule adds to it.

    Args:
        gradient: sum of gradients (with an anchor the estimate, whose share is 1).
        start: weights that the client was sent.
    """
    if rule.anchor.size:
        share = np.float32(1)
    corrected = len(rule.correction) > 0
    special = corrected or rule.l2 or rule.prox or rule.clip or rule.momentum
    if not special:
        for place in range(0, len(weights), 16):
            change = splat(lr) * (load(gradient, place) * splat(share))
            store(weights, place, load(weights, place) - change)
        return
    for place in range(0, len(weights), 16):
        g, w = load(gradient, place) * splat(share), load(weights, place)
        if rule.l2:
            g = g + splat(rule.l2) * w
        if rule.prox:
            g = g + splat(rule.prox) * (w - load(start, place))
        if corrected:
            g = g + load(correction, place)
        store(gradient, place, g)
    cut = np.float32(1)
    if rule.clip:
        norm = _norm(layers, gradient)
        if norm > rule.clip:
            cut = np.float32(rule.clip / norm)
    for place in range(0, len(weights), 16):
        g = load(gradient, place)
        if cut != np.float32(1):
            g = g * splat(cut)
        if rule.momentum:
            g = splat(rule.momentum) * load(velocity, place) + g
            store(velocity, place, g)
        store(weights, place, load(weights, place) - splat(lr) * g)


@handler
def _norm(layers: Any, values: Any) -> float:
    """Euclidean norm of parameters in panels, added in the natural order."""
    total = 0.0
    for layer in range(len(layers)):
        inputs, units, start = layers[layer, 0], layers[layer, 1], layers[layer, 3]
        for f in range(inputs + 1):
            for unit in range(units):
                place = start + (unit // 16) * (inputs + 1) * 16 + f * 16 + unit % 16
                value = np.float64(values[place])
                total += value * value
    return np.sqrt(total)
