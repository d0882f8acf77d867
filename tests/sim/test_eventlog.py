import numpy as np
import pytest

from mltwin.sim.errors import KernelError
from mltwin.sim.eventlog import LOG, EventLog, log_event, log_full
from mltwin.sim.jit import kernel
from mltwin.sim.world import World


@kernel()
def write(S, first, last):
    for i in range(first, last):
        log_event(S, 10 * i, i % 3, i, -i)


@kernel()
def full(S, margin):
    return log_full(S, margin)


def make(capacity):
    log = EventLog(capacity)
    return World(**log.tables()), log


def test_rows_come_back_in_order_over_several_drains():
    world, log = make(4)
    for first in range(0, 12, 3):
        write(world, first, first + 3)
        if first < 9:
            assert log.drain() == 3
    rows = log.rows()
    assert rows.dtype == LOG and len(rows) == 12
    assert rows[5].tolist() == (50, 2, 5, -5)
    assert log.drain() == 0 and len(log.rows()) == 12


def test_full_leaves_a_margin():
    world, log = make(10)
    write(world, 0, 7)
    assert not full(world, 3) and full(world, 4)
    log.drain()
    assert not full(world, 10) and full(world, 11)


def test_lost_rows_are_an_error():
    world, log = make(4)
    write(world, 0, 6)
    with pytest.raises(KernelError, match="lost 2 rows"):
        log.rows()


def test_off():
    world, log = make(0)
    write(world, 0, 6)
    assert not full(world, 100) and log.drain() == 0 and len(log.rows()) == 0
    assert log.to_frame().empty


def test_digest_depends_on_rows_not_on_drains():
    (a, log_a), (b, log_b), (c, log_c) = make(9), make(3), make(9)
    write(a, 0, 6)
    write(b, 0, 3)
    log_b.drain()
    write(b, 3, 6)
    write(c, 1, 7)
    assert log_a.digest() == log_b.digest() != log_c.digest()


def test_frame():
    world, log = make(9)
    write(world, 0, 4)
    frame = log.to_frame({0: "arrive", 1: "leave"})
    assert frame["kind"].tolist() == ["arrive", "leave", "2", "arrive"]
    assert frame["time"].dtype == np.int64 and frame["time_s"].iloc[2] == 20e-12
    assert frame["value"].tolist() == [0, -1, -2, -3]


def test_negative_capacity_is_refused():
    with pytest.raises(ValueError, match="capacity"):
        EventLog(-1)
