"""Quadratic clients against their closed forms."""

from typing import Any

import numpy as np
import pytest

from mltwin.models.federation.hooks import Local
from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.sim.errors import InputError


def clients(count: int = 6, size: int = 4, seed: int = 0) -> tuple[Any, Any, Any]:
    """Curvatures, centres, shares."""
    draw = np.random.default_rng(seed)
    turned = [np.linalg.qr(draw.normal(size=(size, size)))[0] for _ in range(count)]
    curvature = [q @ np.diag(draw.uniform(0.2, 6, size)) @ q.T for q in turned]
    return np.array(curvature), draw.normal(size=(count, size)), draw.dirichlet(np.ones(count))


def trained(task: QuadraticTask, weights: Any, steps: int, local: Local, dispatch: int = 0) -> Any:
    everyone = np.arange(len(task.centre))
    return task.train(
        np.asarray(weights)[None],
        0 * everyone,
        everyone,
        dispatch + 0 * everyone,
        steps + 0 * everyone,
        local,
        5,
    )


def test_federated_averaging_stops_where_theory_says() -> None:
    curvature, centre, share = clients()
    steps, eta = 7, 0.05
    task = QuadraticTask(curvature, centre, share=share)
    weights = task.initial(0)
    for _ in range(3000):
        weights = weights + share @ trained(task, weights, steps, Local(lr=eta)).delta
    unit = np.eye(4)
    pull = np.array([unit - np.linalg.matrix_power(unit - eta * a, steps) for a in curvature])
    pulled = np.einsum("i,ijk,ik->j", share, pull, centre)
    fixed = np.linalg.solve(np.einsum("i,ijk->jk", share, pull), pulled)
    np.testing.assert_allclose(weights, fixed, atol=1e-12)
    assert np.linalg.norm(fixed - task.optimum) > 0.01  # client drift: not the optimum
    assert task.evaluate(weights)["distance"] == pytest.approx(
        np.linalg.norm(fixed - task.optimum), rel=1e-9
    )


def test_diagonals_are_matrices() -> None:
    _, centre, share = clients()
    diagonals = np.random.default_rng(1).uniform(0.5, 2, centre.shape)
    matrices = np.array([np.diag(row) for row in diagonals])
    thin, full = (QuadraticTask(given, centre, share=share) for given in (diagonals, matrices))
    local = Local(0.1, 5, 0.2, centre[0], 0.5, 0.7, centre[1])
    start = np.ones(4)
    np.testing.assert_allclose(
        trained(thin, start, 6, local).delta, trained(full, start, 6, local).delta, rtol=1e-13
    )
    np.testing.assert_allclose(thin.optimum, full.optimum, rtol=1e-13)


def test_one_step_is_the_rule_by_hand() -> None:
    curvature, centre, _ = clients()
    task = QuadraticTask(curvature, centre)
    start = np.full(4, 2.0)
    gradient = task.gradients(start, np.arange(6))
    correction = np.arange(24.0).reshape(6, 4)
    found = trained(task, start, 1, Local(lr=0.1, correction=correction)).delta
    np.testing.assert_allclose(found, -0.1 * (gradient + correction), rtol=1e-12)
    found = trained(task, start, 1, Local(lr=0.1, clip=0.5)).delta
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 0.05, rtol=1e-12)
    found = trained(task, start, 1, Local(lr=0.1, anchor=np.ones(4))).delta
    np.testing.assert_allclose(found, -0.1 * np.ones((6, 4)))


def test_prox_holds_a_client_near_what_it_was_sent() -> None:
    curvature, centre, _ = clients()
    task = QuadraticTask(curvature, centre)
    start = np.full(4, 2.0)
    found = trained(task, start, 4000, Local(lr=0.05, prox=1.5)).delta
    held = np.array(
        [np.linalg.solve(a + 1.5 * np.eye(4), a @ (c - start)) for a, c in zip(curvature, centre)]  # noqa: B905
    )
    np.testing.assert_allclose(found, held, atol=1e-12)


def test_momentum_and_anchor_reach_the_client_s_optimum() -> None:
    curvature, centre, _ = clients()
    task = QuadraticTask(curvature, centre)
    for local in (Local(lr=0.05, momentum=0.7),):
        found = trained(task, np.zeros(4), 4000, local).delta
        np.testing.assert_allclose(found, centre, atol=1e-9)
    own = QuadraticTask(curvature[:1], centre[:1])
    anchor = own.gradients(np.zeros(4), np.array([0]))[0]
    exact = trained(own, np.zeros(4), 9, Local(lr=0.05)).delta
    followed = trained(own, np.zeros(4), 9, Local(lr=0.05, anchor=anchor)).delta
    np.testing.assert_allclose(followed, exact, rtol=1e-12)


