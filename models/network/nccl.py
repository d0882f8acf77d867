"""Collectives of real GPUs: time by kind, bytes and GPUs, fitted to measured tables.

NCCL has several protocols (LL, LL128, Simple), each with its latency and its bandwidth, and takes
the one that it expects to be the fastest (NCCL source, ``src/graph/tuning.cc``: time = latency +
bytes / bandwidth for every algorithm and protocol). So the law of a collective here is the least of
up to three such lines, and what the law leaves is kept as measured corrections:

    law(S, n) = min over protocols p of  a_p + b_p (n - 1) + S (L (n-1)/n / B_p + 1/n / M_p)

S bytes, n GPUs, L = 2 for all-reduce and 1 for the others: n-1 of n parts cross the links of a
ring at B, the GPU's own part is copied at M. Across m nodes of g = n/m GPUs:

    law = min over p of  a_p + b_p (g - 1) + c_p (m - 1) + S f / (B_p g^e)

f = L (n-1)/n; for all-to-all (n-g)/n, what leaves a node; e from 0 (the node's GPUs share one
network card) to 1 (each has its own). Latency grows with m - 1, as in a ring: so do the sizes at
which half of the bandwidth is reached that SimAI publishes for 2 to 128 nodes (as (m-1)^0.93).

The names of protocols stand for the lines in the order of their latency; tables do not say which
protocol ran, nor whether a ring, a tree or NVLS did: inside a node that cannot be told from times
over 2, 4 and 8 GPUs (a form for each was tried, and was further off for GPUs left out).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .shipped import read_law, shipped_names

Array = npt.NDArray[np.float64]
Layout = tuple[int, int]
"""GPUs and nodes."""

PROTOCOLS = ("LL", "LL128", "Simple")


def traffic(kind: str, n: npt.ArrayLike, nodes: npt.ArrayLike = 1) -> Array:
    """Bytes over a GPU's link as a fraction of the collective's: L (n-1)/n; 1 for broadcast and
    send-receive; for all-to-all across nodes what leaves a node, (n-g)/n."""
    gpus, m = np.asarray(n, float), np.asarray(nodes, float)
    if kind in ("send_recv", "broadcast"):
        return np.ones(np.broadcast(gpus, m).shape)
    part = (gpus - 1) / gpus
    if kind == "all_to_all":
        return np.where(m > 1, (gpus - gpus / m) / gpus, part)
    return part * (2.0 if kind.endswith("all_reduce") else 1.0) * np.ones_like(m)


@dataclass(frozen=True)
class Protocol:
    """One line of the law: latency and bandwidth.

    Attributes:
        base_s, step_s, node_s: a, b, c.
        bytes_per_s: B.
        own_bytes_per_s: M; inf: no such part.
    """

    base_s: float
    step_s: float = 0.0
    node_s: float = 0.0
    bytes_per_s: float = np.inf
    own_bytes_per_s: float = np.inf


@dataclass(frozen=True, eq=False)
class CollectiveLaw:
    """One collective, inside a node or across nodes.

    Attributes:
        kind: of the collective.
        protocols: lines of the law, by latency.
        rails: e.
        measured: by layout, (log of sizes, log of measured over law), sizes rising.
    """

    kind: str
    protocols: tuple[Protocol, ...]
    rails: float = 0.0
    measured: Mapping[Layout, tuple[Array, Array]] = field(default_factory=dict)

    def lines(self, size: npt.ArrayLike, n: npt.ArrayLike, nodes: npt.ArrayLike = 1) -> Array:
        """Seconds by each protocol, (protocols, ...)."""
        s, gpus, m = np.asarray(size, float), np.asarray(n, float), np.asarray(nodes, float)
        moved, own, per_node = traffic(self.kind, gpus, m), 1 / gpus, gpus / m
        return np.stack(
            [
                p.base_s
                + p.step_s * (per_node - 1)
                + p.node_s * (m - 1)
                + s * (moved / (p.bytes_per_s * per_node**self.rails) + own / p.own_bytes_per_s)
                for p in self.protocols
            ]
        )

    def law(self, size: npt.ArrayLike, n: npt.ArrayLike, nodes: npt.ArrayLike = 1) -> Array:
        """Seconds without corrections, for bytes, GPUs and nodes of shapes that broadcast."""
        return np.asarray(self.lines(size, n, nodes).min(axis=0))

    def protocol(self, size: float, n: int, nodes: int = 1) -> str:
        """Name of the line that is the least."""
        names = PROTOCOLS[-len(self.protocols) :]
        return names[int(np.argmin(self.lines(size, n, nodes)))]

    def correction(self, size: npt.ArrayLike, n: int, nodes: int = 1) -> Array:
        """Log of measured over law: straight in the log of the size between measured sizes and
        constant beyond; between measured numbers of GPUs straight in their log, beyond them and
        for other numbers of nodes that of the nearest."""
        x = np.log(np.asarray(size, float))
        if not self.measured:
            return np.zeros_like(x)

        def at(layout: Layout) -> Array:
            return np.interp(x, *self.measured[layout])

        m = min({m for _, m in self.measured}, key=lambda k: (abs(np.log(k / nodes)), k))
        counts = sorted(g for g, k in self.measured if k == m)
        wanted = max(1, round(n / nodes)) * m
        low = [g for g in counts if g <= wanted]
        high = [g for g in counts if g >= wanted]
        if not low or not high or low[-1] == high[0]:
            return at(((low or high)[-1 if low else 0], m))
        share = np.log(wanted / low[-1]) / np.log(high[0] / low[-1])
        return (1 - share) * at((low[-1], m)) + share * at((high[0], m))

    def seconds(self, size: npt.ArrayLike, n: int, nodes: int = 1) -> Array:
        """Seconds for ``size`` bytes (0 and less count as 1)."""
        s = np.maximum(np.asarray(size, float), 1.0)
        return np.asarray(self.law(s, n, nodes) * np.exp(self.correction(s, n, nodes)))


@dataclass(frozen=True)
class Origin:
    """Where a law comes from and how far it is off on rows that it did not see.

    Attributes:
        law: its key in the model.
        file, sha256, version: the table.
        rows: of it that were used.
        sizes_pct, counts_pct: median error in percent, sizes and numbers of GPUs held out (None:
            fewer than three numbers were measured).
    """

    law: str
    file: str
    sha256: str
    version: str
    rows: int
    sizes_pct: float | None
    counts_pct: float | None


@dataclass(frozen=True, eq=False)
class CollectiveModel:
    """All collectives of one kind of server.

    Attributes:
        name: of the model, see :func:`collective_models`.
        laws: ``<library>.<kind>`` inside a node, ``<library>.<kind>.across`` across nodes; the
            library is ``nccl`` or ``vllm`` (its own all-reduce kernels, in CUDA graphs).
        origin: one entry for each law.
    """

    name: str
    laws: Mapping[str, CollectiveLaw]
    origin: tuple[Origin, ...] = ()

    def law(self, kind: str, nodes: int = 1, library: str = "nccl") -> CollectiveLaw:
        """One collective.

        Raises:
            InputError: it was not measured.
        """
        key = f"{library}.{kind}" + (".across" if nodes > 1 else "")
        if key not in self.laws:
            raise InputError(
                f"{key} is not measured on {self.name}", mend=f"known: {', '.join(self.laws)}"
            )
        return self.laws[key]

    def seconds(
        self, kind: str, bytes: npt.ArrayLike, n: int, nodes: int = 1, *, library: str = "nccl"
    ) -> Array:
        """Seconds of a collective over ``n`` GPUs, as many of each of ``nodes`` nodes.

        Where no collective was measured across nodes but sends between them were, every GPU's
        share goes round a ring of its peers in the other nodes at the measured speed of sends,
        with the latency of a send for each step. Chunks are pipelined through it and the node, so
        that the slower of the two counts. An all-reduce may take a tree there instead: 2 log2 m
        latencies, and all bytes up and down. This is a model, not a measurement.

        Args:
            bytes: any shape; what they count: :data:`mltwin.models.network.collectives.KINDS`.

        Raises:
            InputError: not measured, or GPUs that the nodes do not share equally.
        """
        if n < 1 or nodes < 1 or n % nodes:
            raise InputError(f"{n} GPUs on {nodes} nodes", mend="give as many GPUs of every node")
        size = np.asarray(bytes, float)
        if n == 1:
            return np.zeros(size.shape)
        known = f"{library}.{kind}.across" in self.laws
        if nodes > 1 and not known and "nccl.send_recv.across" in self.laws:
            return self._hierarchy(kind, size, n, nodes, library)
        return self.law(kind, nodes, library).seconds(size, n, nodes)

    def _hierarchy(self, kind: str, size: Array, n: int, nodes: int, library: str) -> Array:
        g, halves = n // nodes, 2 if kind == "all_reduce" else 1
        send = self.law("send_recv", 2)
        start = float(send.seconds(1.0, 2, 2))

        def sent(size: Array) -> Array:
            return np.maximum(send.seconds(size, 2, 2) - start, 0.0)

        share = (nodes - 1) / nodes
        inside = self.seconds(kind, size, g, library=library)
        crossing = size * share if kind == "all_to_all" else size / g * halves * share
        ring = np.maximum(inside, sent(crossing)) + halves * (nodes - 1) * start
        if kind != "all_reduce":
            return ring
        tree = np.maximum(inside, sent(size / g * halves)) + halves * np.log2(nodes) * start
        return np.minimum(ring, tree)

    def chosen(self, kind: str, bytes: float, n: int, nodes: int = 1) -> str:
        """Name of the protocol that the law takes; `modelled` where :meth:`seconds` composes it."""
        known = f"nccl.{kind}.across" in self.laws
        if nodes > 1 and not known and "nccl.send_recv.across" in self.laws:
            return "modelled"
        return self.law(kind, nodes).protocol(float(bytes), n, nodes)

    def to_json(self) -> str:
        """As text, with short numbers: errors are orders of magnitude above the last digit."""
        laws = {
            key: {
                "kind": law.kind,
                "rails": law.rails,
                "protocols": [_numbers(p) for p in law.protocols],
                "measured": [
                    {
                        "gpus": n,
                        "nodes": m,
                        "bytes": [float(f"{v:.7g}") for v in np.exp(x)],
                        "log_ratio": [round(float(v), 5) for v in y],
                    }
                    for (n, m), (x, y) in law.measured.items()
                ],
            }
            for key, law in self.laws.items()
        }
        origin = [vars(o) for o in self.origin]
        return json.dumps({"name": self.name, "origin": origin, "laws": laws}, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str, where: str = "collective model") -> "CollectiveModel":
        """The inverse of :meth:`to_json`.

        Raises:
            InputError: no such model.
        """
        try:
            raw: dict[str, Any] = json.loads(text)
            laws = {key: _law(value) for key, value in raw["laws"].items()}
            origin = tuple(Origin(**entry) for entry in raw["origin"])
            return cls(str(raw["name"]), laws, origin)
        except (ValueError, KeyError, TypeError) as error:
            raise InputError(f"not a collective model ({error!r})", where=where) from None


def _numbers(p: Protocol) -> dict[str, float]:
    return {k: float(f"{v:.6g}") for k, v in vars(p).items() if np.isfinite(v) and v != 0}


def _law(raw: dict[str, Any]) -> CollectiveLaw:
    measured = {
        (int(m["gpus"]), int(m["nodes"])): (
            np.log(np.asarray(m["bytes"], float)),
            np.asarray(m["log_ratio"], float),
        )
        for m in raw["measured"]
    }
    protocols = tuple(Protocol(**p) for p in raw["protocols"])
    return CollectiveLaw(str(raw["kind"]), protocols, float(raw["rails"]), measured)


def collective_models() -> tuple[str, ...]:
    """Names of the models that ship with the package."""
    return shipped_names("collectives")


def load_collectives(name: str) -> CollectiveModel:
    """A model by name, or from a file of :meth:`CollectiveModel.to_json`.

    Raises:
        InputError: there is none, or the file holds something else.
    """
    return CollectiveModel.from_json(*read_law("collectives", name, "collective model"))
