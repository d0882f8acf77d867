"""A user's own eviction score: against the plain-Python twin, against kernels that do the same, and
what a user is told who makes a mistake.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from cache_streams import stream, walk_both

import mltwin as mt
from mltwin.cache_policies import choose_eviction, located
from mltwin.cache_replay import replay_cache
from mltwin.models.caching.cache import Cache, Score
from mltwin.models.caching.reference.driver import ReferenceCache
from mltwin.models.caching.reference.scores import UserScore
from mltwin.policies import Sizes, list_policies, policy
from mltwin.sim.errors import InputError
from mltwin.workloads.objects.table import ObjectTrace

BUILT_IN = list_policies("evict_object")


@policy("evict_object", params={"weight": 3.0}, memory=1)
def everything(object, ctx, params, memory):
    """Reads every field there is, and falls and rises; `weight` is for the hits."""
    memory[0] += 1.0
    age = ctx.now - object.inserted + 2 * (ctx.now - object.last_use)
    place = ctx.clock - object.entered + 3 * (ctx.clock - object.asked)
    room = ctx.capacity - ctx.used + 5 * ctx.resident + ctx.seed
    return (
        params[0] * object.hits
        + (7 * age + 11 * place + 13 * room + 17 * object.id + memory[0]) % 23
        + object.cost / (1.0 + object.bytes)
    )


def pair(chosen, capacity, objects, limit, costs, seed=3):
    values = np.array(list(chosen.params.values()), np.float64)
    floats = chosen.memory_size(Sizes(0, 0, 0, 0, objects))
    score = Score(chosen.compiled(), values, lambda n: floats, chosen.name)
    cache = Cache(score, capacity, objects, max_objects=limit, costs=costs, seed=seed)
    by_key = {} if costs is None else {i: float(c) for i, c in enumerate(costs)}
    twin = UserScore(chosen.function, values, np.zeros(floats), by_key, seed)
    return cache, ReferenceCache(twin, capacity, limit)


@pytest.mark.parametrize("chosen", [everything, *BUILT_IN], ids=lambda p: p.name)
def test_scores_agree_step_by_step(chosen):
    for case in range(10):
        rng = np.random.default_rng([5, case])
        objects = int(rng.integers(2, 50))
        sizes = rng.integers(1, 12, objects)
        capacity = int(rng.integers(1, sizes.sum() + 10))
        limit = int(rng.integers(1, objects + 1)) if rng.random() < 0.3 else None
        costs = rng.uniform(0.1, 9.0, objects) if rng.random() < 0.5 else None
        cache, twin = pair(chosen, capacity, objects, limit, costs)
        walk_both(cache, twin, stream(rng, objects, 500), sizes, rng)
        ones = np.ones(objects, np.int64)
        cache, twin = pair(chosen, capacity, objects, None, costs)
        ids = stream(rng, objects, 400)
        hits = sum(twin.request(int(i)) == 1 for i in ids)
        assert (cache.replay_full(ids, ones[ids]) == 1).sum() == hits
        score = cache._score
        plain = Cache(score, capacity, objects, costs=costs, full=False, seed=3)
        assert plain.replay(ids) == hits


TRACE = ObjectTrace.make(stream(np.random.default_rng(6), 400, 20_000), objects=400)


@pytest.mark.parametrize(
    ("score", "kernel"),
    [
        ("oldest", "fifo"),
        ({"name": "decayed_frequency", "half_life": 1.0}, "lru"),
        ("frequency_per_byte", "lfu"),  # of unit size
    ],
)
def test_scores_that_are_kernels_too(score, kernel):
    for capacity in (5, 50, 200):
        mine, theirs = (replay_cache(TRACE, name, capacity) for name in (score, kernel))
        assert mine.hits == theirs.hits and mine.evicted == theirs.evicted


def test_a_stream_of_chunks_equals_the_whole():
    """The memory of a policy grows with the objects."""
    whole = replay_cache(TRACE, "decayed_frequency", 40)
    parts = [
        ObjectTrace.make(TRACE.ids[a : a + 1000], objects=int(TRACE.ids[: a + 1000].max()) + 1)
        for a in range(0, TRACE.requests, 1000)
    ]
    assert replay_cache(iter(parts), "decayed_frequency", 40).hits == whole.hits


def test_a_clock_is_seen_where_the_trace_has_times(tmp_path: Path):
    path = tmp_path / "stale.py"
    path.write_text(
        "from mltwin.policies import policy\n\n"
        "@policy('evict_object')\n"
        "def slow_first(object, ctx, params, memory):\n"
        "    return -float(ctx.now - object.last_use)\n"
    )
    rng = np.random.default_rng(7)
    times = np.cumsum(rng.integers(0, 100, TRACE.requests))
    timed = ObjectTrace.make(TRACE.ids, objects=TRACE.objects, arrival=times)
    untimed = replay_cache(TRACE, f"{path}:slow_first", 40)
    assert replay_cache(timed, f"{path}:slow_first", 40).hits != untimed.hits
    assert replay_cache(timed, "oldest", 40).hits == replay_cache(TRACE, "oldest", 40).hits


def test_a_scenario_finds_the_file_beside_it(tmp_path: Path):
    (tmp_path / "mine.py").write_text(
        "from mltwin.policies import policy\n\n"
        "@policy('evict_object', params={'weight': 0.0})\n"
        "def lru_but(object, ctx, params, memory):\n"
        '    """`weight` requests for each hit."""\n'
        "    return ctx.clock + params[0] * object.hits\n"
    )
    file = tmp_path / "cache.toml"
    file.write_text(
        'system = "caching"\n[workload]\nrequests = 5000\n'
        '[[tiers]]\nshare = 0.1\neviction = {name = "mine.py:lru_but", weight = 0}\n'
    )
    scenario = mt.Scenario.load(file)
    scenario.check()
    lru = scenario.changed({"tiers.0.eviction": "lru"})
    assert scenario.run().metrics["hit_ratio"] == lru.run().metrics["hit_ratio"]
    assert located("mine.py:f", scenario.resolve_path) == f"{tmp_path / 'mine.py'}:f"
    assert located({"name": "lru_k", "k": 2}, scenario.resolve_path) == {"name": "lru_k", "k": 2}


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("    return object.hit", r"wrong\.py:5: .*there is no 'hit'; did you mean 'hits'"),
        ("    object.hits = 3\n    return 1.0", r"wrong\.py:5: .*writes to object\.hits"),
        ("    return 'soon'", r"wrong\.py:\d+: .*Numba cannot compile it"),
        ("    return ctx.block_tokens", r"wrong\.py:5: .*there is no 'block_tokens'"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path: Path, body: str, told: str):
    path = tmp_path / "wrong.py"
    path.write_text(
        "from mltwin.policies import policy\n\n@policy('evict_object')\n"
        f"def wrong(object, ctx, params, memory):\n{body}\n"
    )
    with pytest.raises(InputError, match=told) as caught:
        replay_cache(TRACE, f"{path}:wrong", 40)
    assert "\n" not in str(caught.value)


def test_a_score_that_is_no_number_ends_the_run(tmp_path: Path):
    path = tmp_path / "nan.py"
    path.write_text(
        "import numpy as np\nfrom mltwin.policies import policy\n\n"
        "@policy('evict_object')\n"
        "def late(object, ctx, params, memory):\n"
        "    return np.nan if ctx.clock == 7 else 1.0\n"
    )
    with pytest.raises(InputError, match="'late': its score is no number at request 7"):
        replay_cache(TRACE, str(path), 40)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("oldst", "no eviction policy 'oldst'; did you mean 'oldest'"),
        ("lru_j", "did you mean 'lru_k'"),
        ("nowhere.py:f", "cannot read the policy file"),
        ({"name": "decayed_frequency", "halflife": 1}, "eviction.halflife: .*'half_life'"),
        ({"half_life": 1}, "has no name"),
    ],
)
def test_what_is_not_there(spec, told):
    with pytest.raises(InputError, match=told):
        choose_eviction(spec)


def test_every_parameter_is_described():
    for built_in in BUILT_IN:
        assert built_in.doc and all(f"`{name}`" in built_in.doc for name in built_in.params)
    assert dataclasses.replace(BUILT_IN[0], name="x").name == "x"
