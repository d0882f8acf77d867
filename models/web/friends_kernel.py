"""`advance(world)`: friends' browsers in time. Rules and order: the package's docstring."""

from typing import Any

import numpy as np
from numba import void

from mltwin.sim.eventlog import log_event, log_full
from mltwin.sim.heap import (
    heap_remove,
    heap_set,
    heap_slot,
    heap_time,
    pairs_pop,
    pairs_push,
)
from mltwin.sim.jit import handler, kernel
from mltwin.sim.rng import SELECTION, keyed_below
from mltwin.sim.ticks import NEVER

from .friends_tables import (
    ARRIVE,
    CUT,
    CUT_OFF,
    DRAWN,
    EVICT,
    FETCH,
    FRIEND,
    JOINED,
    LOCAL,
    OFFLINE,
    ONLINE,
    ORIGIN,
    UNIT_BITS,
    UPLOAD,
    VIEW,
    WORLD,
)


@handler
def view_object(S: Any, now: int) -> None:
    """The next view: from one's own browser, a friend's, or the origin."""
    state = S.state[0]
    view = state.next
    state.next = view + 1
    pair = S.view_pair[view]
    log_event(S, now, VIEW, view, pair)
    if S.view_kind[view]:
        S.done[view] = now
        if S.par[0].keep:
            keep(S, now, pair)
        return
    if S.held[pair]:
        unlink(S, pair)
        link(S, pair)
        S.source[view] = LOCAL
        S.done[view] = now
    elif S.fetching[pair] >= 0:
        first = S.fetching[pair]
        S.source[view] = JOINED
        S.waiting[view] = S.waiting[first]
        S.waiting[first] = view
    else:
        S.fetching[pair] = view
        friend = choose(S, view) if S.par[0].friends else np.int64(-1)
        if friend >= 0:
            S.source[view] = FRIEND
            upload(S, now, view, friend)
        else:
            S.source[view] = ORIGIN
            fetch(S, now, view, S.pair_bytes[pair])


@handler
def choose(S: Any, view: int) -> Any:
    """The friend that sends: online, holding the object, with a slot free; -1 if there is none."""
    best = np.int64(-1)
    able = 0
    own = S.view_pair[view]
    for i in range(S.friend_start[own], S.friend_start[own + 1]):
        pair = S.friend_pair[i]
        user = S.pair_user[pair]
        if not S.held[pair] or not S.online[user] or S.active[user] >= S.par[0].slots:
            continue
        able += 1
        if (
            best < 0
            or S.active[user] < S.active[best]
            or (S.active[user] == S.active[best] and S.uploaded[user] < S.uploaded[best])
        ):
            best = np.int64(user)
    if S.par[0].choice == DRAWN and able > 0:
        rank = keyed_below(S.par[0].seed, SELECTION, view, 0, able)
        for i in range(S.friend_start[own], S.friend_start[own + 1]):
            pair = S.friend_pair[i]
            user = S.pair_user[pair]
            if not S.held[pair] or not S.online[user] or S.active[user] >= S.par[0].slots:
                continue
            if rank == 0:
                return np.int64(user)
            rank -= 1
    return best


@handler
def upload(S: Any, now: int, view: int, user: int) -> None:
    """Begin an upload; the user's others become slower."""
    settle(S, now, user)
    slot = user * S.par[0].slots
    while S.slot_view[slot] >= 0:
        slot += 1
    S.slot_view[slot] = view
    S.slot_left[slot] = S.pair_bytes[S.view_pair[view]] << UNIT_BITS
    S.uploader[view] = user
    S.active[user] += 1
    log_event(S, now, UPLOAD, view, user)
    set_timer(S, now, user)


@handler
def settle(S: Any, now: int, user: int) -> None:
    """Count what the user's uploads have sent since they were last looked at."""
    if S.active[user] > 0:
        sent = S.upload[user] // S.active[user] * (now - S.settled[user])
        for slot in range(user * S.par[0].slots, (user + 1) * S.par[0].slots):
            if S.slot_view[slot] >= 0:
                S.slot_left[slot] -= sent
    S.settled[user] = now


