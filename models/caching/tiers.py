"""`advance(world, caches)`: requests through tiers of caches, in time.

A request looks in the tiers one by one, nearest first. Where it is found (or at the origin, where
nowhere) it waits for that level's latency, and then its bytes cross that level's link. Links share
their bandwidth equally among what crosses (processor sharing: Kleinrock, Queueing Systems II, 1976,
section 4.4): with n transfers each gets rate // n units of work a tick, so that the work attained
since the link was idle is one number and a transfer ends when that number reaches its own finish
level. What is being fetched for one request is not fetched again: later requests that miss in the
nearest tier wait for it (delayed hits: Atre, Sherry, Wang, Berger, SIGCOMM 2020).

When the bytes are there, the object enters tiers:

- inclusive: those nearer than where it was found, deepest first; each decides for itself. `strict`:
  what a tier loses, nearer tiers lose too, so that each holds a part of the next;
- exclusive: the nearest only. Its victims move down one tier, whose victims move down in turn; a
  tier that refuses an object passes it on to the next. A hit below takes the object away at once.

`promote_after` n: an object is copied (moved) up only at its n-th hit there since it came or last
moved up. Writes go to all tiers and the origin (through; the answer waits for all of them), or to
the nearest tier only (back): then the object is dirty until it leaves, and is written to the next
tier and at last to the origin. Everything that enters a tier crosses its link as a write, the
sum of an event as one transfer that nobody waits for; contents change at once. A copy lives as long
as what it was made from. What is stale does not move down; if dirty it goes to the origin. A write
or delete of an object that is being fetched makes the fetch too late: it serves who waits already,
and enters nothing.

Not modelled: a lookup's own time in tiers that miss, bytes that a tier reads to send victims down,
write buffers, failures. An object that is evicted while it crosses goes on crossing.

Events at the same tick: ends of transfers (by link), then ends of latencies (by request and level),
then arrivals. So with no latency and no bandwidth each request is finished before the next.
"""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import log_event, log_full
from mltwin.sim.heap import pairs_pop, pairs_push
from mltwin.sim.jit import JIT_DISABLED, handler, kernel, types

from .driver import REQUEST
from .tables import CACHE, FIRST, HIT, MISS, NEVER, REFUSED
from .tiers_links import join_link, leave_link
from .tiers_moves import (
    IN_FLIGHT,
    do,
    enter,
    holds,
    life_of,
    look,
    put,
    remove,
    settle,
    take_dirty,
)
from .tiers_tables import (
    ASK,
    DELETE,
    DONE,
    DROP,
    ENTER,
    GET,
    JOIN,
    JOINED,
    MAX_TIERS,
    MOVE,
    REMOVING,
    SEND,
    SET,
    TIERS,
    WRITE,
)

_types: Any = types
ALL_DONE, HEAP_FULL, LOG_FULL = range(3)
BACKGROUND = 2**40  # id of a transfer that nobody waits for
_SHIFT = np.int64(3)


@handler
def get(T: Any, C: Any, now: int, i: int) -> None:
    """A GET arrives."""
    p = T.par[0]
    x, size = np.int64(T.ids[i]), T.sizes[i]
    level = np.int64(p.tiers)
    for k in range(p.tiers):
        T.level[k].asked += 1
        if look(T, C, now, k, x, size):
            T.level[k].hits += 1
            level = k
            break
        if k == 0 and T.fetch[x] != 0:
            leader = np.int64(T.fetch[x]) - 1
            T.waits[i] = T.waits[leader]
            T.waits[leader] = i + 1
            T.served[i] = JOINED
            log_event(T, now, JOIN, i, leader)
            return
    T.served[i] = level
    log_event(T, now, ASK, i, level)
    if level > 0:
        T.fetch[x] = i + 1
        T.open[i] = 1
        if level < p.tiers:
            ask_up(T, C, now, i, level, x)
    plan(T, now + T.level[level].latency, i, level)


@handler
def ask_up(T: Any, C: Any, now: int, i: int, level: int, x: int) -> None:
    """A hit below: whether the object moves up, and if so, how."""
    p = T.par[0]
    if p.promote_after > 1:
        place = level * p.objects + x
        T.below[place] += 1
        if T.below[place] < p.promote_after:
            T.open[i] = 0
            return
        T.below[place] = 0
    T.until[x] = C[level].expires[x + FIRST]
    if p.exclusive and holds(C, level, x):
        dirty = take_dirty(T, level, x)
        T.dirty[x] = np.int64(T.dirty[x]) | (dirty << IN_FLIGHT)
        remove(T, C, now, level, x)


