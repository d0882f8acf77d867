"""The frame of synchronous rounds: who is asked, how long it waits, and how it gives up."""

import dataclasses

import numpy as np
import pytest
from sync_case import clients, quadratics, run, synchronous

from mltwin.models.federation.tables import Availability, Plan
from mltwin.policies.federated.registry import built_in, make
from mltwin.policies.federated.synchronous import PATIENCE
from mltwin.sim.errors import InputError

TIMED = Plan(steps=1, batch=10, versions=5)
"""Client i takes (i + 1) * 10 ms."""


def intervals(*each: tuple[float, float], period: float = 0.0) -> Availability:
    """One trace a client: one interval in seconds."""
    ticks = (np.array(each) * 1e9).astype(np.int64)
    count = len(each)
    return Availability(
        np.arange(count + 1),
        ticks[:, 0],
        ticks[:, 1],
        np.full(count, round(period * 1e9)),
        np.arange(count, dtype=np.int32),
        np.zeros(count, np.int64),
    )


def test_a_round_lasts_as_long_as_its_slowest_client() -> None:
    found = run({"name": "fedavg", "clients": 6}, plan=TIMED)
    assert found.versions["time"].tolist() == [60_000_000 * (k + 1) for k in range(5)]
    assert found.versions["used"].tolist() == [6] * 5
    assert found.totals["in_flight"] == 0


def test_over_selection_stops_the_slowest() -> None:
    found = run({"name": "fedavg", "clients": 4, "over": 1.5}, plan=TIMED)
    assert found.versions["time"].tolist() == [40_000_000 * (k + 1) for k in range(5)]
    assert found.clients["cancelled"][4:].tolist() == [5, 5]
    assert found.clients["used"].tolist() == [5, 5, 5, 5, 0, 0]


def test_a_deadline_ends_a_round_with_what_has_come() -> None:
    found = run({"name": "fedavg", "clients": 6, "deadline_s": 0.035}, plan=TIMED)
    assert found.versions["time"].tolist() == [35_000_000 * (k + 1) for k in range(5)]
    assert found.versions["used"].tolist() == [3] * 5


def test_a_round_with_too_few_updates_is_abandoned() -> None:
    spec = {"name": "fedavg", "clients": 6, "deadline_s": 0.035, "minimum": 4}
    found = run(spec, plan=dataclasses.replace(TIMED, versions=1))
    assert not found.complete
    assert f"{PATIENCE} in a row brought too few updates" in found.ended
    assert found.totals["used"] == 0
    assert found.totals["discarded"] == 3 * PATIENCE


def test_lost_clients_do_not_hold_up_a_round() -> None:
    failing = clients(failure=[0, 0, 0, 0, 1, 1])
    found = run({"name": "fedavg", "clients": 6}, who=failing, plan=TIMED)
    assert found.versions["used"].tolist() == [4] * 5
    assert found.clients["lost"].tolist() == [0, 0, 0, 0, 5, 5]


def test_a_deadline_ends_rounds_whose_losses_are_never_learned_of() -> None:
    failing = clients(failure=[0, 0, 0, 0, 1, 1])
    plan = dataclasses.replace(TIMED, detect_s=None)
    found = run({"name": "fedavg", "clients": 6, "deadline_s": 0.1}, who=failing, plan=plan)
    assert found.complete
    assert found.versions["time"].tolist() == [100_000_000 * (k + 1) for k in range(5)]


def test_a_round_waits_until_enough_clients_are_there() -> None:
    late = clients(2, availability=intervals((0, 100), (3, 100)))
    found = run({"name": "fedavg", "clients": 2}, who=late, plan=TIMED)
    assert found.versions["time"][0] == 3_020_000_000
    eager = run({"name": "fedavg", "clients": 2, "fill": False}, who=late, plan=TIMED)
    assert eager.versions["time"][0] == 10_000_000
    assert eager.versions["used"].tolist() == [1] * 5


