"""The tables of tiers of caches in time: the plan, its levels and links, and the kernel's state."""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.eventlog import LOG
from mltwin.sim.heap import PAIR
from mltwin.sim.records import record, table
from mltwin.sim.world import World, world_type

from .cache import Cache
from .tables import NEVER, STEP

MAX_TIERS = 4
MAX_REQUESTS = 2**31 - 1
GET, SET, DELETE = range(3)
"""What a request does, as in `mltwin.workloads.objects.table`."""

JOINED = 8
"""Added to the level in `served`: the request waited for another one's fetch."""
REMOVING = 16
"""`served` of a DELETE."""

ASK, JOIN, DONE, ENTER, LEAVE, SEND, MOVE, DROP, WRITE = range(9)
LOG_KINDS = {
    ASK: "ask",  # request, level at which it was found
    JOIN: "join",  # request, the request whose fetch it waits for
    DONE: "done",  # request, level
    ENTER: "enter",  # object, tier
    LEAVE: "leave",  # object, tier: evicted
    SEND: "send",  # request, link: begins to cross
    MOVE: "move",  # link, bytes that cross in the background
    DROP: "drop",  # request, object
    WRITE: "write",  # request, level that acknowledges first
}

SETTINGS = record(
    "TierSettings",
    [
        ("tiers", "i8"),
        ("objects", "i8"),
        ("exclusive", "i8", "1: an object is in one tier only"),
        ("strict", "i8", "1: what a tier loses, nearer tiers lose too"),
        ("back", "i8", "1: write-back, else write-through"),
        ("promote_after", "i8", "hits below after which an object moves up"),
        ("has_op", "i8", "whether `op` has a row a request"),
        ("has_life", "i8", "whether `life` has"),
        ("room", "i8", "rows of each heap"),
    ],
)
LEVEL = record(
    "Level",
    [
        ("latency", "i8", "ticks"),
        ("life", "i8", "ticks that an object without an end of its own lives here; 0 for ever"),
        ("read_link", "i8"),
        ("write_link", "i8"),
        ("asked", "i8", "GETs that looked here"),
        ("hits", "i8", "GETs that found it here"),
        ("read_bytes", "i8", "that left over the link"),
        ("write_bytes", "i8", "that came in over the link"),
        ("updated_bytes", "i8", "of these, writes to an object that was there already"),
        ("moved_in", "i8", "objects that came from the tier above"),
        ("moving", "i8", "bytes of this event that come in in the background"),
    ],
)
LINK = record(
    "Link",
    [
        ("rate", "i8", "units of work a tick; 0: unlimited"),
        ("units", "i8", "units of work a byte"),
        ("attained", "i8", "units that each transfer has got since the link was idle"),
        ("since", "i8", "ticks, of `attained`"),
        ("ends", "i8", "ticks at which the next transfer ends, NEVER if none"),
        ("busy", "i8", "ticks with a transfer"),
        ("peak", "i8", "most transfers at a time"),
    ],
)
STATE = record(
    "TierState",
    [
        ("next", "i8", "request that comes next"),
        ("now", "i8", "ticks, of the last event"),
        ("done", "i8", "requests that have their answer"),
        ("stale", "i8", "fetches that came too late: the object had been written or deleted"),
    ],
)


@dataclass(frozen=True, eq=False)
class Level:
    """A tier, or the origin.

    latency: ticks of 1 ns before its bytes begin to cross.
    gbps: Gbit/s of its link, shared equally by what crosses it; None: unlimited.
    duplex: whether writes have a link of the same speed of their own.
    life: ticks after which an object that came in without an end of its own is stale; 0: never.
    """

    latency: int = 0
    gbps: float | None = None
    duplex: bool = False
    life: int = 0


@dataclass(frozen=True, eq=False)
class TierPlan:
    """All that a run is made of; the caches come apart (`tiers_run`).

    Attributes:
        time: int64[n], ticks, not decreasing.
        ids: uint32[n], below `objects`.
        sizes: int64[n], bytes (or 1 where objects are counted), >= 0.
        levels: the tiers, nearest first, and then the origin: 2 to 5.
        op: uint8[n], or None: all GET.
        life: int64[n], ticks an object lives; 0: for ever. None: all 0.
        exclusive, strict, back, promote_after: see the package's docstring (`tiers`).
    """

    time: NDArray[np.int64]
    ids: NDArray[np.uint32]
    sizes: NDArray[np.int64]
    objects: int
    levels: tuple[Level, ...]
    op: NDArray[np.uint8] | None = None
    life: NDArray[np.int64] | None = None
    exclusive: bool = False
    strict: bool = False
    back: bool = False
    promote_after: int = 1
    links: tuple[tuple[int, int], ...] = field(init=False)

    def __post_init__(self) -> None:
        if not 2 <= len(self.levels) <= MAX_TIERS + 1:
            raise InputError(
                f"{len(self.levels) - 1} tiers", where="tiers", mend=f"give 1 to {MAX_TIERS}"
            )
        if len(self.time) > MAX_REQUESTS:
            raise InputError(f"{len(self.time):,} requests are too many", where="workload")
        if self.strict and (self.exclusive or self.back):
            raise InputError(
                "strict needs inclusive tiers and write-through",
                where="strict",
                mend='set mode = "inclusive" and write = "through"',
            )
        most = int(self.sizes.max()) if len(self.sizes) else 1
        made = []
        for k, level in enumerate(self.levels):
            try:
                made.append(link_speed(level.gbps, most))
            except InputError as error:
                raise InputError(error.message, where=f"level {k}", mend=error.mend) from None
        object.__setattr__(self, "links", tuple(made))

    @property
    def tiers(self) -> int:
        """How many, without the origin."""
        return len(self.levels) - 1


