"""Each format from a few lines of text; the options that all readers share."""

import gzip
import json
import lzma
from datetime import datetime

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mltwin.sim.errors import InputError
from mltwin.workloads import read_measured, read_trace
from mltwin.workloads.from_csv import _csv_fast, read_csv
from mltwin.workloads.from_jsonl import _fast, read_jsonl
from mltwin.workloads.read_azure import FIELDS as AZURE
from mltwin.workloads.read_mooncake import FIELDS as MOONCAKE_FIELDS
from mltwin.workloads.source import Source
from mltwin.workloads.tabular import Field, Rejects
from mltwin.workloads.values import Count, Ids, Stamp, Text, Time

AZURE_2023 = (
    "TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
    "2023-11-16 18:15:46.6805900,374,44\r\n"
    "2023-11-16 18:15:50.9951690,396,109\r\n"
    "2023-11-16 18:15:51.2225671,879,55"
)
STEPS = [0, 4_314_579_000_000, 4_541_977_100_000]


@pytest.fixture
def write(tmp_path):
    def to_file(text, name="t.csv"):
        path = tmp_path / name
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return path

    return to_file


def test_azure_2023_is_exact_to_100_ns(write):
    trace = read_trace(write(AZURE_2023))
    assert trace.arrival.tolist() == STEPS
    assert trace.prompt.tolist() == [374, 396, 879] and trace.output.tolist() == [44, 109, 55]
    assert trace.meta["start"] == "1700158546680590000"
    assert trace.name == "t" and trace.source == "t.csv"


def test_azure_2024_has_zones(write):
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-10 00:00:00.009930+00:00,2162,5\n"
        "2024-05-10 00:00:00.017335+00:00,2399,6\n"
        "2024-05-10 00:00:01+00:00,76,15\n"
    )
    assert read_trace(write(text)).arrival.tolist() == [0, 7_405_000_000, 990_070_000_000]


def test_zones_are_counted_in(write):
    text = (
        "TIMESTAMP,ContextTokens,GeneratedTokens\n"
        "2024-05-10 02:00:00.5+02:00,1,5\n2024-05-10 00:00:01Z,1,5\n"
    )
    assert read_trace(write(text)).arrival.tolist() == [0, 500_000_000_000]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_packed_files_are_read_the_same(write, pack):
    plain = read_trace(write(AZURE_2023))
    assert read_trace(write(pack(AZURE_2023.encode()), "t.csv.packed")).equals(plain)


def test_bom_quotes_spaces_and_blank_lines_do_no_harm(write):
    text = '\ufeff\n"TIMESTAMP", ContextTokens ,GeneratedTokens,extra\n\n'
    text += '"2023-11-16 18:15:46.6805900",374, 44 ,"a,b"\n   \n'
    text += "2023-11-16 18:15:50.9951690,396.0,109,\n\n"
    trace = read_trace(write(text))
    assert trace.prompt.tolist() == [374, 396] and trace.output.tolist() == [44, 109]


MOONCAKE = (
    '{"timestamp": 0, "input_length": 1100, "output_length": 5, "hash_ids": [70, 80, 90]}\n'
    '{"timestamp": 12.5, "input_length": 600, "output_length": 7, "hash_ids": [70, 99]}\n'
)


def test_mooncake(write):
    trace = read_trace(write(MOONCAKE, "t.jsonl"))
    assert trace.arrival.tolist() == [0, 12_500_000_000]
    assert trace.block_tokens == 512 and trace.packed_blocks().tolist() == [0, 1, 2, 0, 3]
    assert trace.shared_prefix() == pytest.approx(1 / 5)


def test_mooncake_block_size_and_unit_are_options(write):
    line = '{"timestamp": 2, "input_length": 40, "output_length": 5, "hash_ids": [1, 2, 3]}\n'
    path = write(line, "t.jsonl")
    trace = read_trace(path, block_tokens=16, unit="s")
    assert trace.arrival.tolist() == [2 * 10**12] and trace.block_count.tolist() == [3]
    with pytest.raises(InputError, match=r"line 1, column 'hash_ids': 3 block ids are more"):
        read_trace(path)


