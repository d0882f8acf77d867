"""Eviction: which cached KV block goes when a replica needs room.

Fills the hook ``evict``: the score of a block as it becomes evictable (its last holder released
it); the smallest goes first, among equals the one released first. A request releases its blocks
from the tail to the head, so equal scores keep the head of a prefix longest. A block does not say
when it was first made, so first-in-first-out cannot be written here.
"""

from mltwin.sim.ticks import TICKS_PER_S

from .declare import policy

LONGER_THAN_ANY_RUN_S = 1e7


@policy("evict", default_for="serving")
def lru(_block, ctx, _params, _memory):
    """The least recently released first."""
    return float(ctx.now)


@policy("evict")
def lfu(block, _ctx, _params, _memory):
    """The least often found first, among equals the least recently released. Counts never fade,
    so blocks that were popular once may stay.
    """
    return float(block.hits)


@policy("evict")
def deepest_first(block, _ctx, _params, _memory):
    """The farthest from the start of its prompt first: heads are shared by the most requests."""
    return -float(block.depth)


@policy("evict", params={"threshold": 1.0})
def slru(block, ctx, params, _memory):
    """Segmented LRU: blocks found fewer than `threshold` times before all others, within each
    segment the least recently released first (Karedla, Love, Wherry, IEEE Computer 27, 1994).
    """
    seconds = ctx.now / TICKS_PER_S
    return seconds if block.hits < params[0] else seconds + LONGER_THAN_ANY_RUN_S


@policy("evict", params={"seconds_per_hit": 60.0})
def hits_per_depth(block, ctx, params, _memory):
    """LRU in which each past hit keeps a block `seconds_per_hit` longer, divided by its depth + 1.

    Losing a block loses all that stands behind it in the prompt, so an early block is worth more;
    the clock ages old popularity (in the spirit of GreedyDual-Size-Frequency: Cherkasova, HP Labs
    report HPL-98-69R1, 1998). With 0 it is lru.
    """
    return ctx.now / TICKS_PER_S + params[0] * block.hits / (block.depth + 1.0)
