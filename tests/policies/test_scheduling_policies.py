"""Scheduling policies, hand-made cases: plain Python and machine code agree in each (see `ask`)."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from policy_views import S, ask, context, find, request, tenants

from mltwin.models.serving.hooks import ENQUEUE, REKEY
from mltwin.policies import policy_params
from mltwin.sim.ticks import NEVER


def order(name: str, requests: list, **views) -> list[int]:
    """Indices of requests in the order in which they would be served."""
    policy = find(name, "priority")
    keys = [ask(policy, request=r, **views) for r in requests]
    return sorted(range(len(keys)), key=lambda i: (keys[i], i))


def test_fcfs_is_by_arrival() -> None:
    assert order("fcfs", [request(arrival=a * S) for a in (5, 1, 3)]) == [1, 2, 0]


def test_shortest_prompt_and_job() -> None:
    requests = [request(prompt=p, predicted=g) for p, g in ((30, 1), (10, 9), (20, 5))]
    assert order("shortest_prompt", requests) == [1, 2, 0]
    assert order("shortest_job", requests) == [0, 2, 1]


def test_srpt_counts_what_is_left() -> None:
    srpt = find("srpt", "priority")
    started = request(prompt=10, predicted=100, generated=95)
    assert ask(srpt, request=started) == 15.0
    assert ask(srpt, request=started, settings={"prompt_weight": 0.5}) == 10.0
    overdue = request(prompt=10, predicted=5, generated=50)
    assert ask(srpt, request=overdue) == 11.0


def test_earliest_deadline_leaves_those_without_to_the_end() -> None:
    requests = [request(deadline=d) for d in (NEVER, 9 * S, 4 * S)]
    assert order("earliest_deadline", requests) == [2, 1, 0]


CLASSES = st.integers(-1023, 1023)
ARRIVALS = st.integers(0, NEVER - 1)


@given(st.tuples(CLASSES, ARRIVALS), st.tuples(CLASSES, ARRIVALS))
def test_priority_class_packs_exactly(a: tuple[int, int], b: tuple[int, int]) -> None:
    policy = find("priority_class", "priority")
    keys = [policy(request(priority=p, arrival=t), None, None, None, None) for p, t in (a, b)]
    microseconds = [(-p, t >> 20) for p, t in (a, b)]
    assert (keys[0] < keys[1]) == (microseconds[0] < microseconds[1])
    assert (keys[0] == keys[1]) == (microseconds[0] == microseconds[1])


def test_priority_class_compiled_and_beyond_its_exact_range() -> None:
    urgent = request(priority=2**31 - 1, arrival=NEVER - 1)
    next_class = request(priority=2**31 - 2, arrival=0)
    assert order("priority_class", [next_class, urgent]) == [1, 0]
    assert ask(find("priority_class", "priority"), request=request(priority=1)) == -(2.0**43)


def test_vtc_serves_the_tenant_served_least() -> None:
    vtc = find("vtc", "priority")
    view = tenants(2, prompt_served=[100, 40], output_served=[10, 50], weight=[1.0, 2.0])
    memory = np.zeros(3)
    keys = [
        ask(vtc, request=request(tenant=t), tenants=view, ctx=context(event=REKEY), memory=memory)
        for t in (0, 1)
    ]
    assert keys == [100 + 2 * 10, (40 + 2 * 50) / 2]
    assert not memory.any(), "only a request that is queued may lift a counter"
    settings = {"prompt_weight": 2.0, "output_weight": 0.0}
    assert ask(vtc, tenants=view, ctx=context(event=REKEY), settings=settings, memory=memory) == 200


def enqueue_vtc(view, memory, tenant: int) -> float:
    return ask(
        find("vtc", "priority"),
        request=request(tenant=tenant),
        tenants=view,
        ctx=context(event=ENQUEUE),
        memory=memory,
    )


def test_vtc_lifts_a_tenant_that_returns_to_the_least_that_waits() -> None:
    view = tenants(3, prompt_served=[10, 500, 700], waiting=[0, 1, 2])
    memory = np.zeros(4)
    assert enqueue_vtc(view, memory, 0) == 500
    assert memory.tolist() == [490, 0, 0, 1]
    view.waiting[0] = 1  # it waits: no second lift, though others have moved on
    view.prompt_served[1] = 900
    assert enqueue_vtc(view, memory, 0) == 500


def test_vtc_lowers_nobody() -> None:
    view = tenants(2, prompt_served=[800, 500], waiting=[0, 1])
    memory = np.zeros(3)
    assert enqueue_vtc(view, memory, 0) == 800
    assert memory.tolist() == [0, 0, 1]


def test_vtc_lifts_to_the_last_queued_when_nobody_waits() -> None:
    view = tenants(2)
    memory = np.zeros(3)
    assert enqueue_vtc(view, memory, 1) == 0  # the very first: nothing to be lifted to
    view.prompt_served[1] = 300
    assert enqueue_vtc(view, memory, 0) == 300
    assert memory.tolist() == [300, 0, 1]


def serve(name: str, weights: list[float], pattern, steps: int) -> np.ndarray:
    """Serve one request after the other by a policy; weighted tokens served of each tenant.

    pattern(step, tenant): how many requests of 100 + 50 tokens the tenant sends before a step.
    """
    policy = find(name, "priority")
    function = policy.compiled()
    n = len(weights)
    sent = [request(tenant=t, prompt=100, predicted=50) for t in range(n)]
    contexts = {event: context(event=event) for event in (ENQUEUE, REKEY)}
    view, memory = tenants(n, weight=weights), np.zeros(n + 1)
    queue: list[tuple[int, int, float]] = []  # id, tenant, key
    number = 0

    def key(tenant: int, event: int) -> float:
        return function(sent[tenant], view, contexts[event], policy_params(policy), memory)

    for step in range(steps):
        for tenant in range(n):
            for _ in range(pattern(step, tenant)):
                queue.append((number, tenant, key(tenant, ENQUEUE)))
                view.waiting[tenant] += 1
                number += 1
        if policy.stability == "every_iteration":
            queue = [(i, t, key(t, REKEY)) for i, t, _ in queue]
        if queue:
            chosen = min(queue, key=lambda entry: (entry[2], entry[0]))
            queue.remove(chosen)
            tenant = chosen[1]
            view.waiting[tenant] -= 1
            view.prompt_served[tenant] += 100
            view.output_served[tenant] += 50
    return np.asarray(view.prompt_served + 2 * view.output_served)


@pytest.mark.parametrize("name", ["vtc", "fair_share"])
def test_backlogged_tenants_share_by_weight(name: str) -> None:
    """A tenant that sends ten times as much gets no more than its share."""
    served = serve(name, [1.0, 1.0, 2.0], lambda step, t: 10 if t == 0 else 2, 200)
    assert np.abs(served / [1, 1, 2] - served[0]).max() <= 2 * 200


@pytest.mark.parametrize("name", ["vtc", "fair_share"])
def test_idleness_saves_no_credit(name: str) -> None:
    """After 100 steps alone, the first tenant does not have to stand back for the second."""

    def late(step: int, tenant: int) -> int:
        return 2 if tenant == 0 or step >= 100 else 0

    before = serve(name, [1.0, 1.0], late, 100)
    after = serve(name, [1.0, 1.0], late, 200)
    assert before[1] == 0
    assert np.abs(after - before - 100 * 200 / 2).max() <= 2 * 200


def test_fcfs_gives_the_greedy_tenant_most() -> None:
    """What the fair policies are measured against: with fcfs the share follows the demand."""
    served = serve("fcfs", [1.0, 1.0], lambda step, t: 10 if t == 0 else 2, 200)
    assert served[0] >= 4 * served[1]


def test_fair_share_deals_rounds() -> None:
    policy = find("fair_share", "priority")
    view, memory = tenants(2, weight=[1.0, 2.0]), np.zeros(2)

    def key(tenant: int) -> float:
        value = ask(policy, request=request(tenant=tenant), tenants=view, memory=memory)
        view.waiting[tenant] += 1
        return value

    assert [key(0) for _ in range(3)] == [1, 2, 3]
    assert [key(1) for _ in range(3)] == [1, 1.5, 2]
    view.waiting[:] = 0  # all served: who comes now starts at the round reached, not in the past
    assert key(1) == 3
    view.waiting[1] = 0
    assert key(0) == 4


@given(
    st.lists(st.tuples(st.integers(1, 10_000), st.integers(0, 1000)), min_size=2, max_size=6),
    st.integers(1000, 5000),
)
def test_aging_order_is_that_of_prompt_less_waiting(rows: list, now_s: int) -> None:
    policy = find("aging", "priority")
    keys = [
        policy(request(prompt=p, arrival=a * S), None, None, np.array([8.0]), None) for p, a in rows
    ]
    waiting = [p - 8.0 * (now_s - a) for p, a in rows]
    assert np.argsort(keys, kind="stable").tolist() == np.argsort(waiting, kind="stable").tolist()


def test_aging_in_both() -> None:
    value = ask(find("aging", "priority"), request=request(prompt=50, arrival=3 * S))
    assert value == 50 + 3 * 1000.0


def test_response_ratio_favours_short_then_old() -> None:
    policy = find("response_ratio", "priority")
    settings = {"prompt_tokens_per_s": 100.0, "output_tokens_per_s": 10.0}
    short = request(prompt=100, predicted=10, arrival=9 * S)  # 2 s of service
    long = request(prompt=400, predicted=40, arrival=0)  # 8 s of service

    def keys(now_s: int) -> list[float]:
        ctx = context(now=now_s * S)
        return [ask(policy, request=r, ctx=ctx, settings=settings) for r in (short, long)]

    assert keys(9) == [-1.0, -(9 + 8) / 8]
    assert keys(20) == [-(11 + 2) / 2, -(20 + 8) / 8]
