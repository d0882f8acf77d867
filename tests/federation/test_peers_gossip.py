"""Gossip: the kernel against its SimPy twin, and what averaging must keep."""

import hashlib
from typing import Any

import numpy as np
import pytest
from peers_case import quadratics, random_setting, same
from system_cases import printed

from mltwin.models.federation.peers import gossip_kernel
from mltwin.models.federation.peers.gossip import Gossip
from mltwin.models.federation.peers.gossip_tables import EVENT_NAMES
from mltwin.models.federation.peers.overlay import (
    complete,
    from_edges,
    one_peer_exponential,
    ring,
    star,
)
from mltwin.models.federation.peers.simulate import simulate_peers
from mltwin.models.federation.tables import TICKS_PER_S, Clients, Plan
from mltwin.sim.errors import InputError

MERGE = next(kind for kind, name in EVENT_NAMES.items() if name == "merge")


def random_gossip(seed: int) -> Gossip:
    draw = np.random.default_rng(seed + 10**6)
    return Gossip(
        mode=str(draw.choice(["push", "pair"])),
        overlap=bool(draw.integers(2)),
        period_s=float(draw.choice([0, 0.3])),
    )


def test_the_kernel_is_its_twin_event_for_event() -> None:
    seen = set()
    for seed in range(150):
        case = random_setting(seed)
        runs = [
            simulate_peers(
                **case, protocol=random_gossip(seed), seed=seed, record=True, reference=twin
            )
            for twin in (False, True)
        ]
        same(*runs)
        seen |= set(runs[0].log["kind"].tolist())
    assert seen == set(EVENT_NAMES)


@pytest.mark.slow
def test_the_kernel_is_its_twin_on_a_thousand_cases() -> None:
    for seed in range(150, 1150):
        case = random_setting(seed)
        same(*(
            simulate_peers(**case, protocol=random_gossip(seed), seed=seed, record=True,
                           reference=twin)
            for twin in (False, True)
        ))  # fmt: skip


def people(peers: int, **given) -> Clients:
    draw = np.random.default_rng(0)
    fields = {"s_per_sample": draw.lognormal(-5, 1, peers), "jitter": 0.3}
    return Clients.make(np.full(peers, 50), **{**fields, **given})


def test_pairs_keep_the_mean_of_all_models() -> None:
    """Training only adds its updates to the sum of models; averaging in pairs takes nothing."""
    peers, task = 12, quadratics(12)
    plan = Plan(steps=1, lr=0.3, lr_decay=0.0, lr_decay_every=1, versions=40, model_bytes=100.0)
    found = simulate_peers(
        people(peers, up_bytes_per_s=1e4), complete(peers), Gossip("pair"), plan, task=task
    )
    # the step size is 0 once a version is made, so all later versions have one and the same mean
    loss = found.evaluations["loss"]
    late = found.evaluations["version"] >= 6
    assert np.ptp(loss[late]) < 1e-12 * loss[0]
    assert found.evaluations["consensus"][-1] < 1e-3 * found.evaluations["consensus"][1]

    pushed = simulate_peers(
        people(peers, up_bytes_per_s=1e4), complete(peers), Gossip("push"), plan, task=task
    )
    assert np.ptp(pushed.evaluations["loss"][late]) > 1e-6  # pushes do not keep it


@pytest.mark.parametrize("protocol", [Gossip(), Gossip(merge="age"), Gossip("pair", overlap=True)])
def test_gossip_learns(protocol: Gossip) -> None:
    task = quadratics(16, shift=3.0)
    plan = Plan(steps=2, lr=0.05, versions=60, model_bytes=100.0)
    found = simulate_peers(
        people(16, up_bytes_per_s=1e5), complete(16), protocol, plan, task=task, seed=3
    )
    before, after = found.evaluations["peers_loss"][[0, -1]]
    best = task.evaluate(task.optimum)["loss"]
    assert after - best < 0.1 * (before - best)
    assert found.violations == []
    assert found.versions["used"].sum() == found.totals["used"] == 16 * 60


def test_staleness_counts_merges_during_a_training() -> None:
    found = simulate_peers(
        people(20), ring(20), Gossip(overlap=True), Plan(versions=30, model_bytes=1.0), record=True
    )
    merged, expected = dict.fromkeys(range(20), 0), []
    names = {name: kind for kind, name in EVENT_NAMES.items()}
    for kind, entity in zip(found.log["kind"].tolist(), found.log["entity"].tolist(), strict=True):
        if kind == names["start"]:
            merged[entity] = 0
        elif kind == names["merge"]:
            merged[entity] += 1
        elif kind == names["done"]:
            expected.append(merged[entity])
    assert np.bincount(expected).tolist() == found.staleness.tolist()
    assert found.versions["staleness_mean"].mean() == pytest.approx(np.mean(expected))


