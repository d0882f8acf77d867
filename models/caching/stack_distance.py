"""Stack distances: how many distinct objects (or bytes) were asked for since the last request.

LRU holds the most recent objects, so a request hits in every cache of at least its stack distance
(the object itself counted): one pass gives the miss ratio of all sizes (Mattson, Gecsei, Slutz,
Traiger, "Evaluation techniques for storage hierarchies", IBM Systems Journal 9 (2), 1970). With
sizes, the distance in bytes is that of an LRU whose content is always the longest run of latest
objects that fits; a real one evicts whole objects and may leave a gap, so the curve over bytes is
an approximation (`docs/theory/caching.md` says how good).

Each object has the position of its last request; a distance is the number of occupied positions
behind it. Where the literature keeps a tree (Bennett, Kruskal, IBM J. R&D 19, 1975), this keeps
sums at four levels, 64 of one making one of the next: an update writes four numbers, a count adds
four short contiguous runs, which become vector instructions. When positions run out they are
numbered anew. With a Fenwick tree the same trace took twice as long.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.jit import handler, kernel

UNUSED = np.uint32(2**32 - 1)
NEXT, COLD, COLD_SIZE, ASKED_SIZE = range(4)
LEAST_POSITIONS = 2**18
_WORD, _BLOCK, _SECTION = np.uint64(6), np.uint64(12), np.uint64(18)


class StackDistances:
    """A histogram of stack distances over a stream of requests, fed in chunks.

    Args:
        objects: ids are below it.

    Attributes:
        histogram: int64[objects + 1]; entry d counts requests at distance d (1: asked for twice in
            a row). First requests of an object are in `cold`.
    """

    def __init__(self, objects: int) -> None:
        positions = max(LEAST_POSITIONS, 1 << (2 * objects - 1).bit_length())
        self.histogram = np.zeros(objects + 1, np.int64)
        self._last = np.full(objects, UNUSED, np.uint32)
        self._owner = np.zeros(positions, np.uint32)
        self._taken = np.zeros(positions, np.uint8)
        self._words = np.zeros(positions >> 6, np.uint8)
        self._blocks = np.zeros(positions >> 12, np.uint16)
        self._sections = np.zeros(positions >> 18, np.uint32)
        self._numbers = np.zeros(4, np.int64)
        self.requests = 0

    @property
    def cold(self) -> int:
        """Requests of objects not seen before."""
        return int(self._numbers[COLD])

    def add(self, ids: NDArray[np.uint32]) -> "StackDistances":
        """Take in the next requests; itself."""
        _add(
            _read_only(ids, np.uint32),
            self._last,
            self._owner,
            self._taken,
            self._words,
            self._blocks,
            self._sections,
            self._numbers,
            self.histogram,
        )
        self.requests += len(ids)
        return self

    def miss_ratio(self) -> NDArray[np.float64]:
        """float64[objects + 1]: the miss ratio of LRU with room for 0, 1, 2, ... objects."""
        return 1 - np.cumsum(self.histogram) / max(1, self.requests)


class ByteDistances:
    """The same in bytes, on a grid of capacities.

    Args:
        objects: ids are below it.
        capacities: int64, ascending, bytes.

    Attributes:
        hits, hit_bytes: int64 per capacity: requests (bytes) whose distance is at most it and, but
            for the first, above the one before it.
    """

    def __init__(self, objects: int, capacities: NDArray[np.int64]) -> None:
        positions = max(LEAST_POSITIONS, 1 << (2 * objects - 1).bit_length())
        self.capacities = _read_only(capacities, np.int64)
        self.hits = np.zeros(len(capacities) + 1, np.int64)
        self.hit_bytes = np.zeros(len(capacities) + 1, np.int64)
        self._last = np.full(objects, UNUSED, np.uint32)
        self._owner = np.full(positions, UNUSED, np.uint32)
        self._sizes = np.zeros(positions, np.int64)
        self._words = np.zeros(positions >> 6, np.int64)
        self._blocks = np.zeros(positions >> 12, np.int64)
        self._sections = np.zeros(positions >> 18, np.int64)
        self._numbers = np.zeros(4, np.int64)
        self.requests = 0

    def add(self, ids: NDArray[np.uint32], sizes: NDArray[np.int64]) -> "ByteDistances":
        """Take in the next requests; itself."""
        _add_bytes(
            _read_only(ids, np.uint32),
            _read_only(sizes, np.int64),
            self.capacities,
            self._last,
            self._owner,
            self._sizes,
            self._words,
            self._blocks,
            self._sections,
            self._numbers,
            self.hits,
            self.hit_bytes,
        )
        self.requests += len(ids)
        return self

    def miss_ratio(self) -> NDArray[np.float64]:
        """float64 per capacity, of requests."""
        return 1 - np.cumsum(self.hits[:-1]) / max(1, self.requests)

    def byte_miss_ratio(self) -> NDArray[np.float64]:
        """float64 per capacity, of bytes."""
        return 1 - np.cumsum(self.hit_bytes[:-1]) / max(1, int(self._numbers[ASKED_SIZE]))


def _read_only(values: Any, dtype: Any) -> np.ndarray:
    array = np.ascontiguousarray(values, dtype).view()
    array.flags.writeable = False
    return array


@handler
def _behind(p: Any, end: Any, cells: Any, words: Any, blocks: Any, sections: Any) -> int:
    """The sum over positions above p, below `end`."""
    one = np.uint64(1)
    total = np.int64(0)
    k = p + one
    stop = ((p >> _WORD) + one) << _WORD
    while k < stop:
        total += np.int64(cells[k])
        k += one
    k = (p >> _WORD) + one
    stop = ((p >> _BLOCK) + one) << np.uint64(6)
    while k < stop:
        total += np.int64(words[k])
        k += one
    k = (p >> _BLOCK) + one
    stop = ((p >> _SECTION) + one) << np.uint64(6)
    while k < stop:
        total += np.int64(blocks[k])
        k += one
    k = (p >> _SECTION) + one
    stop = (end >> _SECTION) + one
    while k < stop and k < np.uint64(len(sections)):
        total += np.int64(sections[k])
        k += one
    return total


@handler
def _sum_up(end: Any, cells: Any, words: Any, blocks: Any, sections: Any) -> None:
    """All levels anew from the cells below `end`."""
    words[:] = 0
    blocks[:] = 0
    sections[:] = 0
    k = np.uint64(0)
    while k < end:
        words[k >> _WORD] += cells[k]
        blocks[k >> _BLOCK] += cells[k]
        sections[k >> _SECTION] += cells[k]
        k += np.uint64(1)


@kernel()
def _add(
    ids: Any,
    last: Any,
    owner: Any,
    taken: Any,
    words: Any,
    blocks: Any,
    sections: Any,
    numbers: Any,
    histogram: Any,
) -> None:
    one = np.uint64(1)
    end = np.uint64(numbers[NEXT])
    for i in range(len(ids)):
        x = np.uint64(ids[i])
        if last[x] == UNUSED:
            numbers[COLD] += 1
        else:
            p = np.uint64(last[x])
            histogram[np.uint64(_behind(p, end, taken, words, blocks, sections) + 1)] += 1
            taken[p] = 0
            words[p >> _WORD] -= 1
            blocks[p >> _BLOCK] -= 1
            sections[p >> _SECTION] -= 1
        if end == np.uint64(len(owner)):
            last[x] = UNUSED
            end = np.uint64(0)
            k = np.uint64(0)
            while k < np.uint64(len(owner)):
                if taken[k]:
                    taken[k] = 0
                    taken[end] = 1
                    owner[end] = owner[k]
                    last[owner[k]] = end
                    end += one
                k += one
            _sum_up(end, taken, words, blocks, sections)
        last[x] = end
        owner[end] = x
        taken[end] = 1
        words[end >> _WORD] += 1
        blocks[end >> _BLOCK] += 1
        sections[end >> _SECTION] += 1
        end += one
    numbers[NEXT] = np.int64(end)


@kernel()
def _add_bytes(
    ids: Any,
    given: Any,
    capacities: Any,
    last: Any,
    owner: Any,
    sizes: Any,
    words: Any,
    blocks: Any,
    sections: Any,
    numbers: Any,
    hits: Any,
    hit_bytes: Any,
) -> None:
    one = np.uint64(1)
    end = np.uint64(numbers[NEXT])
    for i in range(len(ids)):
        x = np.uint64(ids[i])
        w = given[i]
        numbers[ASKED_SIZE] += w
        if last[x] == UNUSED:
            numbers[COLD] += 1
            numbers[COLD_SIZE] += w
        else:
            p = np.uint64(last[x])
            distance = _behind(p, end, sizes, words, blocks, sections) + w
            place = np.searchsorted(capacities, distance)
            hits[place] += 1
            hit_bytes[place] += w
            old = sizes[p]
            sizes[p] = 0
            owner[p] = UNUSED
            words[p >> _WORD] -= old
            blocks[p >> _BLOCK] -= old
            sections[p >> _SECTION] -= old
        if end == np.uint64(len(owner)):
            end = np.uint64(0)
            k = np.uint64(0)
            while k < np.uint64(len(owner)):
                if owner[k] != UNUSED:
                    mine, weight = owner[k], sizes[k]
                    owner[k] = UNUSED
                    sizes[k] = 0
                    owner[end] = mine
                    sizes[end] = weight
                    last[mine] = end
                    end += one
                k += one
            _sum_up(end, sizes, words, blocks, sections)
        last[x] = end
        owner[end] = x
        sizes[end] = w
        words[end >> _WORD] += w
        blocks[end >> _BLOCK] += w
        sections[end >> _SECTION] += w
        end += one
    numbers[NEXT] = np.int64(end)
