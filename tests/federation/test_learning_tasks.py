"""What the learning tasks calculate: gradients, losses, metrics, the order of data, errors."""

from itertools import islice
from typing import Any

import numpy as np
import pytest
from learning_cases import clouds, dispatches

from mltwin.models.federation.hooks import Local
from mltwin.models.federation.learning.classifier import area_under_curve
from mltwin.models.federation.learning.mlp import MlpTask
from mltwin.models.federation.learning.order import walk
from mltwin.models.federation.learning.plain import exp32, log32, order_of_samples
from mltwin.models.federation.learning.softmax import SoftmaxTask
from mltwin.models.federation.learning.tables import Examples
from mltwin.sim.errors import InputError


def softmax_loss(weights: Any, x: Any, y: Any, classes: int) -> Any:
    """Losses of samples in float64, by the textbook."""
    matrix = weights.reshape(-1, classes)
    logits = x.astype(np.float64) @ matrix[:-1] + matrix[-1]
    highest = logits.max(1, keepdims=True)
    return np.log(np.exp(logits - highest).sum(1)) + highest[:, 0] - logits[np.arange(len(y)), y]


def test_exp_and_log_are_those_of_the_library() -> None:
    x = -np.geomspace(1e-6, 87, 20_001).astype(np.float32)
    np.testing.assert_allclose(exp32(x), np.exp(x.astype(np.float64)), rtol=1.5e-7)
    x = np.geomspace(1, 1e30, 20_001).astype(np.float32)
    np.testing.assert_allclose(log32(x), np.log(x.astype(np.float64)), rtol=1.5e-7, atol=2e-8)
    with np.errstate(invalid="ignore"):
        assert np.isnan(log32(np.float32([np.inf, np.nan]))).all()
    assert np.isnan(exp32(np.float32([np.nan]))).all()


@pytest.mark.parametrize("hidden", [(), (6,), (5, 4)])
def test_gradients_are_finite_differences_of_the_losses(hidden: tuple[int, ...]) -> None:
    data = clouds(3, 4, 3, samples=(30, 30))
    task = MlpTask(data, hidden, l2=0.0)
    weights = task.initial(1) + 0.1
    exact = task.gradients(weights, np.array([1]))[0]
    step = 2e-3
    for k in range(0, task.parameters, 3):
        change = np.zeros(task.parameters)
        change[k] = step
        up, down = (task.losses(weights + sign * change, [1])[0] for sign in (1, -1))
        assert exact[k] == pytest.approx((up - down) / (2 * step), abs=2e-3)


def test_l2_pulls_each_weight_towards_nothing() -> None:
    data = clouds()
    free, held = SoftmaxTask(data), SoftmaxTask(data, l2=0.25)
    weights = np.linspace(-1, 1, free.parameters)
    one = np.array([0])
    pull = held.gradients(weights, one)[0] - free.gradients(weights, one)[0]
    np.testing.assert_allclose(pull, 0.25 * weights, atol=1e-6)
    assert held.losses(weights, one) == free.losses(weights, one)


def test_losses_and_metrics_are_the_textbook_s() -> None:
    data = clouds(4, 6, 5)
    task = SoftmaxTask(data)
    weights = np.random.default_rng(1).normal(size=task.parameters)
    losses = softmax_loss(weights, data.test_x, data.test_y, 5)
    matrix = weights.reshape(-1, 5)
    right = (data.test_x @ matrix[:-1] + matrix[-1]).argmax(1) == data.test_y
    found = task.evaluate(weights)
    assert found.keys() == {"loss", "accuracy"}
    assert found["loss"] == pytest.approx(losses.mean(), rel=1e-6)
    assert found["accuracy"] == right.mean()
    rows = data.row[data.first[2] : data.first[3]]
    own = softmax_loss(weights, data.x[rows], data.y[rows], 5)
    assert task.losses(weights, [2])[0] == pytest.approx(own.mean(), rel=1e-6)


def test_full_batch_steps_are_gradient_descent() -> None:
    data = clouds(2, 4, 3, samples=(20, 20))
    task = SoftmaxTask(data)
    versions = np.random.default_rng(2).normal(size=(1, task.parameters)).astype(np.float32)
    weights, losses = versions[0].astype(np.float64), []
    for _ in range(4):
        losses.append(task.losses(weights, [1])[0])
        weights = weights - 0.2 * task.gradients(weights, [1])[0]
    zero, one = np.zeros(1, int), np.ones(1, int)
    for batch in (0, 20, 99):
        found = task.train(versions, zero, one, zero, 4 * one, Local(lr=0.2, batch=batch), 0)
        np.testing.assert_allclose(found.delta[0], weights - versions[0], atol=1e-6)
        assert found.loss[0] == pytest.approx(np.mean(losses), rel=1e-6)


def test_a_pass_uses_every_sample_once() -> None:
    stream = order_of_samples(seed=4, client=2, dispatch=7, samples=13)
    passes = np.array(list(islice(stream, 13 * 50))).reshape(50, 13)
    assert (np.sort(passes, axis=1) == np.arange(13)).all()
    assert len(np.unique(passes, axis=0)) == 50


def test_kernels_walk_in_the_same_order() -> None:
    rows, used = np.arange(13), np.zeros(40, np.int64)
    walk(rows, 4, 2, 7, used)
    assert used.tolist() == list(islice(order_of_samples(4, 2, 7, 13), 40))


def test_orders_are_uniform_and_keyed() -> None:
    firsts = [next(order_of_samples(0, client, 3, 5)) for client in range(4000)]
    counts = np.bincount(firsts, minlength=5)
    assert ((counts - 800) ** 2 / 800).sum() < 18.5  # chi-square, 4 degrees, 1 in 1,000
    base = list(islice(order_of_samples(0, 1, 2, 30), 30))
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        assert list(islice(order_of_samples(*other, 30), 30)) != base
    assert list(islice(order_of_samples(0, 1, 2, 30), 30)) == base


