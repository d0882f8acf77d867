"""Local training of many clients, one dispatch after another, compiled.

A dispatch depends on nothing but its own row of the arguments, so threads may take any of them.
What is calculated, in which order, is `plain` word for word.

Arrays are handed on one by one: taken out of a tuple they would be reference-counted, which cost a
tenth of a step.
"""

from typing import Any

import numpy as np
from numba import boolean, float32, float64, int32, int64, void
from numba.core import types

from mltwin.sim.jit import kernel

from .dense import cross_entropies
from .descent import Rule, descend, follow_anchor
from .lanes import load, splat, store
from .order import order_key, take
from .panels import (
    BLOCK,
    ERRORS,
    LENGTH,
    LOSSES,
    PANELS,
    ROOM,
    TOTALS,
    UNITS,
    copy,
    difference,
    to_panels,
)
from .passes import add_gradient, predict

_FLOATS, _MATRIX, _LABELS, _NUMBERS = float32[::1], float32[:, ::1], int32[::1], int64[::1]
_LAYERS = int64[:, ::1]
_DATA = (_FLOATS, _LABELS, _NUMBERS, int32[::1])
_types: Any = types  # its stubs differ from version to version
_RULE = _types.NamedTuple((int64, float32, float32, float32, float64, _MATRIX, _FLOATS), Rule)


@kernel(
    void(
        *(_LAYERS, *_DATA, _MATRIX, _NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS, _FLOATS, _RULE),
        *(int64, int64, int64, _MATRIX, float64[::1], float64[::1]),
    )
)
def train(
    layers: Any,
    x: Any,
    y: Any,
    first: Any,
    row: Any,
    versions: Any,
    which: Any,
    clients: Any,
    dispatches: Any,
    steps: Any,
    lr: Any,
    rule: Rule,
    seed: int,
    begin: int,
    end: int,
    delta: Any,
    loss: Any,
    squared: Any,
) -> None:
    """Train dispatches begin ... end - 1 and write their rows of delta, loss and squared.

    Args:
        layers: as `panels.layer_table` says.
        x, y, first, row: of `Examples`, x as one row.
        versions, which, clients, dispatches, steps, seed: as of `hooks.Task.train`.
        lr: float32[n].
    """
    length = layers[0, LENGTH]
    room, at = np.zeros(layers[0, ROOM], np.float32), np.zeros(2 * BLOCK, np.int64)
    start, weights = np.zeros(length, np.float32), np.zeros(length, np.float32)
    gradient = np.zeros(length, np.float32)
    correction = np.zeros(length, np.float32)
    memory = np.zeros((5, length if rule.anchor.size or rule.momentum else 0), np.float32)
    velocity, anchor, estimate, before, last = memory[0], memory[1], memory[2], memory[3], memory[4]
    if rule.anchor.size:
        to_panels(layers, rule.anchor, anchor)
    if len(rule.correction) == 1:
        to_panels(layers, rule.correction[0], correction)
    most = 1
    for i in range(begin, end):
        most = max(most, first[clients[i] + 1] - first[clients[i]])
    rows, batch = np.zeros(most, np.int64), np.zeros(most, np.int64)
    for i in range(begin, end):
        client = clients[i]
        samples = first[client + 1] - first[client]
        size = samples if rule.batch == 0 else min(rule.batch, samples)
        for k in range(samples):
            rows[k] = row[first[client] + k]
            batch[k] = rows[k]
        if i == begin or which[i] != which[i - 1]:
            to_panels(layers, versions[which[i]], start)
        copy(start, weights)
        if len(rule.correction) > 1:
            to_panels(layers, rule.correction[i], correction)
        if rule.momentum:
            velocity[:] = np.float32(0)
        state = order_key(seed, client, dispatches[i])
        share = np.float32(1) / np.float32(size)
        whole, squares = 0.0, 0.0
        for step in range(steps[i]):
            if size < samples:
                state = take(rows, samples, step * size, state, batch, size)
            gradient[:] = np.float32(0)
            whole, squares = add_gradient(
                layers, weights, x, y, batch, size, gradient, room, at, whole, squares
            )
            if rule.anchor.size:
                if step:
                    last[:] = np.float32(0)
                    add_gradient(layers, before, x, y, batch, size, last, room, at, 0.0, 0.0)
                else:
                    copy(anchor, estimate)
                follow_anchor(gradient, last, share, estimate, step)
                copy(weights, before)
            descend(layers, rule, weights, start, gradient, share, lr[i], correction, velocity)
        difference(layers, weights, start, delta[i])
        seen = max(1, steps[i] * size)
        loss[i], squared[i] = whole / seen, squares / seen


@kernel(void(_LAYERS, *_DATA, _FLOATS, float32, _NUMBERS, int64, int64, _MATRIX))
def gradients(
    layers: Any,
    x: Any,
    y: Any,
    first: Any,
    row: Any,
    weights: Any,
    l2: Any,
    clients: Any,
    begin: int,
    end: int,
    out: Any,
) -> None:
    """out[i]: mean gradient of a model on all data of clients[i], with l2."""
    length = layers[0, LENGTH]
    room, at = np.zeros(layers[0, ROOM], np.float32), np.zeros(2 * BLOCK, np.int64)
    panels, gradient = np.zeros(length, np.float32), np.zeros(length, np.float32)
    nothing = np.zeros(length, np.float32)
    to_panels(layers, weights, panels)
    for i in range(begin, end):
        low, high = first[clients[i]], first[clients[i] + 1]
        gradient[:] = np.float32(0)
        add_gradient(layers, panels, x, y, row[low:high], high - low, gradient, room, at, 0.0, 0.0)
        share = np.float32(1) / np.float32(high - low)
        for place in range(0, length, 16):
            mean = load(gradient, place) * splat(share)
            if l2:
                mean = mean + splat(l2) * load(panels, place)
            store(gradient, place, mean)
        difference(layers, gradient, nothing, out[i])


@kernel(
    void(
        *(_LAYERS, _FLOATS, _FLOATS, _LABELS, int32[::1], int64, int64),
        *(_FLOATS, boolean[::1], _MATRIX),
    )
)
def evaluate(
    layers: Any,
    weights: Any,
    x: Any,
    y: Any,
    rows: Any,
    begin: int,
    end: int,
    losses: Any,
    right: Any,
    scores: Any,
) -> None:
    """Losses, hits and (where there is room for them) logits of samples rows[begin:end]."""
    panels = np.zeros(layers[0, LENGTH], np.float32)
    to_panels(layers, weights, panels)
    room, at = np.zeros(layers[0, ROOM], np.float32), np.zeros(2 * BLOCK, np.int64)
    last = len(layers) - 1
    classes, count_panels = layers[last, UNITS], layers[last, PANELS]
    logits = layers[last, ERRORS]
    for low in range(begin, end, BLOCK):
        count = min(BLOCK, end - low)
        predict(layers, panels, x, rows, low, count, room, at)
        for s in range(count):
            start = logits + s * count_panels * 16
            found = 0
            for k in range(1, classes):
                if room[start + k] > room[start + found]:
                    found = k
            right[low + s] = found == y[rows[low + s]]
            for k in range(scores.shape[1]):
                scores[low + s, k] = room[start + k]
        cross_entropies(room, logits, classes, count_panels, y, rows, low, count, LOSSES, TOTALS)
        for s in range(count):
            losses[low + s] = room[LOSSES + s]
