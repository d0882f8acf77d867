"""Conservation: what must hold after every event, checked in NumPy on the kernel's tables.

requests = not arrived + waiting + running + between replicas + parked + ended; blocks = free +
evictable + pinned + private; those of a store = written less evicted and lost, each in one place;
tokens made = tokens of requests; bytes still to move <= bytes sent; what blocks know of the queue
is what waits in it; the clock never goes back. `check_state` runs at the end of every run; tests
call it after every event.
"""

from collections import Counter
from typing import Any

import numpy as np

from mltwin.sim.errors import KernelError

from .passes import OUT_OF_ORDER, STATE_COUNTS, UNEVEN, count_states
from .store_state import broken_store_law, parts_moving
from .tables import (
    ARRIVED,
    CANCELLED,
    CHUNK,
    DECODE,
    DONE,
    FETCHING,
    FULL,
    HANDOVER,
    NEW,
    PREFILL,
    REFUSED,
    REMOTE,
    STATE_NAMES,
    SWAPPED,
    TRANSFER,
    WAITING,
)


def _among(*states: int) -> np.ndarray:
    """Whether a state is one of these, by state."""
    return np.isin(np.arange(len(STATE_NAMES)), states)


_ASSIGNED = _among(WAITING, PREFILL, DECODE, HANDOVER, REMOTE, TRANSFER, ARRIVED, SWAPPED, FETCHING)
_QUEUED = _among(WAITING, REMOTE, SWAPPED)
_AWAY = _among(HANDOVER, TRANSFER)
_HOLDS_HERE = _among(PREFILL, DECODE, TRANSFER, ARRIVED, FETCHING)
_HOLDS_AT_SOURCE = _among(HANDOVER, REMOTE, TRANSFER)


def states(S: Any) -> np.ndarray:
    """int64: requests in each state, and what else `passes.count_states` counts."""
    counts = np.zeros(STATE_COUNTS, np.int64)
    count_states(S.info, S.req, counts)
    return counts


def check_state(S: Any, counts: np.ndarray | None = None) -> None:
    """Raise KernelError for the first conservation law that the state breaks.

    counts: what `states` gives, where the caller has it.
    """
    problem = _first_problem(S, states(S) if counts is None else counts)
    if problem:
        raise KernelError(f"conservation broken at tick {int(S.glob[0].now)}: {problem}")


def _first_problem(S: Any, counts: np.ndarray) -> str | None:
    state = np.asarray(S.req["state"])
    present = np.zeros(0, np.int64)
    if counts[NEW + 1 : DONE].any() or counts[FETCHING]:
        here = ((state != NEW) & (state < DONE)) | (state == FETCHING)
        present = np.flatnonzero(here)  # the others hold nothing
    problem = _requests(S, counts)
    for law in (_queues, _blocks, _wanted, _tokens, _flows, broken_store_law):
        problem = problem or law(S, present, state[present])
    return problem


def _requests(S: Any, counts: np.ndarray) -> str | None:
    """Every request is in one place, and the totals say where."""
    g = S.glob[0]
    for name, code in (("done", DONE), ("refused", REFUSED), ("cancelled", CANCELLED)):
        if counts[code] != g[name]:
            return f"{counts[code]} requests are {name}, the total says {g[name]}"
    if g.ended != g.done + g.refused + g.cancelled:
        return (
            f"{g.ended} ended, but {g.done} + {g.refused} + {g.cancelled} done, refused, cancelled"
        )
    arrived = int(S.tenants["arrived"].sum())
    if len(S.req) - counts[NEW] != arrived:
        return f"{arrived} arrived, {len(S.req) - counts[NEW]} are somewhere"
    if counts[OUT_OF_ORDER]:
        return "a request finished before its first token or had that before it arrived"
    if counts[UNEVEN]:
        return "a request is done without all its tokens"
    return None


