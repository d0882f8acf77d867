"""The SimPy twin against cases worked out by hand: several replicas, and the network.

Iterations take t = 1000 + 10 tok + ctx ticks unless a test says otherwise. So a prefill of 10
tokens takes 1100, and the decodes that follow 1021, 1022, ... (ctx is kv + 1).
"""

import pytest
from hand_cases import control, events, kind, prefixes, serve, times

from mltwin.models.serving.hooks import (
    ACTION,
    ARGUMENT,
    DECODE_ROLE,
    DRAIN,
    DRAINING,
    MIXED_ROLE,
    PREFILL_ROLE,
    SET_ROLE,
    START,
    STARTING,
    STOPPED,
    UP,
)
from mltwin.models.serving.outcome import (
    CANCEL,
    LOST,
    PARK,
    QUEUE,
    REPLICA_STATE,
    TRANSFER_END,
    TRANSFER_START,
)
from mltwin.models.serving.reference_network import max_min_rates
from mltwin.models.serving.tables import (
    CHANGE_ROLE,
    DRAIN_REPLICA,
    FAIL,
    PARKED,
    RECOVER,
    START_REPLICA,
    TRANSFER,
)
from mltwin.sim.errors import KernelError

PD = {
    "replicas": 2,
    "role_of": [PREFILL_ROLE, DECODE_ROLE],
    "nic_bytes_per_s": [1e12, 1e12],  # 1 byte a tick
    "kv_bytes_per_token": 100,
    "latency": 500,
    "policies": {"place_decode": lambda request, replicas, ctx, params, memory: 1},
}


def test_one_transfer():
    """Handed over at 1100, there at 1600; 1000 bytes take 1000 ticks."""
    o = serve([10], [2], **PD)
    assert events(o, TRANSFER_START) == [(1600, 0, 1)]
    assert events(o, TRANSFER_END) == [(2600, 0, 1)]
    assert times(o, "transfer") == [1500]
    assert times(o, "finish") == [2600 + 1021]
    assert (times(o, "prefill_replica"), times(o, "replica")) == ([0], [1])
    assert o.replicas["decode_tokens"].tolist() == [0, 1]


def test_two_transfers_share_the_link():
    """1000 and 600 bytes at half the rate: 600 each until 1160 + 500 + 1200, the rest alone."""
    o = serve([10, 6], [2, 2], **PD)
    assert events(o, TRANSFER_END) == [(2860, 1, 1), (3260, 0, 1)]
    assert times(o, "finish") == [2860 + 1017 + 1021, 2860 + 1017]


def test_a_transfer_into_a_cached_prefix_moves_the_rest():
    """The second finds 8 of its 10 tokens at the decode replica: 200 bytes."""
    o = serve([10, 10], [2, 2], [0, 50000], **PD, **prefixes([0, 1, 2], [0, 1, 3]))
    (start,) = (t for t, i, _ in events(o, TRANSFER_START) if i == 1)
    (end,) = (t for t, i, _ in events(o, TRANSFER_END) if i == 1)
    assert start == 50000 + 1020 + 500  # 8 tokens are found at the prefill replica too
    assert end == start + 200


def test_a_cancelled_transfer_ends_first():
    """Cancelled at 2000, on its way from 1600 to 2600."""
    o = serve([10], [2], timeout=[2000], **PD)
    assert events(o, CANCEL) == [(2600, 0, TRANSFER)]
    assert times(o, "finish") == [2600]


def test_without_memory_at_the_destination_it_waits_there():
    """5 blocks hold the first until it ends; then the second's KV sets out."""
    o = serve([10, 10], [2, 2], engine=kind(blocks=5), block_tokens=4, **PD)
    # the source has room for one at a time, and until its KV has gone
    assert events(o, TRANSFER_START) == [(1600, 0, 1), (2600 + 1100 + 500, 1, 1)]


