"""What a `NetworkScenario` sends, as columns: random flows, patterns, or a file of flows.

Collectives are not made here: they have dependencies (`mltwin.models.network.collectives`).
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.models.network.topology import Topology
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import ARRIVALS, LENGTHS, NETWORK, exponentials, integers, normals
from mltwin.sim.rng_arrays import uniforms as drawn
from mltwin.sim.ticks import MAX_S, ticks

from .fields import close_to
from .network import Traffic

MB = 1e6
_COLUMNS = ("start_s", "source", "target", "bytes")
_OPTIONAL = {"weight": 1.0, "cap_gbps": np.inf}
_MOST = 50_000_000


@dataclass(frozen=True, eq=False)
class Sent:
    """Flows between ranks.

    Attributes:
        release: int64[F], ticks at which each may start, non-decreasing.
        source, target: int32[F], ranks.
        bytes: float64[F].
        weight: float64[F], of the share on a link.
        cap: float64[F], bytes/s at most; inf for none.
    """

    release: np.ndarray
    source: np.ndarray
    target: np.ndarray
    bytes: np.ndarray
    weight: np.ndarray
    cap: np.ndarray

    @classmethod
    def of(cls, release: Any, source: Any, target: Any, size: Any) -> "Sent":
        """Flows of weight 1 without caps, sorted by their start."""
        order = np.argsort(release, kind="stable")
        n = len(order)
        return cls(
            np.asarray(release, np.int64)[order],
            np.asarray(source, np.int32)[order],
            np.asarray(target, np.int32)[order],
            np.broadcast_to(np.asarray(size, float), n)[order],
            np.ones(n),
            np.full(n, np.inf),
        )


def sent(traffic: Traffic, topology: Topology, seed: int, file: Path | None) -> Sent:
    """The flows of a traffic section.

    Raises InputError: a topology with one endpoint, too many flows, a file that cannot be read.
    """
    if len(topology.endpoints) < 2:
        raise InputError(
            "one endpoint has nobody to send to", where="topology", mend="give it two or more"
        )
    if traffic.kind == "poisson":
        return _poisson(traffic, topology, seed)
    if traffic.kind == "pattern":
        return _pattern(traffic, topology, seed)
    assert file is not None
    return read_flows(file, len(topology.endpoints))


def _poisson(traffic: Traffic, topology: Topology, seed: int) -> Sent:
    """Flows that start as a Poisson process, as fast as `load` asks for.

    The rate is load x (bytes/s that all endpoints can send) / mean size; under `incast`, load x
    (bytes/s that rank 0 can receive) / mean size.
    """
    n, flow = len(topology.endpoints), np.arange(traffic.flows)
    size = traffic.size_mb * MB * _sizes(traffic, seed, flow)
    incast = traffic.matrix == "incast"
    rate = traffic.load * _able(topology, incast) / (traffic.size_mb * MB)
    at_s = np.cumsum(exponentials(seed, ARRIVALS, flow)) / rate
    if at_s[-1] > MAX_S:
        raise InputError(
            f"the last flow would start after {at_s[-1]:.3g} s",
            where="traffic.load",
            mend="a higher load, or smaller flows",
        )
    source, target = _pairs(traffic.matrix, topology, seed, flow, n)
    return Sent.of(ticks(at_s), source, target, size)


def _able(topology: Topology, incast: bool) -> float:
    """Bytes/s that all endpoints send at most; with `incast`, that rank 0 receives."""
    if incast:
        into = topology.target == topology.endpoints[0]
        return float(topology.bytes_per_s[into].sum())
    out = np.isin(topology.source, topology.endpoints)
    return float(topology.bytes_per_s[out].sum())


def _sizes(traffic: Traffic, seed: int, flow: np.ndarray) -> np.ndarray:
    """Sizes with mean 1."""
    if traffic.law == "fixed":
        return np.ones(len(flow))
    if traffic.law == "exponential":
        return np.asarray(exponentials(seed, LENGTHS, flow))
    if traffic.law == "lognormal":
        sigma = traffic.spread
        return np.exp(sigma * normals(seed, LENGTHS, flow) - sigma * sigma / 2)
    shape = 1 + traffic.spread
    return (shape - 1) / shape * np.exp(exponentials(seed, LENGTHS, flow) / shape)


def _pairs(
    matrix: str, topology: Topology, seed: int, flow: np.ndarray, n: int
) -> tuple[np.ndarray, np.ndarray]:
    if matrix == "incast":
        return 1 + integers(seed, NETWORK, flow, n - 1), np.zeros(len(flow), np.int64)
    source = integers(seed, NETWORK, flow, n)
    if matrix == "permutation":
        return source, _permutation(n, seed)[source]
    if matrix == "uniform":
        step = 1 + integers(seed, NETWORK, flow, n - 1, counter=1)
        return source, (source + step) % n
    return source, _elsewhere(topology, seed, flow, source)


def _elsewhere(topology: Topology, seed: int, flow: np.ndarray, source: np.ndarray) -> np.ndarray:
    """For each source a rank of another island, all alike."""
    island = topology.island
    order = np.argsort(island, kind="stable")
    first = np.searchsorted(island[order], island[source], "left")
    after = np.searchsorted(island[order], island[source], "right")
    own = after - first
    others = len(island) - own
    if (others == 0).any():
        raise InputError(
            "matrix = 'islands' needs two islands or more",
            where="traffic.matrix",
            mend="another matrix, or a topology with several islands",
        )
    place = (drawn(seed, NETWORK, flow, 1) * others).astype(np.int64)
    return order[np.where(place < first, place, place + own)]


def _permutation(n: int, seed: int) -> np.ndarray:
    """A cycle through all ranks in random order: nobody sends to himself."""
    order = np.argsort(drawn(seed, NETWORK, np.arange(n), 2), kind="stable")
    target = np.empty(n, np.int64)
    target[order] = np.roll(order, -1)
    return target


def _pattern(traffic: Traffic, topology: Topology, seed: int) -> Sent:
    n = len(topology.endpoints)
    rank = np.arange(n)
    source, target = rank, rank
    if traffic.pattern == "permutation":
        target = _permutation(n, seed)
    elif traffic.pattern == "incast":
        senders = traffic.senders or n - 1
        if senders > n - 1:
            raise InputError(
                f"{senders} senders to one of {n} ranks",
                where="traffic.senders",
                mend=f"give at most {n - 1}",
            )
        source, target = 1 + rank[:senders], np.zeros(senders, np.int64)
    elif traffic.pattern == "neighbours":
        source = np.concatenate([rank, rank])
        target = np.concatenate([(rank + 1) % n, (rank - 1) % n])
        if n == 2:  # both neighbours are one
            source, target = source[:2], target[:2]
    elif traffic.pattern == "shift":
        if traffic.shift % n == 0:
            raise InputError(
                f"a shift by {traffic.shift} of {n} ranks sends to itself",
                where="traffic.shift",
                mend=f"choose 1 to {n - 1}",
            )
        target = (rank + traffic.shift) % n
    else:
        if n * (n - 1) > _MOST:
            raise InputError(
                f"all-to-all among {n} ranks is {n * (n - 1):,} flows",
                where="traffic.pattern",
                mend="a smaller topology, or kind = 'collective'",
            )
        source = np.repeat(rank, n - 1)
        target = (source + np.tile(np.arange(1, n), n)) % n
    return Sent.of(np.zeros(len(source), np.int64), source, target, traffic.size_mb * MB)


def read_flows(path: Path, ranks: int) -> Sent:
    """Flows from a CSV file with columns start_s, source, target, bytes (weight, cap_gbps).

    Raises InputError naming the file, the line and the mend.
    """
    import pandas as pd

    place = str(path)
    frame = _table(path)
    lines = frame.index.to_numpy() + 2
    column = {name: _numbers(frame[name], lines, place) for name in _COLUMNS}
    for name, usual in _OPTIONAL.items():
        given = frame[name].fillna(usual) if name in frame else pd.Series(usual, frame.index)
        column[name] = _numbers(given, lines, place, finite=False)

    def refuse(wrong: np.ndarray, name: str, mend: str) -> None:
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(
                f"{column[name][row]:.12g} will not do",
                where=f"{place}:{lines[row]}: {name}",
                mend=f"give {mend}",
            )

    late = (column["start_s"] < 0) | (column["start_s"] > MAX_S)
    refuse(late, "start_s", f"0 to {MAX_S:g} s")
    for name in ("source", "target"):
        wrong = (column[name] < 0) | (column[name] >= ranks) | (column[name] % 1 != 0)
        refuse(wrong, name, f"a rank from 0 to {ranks - 1}")
    same = column["source"] == column["target"]
    refuse(same, "target", "another rank than the source")
    for name in ("bytes", "weight", "cap_gbps"):
        refuse(~(column[name] > 0), name, "more than 0")
    refuse(~np.isfinite(column["weight"]), "weight", "a finite number")
    found = Sent.of(ticks(column["start_s"]), column["source"], column["target"], column["bytes"])
    order = np.argsort(ticks(column["start_s"]), kind="stable")
    return Sent(
        found.release,
        found.source,
        found.target,
        found.bytes,
        column["weight"][order],
        column["cap_gbps"][order] * 1e9 / 8,
    )


def _table(path: Path) -> Any:
    """The rows of a CSV file that hold something, numbered as they stand; all columns known."""
    import pandas as pd

    place = str(path)
    known = (*_COLUMNS, *_OPTIONAL)
    try:
        frame = pd.read_csv(path, skipinitialspace=True, skip_blank_lines=False)
    except (OSError, UnicodeDecodeError, ValueError) as error:
        raise InputError(f"cannot be read as CSV: {error}", where=place) from None
    missing = [name for name in _COLUMNS if name not in frame]
    if missing or frame.dropna(how="all").empty:
        lacking = f"no column {missing[0]!r}" if missing else "no flow in it"
        raise InputError(lacking, where=place, mend=f"columns: {', '.join(_COLUMNS)}")
    if not isinstance(frame.index, pd.RangeIndex):  # pandas took the first values for an index
        raise InputError("more values than columns", where=f"{place}:2", mend="name the columns")
    for name in frame:
        if name not in known:
            mend = close_to(str(name), known)
            raise InputError(f"unknown column {name!r}", where=f"{place}:1", mend=mend)
    return frame.dropna(how="all")


def _numbers(given: Any, lines: np.ndarray, place: str, *, finite: bool = True) -> np.ndarray:
    """A column as float64; InputError for what is missing or no number."""
    import pandas as pd

    values = pd.to_numeric(given, errors="coerce").to_numpy(float)
    wrong = ~np.isfinite(values) if finite else np.isnan(values)
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        text = given.iloc[row]
        raise InputError(
            "is missing" if pd.isna(text) else f"{str(text)!r} is not a number",
            where=f"{place}:{lines[row]}: {given.name}",
            mend="write a finite number",
        )
    return values
