"""Generators: their laws, their keys, their structure."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.sim.errors import InputError
from mltwin.workloads import synthesize
from mltwin.workloads.arrivals import arrival_spec, arrival_ticks, arrivals_until
from mltwin.workloads.intervals import gamma_gaps, weibull_cv, weibull_gaps, weibull_shape
from mltwin.workloads.lengths import Empirical, Knots, LogNormal, Uniform

POISSON = {"process": "poisson", "rate_per_s": 5.0}
N = 40_000
PROCESSES = [
    POISSON,
    {"process": "gamma", "rate_per_s": 5.0, "burstiness": 0.25},
    {"process": "gamma", "rate_per_s": 5.0, "burstiness": 4.0},
    {"process": "deterministic", "rate_per_s": 5.0},
    {"process": "mmpp", "rates_per_s": [1.0, 9.0], "mean_s": [30.0, 30.0]},
    {"process": "diurnal", "rate_per_s": 5.0, "amplitude": 0.9, "period_s": 100.0, "peak_s": 25.0},
    {"process": "profile", "rates_per_s": [2.0, 0.0, 13.0], "step_s": 10.0},
]


def gaps_of(spec, seed=1, count=N):
    return np.diff(arrival_ticks(spec, count, seed) / 1e12, prepend=0.0)


@pytest.mark.parametrize("spec", PROCESSES, ids=lambda s: f"{s['process']}-{s.get('burstiness')}")
def test_mean_rate(spec):
    when = arrival_ticks(spec, N, 2)
    assert (np.diff(when) >= 0).all() and when.dtype == np.int64
    rate = N / (when[-1] / 1e12)
    # 5 standard errors of a Poisson count; the modulated process adds that of its sojourns.
    slack = 5 / math.sqrt(N) * (12 if spec["process"] == "mmpp" else 2)
    assert rate == pytest.approx(arrival_spec(spec).mean_rate_per_s(), rel=slack)


@pytest.mark.parametrize("burstiness", [0.25, 1.0, 4.0])
def test_gamma_gaps_have_the_cv_of_their_burstiness(burstiness):
    gaps = gaps_of({"process": "gamma", "rate_per_s": 5.0, "burstiness": burstiness})
    assert gaps.std() / gaps.mean() == pytest.approx(burstiness**-0.5, rel=0.05)


def test_poisson_gaps_are_exponential():
    from scipy import stats

    assert stats.kstest(gaps_of(POISSON) * 5.0, "expon").pvalue > 0.001


def test_deterministic_gaps_are_equal():
    assert (
        np.ptp(arrival_ticks(PROCESSES[3], 100, 0)[1:] - arrival_ticks(PROCESSES[3], 100, 0)[:-1])
        <= 1
    )


def test_profile_rates_come_back():
    when = arrival_ticks(PROCESSES[6], N, 3) / 1e12
    phase = np.floor(when % 30.0 / 10.0)
    rounds = when[-1] / 30.0
    counts = np.bincount(phase.astype(int), minlength=3) / (10.0 * rounds)
    assert counts[1] == 0.0
    assert counts[0] == pytest.approx(2.0, rel=0.05) and counts[2] == pytest.approx(13.0, rel=0.03)


def test_diurnal_peak_and_trough():
    when = arrival_ticks(PROCESSES[5], N, 3) / 1e12
    angle = 2 * np.pi * (when - 25.0) / 100.0
    # E[cos] of a phase with density 1 + a cos is a / 2.
    assert np.cos(angle).mean() == pytest.approx(0.45, abs=0.02)
    assert np.sin(angle).mean() == pytest.approx(0.0, abs=0.02)


def test_mmpp_is_overdispersed():
    when = arrival_ticks(PROCESSES[4], N, 3) / 1e12
    counts = np.histogram(when, np.arange(0, when[-1], 10.0))[0]
    poisson = arrival_ticks(POISSON, N, 3) / 1e12
    plain = np.histogram(poisson, np.arange(0, poisson[-1], 10.0))[0]
    assert plain.var() / plain.mean() < 1.2 < 10 < counts.var() / counts.mean()


@pytest.mark.parametrize("spec", PROCESSES, ids=lambda s: f"{s['process']}-{s.get('burstiness')}")
def test_until_is_a_prefix_of_the_sequence(spec):
    until = arrivals_until(spec, 50.0, 7)
    longer = arrivals_until(spec, 80.0, 7)
    assert until[-1] < 50 * 10**12 <= arrival_ticks(spec, until.size + 1, 7)[-1]
    assert longer[: until.size].tolist() == until.tolist()


def test_rates_share_their_draws():
    slow = arrival_ticks(POISSON, 100, 5)
    fast = arrival_ticks({**POISSON, "rate_per_s": 10.0}, 100, 5)
    assert np.abs(slow - 2 * fast).max() <= 2


def test_gaps_laws():
    u = (np.arange(100_000) + 0.5) / 100_000
    assert gamma_gaps(u, 0.5).mean() == pytest.approx(1.0, rel=1e-3)
    assert weibull_gaps(u, 0.7).mean() == pytest.approx(1.0, rel=1e-2)
    assert weibull_cv(1.0) == pytest.approx(1.0)
    for cv in (0.1, 1.0, 20.0):
        assert weibull_cv(weibull_shape(cv)) == pytest.approx(cv, rel=1e-6)


def scores(n=200_000):
    from scipy.special import ndtri

    return ndtri((np.arange(n) + 0.5) / n)


def test_lognormal_both_ways():
    tokens = LogNormal(law="lognormal", mean=1000.0, cv=0.8).quantile(scores())
    assert tokens.mean() == pytest.approx(1000, rel=1e-3)
    assert tokens.std() / tokens.mean() == pytest.approx(0.8, rel=1e-2)
    tokens = LogNormal(law="lognormal", p50=700.0, p90=2500.0).quantile(scores())
    assert np.quantile(tokens, [0.5, 0.9]) == pytest.approx([700, 2500], rel=1e-3)


def test_uniform_takes_each_number_alike():
    tokens = Uniform(law="uniform", low=3, high=6).tokens(scores(4000))
    assert np.unique(tokens, return_counts=True)[1].tolist() == [1000] * 4


def test_knots_hit_their_quantiles():
    law = Knots(law="knots", at=[0, 0.5, 0.9, 1], values=[10, 100, 1000, 5000])
    assert np.quantile(law.quantile(scores()), [0.5, 0.9]) == pytest.approx([100, 1000], rel=1e-3)


def test_empirical_draws_only_what_it_was_given():
    tokens = Empirical(law="empirical", values=[5, 5, 9, 70]).tokens(scores(4000))
    values, counts = np.unique(tokens, return_counts=True)
    assert values.tolist() == [5, 9, 70] and counts.tolist() == [2000, 1000, 1000]


def base(**changes):
    return {
        "requests": 4000,
        "arrivals": POISSON,
        "prompt": {"law": "lognormal", "p50": 800, "p90": 3000},
        "output": {"law": "lognormal", "mean": 200, "cv": 1.0},
        **changes,
    }


@pytest.mark.parametrize("rho", [-0.6, 0.0, 0.5, 0.95])
def test_rank_correlation(rho):
    from scipy.stats import spearmanr

    trace = synthesize(base(spearman=rho, requests=20_000), 1)
    assert spearmanr(trace.prompt, trace.output)[0] == pytest.approx(rho, abs=0.03)


def test_same_seed_same_trace():
    assert synthesize(base(), 5).equals(synthesize(base(), 5))
    assert not synthesize(base(), 5).equals(synthesize(base(), 6))


def test_lengths_do_not_depend_on_the_rate():
    slow, fast = synthesize(base()), synthesize(base(arrivals={**POISSON, "rate_per_s": 50.0}))
    assert slow.prompt.tolist() == fast.prompt.tolist()
    assert slow.output.tolist() == fast.output.tolist()


def test_fewer_requests_are_the_first_of_more():
    few, more = synthesize(base(requests=100)), synthesize(base(requests=200))
    assert more.prompt[:100].tolist() == few.prompt.tolist()
    assert more.arrival[:100].tolist() == few.arrival.tolist()


CHAT = {
    "go_on": [0.7],
    "new_tokens": {"law": "lognormal", "mean": 100, "cv": 1.0},
    "think_p50_s": 20.0,
    "think_p90_s": 60.0,
    "max_context": 20_000,
}
PREFIX = {"groups": 4, "tokens": {"law": "uniform", "low": 100, "high": 400}, "zipf": 1.0}


def chat(**changes):
    return base(sessions=CHAT, prefixes=PREFIX, block_tokens=16, requests=3000, **changes)


def test_contexts_grow_turn_by_turn():
    trace = synthesize(chat(), 2)
    child = np.flatnonzero(trace.after >= 0)
    parent = trace.after[child]
    assert child.size > 1500
    assert (trace.session[child] == trace.session[parent]).all()
    assert (trace.prompt[child] > trace.prompt[parent] + trace.output[parent]).all()
    assert (trace.delay[child] > 0).all() and (trace.arrival[child] > trace.arrival[parent]).all()
    assert (trace.prompt + trace.output).max() <= 20_000 or (
        trace.after[np.argmax(trace.prompt + trace.output)] < 0
    )
    assert np.median(trace.delay[child]) / 1e12 == pytest.approx(20.0, rel=0.1)


def test_a_turn_holds_the_blocks_of_the_turn_before():
    trace = synthesize(chat(), 2)
    packed = np.split(trace.packed_blocks(), np.cumsum(trace.block_count)[:-1])
    for i in np.flatnonzero(trace.after >= 0)[:400]:
        before = packed[trace.after[i]]
        full = int(trace.prompt[trace.after[i]] + trace.output[trace.after[i]]) // 16
        assert packed[i][:full].tolist() == before[:full].tolist()
        assert packed[i].size == -(-(trace.prompt[i] + trace.output[i]) // 16)
    assert trace.block_ids.size < trace.block_count.sum() / 1.5  # turns share their lists


def test_sessions_share_system_prompts_of_their_group_only():
    trace = synthesize({**chat(), "sessions": None}, 2)
    packed = np.split(trace.packed_blocks(), np.cumsum(trace.block_count)[:-1])
    first = {int(ids[0]) for ids in packed}
    assert len(first) == 4
    tails = np.concatenate([ids[400 // 16 :] for ids in packed])
    assert np.unique(tails).size == tails.size
    shares = np.sort(np.bincount([ids[0] for ids in packed], minlength=1))[::-1][:4] / len(trace)
    harmonic = np.array([1, 1 / 2, 1 / 3, 1 / 4])
    assert shares == pytest.approx(harmonic / harmonic.sum(), abs=0.04)


def test_open_sessions_release_nothing():
    trace = synthesize({**chat(), "sessions": {**CHAT, "closed": False}}, 2)
    closed = synthesize(chat(), 2)
    assert (trace.after == -1).all() and not trace.delay.any()
    assert trace.arrival.tolist() == closed.arrival.tolist()


def test_number_of_turns_is_geometric():
    spec = chat(duration_s=2000.0)
    del spec["requests"]
    spec["sessions"] = {**CHAT, "think_p50_s": 1.0, "think_p90_s": 2.0, "max_context": 1 << 24}
    trace = synthesize(spec, 3)
    turns = np.bincount(trace.session)
    assert turns[turns > 0].mean() == pytest.approx(1 / 0.3, rel=0.06)


def test_warm_up_opens_in_full_swing():
    spec = base(duration_s=600.0, sessions=CHAT, warm_up_s=600.0)
    del spec["requests"]
    trace = synthesize(spec, 3)
    cold = synthesize({**spec, "warm_up_s": 0.0}, 3)
    early = np.count_nonzero(trace.arrival < 60 * 10**12)
    assert early > 1.5 * np.count_nonzero(cold.arrival < 60 * 10**12)
    assert trace.arrival[-1] < 600 * 10**12


def test_tenants_and_timeouts():
    trace = synthesize(base(tenants={"chat": 3.0, "batch": 1.0}, timeout_s=2.5), 1)
    assert trace.tenants == ("chat", "batch")
    assert (trace.tenant == 1).mean() == pytest.approx(0.25, abs=0.03)
    assert (trace.timeout == 25 * 10**11).all()


def test_resampling_a_trace():
    trace = synthesize(base(resample="azure-conv-synthetic"), 1)
    from mltwin.workloads import open_trace

    origin = open_trace("azure-conv-synthetic")
    pairs = set(zip(origin.prompt.tolist(), origin.output.tolist(), strict=True))
    assert set(zip(trace.prompt.tolist(), trace.output.tolist(), strict=True)) <= pairs


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"arrivals": {"process": "poison", "rate_per_s": 1.0}}, "spec.arrivals"),
        ({"arrivals": {"process": "poisson", "rate_per_s": -1.0}}, "greater than 0"),
        ({"arrivals": {"process": "poisson", "rate_per_s": float("nan")}}, "finite"),
        ({"arrivals": {"process": "profile", "rates_per_s": [0.0], "step_s": 1.0}}, "above 0"),
        ({"arrivals": {"process": "poisson", "rate_per_s": 1e-9}}, "raise the rate"),
        ({"prompt": {"law": "lognormal", "mean": 5.0}}, "mean and cv, or p50 and p90"),
        ({"prompt": {"law": "knots", "at": [0, 1], "values": [9, 3]}}, "must not fall"),
        ({"prompt": {"law": "uniform", "low": 5, "high": 2}}, "low must not exceed"),
        ({"duration_s": 5.0}, "either requests or duration_s"),
        ({"prefixes": PREFIX}, "prefixes need block_tokens"),
        ({"spearman": 1.5}, "less than or equal to 1"),
        ({"speed": 1}, "spec.speed"),
        ({"sessions": {**CHAT, "think_p90_s": 1.0}}, "think_p90_s"),
    ],
)
def test_wrong_specs(changes, words):
    with pytest.raises(InputError) as caught:
        synthesize(base(**changes))
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("seed", [-1, 1.5, True, "x"])
def test_wrong_seeds(seed):
    with pytest.raises(InputError, match="seed"):
        synthesize(base(), seed)


@given(st.integers(0, 2**63 - 1), st.integers(1, 60), st.booleans())
@settings(max_examples=25, deadline=None)
def test_every_seed_gives_a_valid_trace(seed, count, prefixed):
    spec = chat() if prefixed else base()
    trace = synthesize({**spec, "requests": count}, seed)
    assert len(trace) == count
    assert (trace.after < np.arange(count)).all()
