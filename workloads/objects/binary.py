"""Binary traces: oracleGeneral of libCacheSim, and streams of bare big-endian keys.

| format | record |
|---|---|
| oracle-general | little-endian: u32 time (s), u64 object, u32 size (bytes), i64 next access |
| corda, scarab | big-endian int64 key |
| cache2k | big-endian int32 key |

The next access of oracleGeneral is not kept: it can be found anew, and differs between writers
(number of the request, or -1 for never).
"""

from collections.abc import Iterator

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.workloads.tabular import Rejects

from .chunk import Chunk
from .packed import BinaryFile

ORACLE_GENERAL = np.dtype(
    [("time", "<u4"), ("object", "<u8"), ("size", "<u4"), ("next_access", "<i8")]
)
INT64_KEYS = np.dtype([("object", ">i8")])
INT32_KEYS = np.dtype([("object", ">i4")])
_NS = np.int64(10**9)


def read_oracle_general(
    source: BinaryFile, rejects: Rejects, rows: int, *, zero_sizes: str = "keep"
) -> Iterator[Chunk]:
    """oracleGeneral, as it lies or packed as gz, xz or zst.

    `zero_sizes`: what to do with requests of size 0 (libCacheSim leaves them out unless told
    otherwise): `keep`, `skip` (counted as rejected) or `fail`.
    """
    if zero_sizes not in ("keep", "skip", "fail"):
        raise InputError(
            f"zero_sizes = {zero_sizes!r} is unknown", mend="use 'keep', 'skip' or 'fail'"
        )
    record = 1
    for block in source.records(ORACLE_GENERAL, rows, rejects):
        lines = None
        first = record
        record += block.size
        if zero_sizes != "keep" and not block["size"].all():
            lines = np.arange(first, record)
            block, lines = _without_zeros(block, lines, rejects, zero_sizes)
        yield Chunk(
            keys=np.ascontiguousarray(block["object"]),
            size_bytes=block["size"].astype(np.int64),
            time_ns=block["time"] * _NS,
            line=first,
            lines=lines,
        )


def read_int64_keys(source: BinaryFile, rejects: Rejects, rows: int) -> Iterator[Chunk]:
    """A stream of big-endian int64 keys (Corda, Scarab)."""
    yield from _keys(source, rejects, rows, INT64_KEYS)


def read_int32_keys(source: BinaryFile, rejects: Rejects, rows: int) -> Iterator[Chunk]:
    """A stream of big-endian int32 keys (cache2k)."""
    yield from _keys(source, rejects, rows, INT32_KEYS)


def _keys(source: BinaryFile, rejects: Rejects, rows: int, dtype: np.dtype) -> Iterator[Chunk]:
    record = 1
    for block in source.records(dtype, rows, rejects):
        yield Chunk(keys=block["object"].astype(np.int64), line=record)
        record += block.size


def _without_zeros(
    block: np.ndarray, lines: np.ndarray, rejects: Rejects, zero_sizes: str
) -> tuple[np.ndarray, np.ndarray]:
    good = block["size"] > 0
    if zero_sizes == "fail":
        record = int(lines[np.argmin(good)])
        raise rejects.source.error(
            f"record {record}: size 0", mend="read it with zero_sizes='keep' or 'skip'"
        )
    for record in lines[~good]:
        rejects.count += 1
        if len(rejects.first) < 10:
            rejects.first.append({rejects.unit: int(record), "why": "size 0"})
    return block[good], lines[good]
