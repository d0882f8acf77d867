"""FedCompass: schedules worked out by hand, and its groups."""

import async_case as case
import numpy as np
import pytest

from mltwin.models.federation.tables import Availability, Clients, Plan
from mltwin.policies.federated.compass import Group, Groups

S = 10**9
RULES = {"name": "fedcompass", "least": 2, "most": 10, "patience": 1.5}


def clients(*paces_s, **columns):
    """Clients that take so many seconds for a step of 10 samples."""
    return Clients.make(np.full(len(paces_s), 50), s_per_sample=np.array(paces_s) / 10, **columns)


def seconds(run):
    return (run.versions["time"] / S).tolist()


def test_a_slower_client_gets_fewer_steps_and_arrives_with_the_faster():
    """Paces 1 and 2 s. t=10: A alone, founds a group of 10 steps. t=20: A's group is complete, A
    founds another (expected at 30); B alone, joins it with floor(10 / 2) = 5 steps. From then on
    both arrive together."""
    run = case.run(RULES, clients(1, 2), case.plan(versions=6), None)
    assert seconds(run) == [10, 20, 20, 30, 40, 50]
    assert run.versions["used"].tolist() == [1, 1, 1, 2, 2, 2]
    assert (run.clients["compute_ticks"] / S).tolist() == [50, 20 + 3 * 10]


def test_a_client_that_fits_no_group_founds_one_that_meets_it_later():
    """Paces 1 and 6 s, Q_min 2: B, at t=60, cannot do 2 steps before A's group of t=70 is due.

    A's next group after that is expected back at latest 75 + 10 steps of A = 85: floor(25/6) = 4.
    """
    run = case.run(RULES, clients(1, 6), case.plan(versions=9), None)
    # A alone at 10, its groups at 20 ... 70; B alone at 60; B's group of 4 steps is due at 84.
    assert seconds(run) == [10, 20, 30, 40, 50, 60, 60, 70, 80]
    longer = case.run(RULES, clients(1, 6), case.plan(versions=10), None)
    # At 80 A may join B's group: floor((84 - 80) / 1) = 4 steps.
    assert seconds(longer)[9] == 84 and longer.versions["used"][9] == 2


def test_a_late_client_counts_in_the_next_step():
    """B, as fast as A, is away from 15 to 30 s (its work pauses): its group steps without it.

    t=10: A founds a group (latest 25), B joins. t=20: A waits. t=25: the timer; step with A, which
    founds another (expected 35). t=35: step with A, a third group (45); B comes, too late for its
    group: kept, its pace is now .1 * 1 + .9 * 2.5 = 2.35, so it joins with floor(10/2.35) = 4
    steps. t=39: B waits. t=45: step with A, B and B's late update.
    """
    there = Availability(
        np.array([0, 2]), np.array([0, 30 * S]), np.array([15 * S, 900 * S]),
        np.array([0]), np.array([-1, 0], np.int32), np.zeros(2, np.int64),
    )  # fmt: skip
    given = case.plan(versions=5, interruption="pause")
    run = case.run(RULES, clients(1, 1, availability=there), given, case.quadratics(2))
    assert seconds(run) == [10, 10, 25, 35, 45]
    assert run.versions["used"].tolist() == [1, 1, 1, 1, 3]
    assert run.clients["used"].tolist() == [4, 3]


def test_staleness_is_counted_to_the_step_and_not_to_the_arrival():
    """In the run above the late update held version 2 (of t=10) and counts in the step from 4."""
    there = Availability(
        np.array([0, 2]), np.array([0, 30 * S]), np.array([15 * S, 900 * S]),
        np.array([0]), np.array([-1, 0], np.int32), np.zeros(2, np.int64),
    )  # fmt: skip
    given = case.plan(versions=5, interruption="pause")
    run = case.run(RULES, clients(1, 1, availability=there), given, None)
    assert run.versions["staleness_max"].tolist() == [0, 1, 1, 0, 2]


def test_the_join_that_leaves_most_steps_wins():
    groups = Groups(2, 10, 1.5)
    groups.pace = {0: 1.0, 1: 1.0, 2: 1.0}
    groups.open = {1: Group(5.0, 8, {0}), 2: Group(9.0, 12, {1}), 3: Group(50.0, 70, {2})}
    groups.made = 3
    groups.observe(7, 1.0, 0.9)
    assert groups.assign(7, 0) == (2, 9, None)
    assert groups.open[2].away == {1, 7}


