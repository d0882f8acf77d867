"""Topologies as files: JSON and TOML hold all of one, a CSV edge list the links only.

JSON and TOML: ``name``, ``fabric``, ``facts``, ``nodes`` (a list of tables with ``name`` and, where
they are not to be guessed, ``kind``, ``rank``, ``island``, ``rail``, ``transit``) and ``links``
(``source``, ``target``, a rate, a latency, ``duplex``, ``shared``). Without ``nodes`` the links
name them. CSV: a header with the columns of a link, then a link a row.

The rate is one of ``bytes_per_s``, ``gb_per_s`` (1e9 bytes), ``gbit_per_s``, ``mbit_per_s``; the
latency one of ``latency_s``, ``latency_ms``, ``latency_us``, or 0 where there is none. A kind that
is not given is guessed from the name; endpoints are the nodes with a ``rank``, or else all GPUs, or
else all hosts, or else all sites, in order.
"""

import csv
import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError

from .builders_base import GBIT
from .topology import GPU, HOST, KIND_NAMES, NIC, SITE, SWITCH, Topology

_RATES = {"bytes_per_s": 1.0, "gb_per_s": 1e9, "gbit_per_s": GBIT, "mbit_per_s": GBIT / 1000}
_LATENCIES = {"latency_s": 1.0, "latency_ms": 1e-3, "latency_us": 1e-6}
_LINK_KEYS = {"source", "target", "duplex", "shared", *_RATES, *_LATENCIES}
_NODE_KEYS = {"name", "kind", "rank", "island", "rail", "transit"}
_FILE_KEYS = {"name", "fabric", "facts", "nodes", "links"}

# What a part of a node's name (between dots, slashes and dashes) begins with, and what it then is.
_BEGINNINGS = (
    (GPU, ("gpu", "npu", "tpu", "chip", "device")),
    (NIC, ("nic", "hca", "mlx")),
    (SITE, ("site", "region", "dc", "router", "gateway", "wan")),
    (HOST, ("host", "server", "client", "node", "worker", "cpu", "phone", "left", "right")),
)
_SWITCHES = ("switch", "leaf", "spine", "core", "agg", "edge", "tor", "nvswitch", "ub", "air", "ap")


def guessed_kind(name: str) -> int:
    """The kind of a node by the last part of its name that has letters; a switch where it says
    nothing.

    >>> KIND_NAMES[guessed_kind("n3.gpu1")], KIND_NAMES[guessed_kind("pod0.edge1")]
    ('gpu', 'switch')
    >>> KIND_NAMES[guessed_kind("s1")]
    'switch'
    """
    parts = [part.rstrip("0123456789") for part in re.split(r"[./\-_]", name.lower())]
    stem = next((part for part in reversed(parts) if part), "")
    if stem.startswith(_SWITCHES):
        return SWITCH
    for kind, beginnings in _BEGINNINGS:
        if stem.startswith(beginnings):
            return kind
    return HOST if stem == "h" else SWITCH


def read_topology(path: str | Path) -> Topology:
    """A topology from a .json, .toml or .csv file, in the form of the module's docstring.

    Raises:
        InputError: file and line (CSV) or entry (JSON, TOML) are named, and what is wrong there.
    """
    source = Path(path)
    try:
        content = source.read_text("utf-8-sig")
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise InputError(f"cannot be read: {reason}", where=str(path)) from None
    ending = source.suffix.lower()
    if ending == ".csv":
        return _from_rows(source, {"name": source.stem}, None, _csv_rows(source, content))
    if ending == ".json":
        data = _parse(source, content, json.loads, json.JSONDecodeError, "JSON")
    elif ending == ".toml":
        data = _parse(source, content, tomllib.loads, tomllib.TOMLDecodeError, "TOML")
    else:
        raise InputError(
            f"a topology is not read from {ending or 'a file without an ending'}",
            where=str(path),
            mend="use .json, .toml or .csv",
        )
    return topology_from(data, source)


def topology_from(data: Any, source: str | Path = "topology") -> Topology:
    """A topology from plain data as JSON or TOML hold it; `source` names it in errors."""
    where = Path(source)
    if not isinstance(data, Mapping):
        raise InputError("is not a table", where=str(where), mend="give an object with links")
    _known(data, _FILE_KEYS, str(where))
    links = data.get("links")
    if not isinstance(links, list) or not links:
        raise InputError("has no links", where=str(where), mend="add a list of links")
    nodes = data.get("nodes")
    if nodes is not None and not isinstance(nodes, list):
        raise InputError("is not a list", where=f"{where}, nodes")
    if not isinstance(data.get("facts", {}), Mapping):
        raise InputError("is not a table", where=f"{where}, facts")
    rows = ((f"{where}, links[{i}]", row) for i, row in enumerate(links))
    facts = {"name": where.stem, **{k: data[k] for k in ("name", "fabric", "facts") if k in data}}
    return _from_rows(where, facts, nodes, rows)


