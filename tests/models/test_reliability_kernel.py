"""The kernel of long runs does what its SimPy twin does, event by event, and loses no tick."""

import numpy as np
import pytest
from reliability_cases import random_run

from mltwin.models.training.reliability import run_plan
from mltwin.models.training.reliability_tables import COUNTS, EVENT_NAMES


@pytest.mark.parametrize("block", range(3))
def test_kernel_and_reference_agree_event_by_event(block: int) -> None:
    for seed in range(100 * block, 100 * block + 100):
        plan = random_run(seed)
        fast = run_plan(plan, log_steps=True)
        plain = run_plan(plan, reference=True, log_steps=True)
        assert np.array_equal(fast.log, plain.log), seed
        assert (fast.end, fast.parts, fast.counts) == (plain.end, plain.parts, plain.counts), seed
        assert fast.finished == plain.finished
        assert fast.up_s == pytest.approx(plain.up_s, rel=1e-9, abs=1e-18)


def test_every_tick_is_of_one_part() -> None:
    for seed in range(300):
        found = run_plan(random_run(seed))
        assert sum(found.parts.values()) == found.end, seed
        assert min(value for name, value in found.parts.items() if name != "straggling") >= 0


def test_the_cases_use_every_event_and_part() -> None:
    found = [run_plan(random_run(seed), log_steps=True) for seed in range(300)]
    kinds = np.concatenate([one.log[:, 1] for one in found])
    assert (np.bincount(kinds, minlength=len(EVENT_NAMES)) > 20).all()
    for name in COUNTS:
        assert sum(one.counts[name] > 0 for one in found) > 10, name
    for name in found[0].parts:
        assert sum(one.parts[name] > 0 for one in found) > 20, name
    assert 50 < sum(one.finished for one in found) < 290


def test_a_log_that_fills_up_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(20):
        plan = random_run(seed)
        whole = run_plan(plan, log_steps=True)
        monkeypatch.setattr("mltwin.models.training.reliability.LOG_ROWS", 40)
        cut = run_plan(plan, log_steps=True)
        monkeypatch.undo()
        assert np.array_equal(cut.log, whole.log) and cut.parts == whole.parts
