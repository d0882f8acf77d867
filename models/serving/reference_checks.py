"""What the SimPy twin conserves, held after every event: requests, blocks, tokens, bytes, counters.

Everything is counted anew from the lists in which requests and blocks stand; a difference is an
AssertionError that says where.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from .hooks import DRAINING, UP
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
    PARKED,
    PREFILL,
    REFUSED,
    REMOTE,
    SWAPPED,
    TRANSFER,
    WAITING,
)

if TYPE_CHECKING:
    from .reference import Simulation
    from .reference_replica import Replica
    from .reference_request import Request


def check_conservation(sim: Simulation) -> None:
    """Raises AssertionError if something got lost, or stands in two places."""
    _check_requests(sim)
    for r in sim.replicas:
        _check_assigned(sim, r)
        _check_blocks(r)
        _check_holdings(sim, r)
    _check_tokens(sim)
    _check_tenants(sim)
    _check_bytes(sim)
    if sim.stores:
        sim.stores.check()


def _check_requests(sim: Simulation) -> None:
    """Each request that is present stands in exactly one place, the one its state names."""
    places: list[tuple[Request, tuple[int, ...], Replica | None]] = []
    for r in sim.replicas:
        places += [(q, (WAITING, SWAPPED, REMOTE), r) for q in r.queue]
        places += [(q, (PREFILL,), r) for q in r.prefilling]
        places += [(q, (DECODE,), r) for q in r.decoding]
        places += [(q, (ARRIVED,), r) for q in r.arrived if q.state != CANCELLED]
        places += [(q, (TRANSFER,), r) for q in r.inbound]
        places += [(f.request, (FETCHING,), r) for f in r.fetching]
        places += [(q, (HANDOVER,), r) for _, q in r.coming]
    places += [(q, (PARKED,), None) for q in sim.parked]
    assert len(places) == len({q.id for q, _, _ in places}), "a request stands in two places"
    assert {q.id for q, _, _ in places} == set(sim.present), "a request stands nowhere"
    for q, states, r in places:
        assert q.state in states, f"request {q.id} is in state {q.state}, not in {states}"
        assert q.replica is r, f"request {q.id} is assigned elsewhere than where it stands"
        moving = q.state in (HANDOVER, REMOTE, TRANSFER)
        assert moving == (q.source is not None), f"request {q.id} has a source, or has none"
        assert q.source is None or q in q.source.outbound
    outside = Counter(q.state for q in sim.requests if q.id not in sim.present)
    assert set(outside) <= {NEW, DONE, REFUSED, CANCELLED}
    assert outside[NEW] + len(sim.present) == sim.left


def _check_assigned(sim: Simulation, r: Replica) -> None:
    assert r.assigned == {q for q in sim.present.values() if q.replica is r}
    assert r.swapped_blocks == sum(r.blocks_of(q.kv) for q in r.queue if q.state == SWAPPED)
    assert r.swapped_blocks <= r.kind.host_blocks
    assert all(q.source is r for q in r.outbound)
    if r.running is not None:
        assert r.state in (UP, DRAINING), f"replica {r.index} runs in state {r.state}"
        assert r.running.tokens > 0


def _check_blocks(r: Replica) -> None:
    """Free, evictable, shared and private blocks are all there are."""
    memory = r.memory
    references = Counter(name for h in memory.holdings.values() for name in h.shared)
    for name, block in memory.resident.items():
        assert block.references == references[name], f"replica {r.index}: block {name}"
    idle = {name for name in memory.resident if references[name] == 0}
    assert idle == set(memory.evictable)
    assert set(references) <= set(memory.resident)
    private = sum(h.private for h in memory.holdings.values())
    assert memory.free >= 0 and all(h.private >= 0 for h in memory.holdings.values())
    assert memory.free + len(memory.resident) + private == memory.blocks, f"replica {r.index}"
    assert memory.peak <= memory.blocks


def _check_holdings(sim: Simulation, r: Replica) -> None:
    """Who holds blocks, and that they are as many as its tokens need."""
    running = {q.id: chunk for q, chunk in r.running.chunks} if r.running else {}
    decodes = {q.id for q in r.running.decodes} if r.running else set()
    expected: dict[int, tuple[int, int]] = {}  # fewest and most blocks
    for q in r.prefilling:
        reserved = {CHUNK: q.kv + running.get(q.id, 0), FULL: q.prompt + q.output}
        n = r.blocks_of(reserved.get(r.kind.reserve, q.need))
        expected[q.id] = (n, n)
    for q in r.decoding:
        n = r.blocks_of(q.kv + (q.id in decodes))
        expected[q.id] = (n, _most(r, q))
    for q in r.inbound:
        n = r.blocks_of(q.prompt + q.output if r.kind.reserve == FULL else q.need)
        expected[q.id] = (n, n)
    for f in r.fetching:
        if f.owner is None:
            expected[f.request.id] = (f.reach, f.reach)
    for q in r.outbound + r.arrived:
        expected[q.id] = (r.blocks_of(q.kv), _most(r, q))
    assert set(expected) == set(r.memory.holdings), f"replica {r.index} has other holders"
    for i, (fewest, most) in expected.items():
        held = r.memory.held(i)
        assert fewest <= held <= most, f"request {i} holds {held} blocks of {r.index}: {expected}"


def _most(r: Replica, q: Request) -> int:
    """Blocks of its tokens and the next one, or of all that were reserved."""
    return r.blocks_of(max(q.kv + 1, q.prompt + q.output if r.kind.reserve == FULL else 0))


def _check_tokens(sim: Simulation) -> None:
    generated = sum(q.generated for q in sim.requests)
    firsts = sum(q.first >= 0 for q in sim.requests)
    assert generated == sum(t.output_served for t in sim.tenants)
    assert generated == firsts + int(sim.gaps.sum())
    for q in sim.present.values():
        assert 0 <= q.generated < q.output
        if q.state in (PREFILL, WAITING, PARKED, FETCHING):
            assert q.need == q.prompt + q.generated and 0 <= q.kv < q.need
        else:
            assert q.kv == q.prompt + q.generated - 1, f"request {q.id} has {q.kv} tokens of KV"
    for q in sim.requests:
        assert (q.generated == q.output) == (q.state == DONE)


def _check_tenants(sim: Simulation) -> None:
    waiting = Counter(q.tenant for r in sim.replicas for q in r.queue)
    parked = Counter(q.tenant for q in sim.parked)
    present = Counter(q.tenant for q in sim.present.values())
    for i, tenant in enumerate(sim.tenants):
        assert tenant.waiting == waiting[i]
        assert tenant.running == present[i] - waiting[i] - parked[i]


def _check_bytes(sim: Simulation) -> None:
    """No link carries more than it can, and a flow moves its bytes, neither less nor more."""
    load = Counter[int]()
    for flow in sim.network.flows.values():
        for link in flow.path:
            load[link] += flow.rate
        moved = flow.rate * (sim.clock.now - flow.last)
        assert 0 <= flow.remaining <= flow.total
        assert moved < flow.remaining + flow.rate, "a flow goes on beyond its end"
    users = Counter(link for flow in sim.network.flows.values() for link in flow.path)
    for link, units in load.items():
        # each flow gets at least one unit per tick, even where there is less
        assert units <= max(sim.network.capacity[link], users[link]), f"link {link} is overloaded"
    moving = [q for r in sim.replicas for q in r.inbound]
    moving += [f.request for r in sim.replicas for f in r.fetching for _ in range(f.parts)]
    assert sorted(i for i, _ in sim.network.flows) == sorted(q.id for q in moving)
