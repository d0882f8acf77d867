"""Max-min fair flows of the SimPy twin: every change solves everything, in integers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from .reference_clock import TRANSFER, Clock, Timer, entity
from .tables import ServingInput


def max_min_rates(paths: Sequence[Sequence[int]], capacity: Sequence[int]) -> list[int]:
    """Rate of each flow in whole units per tick, at least 1.

    Progressive filling (Bertsekas and Gallager, "Data Networks", section 6.5.2): the link with the
    smallest share, ties to the lower index, gives each of its flows that share for good.

    Args:
        paths: the links of each flow.
        capacity: of each link, in units per tick.
    """
    left = list(capacity)
    rates = [0] * len(paths)
    while 0 in rates:
        users: dict[int, list[int]] = {}
        for flow, path in enumerate(paths):
            if rates[flow] == 0:
                for link in path:
                    users.setdefault(link, []).append(flow)
        share, narrowest = min((left[link] // len(flows), link) for link, flows in users.items())
        for flow in users[narrowest]:
            rates[flow] = max(1, share)
            for link in paths[flow]:
                left[link] -= rates[flow]
    return rates


@dataclass
class Flow:
    """KV on its way; its books are good as of `last`, when its rate last changed."""

    path: list[int]  # egress link of the source's NIC, ingress link of the destination's, fabric
    timer: Timer
    total: int  # units
    remaining: int  # units
    last: int  # ticks
    rate: int = 0  # units per tick


class Network:
    """Flows between NICs; NIC k has egress link k and ingress link (number of NICs) + k.

    Behind them come the links of the fabric, if there is one. ended(request) is called when the
    flow of a request ends.
    """

    def __init__(self, clock: Clock, inp: ServingInput, ended: Callable[[Any], None]) -> None:
        self.clock, self.ended, self.fabric = clock, ended, inp.fabric
        nics = [int(u) for u in inp.link_units_per_tick()]
        self.nics = len(nics)
        self.capacity = [*nics, *nics, *map(int, inp.fabric_units_per_tick())]
        self.moved = [0] * len(self.capacity)  # bytes
        self.shift = inp.unit_shift()
        self.flows: dict[tuple[int, int], Flow] = {}  # by request id and destination

    def start(self, request: Any, source: int, destination: int, units: int) -> None:
        """A flow of so many units for a request, from NIC to NIC."""
        timer = Timer(
            self.clock,
            TRANSFER,
            entity(destination, request.id),
            lambda: self._end(request, destination),
        )
        path = self.path(source, destination)
        for link in path:
            self.moved[link] += units >> self.shift
        self.flows[request.id, destination] = Flow(path, timer, units, units, self.clock.now)
        self._solve()

    def path(self, source: int, destination: int) -> list[int]:
        """The links that a flow from NIC to NIC crosses."""
        path = [source, self.nics + destination]
        if self.fabric and max(source, destination) < self.fabric.ends:
            path += [2 * self.nics + link for link in self.fabric.path(source, destination)]
        return path

    def stop(self, request: Any, destination: int) -> None:
        """The flow of a request to a NIC ends before its time, if it has not ended."""
        if (request.id, destination) in self.flows:
            flow = self.flows.pop((request.id, destination))
            flow.timer.clear()
            left = max(0, flow.remaining - flow.rate * (self.clock.now - flow.last))
            for link in flow.path:
                self.moved[link] -= left >> self.shift
            self._solve()

    def _end(self, request: Any, destination: int) -> None:
        del self.flows[request.id, destination]
        self._solve()
        self.ended(request)

    def _solve(self) -> None:
        now = self.clock.now
        flows = list(self.flows.values())
        rates = max_min_rates([flow.path for flow in flows], self.capacity)
        for flow, rate in zip(flows, rates, strict=True):
            if rate != flow.rate:
                # whole ticks: a flow that ends at this instant too may have moved a bit more
                flow.remaining = max(0, flow.remaining - flow.rate * (now - flow.last))
                flow.last, flow.rate = now, rate
                flow.timer.set(now + -(-flow.remaining // rate))
