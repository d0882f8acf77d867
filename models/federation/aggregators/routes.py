"""Machines of a service, and the ways that messages take between them."""

from .stations import Clock, Stage, Station
from .tables import Service, ticks_of


class Machine:
    """Cores, and a NIC inwards and one outwards."""

    def __init__(self, clock: Clock, cores: int) -> None:
        self.cores = Station(clock, cores)
        self.nic_in = Station(clock, 1)
        self.nic_out = Station(clock, 1)


class Routes:
    """The machines of a service and its ways.

    Attributes:
        nodes: machines of the aggregators.
        broker: its machine; none of it is used unless `hops` is "broker".
        off_node: bytes sent from one machine to another so far.
    """

    def __init__(self, service: Service, clock: Clock, size: float) -> None:
        self.service, self.size = service, size
        self.nodes = [Machine(clock, service.cores) for _ in range(service.nodes)]
        self.broker = Machine(clock, service.broker_cores)
        self.off_node = 0.0
        self._serialise = service.serialise_ticks(size)
        self._sidecar = service.sidecar_ticks(size)
        self._broker = service.broker_ticks(size)
        self._nic = service.nic_ticks(size)
        self._latency = ticks_of(service.latency_s)
        self._pass = ticks_of(service.pass_s)

    def of_update(self, node: int) -> list[Stage]:
        """From the service's door to an aggregator of a node."""
        end = self.nodes[node]
        if self.service.hops == "broker":
            return [
                Stage(self.broker.nic_in, self._nic, "nic"),
                Stage(self.broker.cores, self._broker, "broker"),
                *self._between(self.broker, end),
                Stage(end.cores, self._sidecar, "sidecar"),
                Stage(end.cores, self._serialise, "serialise"),
            ]
        return [
            Stage(end.nic_in, self._nic, "nic"),
            Stage(end.cores, self._serialise, "serialise"),
        ]

    def of_sum(self, start: int, end: int) -> list[Stage]:
        """From an aggregator of a node to one of the same or of another."""
        if self.service.hops == "shared" and start == end:
            return [Stage(None, self._pass, "pass")]
        here, there = self.nodes[start], self.nodes[end]
        packed = Stage(here.cores, self._serialise, "serialise")
        unpacked = Stage(there.cores, self._serialise, "serialise")
        if self.service.hops == "broker":
            return [
                packed,
                Stage(here.cores, self._sidecar, "sidecar"),
                *self._between(here, self.broker),
                Stage(self.broker.cores, self._broker, "broker"),
                *self._between(self.broker, there),
                Stage(there.cores, self._sidecar, "sidecar"),
                unpacked,
            ]
        return [packed, *(self._between(here, there) if start != end else []), unpacked]

    def copies(self, way: list[Stage]) -> int:
        """Copies of a message in memory while it is on its way: one by reference, one at either
        end of a hop, one more in the broker."""
        if way[0].kind == "pass":
            return 1
        return 3 if self.service.hops == "broker" else 2

    def _between(self, start: Machine, end: Machine) -> list[Stage]:
        self.off_node += self.size
        return [
            Stage(start.nic_out, self._nic, "nic"),
            Stage(None, self._latency, "latency"),
            Stage(end.nic_in, self._nic, "nic"),
        ]
