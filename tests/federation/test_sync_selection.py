"""Which clients a selection chooses: laws of the draws, orders, and what it learns."""

from typing import Any

import numpy as np
import pytest
from scipy import stats
from sync_case import Desk, arrivals, clients, quadratics, run, updates

from mltwin.models.federation.hooks import FAILED
from mltwin.models.federation.tables import Availability, Plan
from mltwin.policies.federated.oort import Oort
from mltwin.policies.federated.registry import built_in, make
from mltwin.policies.federated.selection import (
    AvailableLongest,
    Fastest,
    LeastAvailable,
    PowerOfChoice,
    RoundRobin,
    Weighted,
)
from mltwin.policies.federated.traces import NEVER, leaves, presence

HOMES = ("selection", "oort", "participation")
SELECTIONS = sorted(
    name
    for name, entry in built_in("selection").items()
    if entry.cls.__module__.rpartition(".")[2] in HOMES
)
ONE = Plan(steps=1, batch=10, versions=600)


def test_uniform_is_uniform() -> None:
    found = run({"name": "fedavg", "clients": 4}, who=clients(20), plan=ONE, selection="uniform")
    counts = found.clients["dispatches"][:20]
    # m of N without replacement: the sum of squares is (N - m) / (N - 1) of the multinomial's
    statistic = np.sum((counts - counts.mean()) ** 2) / counts.mean() * 19 / 16
    assert 0.001 < stats.chi2.sf(statistic, 19) < 0.999


def test_weighted_draws_in_proportion_to_samples() -> None:
    desk, selection, counts = Desk(clients(8)), Weighted(), np.zeros(8)
    for _ in range(3000):
        counts[selection.choose(desk, 1)] += 1
    expected = 3000 * desk.clients.share
    assert stats.chi2.sf(np.sum((counts - expected) ** 2 / expected), 7) > 0.001


@pytest.mark.parametrize("name", SELECTIONS)
def test_every_selection_gives_distinct_idle_clients(name: str) -> None:
    selection = make("selection", name)
    task = quadratics(30)
    plan = Plan(steps=1, lr=0.01, versions=15)
    who = clients(30, failure=0.2, jitter=0.3)
    spec = {"name": "fedavg", "clients": 12, "over": 1.3}
    for learned in (task, None):
        found = run(spec, who=who, plan=plan, task=learned, selection=name)
        assert found.complete
    if name != "uniform":
        desk = Desk(clients(30), task=task, weights=np.zeros(4), away=(2, 5, 29))
        for desk.version, count in enumerate((1, 5, 27, 30)):
            chosen = selection.choose(desk, count)
            assert len(np.unique(chosen)) == len(chosen) <= count
            assert not np.isin(chosen, desk.away).any()


@pytest.mark.parametrize("name", SELECTIONS)
def test_every_selection_starts_afresh_in_each_run(name: str) -> None:
    selection: dict[str, Any] = {"selection": name}
    spec = {"name": "fedavg", "clients": 3}
    found, again = (
        run(spec, task=quadratics(noise=0.1), who=clients(jitter=0.5), **selection)
        for _ in range(2)
    )
    assert found.weights is not None
    assert np.array_equal(found.weights, again.weights)


def test_round_robin_goes_round_and_steps_over_those_away() -> None:
    desk, selection = Desk(clients(5), away=(3,)), RoundRobin()
    assert [selection.choose(desk, 2).tolist() for _ in range(4)] == [
        [0, 1],
        [2, 4],
        [0, 1],
        [2, 4],
    ]


def test_fastest_are_those_with_the_shortest_dispatch() -> None:
    slow_link = clients(4, s_per_sample=[3.0, 1.0, 2.0, 0.5], latency_s=[0, 0, 0, 100.0])
    assert Fastest().choose(Desk(slow_link), 2).tolist() == [1, 2]


def test_power_of_choice_takes_the_largest_losses_of_its_candidates() -> None:
    desk = Desk(clients(30), task=quadratics(30), weights=np.zeros(4))
    losses = desk.task.losses(desk.weights, np.arange(30))
    everyone = PowerOfChoice(candidates=30).choose(desk, 5)
    assert set(everyone) == set(np.argsort(-losses)[:5])
    few = PowerOfChoice(candidates=8)
    asked = few.drawn(desk, desk.idle(), desk.clients.samples * 1.0, 8)
    few._choices = 0
    assert set(few.choose(desk, 3)) == set(asked[np.argsort(-losses[asked])[:3]])


def test_power_of_choice_may_use_the_losses_it_last_saw() -> None:
    desk, selection = Desk(clients(6)), PowerOfChoice(candidates=6, last_known=True)
    seen = updates(np.zeros((6, 1)))
    seen.loss[:] = [5, 1, 4, 2, 3, 0]
    selection.report(desk, arrivals(np.arange(6)), seen)
    assert selection.choose(desk, 3).tolist() == [0, 2, 4]


# Oort.


def told(selection: Oort, desk: Desk, durations: Any, squared: Any = 1.0) -> None:
    everyone = np.arange(len(desk.clients))
    selection.report(
        desk, arrivals(everyone, duration=durations), updates(np.zeros((len(everyone), 1)), squared)
    )


def test_oort_with_equal_utilities_takes_the_fastest() -> None:
    desk = Desk(clients(10).changed(samples=np.full(10, 20)))
    durations = np.random.default_rng(4).permutation(np.arange(1, 11)) * 10**9
    selection = Oort(explore=0.0, least=0.0, cutoff=1.0, threshold=0.0)
    told(selection, desk, durations)
    for count in range(1, 10):
        assert set(selection.choose(desk, count)) == set(np.argsort(durations)[:count])


