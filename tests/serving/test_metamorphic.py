"""Changes of an input whose effect is known without knowing the result.

Not tested, because it is no theorem: more KV blocks need not mean fewer pre-emptions. With blocks
for one request at a time nobody is pre-empted; with a few more, two are admitted and must fight.
What does hold are the two ends: see the last two tests.
"""

from dataclasses import replace

import numpy as np
import pytest
from rich_cases import CASES, MS, Case, compiled, engine, load, script

from mltwin.models.serving.outcome import GAP_BINS
from mltwin.models.serving.simulate import simulate
from mltwin.models.serving.tables import CHUNK, FAIL, FULL, PROMPT, RECOVER, SWAP, IterationCells

TIMES = ("scheduled", "first", "finish")
TICK_TOTALS = ("busy_prefill", "busy_decode", "up_ticks")


def times_scaled(inp, k):
    """The input with every duration k times as long; transfers are left as they are."""

    def cells(c):
        return IterationCells(
            c.token_row, c.context_knots, c.cells * k, c.per_sequence * k, c.per_work * k
        )

    control = inp.control.copy()
    control["time"] *= k
    kinds = [
        replace(x, cells=cells(x.cells), swap_ticks=x.swap_ticks * k, startup=x.startup * k)
        for x in inp.kinds
    ]
    durations = ("arrival", "timeout", "delay", "latency", "think", "scale_every", "snapshot_every")
    scaled = {name: getattr(inp, name) * k for name in durations}
    return replace(inp, kinds=kinds, control=control, **scaled)


# no clock in the policies of these (ageing), and no transfers (bytes are not scaled)
TIMELESS = ["chunked_recompute", "split_swap", "closed_static", "autoscaled", "stale_view"]


@pytest.mark.parametrize("name", TIMELESS)
@pytest.mark.parametrize("doublings", [1, 5])
def test_scaling_all_times_scales_all_latencies(name, doublings):
    """k = 2 and 32: every time is k times the old one, to the tick; every count stays.

    The histogram of token gaps moves by 64 bins an octave. No transfers: their end is rounded up
    to a whole tick, which does not scale.
    """
    k = 2**doublings
    case = CASES[name](100, 1)
    old, new = case.run(), Case(times_scaled(case.inp, k), case.policies).run()
    for column, values in old.requests.items():
        is_time = column in (*TIMES, "arrival", "transfer")
        expected = np.where(values >= 0, values * k, values) if is_time else values
        assert np.array_equal(new.requests[column], expected), column
    for column, values in old.replicas.items():
        expected = values * k if column in TICK_TOTALS else values
        assert np.array_equal(new.replicas[column], expected), column
    inside = slice(1, GAP_BINS - 1)
    assert old.gaps[0] == old.gaps[-1] == 0
    assert old.gaps.sum() == new.gaps.sum() > 0
    moved = np.roll(old.gaps[inside], 64 * doublings)
    assert np.array_equal(new.gaps[inside], moved)


# scaling and snapshots are periodic from the start of time, closed loops start at 0
SHIFTABLE = ["chunked_recompute", "split_swap", "disaggregated", "scored_cache", "lightllm"]


@pytest.mark.parametrize("name", SHIFTABLE)
@pytest.mark.parametrize("shift", [1, 10**12 + 7, 9 * 10**17 + 1])
def test_shifting_the_trace_shifts_the_result(name, shift):
    """By a tick, a second, ten days (where a float of the time would be 128 ticks off)."""
    case = CASES[name](100, 1)
    control = case.inp.control.copy()
    control["time"] += shift
    moved = Case(
        replace(case.inp, arrival=case.inp.arrival + shift, control=control), case.policies
    )
    old, new = case.run(), moved.run()
    for column, values in old.requests.items():
        is_time = column in (*TIMES, "arrival")
        expected = np.where(values >= 0, values + shift, values) if is_time else values
        assert np.array_equal(new.requests[column], expected), column
    for column, values in old.replicas.items():
        if column != "up_ticks":  # time before the first arrival counts
            assert np.array_equal(new.replicas[column], values), column
    assert np.array_equal(new.gaps, old.gaps)
    assert new.totals == {**old.totals, "end": old.totals["end"] + shift}


def by_label(request, replicas, hits, ctx, params, memory):
    """A fixed choice for each request among the replicas that are up, by labels in params."""
    n = len(replicas)
    for k in range(n):
        r = int(params[(ctx.request * 7 + k) % n])
        if replicas[r].state == 2:
            return r
    return -1