def test_a_destination_that_drains_serves_what_was_sent():
    """Told to drain at 1300, before the hand-over arrives at 1600: it decodes and then stops."""
    rows = control((1300, DRAIN_REPLICA, 1, 0))
    o = serve([10], [2], control=rows, **PD)
    assert times(o, "finish") == [1600 + 1000 + 1021] and times(o, "replica") == [1]
    assert events(o, REPLICA_STATE) == [(1300, 1, DRAINING), (3621, 1, STOPPED)]
    assert o.totals["flows"] == 1


def test_a_failure_in_mid_iteration():
    """Replica 0 fails at 1500 with one token made; 11 tokens are prefilled on replica 1."""
    o = serve([10], [3], replicas=2, control=control((1500, FAIL, 0, 0)))
    assert events(o, LOST) == [(1500, 0, 0)]
    assert events(o, QUEUE) == [(0, 0, 0), (1500, 0, 1)]
    assert times(o, "first") == [1100]
    assert times(o, "finish") == [1500 + 1110 + 1022]
    assert times(o, "attempts") == [1] and times(o, "preempted") == [0]
    assert o.replicas["iterations"].tolist() == [1, 2]
    assert o.replicas["up_ticks"].tolist() == [1500, 3632]


def test_a_failed_source_takes_its_requests_back():
    """The KV is lost at 2000, half moved; nothing else prefills until the recovery at 5000."""
    rows = control((2000, FAIL, 0, 0), (5000, RECOVER, 0, 0))
    o = serve([10], [2], control=rows, **PD)
    assert [(t, i) for t, i, _ in events(o, PARK)] == [(2000, 0)]
    assert not events(o, TRANSFER_END)
    assert times(o, "finish") == [5000 + 1110]  # its second token, not its first: no hand-over


def test_parked_until_a_replica_has_started():
    """Told to start at 500, ready 300 later; drained at 1000, gone with its last request."""
    rows = control((500, START_REPLICA, 0, 0), (1000, DRAIN_REPLICA, 0, 0))
    o = serve([10], [1], up=[0], engine=kind(startup=300), control=rows)
    assert [t for t, _, _ in events(o, PARK)] == [0]
    assert times(o, "finish") == [800 + 1100]
    states = [(500, 0, STARTING), (800, 0, UP), (1000, 0, 3), (1900, 0, STOPPED)]
    assert events(o, REPLICA_STATE) == states
    assert o.replicas["up_ticks"] == [1400]


def test_a_new_role_lets_parked_requests_in():
    rows = control((700, CHANGE_ROLE, 0, MIXED_ROLE))
    o = serve([10], [1], role_of=[DECODE_ROLE], control=rows)
    assert times(o, "finish") == [700 + 1100]


def test_what_can_never_run_stays():
    """No replica ever starts: the run ends with the request parked."""
    o = serve([10], [1], up=[0], snapshot_every=1000)
    assert times(o, "state") == [PARKED] and times(o, "finish") == [-1]


def test_scaling():
    """Asked at 400: starts the second replica, which is up at 700 and serves the next request."""

    def scale(replicas, ctx, params, memory):
        return START * ACTION + 1 if replicas[1].state == STOPPED and ctx.now == 400 else 0

    def route(request, replicas, hits, ctx, params, memory):
        return 1 if replicas[1].state == UP else 0

    o = serve(
        [10, 10, 10],
        [1, 1, 1],
        [0, 600, 800],
        engine=kind(startup=300),
        replicas=2,
        up=[1, 0],
        scale_every=400,
        policies={"scale": scale, "route": route},
    )
    assert events(o, REPLICA_STATE) == [(400, 1, STARTING), (700, 1, UP)]
    assert times(o, "replica") == [0, 0, 1]


