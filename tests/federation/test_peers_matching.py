"""Match-making by a bandit."""

import numpy as np
import pytest
from peers_case import quadratics

from mltwin.models.federation.peers.matching import LinUCB, Matchmaking, disjoint_pairs
from mltwin.models.federation.peers.overlay import complete, ring, star
from mltwin.models.federation.peers.simulate import simulate_peers
from mltwin.models.federation.tables import TICKS_PER_S, Clients, Plan
from mltwin.sim.errors import InputError


def test_scores_are_those_of_the_formula() -> None:
    draw = np.random.default_rng(0)
    profiles = draw.random((6, 3))
    bandit = LinUCB(3, beta=0.7, ridge=2.0)
    for _ in range(20):
        i, j = draw.integers(0, 6, 2)
        bandit.update(profiles[i], profiles[j], draw.normal())
    scores = bandit.scores(profiles, number=4)
    theta = np.linalg.solve(bandit.gram, bandit.sum)
    for i in range(6):
        for j in range(6):
            x = np.concatenate([profiles[i], profiles[j]])
            width = np.sqrt(x @ np.linalg.solve(bandit.gram, x))
            assert scores[i, j] == pytest.approx(theta @ x + 0.7 / 2.0 * width)


def test_pairs_are_disjoint_and_the_best() -> None:
    scores = np.array([[9, 1, 5, 2], [8, 9, 0, 0], [1, 7, 9, 3], [0, 6, 4, 9.0]])
    allowed = ~np.eye(4, dtype=bool)
    assert disjoint_pairs(scores, allowed, 2).tolist() == [[1, 0], [3, 2]]
    assert disjoint_pairs(scores, allowed, 1).tolist() == [[1, 0]]
    allowed[1, 0] = False
    assert disjoint_pairs(scores, allowed, 2).tolist() == [[2, 1]] + [[0, 3]]


def test_the_bandit_finds_the_better_teachers() -> None:
    """Rewards are what the teacher is ahead of the student: regret against the best pairs falls."""
    draw = np.random.default_rng(1)
    profiles = draw.random((10, 2))
    worth = profiles @ [0.2, 1.0]
    gain = worth[None, :] - worth[:, None]
    others = ~np.eye(10, dtype=bool)
    best = sum(gain[i, j] for i, j in disjoint_pairs(gain, others, 3))
    bandit, regret = LinUCB(2, 1.0, 1.0), []
    for number in range(1, 101):
        pairs = disjoint_pairs(bandit.scores(profiles, number), others, 3)
        for student, teacher in pairs:
            bandit.update(profiles[student], profiles[teacher], gain[student, teacher])
        regret.append(best - sum(gain[i, j] for i, j in pairs))
    assert regret[0] > 0.5
    assert np.mean(regret[-50:]) < 0.05 * regret[0]


def peers(count: int = 8) -> Clients:
    return Clients.make(
        np.arange(1, count + 1) * 10, s_per_sample=0.01, up_bytes_per_s=[100.0] * count,
        latency_s=0.5,
    )  # fmt: skip


@pytest.mark.parametrize("match", ["linucb", "random"])
def test_rounds_of_matches(match: str) -> None:
    task, plan = quadratics(8, shift=2.0), Plan(steps=2, lr=0.1, versions=25, model_bytes=200.0)
    found = simulate_peers(
        peers(), complete(8), Matchmaking(match=match, noise=0.0), plan, task=task, seed=1
    )
    assert found.violations == []
    assert found.totals["used"] == 8 * 25
    # 2 steps of 10 samples, then 2 s of sending and a latency at each end
    assert np.diff(found.versions["time"]).tolist() == [round(3.2 * TICKS_PER_S)] * 24
    assert found.facts["bytes_sent"] == {"exchange": 25 * 4 * 200.0, "profile": 25 * 8 * 64.0}
    assert len(found.facts["rewards"]) == 25
    loss = found.evaluations["peers_loss"]
    assert loss[-1] < loss[0]
    again = simulate_peers(
        peers(), complete(8), Matchmaking(match=match, noise=0.0), plan, task=task, seed=1
    )
    assert again.facts["rewards"] == found.facts["rewards"]
    assert np.array_equal(again.weights, found.weights)


def test_pairs_are_edges_of_the_overlay() -> None:
    """In a star only peer 0 has anybody to exchange with: one pair a round."""
    plan = Plan(steps=2, lr=0.1, versions=5, model_bytes=200.0)
    found = simulate_peers(peers(), star(8), Matchmaking(), plan, task=quadratics(8), seed=1)
    assert found.facts["bytes_sent"]["exchange"] == 5 * 200.0


def test_a_student_may_refuse_what_harms_it() -> None:
    """Far apart optima: own losses are never better for an exchange, so nobody mixes."""
    task = quadratics(6, shift=0.0)
    plan = Plan(steps=50, lr=0.2, versions=5, model_bytes=1.0)
    kept = simulate_peers(
        peers(6), complete(6), Matchmaking(judge="own", only_better=True), plan, task=task
    )
    alone = task.centre * (1 - 0.8**250)
    assert np.allclose(kept.weights, alone.mean(axis=0), atol=1e-3)
    assert kept.evaluations["peers_distance"][-1] > 0.5


def test_what_cannot_be_is_refused() -> None:
    task, plan = quadratics(8), Plan(versions=3, model_bytes=1.0)
    with pytest.raises(InputError, match="there is no model"):
        simulate_peers(peers(), ring(8), Matchmaking(), plan)
    for rules, message in (
        ({"match": "love"}, "unknown match 'love'"),
        ({"judge": "me"}, "unknown judge 'me': held_out, own"),
        ({"mix": 1.5}, "mix is 1.5; give 0 to 1"),
        ({"pairs": 9}, "pairs is 9"),
    ):
        with pytest.raises(InputError, match=message):
            simulate_peers(peers(), ring(8), Matchmaking(**rules), plan, task=task)


def test_the_bandit_beats_chance_where_some_have_little_data() -> None:
    """Digits, 20 peers, some with few samples: better exchanges and better models of peers."""
    pytest.importorskip("sklearn")
    from mltwin.models.federation.learning.softmax import SoftmaxTask
    from mltwin.workloads.federated import datasets, splits

    reward, accuracy = {}, {}
    for match in ("linucb", "random"):
        runs = []
        for seed in range(3):
            examples = splits.quantity(datasets.digits(), 20, seed=seed)
            runs.append(simulate_peers(
                Clients.make(examples.samples, s_per_sample=0.01, up_bytes_per_s=2e5),
                complete(20), Matchmaking(pairs=5, match=match),
                Plan(lr=0.1, versions=25, evaluate_every=25), task=SoftmaxTask(examples),
                seed=seed, evaluate_peers=20,
            ))  # fmt: skip
        reward[match] = np.mean([np.mean(run.facts["rewards"][5:]) for run in runs])
        accuracy[match] = np.mean([run.evaluations["peers_accuracy"][-1] for run in runs])
    assert reward["linucb"] > 1.2 * reward["random"]
    assert accuracy["linucb"] > accuracy["random"] + 0.02
