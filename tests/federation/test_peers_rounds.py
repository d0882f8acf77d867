"""D-PSGD against loops in plain Python, federated averaging and the theory of consensus."""

import math

import numpy as np
import pytest
from peers_case import presence, quadratics

from mltwin.models.federation.hooks import Local, Policies
from mltwin.models.federation.peers.gossip import Gossip
from mltwin.models.federation.peers.matching import Matchmaking
from mltwin.models.federation.peers.mixing import contraction, mixing
from mltwin.models.federation.peers.modest import Modest
from mltwin.models.federation.peers.overlay import (
    Overlay,
    complete,
    one_peer_exponential,
    positions,
    regular,
    ring,
    star,
)
from mltwin.models.federation.peers.rounds import DPSGD
from mltwin.models.federation.peers.simulate import simulate_peers
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import TICKS_PER_S, Availability, Clients, Plan
from mltwin.policies.federated.registry import make
from mltwin.sim.errors import InputError
from mltwin.sim.rng import SERVICE, keyed_normal


def clients(peers: int, seed: int = 0, **given) -> Clients:
    draw = np.random.default_rng(seed)
    fields = {
        "s_per_sample": draw.uniform(1e-3, 5e-3, peers),
        "jitter": 0.4,
        "up_bytes_per_s": draw.uniform(1e3, 5e3, peers),
        "down_bytes_per_s": draw.uniform(2e3, 9e3, peers),
        "latency_s": draw.uniform(0, 0.1, peers),
    }
    return Clients.make(draw.integers(20, 60, peers), **{**fields, **given})


def plain_ends(who: Clients, overlay: Overlay, plan: Plan, seed: int, overlap: bool) -> list[int]:
    """When the last peer ends each round: the recurrence of the docstring, peer by peer."""
    peers = len(who)
    own, site, between = overlay.latency_ticks(who.latency_s)
    at, ends = [0] * peers, []
    for number in range(plan.versions or 0):
        edges = overlay.phases[number % len(overlay.phases)]
        pairs = list(zip(edges.source.tolist(), edges.to.tolist(), strict=True))
        done = []
        for i in range(peers):
            z = keyed_normal(seed, SERVICE, i, number)
            factor = math.exp(who.jitter[i] * z - 0.5 * who.jitter[i] ** 2)
            seconds = plan.steps * plan.batch * float(who.s_per_sample[i]) * factor
            done.append(at[i] + round(seconds * TICKS_PER_S))
        after = list(done)
        for i, j in pairs:
            up = who.up_bytes_per_s[i] / sum(a == i for a, _ in pairs)
            down = who.down_bytes_per_s[j] / sum(b == j for _, b in pairs)
            ticks = math.ceil(plan.model_bytes / min(up, down) * TICKS_PER_S)
            latency = int(own[i] + own[j] + between[site[i], site[j]])
            start = at[i] if overlap else done[i]
            after[j] = max(after[j], start + ticks + latency)
        at = after
        ends.append(max(at))
    return ends


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("number", range(4))
def test_times_are_those_of_a_plain_loop(number: int, overlap: bool) -> None:
    overlay = [ring(7), complete(5), star(6), one_peer_exponential(9)][number]
    overlay = overlay.with_latency(positions(4, number))
    who = clients(overlay.peers, number)
    plan = Plan(steps=3, versions=12, model_bytes=700.0)
    weights = "uniform" if number == 3 else "metropolis"
    found = simulate_peers(who, overlay, DPSGD(weights, overlap), plan, seed=number)
    assert found.versions["time"].tolist() == plain_ends(who, overlay, plan, number, overlap)
    assert found.violations == []
    edges = sum(len(overlay.phases[r % len(overlay.phases)].to) for r in range(12))
    assert found.facts["bytes_sent"] == {"model": edges * 700.0}
    assert found.clients["up_bytes"].sum() == found.clients["down_bytes"].sum() == edges * 700.0
    assert found.ended == "version 12 was made, the last one asked for"


