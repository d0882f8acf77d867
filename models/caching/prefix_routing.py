"""Which node serves a request. Rules: `prefix_nodes`."""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler
from mltwin.sim.rng import ROUTING, keyed_below

from .prefix_tables import AFFINITY, BY_CHANCE, LEAST_LOADED, ROUND_ROBIN, SESSION_HASH


@handler
def holds(S: Any, n: int, block: int) -> bool:
    """Whether node n can read a block: its own, lent, or the pool's."""
    blocks = S.par[0].blocks
    if S.home[n * blocks + block] != 0:
        return True
    return S.par[0].pool == 1 and S.home[S.par[0].nodes * blocks + block] != 0


@handler
def prefix_at(S: Any, r: int, n: int) -> int:
    """Blocks of the longest prefix of request r that node n can read."""
    i = S.start[r]
    while i < S.start[r + 1] and holds(S, n, S.blocks[i]):
        i += 1
    return i - S.start[r]


@handler
def best_node(S: Any, r: int, routing: int) -> int:
    """The node of least (key, load, id); the key is the load, or what a prefix saves against it."""
    width = S.start[r + 1] - S.start[r]
    best = np.int64(0)
    best_key = np.inf
    best_load = np.inf
    for n in range(S.par[0].nodes):
        load = S.node[n].load
        key = load
        if routing == AFFINITY:
            key = np.float64(-prefix_at(S, r, n))
        elif routing != LEAST_LOADED:
            key = np.float64(width - prefix_at(S, r, n)) + S.par[0].load_weight * load
        if key < best_key or (key == best_key and load < best_load):
            best, best_key, best_load = np.int64(n), key, load
    return best


@handler
def route(S: Any, r: int) -> int:
    """The node of request r; its load grows by the blocks that it will miss as things stand."""
    settings = S.par[0]
    nodes = settings.nodes
    if not settings.queued_load:
        for n in range(nodes):
            S.node[n].load *= settings.decay
    n = np.int64(0)
    if settings.routing == ROUND_ROBIN:
        n = np.int64(r % nodes)
    elif settings.routing == BY_CHANCE:
        n = np.int64(keyed_below(settings.seed, ROUTING, r, 0, nodes))
    elif settings.routing == SESSION_HASH:
        of = S.session[r]
        if of >= 0:
            n = np.int64(keyed_below(settings.seed, ROUTING, of, 1, nodes))
        else:
            n = np.int64(keyed_below(settings.seed, ROUTING, r, 0, nodes))
    else:
        n = best_node(S, r, settings.routing)
    missed = S.start[r + 1] - S.start[r] - prefix_at(S, r, n)
    S.served[r].node = n
    S.served[r].expected = missed
    S.node[n].load += missed
    return n
