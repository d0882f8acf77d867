"""What is wired to what: nodes, directed links, and the ranks that send and receive.

A `Topology` is flat columns. Links are directed, so a duplex cable is two links; a medium that both
directions share (`shared`) is one link that may be crossed either way. Nodes that are not `transit`
(GPUs and hosts, unless the fabric is a torus) begin and end paths, and no path passes through them.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

GPU, HOST, NIC, SWITCH, SITE = 0, 1, 2, 3, 4
KIND_NAMES = ("gpu", "host", "nic", "switch", "site")
_SHOWN = ("GPU", "host", "NIC", "switch", "site")
MOST_S = 1e5
"""Latency of a link at most: paths and a run of 100 days must fit into ticks."""
_FORWARDS = np.array([False, False, True, True, True])

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Topology:
    """N nodes, L directed links, E endpoints; made and checked by `make`.

    Attributes:
        name: what the user calls it.
        nodes: N names, no two alike.
        kinds: int8[N], GPU (any accelerator), HOST, NIC, SWITCH or SITE.
        source, target: int32[L], the nodes that each link joins.
        bytes_per_s: float64[L]; 0 is a broken link, an error only where a flow uses it.
        latency_s: float64[L], one way.
        endpoints: int32[E], nodes that send and receive, in rank order.
        island: int32[E], the server (NVLink domain) of each rank, from 0.
        rail: int32[E], each rank's place inside its island.
        shared: bool[L], crossed in both directions (a wireless medium, half-duplex).
        transit: bool[N], whether paths may pass through the node.
        fabric: name of the builder, or "file".
        facts: its parameters, plain JSON.
    """

    name: str
    nodes: tuple[str, ...]
    kinds: Array
    source: Array
    target: Array
    bytes_per_s: Array
    latency_s: Array
    endpoints: Array
    island: Array
    rail: Array
    shared: Array
    transit: Array
    fabric: str = "file"
    facts: Mapping[str, Any] = field(default_factory=dict)
    _kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def make(
        cls,
        *,
        name: str,
        nodes: Sequence[str],
        kinds: npt.ArrayLike,
        source: npt.ArrayLike,
        target: npt.ArrayLike,
        bytes_per_s: npt.ArrayLike,
        latency_s: npt.ArrayLike,
        endpoints: npt.ArrayLike,
        island: npt.ArrayLike | None = None,
        rail: npt.ArrayLike | None = None,
        shared: npt.ArrayLike | None = None,
        transit: npt.ArrayLike | None = None,
        fabric: str = "file",
        facts: Mapping[str, Any] | None = None,
    ) -> "Topology":
        """Check and freeze the columns. Without `island` each rank is an island of its own.

        `bytes_per_s` and `latency_s` may be one number for all links. Without `transit`, switches,
        NICs and sites forward; GPUs and hosts do not.

        Raises:
            InputError: a node, link or endpoint that cannot be (it is named).
        """
        names = tuple(str(n) for n in nodes)
        n, where = len(names), f"topology {name!r}"
        kind = np.asarray(kinds, np.int8)
        ends = _indices(endpoints, n, names, "endpoint", where)
        links = len(np.atleast_1d(np.asarray(source)))
        made = cls(
            name=str(name),
            nodes=names,
            kinds=_frozen(np.broadcast_to(kind, n)),
            source=_frozen(_indices(source, n, names, "link source", where)),
            target=_frozen(_indices(target, n, names, "link target", where)),
            bytes_per_s=_frozen(_column(bytes_per_s, np.float64, links, "bytes_per_s", where)),
            latency_s=_frozen(_column(latency_s, np.float64, links, "latency_s", where)),
            endpoints=_frozen(ends),
            island=_frozen(_ranks(island, np.arange(len(ends)), len(ends), "island", where)),
            rail=_frozen(_ranks(rail, 0, len(ends), "rail", where)),
            shared=_frozen(
                _column(False if shared is None else shared, np.bool_, links, "shared", where)
            ),
            transit=_frozen(
                _column(
                    _FORWARDS[np.clip(kind, 0, 4)] if transit is None else transit,
                    np.bool_,
                    n,
                    "transit",
                    where,
                )
            ),
            fabric=fabric,
            facts=_plain(facts or {}, where),
        )
        _check(made, where)
        return made

    @property
    def ranks(self) -> int:
        """Number of endpoints."""
        return len(self.endpoints)

    @property
    def islands(self) -> int:
        """Number of islands."""
        return int(self.island.max()) + 1 if len(self.island) else 0

    @property
    def sha256(self) -> str:
        """Hash of everything but private caches: equal topologies have equal hashes."""
        if "sha256" not in self._kept:
            self._kept["sha256"] = _sha256(self)
        return str(self._kept["sha256"])

    def link_name(self, link: int) -> str:
        """``source -> target`` of one link; with ``#k`` where it is the k-th of parallel cables."""
        s, t = int(self.source[link]), int(self.target[link])
        arrow = "<->" if self.shared[link] else "->"
        alike = np.flatnonzero((self.source[: link + 1] == s) & (self.target[: link + 1] == t))
        more = f" #{len(alike)}" if len(alike) > 1 else ""
        return f"{self.nodes[s]} {arrow} {self.nodes[t]}{more}"

    def link_names(self) -> list[str]:
        """The name of every link, see `link_name`; no two alike. Made once."""
        if "link_names" not in self._kept:
            self._kept["link_names"] = self._make_link_names()
        return list(self._kept["link_names"])

    def _make_link_names(self) -> list[str]:
        seen: dict[tuple[int, int], int] = {}
        found = []
        for s, t, both in zip(
            self.source.tolist(), self.target.tolist(), self.shared.tolist(), strict=True
        ):
            k = seen[s, t] = seen.get((s, t), 0) + 1
            arrow = "<->" if both else "->"
            more = f" #{k}" if k > 1 else ""
            found.append(f"{self.nodes[s]} {arrow} {self.nodes[t]}{more}")
        return found

    def rank_name(self, rank: int) -> str:
        """The name of the node that a rank stands on."""
        return self.nodes[int(self.endpoints[rank])]

    def node_number(self, name: str) -> int:
        """The number of a node. InputError with the nearest name where there is none."""
        numbers = self._kept.setdefault("numbers", {n: i for i, n in enumerate(self.nodes)})
        if name in numbers:
            return int(numbers[name])
        import difflib

        close = difflib.get_close_matches(name, self.nodes, n=1)
        mend = f"did you mean {close[0]!r}?" if close else "see its .nodes"
        raise InputError(f"no node is called {name!r}", where=f"topology {self.name!r}", mend=mend)

    def links_between(self, source: str, target: str) -> Array:
        """Numbers of the links from one named node to another (shared ones either way)."""
        s, t = self.node_number(source), self.node_number(target)
        ahead = (self.source == s) & (self.target == t)
        back = (self.source == t) & (self.target == s) & self.shared
        return np.flatnonzero(ahead | back)

    def with_links(
        self,
        *,
        bytes_per_s: npt.ArrayLike | None = None,
        latency_s: npt.ArrayLike | None = None,
        name: str | None = None,
    ) -> "Topology":
        """The same wiring with other bandwidths or latencies (degraded or broken links)."""
        return Topology.make(
            name=self.name if name is None else name,
            nodes=self.nodes,
            kinds=self.kinds,
            source=self.source,
            target=self.target,
            bytes_per_s=self.bytes_per_s if bytes_per_s is None else bytes_per_s,
            latency_s=self.latency_s if latency_s is None else latency_s,
            endpoints=self.endpoints,
            island=self.island,
            rail=self.rail,
            shared=self.shared,
            transit=self.transit,
            fabric=self.fabric,
            facts=self.facts,
        )

    def describe(self) -> str:
        """A few lines of text: how many of each kind, how fast, what it was built from."""
        count = np.bincount(self.kinds, minlength=len(KIND_NAMES))
        kinds = ", ".join(_plural(int(c), _SHOWN[k]) for k, c in enumerate(count) if c)
        lines = [
            f"{self.name} ({self.fabric}): {kinds}; {_plural(self.ranks, 'rank')} in "
            f"{_plural(self.islands, 'island')}, {_plural(len(self.source), 'link')}"
        ]
        speeds, how_many = np.unique(self.bytes_per_s, return_counts=True)
        for speed, n in sorted(zip(speeds, how_many, strict=True), key=lambda x: -x[1])[:6]:
            latency = np.unique(self.latency_s[self.bytes_per_s == speed]) * 1e6
            span = " to ".join(f"{x:g}" for x in (latency[0], latency[-1])[: min(2, len(latency))])
            state = f"{speed / 1e9:g} GB/s" if speed else "broken"
            lines.append(f"  {_plural(int(n), 'link')}: {state}, {span} us")
        return "\n".join(lines)

    def save(self, path: str | Path) -> Path:
        """Write it to a .json or .toml file that `read_topology` reads back; the path."""
        from .topology_file import write_topology

        return write_topology(self, path)


