"""What a predictor says of each visit: one of given recall and precision, or what was last there.

Recall: share of a visit's activations that were predicted. Precision: share of its predictions that
are activated.
"""

from typing import Any

import numpy as np
from numba import float64, int64

from mltwin.sim.jit import kernel
from mltwin.sim.rng import PREDICTION, keyed_uniform


def given(
    seed: int, start: np.ndarray, keys: np.ndarray, experts: int, recall: float, precision: float
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of each visit (starts, keys ascending) with the given recall and precision.

    Each activation is predicted with probability `recall`. Beside n of them stand on average
    n recall (1 - precision) / precision wrong ones, drawn evenly from the layer's other experts,
    and never more than there are. Both are keyed by the visit.
    """
    per = recall * (1 - precision) / precision
    most = len(keys) + int(np.ceil((np.diff(start) * per + 1).sum()))
    found_start = np.zeros(len(start), np.int64)
    found = np.zeros(most, np.int64)
    total = _given(seed, start, keys, experts, recall, per, found_start, found)
    return found_start, found[:total].copy()


def _given_body(
    seed: int,
    start: Any,
    keys: Any,
    experts: int,
    recall: float,
    per: float,
    found_start: Any,
    found: Any,
) -> int:
    # 0: not activated; 1: activated; 2: predicted
    mark = np.zeros(experts, np.int64)
    total = 0
    for visit in range(len(start) - 1):
        first = start[visit]
        n = start[visit + 1] - first
        layer = keys[first] // experts if n else 0
        mark[:] = 0
        for i in range(first, start[visit + 1]):
            expert = keys[i] % experts
            told = keyed_uniform(seed, PREDICTION, visit, expert) < recall
            mark[expert] = 2 if told else 1
        wished = n * per
        wrong = int(wished)
        if keyed_uniform(seed, PREDICTION, visit, experts) < wished - wrong:
            wrong += 1
        wrong = min(wrong, experts - n)
        counter = experts + 1
        while wrong > 0:
            expert = int(keyed_uniform(seed, PREDICTION, visit, counter) * experts)
            counter += 1
            if mark[expert] == 0:
                mark[expert] = 2
                wrong -= 1
        for expert in range(experts):
            if mark[expert] == 2:
                found[total] = layer * experts + expert
                total += 1
        found_start[visit + 1] = total
    return total


_given = kernel(
    int64(int64, int64[::1], int64[::1], int64, float64, float64, int64[::1], int64[::1])
)(_given_body)


def previous(start: np.ndarray, keys: np.ndarray, back: int) -> tuple[np.ndarray, np.ndarray]:
    """Predict for each visit what the visit `back` before it activated (one step ago, say)."""
    sizes = np.diff(start)
    told = np.zeros(len(sizes), np.int64)
    told[back:] = sizes[:-back] if back < len(sizes) else 0
    total = int(told.sum())
    return np.concatenate([[0], np.cumsum(told)]).astype(np.int64), keys[:total].copy()


def issued(visits: int, layers: int, passes_a_step: int, ahead: int | str) -> np.ndarray:
    """At the start of which visit the predictions for each visit are known.

    ahead: layers of look-ahead within the pass; "pass": all layers at the start of the pass;
    "step": all micro-batches of a step at its start.
    """
    number = np.arange(visits)
    if ahead == "step":
        return number // (layers * passes_a_step) * (layers * passes_a_step)
    begin = number // layers * layers
    return begin if ahead == "pass" else np.maximum(number - int(ahead), begin)


def quality(
    start: np.ndarray, keys: np.ndarray, told_start: np.ndarray, told: np.ndarray
) -> tuple[float | None, float | None]:
    """Recall and precision of the predictions as they came out; None where there is nothing."""
    if not len(told) or not len(keys):
        return (0.0 if len(keys) else None), None
    wide = int(max(keys.max(), told.max())) + 1
    visits = np.arange(len(start) - 1)
    truth = np.repeat(visits, np.diff(start)) * wide + keys
    guess = np.repeat(visits, np.diff(told_start)) * wide + told
    right = len(np.intersect1d(truth, guess, assume_unique=True))
    return right / len(truth), right / len(guess)
