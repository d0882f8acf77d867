"""The time of a step without executing its graph, for searches over thousands of plans.

It follows the same rules (streams in the order of issue, exchanges beside computation) as the
executed graph, unit by unit without a pipeline and chunk by chunk with one; where transfers do not
share links the two give the same tick.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from mltwin.sim.jit import kernel

from .step_schedule import stage_actions
from .step_work import Pieces, StepWork, span, stretched

Longs = npt.NDArray[np.int64]


class UnitSteps(NamedTuple):
    """All passes of units in a step without a pipeline, in order; arrays of int64[steps].

    Attributes:
        unit: which unit; ``what``: 0 forward, 1 backward; ``microbatch``.
        gather, reduce: ticks of the exchanges before and after it, 0 for none.
        variant: place in ``pieces``, which are as long as they are with those exchanges of the
            neighbours that run beside them.
    """

    unit: Longs
    what: Longs
    microbatch: Longs
    gather: Longs
    reduce: Longs
    variant: Longs
    pieces: list[Pieces]


def unit_steps(work: StepWork) -> UnitSteps:
    """The passes of a step (FSDP's: forward passes gather with zero 2 and 3, backward ones with
    zero 3, except for the unit whose weights are still there)."""
    plan, units = work.plan, work.chunks[0]
    n, m = len(units), plan.microbatches
    forth = np.arange(n)
    unit = np.tile(np.concatenate((forth, forth[::-1])), m)
    what = np.tile(np.repeat([0, 1], n), m)
    microbatch = np.repeat(np.arange(m), 2 * n)
    kept = (what == 1) & (unit == n - 1)
    gathers = ((what == 0) & (plan.zero >= 2)) | ((what == 1) & (plan.zero == 3) & ~kept)
    reduces = (what == 1) & (plan.reduce_every | (microbatch == m - 1))
    gather = np.array([u.gather for u in units], np.int64)[unit] * gathers
    reduce = np.array([u.reduce for u in units], np.int64)[unit] * reduces
    beside = np.zeros(2 * n * m, np.int64)
    if plan.overlap and work.slowdown != 1:
        ahead = min(plan.prefetch, len(beside))
        beside[: len(beside) - ahead] += gather[ahead:]
        beside[1:] += reduce[:-1]
    kinds = {id(u): u for u in units}
    place = {key: k for k, key in enumerate(kinds)}
    kind = np.array([place[id(u)] for u in units])[unit]
    keys, variant = np.unique(np.stack((kind, what, beside), axis=1), axis=0, return_inverse=True)
    listed = list(kinds.values())
    pieces = [
        _slowed(listed[k].backward if w else listed[k].forward, int(b), work.slowdown)
        for k, w, b in keys.tolist()
    ]
    return UnitSteps(unit, what, microbatch, gather, reduce, variant.reshape(-1), pieces)


def _slowed(pieces: Pieces, beside: int, slowdown: float) -> Pieces:
    """A pass while exchanges of ``beside`` ticks take multiprocessors from it."""
    computing = sum(p.ticks for p in pieces if p.computes)
    if not beside or not computing:
        return pieces
    together = min(beside, slowdown * computing)
    return stretched(pieces, 1 + together * (1 - 1 / slowdown) / computing)


def step_ticks(work: StepWork) -> int:
    """Ticks of a step."""
    ends = _without_pipeline(work) if work.plan.pp == 1 else _with_pipeline(work)
    return int(ends) + work.host


def _without_pipeline(work: StepWork) -> int:
    steps = unit_steps(work)
    compute = np.array([span(p) for p in steps.pieces], np.int64)[steps.variant]
    plan = work.plan
    end = _overlapped(compute, steps.gather, steps.reduce, plan.prefetch, plan.overlap)
    return int(end) + work.optimizer[0] + work.regather[0]


@kernel()
def _overlapped(compute: Longs, gather: Longs, reduce: Longs, prefetch: int, overlap: bool) -> int:
    """When the last pass and reduction have ended: a stream computes, one communicates."""
    n = len(compute)
    done = np.zeros(n + 1, np.int64)
    gathered = np.zeros(n, np.int64)
    wire = 0
    asked = 0
    for i in range(n):
        if not overlap:
            done[i + 1] = done[i] + gather[i] + compute[i] + reduce[i]
            continue
        while asked <= i + prefetch and asked < n:
            if gather[asked]:
                wire = max(wire, done[max(0, asked - prefetch)]) + gather[asked]
                gathered[asked] = wire
            asked += 1
        done[i + 1] = max(done[i], gathered[i]) + compute[i]
        if reduce[i]:
            wire = max(wire, done[i + 1]) + reduce[i]
    return max(wire, done[n])


def _with_pipeline(work: StepWork) -> int:
    plan = work.plan
    n = plan.chunks
    actions = _actions(plan.schedule, plan.pp, plan.microbatches, plan.interleave)
    spans = np.zeros((3, n), np.int64)
    known: dict[int, tuple[int, int, int]] = {}
    for c, units in enumerate(work.chunks):
        for unit in units:
            if id(unit) not in known:
                known[id(unit)] = (span(unit.forward), span(unit.backward), span(unit.weights))
        spans[:, c] = np.sum([known[id(unit)] for unit in units], axis=0)
    gather = np.array([chunk_gather(work, c) for c in range(n)], np.int64)
    reduce = np.array([chunk_reduce(work, c) for c in range(n)], np.int64)
    ends = _pipeline(actions, spans, gather, reduce, work.send, plan.microbatches)
    after = [o + r for o, r in zip(work.optimizer, work.regather, strict=True)]
    return int((ends + np.array(after)).max())


@lru_cache(maxsize=4096)
def _actions(schedule: str, stages: int, microbatches: int, interleave: int) -> Longs:
    """Actions of all stages, int64[p, n, 3]: what, chunk, micro-batch."""
    orders = [stage_actions(schedule, stages, microbatches, interleave, s) for s in range(stages)]
    rows = [[("FBW".index(a.what), a.chunk, a.microbatch) for a in order] for order in orders]
    return np.array(rows, np.int64)


def chunk_gather(work: StepWork, chunk: int) -> int:
    """Ticks of gathering a chunk's weights, once a step."""
    return sum(u.gather for u in work.chunks[chunk]) if work.plan.zero >= 2 else 0


