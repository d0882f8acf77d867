"""Synthetic object traces: laws hold, draws are keyed, specs are checked."""

import numpy as np
import pytest
from scipy import stats

from mltwin.sim.errors import InputError
from mltwin.workloads.objects import (
    ObjectTrace,
    drifting,
    loop,
    make_objects,
    mixture,
    scan,
    zipf,
)


def keys_of(trace):
    return trace.keys[trace.ids]


def pcg_zipf(objects, requests, alpha, seed):
    """The reference traces of `zipf_trace.py`, as NumPy draws them: for tests alone."""
    rng = np.random.Generator(np.random.PCG64(seed))
    weights = np.cumsum(np.arange(1, objects + 1, dtype=np.float64) ** -alpha)
    weights /= weights[-1]
    rank = np.minimum(np.searchsorted(weights, rng.random(requests)), objects - 1)
    return rng.permutation(objects)[rank] + 1


@pytest.mark.parametrize("alpha", [0.0, 0.8, 1.0, 1.6])
def test_zipf_frequencies(alpha):
    trace = zipf(200, 100_000, alpha, seed=3)
    counts = np.bincount(keys_of(trace), minlength=200)
    weights = np.arange(1, 201.0) ** -alpha
    expected = 100_000 * weights / weights.sum()
    assert stats.chisquare(counts, expected).pvalue > 1e-3


def test_zipf_draws_are_independent():
    """Neighbouring requests: the chance of a repeat is the sum of squared probabilities."""
    trace = zipf(50, 200_000, 1.0, seed=4)
    weights = np.arange(1, 51.0) ** -1
    p = ((weights / weights.sum()) ** 2).sum()
    repeats = np.count_nonzero(trace.ids[1:] == trace.ids[:-1])
    assert stats.binomtest(repeats, 199_999, p).pvalue > 1e-3


def test_the_same_law_as_the_reference_generator():
    """Hot ranks of our draws and of NumPy's have the same shares."""
    ours = np.sort(np.bincount(zipf(1000, 200_000, 1.0, seed=1).ids))[::-1][:20]
    theirs = np.sort(np.bincount(pcg_zipf(1000, 200_000, 1.0, 42)))[::-1][:20]
    assert np.allclose(ours, theirs, rtol=0.08)


def test_ids_are_by_first_appearance():
    trace = zipf(1000, 5000, 0.7, seed=2)
    first = np.unique(trace.ids, return_index=True)[1]
    assert np.all(np.diff(first) > 0) and trace.objects == trace.unique


def test_a_longer_trace_begins_like_the_shorter():
    spec = {
        "accesses": {"pattern": "drifting", "objects": 300, "every": 500, "change": "replace"},
        "sizes": {"law": "pareto"},
        "arrivals": {"process": "poisson", "rate_per_s": 10.0},
        "ttl_s": 1.5,
    }
    short = make_objects({**spec, "requests": 2000}, 9)
    long = make_objects({**spec, "requests": 5000}, 9)
    assert np.array_equal(keys_of(long)[:2000], keys_of(short))
    assert np.array_equal(long.size_bytes[:2000], short.size_bytes)
    assert np.array_equal(long.arrival[:2000], short.arrival)
    assert (short.ttl_ns == 1_500_000_000).all()


def test_the_same_seed_gives_the_same_trace():
    spec = {"requests": 1000, "sizes": {"law": "lognormal"}}
    assert make_objects(spec, 1).equals(make_objects(spec, 1))
    assert not make_objects(spec, 1).equals(make_objects(spec, 2))
    digest = "7c8c0a324466edec8fecdc5589d73044d62f024bfdb42cbc229297f11d439c5a"
    assert make_objects(spec, 1).sha256 == digest  # on every machine


def test_scan_and_loop():
    assert scan(5).ids.tolist() == [0, 1, 2, 3, 4]
    assert loop(3, 7).ids.tolist() == [0, 1, 2, 0, 1, 2, 0]


def test_rotation_moves_every_object_down_the_ranks():
    trace = drifting(10, 6, alpha=20.0, every=2, change="rotate", step=3)
    assert keys_of(trace).tolist() == [0, 0, 7, 7, 4, 4]


