"""Noise at clients and server, and what epsilon it spends."""

import math

import numpy as np
import pytest
from codec_case import Desk, Task, arrivals, many, off, updates
from scipy.integrate import quad
from scipy.stats import norm

from mltwin.models.federation import accountant
from mltwin.models.federation.tables import Plan
from mltwin.policies.federated.payloads import cut
from mltwin.policies.federated.privacy import Gaussian, Laplace, laplace_of
from mltwin.policies.federated.quantise import AdaptiveBits
from mltwin.sim import rng
from mltwin.sim.errors import InputError

VECTOR = rng.normals(8, rng.POLICY, 0, np.arange(10)).astype(np.float32)


def test_laplace_by_inversion_is_laplace() -> None:
    u = rng.uniforms(1, rng.POLICY, 0, np.arange(100_000))
    made = laplace_of(u - 0.5)
    expected = -np.sign(u - 0.5) * np.log1p(-2 * np.abs(u - 0.5))
    assert made == pytest.approx(expected, rel=1e-12, abs=1e-15)
    assert made.var() == pytest.approx(2.0, rel=0.03)
    assert np.isfinite(laplace_of(np.array([-0.5, 0.0, 0.5 - 2**-53]))).all()


@pytest.mark.parametrize("kind", ["l1", "each"])
def test_laplace_noise_on_a_clipped_update(kind: str) -> None:
    made = many(Laplace(epsilon=2.0, clip=0.5, norm=kind), VECTOR, 20_000)
    clipped = np.clip(VECTOR, -0.5, 0.5)
    if kind == "l1":
        clipped = VECTOR * 0.5 / np.abs(VECTOR).sum()
    assert off(made, clipped) < 4.0
    assert made.var(axis=0).mean() == pytest.approx(2 * (2 * 0.5 / 2.0) ** 2, rel=0.03)


def test_no_likelihood_ratio_of_a_message_is_above_epsilon() -> None:
    """The greatest log-ratio between two updates at opposite ends of the L1 ball is epsilon."""
    a, b = np.array([0.5, 0.0]), np.array([-0.5, 0.0])
    points = np.random.default_rng(0).normal(size=(1000, 2)) * 3
    scale = 2 * 0.5 / 2.0
    ratio = (np.abs(points - b).sum(axis=1) - np.abs(points - a).sum(axis=1)) / scale
    assert np.abs(ratio).max() <= 2.0 + 1e-12
    assert np.abs(ratio).max() > 1.99


def test_adaptive_bits_noise_comes_before_the_grid() -> None:
    desk = Desk(Task(10), Plan(versions=4))
    codec = AdaptiveBits(min_bits=16, max_bits=16, by_client=False, epsilon=2.0, clip=0.5)
    noised = many(Laplace(epsilon=2.0, clip=0.5), VECTOR, 50, desk)
    assert many(codec, VECTOR, 50, desk) == pytest.approx(noised, abs=np.ptp(noised) / 65_535)


def test_gaussian_clips_and_adds_the_noise_that_it_says() -> None:
    deltas = np.array([[3.0, 4.0], [0.3, 0.4]], np.float32)
    assert cut(deltas, 1.0) == pytest.approx(np.array([[0.6, 0.8], [0.3, 0.4]]))
    even = np.array([0.5, 0.5])
    plain = Gaussian(clip=1.0, noise_multiplier=0.0).combine(Desk(Task(2)), even, deltas)
    assert plain == pytest.approx([0.45, 0.6])
    few = Gaussian(clip=1.0, noise_multiplier=0.0, expected=4).combine(Desk(Task(2)), even, deltas)
    assert few == pytest.approx([0.225, 0.3])
    combine = Gaussian(clip=0.5, noise_multiplier=1.5)
    made = np.array([combine.combine(Desk(version=v), even, deltas) for v in range(4000)])
    assert off(made, cut(deltas, 0.5).mean(axis=0)) < 4.0
    assert made.std(axis=0) == pytest.approx(np.full(2, 1.5 * 0.5 / 2), rel=0.05)


def _by_integral(q: float, z: float, order: float) -> float:
    """The same expectation by quadrature."""

    def inside(x: float) -> float:
        ratio = (1 - q) + q * math.exp((2 * x - 1) / (2 * z * z))
        return math.exp(-x * x / (2 * z * z) + order * math.log(ratio)) / (
            z * math.sqrt(2 * math.pi)
        )

    value, _ = quad(inside, -12 * z, order + 12 * z, limit=500, points=[0.0, 0.5, order])
    return math.log(value) / (order - 1)


