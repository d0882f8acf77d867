"""Cases whose rates anyone can work out, and what is conserved."""

import numpy as np
import pytest
from flow_cases import crowd, random_case

from mltwin.models.network.flows import Changes, FlowTable
from mltwin.models.network.simulate import simulate_flows

S = 10**12
GB = 1e9


def ends_s(speed, bytes, paths, **columns) -> list[float]:
    run = simulate_flows(speed, FlowTable.of_paths(bytes, paths, **columns))
    assert run.violations == ()
    return (run.end / S).tolist()


def test_two_flows_share_and_the_longer_speeds_up() -> None:
    assert ends_s([GB], [1 * GB, 3 * GB], [[0], [0]]) == [2.0, 4.0]


def test_a_flow_that_comes_later() -> None:
    # alone for 1 s, together until the first has moved its other 1 GB, then alone again
    assert ends_s([GB], [2 * GB, 2 * GB], [[0], [0]], release=[0, S]) == [3.0, 4.0]


@pytest.mark.parametrize("n", [1, 2, 5, 40])
def test_parking_lot(n: int) -> None:
    """One flow over n links, each with one flow of its own: every rate is a half."""
    speed = [GB] * n
    paths = [list(range(n)), *[[k] for k in range(n)]]
    assert ends_s(speed, [1 * GB] + [2 * GB] * n, paths) == [2.0] + [3.0] * n


@pytest.mark.parametrize("n", [2, 10, 500])
def test_incast(n: int) -> None:
    """n senders, each with a fast link of its own, into one: a n-th for each."""
    paths = [[k, n] for k in range(n)]
    run = simulate_flows([10 * GB] * n + [GB], FlowTable.of_paths([GB] * n, paths))
    assert run.end.tolist() == [n * S] * n
    assert run.solves == 1
    assert run.link_peak.tolist() == [1] * n + [n]
    assert run.link_bytes[n] == n * GB


def test_weights() -> None:
    # 3 : 1 until the first ends at 4/3 s with 1 GB; the other has then 2/3 GB to go, alone
    done = ends_s([GB], [1 * GB, 1 * GB], [[0], [0]], weight=[3.0, 1.0])
    assert done == pytest.approx([4 / 3, 2.0], abs=2e-12)


def test_caps_leave_the_rest_to_others() -> None:
    done = ends_s([GB], [0.2 * GB, 0.8 * GB], [[0], [0]], cap=[0.2 * GB, np.inf])
    assert done == pytest.approx([1.0, 1.0], abs=2e-12)


def test_the_bottleneck_elsewhere() -> None:
    """Bertsekas and Gallager, figure 6.10: shares of 1/3, 1/3, 1/3 and 2/3."""
    done = ends_s([GB, GB], [1 * GB, 1 * GB, 1 * GB, 2 * GB], [[0], [0], [0, 1], [1]])
    assert done == pytest.approx([3.0, 3.0, 3.0, 3.0], abs=2e-12)


def test_latency_takes_nothing_from_others() -> None:
    assert ends_s([GB], [1 * GB, 1 * GB], [[0], [0]], delay=[0, S]) == [1.0, 2.0]


def test_a_link_crossed_twice_counts_twice() -> None:
    assert ends_s([GB], [1 * GB], [[0, 0]]) == [2.0]
    assert ends_s([GB], [1 * GB], [[]], cap=2 * GB) == [0.5]
    assert ends_s([GB], [1 * GB], [[]]) == [0.0]


def test_dependencies() -> None:
    flows = FlowTable.of_paths(
        [1 * GB, 0.0, 1 * GB], [[0], [0], [0]], after=[[], [0], [1]], release=[0, 0, S // 2]
    )
    run = simulate_flows([GB], flows)
    assert run.start.tolist() == [0, S, S]
    assert run.end.tolist() == [S, S, 2 * S]


def test_a_link_that_breaks_and_recovers() -> None:
    changes = Changes.make([S // 2, S, 2 * S], 0, [0.0, GB, 0.25 * GB])
    run = simulate_flows([GB], FlowTable.of_paths([2 * GB], [[0]]), changes=changes)
    # half a second of 1 GB/s, half of nothing, one of 1 GB/s, then a quarter
    assert run.end.tolist() == [4 * S]


@pytest.mark.parametrize("seed", range(6))
def test_bytes_are_conserved_on_every_link(seed: int) -> None:
    """What links carried, over time, is what their flows had to move."""
    speed, flows, changes = crowd(seed) if seed % 2 else random_case(seed)
    run = simulate_flows(speed, flows, changes=changes, record=True)
    assert run.rates
    carried, rate, since = np.zeros(len(speed)), np.zeros(len(speed)), np.zeros(len(speed))
    for tick, link, now in run.rates:
        carried[link] += rate[link] * (tick - since[link]) / S
        rate[link], since[link] = now, tick
    assert np.all(rate == 0)
    assert carried == pytest.approx(run.link_bytes, rel=1e-9, abs=1.0)
    assert run.link_bytes.sum() == pytest.approx((flows.bytes * np.diff(flows.first)).sum())


def test_ten_thousand_equal_flows_are_one() -> None:
    n = 10_000
    flows = FlowTable.make(
        np.full(n, 1e6), np.arange(n + 1) * 2, np.tile([0, 1], n), release=np.arange(n) // 100
    )
    run = simulate_flows([GB, 2 * GB], flows)
    assert run.thawed <= run.solves + 1
    apart = simulate_flows([GB, 2 * GB], flows, merge=False)
    assert np.abs(run.end - apart.end).max() <= 1e-9 * 10 * S
    assert run.end.max() == pytest.approx(n * 1e6 / GB * S, abs=2)
