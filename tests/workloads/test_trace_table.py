"""The table itself: what it refuses, what it keeps, what it says of itself."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.sim.errors import InputError
from mltwin.workloads import Trace
from mltwin.workloads.blocks import canonical, chunks, pack, prefix_hits

SECOND = 10**12


def small(**changes):
    columns = {"arrival": [0, 5, 5], "prompt": [10, 20, 30], "output": [1, 2, 3]}
    return Trace.make(**{**columns, **changes})


def test_columns_have_their_types_and_defaults():
    trace = small()
    kinds = {name: getattr(trace, name).dtype.name for name in ("arrival", "delay", "timeout")}
    assert set(kinds.values()) == {"int64"}
    for name in ("prompt", "output", "tenant", "session", "priority", "after", "block_count"):
        assert getattr(trace, name).dtype == np.int32
    assert trace.session.tolist() == [-1] * 3 and trace.after.tolist() == [-1] * 3
    assert trace.tenants == ("default",) and trace.block_tokens == 0
    assert len(trace) == 3


def test_arrays_are_contiguous_and_read_only():
    trace = small()
    for name in ("arrival", "prompt", "block_start", "block_ids"):
        array = getattr(trace, name)
        assert array.flags.c_contiguous and not array.flags.writeable
    with pytest.raises(ValueError, match="read-only"):
        trace.prompt[0] = 5


def test_the_callers_arrays_stay_writeable_and_apart():
    arrival = np.array([0, 1], np.int64)
    trace = Trace.make(arrival, [1, 1], [1, 1])
    arrival[1] = 9
    assert trace.arrival.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"prompt": [10, 0, 30]}, ["request 1", "prompt = 0", "1..16777216"]),
        ({"output": [1, 2, (1 << 24) + 1]}, ["request 2", "output = 16777217"]),
        ({"arrival": [0, -1, 5]}, ["request 1", "arrival = -1"]),
        ({"arrival": [0, 9, 5]}, ["goes back 1 times", "request 2", "sort=True"]),
        ({"prompt": [10, float("nan"), 30]}, ["request 1", "nan", "not finite"]),
        ({"prompt": [10, float("inf"), 30]}, ["inf", "not finite"]),
        ({"prompt": [10, 2.5, 30]}, ["2.5", "not a whole number"]),
        ({"prompt": ["a", "b", "c"]}, ["prompt", "not numbers"]),
        ({"prompt": [True, True, True]}, ["not numbers"]),
        ({"prompt": [10**20, 1, 1]}, ["prompt"]),
        ({"prompt": [10, 20]}, ["shape (2,)", "(3,)"]),
        ({"after": [-1, 1, 0]}, ["request 1", "after = 1", "earlier"]),
        ({"after": [-1, 7, 0]}, ["after = 7"]),
        ({"delay": [0, -5, 0]}, ["delay = -5"]),
        ({"tenant": [0, 2, 1], "tenants": ("a", "b")}, ["tenant column needs 3"]),
        ({"tenants": ("a", "a")}, ["different names"]),
        ({"tenants": ("a\nb",)}, ["printable"]),
        ({"tenants": (" a",)}, ["trimmed"]),
        ({"block_count": [1, 0, 0], "block_ids": [0]}, ["block_tokens is 0"]),
        ({"block_count": [2, 0, 0], "block_ids": [0], "block_tokens": 16}, ["runs past the 1"]),
        (
            {"block_count": [2, 0, 0], "block_ids": [0, 1], "block_tokens": 16},
            ["block_count = 2", "exceed prompt + output"],
        ),
        ({"block_tokens": -1}, ["block_tokens = -1"]),
    ],
)
def test_refuses(changes, words):
    with pytest.raises(InputError) as caught:
        small(**changes)
    text = str(caught.value)
    assert "\n" not in text
    for word in words:
        assert word in text


def test_time_ends_before_never():
    from mltwin.sim.ticks import NEVER
    from mltwin.workloads.table import MAX_TIME

    assert MAX_TIME < NEVER
    with pytest.raises(InputError, match="arrival"):
        small(arrival=[0, 5, MAX_TIME + 1])
    assert small(arrival=[0, 5, MAX_TIME]).arrival[2] == MAX_TIME


def test_sort_is_stable_and_keeps_links():
    trace = Trace.make(
        [7, 3, 3, 9],
        [1, 2, 3, 4],
        [1, 1, 1, 1],
        after=[-1, -1, -1, 0],
        delay=[0, 0, 0, 4],
        sort=True,
    )
    assert trace.prompt.tolist() == [2, 3, 1, 4]
    assert trace.after.tolist() == [-1, -1, -1, 2]


def test_an_empty_trace_is_a_trace():
    trace = Trace.make([], [], [])
    assert len(trace) == 0 and trace.span_s == 0.0
    assert trace.describe()["rows"] == 0


def test_equality_is_of_content():
    a = small(name="x", source="here", meta={"k": 1})
    assert a.equals(small(name="y"))
    assert not a.equals(small(priority=[0, 1, 0]))
    assert not a.equals(small(tenants=("other",)))
    assert len(a.sha256) == 64


def test_block_numbers_and_layout_do_not_matter():
    packed = small(
        prompt=[32, 48, 64], block_count=[2, 3, 2], block_ids=[9, 4, 9, 4, 7, 1, 2], block_tokens=16
    )
    shared = small(
        prompt=[32, 48, 64],
        block_start=[0, 0, 3],
        block_count=[2, 3, 2],
        block_ids=[50, 40, 30, 20, 10],
        block_tokens=16,
    )
    assert packed.equals(shared)
    assert packed.packed_blocks().tolist() == [0, 1, 0, 1, 2, 3, 4]
    assert shared.block_ids.size == 5


def test_unused_block_ids_are_dropped():
    trace = small(
        prompt=[32, 48, 64],
        block_start=[2, 2, 2],
        block_count=[1] * 3,
        block_ids=[5, 6, 7, 8],
        block_tokens=16,
    )
    assert trace.block_ids.tolist() == [0]


def test_dropping_ids_keeps_the_overlaps():
    trace = small(
        prompt=[32, 48, 64],
        block_start=[1, 1, 5],
        block_count=[2, 3, 2],
        block_ids=[9, 50, 40, 30, 9, 20, 10],
        block_tokens=16,
    )
    assert trace.block_ids.tolist() == [0, 1, 2, 3, 4]
    assert trace.block_start.tolist() == [0, 0, 3]
    assert trace.packed_blocks().tolist() == [0, 1, 0, 1, 2, 3, 4]


def test_describe_by_hand():
    trace = Trace.make(
        np.array([0, 1, 3]) * SECOND,
        [100, 200, 300],
        [1, 2, 3],
        session=[0, 0, 4],
        tenant=[0, 1, 0],
    )
    found = trace.describe()
    assert found["span_s"] == 3.0 and found["rate_per_s"] == pytest.approx(2 / 3)
    assert found["interarrival_cv"] == pytest.approx(0.5 / 1.5)
    assert found["prompt"] == {
        "mean": 200.0,
        "p50": 200.0,
        "p90": 280.0,
        "p99": 298.0,
        "min": 100,
        "max": 300,
    }
    assert found["sessions"] == 2 and found["tenants"] == 2 and found["shared_prefix"] is None


def test_to_frame_has_all_columns():
    trace = small(block_count=[1, 2, 2], block_ids=[0, 0, 1, 0, 2], block_tokens=16)
    frame = trace.to_frame()
    assert frame.arrival_s.tolist() == [0.0, 5e-12, 5e-12]
    assert [list(ids) for ids in frame.block_ids] == [[0], [0, 1], [0, 2]]


lists = st.lists(st.lists(st.integers(0, 6), max_size=6), min_size=1, max_size=12)


@given(lists, st.integers(1, 4))
def test_prefix_hits_equal_a_set(rows, cut):
    count = np.array([len(row) for row in rows], np.int32)
    ids = np.array([i for row in rows for i in row], np.int32)
    start = np.cumsum(count, dtype=np.int64) - count
    prompt = np.full(len(rows), cut)
    seen: set[int] = set()
    expected = []
    for row in rows:
        hits = 0
        while hits < min(len(row), cut) and row[hits] in seen:
            hits += 1
        expected.append(hits)
        seen |= set(row)
    assert prefix_hits(start, count, ids, prompt).tolist() == expected


@given(lists)
def test_canonical_numbers_by_first_appearance(rows):
    count = np.array([len(row) for row in rows], np.int32)
    ids = np.array([1000 - 7 * i for row in rows for i in row], np.int64)
    start = np.cumsum(count, dtype=np.int64) - count
    order: dict[int, int] = {}
    expected = [order.setdefault(int(i), len(order)) for i in ids]
    new_start, new = canonical(start, count, ids)
    assert pack(new_start, count, new).tolist() == expected


@given(st.lists(st.integers(0, 9), max_size=30), st.integers(1, 12))
@settings(max_examples=50)
def test_chunks_cover_every_request_once(counts, size):
    parts = chunks(np.array(counts, np.int32), size)
    assert [i for lo, hi in parts for i in range(lo, hi)] == list(range(len(counts)))


def test_canonical_does_not_depend_on_the_chunk_size(monkeypatch):
    import mltwin.workloads.blocks as blocks

    rng = np.random.default_rng(1)
    count = rng.integers(0, 9, 200).astype(np.int32)
    start = rng.integers(0, 91, 200)
    ids = rng.integers(0, 40, 100)
    whole = canonical(start, count, ids)
    original = blocks.chunks
    monkeypatch.setattr(blocks, "chunks", lambda c: original(c, 3))
    parts = canonical(start, count, ids)
    assert whole[1].tolist() == parts[1].tolist()
