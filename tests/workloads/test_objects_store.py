"""Object traces out and in again: our Parquet and oracleGeneral."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_objects_table import toy

from mltwin.sim.errors import InputError
from mltwin.workloads.objects import (
    ObjectTrace,
    detect,
    load_objects,
    make_objects,
    read_objects,
    save_objects,
    stream_objects,
    write_oracle_general,
    zipf,
)
from mltwin.workloads.objects.binary import ORACLE_GENERAL
from mltwin.workloads.objects.store import next_access


def same(a, b):
    assert a.equals(b)
    assert (a.name, a.source, a.meta, a.tenants) == (b.name, b.source, b.meta, b.tenants)
    assert (a.keys is None) == (b.keys is None)
    if a.keys is not None:
        asked = a.counts > 0
        assert a.keys[asked].tolist() == b.keys[asked].tolist()


@pytest.mark.parametrize(
    "trace",
    [
        toy(),
        toy(keys=[5, -6, 7]),
        toy(keys=None, size_bytes=None),
        ObjectTrace.make([4, 4, 1], objects=9, keys=np.arange(9)),
        ObjectTrace.make([0, 1], keys=np.array([1 << 63, 3], np.uint64)),
        make_objects({"requests": 300, "sizes": {"law": "pareto"}, "tenants": {"a": {}}}),
    ],
    ids=["text", "whole", "bare", "gaps", "u64", "synthetic"],
)
def test_saved_and_loaded(tmp_path, trace):
    path = save_objects(trace, tmp_path / "t.parquet")
    same(load_objects(path), trace)
    assert detect(path) == "saved"
    same(read_objects(path), trace)
    same(ObjectTrace.load(trace.save(path)), trace)
    pieces = list(stream_objects(path, chunk=2))
    assert np.concatenate([piece.ids for piece in pieces]).tolist() == trace.ids.tolist()
    cut = read_objects(path, limit=1, ignore=["size_bytes"])
    assert len(cut) == 1 and cut.size_bytes is None


def test_an_altered_file_is_refused(tmp_path):
    path = save_objects(toy(), tmp_path / "t.parquet")
    table = pq.read_table(path)
    sizes = table.column_names.index("size_bytes")
    pq.write_table(table.set_column(sizes, "size_bytes", pa.array([1] * 6)), path)
    with pytest.raises(InputError, match="does not have the digest"):
        load_objects(path)
    pq.write_table(table.drop_columns(["ids"]), path)
    with pytest.raises(InputError, match="is a damaged saved trace"):
        load_objects(path)
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(InputError, match="is not a saved object trace"):
        load_objects(path)


def test_nothing_is_left_behind_where_writing_fails(tmp_path):
    with pytest.raises(InputError, match="cannot be written as JSON"):
        save_objects(toy(meta={"a": np.zeros(2)}), tmp_path / "t.parquet")
    with pytest.raises(InputError, match="cannot be written"):
        save_objects(toy(), tmp_path / "no" / "t.parquet")
    with pytest.raises(InputError, match="cannot be written"):
        write_oracle_general(zipf(5, 5), tmp_path / "no" / "t.bin")
    assert not list(tmp_path.iterdir())


def test_oracle_general_holds_every_number(tmp_path):
    trace = ObjectTrace.make(
        [0, 1, 0, 2, 1],
        size_bytes=[7, 8, 9, 10, 11],
        arrival=[0, 0, 10**9, 2 * 10**9, 2 * 10**9],
        keys=np.array([50, 1 << 63, 52], np.uint64),
    )
    path = write_oracle_general(trace, tmp_path / "t.oracleGeneral.bin")
    records = np.fromfile(path, ORACLE_GENERAL)
    assert records["next_access"].tolist() == [3, 5, -1, -1, -1]
    assert records["object"].tolist() == [50, 1 << 63, 50, 52, 1 << 63]
    again = read_objects(path)
    assert again.equals(trace) and again.keys.tolist() == trace.keys.tolist()
    assert detect(path) == "oracle-general"


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60))
def test_next_access(ids):
    expected = [
        next((j for j in range(i + 1, len(ids)) if ids[j] == k), -1) for i, k in enumerate(ids)
    ]
    assert next_access(np.array(ids, np.uint32)).tolist() == expected


def test_what_oracle_general_has_no_place_for(tmp_path):
    path = tmp_path / "t.bin"
    with pytest.raises(InputError, match="no place for tenant, cost, op, ttl_ns, arrival finer"):
        write_oracle_general(toy(), path)
    assert read_objects(write_oracle_general(toy(), path, lossy=True)).ids.tolist() == [
        0, 1, 0, 2, 1, 0,
    ]  # fmt: skip
    with pytest.raises(InputError, match="request 1: size_bytes = 4294967296 does not fit"):
        write_oracle_general(ObjectTrace.make([0, 1], size_bytes=[1, 1 << 32]), path)
    with pytest.raises(InputError, match="arrival = 4294967296 does not fit"):
        write_oracle_general(ObjectTrace.make([0, 1], arrival=[0, (1 << 32) * 10**9]), path)
