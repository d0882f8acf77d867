"""What an eviction policy knows of a block and of the queue, worked out by hand on both engines.

Blocks are of 4 tokens; a prefill of n tokens takes 1000 + 10 n ticks.
"""

import dataclasses

import numpy as np
import pytest
from hand_cases import kind, prefixes, serve, times

import mltwin as mt
from mltwin.models.serving import simulate as kernel
from mltwin.models.serving.tables import ServingInput
from mltwin.policies import resolve

ONE = {"max_batch": 1}


def asked(*names: str, queue: bool = True, **case) -> list[tuple]:
    """(now, fields...) of each question to the policy, with LRU as its answer."""
    seen = []

    def remember(block, ctx, params, memory):
        seen.append((int(ctx.now), *(block[name].item() for name in names)))
        return float(block.released)

    case.setdefault("engine", kind(blocks=20, **ONE))
    serve(policies={"evict": remember}, default_evict=False, count_wanted=queue, **case)
    return seen


def test_what_waits_is_counted_even_before_a_block_is_resident():
    """Requests 1 and 2 wait while request 0 computes what they share.

    0 ends at 1090; its blocks become resident and evictable, tail first. Then 1 finds both and
    leaves the queue; it computes one token, 1010 ticks.
    """
    seen = asked(
        *("depth", "wanted"),
        **prefixes([0, 1], [0, 1], [0, 2]),
        prompt=[9, 9, 9],
        output=[1, 1, 1],
        arrival=[0, 10, 20],
    )
    assert seen[:2] == [(1090, 1, 1), (1090, 0, 2)]
    assert seen[2:4] == [(2100, 1, 0), (2100, 0, 1)]
    # request 2 computes 5 tokens and holds blocks 0 and 2
    assert seen[4:] == [(3150, 1, 0), (3150, 0, 0)]


def test_a_block_is_scored_anew_as_requests_join_and_give_up():
    """Request 1 runs from 5000 to 6100. 2 joins at 5100 and gives up at 5400; 3 joins at 5200.

    Request 3 looks for block 0 only: of its 8 tokens one is computed in any case.
    """
    seen = asked(
        *("depth", "wanted"),
        **prefixes([0, 1], [7, 8], [0, 1], [0, 1]),
        prompt=[9, 9, 9, 8],
        output=[1, 1, 1, 1],
        arrival=[0, 5000, 5100, 5200],
        timeout=[0, 0, 300, 0],
    )
    assert seen[:2] == [(1090, 1, 0), (1090, 0, 0)]
    assert seen[2:4] == [(5100, 0, 1), (5100, 1, 1)], "request 2 comes"
    assert seen[4] == (5200, 0, 2), "request 3 comes"
    assert seen[5:7] == [(5400, 0, 1), (5400, 1, 0)], "request 2 goes"
    assert seen[7:9] == [(6090, 1, 0), (6090, 0, 0)], "blocks 7 and 8 are released"
    # request 3 pins block 0 before it leaves the queue: nobody is asked
    assert [row[0] for row in seen[9:]] == [6090 + 1040] * 2


def test_others_are_asked_once_a_release_and_told_nothing():
    case = {
        **prefixes([0, 1], [0, 1], [0, 2]),
        "prompt": [9, 9, 9],
        "output": [1, 1, 1],
        "arrival": [0, 10, 20],
    }
    seen = asked("wanted", queue=False, **case)
    assert [row[0] for row in seen] == [1090, 1090, 2100, 2100, 3150, 3150]
    assert {wanted for _, wanted in seen} == {0}


def test_the_fields_of_a_block():
    """Made at 1090 by request 0, found by request 1 at 5000, which holds one block more."""
    names = ("depth", "made", "released", "hits", "new_hits", "tokens_before", "tokens_after")
    seen = asked(
        *names,
        "score",
        **prefixes([0, 1], [0, 1, 2]),
        prompt=[9, 13],
        output=[1, 1],
        arrival=[0, 5000],
        queue=False,
    )
    end = 5000 + 1050
    assert seen[:2] == [
        (1090, 1, 1090, 1090, 0, 0, 4, 0, -np.inf),
        (1090, 0, 1090, 1090, 0, 0, 0, 4, -np.inf),
    ]
    assert seen[2:] == [
        (end, 2, end, end, 0, 0, 8, 0, -np.inf),
        (end, 1, 1090, end, 1, 1, 4, 4, 1090.0),
        (end, 0, 1090, end, 1, 1, 0, 8, 1090.0),
    ]


