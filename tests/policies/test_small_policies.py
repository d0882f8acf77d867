"""Admission, pre-emption, eviction and scaling policies."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_views import S, ask, block, context, find, replicas, request, tenants

from mltwin.models.serving.hooks import (
    ACTION,
    ARGUMENT,
    DECODE_ROLE,
    DRAIN,
    DRAINING,
    FAILED,
    MIXED_ROLE,
    PREFILL_ROLE,
    SET_ROLE,
    START,
    STARTING,
    STOPPED,
    UP,
)
from mltwin.policies import Sizes, list_policies
from mltwin.sim.ticks import NEVER

# -- admission --------------------------------------------------------------------------------


def admit(name: str, **views) -> int:
    return ask(find(name, "admit"), **views)


@pytest.mark.parametrize("policy", list_policies("admit"), ids=lambda p: p.name)
def test_an_idle_system_accepts_and_so_does_one_without_replicas(policy) -> None:
    assert ask(policy) == 1
    full = {"waiting": 10**6, "outstanding_tokens": 10**9, "queued_tokens": 10**9}
    assert ask(policy, replicas=replicas({"state": STARTING, **full})) == 1


def test_queue_limit_is_an_average_over_those_up() -> None:
    view = replicas(waiting=[3, 5, 100], state=[UP, UP, FAILED])
    assert admit("queue_limit", replicas=view, settings={"limit": 4.0}) == 0
    assert admit("queue_limit", replicas=view, settings={"limit": 4.5}) == 1


def test_token_limit_counts_the_request_itself() -> None:
    view = replicas(outstanding_tokens=[100, 300])
    one = request(prompt=50, predicted=10)
    assert admit("token_limit", request=one, replicas=view, settings={"limit_tokens": 230}) == 1
    assert admit("token_limit", request=one, replicas=view, settings={"limit_tokens": 229}) == 0


def test_tenant_limit_goes_by_weight() -> None:
    view = tenants(2, waiting=[3, 3], running=[2, 2], weight=[1.0, 2.0])
    answers = [
        admit("tenant_limit", request=request(tenant=t), tenants=view, settings={"limit": 5.0})
        for t in (0, 1)
    ]
    assert answers == [0, 1]


def test_deadline_feasible_on_the_best_replica() -> None:
    # the best: 1000 tokens at 2 * 100 tokens/s = 5 s, then 10 tokens of 0.1 s = 1 s
    view = replicas(queued_tokens=[900, 800, 0], speed=[1.0, 2.0, 1.0], state=[UP, UP, FAILED])
    rates = {"prefill_tokens_per_s": 100.0, "decode_s_per_token": 0.1}

    def answer(deadline_s: float, **changed: float) -> int:
        one = request(prompt=200, predicted=11, deadline=int((3 + deadline_s) * S))
        return admit(
            "deadline_feasible",
            request=one,
            replicas=view,
            ctx=context(now=3 * S),
            settings={**rates, **changed},
        )

    assert answer(6.0) == 1
    assert answer(5.99) == 0
    assert answer(5.0, decode_s_per_token=0.0) == 1
    assert answer(4.99, decode_s_per_token=0.0) == 0
    free = request(prompt=200, deadline=NEVER)
    slow = {"prefill_tokens_per_s": 1e-6}
    assert admit("deadline_feasible", request=free, replicas=view, settings=slow) == 1


# -- pre-emption ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "goes"),
    [
        ("lowest_priority", 0),
        ("latest_arrival", 1),
        ("longest_remaining", 2),
        ("most_generated_first", 3),
        ("fewest_generated", 4),
    ],
)
def test_who_gives_way(name: str, goes: int) -> None:
    rows = [
        {"key": 9.0, "arrival": 1 * S, "predicted": 100, "generated": 70},
        {"key": 1.0, "arrival": 7 * S, "predicted": 100, "generated": 70},
        {"key": 2.0, "arrival": 2 * S, "predicted": 300, "generated": 60},
        {"key": 3.0, "arrival": 3 * S, "predicted": 20, "generated": 500},
        {"key": 4.0, "arrival": 4 * S, "predicted": 100, "generated": 5},
    ]
    scores = [ask(find(name, "preempt"), request=request(**row)) for row in rows]
    assert int(np.argmax(scores)) == goes


# -- eviction ---------------------------------------------------------------------------------


def evicted(name: str, rows: list, **parameters: float) -> list[int]:
    """Order of eviction of blocks (now, hits, depth), given in the order of their release."""
    policy = find(name, "evict")
    scores = [
        ask(policy, block=block(hits=h, depth=d), ctx=context(now=now), settings=parameters)
        for now, h, d in rows
    ]
    return sorted(range(len(rows)), key=lambda i: (scores[i], i))


RELEASES = st.lists(
    st.tuples(st.integers(0, NEVER), st.integers(0, 5), st.integers(0, 40)), min_size=2, max_size=8
).map(sorted)


@settings(max_examples=50)
@given(RELEASES)
def test_lru_is_the_order_of_release(rows: list) -> None:
    """Rounding of late times to float64 makes ties, never another order."""
    assert evicted("lru", rows) == list(range(len(rows)))
    assert evicted("hits_per_depth", rows, seconds_per_hit=0.0) == list(range(len(rows)))
    assert evicted("slru", rows, threshold=0.0) == list(range(len(rows)))


def test_eviction_orders() -> None:
    rows = [(10 * S, 4, 0), (20 * S, 0, 3), (30 * S, 0, 5), (40 * S, 1, 1)]
    assert evicted("lfu", rows) == [1, 2, 3, 0]
    assert evicted("deepest_first", rows) == [2, 1, 3, 0]
    assert evicted("slru", rows) == [1, 2, 0, 3]
    assert evicted("slru", rows, threshold=2.0) == [1, 2, 3, 0]
    # kept until 10 + 4 * 6 = 34, 20, 30, 40 + 6 / 2 = 43 s
    assert evicted("hits_per_depth", rows, seconds_per_hit=6.0) == [1, 2, 0, 3]
    # 10 + 4 * 6 = 34, 20 + 3 * 6 / 6 = 23 s
    deep = [(10 * S, 4, 0), (20 * S, 3, 5)]
    assert evicted("hits_per_depth", deep, seconds_per_hit=6.0) == [1, 0]


def kept(name: str, rows: list[dict], **parameters: float) -> list[int]:
    """Order of eviction of blocks by their fields, given in the order of their release."""
    policy = find(name, "evict")
    scores = [
        ask(
            policy,
            block=block(**row),
            ctx=context(now=row.get("released", 0)),
            settings=parameters,
        )
        for row in rows
    ]
    return sorted(range(len(rows)), key=lambda i: (scores[i], i))


def test_fifo_and_mru() -> None:
    rows = [
        {"made": 5 * S, "released": 10 * S},
        {"made": 1 * S, "released": 20 * S},
        {"made": 5 * S, "released": 30 * S},
    ]
    assert kept("fifo", rows) == [1, 0, 2], "among equals the one released first"
    assert kept("mru", rows) == [2, 1, 0]


def test_queue_lru_keeps_what_is_wanted() -> None:
    rows = [
        {"released": 10 * S, "wanted": 1},
        {"released": 20 * S},
        {"released": 30 * S},
        {"released": 5 * S, "wanted": 7},
    ]
    assert kept("queue_lru", rows) == [1, 2, 3, 0], "how many want it makes no difference"
    assert find("queue_lru", "evict").queue


def decayed(uses: list[tuple[float, int]], half_life_s: float) -> float:
    """The frequency at the last release, told by the scores of one release after another."""
    score, now = -np.inf, 0.0
    for now, hits in uses:
        score = ask(
            find("lfu_decay", "evict"),
            block=block(score=score, new_hits=hits),
            ctx=context(now=int(now * S)),
            settings={"half_life_s": half_life_s},
        )
    return math.exp(score - math.log(2.0) * now / half_life_s)


def test_decayed_hits_halve() -> None:
    assert decayed([(7.0, 0)], 10.0) == pytest.approx(1.0), "it was made"
    assert decayed([(7.0, 2), (17.0, 1)], 10.0) == pytest.approx(3 / 2 + 1)
    assert decayed([(0.0, 0), (20.0, 3), (30.0, 1)], 10.0) == pytest.approx(1 / 8 + 3 / 2 + 1)
    old = [(0.0, 0), (5e5, 1)]
    assert decayed(old, 1.0) == pytest.approx(1.0), "what is long past has no weight, nor overflows"


@settings(max_examples=50)
@given(st.lists(st.tuples(st.floats(0, 1e3), st.integers(1, 5)), min_size=1, max_size=6))
def test_decayed_hits_are_the_sum_of_their_weights(gaps: list) -> None:
    times = np.cumsum([gap for gap, _ in gaps])
    uses = list(zip(times.tolist(), [hits for _, hits in gaps], strict=True))
    weights = [0.5 ** ((times[-1] - time) / 30.0) * hits for time, hits in uses]
    made = 0.5 ** ((times[-1] - times[0]) / 30.0)
    assert decayed(uses, 30.0) == pytest.approx(sum(weights) + made, rel=1e-9)


def test_what_a_lost_block_costs() -> None:
    """16 tokens and 32 behind, after 100: 48 tokens, each with attention to what is before it."""
    cost = sum(1.0 + (100 + k + 0.5) / 200.0 for k in range(48))
    rows = [{"released": 60 * S, "hits": 2, "tokens_before": 100, "tokens_after": 32}]
    given = {"half_life_s": 30.0, "context_tokens": 200.0}
    score = ask(find("cost_aware", "evict"), block=block(**rows[0]), ctx=context(), settings=given)
    assert math.exp(score) == pytest.approx(3 * cost * 2**2)
    greedy = ask(
        find("gdsf", "evict"),
        block=block(last_evicted=7.5, **rows[0]),
        ctx=context(),
        settings={"context_tokens": 200.0},
    )
    assert greedy == pytest.approx(7.5 + 3 * cost / 16)


def test_cost_aware_orders() -> None:
    # the same request's tail before its head; deeper in the context, dearer; a half life is a hit
    tail, head = {"tokens_before": 64}, {"tokens_after": 64}
    assert kept("cost_aware", [head, tail]) == [1, 0]
    assert kept("cost_aware", [{"tokens_before": 9000}, {"tokens_before": 100}]) == [1, 0]
    found, later = {"released": 0, "hits": 1}, {"released": 61 * S, "hits": 0}
    assert kept("cost_aware", [found, later], half_life_s=60.0) == [0, 1]
    assert kept("cost_aware", [found, later], half_life_s=62.0) == [1, 0]


# -- scaling ----------------------------------------------------------------------------------


def act(view, action: int, at_once: bool = True) -> None:
    """Do to a view what an answer of a scale policy says."""
    kind, rest = divmod(action, ACTION)
    argument, i = divmod(rest, ARGUMENT)
    if kind == START:
        assert view.state[i] == STOPPED
        view.state[i] = UP if at_once else STARTING
    elif kind == DRAIN:
        assert view.state[i] == UP
        view.state[i] = DRAINING
    else:
        assert kind == SET_ROLE
        assert argument in (PREFILL_ROLE, DECODE_ROLE, MIXED_ROLE)
        view.role[i] = argument


def test_none_does_nothing() -> None:
    assert ask(find("none", "scale"), replicas=replicas({"queued_tokens": 10**9})) == 0


TIGHT = {"high_tokens": 100.0, "low_tokens": 10.0, "drain_requests": 2.0, "cooldown_s": 5.0}


def scale(name: str, view, memory, now_s: float = 0.0, event: int = 0, **tuned: float) -> int:
    ctx = context(now=int(now_s * S), event=event)
    return ask(find(name, "scale"), replicas=view, ctx=ctx, memory=memory, settings=tuned)


def test_queue_threshold_starts_when_the_queue_is_long() -> None:
    view = replicas(state=[UP, STOPPED, STOPPED], queued_tokens=[250, 0, 0])
    memory = np.zeros(3)
    assert scale("queue_threshold", view, memory, 1, **TIGHT) == START * ACTION + 1
    view.state[1] = STARTING
    assert scale("queue_threshold", view, memory, 5.9, **TIGHT) == 0, "cooling down"
    assert scale("queue_threshold", view, memory, 6, **TIGHT) == START * ACTION + 2
    view.state[2] = STARTING
    assert scale("queue_threshold", view, memory, 20, **TIGHT) == 0


def test_queue_threshold_drains_the_emptiest_when_calm() -> None:
    view = replicas(queued_tokens=[5, 5, 5], outstanding=[2, 1, 3])
    assert scale("queue_threshold", view, np.zeros(3), **TIGHT) == DRAIN * ACTION + 1
    assert scale("queue_threshold", view, np.zeros(3), **{**TIGHT, "minimum": 3.0}) == 0
    assert scale("queue_threshold", view, np.zeros(3), **{**TIGHT, "drain_requests": 0.0}) == 0
    view.queued_tokens[0] = 20
    assert scale("queue_threshold", view, np.zeros(3), **TIGHT) == 0
    alone = replicas({})
    assert scale("queue_threshold", alone, np.zeros(1), **{**TIGHT, "minimum": 0.0}) == 0


def test_queue_threshold_keeps_pools_apart() -> None:
    view = replicas(
        pool=[0, 0, 1, 1], state=[UP, STOPPED, UP, STOPPED], queued_tokens=[50, 0, 500, 0]
    )
    memory = np.zeros(4)
    assert scale("queue_threshold", view, memory, **TIGHT) == START * ACTION + 3
    assert memory.tolist() == [0, 5 * S, 0, 0]
    view.queued_tokens[0] = 200
    assert scale("queue_threshold", view, memory, event=1, **TIGHT) == START * ACTION + 1


def test_queue_threshold_brings_up_the_minimum() -> None:
    view = replicas(state=[STOPPED, STOPPED])
    assert scale("queue_threshold", view, np.zeros(2), **TIGHT) == START * ACTION


ROLES = {"queued_tokens": 100.0, "decode_requests": 10.0, "cooldown_s": 5.0}


def test_dynamic_roles_step_by_step() -> None:
    roles = [PREFILL_ROLE, DECODE_ROLE, DECODE_ROLE]
    view = replicas(role=roles, queued_tokens=[500, 0, 0], outstanding=[9, 5, 4])
    memory = np.zeros(1)
    to_mixed = SET_ROLE * ACTION + MIXED_ROLE * ARGUMENT
    assert scale("dynamic_roles", view, memory, **ROLES) == to_mixed + 2
    act(view, to_mixed + 2)
    assert scale("dynamic_roles", view, memory, 4.9, **ROLES) == 0
    assert scale("dynamic_roles", view, memory, 5, event=1, **ROLES) == 0, "one step an instant"
    assert scale("dynamic_roles", view, memory, 5, **ROLES) == to_mixed + 1
    act(view, to_mixed + 1)
    to_prefill = SET_ROLE * ACTION + PREFILL_ROLE * ARGUMENT
    assert scale("dynamic_roles", view, memory, 10, **ROLES) == to_prefill + 2
    act(view, to_prefill + 2)
    assert scale("dynamic_roles", view, memory, 15, **ROLES) == 0, "the last that decodes"
    view.queued_tokens[0], view.outstanding[1] = 0, 50
    assert scale("dynamic_roles", view, memory, 20, **ROLES) == to_mixed + 2
    view.queued_tokens[0] = 1000
    assert scale("dynamic_roles", view, memory, 25, **ROLES) == 0, "both overloaded"


@settings(max_examples=60)
@given(st.data())
def test_scaling_never_leaves_a_phase_without_a_replica(data) -> None:
    n = data.draw(st.integers(2, 6))
    whole = st.lists(st.integers(1, 3), min_size=n, max_size=n)
    view = replicas(role=data.draw(whole), pool=np.arange(n) // 2)
    view.role[:2] = PREFILL_ROLE, DECODE_ROLE
    view.pool[:2] = 8, 9
    names = ("dynamic_roles", "queue_threshold")
    memories = {
        name: np.zeros(find(name, "scale").memory_size(Sizes(1, 1, 1, 10))) for name in names
    }
    tuned = {"dynamic_roles": ROLES, "queue_threshold": TIGHT}
    for step in range(12):
        view.queued_tokens = data.draw(st.lists(st.integers(0, 400), min_size=n, max_size=n))
        view.outstanding = data.draw(st.lists(st.integers(0, 20), min_size=n, max_size=n))
        view.state[view.state == DRAINING] = STOPPED
        for name in names:
            action = scale(name, view, memories[name], step * 2.5, **tuned[name])
            if action:
                act(view, action)
        up = view.role[view.state == UP]
        assert (up & PREFILL_ROLE).any()
        assert (up & DECODE_ROLE).any()