def _queues(S: Any, present: np.ndarray, state: np.ndarray) -> str | None:
    """The counters that policies see equal what the requests add up to."""
    replica = np.asarray(S.req["replica"])[present]
    r = len(S.rep)
    work = S.info["prompt"][present].astype(np.int64) + S.info["predicted"][present]
    need = S.req["need"][present]
    queued, assigned, away = _QUEUED[state], _ASSIGNED[state], _AWAY[state]
    expected = {
        "outstanding": _per_replica(replica, assigned, None, r),
        "outstanding_tokens": _per_replica(replica, assigned, work, r),
        "waiting": _per_replica(replica, queued, None, r),
        "queued_tokens": _per_replica(replica, queued, need, r),
        "incoming": _per_replica(replica, away, None, r),
    }
    for name, values in expected.items():
        if np.any(values != S.replicas[name]):
            return f"replicas.{name} is {S.replicas[name].tolist()}, not {values.tolist()}"
    tenant = np.asarray(S.info["tenant"])[present]
    n = len(S.tenants)
    running = assigned & ~queued
    for name, who in (("waiting", queued), ("running", running)):
        values = np.bincount(tenant[who], minlength=n)
        if np.any(values != S.tenants[name]):
            return f"tenants.{name} is {S.tenants[name].tolist()}, not {values.tolist()}"
    decoding = _per_replica(replica, state == DECODE, None, r)
    if np.any(decoding != S.rep["decoding"]):
        return f"decoding is {S.rep['decoding'].tolist()}, not {decoding.tolist()}"
    return None


def _per_replica(
    replica: np.ndarray, who: np.ndarray, weight: np.ndarray | None, r: int
) -> np.ndarray:
    if weight is None:
        return np.bincount(replica[who], minlength=r)
    return np.bincount(replica[who], weights=weight[who], minlength=r).astype(np.int64)


def _blocks(S: Any, present: np.ndarray, state: np.ndarray) -> str | None:
    """free + evictable + pinned + private = all, replica by replica."""
    rep = S.rep.view(np.ndarray)
    free, evictable, host = rep["free"], rep["evictable"], rep["host_free"]
    for r in np.flatnonzero((free < 0) | (evictable < 0) | (host < 0)):
        return f"replica {r} has {free[r]} free, {evictable[r]} evictable, {host[r]} host blocks"
    private = np.zeros(len(rep), np.int64)
    for r in range(len(rep) if len(present) else 0):
        holders = _holders(S, r, present, state)
        for i in holders:
            private[r] += _private_blocks(S, r, int(i), int(S.req[i].state))
    for r in np.flatnonzero(rep["arrived_head"] >= 0):
        for i in _given_up(S, int(r)):
            private[r] += _reserved(S, int(r), i, int(S.req[i].need)) - int(S.req[i].shared)
    blocks = S.kinds.view(np.ndarray)["blocks"][rep["kind"]]
    pinned = _pinned(S, rep, blocks)
    total = free + evictable + pinned + private
    for r in np.flatnonzero(total != blocks):
        return (
            f"replica {r}: {free[r]} free + {evictable[r]} evictable + {pinned[r]} pinned + "
            f"{private[r]} private = {total[r]}, not {blocks[r]}"
        )
    return None


def _pinned(S: Any, rep: np.ndarray, blocks: np.ndarray) -> np.ndarray:
    """Resident blocks with references, by replica."""
    if not S.par[0].caching:
        return np.zeros(len(rep), np.int64)
    return blocks - rep["free_slots"] - rep["evictable"]


