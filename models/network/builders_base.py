"""What all topology builders share: a growing list of nodes and links, checks of their arguments.

Latencies of a machine room, where a builder is given no other: NCCL's cost model (`hwLat` in
src/graph/tuning.cc, ring with the LL protocol) counts 0.6 us for a step over NVLink and 2.7 us for
one over the network. Here a step over NVSwitch crosses two links and a step over a spine four, so
that the sums are NCCL's figures.
"""

from collections.abc import Iterable, Mapping, Sequence
from math import isfinite, prod
from numbers import Integral, Real
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .topology import SWITCH, Topology

GBIT = 1e9 / 8
"""Bytes/s of 1 Gbit/s."""

NVLINK_BYTES_PER_S = 450e9
"""H100: 18 NVLink 4 links of 25 GB/s each way (NVIDIA H100 whitepaper: 900 GB/s both ways)."""

NIC_BYTES_PER_S = 400 * GBIT
"""ConnectX-7 of a DGX H100: 400 Gb/s each way."""

NVLINK_LATENCY_S = 0.3e-6
NIC_LATENCY_S = 1.0e-6
SWITCH_LATENCY_S = 0.35e-6


MOST_NODES = 4_000_000


class TopologyBuilder:
    """Nodes and links, added in groups; `build` makes the Topology.

    >>> made = TopologyBuilder()
    >>> hosts = made.nodes(1, ["a", "b"])
    >>> switch = made.nodes(SWITCH, ["s"])
    >>> made.duplex(hosts, switch, 1e9, 1e-6)
    >>> made.build("two hosts", hosts).describe().splitlines()[0]
    'two hosts (own): 2 hosts, 1 switch; 2 ranks in 2 islands, 4 links'
    """

    def __init__(self) -> None:
        self._names: list[str] = []
        self._kinds: list[npt.NDArray[np.int8]] = []
        self._links: list[tuple[Any, ...]] = []

    def nodes(self, kind: int, names: Iterable[str]) -> npt.NDArray[np.int32]:
        """Add nodes of one kind; their numbers, in the order of the names."""
        first = len(self._names)
        self._names.extend(names)
        count = len(self._names) - first
        self._kinds.append(np.full(count, kind, np.int8))
        return np.arange(first, first + count, dtype=np.int32)

    def links(
        self,
        source: npt.ArrayLike,
        target: npt.ArrayLike,
        bytes_per_s: npt.ArrayLike,
        latency_s: npt.ArrayLike,
        *,
        shared: bool = False,
    ) -> None:
        """Add directed links between nodes; the arguments broadcast."""
        columns = np.broadcast_arrays(
            np.atleast_1d(source), target, np.asarray(bytes_per_s, float), latency_s, shared
        )
        self._links.append(tuple(column.ravel() for column in columns))

    def duplex(
        self,
        a: npt.ArrayLike,
        b: npt.ArrayLike,
        bytes_per_s: npt.ArrayLike,
        latency_s: npt.ArrayLike,
    ) -> None:
        """Add cables: all links from a to b, then all from b to a, each at the full rate."""
        self.links(a, b, bytes_per_s, latency_s)
        self.links(b, a, bytes_per_s, latency_s)

    def build(
        self,
        name: str,
        endpoints: npt.ArrayLike,
        *,
        island: npt.ArrayLike | None = None,
        rail: npt.ArrayLike | None = None,
        transit: npt.ArrayLike | None = None,
        fabric: str = "own",
        facts: Mapping[str, Any] | None = None,
    ) -> Topology:
        """The topology; arguments as those of `Topology.make`. Raises InputError."""
        none = [(np.zeros(0, np.int32),) * 2 + (np.zeros(0),) * 2 + (np.zeros(0, bool),)]
        source, target, speed, latency, shared = (
            np.concatenate(part) for part in zip(*(self._links or none), strict=True)
        )
        return Topology.make(
            name=name,
            nodes=self._names,
            kinds=np.concatenate(self._kinds),
            source=source,
            target=target,
            bytes_per_s=speed,
            latency_s=latency,
            endpoints=endpoints,
            island=island,
            rail=rail,
            shared=shared,
            transit=transit,
            fabric=fabric,
            facts=facts,
        )


def whole(fabric: str, least: int = 1, **values: Any) -> None:
    """InputError unless each named value is a whole number, `least` or more."""
    for name, value in values.items():
        number = isinstance(value, Integral) and not isinstance(value, bool)
        if not number or value < least:
            raise InputError(
                f"{name} is {value!r}", where=fabric, mend=f"give a whole number from {least} on"
            )


def speeds(fabric: str, **values: Any) -> None:
    """InputError unless each named rate or factor is above 0 and each latency (_s) 0 or more."""
    for name, value in values.items():
        is_time = name.endswith("_s") and not name.endswith("_per_s")
        number = isinstance(value, Real) and not isinstance(value, bool) and isfinite(value)
        if not number or not (value >= 0 if is_time else value > 0):
            raise InputError(
                f"{name} is {value!r}",
                where=fabric,
                mend=f"give a finite number {'of 0 or more' if is_time else 'above 0'}",
            )


def numbered(pattern: str, *counts: int) -> list[str]:
    """Names from a pattern and all index tuples below counts, the last index running fastest.

    >>> numbered("n{}.gpu{}", 2, 2)
    ['n0.gpu0', 'n0.gpu1', 'n1.gpu0', 'n1.gpu1']

    Raises InputError for more than `MOST_NODES`.
    """
    if prod(map(int, counts)) > MOST_NODES:
        raise InputError(
            f"{prod(map(int, counts)):,} nodes called {pattern!r} are too many",
            where="topology",
            mend=f"at most {MOST_NODES:,}",
        )
    return [pattern.format(*index) for index in np.ndindex(*counts)]


def island_of_gpus(
    made: TopologyBuilder,
    islands: int,
    gpus: int,
    nvlink_bytes_per_s: float,
    nvlink_latency_s: float,
    hub: str = "nvswitch",
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """GPUs of some servers, each server's joined by one non-blocking NVSwitch.

    Returns (GPUs int32[islands * gpus] in rank order, switches int32[islands]; the latter is empty
    for servers of one GPU).
    """
    from .topology import GPU

    devices = made.nodes(GPU, numbered("n{}.gpu{}", islands, gpus))
    if gpus == 1:
        return devices, np.zeros(0, np.int32)
    hubs = made.nodes(SWITCH, numbered("n{}." + hub, islands))
    made.duplex(devices, np.repeat(hubs, gpus), nvlink_bytes_per_s, nvlink_latency_s)
    return devices, hubs


def uplinks_of(
    made: TopologyBuilder,
    lower: Sequence[int] | npt.NDArray[np.int32],
    upper: Sequence[int] | npt.NDArray[np.int32],
    cables: int,
    bytes_per_s: float,
    latency_s: float,
) -> None:
    """Cable each lower switch `cables` times to the upper ones, going round them in turn.

    With as many cables as upper switches, or a multiple, each pair has the same number. With fewer,
    each lower switch begins where the one before ended, so that upper switches fill evenly.
    """
    low, high = np.asarray(lower), np.asarray(upper)
    turn = np.arange(len(low) * cables)
    made.duplex(np.repeat(low, cables), high[turn % len(high)], bytes_per_s, latency_s)
