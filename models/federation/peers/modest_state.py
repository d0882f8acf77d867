"""The state of the engine of MoDeST: what one peer does, and what is under way."""

from dataclasses import dataclass, field

from .views import Copy


@dataclass(slots=True)
class Search:
    """A peer asks, in the order of a sample, until `wanted` answered.

    Attributes:
        index: the sample's round; for_model: number of the aggregate to be sent to participants,
            -1 in a search for aggregators.
        queue, place: whom to ask, and the next of them.
        asked: peers that have not answered yet.
        found: those that have.
    """

    index: int
    for_model: int
    queue: list[int]
    wanted: int
    place: int = 0
    asked: set[int] = field(default_factory=set)
    found: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Collection:
    """Models that an aggregator has of a round: sender -> training. `deadline` -1: closed, and
    `open_sends` transfers to participants are under way."""

    deadline: int
    models: dict[int, int] = field(default_factory=dict)
    open_sends: int = 0


@dataclass(slots=True)
class Letter:
    """A model on its way, with the sender's view."""

    content: int
    view: Copy


class PeerState:
    """What one peer does."""

    __slots__ = ("collections", "completed", "dispatches", "done", "estimate", "fails", "last",
                 "news", "ongoing", "searches", "serial", "there", "training", "waits")  # fmt: skip

    def __init__(self, there: bool) -> None:
        self.there = there
        self.estimate = 0  # the round that it takes part in
        self.training = -1  # number of the training under way
        self.last = -1  # number of its last training
        self.fails = False
        self.ongoing = False  # a round: from training to the aggregator's word that it is over
        self.done = False  # that word has come
        self.waits = False  # for it, the model being sent
        self.dispatches = 0
        self.serial = 0
        self.news = 1  # number of its next change of membership
        self.searches: dict[int, Search] = {}
        self.collections: dict[int, Collection] = {}
        self.completed: set[int] = set()
