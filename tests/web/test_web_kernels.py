"""Both kernels do what their plain-Python references do, event by event."""

import numpy as np
import pytest
from web_cases import random_cdn, random_friends

from mltwin.models.web import run_cdn, run_friends
from mltwin.models.web.cdn_tables import SOURCES as CDN_SOURCES
from mltwin.models.web.friends_tables import SOURCES


@pytest.mark.parametrize("block", range(3))
def test_friends_agree_event_by_event(block: int) -> None:
    for seed in range(100 * block, 100 * block + 100):
        plan = random_friends(seed)
        fast, plain = run_friends(plan, log=True), run_friends(plan, reference=True)
        assert fast.log == plain.log, seed
        assert fast.totals == plain.totals, seed
        for name in ("source", "done", "uploader", "uploaded", "wasted", "used"):
            assert np.array_equal(getattr(fast, name), getattr(plain, name)), (seed, name)


@pytest.mark.parametrize("block", range(3))
def test_cdn_agrees_event_by_event(block: int) -> None:
    for seed in range(100 * block, 100 * block + 100):
        plan = random_cdn(seed)
        fast, plain = run_cdn(plan, log=True), run_cdn(plan, reference=True)
        assert fast.log == plain.log, seed
        assert fast.totals == plain.totals, seed
        for name in ("source", "done", "used"):
            assert np.array_equal(getattr(fast, name), getattr(plain, name)), (seed, name)


def test_the_cases_use_every_way_to_be_served() -> None:
    seen = np.concatenate([run_friends(random_friends(seed)).source for seed in range(100)])
    assert (np.bincount(seen, minlength=len(SOURCES)) > 20).all()
    seen = np.concatenate([run_cdn(random_cdn(seed)).source for seed in range(100)])
    assert (np.bincount(seen, minlength=len(CDN_SOURCES)) > 20).all()
    evicted = [run_friends(random_friends(seed)).totals["evicted"] > 0 for seed in range(100)]
    assert sum(evicted) > 20


def test_a_log_that_fills_up_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    friends, cdn = random_friends(3), random_cdn(3)
    whole = run_friends(friends, log=True).log, run_cdn(cdn, log=True).log
    monkeypatch.setattr("mltwin.models.web.simulate.LOG_ROWS", 10)
    assert (run_friends(friends, log=True).log, run_cdn(cdn, log=True).log) == whole
