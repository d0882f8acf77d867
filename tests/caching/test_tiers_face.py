"""Tiers as a user meets them: the scenario, its result, the SimPy station."""

from pathlib import Path

import numpy as np
import pytest
import simpy

import mltwin as mt
from mltwin.caching_station import CacheStation
from mltwin.sim.errors import InputError

BASELINES = Path(__file__).parents[2] / "baselines"
NEAR = {"name": "near", "share": 0.05, "latency_us": 10.0, "bandwidth_gbps": 100.0}
FAR = {"name": "far", "share": 0.3, "latency_us": 200.0, "bandwidth_gbps": 20.0}


def scenario(**changes: object) -> mt.CachingScenario:
    """Two tiers under a moderate load."""
    data = {
        "system": "caching",
        "workload": {
            "unit": "bytes",
            "rate": 2000.0,
            "trace": {
                "requests": 4000,
                "accesses": {"pattern": "zipf", "objects": 500, "alpha": 0.9},
                "sizes": {"law": "lognormal", "median": 2e5, "sigma": 1.0},
            },
        },
        "tiers": [NEAR, FAR],
        "origin": {"latency_ms": 10.0, "bandwidth_gbps": 10.0, "dollars_per_gb": 0.1},
    }
    return mt.Scenario.parse({**data, **changes})  # type: ignore[return-value]


def test_a_run_says_where_and_how_fast():
    result = scenario().run()
    m = result.metrics
    assert result.violations == []
    assert m["hit_ratio"] + m["miss_ratio"] + m["delayed_ratio"] == pytest.approx(1)
    assert m["near_share"] + m["far_share"] == pytest.approx(m["hit_ratio"])
    assert m["mean_near_latency_ms"] < m["mean_far_latency_ms"] < m["mean_origin_latency_ms"]
    assert m["mean_origin_latency_ms"] > 10.21  # all lookups, the origin's latency, the bytes
    assert 0 < m["origin_busy"] < 1
    windows = result.tables["windows"]
    levels = sum(windows[f"level_{k}"].sum() for k in range(3))
    assert levels + windows["delayed"].sum() == windows["requests"].sum() == 4000
    histogram = result.tables["latency_histogram"]
    assert sum(histogram[f"level_{k}"].sum() for k in range(3)) == 4000
    assert set(result.samples()) == {"window_hit_ratio", "latency"}
    assert result.report()[1].rows[2][0] == "origin"


@pytest.mark.parametrize("mode", ["inclusive", "exclusive"])
@pytest.mark.parametrize("timing", ["events", "none"])
def test_the_reference_gives_the_same_run(mode, timing):
    chosen = scenario(mode=mode, timing=timing, promote_after=2).set("workload.trace.requests", 800)
    fast, slow = chosen.run(), chosen.run(reference=True)
    assert fast.digest == slow.digest and fast.metrics == slow.metrics


@pytest.mark.parametrize("policy", ["lru", "s3_fifo", "random", "belady"])
def test_the_reference_of_one_tier_gives_the_same_run(policy):
    data = {"system": "caching", "tiers": [{"eviction": policy, "share": 0.1}]}
    trace = {"requests": 1500, "accesses": {"pattern": "zipf", "objects": 200, "alpha": 0.8}}
    chosen = mt.Scenario.parse({**data, "workload": {"trace": trace}})
    fast, slow = chosen.run(), chosen.run(reference=True)
    assert fast.metrics == slow.metrics and fast.digest == slow.digest


@pytest.mark.parametrize("mode", ["inclusive", "exclusive"])
def test_no_latency_equals_no_timing(mode):
    tiers = [{"name": n, "share": s, "latency_us": 0.0} for n, s in (("near", 0.1), ("far", 0.3))]
    base = scenario(mode=mode, tiers=tiers, origin={"latency_ms": 0.0})
    timed, plain = base.run().metrics, base.with_(timing="none").run().metrics
    assert timed["delayed_hits"] == 0 and timed["max_latency_ms"] == 0
    for name, value in plain.items():
        assert timed[name] == value, name


