"""The trace of the cache benchmarks: Zipf 1.0 over 10^6 ids, 10^7 requests, and files of it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

OBJECTS, REQUESTS, ALPHA = 1_000_000, 10_000_000, 1.0
CAPACITY = 100_000

# What libCacheSim calls oracleGeneral: 24 bytes a request, no header.
ORACLE = np.dtype([("time", "<u4"), ("id", "<u8"), ("bytes", "<u4"), ("next", "<i8")])


def zipf_keys(
    requests: int = REQUESTS, objects: int = OBJECTS, seed: int = 42
) -> NDArray[np.uint64]:
    """Keys 1 ... objects, independent draws with probability falling as rank^-ALPHA, shuffled."""
    rng = np.random.Generator(np.random.PCG64(seed))
    share = np.cumsum(np.arange(1, objects + 1, dtype=np.float64) ** -ALPHA)
    share /= share[-1]
    rank = np.minimum(np.searchsorted(share, rng.random(requests)), objects - 1)
    return (rng.permutation(objects)[rank] + 1).astype(np.uint64)


def write_oracle(path: Path, keys: NDArray[np.uint64], *, future: bool = True) -> None:
    """An oracleGeneral file; requests come at 1,000 a second, sizes are 1."""
    rows = np.zeros(len(keys), ORACLE)
    rows["time"] = np.arange(len(keys)) // 1000
    rows["id"] = keys
    rows["bytes"] = 1
    rows["next"] = -1
    if future:
        order = np.lexsort((np.arange(len(keys)), keys))
        same = keys[order][:-1] == keys[order][1:]
        rows["next"][order[:-1][same]] = order[1:][same] + 1  # counted from 1 there
    rows.tofile(path)


@contextmanager
def trace_file() -> Iterator[tuple[Path, NDArray[np.uint64]]]:
    """The trace as a file in a folder that goes afterwards, and its keys."""
    with tempfile.TemporaryDirectory() as folder:
        keys = zipf_keys()
        path = Path(folder) / "zipf.oracleGeneral.bin"
        write_oracle(path, keys)
        yield path, keys
