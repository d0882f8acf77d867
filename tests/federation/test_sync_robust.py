"""Byzantine clients and the rules against them: definitions, breakdown points, a run with both."""

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sync_case import Desk, arrivals, clients, quadratics, run, updates

from mltwin.policies.federated.attacks import Byzantine, LittleIsEnough, mean_of
from mltwin.policies.federated.eigen import eigen
from mltwin.policies.federated.registry import built_in, make
from mltwin.policies.federated.robust import CentredClipping, GeometricMedian, krum_scores

DESK = Desk(clients(20))
RULES = sorted(n for n, e in built_in("combine").items() if e.cls.__module__.endswith(".robust"))
ATTACKS = sorted(n for n, e in built_in("attack").items() if e.cls.__module__.endswith(".attacks"))


def combined(spec: Any, rows: Any, coefficients: Any = None) -> np.ndarray:
    deltas = np.asarray(rows, np.float32)
    shares = np.full(len(deltas), 1 / len(deltas)) if coefficients is None else coefficients
    return make("combine", spec).combine(DESK, np.asarray(shares), deltas)


def normal(count: int, width: int, seed: int = 0, mean: float = 1.0) -> np.ndarray:
    """Rows about a vector of equal entries."""
    return np.random.default_rng(seed).normal(mean, 0.3, (count, width)).astype(np.float32)


# Definitions.


def test_median_and_trimmed_mean_are_those_of_sorted_values() -> None:
    rows = normal(9, 5)
    ordered = np.sort(rows.astype(float), axis=0)
    assert np.array_equal(combined("median", rows), ordered[4])
    assert np.array_equal(combined("median", rows[:8]), np.median(rows[:8].astype(float), axis=0))
    trimmed = combined({"name": "trimmed_mean", "fraction": 0.25}, rows)
    assert np.allclose(trimmed, ordered[2:7].mean(axis=0), rtol=1e-15)


def test_a_trim_of_nothing_is_the_mean() -> None:
    rows = normal(7, 4)
    kept = combined({"name": "trimmed_mean", "fraction": 0.0}, rows)
    assert np.allclose(kept, rows.astype(float).mean(axis=0), rtol=1e-14)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(1, 9), st.integers(0, 3), st.integers(0, 10**6))
def test_krum_scores_are_the_least_sums_over_all_sets_of_neighbours(
    count: int, bad: int, seed: int
) -> None:
    rows = np.random.default_rng(seed).integers(-5, 6, (count, 3)).astype(float)
    near = min(count - 1, max(1, count - bad - 2))
    expected = [
        min(
            sum(float(((rows[i] - rows[j]) ** 2).sum()) for j in others)
            for others in itertools.combinations(set(range(count)) - {i}, near)
        )
        for i in range(count)
    ]
    assert krum_scores(rows, bad).tolist() == expected


def test_krum_takes_one_update_and_multi_krum_the_mean_of_the_best() -> None:
    rows = np.vstack([normal(8, 4), normal(2, 4, 1, mean=-9)])
    scores = krum_scores(rows.astype(float), 2)
    assert np.array_equal(combined("krum", rows), rows[np.argmin(scores)])
    best = np.sort(np.argsort(scores)[:8])
    assert np.allclose(combined("multi_krum", rows), rows[best].astype(float).mean(0), rtol=1e-14)


def test_the_geometric_median_is_where_unit_vectors_cancel() -> None:
    rows = normal(7, 3)
    middle = combined({"name": "geometric_median", "steps": 10_000}, rows)
    pulls = (rows - middle) / np.linalg.norm(rows - middle, axis=1)[:, None]
    assert np.linalg.norm(pulls.sum(axis=0)) < 1e-9


def test_the_geometric_median_of_weighted_points_on_a_line_is_their_median() -> None:
    rows = np.array([[0.0], [1.0], [5.0]], np.float32)
    rule = GeometricMedian(steps=10_000)
    assert abs(rule.rule(DESK, np.array([0.2, 0.2, 0.6]), rows.astype(float))[0] - 5.0) < 1e-4
    assert abs(rule.rule(DESK, np.array([0.3, 0.4, 0.3]), rows.astype(float))[0] - 1.0) < 1e-4


