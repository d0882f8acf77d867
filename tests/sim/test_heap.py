"""The heaps against the standard library's on random operations, ties included."""

import heapq

import numpy as np
import pytest

from mltwin.sim.heap import (
    heap_pop,
    heap_rank,
    heap_remove,
    heap_set,
    heap_slot,
    heap_time,
    make_pairs,
    make_timers,
    pairs_pop,
    pairs_push,
)
from mltwin.sim.jit import JIT_DISABLED, kernel
from mltwin.sim.ticks import NEVER
from mltwin.sim.world import World

OPERATIONS = 2_000 if JIT_DISABLED else 100_000
SET, POP, REMOVE = 0, 1, 2


@kernel()
def run_timers(S, operation, slot, time, rank, out):
    """Apply the operations; out gets (time, rank, slot) of the earliest timer after each."""
    for i in range(len(operation)):
        if operation[i] == SET:
            heap_set(S, slot[i], time[i], rank[i])
        elif operation[i] == REMOVE:
            heap_remove(S, slot[i])
        elif S.timer_count[0] > 0:
            heap_pop(S)
        out[i, 0] = heap_time(S)
        if S.timer_count[0] > 0:
            out[i, 1] = heap_rank(S)
            out[i, 2] = heap_slot(S)


class LazyTimers:
    """The same timers on heapq with deleted entries left in place."""

    def __init__(self):
        self.heap, self.current = [], {}

    def set(self, slot, time, rank):
        self.current[slot] = (time, rank, slot)
        heapq.heappush(self.heap, (time, rank, slot))

    def remove(self, slot):
        self.current.pop(slot, None)

    def pop(self):
        if self.current:
            self.current.pop(heapq.heappop(self.heap)[2])

    def top(self):
        while self.heap and self.current.get(self.heap[0][2]) != self.heap[0]:
            heapq.heappop(self.heap)
        return self.heap[0] if self.heap else (NEVER, 0, 0)


@pytest.mark.parametrize(
    ("slots", "times", "pops"), [(1, 5, 0.3), (7, 4, 0.3), (300, 50, 0.2), (300, 10**15, 0.45)]
)
def test_timers_equal_heapq(slots, times, pops):
    g = np.random.default_rng(slots + times)
    operation = g.choice(3, OPERATIONS, p=[0.9 - pops, pops, 0.1])
    slot = g.integers(0, slots, OPERATIONS).astype(np.int32)
    time = g.integers(-times, times, OPERATIONS)
    rank = g.integers(0, 4, OPERATIONS).astype(np.int32)
    out = np.zeros((OPERATIONS, 3), np.int64)
    world = World(**make_timers(slots))
    run_timers(world, operation, slot, time, rank, out)

    reference = LazyTimers()
    for i in range(OPERATIONS):
        if operation[i] == SET:
            reference.set(int(slot[i]), int(time[i]), int(rank[i]))
        elif operation[i] == REMOVE:
            reference.remove(int(slot[i]))
        else:
            reference.pop()
        assert tuple(out[i]) == reference.top(), i
    check_timers(world, reference.current)


def check_timers(world, current):
    """Positions and heap agree, parents precede children, and the running timers are current's."""
    count = world.timer_count[0]
    rows = world.timers[:count]
    keys = list(zip(rows.time.tolist(), rows.tie.tolist(), strict=True))
    assert all(keys[(i - 1) >> 2] < keys[i] for i in range(1, count))
    running = {tie & 0xFFFFFFFF: place for place, (_, tie) in enumerate(keys)}
    position = {s: p for s, p in enumerate(world.timer_pos.tolist()) if p >= 0}
    assert running == position
    assert {s: (t, tie >> 32, s) for (t, tie), s in zip(keys, running, strict=True)} == current


def test_order_is_time_then_rank_then_slot():
    world = World(**make_timers(4))
    out = np.zeros((8, 3), np.int64)
    run_timers(
        world,
        np.array([SET] * 4 + [POP] * 4),
        np.array([3, 2, 1, 0] * 2, np.int32),
        np.array([5, 5, 5, 4] * 2),
        np.array([0, 1, 0, 9] * 2, np.int32),
        out,
    )
    assert out[3].tolist() == [4, 9, 0]
    assert out[4:7].tolist() == [[5, 0, 1], [5, 0, 3], [5, 1, 2]]
    assert out[7, 0] == NEVER


@kernel()
def run_pairs(S, push, time, id, out):
    for i in range(len(push)):
        if push[i]:
            out[i, 0] = pairs_push(S.pending, S.pending_count, time[i], id[i])
        elif S.pending_count[0] > 0:
            out[i, 0] = S.pending[0].time
            out[i, 1] = pairs_pop(S.pending, S.pending_count)


@pytest.mark.parametrize("times", [3, 10**15])
def test_pairs_equal_heapq(times):
    capacity = 500
    g = np.random.default_rng(times)
    push = g.random(OPERATIONS) < np.where(np.arange(OPERATIONS) % 4000 < 2000, 0.7, 0.3)
    time = g.integers(0, times, OPERATIONS)
    ids = g.integers(-50, 50, OPERATIONS)  # equal pairs occur too
    out = np.full((OPERATIONS, 2), -1, np.int64)
    run_pairs(World(**make_pairs(capacity)), push, time, ids, out)

    heap, refused = [], 0
    for i in range(OPERATIONS):
        if push[i]:
            fits = len(heap) < capacity
            refused += not fits
            assert out[i, 0] == fits
            if fits:
                heapq.heappush(heap, (int(time[i]), int(ids[i])))
        elif heap:
            assert tuple(out[i]) == heapq.heappop(heap)
    assert refused > 0 or JIT_DISABLED


def test_make_names_and_limits():
    assert sorted(make_timers(3)) == ["timer_count", "timer_pos", "timers"]
    assert sorted(make_pairs(3, "waiting")) == ["waiting", "waiting_count"]
    for slots in (-1, 2**31):
        with pytest.raises(ValueError, match="timer slots"):
            make_timers(slots)
