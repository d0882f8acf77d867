"""The cluster of KV caches: kernel and reference agree event by event; identities of replays."""

from itertools import pairwise

import numpy as np
import pytest

from mltwin.models.caching.cache import Cache
from mltwin.models.caching.prefix import replay_prefixes, replay_two_tiers
from mltwin.models.caching.prefix_nodes import run_nodes
from mltwin.models.caching.prefix_registry import run_any
from mltwin.models.caching.prefix_tables import FROM_NODE, FROM_POOL, POLICIES, ROUTINGS, make_plan
from mltwin.models.caching.registry import EVICTIONS
from mltwin.sim.errors import InputError

BLOCK = 16


def conversations(seed: int, requests: int = 200) -> dict:
    """Requests that extend earlier ones, with prompts, sessions and arrivals (many at one tick)."""
    rng = np.random.default_rng(seed)
    chains: list[list[int]] = [[]]
    runs, sessions, count = [], [], 0
    for _ in range(requests):
        parent = int(rng.integers(max(0, len(chains) - 20), len(chains)))
        chain = list(chains[parent])[: int(rng.integers(0, len(chains[parent]) + 1))]
        new = int(rng.integers(1, 6))
        chain += range(count, count + new)
        count += new
        chains.append(chain)
        runs.append(chain)
        sessions.append(parent if rng.random() < 0.7 else -1)
    lengths = np.array([len(run) for run in runs])
    return {
        "start": np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        "blocks": np.concatenate(runs).astype(np.int32),
        "prompt": lengths * BLOCK - rng.integers(0, BLOCK, requests),
        "session": np.array(sessions),
        "block_tokens": BLOCK,
    }


def arrivals(seed: int, requests: int = 200) -> np.ndarray:
    gaps = np.random.default_rng(seed).integers(0, 4, requests) * 500
    return np.cumsum(gaps)


def assert_same(plan) -> None:
    fast, slow = run_nodes(plan, log=True), run_nodes(plan, reference=True)
    assert fast.log is not None
    for mine, theirs in zip(fast.log, slow.log or [], strict=False):
        assert mine == theirs
    assert len(fast.log) == len(slow.log or [])
    assert {**fast.totals, "log": 0} == slow.totals
    assert fast.sources.tolist() == slow.sources.tolist()
    assert fast.used.tolist() == slow.used.tolist()
    for name, column in fast.served.items():
        assert column.tolist() == slow.served[name].tolist(), name


def random_plan(seed: int, timed: bool):
    rng = np.random.default_rng([7, seed])
    pool = int(rng.integers(1, 150)) if rng.random() < 0.4 else 0
    tiers = tuple(int(rng.integers(1, 60)) for _ in range(int(rng.integers(1, 4))))
    if pool and len(tiers) == 1 and rng.random() < 0.3:
        tiers = (0,)
    alone = len(tiers) == 1 and tiers[0] > 0
    flags = {
        "tail_first": int(rng.random() < 0.5),
        "leaf_only": int(alone and rng.random() < 0.4),
        "borrow": int(alone and rng.random() < 0.4),
        "queue_informed": int(rng.random() < 0.4),
        "wait_in_flight": int(pool > 0 and rng.random() < 0.5),
        "overlap": int(rng.random() < 0.5),
        "queued_load": int(rng.random() < 0.5),
        "hot_hits": int(rng.integers(1, 5)) if rng.random() < 0.4 else 0,
        "hot_window": int(rng.integers(5, 60)),
        "hot_copies": int(rng.integers(1, 4)),
    }
    times = {
        "token_ns": float(rng.choice([0.0, 3.7, 40.0])),
        "pair_ns": float(rng.choice([0.0, 0.013])),
        "base_ns": float(rng.choice([0.0, 100.0])),
        "network_ns": float(rng.choice([0.0, 21.3])),
        "shared_ns": float(rng.choice([0.0, 11.9])),
        "network_latency": int(rng.choice([0, 50])),
        "tier_ns": tuple(float(x) for x in rng.choice([0.0, 17.1], len(tiers))),
        "tier_latency": tuple(int(x) for x in rng.choice([0, 30], len(tiers))),
    }
    return make_plan(
        **conversations(seed),
        nodes=int(rng.integers(1, 6)),
        tiers=tiers,
        pool_blocks=pool,
        policy=str(rng.choice(POLICIES)),
        routing=str(rng.choice(ROUTINGS)),
        seed=seed,
        cost_per_depth=0.3,
        half_life=20.0,
        arrival=arrivals(seed) if timed else None,
        **flags,
        **times,
    )


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("seed", range(20))
def test_kernel_and_reference_agree_event_by_event(seed, timed):
    assert_same(random_plan(seed, timed))


@pytest.mark.slow
@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("seed", range(20, 200))
def test_kernel_and_reference_agree_on_many(seed, timed):
    assert_same(random_plan(seed, timed))


