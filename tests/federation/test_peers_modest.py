"""MoDeST: the engine against its SimPy twin, samples, views, crashes and bytes."""

from hashlib import md5

import numpy as np
import pytest
from peers_case import quadratics, random_setting, same

from mltwin.models.federation.peers.modest import Modest
from mltwin.models.federation.peers.modest_engine import ModestEngine
from mltwin.models.federation.peers.modest_tables import EVENT_CODES, EVENTS
from mltwin.models.federation.peers.overlay import complete, one_peer_exponential, positions, ring
from mltwin.models.federation.peers.rounds import DPSGD
from mltwin.models.federation.peers.simulate import simulate_peers
from mltwin.models.federation.peers.timeline import Setting
from mltwin.models.federation.peers.views import Views
from mltwin.models.federation.tables import TICKS_PER_S, Availability, Clients, Plan
from mltwin.sim.errors import InputError


def random_case(seed: int) -> dict:
    """A setting and rules; long enough for pings to time out."""
    draw = np.random.default_rng(seed + 10**6)
    case = random_setting(seed, horizon=400, slow=10.0)
    fields = {**case["plan"].__dict__, "interruption": "drop", "versions": 40}
    if draw.random() < 0.7:
        fields["updates"] = None
    case["plan"] = Plan(**fields)
    sample = int(draw.integers(1, min(len(case["clients"]), 6) + 1))
    case["protocol"] = Modest(
        sample=sample,
        aggregators=int(draw.integers(1, sample + 1)),
        success=float(draw.choice([0.5, 0.8, 1])),
        timeout_s=float(draw.choice([5, 20])),
        graceful=bool(draw.integers(2)),
        inactive_rounds=int(draw.choice([3, 50])),
        fastest=bool(draw.random() < 0.2),
        view_entry_bytes=int(draw.choice([0, 10])),
    )
    return case


def both(seed: int) -> list:
    case = random_case(seed)
    return [
        simulate_peers(**case, seed=seed, record=True, reference=twin) for twin in (False, True)
    ]


def test_the_engine_is_its_twin_event_for_event() -> None:
    seen = set()
    for seed in range(60):
        runs = both(seed)
        same(*runs)
        seen |= set(runs[0].log["kind"].tolist())
    assert {EVENTS[kind] for kind in seen} == set(EVENTS)


@pytest.mark.slow
def test_the_engine_is_its_twin_on_a_thousand_cases() -> None:
    for seed in range(60, 1060):
        same(*both(seed))


def peers(count: int, seed: int = 0, **given) -> Clients:
    draw = np.random.default_rng(seed)
    fields = {
        "s_per_sample": draw.lognormal(-3, 0.5, count),
        "jitter": 0.3,
        "up_bytes_per_s": 1e6,
        "down_bytes_per_s": 4e6,
    }
    return Clients.make(np.full(count, 50), **{**fields, **given})


def crashes(count: int, dead: int, last_s: float, seed: int) -> Availability:
    """So many peers leave for good, at any time up to `last_s`."""
    draw = np.random.default_rng(seed)
    trace = np.full(count, -1, np.int32)
    trace[draw.permutation(count)[:dead]] = np.arange(dead)
    end = np.maximum(1, (draw.uniform(0, last_s, dead) * TICKS_PER_S).astype(np.int64))
    zeros = np.zeros(dead, np.int64)
    return Availability(np.arange(dead + 1), zeros, end, zeros, trace, np.zeros(count, np.int64))


def far(count: int):
    return complete(count).with_latency(positions(20))


def test_the_order_of_a_sample_is_that_of_the_hashes() -> None:
    views = Views(np.ones(30, bool), 50)
    hashed = sorted(range(30), key=lambda p: md5(b"%d-%d" % (p, 7)).hexdigest())
    assert views.ordered(3, 7).tolist() == hashed
    views.left[3, hashed[0]] = True
    views.round[3, hashed[1]] = 2
    assert views.ordered(3, 52).tolist() == [
        p for p in sorted(range(30), key=lambda p: md5(b"%d-52" % p).hexdigest())
        if p in (3, hashed[1])
    ]  # fmt: skip


