"""The world of gossip: record types, ranks and events."""

from typing import Any

import numpy as np

from mltwin.models.federation.tables import INTERRUPTIONS, TICKS_PER_S, Clients, Plan
from mltwin.sim.eventlog import EventLog
from mltwin.sim.heap import make_timers
from mltwin.sim.records import record, table
from mltwin.sim.world import World, world_type

from .overlay import ring
from .timeline import Setting
from .work import base_seconds

TRANSFER, TRAIN, PRESENCE = range(3)
"""Ranks of events at one tick: transfers end or arrive (by sender), trainings end or begin (by
peer), peers come and leave."""

(E_START, E_DONE, E_FAILED, E_DROPPED, E_SEND, E_MERGE, E_UNDELIVERED, E_SKIPPED, E_LEAVE,
 E_JOIN) = range(10)  # fmt: skip
EVENT_NAMES = {
    E_START: "start",
    E_DONE: "done",
    E_FAILED: "failed",
    E_DROPPED: "dropped",
    E_SEND: "send",
    E_MERGE: "merge",
    E_UNDELIVERED: "undelivered",
    E_SKIPPED: "skipped",
    E_LEAVE: "leave",
    E_JOIN: "join",
}
"""Of start, done, failed, dropped the value is the number of the dispatch; of send, undelivered and
skipped the other peer (-1 none); of merge (entity: the receiver) the sender."""

IDLE, REST, TRAINING, PAUSED, SENDING, WAITING = range(6)
"""What a peer does: nothing, the rest of its period, training, training while away, waiting for its
transfer, waiting to be back to send."""

NO_FLOW, FLOW, TAIL = range(3)
"""Stage of a transfer: none, bytes flow, only the latency is left."""

STALENESS_MOST = 1023
LOG_ROWS = 1 << 16
VERSION_ROWS = 4096
READ_ONLY = ("edge_first", "edge_to", "between", "first", "starts", "stops", "period")

PAR = record(
    "GOSSIP_PAR",
    [
        ("peers", "i8", ""),
        ("seed", "i8", ""),
        ("until", "i8", "ticks"),
        ("updates", "i8", "limit"),
        ("overhead_s", "f8", "of each training"),
        ("period", "i8", "ticks from start to start at least"),
        ("model_bytes", "f8", ""),
        ("pair", "i8", "1: both exchange, 0: one pushes"),
        ("overlap", "i8", "1: training goes on while the model travels"),
        ("interruption", "i8", "of `INTERRUPTIONS`"),
        ("sites", "i8", "rows of the latency matrix"),
        ("margin", "i8", "rows that one event may log"),
    ],
)
PEER = record(
    "GOSSIP_PEER",
    [
        ("base_s", "f8", "seconds of a training, without overhead and jitter"),
        ("jitter", "f8", "sigma"),
        ("failure", "f8", "probability"),
        ("up", "f8", "bytes a second"),
        ("down", "f8", "bytes a second"),
        ("latency", "i8", "ticks of its own link"),
        ("compute_w", "f8", ""),
        ("send_w", "f8", ""),
        ("receive_w", "f8", ""),
        ("site", "i4", ""),
        ("there", "i4", "1: yes"),
        ("phase", "i4", ""),
        ("stage", "i4", "of its own transfer"),
        ("dispatches", "i8", "trainings begun"),
        ("began", "i8", "tick of the last one"),
        ("length", "i8", "ticks of the last one"),
        ("fails", "i8", "1: it will fail"),
        ("left", "i8", "ticks left of a paused training"),
        ("merges", "i8", "models merged since it began"),
        ("partner", "i4", "of its own transfer"),
        ("flows_in", "i4", "flows that come to it"),
        ("head", "i4", "first sender of a flow to it, -1 none"),
        ("next", "i4", "sender after this one to the same peer"),
        ("previous", "i4", ""),
        ("remaining", "f8", "bytes of its flow"),
        ("rate", "f8", "bytes a second of its flow"),
        ("since", "i8", "tick of the last change of rate"),
        ("flow_began", "i8", ""),
        ("busy_since", "i8", "since when it receives (pairs: exchanges) anything"),
    ],
)
TRACE = record(
    "GOSSIP_TRACE",
    [("pattern", "i4", "trace of availability, -1: always there"), ("offset", "i8", "ticks")],
)
COUNT = record(
    "GOSSIP_COUNT",
    [
        ("arrived", "i8", ""),
        ("used", "i8", ""),
        ("lost", "i8", ""),
        ("compute", "i8", "ticks"),
        ("send", "i8", "ticks"),
        ("receive", "i8", "ticks"),
        ("wasted", "i8", "ticks"),
        ("up_bytes", "f8", ""),
        ("down_bytes", "f8", ""),
    ],
)
STATE = record(
    "GOSSIP_STATE",
    [
        ("now", "i8", ""),
        ("over", "i8", "1: a limit is reached, 2: nothing will happen any more"),
        ("arrived", "i8", "updates"),
        ("training", "i8", "peers at it"),
        ("window_sum", "i8", "of staleness since the last version"),
        ("window_most", "i8", ""),
        ("down_bytes", "f8", ""),
        ("up_bytes", "f8", ""),
        ("lost_bytes", "f8", ""),
        ("joules", "f8", ""),
        ("wasted", "i8", "ticks"),
        ("skipped", "i8", "models not sent: nobody there, or the last one still on its way"),
        ("undelivered", "i8", "transfers"),
        ("merges", "i8", ""),
        ("rows", "i8", "version rows written"),
        ("events", "i8", ""),
    ],
)
ROW = record(
    "GOSSIP_VERSION",
    [
        ("version", "i8", ""),
        ("time", "i8", ""),
        ("staleness_sum", "i8", ""),
        ("staleness_most", "i8", ""),
        ("training", "i8", ""),
        ("updates", "i8", ""),
        ("down_bytes", "f8", ""),
        ("up_bytes", "f8", ""),
        ("joules", "f8", ""),
        ("wasted", "i8", ""),
    ],
)


