"""Object traces that are broken: one clear error each, or lines left out and counted."""

import gzip
import json

import numpy as np
import pytest
from test_objects_readers import oracle, write

from mltwin.sim.errors import InputError
from mltwin.workloads.objects import read_objects, stream_objects


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("empty.bin", b"", "the file is empty"),
        ("cut.bin", oracle()[:-1], "23 bytes are no whole record of 24: the file is cut short"),
        ("short.bin", oracle()[:20], "20 bytes are no whole record"),
        ("cut.bin.gz", gzip.compress(oracle()[:-5]), "19 bytes are no whole record"),
        ("broken.gz", gzip.compress(oracle() * 50)[:-40], "gzip data is damaged or cut short"),
        ("broken.xz", b"\xfd7zXZ\x00" + bytes(30), "xz data is damaged"),
        ("broken.zst", b"(\xb5/\xfd" + bytes(30), "zstd data is damaged"),
        ("bomb.gz", gzip.compress(bytes(24) * 3_000_000), "like a gzip bomb"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # packing holds the time
)
def test_binary_files(tmp_path, name, content, told):
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=told) as caught:
        read_objects(path, "oracle-general")
    assert str(path) in str(caught.value)


def test_a_cut_record_may_be_left_out(tmp_path):
    path = write(tmp_path, "cut.bin", oracle()[:-1])
    trace = read_objects(path, "oracle-general", on_error="skip")
    assert len(trace) == 6
    assert trace.meta["rejected"]["count"] == 1
    with pytest.raises(InputError, match="no whole record in it"):
        read_objects(write(tmp_path, "s.bin", oracle()[:20]), "oracle-general", on_error="skip")


@pytest.mark.parametrize(
    ("text", "format", "told"),
    [
        ("1\n2\nx3\n", "plain", "line 3: 'x3' is not a number: read such keys with keys=\"text\""),
        ("1\n2.5\n", "plain", "line 2: '2.5' is not a whole number"),
        ("1\n340282366920938463463374607431768211456\n", "plain", "line 2: .* is not in"),
        ("-1\n18446744073709551615\n", "plain", "negative and beyond 2"),
        ("1\n2 3\n", "plain", "line 2: '2 3' has 2 cells, not 1"),
        ("1\n*\n**\n", "lirs", "line 3: '\\*\\*' is not a number"),
        ("\n\n \n", "plain", "no requests to use"),
        ("*\n*\n", "lirs", "no requests to use"),
        ("1 2 3\n1 2\n", "time-id-size", "line 2: '1 2' has 2 cells, not 3"),
        ("1 2 3\n1 2 -3\n", "time-id-size", r"line 2, column 'size': '-3' is not in 0\.\."),
        ("1 2 3\n1 2 nan\n", "time-id-size", "line 2, column 'size': 'nan' is not a finite"),
        ("1 2 3\n1 2 1e15\n", "time-id-size", r"column 'size': '1e15' is not in"),
        ("1 2 3\ninf 2 3\n", "time-id-size", "line 2, column 'time': 'inf' is not a finite"),
        ("1 2 3\n99999999999999 2 3\n", "time-id-size", "a time in column 'time' is out of range"),
        ("2 2 3\n1 2 3\n", "time-id-size", "line 2: time goes back"),
        ("2 2 3\n\n\n1 2 3\n", "time-id-size", "line 4: time goes back"),
        ("key,key\n1,2\n", "columns", "column 'key' stands 2 times"),
        ("kay\n1\n", "columns", "no column 'key'; there are 'kay'; did you mean 'kay'"),
        ("key,cost\n1,-2\n", "columns", "line 2, column 'cost': '-2' is below 0"),
        ("key,op\n1,jump\n", "columns", "line 2, column 'op': 'jump' is no operation"),
        ("key,ttl_s\n1,-1\n", "columns", "a time in column 'ttl_s' is out of range"),
        ('key,op\n"1,get\n', "columns", "line 2: .* is not CSV"),
        ("key,op\n1\n", "columns", "line 2: '1' has 1 cells, not 2"),
        ("key,op\n,get\n", "columns", "line 2, column 'key': '' is empty"),
        ("key\n", "columns", "no requests to use"),
        ("a\0b\n", "plain", "holds zero bytes"),
    ],
)
def test_text_files(tmp_path, text, format, told):
    path = write(tmp_path, "bad.txt", text)
    with pytest.raises(InputError, match=told) as caught:
        read_objects(path, format)
    assert str(path) in str(caught.value)


def test_bad_lines_are_left_out_counted_and_written(tmp_path):
    path = write(tmp_path, "a.tr", "1 5 10\nx 6 20\n2 7 -1\n\n2 8 30 9\n2\n3 5 10\n")
    told = tmp_path / "rejects.jsonl"
    trace = read_objects(path, "time-id-size", on_error="skip", rejects=told)
    assert trace.keys.tolist() == [5, 8] and trace.size_bytes.tolist() == [10, 30, 10]
    rejected = trace.meta["rejected"]
    assert rejected["count"] == 3
    assert [one["line"] for one in rejected["first"]] == [2, 3, 6]
    assert [json.loads(line)["line"] for line in told.read_text().splitlines()] == [2, 3, 6]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("e", b"", "the file is empty"),
        ("blank", b"\n\n", "only blank lines"),
        ("words", b"to be or not\nto be\n", "no known format begins with 'to be or not'"),
        ("json", b'{"a": 1}\n', "JSON lines without hash_ids"),
        ("binary", bytes(range(256)), "is binary, and no oracleGeneral"),
        ("wide", "1;2\n".encode("utf-16"), "UTF-16|is binary"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # packing holds the time
)
def test_what_no_format_fits(tmp_path, name, content, told):
    with pytest.raises(InputError, match=told):
        read_objects(write(tmp_path, name, content))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"format": "lirz"}, "format 'lirz' is unknown"),
        ({"sizes": 1}, "format plain has no option 'sizes'; it takes keys"),
        ({"ignore": ["time"]}, "ignore has 'time'"),
        ({"limit": 0}, "limit = 0"),
        ({"on_error": "pass"}, "on_error = 'pass'"),
        ({"keys": "float"}, "keys = 'float' is unknown"),
        ({"format": "time-id-size", "unit": "h"}, "unit 'h' is unknown"),
        ({"columns": {"id": "a"}}, "columns has 'id'"),
        ({"columns": {"size_bytes": 0}}, "columns name no key"),
        ({"columns": {"key": 5}}, "column 5 of key: there are 1"),
    ],
)
def test_wrong_options(tmp_path, options, told):
    path = write(tmp_path, "a.txt", "1\n2\n")
    with pytest.raises(InputError, match=told):
        read_objects(path, **options)


def test_places_that_are_no_files(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_objects(tmp_path / "none")
    with pytest.raises(InputError, match="is a directory"):
        read_objects(tmp_path)
    with pytest.raises(InputError, match="chunk = 0"):
        stream_objects(write(tmp_path, "a", "1\n"), chunk=0)


def test_random_bytes_never_end_in_a_traceback(tmp_path):
    rng = np.random.default_rng(5)
    for size in [1, 7, 23, 24, 25, 48, 200, 4096]:
        for high in [256, 128, 16]:
            path = write(tmp_path, "noise", rng.integers(0, high, size, np.uint8).tobytes())
            for format in ["auto", "oracle-general", "corda", "cache2k", "plain", "columns"]:
                try:
                    assert len(read_objects(path, format, on_error="skip"))
                except InputError as refused:
                    assert str(path) in str(refused)
