"""What users do: when they are online, what they publish, and which friends view it when.

Views spread along the graph (independent cascades, Kempe, Kleinberg and Tardos, KDD 2003): each
friend of the publisher views an object with a probability, some time after it was published and
when he is online; who has viewed it shares it on with another probability, so that his friends come
to view it too. A viewer may come back to it.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numba import float64, int64

from mltwin.sim.jit import handler, kernel
from mltwin.sim.rng import (
    ARRIVALS,
    LENGTHS,
    SELECTION,
    SESSIONS,
    THINK,
    exponentials,
    keyed_exponential,
    keyed_uniform,
    normals,
    uniforms,
)

from .friends_tables import TICKS_PER_S
from .graph import Graph

DAY = 86_400 * TICKS_PER_S
_REPEATS = 8


@dataclass(frozen=True, eq=False)
class Sessions:
    """Who is online when.

    Attributes:
        online: int64[U], 1: online at time 0.
        start: int64[U + 1]; time: int64[T]: each user's comings and goings, ascending.
    """

    online: np.ndarray
    start: np.ndarray
    time: np.ndarray

    def toggles(self) -> tuple[np.ndarray, np.ndarray]:
        """All comings and goings in the order of (time, user): times and users."""
        user = np.repeat(np.arange(len(self.online)), np.diff(self.start))
        order = np.lexsort((user, self.time))
        return self.time[order], user[order]


def draw_sessions(
    seed: int,
    users: int,
    horizon: int,
    *,
    share: float,
    session: int,
    diurnal: float = 0.0,
    peak: int = 0,
) -> Sessions:
    """Alternating exponential times on- and offline, mean `session` ticks online.

    Args:
        horizon: ticks; nobody comes or goes after it.
        share: of the time a user is online on average; 1: always.
        diurnal: offline times are divided by 1 + diurnal cos(2 pi (t - peak) / day), t being
            their start; 0: no difference of day and night.
        peak: ticks of the day at which most come online.
    """
    number = np.arange(users)
    online = (uniforms(seed, SESSIONS, number, 0) < share).astype(np.int64)
    if share >= 1 or users == 0:
        none = np.zeros(0, np.int64)
        return Sessions(np.ones(users, np.int64), np.zeros(users + 1, np.int64), none)
    off = session * (1 - share) / share
    now, state = np.zeros(users), online.astype(bool)
    times, owners, counter = [], [], 1
    active = np.ones(users, bool)
    while active.any():
        factor = 1 + diurnal * np.cos(2 * np.pi * (now - peak) / DAY)
        mean = np.where(state, session, off / factor)
        now = now + np.maximum(1, np.rint(exponentials(seed, SESSIONS, number, counter) * mean))
        active = active & (now < horizon)
        times.append(now[active].astype(np.int64))
        owners.append(number[active])
        state = ~state
        counter += 1
    time, owner = np.concatenate(times), np.concatenate(owners)
    order = np.lexsort((time, owner))
    start = np.searchsorted(owner[order], np.arange(users + 1)).astype(np.int64)
    return Sessions(online, start, np.ascontiguousarray(time[order]))


def object_bytes(seed: int, objects: int, median: float, sigma: float) -> np.ndarray:
    """int64[objects], lognormal sizes; at least a byte."""
    drawn = normals(seed, LENGTHS, np.arange(objects))
    return np.maximum(1, np.rint(median * np.exp(sigma * drawn))).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Views:
    """Views and publications (kind 1), in the order of time: int64[V] each."""

    time: np.ndarray
    user: np.ndarray
    item: np.ndarray
    kind: np.ndarray


def draw_views(
    seed: int,
    graph: Graph,
    sessions: Sessions,
    horizon: int,
    *,
    objects: int,
    view_probability: float,
    share_probability: float,
    delay: int,
    repeat_probability: float,
    publisher_skew: float = 0.0,
) -> Views:
    """Objects are published at even times by users drawn, and spread from there.

    Args:
        view_probability: a friend views what was published or shared.
        share_probability: a viewer shares it on.
        delay: ticks, mean time to the view; then the viewer waits until he is online.
        repeat_probability: of another view by the same user, again after such a delay (at most 8).
        publisher_skew: Zipf exponent of users' publications (0: all publish alike).
    """
    number = np.arange(objects)
    at = np.rint(uniforms(seed, ARRIVALS, number) * horizon).astype(np.int64)
    weight = np.arange(1, graph.users + 1) ** -float(publisher_skew)
    by_weight = np.argsort(uniforms(seed, SELECTION, np.arange(graph.users), 7))
    place = np.searchsorted(np.cumsum(weight) / weight.sum(), uniforms(seed, SELECTION, number, 8))
    publisher = by_weight[np.minimum(place, graph.users - 1)].astype(np.int64)
    shares = np.array([view_probability, share_probability, repeat_probability, float(delay)])
    room = 1 << 16
    while True:
        out = [np.zeros(room, np.int64) for _ in range(4)]
        given = (graph.start, graph.friend, sessions.online, sessions.start, sessions.time)
        total = _spread(seed, horizon, *given, at, publisher, shares, *out)
        if total <= room:
            break
        room = total
    time, user, item, kind = (column[:total] for column in out)
    order = np.lexsort((user, item, -kind, time))
    return Views(*(np.ascontiguousarray(c[order]) for c in (time, user, item, kind)))


@handler
def _next_online(online: Any, start: Any, times: Any, user: int, now: int, horizon: int) -> Any:
    """The first moment from `now` on at which the user is online; -1 if none before the end."""
    low = start[user]
    high = start[user + 1]
    while low < high:
        middle = (low + high) >> 1
        if times[middle] <= now:
            low = middle + 1
        else:
            high = middle
    there = (online[user] + (low - start[user])) % 2
    if now > horizon:
        return np.int64(-1)
    if there == 1:
        return np.int64(now)
    if low < start[user + 1]:
        return np.int64(times[low])
    return np.int64(-1)


def _spread_body(
    seed: int,
    horizon: int,
    start: Any,
    friend: Any,
    online: Any,
    toggle_start: Any,
    toggle_time: Any,
    at: Any,
    publisher: Any,
    shares: Any,
    out_time: Any,
    out_user: Any,
    out_item: Any,
    out_kind: Any,
) -> int:
    users = len(start) - 1
    reached = np.full(users, -1, np.int64)
    queue_user = np.zeros(users, np.int64)
    queue_time = np.zeros(users, np.int64)
    room = len(out_time)
    total = 0
    for item in range(len(at)):
        author = publisher[item]
        now = _next_online(online, toggle_start, toggle_time, author, at[item], horizon)
        if now < 0:
            continue
        if total < room:
            out_time[total] = now
            out_user[total] = author
            out_item[total] = item
            out_kind[total] = 1
        total += 1
        reached[author] = item
        queue_user[0] = author
        queue_time[0] = now
        head = 0
        tail = 1
        while head < tail:
            sharer = queue_user[head]
            since = queue_time[head]
            head += 1
            for i in range(start[sharer], start[sharer + 1]):
                viewer = friend[i]
                if reached[viewer] == item:
                    continue
                key = item * users + viewer
                if keyed_uniform(seed, THINK, key, 0) >= shares[0]:
                    continue
                reached[viewer] = item
                moment = since
                for again in range(_REPEATS):
                    if again and keyed_uniform(seed, THINK, key, 3 * again) >= shares[2]:
                        break
                    wait = keyed_exponential(seed, THINK, key, 3 * again + 1) * shares[3]
                    moment = _next_online(
                        online, toggle_start, toggle_time, viewer, moment + np.int64(wait), horizon
                    )
                    if moment < 0:
                        break
                    if total < room:
                        out_time[total] = moment
                        out_user[total] = viewer
                        out_item[total] = item
                        out_kind[total] = 0
                    total += 1
                    if again == 0 and keyed_uniform(seed, THINK, key, 2) < shares[1]:
                        queue_user[tail] = viewer
                        queue_time[tail] = moment
                        tail += 1
    return total


_I = int64[::1]
_spread = kernel(int64(int64, int64, _I, _I, _I, _I, _I, _I, _I, float64[::1], _I, _I, _I, _I))(
    _spread_body
)


def pairs_of(
    graph: Graph, users: np.ndarray, items: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Number the pairs of user and object that occur, and find each one's pairs of friends.

    Returns (pair of each view, user of each pair, object of each pair, friend_start, friend_pair):
    `friend_pair` holds, for each pair (u, o), the pairs (f, o) of u's friends, f ascending.
    """
    keys, pair = np.unique(items * graph.users + users, return_inverse=True)
    owner, item = keys % graph.users, keys // graph.users
    first = np.searchsorted(item, np.arange(int(item.max(initial=-1)) + 2)).astype(np.int64)
    start = np.zeros(len(keys) + 1, np.int64)
    given = (graph.start, graph.friend, owner, item, first, start)
    total = _friends(*given, np.zeros(0, np.int64))
    found = np.zeros(total, np.int64)
    _friends(*given, found)
    return pair.astype(np.int64), owner, item, start, found


def _friends_body(
    start: Any, friend: Any, owner: Any, item: Any, first: Any, out_start: Any, out: Any
) -> int:
    """Merge each user's friends with the users of the object; both are ascending."""
    total = 0
    for pair in range(len(owner)):
        i = start[owner[pair]]
        j = first[item[pair]]
        i_end = start[owner[pair] + 1]
        j_end = first[item[pair] + 1]
        while i < i_end and j < j_end:
            if friend[i] == owner[j]:
                if total < len(out):
                    out[total] = j
                total += 1
                i += 1
                j += 1
            elif friend[i] < owner[j]:
                i += 1
            else:
                j += 1
        out_start[pair + 1] = total
    return total


_friends = kernel(int64(_I, _I, _I, _I, _I, _I, _I))(_friends_body)
