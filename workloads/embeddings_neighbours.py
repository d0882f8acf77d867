"""The earlier queries near to each query of a category, found once for a workload.

Embeddings are scaled to length 1 and rounded to multiples of 1/4000. Products and sums of such
integers stay below 2**24, so that float32 matrix products are exact in whatever order a library
adds: similarities are the same on every machine and with any number of threads. The rounding moves
a cosine by about 1e-4.
"""

from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from mltwin.models.semantic.tables import ONE, Neighbours, Queries
from mltwin.sim.errors import InputError

SCALE = 4000
MAX_DIMENSIONS = 16_384
"""(4000 + sqrt(16384) / 2)**2 < 2**24."""
_MOST_ROWS, _MOST_CELLS = 512, 1 << 24
"""Of a block of similarities."""
_MOST_FOUND = 1 << 28
_FIRST = 32
"""Neighbours that a graph search asks for first."""


def find_neighbours(
    queries: Queries,
    *,
    floor: float | Sequence[float],
    most: int = 4096,
    method: str = "exact",
) -> Neighbours:
    """The earlier queries of the same category with a cosine similarity of at least `floor`.

    Args:
        queries: the workload.
        floor: least similarity, of all or of each category; at or below the lowest threshold that
            will be replayed.
        most: neighbours kept of a query, the nearest; `truncated` says where there were more.
        method: `exact` (all pairs of a category, blocked matrix products) or `hnsw` (graph search
            by hnswlib: faster for more than about 50,000 queries a category, and it may miss some).

    Raises InputError: an unknown method, hnswlib is missing, too many dimensions, or more than
    268 million neighbours.
    """
    if queries.embedding.shape[1] > MAX_DIMENSIONS:
        raise InputError(
            f"{queries.embedding.shape[1]:,} dimensions are more than {MAX_DIMENSIONS:,}",
            where=queries.source or "embedding",
            mend="project them to fewer",
        )
    ways = {"exact": _exact, "hnsw": _hnsw}
    if method not in ways:
        raise InputError(
            f"unknown method {method!r}", where="neighbours.method", mend="use 'exact' or 'hnsw'"
        )
    floors = np.broadcast_to(np.asarray(floor, np.float64), len(queries.categories))
    least = np.rint(floors * ONE).astype(np.int32)
    parts = []
    for c in range(len(queries.categories)):
        ids = np.flatnonzero(queries.category == c)
        if len(ids) > 1:
            whole = rounded(queries.embedding[ids])
            parts += [
                (ids[i], ids[j], near)
                for i, j, near in ways[method](whole, ids, int(least[c]), most)
            ]
    return _joined(parts, len(queries), least, most)


def rounded(embedding: np.ndarray) -> np.ndarray:
    """float32[n, d] of integers: the embeddings scaled to length 4000."""
    wide = embedding.astype(np.float64)
    length = np.sqrt(np.einsum("ij,ij->i", wide, wide))
    return np.rint(wide * (SCALE / length)[:, None]).astype(np.float32)


