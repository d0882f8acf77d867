"""Keyed random numbers: known answers, equal bits everywhere, and quality beside Philox."""

import math
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.sim import rng, rng_arrays
from mltwin.sim.jit import JIT_DISABLED, kernel

MASK = 2**64 - 1
KEYS = st.integers(0, 2**63 - 1)


def splitmix64(state):
    """SplitMix64 as published (Steele, Lea and Flood 2014), in plain integers."""
    while True:
        state = (state + 0x9E3779B97F4A7C15) & MASK
        z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        yield z ^ (z >> 31)


def nth(state, n):
    """Output n of SplitMix64 from state, by jumping there."""
    return next(splitmix64((state + n * 0x9E3779B97F4A7C15) & MASK))


def philox4x32(counter, key, rounds=10):
    """Philox4x32 (Salmon et al., SC 2011): four uint32 arrays of random bits."""
    c = [np.asarray(word, np.uint64) for word in counter]
    k0, k1 = (np.uint64(word) for word in key)
    low = np.uint64(0xFFFFFFFF)
    for _ in range(rounds):
        a, b = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(b >> np.uint64(32)) ^ c[1] ^ k0, b & low, (a >> np.uint64(32)) ^ c[3] ^ k1, a & low]
        k0, k1 = (k0 + np.uint64(0x9E3779B9)) & low, (k1 + np.uint64(0xBB67AE85)) & low
    return c


def test_splitmix64_published_vector():
    outputs = splitmix64(1234567)
    assert [next(outputs) for _ in range(5)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]