def test_what_diverges_is_seen() -> None:
    task = MlpTask(clouds(), (8,))
    versions = task.initial(0).astype(np.float32)[None]
    everyone = np.arange(6)
    found = task.train(
        versions, 0 * everyone, everyone, everyone, 9 + 0 * everyone, Local(lr=1e30), 0
    )
    assert not np.isfinite(found.delta).all(axis=1).any()
    assert not np.isfinite(found.loss).any()
    assert np.isnan(task.evaluate(np.full(task.parameters, np.nan))["loss"])
    assert np.isnan(task.losses(np.full(task.parameters, np.nan), everyone)).all()


def test_learning_learns() -> None:
    data = clouds(10, 8, 3, samples=(40, 60), test=500)
    for task in (SoftmaxTask(data), MlpTask(data, (16,))):
        weights = task.initial(0)
        everyone = np.arange(10)
        before = task.evaluate(weights)
        assert before["loss"] == pytest.approx(np.log(3), rel=1e-6)
        for k in range(30):
            versions = weights.astype(np.float32)[None]
            found = task.train(versions, 0 * everyone, everyone, k + 0 * everyone,
                               5 + 0 * everyone, Local(lr=0.1), 0)  # fmt: skip
            weights = weights + found.delta.mean(0)
        after = task.evaluate(weights)
        assert after["loss"] < 0.6 * before["loss"]
        assert after["accuracy"] > before["accuracy"] + 0.2


def test_binary_tasks_have_the_area_under_the_curve() -> None:
    data = clouds(3, 4, 2)
    task = SoftmaxTask(data)
    weights = np.random.default_rng(0).normal(size=task.parameters)
    matrix = weights.reshape(-1, 2)
    scores = (data.test_x @ matrix[:-1] + matrix[-1]) @ [-1, 1]
    pairs = scores[data.test_y == 1][:, None] - scores[data.test_y == 0]
    assert task.evaluate(weights)["auc"] == pytest.approx((pairs > 0).mean(), abs=1e-9)
    assert task.evaluate(0 * weights)["auc"] == 0.5
    assert area_under_curve(np.array([1, 2, 2, 3.0]), np.array([0, 1, 0, 1])) == 3.5 / 4


def test_client_metrics_are_of_held_out_or_own_samples() -> None:
    plain = clouds(4, 5, 3)
    owner = np.where(np.arange(70) < 40, np.arange(70) % 2, -1)  # clients 2 and 3 hold out none
    data = Examples.make(
        *(plain.x, plain.y, plain.first, plain.row, plain.test_x, plain.test_y),
        classes=3,
        test_client=owner,
    )
    task = SoftmaxTask(data)
    weights = np.random.default_rng(3).normal(size=task.parameters)
    found = task.client_metrics(weights)
    assert found["samples"].tolist() == [20, 20, *data.samples[2:]]
    held_out = softmax_loss(weights, data.test_x[owner == 1], data.test_y[owner == 1], 3)
    assert found["loss"][1] == pytest.approx(held_out.mean(), rel=1e-5)
    assert found["loss"][3] == pytest.approx(task.losses(weights, [3])[0], rel=1e-9)
    assert ((found["accuracy"] >= 0) & (found["accuracy"] <= 1)).all()


def test_without_held_out_data_all_is_evaluated_on() -> None:
    data = clouds(3, 4, 3, test=0)
    task = SoftmaxTask(data)
    assert task.evaluate(task.initial(0))["loss"] == pytest.approx(np.log(3), rel=1e-6)


def test_a_user_s_arrays_of_any_kind_serve() -> None:
    draw = np.random.default_rng(5)
    x = np.asfortranarray(draw.normal(size=(30, 4)))
    x.setflags(write=False)
    y = [int(value) for value in draw.integers(0, 2, 30)]
    data = Examples.make(x, y, [0, 10, 30], list(range(30)), x[:5].tolist(), y[:5], classes=2)
    task = SoftmaxTask(data)
    found = task.train(*dispatches(task, 4), Local(), 0)
    assert np.isfinite(found.delta).all()


def test_first_weights_depend_on_the_seed_alone() -> None:
    task = MlpTask(clouds(features=50), (100,))
    first = task.initial(1)
    assert (first == task.initial(1)).all()
    assert (first != task.initial(2)).any()
    hidden = first[: 50 * 100]
    assert hidden.std() == pytest.approx(np.sqrt(2 / 50), rel=0.05)
    assert not first[50 * 100 :].any()
    assert not SoftmaxTask(clouds()).initial(7).any()


def test_bad_tasks_are_refused() -> None:
    data = clouds()
    targets = Examples.make(
        data.x, data.x[:, 0], data.first, data.row, data.test_x, data.test_x[:, 0], classes=0
    )
    for make, said in (
        (lambda: SoftmaxTask(targets), "0 classes"),
        (lambda: MlpTask(data, (3, 0)), "a layer of 0 units"),
        (lambda: SoftmaxTask(data, l2=-1.0), "l2 is -1"),
        (lambda: SoftmaxTask(data, threads=0), "threads is 0"),
        (lambda: SoftmaxTask(data).train(*dispatches(SoftmaxTask(data), 2),
            Local(correction=np.zeros((3, 18))), 0), "a correction (3, 18)"),
        (lambda: SoftmaxTask(data).train(*dispatches(SoftmaxTask(data), 2),
            Local(anchor=np.zeros(4)), 0), "an anchor (4,)"),
    ):  # fmt: skip
        with pytest.raises(InputError, match=said.replace("(", r"\(").replace(")", r"\)")):
            make()
