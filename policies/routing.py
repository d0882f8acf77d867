"""Routing: which replica's queue a request joins.

Fills the hook ``route``. Every policy answers with a replica that is up and has the prefill role
(-1 if there is none, but then the system parks the request and does not ask); among equals the
one with the lowest index, unless it says otherwise. Which replicas share the prefill role is the
scenario's matter: a fixed split of a cluster into prefill, decode and mixed pools is written as its
pools, not as a policy.
"""

from mltwin.models.serving.hooks import MIXED_ROLE, PREFILL_ROLE
from mltwin.sim.rng import ROUTING, keyed_below

from .declare import policy
from .views import (
    count_serving,
    fewest_requests,
    fewest_tokens,
    nth_serving,
    serves,
    shorter_queue,
)


@policy("route")
def random(request, replicas, _hits, ctx, _params, _memory):
    """A replica at random, uniformly; a request that is routed again draws anew."""
    able = count_serving(replicas, PREFILL_ROLE)
    if able == 0:
        return -1
    n = keyed_below(ctx.seed, ROUTING, ctx.request, 2 * request.attempts, able)
    return nth_serving(replicas, PREFILL_ROLE, n)


@policy("route", memory=1)
def round_robin(_request, replicas, _hits, _ctx, _params, memory):
    """One replica after the other.

    memory: where to look first.
    """
    n = len(replicas)
    start = int(memory[0])
    for step in range(n):
        i = (start + step) % n
        if serves(replicas[i], PREFILL_ROLE):
            memory[0] = i + 1.0
            return i
    return -1


@policy("route", default_for="serving")
def least_requests(_request, replicas, _hits, _ctx, _params, _memory):
    """The fewest outstanding requests (join the shortest queue); needs no prediction."""
    return fewest_requests(replicas, PREFILL_ROLE)


@policy("route", memory=1)
def least_requests_in_turn(_request, replicas, _hits, _ctx, _params, memory):
    """The fewest outstanding requests; among equals the next one after the last chosen, so that
    idle replicas get equal shares.

    memory: where to look first.
    """
    n = len(replicas)
    start = int(memory[0])
    best = -1
    for step in range(n):
        i = (start + step) % n
        if serves(replicas[i], PREFILL_ROLE) and (
            best < 0 or replicas[i].outstanding < replicas[best].outstanding
        ):
            best = i
    if best >= 0:
        memory[0] = best + 1.0
    return best


@policy("route")
def least_tokens(_request, replicas, _hits, _ctx, _params, _memory):
    """The fewest outstanding tokens, prompt and predicted output."""
    return fewest_tokens(replicas, PREFILL_ROLE)


@policy("route")
def least_work(request, replicas, _hits, _ctx, _params, _memory):
    """The least time to work off all outstanding tokens and this request's: tokens over speed
    (shortest expected delay; Whitt, "Deciding Which Queue to Join", Operations Research 34, 1986).
    """
    mine = float(request.prompt) + request.predicted
    best = -1
    shortest = 0.0
    for i in range(len(replicas)):
        if serves(replicas[i], PREFILL_ROLE):
            time = (replicas[i].outstanding_tokens + mine) / replicas[i].speed
            if best < 0 or time < shortest:
                best = i
                shortest = time
    return best


@policy("route")
def power_of_two(request, replicas, _hits, ctx, _params, _memory):
    """The less loaded (in requests) of two different replicas drawn at random (Mitzenmacher,
    "The Power of Two Choices in Randomized Load Balancing", IEEE TPDS 12, 2001).
    """
    able = count_serving(replicas, PREFILL_ROLE)
    if able < 2:
        return nth_serving(replicas, PREFILL_ROLE, 0)
    draw = 2 * request.attempts
    a = keyed_below(ctx.seed, ROUTING, ctx.request, draw, able)
    b = keyed_below(ctx.seed, ROUTING, ctx.request, draw + 1, able - 1)
    if b >= a:
        b += 1
    first = nth_serving(replicas, PREFILL_ROLE, min(a, b))
    second = nth_serving(replicas, PREFILL_ROLE, max(a, b))
    return second if replicas[second].outstanding < replicas[first].outstanding else first


