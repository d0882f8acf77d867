"""The kernel of federations does what its SimPy twin does, event by event, and loses nothing."""

import numpy as np
import pytest
from system_cases import (
    Buffered,
    Counting,
    assert_same,
    assert_twins,
    random_federation,
    random_policies,
)

from mltwin.models.federation.events import EVENT_NAMES
from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.simulate import simulate


@pytest.mark.parametrize(
    "block", [0, *(pytest.param(block, marks=pytest.mark.slow) for block in (1, 2, 3))]
)
def test_kernel_and_twin_agree_event_by_event(block: int) -> None:
    for seed in range(250 * block, 250 * block + 250):
        clients, plan, key = random_federation(seed)
        assert_twins(clients, seed, plan, key)


def test_the_cases_use_every_event_and_ending() -> None:
    kinds = np.zeros(len(EVENT_NAMES), np.int64)
    endings: list[str] = []
    statuses = np.zeros(3, np.int64)
    ties = discarded = 0
    for seed in range(400):
        clients, plan, key = random_federation(seed)
        run = simulate(clients, random_policies(seed), plan, seed=key, record=True)
        kinds += np.bincount(run.log["kind"], minlength=len(kinds))
        lost = run.log[run.log["kind"] == EVENT_NAMES.index("lost")]
        statuses += np.bincount(lost["value"], minlength=3)
        came = run.log[run.log["kind"] == EVENT_NAMES.index("arrived")]["time"]
        ties += int((np.diff(came) == 0).sum())
        discarded += run.totals["discarded"]
        endings.append(run.ended)
    assert (kinds > 100).all(), kinds
    assert statuses[1] > 100 and statuses[2] > 100 and ties > 100 and discarded > 20
    for text in ("s are over", "the last one asked for", "as many as asked for", "never learns",
                 "no client is there any more"):  # fmt: skip
        assert any(text in ended for ended in endings), text


def test_automatic_steps_are_those_of_the_hooks() -> None:
    for seed in range(200):
        clients, plan, key = random_federation(seed)
        buffer, concurrency = 1 + seed % 3, 1 + seed % 7
        alone = simulate(
            clients, Policies(Counting(buffer, concurrency)), plan, seed=key, record=True
        )
        asked = simulate(
            clients, Policies(Buffered(buffer, concurrency)), plan, seed=key, record=True
        )
        assert_same(alone, asked, seed)
        assert not alone.violations