def test_samples_are_of_all_peers_whatever_the_edges() -> None:
    plan = Plan(versions=10, model_bytes=1e5)
    runs = [
        simulate_peers(peers(12), overlay, Modest(sample=4), plan, record=True)
        for overlay in (ring(12), complete(12))
    ]
    assert np.array_equal(runs[0].log, runs[1].log)
    assert all("not the edges" in run.facts["samples_of"] for run in runs)


def test_rounds_without_churn() -> None:
    """Every round has its sample, s models go out and floor(0.8 s) make the average."""
    found = simulate_peers(
        peers(40), far(40), Modest(sample=10), Plan(versions=60, model_bytes=1e5), record=True
    )
    assert found.violations == []
    assert found.versions["used"].tolist() == [8] * 60
    kind, value = found.log["kind"], found.log["value"]
    trained = value[kind == EVENT_CODES["train"]]
    assert np.bincount(trained)[1:60].tolist() == [10] * 59
    who = found.log["entity"][kind == EVENT_CODES["train"]]
    for number in (2, 30, 59):
        hashed = sorted(range(40), key=lambda p: md5(b"%d-%d" % (p, number)).hexdigest())
        assert sorted(who[trained == number].tolist()) == sorted(hashed[:10])
    assert (kind == EVENT_CODES["no_answer"]).sum() == 0
    # models: those of the 10 to the aggregator and back to 10, but its own (0 to 2 a round)
    sent = found.facts["bytes_sent"]["model"] / 1e5
    assert 59 * 18 <= sent <= 61 * 20
    assert found.facts["bytes_sent"]["view"] == pytest.approx(sent * 40 * 90)


def test_one_participant_is_gradient_descent() -> None:
    """A sample of one: the model walks from peer to peer, each trains it once."""
    task, plan = quadratics(5, shift=2.0), Plan(steps=3, lr=0.1, versions=12)
    found = simulate_peers(
        peers(5), ring(5), Modest(sample=1, success=1.0), plan, task=task, record=True
    )
    order = found.log["entity"][found.log["kind"] == EVENT_CODES["train"]][:12]
    model, shrink = np.zeros(4), 0.9**3
    for peer in order:
        model = shrink * model + (1 - shrink) * task.centre[peer]
    assert found.versions["used"].tolist() == [1] * 12
    assert np.allclose(found.weights, model, atol=1e-5)


def test_averages_may_weigh_by_samples() -> None:
    """Everybody takes part and is waited for: federated averaging."""
    who = peers(6).changed(samples=np.array([10, 20, 30, 40, 50, 60]))
    task, plan = quadratics(6, shift=2.0), Plan(steps=3, lr=0.1, versions=15)
    for by_samples, share in ((False, np.full(6, 1 / 6)), (True, who.share)):
        found = simulate_peers(
            who, ring(6), Modest(sample=6, success=1.0, by_samples=by_samples), plan, task=task
        )
        model = np.zeros(4)
        for _ in range(15):
            model = 0.9**3 * model + (1 - 0.9**3) * share @ task.centre
        assert np.allclose(found.weights, model, atol=1e-5)


@pytest.mark.parametrize("seed", range(4))
def test_it_outlives_four_fifths_of_its_peers(seed: int) -> None:
    """80 of 100 crash within the hour; with two aggregators rounds go on for another hour."""
    who = peers(100, seed, availability=crashes(100, 80, 3600.0, seed))
    plan = Plan(model_bytes=1e6, until_s=7200.0)
    found = simulate_peers(who, far(100), Modest(sample=10, aggregators=2), plan, seed=seed)
    times = found.versions["time"] / TICKS_PER_S
    assert found.complete
    assert found.violations == []
    assert (times > 3600).sum() > 50
    assert np.diff(times).max() < 600
    assert found.facts["bytes_lost"]["ping"] > 0
    assert found.facts["bytes_lost"]["model"] > 0


def test_one_aggregator_that_crashes_ends_it_in_one_line() -> None:
    """Nobody else has the models of the round."""
    runs = [
        simulate_peers(
            peers(100, seed, availability=crashes(100, 80, 3600.0, seed)), far(100),
            Modest(sample=10), Plan(model_bytes=1e6, until_s=7200.0), seed=seed,
        )
        for seed in range(4)
    ]  # fmt: skip
    stopped = [found for found in runs if not found.complete]
    assert stopped
    for found in stopped:
        made = len(found.versions["version"])
        assert found.ended == (
            f"nobody trains, sends or aggregates any more: round {made + 1} never ends"
        )
        assert found.violations == []


