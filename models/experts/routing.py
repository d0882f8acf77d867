"""Which experts a token activates: a synthetic router, and batches made of its tokens.

Each layer ranks its experts by a permutation of its own; rank r is drawn with probability
proportional to 1 / r**skew (Zipf). A token's slot (one of its top k) is, of a single uniform draw:

- with probability ``token_correlation`` what the same slot of the request's previous token had in
  this layer (consecutive tokens of a text activate similar experts);
- with probability ``layer_correlation`` the expert of the rank that the slot had in the layer
  before (paths through layers);
- else a fresh draw: with probability ``topic_strength`` by the ranks of the request's topic, else
  by those that all share.

The k experts of a token and layer differ: what is already chosen is drawn afresh. For k = 1 and
one topic both correlations keep the Zipf law, as copying a draw does; for k > 1 drawing without
repetition flattens it.

This is a stand-in: its knobs have the form of what papers report (skew, temporal and cross-layer
locality), their values are not fitted to a model. Real routing comes from a trace.
"""

from typing import Any

import numpy as np
from numba import boolean, float64, int32, int64, void

from mltwin.sim.jit import handler, kernel
from mltwin.sim.rng import (
    PREDICTION,
    ROUTING,
    SELECTION,
    TENANTS,
    integers,
    keyed_uniform,
    uniforms,
)

_TRIES = 32


def ranks(seed: int, layers: int, experts: int, topics: int) -> np.ndarray:
    """int64[1 + topics, layers, experts]: experts by popularity; row 0: of all topics."""
    keys = np.arange(layers * experts)
    rows = [
        np.argsort(uniforms(seed, SELECTION, keys, row).reshape(layers, experts), axis=1)
        for row in range(1 + topics)
    ]
    return np.ascontiguousarray(np.stack(rows), np.int64)


def zipf_cdf(experts: int, skew: float) -> np.ndarray:
    """Cumulative probability of rank 1 ... E under 1 / rank**skew."""
    weight = np.arange(1, experts + 1, dtype=np.float64) ** -skew
    total = np.cumsum(weight)
    return np.ascontiguousarray(total / total[-1])


def routes(
    seed: int,
    *,
    steps: int,
    batch: int,
    layers: int,
    experts: int,
    chosen: int,
    skew: float,
    token_correlation: float,
    layer_correlation: float,
    topics: int = 1,
    topic_strength: float = 0.0,
    output_tokens: int = 128,
) -> np.ndarray:
    """int32[steps, batch, layers, chosen]: the experts of each token.

    Args:
        batch: requests that decode together; when one ends, another takes its place.
        chosen: experts per token (top k).
        output_tokens: length of each request; the lanes of the batch end at different steps.
    """
    found = np.zeros((steps, batch, layers, chosen), np.int32)
    lane = np.arange(batch)
    # Lanes are out of phase, as in continuous batching.
    age = np.arange(steps)[:, None] + integers(seed, TENANTS, lane, output_tokens, 1)[None, :]
    request = age // output_tokens * batch + lane
    fresh = np.ascontiguousarray(age % output_tokens == 0)
    fresh[:1] = True
    topic = integers(seed, TENANTS, request.ravel(), topics).reshape(request.shape)
    _route(
        seed,
        found,
        np.ascontiguousarray(topic),
        fresh,
        ranks(seed, layers, experts, topics),
        zipf_cdf(experts, skew),
        np.array([token_correlation, layer_correlation, topic_strength]),
    )
    return found


@handler
def _draw(seed: int, token: int, at: int, cdf: Any) -> int:
    u = keyed_uniform(seed, ROUTING, token, at)
    low = 0
    high = len(cdf) - 1
    while low < high:
        middle = (low + high) >> 1
        if cdf[middle] > u:
            high = middle
        else:
            low = middle + 1
    return low


@handler
def _taken(row: Any, slot: int, expert: int) -> bool:
    for other in range(slot):  # noqa: SIM110 (Numba takes no generators here)
        if row[other] == expert:
            return True
    return False


def _route_body(
    seed: int, found: Any, topic: Any, fresh: Any, order: Any, cdf: Any, shares: Any
) -> None:
    steps, batch, layers, chosen = found.shape
    experts = len(cdf)
    rank = np.zeros((layers, experts), np.int64)
    for layer in range(layers):
        for place in range(experts):
            rank[layer, order[0, layer, place]] = place
    for step in range(steps):
        for lane in range(batch):
            token = step * batch + lane
            for layer in range(layers):
                row = found[step, lane, layer]
                for slot in range(chosen):
                    at = (layer * chosen + slot) * (2 * _TRIES + 1)
                    u = keyed_uniform(seed, ROUTING, token, at)
                    expert = -1
                    if u < shares[0]:
                        if not fresh[step, lane]:
                            expert = np.int64(found[step - 1, lane, layer, slot])
                    elif u < shares[0] + shares[1] and layer > 0:
                        expert = order[
                            0, layer, rank[layer - 1, found[step, lane, layer - 1, slot]]
                        ]
                    tries = 0
                    while expert < 0 or _taken(row, slot, expert):
                        if tries == _TRIES:  # the first that is free, in the order of popularity
                            place = 0
                            while _taken(row, slot, order[0, layer, place]):
                                place += 1
                            expert = order[0, layer, place]
                            break
                        own = keyed_uniform(seed, ROUTING, token, at + 2 * tries + 1) < shares[2]
                        table = 1 + topic[step, lane] if own else 0
                        expert = order[table, layer, _draw(seed, token, at + 2 * tries + 2, cdf)]
                        tries += 1
                    row[slot] = expert