@handler
def arrived(T: Any, C: Any, now: int, i: int) -> None:
    """The bytes of GET i are there: the object enters tiers, and all who wait are served."""
    level = np.int64(T.served[i])
    x = np.int64(T.ids[i])
    if level > 0:
        if T.fetch[x] == i + 1:
            T.fetch[x] = 0
            if T.open[i]:
                move_up(T, C, now, i, level, x)
        else:
            T.state[0].stale += 1
    finish(T, now, i, level)
    each = np.int64(T.waits[i])
    while each > 0:
        T.served[each - 1] = level + JOINED
        finish(T, now, each - 1, level)
        each = np.int64(T.waits[each - 1])


@handler
def finish(T: Any, now: int, i: int, level: int) -> None:
    """Request i has its answer."""
    T.done[i] = now
    T.state[0].done += 1
    log_event(T, now, DONE, i, level)


@handler
def move_up(T: Any, C: Any, now: int, i: int, level: int, x: int) -> None:
    """A fetched object enters the tiers that are to hold it."""
    p = T.par[0]
    size = T.sizes[i]
    until = T.until[x] if level < p.tiers else end_of(T, now, i)
    if p.exclusive:
        dirty = take_dirty(T, IN_FLIGHT, x)
        for k in range(p.tiers):
            if holds(C, k, x):
                return
        place = put(T, C, now, 0, x, size, until, dirty)
        if place < p.tiers or dirty:
            T.level[place].moving += size
        return
    top = p.tiers if p.strict else level
    for k in range(top - 1, -1, -1):
        if holds(C, k, x):
            continue
        if until <= now:
            return
        done = enter(T, C, now, k, x, size, until)
        settle(T, C, now, k)
        if done == MISS:
            T.level[k].moving += size
        elif p.strict:
            return


@handler
def end_of(T: Any, now: int, i: int) -> int:
    """When what request i brings is stale, NEVER if it has no end of its own."""
    if T.par[0].has_life and T.life[i] > 0:
        return now + T.life[i]
    return NEVER


@handler
def write(T: Any, C: Any, now: int, i: int) -> None:
    """A SET arrives."""
    x = np.int64(T.ids[i])
    T.fetch[x] = 0
    T.dirty[x] = 0
    if T.par[0].exclusive or T.par[0].back:
        first = write_one(T, C, now, i, x)
    else:
        first = write_all(T, C, now, i, x)
    log_event(T, now, WRITE, i, first)
    T.served[i] = first


@handler
def write_one(T: Any, C: Any, now: int, i: int, x: int) -> int:
    """Into the nearest tier that takes it, and to the origin unless it is left dirty."""
    p = T.par[0]
    size, back = T.sizes[i], p.back
    place = np.int64(0)
    if look(T, C, now, 0, x, size) and holds(C, 0, x):
        T.dirty[x] = back
        T.level[0].updated_bytes += size
        life = life_of(T, now, 0, end_of(T, now, i))
        C[0].expires[x + FIRST] = now + life if life > 0 else NEVER
    else:
        if p.exclusive:
            for k in range(1, p.tiers):
                remove(T, C, now, k, x)
        place = put(T, C, now, 0, x, size, end_of(T, now, i), back)
        if place == p.tiers:
            for k in range(p.tiers):
                remove(T, C, now, k, x)
    acknowledge(T, now, i, place)
    if not back and place < p.tiers:
        acknowledge(T, now, i, p.tiers)
    return place


@handler
def write_all(T: Any, C: Any, now: int, i: int, x: int) -> int:
    """Into each tier that takes it, deepest first, and to the origin."""
    p = T.par[0]
    first, size = np.int64(p.tiers), T.sizes[i]
    acknowledge(T, now, i, p.tiers)
    for k in range(p.tiers - 1, -1, -1):
        done = do(T, C, k, REQUEST, x, size, now, ~life_of(T, now, k, end_of(T, now, i)))
        settle(T, C, now, k)
        if done == HIT:
            T.level[k].updated_bytes += size
        if done == MISS:
            log_event(T, now, ENTER, x, k)
            if len(T.below) > 1:
                T.below[k * p.objects + x] = 0
        if done != REFUSED:
            acknowledge(T, now, i, k)
            first = k
        if p.strict and not holds(C, k, x):
            for nearer in range(k):
                remove(T, C, now, nearer, x)
            break
    return first