def _wanted(S: Any, present: np.ndarray, state: np.ndarray) -> str | None:
    """Blocks know how many waiting requests want them (policies with queue=True only)."""
    p = S.par[0]
    if not p.wanted:
        return None
    n = int(p.n_replicas)
    demand = np.zeros_like(S.demand)
    of_one: Counter[tuple[int, int]] = Counter()  # (replica, block id of a single request)
    for i in present[(state == WAITING) | (state == REMOTE)]:
        r = int(S.req[i].replica)
        for block in _prefix_of(S, int(i)):
            if block < p.own_ids:
                demand[block * n + r] += 1
            else:
                of_one[r, block] += 1
    for at in np.flatnonzero(demand != S.demand):
        return f"{demand[at]} requests of replica {at % n} want block {at // n}: {S.demand[at]}"
    for place in np.flatnonzero(S.map_block >= 0):
        r, block = int(place // p.map_slots), int(S.map_block[place])
        told = int(S.releases[r * int(p.block_stride) + int(S.map_slot[place])].wanted)
        want = of_one[r, block] if block >= p.own_ids else int(demand[block * n + r])
        if told != want:
            return f"block {block} of replica {r} is wanted by {want}, and knows of {told}"
    return None


def _prefix_of(S: Any, i: int) -> list[int]:
    """The block ids for which request i looks in a cache."""
    q, b, own = S.req[i], int(S.par[0].block_tokens), -1
    ids = S.block_ids[S.block_start[i] : S.block_start[i] + q.n_ids].tolist()
    if S.par[0].has_own:
        own = int(S.own[i])
    if own >= 0:
        total = (int(S.info[i].prompt) + int(q.output)) // b
        ids += range(own, own + total - len(ids))
    return list(ids[: (int(q.need) - 1) // b])


def _given_up(S: Any, r: int) -> list[int]:
    """Requests cancelled after their KV arrived at r, which has not planned since.

    What they share is pinned; it is counted there.
    """
    found = []
    i = int(S.rep[r].arrived_head)
    while i >= 0:
        if S.req[i].state == CANCELLED:
            found.append(i)
        i = int(S.req[i].child)
    return found


def _holders(S: Any, r: int, present: np.ndarray, state: np.ndarray) -> np.ndarray:
    """Requests that hold blocks on r."""
    here = S.req["replica"][present] == r
    here &= _HOLDS_HERE[state]
    kept = S.req["source"][present] == r
    kept &= _HOLDS_AT_SOURCE[state]
    return present[here | kept]


def _private_blocks(S: Any, r: int, i: int, state: int) -> int:
    """Blocks of request i on r that are not shared."""
    q, x, b = S.req[i], S.rep[r], int(S.par[0].block_tokens)
    total = 0
    if state in (HANDOVER, REMOTE, TRANSFER) and q.source == r:
        total += _reserved(S, r, i, int(q.need)) - int(q.source_shared)
    if q.replica == r and state in (TRANSFER, ARRIVED):
        total += _reserved(S, r, i, int(q.need)) - int(q.shared)
    if q.replica == r and state == PREFILL:
        kv = int(q.kv) if S.kinds[x.kind].reserve == CHUNK else int(q.need)
        total += _reserved(S, r, i, kv) - int(q.shared)
    if q.replica == r and state == FETCHING and S.fetch[i].owner < 0:
        total += int(S.fetch[i].reach) - int(q.shared)
    if q.replica == r and state == DECODE:
        kv = int(q.offset + x.G)
        paid = 1 if x.busy and x.decodes and kv % b == 0 else 0
        if S.kinds[x.kind].reserve == FULL:
            paid = 0
        total += _reserved(S, r, i, kv) + paid - int(q.shared)
    return total


def _reserved(S: Any, r: int, i: int, kv: int) -> int:
    b = int(S.par[0].block_tokens)
    if S.kinds[S.rep[r].kind].reserve == FULL:
        kv = int(S.info[i].prompt) + int(S.req[i].output)
    return -(-kv // b)


def _tokens(S: Any, present: np.ndarray, state: np.ndarray) -> str | None:
    """KV tokens of the decoding requests equal the replica's sum."""
    decoding = present[state == DECODE]
    r = len(S.rep)
    replica = np.asarray(S.req["replica"])[decoding]
    kv = S.req["offset"][decoding] + S.rep["G"][replica]
    context = np.bincount(replica, weights=kv, minlength=r).astype(np.int64)
    if np.any(context != S.rep["context"]):
        return f"decode context is {S.rep['context'].tolist()}, not {context.tolist()}"
    return None


def _flows(S: Any, present: np.ndarray, state: np.ndarray) -> str | None:
    """As many flows as requests in transfer; no link carries more than it can."""
    active = len(S.flows) - int(S.glob[0].free_flows)
    moving = int((state == TRANSFER).sum()) + parts_moving(S, present, state)
    if active != moving:
        return f"{active} flows, {moving} of requests in transfer or fetching"
    if active == 0:
        return None
    free = set(S.free_flow[: int(S.glob[0].free_flows)].tolist())
    load = np.zeros(len(S.links), np.int64)
    for f in range(len(S.flows)):
        if f not in free:
            x = S.flows[f]
            if x.rate < 1 or x.remaining - x.rate * (S.glob[0].now - x.last) < -x.rate:
                return f"flow of request {x.request} has rate {x.rate}, {x.remaining} units left"
            load[x.egress] += x.rate
            load[x.ingress] += x.rate
            first = f * int(S.par[0].hop_width)
            for hop in S.hops[first : first + int(x.hops)]:
                load[hop.link] += x.rate
    over = np.flatnonzero(load > np.maximum(S.links["capacity"], S.links["flows"]))
    if len(over):
        return f"link {over[0]} carries {load[over[0]]} of {S.links['capacity'][over[0]]} units"
    return None
