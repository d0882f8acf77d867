"""Who is idle and there, in order, and who returns when, without looking at all clients.

Drawing at random finds an idle client unless few are. From the first time that it does not, an
index is kept: a tree of counts over the idle clients that are there (Fenwick 1994), and two heaps,
of when these leave and of when the idle ones that are away return. It is brought up to date when it
is asked, so that a change of a client's presence costs O(log N) once.
"""

from typing import Any

import numpy as np

from mltwin.models.network.keyed_heap import END, heap_drop, heap_put
from mltwin.sim.jit import handler
from mltwin.sim.records import table
from mltwin.sim.ticks import NEVER

from .presence import is_here, leaves, returns


def index_tables(clients: int) -> dict[str, np.ndarray]:
    """The tables of an index that is not kept yet."""
    return {
        "counts": np.zeros(clients + 1, np.int32),
        "inside": np.zeros(clients, np.int8),
        "leaving": table(clients, END),
        "leaving_place": np.full(clients, -1, np.int32),
        "leaving_count": np.zeros(1, np.int64),
        "away": table(clients, END),
        "away_place": np.full(clients, -1, np.int32),
        "away_count": np.zeros(1, np.int64),
    }


@handler
def count_client(S: Any, client: int, change: int) -> None:
    """A client is one of those counted, or is not any more."""
    S.state[0].inside += change
    S.inside[client] += change
    place = client + 1
    while place < len(S.counts):
        S.counts[place] += change
        place += place & -place


@handler
def client_of_rank(S: Any, rank: int) -> int:
    """The client of which `rank` lower ones are counted."""
    size = np.int64(len(S.counts) - 1)
    step = np.int64(1)
    while 2 * step <= size:
        step *= 2
    place = np.int64(0)
    left = rank
    while step > 0:
        if place + step <= size and S.counts[place + step] <= left:
            place += step
            left -= S.counts[place]
        step >>= 1
    return place


@handler
def note_idle(S: Any, client: int) -> None:
    """A client has nothing to do any more."""
    st = S.state[0]
    if st.indexed == 0:
        return
    if is_here(S, client, st.now):
        count_client(S, client, 1)
        tick = leaves(S, client, st.now)
        if tick < NEVER:
            heap_put(S.leaving, S.leaving_place, S.leaving_count, client, tick)
    else:
        tick = returns(S, client, st.now)
        if tick < NEVER:
            heap_put(S.away, S.away_place, S.away_count, client, tick)


@handler
def note_busy(S: Any, client: int) -> None:
    """A client has been sent work."""
    if S.state[0].indexed == 0:
        return
    if S.inside[client] == 1:
        count_client(S, client, -1)
    heap_drop(S.leaving, S.leaving_place, S.leaving_count, client)
    heap_drop(S.away, S.away_place, S.away_count, client)


@handler
def look_up(S: Any) -> None:
    """Bring the index up to now; begin to keep it if that has not been."""
    st = S.state[0]
    if st.indexed == 0:
        st.indexed = 1
        for client in range(S.par[0].clients):
            if S.work[client].state == 0:
                note_idle(S, client)
        return
    while S.leaving_count[0] > 0 and S.leaving[0].key <= st.now:
        client = np.int64(S.leaving[0].id)
        note_busy(S, client)
        note_idle(S, client)
    while S.away_count[0] > 0 and S.away[0].key <= st.now:
        client = np.int64(S.away[0].id)
        note_busy(S, client)
        note_idle(S, client)


@handler
def next_return(S: Any) -> int:
    """The earliest tick after now at which an idle client that is away returns; NEVER."""
    look_up(S)
    return S.away[0].key if S.away_count[0] > 0 else np.int64(NEVER)
