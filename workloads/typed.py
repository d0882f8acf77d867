"""Typed Arrow columns (Parquet, JSON) as the values of a kind."""

from typing import TYPE_CHECKING

import numpy as np

from .values import UNITS, Count, Ids, Instants, Kind, Ragged, Stamp, Time, Values

if TYPE_CHECKING:
    import pyarrow as pa


def typed_column(kind: Kind, column: "pa.ChunkedArray") -> Values | None:
    """A typed column at once, or None where it needs a look at each value."""
    import pyarrow as pa

    dtype = column.type
    if column.null_count:
        return None
    if pa.types.is_string(dtype) or pa.types.is_large_string(dtype):
        return kind.column(column.cast(pa.string()))
    if pa.types.is_timestamp(dtype) and isinstance(kind, Stamp):
        whole = column.cast(pa.timestamp("ns", dtype.tz)).cast(pa.int64()).to_numpy()
        return Instants(whole, np.zeros(whole.size, np.int64), UNITS["ns"])
    if pa.types.is_integer(dtype) and not pa.types.is_uint64(dtype):
        whole = column.cast(pa.int64()).to_numpy()
        if isinstance(kind, Count):
            return whole if whole.min() >= kind.low and whole.max() <= kind.high else None
        if isinstance(kind, Time):
            return Instants(whole, np.zeros(whole.size, np.int64), UNITS[kind.unit])
    if pa.types.is_decimal128(dtype) and isinstance(kind, Time):
        return _from_decimals(kind, column) if dtype.scale == UNITS[kind.unit] + 1 else None
    if isinstance(kind, Ids) and (pa.types.is_list(dtype) or pa.types.is_large_list(dtype)):
        lists = column.combine_chunks()
        if pa.types.is_integer(dtype.value_type) and not lists.flatten().null_count:
            count = lists.value_lengths().to_numpy(zero_copy_only=False)
            return Ragged(count.astype(np.int64), lists.flatten().cast(pa.int64()).to_numpy())
    return None


def _from_decimals(kind: Time, column: "pa.ChunkedArray") -> Instants | None:
    """Decimals with one place more than ticks need; None where one is beyond 64 bits."""
    parts = [np.empty((0, 2), np.int64)]
    for chunk in column.chunks:
        raw = np.frombuffer(chunk.buffers()[1], np.int64).reshape(-1, 2)
        parts.append(raw[chunk.offset : chunk.offset + len(chunk)])
    low, high = np.concatenate(parts).T
    if np.any(high != low >> 63):
        return None
    places = UNITS[kind.unit]
    whole, tenths = np.divmod(low, 10 ** (places + 1))
    ticks = (tenths + 5) // 10
    return Instants(whole + ticks // 10**places, ticks % 10**places, places)
