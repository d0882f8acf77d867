"""Admission from the head of a replica's waiting queue, in the SimPy twin."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .outcome import ADMIT, TRANSFER_START
from .tables import CHUNK, DECODE, FULL, PREFILL, SWAPPED, TRANSFER, WAITING

if TYPE_CHECKING:
    from .reference_replica import Replica
    from .reference_request import Request


def admit(r: Replica, chunks: list[tuple[Request, int]]) -> None:
    """Admits requests while the head fits; what they prefill is added to `chunks`."""
    while r.queue:
        new = sum(q.kv + chunk == q.need for q, chunk in chunks)
        scheduled = sum(chunk for _, chunk in chunks)
        if r.kind.mixed:
            scheduled += len(r.decoding)
        budget = r.kind.max_tokens - scheduled
        batch = len(r.decoding) + new + len(r.inbound) + len(r.fetching) + r.late.slots
        if batch >= r.kind.max_batch or budget <= 0:
            return
        head = min(r.queue, key=lambda q: (q.key, q.id))
        if head.queued > r.late.since:
            return
        available = r.memory.available - r.late.blocks
        if r.memory.holdings:
            available -= r.kind.watermark
        if head.state == WAITING and r.simulation.stores:
            left = r.simulation.stores.fetch_first(r, head, available)
            if left:
                continue
            if left is None:
                return
        if head.state == WAITING:
            fits = _admit_waiting(r, head, available, budget, scheduled, chunks)
        elif head.state == SWAPPED:
            fits = _admit_swapped(r, head, available)
        else:
            fits = _admit_remote(r, head, available)
        if not fits:
            return


def _hit(r: Replica, q: Request) -> list[int]:
    """The ids of its leading blocks that are resident here."""
    depth = r.simulation.depth_of_hits(q)
    return q.ids[: r.memory.hits(q.ids, depth)]


def _admit_waiting(
    r: Replica,
    q: Request,
    available: int,
    budget: int,
    scheduled: int,
    chunks: list[tuple[Request, int]],
) -> bool:
    sim, kind = r.simulation, r.kind
    hit = _hit(r, q)
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
    n = r.blocks_of(reserved) - len(hit)
    must_fit = max(n, r.blocks_of(q.need) - len(hit)) if kind.whole_prompt else n
    if must_fit > available - r.memory.unreferenced(hit):
        return False
    if kind.peak and not _peak_fits(r, q):
        return False
    if kind.batch_wait_iterations and not chunks and _waits_for_more(r):
        return False
    r.memory.admit(q.id, hit)
    r.leave_queue(q)
    r.memory.take(q.id, n)
    q.kv = q.cached = cached
    q.tried = False
    sim.hit_tokens += cached
    if q.scheduled < 0:
        q.scheduled = sim.clock.now
        sim.tenants[q.tenant].prompt_served += q.prompt
    sim.log(ADMIT, q.id, r.index)
    sim.move(q, PREFILL)
    r.prefilling.append(q)
    chunks.append((q, chunk))
    return True


def _waits_for_more(r: Replica) -> bool:
    """Whether a prompt that fits is held back until others have come (TensorRT-LLM)."""
    tokens = len(r.decoding) + sum(q.need for q in r.queue)
    wait = (
        bool(r.decoding)
        and tokens < r.kind.batch_wait_tokens
        and r.waited < r.kind.batch_wait_iterations
    )
    r.waited = r.waited + 1 if wait else 0
    return wait


def _peak_fits(r: Replica, candidate: Request) -> bool:
    """Whether the largest future token use of the batch with the candidate fits in memory.

    LightLLM: a request holds `used` tokens and makes `left` more; just before the k-th from
    the longest-lived ends, those k hold their `used` and k * its `left` more.
    """
    uses = sorted(
        (
            (max(1, q.predicted - q.generated), q.kv if q.state == DECODE else q.need)
            for q in [*r.decoding, *r.prefilling, candidate]
        ),
        reverse=True,
    )
    peak = used = 0
    for k, (left, tokens) in enumerate(uses, start=1):
        used += tokens
        peak = max(peak, used + k * left)
    block_tokens = r.simulation.inp.block_tokens
    waste = len(uses) * (block_tokens - 1)  # at most, in last blocks that are not full
    return len(uses) == 1 or peak + waste <= r.memory.blocks * block_tokens


def _admit_swapped(r: Replica, q: Request, available: int) -> bool:
    if q.kv // r.simulation.inp.block_tokens + 1 > available:
        return False
    r.leave_queue(q)
    r.memory.admit(q.id, [])
    r.memory.take(q.id, r.blocks_of(q.kv + 1 if r.kind.mixed else q.kv))
    r.copied += q.kv
    r.simulation.log(ADMIT, q.id, r.index)
    r.decode_here(q)
    return True


def _admit_remote(r: Replica, q: Request, available: int) -> bool:
    hit = _hit(r, q)
    block_tokens = r.simulation.inp.block_tokens
    held = r.blocks_of(q.prompt + q.output if r.kind.reserve == FULL else q.need)
    wanted = max(held, r.blocks_of(q.need + 1)) - len(hit)
    if wanted > available - r.memory.unreferenced(hit):
        return False
    r.memory.admit(q.id, hit)
    r.leave_queue(q)
    r.memory.take(q.id, held - len(hit))
    q.cached = len(hit) * block_tokens
    r.simulation.move(q, TRANSFER)
    r.inbound.append(q)
    r.simulation.log(TRANSFER_START, q.id, r.index)
    r.simulation.start_transfer(q, q.need - len(hit) * block_tokens)
    return True
