"""FedAsync, FedBuff and corrections of stale updates against a plain loop; weights by staleness."""

import async_case as case
import numpy as np
import pytest

from mltwin.models.federation.tables import Clients
from mltwin.policies.federated.asynchronous import discount
from mltwin.policies.federated.registry import make
from mltwin.sim.errors import InputError

TASK = case.quadratics(count=5)
DURATIONS = np.array([0.0501, 0.0833, 0.1319, 0.2903, 0.6101])  # no two meet
CLIENTS = Clients.make(np.full(5, 50), s_per_sample=DURATIONS / 50)
VERSIONS = 120


def test_discounts_follow_the_paper():
    staleness = np.array([0, 1, 4, 5, 9])
    assert discount("constant", staleness, 0.5, 4).tolist() == [1] * 5
    np.testing.assert_allclose(
        discount("polynomial", staleness, 0.5, 4), 1 / np.sqrt([1, 2, 5, 6, 10]), rtol=1e-15
    )
    hinge = [1, 1, 1, 1 / (10 * 1 + 1), 1 / (10 * 5 + 1)]
    np.testing.assert_allclose(discount("hinge", staleness, 10, 4), hinge, rtol=1e-15)


def mixing(alpha, kind, a, b):
    def move(weights, held, change, staleness):
        weight = alpha * discount(kind, staleness, a, b)
        return (1 - weight) * weights + weight * (held + change)

    return move


def buffered_by_one(weights, held, change, staleness):
    return weights + 0.8 * (1 + staleness) ** -0.5 * change


def halved(weights, held, change, staleness):
    return weights + change * 2 ** (-staleness / 2.0 if staleness >= 2 else 0)


def compensated(weights, held, change, staleness):
    return weights + (change - 0.1 * change * change * (weights - held) * (staleness >= 1))


@pytest.mark.parametrize(
    ("strategy", "move"),
    [
        ({"name": "fedasync", "alpha": 0.5}, mixing(0.5, "polynomial", 0.5, 4)),
        (
            {"name": "fedasync", "weighting": "hinge", "a": 10.0, "b": 2.0},
            mixing(0.6, "hinge", 10.0, 2.0),
        ),
        (
            {"name": "fedasync", "alpha": 0.9, "weighting": "constant"},
            mixing(0.9, "constant", 0, 0),
        ),
        ({"name": "fedbuff", "buffer": 1, "concurrency": 0, "server_lr": 0.8}, buffered_by_one),
        (
            {"name": "stale", "buffer": 1, "correct": "weighted", "half_life": 2.0, "after": 2},
            halved,
        ),
        (
            {"name": "stale", "buffer": 1, "correct": "dc_asgd", "strength": 0.1, "after": 1},
            compensated,
        ),
    ],
    ids=lambda given: " ".join(map(str, given.values())) if isinstance(given, dict) else "",
)
def test_a_step_with_each_update_follows_the_rule(strategy, move):
    found = case.run(strategy, CLIENTS, case.plan(versions=VERSIONS), TASK)
    exact = case.oracle(TASK, DURATIONS, VERSIONS, move)
    np.testing.assert_allclose(found.weights, exact, rtol=0, atol=3e-6)
    assert found.staleness.nonzero()[0].max() > 10  # the rule was put to the test


def test_fedbuff_divides_by_the_count_or_by_the_discounts():
    """A step's change, from the updates of two versions, both ways."""
    spec = {"name": "fedbuff", "buffer": 3, "concurrency": 0}
    versions = case.plan(versions=2)
    first = case.run(spec, CLIENTS, case.plan(versions=1), TASK).weights
    count = case.run(spec, CLIENTS, versions, TASK)
    # ms: 50.1 (client 0), 83.3 (1), 100.2 (0) | 131.9 (2, stale), 150.3 (0), 166.6 (1, stale)
    assert count.versions["time"].tolist() == [100_200_000, 166_600_000]
    assert count.versions["staleness_mean"].tolist() == [0, 2 / 3]
    weights = {**spec, "normalise": "discounts"}
    first_too = case.run(weights, CLIENTS, case.plan(versions=1), TASK).weights
    by_weights = case.run(weights, CLIENTS, versions, TASK)
    assert (first == first_too).all()
    ratio = (by_weights.weights - first) / (count.weights - first)
    np.testing.assert_allclose(ratio, 3 / (1 + 2 / np.sqrt(2)), rtol=1e-12)


