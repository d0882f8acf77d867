"""What privacy a run with noise spends.

Gaussian noise at the server (DP-FedAvg, McMahan et al., arXiv 1710.06963) is counted by Rényi
differential privacy of the subsampled Gaussian mechanism, composed over rounds: clipped updates are
added and noise of standard deviation z times the clipping norm joins them. Clients take part

- "poisson": each with probability q by itself; neighbours differ by one client that is added or
  removed. The usual account, but few systems draw so;
- "fixed": q N of N drawn without replacement, as strategies with rounds do here; neighbours differ
  in one client that is replaced, so the sum may move by twice the clipping norm.

Laplace noise at the clients is counted by `composed`.
"""

import functools
import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

Array = npt.NDArray[Any]

ORDERS = tuple(1.0 + x / 10.0 for x in range(1, 100)) + tuple(float(x) for x in range(11, 257))
"""Rényi orders among which the best is sought."""
CONVERSIONS = ("improved", "classical")
SAMPLINGS = ("poisson", "fixed")


def rdp(q: float, noise_multiplier: float, order: float, *, sampling: str = "poisson") -> float:
    """Rényi divergence at an order that one round spends.

    "poisson": log(A) / (order - 1) with
    A = E_{x ~ N(0, z^2)} [((1 - q) + q exp((2 x - 1) / (2 z^2)))^order] (Mironov, Talwar and Zhang,
    arXiv 1908.10530, section 3): a finite sum for whole orders (section 3.3), for others the
    integral. q = 1 gives order / (2 z^2).

    "fixed": an upper bound (Wang, Balle and Kasiviswanathan, arXiv 1808.00087, theorem 9) with
    e(a) = 2 a / z^2 of the mechanism on all clients: log(1 + q^2 C(a, 2) min(4 (exp e(2) - 1),
    2 exp e(2)) + sum_{j=3}^a 2 q^j C(a, j) exp((j - 1) e(j))) / (a - 1), at most e(a). Between
    whole orders (a - 1) times it is interpolated, which is a bound too: it is convex.

    Raises InputError: q not within 0 ... 1, noise not positive, order not above 1.
    """
    _check(q, noise_multiplier, order)
    if sampling not in SAMPLINGS:
        raise InputError(f"unknown sampling {sampling!r}", mend=f"use one of {SAMPLINGS}")
    if q == 0.0:
        return 0.0
    if sampling == "fixed":
        return _fixed(q, noise_multiplier, order)
    if q == 1.0:
        return order / (2.0 * noise_multiplier**2)
    if float(order).is_integer():
        log_a = _whole_order(q, noise_multiplier, int(order))
    else:
        log_a = _broken_order(q, noise_multiplier, order)
    return max(0.0, log_a) / (order - 1.0)


def epsilon(
    q: float,
    noise_multiplier: float,
    rounds: int,
    delta: float,
    *,
    conversion: str = "improved",
    sampling: str = "poisson",
) -> tuple[float, float]:
    """(epsilon, order) of rounds at a delta: the least over `ORDERS`.

    "improved": rdp + log((a - 1) / a) - (log delta + log a) / (a - 1) (Canonne, Kamath and Steinke,
    arXiv 2004.00010, proposition 12). "classical": rdp + log(1 / delta) / (a - 1) (Mironov, arXiv
    1702.07476, proposition 3; the moments accountant of Abadi et al., arXiv 1607.00133).

    Raises InputError: as `rdp`, delta not within 0 ... 1, no rounds, an unknown conversion.
    """
    if not 0.0 < delta < 1.0 or rounds < 0:
        raise InputError(f"delta {delta}, rounds {rounds}", where="accountant")
    if conversion not in CONVERSIONS:
        raise InputError(
            f"unknown conversion {conversion!r}", mend=f"use one of {', '.join(CONVERSIONS)}"
        )
    best = (math.inf, 0.0)
    for order in ORDERS:
        spent = rounds * rdp(q, noise_multiplier, order, sampling=sampling)
        if conversion == "classical":
            found = spent - math.log(delta) / (order - 1.0)
        else:
            found = spent + math.log1p(-1.0 / order)
            found -= (math.log(delta) + math.log(order)) / (order - 1.0)
        best = min(best, (max(0.0, found), order))
    return best


def delta(
    q: float,
    noise_multiplier: float,
    rounds: int,
    target_epsilon: float,
    *,
    sampling: str = "poisson",
) -> float:
    """The least delta at an epsilon: `epsilon` turned round (improved conversion)."""
    best = 1.0
    for order in ORDERS:
        spent = rounds * rdp(q, noise_multiplier, order, sampling=sampling)
        log = (order - 1.0) * (spent - target_epsilon + math.log1p(-1.0 / order)) - math.log(order)
        best = min(best, math.exp(min(0.0, log)))
    return best