def test_without_any_open_group_a_client_gets_most_steps():
    groups = Groups(2, 10, 1.5)
    groups.observe(0, 3.0, 0.9)
    number, steps, latest = groups.assign(0, 100)
    assert (number, steps, latest) == (1, 10, 145)
    assert groups.open[1].expected == 130


def test_a_founder_with_less_than_the_least_steps_is_given_the_least():
    groups = Groups(4, 10, 1.5)
    groups.pace = {0: 1.0}
    groups.open = {1: Group(1.0, 2, {0})}
    groups.made = 1
    groups.observe(1, 6.0, 0.9)  # floor((2 + 10 * 1 - 0) / 6) = 2 steps would meet the group
    assert groups.assign(1, 0)[1] == 4


def test_the_pace_is_a_running_mean():
    groups = Groups(2, 10, 1.5)
    groups.observe(0, 4.0, 0.75)
    groups.observe(0, 8.0, 0.75)
    assert groups.pace[0] == pytest.approx(0.25 * 4 + 0.75 * 8)


def test_equal_paces_that_are_no_whole_ticks_share_a_group():
    """floor((t + q c - t) / c) may come out as q - 1; the tolerance is for that."""
    uneven = Clients.make(np.full(6, 50), s_per_sample=1e-3 / 3, latency_s=0.0123)
    rules = {"name": "fedcompass", "least": 2, "most": 7}
    run = case.run(rules, uneven, case.plan(versions=26), None)
    assert run.versions["used"][6:].tolist() == [6] * 20


def test_weights_by_samples_sum_to_alpha():
    """With w_i = p_i and one parameter that all move by the same, a group's step is alpha D."""
    task = type(case.quadratics())(np.ones((2, 1)), np.ones((2, 1)))
    unequal = Clients.make(np.array([10, 90]), s_per_sample=0.1)
    rules = {**RULES, "equal": False, "alpha": 0.5}
    given = case.plan(versions=4, batch=1)
    before = case.run(rules, unequal, case.plan(versions=3, batch=1), task).weights
    after = case.run(rules, unequal, given, task).weights
    # The first group's two members held versions 1 and 2; the step makes version 3.
    assert before != after
    full = case.run(rules, unequal, case.plan(versions=5, batch=1), task).weights
    # 10 local steps of size LR towards 1
    pull = 1 - (1 - case.LR) ** 10
    np.testing.assert_allclose(full - after, 0.5 * pull * (1 - after), rtol=1e-6)


@pytest.mark.slow
def test_compass_beats_rounds_only_where_speeds_differ():
    """Time to 93 % on digits of ten silos, against FedAvg with 100 steps: slower with equal speeds,
    faster with normal and exponential ones (signs of the paper's tables; geometric mean)."""
    pytest.importorskip("sklearn")
    from mltwin.models.federation.learning.softmax import SoftmaxTask
    from mltwin.workloads.federated import datasets, splits

    pool = datasets.digits(held_out=0.22)
    given = Plan(steps=100, batch=16, lr=0.1, until_s=800, target=0.93)
    ratio = {}
    for law in ("equal", "normal", "exponential"):
        times = {"fedavg": [], "fedcompass": []}
        for seed in range(6):
            rng = np.random.default_rng(500 + seed)
            pace = {
                "equal": np.full(10, 0.06),
                "normal": np.clip(rng.normal(0.06, 0.018, 10), 0.01, None),
                "exponential": 0.01 + rng.exponential(0.06, 10),
            }[law]
            examples = splits.dirichlet(pool, 10, alpha=0.3, seed=seed)
            batch = np.minimum(16, examples.samples)
            silos = Clients.make(examples.samples, s_per_sample=pace / batch, jitter=0.05)
            task = SoftmaxTask(examples)
            for name, spec in (("fedavg", {"name": "fedavg", "clients": 0}),
                               ("fedcompass", "fedcompass")):  # fmt: skip
                run = case.run(spec, silos, given, task, seed=seed)
                assert "was reached" in run.ended
                times[name].append(run.end_s)
        ratio[law] = np.exp(np.mean(np.log(times["fedcompass"]) - np.log(times["fedavg"])))
    assert ratio["equal"] > 1.05
    assert ratio["normal"] < 1
    assert ratio["exponential"] < 0.75