def test_oort_with_equal_durations_takes_the_largest_losses() -> None:
    desk = Desk(clients(10).changed(samples=np.full(10, 20)))
    squared = np.random.default_rng(4).permutation(np.arange(1.0, 11.0))
    selection = Oort(explore=0.0, least=0.0, cutoff=1.0, clip=1.0)
    told(selection, desk, 10**9, squared)
    for count in range(1, 10):
        assert set(selection.choose(desk, count)) == set(np.argsort(-squared)[:count])


def test_oort_prefers_those_long_unseen() -> None:
    desk = Desk(clients(6).changed(samples=np.full(6, 20)), version=0)
    selection = Oort(explore=0.0, least=0.0, cutoff=1.0)
    told(selection, desk, 10**9)
    desk.version = 40
    again = np.array([0, 2, 4])
    selection.report(desk, arrivals(again, duration=10**9), updates(np.zeros((3, 1)), 1.0))
    desk.version = 41
    assert set(selection.choose(desk, 3)) == {1, 3, 5}


def test_oort_scores_are_those_of_the_formula() -> None:
    desk = Desk(clients(4).changed(samples=np.array([10, 20, 30, 40])), version=6)
    selection = Oort(clip=1.0)
    told(selection, desk, np.array([1, 2, 4, 8]) * 10**9, np.array([4.0, 1.0, 9.0, 4.0]))
    utility = np.array([20.0, 20.0, 90.0, 80.0])
    expected = (utility - 20) / 70 + np.sqrt(0.1 * np.log(9) / 7)
    expected = expected * np.array([1, 1, (2 / 4) ** 2, (2 / 8) ** 2])
    assert np.allclose(selection.scores(np.arange(4), 9, 2.0), expected, rtol=1e-12)


def test_oort_explores_less_and_less_and_then_all_are_known() -> None:
    desk, selection = Desk(clients(200)), Oort()
    seen: list[int] = []
    for desk.version in range(60):
        chosen = selection.choose(desk, 10)
        selection.report(desk, arrivals(chosen), updates(np.zeros((10, 1)), 1.0))
        seen.append(int((selection._heard > 0).sum()))
    gained = np.diff([0, *seen])
    assert gained[0] == 10
    assert gained[1] == 9
    assert gained[55] <= 4
    assert selection._share >= 0.2


def test_oort_forgets_the_worth_of_those_that_fail() -> None:
    desk, selection = Desk(clients(3)), Oort(explore=0.0, least=0.0, cutoff=1.0)
    told(selection, desk, 10**9, [1.0, 1.0, 9.0])
    assert selection.choose(desk, 1).tolist() == [2]
    selection.report(desk, arrivals([2], status=FAILED), None)
    assert selection.choose(desk, 1).tolist() == [1]


def test_oort_waits_longer_when_its_utility_stays_flat() -> None:
    desk, selection = Desk(clients(10)), Oort(pace=5, explore=0.0, least=0.0)
    for desk.version in range(31):
        chosen = selection.choose(desk, 5)
        selection.report(desk, arrivals(chosen), updates(np.zeros((5, 1)), 0.0))
        selection._gained[desk.version + 1] = 1.0
    assert selection._quantile == pytest.approx(0.3 + 5 * 0.05)


# Availability.


def traced(period: int, offset: int = 0) -> Any:
    """Client 0 always there; 1 and 2 in [10, 20) and [40, 70); 3 in [0, 5)."""
    return clients(
        4,
        availability=Availability(
            np.array([0, 2, 3]),
            np.array([10, 40, 0]),
            np.array([20, 70, 5]),
            np.array([period, 0]),
            np.array([-1, 0, 0, 1], np.int32),
            np.array([0, 0, offset, 0]),
        ),
    )


@pytest.mark.parametrize("period", [0, 100])
@pytest.mark.parametrize("offset", [0, 33])
def test_time_there_is_that_of_a_walk_over_ticks(period: int, offset: int) -> None:
    who, everyone = traced(period, offset), np.arange(4)

    def here(client: int, tick: int) -> bool:
        if client == 0:
            return True
        if client == 3:
            return tick < 5
        local = tick + (offset if client == 2 else 0)
        local = local % period if period else local
        return 10 <= local < 20 or 40 <= local < 70

    walked = np.array([[here(client, tick) for client in everyone] for tick in range(400)])
    start = presence(who, everyone, 0)
    for tick in (0, 5, 10, 19, 20, 39, 55, 70, 99, 100, 137, 250, 399):
        assert (presence(who, everyone, tick) - start).tolist() == walked[:tick].sum(0).tolist()
        ends = leaves(who, everyone, tick)
        assert ends[0] == NEVER
        for client in (1, 2, 3):
            gone = tick
            while gone < 399 and walked[gone, client]:
                gone += 1
            if gone < 399:
                assert ends[client] == gone


def test_available_longest_takes_those_that_stay() -> None:
    desk = Desk(traced(100), now=45, away=(3,))
    assert AvailableLongest().choose(desk, 1).tolist() == [0]
    desk = Desk(traced(100, offset=10), now=45, away=(3,))
    assert AvailableLongest().choose(desk, 2).tolist() == [0, 1]


def test_least_available_takes_those_that_will_be_gone() -> None:
    desk = Desk(traced(100), now=45, away=(3,))
    assert set(LeastAvailable(round_s=30e-9).choose(desk, 2)) == {1, 2}
    assert LeastAvailable(round_s=10e-9).choose(Desk(traced(0), now=15, away=(3,)), 1)[0] in (1, 2)
