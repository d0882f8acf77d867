"""Transforms: what they change, what they keep."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.sim.errors import InputError
from mltwin.workloads import Trace, arrivals, synthesize
from mltwin.workloads.transforms import (
    head,
    limit_tokens,
    merge,
    repeat,
    scale_rate,
    select,
    splice,
    thin,
    window,
    with_poisson,
)

CHAT = synthesize(
    {
        "requests": 400,
        "arrivals": {"process": "poisson", "rate_per_s": 1.0},
        "prompt": {"law": "lognormal", "p50": 300, "p90": 900},
        "output": {"law": "lognormal", "p50": 80, "p90": 200},
        "sessions": {
            "go_on": [0.6],
            "new_tokens": {"law": "fixed", "value": 50},
            "think_p50_s": 10.0,
            "think_p90_s": 20.0,
        },
        "prefixes": {"groups": 3, "tokens": {"law": "fixed", "value": 64}},
        "block_tokens": 16,
        "tenants": {"a": 1.0, "b": 1.0},
    },
    3,
)


def lists(trace):
    return [
        ids.tolist()
        for ids in np.split(trace.packed_blocks(), np.cumsum(trace.block_count, dtype=int)[:-1])
    ]


def sharing(trace):
    """Length of the common prefix of each pair of neighbouring requests' lists: free of names."""
    found = lists(trace)
    return [
        next((k for k, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
        for a, b in pairwise(found)
    ]


def test_window_is_those_requests_from_zero():
    part = window(CHAT, 50.0, 150.0)
    inside = (CHAT.arrival >= 50 * 10**12) & (CHAT.arrival < 150 * 10**12)
    assert part.arrival.tolist() == (CHAT.arrival[inside] - 50 * 10**12).tolist()
    assert part.prompt.tolist() == CHAT.prompt[inside].tolist()
    assert sharing(part) == sharing(select(CHAT, inside))
    assert part.tenants == CHAT.tenants
    first = int(np.argmax(inside))
    for child, parent in enumerate(part.after):
        expected = CHAT.after[first + child] - first
        assert parent == (expected if expected >= 0 else -1)
        if parent < 0:
            assert part.delay[child] == 0


@given(st.floats(0, 200), st.floats(0, 200), st.floats(0, 200))
@settings(max_examples=30, deadline=None)
def test_windows_part_a_trace(a, b, c):
    a, b, c = sorted((a, b, c))
    assert len(window(CHAT, a, b)) + len(window(CHAT, b, c)) == len(window(CHAT, a, c))
    again = window(window(CHAT, a, c), 0.0, b - a)
    assert len(again) == pytest.approx(len(window(CHAT, a, b)), abs=1)


def test_an_empty_window_is_an_empty_trace():
    assert len(window(CHAT, 5.0, 5.0)) == 0


def test_scale_rate_keeps_all_but_arrivals():
    fast = scale_rate(CHAT, 2.0)
    assert fast.arrival.tolist() == np.rint(CHAT.arrival / 2.0).astype(int).tolist()
    for label in ("prompt", "output", "after", "delay", "session", "block_count"):
        assert getattr(fast, label).tolist() == getattr(CHAT, label).tolist()
    assert scale_rate(CHAT, 1.0).equals(CHAT)


def test_thin_keeps_sessions_whole_and_is_nested():
    some, more = thin(CHAT, 0.3, seed=4), thin(CHAT, 0.6, seed=4)
    for kept in (some, more):
        for number in np.unique(kept.session):
            assert (kept.session == number).sum() == (CHAT.session == number).sum()
    assert set(some.session.tolist()) <= set(more.session.tolist())
    assert 0.1 < len(some) / len(CHAT) < 0.5
    assert (some.after >= 0).sum() > 0
    assert thin(CHAT, 1.0).equals(CHAT) and len(thin(CHAT, 0.0)) == 0
    assert not thin(CHAT, 0.3, seed=5).equals(some)


def test_thin_draws_lone_requests_one_by_one():
    lone = Trace.make(np.arange(10_000), [1] * 10_000, [1] * 10_000)
    assert len(thin(lone, 0.25, seed=1)) == pytest.approx(2500, abs=200)


def test_splice_joins_tenants_and_parts_sessions_and_blocks():
    other = CHAT.changed(tenants=("b", "c"))
    both = splice(CHAT, other, gap_s=5.0)
    n = len(CHAT)
    assert both.tenants == ("a", "b", "c")
    assert both.arrival[n:].tolist() == (CHAT.arrival + CHAT.arrival[-1] + 5 * 10**12).tolist()
    assert not set(both.session[:n].tolist()) & set(both.session[n:].tolist())
    assert not set(np.concatenate(lists(both)[:n])) & set(np.concatenate(lists(both)[n:]))
    assert both.after[n:].max() >= n and (both.tenant[n:] == CHAT.tenant + 1).all()
    assert select(both, np.arange(n)).changed(tenants=CHAT.tenants).equals(CHAT)


def test_splice_with_shared_blocks_finds_them_again():
    both = splice(CHAT, CHAT, shared_blocks=True)
    assert both.block_ids.max() == CHAT.block_ids.max()
    assert both.shared_prefix() > CHAT.shared_prefix()


def test_splice_refuses_two_block_sizes():
    with pytest.raises(InputError, match="do not mix"):
        splice(CHAT, Trace.make([0], [40], [1], block_count=[1], block_ids=[0], block_tokens=32))


def test_splice_with_a_trace_without_blocks():
    both = splice(CHAT, Trace.make([0], [40], [1]))
    assert both.block_tokens == 16 and both.block_count[-1] == 0


def test_merge_interleaves():
    late = CHAT.changed(arrival=CHAT.arrival + 3)
    both = merge(CHAT, late)
    assert len(both) == 2 * len(CHAT) and (np.diff(both.arrival) >= 0).all()
    kept = both.after >= 0
    assert (both.session[kept] == both.session[both.after[kept]]).all()


@pytest.mark.parametrize("fresh", [True, False])
def test_repeat(fresh):
    n = len(CHAT)
    three = repeat(CHAT, 3, gap_s=1.0, fresh_blocks=fresh)
    assert len(three) == 3 * n
    step = CHAT.arrival[-1] + 10**12
    for k in range(3):
        part = slice(k * n, (k + 1) * n)
        assert three.arrival[part].tolist() == (CHAT.arrival + k * step).tolist()
        assert three.prompt[part].tolist() == CHAT.prompt.tolist()
        links = three.after[part]
        assert np.where(links >= 0, links - k * n, -1).tolist() == CHAT.after.tolist()
    assert np.unique(three.session).size == 3 * np.unique(CHAT.session).size
    blocks = int(CHAT.block_ids.max()) + 1
    assert int(three.block_ids.max()) + 1 == (3 * blocks if fresh else blocks)
    if fresh:
        assert three.shared_prefix() == pytest.approx(CHAT.shared_prefix(), abs=1e-12)
    assert repeat(CHAT, 1, fresh_blocks=fresh).equals(CHAT)


def test_repeat_refuses_what_would_not_fit():
    with pytest.raises(InputError, match="too long"):
        repeat(CHAT, 1000, gap_s=8e6)
    with pytest.raises(InputError, match="times"):
        repeat(CHAT, 0)


def test_limit_tokens():
    short = limit_tokens(CHAT, prompt=500, output=60, context=530)
    assert short.prompt.max() <= 500 and short.output.max() <= 60
    assert (short.prompt + short.output).max() <= 530
    assert short.arrival.tolist() == CHAT.arrival.tolist()
    for before, after, i in zip(lists(CHAT), lists(short), range(len(CHAT)), strict=True):
        cut = short.prompt[i] < CHAT.prompt[i] or short.output[i] < CHAT.output[i]
        assert len(after) <= len(before)
        if short.prompt[i] < CHAT.prompt[i]:
            assert len(after) == short.prompt[i] // 16
        elif cut:
            assert len(after) == (short.prompt[i] + short.output[i]) // 16
        else:
            assert len(after) == len(before)
    assert limit_tokens(CHAT).equals(CHAT)


def test_limited_prompts_still_share_what_they_shared():
    before, after = lists(CHAT)[:60], lists(limit_tokens(CHAT, prompt=64))[:60]
    assert max(map(len, after)) == 4
    for i in range(60):
        for j in range(i):
            n = min(len(after[i]), len(after[j]))
            assert (after[i][:n] == after[j][:n]) == (before[i][:n] == before[j][:n])


def test_head_and_select():
    assert head(CHAT, 10).prompt.tolist() == CHAT.prompt[:10].tolist()
    assert head(CHAT, 10**6).equals(CHAT) and len(head(CHAT, 0)) == 0
    assert select(CHAT, np.arange(len(CHAT))).equals(CHAT)


def test_with_poisson():
    drawn = with_poisson(CHAT, 4.0, seed=2)
    assert (drawn.after == -1).all() and drawn.prompt.tolist() == CHAT.prompt.tolist()
    assert drawn.describe()["rate_per_s"] == pytest.approx(4.0, rel=0.3)
    assert drawn.equals(with_poisson(CHAT, 4.0, seed=2))


def test_steps_are_noted():
    trace = scale_rate(window(CHAT, 0.0, 100.0), 2.0)
    assert trace.meta["transforms"] == [["window", [0.0, 100.0]], ["scale_rate", 2.0]]


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: window(CHAT, 5.0, 1.0),
        lambda: window(CHAT, -1.0, 1.0),
        lambda: window(CHAT, 0.0, float("nan")),
        lambda: window(CHAT, 0.0, 1e9),
        lambda: scale_rate(CHAT, 0.0),
        lambda: scale_rate(CHAT, float("inf")),
        lambda: scale_rate(CHAT, 1e-9),
        lambda: thin(CHAT, 1.5),
        lambda: head(CHAT, -1),
        lambda: limit_tokens(CHAT, prompt=0),
        lambda: with_poisson(CHAT, -1.0),
    ],
)
def test_wrong_arguments(wrong):
    with pytest.raises(InputError):
        wrong()


