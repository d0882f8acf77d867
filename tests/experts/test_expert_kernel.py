"""The kernel does what the plain-Python reference does, event by event."""

import numpy as np
import pytest
from expert_cases import random_plan

from mltwin.models.experts import run_plan
from mltwin.models.experts.tables import ABSENT, RESIDENT, make_world


@pytest.mark.parametrize("block", range(4))
def test_kernel_and_reference_agree_event_by_event(block: int) -> None:
    for seed in range(100 * block, 100 * block + 100):
        plan = random_plan(seed)
        fast, plain = run_plan(plan, log=True), run_plan(plan, reference=True)
        assert fast.log == plain.log, seed
        assert fast.totals == plain.totals, seed
        for name in ("in_flight", "resident", "unused"):
            assert getattr(fast, name) == getattr(plain, name), (seed, name)
        for name, column in fast.visits.items():
            assert np.array_equal(column, plain.visits[name]), (seed, name)
        assert np.array_equal(fast.loads, plain.loads), seed


def test_the_cases_use_every_feature() -> None:
    """A random case that never waits, evicts or prefetches would prove little."""
    totals = [run_plan(random_plan(seed)).totals for seed in range(100)]
    for name in ("late", "prefetch", "wasted", "evicted", "in_time", "stalled"):
        assert sum(t[name] > 0 for t in totals) >= 10, name
    assert {random_plan(seed).policy for seed in range(100)} == set(range(6))


def test_a_log_that_fills_up_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = random_plan(11)
    whole = run_plan(plan, log=True)
    monkeypatch.setattr("mltwin.models.experts.simulate.LOG_ROWS", 12)
    assert run_plan(plan, log=True).log == whole.log
    assert run_plan(plan).totals == whole.totals


def test_conservation_at_every_event() -> None:
    """Experts come and go one by one: never twice, never more than fit, from absent to resident."""
    for seed in range(60):
        plan = random_plan(seed)
        log = run_plan(plan, log=True).log
        assert log is not None
        there = set(plan.preloaded.tolist())
        coming: set[int] = set()
        for _, kind, entity, _ in log:
            if kind == 2:
                assert entity not in there | coming
                coming.add(entity)
            elif kind == 3:
                coming.remove(entity)
                there.add(entity)
            elif kind == 4:
                there.remove(entity)
            elif kind == 5:
                assert entity in there
            assert len(there) + len(coming) <= plan.capacity


def test_preloaded_experts_stand_in_their_places() -> None:
    plan = next(p for p in map(random_plan, range(100)) if len(p.preloaded) > 1)
    world = make_world(plan)
    assert np.array_equal(world.place_key[: len(plan.preloaded)], plan.preloaded)
    assert (world.where[plan.preloaded] == RESIDENT).all()
    assert (np.delete(world.where, plan.preloaded) == ABSENT).all()
