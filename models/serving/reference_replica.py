"""One replica of the SimPy twin: its queue, its batch, and the iterations it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mltwin.sim.errors import KernelError
from mltwin.sim.ticks import NEVER

from .hooks import DRAINING, ENQUEUE, EVERY_ITERATION, ON_EVENT, REKEY, STARTING, STOPPED, UP
from .outcome import (
    CANCEL,
    FINISH,
    ITERATION,
    PREEMPT,
    QUEUE,
    REPLICA_STATE,
)
from .reference_admission import admit
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
from .reference_request import Request, name_blocks
from .tables import (
    ARRIVED,
    CANCELLED,
    DECODE,
    DONE,
    PREFILL,
    SWAP,
    SWAPPED,
    WAITING,
)

if TYPE_CHECKING:
    from .reference import Simulation
    from .reference_stores import Fetch


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


@dataclass(frozen=True)
class Late:
    """What came too late for the plan that is made: an asynchronous engine made it before that."""

    since: int = NEVER  # requests queued after this tick
    blocks: int = 0  # given back by the iteration that just ended
    slots: int = 0  # in the batch


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
    fetching: list[Fetch] = field(default_factory=list)  # out of the queue for the stores
    assigned: set[Request] = field(default_factory=set)
    running: Iteration | None = None
    news: bool = False  # for priorities that are recomputed on events
    since_prefill: int = 0  # decode iterations since the count was last reset
    waited: int = 0  # iterations for which prompts have been held back
    late: Late = field(default_factory=Late)
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
            self.kind.blocks,
            lambda request, block: sim.policies.evict(request, block, self),
            lambda: sim.clock.now,
            lambda name: sim.stores.evicted(index, name) if sim.stores else None,
            lambda names: sim.stores.completed(index, names) if sim.stores else None,
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
        self._forget_memory()
        for place in (self.prefilling, self.decoding, self.arrived, self.outbound, self.leaving):
            place.clear()
        self.running, self.news, self.since_prefill, self.waited = None, False, 0, 0

    def _forget_memory(self) -> None:
        """The KV here is lost, in the host tier too."""
        self.memory.clear()
        if self.simulation.stores:
            self.simulation.stores.hosts[self.index].clear()

    # the queue

    def enqueue(self, q: Request, state: int) -> None:
        """A request joins the queue as WAITING or REMOTE."""
        q.key = self.simulation.policies.priority(q, self, ENQUEUE)
        self.simulation.log(QUEUE, q.id, self.index)
        self.wait(q, state)
        self.wake()

    def leave_queue(self, q: Request) -> None:
        self.queue.remove(q)
        if q.state == SWAPPED:
            self.swapped_blocks -= self.blocks_of(q.kv)
        self._tell_blocks(q)

    def wait(self, q: Request, state: int) -> None:
        """A request stands in the queue from now on."""
        self.simulation.move(q, state)
        q.queued = self.simulation.clock.now
        self.queue.append(q)
        self.news = True
        self._tell_blocks(q)

    def _tell_blocks(self, q: Request) -> None:
        """A request has joined or left the queue: the blocks that it wants are scored anew."""
        if self.simulation.policies.counts_wanted:
            self.memory.score_again(q.id, self.simulation.policies.prefix_wanted(q))

    # plan

    def plan(self) -> None:
        """Forms the next iteration and starts it, if there is anything to run."""
        assert self.running is None
        self._join_arrived()
        self._rekey()
        chunks: list[tuple[Request, int]] = []
        self.copied = 0  # tokens swapped in or out by this plan
        self._form(chunks)
        if not self.decoding and not chunks and self.late != Late():
            self.late = Late()  # nothing to run: the engine looks again, at all there is now
            self._form(chunks)
        self.late = Late()
        decodes = self.kind.mixed or not chunks
        self._run(list(self.decoding) if decodes else [], chunks)

    def _form(self, chunks: list[tuple[Request, int]]) -> None:
        """Who runs in the next iteration: prefills into `chunks`, and all who decode."""
        if self.kind.mixed:
            preempted = self._make_room(chunks)
            if not (preempted and (self.decoding or self.prefilling)):
                admit(self, chunks)
            return
        if self._may_prefill():
            admit(self, chunks)
        while not chunks and self._make_room(chunks) and not self.decoding:
            admit(self, chunks)
            if not self.decoding:
                break

    def _join_arrived(self) -> None:
        for q in self.arrived:
            if q.state == ARRIVED:
                self.memory.share(q.id, q.ids, q.need // self.simulation.inp.block_tokens)
                self.decode_here(q)
            else:  # cancelled meanwhile
                self.memory.release(q.id)
        self.arrived.clear()

    def decode_here(self, q: Request) -> None:
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
            if sum(n for _, n in wanted) <= self.memory.available - self.late.blocks:
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
        if self.kind.keep_preempted and self.simulation.inp.prefix_caching and not swap:
            block_tokens = self.simulation.inp.block_tokens
            name_blocks(q, block_tokens)
            self.memory.share(q.id, q.ids, q.kv // block_tokens)
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
        self.wait(q, SWAPPED if swap else WAITING)

    def leave_batch(self, q: Request) -> None:
        (self.decoding if q.state == DECODE else self.prefilling).remove(q)

    # iterations

    def _run(self, decodes: list[Request], chunks: list[tuple[Request, int]]) -> None:
        sim, kind = self.simulation, self.kind
        self.memory.note_peak()
        if not decodes and not chunks:
            if self.state == DRAINING and not self.assigned and not self.outbound:
                self.set_state(STOPPED)
                self._forget_memory()
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
        available, batch = self.memory.available, len(self.decoding) + len(self.prefilling)
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
        if self.kind.asynchronous:
            self.late = Late(
                self.simulation.clock.now - ran.ticks,
                self.memory.available - available,
                batch - len(self.decoding) - len(self.prefilling),
            )
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
            self.decode_here(q)
        else:
            self.simulation.start_hand_over(q, self, destination)

    def _finish(self, q: Request) -> None:
        tokens = q.prompt + q.output - 1
        self.memory.share(q.id, q.ids, tokens // self.simulation.inp.block_tokens)
        self.leave_batch(q)
        self.memory.release(q.id)
        if self.simulation.stores:
            self.simulation.stores.count_duplicates()
        self.news = True
        self.simulation.end(q, DONE, FINISH, self.index)