def test_redrawn_ranks_keep_the_objects_and_the_law():
    trace = drifting(100, 60_000, 1.0, every=20_000, seed=5, change="redraw", share=1.0)
    parts = np.split(keys_of(trace), 3)
    orders = [np.argsort(-np.bincount(part, minlength=100), kind="stable")[:5] for part in parts]
    assert trace.unique == 100
    assert set(orders[0]) == set(range(5))
    assert set(orders[1]) != set(orders[0]) != set(orders[2])
    counts = [np.sort(np.bincount(part, minlength=100))[::-1][:5] for part in parts]
    assert np.allclose(counts[0], counts[2], rtol=0.15)


def test_replaced_objects_never_come_back():
    trace = drifting(50, 5000, 0.0, every=1000, seed=1, change="replace", share=0.2)
    parts = [set(part) for part in np.split(keys_of(trace), 5)]
    gone = parts[0] - parts[1]
    assert gone and not gone & (parts[2] | parts[3] | parts[4])
    assert max(map(max, parts)) >= 50


def test_no_share_is_no_drift():
    still = zipf(50, 4000, 1.0, seed=2)
    for change in ("redraw", "replace"):
        moved = drifting(50, 4000, 1.0, every=100, seed=2, change=change, share=0.0)
        assert moved.equals(still)