def test_clipping_cuts_lengths_and_nothing_else() -> None:
    rows = np.array([[3.0, 4.0], [0.3, 0.4]], np.float32)
    made = combined({"name": "clipped", "norm": 1.0}, rows, [0.5, 0.25])
    assert np.allclose(made, [0.3 + 0.075, 0.4 + 0.1], rtol=1e-6)


def test_centred_clipping_moves_by_the_radius_at_most_and_remembers() -> None:
    rule, rows = CentredClipping(radius=1.0), np.full((4, 1), 10.0)
    shares = np.full(4, 0.25)
    assert [rule.rule(DESK, shares, rows)[0] for _ in range(3)] == [1.0, 2.0, 3.0]
    wide = CentredClipping(radius=100.0)
    assert np.allclose(wide.rule(DESK, shares, normal(4, 3)), normal(4, 3).mean(0), rtol=1e-6)


def test_flag_projects_on_the_directions_of_most() -> None:
    """Against a plain computation with LAPACK, in d dimensions."""
    rows = np.vstack([normal(7, 6), normal(3, 6, 1, mean=-9)]).astype(float)
    unit = (rows / np.linalg.norm(rows, axis=1)[:, None]).T
    for columns in (1, 2, 3):
        space = np.linalg.svd(unit)[0][:, :columns]
        for _ in range(4):
            inside = ((space.T @ unit) ** 2).sum(axis=0)
            space = np.linalg.svd(unit * (np.abs(1 - inside) + 1e-7) ** -0.25)[0][:, :columns]
        length = np.median(np.linalg.norm(rows.astype(np.float32), axis=1))
        expected = length * space @ (space.T @ unit.mean(axis=1))
        made = combined({"name": "flag", "columns": columns}, rows)
        assert np.allclose(made, expected, rtol=1e-4, atol=1e-6)


def test_flag_leaves_out_what_no_other_update_has() -> None:
    rows = np.zeros((6, 8), np.float32)
    rows[:5] = normal(5, 8)
    rows[5, 3] = 1000.0
    honest = rows[:5].mean(axis=0)
    made = combined("flag", rows)
    assert made @ honest / np.linalg.norm(made) / np.linalg.norm(honest) > 0.95


def test_eigenvalues_are_those_of_lapack() -> None:
    draw = np.random.default_rng(0)
    for size in (1, 2, 7, 30):
        half = draw.normal(size=(size, size))
        matrix = half @ half.T
        values, vectors = eigen(matrix)
        assert np.allclose(np.sort(values), np.linalg.eigvalsh(matrix), rtol=1e-10, atol=1e-10)
        assert np.allclose(vectors * values @ vectors.T, matrix, atol=1e-9)
        assert np.allclose(vectors.T @ vectors, np.eye(size), atol=1e-12)


# What all rules share.


@pytest.mark.parametrize("name", RULES)
def test_updates_that_agree_are_their_own_result(name: str) -> None:
    row = np.array([0.3, -0.2, 0.1], np.float32)
    shares = np.array([0.2, 0.3, 0.1, 0.15, 0.25])
    made = combined(name, np.tile(row, (5, 1)), shares)
    assert np.allclose(made, row, rtol=1e-6)
    doubled = combined(name, np.tile(row, (5, 1)), 2 * shares)
    assert np.allclose(doubled, 2 * row, rtol=1e-6)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_few_updates_are_combined_all_the_same(name: str, count: int) -> None:
    rows = normal(count, 4) * 0.1
    made = combined(name, rows)
    assert np.isfinite(made).all()
    assert (made >= rows.min(axis=0) - 0.05).all()
    assert (made <= rows.max(axis=0) + 0.05).all()


@pytest.mark.parametrize("name", RULES)
def test_updates_of_zeros_make_no_change(name: str) -> None:
    assert combined(name, np.zeros((5, 3))).tolist() == [0, 0, 0]


# Breakdown: how far 3 or 6 of 10 can pull a result.

HOLD = [
    "median",
    {"name": "trimmed_mean", "fraction": 0.3},
    {"name": "krum", "fraction": 0.3},
    {"name": "multi_krum", "fraction": 0.3},
    {"name": "geometric_median", "steps": 100},
    "clipped",
    "centred_clipping",
    "flag",
]


@pytest.mark.parametrize("spec", HOLD, ids=str)
def test_a_minority_far_away_cannot_pull_a_result_along(spec: Any) -> None:
    for distance in (1e2, 1e4, 1e6):
        rows = np.vstack([normal(7, 5), np.full((3, 5), -distance)])
        assert np.linalg.norm(combined(spec, rows)) < 10.0