def test_flows_share_the_receivers_link() -> None:
    """Four leaves of a star send 1,000 bytes at once to the hub: a quarter of its 2,000 a second
    each, so 2 s; alone it would be 1 s (up) for each."""
    who = Clients.make(
        np.full(5, 10), s_per_sample=[100, 0.1, 0.1, 0.1, 0.1], up_bytes_per_s=1e3,
        down_bytes_per_s=2e3, latency_s=0.25,
    )  # fmt: skip
    plan = Plan(steps=1, updates=5, model_bytes=1000.0)
    found = simulate_peers(who, star(5), Gossip(), plan, record=True)
    merges = found.log["time"][found.log["kind"] == MERGE]
    # trained after 1 s, 2 s on the link, then the latency of both ends
    assert merges.tolist() == [round(3.5 * TICKS_PER_S)] * 4
    assert found.clients["receive_ticks"][0] == 2 * TICKS_PER_S
    assert found.clients["send_ticks"][1:].tolist() == [2 * TICKS_PER_S] * 4


def test_the_order_of_merges_does_not_depend_on_the_task() -> None:
    who = people(8, up_bytes_per_s=1e3)
    plan = Plan(versions=10, lr=0.1, model_bytes=100.0)
    with_model = simulate_peers(who, ring(8), Gossip(), plan, task=quadratics(8), record=True)
    without = simulate_peers(who, ring(8), Gossip(), plan, record=True)
    assert with_model.log.tolist() == without.log.tolist()


def test_a_model_that_is_not_finite_ends_the_run() -> None:
    plan = Plan(steps=5, lr=1e30, versions=50, model_bytes=10.0)
    found = simulate_peers(people(5), ring(5), Gossip("pair"), plan, task=quadratics(5))
    assert not found.complete
    assert "is not finite: lower the learning rate" in found.ended
    assert len(found.versions["version"]) < 50
    assert found.violations == []


def test_what_cannot_be_is_refused() -> None:
    who, plan = people(4), Plan(versions=3, model_bytes=1.0)
    one_way = from_edges(4, [[0, 1], [1, 2], [2, 3], [3, 0]], directed=True)
    for overlay, protocol, message in (
        (ring(4), Gossip("shout"), "unknown mode 'shout': push, pair"),
        (ring(4), Gossip(merge="all"), "unknown merge"),
        (ring(4), Gossip(period_s=-1), "a period of -1 s"),
        (one_peer_exponential(4), Gossip(), "gossip has no rounds"),
        (one_way, Gossip("pair"), "exchanges both ways"),
    ):
        with pytest.raises(InputError, match=message):
            simulate_peers(who, overlay, protocol, plan)


SCRIPT = """
import hashlib, sys
sys.path.insert(0, sys.argv[1])
from test_peers_gossip import digest
print(digest())
"""


def digest() -> str:
    """Of a few random runs."""
    made = hashlib.sha256()
    for seed in range(12):
        run = simulate_peers(
            **random_setting(seed), protocol=random_gossip(seed), seed=seed, record=True
        )
        made.update(run.log.tobytes())
        made.update(repr([table.tolist() for table in run.evaluations.values()]).encode())
    return made.hexdigest()


def test_the_same_without_the_compiler() -> None:
    assert printed(SCRIPT, NUMBA_DISABLE_JIT="1") == digest()


def test_long_runs_come_up_for_air(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel call ends after some events, so that an interrupt is heard."""
    calls = []

    def counted(world: object, original: Any = gossip_kernel.advance) -> None:
        original(world)
        calls.append(int(world.state[0].events))  # type: ignore[attr-defined]

    monkeypatch.setattr(gossip_kernel, "advance", counted)
    clients = Clients.make(np.full(500, 10), s_per_sample=1e-3, jitter=0.3)
    plan = Plan(steps=1, batch=10, updates=1_500_000)
    run = simulate_peers(clients, ring(500), Gossip(), plan)
    assert max(np.diff([0, *calls])) <= gossip_kernel.EVENTS + 1 < calls[-1]
    assert run.totals["arrived"] >= plan.updates
