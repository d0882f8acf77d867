"""Reading object traces: every format, its detection, and streams that equal the whole."""

import gzip
import json
import lzma

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltwin.sim.errors import InputError
from mltwin.workloads.objects import (
    ObjectTrace,
    blocks_as_objects,
    detect,
    lines,
    read_objects,
    stream_objects,
)
from mltwin.workloads.objects.binary import ORACLE_GENERAL
from mltwin.workloads.readers import read_trace

KEYS = [7, 1 << 60, 7, 3, 1 << 60, 7, 9]
IDS = [0, 1, 0, 2, 1, 0, 3]


def oracle(keys=KEYS, times=None, sizes=None, ahead=None):
    records = np.zeros(len(keys), ORACLE_GENERAL)
    records["object"] = np.array(keys, np.uint64)
    records["time"] = 100 + np.arange(len(keys)) if times is None else times
    records["size"] = 10 if sizes is None else sizes
    records["next_access"] = -1 if ahead is None else ahead
    return records.tobytes()


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def zstd(content):
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as out:
        out.write(content)
    return sink.getvalue().to_pybytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress, zstd])
def test_oracle_general(tmp_path, pack):
    path = write(tmp_path, "toy.oracleGeneral.bin", pack(oracle()))
    assert detect(path) == "oracle-general"
    trace = read_objects(path)
    assert trace.ids.tolist() == IDS
    assert trace.keys.tolist() == [7, 1 << 60, 3, 9]
    assert trace.size_bytes.tolist() == [10] * 7
    assert trace.arrival.tolist() == [i * 10**9 for i in range(7)]
    assert trace.meta == {"format": "oracle-general", "start_s": 100.0}
    assert trace.name == "toy"


def test_the_largest_values_of_oracle_general(tmp_path):
    top = (1 << 64) - 1
    path = write(tmp_path, "a", oracle([top, 0], [0, (1 << 32) - 1], [(1 << 32) - 1, 1], [5, -2]))
    trace = read_objects(path)
    assert trace.keys.tolist() == [top, 0]
    assert trace.size_bytes.tolist() == [(1 << 32) - 1, 1]
    assert trace.arrival.tolist() == [0, ((1 << 32) - 1) * 10**9]


@pytest.mark.parametrize(
    ("format", "kind"), [("corda", ">i8"), ("scarab", ">i8"), ("cache2k", ">i4")]
)
def test_bare_keys(tmp_path, format, kind):
    keys = [-5, 3, -5, 2**31 - 1]
    path = write(tmp_path, "keys.trace.gz", gzip.compress(np.array(keys, kind).tobytes()))
    with pytest.raises(InputError, match="name the format: corda"):
        detect(path)
    trace = read_objects(path, format)
    assert trace.ids.tolist() == [0, 1, 0, 2]
    assert trace.keys.tolist() == [-5, 3, 2**31 - 1]
    assert trace.size_bytes is None and trace.arrival is None


def test_zero_sizes_are_kept_skipped_or_refused(tmp_path):
    path = write(tmp_path, "a.bin", oracle(sizes=[1, 0, 2, 3, 0, 4, 5]))
    assert len(read_objects(path)) == 7
    trace = read_objects(path, zero_sizes="skip")
    assert trace.keys.tolist() == [7, 3, 9] and trace.meta["rejected"]["count"] == 2
    assert trace.meta["rejected"]["first"][0] == {"record": 2, "why": "size 0"}
    with pytest.raises(InputError, match="record 2: size 0"):
        read_objects(path, zero_sizes="fail")
    with pytest.raises(InputError, match="'keep', 'skip' or 'fail'"):
        read_objects(path, zero_sizes="no")


@pytest.mark.parametrize(
    ("text", "format", "keys"),
    [
        ("7\n8\n7\n", "plain", [7, 8]),
        ("7\r\n8\r\n\r\n7", "plain", [7, 8]),
        ("\ufeff7\n8\n7\n", "plain", [7, 8]),
        ("/a\n/b\n/a\n", "plain", ["/a", "/b"]),
        ('"q"\n/b c\n"q"\n', None, ['"q"', "/b c"]),
        ("18446744073709551615\n8\n18446744073709551615\n", "plain", [2**64 - 1, 8]),
        ("-7\n+8\n-7\n", "plain", [-7, 8]),
        ("7\n*\n8\n *\n7\n*\n", "lirs", [7, 8]),
    ],
)
def test_one_key_a_line(tmp_path, text, format, keys):
    path = write(tmp_path, "keys.txt", text)
    if format:
        assert detect(path) == format
    trace = read_objects(path, format or "plain")
    assert trace.ids.tolist() == [0, 1, 0]
    assert trace.keys.tolist() == keys