@pytest.mark.parametrize(
    "spec", ["median", {"name": "trimmed_mean", "fraction": 0.4}, "geometric_median"], ids=str
)
def test_a_majority_far_away_does(spec: Any) -> None:
    rows = np.vstack([normal(4, 5), np.full((6, 5), -1e6)])
    assert np.linalg.norm(combined(spec, rows)) > 1e4


def test_one_far_away_pulls_the_plain_sum() -> None:
    rows = np.vstack([normal(9, 5), np.full((1, 5), -1e6)])
    assert np.linalg.norm(DESK.combine(np.full(10, 0.1), rows)) > 1e4


# Attacks.


@pytest.mark.parametrize("name", ATTACKS)
def test_an_attack_touches_only_its_clients(name: str) -> None:
    attack = make("attack", {"name": name, "fraction": 0.25})
    honest = normal(20, 4)
    sent = attack.apply(DESK, arrivals(np.arange(20)), updates(honest)).delta
    bad = attack.bad(DESK)
    assert bad.sum() == 5
    assert np.array_equal(sent[~bad], honest[~bad])
    assert (sent[bad] != honest[bad]).all()
    assert sent.dtype == np.float32


def test_all_attacks_have_the_same_clients() -> None:
    who = [tuple(make("attack", name).bad(DESK)) for name in ATTACKS]
    assert len(set(who)) == 1
    assert Byzantine(fraction=0.0).bad(DESK).sum() == 0


def test_attacks_send_what_they_say() -> None:
    honest = normal(20, 4)

    def sent(spec: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
        attack = make("attack", {**spec, "fraction": 0.25})
        bad = attack.bad(DESK)
        return attack.apply(DESK, arrivals(np.arange(20)), updates(honest)).delta[bad], bad

    rows, bad = sent({"name": "sign_flip", "scale": 2.0})
    assert np.array_equal(rows, -2 * honest[bad])
    good = honest[~bad].astype(float)
    rows, _ = sent({"name": "inner_product", "epsilon": 0.5})
    assert np.allclose(rows, -0.5 * good.mean(axis=0), rtol=1e-6)
    rows, _ = sent({"name": "little_is_enough", "z": 1.5})
    assert np.allclose(rows, good.mean(axis=0) - 1.5 * good.std(axis=0), rtol=1e-5)
    assert (sent({"name": "zero"})[0] == 0).all()


def test_noise_is_normal_and_drawn_anew_for_each_dispatch() -> None:
    attack = make("attack", {"name": "gaussian", "fraction": 1.0, "sigma": 2.0})
    first = attack.apply(DESK, arrivals(np.arange(20)), updates(np.zeros((20, 500)))).delta
    assert abs(first.std() - 2.0) < 0.05
    later = arrivals(np.arange(20))
    later.dispatch[:] = 1
    second = attack.apply(DESK, later, updates(np.zeros((20, 500)))).delta
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.05


def test_a_little_is_as_much_as_the_paper_says() -> None:
    """50 workers, 24 of them Byzantine: s = 2, z = Phi^-1(24 / 26); 12: s = 14."""
    rule = LittleIsEnough()
    assert abs(rule.factor(26, 24) - 1.4261) < 1e-3
    assert abs(rule.factor(38, 12) - 0.3360) < 1e-3
    assert rule.factor(1, 0) == 0.0


def test_means_do_not_depend_on_the_number_of_columns() -> None:
    rows = normal(50, 33)
    assert np.array_equal(mean_of(rows)[:7], mean_of(np.ascontiguousarray(rows[:, :7])))


def test_robust_rules_keep_a_run_where_plain_averages_lose_it() -> None:
    task, who = quadratics(20, seed=3), clients(20).changed(samples=np.full(20, 10))
    attack = {"name": "sign_flip", "scale": 10.0, "fraction": 0.2}

    def distance(**policies: Any) -> float:
        spec = {"name": "fedavg", "clients": 0}
        return float(run(spec, who=who, task=task, **policies).evaluations["distance"][-1])

    plain = distance()
    spoiled = distance(attack=attack)
    assert spoiled > 5 * plain
    for name in ("median", "trimmed_mean", "multi_krum", "geometric_median"):
        assert distance(attack=attack, combine=name) < spoiled / 2, name
