"""Links that the transfers of a federation share: the server's, those of cells, or a topology's."""

from typing import TYPE_CHECKING

import numpy as np

from mltwin.sim.errors import InputError

from .federated_clients import BYTES_OF_MBIT

if TYPE_CHECKING:
    from mltwin.models.federation.links import SharedLinks

    from .federated import FederatedScenario
    from .federated_fields import Network

BYTES_OF_GBIT = 1e9 / 8
UNLIMITED = 1e15
"""Bytes/s of a direction that nobody limits: a shared link's rate is finite."""


def network_of(scenario: "FederatedScenario", clients: int) -> "SharedLinks | None":
    """The links that transfers share; None where each client has its own only.

    Clients are dealt to cells, or to the ranks of a topology but the server's, in turn.

    Raises InputError: a topology that is not known or has one rank only, a server that is not
    there.
    """
    from mltwin.models.federation.links import SharedLinks

    given = scenario.network
    if given is None:
        return None
    if given.topology is not None:
        return _on_topology(scenario, given, clients)
    down, up = (_rate(rate, BYTES_OF_GBIT) for rate in (given.down_gbit_per_s, given.up_gbit_per_s))
    if given.cells == 0:
        return SharedLinks.at_server(clients, down_bytes_per_s=down, up_bytes_per_s=up)
    return SharedLinks.of_groups(
        np.arange(clients) % given.cells,
        np.full(given.cells, _rate(given.cell_down_mbit_per_s, BYTES_OF_MBIT)),
        np.full(given.cells, _rate(given.cell_up_mbit_per_s, BYTES_OF_MBIT)),
        server_down_bytes_per_s=down,
        server_up_bytes_per_s=up,
    )


def _rate(given: float | None, unit: float) -> float:
    return UNLIMITED if given is None else given * unit


def _on_topology(scenario: "FederatedScenario", given: "Network", clients: int) -> "SharedLinks":
    from mltwin.models.federation.links import SharedLinks

    from .topologies import named_topology

    assert given.topology is not None
    where = "network.topology"
    topology = named_topology(given.topology, scenario.resolve_path, where=where)
    if not given.server < topology.ranks:
        raise InputError(
            f"rank {given.server} of {topology.ranks}",
            where="network.server",
            mend=f"give 0 to {topology.ranks - 1}",
        )
    others = np.delete(np.arange(topology.ranks), given.server)
    if not len(others):
        raise InputError("has one rank only", where=where, mend="give a larger one")
    return SharedLinks.on(topology, given.server, others[np.arange(clients) % len(others)])
