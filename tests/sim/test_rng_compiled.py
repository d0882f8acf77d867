"""Draws for a few keys are those of arrays; kernels may be called without a look at types."""

import numpy as np
import pytest
from numba import float64, int64

from mltwin.sim import rng_arrays, rng_compiled
from mltwin.sim.jit import JIT_DISABLED, entry, kernel


@pytest.mark.parametrize("count", [0, 1, 1000])
@pytest.mark.parametrize("name", ["uniforms", "exponentials"])
def test_few_draws_are_those_of_arrays(name: str, count: int) -> None:
    entities = np.arange(count, dtype=np.int32) * 7
    counters = np.arange(count)[::-1]
    few = getattr(rng_compiled, name)(5, rng_arrays.THINK, entities, counters)
    assert np.array_equal(few, getattr(rng_arrays, name)(5, rng_arrays.THINK, entities, counters))


@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
def test_keys_must_be_pairs() -> None:
    with pytest.raises(ValueError, match="2 counters for 3 entities"):
        rng_compiled.uniforms(1, rng_arrays.THINK, np.arange(3), np.arange(2))


@pytest.mark.skipif(JIT_DISABLED, reason="nothing is compiled")
def test_an_entry_is_the_kernel() -> None:
    @kernel(float64(float64[::1], int64))
    def scaled(values, factor):
        total = 0.0
        for value in values:
            total += value
        return total * factor

    code = entry(scaled)
    assert code(np.arange(4.0), 2) == scaled(np.arange(4.0), 2) == 12.0