def test_mooncake_without_hashes_has_no_prefix(write):
    line = '{"timestamp": 2, "input_length": 40, "output_length": 5}\n'
    assert read_trace(write(line, "t.jsonl")).block_tokens == 0


def test_burstgpt_leaves_failures_out_and_counts_them(write):
    text = (
        "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
        "5,ChatGPT,472,18,490,Conversation log\n"
        "45,GPT-4,1087,0,1087,API log\n"
        "118.5,GPT-4,417,276,693,Conversation log\n"
    )
    trace = read_trace(write(text))
    assert trace.arrival.tolist() == [5 * 10**12, 1185 * 10**11]
    assert trace.tenants == ("ChatGPT", "GPT-4") and trace.meta["failed"] == 1


def test_burstgpt_sessions(write):
    text = (
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens\n"
        "1,s7,2.5,m,10,5,15\n2,,2.5,m,10,5,15\n3,s7,2.5,m,10,5,15\n"
    )
    assert read_trace(write(text)).session.tolist() == [0, -1, 0]


def test_splitwise(write):
    text = (
        "request_id,request_type,application_id,arrival_timestamp,batch_size,prompt_size,token_size\n"
        "0,2,0,0.0,1,374,44\n1,2,3,4.314579,1,396,109\n"
    )
    trace = read_trace(write(text))
    assert trace.arrival.tolist() == [0, 4_314_579_000_000] and trace.tenants == ("0", "3")
    with pytest.raises(
        InputError, match="line 3, column 'batch_size': 4 requests stand in one row"
    ):
        read_trace(write(text.replace("4.314579,1", "4.314579,4")))


def test_vidur_with_times(write):
    text = "arrived_at,num_prefill_tokens,num_decode_tokens\n0.5,10,20\n1.25e1,30,40\n"
    assert read_trace(write(text)).arrival.tolist() == [5 * 10**11, 125 * 10**11]


def test_vidur_lengths_need_a_process(write):
    path = write("num_prefill_tokens,num_decode_tokens,num_total_tokens,pd_ratio\n10,20,30,0.5\n")
    with pytest.raises(InputError, match="no arrival times"):
        read_trace(path)
    trace = read_trace(path, arrivals={"process": "poisson", "rate_per_s": 2.0}, seed=4)
    assert trace.prompt.tolist() == [10] and trace.arrival[0] > 0


def test_column_map(write):
    path = write("ts,in,out,who\n100,5,6,a\n250,7,8,b\n")
    columns = {"arrival": "ts", "prompt": "in", "output": "out", "tenant": "who"}
    trace = read_trace(path, columns=columns, unit="ms")
    assert trace.arrival.tolist() == [10**11, 25 * 10**10] and trace.tenants == ("a", "b")
    assert read_trace(path, columns=columns, unit="ms", origin="first").arrival[1] == 15 * 10**10


def test_column_map_of_json_lines_with_all_columns(write):
    rows = [
        {"t": "2024-01-01T00:00:00Z", "p": 32, "o": 1, "s": "x", "a": -1, "d": 0, "b": [5, 6]},
        {"t": "2024-01-01T00:00:01Z", "p": 33, "o": 1, "s": "x", "a": 0, "d": 3, "b": [5, 6, 7]},
    ]
    path = write("\n".join(map(json.dumps, rows)), "t.jsonl")
    columns = {"arrival": "t", "prompt": "p", "output": "o", "session": "s", "after": "a"}
    trace = read_trace(
        path,
        columns={**columns, "delay": "d", "blocks": "b"},
        unit={"arrival": "iso", "delay": "ms"},
        block_tokens=16,
    )
    assert trace.arrival.tolist() == [0, 10**12] and trace.delay.tolist() == [0, 3 * 10**9]
    assert trace.after.tolist() == [-1, 0] and trace.session.tolist() == [0, 0]


