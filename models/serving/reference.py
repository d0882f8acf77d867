"""The SimPy twin of the serving kernel: the same rules, written to be read.

Every iteration is an event, every list is a list, every sum is added up anew, and the network is
solved whole at each change. It is to equal the kernel bit for bit, and shares nothing with it but
the input and the outcome. This file holds what happens between replicas; `reference_replica` what
one replica does, `reference_memory` its blocks, `reference_network` the flows,
`reference_policies` the hooks, `reference_clock` the order of events, `reference_checks` what is
conserved.

What the rules leave open is settled so: the run ends with the event that ends the last request, or
when nothing is pending but snapshots.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from mltwin.sim.records import record

from . import outcome
from .hooks import (
    DECODE_ROLE,
    PREFILL_ROLE,
)
from .outcome import (
    FETCH_COLUMNS,
    GAP_BINS,
    REPLICA_COLUMNS,
    REQUEST_COLUMNS,
    TOTALS,
    Outcome,
    gap_bin,
)
from .reference_checks import check_conservation
from .reference_clock import ARRIVAL, CANCELLATION, Clock, Timer
from .reference_control import Control
from .reference_network import Network
from .reference_policies import Policies
from .reference_replica import Replica
from .reference_request import QUEUED, RUNNING, Request, requests_of
from .reference_stores import Stores
from .tables import (
    ARRIVED,
    CANCELLED,
    DECODE,
    DONE,
    FETCHING,
    HANDOVER,
    PARKED,
    PREFILL,
    REFUSED,
    REMOTE,
    TRANSFER,
    WAITING,
    ServingInput,
    column,
)

LOG_ROW = record("LogRow", [("time", "i8"), ("kind", "i8"), ("entity", "i8"), ("value", "i8")])


def simulate(
    inp: ServingInput,
    policies: Mapping[str, Callable],
    *,
    check: bool = True,
    log: bool = True,
) -> Outcome:
    """Runs a scenario to its end.

    Args:
        inp: what the kernel starts from too.
        policies: plain Python functions by hook; for a missing one: accept, the first replica that
            can, decode at the source, first come first served, the largest key, least recently
            released, no scaling.
        check: hold conservation of blocks, requests, tokens and bytes after every event.
        log: keep the event log; iterations are in it if `inp.skip` is off.

    Raises:
        KernelError: a policy answered nonsense, or the run is stuck.
        AssertionError: something was not conserved (check).
    """
    simulation = Simulation(inp, policies, checked=check, logged=log)
    simulation.run()
    return simulation.outcome()


@dataclass
class Tenant:
    """The public counters of a tenant, under the names of `TENANT`."""

    weight: float
    prompt_served: int = 0
    output_served: int = 0
    arrived: int = 0
    waiting: int = 0
    running: int = 0


class Simulation:
    """All replicas, the requests between them, and what is counted."""

    def __init__(
        self, inp: ServingInput, policies: Mapping[str, Callable], *, checked: bool, logged: bool
    ) -> None:
        self.inp = inp
        self.clock = Clock((lambda: check_conservation(self)) if checked else None)
        self.rows: list[tuple[int, int, int, int]] | None = [] if logged else None
        self.tenants = [Tenant(float(w)) for w in inp.tenant_weights]
        self.requests = requests_of(inp)
        self.present: dict[int, Request] = {}  # arrived and not over
        self.left = len(self.requests)  # not over
        self.parked: list[Request] = []
        self.gaps = np.zeros(GAP_BINS, np.int64)
        self.hit_tokens = self.started_flows = 0
        self.policies = Policies(self, policies)
        self.stores = Stores(self) if inp.stores else None
        self.replicas = [Replica(self, r) for r in range(len(inp.kind_of))]
        self.network = Network(self.clock, inp, self._transfer_ends)
        self.control = Control(self)
        self._set_arrivals()

    def _set_arrivals(self) -> None:
        inp, n = self.inp, len(self.requests)
        self.arrivals = [
            Timer(self.clock, ARRIVAL, q.id, partial(self._arrive, q)) for q in self.requests
        ]
        self.timeouts = [
            Timer(self.clock, CANCELLATION, q.id, partial(self._cancel, q)) for q in self.requests
        ]
        after = column(inp.after, n, -1, np.int32)
        self.delays = column(inp.delay, n, 0, np.int64)
        self.front = [int(v) for v in column(inp.front, n, 0, np.int64)]
        self.followers: dict[int, list[int]] = {}
        self.next_closed = min(inp.concurrency, n)
        for q in self.requests:
            if inp.concurrency:
                if q.id < inp.concurrency:
                    self.arrivals[q.id].set(self.front[q.id])
            elif after[q.id] >= 0:
                self.followers.setdefault(int(after[q.id]), []).append(q.id)
            else:
                self.arrivals[q.id].set(q.arrival + self.front[q.id])

    def run(self) -> None:
        """To the end of the last request, or until nothing is pending."""
        self.clock.run(lambda: self.left > 0)
        for r in self.replicas:
            r.count_up()

    def log(self, kind: int, entity: int, value: int) -> None:
        if self.rows is not None:
            self.rows.append((self.clock.now, kind, entity, value))

    # a request's way

    def move(self, q: Request, state: int) -> None:
        """Changes where a request is, and its tenant's counters with it."""
        tenant = self.tenants[q.tenant]
        tenant.waiting += (state in QUEUED) - (q.state in QUEUED)
        tenant.running += (state in RUNNING) - (q.state in RUNNING)
        q.state = state

    def depth_of_hits(self, q: Request) -> int:
        """Most leading blocks that a request may find in a prefix cache."""
        return (q.need - 1) // self.inp.block_tokens if self.inp.prefix_caching else 0

    def _arrive(self, q: Request) -> None:
        q.arrival = self.clock.now
        self.present[q.id] = q
        self.tenants[q.tenant].arrived += 1
        self.log(outcome.ARRIVE, q.id, q.tenant)
        if q.timeout:
            self.timeouts[q.id].set(q.arrival + q.timeout)
        if self.policies.admit(q):
            self.route(q)
        else:
            self.end(q, REFUSED, outcome.REFUSE, outcome.BY_POLICY)

    def route(self, q: Request) -> None:
        if not any(r.can(PREFILL_ROLE) for r in self.replicas):
            self.move(q, PARKED)
            self.parked.append(q)
            self.log(outcome.PARK, q.id, 0)
            return
        r = self.policies.route(q)
        over = r.kind.refuse_over_budget and q.prompt > r.kind.max_tokens
        if over or r.blocks_of(q.prompt + q.output + 1) > r.memory.blocks:
            self.end(q, REFUSED, outcome.REFUSE, outcome.TOO_LONG)
            return
        self.assign(q, r)
        r.enqueue(q, WAITING)

    def route_parked(self) -> None:
        if any(r.can(PREFILL_ROLE) for r in self.replicas):
            parked, self.parked = self.parked, []
            for q in parked:
                self.route(q)

    def assign(self, q: Request, r: Replica | None) -> None:
        if q.replica is not None:
            q.replica.assigned.remove(q)
        q.replica = r
        if r is not None:
            r.assigned.add(q)
            q.last_replica = r.index

    def make_token(self, q: Request, at: Replica) -> None:
        """A request gains an output token now."""
        now = self.clock.now
        q.generated += 1
        self.tenants[q.tenant].output_served += 1
        if q.generated == 1:
            q.first = now
            self.log(outcome.FIRST, q.id, at.index)
        else:
            self.gaps[gap_bin(now - q.last_token)] += 1
        q.last_token = now

    def end(self, q: Request, state: int, kind: int, value: int) -> None:
        """A request is over, which may let others arrive."""
        now = self.clock.now
        self.log(kind, q.id, value)
        self.move(q, state)
        self.assign(q, None)
        q.finish = now
        self.timeouts[q.id].clear()
        del self.present[q.id]
        self.left -= 1
        if self.inp.concurrency and self.next_closed < len(self.requests):
            self._send(self.next_closed, self.inp.think)
            self.next_closed += 1
        for follower in self.followers.get(q.id, ()):
            self._send(follower, int(self.delays[follower]))

    def _send(self, i: int, pause: int) -> None:
        """A client sends request i after a pause of at least a tick; it arrives later still."""
        self.arrivals[i].set(self.clock.now + max(1, pause) + self.front[i])

    def _cancel(self, q: Request) -> None:
        """The client gives up: at once where the request waits, else at the next occasion."""
        r, source = q.replica, q.source
        if q.state in (PREFILL, DECODE):
            q.leaving = True
            assert r is not None
            r.leaving.append(q)
        elif q.state in (HANDOVER, TRANSFER, FETCHING):
            q.leaving = True
        else:
            if q.state == PARKED:
                self.parked.remove(q)
            elif q.state in QUEUED:
                assert r is not None
                r.leave_queue(q)
                r.wake()
            if source is not None:
                self.leave_source(q)
            self.end(q, CANCELLED, outcome.CANCEL, q.state)

    # from replica to replica

    def place(self, q: Request, source: Replica) -> Replica:
        """Where a request is decoded whose prefill is complete."""
        if not any(r.can(DECODE_ROLE) for r in self.replicas if r is not source):
            return source
        r = self.policies.place_decode(q, source)
        fits = r.blocks_of(q.prompt + q.output + 1) <= r.memory.blocks
        return r if fits else source

    def start_hand_over(self, q: Request, source: Replica, destination: Replica) -> None:
        now = self.clock.now
        self.move(q, HANDOVER)
        self.assign(q, destination)
        q.source, q.handed_over = source, now
        source.outbound.append(q)
        destination.coming.append((now + max(1, self.inp.latency), q))
        destination.set_hand_over()
        self.log(outcome.HAND_OVER, q.id, destination.index)

    def hand_over_arrives(self, r: Replica) -> None:
        """The first of the requests on their way to r is there."""
        _, q = r.coming.pop(0)
        r.set_hand_over()
        if q.leaving:
            self.leave_source(q)
            self.end(q, CANCELLED, outcome.CANCEL, HANDOVER)
        else:
            r.enqueue(q, REMOTE)
        r.wake()

    def leave_source(self, q: Request) -> None:
        """A request's KV at its source is given up."""
        source, q.source = q.source, None
        assert source is not None
        source.outbound.remove(q)
        source.memory.release(q.id)
        source.wake()

    def start_transfer(self, q: Request, tokens: int) -> None:
        """The KV of so many tokens sets out from a request's source to its replica."""
        assert q.source is not None and q.replica is not None
        units = tokens * self.inp.kv_bytes_per_token << self.inp.unit_shift()
        self.started_flows += 1
        self.network.start(q, q.source.nic, q.replica.nic, units)

    def _transfer_ends(self, q: Request) -> None:
        if q.state == FETCHING:
            assert self.stores is not None
            self.stores.part_ended(q)
            return
        r = q.replica
        assert r is not None
        self.log(outcome.TRANSFER_END, q.id, r.index)
        q.transfer += self.clock.now - q.handed_over
        self.leave_source(q)
        r.inbound.remove(q)
        r.arrived.append(q)
        if q.leaving:
            self.end(q, CANCELLED, outcome.CANCEL, TRANSFER)
        else:
            self.move(q, ARRIVED)
        r.wake()

    # what is left

    def outcome(self) -> Outcome:
        """The columns of a run that has ended."""
        own = {"replica": "last_replica"}
        requests = {
            name: np.array([getattr(q, own.get(name, name)) for q in self.requests], np.int64)
            for name in (*REQUEST_COLUMNS, *(FETCH_COLUMNS if self.stores else ()))
        }
        replicas = {
            name: np.array([self._replica_column(r, name) for r in self.replicas], np.int64)
            for name in REPLICA_COLUMNS
        }
        ended = [q.state for q in self.requests]
        totals = {
            "hit_tokens": self.hit_tokens,
            "evictions": sum(r.memory.evictions for r in self.replicas),
            "flows": self.started_flows,
            "refused": ended.count(REFUSED),
            "cancelled": ended.count(CANCELLED),
            "done": ended.count(DONE),
            "end": self.clock.last,
        }
        assert set(totals) == set(TOTALS)
        log = None if self.rows is None else np.array(self.rows, LOG_ROW).view(np.recarray)
        stores = self.stores.totals() if self.stores else {}
        fabric = np.array(self.network.moved[2 * self.network.nics :], np.int64)
        return Outcome(requests, replicas, totals, self.gaps, log, stores=stores, fabric=fabric)

    @staticmethod
    def _replica_column(r: Replica, name: str) -> int:
        if name == "peak_blocks":
            return r.memory.peak
        return int(getattr(r if name == "up_ticks" else r.counts, name))