def test_the_score_of_the_block_evicted_last():
    """5 blocks: request 2 takes the last free one and two of request 0, released at 1120."""
    seen = asked(
        "last_evicted",
        **prefixes([0, 1], [5, 6], [7, 8]),
        prompt=[12, 12, 12],
        output=[1, 1, 1],
        arrival=[0, 5000, 10000],
        engine=kind(blocks=5, **ONE),
        queue=False,
    )
    assert [row[1] for row in seen] == [0.0, 0.0, 0.0, 0.0, 1120.0, 1120.0]


# queue-informed LRU ------------------------------------------------------------------------------


def run(evict: str, arrival: list[int]):
    """Outcomes of kernel and twin. 6 blocks, one request at a time.

    Requests 0 and 1 leave four blocks, 0 and 1 older than 2 and 3. Request 2 takes the two free
    ones and evicts two; request 3 asks for blocks 0 and 1.
    """
    policy, params = resolve(evict, "evict")
    case = {
        **prefixes([0, 1], [2, 3], [4, 5, 6], [0, 1]),
        "engine": kind(blocks=6, **ONE),
        "default_evict": evict == "lru",
        "count_wanted": policy.queue,
        "params": {"evict": params},
    }
    twin = serve([9, 9, 13, 9], [1] * 4, arrival, policies={"evict": policy.function}, **case)
    inp = ServingInput(
        arrival=np.array(arrival),
        prompt=np.array([9, 9, 13, 9], np.int32),
        output=np.ones(4, np.int32),
        predicted=np.ones(4, np.int32),
        kinds=[case.pop("engine")],
        kind_of=np.zeros(1, np.int64),
        **case,
    )
    fast = kernel.simulate(inp, {"evict": policy.compiled()}, log=True, check=True)
    fast = dataclasses.replace(fast, log=None)
    assert fast.differences(dataclasses.replace(twin, log=None)) == []
    return twin


def test_a_block_that_a_waiting_request_wants_goes_last():
    """Request 3 waits as request 2 is admitted: LRU evicts what it wants, the other what 1 left."""
    together = [0, 5000, 10_000, 10_000]
    assert times(run("lru", together), "cached") == [0, 0, 0, 0]
    assert times(run("queue_lru", together), "cached") == [0, 0, 0, 8]


def test_without_a_queue_it_is_lru():
    """Each request comes to an idle replica."""
    apart = [0, 5000, 10_000, 20_000]
    plain, informed = run("lru", apart), run("queue_lru", apart)
    assert plain.totals["evictions"] > 0
    assert informed.differences(plain) == []


def chats(evict: str, clients: int) -> mt.Scenario:
    """Forty system prompts, on a replica that batches four requests and holds a few prompts."""
    return mt.Scenario.parse(
        {
            "system": "serving",
            "prefix_caching": True,
            "workload": {
                "concurrency": clients,
                "trace": {
                    "requests": 500,
                    "arrivals": {"process": "poisson", "rate_per_s": 1.0},
                    "prompt": {"law": "lognormal", "p50": 100, "p90": 300},
                    "output": {"law": "lognormal", "p50": 60, "p90": 200},
                    "prefixes": {
                        "groups": 40,
                        "zipf": 0.4,
                        "tokens": {"law": "uniform", "low": 600, "high": 1500},
                    },
                    "block_tokens": 32,
                },
            },
            "model": {"name": "llama-3.1-8b"},
            "cluster": {"mixed": {"replicas": 1, "gpu": "l40s", "kv_blocks": 400, "max_batch": 4}},
            "policy": {"evict": evict},
        }
    )


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_it_saves_prefill_under_queueing(seed):
    """Eight requests wait: what they will find is kept."""
    plain, informed = (chats(evict, 12).run(seed=seed).metrics for evict in ("lru", "queue_lru"))
    assert plain["mean_queue_ms"] > 1000.0
    assert informed["prefix_hit_ratio"] > plain["prefix_hit_ratio"] + 0.05
    assert informed["mean_ttft_ms"] < plain["mean_ttft_ms"]


def test_it_changes_nothing_where_nobody_waits():
    """One client, who sends a request when the one before has ended."""
    plain, informed = (chats(evict, 1).run(seed=1) for evict in ("lru", "queue_lru"))
    assert plain.metrics["max_queue_ms"] == 0.0
    assert 0.0 < plain.metrics["prefix_hit_ratio"] < 0.5, "the cache is too small for all"
    assert plain.digest == informed.digest
