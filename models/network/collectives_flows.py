"""From the transfers of a collective to flows on a topology, and the one call for users."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

from .collectives import islands_of, members_of, transfers
from .collectives_closed import ALGORITHMS, alphabeta_s, checked
from .collectives_table import KINDS, Floats, Ints, Longs, Transfers
from .flows import FlowRun, FlowTable
from .routing import Routes, routes
from .simulate import simulate_flows
from .topology import Topology


def flow_table(
    table: Transfers,
    topology: Topology,
    routing: str = "ecmp",
    *,
    seed: int = 0,
    parts: int = 1,
) -> FlowTable:
    """The flows of ``table`` on ``topology``: one for each transfer and each part of its route.

    A transfer's bytes begin to move when all it waits for has ended and ``delay_s`` plus the
    latency of its path (for pipelines the mean latency, as often as there are hops) has passed.
    Two transfers between the same ranks take the same path, as those of one connection do.

    Through a switch that reduces, each link towards the switch carries one stream, whichever
    ranks are behind it; the switch is the one half-way between a rank and its peer half the
    members away.

    Args:
        routing: ``ecmp``, ``shortest``, ``spray`` or ``split``; see
            :func:`mltwin.models.network.routing.routes`.
        seed: of the hash of ECMP.
        parts: subflows of a flow, for ``split``.

    Raises:
        InputError: an unknown routing, or ranks that no path joins.
    """
    return flows_of(table, topology, routing, seed=seed, parts=parts)[0]


def flows_of(
    table: Transfers,
    topology: Topology,
    routing: str = "ecmp",
    *,
    seed: int = 0,
    parts: int = 1,
) -> tuple[FlowTable, Longs]:
    """:func:`flow_table`, and the transfer that each flow is of (int64[F], rising)."""
    paths = _paths(table, topology, routing, seed, parts)
    own, parts = paths.of_transfer, np.diff(paths.first_part)[paths.of_transfer]
    flow_first = np.zeros(len(table) + 1, np.int64)
    np.cumsum(parts, out=flow_first[1:])
    transfer = np.repeat(np.arange(len(table)), parts)
    part = (
        paths.first_part[own[transfer]] + np.arange(len(transfer)) - flow_first[:-1][transfer]
    ).astype(np.int64)
    first, links = _taken(paths.first_link, paths.links, part)
    after_first, after = _flow_waits(table, flow_first, transfer)
    flows = FlowTable.make(
        table.bytes[transfer] * paths.share[part],
        first,
        links,
        delay=ticks(_delays(table, paths)[transfer]),
        after_first=after_first,
        after=after,
    )
    return flows, transfer


@dataclass(frozen=True, eq=False)
class _Paths:
    """Routes of pairs of ranks: pair ``p`` has parts ``first_part[p] .. first_part[p+1]``, part
    ``k`` the links ``first_link[k] .. first_link[k+1]`` and a share; ``latency_s`` is of pairs."""

    of_transfer: Longs
    first_part: Longs
    first_link: Longs
    links: Ints
    share: Floats
    latency_s: Floats


def _paths(table: Transfers, topology: Topology, routing: str, seed: int, parts: int) -> _Paths:
    ends = len(topology.endpoints)
    if int(table.members.max(initial=0)) >= ends:
        raise InputError(
            f"rank {table.members.max()} on {topology.name!r}", mend=f"it has {ends} ranks"
        )
    if (table.source < 0).any() or (table.target < 0).any():
        return _switch_paths(table, topology)
    key = table.source.astype(np.int64) * ends + table.target
    pairs, of_transfer = np.unique(key, return_inverse=True)
    sources, targets = pairs // ends, pairs % ends
    found = routes(topology, sources, targets, routing=routing, keys=pairs, seed=seed, parts=parts)
    return _Paths(
        of_transfer=of_transfer,
        first_part=np.searchsorted(found.flow, np.arange(len(pairs) + 1)).astype(np.int64),
        first_link=found.first,
        links=found.links,
        share=found.share,
        latency_s=_latency(found, len(pairs)),
    )


def _latency(found: Routes, pairs: int) -> Floats:
    """Mean latency over the parts of each pair's route, by share."""
    return np.bincount(found.flow, found.latency_s * found.share, minlength=pairs)


