"""Dense numbers for sparse keys: 0, 1, 2, ... in the order in which keys first appear.

`Numbering` keeps its map between calls, so that a stream of keys is numbered in pieces as it would
be at once. Three ways, all with the same result:

- a *direct* table, one entry for each whole number from the least key to the greatest, while that
  range is no longer than a few times the keys seen;
- open addressing with linear probing (Knuth, TAOCP 3, section 6.4, algorithm L) over 32-bit slots
  that hold number + 1; keys lie apart in the order of their numbers, so that the popular ones, seen
  early, share cache lines;
- the same over byte strings, compared in full: no two different keys get one number.
"""

from itertools import pairwise
from typing import Any

import numpy as np
from numba.core import types as numba_types
from numpy.typing import NDArray

from .jit import handler, kernel

types: Any = numba_types  # its stubs differ from version to version
MAX_NUMBERS = 2**32 - 2**16
"""Distinct keys at most; numbers, and one more for marks, fit 32 bits."""

DIRECT_ALWAYS = 1 << 20
DIRECT_SHARE = 4
_FIRST_SLOTS = 1 << 16
_LOAD_NUMERATOR, _LOAD_DENOMINATOR = 3, 4


def _array(kind: Any, readonly: bool = False) -> Any:
    return types.Array(kind, 1, "C", readonly=readonly)


_KEYS = _array(types.uint64, True)
_U64, _U32, _U8, _I64 = map(_array, (types.uint64, types.uint32, types.uint8, types.int64))


@handler
def mix64(x: Any) -> Any:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014): a bijection on 64 bits."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@kernel(types.int64(_KEYS, types.uint64, _U32, _U64, types.int64, _U32))
def _number_direct(keys: Any, low: Any, direct: Any, known: Any, count: int, out: Any) -> Any:
    found = np.uint64(count)
    for i in range(len(keys)):
        place = keys[i] - low
        mark = direct[place]
        if mark == 0:
            known[found] = keys[i]
            found += np.uint64(1)
            mark = np.uint32(found)
            direct[place] = mark
        out[i] = mark - np.uint32(1)
    return np.int64(found)


@kernel(types.UniTuple(types.int64, 2)(_KEYS, types.int64, _U32, _U64, types.int64, _U32))
def _number_hashed(keys: Any, begin: int, slots: Any, known: Any, count: int, out: Any) -> Any:
    """(next row, count): numbers keys[begin:], up to a new key that `known` has no room for."""
    mask = np.uint64(len(slots) - 1)
    room = np.uint64(len(known))
    found = np.uint64(count)
    for i in range(begin, len(keys)):
        key = keys[i]
        place = mix64(key) & mask
        while True:
            mark = np.uint64(slots[place])
            if mark == 0:
                if found == room:
                    return i, np.int64(found)
                known[found] = key
                found += np.uint64(1)
                slots[place] = np.uint32(found)
                out[i] = np.uint32(found) - np.uint32(1)
                break
            if known[mark - np.uint64(1)] == key:
                out[i] = np.uint32(mark) - np.uint32(1)
                break
            place = (place + np.uint64(1)) & mask
    return len(keys), np.int64(found)


@kernel(types.void(_U64, types.int64, _U32))
def _fill_slots(hashed: Any, count: int, slots: Any) -> None:
    """Enter numbers 0 .. count - 1; hashed[k] is a key, or the hash of a string before mixing."""
    mask = np.uint64(len(slots) - 1)
    for number in range(count):
        place = mix64(hashed[np.uint64(number)]) & mask
        while slots[place] != 0:
            place = (place + np.uint64(1)) & mask
        slots[place] = np.uint32(number + 1)


