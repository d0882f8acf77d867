"""Runs measured by AIPerf and GuideLLM, from records in their forms."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mltwin.sim.errors import InputError
from mltwin.workloads import read_measured, read_trace

EPOCH_NS = 1_760_000_000_000_000_000


def aiperf_record(start_ms: float, **changes: Any) -> dict[str, Any]:
    metrics = {
        "input_sequence_length": {"value": 100, "unit": "tokens"},
        "output_sequence_length": {"value": 11, "unit": "tokens"},
        "time_to_first_token": {"value": 25.5, "unit": "ms"},
        "request_latency": {"value": 125.5, "unit": "ms"},
    }
    return {
        "metadata": {
            "request_start_ns": EPOCH_NS + int(start_ms * 1e6),
            "benchmark_phase": changes.pop("phase", "profiling"),
            "was_cancelled": changes.pop("cancelled", False),
        },
        "metrics": metrics | changes.pop("metrics", {}),
        "error": changes.pop("error", None),
    }


def write_aiperf(path: Path, *records: Any) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def test_aiperf_records_in_the_order_of_their_start(tmp_path: Path) -> None:
    late = aiperf_record(40, metrics={"input_sequence_length": {"value": 7, "unit": "tokens"}})
    path = write_aiperf(tmp_path / "profile_export.jsonl", late, aiperf_record(0.25))
    run = read_measured(path)
    assert run.trace.arrival.tolist() == [0, 39_750_000_000]
    assert run.trace.prompt.tolist() == [100, 7] and run.trace.output.tolist() == [11, 11]
    assert run.ttft_s is not None and run.tpot_s is not None and run.e2e_s is not None
    np.testing.assert_allclose(run.ttft_s, 0.0255)
    np.testing.assert_allclose(run.tpot_s, 0.010)
    np.testing.assert_allclose(run.e2e_s, 0.1255)
    assert len(read_trace(path)) == 2


def test_aiperf_leaves_out_warm_up_errors_and_cancelled(tmp_path: Path) -> None:
    path = write_aiperf(
        tmp_path / "p.jsonl",
        aiperf_record(0, phase="warmup"),
        aiperf_record(1),
        aiperf_record(2, error={"type": "Timeout"}),
        aiperf_record(3, cancelled=True),
    )
    trace = read_measured(path).trace
    assert len(trace) == 1 and trace.meta["failed"] == 3


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"metadata": {}, "metrics": {}}, "line 1.*request_start_ns"),
        (aiperf_record(0, metrics={"time_to_first_token": None}), "time_to_first_token.*streaming"),
        (
            aiperf_record(0, metrics={"request_latency": {"value": 1, "unit": "s"}}),
            "request_latency.* in ms",
        ),
        (
            aiperf_record(0, metrics={"input_sequence_length": {"value": 0, "unit": "tokens"}}),
            "input_sequence_length.*is not in",
        ),
    ],
)
def test_aiperf_names_the_line_and_the_metric(tmp_path: Path, record: Any, message: str) -> None:
    path = write_aiperf(tmp_path / "p.jsonl", record)
    with pytest.raises(InputError, match=message):
        read_measured(path)


def guidellm_request(start: float, **changes: Any) -> dict[str, Any]:
    timings = {
        "request_start": 1_760_000_000 + start,
        "first_token_iteration": 1_760_000_000 + start + 0.5,
        "last_token_iteration": 1_760_000_000 + start + 1.5,
        "request_end": 1_760_000_000 + start + 1.75,
    }
    return {"info": {"timings": timings}, "prompt_tokens": 64, "output_tokens": 5} | changes


def write_guidellm(path: Path, *requests: Any, **others: Any) -> Path:
    benchmark = {"requests": {"successful": list(requests), **others}}
    path.write_text(json.dumps({"metadata": {}, "benchmarks": [benchmark]}, indent=1))
    return path


def test_guidellm_counts_from_the_start_of_the_request(tmp_path: Path) -> None:
    path = write_guidellm(
        tmp_path / "b.json", guidellm_request(3.0), guidellm_request(1.0), errored=[{}, {}]
    )
    run = read_measured(path)
    assert run.trace.arrival.tolist() == [0, 2 * 10**12]
    assert run.trace.meta["failed"] == 2
    assert run.ttft_s is not None and run.tpot_s is not None and run.e2e_s is not None
    np.testing.assert_allclose(run.ttft_s, 0.5)
    np.testing.assert_allclose(run.tpot_s, 0.25)
    np.testing.assert_allclose(run.e2e_s, 1.75)
    assert len(read_trace(path)) == 2


def test_guidellm_reads_newer_token_records(tmp_path: Path) -> None:
    request = guidellm_request(
        0.0,
        prompt_tokens=None,
        output_tokens=None,
        input_metrics={"text_tokens": 12},
        output_metrics={"text_tokens": 3},
    )
    trace = read_measured(write_guidellm(tmp_path / "b.json", request)).trace
    assert trace.prompt.tolist() == [12] and trace.output.tolist() == [3]


def test_guidellm_wants_timings(tmp_path: Path) -> None:
    path = write_guidellm(tmp_path / "b.json", guidellm_request(0), {"prompt_tokens": 1})
    with pytest.raises(InputError, match=r"request 2.*info\.timings"):
        read_measured(path)
    assert len(read_measured(path, on_error="skip").trace) == 1


def test_guidellm_wants_a_benchmark_that_is_there(tmp_path: Path) -> None:
    path = write_guidellm(tmp_path / "b.json", guidellm_request(0))
    with pytest.raises(InputError, match=r"no benchmark 3.*use 0\.\.0"):
        read_measured(path, benchmark=3)
    with pytest.raises(InputError, match="no successful requests"):
        read_measured(write_guidellm(tmp_path / "empty.json"))
