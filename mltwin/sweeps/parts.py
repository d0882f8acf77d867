"""Rows on disk: Parquet files of many rows, named by number and content.

Columns: `key` (of the run), `seed`, `digest`, `wall_s`, `error`, `metric.<name>` for each metric
(null where a run lacks it). `rows-000007-<start of the SHA-256>.parquet` says itself whether it is
whole, and any Parquet reader reads it.
"""

import hashlib
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltwin.sim.errors import InputError
from mltwin.sim.store import write_atomically

from .work import Row

if TYPE_CHECKING:
    import pyarrow as pa

Keyed = tuple[str, Row]
"""The key of a run and its row."""

METRIC = "metric."
PART_NAME = re.compile(r"rows-(\d{6,})-([0-9a-f]{16})\.parquet")
_PLAIN = ("key", "seed", "digest", "wall_s", "error")


@dataclass(frozen=True)
class Part:
    """One file of rows, as the manifest lists it.

    Attributes:
        file: its name.
        rows: how many.
        sha256: of its content, in hex.
    """

    file: str
    rows: int
    sha256: str


def to_table(rows: Sequence[Keyed]) -> "pa.Table":
    """The rows as a pyarrow table."""
    import pyarrow as pa

    names = list(dict.fromkeys(name for _, row in rows for name in row.metrics))
    columns: dict[str, Any] = {
        "key": pa.array([key for key, _ in rows], pa.string()),
        "seed": pa.array([row.seed for _, row in rows], pa.int64()),
        "digest": pa.array([row.digest for _, row in rows], pa.string()),
        "wall_s": pa.array([row.wall_s for _, row in rows], pa.float64()),
        "error": pa.array([row.error for _, row in rows], pa.string()),
    }
    for name in names:
        values = [row.metrics.get(name) for _, row in rows]
        columns[METRIC + name] = pa.array(values, pa.float64())
    return pa.table(columns)


def to_rows(table: "pa.Table") -> list[Keyed]:
    """The rows of a table that `to_table` made."""
    plain = [table[name].to_pylist() for name in _PLAIN]
    names = [name for name in table.column_names if name.startswith(METRIC)]
    columns = [table[name].to_pylist() for name in names]
    short = [name.removeprefix(METRIC) for name in names]
    metrics = zip(*columns, strict=True) if columns else ([] for _ in range(len(table)))
    return [
        (key, Row(seed, _present(short, values), digest, wall_s, error))
        for key, seed, digest, wall_s, error, values in zip(*plain, metrics, strict=True)
    ]


def _present(names: Sequence[str], values: Iterable[float | None]) -> dict[str, float]:
    return {n: v for n, v in zip(names, values, strict=True) if v is not None}


def with_keys(table: "pa.Table", keys: Collection[str]) -> "pa.Table":
    """Those rows of a table that have one of the keys."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return table.filter(pc.is_in(table["key"], value_set=pa.array(list(keys), pa.string())))


def joined(tables: Sequence["pa.Table"]) -> "pa.Table":
    """Tables one below the other; each key once, the last one counts."""
    import pyarrow as pa

    whole = pa.concat_tables(tables, promote_options="default")
    last = {key: i for i, key in enumerate(whole["key"].to_pylist())}
    return whole if len(last) == len(whole) else whole.take(sorted(last.values()))


def write_part(folder: Path, number: int, table: "pa.Table") -> Part:
    """Write a table as the part of that number; whole or not at all.

    Raises OSError where it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer, compression="zstd")
    content = buffer.getvalue()
    sha256 = hashlib.sha256(content).hexdigest()
    file = f"rows-{number:06d}-{sha256[:16]}.parquet"
    write_atomically(folder / file, lambda out: out.write(content))
    return Part(file, len(table), sha256)


def read_part(folder: Path, part: Part) -> "pa.Table":
    """The rows of a part.

    Raises FileNotFoundError where it is gone, InputError where it is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / part.file
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    if not hashlib.sha256(content).hexdigest().startswith(part.sha256):
        raise InputError("does not match its checksum", where=str(path))
    try:
        # In this thread alone: one of Arrow's that holds `content` when Python ends aborts it.
        reader = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
        table = reader.read(use_threads=False)
    except pa.ArrowException as error:
        raise InputError(f"is no Parquet file: {error}", where=str(path)) from None
    if not set(_PLAIN) <= set(table.column_names):
        raise InputError("has no rows of a sweep", where=str(path))
    return table
