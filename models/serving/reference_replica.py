"""One replica of the SimPy twin: its queue, its batch, and the iterations it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mltwin.sim.errors import KernelError

from .hooks import DRAINING, ENQUEUE, EVERY_ITERATION, ON_EVENT, REKEY, STARTING, STOPPED, UP
from .outcome import (
    ADMIT,
    CANCEL,
    FINISH,
    ITERATION,
    PREEMPT,
    QUEUE,
    REPLICA_STATE,
    TRANSFER_START,
)
from .reference_clock import (
    CONTROL,
    HAND_OVER,
    ITERATION_END,
    ITERATION_START,
    READY,
    Timer,
    entity,
)
from .reference_memory import Memory
from .reference_request import Request
from .tables import (
    ARRIVED,
    CANCELLED,
    CHUNK,
    DECODE,
    DONE,
    FULL,
    PREFILL,
    SWAP,
    SWAPPED,
    TRANSFER,
    WAITING,
)

if TYPE_CHECKING:
    from .reference import Simulation


@dataclass
class Iteration:
    """What runs: the decoding requests in it and the chunks of prefills."""

    decodes: list[Request]
    chunks: list[tuple[Request, int]]
    context: int
    ticks: int

    @property
    def tokens(self) -> int:
        return len(self.decodes) + sum(chunk for _, chunk in self.chunks)


@dataclass
class Counts:
    """The replica's columns of the outcome that completed iterations add to."""

    iterations: int = 0
    prefill_tokens: int = 0
    decode_tokens: int = 0
    busy_prefill: int = 0
    busy_decode: int = 0
    sequences: int = 0
    contexts: int = 0
    preemptions: int = 0