@pytest.mark.parametrize("seed", [0, 1, 2**40])
@pytest.mark.parametrize("rate_per_s", [1e-3, 0.37, 40.0, 1e6])
def test_compiled_poisson_instants_are_numpys(rate_per_s, seed, monkeypatch):
    spec = {"process": "poisson", "rate_per_s": rate_per_s}
    plain = arrivals.arrival_ticks(spec, 2000, seed)
    monkeypatch.setattr(arrivals, "_WORTH_COMPILED", 0)
    for count in (0, 1, 2000):
        np.testing.assert_array_equal(arrivals.arrival_ticks(spec, count, seed), plain[:count])


def test_compiled_poisson_instants_beyond_the_clock_are_refused(monkeypatch):
    spec = {"process": "poisson", "rate_per_s": 1e-6}
    with pytest.raises(InputError) as plain:
        arrivals.arrival_ticks(spec, 100, 0)
    monkeypatch.setattr(arrivals, "_WORTH_COMPILED", 0)
    with pytest.raises(InputError) as found:
        arrivals.arrival_ticks(spec, 100, 0)
    assert str(found.value) == str(plain.value)


@pytest.mark.parametrize("sessions", [False, True])
def test_a_retimed_trace_is_the_changed_one(sessions):
    when = np.sort(np.random.default_rng(0).integers(0, 10**15, len(CHAT)))
    loose = {} if sessions else {"after": None, "delay": None}
    expected = CHAT.changed(arrival=when.copy(), **loose, meta={"a": 1})
    found = CHAT.retimed(when, sessions=sessions, meta={"a": 1})
    assert found.sha256 == expected.sha256 and found.meta == expected.meta
    for label, column in expected.columns().items():
        if isinstance(column, np.ndarray):
            assert getattr(found, label).dtype == column.dtype
            assert not getattr(found, label).flags.writeable


@pytest.mark.parametrize("place, tick", [(0, -1), (200, 0), (-1, 2**63 - 1)])
def test_a_retimed_trace_is_checked(place, tick):
    when = np.sort(np.random.default_rng(0).integers(1, 10**15, len(CHAT)))
    when[place] = tick
    with pytest.raises(InputError) as found:
        CHAT.retimed(when, sessions=True, meta={})
    with pytest.raises(InputError) as plain:
        CHAT.changed(arrival=when)
    assert str(found.value) == str(plain.value)
