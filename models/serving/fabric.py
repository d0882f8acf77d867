"""Links between NICs that KV transfers share: the paths of a topology, one for each pair of NICs.

A pair's path is fixed, as the packets of one connection keep theirs under ECMP. A rate is limited
by the NICs' own links too.
"""

from dataclasses import dataclass, field

import numpy as np

from mltwin.models.network.routing import routes
from mltwin.models.network.topology import Topology
from mltwin.sim.errors import InputError

MOST_NICS = 2048


@dataclass(frozen=True, eq=False)
class Fabric:
    """K links and the path of each pair of E NICs.

    Attributes:
        bytes_per_s: float64[K], above 0 where a path crosses the link.
        first: int64[E*E + 1], links: int32[...]: the path from NIC a to NIC b is
            ``links[first[a * E + b]:first[a * E + b + 1]]``, no link twice.
        names: of the links.
    """

    bytes_per_s: np.ndarray
    first: np.ndarray
    links: np.ndarray
    names: tuple[str, ...] = field(default=())

    @property
    def ends(self) -> int:
        """E."""
        return int(np.sqrt(len(self.first) - 1) + 0.5)

    @property
    def hops(self) -> int:
        """Links of the longest path."""
        return int(np.diff(self.first).max(initial=0))

    def path(self, source: int, target: int) -> list[int]:
        """The links from NIC to NIC."""
        pair = source * self.ends + target
        return [int(link) for link in self.links[self.first[pair] : self.first[pair + 1]]]

    @classmethod
    def of_topology(
        cls, topology: Topology, endpoints: np.ndarray, *, routing: str = "ecmp", seed: int = 0
    ) -> "Fabric":
        """The paths between endpoints of a topology.

        Args:
            topology: its endpoints are ranks 0, 1, ...
            endpoints: int[E], the rank on which each NIC hangs.
            routing: "ecmp" (one of the shortest paths, by a hash of the pair) or "shortest".
            seed: of the hash.

        Raises:
            InputError: an endpoint that is not there or taken twice, too many NICs, two NICs
                without a path, a path over a broken link or twice over one (a wireless medium).
        """
        ends = np.asarray(endpoints, np.int64)
        there = len(topology.endpoints)
        if len(ends) > MOST_NICS:
            raise InputError(f"{len(ends)} NICs on a fabric", mend=f"at most {MOST_NICS}")
        outside = np.flatnonzero((ends < 0) | (ends >= there))
        if len(outside):
            raise InputError(
                f"NIC {outside[0]} hangs on endpoint {ends[outside[0]]}, the topology has {there}",
                mend="give a larger topology, or endpoints that are there",
            )
        if len(np.unique(ends)) < len(ends):
            raise InputError("two NICs hang on one endpoint", mend="give each its own")
        source, target = np.repeat(ends, len(ends)), np.tile(ends, len(ends))
        found = routes(
            topology,
            source.astype(np.int32),
            target.astype(np.int32),
            routing=routing,
            keys=np.arange(len(source)),
            seed=seed,
        )
        fabric = cls(
            np.asarray(topology.bytes_per_s, np.float64),
            np.asarray(found.first, np.int64),
            np.asarray(found.links, np.int32),
            tuple(topology.link_names()),
        )
        fabric._check()
        return fabric

    def _check(self) -> None:
        broken = np.flatnonzero(self.bytes_per_s[self.links] <= 0)
        if len(broken):
            raise InputError(
                f"link {self.names[self.links[broken[0]]]} has no bandwidth and is in use",
                mend="give it bandwidth, or take it out of the topology",
            )
        pair = np.repeat(np.arange(len(self.first) - 1), np.diff(self.first))
        crossings = np.stack([pair, self.links])
        if np.unique(crossings, axis=1).shape[1] < crossings.shape[1]:
            raise InputError(
                "a path crosses a link twice",
                mend="a fabric of NICs has a link for each direction; cells do not",
            )
