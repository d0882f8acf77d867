"""Prefix blocks of requests: ragged lists of ids, kept as one flat array and slices into it.

Request i owns the slice `ids[start[i] : start[i] + count[i]]`. Slices may overlap: the turns of a
session share one list and differ only in `count`. An id stands for a block of tokens *and* all
that precedes it (a hash chain, as in vLLM and Mooncake), so equal leading ids are a prefix whose
KV cache can be used again.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Lists are gathered a few million ids at a time, so that overlapping slices (long sessions) never
# have to be written out in full at once.
_CHUNK_IDS = 1 << 22


def pack(
    start: NDArray[np.integer], count: NDArray[np.integer], ids: NDArray[np.integer]
) -> NDArray[Any]:
    """The ids of all requests in request order, each slice written out."""
    if not ids.size:
        return ids
    width = count.astype(np.int64)
    offset = np.cumsum(width) - width
    return ids[np.repeat(start - offset, width) + np.arange(int(width.sum()))]


def chunks(count: NDArray[np.int32], size: int = _CHUNK_IDS) -> list[tuple[int, int]]:
    """Ranges of requests [lo, hi), each with about `size` ids (at least one request)."""
    total = np.cumsum(count, dtype=np.int64)
    bounds = [0]
    while bounds[-1] < count.size:
        done = int(total[bounds[-1] - 1]) if bounds[-1] else 0
        nxt = int(np.searchsorted(total, done + size, side="right"))
        bounds.append(min(count.size, max(nxt, bounds[-1] + 1)))
    return list(pairwise(bounds))


def canonical(
    start: NDArray[np.int64], count: NDArray[np.int32], ids: NDArray[np.integer]
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(start, ids) with ids numbered from 0 in order of first appearance, request by request.

    Equal prefix structure gives equal numbers, whatever the ids were and however the slices lay;
    so a table read back from a file equals the one written. Slices keep their overlaps; ids that
    belong to no request are dropped.
    """
    import pandas as pd

    if not ids.size:
        return np.zeros(count.size, np.int64), np.empty(0, np.int32)
    used = np.zeros(ids.size + 1, np.int64)
    np.add.at(used, start, 1)
    np.add.at(used, start + count, -1)
    held = np.cumsum(used[:-1]) > 0
    if not held.all():
        start = np.where(count > 0, (np.cumsum(held) - held)[np.minimum(start, ids.size - 1)], 0)
        ids = ids[held]
    dense, names = pd.factorize(ids)
    rank = np.full(len(names), -1, np.int64)
    following = 0
    for lo, hi in chunks(count):
        seen = pack(start[lo:hi], count[lo:hi], dense)
        fresh = pd.unique(seen[rank[seen] < 0])
        rank[fresh] = np.arange(following, following + fresh.size)
        following += fresh.size
    return start, rank[dense].astype(np.int32)


def prefix_hits(
    start: NDArray[np.int64],
    count: NDArray[np.int32],
    ids: NDArray[np.int32],
    prompt_blocks: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Leading blocks of each prompt that an earlier request held: hits of an infinite cache.

    Cold start; every block of a request, its output's too where given, is there for all later
    requests in table order. `prompt_blocks`: how many leading ids of each request are prompt.
    """
    hits = np.zeros(count.size, np.int64)
    if not ids.size:
        return hits
    owner = np.full(int(ids.max()) + 1, count.size, np.int64)
    for lo, hi in chunks(count):
        seq = pack(start[lo:hi], count[lo:hi], ids)
        row = np.repeat(np.arange(lo, hi), count[lo:hi])
        np.minimum.at(owner, seq, row)
        width = np.minimum(count[lo:hi], prompt_blocks[lo:hi]).astype(np.int32)
        seq = pack(start[lo:hi], width, ids)
        row = np.repeat(np.arange(lo, hi), width)
        miss = np.flatnonzero(owner[seq] >= row)
        end = np.cumsum(width, dtype=np.int64)
        first = np.append(miss, seq.size)[np.searchsorted(miss, end - width)]
        hits[lo:hi] = np.minimum(first, end) - (end - width)
    return hits
