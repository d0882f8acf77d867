"""Topologies by name, and how long collectives take on them.

cluster = mt.topology("rail_optimised", nodes=4)
mt.collective_times(cluster, "all_reduce", [1e6, 1e9]).table()
"""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.models.network.builders import BUILDERS
from mltwin.models.network.collectives_closed import ALGORITHMS
from mltwin.models.network.collectives_flows import CollectiveTime, collective_seconds
from mltwin.models.network.topology import Topology
from mltwin.sim.errors import InputError

from .fields import Spec, close_to, placed
from .text import Table


def topology(name: str | Path, **parameters: Any) -> Topology:
    """A topology from a builder (`topology_names`) and its parameters, or from a file.

    Raises InputError: an unknown name or parameter, a value that does not fit, a bad file.
    """
    if not isinstance(name, str | Path):
        raise InputError(f"{name!r} is no topology", mend="give a builder's name, or a path")
    name = str(name)
    if name not in BUILDERS and Path(name).suffix:
        return named_topology({"file": name, **parameters})
    return named_topology({"name": name, **parameters})


def topology_names() -> list[str]:
    """The builders' names."""
    return list(BUILDERS)


def topology_table() -> Table:
    """The builders: what each is, its parameters and their defaults."""
    rows: list[list[Any]] = []
    for name, build in BUILDERS.items():
        about = (inspect.getdoc(build) or "").splitlines()[0]
        parameters = [
            key if p.default is p.empty else f"{key}={_shown(p.default)}"
            for key, p in inspect.signature(build).parameters.items()
            if key != "name"
        ]
        rows.append([name, about, ", ".join(parameters)])
    return Table(["topology", "what", "parameters"], rows)