def test_without_contention_time_is_what_the_sum_says():
    """One request at a time: latencies and bytes add up, as `none` computes them."""
    slow = scenario().set("workload.rate", 1.0)
    timed, plain = slow.run().metrics, slow.with_(timing="none").run().metrics
    assert timed["hit_ratio"] == plain["hit_ratio"]
    assert timed["mean_latency_ms"] == pytest.approx(plain["mean_latency_ms"], rel=1e-3)


def test_more_load_waits_longer_and_is_told():
    calm = scenario().run().metrics["p99_latency_ms"]
    busy = scenario(origin={"latency_ms": 10.0, "bandwidth_gbps": 1.0}).run()
    assert busy.metrics["p99_latency_ms"] > 10 * calm
    assert any("cannot carry this load" in note for note in busy.notes)


def test_one_tier_in_time_delays_hits():
    one = scenario(tiers=[NEAR], timing="events").set("workload.rate", 20_000.0)
    run = one.run()
    assert run.metrics["delayed_ratio"] > 0.1
    again = one.with_(timing="none").run()
    assert "delayed_ratio" not in again.metrics and "p99_latency_ms" not in again.metrics


def test_writes_go_through_or_back(tmp_path):
    """Every second request writes: through, all of these bytes reach the origin; back, few do."""
    rng = np.random.default_rng(8)
    rows = [f"{t / 1000},{x},1000,{op}" for t, (x, op) in enumerate(zip(
        rng.zipf(1.4, 3000) % 200, ["get", "set"] * 1500, strict=True))]  # fmt: skip
    (tmp_path / "trace.csv").write_text("\n".join(["arrival_s,key,size_bytes,op", *rows]) + "\n")
    workload = {"trace": str(tmp_path / "trace.csv"), "unit": "bytes"}
    through = scenario(workload=workload).run()
    back = scenario(workload=workload, write="back").run()
    assert through.violations == back.violations == []
    assert through.metrics["moved_into_origin_gb"] == pytest.approx(1500 * 1000 / 1e9)
    assert back.metrics["moved_into_origin_gb"] < 0.5 * through.metrics["moved_into_origin_gb"]
    assert back.metrics["mean_write_latency_ms"] < 0.1 < through.metrics["mean_write_latency_ms"]
    assert back.metrics["dirty_size"] > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"strict": True, "mode": "exclusive"}, "strict needs inclusive"),
        ({"quotas": {"a": 0.5}}, "quotas are for one tier"),
        ({"tiers": [{**NEAR, "eviction": "belady"}, FAR]}, "must know the order"),
        ({"tiers": [{**NEAR, "name": "x"}] * 2}, "name of two tiers"),
        ({"tiers": [NEAR] * 5}, "at most 4"),
        ({"tiers": [{**NEAR, "name": "byte"}, FAR]}, "another name"),
        ({"timing": "sometimes"}, "unknown value"),
    ],
)
def test_what_does_not_fit_is_told(changes, message):
    with pytest.raises(InputError, match=message):
        scenario(**changes).run()


def test_a_users_score_evicts_in_a_tier_too(tmp_path):
    (tmp_path / "mine.py").write_text(
        "from mltwin.policies import policy\n"
        "@policy('evict_object')\n"
        "def older(object, ctx, params, memory):\n"
        "    return float(object.inserted)\n"
        "@policy('evict_object')\n"
        "def broken(object, ctx, params, memory):\n"
        "    return 1e308 * 10.0 - 1e308 * 10.0\n"
    )
    given = scenario().set("workload.trace.requests", 1500)
    own = given.set("tiers.0.eviction", f"{tmp_path / 'mine.py'}:older").run()
    fifo = given.set("tiers.0.eviction", "fifo").run()
    assert own.metrics["near_hit_ratio"] == fifo.metrics["near_hit_ratio"]
    with pytest.raises(InputError, match="no number"):
        given.set("tiers.0.eviction", f"{tmp_path / 'mine.py'}:broken").run()