def lone(seed: int, capacity: int, **settings):
    return run_nodes(make_plan(**conversations(seed, 400), tiers=(capacity,), **settings))


@pytest.mark.parametrize("tail_first", [0, 1])
@pytest.mark.parametrize("policy", ["lru", "fifo", "lfu"])
def test_one_node_is_a_replay(policy, tail_first):
    case = conversations(3, 400)
    distinct = int(case["blocks"].max()) + 1
    for capacity in (1, 7, 60, distinct):
        cache = Cache(policy, capacity, distinct, full=False)
        blocks = case["blocks"].astype(np.uint32)
        hits = replay_prefixes(cache, case["start"], blocks, tail_first=bool(tail_first))
        found = lone(3, capacity, policy=policy, tail_first=tail_first)
        assert found.served["hits"].tolist() == hits.tolist()


@pytest.mark.parametrize("policy", sorted(n for n, e in EVICTIONS.items() if not e.future))
def test_one_node_of_any_policy_is_a_replay(policy):
    case = conversations(4, 150)
    distinct = int(case["blocks"].max()) + 1
    cache = Cache(policy, 30, distinct, full=False)
    hits = []
    for a, b in pairwise(case["start"]):
        run = case["blocks"][a:b].astype(np.uint32)
        resident = [cache.holds(int(block)) for block in run]
        hits.append(resident.index(False) if False in resident else len(run))
        cache.replay(run)
    found = run_any(make_plan(**case, tiers=(30,)), policy)
    assert found.served["hits"].tolist() == hits
    assert found.totals["resident"] == found.used.sum() <= 30


@pytest.mark.parametrize("routing", ROUTINGS)
def test_compiled_caches_behind_routing_are_the_kernel(routing):
    plan = make_plan(**conversations(5), nodes=3, tiers=(25,), policy="lru", routing=routing)
    fast, slow = run_nodes(plan), run_any(plan, "lru")
    assert fast.served["hits"].tolist() == slow.served["hits"].tolist()
    assert fast.served["node"].tolist() == slow.served["node"].tolist()
    assert fast.totals["duplicates"] == slow.totals["duplicates"]


def test_two_tiers_are_the_two_tier_replay():
    case = conversations(6, 400)
    distinct = int(case["blocks"].max()) + 1
    found = run_nodes(make_plan(**case, tiers=(20, 50)))
    blocks = case["blocks"].astype(np.uint32)
    wanted = replay_two_tiers(case["start"], blocks, distinct, (20, 50))
    assert found.sources[:, :2].tolist() == wanted.tolist()


@pytest.mark.parametrize("routing", ROUTINGS)
def test_a_pool_of_the_sum_is_one_cache_of_the_sum(routing):
    pooled = lone(7, 0, nodes=5, pool_blocks=200, routing=routing)
    assert pooled.served["hits"].tolist() == lone(7, 200).served["hits"].tolist()
    assert pooled.sources[:, FROM_POOL].sum() == pooled.served["hits"].sum()


@pytest.mark.parametrize("routing", ROUTINGS)
def test_without_cost_time_changes_nothing(routing):
    case = conversations(8)
    settings = {"nodes": 4, "tiers": (20, 30), "routing": routing, "tail_first": 1}
    timed = run_nodes(make_plan(**case, arrival=arrivals(8), **settings))
    untimed = run_nodes(make_plan(**case, **settings))
    assert timed.served["hits"].tolist() == untimed.served["hits"].tolist()
    assert timed.served["node"].tolist() == untimed.served["node"].tolist()
    assert (timed.served["end"] == arrivals(8)).all()
    assert {**timed.totals, "log": 0} == {**untimed.totals, "log": 0}


@pytest.mark.parametrize("policy", ["lru", "fifo", "lfu"])
def test_for_a_lone_debtor_all_memory_is_one_cache(policy):
    case = {**conversations(9, 400), "session": np.zeros(400, np.int64)}
    found = run_nodes(
        make_plan(**case, tiers=(10,), nodes=4, routing="session_hash", borrow=1, policy=policy)
    )
    assert len(set(found.served["node"].tolist())) == 1
    assert found.served["hits"].tolist() == lone(9, 40, policy=policy).served["hits"].tolist()
    assert found.sources[:, FROM_NODE].sum() > 0
    assert found.used.tolist() == [10] * 4


def timed(case: dict, **settings):
    return run_nodes(make_plan(**case, arrival=settings.pop("arrival", None), **settings))


