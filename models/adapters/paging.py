"""The paging kernel: adapters come and go, requests wait for them (rules: the package's docstring).

Eviction takes the resident adapter without requests of the least (score, last asked for, id):

- `lru`: number of the last request that asked for it.
- `lfu`: requests since it was loaded.
- `static`: its requests in the whole trace, known beforehand.
- `gdsf`: H = L + count * load / size with L the H of the last one evicted (Cherkasova,
  "Improving WWW Proxies Performance with Greedy-Dual-Size-Frequency", HPL-98-69, 1998).
- `oracle`: minus the number of its next request (Belady 1966); with sizes, loads in flight and
  pins a strong heuristic, not a proven optimum.
- `random`: a draw keyed by adapter and eviction.
"""

from typing import Any

import numpy as np

from mltwin.sim.heap import pairs_pop, pairs_push
from mltwin.sim.jit import handler, kernel, types
from mltwin.sim.rng import POLICY, keyed_bits

from .tables import (
    ARRIVED,
    DELAYED,
    EVICTED,
    FINISHED,
    GDSF,
    HIT,
    LFU,
    LOAD_BEGAN,
    LOAD_ENDED,
    LOADING,
    LRU,
    MISS,
    NEVER,
    ORACLE,
    OUT,
    QUEUED,
    RANDOM,
    RESIDENT,
    STARTED,
    WORLD,
    G,
    PagingInput,
    PagingOutcome,
    make_state,
)

_CURSOR, _FREE, _USED, _RESIDENTS = (
    G[k] for k in ("cursor", "free_slots", "used_bytes", "residents")
)
_IDLE_BYTES, _IDLE, _HEAD, _QUEUED = (G[k] for k in ("idle_bytes", "idle", "queue_head", "queued"))
_LOADING, _LOAD_END, _EVICTIONS, _LOADS = (
    G[k] for k in ("loading", "load_end", "evictions", "loads")
)
_IN, _OUT, _BUSY, _EVENTS = (G[k] for k in ("bytes_in", "bytes_out", "link_busy", "events"))
_LOGGED, _POLICY, _SEED, _BYTES = (G[k] for k in ("logged", "policy", "seed", "capacity_bytes"))
_CAPACITY, _NOW, _DONE, _BLOCKED = (G[k] for k in ("capacity", "now", "done", "blocked"))


@handler
def _note(S: Any, kind: int, entity: int) -> None:
    g = S.g
    place = g[_LOGGED]
    if 3 * place < len(S.log):
        S.log[3 * place] = g[_NOW]
        S.log[3 * place + 1] = kind
        S.log[3 * place + 2] = entity
        g[_LOGGED] = place + 1


@handler
def _touch(S: Any, a: int, request: int) -> None:
    """A request asked for adapter a."""
    S.last[a] = request
    S.count[a] += 1
    S.next_seen[a] = S.next_use[request]
    policy = S.g[_POLICY]
    if policy == LRU:
        S.score[a] = float(request)
    elif policy == LFU:
        S.score[a] = float(S.count[a])
    elif policy == GDSF:
        S.score[a] = S.inflation[0] + float(S.count[a]) * float(S.load[a]) / float(S.size[a])
    elif policy == ORACLE:
        S.score[a] = -float(S.next_seen[a])


@handler
def _victim(S: Any) -> int:
    """The place of the resident adapter to go, -1 if all are in use."""
    g = S.g
    best = np.int64(-1)
    for place in range(g[_RESIDENTS]):
        a = S.resident[place]
        if S.refs[a] > 0:
            continue
        if g[_POLICY] == RANDOM:
            S.score[a] = float(keyed_bits(g[_SEED], POLICY, a, g[_EVICTIONS]) >> np.uint64(11))
        if best < 0:
            best = np.int64(place)
            continue
        b = S.resident[best]
        if S.score[a] < S.score[b] or (
            S.score[a] == S.score[b]
            and (S.last[a] < S.last[b] or (S.last[a] == S.last[b] and a < b))
        ):
            best = np.int64(place)
    return best


@handler
def _evict(S: Any) -> None:
    g = S.g
    place = _victim(S)
    a = S.resident[place]
    S.inflation[0] = S.score[a]
    g[_RESIDENTS] -= 1
    moved = S.resident[g[_RESIDENTS]]
    S.resident[place] = moved
    S.place[moved] = place
    S.place[a] = -1
    S.state[a] = OUT
    S.count[a] = 0
    g[_IDLE] -= 1
    g[_IDLE_BYTES] -= S.size[a]
    g[_USED] -= S.size[a]
    g[_OUT] += S.size[a]
    g[_EVICTIONS] += 1
    _note(S, EVICTED, a)


