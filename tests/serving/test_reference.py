"""The SimPy twin against cases worked out by hand, tick by tick: one replica.

Iterations take t = 1000 + 10 tok + ctx ticks unless a test says otherwise. So a prefill of 10
tokens takes 1100, and the decodes that follow 1021, 1022, ... (ctx is kv + 1).
"""

import numpy as np
from hand_cases import SPLIT, cells, events, kind, prefixes, serve, times

from mltwin.models.serving.outcome import (
    CANCEL,
    ITERATION,
    REFUSE,
    TOO_LONG,
    gap_bin,
)
from mltwin.models.serving.tables import (
    CANCELLED,
    CHUNK,
    FULL,
    REFUSED,
    SWAP,
    WAITING,
    IterationCells,
)


def test_a_single_request():
    """Prefill 1000 + 100; decodes with 11 and 12 tokens of context."""
    o = serve([10], [3])
    assert times(o, "first") == [1100]
    assert times(o, "finish") == [1100 + 1021 + 1022]
    assert o.replicas["iterations"] == [3]
    assert (o.replicas["busy_prefill"], o.replicas["busy_decode"]) == ([1100], [2043])
    assert o.replicas["contexts"] == [11 + 12]
    assert o.replicas["up_ticks"] == [3143] and o.totals["end"] == 3143
    assert o.gaps[gap_bin(1021)] == 2 and o.gaps.sum() == 2


def test_every_coefficient_counts():
    """T = a + b tok + (c + d tok) ctx + e nseq + f work; work of a prefill is 10 * 11 / 2."""
    o = serve([10], [2], engine=kind(cells(1000, 10, 1, 3, 7, 2)))
    prefill = 1000 + 100 + 7 + 2 * 55
    decode = 1000 + 10 + (1 + 3) * 11 + 7
    assert times(o, "finish") == [prefill + decode]


def test_rows_by_tokens_and_columns_by_context():
    """Up to 1 token the first row, then the second; from a context of 12 the second column."""
    table = np.array([[100, 0, 0, 0], [200, 0, 0, 0], [5000, 0, 0, 0], [7000, 0, 0, 0]])
    timing = IterationCells(np.array([0, 0, 1], np.int32), np.array([0, 12, 2**60]), table)
    o = serve([10], [3], engine=kind(timing))
    assert times(o, "first") == [5000]
    assert times(o, "finish") == [5000 + 100 + 200]


def test_a_prompt_in_three_chunks():
    """20 tokens in chunks of 8, 8 and 4; work 36, 8 * 8 + 36 and 4 * 16 + 10."""
    o = serve([20], [1], engine=kind(cells(f=1), max_tokens=8), skip=False)
    assert times(o, "first") == [(1080 + 36) + (1080 + 100) + (1040 + 74)]
    assert events(o, ITERATION) == [(0, 0, 8), (1116, 0, 8), (2296, 0, 4)]


def test_two_requests_share_an_iteration():
    o = serve([10, 6], [2, 3])
    assert times(o, "first") == [1160, 1160]
    assert times(o, "finish") == [1160 + 1020 + 18, 2198 + 1010 + 8]


def test_a_chunk_fills_what_decodes_leave():
    """Budget 8: while the first decodes (1 token), the second's 10 are computed as 7 and 3."""
    o = serve([4, 10], [4, 1], [0, 100], engine=kind(max_tokens=8), skip=False)
    assert [row[2] for row in events(o, ITERATION)] == [4, 8, 4, 1]
    # 1040; then ctx 5, 6, 7
    assert times(o, "first") == [1040, 1040 + 1085 + 1046]
    assert times(o, "finish") == [3171 + 1017, 3171]


def test_an_arrival_waits_for_the_iteration_to_end():
    """The second arrives at 500 and is prefilled beside the first's decode: 6 tokens, ctx 11."""
    o = serve([10, 5], [2, 1], [0, 500])
    assert times(o, "scheduled") == [0, 1100]
    assert times(o, "finish") == [2171, 2171]


def test_d_d_1():
    """Deterministic arrivals and service, one at a time: too fast, and with gaps."""
    single = kind(max_batch=1)
    fast = serve([10] * 6, [1] * 6, [1000 * k for k in range(6)], engine=single)
    assert times(fast, "finish") == [1100 * (k + 1) for k in range(6)]
    slow = serve([10] * 6, [1] * 6, [1500 * k for k in range(6)], engine=single)
    assert times(slow, "finish") == [1500 * k + 1100 for k in range(6)]


def test_orca_does_not_chunk():
    """8 tokens fit, 5 more do not, so the second waits; alone even 20 go into a budget of 10."""
    orca = kind(max_tokens=10, chunked=False, reserve=FULL)
    o = serve([8, 5, 20], [1, 1, 1], engine=orca)
    assert times(o, "finish") == [1080, 1080 + 1050, 2130 + 1200]


