"""The compiled learning against its plain twin, bit for bit, whatever the threads."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from learning_cases import clouds, dispatches, rules

from mltwin.models.federation.hooks import Local, Updates
from mltwin.models.federation.learning import kernel, network
from mltwin.models.federation.learning.dense import TILE
from mltwin.models.federation.learning.mlp import MlpTask
from mltwin.models.federation.learning.network import NetworkTask
from mltwin.models.federation.learning.plain import PlainMlp, PlainNetwork, PlainSoftmax
from mltwin.models.federation.learning.softmax import SoftmaxTask

SHAPES = ((), (9,), (32,), (17, 6))


def same(ours: Any, theirs: Any) -> bool:
    return np.array_equal(ours, theirs, equal_nan=True)


def check(ours: Updates, theirs: Updates) -> None:
    assert same(ours.delta, theirs.delta)
    assert same(ours.loss, theirs.loss)
    assert same(ours.squared, theirs.squared)
    assert ours.delta.dtype == np.float32


@pytest.mark.parametrize("hidden", SHAPES)
def test_every_rule_gives_the_bits_of_the_plain_loops(hidden: tuple[int, ...]) -> None:
    data = clouds(features=7, classes=18)
    compiled, plain = NetworkTask(data, hidden, 0.01), PlainNetwork(data, hidden, 0.01)
    given = dispatches(compiled, 12)
    for name, local in rules(compiled, 12).items():
        ours = compiled.train(*given, local, 5)
        check(ours, plain.train(*given, local, 5))
        assert np.isfinite(ours.delta).all() == ("diverging" not in name)


@settings(max_examples=20, deadline=None)
@given(
    some.integers(1, 30),
    some.integers(2, 36),
    some.lists(some.integers(1, 36), max_size=3),
    some.integers(0, 45),
    some.integers(0, 10_000),
)
def test_any_shape_gives_the_bits_of_the_plain_loops(
    features: int, classes: int, hidden: list[int], batch: int, seed: int
) -> None:
    data = clouds(3, features, classes, seed, test=45)
    compiled, plain = NetworkTask(data, hidden), PlainNetwork(data, hidden)
    given = dispatches(compiled, 4, seed, 3)
    check(
        compiled.train(*given, Local(batch=batch), seed),
        plain.train(*given, Local(batch=batch), seed),
    )
    weights, clients = given[0][0].astype(np.float64), np.array([2, 0])
    assert compiled.evaluate(weights) == plain.evaluate(weights)
    assert same(compiled.losses(weights, clients), plain.losses(weights, clients))
    assert same(compiled.gradients(weights, clients), plain.gradients(weights, clients))


def test_layers_wider_than_a_tile_give_the_same_bits() -> None:
    data = clouds(2, 2 * TILE + 3, 3, samples=(30, 50))
    compiled, plain = NetworkTask(data, (TILE + 1, 5)), PlainNetwork(data, (TILE + 1, 5))
    given = dispatches(compiled, 2, most_steps=2)
    check(compiled.train(*given, Local(), 1), plain.train(*given, Local(), 1))
    check(compiled.train(*given, Local(batch=0), 1), plain.train(*given, Local(batch=0), 1))


def test_named_tasks_are_networks_of_their_layers() -> None:
    data = clouds()
    for ours, theirs in (
        (SoftmaxTask(data, 0.1), PlainSoftmax(data, 0.1)),
        (MlpTask(data, (4, 3)), PlainMlp(data, (4, 3))),
        (MlpTask(data, ()), PlainSoftmax(data)),
    ):
        given = dispatches(ours, 5)
        check(ours.train(*given, Local(), 1), theirs.train(*given, Local(), 1))


def test_threads_do_not_change_a_bit() -> None:
    data = clouds(40, 60, 10, samples=(50, 50), test=2000)
    tasks = [MlpTask(data, (32,), threads=threads) for threads in (1, 2, 4)]
    given = dispatches(tasks[0], 2000)
    weights, everyone = tasks[0].initial(1), np.arange(40)
    parts: list[tuple[int, int]] = []
    spied = tasks[2]._in_parts
    tasks[2]._in_parts = lambda part, count, work: spied(  # type: ignore[method-assign]
        lambda begin, end, *room: (parts.append((begin, end)), part(begin, end, *room))[1],
        count,
        work,
    )
    for local in (Local(), Local(anchor=np.ones(tasks[0].parameters))):
        first, *others = (task.train(*given, local, 3) for task in tasks)
        for other in others:
            check(other, first)
    assert len(parts) > 8, "nothing was split"
    for task in tasks[1:]:
        assert task.evaluate(weights) == tasks[0].evaluate(weights)
        assert same(task.gradients(weights, everyone), tasks[0].gradients(weights, everyone))


def test_a_dispatch_is_the_same_alone_and_among_others() -> None:
    data = clouds(9, 6, 4)
    task = MlpTask(data, (5,))
    given = dispatches(task, 20)
    together = task.train(*given, Local(), 2)
    versions, *columns = given
    for i in (0, 7, 19):
        alone = task.train(versions, *(column[i : i + 1] for column in columns), Local(), 2)
        assert same(alone.delta[0], together.delta[i])
        assert same(alone.loss[0], together.loss[i])


def test_training_cut_into_calls_gives_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that a run can be stopped, no call of the kernel is long, whatever the steps."""
    data = clouds(3, 7, 4, samples=(4, 30))
    tasks = [MlpTask(data, (5,), threads=threads) for threads in (1, 2)]
    train = kernel.train
    versions, which, clients, dispatched, _ = dispatches(tasks[0], 6)
    given = versions, which, clients, dispatched, np.array([3, 0, 41, 2, 1, 17])
    for name, local in rules(tasks[0], 6).items():
        whole = tasks[0].train(*given, local, 5)
        calls: list[tuple[int, ...]] = []

        def spied(*arguments: Any, calls: list[tuple[int, ...]] = calls) -> None:
            calls.append(arguments[16:20])
            train(*arguments)

        with monkeypatch.context() as patched:
            patched.setattr(network, "_AT_ONCE", 4 * 1000)
            patched.setattr(kernel, "train", spied)
            for task in tasks:
                check(task.train(*given, local, 5), whole)
        assert len(calls) > 2 * 14, name
        steps = given[4]
        assert max(steps[begin:end].clip(0, 4).sum() for begin, end, *_ in calls) <= 4


def digest() -> str:
    task = MlpTask(clouds(3, 4, 3, samples=(3, 9), test=5), (5,))
    given = dispatches(task, 3, most_steps=2)
    found = hashlib.sha256()
    for local in (Local(batch=4), *list(rules(task, 3).values())[-2:]):
        updates = task.train(*given, local, 1)
        for values in (updates.delta, updates.loss, updates.squared):
            found.update(np.nan_to_num(values).tobytes())
    found.update(repr(sorted(task.evaluate(given[0][0]).items())).encode())
    found.update(task.gradients(given[0][0], np.arange(3)).tobytes())
    return found.hexdigest()


@pytest.mark.parametrize(
    "changes",
    [
        {"NUMBA_DISABLE_JIT": "1"},
        pytest.param(
            {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": ""}, marks=pytest.mark.slow
        ),
    ],
    ids=["no compiler", "a CPU without wide registers"],
)
def test_elsewhere_the_bits_are_the_same(changes: dict[str, str]) -> None:
    code = "import test_learning_kernels as t; print(t.digest())"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={**os.environ, **changes, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == digest()