def _parse(source: Path, content: str, parse: Any, error: type[ValueError], kind: str) -> Any:
    try:
        return parse(content)
    except error as wrong:
        line = getattr(wrong, "lineno", None)
        where = f"{source}, line {line}" if line else str(source)
        raise InputError(f"is not {kind}: {wrong}", where=where) from None
    except RecursionError:
        raise InputError(
            f"is not {kind} that a topology needs: nested too deep", where=str(source)
        ) from None


def _csv_rows(source: Path, content: str) -> Iterator[tuple[str, Any]]:
    lines = csv.reader(content.splitlines(), strict=True)
    header: list[str] = []
    try:
        for cells in lines:
            where = f"{source}, line {lines.line_num}"
            if not any(cell.strip() for cell in cells) or cells[0].lstrip().startswith("#"):
                continue
            if not header:
                header = [cell.strip().lower() for cell in cells]
                _known({name: None for name in header}, _LINK_KEYS, where)
                continue
            if len(cells) != len(header):
                raise InputError(f"{len(cells)} cells, the header has {len(header)}", where=where)
            filled = zip(header, (cell.strip() for cell in cells), strict=True)
            yield where, {name: cell for name, cell in filled if cell}
    except csv.Error as wrong:
        where = f"{source}, line {lines.line_num}"
        raise InputError(f"is not CSV: {wrong}", where=where) from None
    if not header:
        raise InputError("is empty", where=str(source), mend="begin with source,target,bytes_per_s")


def _from_rows(
    source: Path,
    facts: Mapping[str, Any],
    nodes: list[Any] | None,
    rows: Iterator[tuple[str, Any]],
) -> Topology:
    table = _nodes(nodes, str(source))
    names = {name: i for i, name in enumerate(table)}
    known = nodes is not None
    columns: list[tuple[int, int, float, float, bool]] = []
    for where, row in rows:
        if not isinstance(row, Mapping):
            raise InputError("is not a table", where=where)
        _known(row, _LINK_KEYS, where)
        ends = []
        for key in ("source", "target"):
            name = str(row.get(key, ""))
            if not name:
                raise InputError(f"has no {key}", where=where)
            if name not in names:
                if known:
                    raise InputError(
                        f"{key} {name!r} is not among the nodes", where=where, mend="add it there"
                    )
                names[name] = len(names)
                table[name] = {}
            ends.append(names[name])
        rate = _one_of(row, _RATES, where)
        latency = _one_of(row, _LATENCIES, where, 0.0)
        shared = _truth(row, "shared", where)
        columns.append((ends[0], ends[1], rate, latency, shared))
        if _truth(row, "duplex", where):
            columns.append((ends[1], ends[0], rate, latency, shared))
    if not columns:
        raise InputError("has no links", where=str(source), mend="add at least one")
    return _made(source, facts, table, columns)


def _made(
    source: Path, facts: Mapping[str, Any], table: dict[str, dict[str, Any]], columns: list[Any]
) -> Topology:
    a, b, rate, latency, shared = (np.array(part) for part in zip(*columns, strict=True))
    kinds = np.array([row.get("kind", guessed_kind(name)) for name, row in table.items()], np.int8)
    ranked = {i: row["rank"] for i, row in enumerate(table.values()) if "rank" in row}
    if ranked:
        ends = sorted(ranked, key=ranked.__getitem__)
        if sorted(ranked.values()) != list(range(len(ends))):
            raise InputError(
                "ranks do not count from 0 without gaps or repeats", where=f"{source}, nodes"
            )
    else:
        kind = next((k for k in (GPU, HOST, SITE) if np.any(kinds == k)), SWITCH)
        ends = np.flatnonzero(kinds == kind).tolist()
    rows = list(table.values())
    transit = np.array([bool(r.get("transit", k >= NIC)) for r, k in zip(rows, kinds, strict=True)])
    return Topology.make(
        name=str(facts.get("name", source.stem)),
        nodes=list(table),
        kinds=kinds,
        source=a,
        target=b,
        bytes_per_s=rate,
        latency_s=latency,
        endpoints=ends,
        island=[rows[e].get("island", place) for place, e in enumerate(ends)],
        rail=[rows[e].get("rail", 0) for e in ends],
        shared=shared,
        transit=transit,
        fabric=str(facts.get("fabric", "file")),
        facts=facts.get("facts", {}),
    )


def _nodes(nodes: list[Any] | None, where: str) -> dict[str, dict[str, Any]]:
    table: dict[str, dict[str, Any]] = {}
    for i, row in enumerate(nodes or []):
        place = f"{where}, nodes[{i}]"
        entry = {"name": row} if isinstance(row, str) else row
        if not isinstance(entry, Mapping) or not isinstance(entry.get("name"), str):
            raise InputError("has no name", where=place)
        _known(entry, _NODE_KEYS, place)
        name = entry["name"]
        if name in table:
            raise InputError(f"node {name!r} is there twice", where=place)
        found: dict[str, Any] = {}
        if "kind" in entry:
            if entry["kind"] not in KIND_NAMES:
                raise InputError(
                    f"kind is {entry['kind']!r}", where=place, mend=f"use one of {KIND_NAMES}"
                )
            found["kind"] = KIND_NAMES.index(entry["kind"])
        for key in ("rank", "island", "rail"):
            if key in entry:
                value = entry[key]
                if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**31:
                    raise InputError(f"{key} is {value!r}, not a whole number from 0", where=place)
                found[key] = value
        if "transit" in entry:
            found["transit"] = _truth(entry, "transit", place)
        table[name] = found
    return table