def test_static_batches_run_to_their_end():
    """The second may come in only when nothing decodes."""
    static = kind(**SPLIT, static=True, reserve=FULL)
    o = serve([10, 10], [3, 1], [0, 100], engine=static)
    assert times(o, "finish") == [3143, 3143 + 1100]


def test_split_engines_let_prefills_go_first():
    """The second is prefilled at 1100, alone; only then does the first go on."""
    o = serve([10, 10], [3, 1], [0, 100], engine=kind(**SPLIT))
    assert times(o, "finish") == [2200 + 1021 + 1022, 2200]


def test_lightllm_waits_for_two_decode_iterations():
    o = serve([10, 10], [6, 1], [0, 100], engine=kind(**SPLIT, wait_iterations=2))
    assert times(o, "scheduled") == [0, 1100 + 1021 + 1022]
    assert times(o, "finish") == [4243 + 1023 + 1024 + 1025, 4243]


def test_lightllm_counts_future_tokens():
    """Two of 8 + 8 tokens want (8 + 8) + 2 * 8 = 32 at their peak, in 31 blocks of one token."""
    for blocks, scheduled in ((32, 0), (31, 1080 + sum(1010 + 8 + k for k in range(1, 8)))):
        engine = kind(**SPLIT, wait_iterations=100, peak=True, blocks=blocks)
        o = serve([8, 8], [8, 8], engine=engine, block_tokens=1)
        assert times(o, "scheduled") == [0, scheduled]


def test_the_watermark_is_kept_free_once_something_is_there():
    """4 blocks, of which one request takes 2; the second would leave less than 1 free."""
    o = serve([8, 8], [1, 1], engine=kind(blocks=4, watermark=1), block_tokens=4)
    assert times(o, "scheduled") == [0, 1080]
    o = serve([15], [1], engine=kind(blocks=5, watermark=5), block_tokens=4)
    assert times(o, "scheduled") == [0]


# memory ------------------------------------------------------------------------------------------

TIGHT = {"blocks": 4, "reserve": CHUNK}  # of 4 tokens


def test_preemption_by_recomputing():
    """Both have 8 tokens in 2 of 4 blocks at 3190 and want a third: the larger id gives way."""
    o = serve([6, 6], [6, 6], engine=kind(**TIGHT), block_tokens=4)
    both = 1120 + 1034 + 1036
    alone = both + 1019 + 1020 + 1021
    assert times(o, "finish") == [alone, alone + 1090 + 1020 + 1021]  # 9 tokens are prefilled
    assert times(o, "preempted") == [0, 1]
    assert o.replicas["preemptions"] == [1] and o.replicas["peak_blocks"] == [4]
    assert o.replicas["prefill_tokens"] == [6 + 6 + 9]


def test_preemption_by_swapping():
    """The same; 8 tokens go out and come back at 100 ticks each."""
    engine = kind(**TIGHT, preemption=SWAP, host_blocks=2, swap_ticks=100)
    o = serve([6, 6], [6, 6], engine=engine, block_tokens=4)
    both = 1120 + 1034 + 1036
    alone = both + (1019 + 800) + 1020 + 1021
    assert times(o, "finish") == [alone, alone + (1019 + 800) + 1020 + 1021]
    assert o.replicas["prefill_tokens"] == [12]


def test_without_room_on_the_host_a_swap_is_a_recomputation():
    engine = kind(**TIGHT, preemption=SWAP, host_blocks=1, swap_ticks=100)
    o = serve([6, 6], [6, 6], engine=engine, block_tokens=4)
    assert o.replicas["prefill_tokens"] == [6 + 6 + 9]


def test_the_preempt_hook_chooses():
    """The smallest score for the second: the first gives way."""
    policies = {"preempt": lambda request, tenants, ctx, params, memory: -float(ctx.request)}
    o = serve([6, 6], [6, 6], engine=kind(**TIGHT), block_tokens=4, policies=policies)
    assert times(o, "preempted") == [1, 0]


def test_a_prefix_hit():
    """Two blocks of 4 are found: 2 tokens are computed, work 2 * 8 + 3."""
    o = serve(
        [10, 10], [2, 1], [0, 5000], engine=kind(cells(f=1)), **prefixes([0, 1, 2], [0, 1, 3])
    )
    assert times(o, "first") == [1155, 5000 + 1020 + 19]
    assert times(o, "cached") == [0, 8] and o.totals["hit_tokens"] == 8