def noise_for(
    q: float, rounds: int, target_epsilon: float, delta: float, *, sampling: str = "poisson"
) -> float:
    """The least noise multiplier, 0.1 or more, that keeps rounds within epsilon (4 digits).

    Raises InputError: even a noise of 10,000 does not.
    """
    low, high = 0.1, 1e4
    if epsilon(q, high, rounds, delta, sampling=sampling)[0] > target_epsilon:
        raise InputError(
            f"no noise keeps {rounds} rounds within epsilon {target_epsilon:g}",
            mend="allow a larger epsilon or fewer rounds",
        )
    while high / low > 1.0 + 1e-4:
        middle = math.sqrt(low * high)
        if epsilon(q, middle, rounds, delta, sampling=sampling)[0] > target_epsilon:
            low = middle
        else:
            high = middle
    return high


def composed(epsilon: float, messages: int, delta: float = 0.0) -> float:
    """Epsilon of so many messages that are epsilon-private each (Laplace noise at the clients).

    k epsilon, or with a delta above 0 at most sqrt(2 k ln(1 / delta)) epsilon + k epsilon
    (exp(epsilon) - 1) (Dwork, Rothblum and Vadhan 2010, theorem III.3), whichever is less.

    Raises InputError: epsilon or messages below 0, delta not within 0 ... 1.
    """
    if epsilon < 0.0 or messages < 0 or not 0.0 <= delta < 1.0:
        raise InputError(f"epsilon {epsilon}, messages {messages}, delta {delta}", where="composed")
    basic = messages * epsilon
    if delta == 0.0 or epsilon > 1.0:
        return basic
    spread = math.sqrt(2.0 * messages * math.log(1.0 / delta)) * epsilon
    return min(basic, spread + basic * math.expm1(epsilon))


def _fixed(q: float, z: float, order: float) -> float:
    low = math.floor(order)
    below = _fixed_log(q, z, low) if low > 1 else 0.0
    share = order - low
    log = below + share * (_fixed_log(q, z, low + 1) - below) if share else below
    return min(log / (order - 1.0), 2.0 * order / z**2)


def _fixed_log(q: float, z: float, order: int) -> float:
    """The logarithm of theorem 9's bound at a whole order of 2 or more."""
    j = np.arange(2.0, order + 1.0)
    moved = (j - 1.0) * 2.0 * j / z**2
    terms = _log_choose(order)[2:] + j * math.log(q) + moved + math.log(2.0)
    first = 4.0 / z**2
    if first < math.log(2.0):  # 4 (exp e(2) - 1) is the lesser
        terms[0] += math.log(2.0 * -math.expm1(-first))
    return _log_sum(np.concatenate([[0.0], terms]))


def _check(q: float, noise_multiplier: float, order: float) -> None:
    if not 0.0 <= q <= 1.0 or not noise_multiplier > 0.0 or not order > 1.0:
        raise InputError(
            f"q {q}, noise multiplier {noise_multiplier}, order {order}",
            where="accountant",
            mend="give q from 0 to 1, noise above 0 and an order above 1",
        )


def _whole_order(q: float, z: float, order: int) -> float:
    """log sum_k C(a, k) (1 - q)^(a - k) q^k exp((k^2 - k) / (2 z^2))."""
    k = np.arange(order + 1.0)
    terms = (
        _log_choose(order)
        + k * math.log(q)
        + (order - k) * math.log1p(-q)
        + k * (k - 1) / (2 * z * z)
    )
    return _log_sum(terms)


@functools.cache
def _log_choose(n: int) -> Array:
    """float64[n + 1], log C(n, k)."""
    logs = np.array([math.lgamma(k + 1.0) for k in range(n + 1)])
    return np.asarray(logs[n] - logs - logs[::-1])


def _broken_order(q: float, z: float, order: float) -> float:
    """log A by the trapezoid rule, which is exact to rounding for an integrand that is smooth and
    falls like a Gaussian: its singularities nearest to the real line are at pi z^2 i."""
    step = min(z / 4.0, z * z / 2.0)
    x = np.arange(-13.0 * z, order + 13.0 * z, step)
    ratio = np.logaddexp(math.log1p(-q), math.log(q) + (2.0 * x - 1.0) / (2.0 * z * z))
    logs = order * ratio - x * x / (2.0 * z * z)
    return _log_sum(logs) + math.log(step / (z * math.sqrt(2.0 * math.pi)))


def _log_sum(logs: Array) -> float:
    top = float(logs.max())
    return top + math.log(float(np.exp(logs - top).sum()))
