"""Builders of regular fabrics from the literature: fat-tree, torus, dragonfly."""

from collections.abc import Sequence

import numpy as np

from mltwin.sim.errors import InputError

from .builders_base import (
    GBIT,
    NIC_BYTES_PER_S,
    NIC_LATENCY_S,
    SWITCH_LATENCY_S,
    TopologyBuilder,
    numbered,
    speeds,
    whole,
)
from .topology import GPU, HOST, SWITCH, Topology


def fat_tree(
    k: int = 4,
    *,
    bytes_per_s: float = NIC_BYTES_PER_S,
    host_latency_s: float = NIC_LATENCY_S,
    switch_latency_s: float = SWITCH_LATENCY_S,
    name: str | None = None,
) -> Topology:
    """The k-ary fat-tree: k pods of k/2 edge and k/2 aggregation switches, (k/2)^2 cores.

    k^3/4 hosts at full bisection bandwidth, (k/2)^2 shortest paths between pods; all switches have
    k ports of one rate. Al-Fares, Loukissas and Vahdat, "A Scalable, Commodity Data Center Network
    Architecture", SIGCOMM 2008, section 2.2. Hosts of a pod's edge switch are neighbouring ranks.

    Raises:
        InputError: k is odd or below 2.
    """
    whole("fat_tree", 2, k=k)
    if k % 2:
        raise InputError(f"k is {k}", where="fat_tree", mend="give an even number")
    speeds(
        "fat_tree",
        bytes_per_s=bytes_per_s,
        host_latency_s=host_latency_s,
        switch_latency_s=switch_latency_s,
    )
    half = k // 2
    made = TopologyBuilder()
    hosts = made.nodes(HOST, numbered("host{}", k * half * half))
    edge = made.nodes(SWITCH, numbered("pod{}.edge{}", k, half))
    middle = made.nodes(SWITCH, numbered("pod{}.agg{}", k, half)).reshape(k, half)
    core = made.nodes(SWITCH, numbered("core{}.{}", half, half)).reshape(half, half)
    made.duplex(hosts, np.repeat(edge, half), bytes_per_s, host_latency_s)
    edge = edge.reshape(k, half)
    made.duplex(
        np.repeat(edge, half),
        np.repeat(middle, half, axis=0).ravel(),
        bytes_per_s,
        switch_latency_s,
    )
    # Aggregation switch i of each pod reaches the cores of group i.
    made.duplex(np.repeat(middle, half), np.tile(core.ravel(), k), bytes_per_s, switch_latency_s)
    return made.build(name or f"fat-tree, k = {k}", hosts, fabric="fat_tree", facts={"k": k})


def torus(
    shape: Sequence[int] = (4, 4, 4),
    *,
    wrap: bool | Sequence[bool] = True,
    link_bytes_per_s: float = 50e9,
    latency_s: float = 1e-6,
    name: str | None = None,
) -> Topology:
    """A torus (or mesh) of any dimension; chips forward for each other.

    Defaults: a 4 x 4 x 4 cube of TPU v4 with six links of 50 GB/s each way a chip (Jouppi et al.,
    "TPU v4", ISCA 2023, section 2). The latency of a hop is an assumption.

    Args:
        shape: chips along each dimension.
        wrap: whether a dimension's ends are joined; one answer, or one a dimension. A dimension of
            two chips has one cable in either case.
        link_bytes_per_s: each way.

    Links are numbered by dimension, so that `routing="shortest"` is dimension-ordered routing
    (Dally and Towles, "Principles and Practices of Interconnection Networks", section 8.4).
    """
    if np.ndim(shape) != 1 or not len(shape):
        raise InputError("shape has no dimensions", where="torus", mend="give e.g. (4, 4)")
    whole("torus", **{f"shape[{d}]": n for d, n in enumerate(shape)})
    size = [int(n) for n in shape]
    speeds("torus", link_bytes_per_s=link_bytes_per_s, latency_s=latency_s)
    closed = [bool(wrap)] * len(size) if isinstance(wrap, bool) else [bool(w) for w in wrap]
    if len(closed) != len(size):
        raise InputError(
            f"wrap has {len(closed)} answers for {len(size)} dimensions", where="torus"
        )
    made = TopologyBuilder()
    chips = made.nodes(GPU, numbered("chip" + ".".join(["{}"] * len(size)), *size))
    grid = chips.reshape(size)
    for d, n in enumerate(size):
        if n == 1:
            continue
        steps = n if closed[d] and n > 2 else n - 1
        here = np.take(grid, range(steps), axis=d)
        there = np.take(grid, [(i + 1) % n for i in range(steps)], axis=d)
        made.duplex(here.ravel(), there.ravel(), link_bytes_per_s, latency_s)
    ranks = len(chips)
    return made.build(
        name or f"{'torus' if all(closed) else 'mesh'} {' x '.join(map(str, size))}",
        chips,
        transit=np.ones(ranks, np.bool_),
        fabric="torus",
        facts={"shape": size, "wrap": closed},
    )