@handler
def _hash_bytes(data: Any, start: Any, stop: Any) -> Any:
    """64 bits of data[start:stop], eight bytes a step."""
    h = (stop - start) * np.uint64(0x9E3779B97F4A7C15)
    at = start
    while at + np.uint64(8) <= stop:
        word = np.uint64(0)
        for k in range(8):  # one load, once compiled
            word |= np.uint64(data[at + np.uint64(k)]) << np.uint64(8 * k)
        h = mix64(h ^ word)
        at += np.uint64(8)
    word = np.uint64(0)
    while at < stop:
        word = (word << np.uint64(8)) | np.uint64(data[at])
        at += np.uint64(1)
    return mix64(h ^ word)


@kernel(
    types.UniTuple(types.int64, 2)(
        _array(types.uint8, True),
        _array(types.int64, True),
        types.int64,
        _U32,
        _U64,
        _U8,
        _I64,
        types.int64,
        _U32,
    )
)
def _number_strings(
    data: Any,
    offsets: Any,
    begin: int,
    slots: Any,
    hashes: Any,
    store: Any,
    ends: Any,
    count: int,
    out: Any,
) -> Any:
    """As `_number_hashed` for data[offsets[i]:offsets[i + 1]]; string k ends at ends[k + 1]."""
    mask = np.uint64(len(slots) - 1)
    found = count
    for i in range(begin, len(offsets) - 1):
        start, stop = np.uint64(offsets[i]), np.uint64(offsets[i + 1])
        length = stop - start
        h = _hash_bytes(data, start, stop)
        place = mix64(h) & mask
        while True:
            mark = np.int64(slots[place])
            if mark == 0:
                begins = np.uint64(ends[found])
                if found == len(hashes) or begins + length > np.uint64(len(store)):
                    return i, found
                for k in range(length):
                    store[begins + k] = data[start + k]
                hashes[found] = h
                found += 1
                ends[found] = np.int64(begins + length)
                slots[place] = np.uint32(found)
                out[i] = np.uint32(found - 1)
                break
            if hashes[mark - 1] == h:
                begins = np.uint64(ends[mark - 1])
                same = np.uint64(ends[mark]) - begins == length
                at = np.uint64(0)
                while same and at < length:
                    same = store[begins + at] == data[start + at]
                    at += np.uint64(1)
                if same:
                    out[i] = np.uint32(mark - 1)
                    break
            place = (place + np.uint64(1)) & mask
    return len(offsets) - 1, found


