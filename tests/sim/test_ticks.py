from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltwin.sim.ticks import NEVER, TICKS_PER_S, seconds, ticks

IN_RANGE = st.floats(min_value=-9.2e6, max_value=9.2e6)


@given(IN_RANGE)
def test_ticks_are_nearest_to_the_exact_value(s):
    exact = Fraction(s) * TICKS_PER_S
    assert abs(ticks(s) - exact) <= Fraction(1, 2) + Fraction(1, 1000)


@given(st.lists(IN_RANGE, min_size=1))
def test_array_equals_scalars(values):
    array = np.array(values)
    assert ticks(array).tolist() == [ticks(v) for v in values]
    assert seconds(ticks(array)).tolist() == [seconds(ticks(v)) for v in values]
    assert ticks(array).dtype == np.int64 and seconds(ticks(array)).dtype == np.float64


@given(st.integers(-(2**51), 2**51))
def test_round_trip_is_exact_up_to_2_to_51_ticks(t):
    assert ticks(seconds(t)) == t


def test_known_values():
    assert ticks(1) == ticks(1.0) == 10**12
    assert ticks(5000.5) == 5_000_500_000_000_000
    assert ticks(np.float32(0.5)) == 5 * 10**11
    assert ticks(1e-12) == 1 and ticks(0.4e-12) == 0 and ticks(-1.6e-12) == -2
    assert ticks(np.array([2, 3])).tolist() == [2 * 10**12, 3 * 10**12]
    assert isinstance(ticks(0.1), int) and isinstance(seconds(1), float)
    assert NEVER + ticks(500_000) < ticks(9.2e6) < np.iinfo(np.int64).max


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), 9.3e6, -1e300, 10**8])
def test_out_of_range_is_refused(wrong):
    with pytest.raises(ValueError, match="not within"):
        ticks(wrong)
    with pytest.raises(ValueError, match="index 1"):
        ticks(np.array([0, wrong]))