def _switch_paths(table: Transfers, topology: Topology) -> _Paths:
    """Paths of every member up to the switch, then down from it: links that another member's
    stream crosses already are left out."""
    members = table.members
    n = len(members)
    peer = np.roll(members, -(n // 2))
    lists: list[list[int]] = []
    latency: list[float] = []
    for sources, targets, upward in ((members, peer, True), (peer, members, False)):
        found = routes(topology, sources, targets, routing="shortest")
        used: set[int] = set()
        for i in range(n):
            path = found.path(i).tolist()
            half = path[: len(path) // 2] if upward else path[len(path) - len(path) // 2 :]
            latency.append(float(topology.latency_s[half].sum()))
            lists.append([link for link in half if link not in used])
            used.update(half)
    number = np.full(int(members.max()) + 1, -1, np.int64)
    number[members] = np.arange(n)
    rising = table.target < 0
    place = np.where(rising, number[table.source], n + number[table.target])
    first = np.zeros(2 * n + 1, np.int64)
    np.cumsum([len(x) for x in lists], out=first[1:])
    return _Paths(
        of_transfer=place,
        first_part=np.arange(2 * n + 1),
        first_link=first,
        links=np.array([link for x in lists for link in x], np.int32),
        share=np.ones(2 * n),
        latency_s=np.array(latency),
    )


def _delays(table: Transfers, paths: _Paths) -> Floats:
    """Seconds before the bytes of each transfer move."""
    latency = paths.latency_s[paths.of_transfer]
    piped = table.group >= 0
    if piped.any():
        total = np.bincount(table.group[piped], latency[piped])
        mean = total / np.maximum(np.bincount(table.group[piped]), 1)
        latency = np.where(piped, mean[np.maximum(table.group, 0)], latency)
    return table.delay_s + table.hops * latency


def _taken(first: Longs, values: Ints, rows: Longs) -> tuple[Longs, Ints]:
    """Some ``rows`` of a table of rows, in that order, as (first, values)."""
    lengths = first[rows + 1] - first[rows]
    made = np.zeros(len(rows) + 1, np.int64)
    np.cumsum(lengths, out=made[1:])
    place = np.repeat(first[rows] - made[:-1], lengths) + np.arange(made[-1])
    return made, values[place]


def _flow_waits(table: Transfers, flow_first: Longs, transfer: Longs) -> tuple[Longs, Ints]:
    """What each flow waits for: all flows of all transfers that its own waits for."""
    if len(transfer) == len(table):
        return table.after_first, table.after
    many = np.arange(flow_first[-1], dtype=np.int32)
    inner_first, inner = _taken(flow_first, many, table.after.astype(np.int64))
    outer_first = inner_first[table.after_first]
    return _taken(outer_first, inner, transfer)


@dataclass(frozen=True, eq=False)
class CollectiveTime:
    """How long a collective takes on a topology.

    Attributes:
        kind, algorithm, fidelity: what was asked, or chosen.
        ranks: that take part.
        bytes: of the collective.
        seconds: its time.
        estimates: closed forms of the algorithms that came into question, seconds.
        run: of the flows (``maxmin`` only): what each link carried.
    """

    kind: str
    algorithm: str
    fidelity: str
    ranks: int
    bytes: float
    seconds: float
    estimates: dict[str, float] = field(default_factory=dict)
    run: FlowRun | None = field(default=None, repr=False)

    @property
    def bus_bytes_per_s(self) -> float:
        """NCCL's bus bandwidth: bytes over time times what an ideal ring moves over a link."""
        from .nccl import traffic

        return float(traffic(self.kind, self.ranks)) * self.bytes / self.seconds


def collective_seconds(
    topology: Topology,
    kind: str,
    bytes: float,
    ranks: npt.ArrayLike | None = None,
    algorithm: str = "auto",
    *,
    fidelity: str = "maxmin",
    routing: str = "ecmp",
) -> CollectiveTime:
    """The time of one collective on a topology with nothing else on it.

    Args:
        kind, bytes: see :data:`mltwin.models.network.collectives.KINDS`.
        ranks: which, in the order of the ring; None: all (the first two for ``send_recv``).
        algorithm: ``auto`` takes the one whose closed form is the least; never ``in_network``,
            which needs switches that reduce.
        fidelity: ``maxmin``: pipelined flows that share links; ``alphabeta``: the closed form with
            latency and bandwidth of neighbours inside and between islands.
        routing: of the flows.

    Raises:
        InputError: an unknown name, or ranks that the collective cannot have.
    """
    if kind not in KINDS:
        raise InputError(
            f"collective {kind!r}", where="kind", mend=f"use one of {', '.join(KINDS)}"
        )
    if fidelity not in ("maxmin", "alphabeta"):
        raise InputError(f"fidelity {fidelity!r}", mend="use maxmin or alphabeta")
    if ranks is None:
        ranks = np.arange(2 if kind == "send_recv" else len(topology.endpoints))
    members = members_of(ranks, topology)
    if algorithm == "auto":
        estimates = estimate_s(topology, kind, bytes, members)
        chosen = min(estimates, key=lambda name: estimates[name])
    else:
        estimates = {algorithm: _estimate(topology, kind, bytes, members, algorithm)}
        chosen = algorithm
    if fidelity == "alphabeta":
        run, seconds = None, estimates[chosen]
    else:
        table = transfers(kind, members, bytes, chosen, topology=topology, pipelined=True)
        run = simulate_flows(topology, flow_table(table, topology, routing))
        seconds = run.makespan / 1e12
    return CollectiveTime(
        kind, chosen, fidelity, len(members), float(bytes), seconds, estimates, run
    )


def estimate_s(
    topology: Topology, kind: str, bytes: float, ranks: int | npt.ArrayLike
) -> dict[str, float]:
    """Closed forms, in seconds, of the algorithms that can serve these ranks, by name.

    Without ``in_network``, which needs switches that reduce. They know of no contention: latency
    and bandwidth are those of neighbours in the ring, inside and between islands.

    Raises:
        InputError: an unknown kind, ranks that are not there, or too few.
    """
    members = members_of(ranks, topology)
    found = {}
    for name in ALGORITHMS[kind]:
        if name == "in_network":
            continue
        try:
            found[name] = _estimate(topology, kind, bytes, members, name)
        except InputError:
            # It cannot serve these ranks (islands or powers of two); ring and direct can any.
            if name in ("ring", "direct"):
                raise
    return found


def best_algorithm(topology: Topology, kind: str, bytes: float, ranks: int | npt.ArrayLike) -> str:
    """The algorithm of the least of :func:`estimate_s`; raises as that does."""
    estimates = estimate_s(topology, kind, bytes, ranks)
    return min(estimates, key=lambda name: estimates[name])


def _estimate(topology: Topology, kind: str, size: float, members: Ints, algorithm: str) -> float:
    """The closed form, with the slowest link and the mean latency between ring neighbours; for
    ``hierarchical`` those inside and between islands apart."""
    n = len(members)
    checked(kind, algorithm, n)
    if algorithm != "hierarchical":
        latency, rate = _between(topology, members, np.roll(members, -1))
        return alphabeta_s(kind, algorithm, n, size, latency, rate)
    order, g = islands_of(topology, members)
    grid = order.reshape(-1, g)
    inner = outer = _between(topology, members[:1], members[1:2])
    if g > 1:
        inner = _between(topology, grid.ravel(), np.roll(grid, -1, axis=1).ravel())
    if n > g:
        outer = _between(topology, grid.ravel(), np.roll(grid, -1, axis=0).ravel())
    return alphabeta_s(
        kind, algorithm, n, size, *inner, island=g,
        inter_latency_s=outer[0], inter_bytes_per_s=outer[1],
    )  # fmt: skip


def _between(topology: Topology, sources: Ints, targets: Ints) -> tuple[float, float]:
    """Mean latency and least bandwidth of the paths, no link shared. InputError: a broken link."""
    found = routes(topology, sources, targets)
    broken = found.links[topology.bytes_per_s[found.links] <= 0]
    if len(broken):
        raise InputError(
            f"link {topology.link_name(int(broken[0]))} has no bandwidth",
            mend="give it some, or leave its ranks out",
        )
    return float(found.latency_s.mean()), float(found.bottleneck_bytes_per_s(topology).min())