def test_everybody_means_everybody_who_is_there() -> None:
    late = clients(2, availability=intervals((1, 100), (3, 100)))
    found = run({"name": "fedavg", "clients": 0}, who=late, plan=TIMED)
    assert found.versions["used"].tolist() == [1] * 5
    assert found.versions["time"][0] == 1_010_000_000


def test_a_round_that_can_never_begin_ends_the_run_and_keeps_what_there_is() -> None:
    leaving = clients(2, availability=intervals((0, 0.05), (0, 100)))
    found = run({"name": "fedavg", "clients": 2}, who=leaving, plan=TIMED)
    assert not found.complete
    assert "it wants 2 clients, 1 are there and no other returns" in found.ended
    assert 0 < len(found.versions["time"]) < 5


def test_clients_that_never_meet_do_not_keep_a_run_going() -> None:
    apart = clients(2, availability=intervals((0, 1), (2, 3), period=4))
    found = run({"name": "fedavg", "clients": 2}, who=apart, plan=TIMED)
    assert not found.complete
    assert "2 clients, 1 are there after 10021 returns" in found.ended


def test_rounds_begin_no_sooner_than_asked() -> None:
    found = run({"name": "fedavg", "clients": 6, "every_s": 1.0}, plan=TIMED)
    assert found.versions["time"].tolist() == [10**9 * k + 60_000_000 for k in range(5)]


@pytest.mark.parametrize("name", synchronous())
def test_every_algorithm_runs_without_a_model_and_says_the_same_twice(name: str) -> None:
    strategy = make("strategy", {"name": name, "clients": 3})
    who = clients(jitter=0.5, failure=0.1)
    found, again = (run(strategy, who=who, plan=TIMED) for _ in range(2))
    assert found.complete
    assert found.versions["time"].tolist() == again.versions["time"].tolist()


@pytest.mark.parametrize("name", synchronous())
def test_every_algorithm_starts_afresh_in_each_run(name: str) -> None:
    strategy = make("strategy", {"name": name, "clients": 3})
    found, again = (run(strategy, task=quadratics(noise=0.1)) for _ in range(2))
    assert found.complete
    assert found.weights is not None
    assert np.array_equal(found.weights, again.weights)


@pytest.mark.parametrize("name", ["fedavg", "scaffold", "fedamd", "fedau", "fedvarp"])
def test_both_engines_give_the_same_run(name: str) -> None:
    spec = {"name": name, "clients": 4, "over": 1.3, "deadline_s": 0.3, "fill": False}
    there = intervals(*([(0, 1)] * 3), *([(0.1, 1.5)] * 3), period=2)
    who = clients(jitter=0.5, failure=0.2, availability=there)
    plan = Plan(steps=4, lr=0.05, versions=25, interruption="pause", detect_s=0.05)
    one, other = (
        run(spec, who=who, task=quadratics(), plan=plan, selection="uniform", reference=reference)
        for reference in (False, True)
    )
    assert one.ended == other.ended
    assert np.array_equal(one.weights, other.weights)
    assert one.totals == other.totals
    for name_of, column in one.versions.items():
        assert np.array_equal(column, other.versions[name_of])


@pytest.mark.parametrize("name", synchronous())
def test_every_algorithm_says_what_it_is_and_where_from(name: str) -> None:
    entry = built_in("strategy")[name]
    assert len(entry.about) > 20
    assert entry.source


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"clients": 7}, "a round wants 7 clients of 6"),
        ({"clients": 2, "minimum": 3}, "a step wants 3 updates"),
        ({"clients": -1}, "clients is -1"),
        ({"over": 0.5}, "over is 0.5"),
        ({"deadline_s": -1.0}, "deadline_s is -1.0"),
        ({"server_lr": float("nan")}, "server_lr is nan"),
        ({"clients": 0, "minimum": 7}, "a step wants 7 updates"),
        ({"client": 3}, "did you mean 'clients'?"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(spec: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message.replace("?", r"\?")) as caught:
        run({"name": "fedavg", **spec})
    assert "\n" not in str(caught.value)
