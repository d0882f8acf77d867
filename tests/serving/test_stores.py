"""Prefix blocks beyond the HBM: hand cases, and what must hold whatever the case.

Iterations take t = 1000 + 10 tok + ctx ticks, blocks have 4 tokens of 100 bytes, links move a byte
a tick. That kernel and reference agree on random cases is `test_agreement`'s.
"""

import dataclasses

import numpy as np
import pytest
import rich_cases
from hand_cases import control, events, kind, prefixes, serve, times
from random_cases import random_case
from test_agreement import compiled, first_difference, run

from mltwin.models.serving import reference
from mltwin.models.serving.outcome import CANCEL, FETCH_END, FETCH_START
from mltwin.models.serving.reference_stores import Store
from mltwin.models.serving.simulate import simulate
from mltwin.models.serving.store_state import block_depths
from mltwin.models.serving.tables import (
    FAIL,
    FETCH_ALWAYS,
    FETCH_CHEAPER,
    FETCH_NEVER,
    FETCHING,
    RECOVER,
    STORE_COST,
    STORE_FIFO,
    STORE_LFU,
    STORE_LRU,
    WRITE_BACK,
    WRITE_THROUGH,
    PrefixStores,
)
from mltwin.sim.errors import InputError

A, B = [0, 1, 2], [5, 6, 7]


def pool(**fields):
    return PrefixStores(
        **{"pool_blocks": 20, "pool_bytes_per_s": 1e12, "pool_latency": 300, **fields}
    )


def four_blocks(ids, arrival, *, stores=None, replicas=1, **columns):
    """Prompts of 13 tokens, one output token, on replicas of four blocks."""
    columns.setdefault("policies", {"route": lambda q, rs, hits, ctx, p, m: ctx.request % len(rs)})
    return serve(
        [13] * len(ids),
        [1] * len(ids),
        arrival,
        engine=kind(blocks=4),
        replicas=replicas,
        stores=stores or pool(),
        nic_bytes_per_s=[2e12] * replicas,
        kv_bytes_per_token=100,
        **prefixes(*ids),
        **columns,
    )


def test_a_prefix_evicted_comes_back():
    """1200 bytes and the latency: lands at 21500; then one token is left to compute."""
    o = four_blocks([A, B, A], [0, 10_000, 20_000])
    assert events(o, FETCH_START) == [(20_000, 2, 0)]
    assert events(o, FETCH_END) == [(21_500, 2, 0)]
    assert times(o, "first") == [1130, 11_130, 21_500 + 1010]
    assert (times(o, "cached"), times(o, "fetched")) == ([0, 0, 12], [0, 0, 12])
    assert times(o, "fetch_wait") == [0, 0, 1500]
    # 2, 1, 0 make room for the second; 7, 6 for the fetch, 5 for the last token
    assert (o.stores["pool_written"], o.stores["pool_read"]) == (6, 3)


def test_a_host_tier_is_faster_and_private():
    """The same from the replica's own tier; another replica finds nothing there."""
    tier = PrefixStores(host_blocks=20, host_bytes_per_s=2e12, host_latency=10)
    o = four_blocks([A, B, A], [0, 10_000, 20_000], stores=tier)
    assert events(o, FETCH_END) == [(20_610, 2, 0)]
    o = four_blocks([A, A, B, A], [0, 5, 10_000, 20_000], stores=tier, replicas=2)
    assert o.stores["host_read"] == 0 and times(o, "cached")[3] == 12  # 3 runs where 1 ran


def test_written_as_it_is_complete():
    """Another replica fetches what the first has just computed."""
    o = four_blocks([A, A], [0, 10_000], stores=pool(write=WRITE_THROUGH), replicas=2)
    assert events(o, FETCH_END) == [(11_500, 1, 1)]
    assert o.stores["pool_written"] == 3 and o.stores["copies"] == 3
    o = four_blocks([A, A], [0, 10_000], stores=pool(write=WRITE_BACK), replicas=2)
    assert o.stores["pool_written"] == 0 and times(o, "fetched") == [0, 0]


def test_two_fetches_share_the_pool():
    """Each NIC could take two bytes a tick; the pool gives one: 2400 ticks for both."""
    stores = pool(write=WRITE_THROUGH)
    o = four_blocks([A, A, A], [0, 10_000, 10_000], stores=stores, replicas=3)
    assert [t for t, _, _ in events(o, FETCH_END)] == [12_700, 12_700]


