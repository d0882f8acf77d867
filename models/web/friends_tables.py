"""The plan of a run of friends' browsers, and the kernel's state.

A *pair* is a user and an object that he views or publishes; the kernel knows pairs only.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.eventlog import LOG
from mltwin.sim.heap import make_pairs, make_timers
from mltwin.sim.records import record, table
from mltwin.sim.world import World, world_type

TICKS_PER_S = 10**9
UNIT_BITS = 26
"""A byte is 2**26 units of transfer: 0.5 kB/s are 34 units a tick."""

# How a view ended (and 0 for none: a publication).
PUBLISHED, LOCAL, JOINED, FRIEND, ORIGIN, CUT = range(6)
SOURCES = ("published", "local", "joined", "friend", "origin", "cut")

EVENT_NAMES = ("view", "upload", "fetch", "arrive", "evict", "cut", "online", "offline")
VIEW, UPLOAD, FETCH, ARRIVE, EVICT, CUT_OFF, ONLINE, OFFLINE = range(8)

LEAST_BUSY, DRAWN = range(2)
CHOICES = ("least_busy", "random")

PARAMETERS = record(
    "FRIENDS_PARAMETERS",
    [
        ("slots", "i8", "uploads of a user at a time, at most"),
        ("download", "i8", "units a tick from the origin"),
        ("resume", "i8", "1: the origin sends the rest of a cut upload only"),
        ("choice", "i8", "number in CHOICES"),
        ("friends", "i8", "0: nobody is asked"),
        ("keep", "i8", "1: a publisher's browser holds what he published"),
        ("seed", "i8", "of drawn choices"),
    ],
)
STATE = record(
    "FRIENDS_STATE",
    [
        ("next", "i8", "view"),
        ("toggle", "i8", "next coming or going"),
        ("kept", "i8", "bytes put into caches"),
        ("evicted", "i8", "bytes"),
        ("origin", "i8", "bytes sent by the origin"),
        ("end", "i8", "ticks: last event of a view"),
    ],
)


@dataclass(frozen=True, eq=False)
class FriendsPlan:
    """All that a run is made of.

    Attributes:
        view_time: int64[V], ticks, non-decreasing.
        view_pair: int64[V].
        view_kind: int64[V], 1 for a publication.
        pair_user, pair_bytes: int64[P].
        friend_start: int64[P + 1]; friend_pair: pairs of the same object of the user's friends.
        toggle_time, toggle_user: int64[T], in the order of time; who is online goes offline.
        online: int64[U], 1: online at the start.
        capacity: int64[U], bytes of each browser's cache.
        upload: int64[U], units a tick.
        slots, download, resume, choice, friends, keep, seed: see `PARAMETERS`.
    """

    view_time: np.ndarray
    view_pair: np.ndarray
    view_kind: np.ndarray
    pair_user: np.ndarray
    pair_bytes: np.ndarray
    friend_start: np.ndarray
    friend_pair: np.ndarray
    toggle_time: np.ndarray
    toggle_user: np.ndarray
    online: np.ndarray
    capacity: np.ndarray
    upload: np.ndarray
    slots: int
    download: int
    resume: bool = False
    choice: int = LEAST_BUSY
    friends: bool = True
    keep: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in COLUMNS:
            column = np.ascontiguousarray(getattr(self, name), np.int64)
            object.__setattr__(self, name, column)
        _check(self)

    @property
    def users(self) -> int:
        """How many."""
        return len(self.online)

    @property
    def views(self) -> int:
        """Views and publications."""
        return len(self.view_time)


COLUMNS = (
    "view_time",
    "view_pair",
    "view_kind",
    "pair_user",
    "pair_bytes",
    "friend_start",
    "friend_pair",
    "toggle_time",
    "toggle_user",
    "online",
    "capacity",
    "upload",
)


def units_a_tick(bytes_per_s: float) -> int:
    """A bandwidth as whole units a tick, at least one."""
    return max(1, round(bytes_per_s * 2**UNIT_BITS / TICKS_PER_S))


def _check(plan: FriendsPlan) -> None:
    if np.any(np.diff(plan.view_time) < 0) or np.any(np.diff(plan.toggle_time) < 0):
        raise InputError("views and sessions must be in the order of time")
    pairs = len(plan.pair_user)
    if len(plan.friend_start) != pairs + 1 or plan.friend_start[-1] != len(plan.friend_pair):
        raise InputError("friend_start does not fit the pairs")
    if plan.slots < 1 or plan.download < 1:
        raise InputError("slots and download must be positive")
    if len(plan.pair_bytes) and not 1 <= plan.pair_bytes.min() <= plan.pair_bytes.max() < 2**36:
        raise InputError("objects must have 1 byte to 64 GiB")
    if plan.users and plan.upload.min() < plan.slots:
        raise InputError(
            f"upload of {plan.upload.min()} units a tick is too slow for {plan.slots} uploads",
            mend="raise the upload bandwidth or lower the uploads at a time",
        )


def make_world(plan: FriendsPlan, log_rows: int = 0) -> Any:
    """The kernel's state at time 0."""
    users, views, pairs = plan.users, plan.views, len(plan.pair_user)
    given = {name: getattr(plan, name) for name in COLUMNS if name != "online"}
    return World(
        read_only=tuple(given),
        par=table(
            1,
            PARAMETERS,
            slots=plan.slots,
            download=plan.download,
            resume=int(plan.resume),
            choice=plan.choice,
            friends=int(plan.friends),
            keep=int(plan.keep),
            seed=plan.seed,
        ),
        state=table(1, STATE),
        **given,
        online=plan.online.copy(),
        held=np.zeros(pairs, np.int64),
        fetching=np.full(pairs, -1, np.int64),
        older=np.full(pairs, -1, np.int64),
        newer=np.full(pairs, -1, np.int64),
        oldest=np.full(users, -1, np.int64),
        newest=np.full(users, -1, np.int64),
        used=np.zeros(users, np.int64),
        active=np.zeros(users, np.int64),
        settled=np.zeros(users, np.int64),
        uploaded=np.zeros(users, np.int64),
        wasted=np.zeros(users, np.int64),
        slot_view=np.full(users * plan.slots, -1, np.int64),
        slot_left=np.zeros(users * plan.slots, np.int64),
        source=np.zeros(views, np.int64),
        done=np.full(views, -1, np.int64),
        uploader=np.full(views, -1, np.int64),
        waiting=np.full(views, -1, np.int64),
        **make_timers(users),
        **make_pairs(views, "fetches"),
        log=table(log_rows, LOG),
        log_count=np.zeros(1, np.int64),
    )


def _example() -> FriendsPlan:
    one = np.ones(1, np.int64)
    zero = np.zeros(1, np.int64)
    start = np.zeros(2, np.int64)
    return FriendsPlan(zero, zero, zero, zero, one, start, zero[:0], zero[:0], zero[:0], one, one,
                       one, 1, 1)  # fmt: skip


WORLD = world_type({name: array.dtype for name, array in make_world(_example()).tables().items()})
