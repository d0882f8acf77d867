"""Asynchronous strategies turn into federated averaging where they should."""

import async_case as case
import numpy as np
import pytest

TASK = case.quadratics()
CLIENTS = case.equal_clients()
EVERYONE = len(CLIENTS)


def averaged(**changes):
    return case.run({"name": "fedavg", "clients": 0, **changes}, CLIENTS, case.plan(), TASK)


@pytest.mark.parametrize(
    "strategy",
    [
        {"name": "fedbuff", "buffer": EVERYONE, "concurrency": 0},
        {"name": "fedbuff", "buffer": EVERYONE, "concurrency": 0, "restart": "at step"},
        {"name": "fedbuff", "buffer": EVERYONE, "concurrency": 0, "normalise": "discounts"},
        {"name": "fedfix", "period_s": 0.05},
        {"name": "fedfix", "period_s": 0.08},
        {"name": "fedfix", "period_s": 0.08, "times": "counted"},
        {"name": "async", "buffer": EVERYONE, "weights": "fraboni"},
        {"name": "async", "buffer": EVERYONE, "weights": "identical"},
        {"name": "stale", "buffer": EVERYONE, "correct": "dc_asgd"},
        {"name": "stale", "buffer": EVERYONE, "weigh": "gap"},
    ],
    ids=lambda strategy: " ".join(str(value) for value in strategy.values()),
)
def test_all_clients_of_equal_speed_are_federated_averaging_bit_for_bit(strategy):
    found = case.run(strategy, CLIENTS, case.plan(), TASK)
    assert (found.weights == averaged().weights).all()
    assert found.totals["used"] == 40 * EVERYONE
    assert found.staleness.tolist() == [40 * EVERYONE]


@pytest.mark.parametrize("strategy", ["afa_cd", "afa_cs"])
def test_anarchic_clients_that_all_do_the_same_are_federated_averaging(strategy):
    """eta = K, all return in each step; the division by K rounds once in float32."""
    steps = {"fewest": case.STEPS, "most": case.STEPS, "server_lr": float(case.STEPS)}
    found = case.run({"name": strategy, "returns": EVERYONE, **steps}, CLIENTS, case.plan(), TASK)
    np.testing.assert_allclose(found.weights, averaged().weights, rtol=0, atol=1e-6)


def test_anarchic_silos_with_one_step_each_follow_the_mean_gradient():
    one = {"name": "afa_cs", "returns": EVERYONE, "fewest": 1, "most": 1, "server_lr": 2.0}
    found = case.run(one, CLIENTS, case.plan(), TASK)
    weights = np.zeros(TASK.parameters)
    for _ in range(40):
        slope = TASK.gradients(weights, np.arange(EVERYONE)).mean(axis=0)
        weights = weights - 2.0 * case.LR * slope
    np.testing.assert_allclose(found.weights, weights, rtol=0, atol=1e-6)


def test_fedcompass_of_identical_clients_is_federated_averaging_with_step_alpha():
    """After each client's first update, alone, and one group whose members held other versions."""
    alpha = 0.7
    compass = {"name": "fedcompass", "least": 2, "most": case.STEPS, "alpha": alpha}
    first = case.run(compass, CLIENTS, case.plan(versions=EVERYONE + 1), TASK)
    found = case.run(compass, CLIENTS, case.plan(versions=EVERYONE + 1 + 20), TASK)
    assert found.versions["used"].tolist() == [1] * EVERYONE + [EVERYONE] * 21
    assert (found.versions["staleness_max"][EVERYONE + 1 :] == 0).all()

    class Continued(type(TASK)):
        def initial(self, seed):
            return first.weights.copy()

    task = Continued(TASK.curvature, TASK.centre)
    rounds = {"name": "fedavg", "clients": 0, "server_lr": alpha}
    average = case.run(rounds, CLIENTS, case.plan(versions=20), task)
    np.testing.assert_allclose(found.weights, average.weights, rtol=1e-12, atol=1e-12)


def test_fedcompass_reduction_fails_for_unequal_clients():
    """The test above can fail: with one slow client groups are not the whole federation."""
    clients = case.equal_clients().changed(s_per_sample=np.array([1e-3] * 7 + [7.3e-3]))
    compass = {"name": "fedcompass", "least": 2, "most": case.STEPS}
    found = case.run(compass, clients, case.plan(versions=30), TASK)
    assert found.versions["used"][EVERYONE:].tolist() != [EVERYONE] * (30 - EVERYONE)
