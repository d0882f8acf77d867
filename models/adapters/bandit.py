"""POLAR: a router that learns which adapter helps a request, over a cache that it has to share.

Li and Li, "POLAR: Online Learning for LoRA Adapter Caching and Routing in Edge LLM Serving"
(arXiv 2604.16583), pose two decisions of different pace. Request t has a context x_t; adapter a
would earn theta_a . x_t plus noise; using one that is not resident pages it in at a cost.

Fast: LinUCB (Li et al., WWW 2010, algorithm 1: a ridge regression an adapter) that knows the cache:

    a_t = argmax_a  theta_a . x_t + beta sqrt(x_t' V_a^-1 x_t) - lambda c_a [a not resident]

with V_a = rho I + sum x x' over the requests sent to a, theta_a = V_a^-1 sum r x. V_a^-1 is kept by
Sherman and Morrison's formula: V^-1 - (V^-1 x)(V^-1 x)' / (1 + x' V^-1 x).

Slow: at the end of an epoch a controller chooses the K residents; a change pays each newcomer once.

*Of the paper only the abstract and listings could be read.* It says: a cache-aware LinUCB router
with an epoch-based controller; a fixed-epoch version for arbitrary contexts; POLAR+ with doubling
epochs, forced exploration and improved cache optimisation, and regret O~(d sqrt(NT) + sqrt(KT)).
**Assumed here**, as nothing was found on it:

- *Value of a set S*: the sum, over the last `window` requests, of max_a (u_a - lambda c_a [a not in
  S]), u_a being today's estimate for yesterday's context.
- *polar*: epochs of `epoch` requests. u_a is the upper bound; each adapter is valued alone, and the
  K best are taken.
- *polar_plus*: epochs of `epoch` * 2^j requests. The first ceil(`exploration` sqrt(E)) requests of
  an epoch of E go to the adapters in turn, whatever the router thinks. u_a is the mean estimate;
  adapters are added one by one, each for what it adds to those chosen (greedy).
- *Both* keep the residents they have unless the gain, scaled to the next epoch, exceeds the price
  of the newcomers.
- *lru, lfu*: the same router; what is paged in stays and displaces the least recently (least often)
  routed-to adapter. *static*: the first residents stay. *popular*: as static, the residents being
  those that known rewards would choose most often with all in memory. In all but lru and lfu an
  adapter paged in for a request does not stay.
- *oracle*: knows all theta and holds the set that is best in hindsight; regret is counted from it.
"""

import math
from typing import Any

import numpy as np

from mltwin.sim.jit import handler, kernel, types

from .routing_tables import (
    LFU,
    LRU,
    ORACLE,
    POLAR,
    POLAR_PLUS,
    WORLD,
    F,
    G,
    RoutingInput,
    RoutingOutcome,
    make_routing,
)

_ROUND, _CONTROLLER, _AWARE, _D, _N = (
    G[k] for k in ("round", "controller", "aware", "d", "adapters")
)
_START, _LENGTH, _EPOCHS = (G[k] for k in ("epoch_start", "epoch_length", "epochs"))
_FORCED, _NEXT, _WINDOW = (G[k] for k in ("forced_left", "forced_next", "window"))
_HITS, _PAGINGS, _SWAPS = (G[k] for k in ("hits", "pagings", "swaps"))
_BONUS, _EXPLORATION = (F[k] for k in ("bonus", "exploration"))


@handler
def _mean(S: Any, a: int, t: int) -> float:
    """theta_a . x_t."""
    d = S.g[_D]
    total = 0.0
    for i in range(d):
        total += S.theta[a * d + i] * S.contexts[t * d + i]
    return total


@handler
def _width(S: Any, a: int, t: int) -> float:
    """sqrt(x' V^-1 x)."""
    d = S.g[_D]
    total = 0.0
    for i in range(d):
        row = 0.0
        for j in range(d):
            row += S.inverse[(a * d + i) * d + j] * S.contexts[t * d + j]
        total += S.contexts[t * d + i] * row
    return math.sqrt(max(total, 0.0))