def _shown(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def named_topology(
    spec: Spec, resolve: Callable[[str], Path] | None = None, *, where: str = "topology"
) -> Topology:
    """The topology of a specification; `resolve` finds files (default: as they stand).

    Raises InputError: an unknown builder or parameter, a value that does not fit, a bad file.
    """
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    if "file" in given:
        from mltwin.models.network.topology_file import read_topology

        if len(given) > 1:
            extra = next(name for name in given if name != "file")
            raise InputError(
                "a file takes no parameters", where=f"{where}.{extra}", mend="leave it out"
            )
        return read_topology((resolve or Path)(str(given["file"])))
    if "name" not in given:
        known = f"one of {', '.join(BUILDERS)}"
        raise InputError("names no topology", where=where, mend=f"give name ({known}), or file")
    name = given.pop("name")
    if not isinstance(name, str) or name not in BUILDERS:
        raise InputError(
            f"unknown topology {name!r}",
            where=where,
            mend=f"{close_to(str(name), BUILDERS)} (or {{file = ...}})",
        )
    keys = inspect.signature(BUILDERS[name]).parameters
    for key in given:
        if key not in keys:
            raise InputError("unknown key", where=f"{where}.{key}", mend=close_to(key, keys))
    for key, parameter in keys.items():
        if parameter.default is parameter.empty and key not in given:
            raise InputError(f"{name} needs {key!r}", where=where, mend=f"give {key}")
    try:
        return _built(name, tuple(sorted((k, _hashable(v)) for k, v in given.items())))
    except InputError as error:
        raise placed(error, where) from None
    except (TypeError, ValueError) as error:  # a text for a number
        raise InputError(f"{name}: {error}", where=where, mend="check its values") from None


def _hashable(value: Any) -> Any:
    return tuple(_hashable(v) for v in value) if isinstance(value, list | tuple) else value


@lru_cache(maxsize=8)
def _built(name: str, given: tuple[tuple[str, Any], ...]) -> Topology:
    """Topologies, remembered: the points of a sweep share them."""
    return BUILDERS[name](**dict(given))


@dataclass(frozen=True)
class CollectiveTimes:
    """Times of a collective by size and algorithm.

    Attributes:
        kind, ranks: what, and among how many.
        times: one for each size and algorithm, sizes ascending.
    """

    kind: str
    ranks: int
    times: tuple[CollectiveTime, ...]

    def table(self) -> Table:
        """Microseconds and bus bandwidth; the fastest of each size stands out."""
        rows: list[list[Any]] = [
            [t.bytes / 1e6, t.algorithm, t.seconds * 1e6, t.bus_bytes_per_s / 1e9]
            for t in self.times
        ]
        best = set()
        for size in {t.bytes for t in self.times}:
            mine = [i for i, t in enumerate(self.times) if t.bytes == size]
            best.add((min(mine, key=lambda i: self.times[i].seconds), 2))
        heads = ["MB", "algorithm", "us", "bus GB/s"]
        return Table(heads, rows, title=f"{self.kind} among {self.ranks} ranks", best=best)

    def data(self) -> list[dict[str, Any]]:
        """Plain rows."""
        return [
            {
                "kind": t.kind,
                "ranks": t.ranks,
                "bytes": t.bytes,
                "algorithm": t.algorithm,
                "seconds": t.seconds,
                "bus_bytes_per_s": t.bus_bytes_per_s,
            }
            for t in self.times
        ]


def collective_times(
    topology: Topology | str,
    kind: str,
    sizes: float | Iterable[float],
    *,
    ranks: int | None = None,
    algorithms: Iterable[str] | None = None,
    fidelity: str = "maxmin",
    routing: str = "ecmp",
    hardware: str | None = None,
) -> CollectiveTimes:
    """How long a collective takes by each algorithm that the ranks allow.

    Args:
        topology: from `topology`, or a builder's name.
        kind: all_reduce, reduce_scatter, all_gather, all_to_all, broadcast or send_recv.
        sizes: bytes, counted as NCCL's tests do; one or several.
        ranks: the first so many; default all.
        algorithms: default: all that can serve these ranks, but for in_network.
        fidelity: maxmin (flows that share links) or alphabeta (the closed form).
        routing: of the flows.
        hardware: a name of `mltwin.models.network.nccl.collective_models`: a row more for each
            size, what NCCL was measured to take on it, by the protocol that it is taken to choose.

    Raises InputError: an unknown name, ranks that are not there, no size.
    """
    if kind not in ALGORITHMS:
        raise InputError(f"unknown collective {kind!r}", mend=close_to(kind, ALGORITHMS))
    if isinstance(topology, str):
        topology = named_topology(topology)
    sizes = [sizes] if isinstance(sizes, int | float) else list(sizes)
    if not sizes:
        raise InputError("no size is given", where="sizes", mend="give bytes, as [1e6, 1e9]")
    count = topology.ranks if ranks is None else ranks
    if count > topology.ranks:
        raise InputError(
            f"{count} ranks, the topology has {topology.ranks}",
            where="ranks",
            mend=f"give at most {topology.ranks}",
        )
    members = np.arange(count)
    named = None if algorithms is None else list(algorithms)
    found, last = [], None
    for size in sorted(sizes):
        for name in named or ALGORITHMS[kind]:
            if named is None and name == "in_network":
                continue
            try:
                found.append(
                    collective_seconds(
                        topology, kind, size, members, name, fidelity=fidelity, routing=routing
                    )
                )
            except InputError as error:
                # It cannot serve these ranks (islands, powers of two); others can.
                if named is not None:
                    raise
                last = error
        if hardware is not None:
            found.append(_fitted(hardware, kind, size, topology, count))
    if not found and last is not None:
        raise last
    return CollectiveTimes(kind, count, tuple(found))


def _fitted(
    hardware: str, kind: str, size: float, topology: Topology, ranks: int
) -> CollectiveTime:
    """NCCL's time by its fit to measurements."""
    from mltwin.models.network.nccl import load_collectives

    model = load_collectives(hardware)
    nodes = len(np.unique(topology.island[:ranks]))
    try:
        seconds = float(model.seconds(kind, size, ranks, nodes))
    except InputError as error:
        if nodes == 1:
            raise
        raise InputError(
            f"{ranks} ranks in {nodes} nodes: {error}",
            where="hardware",
            mend="give ranks of one node, or leave hardware out",
        ) from None
    name = f"nccl {model.chosen(kind, size, ranks, nodes)}"
    return CollectiveTime(kind, name, "fitted", ranks, float(size), seconds)
