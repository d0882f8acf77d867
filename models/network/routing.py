"""Which links a flow crosses: shortest paths, ECMP, packet spraying, splitting, paths as given.

All but given paths are shortest in hops. ECMP chooses at every node by a hash of the flow's key and
the node, as switches do (RFC 2992); spraying sends equal shares over all links that lead nearer, as
per-packet ECMP does (Dixit et al., "On the impact of packet spraying", INFOCOM 2013); splitting
makes `parts` subflows of a flow, each hashed for itself.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .topology import Array, Topology

ROUTINGS = ("ecmp", "shortest", "spray", "split", "given")
MOST_PATHS = 1024


@dataclass(frozen=True, eq=False)
class Routes:
    """R subflows of F flows; subflows of a flow stand together, in the order of the flows.

    Attributes:
        first: int64[R + 1], links: int32[...]: the links of subflow r are
            ``links[first[r]:first[r + 1]]``, none where source and target are one rank.
        flow: int32[R], the flow it belongs to.
        share: float64[R], its part of the flow's bytes; sums to 1 over a flow.
        latency_s: float64[R], sum over its links.
    """

    first: Array
    links: Array
    flow: Array
    share: Array
    latency_s: Array

    def __len__(self) -> int:
        return len(self.flow)

    def path(self, subflow: int) -> Array:
        """The link numbers of one subflow."""
        return self.links[self.first[subflow] : self.first[subflow + 1]]

    def bottleneck_bytes_per_s(self, topology: Topology) -> Array:
        """float64[R]: the rate of each subflow's narrowest link, inf where it has none."""
        found = np.full(len(self), np.inf)
        crossing = np.diff(self.first) > 0
        if np.any(crossing):
            rates = topology.bytes_per_s[self.links]
            found[crossing] = np.minimum.reduceat(rates, self.first[:-1][crossing])
        return found


def routes(
    topology: Topology,
    sources: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    routing: str = "ecmp",
    keys: npt.ArrayLike | None = None,
    parts: int = 1,
    seed: int = 0,
    paths: Sequence[Sequence[Any]] | None = None,
    pxn: bool | None = None,
    around_broken: bool = False,
    most_paths: int = MOST_PATHS,
) -> Routes:
    """The paths of F flows between ranks.

    Args:
        sources, targets: int32[F] ranks; equal ones give a path without links.
        routing: "ecmp"; "shortest" (where paths tie, the link of the lowest number: in a torus, the
            first dimension first); "spray" (all shortest paths, each node sharing equally);
            "split" (`parts` subflows); "given".
        keys: int64[F], what ECMP hashes (ports); None numbers the flows.
        seed: chooses another hash function.
        paths: for "given", each flow's path: link numbers, or node names from source to target; or
            a list of such paths, for equal parts.
        pxn: whether a flow to another rail goes over NVSwitch first; None: what the topology says.
        around_broken: leave out links of 0 bytes/s; else they are taken, and whoever simulates the
            flow refuses it.
        most_paths: of one sprayed flow.

    Raises:
        InputError: a rank that is not there, ends that no path joins (both are named), a given path
            that is none, more than `most_paths`.
    """
    where = f"routes on {topology.name!r}"
    if routing not in ROUTINGS:
        raise InputError(
            f"no routing is called {routing!r}", where=where, mend=f"use one of {list(ROUTINGS)}"
        )
    source = _as_ranks(topology, sources, "source", where)
    target = _as_ranks(topology, targets, "target", where)
    if len(source) != len(target):
        raise InputError(f"{len(source)} sources and {len(target)} targets", where=where)
    if routing == "given":
        from .routing_given import given_routes

        return given_routes(topology, source, target, paths, where)
    if paths is not None:
        raise InputError(f"paths go with routing 'given', not {routing!r}", where=where)
    if parts < 1 or (parts > 1 and routing not in ("split", "ecmp")):
        raise InputError(
            f"parts={parts} with routing {routing!r}", where=where, mend="use routing='split'"
        )
    key = _as_keys(keys, len(source), where)
    use_pxn = bool(topology.facts.get("pxn", False)) if pxn is None else pxn
    via = _pxn_ranks(topology, source, target) if use_pxn else None
    finder = _Finder(topology, routing, parts, seed, around_broken, most_paths, where)
    if via is None or not np.any(via >= 0):
        return finder.find(source, target, key)
    first = finder.find(source, np.where(via >= 0, via, source), key)
    second = finder.find(np.where(via >= 0, via, source), target, key)
    return _joined(topology, first, second, len(source), routing != "spray")


