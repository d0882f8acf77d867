"""Known traces of requests as objects: CacheBench samples, CloudPhysics CSV, Mooncake blocks."""

from collections.abc import Iterator, Mapping
from functools import cache

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.workloads.read_mooncake import BLOCK_TOKENS
from mltwin.workloads.read_mooncake import read_mooncake as read_requests
from mltwin.workloads.source import Source
from mltwin.workloads.table import Trace
from mltwin.workloads.tabular import Rejects

from .chunk import Chunk
from .table import GET, SET, ObjectTrace
from .text import read_columns

_KV = {
    "key": "key",
    "size_bytes": "size",
    "arrival": "op_time",
    "op": "op",
    "ttl": "ttl",
    "tenant": "usecase",
    "repeat": "op_count",
}
_BLOCK = {
    "key": "block_id",
    "size_bytes": "io_size",
    "arrival": "op_time",
    "op": "op_name",
    "repeat": "op_count",
}
_CLOUD_PHYSICS = {"key": "lbn", "size_bytes": "size", "arrival": "time"}
_PS_PER_NS = 1000


def read_cachebench_kv(
    source: Source, rejects: Rejects, rows: int, *, expand: bool = True
) -> Iterator[Chunk]:
    """Raw key-value sample of CacheBench (Berg et al., "The CacheLib Caching Engine", OSDI 2020).

    `size` is that of the value, as the file has it: 0 where a GET found nothing, so that the size
    is not known. A line stands for `op_count` equal requests, all written out with `expand`. The
    usecase is the tenant.
    """
    yield from read_columns(
        source, rejects, rows, columns=_without_repeat(_KV, expand), keys="text"
    )


def read_cachebench_block(
    source: Source, rejects: Rejects, rows: int, *, expand: bool = True
) -> Iterator[Chunk]:
    """Raw block sample of CacheBench: the object is the block, the size that of the read or write
    (`io_size`), which may be a part of the block."""
    columns = _without_repeat(_BLOCK, expand)
    yield from read_columns(
        source, rejects, rows, columns=columns, keys="text", operations=_block_operations()
    )


def read_cloud_physics(source: Source, rejects: Rejects, rows: int) -> Iterator[Chunk]:
    """CSV of CloudPhysics block I/O as libCacheSim ships it: `lbn`, `size`, `time` (s).

    The SCSI operation is left out: a block is asked for whether it is read or written.
    """
    yield from read_columns(source, rejects, rows, columns=_CLOUD_PHYSICS, keys="whole")


def read_mooncake(
    source: Source, rejects: Rejects, rows: int, *, block_tokens: int = BLOCK_TOKENS
) -> Iterator[Chunk]:
    """Mooncake JSON lines as an object stream: one request for each prompt block, in order.

    Keys are the block numbers of `mltwin.workloads.read_trace` (by first appearance), not hashes.
    """
    trace, _ = blocks_as_objects(read_requests(source, rejects, block_tokens=block_tokens))
    for at in range(0, len(trace), rows):
        piece = trace.rows(at, at + rows)
        yield Chunk(keys=piece.ids, time_ns=piece.arrival, line=at + 1)


def blocks_as_objects(trace: Trace) -> tuple[ObjectTrace, NDArray[np.int64]]:
    """Prefix blocks of a request trace as objects, and which belong to which request.

    Returns the object stream (arrival of a block: that of its request, rounded down to 1 ns) and
    int64[n + 1]: the blocks of request i are stream rows starts[i] to starts[i + 1] - 1.
    Raises InputError where the trace has no blocks.
    """
    if not trace.block_tokens or not trace.block_count.any():
        raise InputError(
            "has no prefix blocks", where=trace.name, mend="give a trace with hash_ids"
        )
    counts = trace.block_count.astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(counts)])
    stream = ObjectTrace.make(
        trace.packed_blocks(),
        arrival=np.repeat(trace.arrival // _PS_PER_NS, counts),
        name=trace.name,
        source=trace.source,
        meta={"block_tokens": trace.block_tokens, "requests": len(trace)},
    )
    return stream, starts


@cache
def _block_operations() -> Mapping[str, int]:
    states = ("Permanent", "NotInitialized")
    reads = {f"getChunkData.{state}": GET for state in states}
    return {**reads, **{f"putChunk.{state}": SET for state in states}}


def _without_repeat(columns: Mapping[str, str], expand: bool) -> dict[str, str | int]:
    return {label: name for label, name in columns.items() if expand or label != "repeat"}
