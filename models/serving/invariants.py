"""Conservation: what must hold after every event, checked in plain NumPy on the kernel's tables.

requests = not arrived + waiting + running + between replicas + parked + ended; blocks = free +
evictable + pinned + private; tokens made = tokens of requests; bytes still to move <= bytes sent;
the clock never goes back. `check_state` runs at the end of every run; tests call it after every
event.
"""

from typing import Any

import numpy as np

from mltwin.sim.errors import KernelError

from .tables import (
    ARRIVED,
    CANCELLED,
    CHUNK,
    DECODE,
    DONE,
    FULL,
    HANDOVER,
    NEW,
    PREFILL,
    REFUSED,
    REMOTE,
    SWAPPED,
    TRANSFER,
    WAITING,
)

_ASSIGNED = (WAITING, PREFILL, DECODE, HANDOVER, REMOTE, TRANSFER, ARRIVED, SWAPPED)
_QUEUED = (WAITING, REMOTE, SWAPPED)


def check_state(S: Any) -> None:
    """Raise KernelError for the first conservation law that the state breaks."""
    problem = _first_problem(S)
    if problem:
        raise KernelError(f"conservation broken at tick {int(S.glob[0].now)}: {problem}")


def _first_problem(S: Any) -> str | None:
    state = np.asarray(S.req["state"])
    present = np.flatnonzero((state != NEW) & (state < DONE))  # the others hold nothing
    problem = _requests(S, state)
    for law in (_queues, _blocks, _tokens, _flows):
        problem = problem or law(S, present, state[present])
    return problem


def _requests(S: Any, state: np.ndarray) -> str | None:
    """Every request is in one place, and the totals say where."""
    g = S.glob[0]
    counts = np.bincount(state, minlength=CANCELLED + 1)
    for name, code in (("done", DONE), ("refused", REFUSED), ("cancelled", CANCELLED)):
        if counts[code] != g[name]:
            return f"{counts[code]} requests are {name}, the total says {g[name]}"
    if g.ended != g.done + g.refused + g.cancelled:
        return (
            f"{g.ended} ended, but {g.done} + {g.refused} + {g.cancelled} done, refused, cancelled"
        )
    arrived = int(S.tenants["arrived"].sum())
    if len(state) - counts[NEW] != arrived:
        return f"{arrived} arrived, {len(state) - counts[NEW]} are somewhere"
    first, finish, arrival = S.req["first"], S.req["finish"], S.info["arrival"]
    done = state == DONE
    if np.any(first[done] < arrival[done]) or np.any(finish[done] < first[done]):
        return "a request finished before its first token or had that before it arrived"
    if np.any(S.info["generated"][done] != S.req["output"][done]):
        return "a request is done without all its tokens"
    return None


def _queues(S: Any, present: np.ndarray, state: np.ndarray) -> str | None:
    """The counters that policies see equal what the requests add up to."""
    replica = np.asarray(S.req["replica"])[present]
    r = len(S.rep)
    work = S.info["prompt"][present].astype(np.int64) + S.info["predicted"][present]
    need = S.req["need"][present]
    queued = np.isin(state, _QUEUED)
    assigned = np.isin(state, _ASSIGNED)
    away = np.isin(state, (HANDOVER, TRANSFER))
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
    for r in range(len(S.rep)):
        x = S.rep[r]
        if x.free < 0 or x.evictable < 0 or x.host_free < 0:
            return (
                f"replica {r} has {x.free} free, {x.evictable} evictable, {x.host_free} host blocks"
            )
        holders = _holders(S, r, present, state)
        private = sum(_private_blocks(S, r, int(i), int(S.req[i].state)) for i in holders)
        for i in _given_up(S, r):
            private += _reserved(S, r, i, int(S.req[i].need)) - int(S.req[i].shared)
        total = x.free + x.evictable + _pinned(S, r) + private
        if total != S.kinds[x.kind].blocks:
            return (
                f"replica {r}: {x.free} free + {x.evictable} evictable + {_pinned(S, r)} pinned + "
                f"{private} private = {total}, not {S.kinds[x.kind].blocks}"
            )
    return None


def _pinned(S: Any, r: int) -> int:
    """Resident blocks with references."""
    p = S.par[0]
    if not p.caching:
        return 0
    x = S.rep[r]
    resident = S.kinds[x.kind].blocks - x.free_slots
    return int(resident - x.evictable)


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
    here &= np.isin(state, (PREFILL, DECODE, TRANSFER, ARRIVED))
    kept = S.req["source"][present] == r
    kept &= np.isin(state, (HANDOVER, REMOTE, TRANSFER))
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
    if active != int((state == TRANSFER).sum()):
        return f"{active} flows, {int((state == TRANSFER).sum())} requests in transfer"
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
    over = np.flatnonzero(load > np.maximum(S.links["capacity"], S.links["flows"]))
    if len(over):
        return f"link {over[0]} carries {load[over[0]]} of {S.links['capacity'][over[0]]} units"
    return None
