"""Eviction from object caches: scores of a cached object, the smallest of which goes first.

Fills the hook ``evict_object``: asked when an object enters and at each hit; among equals the one
scored earliest goes. Policies that need more than a score (queues, ghosts, adaptation) are kernels
of their own: `mltwin cache policies`.
"""

import math

from .declare import policy


@policy("evict_object")
def mru(_object, ctx, _params, _memory):
    """The most recently used first: good for loops longer than the cache, bad for most else."""
    return -float(ctx.clock)


@policy("evict_object")
def oldest(object, _ctx, _params, _memory):
    """The one that entered first goes first, however often it was asked for: FIFO."""
    return float(object.entered)


@policy("evict_object")
def largest_first(object, _ctx, _params, _memory):
    """The largest first: keeps the most objects (SIZE: Williams, Abrams, Standridge, Abdulla, Fox,
    "Removal policies in network caches for World-Wide Web documents", SIGCOMM 1996).
    """
    return -float(object.bytes)


@policy("evict_object")
def cost_per_byte(object, _ctx, _params, _memory):
    """The cheapest to fetch again for its size first, however popular it is."""
    return object.cost / max(1, object.bytes)


@policy("evict_object")
def frequency_per_byte(object, _ctx, _params, _memory):
    """The fewest requests per byte since it entered first: GDSF without its aging, so that what was
    popular once may stay.
    """
    return (object.hits + 1.0) / max(1, object.bytes)


@policy("evict_object", params={"half_life": 10_000.0}, memory=lambda sizes: sizes.objects)
def decayed_frequency(object, ctx, params, memory):
    """The fewest requests first, where a request counts half after `half_life` later ones.

    LRFU (Lee, Choi, Kim, Noh, Min, Cho, Kim, IEEE Transactions on Computers 50 (12), 2001): counts
    all fade alike, so the logarithm of the count as of a fixed time puts them in the same order and
    need not be touched until the next hit. 1 makes it LRU, a long half-life LFU.
    """
    now = ctx.clock / params[0]
    if object.hits == 0:
        memory[object.id] = now
    else:
        past = memory[object.id]
        memory[object.id] = now + math.log2(1.0 + 2.0 ** (past - now))
    return memory[object.id]
