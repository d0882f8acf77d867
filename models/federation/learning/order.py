"""In which order a client's samples are used: a keyed shuffle, walked, and shuffled again.

The stream of samples of a dispatch is one permutation of all its client's after another, cut into
steps; a step may end one pass and begin the next. Draws are the SplitMix64 sequence from the bits
of (seed, TRAINING, client, dispatch), so they depend on nothing else.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler
from mltwin.sim.rng import TRAINING, keyed_bits

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FACTOR_1 = np.uint64(0xBF58476D1CE4E5B9)
_FACTOR_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_27, _SHIFT_30, _SHIFT_31, _SHIFT_32 = map(np.uint64, (27, 30, 31, 32))


@handler
def order_state(seed: int, client: int, dispatch: int, used: int) -> Any:
    """uint64 state of the order of one dispatch that has used so many samples."""
    return keyed_bits(seed, TRAINING, client, dispatch) + np.uint64(used) * _GOLDEN


@handler
def take(rows: Any, samples: int, used: int, state: Any, batch: Any, size: int) -> Any:
    """The next samples of a dispatch: batch[:size] are filled from rows[:samples].

    Fisher and Yates' shuffle from the front, a place at a time, so that a pass that ends early has
    cost no more than it used; the next pass shuffles what the last one left. The part of the bits
    that chooses is 32 bits long: the bias is below samples * 2**-32.

    Args:
        rows: the client's rows, reordered in place.
        used: samples taken before by this dispatch.
        state: the uint64 after `used` steps of the sequence.

    Returns:
        The state after `size` more steps.
    """
    place = used % samples
    for k in range(size):
        state = state + _GOLDEN
        word = (state ^ (state >> _SHIFT_30)) * _FACTOR_1
        word = (word ^ (word >> _SHIFT_27)) * _FACTOR_2
        word = (word ^ (word >> _SHIFT_31)) >> _SHIFT_32
        other = place + np.int64((word * np.uint64(samples - place)) >> _SHIFT_32)
        chosen = rows[other]
        rows[other] = rows[place]
        rows[place] = chosen
        batch[k] = chosen
        place += 1
        if place == samples:
            place = 0
    return state


@handler
def walk(rows: Any, seed: int, client: int, dispatch: int, out: Any) -> None:
    """Fill `out` with what a dispatch uses of its client's rows, in order; rows are reordered."""
    take(rows, len(rows), 0, order_state(seed, client, dispatch, 0), out, len(out))