def test_too_stale_updates_are_discarded_and_the_buffer_fills_with_others():
    spec = {"name": "fedbuff", "buffer": 3, "concurrency": 0, "max_staleness": 2}
    found = case.run(spec, CLIENTS, case.plan(versions=60), TASK)
    assert (found.versions["used"] == 3).all()
    assert found.versions["staleness_max"].max() == 2
    assert found.clients["discarded"].tolist()[4] == found.clients["arrived"].tolist()[4] > 0
    assert found.clients["discarded"].tolist()[0] == 0
    mixed = case.run({"name": "fedasync", "max_staleness": 3}, CLIENTS, case.plan(), TASK)
    assert len(mixed.staleness.nonzero()[0]) <= 4 and mixed.totals["discarded"] > 0


def test_restart_at_step_has_each_client_at_most_once_in_a_buffer():
    spec = {"name": "fedbuff", "buffer": 3, "concurrency": 0, "restart": "at step"}
    found = case.run(spec, CLIENTS, case.plan(versions=4), TASK)
    # ms: 50.1, 83.3, 131.9 | 182.0, 215.2, 263.8 | 290.3, 313.9, 347.1 | 395.7, 397.2, 430.4
    assert found.versions["time"].tolist() == [131.9e6, 263.8e6, 347.1e6, 430.4e6]
    twice = case.run({**spec, "restart": "at once"}, CLIENTS, case.plan(versions=1), TASK)
    assert twice.versions["time"].tolist() == [100.2e6]  # client 0 counts twice


def test_time_passes_alike_with_and_without_a_model():
    for spec in (
        {"name": "fedbuff", "buffer": 3, "concurrency": 4, "max_staleness": 2},
        "fedasync",
        "fedfix",
        {"name": "async", "buffer": 2},
        {"name": "afa_cd", "returns": 3, "rest_s": 0.1},
        {"name": "fedcompass", "least": 2, "most": 9},
        {"name": "stale", "buffer": 2},
    ):
        learned = case.run(spec, CLIENTS, case.plan(model_bytes=80), TASK, record=True)
        timed = case.run(spec, CLIENTS, case.plan(model_bytes=80), None, record=True)
        assert (learned.log == timed.log).all(), spec
        assert timed.weights is None


def test_only_counting_strategies_say_that_they_are_automatic():
    assert make("strategy", {"name": "fedbuff", "concurrency": 50}).automatic == (10, 50)
    assert make("strategy", {"name": "fedasync", "concurrency": 7}).automatic == (1, 7)
    assert make("strategy", {"name": "fedbuff", "concurrency": 0}).automatic == (10, 0)
    for spec in (
        {"name": "fedbuff", "max_staleness": 5},
        {"name": "fedbuff", "restart": "at step"},
        {"name": "fedasync", "concurrency": 7, "max_staleness": 3},
        "fedcompass",
    ):
        assert make("strategy", spec).automatic is None


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ({"name": "fedasync", "alpha": 1.5}, "alpha"),
        ({"name": "fedasync", "weighting": "cubic"}, "weighting"),
        ({"name": "fedbuff", "buffer": 0}, "buffer"),
        ({"name": "fedbuff", "restart": "never"}, "restart"),
        ({"name": "fedcompass", "least": 30, "most": 20}, "most"),
        ({"name": "fedfix", "period_s": -1.0}, "period_s"),
        ({"name": "async", "weights": "equal"}, "weights"),
        ({"name": "afa_cd", "fewest": 5, "most": 4}, "most"),
        ({"name": "stale", "correct": "gradient"}, "correct"),
        ({"name": "stale", "rate": float("nan")}, "rate"),
    ],
)
def test_parameters_out_of_range_are_named(spec, named):
    with pytest.raises(InputError, match=named):
        make("strategy", spec)


def test_a_buffer_that_can_never_fill_is_refused():
    spec = {"name": "fedbuff", "buffer": 6, "concurrency": 0, "restart": "at step"}
    with pytest.raises(InputError, match="buffer of 6 updates, but only 5 clients"):
        case.run(spec, CLIENTS, case.plan(), TASK)
