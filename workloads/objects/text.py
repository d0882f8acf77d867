"""Text traces: one key a line, LIRS, `time id size`, and CSV by column map.

| format | line |
|---|---|
| plain | a key |
| lirs | a block number, or `*`, which parts the file and is no request |
| time-id-size | time, key and size in bytes, parted by blanks (webcachesim, AdaptSize) |
| columns | CSV; `columns` says which column is what |
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.workloads.source import Source
from mltwin.workloads.tabular import Rejects, missing
from mltwin.workloads.values import UNITS, Count, Text, Time

from .chunk import Chunk
from .kinds import Amount, Operation, TextKey, WholeKey, nanoseconds
from .lines import NOT_PARTED, Block, Cell, Kind, Layout, header, read_blocks
from .table import MAX_SIZE

OWN = {
    "key": "key",
    "size_bytes": "size_bytes",
    "arrival": "arrival_s",
    "tenant": "tenant",
    "cost": "cost",
    "op": "op",
    "ttl": "ttl_s",
}
"""Label -> name of our own CSV columns; `repeat` has none."""
LABELS = (*OWN, "repeat")
_MAX_REPEAT = 1 << 20


def read_plain(
    source: Source, rejects: Rejects, rows: int, *, keys: str = "auto"
) -> Iterator[Chunk]:
    """One key a line: whole numbers, or text. `auto` takes numbers if the first key is one."""
    kind = _key_kind(source, keys, lambda line: line)
    delimiter = NOT_PARTED if isinstance(kind, TextKey) else " "
    layout = Layout({"key": Cell(0, None, kind)}, delimiter, 1)
    yield from chunks(source, rejects, rows, layout)


def read_lirs(source: Source, rejects: Rejects, rows: int) -> Iterator[Chunk]:
    """Block numbers with lines of `*` between the parts, which are left out."""
    layout = Layout({"key": Cell(0, None, WholeKey())}, " ", 1, skip="*")
    yield from chunks(source, rejects, rows, layout)


def read_time_id_size(
    source: Source, rejects: Rejects, rows: int, *, keys: str = "auto", unit: str = "s"
) -> Iterator[Chunk]:
    """`time id size` of webcachesim and AdaptSize; more columns are left out.

    `unit` of the time; where it is but a number in sequence, read with ignore=["arrival"].
    """
    _check_unit(unit)
    kind = _key_kind(source, keys, lambda line: (line.split() + ["", ""])[1])
    cells = {
        "key": Cell(1, "id", kind),
        "arrival": Cell(0, "time", Time(unit)),
        "size_bytes": Cell(2, "size", Count(0, MAX_SIZE)),
    }
    yield from chunks(source, rejects, rows, Layout(cells, " ", 0))


def read_columns(
    source: Source,
    rejects: Rejects,
    rows: int,
    *,
    columns: Mapping[str, str | int] | None = None,
    keys: str = "auto",
    unit: str = "s",
    delimiter: str = ",",
    operations: Mapping[str, int] | None = None,
) -> Iterator[Chunk]:
    """CSV by column map.

    Args:
        columns: label (`key`, `size_bytes`, `arrival`, `tenant`, `cost`, `op`, `ttl`, `repeat`)
            -> name of the column, or its place from 0 in a file without a header. None: our own
            names (`key`, `size_bytes`, `arrival_s`, `tenant`, `cost`, `op`, `ttl_s`), those that
            are there. `repeat` counts equal requests that the line stands for.
        keys: `whole` numbers, `text`, or `auto` by the first key.
        unit: of `arrival`: s, ms, us, ns or ps. `ttl` is in seconds.
        delimiter: between the cells; a blank stands for any run of blanks.
        operations: further names of operations -> GET, SET or DELETE.
    """
    _check_unit(unit)
    at, places, width = _places(source, columns, delimiter)
    if "key" not in places:
        raise InputError("columns name no key", where=str(source.path), mend="add 'key': ...")
    named = {label: name for label, (_, name) in places.items()}
    place = places["key"][0]
    found = {
        "key": _key_kind(source, keys, lambda line: _cell(line, delimiter, place), at),
        "size_bytes": Count(0, MAX_SIZE),
        "arrival": Time(unit),
        "tenant": Text("default"),
        "cost": Amount(),
        "op": Operation(tuple((k.lower(), v) for k, v in (operations or {}).items())),
        "ttl": Time("s"),
        "repeat": Count(1, _MAX_REPEAT),
    }
    cells = {label: Cell(where, named[label], found[label]) for label, (where, _) in places.items()}
    yield from chunks(source, rejects, rows, Layout(cells, delimiter, width), below=at)


def chunks(
    source: Source, rejects: Rejects, rows: int, layout: Layout, *, below: int = 0
) -> Iterator[Chunk]:
    """The requests of a text file in pieces of at most `rows`."""
    for block in read_blocks(source, rejects, layout, below=below):
        chunk = _chunk(source, block, layout)
        for at in range(0, len(chunk.keys), rows):
            yield _slice(chunk, at, at + rows)


def _chunk(source: Source, block: Block, layout: Layout) -> Chunk:
    columns = dict(block.columns)
    lines = block.lines
    for label, why in (("arrival", "unit="), ("ttl", "another column")):
        if label in columns:
            ticks = nanoseconds(columns[label])
            if ticks is None or (label == "ttl" and ticks.size and ticks.min() < 0):
                column = layout.cells[label].column
                raise source.error(
                    f"from here on, a time in column {column!r} is out of range",
                    block.line,
                    f"name it with {why}",
                )
            columns[label] = ticks
    if "repeat" in columns:
        times = columns.pop("repeat")
        rows = np.repeat(np.arange(block.rows), times)
        lines = np.arange(block.line, block.line + block.rows) if lines is None else lines
        lines = lines[rows]
        columns = {label: _taken(values, rows) for label, values in columns.items()}
    return Chunk(
        keys=columns["key"],
        size_bytes=columns.get("size_bytes"),
        time_ns=columns.get("arrival"),
        tenant=columns.get("tenant"),
        cost=columns.get("cost"),
        op=columns.get("op"),
        ttl_ns=columns.get("ttl"),
        line=block.line,
        lines=lines,
    )


def _slice(chunk: Chunk, start: int, stop: int) -> Chunk:
    if start == 0 and stop >= len(chunk.keys):
        return chunk
    cut = {k: v[start:stop] for k, v in chunk._asdict().items() if k != "line" and v is not None}
    return chunk._replace(line=chunk.line + start, **cut)


def _taken(values: Any, rows: NDArray[np.int64]) -> Any:
    return values[rows] if isinstance(values, np.ndarray) else values.take(rows)


def _places(
    source: Source, columns: Mapping[str, str | int] | None, delimiter: str
) -> tuple[int, dict[str, tuple[int, str | None]], int]:
    """(line of the header or 0, label -> (place, name), cells of a line)."""
    for label in columns or ():
        if label not in LABELS:
            raise InputError(f"columns has {label!r}", mend=f"choose from {', '.join(LABELS)}")
    if columns is not None and all(isinstance(one, int) for one in columns.values()):
        _, first = header(source, delimiter)
        for label, place in columns.items():
            if not 0 <= int(place) < len(first):
                raise source.error(f"column {place} of {label}: there are {len(first)}", 1)
        return 0, {label: (int(place), None) for label, place in columns.items()}, len(first)
    at, names = header(source, delimiter)
    wanted = columns
    if wanted is None:
        wanted = {label: name for label, name in OWN.items() if name in names or label == "key"}
    places: dict[str, tuple[int, str | None]] = {}
    for label, name in wanted.items():
        found = [i for i, one in enumerate(names) if one == name]
        if len(found) > 1:
            raise source.error(f"column {name!r} stands {len(found)} times", at, "drop one")
        if not found:
            raise missing(source, str(name), names, at)
        places[label] = (found[0], str(name))
    return at, places, len(names)


def _key_kind(source: Source, keys: str, pick: Any, below: int = 0) -> Kind:
    if keys not in ("auto", "whole", "text"):
        raise InputError(f"keys = {keys!r} is unknown", mend="use 'auto', 'whole' or 'text'")
    if keys == "auto":
        first = next(
            (
                line
                for number, line in source.lines()
                if number > below and line.strip() not in ("", "*")
            ),
            "",
        )
        try:
            WholeKey().scalar(pick(first))
        except ValueError:
            keys = "text"
    return TextKey() if keys == "text" else WholeKey()


def _cell(line: str, delimiter: str, place: int) -> str:
    cells = line.split() if delimiter == " " else line.split(delimiter)
    return cells[place].strip().strip('"') if place < len(cells) else ""


def _check_unit(unit: str) -> None:
    if unit not in UNITS:
        raise InputError(f"unit {unit!r} is unknown", mend=f"use one of {', '.join(UNITS)}")