def dragonfly(
    p: int = 2,
    a: int = 4,
    h: int = 2,
    *,
    groups: int | None = None,
    bytes_per_s: float = 200 * GBIT,
    host_latency_s: float = NIC_LATENCY_S,
    local_latency_s: float = SWITCH_LATENCY_S,
    global_latency_s: float = 2 * SWITCH_LATENCY_S,
    name: str | None = None,
) -> Topology:
    """A dragonfly: groups of a routers, all joined; each router has p hosts and h global links.

    Kim, Dally, Scott and Abts, "Technology-Driven, Highly-Scalable Dragonfly Topology", ISCA 2008:
    at most a h + 1 groups, so a p (a h + 1) hosts, and any two routers at most local, global, local
    apart; balanced where a = 2p = 2h. Rate and latency of a switch as measured on Slingshot (200
    Gb/s, 350 ns: De Sensi et al., SC 2020, section II); a global cable is counted as one more.

    Args:
        groups: None: all a h + 1. Fewer have several cables between two groups.

    Routing is shortest in hops, which can be two global links and none local.
    """
    whole("dragonfly", p=p, a=a, h=h)
    n = a * h + 1 if groups is None else groups
    whole("dragonfly", groups=n)
    if n > a * h + 1:
        raise InputError(
            f"{n} groups, but a h + 1 = {a * h + 1}", where="dragonfly", mend="give fewer groups"
        )
    speeds(
        "dragonfly",
        bytes_per_s=bytes_per_s,
        host_latency_s=host_latency_s,
        local_latency_s=local_latency_s,
        global_latency_s=global_latency_s,
    )
    made = TopologyBuilder()
    hosts = made.nodes(HOST, numbered("host{}", n * a * p))
    routers = made.nodes(SWITCH, numbered("g{}.r{}", n, a)).reshape(n, a)
    made.duplex(hosts, np.repeat(routers.ravel(), p), bytes_per_s, host_latency_s)
    i, j = np.triu_indices(a, 1)
    made.duplex(routers[:, i].ravel(), routers[:, j].ravel(), bytes_per_s, local_latency_s)
    made.links(*_global_links(routers, h), bytes_per_s, global_latency_s)
    return made.build(
        name or f"dragonfly, {n} groups of {a} routers",
        hosts,
        fabric="dragonfly",
        facts={"p": p, "a": a, "h": h, "groups": n},
    )


def _global_links(routers: np.ndarray, h: int) -> tuple[np.ndarray, np.ndarray]:
    """Source and target of every directed global link.

    Port q of a group leads to the (q mod (groups - 1) + 1)-th group after it, and comes back at the
    port that leads the other way round.
    """
    n, a = routers.shape
    if n == 1:
        return np.zeros(0, np.int32), np.zeros(0, np.int32)
    copies = a * h // (n - 1)
    group, port = np.divmod(np.arange(n * copies * (n - 1)), copies * (n - 1))
    copy, step = np.divmod(port, n - 1)
    other = (group + step + 1) % n
    back = copy * (n - 1) + n - 2 - step
    return routers[group, port // h], routers[other, back // h]