def test_column_map_of_parquet(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    times = pa.array([1_000_000, 2_500_000], pa.timestamp("us"))
    table = pa.table({"t": times, "p": [1, 2], "o": [3.0, 4.0], "b": [[1], [1, 2]]})
    pq.write_table(table, tmp_path / "t.parquet")
    columns = {"arrival": "t", "prompt": "p", "output": "o", "blocks": "b"}
    trace = read_trace(tmp_path / "t.parquet", columns=columns, unit="iso", block_tokens=1)
    assert trace.arrival.tolist() == [0, 15 * 10**11] and trace.output.tolist() == [3, 4]
    assert trace.packed_blocks().tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"columns": {"prompt": "in"}}, "'output' is not mapped"),
        ({"columns": {"start": "ts"}}, "'start' is no column"),
        ({"columns": {"prompt": "in", "output": "ou"}}, "did you mean 'out'"),
        ({"columns": {"prompt": "in", "output": "out"}}, "no arrival times"),
        ({"columns": {"prompt": "in", "output": "out", "blocks": "ts"}}, "block_tokens"),
        (
            {"columns": {"arrival": "ts", "prompt": "in", "output": "out"}, "unit": "h"},
            "unit 'h' of arrival",
        ),
        ({"format": "excel"}, "format 'excel' is unknown"),
        ({"format": "vidur", "speed": 3}, "no option 'speed'"),
        ({"on_error": "ignore", "format": "vidur"}, "on_error = 'ignore'"),
        ({}, "no known format has"),
    ],
)
def test_wrong_options(write, options, words):
    with pytest.raises(InputError, match=words):
        read_trace(write("ts,in,out\n100,5,6\n"), **options)


def test_vllm_requests(write):
    clocks = ("arrival_time", "queued_ts", "scheduled_ts", "first_token_ts", "last_token_ts")
    lines = [
        dict(zip(clocks, [1787267980.25, 100.0, 100.5, 101.0, 103.0], strict=True)),
        dict(zip(clocks, [1787267980.75, 100.25, 100.5, 102.0, 102.0], strict=True)),
    ]
    for line, output in zip(lines, [3, 1], strict=True):
        line |= {"request_id": "b", "input_toks": 9, "output_toks": output}
    path = write("\n".join(map(json.dumps, lines)), "t.jsonl")
    run = read_measured(path)
    assert run.trace.arrival.tolist() == [0, 5 * 10**11]
    assert run.ttft_s.tolist() == [1.0, 1.75] and run.e2e_s.tolist() == [3.0, 1.75]
    assert run.tpot_s[0] == 1.0 and np.isnan(run.tpot_s[1])
    assert read_trace(path, clock="queued_ts").arrival.tolist() == [0, 25 * 10**10]


def test_vllm_requests_sorted_with_their_timings(write):
    base = {"input_toks": 9, "scheduled_ts": 5, "first_token_ts": 6, "last_token_ts": 7}
    rows = [
        {**base, "output_toks": 2, "arrival_time": 9, "queued_ts": 4},
        {**base, "output_toks": 3, "arrival_time": 8, "queued_ts": 3},
    ]
    run = read_measured(write("\n".join(map(json.dumps, rows)), "t.jsonl"), sort=True)
    assert run.trace.output.tolist() == [3, 2] and run.ttft_s.tolist() == [3.0, 2.0]


BENCH = {
    "duration": 10.0, "completed": 2, "total_input_tokens": 30,
    "input_lens": [10, 20, 30], "output_lens": [3, 0, 1], "ttfts": [0.5, 0.0, 0.25],
    "itls": [[0.1, 0.2], [], []], "start_times": [100.5, 101.0, 103.0], "errors": ["", "x", ""],
}  # fmt: skip


