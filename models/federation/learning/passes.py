"""The losses of a batch of samples and their gradient: forward through all layers, and back."""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler

from .dense import add_products, cross_entropies, forward, mask, rectify, transpose
from .panels import (
    BLOCK,
    ERRORS,
    INPUTS,
    LOSSES,
    PANELS,
    START,
    TOTALS,
    TURNED,
    UNITS,
    VALUES,
)


@handler
def predict(
    layers: Any, weights: Any, x: Any, rows: Any, begin: int, count: int, room: Any, at: Any
) -> None:
    """Hidden values and logits of samples rows[begin : begin + count], at most a block.

    Args:
        layers: as `panels.layer_table` says; weights: in panels.
        x: features of the pool, one row after another.
        room: float32[ROOM]; logits are put where the errors of the last layer start.
        at: int64[2 * BLOCK], room for places of samples; x's stay in the first half.
    """
    last = len(layers) - 1
    features = layers[0, INPUTS]
    fives = (count + 4) // 5 * 5
    for s in range(fives):
        at[s] = rows[begin + min(s, count - 1)] * features
    for layer in range(last + 1):
        inputs, panels, start = layers[layer, INPUTS], layers[layer, PANELS], layers[layer, START]
        out = layers[layer, ERRORS] if layer == last else layers[layer, VALUES]
        if layer == 0:
            forward(weights, start, inputs, panels, x, at, 0, count, room, out)
        else:
            _find(layers[layer - 1, VALUES], layers[layer - 1, PANELS], fives, at)
            forward(weights, start, inputs, panels, room, at, BLOCK, count, room, out)
        if layer < last:
            rectify(room, out, count * panels * 16)


@handler
def _find(start: int, panels: int, count: int, at: Any) -> None:
    """Put where the numbers of samples start into the second half of `at`."""
    for s in range(count):
        at[BLOCK + s] = start + s * panels * 16


@handler
def add_gradient(
    layers: Any,
    weights: Any,
    x: Any,
    y: Any,
    rows: Any,
    size: int,
    gradient: Any,
    room: Any,
    at: Any,
    loss: float,
    squared: float,
) -> tuple[float, float]:
    """Add the gradients of samples rows[:size]; loss and squared with theirs added to them.

    Arguments as of `predict`; gradient: in panels.
    """
    last = len(layers) - 1
    logits, classes, panels = layers[last, ERRORS], layers[last, UNITS], layers[last, PANELS]
    for begin in range(0, size, BLOCK):
        count = min(BLOCK, size - begin)
        predict(layers, weights, x, rows, begin, count, room, at)
        cross_entropies(room, logits, classes, panels, y, rows, begin, count, LOSSES, TOTALS)
        for s in range(count):
            one = np.float64(room[LOSSES + s])
            loss += one
            squared += one * one
        for layer in range(last, 0, -1):
            _add_hidden(layers, layer, weights, gradient, count, room, at)
        add_products(
            gradient,
            0,
            layers[0, INPUTS],
            layers[0, PANELS],
            x,
            at,
            0,
            count,
            room,
            layers[0, ERRORS],
        )
    return loss, squared


@handler
def _add_hidden(
    layers: Any, layer: int, weights: Any, gradient: Any, count: int, room: Any, at: Any
) -> None:
    """Add the gradient by the weights of a layer, and find the errors of the layer below."""
    inputs, units, panels = layers[layer, INPUTS], layers[layer, UNITS], layers[layer, PANELS]
    start, errors = layers[layer, START], layers[layer, ERRORS]
    below_values, below_errors = layers[layer - 1, VALUES], layers[layer - 1, ERRORS]
    below_panels = layers[layer - 1, PANELS]
    fives = (count + 4) // 5 * 5
    _find(below_values, below_panels, fives, at)
    add_products(gradient, start, inputs, panels, room, at, BLOCK, count, room, errors)
    transpose(weights, start, inputs, units, room, TURNED)
    _find(errors, panels, fives, at)
    forward(room, TURNED, units, below_panels, room, at, BLOCK, count, room, below_errors)
    mask(room, below_errors, below_values, count * below_panels * 16)
