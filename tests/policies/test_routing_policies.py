"""Routing and placement policies: hand-made cases, and properties over random views."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_views import ask, context, find, replicas, request

from mltwin.models.serving.hooks import (
    DECODE_ROLE,
    DRAINING,
    FAILED,
    MIXED_ROLE,
    PREFILL_ROLE,
    STARTING,
    STOPPED,
    UP,
)
from mltwin.policies import Sizes, list_policies

ROUTES = [p.name for p in list_policies("route")]
PLACEMENTS = [p.name for p in list_policies("place_decode")]
SESSIONS = 3


def route(name: str, view, **views) -> int:
    return ask(find(name, "route"), replicas=view, **views)


def memory_of(name: str, hook: str, view) -> np.ndarray:
    return np.zeros(max(1, find(name, hook).memory_size(Sizes(10, 2, SESSIONS, len(view)))))


@st.composite
def views(draw, phase: int):
    """Random replicas, at least one of which is up and serves the phase."""
    n = draw(st.integers(1, 8))
    column = st.lists(st.integers(0, 100_000), min_size=n, max_size=n)
    small = st.lists(st.integers(0, 50), min_size=n, max_size=n)
    choices = st.lists(st.integers(1, 3), min_size=n, max_size=n)
    states = st.lists(st.integers(0, 4), min_size=n, max_size=n)
    view = replicas(
        outstanding_tokens=draw(column),
        queued_tokens=draw(column),
        outstanding=draw(small),
        waiting=draw(small),
        role=draw(choices),
        state=draw(states),
        speed=draw(st.lists(st.sampled_from([0.5, 1.0, 3.0]), min_size=n, max_size=n)),
    )
    chosen = draw(st.integers(0, n - 1))
    view.state[chosen], view.role[chosen] = UP, view.role[chosen] | phase
    return view


@pytest.mark.parametrize("name", ROUTES)
@settings(max_examples=40)
@given(data=st.data())
def test_every_route_leads_to_a_replica_that_takes_it(name: str, data) -> None:
    view = data.draw(views(PREFILL_ROLE))
    hits = np.array(data.draw(st.lists(st.integers(0, 9), min_size=8)), np.int32)[: len(view)]
    memory = memory_of(name, "route", view)
    for number in range(3):
        chosen = ask(
            find(name, "route"),
            request=request(
                prompt=data.draw(st.integers(1, 5000)), session=data.draw(st.integers(-1, 2))
            ),
            replicas=view,
            hits=hits,
            ctx=context(request=number, seed=7),
            memory=memory,
        )
        assert 0 <= chosen < len(view)
        assert view.state[chosen] == UP
        assert view.role[chosen] & PREFILL_ROLE


@pytest.mark.parametrize("name", PLACEMENTS)
@settings(max_examples=40)
@given(data=st.data())
def test_every_placement_is_the_source_or_decodes(name: str, data) -> None:
    view = data.draw(views(DECODE_ROLE))
    source = data.draw(st.integers(0, len(view) - 1))
    chosen = ask(find(name, "place_decode"), replicas=view, ctx=context(replica=source))
    assert 0 <= chosen < len(view)
    serves = view.state[chosen] == UP and view.role[chosen] & DECODE_ROLE
    assert chosen == source or serves


@pytest.mark.parametrize("name", ROUTES)
def test_no_replica_no_answer(name: str) -> None:
    view = replicas(state=[STOPPED, STARTING, DRAINING, FAILED, UP], role=[3, 3, 3, 3, 2])
    assert route(name, view, memory=memory_of(name, "route", view)) == -1


@pytest.mark.parametrize("name", sorted(set(ROUTES) - {"random", "power_of_two"}))
def test_among_equals_the_lowest_index(name: str) -> None:
    view = replicas(state=[FAILED, UP, UP, UP])
    assert route(name, view, memory=memory_of(name, "route", view)) == 1


def test_least_of_each_measure() -> None:
    view = replicas(
        outstanding=[1, 5, 3], outstanding_tokens=[900, 300, 600], speed=[1.0, 1.0, 4.0]
    )
    assert route("least_requests", view) == 0
    assert route("least_tokens", view) == 1
    assert route("least_work", view, request=request(prompt=300)) == 2


def test_round_robin_skips_and_goes_round() -> None:
    view = replicas(state=[UP, FAILED, UP, UP], role=[3, 3, DECODE_ROLE, PREFILL_ROLE])
    memory = np.zeros(1)
    assert [route("round_robin", view, memory=memory) for _ in range(4)] == [0, 3, 0, 3]


def test_equals_take_turns() -> None:
    view = replicas(outstanding=[2, 1, 0, 1, 0], state=[UP, UP, UP, UP, UP])
    memory = np.zeros(1)

    def ask_again() -> int:
        return route("least_requests_in_turn", view, memory=memory)

    assert [ask_again() for _ in range(4)] == [2, 4, 2, 4]
    view.outstanding[:] = 7
    assert [ask_again() for _ in range(5)] == [0, 1, 2, 3, 4]
    view.state[:] = FAILED
    assert ask_again() == -1


def draws(name: str, view, n: int, **fields) -> np.ndarray:
    policy, hits = find(name, "route"), np.zeros(len(view), np.int32)
    one = request(**fields)
    empty = np.zeros(0)
    return np.array(
        [policy.compiled()(one, view, hits, context(request=i), empty, empty) for i in range(n)]
    )


def test_random_is_uniform_over_those_that_can() -> None:
    view = replicas(state=[UP, FAILED, UP, UP], role=[3, 3, 1, 3])
    counts = np.bincount(draws("random", view, 3000), minlength=4)
    assert counts[1] == 0
    assert np.abs(counts[[0, 2, 3]] - 1000).max() < 5 * np.sqrt(3000 * 2 / 9)


def test_a_request_routed_again_draws_anew() -> None:
    view = replicas(outstanding=[0] * 8)
    for name in ("random", "power_of_two"):
        first, again = draws(name, view, 100), draws(name, view, 100, attempts=1)
        assert np.array_equal(first, draws(name, view, 100))
        assert (first != again).sum() > 50


def test_power_of_two_avoids_the_fullest() -> None:
    view = replicas(outstanding=[7, 9, 8], role=[3, 1, 3])
    counts = np.bincount(draws("power_of_two", view, 3000), minlength=3)
    assert counts[1] == 0
    # the emptiest of three is in two of the three pairs
    assert abs(counts[0] - 2000) < 5 * np.sqrt(3000 * 2 / 9)
    assert route("power_of_two", replicas({})) == 0


def test_prefix_affinity_until_overloaded() -> None:
    hits = np.array([0, 9, 9, 4], np.int32)
    tuned = {"ratio": 2.0, "slack": 3.0}
    view = replicas(outstanding=[1, 5, 4, 0])
    assert route("prefix_affinity", view, hits=hits, settings=tuned) == 3
    view = replicas(outstanding=[1, 5, 4, 1])
    assert route("prefix_affinity", view, hits=hits, settings=tuned) == 2, "fewer of two equals"
    view = replicas(outstanding=[2, 4, 4, 1])
    assert route("prefix_affinity", view, hits=hits, settings=tuned) == 1
    none = np.zeros(4, np.int32)
    assert route("prefix_affinity", view, hits=none, settings=tuned) == 3


def test_cost_weighs_misses_against_load_and_speed() -> None:
    one = request(prompt=1000, generated=24)
    hits = np.array([0, 32, 64], np.int32)  # misses 1024, 512, 0 tokens
    view = replicas(outstanding_tokens=[0, 400, 2000], speed=[1.0, 1.0, 1.0])
    assert route("cost_based", view, request=one, hits=hits) == 1
    assert route("cost_based", view, request=one, hits=hits, settings={"load_weight": 0.0}) == 2
    assert route("cost_based", view, request=one, hits=hits, settings={"load_weight": 9.0}) == 0
    view.speed[2] = 4.0
    assert route("cost_based", view, request=one, hits=hits) == 2


def test_sessions_stick_while_their_replica_can() -> None:
    view = replicas(outstanding_tokens=[5, 1, 9])
    memory = np.zeros(SESSIONS)
    mine = request(session=2)
    assert route("session_sticky", view, request=mine, memory=memory) == 1
    view.outstanding_tokens[1] = 100
    assert route("session_sticky", view, request=mine, memory=memory) == 1
    assert route("session_sticky", view, request=request(session=0), memory=memory) == 0
    assert route("session_sticky", view, memory=memory) == 0, "without a session"
    view.state[1] = DRAINING
    assert route("session_sticky", view, request=mine, memory=memory) == 0
    assert memory.tolist() == [1, 0, 1]


def test_splitwise_prompts_overflow_to_the_mixed_pool() -> None:
    roles = [PREFILL_ROLE, PREFILL_ROLE, MIXED_ROLE, DECODE_ROLE]
    limit = {"limit_tokens": 100.0}

    def chosen(*queued: int) -> int:
        return route("splitwise_mixed", replicas(role=roles, queued_tokens=queued), settings=limit)

    assert chosen(90, 100, 0, 0) == 0
    assert chosen(200, 101, 50, 0) == 2
    assert chosen(200, 101, 300, 0) == 1
    busy = replicas(role=[PREFILL_ROLE] * 3, queued_tokens=[0, 0, 5], outstanding=[1, 0, 0])
    assert route("splitwise_mixed", busy) == 1, "what is being prefilled counts"
    assert route("splitwise_mixed", replicas(role=[DECODE_ROLE, MIXED_ROLE])) == 1


def place(name: str, view, source: int, **views) -> int:
    return ask(find(name, "place_decode"), replicas=view, ctx=context(replica=source), **views)


def test_placement_by_load() -> None:
    roles = [PREFILL_ROLE, DECODE_ROLE, MIXED_ROLE, DECODE_ROLE]
    view = replicas(role=roles, outstanding_tokens=[0, 30, 20, 20], outstanding=[0, 1, 2, 2])
    for name in PLACEMENTS:
        assert place(name, view, 2) == 2, f"{name}: a source with the decode role and room keeps it"
    assert place("stay", view, 0) == 0
    assert place("least_decode", view, 0) == 2
    assert place("least_requests_decode", view, 0) == 1
    view.state[1:3] = FAILED
    assert place("least_requests_decode", view, 0) == place("least_decode", view, 0) == 3


def test_local_first_while_the_source_is_not_overloaded() -> None:
    tuned = {"ratio": 2.0, "slack_tokens": 10.0}
    view = replicas(outstanding_tokens=[110, 50])
    assert place("local_first", view, 0, settings=tuned) == 0
    view.outstanding_tokens[0] = 111
    assert place("local_first", view, 0, settings=tuned) == 1


def test_splitwise_tokens_overflow_step_by_step() -> None:
    roles = [PREFILL_ROLE, DECODE_ROLE, DECODE_ROLE, MIXED_ROLE]
    limit = {"limit_tokens": 100.0}

    def chosen(*tokens: int) -> int:
        view = replicas(role=roles, outstanding_tokens=tokens)
        return place("splitwise_mixed", view, 0, settings=limit)

    assert chosen(0, 90, 80, 0) == 2
    assert chosen(0, 190, 180, 60) == 3
    assert chosen(50, 190, 180, 160) == 0
    assert chosen(500, 190, 180, 160) == 3
    busy = replicas(role=[MIXED_ROLE, DECODE_ROLE], outstanding_tokens=[200, 50])
    assert place("splitwise_mixed", busy, 0, settings=limit) == 1
