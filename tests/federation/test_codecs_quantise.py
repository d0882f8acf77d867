"""Quantisers: unbiased, of the variance that is promised, and paid for honestly."""

import numpy as np
import pytest
from codec_case import Desk, Task, arrivals, many, off, updates

from mltwin.models.federation.learning.tables import Examples
from mltwin.models.federation.tables import Plan
from mltwin.policies.federated.payloads import counters, uniforms
from mltwin.policies.federated.quantise import (
    AdaptiveBits,
    Qsgd,
    Uniform,
    cosine_bits,
    label_variety,
)
from mltwin.policies.federated.registry import make
from mltwin.sim import rng
from mltwin.sim.errors import InputError

VECTOR = rng.normals(5, rng.POLICY, 0, np.arange(40)).astype(np.float32)


def test_draws_are_those_of_the_house() -> None:
    clients, dispatches = np.array([3, 9]), np.array([2, 0])
    numbered = counters(dispatches, 1, 5)
    expected = rng.uniforms(7, rng.PRIVACY, clients[:, None], numbered)
    assert (uniforms(7, clients, numbered) == expected).all()
    assert len(np.unique(np.concatenate([counters(dispatches, k, 5) for k in range(4)]))) == 40


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_uniform_quantiser_is_unbiased_with_its_variance(bits: int) -> None:
    made = many(Uniform(bits), VECTOR, 4000)
    assert off(made, VECTOR) < 4.0
    low, step = VECTOR.min(), np.ptp(VECTOR) / (2**bits - 1)
    fraction = np.modf((VECTOR - low) / step)[0]
    variance = step**2 * fraction * (1 - fraction)
    assert made.var(axis=0).sum() == pytest.approx(variance.sum(), rel=0.03)


def test_mean_squared_error_is_a_sixth_of_the_step_squared() -> None:
    """Over values spread evenly in their cells: step^2 / 6 (research: 1.852e-2 with 2 bits)."""
    evenly = np.linspace(0.0, 1.0, 30_001, dtype=np.float32)
    made = many(Uniform(2), evenly, 20)
    assert ((made - evenly) ** 2).mean() == pytest.approx((1 / 3) ** 2 / 6, rel=5e-3)


def test_uniform_quantiser_keeps_its_ends_and_constants() -> None:
    made = many(Uniform(3), VECTOR, 5)
    assert len(np.unique(made)) <= 8
    assert (made.min(axis=1) == VECTOR.min()).all() and (made.max(axis=1) == VECTOR.max()).all()
    assert (many(Uniform(3), np.full(6, 0.25), 3) == 0.25).all()


@pytest.mark.parametrize("levels", [1, 4, 15])
def test_qsgd_is_unbiased_within_its_bound(levels: int) -> None:
    made = many(Qsgd(levels), VECTOR, 4000)
    assert off(made, VECTOR) < 4.0
    norm2 = float((VECTOR.astype(float) ** 2).sum())
    fraction = np.modf(np.abs(VECTOR) / np.sqrt(norm2) * levels)[0]
    exact = norm2 / levels**2 * (fraction * (1 - fraction)).sum()
    got = ((made - VECTOR) ** 2).sum(axis=1).mean()
    assert got == pytest.approx(exact, rel=0.03)
    assert exact <= min(40 / levels**2, np.sqrt(40) / levels) * norm2
    assert (many(Qsgd(3), np.zeros(4), 2) == 0).all()


def test_bytes_of_quantisers() -> None:
    desk, clients = Desk(Task(610)), np.arange(3)
    assert make("codec", {"name": "uniform", "bits": 4}).up_bytes(desk, clients).tolist() == (
        [305.0 + 8.0] * 3
    )
    assert Qsgd(1).up_bytes(desk, clients)[0] == np.ceil(np.ceil(610 * np.log2(3)) / 8) + 4
    larger = Desk(Task(610), Plan(model_bytes=4e6))
    assert Uniform(8).up_bytes(larger, clients)[0] == 1e6 + 8
    assert Uniform(8).down_bytes(desk, clients, 2440.0).tolist() == [2440.0] * 3
    with pytest.raises(InputError, match=r"plan.model_bytes: the size of an update is not known"):
        Uniform(8).up_bytes(Desk(), clients)


def test_cosine_bits_have_the_mean_of_their_ends() -> None:
    rounds = np.arange(101)
    falling = cosine_bits(8, 24, rounds, 100)
    assert falling[0] == 24 and falling[-1] == 8 and falling[50] == pytest.approx(16)
    assert falling.mean() == pytest.approx(16.0)
    assert (np.diff(falling) < 0).all()
    assert cosine_bits(8, 24, rounds, 100, rising=True) == pytest.approx(falling[::-1])


def _examples() -> Examples:
    """Client 0 has one class, client 1 two evenly, client 2 all four."""
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 0, 1, 2, 3])
    x = np.zeros((12, 2))
    return Examples.make(x, labels, [0, 4, 8, 12], np.arange(12), x[:1], labels[:1], classes=4)


def test_clients_of_little_variety_send_fewer_bits() -> None:
    desk = Desk(Task(100, _examples()), Plan(versions=10))
    assert label_variety(desk) == pytest.approx([0.0, 0.5, 1.0])
    codec = AdaptiveBits(min_bits=4, max_bits=16)
    assert codec.up_bytes(desk, np.arange(3)).tolist() == [50 + 8.0, 125 + 8.0, 200 + 8.0]
    desk.version = 10
    assert codec.up_bytes(desk, np.arange(3)).tolist() == [58.0, 58.0, 58.0]
    rows = np.tile(VECTOR, (3, 1))
    sent = codec.apply(desk, arrivals([0, 1, 2], held=0), updates(rows)).delta
    error = np.abs(sent - rows).max(axis=1) / np.ptp(VECTOR)
    assert error[0] > 1 / 100 > error[1] > error[2] > 0
    assert [len(np.unique(row)) <= 16 for row in sent] == [True, False, False]


def test_adaptive_bits_ask_for_what_they_need() -> None:
    with pytest.raises(InputError, match="the cosine has no end"):
        AdaptiveBits().up_bytes(Desk(Task(10, _examples())), np.arange(2))
    with pytest.raises(InputError, match="no labelled examples; set by_client = false"):
        AdaptiveBits(rounds=5).up_bytes(Desk(Task(10)), np.arange(2))
    with pytest.raises(InputError, match="min_bits"):
        make("codec", {"name": "adaptive_bits", "min_bits": 9, "max_bits": 8})


def test_published_saving_is_in_reach_of_the_schedule() -> None:
    """The saving over 32 bits is 1 - mean(b) / 32: 52.64 % asks for a mean of 15.2 bits."""
    mean = cosine_bits(8, 24, np.arange(100), 99).mean()
    assert 1 - mean / 32 == pytest.approx(0.5, abs=1e-12)
