"""Two 4-ary heaps: timers indexed by entity, and plain (time, id) pairs.

Timers: each entity (replica, link, client, ...) owns one slot and at most one timer, so pending
events stay O(entities). The order is total, ``(time, rank, slot)``; there is no push sequence
number, because that would make the order depend on how many events were skipped.

A world with timers has the tables of `make_timers`; one with pairs those of `make_pairs`.
Four children a node halve the depth of a binary heap, and they fill just 64 bytes.
"""

from typing import Any

import numpy as np

from .jit import handler
from .records import record, table
from .ticks import NEVER

TIMER = record(
    "TIMER",
    [("time", "i8", "ticks: when it fires"), ("tie", "i8", "rank << 32 | slot")],
)
PAIR = record(
    "PAIR",
    [("time", "i8", "ticks, or any integer key"), ("id", "i8", "breaks ties: smaller first")],
)
SLOT_MASK = 0xFFFFFFFF
MAX_SLOTS = 2**31 - 1


def make_timers(n_slots: int) -> dict[str, np.ndarray]:
    """Tables ``timers``, ``timer_pos``, ``timer_count`` of n_slots idle timers."""
    if not 0 <= n_slots <= MAX_SLOTS:
        raise ValueError(f"{n_slots} timer slots; at most {MAX_SLOTS}")
    return {
        "timers": table(n_slots, TIMER),
        "timer_pos": np.full(n_slots, -1, np.int32),
        "timer_count": np.zeros(1, np.int64),
    }


def make_pairs(capacity: int, name: str = "pending") -> dict[str, np.ndarray]:
    """Tables ``<name>`` and ``<name>_count`` of an empty heap of at most capacity pairs."""
    return {name: table(capacity, PAIR), f"{name}_count": np.zeros(1, np.int64)}


@handler
def heap_set(S: Any, slot: int, time: int, rank: int) -> None:
    """Start the timer of slot, or move it; moving the earliest costs one sift (replace-top).

    slot must be one of ``timer_pos`` and rank within 0 ... 2**31 - 1; neither is checked.
    """
    tie = (np.int64(rank) << np.int64(32)) | np.int64(slot)
    place = np.int64(S.timer_pos[slot])
    if place < 0:
        place = S.timer_count[0]
        S.timer_count[0] = place + 1
    _timer_place(S, place, np.int64(time), tie)


@handler
def heap_pop(S: Any) -> None:
    """Remove the earliest timer. There must be one."""
    S.timer_pos[S.timers[0].tie & SLOT_MASK] = -1
    last = S.timer_count[0] - 1
    S.timer_count[0] = last
    if last > 0:
        _timer_down(S, np.int64(0), S.timers[last].time, S.timers[last].tie)


@handler
def heap_remove(S: Any, slot: int) -> None:
    """Stop the timer of slot, if it runs."""
    place = np.int64(S.timer_pos[slot])
    if place < 0:
        return
    S.timer_pos[slot] = -1
    last = S.timer_count[0] - 1
    S.timer_count[0] = last
    if place < last:
        _timer_place(S, place, S.timers[last].time, S.timers[last].tie)


@handler
def heap_time(S: Any) -> Any:
    """Time of the earliest timer, NEVER if none runs."""
    return S.timers[0].time if S.timer_count[0] > 0 else np.int64(NEVER)


@handler
def heap_slot(S: Any) -> int:
    """Slot of the earliest timer. There must be one."""
    return S.timers[0].tie & SLOT_MASK


@handler
def heap_rank(S: Any) -> int:
    """Rank of the earliest timer. There must be one."""
    return S.timers[0].tie >> np.int64(32)


@handler
def _timer_place(S: Any, place: Any, time: Any, tie: Any) -> None:
    """Fill the hole at place with (time, tie): up as far as it goes, else down."""
    timers = S.timers
    pos = S.timer_pos
    while place > 0:
        parent = (place - 1) >> 2
        above = timers[parent].time
        if above < time or (above == time and timers[parent].tie < tie):
            break
        _timer_write(timers, pos, place, above, timers[parent].tie)
        place = parent
    _timer_down(S, place, time, tie)


@handler
def _timer_down(S: Any, place: Any, time: Any, tie: Any) -> None:
    """Sink (time, tie) from the hole at place."""
    timers = S.timers
    pos = S.timer_pos
    count = S.timer_count[0]
    while True:
        child = 4 * place + 1
        if child >= count:
            break
        best = child
        best_time = timers[child].time
        best_tie = timers[child].tie
        for other in range(child + 1, min(child + 4, count)):
            other_time = timers[other].time
            if other_time < best_time or (other_time == best_time and timers[other].tie < best_tie):
                best = other
                best_time = other_time
                best_tie = timers[other].tie
        if time < best_time or (time == best_time and tie < best_tie):
            break
        _timer_write(timers, pos, place, best_time, best_tie)
        place = best
    _timer_write(timers, pos, place, time, tie)


@handler
def _timer_write(timers: Any, pos: Any, place: Any, time: Any, tie: Any) -> None:
    timers[place].time = time
    timers[place].tie = tie
    pos[tie & SLOT_MASK] = place


@handler
def pairs_push(pairs: Any, count: Any, time: int, id: int) -> bool:
    """Add (time, id). False, and nothing is added, if the table is full."""
    place = count[0]
    if place >= len(pairs):
        return False
    count[0] = place + 1
    while place > 0:
        parent = (place - 1) >> 2
        above = pairs[parent].time
        if above < time or (above == time and pairs[parent].id <= id):
            break
        pairs[place].time = above
        pairs[place].id = pairs[parent].id
        place = parent
    pairs[place].time = time
    pairs[place].id = id
    return True


@handler
def pairs_pop(pairs: Any, count: Any) -> int:
    """Remove the least pair and return its id; its time stands in ``pairs[0].time`` before."""
    least = pairs[0].id
    last = count[0] - 1
    count[0] = last
    time = pairs[last].time
    id = pairs[last].id
    place: Any = np.int64(0)
    while True:
        child = 4 * place + 1
        if child >= last:
            break
        best = child
        for other in range(child + 1, min(child + 4, last)):
            if pairs[other].time < pairs[best].time or (
                pairs[other].time == pairs[best].time and pairs[other].id < pairs[best].id
            ):
                best = other
        if time < pairs[best].time or (time == pairs[best].time and id <= pairs[best].id):
            break
        pairs[place].time = pairs[best].time
        pairs[place].id = pairs[best].id
        place = best
    pairs[place].time = time
    pairs[place].id = id
    return least
