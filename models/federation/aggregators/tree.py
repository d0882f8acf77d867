"""The tree of one step: who folds what, when its sum goes on, and to whom."""

from collections import Counter, deque
from dataclasses import dataclass, field

from .instances import LEAF, MIDDLE, TOP, Instance, Pool
from .placement import Queue, home
from .routes import Routes
from .stations import DONE, Clock, travel
from .tables import Service

Parts = list[int]
"""Updates that are in a message, by their place in the step."""


@dataclass(eq=False)
class Aggregator:
    """One of the tree.

    Attributes:
        expected: children known so far; of a leaf updates.
        received, folded: of them.
        closed: whether no more will be.
        inbox: what waits to be folded.
        held: the sum of an only child, which waits for a sibling, and its node.
    """

    role: int
    node: int
    parent: "Aggregator | None"
    instance: Instance | None = None
    asked: bool = False
    expected: int = 0
    received: int = 0
    folded: int = 0
    folding: bool = False
    closed: bool = False
    inbox: deque[Parts] = field(default_factory=deque)
    parts: Parts = field(default_factory=list)
    held: tuple[Parts, int] | None = None


@dataclass
class Memory:
    """Bytes held by messages and sums: now, and at most."""

    now: float = 0.0
    most: float = 0.0

    def take(self, size: float) -> None:
        """More; or less, if negative."""
        self.now += size
        self.most = max(self.most, self.now)


