"""Object traces out: Parquet (`save_objects`, `load_objects`), and oracleGeneral."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.workloads.export import whole_file
from mltwin.workloads.read_parquet import open_parquet
from mltwin.workloads.source import Source

from .binary import ORACLE_GENERAL
from .packed import BinaryFile
from .table import COLUMNS, TICKS_PER_S, ObjectTrace

_VERSION = 1
_MARK = b"mltwin.objects"
_WRITE_ROWS = 1 << 20


def save_objects(trace: ObjectTrace, path: str | Path) -> Path:
    """Parquet with the digest and the rest of the trace in its metadata; whole or not at all.

    The key of an object, where kept, stands in a column of its own beside the first request.
    """
    import pyarrow as pa
    from pyarrow import parquet

    head = {
        "version": _VERSION,
        "name": trace.name,
        "source": trace.source,
        "tenants": trace.tenants,
        "objects": trace.objects,
        "sha256": trace.sha256,
        "meta": trace.meta,
    }
    data: dict[str, Any] = {"ids": trace.ids}
    data.update(
        (label, getattr(trace, label)) for label in COLUMNS if getattr(trace, label) is not None
    )
    if trace.keys is not None:
        data["key"] = _key_column(trace)
    try:
        text = json.dumps(head, allow_nan=False)
    except (TypeError, ValueError) as wrong:
        raise InputError(
            f"its meta cannot be written as JSON ({wrong})",
            where=trace.name,
            mend="keep plain data in meta",
        ) from None
    table = pa.table(data).replace_schema_metadata({_MARK: text})
    with whole_file(path) as temporary:
        parquet.write_table(table, temporary, compression="zstd")
    return Path(path)


def load_objects(path: str | Path) -> ObjectTrace:
    """What `save_objects` wrote. InputError where it is another file or was altered."""
    import pyarrow as pa

    source = BinaryFile(path)
    opened = open_parquet(source)
    stored = (opened.schema_arrow.metadata or {}).get(_MARK)
    if stored is None:
        raise source.error("is not a saved object trace", mend="read it with read_objects")
    try:
        head = json.loads(stored)
        table = opened.read()
        names = set(table.column_names)
        columns = {label: table[label].to_numpy() if label in names else None for label in COLUMNS}
        ids = table["ids"].to_numpy()
        trace = ObjectTrace.make(
            ids,
            objects=head["objects"],
            **columns,
            tenants=head["tenants"],
            keys=_keys_of(table["key"], ids, head["objects"]) if "key" in names else None,
            name=head["name"],
            source=head["source"],
            meta=head["meta"],
        )
    except (KeyError, TypeError, ValueError, IndexError, pa.ArrowException, OSError) as wrong:
        raise source.error(f"is a damaged saved trace ({wrong!r:.100})") from None
    if trace.sha256 != head["sha256"]:
        raise source.error("does not have the digest it was saved with", mend="save it again")
    return trace


def is_saved(source: Source) -> bool:
    """True where the file is Parquet with our mark."""
    with open(source.path, "rb") as raw:
        if raw.read(4) != b"PAR1":
            return False
    return _MARK in (open_parquet(source).schema_arrow.metadata or {})


def write_oracle_general(trace: ObjectTrace, path: str | Path, *, lossy: bool = False) -> Path:
    """Write oracleGeneral, the binary form of libCacheSim; whole or not at all.

    Records of 24 bytes: time u32 (s from the trace's start), object u64 (the file's own key where
    it is a whole number >= 0, else the dense id), size u32 (1 where there are none), next access
    i64 (number of the next request of the object, counted from 1; -1: never).

    Raises InputError where the form has no place for something (tenants, costs, operations, times
    finer than 1 s), unless `lossy` drops it; for sizes or times beyond 32 bits always.
    """
    _check_kept(trace, lossy)
    size = np.ones(len(trace), np.int64) if trace.size_bytes is None else trace.size_bytes
    time = np.zeros(len(trace), np.int64)
    if trace.arrival is not None:
        time = trace.arrival // TICKS_PER_S
    for label, values in (("size_bytes", size), ("arrival", time)):
        if len(trace) and int(values.max()) >= 1 << 32:
            row = int(np.argmax(values >= 1 << 32))
            raise InputError(
                f"{label} = {values[row]} does not fit 32 bits",
                where=f"{trace.name}: request {row}",
                mend="save it as Parquet",
            )
    names = _whole_keys(trace)
    ahead = next_access(trace.ids)
    with whole_file(path) as temporary, open(temporary, "wb") as out:
        for at in range(0, len(trace), _WRITE_ROWS):
            piece = slice(at, at + _WRITE_ROWS)
            records = np.empty(len(trace.ids[piece]), ORACLE_GENERAL)
            records["time"], records["size"] = time[piece], size[piece]
            records["object"] = trace.ids[piece] if names is None else names[trace.ids[piece]]
            records["next_access"] = np.where(ahead[piece] < 0, -1, ahead[piece] + 1)
            records.tofile(out)
    return Path(path)


def next_access(ids: NDArray[np.uint32]) -> NDArray[np.int64]:
    """int64[n]: the row (from 0) of the next request of the same object, -1 where none follows."""
    order = np.argsort(ids, kind="stable")
    found = np.full(ids.size, -1, np.int64)
    same = ids[order[1:]] == ids[order[:-1]]
    found[order[:-1][same]] = order[1:][same]
    return found


def _check_kept(trace: ObjectTrace, lossy: bool) -> None:
    lost = [
        label for label in ("tenant", "cost", "op", "ttl_ns") if getattr(trace, label) is not None
    ]
    if trace.arrival is not None and (trace.arrival % TICKS_PER_S).any():
        lost.append("arrival finer than 1 s")
    if lost and not lossy:
        raise InputError(
            f"oracleGeneral has no place for {', '.join(lost)}",
            where=trace.name,
            mend="save it as Parquet, or pass lossy=True to drop it",
        )


def _whole_keys(trace: ObjectTrace) -> NDArray[np.uint64] | None:
    keys = trace.keys
    if keys is None or keys.dtype.kind not in "iu" or (keys.size and int(keys.min()) < 0):
        return None
    return keys.astype(np.uint64)


def _key_column(trace: ObjectTrace) -> Any:
    """The key at the first request of each object, null elsewhere; objects without any are lost."""
    import pyarrow as pa

    assert trace.keys is not None
    first = np.full(trace.objects, -1, np.int64)
    first[trace.ids[::-1]] = np.arange(len(trace) - 1, -1, -1)
    asked = np.flatnonzero(first >= 0)
    rows = np.sort(first[asked])
    keys = trace.keys[trace.ids[rows]]
    place = np.zeros(len(trace), np.int64)
    place[rows] = np.arange(rows.size)
    absent = np.ones(len(trace), bool)
    absent[rows] = False
    if keys.dtype.kind == "O":
        text = [key.decode("latin-1") if isinstance(key, bytes) else key for key in keys]
        return pa.array(text, pa.large_string()).take(pa.array(place, mask=absent))
    return pa.array(keys[place], mask=absent)


def _keys_of(column: Any, ids: NDArray[np.uint32], objects: int) -> NDArray[Any]:
    rows = np.flatnonzero(column.is_valid().to_numpy())
    texts = str(column.type) == "large_string"
    valid = column.drop_null()
    found = np.array(valid.to_pylist(), object) if texts else valid.to_numpy()
    keys = np.full(objects, "", object) if texts else np.zeros(objects, found.dtype)
    keys[ids[rows]] = found
    return keys
