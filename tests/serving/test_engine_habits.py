"""Habits of single engines, and the front end, tick by tick: the twin's hand cases, kernel equal.

Iterations take t = 1000 + 10 tok + ctx ticks, as in `hand_cases`.
"""

from typing import Any

import numpy as np
import pytest
from hand_cases import SPLIT, control, events, kind, times
from random_cases import random_case

from mltwin.models.serving import reference
from mltwin.models.serving.outcome import REFUSE, TOO_LONG, Outcome
from mltwin.models.serving.simulate import simulate
from mltwin.models.serving.tables import (
    CHUNK,
    DONE,
    FAIL,
    NEW,
    PARKED,
    EngineKind,
    ServingInput,
)


def serve(
    prompt: list[int],
    output: list[int],
    arrival: list[int] | None = None,
    *,
    engine: EngineKind | None = None,
    replicas: int = 1,
    **columns: Any,
) -> Outcome:
    """What kernel and twin agree on."""
    inp = ServingInput(
        arrival=np.array(arrival or [0] * len(prompt), np.int64),
        prompt=np.array(prompt, np.int32),
        output=np.array(output, np.int32),
        predicted=np.array(output, np.int32),
        kinds=[engine or kind()],
        kind_of=np.zeros(replicas, np.int64),
        skip=False,
        **columns,
    )
    mine, theirs = simulate(inp, log=True), reference.simulate(inp, {})
    assert mine.differences(theirs) == []
    assert [tuple(row) for row in mine.log] == [tuple(row) for row in theirs.log]
    inp.skip = True
    assert simulate(inp, check=True).differences(theirs) == []
    return theirs


def own_blocks(n: int) -> dict[str, Any]:
    """Prefix caching of a trace that names no blocks."""
    return {
        "prefix_caching": True,
        "block_tokens": 4,
        "block_start": np.zeros(n, np.int64),
        "block_count": np.zeros(n, np.int32),
        "block_ids": np.zeros(0, np.int32),
    }


# the schedule is made one iteration ahead


@pytest.mark.parametrize("arrival", [500, 1100])
def test_an_asynchronous_engine_lets_an_arrival_wait_once_more(arrival):
    """The iteration from 1100 is planned at 0, the next (1 + 10 tokens, context 12) at 1100."""
    o = serve([10, 10], [3, 1], [0, arrival], engine=kind(asynchronous=True))
    assert times(o, "scheduled") == [0, 2121]
    assert times(o, "first") == [1100, 2121 + 1122]
    assert serve([10, 10], [3, 1], [0, 500]).requests["scheduled"].tolist() == [0, 1100]


def test_an_asynchronous_engine_with_nothing_to_run_looks_again():
    o = serve([10, 10], [1, 1], [0, 500], engine=kind(asynchronous=True))
    assert times(o, "scheduled") == [0, 1100]


def test_an_idle_asynchronous_engine_starts_at_once():
    o = serve([10, 10], [1, 1], [0, 5000], engine=kind(asynchronous=True))
    assert times(o, "scheduled") == [0, 5000]


@pytest.mark.parametrize("scarce", [{"max_batch": 2}, {"blocks": 2}])
def test_what_an_end_gives_back_is_used_one_iteration_later(scarce):
    """Two run, the third waits for a place or a block; the first ends at 1200 + 1042."""
    lengths = [10, 10, 10], [2, 5, 1]
    o = serve(*lengths, engine=kind(asynchronous=True, **scarce))
    assert times(o, "finish")[0] == 2242
    assert times(o, "scheduled")[2] == 2242 + 1022
    assert times(serve(*lengths, engine=kind(**scarce)), "scheduled")[2] == 2242


def test_a_split_engine_can_be_asynchronous():
    o = serve([10, 10], [3, 1], [0, 500], engine=kind(asynchronous=True, **SPLIT))
    assert times(o, "scheduled") == [0, 2121]


# prompts wait for others (TensorRT-LLM)


def test_a_lone_prompt_waits_so_many_iterations():
    waiting = kind(batch_wait_iterations=3, batch_wait_tokens=30)
    o = serve([10, 10], [10, 1], [0, 500], engine=waiting)
    assert times(o, "scheduled") == [0, 1100 + 1021 + 1022 + 1023]


def test_prompts_that_fill_the_batch_do_not_wait():
    """1 + 15 tokens at 1100, 1 + 30 at 2121."""
    waiting = kind(batch_wait_iterations=3, batch_wait_tokens=30)
    o = serve([10, 15, 15], [10, 1, 1], [0, 500, 1500], engine=waiting)
    assert times(o, "scheduled") == [0, 2121, 2121]


def test_nothing_waits_while_nothing_decodes():
    waiting = kind(batch_wait_iterations=3, batch_wait_tokens=30)
    assert times(serve([10], [1], engine=waiting), "scheduled") == [0]


# what is admitted, and what never


