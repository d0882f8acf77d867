"""Export, read again, get the same table; and where a form cannot hold it, a refusal."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mltwin.sim.errors import InputError
from mltwin.workloads import Trace, read_trace
from mltwin.workloads.export import AZURE_EPOCH_NS, decimals

quick = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@st.composite
def traces(draw, step=1, rich=True, blocks=True):
    """Small valid traces; arrivals are multiples of `step` ticks."""
    n = draw(st.integers(1, 8))
    times = sorted(draw(st.lists(st.integers(0, 10**19 // 4 // step), min_size=n, max_size=n)))
    tokens = st.integers(1, 5000)
    columns = {
        "arrival": np.array(times) * step,
        "prompt": draw(st.lists(tokens, min_size=n, max_size=n)),
        "output": draw(st.lists(tokens, min_size=n, max_size=n)),
    }
    if rich:
        names = draw(
            st.lists(st.text("ab=+-@'\",é ", min_size=1, max_size=4), min_size=n, max_size=n)
        )
        names = [name.strip() or "x" for name in names]
        unique = list(dict.fromkeys(names))
        columns["tenant"] = [unique.index(name) for name in names]
        columns["tenants"] = unique
        columns["session"] = draw(st.lists(st.integers(-1, 9), min_size=n, max_size=n))
        columns["priority"] = draw(st.lists(st.integers(-3, 3), min_size=n, max_size=n))
        columns["after"] = [draw(st.integers(-1, i - 1)) for i in range(n)]
        columns["delay"] = draw(st.lists(st.integers(0, 10**14), min_size=n, max_size=n))
        columns["timeout"] = draw(st.lists(st.integers(0, 10**14), min_size=n, max_size=n))
    if blocks and draw(st.booleans()):
        size = draw(st.sampled_from([16, 512]))
        most = [-(-p // size) for p in columns["prompt"]]
        counts = [draw(st.integers(0, min(6, m))) for m in most]
        ids = draw(st.lists(st.integers(0, 9), min_size=sum(counts), max_size=sum(counts)))
        columns |= {"block_count": counts, "block_ids": ids, "block_tokens": size}
    return Trace.make(**columns)


@quick
@given(traces())
def test_own_csv(tmp_path, trace):
    assert read_trace(trace.to_csv(tmp_path / "t.csv")).equals(trace)


@quick
@given(traces())
def test_own_jsonl(tmp_path, trace):
    assert read_trace(trace.to_jsonl(tmp_path / "t.jsonl")).equals(trace)


@quick
@given(traces())
def test_saved(tmp_path, trace):
    path = trace.save(tmp_path / "t.parquet")
    assert Trace.load(path).equals(trace) and read_trace(path).equals(trace)


@quick
@given(traces(step=100_000, rich=False, blocks=False))
def test_azure(tmp_path, trace):
    path = trace.to_csv(tmp_path / "t.csv", "azure")
    assert b"\r\n" in path.read_bytes()
    origin = "2023-11-14 22:13:20.0000000"  # AZURE_EPOCH_NS
    assert read_trace(path, origin=origin).equals(trace)
    again = read_trace(path)
    assert again.arrival.tolist() == (trace.arrival - trace.arrival[0]).tolist()
    second = again.to_csv(tmp_path / "u.csv", "azure")
    assert second.read_bytes() == path.read_bytes()


def test_the_azure_epoch_is_the_moment_stated():
    from datetime import UTC, datetime

    assert datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC).timestamp() == AZURE_EPOCH_NS / 1e9


@quick
@given(traces(rich=False, blocks=False))
def test_vidur(tmp_path, trace):
    assert read_trace(trace.to_csv(tmp_path / "t.csv", "vidur")).equals(trace)


@quick
@given(traces(rich=False))
def test_mooncake(tmp_path, trace):
    path = trace.to_jsonl(tmp_path / "t.jsonl", "mooncake")
    assert read_trace(path, block_tokens=trace.block_tokens or 512).equals(trace)


def test_mooncake_keeps_sessions_and_priorities(tmp_path):
    trace = Trace.make([0, 1], [9, 9], [1, 1], session=[-1, 0], priority=[2, 0])
    assert read_trace(trace.to_jsonl(tmp_path / "t.jsonl", "mooncake")).equals(trace)


@pytest.mark.parametrize("form", ["azure", "vidur"])
def test_a_form_without_room_refuses(tmp_path, form):
    trace = Trace.make([0, 1], [9, 9], [1, 1], priority=[0, 1])
    with pytest.raises(InputError, match="no place for priority"):
        trace.to_csv(tmp_path / "t.csv", form)
    trace.to_csv(tmp_path / "t.csv", form, lossy=True)
    assert read_trace(tmp_path / "t.csv").prompt.tolist() == [9, 9]


def test_azure_refuses_times_finer_than_its_stamps(tmp_path):
    trace = Trace.make([0, 1], [9, 9], [1, 1])
    with pytest.raises(InputError, match="request 1 is finer"):
        trace.to_csv(tmp_path / "t.csv", "azure")
    assert not list(tmp_path.iterdir())


def test_mooncake_refuses_blocks_of_outputs(tmp_path):
    trace = Trace.make([0], [512], [512], block_count=[2], block_ids=[0, 1], block_tokens=512)
    with pytest.raises(InputError, match="output's blocks"):
        trace.to_jsonl(tmp_path / "t.jsonl", "mooncake")
    kept = read_trace(trace.to_jsonl(tmp_path / "t.jsonl", "mooncake", lossy=True))
    assert kept.block_count.tolist() == [1]


def test_unknown_forms_are_refused(tmp_path):
    trace = Trace.make([0], [1], [1])
    for write in (trace.to_csv, trace.to_jsonl):
        with pytest.raises(InputError, match="use one of"):
            write(tmp_path / "t", "excel")


def test_a_folder_that_is_not_there_is_one_error(tmp_path):
    trace = Trace.make([0], [1], [1])
    for write in (trace.to_csv, trace.to_jsonl, trace.save):
        with pytest.raises(InputError, match="cannot be written"):
            write(tmp_path / "no" / "t")


def test_cells_that_look_like_formulas_are_guarded(tmp_path):
    trace = Trace.make([0], [1], [1], tenants=["=1+1"])
    path = trace.to_csv(tmp_path / "t.csv")
    assert "'=1+1" in path.read_text()
    assert read_trace(path).tenants == ("=1+1",)


def test_a_saved_trace_that_was_altered_is_refused(tmp_path):
    import pyarrow.parquet as pq

    path = Trace.make([0, 1], [5, 6], [1, 1], meta={"a": 1}).save(tmp_path / "t.parquet")
    table = pq.read_table(path)
    changed = table.set_column(1, "prompt", [np.array([5, 7], np.int32)])
    pq.write_table(changed.replace_schema_metadata(table.schema.metadata), path)
    with pytest.raises(InputError, match="digest"):
        Trace.load(path)


def test_a_saved_trace_keeps_name_source_and_meta(tmp_path):
    trace = Trace.make([0], [1], [1], name="n", source="s", meta={"a": [1, "x"]})
    again = Trace.load(trace.save(tmp_path / "t.parquet"))
    assert (again.name, again.source, again.meta) == ("n", "s", {"a": [1, "x"]})


@given(st.integers(0, 2**62), st.sampled_from([3, 6, 9, 12]))
def test_decimals_are_exact(ticks, places):
    from decimal import Decimal

    (text,) = decimals(np.array([ticks]), places)
    assert Decimal(text).scaleb(places) == ticks


@pytest.mark.parametrize("meta", [{"a": float("nan")}, {"a": object()}])
def test_meta_that_is_no_json_is_refused(tmp_path, meta):
    with pytest.raises(InputError, match="meta cannot be written"):
        Trace.make([0], [1], [1], meta=meta).save(tmp_path / "t.parquet")
    assert not list(tmp_path.iterdir())
