"""Local training of many clients, one dispatch after another, compiled.

A dispatch depends on nothing but its own row of the arguments, so threads may take any of them.
What is calculated, in which order, is `plain` word for word.

Handlers get pointers, not arrays: counting references of the arrays that were handed on took a
quarter of the time. All numbers in between stand in one workspace, which starts where a line of the
cache does; the samples of the next dispatch are fetched into the cache while one is trained.
"""

from typing import Any

import numpy as np
from numba import boolean, float32, float64, int32, int64, void
from numba.core import types

from mltwin.sim.jit import kernel

from .dense import Step
from .descent import MODELS, Rule, adapted, descend, follow_anchor, is_plain, models_in
from .entropy import cross_entropies
from .lanes import further, load, pointer, splat, store
from .order import order_state, take
from .panels import (
    BLOCK,
    ERRORS,
    INPUTS,
    LAYERS,
    LENGTH,
    LOSSES,
    PANELS,
    PARAMETERS,
    ROOM,
    TOTALS,
    UNITS,
    clear,
    copy,
    difference,
    of,
    to_panels,
)
from .passes import add_gradient, fetch, fetch_rows, is_worth_fetching, predict

_FLOATS, _MATRIX, _LABELS, _NUMBERS = float32[::1], float32[:, ::1], int32[::1], int64[::1]
_LAYERS = int64[:, ::1]
_DATA = (_FLOATS, _LABELS, _NUMBERS, int32[::1])
_WORKSPACE = (_FLOATS, _NUMBERS)
_types: Any = types  # its stubs differ from version to version
_RULE = _types.NamedTuple((int64, *[float32] * 3, *[float64] * 2, *[boolean] * 3), Rule)


