"""A user's embeddings from Parquet: one row a query, columns by name."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.models.semantic.tables import LONGEST, TICKS_PER_S, UNKNOWN, Queries
from mltwin.sim.errors import InputError

from .read_parquet import open_parquet
from .source import Source

COLUMNS = ("embedding", "time", "category", "intent", "version")
"""What a map of columns may name; a file needs the embedding alone."""
MAX_TIME_S = LONGEST / TICKS_PER_S


def read_embeddings(
    path: str | Path,
    *,
    columns: Mapping[str, str] | None = None,
    limit: int | None = None,
    rate: float = 1.0,
) -> Queries:
    """Queries of a Parquet file, in its order.

    Args:
        path: of the file.
        columns: name in the file of `embedding` (a list of numbers, all of one length), `time`
            (seconds from any origin, or a timestamp; must not fall), `category` (text or number),
            `intent` (text or number: queries with one right answer share it) and `version` (whole
            number: of the content that the answer depends on). By default they are called so;
            all but the embedding may be missing.
        limit: read so many rows only.
        rate: queries a second, evenly spaced, where there is no time.

    Raises InputError naming file, row and column: a missing column, no rows, NaN, infinity, rows
    of different length, an embedding of length 0, a time that falls.
    """
    source = Source(path)
    names = _names(source, columns)
    opened = open_parquet(source)
    there = list(opened.schema_arrow.names)
    for label, name in names.items():
        if name not in there and (label == "embedding" or label in (columns or {})):
            known = ", ".join(there[:20])
            raise source.error(f"has no column {name!r}", mend=f"its columns are {known}")
    wanted = {label: name for label, name in names.items() if name in there}
    data = opened.read(columns=list(dict.fromkeys(wanted.values())))
    if limit is not None:
        data = data.slice(0, limit)
    if not data.num_rows:
        raise source.error("holds no rows", mend="give a file with queries")
    column = {label: data[name].combine_chunks() for label, name in wanted.items()}
    n = data.num_rows
    category, categories = _category(source, column.get("category"), names["category"], n)
    return Queries(
        category,
        _arrival(source, column.get("time"), names["time"], n, rate),
        _intent(source, column.get("intent"), names["intent"], n),
        _version(source, column, names["version"], n),
        _embedding(source, column["embedding"], names["embedding"]),
        categories,
        str(path),
    )


def _names(source: Source, columns: Mapping[str, str] | None) -> dict[str, str]:
    for label in columns or {}:
        if label not in COLUMNS:
            raise InputError(
                f"{label!r} is no column of embeddings",
                where=str(source.path),
                mend=f"map {', '.join(COLUMNS)}",
            )
    return {label: (columns or {}).get(label, label) for label in COLUMNS}


def _wrong(source: Source, name: str, row: int, what: str, mend: str) -> InputError:
    return source.error(f"row {row + 1}, column {name!r}: {what}", mend=mend)


def _no_nulls(source: Source, array: Any, name: str) -> None:
    if array.null_count:
        row = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise _wrong(source, name, row, "is empty", "fill it in, or leave the row out")


def _embedding(source: Source, array: Any, name: str) -> np.ndarray:
    import pyarrow as pa

    kind = array.type
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    if not (lists or pa.types.is_fixed_size_list(kind)) or not (
        pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)
    ):
        raise source.error(
            f"column {name!r} holds {kind}, not lists of numbers", mend="name the right column"
        )
    _no_nulls(source, array, name)
    flat = array.flatten()
    if lists:
        lengths = np.diff(array.offsets.to_numpy())
        odd = np.flatnonzero(lengths != lengths[0])
        if len(odd):
            what = f"has {lengths[odd[0]]} numbers where row 1 has {lengths[0]}"
            raise _wrong(source, name, int(odd[0]), what, "use embeddings of one model")
        width = int(lengths[0])
    else:
        width = int(kind.list_size)
    if width == 0:
        raise _wrong(source, name, 0, "holds no numbers", "give embeddings")
    if flat.null_count:
        first = int(np.flatnonzero(flat.is_null().to_numpy(zero_copy_only=False))[0])
        raise _wrong(source, name, first // width, "holds an empty number", "leave the row out")
    values = flat.to_numpy(zero_copy_only=False).astype(np.float64).reshape(-1, width)
    norms = np.sqrt(np.einsum("ij,ij->i", values, values))
    _first_bad(source, name, ~np.isfinite(norms), "holds NaN or infinity")
    _first_bad(source, name, norms < 1e-30, "has length 0, and no direction")
    return (values / norms[:, None]).astype(np.float32)


def _first_bad(source: Source, name: str, bad: np.ndarray, what: str) -> None:
    if bad.any():
        raise _wrong(source, name, int(np.flatnonzero(bad)[0]), what, "leave the row out")


def _arrival(source: Source, array: Any, name: str, n: int, rate: float) -> np.ndarray:
    import pyarrow as pa

    if array is None:
        if n / rate > MAX_TIME_S:
            raise source.error(
                f"{n:,} queries at {rate:g} a second take more than 73 years", mend="raise the rate"
            )
        return np.rint(np.arange(n) * (TICKS_PER_S / rate)).astype(np.int64)
    _no_nulls(source, array, name)
    if pa.types.is_timestamp(array.type):
        ticks = array.cast(pa.timestamp("ns", tz=array.type.tz)).cast(pa.int64()).to_numpy()
        ticks = ticks - ticks[0]
    elif pa.types.is_floating(array.type) or pa.types.is_integer(array.type):
        seconds = array.to_numpy(zero_copy_only=False).astype(np.float64)
        _first_bad(source, name, ~np.isfinite(seconds), "is NaN or infinite")
        seconds = seconds - seconds[0]
        _first_bad(source, name, seconds > MAX_TIME_S, "is more than 73 years after the first")
        ticks = np.rint(seconds * TICKS_PER_S).astype(np.int64)
    else:
        raise source.error(
            f"column {name!r} holds {array.type}, not seconds or timestamps",
            mend="name the right column",
        )
    fallen = np.flatnonzero(np.diff(ticks) < 0)
    if len(fallen):
        row = int(fallen[0]) + 1
        raise _wrong(source, name, row, "is before the row above", "sort the file by time")
    return ticks.astype(np.int64)


def _coded(source: Source, array: Any, name: str) -> tuple[np.ndarray, list[Any]]:
    """Dense numbers by first appearance, and what they stand for."""
    import pyarrow as pa

    plain = array.type
    if pa.types.is_dictionary(plain):
        array = array.cast(plain.value_type)
        plain = array.type
    text = pa.types.is_string(plain) or pa.types.is_large_string(plain)
    if not (text or pa.types.is_integer(plain)):
        raise source.error(
            f"column {name!r} holds {plain}, not text or whole numbers",
            mend="name the right column",
        )
    _no_nulls(source, array, name)
    coded = array.dictionary_encode()
    return coded.indices.to_numpy().astype(np.int32), coded.dictionary.to_pylist()


def _category(source: Source, array: Any, name: str, n: int) -> tuple[np.ndarray, tuple[str, ...]]:
    if array is None:
        return np.zeros(n, np.int32), ("all",)
    codes, values = _coded(source, array, name)
    return codes, tuple(str(value) for value in values)


def _intent(source: Source, array: Any, name: str, n: int) -> np.ndarray:
    if array is None:
        return np.full(n, UNKNOWN, np.int32)
    return _coded(source, array, name)[0]


def _version(source: Source, column: Mapping[str, Any], name: str, n: int) -> np.ndarray:
    import pyarrow as pa

    array = column.get("version")
    if array is None:
        return np.full(n, UNKNOWN, np.int32)
    if not pa.types.is_integer(array.type):
        raise source.error(
            f"column {name!r} holds {array.type}, not whole numbers", mend="name the right column"
        )
    _no_nulls(source, array, name)
    values = array.to_numpy(zero_copy_only=False).astype(np.int64)
    _first_bad(source, name, (values < 0) | (values > 2**31 - 1), "is not within 0 and 2**31 - 1")
    return values.astype(np.int32)
