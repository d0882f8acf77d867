"""Clients that take part as they will: the processes, and the rules that make up for them."""

from typing import Any

import numpy as np
import pytest
from sync_case import Desk, arrivals, clients, quadratics, run, updates

from mltwin.models.federation.tables import Plan
from mltwin.policies.federated.memory import Intervals, Memory
from mltwin.policies.federated.participation import FedAu, Mifa, Participation
from mltwin.policies.federated.registry import make
from mltwin.policies.federated.variance import FedStale
from mltwin.sim.errors import InputError

COINS = {"name": "participation", "mean": 0.4}


def weights(strategy: Any, **given: Any) -> np.ndarray:
    found = run(strategy, **{"task": quadratics(noise=0.1), **given})
    assert found.weights is not None
    return found.weights


# Reductions.


def test_with_everybody_there_all_corrections_are_fedavg() -> None:
    expected = weights({"name": "fedavg", "clients": 0, "equal": True})
    for name in ("fedau", "known_prob", "average_all", "unbiased_fedavg"):
        assert np.array_equal(weights(name), expected), name
    for name in ("fedvarp", "fedstale", "mifa"):  # float32 differences with what is remembered
        assert np.abs(weights(name) - expected).max() < 1e-6, name


def test_fedstale_spans_unbiased_fedavg_and_fedvarp() -> None:
    def of(spec: Any) -> np.ndarray:
        return weights(spec, selection=COINS)

    assert np.array_equal(of({"name": "fedstale", "beta": 0.0}), of("unbiased_fedavg"))
    assert np.array_equal(of({"name": "fedstale", "beta": 1.0}), of("fedvarp"))
    assert np.array_equal(of("unbiased_fedavg"), of("known_prob"))
    assert not np.array_equal(of({"name": "fedstale", "beta": 0.5}), of("fedvarp"))


def test_data_weights_count_where_asked_for() -> None:
    by_data = weights({"name": "known_prob", "equal": False})
    assert np.abs(by_data - weights({"name": "fedavg", "clients": 0})).max() < 1e-12


# The estimate of FedStale.


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_fedstale_has_the_mean_and_variance_of_its_formula(beta: float) -> None:
    draw = np.random.default_rng(5)
    count, rounds = 20, 4000
    q = draw.uniform(0.1, 0.9, count)
    fresh, old = draw.normal(size=(count, 1)), draw.normal(size=(count, 1))
    desk = Desk(
        clients(count),
        task=quadratics(count, 1),
        selection=Participation(chance=tuple(q)),
        weights=np.zeros(1),
    )
    everyone = np.arange(count)
    rule = FedStale(beta=beta)
    made = np.zeros(rounds)
    there = draw.random((rounds, count)) < q
    rule.reset(desk)
    for number in range(rounds):
        rule._last.put(everyone, old.astype(np.float32))
        rule._sum = old.mean(axis=0)
        who = np.flatnonzero(there[number])
        made[number] = rule.change(desk, arrivals(who), updates(fresh[who]))[0]
    variance = np.sum((1 - q) / q * (fresh - beta * old)[:, 0] ** 2) / count**2
    assert abs(made.mean() - fresh.mean()) < 4 * np.sqrt(variance / rounds)
    assert abs(made.var() / variance - 1) < 0.12


# What servers remember.


def brute_intervals(there: np.ndarray, cutoff: int) -> list[float]:
    """The weights that FedAU's loop over all rounds gives at each participation."""
    count, ended, used = 0, [], []
    for present in there:
        count += 1
        if present:
            used.append(float(np.mean(ended)) if ended else 1.0)
        if present or count == cutoff:
            ended.append(count)
            count = 0
    return used


@pytest.mark.parametrize("cutoff", [1, 2, 3, 7, 0])
def test_intervals_are_those_of_a_loop_over_all_rounds(cutoff: int) -> None:
    draw = np.random.default_rng(2)
    there = draw.random((200, 9)) < draw.uniform(0.02, 0.9, 9)
    kept = Intervals(9, cutoff)
    found: list[list[float]] = [[] for _ in range(9)]
    for number, present in enumerate(there):
        who = np.flatnonzero(present)
        for client, mean in zip(who, kept.mean(who, number), strict=True):
            found[client].append(float(mean))
        kept.record(who, number)
    for client in range(9):
        assert found[client] == brute_intervals(there[:, client], cutoff or 10**9)


@pytest.mark.parametrize(("chance", "cutoff"), [(0.1, 50), (0.05, 10), (0.3, 5)])
def test_the_mean_interval_has_its_closed_form(chance: float, cutoff: int) -> None:
    coins = np.random.default_rng(3).random(200_000) < chance
    kept, one = Intervals(1, cutoff), np.array([0])
    for number in np.flatnonzero(coins):
        kept.record(one, int(number))
    expected = (1 - (1 - chance) ** cutoff) / chance
    assert abs(kept.total[0] / kept.count[0] / expected - 1) < 0.02


def test_memory_gives_back_what_was_put_in_and_zeros_else() -> None:
    draw, kept, known = np.random.default_rng(1), Memory(100, 3), np.zeros((100, 3), np.float32)
    for _ in range(50):
        who = draw.permutation(100)[: draw.integers(0, 9)]
        rows = draw.normal(size=(len(who), 3)).astype(np.float32)
        kept.put(who, rows)
        known[who] = rows
        assert np.array_equal(kept[np.arange(100)], known)
    assert kept.known == (known != 0).any(axis=1).sum()