def workspace(layers: Any, most: int) -> tuple[Any, Any]:
    """Room for one thread: float32 zeros from the start of a line of the cache, int64 zeros.

    Args:
        layers: as `panels.layer_table` says.
        most: samples of one client.
    """
    length = layers[0, ROOM] + MODELS * layers[0, LENGTH]
    numbers = np.zeros(length + 16, np.float32)
    skipped = -(numbers.ctypes.data // 4) % 16
    return numbers[skipped : skipped + length], np.zeros(2 * BLOCK + 2 * most, np.int64)


@kernel(
    void(
        *(_LAYERS, *_DATA, _MATRIX, _NUMBERS, _NUMBERS, _NUMBERS, _NUMBERS, _FLOATS, _RULE),
        *(_MATRIX, _FLOATS, _FLOATS, int64, int64, int64, int64, int64, *_WORKSPACE),
        *(_MATRIX, float64[::1], float64[::1], float64[::1]),
    )
)
def train(
    layer_table: Any,
    features: Any,
    labels: Any,
    first: Any,
    row: Any,
    versions: Any,
    which: Any,
    clients: Any,
    dispatches: Any,
    steps: Any,
    lr: Any,
    rule: Rule,
    corrections: Any,
    anchor: Any,
    adapt: Any,
    seed: int,
    begin: int,
    end: int,
    step_begin: int,
    step_end: int,
    room: Any,
    numbers: Any,
    delta: Any,
    loss: Any,
    squared: Any,
    factor: Any,
) -> None:
    """Train dispatches begin ... end - 1 and write their rows of delta, loss and squared.

    Steps step_begin ... step_end - 1 of each. Where that is not all, call it for one dispatch, the
    steps in turn, and leave its outputs and the workspace alone between the calls.

    Args:
        layer_table: as `panels.layer_table` says.
        features, labels, first, row: of `Examples`, features as one row.
        versions, which, clients, dispatches, steps, seed: as of `hooks.Task.train`.
        lr: float32[n].
        corrections: float32[0, 1 or n, d]; anchor, adapt: float32[0 or d].
        room, numbers: of `workspace`.
        factor: float64[n], becomes what the step size is multiplied by in the end.
    """
    layers, x, y, pool = pointer(layer_table), pointer(features), pointer(labels), pointer(row)
    length, parameters = of(layers, 0, LENGTH), of(layers, 0, PARAMETERS)
    block, at = pointer(room), pointer(numbers)
    models = models_in(further(block, of(layers, 0, ROOM)), length)
    rows = further(at, 2 * BLOCK)
    batch = further(rows, (len(numbers) - 2 * BLOCK) // 2)
    held, out = pointer(versions), pointer(delta)
    plain, of_all = is_plain(rule), np.float32(1)
    if rule.anchored:
        to_panels(layers, pointer(anchor), models.anchor)
    if rule.adapts:
        to_panels(layers, pointer(adapt), models.adapt)
    for i in range(begin, end):
        low, samples = first[clients[i]], first[clients[i] + 1] - first[clients[i]]
        size = samples if rule.batch == 0 else min(rule.batch, samples)
        share = np.float32(1) / np.float32(size)
        if step_begin == 0:
            for k in range(samples):
                rows[k] = pool[low + k]
                batch[k] = rows[k]
            if i == begin or which[i] != which[i - 1]:
                to_panels(layers, further(held, which[i] * parameters), models.start)
            copy(models.start, models.weights, length)
            if rule.corrected and (i == begin or len(corrections) > 1):
                k = i if len(corrections) > 1 else 0
                to_panels(layers, further(pointer(corrections), k * parameters), models.correction)
            if rule.momentum:
                clear(models.velocity, length)
            loss[i], squared[i], factor[i] = 0.0, 0.0, 1.0
        next_low, next_samples = 0, 0
        if i + 1 < end:
            next_low, next_high = first[clients[i + 1]], first[clients[i + 1] + 1]
            next_samples = next_high - next_low
            if not is_worth_fetching(layers, next_samples, rule.batch, steps[i + 1]):
                next_samples = 0
        if i + 2 < end:
            fetch_rows(pool, first[clients[i + 2]], first[clients[i + 2] + 1])
        used = step_begin * size if size < samples else 0
        state = order_state(seed, clients[i], dispatches[i], used)
        whole, squares, rate = loss[i], squared[i], lr[i]
        final = min(steps[i], step_end)
        for step in range(step_begin, final):
            part = next_samples * step // steps[i]
            part_end = next_samples * (step + 1) // steps[i]
            fetch(x, y, further(pool, next_low), of(layers, 0, INPUTS), part, part_end)
            if size < samples:
                state = take(rows, samples, step * size, state, batch, size)
            sums = Step(models.gradient, True, plain, models.weights, share, rate)
            whole, squares = add_gradient(
                layers, models.weights, x, y, batch, size, block, at, whole, squares, sums
            )
            if plain:
                continue
            if rule.anchored:
                if step:
                    again = Step(models.last, True, False, models.before, share, rate)
                    old = models.before
                    add_gradient(layers, old, x, y, batch, size, block, at, 0.0, 0.0, again)
                follow_anchor(models, share, step, length)
            if rule.anchored or rule.adapts:
                copy(models.weights, models.before, length)
            if rule.adapts:
                rate = np.float32(np.float64(lr[i]) * factor[i])
            descend(layers, rule, models, of_all if rule.anchored else share, rate)
            if rule.adapts:
                factor[i] = adapted(layers, rule, models, step, factor[i])
        seen = 1
        if final == steps[i]:
            difference(layers, models.weights, models.start, further(out, i * parameters))
            seen = max(1, steps[i] * size)
        loss[i], squared[i] = whole / seen, squares / seen


@kernel(void(_LAYERS, *_DATA, _FLOATS, float32, _NUMBERS, int64, int64, *_WORKSPACE, _MATRIX))
def gradients(
    layer_table: Any,
    features: Any,
    labels: Any,
    first: Any,
    row: Any,
    weights: Any,
    l2: Any,
    clients: Any,
    begin: int,
    end: int,
    room: Any,
    numbers: Any,
    out: Any,
) -> None:
    """out[i]: mean gradient of a model on all data of clients[i], with l2."""
    layers, x, y = pointer(layer_table), pointer(features), pointer(labels)
    length, parameters = of(layers, 0, LENGTH), of(layers, 0, PARAMETERS)
    block, at = pointer(room), pointer(numbers)
    panels = further(block, of(layers, 0, ROOM))
    gradient, nothing = further(panels, length), further(panels, 2 * length)
    rows = further(at, 2 * BLOCK)
    to_panels(layers, pointer(weights), panels)
    clear(nothing, length)
    for i in range(begin, end):
        low, samples = first[clients[i]], first[clients[i] + 1] - first[clients[i]]
        for k in range(samples):
            rows[k] = row[low + k]
        share = np.float32(1) / np.float32(samples)
        sums = Step(gradient, True, False, panels, share, share)
        add_gradient(layers, panels, x, y, rows, samples, block, at, 0.0, 0.0, sums)
        for place in range(0, length, 16):
            mean = load(gradient, place) * splat(share)
            if l2:
                mean = mean + splat(l2) * load(panels, place)
            store(gradient, place, mean)
        difference(layers, gradient, nothing, further(pointer(out), i * parameters))


@kernel(
    void(
        *(_LAYERS, _FLOATS, _FLOATS, _LABELS, int32[::1], int64, int64, *_WORKSPACE),
        *(_FLOATS, boolean[::1], _MATRIX),
    )
)
def evaluate(
    layer_table: Any,
    weights: Any,
    features: Any,
    labels: Any,
    row: Any,
    begin: int,
    end: int,
    room: Any,
    numbers: Any,
    losses: Any,
    right: Any,
    scores: Any,
) -> None:
    """Losses, hits and (where there is room for them) logits of samples row[begin:end]."""
    layers, x, y, rows = pointer(layer_table), pointer(features), pointer(labels), pointer(row)
    block, at = pointer(room), pointer(numbers)
    panels = further(block, of(layers, 0, ROOM))
    to_panels(layers, pointer(weights), panels)
    last = of(layers, 0, LAYERS) - 1
    classes, count_panels = of(layers, last, UNITS), of(layers, last, PANELS)
    logits = of(layers, last, ERRORS)
    for low in range(begin, end, BLOCK):
        count = min(BLOCK, end - low)
        predict(layers, panels, x, rows, low, count, block, at)
        for s in range(count):
            start = logits + s * count_panels * 16
            found = 0
            for k in range(1, classes):
                if block[start + k] > block[start + found]:
                    found = k
            right[low + s] = found == y[rows[low + s]]
            for k in range(scores.shape[1]):
                scores[low + s, k] = block[start + k]
        cross_entropies(block, logits, classes, count_panels, y, rows, low, count, LOSSES, TOTALS)
        for s in range(count):
            losses[low + s] = block[LOSSES + s]