def test_time_id_size(tmp_path):
    path = write(tmp_path, "test.tr", "3 11 100\n5.5 12 200\n6\t11  300 extra\n")
    assert detect(path) == "time-id-size"
    trace = read_objects(path)
    assert trace.ids.tolist() == [0, 1, 0]
    assert trace.arrival.tolist() == [0, 2_500_000_000, 3_000_000_000]
    assert trace.size_bytes.tolist() == [100, 200, 300]
    assert read_objects(path, unit="ms").arrival.tolist() == [0, 2_500_000, 3_000_000]
    bare = read_objects(path, ignore=["arrival", "size_bytes"])
    assert bare.arrival is None and bare.size_bytes is None


OWN = """key,size_bytes,arrival_s,tenant,cost,op,ttl_s
a,10,0,x,1.5,GET,0
b,20,0.5,y,2,set,60
a,11,1,,0.25,Delete,0.5
"""


def test_our_own_columns(tmp_path):
    path = write(tmp_path, "own.csv", OWN)
    assert detect(path) == "columns"
    trace = read_objects(path)
    assert trace.keys.tolist() == ["a", "b"] and trace.ids.tolist() == [0, 1, 0]
    assert trace.size_bytes.tolist() == [10, 20, 11]
    assert trace.arrival.tolist() == [0, 5 * 10**8, 10**9]
    assert trace.tenants == ("x", "y", "default") and trace.tenant.tolist() == [0, 1, 2]
    assert trace.cost.tolist() == [1.5, 2.0, 0.25]
    assert trace.op.tolist() == [0, 1, 2]
    assert trace.ttl_ns.tolist() == [0, 60 * 10**9, 5 * 10**8]


def test_csv_by_column_map(tmp_path):
    path = write(tmp_path, "x.csv", 'when;what;n\n1;"a;b";3\n2;c;1\n')
    columns = {"key": "what", "arrival": "when", "repeat": "n"}
    trace = read_objects(path, columns=columns, delimiter=";", unit="us")
    assert trace.keys.tolist() == ["a;b", "c"]
    assert trace.ids.tolist() == [0, 0, 0, 1]
    assert trace.arrival.tolist() == [0, 0, 0, 1000]
    bare = write(tmp_path, "bare.csv", "5,100\n6,200\n5,100\n")
    trace = read_objects(bare, columns={"key": 0, "size_bytes": 1})
    assert trace.ids.tolist() == [0, 1, 0] and trace.size_bytes.tolist() == [100, 200, 100]


KV = """op_time,key,key_size,op,op_count,size,cache_hits,ttl,usecase,sub_usecase
604038471,8213,48,GET,2,87,1,0,36,30
604038472,a54f,24,SET,1,5,0,60,69,69
604038472,8213,48,DELETE,1,0,0,0,36,30
"""
BLOCK = """op_time,block_id,block_id_size,io_size,io_offset,op_name,op_count
1702511878,12ce-1,40,8388608,0,getChunkData.NotInitialized,1
1702511879,cfb4-2,40,6307425,0,putChunk.Permanent,2
"""
PHYSICS = (
    "version,time,op,size,lbn\n1,5633898,2a,512,42\n1,5633898,28,4096,43\n1,5633899,2a,512,42\n"
)


def test_known_csv_forms(tmp_path):
    kv = read_objects(write(tmp_path, "kv.csv", KV))
    assert kv.meta["format"] == "cachebench-kv"
    assert kv.ids.tolist() == [0, 0, 1, 0] and kv.op.tolist() == [0, 0, 1, 2]
    assert kv.ttl_ns.tolist() == [0, 0, 60 * 10**9, 0] and kv.tenants == ("36", "69")
    assert len(read_objects(tmp_path / "kv.csv", expand=False)) == 3
    block = read_objects(write(tmp_path, "block.csv", BLOCK))
    assert block.meta["format"] == "cachebench-block"
    assert block.ids.tolist() == [0, 1, 1] and block.op.tolist() == [0, 1, 1]
    assert block.size_bytes.tolist() == [8388608, 6307425, 6307425]
    physics = read_objects(write(tmp_path, "p.csv", PHYSICS))
    assert physics.meta["format"] == "cloudphysics"
    assert physics.ids.tolist() == [0, 1, 0] and physics.keys.tolist() == [42, 43]