def test_mifa_adds_the_last_update_of_everyone() -> None:
    desk, rule = Desk(clients(4), task=quadratics(4, 2), weights=np.zeros(2)), Mifa()
    rule.reset(desk)
    first = rule.change(desk, arrivals([0, 1]), updates([[4, 0], [8, 0]]))
    then = rule.change(desk, arrivals([1, 3]), updates([[0, 4], [0, 12]]))
    assert first.tolist() == [3.0, 0.0]
    assert then.tolist() == [1.0, 4.0]


def test_fedau_weighs_by_the_mean_interval() -> None:
    desk, rule = Desk(clients(2), task=quadratics(2, 1), weights=np.zeros(1)), FedAu(cutoff=0)
    rule.reset(desk)
    made = []
    for desk.version in (2, 6):  # intervals of 3 and 4 rounds; before the first has ended, 1
        made.append(rule.change(desk, arrivals([0]), updates([[1.0]]))[0])
    desk.version = 7
    made.append(rule.change(desk, arrivals([0]), updates([[1.0]]))[0])
    assert made == [0.5, 1.5, 1.75]


# The processes.


def taken(process: Participation, count: int, rounds: int, **given: Any) -> np.ndarray:
    """bool[rounds, count]."""
    desk = Desk(clients(count), **given)
    found = np.zeros((rounds, count), bool)
    for desk.version in range(rounds):
        found[desk.version, process.choose(desk, count)] = True
    return found


@pytest.mark.parametrize("process", ["bernoulli", "markov", "cyclic"])
def test_clients_are_there_as_often_as_their_chance_says(process: str) -> None:
    chance = np.repeat([0.02, 0.1, 0.5, 0.9, 1.0], 40)
    selection = Participation(process=process, chance=tuple(chance), period=100)
    found = taken(selection, 200, 1000)
    share = found.mean(axis=0).reshape(5, 40).mean(axis=1)
    # The relaxation of the Markov chain, 1 / (come + leave) rounds, widens the error.
    come = np.minimum(0.05, chance[::40] / np.maximum(1 - chance[::40], 1e-300))
    relax = 2 * chance[::40] / come if process == "markov" else 1.0
    error = np.sqrt(chance[::40] * (1 - chance[::40]) / (1000 * 40) * relax)
    assert (np.abs(share - chance[::40]) <= 4 * error + 1e-12).all()


def test_a_cycle_repeats() -> None:
    found = taken(Participation(process="cyclic", mean=0.07, period=30), 20, 90)
    assert np.array_equal(found[:30], found[30:60])
    assert (found[:30].sum(axis=0) == 2).all()


def test_a_chain_stays_longer_than_coins() -> None:
    def switches(process: str) -> int:
        found = taken(Participation(process=process, mean=0.3), 50, 400)
        return int((found[1:] != found[:-1]).sum())

    assert switches("markov") < switches("bernoulli") / 3


def test_who_takes_part_does_not_depend_on_who_is_away() -> None:
    everyone = taken(Participation(mean=0.4), 30, 20)
    some = taken(Participation(mean=0.4), 30, 20, away=(3, 4))
    assert np.array_equal(np.delete(some, [3, 4], axis=1), np.delete(everyone, [3, 4], axis=1))
    assert not some[:, [3, 4]].any()


def test_chances_can_hang_on_labels() -> None:
    from mltwin.models.federation.learning.plain import PlainSoftmax
    from mltwin.models.federation.learning.tables import Examples

    draw = np.random.default_rng(0)
    label = np.repeat(np.arange(5), 40)
    x = draw.normal(size=(200, 2))
    examples = Examples.make(
        x, label, np.arange(0, 201, 10), np.arange(200), x, label, classes=5
    )  # client 4 k ... 4 k + 3 has class k
    desk = Desk(clients(20), task=PlainSoftmax(examples))
    selection = Participation(mean=0.1, labels=0.1, lowest=0.02)
    chances = selection.chances(desk, 20).reshape(5, 4)
    assert (chances == chances[:, :1]).all()
    assert chances.min() == 0.02
    assert chances.max() > 0.1
    assert np.array_equal(selection.chances(desk, 20), Participation(
        mean=0.1, labels=0.1, lowest=0.02).chances(desk, 20))  # fmt: skip


def test_rounds_in_which_nobody_takes_part_count() -> None:
    found = run(
        "fedau",
        task=quadratics(),
        plan=Plan(steps=2, lr=0.05, versions=60),
        selection={"name": "participation", "mean": 0.1},
    )
    assert found.complete
    assert len(found.versions["version"]) == 60
    assert (found.versions["used"] == 0).sum() > 10


def test_known_chances_must_be_known() -> None:
    with pytest.raises(InputError, match="does not know its clients' chances"):
        run("known_prob", task=quadratics(), selection="oort")
    with pytest.raises(InputError, match="needs a task of classes"):
        run("fedau", task=quadratics(), selection={"name": "participation", "labels": 0.1})
    with pytest.raises(InputError, match="2 chances for 6 clients"):
        run("fedau", selection={"name": "participation", "chance": [0.1, 0.2]})
    with pytest.raises(InputError, match="choose one of bernoulli, markov, cyclic"):
        make("selection", {"name": "participation", "process": "weekly"})
