"""`ObjectTrace`: what it takes, what it refuses, what it says."""

import numpy as np
import pytest

from mltwin.sim.errors import InputError
from mltwin.workloads.objects import ObjectTrace
from mltwin.workloads.objects.measures import zipf_slope
from mltwin.workloads.objects.table import MAX_OBJECTS


def toy(**changes):
    given = {
        "ids": [0, 1, 0, 2, 1, 0],
        "size_bytes": [10, 20, 12, 5, 20, 11],
        "arrival": [0, 5, 5, 10**9, 10**9, 2 * 10**9],
        "tenant": [0, 0, 1, 1, 0, 0],
        "cost": [1.0, 2.5, 1.0, 0.0, 2.5, 1.0],
        "op": [0, 0, 0, 1, 2, 0],
        "ttl_ns": [0, 7, 0, 0, 0, 0],
        "tenants": ("a", "b"),
        "keys": np.array(["x", "y", "z"], object),
        "name": "toy",
    }
    return ObjectTrace.make(**{**given, **changes})


def test_columns_are_typed_contiguous_and_read_only():
    trace = toy()
    kinds = {
        "ids": np.uint32,
        "size_bytes": np.int64,
        "arrival": np.int64,
        "tenant": np.int32,
        "cost": np.float64,
        "op": np.uint8,
        "ttl_ns": np.int64,
    }
    for label, kind in kinds.items():
        array = getattr(trace, label)
        assert array.dtype == kind and array.flags.c_contiguous and not array.flags.writeable
    assert trace.requests == len(trace) == 6 and trace.objects == 3


def test_only_read_only_arrays_are_shared():
    mine = np.array([0, 1], np.uint32)
    trace = ObjectTrace.make(mine)
    mine[0] = 1
    assert trace.ids.tolist() == [0, 1]
    mine.flags.writeable = False
    assert np.shares_memory(ObjectTrace.make(mine).ids, mine)
    assert not np.shares_memory(ObjectTrace.make(np.arange(4, dtype=np.uint32)[::2]).ids, mine)


def test_what_a_trace_says_of_itself():
    said = toy().describe()
    assert said["requests"] == 6 and said["objects"] == 3
    assert said["footprint_bytes"] == 12 + 20 + 5
    assert said["one_hit_share"] == pytest.approx(1 / 3)
    assert said["best_hit_ratio"] == pytest.approx(0.5)
    assert said["size_bytes"]["mean"] == pytest.approx(78 / 6)
    assert said["object_bytes"]["max"] == 20
    assert said["operations"] == {"get": 4, "set": 1, "delete": 1}
    assert said["span_s"] == 2.0 and said["tenants"] == 2 and said["expiring"] == 1
    bare = ObjectTrace.make([0, 0, 3], objects=5)
    assert bare.describe()["size_bytes"] is None
    assert (bare.objects, bare.unique, bare.footprint_bytes) == (5, 2, 2)
    assert ObjectTrace.make([]).describe()["objects"] == 0


def test_the_digest_is_of_the_content_alone():
    trace = toy()
    assert trace.equals(toy(name="other", source="s", meta={"a": 1}, keys=None))
    for label, value in [
        ("ids", [0, 1, 0, 2, 1, 1]),
        ("size_bytes", [10, 20, 12, 5, 20, 12]),
        ("size_bytes", None),
        ("ttl_ns", None),
        ("tenants", ("a", "c")),
        ("objects", 4),
    ]:
        change = {label: value, **({"keys": None} if label == "objects" else {})}
        assert not trace.equals(toy(**change))
    swapped = toy(size_bytes=None, ttl_ns=None), toy(size_bytes=[0, 7, 0, 0, 0, 0], ttl_ns=None)
    assert toy(size_bytes=None, ttl_ns=[0, 7, 0, 0, 0, 0]).sha256 != swapped[1].sha256


def test_rows_and_chunks_keep_ids_and_clock():
    trace = toy()
    part = trace.rows(2, 4)
    assert part.ids.tolist() == [0, 2] and part.objects == 3
    assert part.arrival.tolist() == [5, 10**9]
    pieces = trace.chunks(4)
    assert [len(piece) for piece in pieces] == [4, 2]
    assert np.concatenate([piece.ids for piece in pieces]).tolist() == trace.ids.tolist()
    with pytest.raises(InputError, match="at least 1"):
        trace.chunks(0)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ids": [0, 1, 0, 2, 1, -1]}, r"request 5: ids = -1 is not in 0\.\."),
        ({"ids": [0.5] * 6}, "ids = 0.5 is not a whole number"),
        ({"ids": [[0]]}, "shape"),
        ({"ids": [MAX_OBJECTS]}, "ids = 4294901760 is not in"),
        ({"objects": 2}, r"objects = 2 is not in 3\.\."),
        ({"size_bytes": [1] * 5}, r"size_bytes has shape \(5,\)"),
        ({"size_bytes": [1, 2, 3, 4, 5, -6]}, "request 5: size_bytes = -6"),
        ({"size_bytes": [np.nan] * 6}, "size_bytes = nan is not finite"),
        ({"size_bytes": ["1"] * 6}, "not numbers"),
        ({"arrival": [0, 1, 2, 3, 2, 4]}, "arrival goes back 1 times, first from 3 to 2"),
        ({"cost": [0, 1, 2, 3, np.inf, 5]}, "request 4: cost = inf is not finite"),
        ({"op": [0, 1, 2, 3, 0, 0]}, "request 3: op = 3"),
        ({"ttl_ns": [-1] * 6}, "ttl_ns = -1"),
        ({"tenants": ("a", "a")}, "give each tenant its own name"),
        ({"tenants": ("a",)}, "1 tenant names"),
        ({"keys": [1, 2]}, "keys has shape"),
    ],
)
def test_wrong_columns_are_refused(change, told):
    with pytest.raises(InputError, match=told):
        toy(**change)


def test_sizes_may_not_overflow_their_sum():
    with pytest.raises(InputError, match="add up to more"):
        ObjectTrace.make(np.zeros(1 << 15, np.uint32), size_bytes=np.full(1 << 15, 1 << 48))


@pytest.mark.parametrize("alpha", [0.5, 1.0, 1.5])
def test_the_slope_of_exact_counts(alpha):
    counts = np.round(1e7 * np.arange(1, 3001.0) ** -alpha).astype(np.int64)
    found, fit = zipf_slope(counts[counts >= 5])
    assert found == pytest.approx(alpha, abs=0.01) and fit > 0.999


def test_a_slope_needs_some_ranks():
    assert zipf_slope(np.array([7, 6], np.int64)) == (None, None)
    assert zipf_slope(np.full(1000, 9)) == (0.0, None)
