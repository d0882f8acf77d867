"""A set of whole numbers whose greatest member is found at once: bits over bits, 64 to a word.

Bit i of level 0 says whether i is a member; bit j of a level above, whether word j below has any
bit set. Adding and removing touch one word of level 0 and seldom more; `greatest` reads one word a
level (4 for ten million numbers). All levels lie one behind the other in one int64 table.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler

LEVELS = 6  # for numbers below 2**36
_ONE, _SIX, _LOW = np.uint64(1), np.uint64(6), np.uint64(63)


def bit_levels(numbers: int) -> tuple[int, list[int]]:
    """Words of a set of 0 ... numbers - 1, and where each of the LEVELS begins."""
    starts, total, words = [], 0, max(1, numbers)
    for _ in range(LEVELS):
        words = (words + 63) // 64
        starts.append(total)
        total += words
    return total, starts


@handler
def bit_add(words: Any, starts: Any, number: Any) -> None:
    """Add a number; `starts` holds the LEVELS beginnings."""
    place = np.uint64(number)
    for level in range(LEVELS):
        word = np.uint64(starts[level]) + (place >> _SIX)
        old = words[word]
        words[word] = np.int64(np.uint64(old) | (_ONE << (place & _LOW)))
        if old != 0:
            return
        place >>= _SIX


@handler
def bit_remove(words: Any, starts: Any, number: Any) -> None:
    """Remove a number that is a member."""
    place = np.uint64(number)
    for level in range(LEVELS):
        word = np.uint64(starts[level]) + (place >> _SIX)
        left = np.uint64(words[word]) & ~(_ONE << (place & _LOW))
        words[word] = np.int64(left)
        if left != 0:
            return
        place >>= _SIX


@handler
def bit_greatest(words: Any, starts: Any) -> int:
    """The greatest member, -1 if there is none."""
    place = np.uint64(0)
    for level in range(LEVELS - 1, -1, -1):
        word = np.uint64(words[np.uint64(starts[level]) + place])
        if word == 0:
            return -1
        place = (place << _SIX) + _highest(word)
    return np.int64(place)


@handler
def _highest(word: Any) -> Any:
    """Place of the highest bit of a word other than 0."""
    place = np.uint64(0)
    step = np.uint64(32)
    while step:
        if word >> step:
            word >>= step
            place += step
        step >>= _ONE
    return place
