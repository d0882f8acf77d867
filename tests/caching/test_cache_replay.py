"""`replay_cache` and curves: whole and in chunks, fast and full, against each other."""

import numpy as np
import pytest

from mltwin.cache_curves import miss_ratio_curve
from mltwin.cache_replay import replay_cache, size_of
from mltwin.sim.errors import InputError
from mltwin.workloads.objects.synthetic import zipf
from mltwin.workloads.objects.table import ObjectTrace

TRACE = zipf(2_000, 30_000, 0.8, seed=4)
SIZED = TRACE.changed(
    size_bytes=(1 + (np.arange(TRACE.objects) * 7919) % 200)[TRACE.ids],
    arrival=np.arange(TRACE.requests) * 1_000_000,
)


def test_windows_add_up():
    run = replay_cache(TRACE, "lru", 200, windows=7)
    assert run.windows.shape == (7, 4)
    assert run.windows[:, 0].sum() == TRACE.requests == run.requests
    assert run.hits == replay_cache(TRACE, "lru", 200).hits
    assert run.evicted == run.requests - run.hits - 200


@pytest.mark.parametrize("policy", ["lru", "fifo", "sieve", "s3_fifo", "arc", "lfu", "gdsf"])
@pytest.mark.parametrize("unit", ["objects", "bytes"])
def test_chunks_are_the_whole(policy, unit):
    """Objects appear chunk by chunk, so that the tables grow; nothing else may change."""
    capacity = 150 if unit == "objects" else 15_000
    whole = replay_cache(SIZED, policy, capacity, unit=unit)
    pieces = []
    for piece in SIZED.chunks(1_700):
        seen = int(SIZED.ids[: sum(p.requests for p in pieces) + piece.requests].max()) + 1
        pieces.append(piece.changed(objects=seen, keys=None))
    limit = 1_000 if unit == "bytes" else None
    chunked = replay_cache(pieces, policy, capacity, unit=unit, max_objects=limit)
    again = replay_cache(SIZED, policy, capacity, unit=unit, max_objects=limit)
    assert (chunked.hits, chunked.evicted, chunked.hit) == (again.hits, again.evicted, again.hit)
    if limit is None:
        assert chunked.hits == whole.hits


def test_enough_room_misses_each_object_once():
    run = replay_cache(TRACE, "lru", TRACE.objects)
    assert run.requests - run.hits == TRACE.unique
    assert run.evicted == 0


def test_for_ever_is_no_expiry_and_at_once_is_no_hit():
    plain = replay_cache(SIZED, "lru", 300)
    assert replay_cache(SIZED, "lru", 300, ttl_s=1e9).hits == plain.hits
    assert replay_cache(SIZED, "lru", 300, ttl_s=1e-9).hits == 0
    some = replay_cache(SIZED, "lru", 300, ttl_s=3.0)
    assert 0 < some.hits < plain.hits
    assert some.expired > 0


def test_sets_take_in_and_deletes_take_out():
    trace = ObjectTrace.make(
        [0, 0, 1, 1, 1, 0], op=[1, 0, 0, 2, 0, 0], size_bytes=[5, 5, 5, 5, 5, 5]
    )
    run = replay_cache(trace, "lru", 2)
    # GETs: 0 (set before) hits, 1 misses, 1 (deleted before) misses, 0 hits
    assert (run.requests, run.hits) == (4, 2)
    sized = replay_cache(trace, "lru", 10, unit="bytes")
    assert (sized.requests, sized.hits, sized.asked, sized.hit) == (4, 2, 20, 10)
    assert sized.totals["removed"] == 1


def test_a_write_begins_the_time_to_live_anew():
    asked = {"arrival": [0, 4, 8, 12], "size_bytes": [5] * 4}
    read = ObjectTrace.make([0] * 4, **asked)
    written = ObjectTrace.make([0] * 4, op=[0, 1, 0, 0], **asked)
    for unit in ("objects", "bytes"):
        # read: in at 0 and at 8 (stale from 6 on); written: in at 0, anew at 4 and at 12
        assert replay_cache(read, "lru", 10, ttl_s=6e-9, unit=unit).hits == 2
        assert replay_cache(written, "lru", 10, ttl_s=6e-9, unit=unit).hits == 1
    longer = written.changed(ttl_ns=[5, 20, 5, 5])
    assert replay_cache(longer, "lru", 10).hits == 2