@pytest.mark.parametrize("indent", [None, 1])
def test_vllm_bench(write, indent):
    run = read_measured(write(json.dumps(BENCH, indent=indent), "run.json"))
    assert run.trace.prompt.tolist() == [10, 30] and run.trace.meta["failed"] == 1
    assert run.trace.arrival.tolist() == [0, 25 * 10**11]
    assert run.ttft_s.tolist() == [0.5, 0.25]
    assert run.e2e_s.tolist() == pytest.approx([0.8, 0.25])
    assert run.tpot_s[0] == pytest.approx(0.15) and np.isnan(run.tpot_s[1])
    assert read_trace(write(json.dumps(BENCH, indent=indent), "run.json")).equals(run.trace)


def test_vllm_bench_of_an_older_release_needs_arrivals(write):
    path = write(json.dumps({k: v for k, v in BENCH.items() if k != "start_times"}), "run.json")
    with pytest.raises(InputError, match="no arrival times"):
        read_trace(path)
    assert len(read_trace(path, arrivals={"process": "poisson", "rate_per_s": 1.0})) == 2


def test_vllm_bench_without_detail_says_so(write):
    path = write(json.dumps({"duration": 1.0, "total_input_tokens": 30}), "run.json")
    with pytest.raises(InputError, match="--save-detailed"):
        read_trace(path)


def test_sorting_is_asked_for(write):
    text = (
        "arrived_at,num_prefill_tokens,num_decode_tokens\n1,1,1\n\n3,2,1\n2,3,1\n0.5,4,1\n3,5,1\n"
    )
    with pytest.raises(
        InputError, match=r"line 5: column 'arrived_at' goes back in time at 2 of 5"
    ):
        read_trace(write(text))
    trace = read_trace(write(text), sort=True)
    assert trace.prompt.tolist() == [4, 1, 3, 2, 5] and trace.meta["sorted"] == 2


def test_skipping_counts_and_writes_rejects(write, tmp_path):
    lines = ["1,1,1", "x,1,1", "2,0,1", "3,1", '4,"1,1', "5,7,1", "1e300,7,1", "6,1,nan"]
    text = "arrived_at,num_prefill_tokens,num_decode_tokens\n" + "\n".join(lines)
    trace = read_trace(write(text), on_error="skip", rejects=tmp_path / "rejects.jsonl")
    assert trace.arrival.tolist() == [10**12, 5 * 10**12] and trace.prompt.tolist() == [1, 7]
    rejected = trace.meta["rejected"]
    assert rejected["count"] == 6
    assert [note["line"] for note in rejected["first"]] == [3, 4, 5, 6, 8, 9]
    written = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert written == rejected["first"]


def test_skipping_is_refused_where_requests_release_one_another(write):
    text = "arrival_s,prompt,output,after\n0,1,1,-1\n1,x,1,-1\n2,1,1,0\n"
    with pytest.raises(InputError, match="cannot be skipped"):
        read_trace(write(text), on_error="skip")


number = st.one_of(
    st.integers(0, 10**7).map(str),
    st.decimals(0, 10**6, places=13).map(lambda d: f"{d:f}"),
    st.sampled_from(["1.", "007", "12.50", "3e2", "1.5E-3", "+4", " 5 ", "0.0000000000005"]),
)
many = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@many
@given(st.lists(st.tuples(number, st.integers(1, 99)), min_size=1, max_size=20))
def test_the_fast_way_equals_the_precise_way(tmp_path, rows):
    path = tmp_path / "t.csv"
    path.write_text("t,n\n" + "".join(f"{t},{n}\n" for t, n in rows))
    source = Source(path)
    for unit in ("s", "ms", "ns", "ps"):
        fields = {"arrival": Field("t", Time(unit)), "prompt": Field("n", Count())}
        quick = read_csv(source, fields, Rejects(source))
        slow = read_csv(source, fields, Rejects(source), fast=False)
        assert quick["arrival"].ticks_from(0).tolist() == slow["arrival"].ticks_from(0).tolist()
        assert quick["prompt"].tolist() == slow["prompt"].tolist()
        assert quick.lines().tolist() == slow.lines().tolist()