@pytest.mark.parametrize("overlap", [False, True])
@pytest.mark.parametrize("number", range(3))
def test_models_are_those_of_a_plain_loop(number: int, overlap: bool) -> None:
    overlay = [ring(6), star(6), one_peer_exponential(6)][number]
    weights = "uniform" if number == 2 else "metropolis"
    task, plan = quadratics(6), Plan(steps=2, lr=0.2, versions=9, model_bytes=1.0)
    found = simulate_peers(clients(6), overlay, DPSGD(weights, overlap), plan, task=task, seed=4)
    models = np.zeros((6, 4))
    for r in range(9):
        matrix = mixing(overlay.phases[r % len(overlay.phases)], weights).matrix.toarray()
        made = np.stack([
            task.train(models[i : i + 1].astype(np.float32), np.zeros(1, int), np.array([i]),
                       np.array([r]), np.array([2]), Local(lr=0.2, batch=10), 4).delta[0]
            for i in range(6)
        ]).astype(np.float64)  # fmt: skip
        models = matrix @ models + made if overlap else matrix @ (models + made)
    assert np.allclose(found.weights, models.mean(axis=0), rtol=0, atol=1e-12)
    apart = np.sqrt(((models - models.mean(axis=0)) ** 2).sum(axis=1).mean())
    assert found.evaluations["consensus"][-1] == pytest.approx(apart, rel=1e-9)


def test_a_complete_graph_is_federated_averaging() -> None:
    peers, task = 8, quadratics(8)
    plan = Plan(steps=3, lr=0.15, versions=20, model_bytes=1.0)
    who = clients(peers).changed(samples=np.full(peers, 30))
    mine = simulate_peers(who, complete(peers), DPSGD(), plan, task=task, seed=2)
    policies = Policies(make("strategy", {"name": "fedavg", "clients": peers}))
    theirs = simulate(who, policies, plan, task=task, seed=2, reference=True)
    assert np.allclose(mine.weights, theirs.weights, rtol=0, atol=1e-12)
    assert np.abs(mine.weights).max() > 0.05
    assert mine.evaluations["consensus"][-1] < 1e-12


def test_consensus_contracts_at_the_second_eigenvalue() -> None:
    """Training in round 1 only: then nothing but averaging."""
    plan = Plan(steps=1, lr=0.5, lr_decay=0.0, lr_decay_every=1, versions=120, model_bytes=1.0)
    overlay = ring(10)
    found = simulate_peers(clients(10), overlay, DPSGD(), plan, task=quadratics(10))
    apart = found.evaluations["consensus"]
    assert apart[80] / apart[79] == pytest.approx(contraction(overlay), rel=1e-4)
    assert found.evaluations["loss"][1:] == pytest.approx(found.evaluations["loss"][1])


class Scored:
    """The quadratics, with an accuracy that rises with the model."""

    def __init__(self, peers: int) -> None:
        self.inner = quadratics(peers, shift=1.0)
        self.parameters, self.flops_per_sample = 4, 1.0

    def __getattr__(self, name: str):
        return getattr(self.inner, name)

    def evaluate(self, weights):
        reached = 1 - float(np.exp(-weights @ weights))
        return {**self.inner.evaluate(weights), "accuracy": reached}


@pytest.mark.parametrize("protocol", [DPSGD(), Gossip("pair"), Modest(sample=3), Matchmaking()])
def test_a_target_ends_the_run_and_its_costs(protocol) -> None:
    plan = Plan(steps=2, lr=0.05, versions=50, model_bytes=10.0, target=0.5)
    found = simulate_peers(clients(5), complete(5), protocol, plan, task=Scored(5))
    last = len(found.versions["version"])
    assert 1 < last < 50
    assert found.ended == f"accuracy 0.5 reached at version {last}"
    assert found.complete
    assert found.violations == []
    assert found.evaluations["version"][-1] == last
    assert found.evaluations["accuracy"][-1] >= 0.5 > found.evaluations["accuracy"][-2]
    assert found.evaluations["up_bytes"][-1] == found.clients["up_bytes"].sum()
    assert found.versions["used"].sum() == found.totals["used"]
    short = Plan(**{**plan.__dict__, "versions": last, "target": None})
    again = simulate_peers(clients(5), complete(5), protocol, short, task=Scored(5))
    assert again.totals == found.totals
    assert again.end == found.end
    assert np.array_equal(again.weights, found.weights)


