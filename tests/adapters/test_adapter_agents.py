"""Agents that share KV: the replay equals its twin, and what must hold in each scheme."""

import numpy as np
import pytest

from mltwin.models.adapters.agents import TurnsInput, draw_turns, replay_turns
from mltwin.models.adapters.splitting import replay_reference
from mltwin.sim.errors import InputError


def case(seed: int, shared: int, own: int, capacity: int, agents: int = 3, **law) -> TurnsInput:
    """Short conversations in small blocks."""
    chosen = {"conversations": 8, "turns": 6, "together": 3, "mean_tokens": 9, "shared_tokens": 6}
    columns = draw_turns(seed, **{**chosen, **law})
    return TurnsInput(
        conversation=columns["conversation"],
        agent=columns["turn"] % agents,
        before=columns["before"],
        after=columns["after"],
        agents=agents,
        block_tokens=4,
        shared_tokens=6,
        shared_bytes=shared,
        own_bytes=own,
        capacity=capacity,
    )


@pytest.mark.parametrize(("shared", "own"), [(10, 0), (0, 10), (9, 1), (5, 5)])
def test_kernel_equals_twin(shared: int, own: int) -> None:
    for seed in range(8):
        for capacity in (0, 37, 200, 800, 10**6):
            given = case(seed, shared, own, capacity)
            left, right = replay_turns(given), replay_reference(given)
            np.testing.assert_array_equal(left.hit_tokens, right.hit_tokens)
            assert left.totals == right.totals


def test_bytes_are_conserved_and_the_budget_kept() -> None:
    for capacity in (50, 500, 5000):
        totals = replay_turns(case(1, 9, 1, capacity)).totals
        assert totals["bytes_in"] == totals["used"] + totals["bytes_out"]
        assert totals["used"] <= totals["peak"] <= capacity


def test_with_room_for_all_everything_comes_again() -> None:
    """Each agent's second turn finds what its first one left; who shares all finds it at once."""
    given = case(2, 10, 0, 10**9)
    found = replay_turns(given).hit_tokens
    np.testing.assert_array_equal(found, given.before // 4 * 4)
    own = case(2, 0, 10, 10**9)
    hits = replay_turns(own).hit_tokens
    assert (hits <= found).all() and hits.sum() < found.sum()
    # What an agent found is where it last left the same conversation, or the common start.
    last: dict[tuple[int, int], int] = {}
    started: set[int] = set()
    rows = zip(own.conversation, own.agent, own.before, own.after, hits, strict=True)
    for conversation, agent, before, after, hit in rows:
        common = 4 if agent in started and before else 0
        assert hit == min(before // 4 * 4, max(last.get((conversation, agent), 0), common))
        last[conversation, agent] = after // 4 * 4
        started.add(agent)


def test_sharing_the_base_alone_saves_memory_but_no_computing() -> None:
    separate, shared = (replay_turns(case(3, *parts, 10**9)) for parts in ((0, 100), (98, 2)))
    np.testing.assert_array_equal(separate.hit_tokens, shared.hit_tokens)
    assert shared.totals["used"] < separate.totals["used"] / 2


def test_less_memory_finds_less() -> None:
    found = [replay_turns(case(4, 10, 0, c)).hit_tokens.sum() for c in (100, 400, 1600, 10**6)]
    assert found == sorted(found) and found[0] < found[-1]


def test_about_so_many_conversations_are_under_way() -> None:
    columns = draw_turns(0, 400, 10, 20, 5, 0)
    first = {c: i for i, c in reversed(list(enumerate(columns["conversation"].tolist())))}
    last = {c: i for i, c in enumerate(columns["conversation"].tolist())}
    middle = len(columns["turn"]) // 2
    assert 15 <= sum(first[c] <= middle <= last[c] for c in first) <= 25
    for c in (0, 17):
        mine = columns["conversation"] == c
        assert columns["turn"][mine].tolist() == list(range(10))
        np.testing.assert_array_equal(columns["before"][mine][1:], columns["after"][mine][:-1])


def test_bad_turns_are_told() -> None:
    good = case(0, 1, 1, 10)
    values = {name: getattr(good, name) for name in good.__dataclass_fields__}
    for change, message in (
        ({"after": good.before}, "adds no tokens"),
        ({"agents": 2}, "of no agent"),
        ({"shared_bytes": 0, "own_bytes": 0}, "has no bytes"),
    ):
        with pytest.raises(InputError, match=message):
            replay_turns(TurnsInput(**{**values, **change}))
