"""The losses of a batch of samples and their gradient: forward through all layers, and back."""

from typing import Any

import numpy as np

from mltwin.sim.jit import JIT_DISABLED, handler

from .dense import Layer, Samples, Step, add_gradients, forward, mask, rectify, transpose
from .entropy import cross_entropies
from .lanes import prefetch
from .panels import (
    BLOCK,
    ERRORS,
    INPUTS,
    LAYERS,
    LOSSES,
    PANELS,
    START,
    TOTALS,
    TURNED,
    UNITS,
    VALUES,
    of,
)

FETCHED = 12_288
"""Numbers of a client, at most, that are fetched into the cache before they are used."""


@handler(forceinline=True)
def _layer(layers: Any, layer: int) -> Layer:
    return Layer(of(layers, layer, START), of(layers, layer, INPUTS), of(layers, layer, PANELS))


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
    last = of(layers, 0, LAYERS) - 1
    features = of(layers, 0, INPUTS)
    for s in range(count):
        at[s] = rows[begin + s] * features
    for s in range(count, _tens(count)):
        at[s] = at[count - 1]
    for layer in range(last + 1):
        here = _layer(layers, layer)
        out = of(layers, layer, ERRORS) if layer == last else of(layers, layer, VALUES)
        if layer == 0:
            forward(weights, here, Samples(x, at, 0, count), room, out)
        else:
            inputs = _hidden(layers, layer - 1, VALUES, count, room, at)
            forward(weights, here, inputs, room, out)
        if layer < last:
            rectify(room, out, count * here.panels * 16)


@handler(forceinline=True)
def _tens(count: int) -> int:
    """The next multiple of ten."""
    return (count + 9) // 10 * 10


@handler(forceinline=True)
def _hidden(layers: Any, layer: int, what: int, count: int, room: Any, at: Any) -> Samples:
    """Values or errors of a layer as inputs; the second half of `at` says where they are."""
    start, width = of(layers, layer, what), of(layers, layer, PANELS) * 16
    for s in range(_tens(count)):
        at[BLOCK + s] = start + s * width
    return Samples(room, at, BLOCK, count)


@handler
def add_gradient(
    layers: Any,
    weights: Any,
    x: Any,
    y: Any,
    rows: Any,
    size: int,
    room: Any,
    at: Any,
    loss: float,
    squared: float,
    step: Step,
) -> tuple[float, float]:
    """Sum the gradients of samples rows[:size]; loss and squared with theirs added to them.

    Arguments as of `predict`; step: what becomes of the sum.
    """
    last = of(layers, 0, LAYERS) - 1
    logits, classes = of(layers, last, ERRORS), of(layers, last, UNITS)
    panels = of(layers, last, PANELS)
    for begin in range(0, size, BLOCK):
        count = min(BLOCK, size - begin)
        predict(layers, weights, x, rows, begin, count, room, at)
        cross_entropies(room, logits, classes, panels, y, rows, begin, count, LOSSES, TOTALS)
        for s in range(count):
            one = np.float64(room[LOSSES + s])
            loss += one
            squared += one * one
        of_block = Step(
            step.gradient,
            step.fresh and begin == 0,
            step.descends and begin + count == size,
            step.weights,
            step.share,
            step.lr,
        )
        for layer in range(last, 0, -1):
            _add_hidden(layers, layer, weights, count, room, at, of_block)
        inputs, errors = Samples(x, at, 0, count), of(layers, 0, ERRORS)
        add_gradients(_layer(layers, 0), inputs, room, errors, of_block)
    return loss, squared


@handler
def _add_hidden(
    layers: Any, layer: int, weights: Any, count: int, room: Any, at: Any, step: Step
) -> None:
    """Find the errors of the layer below a layer, then sum the gradients of its weights."""
    here, units = _layer(layers, layer), of(layers, layer, UNITS)
    below_values, below_errors = of(layers, layer - 1, VALUES), of(layers, layer - 1, ERRORS)
    below_panels = of(layers, layer - 1, PANELS)
    transpose(weights, here.start, here.inputs, units, room, TURNED)
    errors = _hidden(layers, layer, ERRORS, count, room, at)
    forward(room, Layer(TURNED, units, below_panels), errors, room, below_errors)
    mask(room, below_errors, below_values, count * below_panels * 16)
    inputs = _hidden(layers, layer - 1, VALUES, count, room, at)
    add_gradients(here, inputs, room, of(layers, layer, ERRORS), step)


@handler(forceinline=True)
def is_worth_fetching(layers: Any, samples: int, batch: int, steps: int) -> bool:
    """Whether a client's samples are few, and half of them are used."""
    used = samples if batch == 0 else steps * batch
    return samples * of(layers, 0, INPUTS) <= FETCHED and 2 * used >= samples


@handler
def fetch(x: Any, y: Any, row: Any, features: int, low: int, high: int) -> None:
    """Fetch samples row[low:high] into the cache."""
    if JIT_DISABLED:
        return
    for k in range(low, high):
        prefetch(y, row[k])
        place = row[k] * features
        for f in range(0, features, 16):
            prefetch(x, place + f)
        prefetch(x, place + features - 1)


@handler
def fetch_rows(row: Any, low: int, high: int) -> None:
    """Fetch row[low:high] itself into the cache."""
    if JIT_DISABLED:
        return
    for k in range(low, min(high, low + FETCHED), 16):
        prefetch(row, k)
