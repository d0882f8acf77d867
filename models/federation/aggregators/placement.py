"""Where updates go, and how many leaves are made ready before they come."""

import math
from collections.abc import Sequence

from .tables import Service


def best_fit(load: Sequence[int], room: int) -> int:
    """The node with the least room that has some; if none has, the one least overfull.

    Args:
        load: updates of each node that have come and are not folded.
        room: of a node.

    Ties go to the first.
    """
    free = [node for node in range(len(load)) if load[node] < room]
    if free:
        return max(free, key=lambda node: (load[node], -node))
    return min(range(len(load)), key=lambda node: (load[node], node))


def shares(service: Service, leaves: int, limit: int) -> list[int]:
    """Leaves of each node: one node filled after another (pack), or in turn (spread)."""
    if service.placement == "pack":
        return [min(limit, max(0, leaves - node * limit)) for node in range(service.nodes)]
    counts = [leaves // service.nodes] * service.nodes
    for node in range(leaves % service.nodes):
        counts[node] += 1
    return [min(limit, count) for count in counts]


def home(service: Service, leaf: int) -> int:
    """The node of a leaf that is always on."""
    if service.placement == "pack":
        return leaf // service.cores % service.nodes
    return leaf % service.nodes


def always_on(service: Service) -> int:
    """Instances of a tree that is always on."""
    if service.levels == 1:
        return 1
    counts = [0] * service.nodes
    for leaf in range(service.leaves):
        counts[home(service, leaf)] += 1
    middles = sum(count > 1 for count in counts) if service.levels == 3 else 0
    return service.leaves + middles + 1


class Queue:
    """Updates that have come and are not folded: now, at most in this step, and on average."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.load = [0] * service.nodes
        self.now = self.most = 0
        self.average: float | None = None

    def choose(self, place: int) -> int:
        """The node of a step's next update."""
        if self.service.placement == "pack":
            return best_fit(self.load, self.service.node_updates)
        return place % self.service.nodes

    def joins(self, node: int) -> None:
        """An update has come."""
        self.load[node] += 1
        self.now += 1
        self.most = max(self.most, self.now)

    def leaves(self, node: int) -> None:
        """An update has been folded."""
        self.load[node] -= 1
        self.now -= 1

    def planned(self) -> int:
        """Leaves to make ready for the next step."""
        if self.service.scaling != "ewma" or self.average is None:
            return 0
        return math.ceil(self.average / self.service.fan_in)

    def end_step(self) -> None:
        """The step's highest queue goes into the average."""
        weight = self.service.ewma
        before = float(self.most) if self.average is None else self.average
        self.average = weight * self.most + (1.0 - weight) * before
        self.most = 0
