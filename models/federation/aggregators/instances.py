"""Instances of aggregators: started when they are needed, reused while warm, gone when idle long.

An instance is a process on a node that takes one core while it works. With `reuse` any idle one
will do; else leaves, middles and tops each have their own.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from .routes import Machine
from .stations import Clock
from .tables import Service, ticks_of

LEAF, MIDDLE, TOP = range(3)
ANY = -1
Give = Callable[["Instance"], None]


@dataclass(eq=False)
class Instance:
    """One process.

    Attributes:
        role: what it may be, ANY if anything.
        born: tick at which its start began.
        ready: whether it has started.
        idle: tick since which nobody holds it; None: somebody does.
        waiting: who gets it once it has started; None: nobody has asked.
    """

    number: int
    node: int
    role: int
    born: int
    ready: bool = False
    idle: int | None = None
    waiting: Give | None = None


class Pool:
    """All instances of a service.

    Attributes:
        started: cold starts so far.
        alive: at the last start; most: at a time.
        leaves: of each node, that hold an instance.
    """

    def __init__(self, service: Service, clock: Clock, nodes: list[Machine], limit: int) -> None:
        self.service, self.clock, self.nodes, self.limit = service, clock, nodes, limit
        self.keep = ticks_of(service.keep_alive_s)
        self.cold = ticks_of(service.cold_start_s)
        self.started = self.most = self.alive = 0
        self.lived = 0  # ticks of those that are gone
        self.leaves = [0] * len(nodes)
        self._here: list[list[Instance]] = [[] for _ in nodes]
        self._line: list[deque[Give]] = [deque() for _ in nodes]

    def ask(self, node: int, role: int, give: Give) -> None:
        """An instance for an aggregator, as soon as there is one."""
        if role == LEAF and self.leaves[node] >= self.limit:
            self._line[node].append(give)
            return
        if role == LEAF:
            self.leaves[node] += 1
        self._bury(node)
        mine = role if not self.service.reuse else ANY
        fit = [one for one in self._here[node] if one.role == mine and one.waiting is None]
        warm = next((one for one in fit if one.ready and one.idle is not None), None)
        if warm is not None:
            warm.idle = None
            give(warm)
            return
        coming = next((one for one in fit if not one.ready), None) or self._start(node, mine)
        coming.waiting = give

    def leave(self, instance: Instance, role: int) -> None:
        """Nobody holds an instance any more."""
        instance.idle = self.clock.now
        if role == LEAF:
            node = instance.node
            self.leaves[node] -= 1
            if self._line[node]:
                self.ask(node, LEAF, self._line[node].popleft())

    def warm_up(self, node: int, leaves: int) -> None:
        """Start instances until a node has so many for leaves."""
        self._bury(node)
        role = ANY if self.service.reuse else LEAF
        have = sum(one.role == role for one in self._here[node])
        for _ in range(min(leaves, self.limit) - have):
            self._start(node, role)

    def _start(self, node: int, role: int) -> Instance:
        for other in range(len(self.nodes)):
            self._bury(other)
        self.started += 1
        self.alive += 1
        self.most = max(self.most, self.alive)
        instance = Instance(self.started, node, role, self.clock.now)
        self._here[node].append(instance)

        def ready() -> None:
            instance.ready = True
            give, instance.waiting = instance.waiting, None
            if give is None:
                instance.idle = self.clock.now
            else:
                give(instance)

        self.nodes[node].cores.do(self.cold, "start", self.clock.number(), ready)
        return instance

    def _bury(self, node: int) -> None:
        """Those that were idle too long are gone since then."""
        now, left = self.clock.now, []
        for one in self._here[node]:
            if one.idle is not None and one.idle + self.keep < now:
                self.lived += one.idle + self.keep - one.born
                self.alive -= 1
            else:
                left.append(one)
        self._here[node] = left

    def lived_until(self, end: int) -> int:
        """Ticks that instances have been there, until a tick; of all, also those still there.

        A start that is under way counts whole, as its work does.
        """
        total = self.lived
        for one in (one for here in self._here for one in here):
            gone = end if one.idle is None else min(end, one.idle + self.keep)
            if not one.ready:
                gone = max(gone, one.born + self.cold)
            total += max(0, gone - one.born)
        return total