def _known(entry: Mapping[str, Any], known: set[str], where: str) -> None:
    import difflib

    for key in entry:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, n=1)
            mend = f"did you mean {close[0]!r}?" if close else f"use {', '.join(sorted(known))}"
            raise InputError(f"{key!r} is not known", where=where, mend=mend)


def _one_of(
    row: Mapping[str, Any], scale: Mapping[str, float], where: str, default: float | None = None
) -> float:
    """The value of the one key of `scale` that the row has, in the base unit."""
    found = [key for key in scale if key in row]
    if not found and default is not None:
        return default
    if len(found) != 1:
        said = " and ".join(found) if found else "no rate"
        raise InputError(f"has {said}", where=where, mend=f"give one of {', '.join(scale)}")
    key = found[0]
    try:
        if isinstance(row[key], bool):
            raise ValueError
        value = float(row[key])
    except (TypeError, ValueError):
        raise InputError(f"{key} is {row[key]!r}, not a number", where=where) from None
    if not (np.isfinite(value) and value >= 0):
        raise InputError(
            f"{key} is {row[key]!r}", where=where, mend="give a finite number, 0 or more"
        )
    return value * scale[key]


def _truth(row: Mapping[str, Any], key: str, where: str) -> bool:
    value = row.get(key, False)
    if isinstance(value, bool):
        return value
    text = str(value).lower()
    if text in ("true", "yes", "1", "false", "no", "0"):
        return text in ("true", "yes", "1")
    raise InputError(f"{key} is {value!r}", where=where, mend="say true or false")


def write_topology(topology: Topology, path: str | Path) -> Path:
    """Write all of a topology to .json or .toml; the path. Raises InputError."""
    target = Path(path)
    data = topology_data(topology)
    ending = target.suffix.lower()
    if ending == ".json":
        content = _json(data)
    elif ending == ".toml":
        content = _toml(data)
    else:
        raise InputError(
            f"a topology is not written to {ending or 'a file without an ending'}",
            where=str(target),
            mend="use .json or .toml",
        )
    try:
        target.write_text(content, "utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(target)) from None
    return target


def topology_data(t: Topology) -> dict[str, Any]:
    """All of a topology as plain data, as JSON and TOML files hold it."""
    nodes: list[dict[str, Any]] = [
        {"name": name, "kind": KIND_NAMES[kind], "transit": forwards}
        for name, kind, forwards in zip(t.nodes, t.kinds.tolist(), t.transit.tolist(), strict=True)
    ]
    for rank, node in enumerate(t.endpoints.tolist()):
        island, rail = int(t.island[rank]), int(t.rail[rank])
        nodes[node] |= {"rank": rank, "island": island, "rail": rail}
    links = []
    for a, b, rate, latency, shared in zip(
        t.source.tolist(),
        t.target.tolist(),
        t.bytes_per_s.tolist(),
        t.latency_s.tolist(),
        t.shared.tolist(),
        strict=True,
    ):
        link = {
            "source": t.nodes[a],
            "target": t.nodes[b],
            "bytes_per_s": rate,
            "latency_s": latency,
        }
        links.append({**link, "shared": True} if shared else link)
    return {
        "name": t.name,
        "fabric": t.fabric,
        "facts": dict(t.facts),
        "nodes": nodes,
        "links": links,
    }


def _json(data: Mapping[str, Any]) -> str:
    """JSON with one node or link a line."""
    lines = [f"{json.dumps(k)}: {json.dumps(data[k])}" for k in ("name", "fabric", "facts")]
    for key in ("nodes", "links"):
        rows = ",\n".join(json.dumps(row) for row in data[key])
        lines.append(f"{json.dumps(key)}: [\n{rows}\n]")
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _toml(data: Mapping[str, Any]) -> str:
    """TOML with one node or link a line; a JSON string, number or list is one of TOML too."""
    lines = [f"{key} = {_toml_value(data[key])}" for key in ("name", "fabric", "facts")]
    for key in ("nodes", "links"):
        lines += [f"{key} = [", *(f"  {_toml_value(row)}," for row in data[key]), "]"]
    return "\n".join(lines) + "\n"


def _toml_value(value: Any) -> str:
    if isinstance(value, Mapping):
        items = (
            f"{json.dumps(str(k), ensure_ascii=False)} = {_toml_value(v)}"
            for k, v in value.items()
            if v is not None
        )
        return "{ " + ", ".join(items) + " }" if value else "{}"
    if isinstance(value, list):
        return "[" + ", ".join(_toml_value(v) for v in value) + "]"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
