"""Host tiers and pool of the SimPy twin, and the fetches from them: dicts and lists."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .outcome import CANCEL, FETCH_END, FETCH_START
from .reference_clock import TRANSFER, Timer, entity
from .tables import (
    CANCELLED,
    FETCH_CHEAPER,
    FETCH_NEVER,
    FETCHING,
    FULL,
    STORE_COST,
    STORE_FIFO,
    STORE_LFU,
    WAITING,
    WRITE_BACK,
    WRITE_THROUGH,
)

if TYPE_CHECKING:
    from .reference import Simulation
    from .reference_replica import Replica
    from .reference_request import Request

LANDINGS = 0xFFFF
"""Group of the landings among the entities of the transfers' rank: behind all links."""


@dataclass
class Kept:
    """A block in a store."""

    depth: int
    touches: int = 1
    pins: int = 0
    score: float = 0.0
    stamp: int = 0


class Store:
    """A host tier or the pool: blocks by id, the first to go has the smallest (score, stamp)."""

    def __init__(self, stores: Stores, capacity: int) -> None:
        self.stores, self.capacity = stores, capacity
        self.kept: dict[int, Kept] = {}
        self.age = 0.0
        self.read = self.written = self.evicted = self.refused = self.lost = 0

    def write(self, name: int) -> int | None:
        """A block comes or gains rank; returns what left for it, or itself where it cannot come."""
        if self.capacity == 0:
            return name
        if name in self.kept:
            block = self.kept[name]
            block.touches += 1
            if block.pins == 0:
                self._rank(block)
            return None
        gone = None
        if len(self.kept) == self.capacity:
            free = [k for k, block in self.kept.items() if block.pins == 0]
            if not free:
                self.refused += 1
                return name
            gone = min(free, key=lambda k: (self.kept[k].score, self.kept[k].stamp))
            self.age = self.kept.pop(gone).score
            self.evicted += 1
        self.kept[name] = Kept(self.stores.depth.get(name, 0), stamp=self.stores.next_stamp())
        self._rank(self.kept[name])
        self.written += 1
        return gone

    def pin(self, name: int) -> None:
        """A block is being read."""
        self.kept[name].pins += 1
        self.kept[name].touches += 1

    def unpin(self, name: int) -> None:
        """One reader less."""
        block = self.kept[name]
        block.pins -= 1
        if block.pins == 0:
            self._rank(block)

    def clear(self) -> None:
        """All is lost."""
        self.lost += len(self.kept)
        self.kept.clear()
        self.age = 0.0

    def _rank(self, block: Kept) -> None:
        policy = self.stores.given.policy
        if policy != STORE_FIFO:
            block.stamp = self.stores.next_stamp()
        if policy == STORE_LFU:
            block.score = float(block.touches)
        elif policy == STORE_COST:
            block.score = self.age + 1.0 + self.stores.given.depth_cost * block.depth


@dataclass(eq=False)
class Fetch:
    """A request out of its queue: for its own fetch, or (owner) until another's has landed."""

    request: Request
    owner: Request | None
    since: int
    hit: int = 0
    hosted: int = 0  # from `hit` up to here from the host tier
    reach: int = 0  # and up to here from the pool
    parts: int = 0  # flows that have not ended

    def sources(self, r: Replica) -> list[tuple[Store, int]]:
        """Store and id of each block that is read, head first."""
        stores = r.simulation.stores
        assert stores is not None
        host = stores.hosts[r.index]
        ids = self.request.ids
        return [(host, ids[j]) for j in range(self.hit, self.hosted)] + [
            (stores.pool, ids[j]) for j in range(self.hosted, self.reach)
        ]