def test_steps_and_losses_are_of_each_dispatch() -> None:
    task = QuadraticTask(np.ones((3, 1)), np.zeros((3, 1)))
    steps = np.array([0, 1, 3])
    zero = np.zeros(3, int)
    found = task.train(np.ones((1, 1)), zero, np.arange(3), zero, steps, Local(lr=0.5), 0)
    np.testing.assert_allclose(found.delta[:, 0], [0, -0.5, -0.875])
    np.testing.assert_allclose(found.loss, [0, 0.5, (0.5 + 0.125 + 0.03125) / 3])
    np.testing.assert_allclose(found.squared, [0, 0.25, (0.25 + 0.125**2 + 0.03125**2) / 3])


def test_noise_is_keyed_and_as_large_as_said() -> None:
    count = 2000
    task = QuadraticTask(np.zeros((count, 5)) + 1e-12, np.zeros((count, 5)), noise=0.3)
    found = trained(task, np.zeros(5), 1, Local(lr=1.0)).delta
    assert found.std() == pytest.approx(0.3, rel=0.03)
    assert abs(found.mean()) < 4 * 0.3 / np.sqrt(found.size)
    assert (trained(task, np.zeros(5), 1, Local(lr=1.0)).delta == found).all()
    assert (trained(task, np.zeros(5), 1, Local(lr=1.0), dispatch=1).delta != found).all()
    alone = task.train(np.zeros((1, 5)), *(np.array([k]) for k in (0, 77, 0, 1)), Local(lr=1.0), 5)
    assert (alone.delta[0] == found[77]).all()


def test_a_step_size_adapts_as_calculated_by_hand() -> None:
    task = QuadraticTask(np.ones((1, 1)), np.ones((1, 1)))
    local = Local(lr=0.1, adapt=np.array([0.5]), pull=0.2)
    ends = [trained(task, np.zeros(1), steps, local).delta[0, 0] for steps in (1, 2, 3, 4)]
    # Changes 0.1, 0.09; then b = 1 + 0.09 * 0.5 + 0.2 * 0.09 * 0.5, and so on.
    third = 0.1 * 1.054 * 0.81
    gain = 1 + third * 0.09 + 0.2 * third * 0.5
    fourth = 0.1 * 1.054 * gain * (0.81 - third)
    assert ends == pytest.approx([0.1, 0.19, 0.19 + third, 0.19 + third + fourth], abs=1e-12)
    against = Local(lr=0.1, adapt=np.array([-1000.0]), pull=0.2)
    slowed = trained(task, np.zeros(1), 3, against).delta[0, 0]
    assert slowed == pytest.approx(0.19 + 0.1 * 0.1 * 0.81, abs=1e-12), "b is at least 0.1"
    hurried = Local(lr=1e-3, adapt=np.array([1e6]))
    steps = [trained(task, np.zeros(1), count, hurried).delta[0, 0] for count in (2, 3, 40, 41)]
    assert (steps[1] - steps[0]) / (1e-3 * (1 - steps[0])) == pytest.approx(1.1)
    assert (steps[3] - steps[2]) / (1e-3 * (1 - steps[2])) > 1.1


def test_deltas_have_the_type_of_the_versions() -> None:
    curvature, centre, _ = clients()
    task = QuadraticTask(curvature, centre)
    assert trained(task, np.zeros(4, np.float32), 2, Local()).delta.dtype == np.float32
    assert trained(task, np.zeros(4), 2, Local()).delta.dtype == np.float64


def test_what_diverges_is_seen() -> None:
    task = QuadraticTask(np.full((2, 3), 4.0), np.ones((2, 3)))
    found = trained(task, np.zeros(3), 2000, Local(lr=10.0))
    assert not np.isfinite(found.delta).any()
    assert not np.isfinite(found.loss).any()


def test_bad_quadratics_are_refused() -> None:
    good = np.ones((2, 3))
    for given, said in (
        ((np.ones((2, 2)), good), "curvature"),
        ((np.ones((3, 3)), good), "for 2 clients"),
        ((np.where(np.eye(2, 3), np.nan, 1), good), "curvature\\[0, 0\\] is nan"),
        ((0 * good, good), "no single least point"),
        ((good, good, -1.0), "noise is -1"),
    ):
        with pytest.raises(InputError, match=said):
            QuadraticTask(*given)