@many
@given(
    st.lists(
        st.tuples(
            st.datetimes(datetime(1700, 1, 1), datetime(2200, 1, 1)),
            st.integers(0, 10**9 - 1),
            st.integers(1, 9),
        ),
        min_size=1,
        max_size=9,
    )
)
def test_stamps_fast_and_precise(tmp_path, moments):
    path = tmp_path / "t.csv"
    lines = [f"{d:%Y-%m-%d %H:%M:%S}.{f:09d}"[: 20 + digits] + ",1,1" for d, f, digits in moments]
    path.write_text("TIMESTAMP,ContextTokens,GeneratedTokens\n" + "\n".join(lines))
    source = Source(path)
    quick = read_csv(source, AZURE, Rejects(source))["arrival"]
    slow = read_csv(source, AZURE, Rejects(source), fast=False)["arrival"]
    assert quick.whole.tolist() == slow.whole.tolist()


@many
@given(st.lists(st.lists(st.integers(0, 10**6), max_size=4), min_size=1, max_size=9))
def test_ids_and_names_fast_and_precise(tmp_path, lists):
    path = tmp_path / "t.csv"
    lines = [f'n{len(ids)},"{" ".join(map(str, ids))}"' for ids in lists]
    path.write_text("name,ids\n" + "\n".join(lines))
    source = Source(path)
    fields = {"name": Field("name", Text()), "ids": Field("ids", Ids())}
    quick = read_csv(source, fields, Rejects(source))
    slow = read_csv(source, fields, Rejects(source), fast=False)
    for label in ("widths", "flat"):
        assert getattr(quick["ids"], label).tolist() == getattr(slow["ids"], label).tolist()
    assert quick["name"].tolist() == slow["name"].tolist()


@pytest.mark.parametrize(
    ("kind", "value", "why"),
    [
        (Count(), "12x", "not a number"),
        (Count(), None, "not a number"),
        (Count(), True, "not a number"),
        (Count(), [], "not a number"),
        (Count(), "1_000", "not a number"),
        (Count(), "٣", "not a number"),
        (Count(), "1.5", "not a whole number"),
        (Count(), "1e-9999999", "whole number|out of range"),
        (Count(), "1e9999999999999999999", "out of range"),
        (Time(), "NaN", "not a finite"),
        (Time(), "-Infinity", "not a finite"),
        (Time(), "1e30", "out of range"),
        (Stamp(), "2023-13-01 00:00:00", "no date"),
        (Stamp(), "2023-11-16", "not a date"),
        (Stamp(), 5, "not a date"),
        (Stamp(), "9999-11-16 00:00:00", "out of range"),
        (Text(), "a\tb", "not a name"),
        (Text(), "x" * 300, "not a name"),
        (Text(), [1], "not a name"),
        (Ids(), {"a": 1}, "not a list"),
        (Ids(), [1, "x"], "holds 'x'"),
        (Ids(), [1 << 63], "64 bits"),
    ],
)
def test_scalars_say_what_is_wrong(kind, value, why):
    with pytest.raises(ValueError, match=why):
        kind.scalar(value)


def test_times_round_half_up_to_ticks():
    assert Time("s").scalar("0.0000000000005") == (0, 1)
    assert Time("s").scalar("0.9999999999999") == (1, 0)
    assert Time("ps").scalar("1.5") == (2, 0)
    assert Time("s").scalar("1e-99999") == (0, 0)


