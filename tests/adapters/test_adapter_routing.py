"""Routing: the kernel equals its plain twin bit for bit, and the algebra is right."""

from itertools import combinations

import numpy as np
import pytest

from mltwin.models.adapters.bandit import simulate_routing
from mltwin.models.adapters.contexts import (
    Topics,
    draw_adapters,
    draw_contexts,
    expected_rewards,
    first_residents,
    reward_noise,
    zipf_draws,
)
from mltwin.models.adapters.learning import route_reference
from mltwin.models.adapters.routing_tables import (
    CONTROLLERS,
    LFU,
    LRU,
    ORACLE,
    POLAR,
    POLAR_PLUS,
    STATIC,
    RoutingInput,
    best_set,
    best_utility,
    set_value,
)
from mltwin.sim.errors import InputError


def case(
    seed: int, rounds: int = 300, adapters: int = 6, capacity: int = 2, **changes
) -> RoutingInput:
    """Requests of a small synthetic world."""
    law = Topics(dimension=4, topics=5, persistence=0.3)
    contexts, _ = draw_contexts(law, rounds, seed)
    means = expected_rewards(contexts, draw_adapters(law, adapters, seed))
    values = {
        "contexts": contexts,
        "means": means,
        "rewards": means + reward_noise(rounds, adapters, 0.1, seed),
        "cost": 0.05 + 0.1 * np.arange(adapters) / adapters,
        "capacity": capacity,
        "start": first_residents(adapters, capacity, seed),
        "epoch": 20,
    }
    return RoutingInput(**{**values, **changes})


@pytest.mark.parametrize("controller", range(len(CONTROLLERS)), ids=CONTROLLERS)
@pytest.mark.parametrize("aware", [True, False])
def test_kernel_equals_twin_bit_for_bit(controller: int, aware: bool) -> None:
    for seed in range(6):
        given = case(seed, controller=controller, aware=aware, window=37)
        left, right = simulate_routing(given), route_reference(given)
        for name in ("chosen", "paid", "theta", "inverse", "resident"):
            np.testing.assert_array_equal(getattr(left, name), getattr(right, name), name)
        assert left.totals == right.totals


def test_sherman_morrison_equals_solving() -> None:
    given = case(1, rounds=400, controller=LRU)
    out = simulate_routing(given)
    for a in range(6):
        mine = out.chosen == a
        x, r = given.contexts[mine], given.rewards[mine, a]
        moments = np.eye(4) + x.T @ x
        np.testing.assert_allclose(out.inverse[a], np.linalg.inv(moments), atol=1e-10)
        np.testing.assert_allclose(out.theta[a], np.linalg.solve(moments, x.T @ r), atol=1e-10)


def test_every_request_is_a_hit_or_paged_and_nothing_else_is_paid() -> None:
    for controller in range(len(CONTROLLERS)):
        given = case(3, controller=controller)
        out = simulate_routing(given)
        assert out.totals["hits"] + out.totals["pagings"] == 300
        assert len(out.resident) == 2
        if controller in (STATIC, ORACLE):
            assert out.resident.tolist() == given.start.tolist() and not out.totals["swaps"]
        if controller in (LRU, LFU):
            assert out.totals["swaps"] == out.totals["pagings"]
        if controller not in (POLAR, POLAR_PLUS):
            paged = out.paid > 0
            assert paged.sum() == out.totals["pagings"]
            np.testing.assert_array_equal(out.paid[paged], given.cost[out.chosen[paged]])


def test_without_costs_the_cache_does_not_matter() -> None:
    free = np.zeros(6)
    runs = [simulate_routing(case(5, cost=free, controller=c)) for c in (POLAR, LRU, STATIC)]
    for other in runs[1:]:
        np.testing.assert_array_equal(runs[0].chosen, other.chosen)
    assert not any(run.paid.any() for run in runs)


def test_the_oracle_is_not_beaten() -> None:
    given = case(9, rounds=2000)
    held = best_set(given.means, given.cost, 2)
    bound = best_utility(given.means, given.cost, held)
    oracle = simulate_routing(case(9, rounds=2000, controller=ORACLE, start=held))
    np.testing.assert_allclose(oracle.utility(given), bound, atol=1e-12)
    for controller in (POLAR, POLAR_PLUS, LRU, LFU, STATIC):
        out = simulate_routing(case(9, rounds=2000, controller=controller))
        assert out.utility(given).sum() < bound.sum()


def test_best_set_is_best() -> None:
    """Greedy with exchanges against all sets, on random worlds."""
    agree = 0
    for seed in range(20):
        given = case(seed, rounds=200, adapters=8)
        every = [set_value(given.means, given.cost, s) for s in combinations(range(8), 3)]
        assert set_value(given.means, given.cost, best_set(given.means, given.cost, 3)) == max(
            every
        )
        found = set_value(given.means, given.cost, best_set(given.means, given.cost, 3, most=0))
        assert found >= 0.98 * max(every)
        agree += found == max(every)
    assert agree >= 18


def test_polar_plus_explores_in_turn_at_the_start_of_an_epoch() -> None:
    given = case(2, controller=POLAR_PLUS, epoch=25, exploration=2.0, rounds=200)
    out = simulate_routing(given)
    assert out.chosen[:10].tolist() == [0, 1, 2, 3, 4, 5, 0, 1, 2, 3]
    # The second epoch has 50 requests, of which ceil(2 sqrt(50)) = 15 are forced.
    assert out.chosen[25:40].tolist() == [(4 + i) % 6 for i in range(15)]
    assert out.totals["epochs"] == 3  # ended after 25, 75 and 175 requests


def test_a_longer_run_begins_as_the_shorter() -> None:
    long, short = draw_contexts(Topics(), 500, 4)[0], draw_contexts(Topics(), 100, 4)[0]
    np.testing.assert_array_equal(long[:100], short)
    np.testing.assert_allclose((long**2).sum(axis=1), 1.0)


def test_popularity_follows_zipf_and_persists() -> None:
    drawn = zipf_draws(0, 200_000, 4, 1.0, persistence=0.5)
    share = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(share, np.array([12, 6, 4, 3]) / 25, atol=0.01)
    repeats = (drawn[1:] == drawn[:-1]).mean()
    assert repeats == pytest.approx(
        0.5 + 0.5 * ((np.array([12, 6, 4, 3]) / 25) ** 2).sum(), abs=0.01
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"capacity": 7}, "7 of 6 adapters"),
        ({"cost": np.ones(2)}, "needs a cost"),
        ({"ridge": 0.0}, "must be above 0"),
        ({"contexts": np.full((300, 4), np.nan)}, "not finite"),
        ({"start": np.array([1, 1])}, "first residents"),
    ],
)
def test_bad_input_is_told(changes, message) -> None:
    with pytest.raises(InputError, match=message):
        simulate_routing(case(0, **changes))