def test_the_dead_are_forgotten() -> None:
    """Pings to dead peers cost time until they have not been heard of for 20 rounds."""
    who = peers(30, availability=crashes(30, 20, 400.0, 1))
    found = simulate_peers(
        who, far(30), Modest(sample=5, aggregators=3, inactive_rounds=20),
        Plan(model_bytes=1e5, versions=250), seed=1, record=True,
    )  # fmt: skip
    assert found.complete
    unheard = found.log["time"][found.log["kind"] == EVENT_CODES["no_answer"]]
    times = found.versions["time"]
    dying = (unheard <= 400 * TICKS_PER_S).sum()
    late = (unheard > times[-51]).sum()
    assert dying > 50
    assert late == 0
    gaps = np.diff(times) / TICKS_PER_S
    assert gaps[times[1:] < 400 * TICKS_PER_S].mean() > 1.3 * gaps[-50:].mean()


def test_views_converge() -> None:
    """Who left with a word is known, after some rounds, to all who take part; nobody else is."""
    who = peers(30, availability=crashes(30, 8, 200.0, 2))
    plan = Plan(model_bytes=1e5, until_s=900.0)
    setting = Setting(who, far(30), plan, None, 2)
    engine = ModestEngine(Modest(sample=6, graceful=True), setting, None, None)
    raw = engine.run()
    assert len(raw.costs) > 60
    gone = who.availability.trace >= 0
    last = {training.peer for training in raw.trainings[-30:]}
    assert not any(gone[peer] for peer in last)
    for peer in last:
        assert engine.views.left[peer].tolist() == gone.tolist()
        rounds = engine.views.round[peer][~gone]
        assert rounds.max() >= len(raw.costs) - 8


def test_joiners_are_sampled() -> None:
    """A peer that comes late is soon known and trains."""
    late = Availability(
        np.array([0, 1]), np.array([100 * TICKS_PER_S]), np.array([10**7 * TICKS_PER_S]),
        np.zeros(1, np.int64), np.r_[0, np.full(11, -1)].astype(np.int32), np.zeros(12, np.int64),
    )  # fmt: skip
    found = simulate_peers(
        peers(12, availability=late), far(12), Modest(sample=4), Plan(model_bytes=1e5, versions=90),
        record=True,
    )  # fmt: skip
    first = found.log["time"][
        (found.log["kind"] == EVENT_CODES["train"]) & (found.log["entity"] == 0)
    ]
    assert 100 < first[0] / TICKS_PER_S < 400
    assert len(first) > 5


def test_fewer_bytes_a_round_than_d_psgd() -> None:
    """2 s transfers a round against N; the exact ratio of one round."""
    plan = Plan(model_bytes=1e6, versions=40)
    modest = simulate_peers(peers(100), far(100), Modest(sample=10, view_entry_bytes=0), plan)
    dpsgd = simulate_peers(peers(100), one_peer_exponential(100), DPSGD("uniform"), plan)
    models = [found.facts["bytes_sent"]["model"] / 1e6 for found in (modest, dpsgd)]
    assert models[1] == 40 * 100
    assert 40 * 18 - 20 <= models[0] <= 40 * 20


def test_what_cannot_be_is_refused() -> None:
    plan = Plan(versions=3, model_bytes=1.0)
    who = peers(5)
    gone = who.changed(availability=crashes(5, 2, 5.0, 0))
    for clients, rules, chosen, message in (
        (who, {"sample": 6}, plan, "sample is 6; give 1 to 5"),
        (who, {"sample": 3, "aggregators": 4}, plan, "aggregators is 4; give 1 to 3"),
        (who, {"sample": 3, "success": 1.5}, plan, "success is 1.5"),
        (who, {"sample": 3, "ping_timeout_s": np.nan}, plan, "ping_timeout_s is nan"),
        (gone, {"sample": 3}, Plan(versions=3, interruption="pause"), "drops what it does"),
    ):
        with pytest.raises(InputError, match=message):
            simulate_peers(clients, ring(5), Modest(**rules), chosen)
    with pytest.raises(InputError, match="at most 8192"):
        Views(np.ones(9000, bool), 50)