@handler
def acknowledge(T: Any, now: int, i: int, level: int) -> None:
    """Write i is over only when it is over at this level too."""
    T.open[i] += 1
    plan(T, now + T.level[level].latency, i, level)


@handler
def delete(T: Any, C: Any, now: int, i: int) -> None:
    """A DELETE arrives: nobody waits for it."""
    x = np.int64(T.ids[i])
    for k in range(T.par[0].tiers):
        do(T, C, k, REQUEST, x, -1, now, 0)
    T.fetch[x] = 0
    T.dirty[x] = 0
    T.served[i] = REMOVING
    T.done[i] = now
    T.state[0].done += 1
    log_event(T, now, DROP, i, x)


@handler
def plan(T: Any, time: int, i: int, level: int) -> None:
    """Its bytes begin to cross at that time."""
    pairs_push(T.timers, T.timer_count, time, (np.int64(i) << _SHIFT) | level)


@handler
def cross(T: Any, C: Any, now: int, i: int, level: int) -> None:
    """The bytes of request i begin to cross the link of a level."""
    row = T.level[level]
    if T.par[0].has_op == 0 or T.op[i] == GET:
        link = row.read_link
        row.read_bytes += T.sizes[i]
    else:
        link = row.write_link
        row.write_bytes += T.sizes[i]
    log_event(T, now, SEND, i, link)
    if T.link[link].rate == 0:
        ended(T, C, now, i)
    else:
        join_link(T, now, link, T.sizes[i], i)


@handler
def ended(T: Any, C: Any, now: int, i: int) -> None:
    """The last byte of request i has crossed."""
    if T.par[0].has_op == 0 or T.op[i] == GET:
        arrived(T, C, now, i)
        return
    T.open[i] -= 1
    if T.open[i] == 0:
        finish(T, now, i, np.int64(T.served[i]))


@handler
def move_background(T: Any, now: int) -> None:
    """What this event put into tiers begins to cross."""
    for k in range(T.par[0].tiers + 1):
        row = T.level[k]
        if row.moving > 0:
            row.write_bytes += row.moving
            log_event(T, now, MOVE, row.write_link, row.moving)
            if T.link[row.write_link].rate > 0:
                join_link(T, now, row.write_link, row.moving, BACKGROUND)
            row.moving = 0


@handler
def is_full(T: Any) -> bool:
    """Whether the next event might not find room in a heap."""
    most = T.timer_count[0] + T.par[0].tiers
    for link in range(len(T.link)):
        most = max(most, T.crossing_count[link])
    return most + 4 > T.par[0].room


def advance_body(T: Any, C: Any) -> int:
    """Go on until all requests are answered and all links idle, or there is no room.

    ALL_DONE, HEAP_FULL (`grow` the world and call again) or LOG_FULL (drain it and call again).
    """
    state, n = T.state[0], len(T.time)
    while True:
        if is_full(T):
            return HEAP_FULL
        if log_full(T, len(T.log) // 2):
            return LOG_FULL
        time = np.int64(NEVER)
        which = np.int64(-1)
        for link in range(len(T.link)):
            if T.link[link].ends < time:
                time, which = T.link[link].ends, link
        timer = T.timers[0].time if T.timer_count[0] > 0 else np.int64(NEVER)
        arrival = T.time[state.next] if state.next < n else np.int64(NEVER)
        if which >= 0 and time <= timer and time <= arrival:
            state.now = time
            id = leave_link(T, time, which)
            if id != BACKGROUND:
                ended(T, C, time, id)
        elif timer <= arrival and timer < NEVER:
            state.now = timer
            event = np.int64(pairs_pop(T.timers, T.timer_count))
            cross(T, C, timer, event >> _SHIFT, event & 7)
        elif arrival < NEVER:
            state.now = arrival
            i = state.next
            state.next = i + 1
            if T.par[0].has_op and T.op[i] == SET:
                write(T, C, arrival, i)
            elif T.par[0].has_op and T.op[i] == DELETE:
                delete(T, C, arrival, i)
            else:
                get(T, C, arrival, i)
        else:
            return ALL_DONE
        move_background(T, state.now)


_SIGNATURE = None if JIT_DISABLED else _types.int64(TIERS, _types.UniTuple(CACHE, MAX_TIERS))
advance = kernel(_SIGNATURE)(advance_body)
