"""PyTorch modules as tasks (extra `measure`)."""

import itertools
from typing import Any

import numpy as np
import pytest
from learning_cases import clouds, dispatches, rules

from mltwin.models.federation.hooks import Local
from mltwin.models.federation.learning.mlp import MlpTask
from mltwin.models.federation.learning.torch_task import TorchTask
from mltwin.sim.errors import InputError


def modules() -> Any:
    return pytest.importorskip("torch").nn


def reordered(task: TorchTask, weights: Any, sizes: tuple[int, ...]) -> Any:
    """Our [inputs + 1, units] layers from PyTorch's weight [units, inputs], then bias."""
    parts, place = [], 0
    for inputs, units in itertools.pairwise(sizes):
        matrix = weights[..., place : place + inputs * units]
        matrix = np.swapaxes(matrix.reshape(*weights.shape[:-1], units, inputs), -1, -2)
        parts.append(matrix.reshape(*weights.shape[:-1], -1))
        place += inputs * units
        parts.append(weights[..., place : place + units])
        place += units
    return np.concatenate(parts, -1)


def test_a_module_learns_as_our_own_network_does() -> None:
    nn = modules()
    data = clouds(5, 6, 4)
    theirs = TorchTask(lambda: nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4)), data)
    ours = MlpTask(data, (8,))
    assert theirs.parameters == ours.parameters
    assert theirs._vectorised
    sizes = (6, 8, 4)
    versions, *columns = dispatches(theirs, 9)
    mine = reordered(theirs, versions, sizes)
    for name, local in rules(theirs, 9).items():
        if "diverging" in name or local.adapt is not None:
            continue
        fields = {
            key: reordered(theirs, value, sizes)
            for key in ("correction", "anchor")
            if (value := getattr(local, key)) is not None
        }
        found = theirs.train(versions, *columns, local, 3)
        expected = ours.train(mine, *columns, Local(**{**vars(local), **fields}), 3)
        np.testing.assert_allclose(
            reordered(theirs, found.delta, sizes), expected.delta, atol=2e-5, err_msg=name
        )
        np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-4)
        np.testing.assert_allclose(found.squared, expected.squared, rtol=1e-4)
    for key, value in theirs.evaluate(versions[0]).items():
        assert value == pytest.approx(ours.evaluate(mine[0])[key], rel=1e-5)
    for key, values in theirs.client_metrics(versions[0]).items():
        np.testing.assert_allclose(values, ours.client_metrics(mine[0])[key], rtol=1e-5)
    with pytest.raises(InputError, match="does not adapt its step size"):
        theirs.train(versions, *columns, Local(adapt=versions[0]), 3)
    clients = np.array([4, 0])
    np.testing.assert_allclose(
        theirs.losses(versions[0], clients), ours.losses(mine[0], clients), rtol=1e-5
    )
    np.testing.assert_allclose(
        reordered(theirs, theirs.gradients(versions[0], clients), sizes),
        ours.gradients(mine[0], clients),
        atol=1e-5,
    )


def test_runs_are_the_same_and_the_loop_agrees_with_vmap() -> None:
    nn = modules()
    data = clouds(5, 6, 4)
    task = TorchTask(lambda: nn.Linear(6, 4), data)
    given = dispatches(task, 9)
    first = task.train(*given, Local(), 1)
    assert (first.delta == task.train(*given, Local(), 1).delta).all()
    assert (first.delta != task.train(*given, Local(), 2).delta).any()
    task._vectorised = False
    np.testing.assert_allclose(task.train(*given, Local(), 1).delta, first.delta, atol=1e-6)
    assert (task.initial(4) == task.initial(4)).all()
    assert (task.initial(4) != task.initial(5)).any()


def test_dropout_is_keyed_by_client_and_dispatch() -> None:
    nn = modules()
    data = clouds(5, 6, 4, samples=(20, 30))
    task = TorchTask(lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(6, 4)), data)
    assert not task._vectorised
    versions, *columns = dispatches(task, 6)
    together = task.train(versions, *columns, Local(), 1)
    alone = task.train(versions, *(column[4:5] for column in columns), Local(), 1)
    assert (alone.delta[0] == together.delta[4]).all()
    assert task.evaluate(versions[0]) == task.evaluate(versions[0])


def test_a_loss_of_one_s_own_and_targets_that_are_no_classes() -> None:
    nn = modules()
    data = clouds(3, 4, 3)
    regression = type(data).make(
        data.x, data.x[:, 0], data.first, data.row, data.test_x, data.test_x[:, 0], classes=0
    )
    task = TorchTask(lambda: nn.Linear(4, 1), regression)
    exact = np.array([1.0, 0, 0, 0, 0])
    assert task.evaluate(exact) == {"loss": 0.0}
    own = TorchTask(
        lambda: nn.Linear(4, 1), regression, lambda out, target: (out[:, 0] - target).abs()
    )
    assert own.evaluate(0 * exact)["loss"] == pytest.approx(np.abs(data.test_x[:, 0]).mean())


def test_bad_modules_are_refused() -> None:
    nn = modules()
    data = clouds(3, 4, 3)
    with pytest.raises(InputError, match="fails on samples \\(2, 4\\)"):
        TorchTask(lambda: nn.Linear(9, 3), data)
    with pytest.raises(InputError, match="reduction='none'"):
        TorchTask(lambda: nn.Linear(4, 3), data, nn.CrossEntropyLoss())


def test_without_pytorch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install 'mltwin\[measure\]'"):
        TorchTask(lambda: None, clouds())