_route = kernel(
    void(
        int64,
        int32[:, :, :, ::1],
        int64[:, ::1],
        boolean[:, ::1],
        int64[:, :, ::1],
        float64[::1],
        float64[::1],
    )
)(_route_body)


def regroup(seed: int, found: np.ndarray, experts: int, groups: int, known: float) -> np.ndarray:
    """int64[steps, batch]: the tokens of each step in an order in which similar ones are together.

    Cut into `groups` runs of ceil(batch / groups). Greedy rule: a group begins with the first
    token that is left; then the token that adds the fewest experts to the group's (over all
    layers) joins, the first of equals, until the group is full. It sees each expert of a token's
    route with probability `known` (a predictor's recall).
    """
    steps, batch = found.shape[:2]
    order = np.zeros((steps, batch), np.int64)
    _regroup(seed, found, experts, -(-batch // groups), known, order)
    return order


def _regroup_body(seed: int, found: Any, experts: int, most: int, known: float, order: Any) -> None:
    steps, batch, layers, chosen = found.shape
    stamp = np.zeros(layers * experts, np.int64)
    group = 0
    route = np.zeros((batch, layers * chosen), np.int64)
    length = np.zeros(batch, np.int64)
    left = np.ones(batch, np.bool_)
    for step in range(steps):
        for lane in range(batch):
            left[lane] = True
            length[lane] = 0
            for layer in range(layers):
                for slot in range(chosen):
                    at = layer * chosen + slot
                    if keyed_uniform(seed, PREDICTION, step * batch + lane, at) < known:
                        key = layer * experts + found[step, lane, layer, slot]
                        route[lane, length[lane]] = key
                        length[lane] += 1
        for place in range(batch):
            if place % most == 0:
                group += 1
            best = -1
            fewest = layers * experts + 1
            for lane in range(batch):
                if not left[lane]:
                    continue
                new = 0
                if place % most:
                    for i in range(length[lane]):
                        new += stamp[route[lane, i]] != group
                if new < fewest:
                    best = lane
                    fewest = new
            left[best] = False
            order[step, place] = best
            for i in range(length[best]):
                stamp[route[best, i]] = group


_regroup = kernel(void(int64, int32[:, :, :, ::1], int64, int64, float64, int64[:, ::1]))(
    _regroup_body
)


def visits_of(
    found: np.ndarray, order: np.ndarray, experts: int, groups: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The activations of each visit, in the order in which the passes run.

    A step's tokens, in `order`, are cut into `groups` micro-batches of ceil(batch / groups); each
    goes through all layers before the next.

    Returns (visit_start, entry_key, entry_tokens, visit_tokens): see `tables.Plan`; tokens that
    each activated expert works on, and tokens of the micro-batch. Micro-batches that would be
    empty are left out.
    """
    steps, batch, layers, _ = found.shape
    most = -(-batch // groups)
    passes = steps * -(-batch // most)
    start = np.zeros(passes * layers + 1, np.int64)
    keys = np.zeros(found.size, np.int64)
    tokens = np.zeros(found.size, np.int64)
    total = _gather(found, order, experts, most, start, keys, tokens)
    last = batch - (-(-batch // most) - 1) * most
    sizes = np.full(passes, most)
    sizes[-(-batch // most) - 1 :: -(-batch // most)] = last
    return start, keys[:total].copy(), tokens[:total].copy(), np.repeat(sizes, layers)


def _gather_body(
    found: Any, order: Any, experts: int, most: int, start: Any, keys: Any, tokens: Any
) -> int:
    steps, batch, layers, chosen = found.shape
    count = np.zeros(experts, np.int64)
    total = 0
    visit = 0
    for step in range(steps):
        for first in range(0, batch, most):
            for layer in range(layers):
                for place in range(first, min(first + most, batch)):
                    for slot in range(chosen):
                        count[found[step, order[step, place], layer, slot]] += 1
                for expert in range(experts):
                    if count[expert]:
                        keys[total] = layer * experts + expert
                        tokens[total] = count[expert]
                        count[expert] = 0
                        total += 1
                visit += 1
                start[visit] = total
    return total


_gather = kernel(
    int64(int32[:, :, :, ::1], int64[:, ::1], int64, int64, int64[::1], int64[::1], int64[::1])
)(_gather_body)
