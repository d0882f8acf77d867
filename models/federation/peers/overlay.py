"""Who talks to whom: overlays of peers, and how far they are apart.

An `Overlay` is a graph, or several that take turns, one a round (time-varying overlays). Edges are
directed: a peer sends along them. Latencies between sites stand beside it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import PEERS, bits, uniforms

Array = npt.NDArray[Any]

_REPAIRS = 100


@dataclass(frozen=True, eq=False)
class Edges:
    """The edges of one phase: peer i sends to `to[first[i]:first[i + 1]]`, ascending.

    Attributes:
        first: int64[N+1].
        to: int32[E].
    """

    first: Array
    to: Array

    @property
    def source(self) -> Array:
        """int32[E], the sender of each edge."""
        return np.repeat(np.arange(len(self.first) - 1, dtype=np.int32), np.diff(self.first))

    @property
    def out_degree(self) -> Array:
        """int64[N]."""
        return np.diff(self.first)

    @property
    def in_degree(self) -> Array:
        """int64[N]."""
        return np.bincount(self.to, minlength=len(self.first) - 1)

    @property
    def symmetric(self) -> bool:
        """Whether each edge has its opposite."""
        count = len(self.first) - 1
        there = self.source.astype(np.int64) * count + self.to
        back = self.to.astype(np.int64) * count + self.source
        return bool(np.array_equal(there, np.sort(back)))


@dataclass(frozen=True, eq=False)
class Overlay:
    """N peers, the edges between them and the latency of a message.

    Attributes:
        peers: N.
        phases: edges in round r are `phases[r % len(phases)]`.
        site: int32[N], row of a peer in `latency_s`; None without a matrix.
        latency_s: float64[S, S] seconds one way from site to site; None: only the latencies of the
            two peers' own links count.
        name: what it is.
    """

    peers: int
    phases: tuple[Edges, ...]
    site: Array | None = None
    latency_s: Array | None = None
    name: str = "overlay"

    @property
    def symmetric(self) -> bool:
        """Whether each edge of each phase has its opposite."""
        return all(phase.symmetric for phase in self.phases)

    def with_latency(self, matrix: npt.ArrayLike, site: npt.ArrayLike | None = None) -> "Overlay":
        """The same overlay with a matrix of one-way seconds between sites.

        Args:
            matrix: float[S, S].
            site: int[N]; None: peer i is at site i mod S, as in Plexus (de Vos et al. 2023).

        Raises:
            InputError: not square, a negative or missing value (the first one is named), a site
                that is not there.
        """
        seconds = np.asarray(matrix, np.float64)
        if seconds.ndim != 2 or seconds.shape[0] != seconds.shape[1] or not seconds.size:
            raise InputError(f"latencies of shape {seconds.shape}: give one row and one column a "
                             "site", where="overlay.latency_s")  # fmt: skip
        wrong = np.argwhere(~((seconds >= 0) & (seconds <= 1e6)))
        if len(wrong):
            row, column = map(int, wrong[0])
            raise InputError(
                f"from site {row} to {column} takes {seconds[row, column]} s",
                where="overlay.latency_s",
                mend="give 0 to 1e6 s",
            )
        chosen = np.arange(self.peers) % len(seconds) if site is None else np.asarray(site)
        if chosen.shape != (self.peers,) or not 0 <= chosen.min() <= chosen.max() < len(seconds):
            raise InputError(
                f"give each of {self.peers} peers a site from 0 to {len(seconds) - 1}",
                where="overlay.site",
            )
        return replace(self, site=chosen.astype(np.int32), latency_s=seconds)

    def latency_ticks(self, own_s: Array) -> tuple[Array, Array, Array]:
        """(own int64[N], site int32[N], between int64[S, S]) ticks of 1 ns.

        From peer i to j takes own[i] + own[j] + between[site[i], site[j]].
        """
        own = np.rint(own_s * 1e9).astype(np.int64)
        if self.latency_s is None or self.site is None:
            return own, np.zeros(self.peers, np.int32), np.zeros((1, 1), np.int64)
        return own, self.site, np.rint(self.latency_s * 1e9).astype(np.int64)


def from_edges(
    peers: int,
    edges: npt.ArrayLike | Sequence[npt.ArrayLike],
    *,
    directed: bool = False,
    name: str = "edges",
) -> Overlay:
    """An overlay of any edges.

    Args:
        peers: N.
        edges: int[E, 2], or a list of such arrays, one a phase.
        directed: False adds the opposite of each edge.
        name: for reports.

    Raises:
        InputError: fewer than two peers, an edge to nobody or to oneself, or peers that no way
            leads to (over all phases together).
    """
    if peers < 2:
        raise InputError(f"{peers} peers: give two or more", where="overlay.peers")
    given = list(edges) if isinstance(edges, (list, tuple)) else [edges]
    lists = given if given and np.ndim(given[0]) == 2 else [edges]
    phases = tuple(_phase(peers, np.asarray(rows, np.int64), directed) for rows in lists)
    _check_connected(peers, phases)
    return Overlay(peers, phases, name=name)


def ring(peers: int) -> Overlay:
    """Each peer and its two neighbours in a circle."""
    at = np.arange(peers)
    return from_edges(peers, np.stack([at, (at + 1) % peers], 1), name="ring")


def torus(rows: int, columns: int) -> Overlay:
    """A grid whose ends meet: four neighbours, fewer where a side is shorter than three."""
    at = np.arange(rows * columns)
    row, column = at // columns, at % columns
    right = row * columns + (column + 1) % columns
    below = (row + 1) % rows * columns + column
    edges = np.concatenate([np.stack([at, right], 1), np.stack([at, below], 1)])
    return from_edges(rows * columns, edges[edges[:, 0] != edges[:, 1]], name="torus")


def complete(peers: int) -> Overlay:
    """Everybody with everybody."""
    return from_edges(peers, np.argwhere(~np.eye(peers, dtype=bool)), name="complete")


def star(peers: int) -> Overlay:
    """Everybody with peer 0."""
    others = np.arange(1, peers)
    return from_edges(peers, np.stack([np.zeros_like(others), others], 1), name="star")


def one_peer_exponential(peers: int) -> Overlay:
    """In round r peer i sends to i + 2^(r mod m) only, m = ceil(log2 N).

    With N a power of two, m rounds of equal averaging give everybody the exact mean of all (Ying et
    al., "Exponential graph is provably efficient for decentralized deep learning", 2021, lemma 2).
    """
    at = np.arange(peers)
    hops = [2**k for k in range(max(1, int(np.ceil(np.log2(max(peers, 2))))))]
    phases = [np.stack([at, (at + hop) % peers], 1) for hop in hops]
    return from_edges(peers, phases, directed=True, name="one-peer exponential")


def regular(peers: int, degree: int, seed: int = 0) -> Overlay:
    """A random graph in which each peer has `degree` neighbours, connected.

    Random Hamiltonian cycles laid over each other, and a random perfect matching where the degree
    is odd; edges that fall together are swapped with random others. (Such sums are contiguous to
    the uniform random regular graph: Wormald, "Models of random regular graphs", 1999, section 4.)

    Raises:
        InputError: a degree below 2 or above N - 1, or an odd degree of an odd number of peers.
    """
    where = "overlay.degree"
    if not 2 <= degree < max(peers, 3) or (degree * peers) % 2:
        raise InputError(
            f"{peers} peers cannot have {degree} neighbours each",
            where=where,
            mend="give 2 to N - 1, an even degree if N is odd",
        )
    if degree == peers - 1:
        return complete(peers)
    dense = degree > (peers - 1) // 2
    wanted = peers - 1 - degree if dense else degree
    for attempt in range(_REPAIRS):
        edges = _regular_edges(peers, wanted, seed, attempt)
        if edges is None:
            continue
        if dense:
            other = ~np.eye(peers, dtype=bool)
            other[edges[:, 0], edges[:, 1]] = other[edges[:, 1], edges[:, 0]] = False
            edges = np.argwhere(np.triu(other))
        try:
            return from_edges(peers, edges, name=f"{degree}-regular")
        except InputError:
            continue
    raise InputError(f"found no connected {degree}-regular graph of {peers} peers", where=where)


def positions(sites: int, seed: int = 0, *, across_s: float = 0.1, base_s: float = 0.002) -> Array:
    """float64[S, S], synthetic latencies: base plus distance of random points in a square.

    across_s is the time along a side; a site is base_s away from itself.

    Raises InputError: no site, or a negative time.
    """
    if sites < 1 or across_s < 0 or base_s < 0:
        raise InputError(f"{sites} sites, {across_s} s across, base {base_s} s", where="positions")
    at = uniforms(seed, PEERS, np.arange(sites)[:, None], np.arange(2)[None, :])
    apart = at[:, None, :] - at[None, :, :]
    return base_s + across_s * np.sqrt((apart * apart).sum(axis=2))


def _phase(peers: int, edges: Array, directed: bool) -> Edges:
    if edges.ndim != 2 or edges.shape[1:] != (2,):
        raise InputError(f"edges of shape {edges.shape}: give [E, 2]", where="overlay.edges")
    wrong = ((edges < 0) | (edges >= peers)).any(axis=1) | (edges[:, 0] == edges[:, 1])
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise InputError(
            f"edge {row} goes from {edges[row, 0]} to {edges[row, 1]}",
            where="overlay.edges",
            mend=f"name two different peers from 0 to {peers - 1}",
        )
    if not directed:
        edges = np.concatenate([edges, edges[:, ::-1]])
    keys = np.unique(edges[:, 0] * peers + edges[:, 1])
    source, to = keys // peers, (keys % peers).astype(np.int32)
    first = np.zeros(peers + 1, np.int64)
    np.cumsum(np.bincount(source, minlength=peers), out=first[1:])
    return Edges(first, to)


def _check_connected(peers: int, phases: tuple[Edges, ...]) -> None:
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    source = np.concatenate([phase.source for phase in phases])
    to = np.concatenate([phase.to for phase in phases])
    graph = coo_array((np.ones(len(to), np.int8), (source, to)), shape=(peers, peers))
    parts, part = connected_components(graph, directed=True, connection="strong")
    if parts > 1:
        lost = int(np.flatnonzero(part != part[0])[0])
        raise InputError(
            f"no way leads from peer 0 to peer {lost} and back: {parts} parts",
            where="overlay.edges",
            mend="add edges between them",
        )


def _regular_edges(peers: int, degree: int, seed: int, attempt: int) -> Array | None:
    """int64[E, 2], or None where equal edges could not be swapped apart."""
    lists = []
    for cycle in range((degree + 1) // 2):
        order = np.argsort(
            bits(seed, PEERS, np.arange(peers), 2 + attempt * peers + cycle), kind="stable"
        )
        if 2 * cycle + 1 == degree:
            lists.append(order.reshape(-1, 2))
        else:
            lists.append(np.stack([order, np.roll(order, -1)], 1))
    if not lists:
        return np.zeros((0, 2), np.int64)
    edges = np.concatenate(lists)
    for trial in range(_REPAIRS):
        low, high = edges.min(axis=1), edges.max(axis=1)
        _, kept = np.unique(low * peers + high, return_index=True)
        bad = np.setdiff1d(np.arange(len(edges)), kept)
        bad = np.union1d(bad, np.flatnonzero(low == high))
        if not len(bad):
            return edges
        draws = uniforms(seed, PEERS, bad, (attempt * _REPAIRS + trial + 1) * 2 * peers)
        for row, draw in zip(bad, draws, strict=True):
            other = int(draw * len(edges))
            edges[row, 1], edges[other, 1] = edges[other, 1], edges[row, 1]
    return None