@policy("route", params={"ratio": 1.5, "slack": 32.0})
def prefix_affinity(_request, replicas, hits, _ctx, params, _memory):
    """The most resident tokens of the request's prefix, unless that replica is overloaded: it has
    more requests than `ratio` times the fewest of any, plus `slack`. Equals go by fewer requests
    (after the cache-aware router of SGLang 0.4, 2024).
    """
    best = fewest_requests(replicas, PREFILL_ROLE)
    if best < 0:
        return -1
    limit = params[0] * replicas[best].outstanding + params[1]
    for i in range(len(replicas)):
        if serves(replicas[i], PREFILL_ROLE) and replicas[i].outstanding <= limit:
            fewer = replicas[i].outstanding < replicas[best].outstanding
            if hits[i] > hits[best] or (hits[i] == hits[best] and fewer):
                best = i
    return best


@policy("route", params={"load_weight": 1.0})
def cost_based(request, replicas, hits, ctx, params, _memory):
    """The least cost: tokens that would have to be prefilled there, plus `load_weight` times the
    outstanding tokens, over the replica's speed (after the KV-aware router of NVIDIA Dynamo, 2025;
    Mooncake, Qin et al., FAST 2025, algorithm 1 weighs the same two).
    """
    best = -1
    lowest = 0.0
    need = float(request.prompt) + request.generated
    for i in range(len(replicas)):
        if serves(replicas[i], PREFILL_ROLE):
            missed = max(need - float(hits[i]) * ctx.block_tokens, 0.0)
            cost = (missed + params[0] * replicas[i].outstanding_tokens) / replicas[i].speed
            if best < 0 or cost < lowest:
                best = i
                lowest = cost
    return best


@policy("route", params={"load_weight": 1.0, "fetch_weight": 0.2})
def reach_cost(request, replicas, hits, ctx, params, _memory):
    """As cost_based with its `load_weight`, but a token that the replica can fetch from its host
    tier or the pool costs `fetch_weight` of one that it has to prefill (after Mooncake, Qin et al.,
    FAST 2025, algorithm 1: the best prefix of all is fetched where that is worth it). Without a
    prefix pool it is cost_based.
    """
    best = -1
    lowest = 0.0
    need = float(request.prompt) + request.generated
    for i in range(len(replicas)):
        if serves(replicas[i], PREFILL_ROLE):
            reach = hits[len(replicas) + i] if len(hits) > len(replicas) else hits[i]
            missed = max(need - float(reach) * ctx.block_tokens, 0.0)
            missed += params[1] * float(reach - hits[i]) * ctx.block_tokens
            cost = (missed + params[0] * replicas[i].outstanding_tokens) / replicas[i].speed
            if best < 0 or cost < lowest:
                best = i
                lowest = cost
    return best


@policy("route", memory=lambda sizes: sizes.sessions)
def session_sticky(request, replicas, _hits, _ctx, _params, memory):
    """The replica that served the session before, while it can; else the fewest outstanding
    tokens.

    memory: 1 + the replica of each session, 0 before its first turn.
    """
    if request.session < 0:
        return fewest_tokens(replicas, PREFILL_ROLE)
    i = int(memory[request.session]) - 1
    if i < 0 or not serves(replicas[i], PREFILL_ROLE):
        i = fewest_tokens(replicas, PREFILL_ROLE)
        memory[request.session] = i + 1.0
    return i


@policy("route", params={"limit_tokens": 8192.0})
def splitwise_mixed(_request, replicas, _hits, _ctx, params, _memory):
    """Splitwise's mixed pool, prompt side: the prefill replica with the fewest tokens queued; when
    these exceed `limit_tokens`, the mixed replica with the fewest, if it has fewer (Patel et al.,
    "Splitwise", ISCA 2024, section IV-A). What is being prefilled is queued no more: of equal
    queues the one with the fewest requests outstanding is taken.
    """
    own = -1
    mixed = -1
    for i in range(len(replicas)):
        if serves(replicas[i], PREFILL_ROLE):
            if replicas[i].role == MIXED_ROLE:
                if mixed < 0 or shorter_queue(replicas[i], replicas[mixed]):
                    mixed = i
            elif own < 0 or shorter_queue(replicas[i], replicas[own]):
                own = i
    if own < 0 or mixed < 0:
        return max(own, mixed)
    queued = replicas[own].queued_tokens
    if queued > params[0] and replicas[mixed].queued_tokens < queued:
        return mixed
    return own
