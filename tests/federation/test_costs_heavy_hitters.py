"""Frequency oracles: unbiased, of the variance in closed form, private, and good enough to rank."""

import math

import numpy as np
import pytest

from mltwin.models.federation.heavy_hitters import (
    ORACLES,
    Oracle,
    _responded,
    precision_at,
    precision_by_epsilon,
    prefixes,
    top_values,
)
from mltwin.sim import rng
from mltwin.sim.errors import InputError


def _zipf(clients: int, domain: int, seed: int = 3, power: float = 1.2) -> np.ndarray:
    weights = np.arange(1, domain + 1.0) ** -power
    draws = rng.uniforms(seed, rng.POLICY, np.arange(clients))
    ranks = np.searchsorted(np.cumsum(weights / weights.sum()), draws)
    return (ranks * 37 % domain).astype(np.int64)


@pytest.mark.parametrize("name", ORACLES)
@pytest.mark.parametrize("epsilon", [0.5, 1.0, 3.0])
def test_estimates_are_unbiased_with_the_variance_in_closed_form(name: str, epsilon: float) -> None:
    oracle = Oracle(name, epsilon, 16)
    held = np.repeat([0, 1, 2], [300, 150, 50])
    runs = np.array([oracle.estimate(held, seed) for seed in range(600)])
    true = np.bincount(held, minlength=16) / 500
    expected = np.array([oracle.variance(500, f) for f in true])
    assert (np.abs(runs.mean(axis=0) - true) < 4.5 * np.sqrt(expected / 600)).all()
    assert (runs.var(axis=0) / expected).mean() == pytest.approx(1.0, abs=0.06)
    assert runs.var(axis=0)[0] == pytest.approx(expected[0], rel=0.25)


def test_variances_of_the_paper() -> None:
    e = math.exp(1.0)
    assert Oracle("krr", 1.0, 100).variance(7) == pytest.approx((98 + e) / (7 * (e - 1) ** 2))
    assert Oracle("oue", 1.0, 100).variance(7) == pytest.approx(4 * e / (7 * (e - 1) ** 2))
    whole = math.log(4.0)  # e^epsilon + 1 is whole, so the best g is reached
    assert Oracle("olh", whole, 100).hashed == 5
    assert Oracle("olh", whole, 9).variance(7) == pytest.approx(Oracle("oue", whole, 9).variance(7))


def test_randomised_response_is_over_a_few_values_best() -> None:
    """k-RR beats OUE where k < 3 e^epsilon + 2."""
    limit = 3 * math.e + 2
    for domain in (4, 8, 11, 20):
        less = Oracle("krr", 1.0, domain).variance(1) < Oracle("oue", 1.0, domain).variance(1)
        assert less == (domain < limit)


@pytest.mark.parametrize("name", ORACLES)
def test_no_report_tells_more_than_epsilon(name: str) -> None:
    """The worst ratio of chances of a report under two values; for olh of a fixed hash."""
    oracle = Oracle(name, 1.5, 6)
    p, q = oracle.chances
    if name == "oue":
        ratio = p / q * (1 - q) / (1 - p)
    else:
        ratio = p * (oracle.hashed - 1) / (1 - p)
    assert ratio == pytest.approx(math.exp(1.5))


def test_responses_have_their_chances() -> None:
    sent = _responded(np.full(60_000, 2), np.arange(60_000), 5, 0.4, 1)
    shares = np.bincount(sent, minlength=5) / 60_000
    assert shares == pytest.approx([0.15, 0.15, 0.4, 0.15, 0.15], abs=0.008)


def test_a_report_of_one_client_does_not_depend_on_the_others() -> None:
    held = _zipf(50, 16)
    for name in ORACLES:
        oracle = Oracle(name, 1.0, 16)
        whole = oracle.estimate(held, 4) * 50
        first = oracle.estimate(held[:49], 4) * 49
        p, q = oracle.chances
        one = (whole - first) * (p - q) + q
        assert np.isclose(one, np.round(one)).all()
        assert set(np.round(one)) <= {0.0, 1.0}


def test_bytes_of_reports() -> None:
    assert Oracle("krr", 1.0, 1 << 16).report_bytes == 2
    assert Oracle("oue", 1.0, 1 << 16).report_bytes == 8192
    assert Oracle("olh", 1.0, 1 << 16).report_bytes == 5


def test_top_values_of_plenty_are_found() -> None:
    held = _zipf(20_000, 64)
    found = top_values(held, Oracle("oue", 3.0, 64), 5, 1)
    assert precision_at(found.values, held, 5) == 1.0
    assert (np.diff(found.frequencies) <= 0).all()


def test_prefixes_find_heavy_hitters_of_a_domain_that_cannot_be_listed() -> None:
    heavy = np.array([0x1F2E3D4C, 0x00C0FFEE, 0x7FFFFFFF, 0x12345678])
    draws = rng.integers(5, rng.POLICY, np.arange(60_000), 1 << 31)
    held = draws.copy()
    for i, value in enumerate(heavy):
        held[i * 7000 : (i + 1) * 7000] = value
    found = prefixes(held, 31, 4.0, 4, seed=2)
    assert set(found.values) == set(heavy)
    assert found.frequencies == pytest.approx(np.full(4, 7 / 60), abs=0.03)
    assert found.report_bytes == 5.0


def test_precision_rises_with_epsilon_and_prefixes_cost_little() -> None:
    held = _zipf(10_000, 256)
    rows = precision_by_epsilon(held, 8, [0.2, 4.0], top=8)
    by = {(row.oracle, row.epsilon): row for row in rows}
    assert len(rows) == 8
    for name in (*ORACLES, "prefixes"):
        assert by[name, 4.0].precision >= by[name, 0.2].precision
    assert by["oue", 4.0].precision >= 0.75 > by["oue", 0.2].precision
    assert by["oue", 4.0].report_bytes == 32.0 > by["prefixes", 4.0].report_bytes


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(InputError, match="epsilon 0"):
        Oracle("krr", 0.0, 4)
    with pytest.raises(InputError, match=r"values must be within 0 \.\.\. 3"):
        Oracle("krr", 1.0, 4).estimate(np.array([4]), 0)
    with pytest.raises(InputError, match="multiple of step_bits"):
        prefixes(_zipf(100, 16), 8, 1.0, 2, 0, first_bits=3, step_bits=4)
