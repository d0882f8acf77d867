"""The points of a study: which fields of the base scenario take which values, as plain data.

    {"grid": {"workload.rate": [2, 4], "policy.route": ["least_requests", "round_robin"]}}
    {"random": {"points": 50, "seed": 1, "workload.rate": {"from": 1, "to": 9}}}
    {"lhs": {"points": 50, "workload.rate": {"from": 1, "to": 9, "scale": "log"}}}
    {"list": [{"cluster.mixed.tp": 2, "cluster.mixed.replicas": 16}, ...]}   or a CSV file
    {"workload.rate": [2, 4, 8]}                                             short for a grid

Several of these are combined: each point of one with each of the others. Points are a function of
the space alone: draws are keyed (`mltwin.sim.rng_arrays`) by the space's own seed, not by those of
the runs.

`lhs` is a Latin hypercube (McKay, Beckman and Conover, Technometrics 21, 1979): each field's range
is cut into as many equal slices as there are points, and each slice is hit once.
"""

import csv
import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import uniforms
from mltwin.tomlfile import parse_value

from .domains import Domain, is_domain, read_domain

Point = dict[str, Any]
"""Dotted field to value."""

KINDS = ("grid", "list", "random", "lhs")
MAX_POINTS = 200_000
# Streams of the keyed draws; the runs' own streams (`rng_arrays`) are small numbers.
_RANDOM, _SLICES, _WITHIN = 1 << 32, (1 << 32) + 1, (1 << 32) + 2
_MAX_CSV_BYTES = 64 * 2**20

IsWhole = Callable[[str, Any], bool]
"""Whether a field takes whole numbers only: called with the field and the range."""


def points_of(
    space: Mapping[str, Any], *, where: str = "space", folder: Path | None = None, whole: IsWhole
) -> list[Point]:
    """All points of a space, in order: the last kind and the last field change fastest.

    Args:
        space: see above.
        where: the file or argument it stands in, for errors.
        folder: from which a relative CSV file is taken.
        whole: tells integer fields from others.

    Raises InputError: an unknown kind of space, a domain that is none, a field varied twice, more
    than 200,000 points.
    """
    kinds = dict(space)
    if not set(kinds) <= set(KINDS):
        mixed = [kind for kind in kinds if kind in KINDS]
        if mixed:
            other = next(kind for kind in kinds if kind not in KINDS)
            raise InputError(
                f"{other!r} stands beside {mixed[0]!r}", where=where, mend="put fields into grid"
            )
        kinds = {"grid": kinds}
    parts: list[list[Point]] = []
    seen: dict[str, str] = {}
    for kind in KINDS:
        if kind not in kinds or kinds[kind] in ({}, []):
            continue
        place = f"{where}: {kind}"
        found = _READERS[kind](kinds[kind], place, whole, folder)
        for field in dict.fromkeys(field for point in found for field in point):
            if field in seen:
                raise InputError(
                    f"is varied in {seen[field]} too",
                    where=f"{place}: {field}",
                    mend="once will do",
                )
            seen[field] = kind
        parts.append(found)
    _check_count(math.prod(len(part) for part in parts), where)
    return [
        {field: value for point in chosen for field, value in point.items()}
        for chosen in itertools.product(*parts)
    ]


def _grid(spec: Any, where: str, whole: IsWhole, folder: Path | None) -> list[Point]:
    del folder
    domains = _domains(spec, where, whole)
    columns = [domain.grid(f"{where}: {field}") for field, domain in domains.items()]
    _check_count(math.prod(len(column) for column in columns), where)
    return [dict(zip(domains, values, strict=True)) for values in itertools.product(*columns)]


def _random(spec: Any, where: str, whole: IsWhole, folder: Path | None) -> list[Point]:
    del folder
    count, seed, domains = _sampled(spec, where, whole)
    shares = [
        uniforms(seed, _RANDOM, np.arange(count), _key_of(field)) if count else []
        for field in domains
    ]
    return _placed(domains, shares, count)


def _lhs(spec: Any, where: str, whole: IsWhole, folder: Path | None) -> list[Point]:
    del folder
    count, seed, domains = _sampled(spec, where, whole)
    shares = []
    for field in domains:
        slices = np.argsort(
            uniforms(seed, _SLICES, np.arange(count), _key_of(field)), kind="stable"
        )
        within = uniforms(seed, _WITHIN, np.arange(count), _key_of(field))
        shares.append(np.minimum((slices + within) / count, 1 - 2.0**-53))
    return _placed(domains, shares, count)


def _placed(domains: Mapping[str, Domain], shares: Sequence[Any], count: int) -> list[Point]:
    return [
        {
            field: domain.at(float(share[i]))
            for (field, domain), share in zip(domains.items(), shares, strict=True)
        }
        for i in range(count)
    ]