def link_speed(gbps: float | None, most_bytes: int) -> tuple[int, int]:
    """Units of work a tick, and units a byte, of a link; (0, 0) where it is unlimited.

    Work is counted in units fine enough that a rate shared by n transfers, rounded down to whole
    units a tick, loses at most n parts in 2**12 to 2**32 (what a small object takes decides).

    Raises InputError where the largest object takes more than three days alone.
    """
    if gbps is None:
        return 0, 0
    bytes_a_tick = gbps / 8.0
    alone = max(1.0, most_bytes / bytes_a_tick)
    exponent = min(32, math.floor(56 - math.log2(alone)))
    if exponent < 12:
        raise InputError(
            f"{most_bytes:,} bytes take {alone / 1e9:,.0f} s at {gbps:g} Gbit/s",
            where="bandwidth_gbps",
            mend="give more than that",
        )
    units = max(1, round(2**exponent / bytes_a_tick))
    return max(1, round(units * bytes_a_tick)), units


def make_world(plan: TierPlan, caches: list[Cache], log_rows: int = 0, room: int = 64) -> Any:
    """The kernel's state at the start, with the steps of the tiers' policies bound."""
    world = World(read_only=_GIVEN, **_tables(plan, log_rows, room))
    return world.bind(
        **{
            f"step_{i}": (STEP, caches[min(i, plan.tiers - 1)].eviction.load().step)
            for i in range(MAX_TIERS)
        }
    )


_GIVEN = ("time", "ids", "sizes", "op", "life")


def _tables(plan: TierPlan, log_rows: int, room: int) -> dict[str, Any]:
    n, links = len(plan.time), _links(plan)
    return {
        "par": table(
            1,
            SETTINGS,
            tiers=plan.tiers,
            objects=plan.objects,
            exclusive=int(plan.exclusive),
            strict=int(plan.strict),
            back=int(plan.back),
            promote_after=plan.promote_after,
            has_op=int(plan.op is not None),
            has_life=int(plan.life is not None),
            room=room,
        ),
        "level": _levels(plan),
        "link": links,
        "state": table(1, STATE),
        "time": np.ascontiguousarray(plan.time, np.int64),
        "ids": np.ascontiguousarray(plan.ids, np.uint32),
        "sizes": np.ascontiguousarray(plan.sizes, np.int64),
        "op": _column(plan.op, np.uint8),
        "life": _column(plan.life, np.int64),
        "done": np.zeros(n, np.int64),  # ticks at which each request had its answer
        "served": np.zeros(n, np.uint8),  # level, perhaps with JOINED; or REMOVING
        "waits": np.zeros(n, np.uint32),  # 1 + the next request that waits for the same fetch
        "open": np.zeros(n, np.uint8),  # writes that are not acknowledged; of a GET: it moves up
        "fetch": np.zeros(plan.objects, np.uint32),  # 1 + the request that fetches it, 0: none
        "until": np.zeros(plan.objects, np.int64),  # ticks: end of what is fetched from a tier
        "dirty": np.zeros(plan.objects, np.uint8),  # bit k: tier k has what the origin has not
        "below": np.zeros(plan.tiers * plan.objects if plan.promote_after > 1 else 1, np.int32),
        "timers": table(room, PAIR),  # (time, 8 * request + level): the latency is over
        "timer_count": np.zeros(1, np.int64),
        "crossing": table(room * len(links), PAIR),  # per link (work at which it ends, request)
        "crossing_count": np.zeros(len(links), np.int64),
        "log": table(log_rows, LOG),
        "log_count": np.zeros(1, np.int64),
    }


def _column(values: NDArray[Any] | None, dtype: Any) -> np.ndarray:
    return np.zeros(1, dtype) if values is None else np.ascontiguousarray(values, dtype)


def grow(world: Any) -> None:
    """Twice the rows for every heap."""
    room, links = int(world.par[0].room), len(world.link)
    timers = table(2 * room, PAIR)
    timers[:room] = world.timers
    crossing = table(2 * room * links, PAIR)
    for k in range(links):
        crossing[2 * room * k : 2 * room * k + room] = world.crossing[room * k : room * (k + 1)]
    world.replace(timers=timers, crossing=crossing)
    world.par.room = 2 * room


def _levels(plan: TierPlan) -> np.recarray:
    rows = table(len(plan.levels), LEVEL)
    for k, level in enumerate(plan.levels):
        rows[k].latency, rows[k].life = level.latency, level.life
        rows[k].read_link = k
        rows[k].write_link = len(plan.levels) + k if level.duplex else k
    return rows


def _links(plan: TierPlan) -> np.recarray:
    rows = table(2 * len(plan.levels), LINK, ends=NEVER)
    for k, (rate, units) in enumerate(plan.links):
        for row in (k, len(plan.levels) + k):
            rows[row].rate, rows[row].units = rate, units
    return rows


def _example() -> TierPlan:
    one = np.zeros(1, np.int64)
    return TierPlan(one, one.astype(np.uint32), one, 1, (Level(), Level()))


TIERS = world_type(
    {name: array.dtype for name, array in _tables(_example(), 0, 1).items()},
    {f"step_{i}": STEP for i in range(MAX_TIERS)},
)
"""The World type of the kernel."""
