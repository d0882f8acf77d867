"""The kernel's state: a record a client for what it is, what it does and what it has cost.

Some 330 bytes a client, of which only those of clients that were ever sent work are touched, and
tables that grow with the work under way.
"""

from typing import Any

import numpy as np

from mltwin.sim.eventlog import LOG
from mltwin.sim.heap import make_timers
from mltwin.sim.records import record, table
from mltwin.sim.world import World, world_type

from .events import Limits
from .idle import index_tables
from .links import SharedLinks, no_tables
from .rates import TABLES as RATE_TABLES
from .rates import rate_tables
from .tables import TICKS_PER_S, Availability, Clients

IDLE, WORKING, LOST = range(3)
REFILLED, SETTLED = 1, 2
"""How much of the end of an instant is done."""

PARAMETERS = record(
    "FEDERATION_PARAMETERS",
    [
        ("seed", "i8", ""),
        ("clients", "i8", ""),
        ("interruption", "i8", "number in INTERRUPTIONS"),
        ("detect", "i8", "ticks until the server knows of a loss, -1 never"),
        ("until", "i8", "ticks"),
        ("updates", "i8", "limit of arrivals"),
        ("losses", "i8", "limit of losses in a row"),
        ("versions", "i8", "limit, automatic"),
        ("buffer", "i8", "updates of an automatic step; 0: steps are the strategy's"),
        ("aggregate", "i8", "ticks of an automatic step at the server"),
        ("evaluate", "i8", "versions between stops of automatic steps that learn; 0: they do not"),
        ("overhead_s", "f8", "of each dispatch"),
        ("down_bytes", "f8", "of the standard dispatch"),
        ("up_bytes", "f8", "of the standard dispatch"),
        ("powered", "i8", "1: work costs energy"),
        ("shared", "i8", "1: transfers share links"),
        ("traced", "i8", "1: rates of clients' links change"),
    ],
)
STATE = record(
    "FEDERATION_STATE",
    [
        ("now", "i8", "ticks"),
        ("version", "i8", ""),
        ("in_flight", "i8", "as the server believes"),
        ("flying", "i8", "dispatches neither arrived nor lost nor cancelled"),
        ("dispatched", "i8", ""),
        ("arrived", "i8", ""),
        ("lost", "i8", ""),
        ("cancelled", "i8", ""),
        ("losses", "i8", "in a row"),
        ("concurrency", "i8", "of refills, 0: none"),
        ("given", "i8", "1: the standard dispatch is known"),
        ("selects", "i8", "1: a policy chooses whom a refill takes"),
        ("ready", "i8", "tick before which no work of a refill begins"),
        ("awaited", "i8", "updates"),
        ("at_once", "i8", "1: hand over what there is"),
        ("rung", "i8", "1: a timer of the strategy rang"),
        ("unsettled", "i8", "1: rates of shared links are to be worked out"),
        ("instant", "i8", "how much of the end of the instant is done"),
        ("came", "i8", "rows to hand over"),
        ("done", "i8", "updates among them"),
        ("draws", "i8", "of the selection"),
        ("calls", "i8", "of the selection"),
        ("indexed", "i8", "1: the index of idle clients is kept"),
        ("inside", "i8", "idle clients that are there, if it is kept"),
        ("current", "i8", "slot of the current version"),
        ("slots", "i8", "in use or free"),
        ("free", "i8", "slots"),
        ("made", "i8", "versions"),
        ("freed", "i8", "versions"),
        ("most", "i8", "versions live at a time"),
        ("steps", "i8", "rows of automatic steps"),
        ("lessons", "i8", "updates of automatic steps that are not learned yet"),
        ("due", "i8", "version at which automatic steps that learn stop"),
        ("stale_sum", "i8", "of the buffer, automatic"),
        ("stale_most", "i8", "of the buffer, automatic"),
        ("down_bytes", "f8", ""),
        ("up_bytes", "f8", ""),
        ("joules", "f8", ""),
        ("wasted", "i8", "ticks"),
    ],
)
CLIENT = record(
    "FEDERATION_CLIENT",
    [
        ("compute_s", "f8", "of the standard dispatch, before the jitter"),
        ("receive", "i8", "ticks of the standard dispatch"),
        ("send", "i8", "ticks of the standard dispatch"),
        ("jitter", "f8", "sigma"),
        ("failure", "f8", "probability"),
        ("offset", "i8", "ticks ahead in its trace"),
        ("steps", "i4", "of the standard dispatch"),
        ("pattern", "i4", "trace of availability, -1: always there"),
        ("unused", "i8", "fills a cache line"),
    ],
)
WORK = record(
    "FEDERATION_WORK",
    [
        ("begin", "i8", "ticks"),
        ("compute", "i8", "ticks"),
        ("total", "i8", "ticks of download, training and upload"),
        ("held", "i8", "version"),
        ("done_compute", "i8", "ticks of standard dispatches that arrived"),
        ("steps", "i4", ""),
        ("number", "i4", "dispatches of the client so far"),
        ("slot", "i4", "of the version held"),
        ("mark", "i4", "call of the selection that chose the client"),
        ("state", "i1", "IDLE, WORKING, LOST (and the server does not know)"),
        ("status", "i1", "DONE, or how it is lost"),
        ("own", "i1", "1: its parts and tag stand in `own`, 0: they are the standard ones"),
        ("done", "i4", "standard dispatches that arrived; what they cost follows from it"),
    ],
)
OWN = record(
    "FEDERATION_OWN",
    [
        ("receive", "i8", "ticks"),
        ("send", "i8", "ticks"),
        ("down_bytes", "f8", ""),
        ("up_bytes", "f8", ""),
        ("tag", "i8", ""),
        ("spent", "i8", "ticks of work that was lost"),
    ],
)
POWER = record(
    "FEDERATION_POWER",
    [("compute_w", "f8", ""), ("send_w", "f8", ""), ("receive_w", "f8", "")],
)
TALLY = record(
    "FEDERATION_TALLY",
    [
        ("compute", "i8", "ticks"),
        ("send", "i8", "ticks"),
        ("receive", "i8", "ticks"),
        ("wasted", "i8", "ticks"),
        ("down_bytes", "f8", ""),
        ("up_bytes", "f8", ""),
        ("arrived", "i4", ""),
        ("lost", "i4", ""),
        ("cancelled", "i4", ""),
    ],
)
JOURNEY = record(
    "FEDERATION_JOURNEY",
    [
        ("latency", "i8", "ticks"),
        ("received", "i8", "tick at which the download ended"),
        ("loss", "i8", "tick at which the client is lost; NEVER"),
        ("why", "i4", "status then"),
        ("stage", "i4", "of the dispatch, see `transfers`"),
        ("waits", "i8", "for its client, of a transfer at a rate that follows a trace"),
    ],
)
"""Of clients whose transfers share links."""
ROW = record(
    "FEDERATION_ROW",
    [("dispatch", "i8", ""), ("held", "i8", ""), ("sent", "i8", ""), ("arrived", "i8", ""),
     ("steps", "i8", ""), ("tag", "i8", ""), ("spent", "i8", ""), ("client", "i4", ""),
     ("slot", "i4", ""), ("status", "i1", "")],
)  # fmt: skip
STEP = record(
    "FEDERATION_STEP",
    [("version", "i8", ""), ("time", "i8", "ticks"), ("used", "i8", ""),
     ("staleness_max", "i8", ""), ("in_flight", "i8", ""), ("staleness_mean", "f8", ""),
     ("updates", "i8", "arrived so far"), ("down_bytes", "f8", ""), ("up_bytes", "f8", ""),
     ("joules", "f8", ""), ("wasted", "i8", "ticks"), ("slot", "i8", "of the version made")],
)  # fmt: skip
LESSON = record(
    "FEDERATION_LESSON",
    [("dispatch", "i8", ""), ("held", "i8", "version"), ("steps", "i8", ""), ("client", "i4", ""),
     ("slot", "i4", "of the version held")],
)  # fmt: skip