def _key_of(field: str) -> int:
    """A number for a field's draws: another field more does not change those of the others."""
    import hashlib

    return int.from_bytes(hashlib.sha256(field.encode()).digest()[:7], "little")


def _sampled(spec: Any, where: str, whole: IsWhole) -> tuple[int, int, dict[str, Domain]]:
    table = dict(_table(spec, where))
    count, seed = table.pop("points", None), table.pop("seed", 0)
    if not _is_count(count) or count < 1:
        raise InputError(
            "is missing" if count is None else f"{count!r} is no number of points",
            where=f"{where}: points",
            mend="say how many, e.g. points = 50",
        )
    if not _is_count(seed) or not 0 <= seed < 2**62:
        raise InputError(f"{seed!r} is no seed", where=f"{where}: seed", mend="give 0 or more")
    _check_count(count, where)
    return count, seed, _domains(table, where, whole)


def _domains(spec: Any, where: str, whole: IsWhole) -> dict[str, Domain]:
    found = {
        field: read_domain(given, where=f"{where}: {field}", whole=whole(field, given))
        for field, given in _fields(_table(spec, where), "")
    }
    if not found:
        raise InputError("varies no field", where=where, mend='add one: "field" = [1, 2, 3]')
    return found


def _fields(table: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted names of a table; `workload.rate = ..` in TOML is a table in a table."""
    for name, spec in table.items():
        if is_domain(spec):
            yield prefix + name, spec
        else:
            yield from _fields(spec, f"{prefix}{name}.")


def _list(spec: Any, where: str, whole: IsWhole, folder: Path | None) -> list[Point]:
    del whole
    if isinstance(spec, str | Path):
        return _rows_of_csv(path_from(folder, spec, where))
    if not isinstance(spec, Sequence) or not all(isinstance(row, Mapping) for row in spec):
        raise InputError(
            "is no list of points",
            where=where,
            mend='write [{ "field" = 1, ... }, ...] or the name of a CSV file',
        )
    rows = [dict(_fields_of_row(row, "")) for row in spec]
    for i, row in enumerate(rows):
        if not row:
            raise InputError("varies no field", where=f"{where}: row {i + 1}", mend="leave it out")
    _check_count(len(rows), where)
    return rows


def path_from(folder: Path | None, given: str | Path, where: str) -> Path:
    """A path as it is written in a study, taken from a folder where it is relative.

    Raises InputError for text that is no path.
    """
    if not str(given) or "\0" in str(given):
        raise InputError(f"{str(given)!r} is no path", where=where, mend="give a file's name")
    path = Path(given).expanduser()
    return path if folder is None else folder / path


def _fields_of_row(row: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    """Dotted names of a point; a table under an undotted name is nested fields."""
    for name, value in row.items():
        if isinstance(value, Mapping) and "." not in name and "name" not in value:
            yield from _fields_of_row(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _rows_of_csv(path: Path) -> list[Point]:
    """Points from a CSV file: dotted fields above, a row a point, an empty cell: as in the base."""
    try:
        if path.stat().st_size > _MAX_CSV_BYTES:
            raise InputError(f"more than {_MAX_CSV_BYTES} bytes", where=str(path))
        with open(path, newline="", encoding="utf-8-sig") as file:
            lines = list(csv.reader(file, strict=True))
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="check the path") from None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is no CSV file: {error}", where=str(path)) from None
    if len(lines) < 2:
        raise InputError("has no points", where=str(path), mend="fields above, a row for each")
    fields = [name.strip() for name in lines[0]]
    if "" in fields or len(set(fields)) < len(fields):
        raise InputError("a field has no name, or stands twice", where=f"{path}, line 1")
    _check_count(len(lines) - 1, str(path))
    return [_point(fields, cells, f"{path}, line {i}") for i, cells in enumerate(lines[1:], 2)]


def _point(fields: Sequence[str], cells: Sequence[str], where: str) -> Point:
    if len(cells) != len(fields):
        raise InputError(f"{len(cells)} cells under {len(fields)} fields", where=where)
    point = {f: parse_value(c.strip()) for f, c in zip(fields, cells, strict=True) if c.strip()}
    if not point:
        raise InputError("varies no field", where=where, mend="leave the line out")
    return point


def _table(spec: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(spec, Mapping):
        raise InputError("is no table", where=where, mend='write "field" = [1, 2, 3] in it')
    return spec


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_count(count: int, where: str) -> None:
    if count > MAX_POINTS:
        raise InputError(
            f"{count:,} points", where=where, mend=f"up to {MAX_POINTS:,} are run in one study"
        )


_READERS = {"grid": _grid, "list": _list, "random": _random, "lhs": _lhs}