def test_missing_times_and_bytes_are_told():
    plain = {"requests": 100, "accesses": {"pattern": "zipf", "objects": 50}}
    with pytest.raises(InputError, match="no times"):
        scenario(workload={"trace": plain}, timing="events").run()
    with pytest.raises(InputError, match="no bytes to cross") as told:
        scenario(workload={"trace": plain, "rate": 5.0}).run()
    assert told.value.where == "tiers.0.bandwidth_gbps"
    with pytest.raises(InputError, match="no sizes"):
        scenario(workload={"trace": plain, "rate": 5.0, "unit": "bytes"}).run()
    slow = scenario().set("tiers.1.bandwidth_gbps", 1e-9)
    with pytest.raises(InputError, match="bytes take") as told:
        slow.run()
    assert told.value.where == "tiers.1.bandwidth_gbps"


@pytest.mark.parametrize("name", ["caching", "cache-tiers"])
def test_baselines_run_compare_and_draw(name, tmp_path):
    base = mt.Scenario.load(BASELINES / f"{name}.toml").set("workload.trace.requests", 5000)
    lru = base.set("tiers.0.eviction", "lru").set("name", "lru")
    compared = mt.compare([base, lru], seeds=(0, 1))
    assert len(compared.values("lru", "hit_ratio")) == 2
    result = base.run()
    assert result.violations == []
    result.plot(tmp_path / "run.png")
    assert (tmp_path / "run.png").stat().st_size > 10_000
    stored = mt.Result.load(result.save(tmp_path))
    assert stored.digest == result.digest and stored.metrics == result.metrics


def test_a_station_in_a_simpy_program():
    env = simpy.Environment()
    fetched = []

    def fetch(key, size):
        fetched.append(key)
        yield env.timeout(size / 10)

    station = CacheStation(env, "lru", 10, fetch)
    answers = []

    def client(at, key, size):
        yield env.timeout(at)
        answer = yield station.get(key, size)
        answers.append((key, answer.outcome, round(answer.waited_s, 9), env.now))

    for at, key, size in [(0, "a", 4), (0.1, "a", 4), (1, "a", 4), (1, "b", 5), (2, "c", 6)]:
        env.process(client(at, key, size))
    env.run()
    assert answers == [
        ("a", "miss", 0.4, 0.4),
        ("a", "delayed", 0.3, 0.4),
        ("a", "hit", 0.0, 1),
        ("b", "miss", 0.5, 1.5),
        ("c", "miss", 0.6, 2.6),
    ]
    assert fetched == ["a", "b", "c"] and station.resident() == ["c"] and station.used == 6
    assert (station.hits, station.misses, station.delayed) == (1, 3, 1)
    assert station.remove("c") and not station.holds("c") and not station.holds("never")


def test_a_station_equals_the_replay_where_fetching_takes_no_time():
    env = simpy.Environment()
    rng = np.random.default_rng(4)
    keys = [f"k{int(k)}" for k in rng.zipf(1.3, 2000) % 300]

    def fetch(key, size):
        return
        yield

    station = CacheStation(env, "sieve", 40, fetch)

    def client():
        for key in keys:
            yield station.get(key)

    env.process(client())
    env.run()
    numbers = {key: i for i, key in enumerate(dict.fromkeys(keys))}
    from mltwin.models.caching.cache import Cache

    cache = Cache("sieve", 40, len(numbers), full=False)
    assert station.hits == cache.replay(np.array([numbers[key] for key in keys], np.uint32))


def test_a_station_whose_fetch_fails_tells_all_who_wait():
    env = simpy.Environment()
    told = []

    def fetch(key, size):
        yield env.timeout(1)
        raise RuntimeError("origin is down")

    station = CacheStation(env, "lru", 10, fetch)

    def client():
        try:
            yield station.get("a")
        except RuntimeError as error:
            told.append(str(error))

    env.process(client())
    env.process(client())
    env.run()
    assert told == ["origin is down"] * 2 and not station.holds("a")