@pytest.mark.parametrize("q", [0.004, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("z", [0.7, 1.1, 4.0])
@pytest.mark.parametrize("order", [1.5, 2.0, 3.7, 8.0, 9.3, 16.0])
def test_rdp_is_the_integral(q: float, z: float, order: float) -> None:
    assert accountant.rdp(q, z, order) == pytest.approx(_by_integral(q, z, order), rel=1e-6)


def test_rdp_at_the_ends() -> None:
    assert accountant.rdp(0.0, 1.0, 2.0) == 0.0
    assert accountant.rdp(1.0, 2.0, 8.0) == 1.0
    assert accountant.rdp(1 - 1e-9, 2.0, 8.0) == pytest.approx(1.0, rel=1e-6)


def test_moments_accountant_of_abadi() -> None:
    """arXiv 1607.00133, section 3.1: q 0.01, sigma 4, delta 1e-5, 10,000 steps: epsilon 1.26."""
    spent, _ = accountant.epsilon(0.01, 4.0, 10_000, 1e-5, conversion="classical")
    assert spent == pytest.approx(1.26, abs=0.006)
    assert accountant.epsilon(0.01, 4.0, 10_000, 1e-5)[0] < spent


def test_rdp_of_another_library() -> None:
    """TensorFlow Privacy's test of its accountant: q 0.1, noise 2, 10 steps, order 5."""
    assert 10 * accountant.rdp(0.1, 2.0, 5.0) == pytest.approx(0.07737, abs=5e-6)


@pytest.mark.parametrize("target", [1.0, 3.0, 5.0])
def test_bound_is_above_the_exact_privacy_of_a_gaussian(target: float) -> None:
    """All take part: m rounds are one Gaussian of noise z / sqrt(m), whose delta is known (Balle
    and Wang, arXiv 1805.06530, theorem 8). RDP may only be looser, and not by much."""
    z, rounds = 10.0, 100
    mu = math.sqrt(rounds) / z
    exact = norm.cdf(-target / mu + mu / 2) - math.exp(target) * norm.cdf(-target / mu - mu / 2)
    bound = accountant.delta(1.0, z, rounds, target)
    assert exact <= bound <= 8.0 * exact
    assert accountant.epsilon(1.0, z, rounds, bound)[0] == pytest.approx(target, rel=1e-9)


@pytest.mark.parametrize("q", [0.01, 0.2, 0.7])
@pytest.mark.parametrize("z", [1.0, 4.0, 12.0])
@pytest.mark.parametrize("order", [1.5, 2.0, 5.0, 9.5])
def test_account_of_a_fixed_number_is_above_a_pair_of_neighbours(
    q: float, z: float, order: float
) -> None:
    """The replaced client's update is at opposite ends of the ball: mixtures about +1 and -1."""
    x = np.linspace(-20 * z - order, 20 * z + order, 60_001)
    up, rest, down = (-((x - m) ** 2) / (2 * z * z) for m in (1.0, 0.0, -1.0))
    p = np.logaddexp(math.log1p(-q) + rest, math.log(q) + up)
    r = np.logaddexp(math.log1p(-q) + rest, math.log(q) + down)
    total = np.exp(order * p + (1 - order) * r).sum() * (x[1] - x[0])
    pair = math.log(total / (z * math.sqrt(2 * math.pi))) / (order - 1)
    bound = accountant.rdp(q, z, order, sampling="fixed")
    assert pair <= bound <= 2 * order / z**2
    assert bound >= accountant.rdp(q, z, order)


def test_account_of_a_fixed_number_by_hand() -> None:
    """Order 2: log(1 + q^2 min(4 (e^e(2) - 1), 2 e^e(2))), e(2) = 4 / z^2."""
    for q, z in ((0.1, 8.0), (0.1, 1.2)):
        e = math.exp(4 / z**2)
        expected = math.log1p(q * q * min(4 * (e - 1), 2 * e))
        assert accountant.rdp(q, z, 2.0, sampling="fixed") == pytest.approx(expected)
    assert accountant.rdp(1.0, 5.0, 3.0, sampling="fixed") <= 6 / 25
    fixed = accountant.epsilon(0.01, 4.0, 1000, 1e-5, sampling="fixed")[0]
    assert fixed > accountant.epsilon(0.01, 4.0, 1000, 1e-5)[0]


def test_messages_of_one_client_compose() -> None:
    assert accountant.composed(0.5, 10) == 5.0
    many = accountant.composed(0.01, 10_000, 1e-6)
    assert many == pytest.approx(math.sqrt(2e4 * math.log(1e6)) * 0.01 + 100 * math.expm1(0.01))
    assert accountant.composed(2.0, 3, 1e-6) == 6.0


def test_noise_for_a_budget_keeps_it() -> None:
    noise = accountant.noise_for(0.05, 200, 2.0, 1e-5)
    assert accountant.epsilon(0.05, noise, 200, 1e-5)[0] <= 2.0
    assert accountant.epsilon(0.05, noise * 0.999, 200, 1e-5)[0] > 2.0


def test_impossible_accounts_are_refused() -> None:
    with pytest.raises(InputError, match="noise multiplier 0"):
        accountant.rdp(0.1, 0.0, 2.0)
    with pytest.raises(InputError, match="delta 2"):
        accountant.epsilon(0.1, 1.0, 10, 2.0)
    with pytest.raises(InputError, match="norm is"):
        Laplace(norm="l3")


def test_arrival_order_does_not_change_the_noise() -> None:
    desk = Desk(Task(10))
    both = Laplace().apply(desk, arrivals([4, 7], [3, 1]), updates([VECTOR, VECTOR])).delta
    swapped = Laplace().apply(desk, arrivals([7, 4], [1, 3]), updates([VECTOR, VECTOR])).delta
    assert (both == swapped[::-1]).all()
