import os
import threading
import time

import pytest

from mltwin.sim.errors import InputError
from mltwin.sim.executors import map_runs, usable_cores

EXECUTORS = ["serial", "threads", "processes"]


def square(x):
    if x == 3:
        raise InputError("three", where="item", mend="use four")
    return x * x


class Stubborn(Exception):
    """Cannot be sent between processes: it is rebuilt from its message alone."""

    def __init__(self, one, two):
        super().__init__(f"{one} and {two}")


def awkward(x):
    if x == 1:
        raise Stubborn(1, 2)
    return threading.Lock() if x == 2 else x


def die(x):
    if x == 2:
        time.sleep(0.5)
        os._exit(3)
    return x


@pytest.mark.parametrize("executor", EXECUTORS)
def test_order_is_kept_and_one_error_does_not_lose_the_rest(executor):
    progress = []
    outcomes = map_runs(
        square,
        range(8),
        executor=executor,
        workers=2,
        progress=lambda done, total: progress.append((done, total)),
    )
    assert [outcome.value for outcome in outcomes] == [0, 1, 4, None, 16, 25, 36, 49]
    assert [outcome.ok for outcome in outcomes] == [i != 3 for i in range(8)]
    assert str(outcomes[3].error) == "item: three; use four"
    assert outcomes[2].get() == 4
    with pytest.raises(InputError, match="three"):
        outcomes[3].get()
    assert progress == [(done, 8) for done in range(1, 9)]


def test_what_cannot_be_sent_back_is_an_error_of_its_item_only():
    outcomes = map_runs(awkward, range(4), executor="processes", workers=2)
    assert [outcome.value for outcome in outcomes] == [0, None, None, 3]
    assert "Stubborn: 1 and 2" in str(outcomes[1].error)
    assert "lock" in str(outcomes[2].error)


def test_worker_that_dies_loses_only_what_was_not_returned():
    outcomes = map_runs(die, range(4), executor="processes", workers=2)
    assert [outcome.value for outcome in outcomes] == [0, 1, None, None]
    assert "Terminated" in type(outcomes[2].error).__name__


def test_threads_run_at_once():
    started = time.perf_counter()
    map_runs(time.sleep, [0.2] * 4, executor="threads", workers=4)
    assert time.perf_counter() - started < 0.6


def test_interrupt_drops_what_has_not_started():
    ran = []

    def work(x):
        ran.append(x)
        time.sleep(0.02)

    def stop(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        map_runs(work, range(100), executor="threads", workers=2, progress=stop)
    assert len(ran) < 10


def test_interrupt_does_not_wait_for_threads_at_work():
    begun, ended = threading.Event(), threading.Event()

    def work(x):
        if x:
            begun.set()
            ended.wait(10)

    def stop(done, total):
        begun.wait(10)
        raise KeyboardInterrupt

    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        map_runs(work, [0, 1], executor="threads", workers=2, progress=stop)
    assert time.perf_counter() - started < 5
    ended.set()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_nothing_to_do(executor):
    assert map_runs(square, [], executor=executor) == []


def test_bad_arguments():
    with pytest.raises(ValueError, match="executor 'dask'"):
        map_runs(square, [1], executor="dask")
    with pytest.raises(ValueError, match="0 workers"):
        map_runs(square, [1], workers=0)
    assert usable_cores() >= 1