@many
@given(
    st.lists(
        st.tuples(
            st.one_of(st.integers(0, 10**6).map(str), st.decimals(0, 10**5, places=10).map(str)),
            st.integers(1, 99),
            st.lists(st.integers(0, 2**62), max_size=3),
            st.sampled_from(["", "a", "b"]),
        ),
        min_size=1,
        max_size=9,
    ),
    st.booleans(),
    st.booleans(),
)
def test_json_lines_fast_and_precise(tmp_path, rows, blocks, named):
    path = tmp_path / "t.jsonl"
    lines = []
    for when, tokens, ids, name in rows:
        tail = f', "hash_ids": {ids}' if blocks else ""
        tail += f', "session_id": "{name}"' if named else ""
        lines.append(f'{{"timestamp": {when}, "input_length": {tokens}, "output_length": 1{tail}}}')
    path.write_text("\n".join(lines))
    source = Source(path)
    quick = _fast(source, MOONCAKE_FIELDS, Rejects(source))
    slow = read_jsonl(source, MOONCAKE_FIELDS, Rejects(source), fast=False)
    assert quick is not None and quick.columns.keys() == slow.columns.keys()
    assert quick["arrival"].ticks_from(0).tolist() == slow["arrival"].ticks_from(0).tolist()
    assert quick["prompt"].tolist() == slow["prompt"].tolist()
    assert quick.lines().tolist() == slow.lines().tolist()
    if blocks:
        assert quick["blocks"].flat.tolist() == slow["blocks"].flat.tolist()
        assert quick["blocks"].widths.tolist() == slow["blocks"].widths.tolist()
    if named:
        assert quick["session"].tolist() == slow["session"].tolist()


def test_the_fast_ways_are_taken(write):
    source = Source(write(AZURE_2023))
    assert _csv_fast(source, AZURE, Rejects(source), 1, 3, {"arrival": 0, "prompt": 1, "output": 2})
    source = Source(write(MOONCAKE, "t.jsonl"))
    assert _fast(source, MOONCAKE_FIELDS, Rejects(source))


def test_a_long_bench_result_on_one_line(write):
    n = 150_000
    long = {"input_lens": [1000] * n, "output_lens": [10] * n, "start_times": list(range(n))}
    path = write(json.dumps(long), "run.json")
    assert path.stat().st_size > 2_000_000
    assert len(read_trace(path)) == n == len(read_measured(path).trace)


def test_a_trace_is_no_measured_run(write):
    with pytest.raises(InputError, match="no measured run"):
        read_measured(write(AZURE_2023))


def test_rejects_that_cannot_be_written(write, tmp_path):
    with pytest.raises(InputError, match="cannot be written"):
        read_trace(write(AZURE_2023), on_error="skip", rejects=tmp_path / "no" / "r.jsonl")


@pytest.mark.parametrize("stamp", ["2023-11-16", "2023-11-16 18:15", "18:15:46", "20231116T181546"])
def test_half_stamps_are_refused(write, stamp):
    text = f"TIMESTAMP,ContextTokens,GeneratedTokens\n{stamp},1,1\n"
    with pytest.raises(InputError, match=r"line 2, column 'TIMESTAMP'.*not a date"):
        read_trace(write(text))


def test_sorting_our_own_form_keeps_its_links(write):
    text = "arrival_s,prompt,output,after\n5,1,1,-1\n1,2,1,-1\n6,3,1,0\n2,4,1,1\n"
    trace = read_trace(write(text), sort=True)
    assert trace.prompt.tolist() == [2, 4, 1, 3] and trace.after.tolist() == [-1, 0, -1, 2]


def test_our_own_form_takes_another_arrival_process(write):
    path = write("arrival_s,prompt,output\n5,1,1\n6,2,1\n")
    trace = read_trace(path, arrivals={"process": "deterministic", "rate_per_s": 2.0})
    assert trace.arrival.tolist() == [5 * 10**11, 10**12]


def test_our_own_form_needs_its_block_size(write):
    with pytest.raises(InputError, match="no block_tokens"):
        read_trace(write("arrival_s,prompt,output,block_ids\n5,1,1,0\n"))


def test_an_unknown_origin(write):
    with pytest.raises(InputError, match="origin = 'zeroth'"):
        read_trace(write("arrival_s,prompt,output\n5,1,1\n"), origin="zeroth")


def test_nothing_left_after_rules_across_columns(write):
    text = '{"timestamp": 0, "input_length": 9, "output_length": 1, "hash_ids": [1, 2, 3]}\n'
    with pytest.raises(InputError, match="no requests to use"):
        read_trace(write(text, "t.jsonl"), on_error="skip")