@pytest.mark.parametrize(
    ("counter", "key", "expected"),
    [
        ((0,) * 4, (0,) * 2, (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
        (
            (0xFFFFFFFF,) * 4,
            (0xFFFFFFFF,) * 2,
            (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD),
        ),
        (
            (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
            (0xA4093822, 0x299F31D0),
            (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
        ),
    ],
)
def test_philox_published_vectors(counter, key, expected):
    words = philox4x32([np.array([word]) for word in counter], key)
    assert tuple(int(word[0]) for word in words) == expected


@settings(max_examples=200, deadline=None)
@given(KEYS, st.integers(0, 1000), KEYS, KEYS)
def test_bits_are_nested_splitmix64(seed, stream, entity, counter):
    expected = nth(nth(nth(nth(0, seed), stream), entity), counter)
    assert int(rng.keyed_bits(seed, stream, entity, counter)) == expected
    assert int(rng.bits(seed, stream, entity, counter)) == expected


def test_draws_of_an_entity_are_a_splitmix64_sequence():
    state = nth(nth(nth(0, 42), rng.ARRIVALS), 7)
    sequence = splitmix64(state)
    drawn = rng.bits(42, rng.ARRIVALS, 7, np.arange(50)).tolist()
    assert drawn == [next(sequence) for _ in range(50)]


@kernel()
def fill(out, seed, stream, counter):
    for i in range(out.shape[1]):
        out[0, i] = rng.keyed_uniform(seed, stream, i, counter)
        out[1, i] = rng.keyed_exponential(seed, stream, i, counter)
        out[2, i] = rng.keyed_normal(seed, stream, i, counter)
        out[3, i] = rng.keyed_below(seed, stream, i, counter, 10)


@pytest.mark.parametrize("stream", [rng.ARRIVALS, rng.SERVICE])
def test_arrays_equal_scalars_in_kernels_bit_for_bit(stream):
    n = 1_000 if JIT_DISABLED else 100_000
    out = np.zeros((4, n))
    fill(out, 2024, stream, 3)
    entities = np.arange(n)
    assert np.array_equal(out[0], rng.uniforms(2024, stream, entities, 3))
    assert np.array_equal(out[1], rng.exponentials(2024, stream, entities, 3))
    assert np.array_equal(out[2], rng.normals(2024, stream, entities, 3))
    assert np.array_equal(out[3], rng.integers(2024, stream, entities, 10, 3))


@settings(max_examples=100, deadline=None)
@given(KEYS, KEYS, st.integers(0, 2**40))
def test_arrays_equal_scalars_called_from_python(seed, entity, counter):
    for scalar, array in (
        (rng.keyed_uniform, rng.uniforms),
        (rng.keyed_exponential, rng.exponentials),
        (rng.keyed_normal, rng.normals),
    ):
        assert scalar(seed, rng.LENGTHS, entity, counter) == array(
            seed, rng.LENGTHS, entity, counter
        )


def test_frozen_draws():
    """A change here changes every simulation ever stored; never adjust it lightly."""
    assert rng.bits(0, 0, 0).tolist() == nth(nth(nth(nth(0, 0), 0), 0), 0)
    assert float(rng.uniforms(1, rng.ARRIVALS, 5, 2)).hex() == "0x1.824c6f72b9962p-1"
    assert float(rng.exponentials(1, rng.ARRIVALS, 5, 2)).hex() == "0x1.2079a561df421p-2"
    assert float(rng.normals(1, rng.ARRIVALS, 5, 2)).hex() == "0x1.609b6382d3d9fp-1"


def test_broadcasting_and_bad_keys():
    grid = rng.uniforms(1, rng.ARRIVALS, np.arange(3)[:, None], np.arange(4))
    assert grid.shape == (3, 4) and grid[2, 3] == rng.uniforms(1, rng.ARRIVALS, 2, 3)
    assert rng.uniforms(1, rng.ARRIVALS, 0).shape == ()
    for key in ((-1, 0, 0), (0, 0, [-1]), (0, 0, 0.5)):
        with pytest.raises(ValueError, match="must"):
            rng.bits(*key)


def test_extreme_bits_give_finite_numbers():
    extremes = np.array([0, 1, 2**11, 2**12, 2**63, MASK - 2**12, MASK], np.uint64)
    closed, opened = rng_arrays.uniform_of(extremes), rng_arrays.open_uniform_of(extremes)
    assert closed[0] == 0.0 and closed[-1] == 1 - 2.0**-53
    assert opened[0] == 2.0**-53 and opened[-1] == 1 - 2.0**-53
    fraction, exponent = np.frexp(opened)
    logs = rng_arrays._log_array(fraction, exponent)
    assert logs[0] == pytest.approx(-53 * math.log(2), rel=1e-15)
    assert logs[-1] == pytest.approx(math.log1p(-(2.0**-53)), rel=1e-12)


def test_logarithm_is_within_two_units_in_the_last_place():
    u = np.concatenate(
        [
            rng.uniforms(5, 0, np.arange(50_000)) + 2.0**-54,
            2.0 ** -np.arange(1, 54),
            1 - np.arange(1, 1000) * 2.0**-53,
            np.nextafter(math.sqrt(0.5), [0, 1]),
        ]
    )
    ours = rng_arrays._log_array(*np.frexp(u))
    exact = np.array([math.log(v) for v in u])
    assert np.max(np.abs(ours - exact) / np.spacing(np.abs(exact))) <= 2.0


def test_normals_are_the_inverse_distribution_function():
    key = (9, rng.LENGTHS, np.arange(20_000))
    u = rng_arrays.open_uniform_of(rng.bits(*key))
    exact = np.array([NormalDist().inv_cdf(v) for v in u])
    assert np.max(np.abs(rng.normals(*key) - exact) / np.abs(exact)) < 2e-15
    assert np.all(np.diff(rng.normals(*key)[np.argsort(u)]) >= 0)


# --- quality -----------------------------------------------------------------------------------

N = 2**17


def ours_by_entity():
    return rng.bits(1, rng.ARRIVALS, np.arange(N))


def ours_by_counter():
    return rng.bits(1, rng.ARRIVALS, 3, np.arange(N))


def ours_by_stream():
    return rng.bits(1, np.arange(N), 3)


def ours_by_seed():
    return rng.bits(np.arange(N), rng.ARRIVALS, 3)


def ours_strided():
    return rng.bits(1, rng.ARRIVALS, np.arange(N) * 2**32)


def ours_first_two_counters():
    return rng.bits(1, rng.ARRIVALS, np.arange(N // 2)[:, None], np.arange(2)).reshape(-1)


def philox():
    zeros = np.zeros(N, np.uint64)
    words = philox4x32([np.arange(N, dtype=np.uint64), zeros, zeros, zeros], (7, 9))
    return words[0] << np.uint64(32) | words[1]


def unmixed():
    return np.arange(N, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)


def p_values(x):
    """p-values of simple tests of N 64-bit words in their order."""
    from scipy.stats import chi2, norm

    def of_counts(counts):
        expected = counts.sum() / counts.size
        return chi2.sf(np.sum((counts - expected) ** 2) / expected, counts.size - 1)

    def of_balance(bit_rows):
        """Each row: zeros and ones that should be even; the row farthest out, all counted."""
        z = (bit_rows.mean(axis=1) - 0.5) * 2 * math.sqrt(bit_rows.shape[1])
        return min(1.0, 2 * norm.sf(np.max(np.abs(z))) * len(z))

    def bit_rows(words):
        return np.stack([(words >> np.uint64(b)) & np.uint64(1) for b in range(64)])

    u = rng_arrays.uniform_of(x)
    lag = [math.sqrt(N) * np.mean((u[k:] - 0.5) * (u[:-k] - 0.5)) * 12 for k in (1, 2, 3, 7, 64)]
    pairs = np.floor(u[0::2] * 64).astype(int) * 64 + np.floor(u[1::2] * 64).astype(int)
    low = (x & np.uint64(0xFFF)).astype(int)
    return {
        "top 12 bits": of_counts(np.bincount(np.floor(u * 4096).astype(int), minlength=4096)),
        "low 12 bits": of_counts(np.bincount(low, minlength=4096)),
        "pairs": of_counts(np.bincount(pairs, minlength=4096)),
        "each bit": of_balance(bit_rows(x)),
        "bits of neighbours": of_balance(bit_rows(x[1:] ^ x[:-1])),
        "top against low": of_balance(bit_rows(x ^ (x >> np.uint64(32)))[:32]),
        "lags": min(1.0, 2 * norm.sf(np.max(np.abs(lag))) * len(lag)),
        "runs": 2
        * norm.sf(abs(np.count_nonzero(np.diff(u > 0.5)) - (N - 1) / 2) / math.sqrt((N - 1) / 4)),
    }


@pytest.mark.parametrize(
    "source",
    [
        ours_by_entity,
        ours_by_counter,
        ours_by_stream,
        ours_by_seed,
        ours_strided,
        ours_first_two_counters,
        philox,
    ],
)
def test_quality(source):
    """48 p-values of ours and 8 of the reference, each above 1e-4."""
    for name, p in p_values(source()).items():
        assert p > 1e-4, (name, p)


def test_quality_tests_find_a_bad_generator():
    assert sum(p < 1e-6 for p in p_values(unmixed()).values()) >= 3


def test_streams_entities_counters_and_seeds_are_uncorrelated():
    base = rng.normals(1, rng.ARRIVALS, np.arange(N))
    others = [
        rng.normals(1, rng.LENGTHS, np.arange(N)),
        rng.normals(1, rng.ARRIVALS, np.arange(N), 1),
        rng.normals(1, rng.ARRIVALS, np.arange(N) + 1),
        rng.normals(2, rng.ARRIVALS, np.arange(N)),
        rng.normals(rng.ARRIVALS, 1, np.arange(N), 1),
    ]
    for other in others:
        assert abs(np.corrcoef(base, other)[0, 1]) < 4 / math.sqrt(N)


def test_no_two_keys_of_a_small_grid_collide():
    grid = np.stack(
        [rng.bits(seed, stream, np.arange(200)[:, None], np.arange(20))
         for seed in range(5) for stream in range(10)]
    )  # fmt: skip
    assert len(np.unique(grid)) == grid.size


@pytest.mark.parametrize(
    ("draw", "distribution"),
    [(rng.uniforms, "uniform"), (rng.exponentials, "expon"), (rng.normals, "norm")],
)
def test_distributions(draw, distribution):
    from scipy.stats import kstest

    assert kstest(draw(3, rng.SERVICE, np.arange(N)), distribution).pvalue > 1e-3
