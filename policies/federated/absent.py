"""Clients that a strategy wants to put to work but that are away: until they are back."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Server

Array = npt.NDArray[Any]


@dataclass
class Absent:
    """Remembers absent clients and sets a timer for the return of the next.

    Attributes:
        number: of the timer; the strategy calls `back` when it rings.
    """

    number: int
    _clients: set[int] = field(default_factory=set)

    def here(self, server: Server, clients: Array) -> Array:
        """int32[...], those of some idle clients that are there; the others are remembered."""
        if (server.clients.availability.trace[clients] < 0).all():
            return clients
        there = np.isin(clients, server.idle())
        self._clients.update(clients[~there].tolist())
        self._arm(server)
        return clients[there]

    def back(self, server: Server) -> Array:
        """int32[...], remembered clients that are there again, ascending; they are forgotten."""
        clients = np.array(sorted(self._clients), np.int32)
        self._clients.clear()
        return self.here(server, clients)

    def _arm(self, server: Server) -> None:
        server.timer(self.number, server.next_available() if self._clients else None)
