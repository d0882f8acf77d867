"""Files that are wrong or wicked: each gives one line that names place, value and mend."""

import gc
import gzip
import json
import os

import pytest

from mltwin.sim.errors import InputError
from mltwin.workloads import read_trace
from mltwin.workloads.source import Guard, Limits, Source

HEADER = "arrived_at,num_prefill_tokens,num_decode_tokens\n"


def complaint(path, **options):
    """The one-line text of the InputError that reading raises."""
    with pytest.raises(InputError) as caught:
        read_trace(path, **options)
    text = str(caught.value)
    assert "\n" not in text and caught.value.exit_code == 2
    assert caught.value.where is not None and str(path) in caught.value.where
    return text


@pytest.fixture
def file(tmp_path):
    def write(content, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    return write


def test_missing_file_suggests_the_nearest(file, tmp_path):
    file(HEADER + "1,1,1\n", "trace.csv")
    assert "did you mean 'trace.csv'" in complaint(tmp_path / "trae.csv")
    assert "no folder" in complaint(tmp_path / "no" / "trace.csv")


def test_a_directory(tmp_path):
    assert "directory" in complaint(tmp_path)
    assert "directory" in complaint(tmp_path, format="vidur")


def test_no_permission(file, monkeypatch):
    path = file(HEADER)
    path.chmod(0)
    if os.access(path, os.R_OK):  # the superuser may read all

        def refuse(*args, **kwargs):
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr("builtins.open", refuse)
    assert "no permission" in complaint(path)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert "not a regular file" in complaint(tmp_path / "pipe")


def test_a_name_with_a_zero_byte():
    with pytest.raises(InputError, match="cannot be opened"):
        read_trace("a\0b.csv")


@pytest.mark.parametrize("text", ["", "\n", "  \r\n \n\n", "\ufeff"])
def test_empty_files(file, text):
    found = complaint(file(text))
    assert "empty" in found or "blank" in found


def test_only_a_header(file):
    assert "no rows" in complaint(file(HEADER))
    assert "no rows" in complaint(file(HEADER.strip()))


def test_all_rows_skipped(file):
    assert "no rows" in complaint(file(HEADER + "x,1,1\n"), on_error="skip")


def test_missing_column(file):
    text = complaint(
        file("arrived_at,num_prefill_token,num_decode_tokens\n1,1,1\n"), format="vidur"
    )
    assert "no column 'num_prefill_tokens'" in text and "did you mean 'num_prefill_token'" in text


def test_column_twice(file):
    text = complaint(file("arrived_at,num_prefill_tokens,num_decode_tokens,arrived_at\n1,1,1,2\n"))
    assert "stands 2 times" in text


@pytest.mark.parametrize(
    ("line", "column", "why"),
    [
        ("1,-5,1", "num_prefill_tokens", "'-5' is not in 1..16777216"),
        ("1,0,1", "num_prefill_tokens", "0"),
        ("1,5,NaN", "num_decode_tokens", "'NaN' is not a finite number"),
        ("inf,5,1", "arrived_at", "'inf' is not a finite number"),
        ("1e400,5,1", "arrived_at", "out of range"),
        ("1,1e400,1", "num_prefill_tokens", "out of range"),
        ("1,2.5,1", "num_prefill_tokens", "not a whole number"),
        ("1,1000000000000000000,1", "num_prefill_tokens", "is not in 1..16777216"),
        ("1," + "9" * 5000 + ",1", "num_prefill_tokens", "out of range"),
        ("1,ten,1", "num_prefill_tokens", "'ten' is not a number"),
        ("1,,1", "num_prefill_tokens", "is empty"),
        ("-1,1,1", "arrived_at", "is not within 0 to"),
        ("99999999,1,1", "arrived_at", "is not within 0 to"),
        ("1,0x10,1", "num_prefill_tokens", "not a number"),
        ("1;1;1", None, "1 cells, the header 3"),
        ("1,1,1,1", None, "4 cells, the header 3"),
        ('1,"1,1', None, "is not CSV"),
    ],
)
def test_bad_cells_are_named_by_line_and_column(file, line, column, why):
    text = complaint(file(HEADER + "0,1,1\n\n" + line + "\n2,1,1\n"))
    assert ", line 4" in text and why in text and "on_error" in text
    assert column is None or f"column '{column}'" in text


def test_bad_stamps(file):
    head = "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:15:46.1,1,1\n"
    assert "line 3, column 'TIMESTAMP'" in complaint(file(head + "yesterday,1,1\n"))
    assert "is not within 0 to" in complaint(
        file(head + "2013-11-16 18:15:46.1,1,1\n"), origin="2023-11-16 18:15:46.1"
    )


def test_duplicate_times_are_fine_but_not_backward_ones(file):
    assert len(read_trace(file(HEADER + "1,1,1\n1,1,1\n"))) == 2
    assert "line 3" in complaint(file(HEADER + "1,1,1\n0.999999999999,1,1\n"))


@pytest.mark.parametrize("pack", [gzip.compress])
def test_truncated_archives(file, pack):
    whole = pack((HEADER + "".join(f"{i},5,{i % 97 + 1}\n" for i in range(30_000))).encode())
    for cut in (len(whole) // 2, len(whole) - 4):
        assert "damaged or cut short" in complaint(file(whole[:cut], "t.csv.gz"))
    spoilt = bytearray(whole)
    spoilt[len(whole) // 2] ^= 0xFF
    assert "damaged or cut short" in complaint(file(bytes(spoilt), "t.csv.gz"))


def test_truncated_xz(file):
    import lzma

    whole = lzma.compress((HEADER + "".join(f"{i},5,{i % 97 + 1}\n" for i in range(9000))).encode())
    assert "damaged or cut short" in complaint(file(whole[: len(whole) // 2], "t.csv.xz"))


def test_gzip_bomb(file):
    body = (HEADER + "0,1,1\n" * 10_000_000).encode()
    path = file(gzip.compress(body, 9), "t.csv.gz")
    assert len(body) > 200 * path.stat().st_size
    assert "gzip bomb" in complaint(path)


def test_size_cap(file):
    source = Source(file(HEADER + "0,1,1\n" * 1000), Limits(total_bytes=1000))
    with pytest.raises(InputError, match="more than 1,000 bytes"):
        list(source.lines())


@pytest.mark.parametrize("magic", [b"PK\x03\x04", b"BZh9", b"(\xb5/\xfd", b"7z\xbc\xaf\x27\x1c"])
def test_other_archives_are_named(file, magic):
    assert "unpack it" in complaint(file(magic + b"xxxx"))


def test_encodings(file):
    assert "UTF-16" in complaint(file(HEADER.encode("utf-16")))
    latin = HEADER.encode() + b"1,1,1\n2,1,1,caf\xe9\n"
    text = complaint(file(latin), format="vidur")
    assert "line 3" in text and "not UTF-8" in text
    assert "not UTF-8" in complaint(file(HEADER.encode() + b"1,1,1\n\xc3"))


def test_binary(file):
    assert "zero bytes" in complaint(file(b"\x7fELF\0\0\0\0" * 40))
    assert "line 2" in complaint(file(HEADER.encode() + b"1,\x00,1\n"), format="vidur")


def test_endless_lines(file):
    long = "9" * 1_000_001
    assert "line 3" in complaint(file(HEADER + "1,1,1\n1,1," + long + "\n"))
    text = complaint(file('{"timestamp": ' + long + "}\n", "t.jsonl"), format="mooncake")
    assert "line is longer than 1,000,000 bytes" in text
    assert read_trace(file(HEADER + "1,1," + " " * 900_000 + "7\n")).output.tolist() == [7]


MOON = '{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": [1]}\n'


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("[" * 100_000 + "]" * 100_000, "nested too deeply"),
        ('{"timestamp": NaN, "input_length": 9, "output_length": 1, "hash_ids": []}', "holds NaN"),
        ('{"timestamp": Infinity, "input_length": 9}', "holds Infinity"),
        ('{"timestamp": 1e999, "input_length": 9, "output_length": 1, "hash_ids": []}', "range"),
        (
            '{"timestamp": 0, "input_length": ' + "9" * 5000 + ', "output_length": 1}',
            "thousands of digits",
        ),
        ('{"timestamp": 0, "input_length": 9.5, "output_length": 1, "hash_ids": []}', "whole"),
        ('{"timestamp": 0, "input_length": true, "output_length": 1, "hash_ids": []}', "number"),
        ('{"timestamp": 0, "input_length": null, "output_length": 1, "hash_ids": []}', "number"),
        ('{"timestamp": 0, "input_length": 9, "hash_ids": []}', "has no member 'output_length'"),
        ('{"timestamp": 0, "input_length": 9, "output_length": 1}', "differs from the first"),
        ('{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": 5}', "not a list"),
        ('{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": ["x"]}', "'x'"),
        ('{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": [1.5]}', "whole"),
        ('{"timestamp": -1, "input_length": 9, "output_length": 1, "hash_ids": []}', "within 0"),
        ("[1, 2]", "not a JSON object"),
        ('{"timestamp": 0,', "is not JSON"),
        ("{} {}", "is not JSON"),
    ],
)
def test_bad_json_lines(file, line, why):
    path = file(MOON + "\n" + line + "\n" + MOON, "t.jsonl")
    text = complaint(path, format="mooncake")
    assert "line 3" in text and why in text
    assert len(text) < 500
    assert len(read_trace(path, format="mooncake", on_error="skip")) == 2


def test_a_deep_first_line_is_not_fatal_to_detection(file):
    complaint(file("[" * 100_000, "t.jsonl"))
    complaint(file('{"a":' * 50_000, "t.json"))


def test_bad_bench_json(file):
    good = {"input_lens": [1, 2], "output_lens": [1, 1], "start_times": [0, 1]}
    for change, why in [
        ({"output_lens": [1]}, "has 1 values, not 2"),
        ({"output_lens": 5}, "is not a list"),
        ({"itls": [[0.1], "x"]}, "'itls' of request 2"),
        ({"input_lens": [1, -2]}, "request 2, column 'input_lens'"),
    ]:
        path = file(json.dumps({**good, **change}), "t.json")
        assert why in complaint(path, format="vllm-bench")
    assert "is not JSON" in complaint(file('{"input_lens": [1, 2', "t.json"), format="vllm-bench")
    assert "no list" in complaint(file("[1]", "t.json"), format="vllm-bench")


def test_bad_parquet(file, tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert "not whole Parquet" in complaint(file(b"PAR1" + b"x" * 100, "t.parquet"))
    columns = {"arrival": "t", "prompt": "p", "output": "o"}
    bad = [[None, 1], [1.5, 1.0], ["1", "x"], [-1, 1], [1, 10**12]]
    for values in bad:
        path = tmp_path / "t.parquet"
        pq.write_table(pa.table({"t": [0, 1], "p": values, "o": [1, 1]}), path)
        assert "row " in complaint(path, columns=columns) and "column 'p'" in complaint(
            path, columns=columns
        )
        assert len(read_trace(path, columns=columns, on_error="skip")) == 1
    assert "no column 'q'" in complaint(path, columns={**columns, "prompt": "q"})
    pq.write_table(pa.table({"t": pa.array([], pa.int64())}), path)
    assert "no rows" in complaint(path, columns={"arrival": "t", "prompt": "t", "output": "t"})


def test_bad_servegen(tmp_path):
    (tmp_path / "chunk-0-trace.csv").write_text("0,1.0,1.0,Gamma,1.0\n")
    assert "5 cells, not 6" in complaint(tmp_path)
    (tmp_path / "chunk-0-trace.csv").write_text("0,nan,1.0,Gamma,1.0,1.0\n")
    assert "not a finite number" in complaint(tmp_path)
    (tmp_path / "chunk-0-trace.csv").write_text("0,1.0,1.0,Gamma,1.0,1.0\n")
    for law in ("__import__('os')", "{1: -1.0}", "(" * 5000, "{'a': 1}", "[1]"):
        (tmp_path / "chunk-0-dataset.json").write_text(
            json.dumps({"0": {"input_tokens": law, "output_tokens": "{1: 1.0}"}})
        )
        assert "no ServeGen dataset" in complaint(tmp_path)


def test_errors_leave_no_open_file(file, monkeypatch):
    guards = []
    original = Guard.__init__

    def remember(self, source):
        guards.append(self)
        original(self, source)

    monkeypatch.setattr(Guard, "__init__", remember)
    complaint(file(HEADER + "0,1,1\nx,1,1\n"))
    gc.collect()  # the error held the frames that read the file
    assert guards and all(guard.closed for guard in guards)