def _exact(whole: np.ndarray, ids: np.ndarray, least: int, most: int) -> Any:
    """(row, earlier row, similarity) of near pairs, block by block, ordered, `most` + 1 a row."""
    squares = np.einsum("ij,ij->i", whole, whole, dtype=np.float64)
    shortest = float(np.sqrt(squares.min()))
    columns = np.arange(len(whole))
    found = 0
    rows = max(16, min(_MOST_ROWS, _MOST_CELLS // len(whole)))
    for begin in range(0, len(whole), rows):
        end = min(begin + rows, len(whole))
        dots = whole[begin:end] @ whole[:end].T
        lower = (least - 2) / ONE * shortest * np.sqrt(squares[begin:end])
        if least <= 0:
            lower = np.full(end - begin, -np.inf)
        candidate = dots >= lower[:, None].astype(np.float32)
        candidate[:, begin:] &= columns[begin:end] < columns[begin:end, None]
        i, j = np.nonzero(candidate)
        yield _ordered(begin + i, j, _similar(dots[i, j], squares, begin + i, j), least, most)
        found += len(i)
        if found > _MOST_FOUND:
            raise InputError(
                f"{ids[end - 1]:,} queries have more than {_MOST_FOUND:,} neighbours",
                where="neighbours.floor",
                mend="raise the floor (and the thresholds), or use fewer queries",
            )


def _similar(dots: np.ndarray, squares: np.ndarray, i: np.ndarray, j: np.ndarray) -> np.ndarray:
    """int32 similarities in millionths; of equal vectors exactly 1,000,000."""
    lengths = np.sqrt(squares[i] * squares[j])
    return np.rint(dots.astype(np.float64) * ONE / lengths).astype(np.int32)


def _ordered(
    i: np.ndarray, j: np.ndarray, near: np.ndarray, least: int, most: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pairs by row, nearest first (the earlier of equal ones); `most` + 1 of a row are kept."""
    enough = near >= least
    i, j, near = i[enough], j[enough], near[enough]
    order = np.lexsort((j, -near, i))
    i, j, near = i[order], j[order], near[order]
    starts = np.flatnonzero(np.r_[True, np.diff(i) > 0]) if len(i) else np.zeros(0, np.int64)
    rank = np.arange(len(i)) - np.repeat(starts, np.diff(np.r_[starts, len(i)]))
    keep = rank <= most
    return i[keep], j[keep], near[keep]


def _hnsw(whole: np.ndarray, ids: np.ndarray, least: int, most: int) -> Any:
    """The same pairs as far as a graph search finds them: each row is looked up, then added."""
    try:
        hnswlib: Any = import_module("hnswlib")
    except ImportError:
        raise InputError(
            "hnswlib is not installed",
            where="neighbours.method",
            mend="pip install mltwin[semantic], or use method 'exact'",
        ) from None
    squares = np.einsum("ij,ij->i", whole, whole, dtype=np.float64)
    index = hnswlib.Index(space="cosine", dim=whole.shape[1])
    index.init_index(max_elements=len(whole), ef_construction=200, M=16, random_seed=1)
    index.set_num_threads(1)
    index.add_items(whole[:1], np.array([0]))
    rows, columns = [], []
    for i in range(1, len(whole)):
        found = _nearest(index, whole[i : i + 1], min(i, most + 1), least)
        columns.append(np.sort(found))
        rows.append(np.full(len(found), i))
        index.add_items(whole[i : i + 1], np.array([i]))
    a, b = np.concatenate(rows), np.concatenate(columns)
    dots = np.einsum("ij,ij->i", whole[a], whole[b], dtype=np.float64)
    yield _ordered(a, b, _similar(dots, squares, a, b), least, most)


def _nearest(index: Any, row: np.ndarray, wanted: int, least: int) -> np.ndarray:
    """int64 labels of the nearest items: as many as are wanted, or until one is too far."""
    k, wider = min(wanted, _FIRST), 1
    while True:
        index.set_ef(max(64, 2 * k) * wider)
        try:
            labels, distances = index.knn_query(row, k=k)
        except RuntimeError:  # the graph has no way to so many from where the search began
            wider *= 4
            if wider > 64:
                raise InputError(
                    f"the graph search did not find {k:,} neighbours",
                    where="neighbours.method",
                    mend="use 'exact'",
                ) from None
            continue
        if k == wanted or 1.0 - float(distances[0].max()) < least / ONE - 1e-3:
            return np.asarray(labels[0]).astype(np.int64)
        k = min(2 * k, wanted)


def _joined(parts: list[Any], n: int, least: np.ndarray, most: int) -> Neighbours:
    """All pairs as one table; the one beyond `most` of a row becomes its mark."""
    empty = np.zeros(0, np.int64)
    row, other, near = (
        np.concatenate([part[k] for part in parts]) if parts else empty for k in range(3)
    )
    order = np.argsort(row, kind="stable")
    row, other, near = row[order], other[order], near[order]
    counts = np.bincount(row, minlength=n)
    truncated = counts > most
    if truncated.any():
        ends = np.cumsum(counts)[truncated] - 1
        other, near = np.delete(other, ends), np.delete(near, ends)
        counts[truncated] -= 1
    start = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Neighbours(start, other.astype(np.int32), near.astype(np.int32), truncated, least)
