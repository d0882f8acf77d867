"""Splits of data among clients: whose rows, how many, which classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.sim.errors import InputError
from mltwin.workloads.federated import sizes, skew, splits
from mltwin.workloads.federated.drawn import gaussians, synthetic
from mltwin.workloads.federated.draws import SHARES, dirichlet
from mltwin.workloads.federated.pool import Pool

POOL = gaussians(2000, classes=10, features=4, seed=3)


def all_once(examples) -> bool:
    return np.array_equal(np.sort(examples.row), np.arange(len(examples.y)))


@pytest.mark.parametrize(
    "split",
    [
        lambda seed: splits.iid(POOL, 37, seed=seed),
        lambda seed: splits.dirichlet(POOL, 37, 0.1, seed=seed),
        lambda seed: splits.shards(POOL, 37, seed=seed),
        lambda seed: splits.quantity(POOL, 37, sigma=2.0, seed=seed),
        lambda seed: splits.quantity(POOL, 37, exponent=1.0, seed=seed),
    ],
)
def test_rows_dealt_out_are_with_one_client_each(split) -> None:
    one, same, other = split(1), split(1), split(2)
    assert all_once(one) and one.clients == 37 and one.samples.min() >= 1
    assert np.array_equal(one.row, same.row) and np.array_equal(one.first, same.first)
    assert not np.array_equal(one.row, other.row)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.floats(0.001, 1000), st.integers(0, 2**40))
def test_any_dirichlet_split_leaves_nobody_empty(clients, alpha, seed) -> None:
    pool = gaussians(80, classes=4, features=2, seed=seed)
    assert all_once(splits.dirichlet(pool, clients, alpha, seed=seed))
    shared = splits.dirichlet(pool, clients, alpha, samples=3, seed=seed)
    assert (shared.samples == 3).all()


def test_iid_sizes_differ_by_one_and_shards_bound_the_classes() -> None:
    even = splits.iid(POOL, 37)
    assert np.ptp(even.samples) <= 1
    # 40 shards of 40 rows: a shard lies in one class of 160 rows, or in two.
    cut = splits.shards(POOL, 20, per_client=2)
    assert (skew.label_counts(cut) > 0).sum(axis=1).max() <= 4
    assert (skew.label_counts(cut) > 0).sum(axis=1).mean() < 3


@pytest.mark.parametrize("alpha", [0.05, 0.5, 1.0, 5.0])
def test_dirichlet_shares_have_the_moments_of_the_law(alpha: float) -> None:
    k, n = 5, 40_000
    shares = dirichlet(7, SHARES, np.arange(n), np.full(k, alpha))
    variance = (1 / k) * (1 - 1 / k) / (k * alpha + 1)
    assert shares.sum(axis=1) == pytest.approx(1.0)
    error = 5 * np.sqrt(variance / n)
    assert np.abs(shares.mean(axis=0) - 1 / k).max() < error
    assert shares.var(axis=0).mean() == pytest.approx(variance, rel=0.02)
    covariance = np.cov(shares[:, 0], shares[:, 1])[0, 1]
    assert covariance == pytest.approx(-variance / (k - 1), rel=0.1)


def test_tiny_alphas_give_single_classes_not_nan() -> None:
    shares = dirichlet(1, SHARES, np.arange(2000), np.full(10, 1e-4))
    assert np.isfinite(shares).all()
    # The two greatest logarithms are Exp(9 alpha) apart; within 20.7 the second is above 1e-9.
    single = (shares.max(axis=1) > 1 - 1e-9).mean()
    assert single == pytest.approx(np.exp(-9e-4 * 20.7), abs=0.012)
    assert np.bincount(shares.argmax(axis=1), minlength=10).min() > 120


def test_drawn_mixes_of_classes_have_the_moments_of_the_law() -> None:
    """With m samples a client the share of a class has Dirichlet's variance and a binomial's."""
    alpha, m, n = 0.5, 40, 20_000
    split = splits.dirichlet(POOL, n, alpha, samples=m, seed=5)
    share = skew.label_counts(split)[:, 0] / m
    p = np.mean(POOL.y == 0)
    total = alpha * POOL.classes
    variance = p * (1 - p) / (total + 1) * (1 + (total / m))
    assert share.mean() == pytest.approx(p, abs=5 * np.sqrt(variance / n))
    assert share.var() == pytest.approx(variance, rel=0.05)


def test_rows_of_a_class_are_drawn_alike() -> None:
    split = splits.dirichlet(POOL, 5000, 1.0, samples=20, seed=5)
    drawn = np.bincount(split.row, minlength=len(POOL))[POOL.y == 4]
    expected = drawn.mean()
    chi2 = ((drawn - expected) ** 2 / expected).sum()
    assert abs(chi2 - (len(drawn) - 1)) < 6 * np.sqrt(2 * len(drawn))


def test_a_client_draws_the_same_whatever_the_number_of_others() -> None:
    few = splits.dirichlet(POOL, 50, 0.3, samples=8, seed=2)
    many = splits.dirichlet(POOL, 70_000, 0.3, samples=8, seed=2)  # more than one chunk
    assert np.array_equal(few.row, many.row[: len(few.row)])
    assert np.array_equal(
        splits.iid(POOL, 50, samples=8, seed=2).row,
        splits.iid(POOL, 70_000, samples=8, seed=2).row[: 50 * 8],
    )


def test_less_alpha_is_more_skew() -> None:
    found = [
        skew.label_skew(splits.dirichlet(POOL, 500, alpha, samples=100, seed=1)).mean()
        for alpha in (0.01, 0.1, 1.0, 100.0)
    ]
    assert found == sorted(found, reverse=True) and found[0] > 0.8 and found[-1] < 0.15


def test_sizes_follow_their_laws() -> None:
    drawn = sizes.log_normal(50_000, mean=100.0, sigma=1.0, seed=1)
    assert drawn.mean() == pytest.approx(100, rel=0.03)
    assert np.log(drawn).std() == pytest.approx(1.0, abs=0.02)
    ranked = np.sort(sizes.zipf(1000, mean=50.0, exponent=1.0, seed=1))[::-1]
    assert ranked[0] / ranked[99] == pytest.approx(100, rel=0.05)
    split = splits.dirichlet(POOL, 1000, 0.3, samples=sizes.zipf(1000, mean=9.0), seed=1)
    assert np.array_equal(split.samples, sizes.zipf(1000, mean=9.0))
    unequal = splits.quantity(POOL, 100, sigma=1.5, seed=1).samples
    assert unequal.max() > 20 * np.median(unequal) > 20 * unequal.min() * 0.9


def test_natural_clients_keep_their_rows_and_their_tests() -> None:
    pool = synthetic(0.5, 0.5, clients=12, seed=4)
    whole = splits.natural(pool)
    assert all_once(whole) and whole.clients == 12
    for client in range(12):
        rows = whole.row[whole.first[client] : whole.first[client + 1]]
        assert (pool.group[rows] == client).all()
    assert np.array_equal(whole.test_client, pool.test_group)
    some = splits.natural(pool, 5, seed=9)
    chosen = some.facts["natural"]
    assert len(set(chosen)) == 5
    for number, client in enumerate(chosen):
        rows = some.row[some.first[number] : some.first[number + 1]]
        assert (pool.group[rows] == client).all()
        assert (some.test_client == number).sum() == (pool.test_group == client).sum()
    assert (some.test_client == -1).any()


def test_swapped_labels_are_those_of_the_named_clients_only() -> None:
    split = splits.iid(POOL, 40, seed=1)
    swapped = skew.swap_labels(split, 0.25, np.arange(20, 40), seed=2)
    before, after = split.y[split.row], swapped.y[swapped.row]
    changed = before != after
    owner = np.repeat(np.arange(40), split.samples)
    assert not changed[owner < 20].any()
    per_client = np.bincount(owner[changed], minlength=40)[20:]
    assert np.array_equal(per_client, np.rint(0.25 * split.samples[20:]))
    assert (after[changed] == 9 - before[changed]).all()
    assert np.array_equal(swapped.x[swapped.row], split.x[split.row])
    back = skew.swap_labels(split, 0.0, np.arange(40))
    assert np.array_equal(back.y[back.row], before)


def test_owners_have_most_of_a_class() -> None:
    split = splits.dirichlet(POOL, 60, 0.1, seed=3)
    slow = skew.owners(split, 7, 10)
    counts = skew.label_counts(split)[:, 7]
    assert counts[slow].min() >= np.delete(counts, slow).max()
    assert skew.label_share(split, 7)[slow[0]] == counts[slow[0]] / split.samples[slow[0]]


def test_the_slowest_own_the_class() -> None:
    slow = np.random.default_rng(2).exponential(size=50)
    split = splits.label_speed(POOL, slow, label=6, owners=5, seed=1)
    assert all_once(split)
    counts = skew.label_counts(split)
    theirs = np.flatnonzero(counts[:, 6])
    assert sorted(theirs) == sorted(np.argsort(-slow)[:5])
    assert np.ptp(counts[theirs, 6]) <= 1 and np.ptp(np.delete(counts, 6, axis=1).sum(axis=1)) <= 1


def test_participation_goes_with_labels() -> None:
    split = splits.dirichlet(POOL, 400, 0.1, seed=3)
    chance = skew.label_probability(split, mean=0.1, least=0.02, seed=5)
    assert chance.min() >= 0.02 and chance.max() <= 1.0 and chance.std() > 0.02
    mix = skew.label_counts(split) / split.samples[:, None]
    inside = (chance > 0.02) & (chance < 1.0)
    fitted, *_ = np.linalg.lstsq(mix[inside], chance[inside], rcond=None)
    assert np.allclose(mix[inside] @ fitted, chance[inside])


def regression() -> Pool:
    return Pool.make(np.random.default_rng(0).normal(size=(9, 2)), np.arange(9.0), classes=0)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: splits.iid(POOL, 0), "0 clients cannot have a row each"),
        (lambda: splits.iid(POOL, 5000), "5000 clients cannot have a row each of 1600"),
        (lambda: splits.iid(POOL, 3, samples=[4, 0, 2]), "client 1 has 0 samples"),
        (lambda: splits.iid(POOL, 3, samples=[4, 2]), "samples of 2 clients"),
        (lambda: splits.iid(POOL, 3, samples=2.5), "give one whole number"),
        (lambda: splits.dirichlet(POOL, 3, 0.0), "alpha is 0.0; give more than 0"),
        (lambda: splits.dirichlet(POOL, 3, float("nan")), "alpha is nan"),
        (lambda: splits.dirichlet(regression(), 3, 1.0), "has no classes"),
        (lambda: splits.shards(POOL, 1000), "1000 clients with 2 shards each of 1600 rows"),
        (lambda: splits.label_speed(POOL, [1.0, 2.0], label=10), "class 10 of 10"),
        (lambda: splits.label_speed(POOL, [1.0, 2.0], owners=3), "for 3 owners of 2 clients"),
        (lambda: splits.natural(POOL), "has no natural clients; split it with iid"),
        (lambda: splits.natural(synthetic(clients=4), 9), "9 clients are asked for, 4 have"),
        (lambda: sizes.zipf(3, mean=0.0), "3 clients of mean 0.0"),
        (lambda: sizes.log_normal(3, mean=5, sigma=-1), "sigma is -1"),
        (lambda: skew.swap_labels(splits.iid(POOL, 3), 2.0, [1]), "share is 2.0"),
        (lambda: skew.swap_labels(splits.iid(POOL, 3), 0.5, [3]), "that is not there"),
        (lambda: skew.owners(splits.iid(POOL, 3), 11, 1), "class 11 of 10"),
        (lambda: splits.given(POOL, [[1], []]), "client 1 has no data"),
        (lambda: splits.given(POOL, [[1], [99999]]), "row that is not there"),
    ],
)
def test_what_cannot_be_is_one_line(make, says: str) -> None:
    with pytest.raises(InputError) as found:
        make()
    assert says in str(found.value) and "\n" not in str(found.value)


@pytest.mark.slow
def test_a_million_clients_share_a_pool_in_seconds() -> None:
    split = splits.dirichlet(POOL, 10**6, 0.3, samples=20, seed=1)
    assert split.clients == 10**6 and split.row.dtype == np.int32
    assert split.row.nbytes == 80 * 10**6