@handler
def _choose(S: Any, t: int) -> int:
    """The adapter of the greatest bound, the least number among equals."""
    g = S.g
    adapters = g[_N]
    if g[_CONTROLLER] == POLAR_PLUS and g[_FORCED] > 0:
        g[_FORCED] -= 1
        a = g[_NEXT]
        g[_NEXT] = (a + 1) % adapters
        return a
    best = np.int64(-1)
    greatest = 0.0
    for a in range(adapters):
        if g[_CONTROLLER] == ORACLE:
            value = S.means[t * adapters + a]
        else:
            value = _mean(S, a, t) + S.f[_BONUS] * _width(S, a, t)
        if g[_AWARE] == 1 and S.resident[a] == 0:
            value -= S.cost[a]
        if best < 0 or value > greatest:
            best = np.int64(a)
            greatest = value
    return best


@handler
def _learn(S: Any, a: int, t: int) -> None:
    """Sherman-Morrison update of adapter a with the reward of request t."""
    d = S.g[_D]
    reward = S.rewards[t * S.g[_N] + a]
    denominator = 1.0
    for i in range(d):
        row = 0.0
        for j in range(d):
            row += S.inverse[(a * d + i) * d + j] * S.contexts[t * d + j]
        S.scratch[i] = row
    for i in range(d):
        denominator += S.contexts[t * d + i] * S.scratch[i]
        S.moment[a * d + i] += reward * S.contexts[t * d + i]
    for i in range(d):
        for j in range(d):
            S.inverse[(a * d + i) * d + j] -= S.scratch[i] * S.scratch[j] / denominator
    for i in range(d):
        row = 0.0
        for j in range(d):
            row += S.inverse[(a * d + i) * d + j] * S.moment[a * d + j]
        S.theta[a * d + i] = row


@handler
def _replace(S: Any, incoming: int) -> None:
    """lru, lfu: the newcomer displaces the resident of the least (score, last, number)."""
    g = S.g
    victim = np.int64(-1)
    for a in range(g[_N]):
        if S.resident[a] == 0:
            continue
        if victim < 0:
            victim = np.int64(a)
            continue
        if g[_CONTROLLER] == LFU and S.count[a] != S.count[victim]:
            if S.count[a] < S.count[victim]:
                victim = np.int64(a)
        elif S.last[a] < S.last[victim]:
            victim = np.int64(a)
    S.resident[victim] = 0
    S.resident[incoming] = 1
    g[_SWAPS] += 1


@handler
def _estimate(S: Any, begin: int, end: int) -> None:
    """values[t, a] of the requests begin to end; covered[t] the best with nothing resident."""
    adapters = S.g[_N]
    for t in range(begin, end):
        most = 0.0
        for a in range(adapters):
            value = _mean(S, a, t)
            if S.g[_CONTROLLER] == POLAR:
                value += S.f[_BONUS] * _width(S, a, t)
            S.values[(t - begin) * adapters + a] = value
            if a == 0 or value - S.cost[a] > most:
                most = value - S.cost[a]
        S.covered[t - begin] = most


@handler
def _gain(S: Any, a: int, rows: int) -> float:
    """What adapter a adds to what is covered."""
    total = 0.0
    for t in range(rows):
        extra = S.values[t * S.g[_N] + a] - S.covered[t]
        if extra > 0.0:
            total += extra
    return total


@handler
def _cover(S: Any, a: int, rows: int) -> None:
    for t in range(rows):
        value = S.values[t * S.g[_N] + a]
        if value > S.covered[t]:
            S.covered[t] = value