def emptiest(request, replicas, hits, ctx, params, memory):
    """The fewest outstanding requests, ties by the labels in params."""
    best = -1
    for k in range(len(replicas)):
        r = int(params[k])
        if replicas[r].state == 2 and (
            best < 0 or replicas[r].outstanding < replicas[best].outstanding
        ):
            best = r
    return best


@pytest.mark.parametrize("route", [by_label, emptiest])
@pytest.mark.parametrize("order", [(3, 2, 1, 0), (1, 3, 0, 2)])
def test_renumbering_replicas_changes_only_their_numbers(route, order):
    """Replicas of two kinds, failures among them, under policies that do not see the number."""
    place = np.array(order)  # old number -> new number
    kinds = [engine(blocks=30, reserve=CHUNK), engine(mixed=False, chunked=False, max_tokens=200)]
    events = ((900, FAIL, 1), (1500, FAIL, 2), (1800, RECOVER, 1), (2500, RECOVER, 2))
    old_kinds = np.array([0, 0, 1, 1])
    new_kinds = np.empty(4, np.int64)
    new_kinds[place] = old_kinds

    def run(kind_of, labels):
        control = script(*((at, what, int(labels[r]), 0) for at, what, r in events))
        inp = load(
            150, 2, kinds, 15, kind_of=kind_of, control=control, params={"route": labels * 1.0}
        )
        return simulate(inp, compiled({"route": route}))

    old, new = run(old_kinds, np.arange(4)), run(new_kinds, place)
    assert old.requests["attempts"].max() > 0
    for column, values in old.requests.items():
        renumbered = column in ("replica", "prefill_replica")
        expected = np.where(values >= 0, place[values], -1) if renumbered else values
        assert np.array_equal(new.requests[column], expected), column
    for column, values in old.replicas.items():
        assert np.array_equal(new.replicas[column][place], values), column
    assert np.array_equal(new.gaps, old.gaps)
    assert new.totals == old.totals


def test_identical_replicas_under_a_symmetric_policy_serve_alike():
    """Four equal replicas and four equal streams: equal columns, replica by replica."""
    n = 200
    inp = load(n // 4, 5, [engine(blocks=30)], 60)
    columns = {name: np.repeat(getattr(inp, name), 4) for name in ("arrival", "prompt", "output")}
    inp = replace(
        inp,
        **columns,
        predicted=columns["output"],
        kind_of=np.zeros(4, np.int64),
        role_of=np.full(4, 3),
        pool_of=np.zeros(4, np.int64),
        nic_of=np.zeros(4, np.int64),
        up=np.ones(4, np.int64),
        params={"route": np.arange(4.0)},
    )
    outcome = simulate(inp, compiled({"route": emptiest_by_request}))
    assert outcome.replicas["preemptions"][0] > 0
    for column, values in outcome.replicas.items():
        assert np.all(values == values[0]), column
    for column in (*TIMES, "preempted"):
        streams = outcome.requests[column].reshape(-1, 4)
        assert np.all(streams == streams[:, :1]), column


def emptiest_by_request(request, replicas, hits, ctx, params, memory):
    return ctx.request % len(replicas)


@pytest.mark.parametrize("reserve", [CHUNK, PROMPT])
@pytest.mark.parametrize("mixed", [True, False])
def test_memory_for_a_full_batch_means_no_preemption(reserve, mixed):
    """max_batch requests of the longest kind fit at once; with half the blocks they do not."""
    longest = -(-(150 + 60 + 1) // 16)
    options = {"reserve": reserve, "mixed": mixed, "chunked": mixed, "max_tokens": 256}
    counts = []
    for blocks in (8 * longest, 2 * longest):
        inp = load(150, 4, [engine(blocks=blocks, **options)], 15)
        counts.append(int(simulate(inp).replicas["preemptions"][0]))
    assert counts[0] == 0 < counts[1]


@pytest.mark.parametrize("blocks", [15, 30, 60])
@pytest.mark.parametrize("mixed", [True, False])
def test_reserving_all_blocks_means_no_preemption(blocks, mixed):
    """A request that holds its last block from the start never has to give way."""
    kind = engine(
        reserve=FULL,
        blocks=blocks,
        mixed=mixed,
        chunked=mixed,
        preemption=SWAP,
        host_blocks=99,
        swap_ticks=MS,
    )
    outcome = simulate(load(150, 4, [kind], 15))
    assert outcome.replicas["preemptions"][0] == 0
    assert outcome.totals["done"] == 150