LINE = 64
"""Bytes of a cache line: what an event touches of a client is cold, so it is kept in few."""

READ_ONLY = ("first", "starts", "stops", "period", *RATE_TABLES)
ROWS, SLOTS, STEPS, STALENESS = 4096, 64, 4096, 1024
"""Rows of the tables that grow, at first."""


def make_world(
    clients: Clients,
    limits: Limits,
    seed: int,
    log_rows: int = 0,
    network: SharedLinks | None = None,
) -> Any:
    """The kernel's state at tick 0, with nothing under way."""
    there = clients.availability
    count = len(clients)
    power = {name: getattr(clients, name) for name in POWER.names or ()}
    client = _lines(count, CLIENT)
    shared = network is not None
    journey = table(count if shared else 0, JOURNEY)
    if shared:
        journey["latency"] = np.rint(clients.latency_s * TICKS_PER_S).astype(np.int64)
    client["jitter"], client["failure"] = clients.jitter, clients.failure
    client["pattern"], client["offset"] = there.trace, there.offset
    return World(
        read_only=READ_ONLY,
        par=table(
            1,
            PARAMETERS,
            seed=seed,
            clients=count,
            interruption=limits.interruption,
            detect=limits.detect,
            until=limits.until,
            updates=limits.updates,
            losses=limits.losses,
            overhead_s=limits.overhead_s,
            shared=int(shared),
            traced=int(clients.links is not None),
            powered=int(any(column.any() for column in power.values())),
        ),
        state=table(1, STATE, awaited=1, slots=1, made=1, most=1),
        client=client,
        power=table(count, POWER, **power),
        work=_lines(count, WORK),
        own=table(count, OWN),
        tally=_lines(count, TALLY),
        journey=journey,
        **(network.tables(clients) if network is not None else no_tables()),
        **rate_tables(clients),
        first=np.ascontiguousarray(there.first, np.int64),
        starts=np.ascontiguousarray(there.begin, np.int64),
        stops=np.ascontiguousarray(there.end, np.int64),
        period=np.ascontiguousarray(there.period, np.int64),
        rows=table(ROWS, ROW),
        steps=table(STEPS, STEP),
        lessons=table(0, LESSON),
        staleness=np.zeros(STALENESS, np.int64),
        holders=np.zeros(SLOTS, np.int64),
        free=np.zeros(SLOTS, np.int64),
        **index_tables(count),
        chosen=np.zeros(count, np.int32),
        **make_timers(count + 2),
        log=table(log_rows, LOG),
        log_count=np.zeros(1, np.int64),
    )


def _lines(count: int, dtype: np.dtype) -> Any:
    """A table whose records of 64 bytes each fill one cache line."""
    assert dtype.itemsize == LINE
    raw = np.zeros((count + 1) * LINE, np.uint8)
    skip = -raw.ctypes.data % LINE
    return raw[skip : skip + count * LINE].view(dtype).view(np.recarray)


def _example() -> Any:
    return make_world(
        Clients.make([1], availability=Availability.always(1)),
        Limits(interruption=0, detect=0, until=0, updates=0, losses=0, overhead_s=0.0),
        0,
    )


WORLD = world_type({name: array.dtype for name, array in _example().tables().items()})