def test_host_tier_and_pool_at_once():
    """The host tier holds one block of the three: 400 and 800 bytes at the same time."""
    both = pool(host_blocks=1, host_bytes_per_s=1e12, host_latency=50, pool_latency=300)
    o = four_blocks([A, B, A], [0, 10_000, 20_000], stores=both)
    assert events(o, FETCH_END) == [(20_000 + 800 + 300, 2, 0)]
    assert (o.stores["host_read"], o.stores["pool_read"]) == (1, 2)


def test_a_block_on_its_way_is_waited_for():
    """Both want A at once: one fetch, and the second has waited as long."""
    stores = pool(write=WRITE_THROUGH)
    o = serve(
        [13, 13, 13],
        [1, 1, 1],
        [0, 10_000, 10_000],
        engine=kind(blocks=12),
        replicas=2,
        policies={"route": lambda q, rs, hits, ctx, p, m: min(ctx.request, 1)},
        stores=stores,
        nic_bytes_per_s=[2e12] * 2,
        kv_bytes_per_token=100,
        **prefixes(A, A, A),
    )
    assert events(o, FETCH_END) == [(11_500, 1, 1), (11_500, 2, 1)]
    assert (o.stores["fetches"], o.stores["followed"], o.stores["pool_read"]) == (1, 1, 3)
    assert times(o, "fetched") == [0, 12, 0] and times(o, "cached") == [0, 12, 12]
    assert times(o, "first")[1:] == [11_500 + 1020] * 2  # a token each, in one iteration


@pytest.mark.parametrize(("bytes_per_s", "fetched"), [(1e12, 0), (2e13, 12)])
def test_fetched_where_it_is_cheaper(bytes_per_s, fetched):
    """12 tokens take 120 ticks to compute: less than 1200 bytes at one a tick and 30 more."""
    stores = pool(pool_bytes_per_s=bytes_per_s, pool_latency=30, fetch=FETCH_CHEAPER)
    o = four_blocks([A, B, A], [0, 10_000, 20_000], stores=stores)
    assert times(o, "fetched")[2] == 0  # its own NIC moves two bytes a tick: 630
    o = serve(
        [13] * 3,
        [1] * 3,
        [0, 10_000, 20_000],
        engine=kind(blocks=4),
        stores=stores,
        nic_bytes_per_s=[bytes_per_s],
        kv_bytes_per_token=100,
        **prefixes(A, B, A),
    )
    assert times(o, "fetched")[2] == fetched


def test_a_client_that_gives_up_goes_when_it_lands():
    o = four_blocks([A, B, A], [0, 10_000, 20_000], timeout=[0, 0, 1000])
    assert events(o, CANCEL) == [(21_500, 2, FETCHING)]
    assert o.stores["pool_read"] == 3


def test_a_failure_ends_a_fetch():
    """The request starts again; its host tier is gone, the pool is not."""
    fail = control((20_500, FAIL, 0, 0), (30_000, RECOVER, 0, 0))
    o = four_blocks([A, B, A], [0, 10_000, 20_000], control=fail)
    assert [t for t, _, _ in events(o, FETCH_START)] == [20_000, 30_000]
    assert events(o, FETCH_END) == [(31_500, 2, 0)] and times(o, "fetch_wait")[2] == 2000
    tier = PrefixStores(host_blocks=20, host_bytes_per_s=1e12)
    o = four_blocks([A, B, A], [0, 10_000, 20_000], stores=tier, control=fail)
    assert o.stores["host_read"] == 0 and o.stores["host_used"] == 0


@pytest.mark.parametrize(
    ("policy", "left"),
    [(STORE_LRU, {1, 3}), (STORE_FIFO, {2, 3}), (STORE_LFU, {1, 3}), (STORE_COST, {2, 3})],
)
def test_who_leaves_a_store(policy, left):
    """Room for two: 1 comes, 2 comes, 1 is read, 3 comes. Block 1 is the shallowest."""

    class Given:
        depth_cost = 1.0

    Given.policy = policy  # type: ignore[attr-defined]

    class Around:
        given, depth, stamps = Given(), {1: 0, 2: 5, 3: 2}, 0

        def next_stamp(self):
            self.stamps += 1
            return self.stamps

    store = Store(Around(), 2)  # type: ignore[arg-type]
    assert [store.write(1), store.write(2)] == [None, None]
    store.pin(1)
    store.unpin(1)
    assert store.write(3) == ({1, 2, 3} - left).pop()
    assert set(store.kept) == left
    store.pin(3)
    store.pin(*(left - {3}))
    assert store.write(9) == 9, "all are being read"