@handler
def _propose(S: Any, rows: int, capacity: int) -> None:
    """proposed[a] = 1 for the K adapters to hold: by their own gains, or greedily."""
    g = S.g
    adapters = g[_N]
    for a in range(adapters):
        S.proposed[a] = 0
        S.gain[a] = _gain(S, a, rows)
    for _ in range(capacity):
        best = np.int64(-1)
        for a in range(adapters):
            if S.proposed[a] == 0 and (best < 0 or S.gain[a] > S.gain[best]):
                best = np.int64(a)
        S.proposed[best] = 1
        if g[_CONTROLLER] == POLAR_PLUS:
            _cover(S, best, rows)
            for a in range(adapters):
                if S.proposed[a] == 0:
                    S.gain[a] = _gain(S, a, rows)


@handler
def _worth(S: Any, members: Any, begin: int, end: int) -> float:
    """Value of a set over the requests begin to end."""
    adapters = S.g[_N]
    total = 0.0
    for t in range(end - begin):
        most = 0.0
        for a in range(adapters):
            value = S.values[t * adapters + a]
            if members[a] == 0:
                value -= S.cost[a]
            if a == 0 or value > most:
                most = value
        total += most
    return total


@handler
def _end_epoch(S: Any, now: int) -> float:
    """Choose the residents of the next epoch; the price of the newcomers."""
    g = S.g
    adapters = g[_N]
    g[_EPOCHS] += 1
    if g[_CONTROLLER] == POLAR_PLUS:
        g[_LENGTH] *= 2
        forced = np.int64(math.ceil(S.f[_EXPLORATION] * math.sqrt(float(g[_LENGTH]))))
        g[_FORCED] = min(g[_LENGTH], forced)
    g[_START] = now
    begin = max(np.int64(0), now - g[_WINDOW])
    rows = now - begin
    capacity = np.int64(0)
    for a in range(adapters):
        capacity += S.resident[a]
    _estimate(S, begin, now)
    _propose(S, rows, capacity)
    price = 0.0
    for a in range(adapters):
        if S.proposed[a] == 1 and S.resident[a] == 0:
            price += S.cost[a]
    gained = _worth(S, S.proposed, begin, now) - _worth(S, S.resident, begin, now)
    if gained * float(g[_LENGTH]) / float(rows) <= price:
        return 0.0
    for a in range(adapters):
        if S.proposed[a] == 1 and S.resident[a] == 0:
            g[_SWAPS] += 1
        S.resident[a] = S.proposed[a]
    return price


@kernel(types.int64(WORLD, types.int64))
def advance_routing(S: Any, until: int) -> int:
    """Route the requests up to number `until`; how many have been routed."""
    g = S.g
    rounds = len(S.chosen)
    while g[_ROUND] < min(until, rounds):
        t = g[_ROUND]
        price = 0.0
        epochs = g[_CONTROLLER] == POLAR or g[_CONTROLLER] == POLAR_PLUS
        if epochs and t - g[_START] >= g[_LENGTH]:
            price = _end_epoch(S, t)
        a = _choose(S, t)
        S.chosen[t] = a
        if S.resident[a] == 1:
            g[_HITS] += 1
        else:
            g[_PAGINGS] += 1
            price += S.cost[a]
            if g[_CONTROLLER] == LRU or g[_CONTROLLER] == LFU:
                _replace(S, a)
        S.last[a] = t
        S.count[a] += 1
        S.paid[t] = price
        if g[_CONTROLLER] != ORACLE:
            _learn(S, a, t)
        g[_ROUND] = t + 1
    return g[_ROUND]


def simulate_routing(given: RoutingInput) -> RoutingOutcome:
    """Route all requests of an input.

    Raises InputError for an input that does not fit together.
    """
    given.check()
    S = make_routing(given)
    rounds, adapters, d = given.shape
    advance_routing(S, rounds)
    names = ("hits", "pagings", "swaps", "epochs")
    return RoutingOutcome(
        chosen=S.chosen,
        paid=S.paid,
        theta=S.theta.reshape(adapters, d),
        inverse=S.inverse.reshape(adapters, d, d),
        resident=np.flatnonzero(S.resident),
        totals={name: int(S.g[G[name]]) for name in names},
    )