class Tree:
    """One step. `arrive` and `close` are its events; `made` holds its updates at the end.

    Args:
        service, clock, routes, pool, queue, memory: of the running service.
        owners: by place of an update the number of its client among those of the step.

    Attributes:
        made: places of the updates in the new version, None until it is there.
        ended: tick at which it was.
    """

    def __init__(
        self, service: Service, clock: Clock, routes: Routes, pool: Pool, queue: Queue,
        memory: Memory, owners: list[int],
    ) -> None:  # fmt: skip
        self.service, self.clock, self.routes, self.pool = service, clock, routes, pool
        self.queue, self.memory = queue, memory
        self._keys = [owner % service.leaves for owner in owners] if service.fixed else []
        self._shares = Counter(self._keys)
        self.lazy = service.timing == "lazy"
        self.fold_ticks = service.fold_ticks(routes.size)
        self.made: Parts | None = None
        self.ended = 0
        self.top: Aggregator | None = None
        self.middles: dict[int, Aggregator] = {}
        self.leaves: list[Aggregator] = []
        self._open: dict[int, Aggregator] = {}  # by node; with fixed leaves by leaf
        if service.levels > 1:
            for key in sorted(self._shares):  # what is always on knows its siblings
                self._new_leaf(key, home(service, key))

    # -- events --------------------------------------------------------------------------------

    def arrive(self, place: int) -> None:
        """An update has come."""
        leaf = self._leaf(place)
        leaf.expected += 1
        self.queue.joins(leaf.node)
        key, share = leaf.node, self.service.fan_in
        if self.service.fixed:
            key = self._keys[place]
            share = self._shares[key]
        if self.service.levels > 1 and leaf.expected == share:
            leaf.closed = True
            del self._open[key]
        if leaf.closed or not self.lazy:
            self._want(leaf)
        self._send(leaf, [place], None)

    def close(self) -> None:
        """No more updates come in this step."""
        for leaf in self._open.values():
            leaf.closed = True
            self._want(leaf)
            self._go_on(leaf)
        for parent in [*self.middles.values(), self.top]:
            if parent is None or parent.role == LEAF:
                continue
            parent.closed = True
            if parent.expected == 1 and parent.held is not None:
                parts, _ = parent.held
                self._pass_on(parent, parts)
            elif parent.expected > 1:
                self._go_on(parent)

    # -- who there is --------------------------------------------------------------------------

    def _leaf(self, place: int) -> Aggregator:
        """The leaf that an update goes to, made if need be."""
        if self.service.levels == 1:
            key = node = 0
        elif self.service.fixed:
            key = self._keys[place]
            node = home(self.service, key)
        else:
            key = node = self.queue.choose(place)
        return self._open[key] if key in self._open else self._new_leaf(key, node)

    def _new_leaf(self, key: int, node: int) -> Aggregator:
        leaf = self._open[key] = Aggregator(LEAF, node, None)
        self.leaves.append(leaf)
        if self.service.levels == 1:
            self.top = leaf
        else:
            leaf.parent = self._parent(node)
            self._adopt(leaf.parent)
        return leaf

    def _parent(self, node: int) -> Aggregator:
        """Of the leaves of a node."""
        if self.top is None:
            self.top = Aggregator(TOP, 0 if self.service.fixed else node, None)
        if self.service.levels == 2:
            return self.top
        if node not in self.middles:
            self.middles[node] = Aggregator(MIDDLE, node, self.top)
            self._adopt(self.top)
        return self.middles[node]

    def _adopt(self, parent: Aggregator) -> None:
        """A parent has one child more."""
        parent.expected += 1
        if parent.expected == 2 and parent.held is not None:
            (parts, node), parent.held = parent.held, None
            self._deliver(parent, parts, node)

    # -- messages ------------------------------------------------------------------------------

    def _send(self, to: Aggregator, parts: Parts, start: int | None) -> None:
        """A message goes to an aggregator; start: its node, None for an update."""
        routes, size = self.routes, self.routes.size
        way = routes.of_update(to.node) if start is None else routes.of_sum(start, to.node)
        copies = routes.copies(way)
        # A sum has been in memory since it was made, an update is new.
        self.memory.take(size * (copies - (start is not None)))

        def arrived() -> None:
            self.memory.take(-size * (copies - 1))
            to.received += 1
            to.inbox.append(parts)
            self._go_on(to)

        travel(self.clock, way, self.clock.number(), arrived)

    def _deliver(self, parent: Aggregator, parts: Parts, start: int) -> None:
        if not self.lazy:
            self._want(parent)
        self._send(parent, parts, start)

    def _pass_on(self, done: Aggregator, parts: Parts) -> None:
        """A sum is ready: it goes to the parent, if there is one."""
        parent = done.parent
        if parent is None:
            self.made, self.ended = parts, self.clock.now
            self.memory.take(-self.routes.size)
        elif parent.expected > 1:
            self._deliver(parent, parts, done.node)
        elif parent.closed:
            parent.node = done.node
            self._pass_on(parent, parts)
        else:
            parent.held = parts, done.node

    # -- folding -------------------------------------------------------------------------------

    def _want(self, one: Aggregator) -> None:
        """An aggregator needs an instance."""
        if one.asked or self.service.fixed:
            return
        one.asked = True

        def given(instance: Instance) -> None:
            one.instance = instance
            self._go_on(one)

        self.pool.ask(one.node, one.role, given)

    def _go_on(self, one: Aggregator) -> None:
        """Fold the next message, or send the sum of all."""
        if one.folding:
            return
        if one.closed and one.folded == one.expected > 0:
            self._finish(one)
            return
        complete = one.closed and one.received == one.expected
        if not one.inbox or (self.lazy and not complete):
            return
        if one.instance is None and not self.service.fixed:
            self._want(one)  # which goes on once there is one
            return
        one.folding = True
        parts = one.inbox.popleft()

        def folded() -> None:
            one.folding = False
            if one.folded > 0:  # the first becomes the sum
                self.memory.take(-self.routes.size)
            one.folded += 1
            one.parts += parts
            if one.role == LEAF:
                self.queue.leaves(one.node)
            self._go_on(one)

        number = self.clock.number()
        if self.fold_ticks:
            self.routes.nodes[one.node].cores.do(self.fold_ticks, "fold", number, folded)
        else:
            self.clock.at(self.clock.now, DONE, number, folded)

    def _finish(self, one: Aggregator) -> None:
        if one.instance is not None:
            self.pool.leave(one.instance, one.role)
            one.instance = None
        parts, one.parts = one.parts, []
        one.expected = -1  # it is over
        self._pass_on(one, parts)