def chunk_reduce(work: StepWork, chunk: int) -> int:
    """Ticks of reducing a chunk's gradients, once a step."""
    return sum(u.reduce for u in work.chunks[chunk])


@kernel()
def _pipeline(
    actions: Longs, spans: Longs, gather: Longs, reduce: Longs, send: int, microbatches: int
) -> Longs:
    """When each stage has computed and reduced everything, int64[p].

    ``actions`` is [p, n, 3]: what (0 F, 1 B, 2 W), chunk, micro-batch; ``spans`` [3, chunks].
    """
    stages, length = actions.shape[0], actions.shape[1]
    chunks = spans.shape[1]
    arrived = np.full((2, chunks, microbatches), -1, np.int64)
    arrived[0, 0, :] = 0
    arrived[1, chunks - 1, :] = 0
    clock = np.zeros(stages, np.int64)
    sent = np.zeros((2, stages), np.int64)
    place = np.zeros(stages, np.int64)
    gathered = np.zeros(chunks, np.int64)
    left = np.zeros(chunks, np.int64)
    wire = np.zeros(stages, np.int64)
    for s in range(stages):
        for i in range(length):
            c = actions[s, i, 1]
            if left[c] == 0 and gather[c]:
                wire[s] += gather[c]
                gathered[c] = wire[s]
            left[c] += 1
    remaining = stages * length
    while remaining:
        before = remaining
        for s in range(stages):
            while place[s] < length:
                what, c, m = actions[s, place[s]]
                if what < 2 and arrived[what, c, m] < 0:
                    break
                start = max(clock[s], gathered[c])
                if what < 2:
                    start = max(start, arrived[what, c, m])
                clock[s] = start + spans[what, c]
                if what == 0 and c + 1 < chunks:
                    sent[0, s] = max(sent[0, s], clock[s]) + send
                    arrived[0, c + 1, m] = sent[0, s]
                elif what == 1 and c > 0:
                    sent[1, s] = max(sent[1, s], clock[s]) + send
                    arrived[1, c - 1, m] = sent[1, s]
                left[c] -= 1
                if left[c] == 0 and reduce[c]:
                    wire[s] = max(wire[s], clock[s]) + reduce[c]
                place[s] += 1
                remaining -= 1
        if remaining == before:
            raise ValueError("the stages wait for each other")
    return np.maximum(clock, wire)
