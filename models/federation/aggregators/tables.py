"""What an aggregation service is: its machines, its design, its rates and prices."""

import math
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.errors import InputError

if TYPE_CHECKING:
    from .service import Running

GB = 1e9
HOPS = ("grpc", "broker", "shared")
PLACEMENTS = ("spread", "pack")
TIMINGS = ("lazy", "eager")
SCALINGS = ("fixed", "demand", "ewma")
CHOICES = {"hops": HOPS, "placement": PLACEMENTS, "timing": TIMINGS, "scaling": SCALINGS}


@dataclass(frozen=True)
class Service:
    """An aggregation service; the package's docstring says what its fields do.

    The rates are of our own timing of one core of a 4-core EPYC virtual machine under load, on
    arrays of 47 to 241 MB: `acc += w * u` in float32 5.2 to 6.7 GB/s (medians), pickling and back
    1.2 to 2.0, a loopback socket 1.3 to 2.8 (a proxy reads and writes, so half of the best). Cold
    start, keep-alive and prices are assumed.

    Attributes:
        name: of the design.
        nodes, cores, node_gb: machines alike, cores and 10^9 bytes of each.
        levels: of the tree; 1: one aggregator and no tree.
        fan_in: updates of a leaf.
        leaves: of scaling "fixed"; they get all updates in turn, whatever `fan_in`.
        hops, placement, timing, scaling, reuse: the design.
        node_updates: room of a node for placement "pack".
        ewma: weight of the latest step in the average queue.
        cold_start_s: until a new instance works, one core busy.
        keep_alive_s: that an idle instance stays.
        instance_gb: memory of an instance beside its sum.
        fold_gb_per_s, serialise_gb_per_s, sidecar_gb_per_s, broker_gb_per_s: of one core.
        broker_cores: of the broker's machine, which is always on.
        broker_gb: its memory.
        nic_gbit_per_s: of each machine, in and out apart.
        latency_s: between machines.
        pass_s: to pass a reference within a node.
        dollars_per_core_hour, dollars_per_gb_hour: of cores and memory that are held.
        dollars_per_off_node_gb: of traffic between machines of the service.
    """

    name: str = "lifl"
    nodes: int = 4
    cores: int = 16
    node_gb: float = 64.0
    levels: int = 3
    fan_in: int = 2
    leaves: int = 8
    hops: str = "shared"
    placement: str = "pack"
    timing: str = "eager"
    scaling: str = "ewma"
    reuse: bool = True
    node_updates: int = 20
    ewma: float = 0.7
    cold_start_s: float = 2.0
    keep_alive_s: float = 60.0
    instance_gb: float = 0.5
    fold_gb_per_s: float = 6.0
    serialise_gb_per_s: float = 1.3
    sidecar_gb_per_s: float = 1.25
    broker_gb_per_s: float = 1.25
    broker_cores: int = 4
    broker_gb: float = 16.0
    nic_gbit_per_s: float = 10.0
    latency_s: float = 0.0001
    pass_s: float = 0.00002
    dollars_per_core_hour: float = 0.04
    dollars_per_gb_hour: float = 0.005
    dollars_per_off_node_gb: float = 0.0

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise InputError(
                    f"{name} is {getattr(self, name)!r}",
                    where=f"aggregation.{name}",
                    mend=f"use one of {', '.join(allowed)}",
                )
        for name, (low, high) in _LIMITS.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(
                    f"{name} is {value}",
                    where=f"aggregation.{name}",
                    mend=f"give {low:g} to {high:g}",
                )

    @property
    def fixed(self) -> bool:
        """Whether its instances run all the time."""
        return self.scaling == "fixed"

    def leaf_limit(self, update_bytes: float) -> int:
        """Leaves that a node runs at a time: one a core, as far as memory goes.

        A leaf takes `instance_gb`, its sum and one update.

        Raises InputError: not even one fits.
        """
        each = self.instance_gb * GB + 2 * update_bytes
        fit = int(self.node_gb * GB // each)
        if fit < 1:
            raise InputError(
                f"a leaf takes {each / GB:.3g} GB, a node has {self.node_gb:g}",
                where="aggregation.node_gb",
                mend="give larger nodes",
            )
        return min(self.cores, fit)

    def fold_ticks(self, size: float) -> int:
        """To add an update or a sum of so many bytes."""
        return _ticks(size, self.fold_gb_per_s * GB)

    def serialise_ticks(self, size: float) -> int:
        """At one end of a hop between processes."""
        return _ticks(size, self.serialise_gb_per_s * GB)

    def sidecar_ticks(self, size: float) -> int:
        """At one end of a hop through the broker."""
        return _ticks(size, self.sidecar_gb_per_s * GB)

    def broker_ticks(self, size: float) -> int:
        """In the broker."""
        return _ticks(size, self.broker_gb_per_s * GB)

    def nic_ticks(self, size: float) -> int:
        """Through a NIC."""
        return _ticks(size, self.nic_gbit_per_s * GB / 8)

    def begin(self, update_bytes: float) -> "Running":
        """A running service (`service.Running`) without any instance but those always on."""
        from .service import Running

        return Running(self, update_bytes)


_RATES = ("fold_gb_per_s", "serialise_gb_per_s", "sidecar_gb_per_s", "broker_gb_per_s",
          "nic_gbit_per_s")  # fmt: skip
_LIMITS: dict[str, tuple[float, float]] = {
    "nodes": (1, 10_000),
    "cores": (1, 10_000),
    "node_gb": (1e-6, 1e6),
    "levels": (1, 3),
    "fan_in": (1, 10**6),
    "leaves": (1, 10**5),
    "node_updates": (1, 10**9),
    "ewma": (0.0, 1.0),
    "cold_start_s": (0.0, 1e5),
    "keep_alive_s": (0.0, 1e9),
    "instance_gb": (0.0, 1e5),
    "broker_cores": (1, 10_000),
    "broker_gb": (0.0, 1e6),
    "latency_s": (0.0, 1e3),
    "pass_s": (0.0, 1e3),
    "dollars_per_core_hour": (0.0, 1e6),
    "dollars_per_gb_hour": (0.0, 1e6),
    "dollars_per_off_node_gb": (0.0, 1e6),
} | {name: (1e-6, math.inf) for name in _RATES}

DESIGNS: dict[str, dict[str, Any]] = {
    "always_on": {"hops": "grpc", "placement": "spread", "timing": "lazy", "scaling": "fixed",
                  "reuse": False, "levels": 2},
    "broker": {"hops": "broker", "placement": "spread", "timing": "lazy", "scaling": "demand",
               "reuse": False, "levels": 2},
    "lifl": {"hops": "shared", "placement": "pack", "timing": "eager", "scaling": "ewma",
             "reuse": True, "levels": 3},
}  # fmt: skip
"""Always-on aggregators over gRPC; serverless ones behind a broker and sidecars; LIFL."""


def design(name: str, **changes: Any) -> Service:
    """A service of a design, with some of its fields changed.

    Raises InputError: an unknown design or field, or a value that cannot be.
    """
    if name not in DESIGNS:
        raise InputError(
            f"unknown design {name!r}", where="aggregation.design", mend=f"use {', '.join(DESIGNS)}"
        )
    known = {field.name for field in fields(Service)} - {"name"}
    for key in changes:
        if key not in known:
            raise InputError(
                "unknown field", where=f"aggregation.{key}", mend=f"use one of {sorted(known)}"
            )
    return replace(Service(name=name, **DESIGNS[name]), **changes)


def ticks_of(seconds: float) -> int:
    """Seconds as whole ticks."""
    return round(seconds * TICKS_PER_S)


def _ticks(size: float, rate: float) -> int:
    return round(size / rate * TICKS_PER_S)