def test_a_prompt_over_the_budget_is_refused():
    strict = kind(chunked=False, refuse_over_budget=True, max_tokens=16)
    o = serve([17, 16], [1, 1], engine=strict)
    assert events(o, REFUSE) == [(0, 0, TOO_LONG)]
    assert times(o, "state")[1] == DONE
    lenient = kind(chunked=False, max_tokens=16)
    assert times(serve([17, 16], [1, 1], engine=lenient), "state") == [DONE, DONE]


def test_a_whole_prompt_must_fit_though_its_first_chunk_would():
    chunks = {"reserve": CHUNK, "max_tokens": 8, "blocks": 6}
    lengths = [8, 16], [8, 4]
    o = serve(*lengths, engine=kind(whole_prompt=True, **chunks), block_tokens=4)
    assert times(o, "scheduled")[1] == times(o, "finish")[0]
    assert times(o, "preempted") == [0, 0]
    o = serve(*lengths, engine=kind(**chunks), block_tokens=4)
    assert times(o, "scheduled")[1] < times(o, "finish")[0]
    assert times(o, "preempted") == [0, 3]  # in and out again


def test_a_preempted_request_finds_its_own_blocks_again():
    """At 12 tokens each, 6 blocks are full: the second yields 3, of which one is taken."""
    growing = {"reserve": CHUNK, "blocks": 6}
    lengths = [8, 8], [8, 8]
    o = serve(*lengths, engine=kind(keep_preempted=True, **growing), **own_blocks(2))
    assert times(o, "preempted") == [0, 1]
    assert times(o, "cached") == [0, 8]
    assert o.totals["hit_tokens"] == 8 and o.totals["evictions"] == 1
    lost = serve(*lengths, engine=kind(**growing), **own_blocks(2))
    assert times(lost, "cached") == [0, 0]
    assert times(lost, "finish")[1] > times(o, "finish")[1]


def test_a_preempted_prefill_keeps_its_chunks():
    """The second is pre-empted in its prefill: the blocks of its chunks are found again."""
    chunks = {"reserve": CHUNK, "max_tokens": 8, "blocks": 6}
    o = serve([8, 16], [8, 4], engine=kind(keep_preempted=True, **chunks), **own_blocks(2))
    lost = serve([8, 16], [8, 4], engine=kind(**chunks), **own_blocks(2))
    assert times(lost, "preempted")[1] > 0 and times(lost, "cached") == [0, 0]
    assert times(o, "cached")[1] > 0
    assert o.replicas["prefill_tokens"][0] < lost.replicas["prefill_tokens"][0]


# before the queue


def test_a_front_end_delays_the_arrival():
    """The shorter prompt, sent later, overtakes."""
    o = serve([20, 10], [1, 1], [0, 10], front=np.array([200, 50]), engine=kind(max_batch=1))
    assert times(o, "arrival") == [200, 60]
    assert times(o, "first")[1] == 60 + 1100


def test_a_front_end_in_a_closed_loop():
    """Both slots send at 0; the third is sent a tick after the first's end."""
    o = serve([10, 10, 10], [1, 1, 1], front=np.array([100, 300, 50]), concurrency=2)
    assert times(o, "arrival") == [100, 300, 1200 + 1 + 50]


def test_a_front_end_in_a_session():
    o = serve(
        [10, 10],
        [1, 1],
        after=np.array([-1, 0]),
        delay=np.array([0, 40]),
        front=np.array([0, 7]),
    )
    assert times(o, "arrival") == [0, 1100 + 40 + 7]


# the end


@pytest.mark.parametrize("periodic", [{}, {"scale_every": 100}])
def test_requests_for_whom_nobody_is_left_stay_parked(periodic):
    """The one replica fails: its request and a later one are parked, the third is never sent."""
    o = serve(
        [10, 10, 10],
        [5, 5, 5],
        [0, 900, 900],
        control=control((500, FAIL, 0, 0)),
        after=np.array([-1, -1, 0]),
        **periodic,
    )
    assert times(o, "state") == [PARKED, PARKED, NEW]
    assert o.totals["done"] == 0 and o.replicas["up_ticks"] == [500]


# the random cases reach all of it


def test_the_random_cases_have_these_habits():
    """Each habit changes what happens in some of the cases; none is there for show."""
    habits = {"asynchronous", "whole_prompt", "keep_preempted", "refuse_over_budget"}
    habits |= {"batch_wait_iterations"}
    changed = dict.fromkeys((*habits, "front"), 0)
    for seed in range(80):
        inp, policies = random_case(seed)
        has = {h for h in habits if any(getattr(engine, h) for engine in inp.kinds)}
        has |= {"front"} if len(inp.front) else set()
        whole = reference.simulate(inp, policies, check=False)
        for habit in has:
            plain, _ = random_case(seed)
            plain.front = np.zeros(0, np.int64) if habit == "front" else plain.front
            for engine in plain.kinds if habit in habits else ():
                setattr(engine, habit, 0)
            changed[habit] += bool(
                whole.differences(reference.simulate(plain, policies, check=False))
            )
    assert min(changed.values()) >= 3, changed
