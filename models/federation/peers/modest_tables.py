"""MoDeST: ranks, events and what a run leaves."""

from dataclasses import dataclass, field

FLOW, MESSAGE, TRAIN, PING_AGAIN, PING_LATE, AGGREGATION_LATE, PRESENCE = range(7)
"""Ranks at one tick: flows end (by sender, receiver), messages arrive (by receiver, sender),
trainings end, pings are repeated, pings and aggregations time out, peers come and leave."""

PING, PONG, ACK, NEWS, TRAINED, AGGREGATED = range(6)
"""Messages: is a peer there, yes, an aggregation ended, a peer comes or leaves, and the models of
participants and of aggregators."""

MESSAGE_KINDS = ("ping", "pong", "ack", "news", "model", "view")

RUNNING, LOST, CANCELLED, DONE, USED, DISCARDED = range(6)
"""What became of a training."""

EVENTS = (
    "train", "trained", "interrupted", "dropped", "failed", "found", "send_trained",
    "send_aggregated", "received_trained", "received_aggregated", "late", "broken", "unheard",
    "aggregate", "aggregated", "timeout", "given_up", "ping", "pong", "no_answer", "ack", "done",
    "leave", "join",
)  # fmt: skip
"""Rows of the log. Value: of what a peer does in a round, the round; of what it sends or receives,
the other peer."""

EVENT_CODES = {name: code for code, name in enumerate(EVENTS)}


@dataclass(slots=True)
class Training:
    """One local training.

    Attributes:
        peer, round: who trains for which round.
        held: number of the aggregate that it starts from, 0 the initial model.
        dispatch: of the peer, from 0.
        begin, end: ticks; status.
    """

    peer: int
    round: int
    held: int
    dispatch: int
    begin: int
    end: int = -1
    status: int = RUNNING


@dataclass(slots=True)
class Aggregate:
    """An average that an aggregator made of the trainings `members` of a round."""

    peer: int
    round: int
    time: int
    members: list[int]
    first: bool


@dataclass
class ModestRaw:
    """What the engine or the twin leaves.

    Attributes:
        trainings, aggregates: in the order of their beginning; aggregates from number 1.
        costs: of the first aggregate of each round: down, up bytes so far, joules of links.
        sent, received, lost, under_way: bytes by kind of message.
        up_bytes, down_bytes, sending, receiving: a value a peer; ticks.
        log: rows (time, kind, entity, value).
        end, ended, complete: as in `FederatedRun`.
        pings, timeouts: how many.
    """

    trainings: list[Training] = field(default_factory=list)
    aggregates: list[Aggregate] = field(default_factory=list)
    costs: list[tuple[float, float, float]] = field(default_factory=list)
    in_flight: list[int] = field(default_factory=list)
    sent: dict[str, float] = field(default_factory=dict)
    received: dict[str, float] = field(default_factory=dict)
    lost: dict[str, float] = field(default_factory=dict)
    under_way: dict[str, float] = field(default_factory=dict)
    up_bytes: list[float] = field(default_factory=list)
    down_bytes: list[float] = field(default_factory=list)
    sending: list[int] = field(default_factory=list)
    receiving: list[int] = field(default_factory=list)
    log: list[tuple[int, int, int, int]] = field(default_factory=list)
    end: int = 0
    ended: str = ""
    complete: bool = True