def test_a_prompt_is_never_found_whole():
    """All 8 tokens are resident, but one has to be computed, and so its block."""
    o = serve([8, 8], [1, 1], [0, 5000], **prefixes([0, 1], [0, 1]))
    assert times(o, "cached") == [0, 4]


def test_blocks_of_the_output_are_found_in_the_next_turn():
    """7 + 5 tokens leave 11 in memory: 2 full blocks, of which the second holds output."""
    o = serve([7, 13], [5, 1], [0, 9000], **prefixes([0, 1, 2], [0, 1, 2]))
    assert times(o, "cached") == [0, 8]


def test_the_least_recently_released_goes_first_and_tails_before_heads():
    """5 blocks. Request 2 takes the last free one and evicts block 1, the tail of request 0.

    So request 3 finds block 0 alone, and evicts two more for the rest of its 9 tokens.
    """
    rows = prefixes([0, 1], [2, 3], [4, 5], [0, 1])
    arrivals = [0, 5000, 10000, 15000]
    o = serve([8, 8, 8, 9], [1] * 4, arrivals, engine=kind(blocks=5), **rows)
    assert times(o, "cached") == [0, 0, 0, 4]
    assert o.totals["evictions"] == 1 + 2


def test_the_evict_hook_scores():
    """With deep blocks last, heads are evicted first: block 0 is gone, nothing is found."""
    policies = {"evict": lambda block, ctx, params, memory: float(block.depth)}
    for given, cached in ((policies, 0), ({}, 4)):
        o = serve(
            [9, 9, 9],
            [1, 1, 1],
            [0, 5000, 10000],
            engine=kind(blocks=4),
            policies=given,
            default_evict=not given,
            **prefixes([0, 1], [2, 3], [0, 1]),
        )
        assert times(o, "cached")[2] == cached


# clients -----------------------------------------------------------------------------------------


def test_a_timeout_while_waiting_and_one_while_running():
    """One at a time. The second gives up at 500; the first at 1500, and leaves at 2121."""
    o = serve([10, 10, 10], [5, 1, 1], engine=kind(max_batch=1), timeout=[1500, 500, 0])
    assert times(o, "finish") == [2121, 500, 2121 + 1100]
    assert times(o, "generated") == [2, 0, 1]
    assert times(o, "state")[:2] == [CANCELLED, CANCELLED] and o.totals["cancelled"] == 2
    assert [row[1] for row in events(o, CANCEL)] == [1, 0]
    assert events(o, CANCEL)[0] == (500, 1, WAITING)


def test_a_request_that_ends_in_time_is_not_cancelled():
    """The cancellation at 2121 comes during the iteration that ends then, with the last token."""
    o = serve([10], [2], timeout=[2121])
    assert o.totals["done"] == 1 and o.totals["cancelled"] == 0


def test_closed_loop():
    """One at a time; the next comes 100 ticks after one has ended, whatever the trace says."""
    o = serve([10] * 3, [1] * 3, [7, 8, 9], concurrency=1, think=100)
    assert times(o, "arrival") == [0, 1200, 2400]
    assert times(o, "finish") == [1100, 2300, 3500]


def test_closed_loop_of_two():
    o = serve([10] * 4, [1, 2, 1, 1], concurrency=2)
    # 0 and 1 at 0; 2 comes at 1201, during the decode of 1 until 2221; 3 one tick after that
    assert times(o, "arrival") == [0, 0, 1201, 2222]
    assert times(o, "finish") == [1200, 2221, 3321, 4421]


def test_sessions_come_turn_by_turn():
    """Two turns follow the end of the first, after 50 and (at least) one tick."""
    o = serve([10] * 3, [1] * 3, after=[-1, 0, 0], delay=[0, 50, 0])
    assert times(o, "arrival") == [0, 1150, 1101]
    assert times(o, "finish") == [1100, 2201 + 1100, 1101 + 1100]


def test_refusals():
    """By the policy, and for being too long: 13 + 2 + 1 tokens need 4 blocks of 4, not 3."""
    policies = {"admit": lambda request, replicas, tenants, ctx, params, memory: ctx.request != 0}
    o = serve([10, 13, 9], [1, 2, 2], engine=kind(blocks=3), block_tokens=4, policies=policies)
    assert times(o, "state")[:2] == [REFUSED, REFUSED]
    assert events(o, REFUSE) == [(0, 0, 0), (0, 1, TOO_LONG)]
    assert times(o, "finish") == [0, 0, 1090 + 1020]


def test_shortest_first():
    policies = {"priority": lambda request, tenants, ctx, params, memory: float(request.prompt)}
    o = serve([30, 20, 10], [1, 1, 1], engine=kind(max_batch=1), policies=policies)
    assert times(o, "finish") == [1100 + 1200 + 1300, 1100 + 1200, 1100]
