"""Builders of small and wide networks: star, dumbbell, sites joined by a WAN, a wireless cell."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .builders_base import NIC_BYTES_PER_S, NIC_LATENCY_S, TopologyBuilder, numbered, speeds, whole
from .topology import HOST, SITE, SWITCH, Topology

SPEED_IN_FIBRE_KM_PER_S = 299_792.458 / 1.468
"""Light in single-mode fibre of group index 1.468 (Corning SMF-28 data sheet, at 1,550 nm)."""


def fibre_latency_s(km: float) -> float:
    """One-way latency of so many kilometres of fibre: 4.9 us a kilometre.

    >>> round(1e3 * fibre_latency_s(1000), 2)
    4.9
    """
    return km / SPEED_IN_FIBRE_KM_PER_S


def star(
    hosts: int = 8,
    *,
    bytes_per_s: float = NIC_BYTES_PER_S,
    latency_s: float = NIC_LATENCY_S,
    name: str | None = None,
) -> Topology:
    """Hosts on one non-blocking switch; only their own links can be full."""
    whole("star", 2, hosts=hosts)
    speeds("star", bytes_per_s=bytes_per_s, latency_s=latency_s)
    made = TopologyBuilder()
    ends = made.nodes(HOST, numbered("host{}", hosts))
    switch = made.nodes(SWITCH, ["switch"])
    made.duplex(ends, switch, bytes_per_s, latency_s)
    return made.build(name or f"star of {hosts} hosts", ends, fabric="star", facts={"hosts": hosts})


def dumbbell(
    left: int = 4,
    right: int = 4,
    *,
    edge_bytes_per_s: float = NIC_BYTES_PER_S,
    bottleneck_bytes_per_s: float = NIC_BYTES_PER_S,
    edge_latency_s: float = NIC_LATENCY_S,
    bottleneck_latency_s: float = NIC_LATENCY_S,
    name: str | None = None,
) -> Topology:
    """Two switches with hosts, joined by one cable that all traffic between them shares.

    Ranks: the left hosts, then the right ones.
    """
    whole("dumbbell", left=left, right=right)
    speeds(
        "dumbbell",
        edge_bytes_per_s=edge_bytes_per_s,
        bottleneck_bytes_per_s=bottleneck_bytes_per_s,
        edge_latency_s=edge_latency_s,
        bottleneck_latency_s=bottleneck_latency_s,
    )
    made = TopologyBuilder()
    ends = made.nodes(HOST, [*numbered("left{}", left), *numbered("right{}", right)])
    switches = made.nodes(SWITCH, ["switch.left", "switch.right"])
    made.duplex(ends, np.repeat(switches, (left, right)), edge_bytes_per_s, edge_latency_s)
    made.duplex(switches[:1], switches[1:], bottleneck_bytes_per_s, bottleneck_latency_s)
    return made.build(
        name or f"dumbbell, {left} and {right} hosts",
        ends,
        fabric="dumbbell",
        facts={"left": left, "right": right},
    )


def wan(
    sites: int | Sequence[str],
    *,
    bytes_per_s: npt.ArrayLike,
    latency_s: npt.ArrayLike,
    hosts_per_site: int = 1,
    host_bytes_per_s: float = NIC_BYTES_PER_S,
    host_latency_s: float = NIC_LATENCY_S,
    name: str | None = None,
) -> Topology:
    """Sites joined pairwise, each with hosts behind its router.

    Args:
        sites: how many, or their names.
        bytes_per_s: of each link between sites; one number, or [sites, sites], where 0 leaves the
            pair unjoined. Row = from, column = to; the diagonal is not read.
        latency_s: one way, likewise; see `fibre_latency_s`.
        hosts_per_site: endpoints of a site; 0 makes the sites themselves endpoints.

    Island = site, rail = place in it. Traffic between sites without a link passes through others.
    """
    names = numbered("site{}", sites) if isinstance(sites, int) else [str(s) for s in sites]
    n = len(names)
    whole("wan", 1, sites=n)
    whole("wan", 0, hosts_per_site=hosts_per_site)
    rate, delay = (
        _square(x, n, what) for x, what in ((bytes_per_s, "bytes_per_s"), (latency_s, "latency_s"))
    )
    made = TopologyBuilder()
    ends = made.nodes(HOST, [f"{s}.host{i}" for s in names for i in range(hosts_per_site)])
    routers = made.nodes(SITE, names)
    if hosts_per_site:
        speeds("wan", host_bytes_per_s=host_bytes_per_s, host_latency_s=host_latency_s)
        made.duplex(ends, np.repeat(routers, hosts_per_site), host_bytes_per_s, host_latency_s)
    a, b = np.nonzero((rate > 0) & ~np.eye(n, dtype=bool))
    made.links(routers[a], routers[b], rate[a, b], delay[a, b])
    each = max(1, hosts_per_site)
    return made.build(
        name or f"WAN of {n} sites",
        ends if hosts_per_site else routers,
        island=np.repeat(np.arange(n), each),
        rail=np.tile(np.arange(each), n),
        fabric="wan",
        facts={"sites": n, "hosts_per_site": hosts_per_site},
    )


def join_sites(
    clusters: Mapping[str, Topology],
    *,
    bytes_per_s: npt.ArrayLike,
    latency_s: npt.ArrayLike,
    gateway_bytes_per_s: float | None = None,
    gateway_latency_s: float = NIC_LATENCY_S,
    name: str | None = None,
) -> Topology:
    """Clusters in several places as one topology, their top switches behind a router each.

    Args:
        clusters: site name -> its topology; ranks are numbered site after site, node names get
            ``site/`` in front.
        bytes_per_s, latency_s: between sites, as `wan` takes them.
        gateway_bytes_per_s: from each top switch (of those farthest from the ranks) to the router;
            None: the fastest of the WAN links.

    The facts say where each site begins (`site_first_rank`).
    """
    names = list(clusters)
    whole("join_sites", 1, clusters=len(names))
    rate = _square(bytes_per_s, len(names), "bytes_per_s")
    delay = _square(latency_s, len(names), "latency_s")
    if gateway_bytes_per_s is None:
        gateway_bytes_per_s = float(rate.max())
    made = TopologyBuilder()
    ends, islands, rails, transit, begins, ranks = [], [], [], [], [], 0
    routers = made.nodes(SITE, names)
    transit.append(np.ones(len(names), bool))
    island = 0
    for place, (site, t) in enumerate(clusters.items()):
        nodes = np.concatenate(
            [
                made.nodes(int(kind), [f"{site}/{node}"])
                for node, kind in zip(t.nodes, t.kinds, strict=True)
            ]
        )
        for both in (False, True):
            of = t.shared == both
            made.links(
                nodes[t.source[of]],
                nodes[t.target[of]],
                t.bytes_per_s[of],
                t.latency_s[of],
                shared=both,
            )
        made.duplex(nodes[top_nodes(t)], routers[place], gateway_bytes_per_s, gateway_latency_s)
        ends.append(nodes[t.endpoints])
        islands.append(t.island + island)
        rails.append(t.rail)
        transit.append(t.transit)
        island += t.islands
        begins.append(ranks)
        ranks += t.ranks
    a, b = np.nonzero((rate > 0) & ~np.eye(len(names), dtype=bool))
    made.links(routers[a], routers[b], rate[a, b], delay[a, b])
    return made.build(
        name or " and ".join(names),
        np.concatenate(ends),
        island=np.concatenate(islands),
        rail=np.concatenate(rails),
        transit=np.concatenate(transit),
        fabric="join_sites",
        facts={
            "sites": names,
            "site_first_rank": begins,
            "pxn": any(t.facts.get("pxn", False) for t in clusters.values()),
        },
    )


def top_nodes(t: Topology) -> npt.NDArray[np.int64]:
    """Numbers of the forwarding nodes farthest, in hops, from any rank (spines, cores); in a torus
    the node of rank 0."""
    level = node_levels(t)
    forwards = np.flatnonzero(t.transit)
    if not len(forwards):
        return np.asarray(t.endpoints[:1], np.int64)
    highest = level[forwards].max()
    return forwards[level[forwards] == highest][: None if highest else 1]


def node_levels(t: Topology) -> npt.NDArray[np.int64]:
    """int64[N]: hops from each node to the nearest rank; 0 for ranks, -1 where no link leads."""
    level = np.full(len(t.nodes), -1, np.int64)
    level[t.endpoints] = 0
    a = np.concatenate((t.source, t.target))
    b = np.concatenate((t.target, t.source))
    at = 0
    while True:
        reached = b[(level[a] == at) & (level[b] < 0)]
        if not len(reached):
            return level
        at += 1
        level[reached] = at


def cell(
    clients: int = 20,
    *,
    medium_bytes_per_s: float,
    client_bytes_per_s: npt.ArrayLike | None = None,
    duplex: bool = False,
    air_latency_s: float = 5e-3,
    backhaul_bytes_per_s: float = NIC_BYTES_PER_S,
    backhaul_latency_s: float = 10e-3,
    name: str | None = None,
) -> Topology:
    """Clients around one access point or base station, and a server behind it (rank 0).

    Args:
        clients: ranks 1 and up.
        medium_bytes_per_s: of the air, which all clients share.
        client_bytes_per_s: each client's own best rate; one number or one a client; None: that of
            the medium.
        duplex: False: up and down share the air (Wi-Fi, TDD); True: each has it for itself (FDD).
        air_latency_s, backhaul_latency_s: assumptions, one way.

    The air is shared by bytes: that a slow client takes more of the air's time for each byte
    (Heusse et al., INFOCOM 2003) is not modelled. Two clients reach each other without the access
    point, over their own links only; send by way of the server where that matters.
    """
    whole("cell", clients=clients)
    speeds(
        "cell",
        medium_bytes_per_s=medium_bytes_per_s,
        air_latency_s=air_latency_s,
        backhaul_bytes_per_s=backhaul_bytes_per_s,
        backhaul_latency_s=backhaul_latency_s,
    )
    own = np.asarray(
        medium_bytes_per_s if client_bytes_per_s is None else client_bytes_per_s, float
    )
    if own.ndim > 1 or (own.ndim == 1 and len(own) != clients):
        raise InputError(
            f"client_bytes_per_s has {own.size} values for {clients} clients", where="cell"
        )
    made = TopologyBuilder()
    server = made.nodes(HOST, ["server"])
    stations = made.nodes(HOST, numbered("client{}", clients))
    point = made.nodes(SWITCH, ["access point"])
    air = made.nodes(SWITCH, ["air"])
    made.duplex(server, point, backhaul_bytes_per_s, backhaul_latency_s)
    if duplex:
        made.duplex(point, air, medium_bytes_per_s, air_latency_s)
        made.duplex(stations, air, own, 0.0)
    else:
        made.links(point, air, medium_bytes_per_s, air_latency_s, shared=True)
        made.links(stations, air, own, 0.0, shared=True)
    return made.build(
        name or f"cell of {clients} clients",
        np.concatenate((server, stations)),
        fabric="cell",
        facts={"clients": clients, "duplex": duplex},
    )


def _square(values: npt.ArrayLike, n: int, what: str) -> np.ndarray:
    found = np.asarray(values, float)
    if found.ndim not in (0, 2) or (found.ndim == 2 and found.shape != (n, n)):
        raise InputError(
            f"{what} has shape {found.shape} for {n} sites",
            where="sites",
            mend="give one number or a square of them",
        )
    full = np.broadcast_to(found, (n, n))
    off = full[~np.eye(n, dtype=bool)]
    if not np.all(np.isfinite(off) & (off >= 0)):
        raise InputError(f"{what} holds a value below 0 or none at all", where="sites")
    return full