class Numbering:
    """Numbers 64-bit keys by first appearance; call `add` again and again.

    Attributes:
        count: distinct keys so far.
    """

    def __init__(self) -> None:
        self.count = 0
        self._seen = 0
        self._low = 0
        self._known = np.empty(0, np.uint64)
        self._direct: NDArray[np.uint32] | None = np.empty(0, np.uint32)
        self._slots = np.empty(0, np.uint32)

    def add(self, keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
        """The numbers of uint64[n] keys. OverflowError beyond `MAX_NUMBERS` distinct ones."""
        with np.errstate(over="ignore"):  # hashes wrap; it matters where nothing is compiled
            return self._add(np.ascontiguousarray(keys, np.uint64))

    def _add(self, keys: NDArray[np.uint64]) -> NDArray[np.uint32]:
        self._seen += keys.size
        out = np.empty(keys.size, np.uint32)
        if keys.size and self._direct is not None and not self._fits(keys):
            self._direct = None
            self._grow_slots()
        if self._direct is not None:
            direct = self._direct
            self._known = _longer(self._known, self.count + min(keys.size, direct.size))
            low = np.uint64(self._low)
            self.count = _number_direct(keys, low, direct, self._known, self.count, out)
        else:
            done = 0
            while done < keys.size:
                done, self.count = _number_hashed(
                    keys, done, self._slots, self._known, self.count, out
                )
                if done < keys.size:
                    self._grow_slots()
        return out

    def keys(self) -> NDArray[np.uint64]:
        """The key of each number so far."""
        return self._known[: self.count].copy()

    def _fits(self, keys: NDArray[np.uint64]) -> bool:
        """Make the direct table cover these keys; False where it would be too long."""
        assert self._direct is not None
        low, high = int(keys.min()), int(keys.max())
        if self._direct.size:
            low = min(low, self._low)
            high = max(high, self._low + self._direct.size - 1)
        span = high - low + 1
        if span > max(DIRECT_ALWAYS, DIRECT_SHARE * self._seen) or span > MAX_NUMBERS:
            return False
        if not self._direct.size and low < span:  # most files count from 0 or 1
            low, span = 0, high + 1
        if span > self._direct.size:
            wider = np.zeros(span, np.uint32)
            shift = self._low - low
            wider[shift : shift + self._direct.size] = self._direct
            self._low, self._direct = low, wider
        return True

    def _grow_slots(self) -> None:
        slots = _more_slots(self._slots.size, self.count)
        self._known = _longer(self._known, _room(slots), exact=True)
        self._slots = np.zeros(slots, np.uint32)
        _fill_slots(self._known, self.count, self._slots)


class StringNumbering:
    """As `Numbering` for byte strings; each distinct one is kept."""

    def __init__(self) -> None:
        self.count = 0
        slots = _FIRST_SLOTS
        self._slots = np.zeros(slots, np.uint32)
        self._hashes = np.empty(_room(slots), np.uint64)
        self._ends = np.zeros(_room(slots) + 1, np.int64)
        self._store = np.empty(1 << 20, np.uint8)

    def add(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint32]:
        """Numbers of the n strings data[offsets[i]:offsets[i + 1]]; offsets is int64[n + 1]."""
        with np.errstate(over="ignore"):
            return self._add(
                np.ascontiguousarray(data, np.uint8), np.ascontiguousarray(offsets, np.int64)
            )

    def _add(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> NDArray[np.uint32]:
        rows = offsets.size - 1
        out = np.empty(rows, np.uint32)
        done = 0
        while done < rows:
            done, self.count = _number_strings(
                data,
                offsets,
                done,
                self._slots,
                self._hashes,
                self._store,
                self._ends,
                self.count,
                out,
            )
            if done < rows:
                self._grow(int(offsets[done + 1] - offsets[done]))
        return out

    def keys(self) -> list[bytes]:
        """The string of each number so far."""
        whole = self._store[: self._ends[self.count]].tobytes()
        ends = self._ends[: self.count + 1].tolist()
        return [whole[a:b] for a, b in pairwise(ends)]

    def _grow(self, length: int) -> None:
        """Room for one more string of this length."""
        needed = int(self._ends[self.count]) + length
        if needed > self._store.size:
            self._store = _longer(self._store, needed)
        if self.count == self._hashes.size:
            slots = _more_slots(self._slots.size, self.count)
            self._hashes = _longer(self._hashes, _room(slots), exact=True)
            ends = np.zeros(_room(slots) + 1, np.int64)
            ends[: self._ends.size] = self._ends
            self._ends = ends
            self._slots = np.zeros(slots, np.uint32)
            _fill_slots(self._hashes, self.count, self._slots)


def _room(slots: int) -> int:
    return slots * _LOAD_NUMERATOR // _LOAD_DENOMINATOR


def _more_slots(slots: int, count: int) -> int:
    """A power of two above `slots` whose room is more than `count`."""
    if count >= MAX_NUMBERS:
        raise OverflowError(f"more than {MAX_NUMBERS} distinct keys")
    slots = max(_FIRST_SLOTS, 2 * slots)
    while _room(slots) <= count:
        slots *= 2
    return slots


def _longer(array: NDArray[Any], size: int, exact: bool = False) -> NDArray[Any]:
    """The array, or a copy with room for `size` items, half as much again unless exact."""
    if array.size >= size:
        return array
    wider = np.empty(size if exact else max(size, array.size * 3 // 2), array.dtype)
    wider[: array.size] = array
    return wider