def pooled_cases(seeds, **fields):
    """Random cases with stores; `fields` of these are changed."""
    for seed in seeds:
        inp, policies = random_case(seed)
        if inp.stores is not None:
            inp = dataclasses.replace(inp, stores=dataclasses.replace(inp.stores, **fields))
            yield seed, inp, policies


def test_never_fetching_is_no_pool():
    """Bit for bit: what is written but not read changes nothing."""
    cases = 0
    for seed, inp, policies in pooled_cases(range(300, 360), fetch=FETCH_NEVER):
        functions = {h: compiled(h, f) for h, f in policies.items()}
        inp = dataclasses.replace(inp, fabric=None)  # the pool hangs on it
        mine = run(simulate, inp, functions)
        without = run(simulate, dataclasses.replace(inp, stores=None), functions)
        if isinstance(mine, str):
            assert mine == without
            continue
        cases += 1
        assert mine.stores["fetches"] == 0 and not mine.requests["fetched"].any()
        if inp.skip:
            continue  # the log of iterations is cut elsewhere
        mine.stores = {}
        for name in ("fetched", "fetch_wait"):
            del mine.requests[name]
        assert first_difference(mine, without) == [], f"seed {seed}"
    assert cases > 10


@pytest.mark.parametrize("write", [WRITE_BACK, WRITE_THROUGH])
@pytest.mark.parametrize("where", ["host_blocks", "pool_blocks"])
def test_a_boundless_store_is_a_boundless_cache(write, where):
    """One request at a time on one replica: what it finds is what endless HBM would hold."""
    case = rich_cases.pooled(150, 3)
    inp = dataclasses.replace(
        case.inp,
        kind_of=np.zeros(1, np.int64),
        nic_of=None,
        role_of=None,
        pool_of=None,
        up=None,
        timeout=np.zeros(0, np.int64),
        control=case.inp.control[:0],
        concurrency=1,
        stores=PrefixStores(**{where: 10_000}, write=write, fetch=FETCH_ALWAYS),
    )
    small = simulate(inp)
    assert small.totals["evictions"] > 100 and small.stores["fetches"] > 30
    endless = [dataclasses.replace(k, blocks=10_000) for k in inp.kinds]
    large = simulate(dataclasses.replace(inp, kinds=endless, stores=None))
    assert large.totals["evictions"] == 0
    assert np.array_equal(small.requests["cached"], large.requests["cached"])


@pytest.mark.slow
def test_cases_reach_what_they_should(monkeypatch):
    """Fetches from one store and from both, followed, dropped, refused for want of room."""
    met = dict.fromkeys(("one", "two", "no room", "dropped", "cancelled", "followed"), 0)
    stores = reference.Stores
    start, drop, first = stores._start, stores.drop, stores.fetch_first

    def started(self, r, f):
        met["two" if f.hit < f.hosted < f.reach else "one"] += 1
        start(self, r, f)

    def dropped(self, r, q):
        met["dropped"] += 1
        drop(self, r, q)

    def asked(self, r, q, available):
        answer = first(self, r, q, available)
        met["no room"] += answer is None
        return answer

    for name, f in (("_start", started), ("drop", dropped), ("fetch_first", asked)):
        monkeypatch.setattr(stores, name, f)
    for _, inp, policies in pooled_cases(range(300)):
        outcome = run(reference.simulate, inp, policies, check=False)
        if not isinstance(outcome, str):
            met["followed"] += outcome.stores["followed"]
            log = outcome.log
            met["cancelled"] += int(((log.kind == CANCEL) & (log.value == FETCHING)).sum())
    assert min(met.values()) >= 4, met


def test_a_lost_pin_is_noticed(monkeypatch):
    monkeypatch.setattr(Store, "unpin", lambda self, name: None)
    with pytest.raises(AssertionError):
        four_blocks([A, B, A], [0, 10_000, 20_000])


def test_depths_are_places_in_prompts():
    inp, _ = next((i, p) for _, i, p in pooled_cases(range(50)))
    depth = block_depths(inp)
    for i in range(len(inp.arrival)):
        start, count = int(inp.block_start[i]), int(inp.block_count[i])
        assert depth[inp.block_ids[start : start + count]].tolist() == list(range(count))


def test_too_many_blocks_for_the_map():
    case = rich_cases.pooled(50, 1)
    huge = case.inp.block_ids.copy()
    huge[0] = 2**28
    with pytest.raises(InputError, match="too many"):
        dataclasses.replace(case.inp, block_ids=huge)