@handler
def set_timer(S: Any, now: int, user: int) -> None:
    """The user's earliest end of an upload."""
    if S.active[user] == 0:
        heap_remove(S, user)
        return
    rate = S.upload[user] // S.active[user]
    least = np.int64(NEVER)
    for slot in range(user * S.par[0].slots, (user + 1) * S.par[0].slots):
        if S.slot_view[slot] >= 0:
            least = min(least, -(-S.slot_left[slot] // rate))
    heap_set(S, user, now + least, 0)


@handler
def end_uploads(S: Any, now: int, user: int) -> None:
    """Uploads of the user that are complete."""
    settle(S, now, user)
    for slot in range(user * S.par[0].slots, (user + 1) * S.par[0].slots):
        view = S.slot_view[slot]
        if view >= 0 and S.slot_left[slot] <= 0:
            S.slot_view[slot] = -1
            S.active[user] -= 1
            S.uploaded[user] += S.pair_bytes[S.view_pair[view]]
            arrive(S, now, view)
    set_timer(S, now, user)


@handler
def cut_uploads(S: Any, now: int, user: int) -> None:
    """The user goes offline: the origin sends what he was sending."""
    settle(S, now, user)
    for slot in range(user * S.par[0].slots, (user + 1) * S.par[0].slots):
        view = S.slot_view[slot]
        if view < 0:
            continue
        S.slot_view[slot] = -1
        size = S.pair_bytes[S.view_pair[view]]
        sent = ((size << UNIT_BITS) - S.slot_left[slot]) >> UNIT_BITS
        S.uploaded[user] += sent
        S.source[view] = CUT
        log_event(S, now, CUT_OFF, view, sent)
        if S.par[0].resume:
            fetch(S, now, view, size - sent)
        else:
            S.wasted[user] += sent
            fetch(S, now, view, size)
    S.active[user] = 0
    heap_remove(S, user)


@handler
def fetch(S: Any, now: int, view: int, size: int) -> None:
    """Begin a transfer from the origin."""
    S.state[0].origin += size
    log_event(S, now, FETCH, view, size)
    ticks = -(-(size << UNIT_BITS) // S.par[0].download)
    pairs_push(S.fetches, S.fetches_count, now + ticks, view)


@handler
def arrive(S: Any, now: int, view: int) -> None:
    """The object is there, for this view and those that joined it."""
    pair = S.view_pair[view]
    S.fetching[pair] = -1
    S.state[0].end = now
    log_event(S, now, ARRIVE, view, S.source[view])
    each = np.int64(view)
    while each >= 0:
        S.done[each] = now
        each = S.waiting[each]
    keep(S, now, pair)


@handler
def keep(S: Any, now: int, pair: int) -> None:
    """Put an object into its user's cache, if it fits at all; the least recently used make room."""
    user = S.pair_user[pair]
    size = S.pair_bytes[pair]
    if S.held[pair] or size > S.capacity[user]:
        return
    while S.used[user] + size > S.capacity[user]:
        victim = S.oldest[user]
        unlink(S, victim)
        S.held[victim] = 0
        S.used[user] -= S.pair_bytes[victim]
        S.state[0].evicted += S.pair_bytes[victim]
        log_event(S, now, EVICT, victim, S.pair_bytes[victim])
    S.held[pair] = 1
    S.used[user] += size
    S.state[0].kept += size
    link(S, pair)


@handler
def link(S: Any, pair: int) -> None:
    """Make an object the newest of its user."""
    user = S.pair_user[pair]
    last = S.newest[user]
    S.older[pair] = last
    S.newer[pair] = -1
    S.newest[user] = pair
    if last >= 0:
        S.newer[last] = pair
    else:
        S.oldest[user] = pair


@handler
def unlink(S: Any, pair: int) -> None:
    """Take an object out of its user's list."""
    user = S.pair_user[pair]
    older = S.older[pair]
    newer = S.newer[pair]
    if older >= 0:
        S.newer[older] = newer
    else:
        S.oldest[user] = newer
    if newer >= 0:
        S.older[newer] = older
    else:
        S.newest[user] = older


@handler
def toggle(S: Any, now: int) -> None:
    """A user comes, or goes."""
    state = S.state[0]
    user = S.toggle_user[state.toggle]
    state.toggle += 1
    if S.online[user]:
        S.online[user] = 0
        log_event(S, now, OFFLINE, user, S.active[user])
        cut_uploads(S, now, user)
    else:
        S.online[user] = 1
        log_event(S, now, ONLINE, user, 0)


def advance_body(S: Any) -> None:
    """Run until all views are served, or until the log is full."""
    state = S.state[0]
    while True:
        # A coming or going may cut every slot; an arrival may evict a whole cache: drained between.
        if log_full(S, len(S.log) // 2):
            return
        ended = heap_time(S)
        fetched = np.int64(NEVER)
        if S.fetches_count[0] > 0:
            fetched = S.fetches[0].time
        viewed = np.int64(NEVER)
        if state.next < len(S.view_time):
            viewed = S.view_time[state.next]
        served = min(ended, fetched, viewed)
        if served == NEVER:
            return
        toggled = np.int64(NEVER)
        if state.toggle < len(S.toggle_time):
            toggled = S.toggle_time[state.toggle]
        if ended <= min(fetched, toggled, viewed):
            end_uploads(S, ended, heap_slot(S))
        elif fetched <= min(toggled, viewed):
            view = pairs_pop(S.fetches, S.fetches_count)
            arrive(S, fetched, view)
        elif toggled <= viewed:
            toggle(S, toggled)
        else:
            view_object(S, viewed)


advance = kernel(void(WORLD))(advance_body)