def test_a_first_model_that_will_do_ends_the_run_at_once() -> None:
    plan = Plan(lr=0.05, versions=50, model_bytes=10.0, target=0.0)
    for protocol in (DPSGD(), Gossip(), Modest(sample=3), Matchmaking()):
        found = simulate_peers(clients(5), complete(5), protocol, plan, task=Scored(5))
        assert found.ended == "accuracy 0 reached at version 0"
        assert (found.end, found.totals["used"], found.violations) == (0, 0, [])
        assert found.evaluations["version"].tolist() == [0]


def test_a_model_that_is_not_finite_ends_the_run() -> None:
    plan = Plan(steps=5, lr=1e30, versions=50, model_bytes=10.0)
    found = simulate_peers(clients(5), ring(5), DPSGD(), plan, task=quadratics(5))
    assert not found.complete
    assert found.ended.endswith("is not finite: lower the learning rate")
    assert len(found.versions["version"]) < 50
    assert np.isfinite(found.weights).all()


def test_rounds_by_a_coordinator_lose_what_comes_late() -> None:
    """One peer is slow, one is away at first: their models do not count."""
    away = Availability(
        np.array([0, 1]), np.array([10 * TICKS_PER_S]), np.array([1000 * TICKS_PER_S]),
        np.zeros(1, np.int64), np.array([-1, -1, -1, 0], np.int32), np.zeros(4, np.int64),
    )  # fmt: skip
    who = Clients.make(
        np.full(4, 50), s_per_sample=[0.01, 0.01, 0.2, 0.01], up_bytes_per_s=1e3, availability=away
    )
    plan = Plan(steps=5, versions=20, model_bytes=100.0)
    found = simulate_peers(who, complete(4), DPSGD(round_s=1.0), plan)
    assert found.versions["time"].tolist() == [k * TICKS_PER_S for k in range(1, 21)]
    assert found.versions["used"].tolist() == [2] * 10 + [3] * 10
    assert found.clients["lost"].tolist() == [0, 0, 20, 0]
    assert found.clients["used"].tolist() == [20, 20, 0, 10]
    # to peer 3 nothing arrives in the first ten rounds: 2 models lost in each
    assert found.facts["bytes_lost"] == {"model": 10 * 2 * 100.0}
    assert found.violations == []


@pytest.mark.parametrize("seed", range(10))
def test_laws_under_churn(seed: int) -> None:
    draw = np.random.default_rng(seed)
    who = clients(8, seed, failure=0.2, availability=presence(draw, 8, 40, 0.7))
    plan = Plan(steps=3, lr=0.1, until_s=30.0, model_bytes=200.0)
    found = simulate_peers(
        who, regular(8, 3, seed), DPSGD(round_s=0.7), plan, task=quadratics(8), seed=seed
    )
    assert found.violations == []
    assert found.totals["lost"] > 0
    assert found.end == 30 * TICKS_PER_S
    assert (np.diff(found.evaluations["wasted_s"]) >= 0).all()


def test_what_cannot_be_is_refused() -> None:
    who, plan = clients(4), Plan(versions=3, model_bytes=1.0)
    leaving = who.changed(availability=presence(np.random.default_rng(0), 4, 40, 1.0))
    for given, message in (
        ((who, ring(5), DPSGD(), plan), "an overlay of 5 peers, 4 clients"),
        ((who, ring(4), DPSGD(), Plan(model_bytes=1.0)), "nothing ends the run"),
        ((who, ring(4), DPSGD(), Plan(versions=3, steps=-1)), "steps is -1; give 0 or more"),
        ((who, ring(4), DPSGD("gold"), plan), "unknown weights"),
        ((who, ring(4), DPSGD(round_s=0.0), plan), "rounds of 0"),
        ((leaving, ring(4), DPSGD(), plan), "wait for their neighbours"),
        ((who, one_peer_exponential(4), DPSGD(), plan), "both ways"),
    ):
        with pytest.raises(InputError, match=message):
            simulate_peers(*given)


def test_a_target_needs_another_limit() -> None:
    plan = Plan(target=0.5, model_bytes=1.0)
    with pytest.raises(InputError, match="a target alone may never end"):
        simulate_peers(clients(4), ring(4), DPSGD(), plan, task=quadratics(4))
