"""Eviction: which cached KV block goes when a replica needs room.

Fills the hook ``evict``: the score of a block as it becomes evictable (its last holder released
it); the smallest goes first, among equals the one released first. A request releases its blocks
from the tail to the head, so equal scores keep the head of a prefix longest: every order by time
here is tail first.

A score is given once and then stands, so what ages must age alike in all blocks: an exponential
decay becomes a sum of a logarithm and a time. Policies with ``queue=True`` are asked again for an
evictable block when a request that may find it there joins or leaves the replica's waiting queue.
"""

import math

from mltwin.sim.ticks import TICKS_PER_S

from .declare import policy

LONGER_THAN_ANY_RUN_S = 1e7


def recompute_tokens(block, block_tokens, context_tokens):
    """What losing a block costs to compute again, in tokens without context.

    Its own tokens and the cached ones behind it, which cannot be found without it, are L in all; a
    token with c tokens in front of it costs 1 + c / context_tokens, where context_tokens is the
    context whose attention costs as much as all the rest: the sum is
    L (1 + (tokens_before + L / 2) / context_tokens).
    """
    lost = float(block_tokens + block.tokens_after)
    return lost * (1.0 + (block.tokens_before + 0.5 * lost) / context_tokens)


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


@policy("evict")
def fifo(block, _ctx, _params, _memory):
    """The block that became resident first goes first, however often it was found: FIFO, one of
    SGLang's orders (Zheng et al., "SGLang", NeurIPS 2024; its `evict_policy.py`).
    """
    return float(block.made)


@policy("evict")
def mru(_block, ctx, _params, _memory):
    """The most recently released first: good for loops over more than the cache holds, bad for
    most else (Chou, DeWitt, "An evaluation of buffer management strategies", VLDB 1985).
    """
    return -float(ctx.now)


@policy("evict", queue=True)
def queue_lru(block, _ctx, _params, _memory):
    """LRU in which blocks that a waiting request may find go last: queue-informed LRU, vLLM's RFC
    #48485. Nothing is pinned or reserved; without a queue it is lru.

    Here all that wait count, and all blocks of their prefixes that are resident; the RFC looks at
    the first of the queue, at most as many as may run, and at the leading run that is resident.
    """
    seconds = block.released / TICKS_PER_S
    return seconds + LONGER_THAN_ANY_RUN_S if block.wanted > 0 else seconds


@policy("evict", params={"half_life_s": 60.0})
def lfu_decay(block, ctx, params, _memory):
    """The least often found first, where a hit counts half `half_life_s` seconds later: LRFU (Lee,
    Choi, Kim, Noh, Min, Cho, Kim, IEEE Transactions on Computers 50, 2001).

    A block's frequency is f = sum over its uses of 2^(-(now - use) / half life): it was made, and
    it was found; hits count from the release after them. The score is ln f + now ln 2 / half life,
    which no more changes with time.
    """
    now = math.log(2.0) * (ctx.now / TICKS_PER_S) / params[0]
    uses = float(block.new_hits)
    if block.score < -LONGER_THAN_ANY_RUN_S:  # never scored: it was made, too
        return now + math.log(1.0 + uses)
    if uses == 0.0:
        return block.score
    if block.score > now:
        return block.score + math.log(1.0 + uses * math.exp(now - block.score))
    return now + math.log(uses + math.exp(block.score - now))


@policy("evict", params={"half_life_s": 60.0, "context_tokens": 32768.0})
def cost_aware(block, ctx, params, _memory):
    """The cheapest to lose first: the tokens to compute again, times the uses, halved every
    `half_life_s` seconds since the release; at `context_tokens` of context attention costs a token
    as much as all the rest (of a dense model: its parameters / (2 layers width)).

    value = (1 + hits) L (1 + (before + L / 2) / context_tokens) 2^(-age / half life), L its tokens
    and those cached behind it, before the context in front. Cost and ageing are LMCache's
    `COST_AWARE`, whose ageing 1 / (1 + age / half life) needs every block scored anew at each
    eviction; uses times cost is vLLM's PR #27539. The score is the logarithm, without now.
    """
    age = math.log(2.0) * (block.released / TICKS_PER_S) / params[0]
    cost = recompute_tokens(block, ctx.block_tokens, params[1])
    return math.log((1.0 + block.hits) * cost) + age


@policy("evict", params={"context_tokens": 32768.0})
def gdsf(block, ctx, params, _memory):
    """GreedyDual-Size-Frequency (Cherkasova, HP Labs report HPL-98-69R1, 1998): uses times cost,
    plus the score of the block evicted last, by which those grow old that nobody asks for.

    All blocks are of one size. The cost is that of `cost_aware`, in blocks, with its
    `context_tokens`. It knows no time: only evictions age.
    """
    cost = recompute_tokens(block, ctx.block_tokens, params[0]) / ctx.block_tokens
    return block.last_evicted + (1.0 + block.hits) * cost