def test_a_relabelled_trace_gives_the_same():
    order = np.random.default_rng(1).permutation(TRACE.objects).astype(np.uint32)
    other = TRACE.changed(ids=order[TRACE.ids], keys=None)
    for policy in ("lru", "sieve", "arc", "s3_fifo", "lfu"):
        assert replay_cache(other, policy, 99).hits == replay_cache(TRACE, policy, 99).hits


def test_curves_are_replays():
    grid = [1, 10, 100, 1_000]
    curves = miss_ratio_curve(TRACE, ["lru", "fifo", "sieve"], grid)
    for curve in curves.curves:
        direct = [replay_cache(TRACE, curve.policy, c).miss_ratio for c in grid]
        assert curve.miss_ratio == pytest.approx(direct, abs=1e-12)
    assert curves["lru"].method == "one pass, exact"
    table = curves.table()
    assert [row[0] for row in table.rows] == grid
    sized = miss_ratio_curve(SIZED, ["lru", "gdsf"], [5_000, 50_000], unit="bytes")
    direct = replay_cache(SIZED, "lru", 50_000, unit="bytes")
    assert sized["lru"].miss_ratio[1] == pytest.approx(direct.miss_ratio, abs=1e-12)
    assert sized["lru"].byte_miss_ratio[1] == pytest.approx(1 - direct.byte_hit_ratio, abs=1e-12)


def test_samples_come_near_for_any_policy():
    trace = zipf(40_000, 300_000, 0.7, seed=2)
    grid = [1_000, 5_000, 20_000]
    exact = miss_ratio_curve(trace, ["lru", "sieve"], grid)
    near = miss_ratio_curve(trace, ["lru", "sieve"], grid, sample=0.1)
    for curve, other in zip(exact.curves, near.curves, strict=True):
        assert np.abs(curve.miss_ratio - other.miss_ratio).max() < 0.03
        assert other.error is not None and other.error.max() < 0.03


def test_the_cheapest_capacity_balances_both_prices():
    curves = miss_ratio_curve(TRACE, "lru", [10, 100, 1_000])
    free = curves.cheapest(dollars_per_unit=0, dollars_per_miss=1).rows[0]
    dear = curves.cheapest(dollars_per_unit=1e6, dollars_per_miss=1).rows[0]
    assert (free[1], dear[1]) == (1_000, 10)
    assert free[4] == pytest.approx(curves["lru"].miss_ratio[2] * TRACE.requests)


def test_capacities_as_people_write_them():
    assert size_of("5000", TRACE, "objects") == 5000
    assert size_of("10%", TRACE, "objects") == TRACE.unique // 10
    assert size_of("1.5MB", SIZED, "bytes") == 1_500_000
    assert size_of("64KiB".replace("K", "k"), SIZED, "bytes") == 65_536
    for bad in ("", "ten", "5 apples", "0", "-3"):
        with pytest.raises(InputError, match="capacity"):
            size_of(bad, TRACE, "objects")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"policy": "lruu"}, "did you mean 'lru'"),
        ({"policy": {"name": "lru", "k": 2}}, "no parameter 'k'"),
        ({"capacity": 0}, "capacity"),
        ({"unit": "bits"}, "unit"),
        ({"unit": "bytes"}, "no sizes"),
        ({"ttl_s": 1.0}, "no times"),
        ({"admission": "maybe"}, "admission"),
        ({"admission": {"name": "size", "max_size": -1}}, "no number >= 0"),
        ({"admission": {"name": "size", "chance": 1}}, "no parameter 'chance'"),
    ],
)
def test_bad_input_is_told(change, told):
    given = {"policy": "lru", "capacity": 10, **change}
    policy, capacity = given.pop("policy"), given.pop("capacity")
    with pytest.raises(InputError, match=told):
        replay_cache(TRACE, policy, capacity, **given)


def test_an_oracle_refuses_chunks():
    with pytest.raises(InputError, match="whole trace"):
        replay_cache(TRACE.chunks(1_000), "belady", 10)