def make_world(
    setting: Setting, *, pair: bool, overlap: bool, period_s: float, updates: int, logged: bool
) -> tuple[Any, EventLog]:
    """(world at time 0 with nothing begun, its event log)."""
    clients, plan, overlay = setting.clients, setting.plan, setting.overlay
    there = clients.availability
    own, site, between = overlay.latency_ticks(clients.latency_s)
    margin = 3 * setting.peers + 64
    log = EventLog(max(LOG_ROWS, 2 * margin) if logged else 0)
    tables = {
        "par": table(
            1,
            PAR,
            peers=setting.peers,
            seed=setting.seed,
            until=setting.until,
            updates=updates,
            overhead_s=plan.overhead_s,
            period=round(period_s * TICKS_PER_S),
            model_bytes=setting.model_bytes,
            pair=int(pair),
            overlap=int(overlap),
            interruption=INTERRUPTIONS.index(plan.interruption),
            sites=len(between),
            margin=margin,
        ),
        "peer": table(
            setting.peers,
            PEER,
            base_s=base_seconds(clients, plan),
            jitter=clients.jitter,
            failure=clients.failure,
            up=clients.up_bytes_per_s,
            down=clients.down_bytes_per_s,
            latency=own,
            compute_w=clients.compute_w,
            send_w=clients.send_w,
            receive_w=clients.receive_w,
            site=site,
            partner=-1,
            head=-1,
            next=-1,
            previous=-1,
        ),
        "count": table(setting.peers, COUNT),
        "state": table(1, STATE),
        "rows": table(VERSION_ROWS, ROW),
        "hist": np.zeros(STALENESS_MOST + 1, np.int64),
        "edge_first": overlay.phases[0].first,
        "edge_to": overlay.phases[0].to,
        "between": np.ascontiguousarray(between.reshape(-1)),
        "client": table(setting.peers, TRACE, pattern=there.trace, offset=there.offset),
        "first": np.ascontiguousarray(there.first, np.int64),
        "starts": np.ascontiguousarray(there.begin, np.int64),
        "stops": np.ascontiguousarray(there.end, np.int64),
        "period": np.ascontiguousarray(there.period, np.int64),
        **make_timers(3 * setting.peers),
        **log.tables(),
    }
    return World(read_only=READ_ONLY, **tables), log


def _example() -> Any:
    two = Clients.make([1, 1])
    setting = Setting(two, ring(2), Plan(until_s=1.0), None, 0)
    return make_world(setting, pair=False, overlap=False, period_s=0.0, updates=1, logged=False)[0]


WORLD = world_type({name: array.dtype for name, array in _example().tables().items()})