def test_mooncake_blocks(tmp_path):
    rows = [
        {"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [46, 47, 48]},
        {"timestamp": 3000, "input_length": 600, "output_length": 5, "hash_ids": [46, 49]},
    ]
    path = write(tmp_path, "m.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    stream = read_objects(path)
    assert stream.meta["format"] == "mooncake"
    assert stream.ids.tolist() == [0, 1, 2, 0, 3]
    assert stream.arrival.tolist() == [0, 0, 0, 3 * 10**9, 3 * 10**9]
    again, starts = blocks_as_objects(read_trace(path))
    assert again.ids.tolist() == stream.ids.tolist() and starts.tolist() == [0, 3, 5]
    plain = write(tmp_path, "n.jsonl", '{"timestamp": 0, "input_length": 1, "output_length": 5}\n')
    with pytest.raises(InputError, match="no prefix blocks"):
        read_objects(plain, "mooncake")


def glued(pieces):
    """One trace of pieces of a stream, by hand."""
    names = ("ids", "size_bytes", "arrival", "tenant", "op", "ttl_ns", "cost")
    columns = {}
    for name in names:
        arrays = [getattr(piece, name) for piece in pieces]
        columns[name] = None if arrays[0] is None else np.concatenate(arrays)
    last = pieces[-1]
    return ObjectTrace.make(**columns, objects=last.objects, tenants=last.tenants)


@given(
    keys=st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=60),
    chunk=st.integers(1, 70),
    limit=st.one_of(st.none(), st.integers(1, 70)),
)
def test_a_stream_is_the_whole_in_pieces(tmp_path_factory, keys, chunk, limit):
    path = write(tmp_path_factory.mktemp("s"), "a.bin", oracle(keys))
    whole = read_objects(path, "oracle-general", limit=limit)
    pieces = list(stream_objects(path, "oracle-general", chunk, limit=limit))
    assert max(map(len, pieces)) <= chunk
    assert glued(pieces).equals(whole)
    assert len(whole) == min(len(keys), limit or len(keys))


@pytest.mark.parametrize("chunk", [1, 2, 3, 100])
def test_text_streams_too(tmp_path, chunk, monkeypatch):
    monkeypatch.setattr(lines, "BLOCK_BYTES", 40)  # blocks of a line or two
    for name, text in [("a.csv", OWN), ("b.csv", KV), ("c.tr", "1 5 7\n2 6 8\n\n2 5 7\n" * 1)]:
        path = write(tmp_path, name, text)
        whole = read_objects(path)
        pieces = list(stream_objects(path, chunk=chunk))
        assert max(map(len, pieces)) <= chunk
        assert glued(pieces).equals(whole)


def test_sorted_by_time_on_request(tmp_path):
    path = write(tmp_path, "a.bin", oracle([9, 8, 9, 7], [5, 3, 5, 4]))
    with pytest.raises(InputError, match=r"record 2: time goes back from 5000000000 to 3000000000"):
        read_objects(path, "oracle-general")
    trace = read_objects(path, "oracle-general", sort=True)
    assert trace.keys.tolist() == [8, 7, 9] and trace.ids.tolist() == [0, 1, 2, 2]
    assert trace.arrival.tolist() == [0, 10**9, 2 * 10**9, 2 * 10**9]
    ignored = read_objects(path, "oracle-general", ignore=["arrival"])
    assert ignored.keys.tolist() == [9, 8, 7] and ignored.arrival is None


def test_a_time_that_goes_back_between_pieces_is_found(tmp_path):
    path = write(tmp_path, "a.bin", oracle([1, 2, 3], [5, 6, 4]))
    pieces = stream_objects(path, "oracle-general", 2)
    assert len(next(pieces)) == 2
    with pytest.raises(InputError, match="record 3: time goes back"):
        next(pieces)


def test_keys_may_be_left_out(tmp_path):
    path = write(tmp_path, "a.bin", oracle())
    assert read_objects(path, keep_keys=False).keys is None
    assert read_objects(path, limit=3).keys.tolist() == [7, 1 << 60]


@pytest.mark.parametrize("careful", [False, True])
def test_keys_of_twenty_digits(tmp_path, monkeypatch, careful):
    keys = [(1 << 64) - 1 - i % 3 for i in range(9)] + [5]
    path = write(tmp_path, "a.txt", "\n".join(map(str, keys)))
    if careful:
        monkeypatch.setattr(lines, "_fast", lambda *given: None)
    trace = read_objects(path)
    assert trace.keys[trace.ids].tolist() == keys
    beyond = write(tmp_path, "b.txt", f"1\n{1 << 64}\n")
    with pytest.raises(InputError, match="line 2"):
        read_objects(beyond)


def test_the_clean_and_the_careful_way_of_text_agree(tmp_path, monkeypatch):
    rows = [f"{i},{i * 7 % 13},{i}.25,t{i % 3}" for i in range(50)]
    path = write(tmp_path, "a.csv", "\n".join(["arrival_s,key,cost,tenant", *rows]))
    fast = read_objects(path)
    monkeypatch.setattr(lines, "_fast", lambda *given: None)
    careful = read_objects(path)
    assert careful.equals(fast) and careful.keys.tolist() == fast.keys.tolist()