def test_a_stale_view():
    """The view of 0 shows both empty, that of 1000 the two requests that went to the first."""

    def route(request, replicas, hits, ctx, params, memory):
        return int(replicas[1].outstanding < replicas[0].outstanding)

    common = {"replicas": 2, "policies": {"route": route}}
    arrivals = [0, 0, 1000, 1000]
    stale = serve([10] * 4, [4] * 4, arrivals, snapshot_every=1000, **common)
    assert times(stale, "replica") == [0, 0, 1, 1]
    live = serve([10] * 4, [4] * 4, arrivals, **common)
    assert times(live, "replica") == [0, 1, 0, 1]


def test_the_live_view():
    """At 1500 the running request has 10 tokens of KV in 3 blocks of 4 (one decode is running)."""
    seen = []

    def route(request, replicas, hits, ctx, params, memory):
        r = replicas[0]
        seen.append((int(r.decode_context), int(r.free_blocks), int(r.outstanding_tokens)))
        return 0

    common = {"engine": kind(blocks=10), "block_tokens": 4, "policies": {"route": route}}
    serve([10, 5], [3, 1], [0, 1500], live_view=True, **common)
    serve([10, 5], [3, 1], [0, 1500], **common)
    assert seen == [(0, 10, 0), (10, 7, 13), (0, 0, 0), (0, 0, 13)]


# the network alone -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paths", "capacity", "rates"),
    [
        ([], [10], []),
        ([(0, 2)], [10, 10, 10, 10], [10]),
        ([(0, 2), (0, 3)], [11, 9, 11, 11], [5, 5]),  # whole units
        ([(0, 2), (0, 3), (1, 3)], [10, 10, 10, 10], [5, 5, 5]),
        # three into link 3 get 3 each; the flow beside one of them gets the rest of link 0
        ([(0, 2), (0, 3), (1, 3), (1, 3)], [10, 10, 10, 9], [7, 3, 3, 3]),
        ([(0, 1)] * 3, [2, 2], [1, 1, 1]),  # never less than one unit
    ],
)
def test_max_min_rates(paths, capacity, rates):
    assert max_min_rates(paths, capacity) == rates


# policies that answer nonsense -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "answer", "message"),
    [
        ("admit", 2, "admit answered 2 for request 0"),
        ("route", 7, "route answered 7 for request 0: there are 3 replicas"),
        ("route", -1, "route answered -1 for request 0"),
        ("route", 2, "route answered 2 for request 0: that replica is not up"),
        ("route", 1, "route answered 1 for request 0: that replica has not the role"),
        ("place_decode", 2, "place_decode answered 2 for request 0: that replica is not up"),
        ("place_decode", 3, "place_decode answered 3 for request 0: there are 3 replicas"),
        ("priority", float("nan"), "priority answered nan for request 0"),
        ("scale", DRAIN * ACTION + 2, "action 2, argument 0 for replica 2, which is in state 0"),
        ("scale", SET_ROLE * ACTION + 4 * ARGUMENT, "action 3, argument 4 for replica 0"),
        ("scale", START * ACTION + 3, "there is no such replica"),
        ("scale", -1, "there is no such replica"),
        ("scale", SET_ROLE * ACTION + MIXED_ROLE * ARGUMENT, "a second action"),
    ],
)
def test_nonsense_is_named(hook, answer, message):
    with pytest.raises(KernelError, match=message):
        serve(
            [10],
            [2],
            replicas=3,
            role_of=[PREFILL_ROLE, DECODE_ROLE, MIXED_ROLE],
            up=[1, 1, 0],
            scale_every=100,
            policies={hook: lambda *seen: answer},
        )


def test_a_scale_policy_that_starts_nothing_leaves_requests_parked():
    """The run ends where the questions to the policy began to be idle."""
    o = serve([10], [1], [50], up=[0], scale_every=100, policies={"scale": lambda *seen: 0})
    assert times(o, "state") == [PARKED]
    assert o.totals["done"] == 0 and o.totals["end"] == 50


def test_an_unknown_hook_is_an_error():
    with pytest.raises(KernelError, match="router"):
        serve([10], [1], policies={"router": lambda *seen: 0})