def test_times_by_hand():
    """Two requests of one chain: the second waits, hits two blocks of the pool, computes one."""
    case = {
        "start": np.array([0, 2, 5]),
        "blocks": np.array([0, 1, 0, 1, 2]),
        "prompt": np.array([32, 40]),
        "block_tokens": 16,
    }
    found = timed(
        case,
        tiers=(0,),
        pool_blocks=9,
        arrival=np.array([100, 200]),
        token_ns=10.0,
        pair_ns=1.0,
        base_ns=7.0,
        network_ns=5.0,
        shared_ns=6.0,
        network_latency=3,
    )
    first = 7 + 32 * 10 + 32 * 32 // 2  # nothing before its tokens
    assert found.served["end"][0] == 100 + first
    fetch = 3 + 2 * 6  # the shared link is the slower one
    second = 7 + 8 * 10 + 8 * 32 + 8 * 8 // 2
    assert found.served["start"][1] == 100 + first
    assert found.served["fetched"].tolist() == [0, fetch]
    assert found.served["end"][1] == 100 + first + fetch + second


def test_waiting_for_blocks_in_flight_computes_them_once():
    """Four nodes get the same prompt at once."""
    case = {
        "start": np.arange(0, 13, 3),
        "blocks": np.tile([0, 1, 2], 4),
        "prompt": np.full(4, 48),
        "block_tokens": 16,
    }
    settings = {"nodes": 4, "tiers": (5,), "pool_blocks": 9, "token_ns": 1.0}
    settings |= {"arrival": np.zeros(4, np.int64)}
    alone = timed(case, **settings)
    waiting = timed(case, wait_in_flight=1, **settings)
    assert alone.served["hits"].tolist() == [0, 0, 0, 0]
    assert waiting.served["hits"].tolist() == [0, 3, 3, 3]
    assert waiting.served["end"].tolist() == [48, 49, 49, 49]  # the last token is computed
    assert waiting.totals["waited"] == 3


def test_blocks_that_wait_in_the_queue_are_spared():
    """Node full of A's blocks; while B runs, A waits: LRU forgets A, the informed one does not."""
    case = {
        "start": np.array([0, 3, 6, 9]),
        "blocks": np.array([0, 1, 2, 3, 4, 5, 0, 1, 2]),
        "prompt": np.full(3, 48),
        "block_tokens": 16,
    }
    settings = {"tiers": (4,), "token_ns": 1.0, "arrival": np.array([0, 100, 101])}
    assert timed(case, **settings).served["hits"].tolist() == [0, 0, 0]
    informed = timed(case, queue_informed=1, **settings)
    assert informed.served["hits"].tolist() == [0, 0, 3]


def test_a_hot_block_is_copied_once():
    case = {
        "start": np.arange(0, 11, 2),
        "blocks": np.tile([0, 1], 5),
        "prompt": np.full(5, 32),
        "block_tokens": 16,
    }
    found = run_nodes(
        make_plan(**case, nodes=4, tiers=(5,), routing="affinity", hot_hits=2, hot_copies=2)
    )
    assert found.totals["copied"] == 4
    assert found.totals["duplicates"] == 4
    assert found.used.tolist() == [2, 2, 2, 0]


def test_leaves_go_before_their_heads():
    case = {
        "start": np.array([0, 3, 5, 8]),
        "blocks": np.array([0, 1, 2, 3, 4, 0, 1, 2]),
        "prompt": np.array([48, 32, 48]),
        "block_tokens": 16,
    }
    assert run_nodes(make_plan(**case, tiers=(4,))).served["hits"].tolist() == [0, 0, 0]
    leaves = run_nodes(make_plan(**case, tiers=(4,), leaf_only=1))
    assert leaves.served["hits"].tolist() == [0, 0, 2]


def test_ids_do_not_matter():
    case = conversations(10)
    order = np.random.default_rng(0).permutation(int(case["blocks"].max()) + 1).astype(np.int32)
    settings = {"nodes": 3, "tiers": (20,), "routing": "cost", "policy": "lfu"}
    renamed = {**case, "blocks": order[case["blocks"]]}
    a, b = (run_nodes(make_plan(**c, **settings)) for c in (case, renamed))
    assert a.served["hits"].tolist() == b.served["hits"].tolist()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"policy": "magic"}, "unknown 'magic'"),
        ({"routing": "magic"}, "unknown 'magic'"),
        ({"tiers": (0,)}, "tier of 0"),
        ({"tiers": (3, 3), "leaf_only": 1}, "single tier"),
        ({"wait_in_flight": 1}, "wants a pool"),
        ({"start": np.array([0, 2])}, "no runs"),
        ({"nodes": 10**7}, "too many"),
    ],
)
def test_what_cannot_run_is_refused(settings, said):
    with pytest.raises(InputError, match=said):
        make_plan(**{**conversations(1), "tiers": (5,), **settings})


def test_policies_of_the_registry_have_limits():
    case = conversations(1)
    with pytest.raises(InputError, match="future"):
        run_any(make_plan(**case, tiers=(5,)), "belady")
    with pytest.raises(InputError, match="untimed"):
        run_any(make_plan(**case, tiers=(5, 5)), "arc")
    with pytest.raises(InputError, match="borrow"):
        run_any(make_plan(**case, tiers=(5,), borrow=1), "arc")