@dataclass(eq=False)
class Replica:
    """State of a replica, and the rules of the module docstring that concern it alone."""

    simulation: Simulation
    index: int
    queue: list[Request] = field(default_factory=list)  # WAITING, SWAPPED, REMOTE
    prefilling: list[Request] = field(default_factory=list)  # in order of admission
    decoding: list[Request] = field(default_factory=list)
    arrived: list[Request] = field(default_factory=list)  # to join at the next plan
    inbound: list[Request] = field(default_factory=list)  # KV on its way to here
    outbound: list[Request] = field(default_factory=list)  # KV here, decoded elsewhere
    coming: list[tuple[int, Request]] = field(default_factory=list)  # hand-overs and when
    leaving: list[Request] = field(default_factory=list)  # cancelled in the batch
    assigned: set[Request] = field(default_factory=set)
    running: Iteration | None = None
    news: bool = False  # for priorities that are recomputed on events
    since_prefill: int = 0  # decode iterations since the count was last reset
    swapped_blocks: int = 0  # on the host
    counts: Counts = field(default_factory=Counts)
    up_ticks: int = 0
    since: int = 0  # when up_ticks was last brought up to date

    def __post_init__(self) -> None:
        sim, index = self.simulation, self.index
        inp, clock = sim.inp, sim.clock
        self.kind = inp.kinds[int(inp.kind_of[index])]
        assert inp.role_of is not None and inp.pool_of is not None
        assert inp.nic_of is not None and inp.up is not None
        self.role, self.pool = int(inp.role_of[index]), int(inp.pool_of[index])
        self.nic = int(inp.nic_of[index])  # which it shares with its neighbours
        self.state = UP if inp.up[index] else STOPPED
        self.memory = Memory(
            self.kind.blocks, lambda request, block: sim.policies.evict(request, block, index)
        )
        self.end = Timer(clock, ITERATION_END, index, self.end_iteration)
        self.start = Timer(clock, ITERATION_START, index, self.plan)
        self.ready = Timer(
            clock, CONTROL, entity(READY, index), lambda: sim.control.become_up(self)
        )
        self.hand_over = Timer(clock, HAND_OVER, index, lambda: sim.hand_over_arrives(self))

    def can(self, role: int) -> bool:
        """Whether it is up and has a role."""
        return self.state == UP and bool(self.role & role)

    def blocks_of(self, tokens: int) -> int:
        return -(-tokens // self.simulation.inp.block_tokens)

    def wake(self) -> None:
        """An idle replica plans at this instant."""
        if self.state in (UP, DRAINING) and self.running is None:
            self.start.set(self.simulation.clock.now)

    def set_state(self, state: int) -> None:
        self.count_up()
        self.state = state
        self.simulation.log(REPLICA_STATE, self.index, state)

    def count_up(self) -> None:
        """Brings `up_ticks` up to date."""
        last = self.simulation.clock.last
        if self.state in (STARTING, UP, DRAINING):
            self.up_ticks += last - self.since
        self.since = last

    def set_hand_over(self) -> None:
        """Sets the timer to the first of the hand-overs on their way."""
        if self.coming:
            self.hand_over.set(self.coming[0][0])
        else:
            self.hand_over.clear()

    def reset(self) -> None:
        """A failure: all that was here is gone (the queue has been emptied already)."""
        for timer in (self.end, self.start, self.ready):
            timer.clear()
        self.memory.clear()
        for place in (self.prefilling, self.decoding, self.arrived, self.outbound, self.leaving):
            place.clear()
        self.running, self.news, self.since_prefill = None, False, 0

    # the queue

    def enqueue(self, q: Request, state: int) -> None:
        """A request joins the queue as WAITING or REMOTE."""
        q.key = self.simulation.policies.priority(q, self, ENQUEUE)
        self.simulation.log(QUEUE, q.id, self.index)
        self._wait(q, state)
        self.wake()

    def leave_queue(self, q: Request) -> None:
        self.queue.remove(q)
        if q.state == SWAPPED:
            self.swapped_blocks -= self.blocks_of(q.kv)

    def _wait(self, q: Request, state: int) -> None:
        self.simulation.move(q, state)
        self.queue.append(q)
        self.news = True

    # plan

    def plan(self) -> None:
        """Forms the next iteration and starts it, if there is anything to run."""
        assert self.running is None
        self._join_arrived()
        self._rekey()
        chunks: list[tuple[Request, int]] = []
        self.copied = 0  # tokens swapped in or out by this plan
        if self.kind.mixed:
            preempted = self._make_room(chunks)
            if not (preempted and (self.decoding or self.prefilling)):
                self._admit(chunks)
            self._run(list(self.decoding), chunks)
        else:
            if self._may_prefill():
                self._admit(chunks)
            while not chunks and self._make_room(chunks) and not self.decoding:
                self._admit(chunks)
                if not self.decoding:
                    break
            self._run([] if chunks else list(self.decoding), chunks)

    def _join_arrived(self) -> None:
        for q in self.arrived:
            if q.state == ARRIVED:
                self.memory.share(q.id, q.ids, q.need // self.simulation.inp.block_tokens)
                self._decode_here(q)
            else:  # cancelled meanwhile
                self.memory.release(q.id)
        self.arrived.clear()

    def _decode_here(self, q: Request) -> None:
        self.simulation.move(q, DECODE)
        self.decoding.append(q)
        self.news = True

    def _rekey(self) -> None:
        stability = self.simulation.inp.stability
        if stability == EVERY_ITERATION or (stability == ON_EVENT and self.news):
            for q in sorted(self.queue, key=lambda q: (q.key, q.id)):
                q.key = self.simulation.policies.priority(q, self, REKEY)
        self.news = False

    def _may_prefill(self) -> bool:
        """Whether a split engine looks at its queue."""
        if self.decoding and self.kind.static:
            return False
        if self.decoding and self.kind.wait_iterations:
            if not self.queue or self.since_prefill < self.kind.wait_iterations:
                return False
            self.since_prefill = 0
        return True

    def _make_room(self, chunks: list[tuple[Request, int]]) -> bool:
        """Takes the blocks of the decoding requests and the partial prefill, which gets its chunk.

        Returns whether something had to be pre-empted for it.
        """
        preempted = False
        while True:
            # a request holds the blocks of all its tokens, so this one's last block is full
            growing = [
                q
                for q in self.decoding
                if self.memory.held(q.id) * self.simulation.inp.block_tokens == q.kv
            ]
            wanted = [(q, 1) for q in growing]
            chunk = 0
            for q in self.prefilling:  # the partial one, if any
                chunk = max(0, min(q.need - q.kv, self.kind.max_tokens - len(self.decoding)))
                more = self.blocks_of(q.kv + chunk) - self.memory.held(q.id)
                wanted.append((q, max(0, more)))
            if sum(n for _, n in wanted) <= self.memory.available:
                break
            self._preempt()
            preempted = True
        for q, n in wanted:
            self.memory.take(q.id, n)
        if chunk:
            chunks.append((self.prefilling[0], chunk))
        return preempted

    def _preempt(self) -> None:
        """Sends the running request with the largest score back to the queue."""
        scores = {
            q: (self.simulation.policies.preempt(q, self), q.id)
            for q in sorted(self.decoding + self.prefilling, key=lambda q: q.id)
        }
        q = max(scores, key=scores.__getitem__)
        blocks = self.blocks_of(q.kv)
        swap = (
            self.kind.preemption == SWAP
            and q.state == DECODE
            and self.swapped_blocks + blocks <= self.kind.host_blocks
        )
        self.leave_batch(q)
        self.memory.release(q.id)
        if swap:
            self.swapped_blocks += blocks
            self.copied += q.kv
        else:
            q.kv, q.need = 0, q.prompt + q.generated
        q.preempted += 1
        q.attempts += 1
        self.counts.preemptions += 1
        self.simulation.log(PREEMPT, q.id, self.index)
        self._wait(q, SWAPPED if swap else WAITING)

    def leave_batch(self, q: Request) -> None:
        (self.decoding if q.state == DECODE else self.prefilling).remove(q)

    # admission from the head of the queue

    def _admit(self, chunks: list[tuple[Request, int]]) -> None:
        while self.queue:
            new = sum(q.kv + chunk == q.need for q, chunk in chunks)
            scheduled = sum(chunk for _, chunk in chunks)
            if self.kind.mixed:
                scheduled += len(self.decoding)
            budget = self.kind.max_tokens - scheduled
            if len(self.decoding) + new + len(self.inbound) >= self.kind.max_batch or budget <= 0:
                return
            head = min(self.queue, key=lambda q: (q.key, q.id))
            available = self.memory.available
            if self.memory.holdings:
                available -= self.kind.watermark
            if head.state == WAITING:
                fits = self._admit_waiting(head, available, budget, scheduled, chunks)
            elif head.state == SWAPPED:
                fits = self._admit_swapped(head, available)
            else:
                fits = self._admit_remote(head, available)
            if not fits:
                return

    def _hit(self, q: Request) -> list[int]:
        """The ids of its leading blocks that are resident here."""
        depth = self.simulation.depth_of_hits(q)
        return q.ids[: self.memory.hits(q.ids, depth)]

    def _admit_waiting(
        self,
        q: Request,
        available: int,
        budget: int,
        scheduled: int,
        chunks: list[tuple[Request, int]],
    ) -> bool:
        sim, kind = self.simulation, self.kind
        hit = self._hit(q)
        cached = len(hit) * sim.inp.block_tokens
        chunk = q.need - cached
        if kind.chunked:
            chunk = min(chunk, budget)
        elif chunk > budget and scheduled > 0:
            return False
        reserved = q.need
        if kind.reserve == CHUNK:
            reserved = cached + chunk
        elif kind.reserve == FULL:
            reserved = q.prompt + q.output
        n = self.blocks_of(reserved) - len(hit)
        if n > available - self.memory.unreferenced(hit):
            return False
        if kind.peak and not self._peak_fits(q):
            return False
        self.queue.remove(q)
        self.memory.admit(q.id, hit, n)
        q.kv = q.cached = cached
        sim.hit_tokens += cached
        if q.scheduled < 0:
            q.scheduled = sim.clock.now
            sim.tenants[q.tenant].prompt_served += q.prompt
        sim.log(ADMIT, q.id, self.index)
        sim.move(q, PREFILL)
        self.prefilling.append(q)
        chunks.append((q, chunk))
        return True

    def _peak_fits(self, candidate: Request) -> bool:
        """Whether the largest future token use of the batch with the candidate fits in memory.

        LightLLM: a request holds `used` tokens and makes `left` more; just before the k-th from
        the longest-lived ends, those k hold their `used` and k * its `left` more.
        """
        uses = sorted(
            (
                (max(1, q.predicted - q.generated), q.kv if q.state == DECODE else q.need)
                for q in [*self.decoding, *self.prefilling, candidate]
            ),
            reverse=True,
        )
        peak = used = 0
        for k, (left, tokens) in enumerate(uses, start=1):
            used += tokens
            peak = max(peak, used + k * left)
        block_tokens = self.simulation.inp.block_tokens
        waste = len(uses) * (block_tokens - 1)  # at most, in last blocks that are not full
        return len(uses) == 1 or peak + waste <= self.memory.blocks * block_tokens

    def _admit_swapped(self, q: Request, available: int) -> bool:
        if q.kv // self.simulation.inp.block_tokens + 1 > available:
            return False
        self.leave_queue(q)
        self.memory.admit(q.id, [], self.blocks_of(q.kv + 1 if self.kind.mixed else q.kv))
        self.copied += q.kv
        self.simulation.log(ADMIT, q.id, self.index)
        self._decode_here(q)
        return True

    def _admit_remote(self, q: Request, available: int) -> bool:
        hit = self._hit(q)
        block_tokens = self.simulation.inp.block_tokens
        held = self.blocks_of(q.prompt + q.output if self.kind.reserve == FULL else q.need)
        wanted = max(held, self.blocks_of(q.need + 1)) - len(hit)
        if wanted > available - self.memory.unreferenced(hit):
            return False
        self.queue.remove(q)
        self.memory.admit(q.id, hit, held - len(hit))
        q.cached = len(hit) * block_tokens
        self.simulation.move(q, TRANSFER)
        self.inbound.append(q)
        self.simulation.log(TRANSFER_START, q.id, self.index)
        self.simulation.start_transfer(q, q.need - len(hit) * block_tokens)
        return True

    # iterations

    def _run(self, decodes: list[Request], chunks: list[tuple[Request, int]]) -> None:
        sim, kind = self.simulation, self.kind
        self.memory.note_peak()
        if not decodes and not chunks:
            if self.state == DRAINING and not self.assigned and not self.outbound:
                self.set_state(STOPPED)
                self.memory.clear()
            return
        context = sum(q.kv + 1 for q in decodes)
        work = sum(chunk * q.kv + chunk * (chunk + 1) // 2 for q, chunk in chunks)
        self.running = ran = Iteration(decodes, chunks, context, 0)
        sequences = len(decodes) + len(chunks)
        ran.ticks = kind.cells.evaluate(ran.tokens, context, sequences, work)
        ran.ticks += self.copied * kind.swap_ticks
        if ran.ticks < 1:
            raise KernelError(f"replica {self.index}: an iteration takes {ran.ticks} ticks")
        self.since_prefill = 0 if chunks else self.since_prefill + 1
        if not sim.inp.skip:
            sim.log(ITERATION, self.index, ran.tokens)
        self.end.set(sim.clock.now + ran.ticks)

    def end_iteration(self) -> None:
        """Commits the iteration that ran and plans the next."""
        ran, self.running = self.running, None
        assert ran is not None
        self._count(ran)
        for q in ran.decodes:
            q.kv += 1
            self.simulation.make_token(q, self)
        for q in sorted(ran.decodes, key=lambda q: q.id):
            if q.generated == q.output:
                self._finish(q)
        for q, chunk in ran.chunks:
            q.kv += chunk
            if q.kv == q.need:
                self._end_prefill(q)
        for q in self.leaving:
            if q.state in (PREFILL, DECODE):
                self.leave_batch(q)
                self.memory.release(q.id)
                self.simulation.end(q, CANCELLED, CANCEL, q.state)
        self.leaving.clear()
        self.plan()

    def _count(self, ran: Iteration) -> None:
        counts = self.counts
        counts.iterations += 1
        counts.decode_tokens += len(ran.decodes)
        counts.prefill_tokens += ran.tokens - len(ran.decodes)
        counts.sequences += len(ran.decodes) + len(ran.chunks)
        counts.contexts += ran.context
        if ran.chunks:
            counts.busy_prefill += ran.ticks
        else:
            counts.busy_decode += ran.ticks

    def _end_prefill(self, q: Request) -> None:
        self.simulation.make_token(q, self)
        q.prefill_replica = self.index
        self.memory.share(q.id, q.ids, q.need // self.simulation.inp.block_tokens)
        if q.generated == q.output:
            self._finish(q)
            return
        self.prefilling.remove(q)
        destination = self.simulation.place(q, self)
        if destination is self:
            self._decode_here(q)
        else:
            self.simulation.start_hand_over(q, self, destination)

    def _finish(self, q: Request) -> None:
        tokens = q.prompt + q.output - 1
        self.memory.share(q.id, q.ids, tokens // self.simulation.inp.block_tokens)
        self.leave_batch(q)
        self.memory.release(q.id)
        self.news = True
        self.simulation.end(q, DONE, FINISH, self.index)
