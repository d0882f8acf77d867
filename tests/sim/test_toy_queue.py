"""The parts together: one small system, run every way that must not matter."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import toy_queue as toy

from mltwin.sim.jit import JIT_DISABLED
from mltwin.sim.stats import batch_means_ci

NEEDS_JIT = pytest.mark.skipif(JIT_DISABLED, reason="needs the compiler")


@pytest.mark.parametrize("seed", range(5))
def test_log_equals_heapq_reference(seed):
    _, log = toy.run(seed)
    assert [tuple(row) for row in log.rows().tolist()] == toy.heapq_log(seed)


def test_cut_into_pieces_equals_one_shot():
    _, whole = toy.run(7)
    world, log = toy.make(7)
    for until in range(0, 500 * 10**12, 3 * 10**11):
        toy.advance(world, until)
    assert log.digest() == whole.digest()


@pytest.mark.parametrize("rows", [2, 3, 17])
def test_small_log_buffer_loses_nothing(rows):
    _, large = toy.run(3)
    _, small = toy.run(3, log_rows=rows)
    assert small.digest() == large.digest()


def test_log_off_changes_nothing_else():
    on, _ = toy.run(3)
    off, log = toy.run(3, log_rows=0)
    assert len(log.rows()) == 0
    assert off.state[0].waited == on.state[0].waited > 0


def test_hook_decides():
    _, low = toy.run(1, choose=toy.lowest)
    _, high = toy.run(1, choose=toy.highest)
    assert high.digest() != low.digest()
    assert high.rows()[1].value == 2 and low.rows()[1].value == 0


@NEEDS_JIT
def test_same_digest_on_one_and_four_threads():
    seeds = range(24)
    serial = [toy.run(seed)[1].digest() for seed in seeds]
    with ThreadPoolExecutor(4) as pool:
        threaded = list(pool.map(lambda seed: toy.run(seed)[1].digest(), seeds))
    assert threaded == serial
    assert len(set(serial)) == len(serial)


@NEEDS_JIT
def test_same_digest_without_compiler_and_with_structref():
    script = Path(toy.__file__)
    expected = [toy.run(seed, customers=60)[1].digest() for seed in range(3)]
    for change in ({"NUMBA_DISABLE_JIT": "1"}, {"MLTWIN_WORLD": "structref"}):
        done = subprocess.run(
            [sys.executable, "-W", "error::RuntimeWarning", str(script)],
            env={**os.environ, **change},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.split() == expected, change


@NEEDS_JIT
def test_mean_wait_agrees_with_erlang_c():
    """M/M/c, c = 3, load 0.8: P(wait) = 0.6472, mean wait = P(wait) / (c mu - lambda)."""
    world, log = toy.run(11, customers=200_000, load=0.8, log_rows=1_000_000)
    rows = log.rows()
    start = rows.time[rows.kind == toy.START]
    waits = (start - world.arrival) / 1e12  # first come, first served: customers start in order
    servers, mu = 3, 1 / (3 * 0.8)
    offered = 1 / mu
    queued = offered**3 / 6 / (1 - offered / servers)
    p_wait = queued / (1 + offered + offered**2 / 2 + queued)
    assert np.mean(waits > 0) == pytest.approx(p_wait, rel=0.02)
    interval = batch_means_ci(waits[20_000:], 20, 0.999)
    assert interval.low < p_wait / (servers * mu - 1) < interval.high
    assert interval.half_width < 0.3 * interval.estimate