def _plain(facts: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Facts as JSON gives them back."""
    try:
        found: dict[str, Any] = json.loads(json.dumps(dict(facts), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise InputError(f"facts are not plain JSON: {error}", where=where) from None
    return found


def _plural(n: int, word: str) -> str:
    ending = "" if n == 1 else "es" if word.endswith("ch") else "s"
    return f"{n:,} {word}{ending}"


def _frozen(values: Array) -> Array:
    kept = np.array(values)
    kept.flags.writeable = False
    return kept


def _column(values: Any, dtype: Any, n: int, what: str, where: str) -> Array:
    column = np.asarray(values, dtype)
    if column.ndim > 1 or (column.ndim == 1 and len(column) != n):
        raise InputError(f"{what} has shape {column.shape}, {n} rows are wanted", where=where)
    return np.broadcast_to(column, n)


def _ranks(values: Any, default: Any, n: int, what: str, where: str) -> Array:
    column = _column(default if values is None else values, np.int32, n, what, where)
    if np.any(column < 0):
        rank = int(np.flatnonzero(column < 0)[0])
        raise InputError(f"{what} of rank {rank} is {int(column[rank])}, below 0", where=where)
    return column


def _indices(values: Any, n: int, names: Sequence[str], what: str, where: str) -> Array:
    column = np.atleast_1d(np.asarray(values, np.int64))
    wrong = np.flatnonzero((column < 0) | (column >= n))
    if len(wrong):
        raise InputError(
            f"{what} {int(wrong[0])} is node {int(column[wrong[0]])}, there are {n}", where=where
        )
    return column.astype(np.int32)


def _check(t: Topology, where: str) -> None:
    if not t.nodes:
        raise InputError("has no nodes", where=where)
    if len(set(t.nodes)) < len(t.nodes):
        seen: set[str] = set()
        twice = next(n for n in t.nodes if n in seen or seen.add(n))  # type: ignore[func-returns-value]
        raise InputError(f"two nodes are called {twice!r}", where=where, mend="rename one")
    if np.any((t.kinds < 0) | (t.kinds >= len(KIND_NAMES))):
        raise InputError(f"node kinds go from 0 to {len(KIND_NAMES) - 1}", where=where)
    if len(t.source) != len(t.target):
        raise InputError(f"{len(t.source)} link sources and {len(t.target)} targets", where=where)
    if not t.ranks:
        raise InputError("no node sends or receives", where=where, mend="name its endpoints")
    if len(np.unique(t.endpoints)) < t.ranks:
        numbers, count = np.unique(t.endpoints, return_counts=True)
        twice = t.nodes[int(numbers[count > 1][0])]
        raise InputError(f"node {twice!r} has two ranks", where=where, mend="name it once")
    _check_links(t, where)


def _check_links(t: Topology, where: str) -> None:
    loops = np.flatnonzero(t.source == t.target)
    if len(loops):
        raise InputError(f"link {t.link_name(int(loops[0]))} ends where it starts", where=where)
    for column, unit, most in ((t.bytes_per_s, "bytes/s", np.inf), (t.latency_s, "s", MOST_S)):
        wrong = np.flatnonzero(~(np.isfinite(column) & (column >= 0) & (column <= most)))
        if len(wrong):
            link = int(wrong[0])
            long = most < column[link] < np.inf
            span = f"at most {most:g}" if long else "a finite number, 0 or more"
            raise InputError(
                f"link {t.link_name(link)} has {column[link]:g} {unit}",
                where=where,
                mend=f"give {span}",
            )


def _sha256(t: Topology) -> str:
    digest = hashlib.sha256()
    words: Iterable[Any] = (t.name, t.fabric, list(t.nodes), dict(t.facts))
    digest.update(json.dumps(list(words), sort_keys=True).encode())
    for column in (
        t.kinds,
        t.source,
        t.target,
        t.bytes_per_s,
        t.latency_s,
        t.endpoints,
        t.island,
        t.rail,
        t.shared,
        t.transit,
    ):
        digest.update(column.dtype.str.encode())
        digest.update(column.tobytes())
    return digest.hexdigest()
