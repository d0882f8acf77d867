"""Links that the transfers of several clients share, max-min fairly.

Each download and each upload is a flow (`models.network.shared`) over the links named here, at most
at the client's own rate, which may follow a trace (`tables.LinkTraces`). Its latency passes before
its bytes move. Where transfers are shared, a dispatch fails at a uniform point of the work that it
would be if it were alone.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from mltwin.models.network.flows import FlowTable
from mltwin.models.network.tables import network_tables
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import TICKS_PER_S as NETWORK_TICKS_PER_S

from .tables import TICKS_PER_S, Clients

if TYPE_CHECKING:
    from mltwin.models.network.topology import Topology

Array = npt.NDArray[Any]

COARSER = NETWORK_TICKS_PER_S // TICKS_PER_S
"""Ticks of the network's tables in one of a federation: what they call bytes/s is multiplied."""


@dataclass(frozen=True, eq=False)
class SharedLinks:
    """L links and who crosses them.

    Attributes:
        bytes_per_s: float64[L].
        down_first: int64[N+1]; down: int32[...]: links that a download of a client crosses.
        up_first, up: the same for uploads.
        incremental: whether a change repairs the rates that it touches, or all are worked out anew
            (which the twin does: to be compared with `==`).
    """

    bytes_per_s: Array
    down_first: Array
    down: Array
    up_first: Array
    up: Array
    incremental: bool = True

    @classmethod
    def at_server(
        cls, clients: int, *, down_bytes_per_s: float, up_bytes_per_s: float
    ) -> "SharedLinks":
        """A server's link: one direction for all downloads, one for all uploads."""
        return cls.of_groups(np.zeros(clients, np.int64), [down_bytes_per_s], [up_bytes_per_s])

    @classmethod
    def of_groups(
        cls,
        group: npt.ArrayLike,
        down_bytes_per_s: npt.ArrayLike,
        up_bytes_per_s: npt.ArrayLike,
        *,
        server_down_bytes_per_s: float | None = None,
        server_up_bytes_per_s: float | None = None,
    ) -> "SharedLinks":
        """Clients of a group (a cell, a site) share its two directions, all share the server's.

        Args:
            group: int[N], 0 to G - 1.
            down_bytes_per_s, up_bytes_per_s: float64[G].
            server_down_bytes_per_s, server_up_bytes_per_s: of the server; None: no limit.

        Raises:
            InputError: a group without a rate, a rate that is not above 0.
        """
        of = np.asarray(group, np.int64)
        down = np.atleast_1d(np.asarray(down_bytes_per_s, np.float64))
        up = np.atleast_1d(np.asarray(up_bytes_per_s, np.float64))
        rates = [down, up]
        ways = [[of], [len(down) + of]]
        for way, rate in zip(ways, (server_down_bytes_per_s, server_up_bytes_per_s), strict=True):
            if rate is not None:
                way.append(np.full_like(of, sum(map(len, rates))))
                rates.append(np.array([rate]))
        if len(down) != len(up) or of.min() < 0 or of.max() >= len(down):
            raise InputError(
                f"groups {of.min()} to {of.max()}, rates of {len(down)} and {len(up)}",
                where="network",
            )
        speed = np.concatenate(rates)
        if not np.all((speed > 0) & np.isfinite(speed)):
            raise InputError("a shared link's rate is not above 0 and finite", where="network")
        routes = [np.stack(way, axis=1) for way in ways]
        first = [np.arange(len(of) + 1, dtype=np.int64) * route.shape[1] for route in routes]
        links = [route.reshape(-1).astype(np.int32) for route in routes]
        return cls(speed, first[0], links[0], first[1], links[1])

    @classmethod
    def on(cls, topology: "Topology", server: int, ranks: npt.ArrayLike) -> "SharedLinks":
        """Routes of a topology between the server's rank and those of the clients (int[N]).

        Raises:
            InputError: as `models.network.routing.routes`.
        """
        from mltwin.models.network.routing import routes

        clients = np.asarray(ranks, np.int64)
        there = np.full_like(clients, server)
        down, up = routes(topology, there, clients), routes(topology, clients, there)
        return cls(
            np.asarray(topology.bytes_per_s, np.float64),
            down.first, down.links, up.first, up.links,
        )  # fmt: skip

    def flows(self, clients: Clients) -> FlowTable:
        """Flow 2 c is the download of client c, flow 2 c + 1 its upload; rates as `COARSER` says.

        Raises:
            InputError: links of another number of clients, or that are not there.
        """
        count = len(clients)
        if len(self.down_first) != count + 1 or len(self.up_first) != count + 1:
            raise InputError(
                f"links of {len(self.down_first) - 1} clients, there are {count}", where="network"
            )
        lengths = np.stack([np.diff(self.down_first), np.diff(self.up_first)], axis=1).reshape(-1)
        first = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        links = np.zeros(int(first[-1]), np.int32)
        for side, (starts, given) in enumerate(
            ((self.down_first, self.down), (self.up_first, self.up))
        ):
            length = np.diff(starts)
            place = np.repeat(first[side:-1:2] - starts[:-1], length) + np.arange(int(starts[-1]))
            links[place] = given
        cap = np.stack([clients.down_bytes_per_s, clients.up_bytes_per_s], axis=1).reshape(-1)
        return FlowTable.make(np.zeros(2 * count), first, links, cap=cap * COARSER)

    def tables(self, clients: Clients) -> dict[str, Array]:
        """The tables of the network, in which nothing moves yet."""
        return network_tables(
            self.bytes_per_s * COARSER,
            self.flows(clients),
            incremental=self.incremental,
            merge=clients.links is None,  # a cap that follows a trace is that of one flow
        )


def no_tables() -> dict[str, Array]:
    """Tables of a network that nobody uses."""
    return network_tables(np.ones(1), FlowTable.make([1.0], [0, 1], [0]))