def test_parts_of_a_mixture_share_no_objects():
    parts = [(3.0, {"pattern": "loop", "objects": 7}), (1.0, {"pattern": "scan"})]
    trace = mixture(parts, 40_000, seed=3)
    keys = keys_of(trace)
    part = keys % 2
    assert stats.binomtest(int(part.sum()), 40_000, 0.25).pvalue > 1e-3
    assert (keys[part == 0] // 2).tolist() == [i % 7 for i in range(np.count_nonzero(part == 0))]
    assert (keys[part == 1] // 2).tolist() == list(range(np.count_nonzero(part == 1)))


def test_a_mixture_in_turn():
    accesses = {
        "pattern": "mixture",
        "order": "in_turn",
        "period": 6,
        "parts": [
            {"share": 2, "accesses": {"pattern": "loop", "objects": 3}},
            {"share": 1, "accesses": {"pattern": "scan"}},
        ],
    }
    trace = make_objects({"requests": 12, "accesses": accesses})
    assert (keys_of(trace) % 2).tolist() == [0, 0, 0, 0, 1, 1] * 2


def test_a_part_looks_the_same_beside_any_other():
    hot = {"pattern": "zipf", "objects": 20}
    alone = mixture([(1, hot), (1e-12, {"pattern": "scan"})], 500, seed=4)
    beside = mixture([(1, hot), (1, {"pattern": "loop", "objects": 3})], 2000, seed=4)
    keys = keys_of(beside)
    assert np.array_equal((keys[keys % 2 == 0] // 2)[:500], keys_of(alone) // 2)


@pytest.mark.parametrize("law", ["fixed", "lognormal", "pareto"])
def test_an_object_keeps_its_size(law):
    trace = drifting(200, 20_000, 1.0, every=1000, seed=2, share=1.0)
    sized = make_objects(
        {
            "requests": 20_000,
            "accesses": trace.meta["spec"]["accesses"],
            "sizes": {"law": law, "popularity": 0.9 if law != "fixed" else 0.0},
        },
        2,
    )
    assert np.array_equal(sized.ids, trace.ids)
    for one in range(sized.objects):
        assert len(set(sized.size_bytes[sized.ids == one].tolist())) == 1


@pytest.mark.parametrize("rho", [-0.8, 0.0, 0.5])
def test_sizes_follow_popularity_as_asked(rho):
    spec = {
        "requests": 200_000,
        "accesses": {"pattern": "zipf", "objects": 2000, "alpha": 0.2},
        "sizes": {"law": "lognormal", "popularity": rho},
    }
    trace = make_objects(spec, 6)
    size = np.zeros(trace.objects)
    size[trace.ids] = trace.size_bytes
    found = stats.spearmanr(-trace.keys, size).statistic
    assert found == pytest.approx(rho, abs=0.06)


def test_laws_of_sizes():
    def sizes(**law):
        return make_objects({"requests": 50_000, "accesses": {"pattern": "scan"}, "sizes": law})

    drawn = sizes(law="lognormal", median=1e6, sigma=1.0).size_bytes
    assert stats.kstest(np.log(drawn / 1e6), "norm").pvalue > 1e-3
    drawn = sizes(law="pareto", low=10**6, shape=1.5).size_bytes
    assert stats.kstest(drawn / 1e6, stats.pareto(1.5).cdf).pvalue > 1e-3
    assert set(sizes(law="fixed", value=77).size_bytes.tolist()) == {77}
    clipped = sizes(law="lognormal", median=1000, sigma=2, low=500, high=2000).size_bytes
    assert clipped.min() == 500 and clipped.max() == 2000


def test_poisson_arrivals():
    trace = zipf(10, 20_000, arrivals={"process": "poisson", "rate_per_s": 50.0})
    gaps = np.diff(trace.arrival) / 1e9
    assert stats.kstest(gaps * 50.0, "expon").pvalue > 1e-3


def test_tenants_have_shares_and_objects_of_their_own():
    spec = {
        "requests": 30_000,
        "tenants": {
            "web": {"share": 3, "accesses": {"pattern": "zipf", "objects": 100, "alpha": 1.2}},
            "batch": {"share": 1, "accesses": {"pattern": "scan"}},
        },
    }
    trace = make_objects(spec, 1)
    assert trace.tenants == ("web", "batch")
    assert stats.binomtest(int(trace.tenant.sum()), 30_000, 0.25).pvalue > 1e-3
    web, batch = (set(trace.ids[trace.tenant == i].tolist()) for i in (0, 1))
    assert not web & batch and len(web) <= 100 and len(batch) == trace.tenant.sum()


def test_tenants_may_have_sizes_of_their_own():
    tenants = {"a": {"sizes": {"law": "fixed", "value": 7}}, "b": {"accesses": {"pattern": "scan"}}}
    trace = make_objects({"requests": 100, "tenants": tenants})
    assert set(trace.size_bytes[trace.tenant == 0].tolist()) == {7}
    assert set(trace.size_bytes[trace.tenant == 1].tolist()) == {1}
    sizes = {"law": "fixed", "value": 9}
    trace = make_objects({"requests": 100, "tenants": tenants, "sizes": sizes})
    assert set(trace.size_bytes[trace.tenant == 1].tolist()) == {9}


def test_the_spec_of_a_trace_draws_it_again():
    spec = {"requests": 500, "sizes": {"law": "pareto"}, "tenants": {"a": {}, "b": {"share": 2}}}
    trace = make_objects(spec, 8)
    again = make_objects(trace.meta["spec"], trace.meta["seed"])
    assert again.equals(trace) and isinstance(again, ObjectTrace)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"requests": 0}, "spec.requests"),
        ({"request": 5}, "spec.request"),
        ({"accesses": {"pattern": "zopf"}}, "spec.accesses"),
        ({"accesses": {"pattern": "zipf", "alpha": -1}}, "spec.accesses.zipf.alpha"),
        ({"accesses": {"pattern": "zipf", "objects": 0}}, "spec.accesses.zipf.objects"),
        ({"accesses": {"pattern": "mixture", "parts": []}}, "spec.accesses.mixture.parts"),
        ({"sizes": {"law": "lognormal", "sigma": float("nan")}}, "spec.sizes.lognormal.sigma"),
        ({"sizes": {"law": "fixed", "low": 5, "high": 4}}, "low must not exceed high"),
        ({"tenants": {}}, "spec.tenants"),
        ({"tenants": {"a": {"share": 0}}}, "spec.tenants.a.share"),
    ],
)
def test_wrong_specs_name_their_place(spec, told):
    with pytest.raises(InputError, match=told):
        make_objects(spec)


def test_mixtures_may_not_nest_for_ever():
    pattern = {"pattern": "scan"}
    for _ in range(5):
        pattern = {"pattern": "mixture", "parts": [{"accesses": pattern}]}
    with pytest.raises(InputError, match="more than 4 deep"):
        make_objects({"accesses": pattern})


@pytest.mark.parametrize("seed", [-1, 1.5, True, 1 << 63])
def test_wrong_seeds(seed):
    with pytest.raises(InputError, match="seed = "):
        zipf(10, 10, seed=seed)