@handler
def _begin_load(S: Any) -> None:
    """Start the load at the head of the queue, if the link is idle and there is room to be had."""
    g = S.g
    if g[_LOADING] >= 0 or g[_QUEUED] == 0:
        return
    a = S.queue[g[_HEAD]]
    over_bytes = g[_USED] + S.size[a] - g[_BYTES]
    over = g[_RESIDENTS] + 1 - g[_CAPACITY]
    if over_bytes > g[_IDLE_BYTES] or over > g[_IDLE]:
        return
    while g[_USED] + S.size[a] > g[_BYTES] or g[_RESIDENTS] + 1 > g[_CAPACITY]:
        _evict(S)
    g[_HEAD] = (g[_HEAD] + 1) % len(S.queue)
    g[_QUEUED] -= 1
    g[_LOADING] = a
    g[_LOAD_END] = g[_NOW] + S.load[a]
    g[_USED] += S.size[a]
    S.state[a] = LOADING
    _note(S, LOAD_BEGAN, a)


@handler
def _start_ready(S: Any) -> None:
    g = S.g
    while g[_FREE] > 0 and S.ready_heap_count[0] > 0:
        request = pairs_pop(S.ready_heap, S.ready_heap_count)
        g[_FREE] -= 1
        S.start[request] = g[_NOW]
        pairs_push(S.ends, S.ends_count, g[_NOW] + S.service[request], request)
        _note(S, STARTED, request)


@handler
def _make_ready(S: Any, request: int) -> None:
    S.ready[request] = S.g[_NOW]
    pairs_push(S.ready_heap, S.ready_heap_count, request, request)


@handler
def _arrive(S: Any) -> None:
    g = S.g
    request = g[_CURSOR]
    g[_CURSOR] = request + 1
    a = S.adapter[request]
    _note(S, ARRIVED, request)
    if S.state[a] == RESIDENT and S.refs[a] == 0:
        g[_IDLE] -= 1
        g[_IDLE_BYTES] -= S.size[a]
    S.refs[a] += 1
    _touch(S, a, request)
    if S.state[a] == RESIDENT:
        S.found[request] = HIT
        _make_ready(S, request)
        return
    if S.state[a] == OUT:
        S.found[request] = MISS
        S.state[a] = QUEUED
        S.queue[(g[_HEAD] + g[_QUEUED]) % len(S.queue)] = a
        g[_QUEUED] += 1
    else:
        S.found[request] = DELAYED
    if S.head[a] < 0:
        S.head[a] = request
    else:
        S.follower[S.tail[a]] = request
    S.tail[a] = request


@handler
def _end_load(S: Any) -> None:
    g = S.g
    a = g[_LOADING]
    g[_LOADING] = -1
    g[_LOAD_END] = NEVER
    S.state[a] = RESIDENT
    S.place[a] = g[_RESIDENTS]
    S.resident[g[_RESIDENTS]] = a
    g[_RESIDENTS] += 1
    g[_LOADS] += 1
    g[_IN] += S.size[a]
    g[_BUSY] += S.load[a]
    _note(S, LOAD_ENDED, a)
    request = S.head[a]
    while request >= 0:
        _make_ready(S, request)
        request = S.follower[request]
    S.head[a] = -1
    S.tail[a] = -1


@handler
def _finish(S: Any) -> None:
    g = S.g
    request = pairs_pop(S.ends, S.ends_count)
    S.finish[request] = g[_NOW]
    g[_FREE] += 1
    g[_DONE] += 1
    a = S.adapter[request]
    S.refs[a] -= 1
    if S.refs[a] == 0:
        g[_IDLE] += 1
        g[_IDLE_BYTES] += S.size[a]
    _note(S, FINISHED, request)


@kernel(types.int64(WORLD, types.int64))
def advance(S: Any, until: int) -> int:
    """Run all events up to and at tick `until`; how many requests have ended."""
    g = S.g
    n = len(S.arrival)
    while True:
        arrival = S.arrival[g[_CURSOR]] if g[_CURSOR] < n else np.int64(NEVER)
        end = S.ends[0].time if S.ends_count[0] > 0 else np.int64(NEVER)
        load_end = g[_LOAD_END]
        now = min(arrival, end, load_end)
        if now == NEVER or now > until:
            break
        if g[_LOADING] < 0 and g[_QUEUED] > 0:
            g[_BLOCKED] += now - g[_NOW]
        g[_NOW] = now
        g[_EVENTS] += 1
        if load_end == now:
            _end_load(S)
        elif end == now:
            _finish(S)
        else:
            _arrive(S)
        _start_ready(S)
        _begin_load(S)
    return g[_DONE]


def simulate_paging(
    given: PagingInput, *, log: bool = False, until: int | None = None
) -> PagingOutcome:
    """Run the kernel on an input until all requests have ended, or to tick `until`.

    Raises InputError for an input that does not fit together.
    """
    given.check()
    S = make_state(given, log)
    advance(S, NEVER - 1 if until is None else until)
    totals = {name: int(S.g[place]) for name, place in G.items()}
    return PagingOutcome(
        ready=S.ready,
        start=S.start,
        finish=S.finish,
        found=S.found,
        totals=totals,
        log=S.log[: 3 * totals["logged"]].reshape(-1, 3).copy(),
        resident=np.sort(S.resident[: totals["residents"]]),
    )
