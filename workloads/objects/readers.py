"""`read_objects` and `stream_objects`: any supported file in; the format is told by content."""

import inspect
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.workloads.source import Source
from mltwin.workloads.tabular import Rejects

from .binary import ORACLE_GENERAL, read_int32_keys, read_int64_keys, read_oracle_general
from .chunk import Assembler, Chunk, check_cut
from .packed import BinaryFile
from .requests import read_cachebench_block, read_cachebench_kv, read_cloud_physics, read_mooncake
from .store import is_saved, load_objects
from .table import ObjectTrace
from .text import OWN, read_columns, read_lirs, read_plain, read_time_id_size

CHUNK_ROWS = 1 << 18
_READ_ROWS = 1 << 16  # pieces that stay in the CPU's cache
_OWN_OPTIONS = ("source", "rejects", "rows")


class Format(NamedTuple):
    """A format: how to read it, whether it is binary, and the CSV columns that tell it."""

    read: Callable[..., Iterator[Chunk]]
    binary: bool = False
    marks: frozenset[str] = frozenset()


FORMATS: dict[str, Format] = {
    "oracle-general": Format(read_oracle_general, True),
    "corda": Format(read_int64_keys, True),
    "scarab": Format(read_int64_keys, True),
    "cache2k": Format(read_int32_keys, True),
    "cachebench-kv": Format(
        read_cachebench_kv, marks=frozenset({"op_time", "key", "op", "op_count", "size"})
    ),
    "cachebench-block": Format(
        read_cachebench_block, marks=frozenset({"op_time", "block_id", "io_size", "op_name"})
    ),
    "cloudphysics": Format(read_cloud_physics, marks=frozenset({"time", "size", "lbn"})),
    "columns": Format(read_columns, marks=frozenset({OWN["key"]})),
    "lirs": Format(read_lirs),
    "time-id-size": Format(read_time_id_size),
    "plain": Format(read_plain),
    "mooncake": Format(read_mooncake),
}


def read_objects(
    path: str | os.PathLike[str],
    format: str = "auto",
    *,
    limit: int | None = None,
    ignore: Sequence[str] = (),
    sort: bool = False,
    keep_keys: bool = True,
    on_error: str = "fail",
    rejects: str | os.PathLike[str] | None = None,
    **options: Any,
) -> ObjectTrace:
    """Read an object trace; gz and xz as well, and zst for binary formats.

    Args:
        path: a file.
        format: a name in `FORMATS`, `saved` (our Parquet), or `auto` by content. Streams of bare
            keys (corda, scarab, cache2k) cannot be told by content: name them.
        limit: read only so many requests.
        ignore: columns to leave out, e.g. `["arrival", "size_bytes"]`.
        sort: sort by time (stable) instead of refusing times that go back.
        keep_keys: keep what the file calls each object in `keys`.
        on_error: `fail` at the first bad line, or `skip` such lines and count them in
            `meta["rejected"]`.
        rejects: with `skip`, a file to write all rejected lines to (JSON lines).
        **options: those of the format's reader, e.g. `columns`, `unit`, `keys`, `zero_sizes`.

    Raises:
        InputError: naming file, line or record, column, value and mend.
    """
    found, source = _opened(path, format, options)
    if found == "saved":
        _check_options(load_objects, options, "saved", ("path",))
        return _saved(source, limit, ignore)
    assembler, chunks = _reader(
        found, source, _READ_ROWS, limit, ignore, not sort, on_error, rejects, options
    )
    return assembler.whole(list(assembler.traces(chunks)), keep_keys=keep_keys)