class Stores:
    """All stores of a simulation, and what is fetched from them."""

    def __init__(self, sim: Simulation) -> None:
        assert sim.inp.stores is not None
        self.sim, self.given = sim, sim.inp.stores
        self.stamps = 0
        self.depth = _depths(sim) if self.given.policy == STORE_COST else {}
        self.hosts = [Store(self, self.given.host_blocks) for _ in sim.inp.kind_of]
        self.pool = Store(self, self.given.pool_blocks)
        self.pool_nic = len(sim.inp.nic_bytes_per_s)
        self.landings: dict[int, Timer] = {}
        self.fetches = self.followed = self.copies = self.duplicates = 0

    def next_stamp(self) -> int:
        """Stamps rise over all stores."""
        self.stamps += 1
        return self.stamps

    # what is written

    def evicted(self, r: int, name: int) -> None:
        """A block has left the HBM of replica r; one of a single request is lost."""
        if self.given.write == WRITE_BACK and name >= 0:
            gone = self.hosts[r].write(name)
            if gone is not None:
                self.pool.write(gone)

    def completed(self, r: int, names: Sequence[int]) -> None:
        """Blocks, head first, are complete on replica r."""
        if self.given.write == WRITE_THROUGH:
            for name in reversed([name for name in names if name >= 0]):
                self.hosts[r].write(name)
                self.pool.write(name)

    def count_duplicates(self) -> None:
        """A request is complete: the copies of blocks in HBM beyond the first are added up."""
        names = [k for r in self.sim.replicas for k in r.memory.resident if k >= 0]
        self.duplicates += len(names) - len(set(names))

    # what is read

    def reach(self, r: Replica, q: Request, hit: int) -> tuple[int, int]:
        """How far the host tier goes on from the blocks hit, and how far the pool from there."""
        hosted = hit
        limit = min(q.named, self.sim.depth_of_hits(q))
        while hosted < limit and q.ids[hosted] in self.hosts[r.index].kept:
            hosted += 1
        reach = hosted
        while reach < limit and q.ids[reach] in self.pool.kept:
            reach += 1
        return hosted, reach

    def fetch_first(self, r: Replica, q: Request, available: int) -> bool | None:
        """Whether the head of the queue leaves it for a fetch; None: it waits for blocks."""
        if self.given.fetch == FETCH_NEVER or q.tried:
            return False
        depth = self.sim.depth_of_hits(q)
        hit = r.memory.hits(q.ids, depth)
        if hit >= min(q.named, depth):
            return False
        now = self.sim.clock.now
        for other in r.fetching:
            brings = other.owner is None and other.hit <= hit < other.reach
            if brings and other.request.ids[hit] == q.ids[hit]:
                self.followed += 1
                self._leave_for(r, Fetch(q, other.request, now))
                return True
        hosted, reach = self.reach(r, q, hit)
        if reach == hit:
            return False
        f = Fetch(q, None, now, hit, hosted, reach)
        if self.given.fetch == FETCH_CHEAPER and not self._pays(r, f):
            return False
        held = r.blocks_of(q.prompt + q.output if r.kind.reserve == FULL else q.need)
        if held - hit > available - r.memory.unreferenced(q.ids[:hit]):
            return None
        self._start(r, f)
        return True

    def _leave_for(self, r: Replica, f: Fetch) -> None:
        r.leave_queue(f.request)
        self.sim.move(f.request, FETCHING)
        r.fetching.append(f)
        self.sim.log(FETCH_START, f.request.id, r.index)

    def _start(self, r: Replica, f: Fetch) -> None:
        q = f.request
        r.memory.admit(q.id, q.ids[: f.hit])
        for store, name in f.sources(r):
            store.pin(name)
        self._leave_for(r, f)
        r.memory.take(q.id, f.reach - f.hit)
        self.fetches += 1
        parts = self._parts(r, f)
        f.parts = len(parts)
        for source, destination, blocks, _ in parts:
            self.sim.network.start(q, source, destination, self._units(blocks))

    def _parts(self, r: Replica, f: Fetch) -> list[tuple[int, int, int, int]]:
        """NIC from, NIC to, blocks and latency of each flow."""
        host = self.pool_nic + 1 + r.index
        parts = [
            (host, host, f.hosted - f.hit, self.given.host_latency),
            (self.pool_nic, r.nic, f.reach - f.hosted, self.given.pool_latency),
        ]
        return [part for part in parts if part[2] > 0]

    def _units(self, blocks: int) -> int:
        inp = self.sim.inp
        return blocks * inp.block_tokens * inp.kv_bytes_per_token << inp.unit_shift()

    def _pays(self, r: Replica, f: Fetch) -> bool:
        """Whether the fetch is shorter than what it saves of the prefill, alone in an iteration."""
        block_tokens = self.sim.inp.block_tokens

        def prefill(kv: int) -> int:
            tokens = f.request.need - kv
            work = tokens * kv + tokens * (tokens + 1) // 2
            return r.kind.cells.evaluate(tokens, 0, 1, work)

        network, took, latency = self.sim.network, 0, 0
        for source, destination, blocks, late in self._parts(r, f):
            shares = []
            for link in network.path(source, destination):
                users = sum(link in flow.path for flow in network.flows.values())
                shares.append(network.capacity[link] // (users + 1))
            took = max(took, -(-self._units(blocks) // max(1, *[min(shares)])))
            latency = max(latency, late)
        return took + latency < prefill(f.hit * block_tokens) - prefill(f.reach * block_tokens)

    def part_ended(self, q: Request) -> None:
        """A flow has ended; the last one lands after the latency."""
        r = q.replica
        assert r is not None
        f = self._own(r, q)
        f.parts -= 1
        if f.parts == 0:
            latency = max(late for _, _, _, late in self._parts(r, f))
            order = entity(LANDINGS, q.id)
            timer = Timer(self.sim.clock, TRANSFER, order, lambda: self._land(r, f))
            self.landings[q.id] = timer
            timer.set(self.sim.clock.now + latency)

    @staticmethod
    def _own(r: Replica, q: Request) -> Fetch:
        return next(f for f in r.fetching if f.request is q)

    def _land(self, r: Replica, f: Fetch) -> None:
        q = f.request
        del self.landings[q.id]
        for store, name in reversed(f.sources(r)):
            store.unpin(name)
            store.read += 1
            others = (other for other in self.sim.replicas if other is not r)
            self.copies += any(name in other.memory.resident for other in others)
        q.fetched += (f.reach - f.hit) * self.sim.inp.block_tokens
        r.memory.share(q.id, q.ids, f.reach, complete=False)
        r.memory.release(q.id)
        q.tried = True
        self._return(r, f)
        for other in [other for other in r.fetching if other.owner is q]:
            self._return(r, other)
        r.wake()

    def _return(self, r: Replica, f: Fetch) -> None:
        """A request queues again, or goes if its client has given up."""
        q = f.request
        r.fetching.remove(f)
        q.fetch_wait += self.sim.clock.now - f.since
        self.sim.log(FETCH_END, q.id, r.index)
        if q.leaving:
            self.sim.end(q, CANCELLED, CANCEL, FETCHING)
        else:
            r.wait(q, WAITING)

    def drop(self, r: Replica, q: Request) -> None:
        """The fetch of a request ends because its replica has failed."""
        f = self._own(r, q)
        r.fetching.remove(f)
        q.fetch_wait += self.sim.clock.now - f.since
        if f.owner is not None:
            return
        if q.id in self.landings:
            self.landings.pop(q.id).clear()
        for _, destination, _, _ in self._parts(r, f):
            self.sim.network.stop(q, destination)
        for store, name in reversed(f.sources(r)):
            store.unpin(name)

    def totals(self) -> dict[str, int]:
        """STORE_TOTALS."""
        found = {
            name: getattr(self, name) for name in ("fetches", "followed", "copies", "duplicates")
        }
        for name in ("read", "written", "evicted", "refused"):
            found[f"host_{name}"] = sum(getattr(host, name) for host in self.hosts)
            found[f"pool_{name}"] = getattr(self.pool, name)
        found["host_used"] = sum(len(host.kept) for host in self.hosts)
        return found | {"pool_used": len(self.pool.kept)}

    def check(self) -> None:
        """Blocks are conserved, and pinned as long as a fetch reads them."""
        pins: dict[tuple[int, int], int] = {}
        for r in self.sim.replicas:
            for f in r.fetching:
                for store, name in f.sources(r):
                    pins[id(store), name] = pins.get((id(store), name), 0) + 1
        for store in [*self.hosts, self.pool]:
            assert len(store.kept) <= store.capacity
            assert store.written == store.evicted + store.lost + len(store.kept)
            for name, block in store.kept.items():
                assert block.pins == pins.pop((id(store), name), 0), f"block {name} is pinned"
        assert not pins, "a block is read that is not there"


def _depths(sim: Simulation) -> dict[int, int]:
    """The place of each block in the first prompt that has it."""
    depth: dict[int, int] = {}
    for q in sim.requests:
        for place, name in enumerate(q.ids):
            depth.setdefault(name, place)
    return depth
