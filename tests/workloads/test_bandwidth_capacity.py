"""CapacityTrace: what passes by when, and a simulated link that follows one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.models.network.bandwidth import CapacityTrace, link_changes
from mltwin.models.network.bandwidth.tables import AFTERWARDS, constant
from mltwin.models.network.builders import cell, star
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import TICKS_PER_S, ticks

S = TICKS_PER_S


def random_trace(seed: int, afterwards: str) -> CapacityTrace:
    """A few pieces, some of them dead."""
    draw = np.random.default_rng(seed)
    n = int(draw.integers(1, 9))
    times = np.concatenate(([0.0], np.cumsum(draw.integers(1, 2000, n - 1)) / 1000))
    rates = draw.integers(0, 5, n) * draw.choice([1e3, 1e6])
    rates[int(draw.integers(n))] = 7e3
    duration = float(times[-1]) + float(draw.integers(1, 2000)) / 1000
    return CapacityTrace.make(times, rates, duration, afterwards=afterwards)


def slow_bytes(trace: CapacityTrace, tick: int) -> float:
    """What passes by a tick, piece by piece."""
    total, at = 0.0, 0
    while at < tick:
        inside = at % trace.end if trace.afterwards == "repeat" else at
        piece = int(np.searchsorted(trace.ticks, inside, side="right")) - 1
        rate = float(trace.bytes_per_s[piece])
        ends = int(np.append(trace.ticks, trace.end)[piece + 1])
        left = ends - inside
        if inside >= trace.end:
            left, rate = tick - at, rate if trace.afterwards == "hold" else 0.0
        step = min(left, tick - at)
        total += rate * step / S
        at += step
    return total


@settings(max_examples=150, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    afterwards=st.sampled_from(AFTERWARDS),
    when=st.integers(0, 40 * S),
    amount=st.floats(0, 1e6),
)
def test_bytes_rates_and_finish_agree_with_going_piece_by_piece(
    seed: int, afterwards: str, when: int, amount: float
) -> None:
    trace = random_trace(seed, afterwards)
    assert float(trace.bytes_by(when)) == pytest.approx(slow_bytes(trace, when), rel=1e-9, abs=1e-6)
    end = trace.finish_tick(amount, when)
    if end is None:
        assert slow_bytes(trace, when + 10**3 * S) - slow_bytes(trace, when) < amount
        return
    moved = float(trace.bytes_by(end) - trace.bytes_by(when))
    assert moved == pytest.approx(amount, rel=1e-9, abs=1e-3)
    if end > when:
        early = float(trace.bytes_by(max(when, end - S // 10**6)) - trace.bytes_by(when))
        assert early <= amount + 1e-3


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), afterwards=st.sampled_from(AFTERWARDS))
def test_changes_are_the_trace_itself(seed: int, afterwards: str) -> None:
    trace = random_trace(seed, afterwards)
    start, until = int(trace.end * 0.3), 5 * trace.end
    when, rates = trace.changes(until, start)
    assert when[0] == 0 and np.all(np.diff(when) > 0) and when[-1] <= until
    asked = np.sort(np.random.default_rng(seed).integers(0, until, 50))
    laid_out = rates[np.searchsorted(when, asked, side="right") - 1]
    assert np.array_equal(laid_out, trace.at(asked + start))


def test_means_windows_and_quantiles() -> None:
    trace = CapacityTrace.make([0, 1, 3], [10.0, 40.0, 0.0], 4.0)
    assert trace.mean_bytes_per_s == pytest.approx(90 / 4)
    assert trace.resampled(2.0).bytes_per_s.tolist() == pytest.approx([25.0, 20.0])
    assert trace.resampled(99.0).bytes_per_s.tolist() == pytest.approx([22.5])
    assert trace.quantiles([0.0, 0.25, 0.5, 0.75, 1.0]).tolist() == [0.0, 0.0, 10.0, 40.0, 40.0]
    assert trace.scaled(2.0).bytes_per_s.tolist() == [20.0, 80.0, 0.0]
    assert len(CapacityTrace.make([0, 1, 2], [5, 5, 6], 3.0)) == 2
    assert constant(8.0).at(10**15).tolist() == 8.0


@pytest.mark.parametrize(
    ("times", "rates", "duration", "says"),
    [
        ([], [], 1.0, "0 times and 0 rates"),
        ([0.0], [1.0, 2.0], 1.0, "1 times and 2 rates"),
        ([0.0, 1.0], [1.0, -2.0], 2.0, "rate 1 is -2.0 bytes/s; give 0 or more"),
        ([1.0], [1.0], 2.0, "times do not rise from 0"),
        ([0.0, 0.0], [1.0, 2.0], 2.0, "times do not rise from 0"),
        ([0.0, 2.0], [1.0, 2.0], 2.0, "times do not rise from 0"),
        ([0.0], [1.0], 0.0, "lasts 0.0 s"),
        ([0.0], [1.0], 1e8, "lasts 100000000.0 s"),
    ],
)
def test_traces_that_cannot_be_are_named(times, rates, duration, says: str) -> None:
    with pytest.raises(InputError) as raised:
        CapacityTrace.make(times, rates, duration)
    assert says in str(raised.value)


def test_links_are_named_and_limits_kept() -> None:
    t = cell(2, medium_bytes_per_s=1e6)
    trace = CapacityTrace.make([0, 1], [1e6, 2e6], 2.0)
    made = link_changes({"access point <-> air": trace, 0: constant(5.0)}, 10.0, topology=t)
    air = int(t.links_between("air", "access point")[0])
    assert sorted(set(made.link.tolist())) == [0, air]
    assert len(made) == 1 + 11
    assert np.array_equal(made.time[made.link == air], np.arange(11) * S)
    late = link_changes({air: trace}, 10.0, starts_s={air: 0.5})
    assert late.time[1] == S // 2
    with pytest.raises(InputError, match="no link is called 'ether'"):
        link_changes({"ether": trace}, 1.0, topology=t)
    with pytest.raises(InputError, match="more than 10 changes of bandwidth by 100"):
        link_changes({air: trace}, 100.0, longest=10)
    assert len(link_changes({}, 1.0)) == 0


def test_a_simulated_flow_follows_the_trace() -> None:
    """One flow on one link ends when the closed form says, to a tick or two."""
    from mltwin.models.network.flows import FlowTable
    from mltwin.models.network.simulate import simulate_flows

    t = star(2)
    for seed in range(20):
        trace = random_trace(seed, "repeat")
        path = t.links_between("host0", "switch").tolist()
        release = ticks(0.3 * seed)
        amount = 3.3 * trace.mean_bytes_per_s * trace.duration_s
        wanted = trace.finish_tick(amount, release)
        flows = FlowTable.of_paths([amount], [path], release=[release])
        changes = link_changes({path[0]: trace}, wanted / S + 1.0)
        run = simulate_flows(t, flows, changes=changes)
        assert int(run.end[0]) == pytest.approx(wanted, abs=2 + 1e-12 * wanted)