def stream_objects(
    path: str | os.PathLike[str],
    format: str = "auto",
    chunk: int = CHUNK_ROWS,
    *,
    limit: int | None = None,
    ignore: Sequence[str] = (),
    on_error: str = "fail",
    rejects: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Iterator[ObjectTrace]:
    """The same file in pieces of at most `chunk` requests, one after another.

    Ids, clock and tenants go on from piece to piece: concatenated, the pieces are what
    `read_objects` gives. `objects` of a piece counts the distinct objects up to its end, its `meta`
    what was rejected up to its end. Memory is that of one piece and of the map from keys to ids
    (about 16 bytes an object; text keys also take their length).
    """
    if chunk < 1:
        raise InputError(f"chunk = {chunk}", mend="give at least 1 request")
    found, source = _opened(path, format, options)
    if found == "saved":
        return iter(_saved(source, limit, ignore).chunks(chunk))
    assembler, chunks = _reader(
        found, source, chunk, limit, ignore, True, on_error, rejects, options
    )
    return assembler.traces(chunks)


def detect(path: str | os.PathLike[str]) -> str:
    """The format's name by content. InputError with what was found where none fits."""
    place = Path(path).expanduser()
    if place.is_dir():
        raise InputError(
            "is a directory",
            where=str(place),
            mend="give a file, or draw from CacheBench distributions with cachebench(folder)",
        )
    binary = BinaryFile(place)
    head = binary.head_bytes(1 << 16)
    if is_saved(binary):
        return "saved"
    if _is_oracle_general(head):
        return "oracle-general"
    if b"\0" in head:
        raise binary.error(
            "is binary, and no oracleGeneral",
            mend="name the format: corda, scarab (int64 keys) or cache2k (int32 keys)",
        )
    return _text_format(Source(place), head)


def _text_format(source: Source, head: bytes) -> str:
    lines = head.decode("utf-8-sig", errors="ignore").splitlines()
    first = next((line.strip() for line in lines if line.strip()), "")
    if not first:
        raise source.error("the file holds only blank lines", mend="give a file with requests")
    if first.startswith("{"):
        if '"hash_ids"' in first:
            return "mooncake"
        raise source.error("JSON lines without hash_ids", mend="give CSV or a known format")
    names = {name.strip().strip('"') for name in first.split(",")}
    for name, form in FORMATS.items():
        if form.marks and form.marks <= names:
            return name
    cells = first.split()
    if len(cells) >= 3 and "," not in first and all(_is_number(cell) for cell in cells[:3]):
        return "time-id-size"
    if any(line.strip() == "*" for line in lines):
        return "lirs"
    if len(cells) == 1 and "," not in first:
        return "plain"
    raise source.error(
        f"no known format begins with {first[:60]!r}",
        mend=f"map the columns with columns={{...}} or name the format ({', '.join(FORMATS)})",
    )


def _is_oracle_general(head: bytes) -> bool:
    """Whether the records look it: times do not go back, next accesses lie ahead or are -1."""
    count = min(len(head) // ORACLE_GENERAL.itemsize, 1000)
    if not count or (len(head) < 1 << 16 and len(head) % ORACLE_GENERAL.itemsize):
        return False
    records = np.frombuffer(head, ORACLE_GENERAL, count)
    ahead = records["next_access"]
    later = (ahead >= np.arange(count)) & (ahead < 1 << 44)
    never = (ahead >= -2) & (ahead < 0) | (ahead == np.iinfo(np.int64).max)
    ordered = bool((records["time"][1:] >= records["time"][:-1]).all())
    return ordered and bool((later | never).all())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _opened(
    path: str | os.PathLike[str], format: str, options: dict[str, Any]
) -> tuple[str, Source]:
    place = Path(path).expanduser()
    if format == "auto":
        format = "columns" if "columns" in options else detect(place)
    if format == "saved":
        return format, BinaryFile(place)
    if format not in FORMATS:
        raise InputError(
            f"format {format!r} is unknown",
            where=str(place),
            mend=f"use one of auto, saved, {', '.join(FORMATS)}",
        )
    return format, BinaryFile(place) if FORMATS[format].binary else Source(place)


def _reader(
    found: str,
    source: Source,
    rows: int,
    limit: int | None,
    ignore: Sequence[str],
    ordered: bool,
    on_error: str,
    rejects: str | os.PathLike[str] | None,
    options: dict[str, Any],
) -> tuple[Assembler, Iterator[Chunk]]:
    form = FORMATS[found]
    _check_options(form.read, options, found, _OWN_OPTIONS)
    refused = Rejects(source, on_error, rejects, unit="record" if form.binary else "line")
    assembler = Assembler(
        source,
        refused,
        ignore=ignore,
        limit=limit,
        ordered=ordered,
        name=_stem(source),
        meta={"format": found},
    )
    least = rows if limit is None else min(rows, limit)
    return assembler, form.read(source, refused, least, **options)


def _saved(source: Source, limit: int | None, ignore: Sequence[str]) -> ObjectTrace:
    trace = load_objects(source.path)
    check_cut(limit, ignore)
    return trace.rows(0, limit or len(trace)).changed(**dict.fromkeys(ignore))


def _stem(source: Source) -> str:
    name = source.stem.removesuffix(".zst")
    for suffix in (".bin", ".oracleGeneral", ".trace", ".tr"):
        name = name.removesuffix(suffix)
    return name


def _check_options(
    reader: Callable[..., Any], options: dict[str, Any], name: str, own: Sequence[str]
) -> None:
    known = [key for key in inspect.signature(reader).parameters if key not in own]
    for key in options:
        if key not in known:
            listed = f"it takes {', '.join(known)}" if known else "it takes no options"
            raise InputError(f"format {name} has no option {key!r}", mend=listed)