def link_bytes(
    topology: Topology, found: Routes, bytes_of_flow: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """float64[L]: bytes that cross each link when each flow sends its bytes (one number for all).

    Congestion of a routing without a simulation: divide by `topology.bytes_per_s` for the seconds
    that a link needs, as papers on load balancing do.
    """
    flows = int(found.flow.max()) + 1 if len(found) else 0
    size = np.broadcast_to(np.asarray(bytes_of_flow, float), max(flows, np.size(bytes_of_flow)))
    each = np.repeat(size[found.flow] * found.share, np.diff(found.first))
    return np.bincount(found.links, weights=each, minlength=len(topology.source))


class _Finder:
    """`find_paths` over one topology's adjacency.

    Flows inside an island that is wired inside (NVSwitch) stay inside, also where a leaf above
    would be as near.
    """

    def __init__(
        self,
        topology: Topology,
        routing: str,
        parts: int,
        seed: int,
        around_broken: bool,
        most_paths: int,
        where: str,
    ) -> None:
        self.topology, self.where = topology, where
        self.routing, self.parts, self.seed, self.most = routing, parts, seed, most_paths
        self.around_broken = around_broken

    def find(self, source: Array, target: Array, key: Array) -> Routes:
        """Routes of the flows, in their order."""
        t = self.topology
        local = t.island[source] == t.island[target]
        local &= (source != target) & wired_islands(t, self.around_broken)[t.island[source]]
        inside, rest = np.flatnonzero(local), np.flatnonzero(~local)
        columns = []
        if len(inside):
            found = self._paths(source, target, key, inside, local=True)
            if found is None:  # not all pairs are joined inside: take any way
                rest = np.arange(len(source))
            else:
                columns.append(found)
        if len(rest):
            columns.append(self._paths(source, target, key, rest, local=False))
        if not columns:
            none = np.zeros(0, np.int32)
            columns.append((none, np.zeros(0), none, none))
        return _in_order(t, *(np.concatenate(part) for part in zip(*columns, strict=True)))

    def _paths(
        self, source: Array, target: Array, key: Array, chosen: Array, *, local: bool
    ) -> tuple[Array, ...] | None:
        """(flow, share, hops, links) of the chosen flows; None where a local one has no path."""
        from .routing_kernel import ECMP, OK, SHORTEST, SPRAY, TOO_MANY_PATHS, find_paths

        t = self.topology
        mode = {"shortest": SHORTEST, "spray": SPRAY}.get(self.routing, ECMP)
        out_first, out_link, out_node, in_first, in_node = _adjacency(t, self.around_broken, local)
        u, v = t.endpoints[source[chosen]], t.endpoints[target[chosen]]
        group = _search_group(t, in_first, in_node)[v]
        order = np.lexsort((v, group))
        same = np.zeros(len(order), np.bool_)
        same[1:] = group[order][1:] == group[order][:-1]
        status, flow, flow_of, share, hops, links = find_paths(
            u.astype(np.int32),
            v.astype(np.int32),
            order.astype(np.int64),
            same,
            key[chosen],
            mode,
            self.parts,
            self.most,
            self.seed,
            out_first,
            out_link,
            out_node,
            in_first,
            in_node,
        )
        if status == OK:
            return chosen[flow_of], share, hops, links
        if local:
            return None
        number = int(chosen[flow])
        ends = f"{t.rank_name(int(source[number]))} to {t.rank_name(int(target[number]))}"
        if status == TOO_MANY_PATHS:
            raise InputError(
                f"more than {self.most} shortest paths lead from {ends}",
                where=self.where,
                mend="use routing='split', or raise most_paths",
            )
        unbroken = " without broken links" if self.around_broken else ""
        raise InputError(
            f"no path leads from {ends} (flow {number}){unbroken}",
            where=self.where,
            mend="join them by links",
        )


def _in_order(t: Topology, flow_of: Array, share: Array, hops: Array, links: Array) -> Routes:
    """Subflows sorted by flow; those of a flow keep their order."""
    order = np.argsort(flow_of, kind="stable")
    began = np.cumsum(hops) - hops
    length = hops[order].astype(np.int64)
    first = np.concatenate(([0], np.cumsum(length)))
    taken = np.arange(first[-1]) + np.repeat(began[order] - first[:-1], length)
    return make_routes(t, first, links[taken], flow_of[order], share[order])


def make_routes(t: Topology, first: Array, links: Array, flow: Array, share: Array) -> Routes:
    """Routes from their columns; the latencies are summed here."""
    latency = np.zeros(len(flow))
    np.add.at(latency, np.repeat(np.arange(len(flow)), np.diff(first)), t.latency_s[links])
    return Routes(
        first.astype(np.int64),
        links.astype(np.int32),
        flow.astype(np.int32),
        share.astype(np.float64),
        latency,
    )


def _joined(t: Topology, a: Routes, b: Routes, flows: int, in_parts: bool) -> Routes:
    """Each flow's subflows over two legs: every path of the first with every one of the second, or
    part by part where both legs of a split flow have as many."""
    na = np.bincount(a.flow, minlength=flows)
    nb = np.bincount(b.flow, minlength=flows)
    one_to_one = (na == nb) & in_parts
    count = np.where(one_to_one, na, na * nb)
    flow = np.repeat(np.arange(flows), count)
    k = np.arange(len(flow)) - np.repeat(np.cumsum(count) - count, count)
    ia = np.where(one_to_one[flow], k, k // nb[flow]) + (np.cumsum(na) - na)[flow]
    ib = np.where(one_to_one[flow], k, k % nb[flow]) + (np.cumsum(nb) - nb)[flow]
    share = np.where(one_to_one[flow], a.share[ia], a.share[ia] * b.share[ib])
    la, lb = np.diff(a.first)[ia], np.diff(b.first)[ib]
    first = np.concatenate(([0], np.cumsum(la + lb)))
    place = np.arange(first[-1]) - np.repeat(first[:-1], la + lb)
    in_a = place < np.repeat(la, la + lb)
    at_a = np.repeat(a.first[ia], la + lb) + place
    at_b = np.repeat(b.first[ib] - la, la + lb) + place
    links = np.empty(first[-1], np.int32)
    links[in_a] = a.links[at_a[in_a]]
    links[~in_a] = b.links[at_b[~in_a]]
    return make_routes(t, first, links, flow, share)


def island_of_nodes(t: Topology) -> Array:
    """int32[N]: the island that a node belongs to, -1 where to none; kept on t.

    Ranks belong to theirs. Switches that are joined without a rank between them belong to an island
    where every rank that hangs on one of them does (NVSwitch; both tiers of a supernode).
    """
    if "islands" not in t._kept:
        n, most = len(t.nodes), np.iinfo(np.int32).max
        of = np.full(n, -1, np.int32)
        of[t.endpoints] = t.island
        a = np.concatenate((t.source, t.target))
        b = np.concatenate((t.target, t.source))
        low, high = np.where(of < 0, most, of), of.copy()
        inner = of[a] < 0
        a, b = a[inner], b[inner]
        while True:  # spreads along the switches, one hop a turn
            before = low[a], high[a]
            np.minimum.at(low, a, low[b])
            np.maximum.at(high, a, high[b])
            if np.array_equal(low[a], before[0]) and np.array_equal(high[a], before[1]):
                break
        hub = (of < 0) & (low == high)
        of[hub] = low[hub]
        t._kept["islands"] = of
    found: Array = t._kept["islands"]
    return found


def wired_islands(t: Topology, around_broken: bool = False) -> Array:
    """bool[islands]: whether every rank of the island has links to and from others inside it."""
    kept = ("wired", around_broken)
    if kept not in t._kept:
        of = island_of_nodes(t)
        inside = (of[t.source] >= 0) & (of[t.source] == of[t.target])
        inside &= (t.bytes_per_s > 0) | (not around_broken)
        both = t.shared & inside
        sends = np.zeros(len(t.nodes), np.bool_)
        hears = np.zeros(len(t.nodes), np.bool_)
        sends[t.source[inside]] = sends[t.target[both]] = True
        hears[t.target[inside]] = hears[t.source[both]] = True
        wired = np.ones(t.islands, np.bool_)
        np.logical_and.at(wired, t.island, (sends & hears)[t.endpoints])
        t._kept[kept] = wired
    found: Array = t._kept[kept]
    return found


def _adjacency(t: Topology, around_broken: bool, local: bool) -> tuple[Array, ...]:
    """CSR of links out of each node, and of the forwarding nodes before each; kept on t.

    `local` keeps the links inside islands only.
    """
    kept = ("adjacency", around_broken, local)
    if kept not in t._kept:
        link = np.arange(len(t.source), dtype=np.int32)
        usable = (t.bytes_per_s > 0) | (not around_broken)
        if local:
            of = island_of_nodes(t)
            usable &= (of[t.source] >= 0) & (of[t.source] == of[t.target])
        back = t.shared & usable
        source = np.concatenate((t.source[usable], t.target[back]))
        target = np.concatenate((t.target[usable], t.source[back]))
        number = np.concatenate((link[usable], link[back]))
        n = len(t.nodes)
        out = np.lexsort((number, source))
        forwards = t.transit[source]
        into = np.lexsort((number[forwards], target[forwards]))
        t._kept[kept] = (
            _starts(source, n),
            number[out].astype(np.int32),
            target[out].astype(np.int32),
            _starts(target[forwards], n),
            source[forwards][into].astype(np.int32),
        )
    found: tuple[Array, ...] = t._kept[kept]
    return found


def _starts(node: Array, n: int) -> Array:
    return np.concatenate(([0], np.cumsum(np.bincount(node, minlength=n)))).astype(np.int64)


def _search_group(t: Topology, in_first: Array, in_node: Array) -> Array:
    """int64[N]: destinations of one group can share a search: they hang below one switch only."""
    n = len(t.nodes)
    group = np.arange(n, dtype=np.int64) + n
    single = (np.diff(in_first) == 1) & ~t.transit
    group[single] = in_node[in_first[:-1][single]]
    return group


def _pxn_ranks(t: Topology, source: Array, target: Array) -> Array:
    """int64[F]: the rank of the source's island on the target's rail, -1 where none is needed."""
    if "rail_of" not in t._kept:
        rails = int(t.rail.max()) + 1
        table = np.full((t.islands, rails), -1, np.int64)
        table[t.island, t.rail] = np.arange(t.ranks)
        t._kept["rail_of"] = table
    via = t._kept["rail_of"][t.island[source], t.rail[target]]
    needed = (t.island[source] != t.island[target]) & (t.rail[source] != t.rail[target])
    return np.where(needed, via, -1)


def _as_ranks(t: Topology, values: Any, what: str, where: str) -> Array:
    ranks = np.atleast_1d(np.asarray(values))
    if ranks.dtype.kind not in "iu" and len(ranks):
        raise InputError(f"{what} ranks are {ranks.dtype}, integers are wanted", where=where)
    wrong = np.flatnonzero((ranks < 0) | (ranks >= t.ranks))
    if len(wrong):
        f = int(wrong[0])
        raise InputError(
            f"{what} of flow {f} is rank {int(ranks[f])}, there are {t.ranks}", where=where
        )
    return ranks.astype(np.int64)


def _as_keys(keys: Any, flows: int, where: str) -> Array:
    if keys is None:
        return np.arange(flows, dtype=np.int64)
    key = np.asarray(keys, np.int64)
    if key.shape != (flows,) or np.any(key < 0):
        raise InputError(f"keys are not {flows} whole numbers of 0 or more", where=where)
    return key
