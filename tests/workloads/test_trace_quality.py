"""Findings about traces are true, counted, and absent where nothing is odd."""

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import mltwin as mt
from mltwin.trace_report import inspect_trace
from mltwin.workloads.measures import (
    dispersion,
    distribution,
    joint_lengths,
    prefixes,
    rate_over_time,
    sessions,
)
from mltwin.workloads.quality import Finding, findings
from mltwin.workloads.table import Trace

S = 10**12
HEADER = "arrival_s,prompt,output\n"


def healthy(n: int = 2000, **changes: Any) -> Trace:
    """Poisson arrivals, lengths from a log-normal."""
    rng = np.random.default_rng(5)
    columns: dict[str, Any] = {
        "arrival": np.cumsum(rng.exponential(0.5, n) * S).astype(np.int64),
        "prompt": np.clip(rng.lognormal(6, 0.7, n), 1, None).astype(int),
        "output": np.clip(rng.lognormal(5, 0.5, n), 1, None).astype(int),
    }
    return Trace.make(**{**columns, **changes})


def about(trace: Trace) -> dict[str, Finding]:
    return {finding.about: finding for finding in findings(trace)}


@pytest.mark.parametrize("name", ["azure-conv-synthetic", "mooncake-conv-synthetic"])
def test_the_shipped_traces_are_fine(name: str) -> None:
    report = inspect_trace(name)
    assert report.findings == [] and report.valid
    assert "Nothing is odd" in str(report.findings_table())


def test_a_healthy_trace_has_no_findings() -> None:
    assert findings(healthy()) == []


def test_a_coarse_clock_is_seen() -> None:
    trace = healthy()
    found = about(trace.changed(arrival=trace.arrival // S * S))["clock"]
    same = int((np.diff(trace.arrival // S) == 0).sum())
    assert found.level == "warning" and found.count == same and "multiples of 1 s" in found.text
    fine = about(trace.changed(arrival=trace.arrival // 10**9 * 10**9))
    assert fine["clock"].level == "note" and "1 ms" in fine["clock"].text


def test_made_up_arrivals_are_seen() -> None:
    found = about(healthy(arrival=np.arange(2000) * S // 4))["clock"]
    assert "exactly 250 ms" in found.text and found.count == 1999
    assert "at one instant" in about(healthy(arrival=np.zeros(2000, int)))["clock"].text


def test_batches_are_seen() -> None:
    trace = healthy()
    found = about(trace.changed(arrival=np.repeat(trace.arrival[::4], 4)))["clock"]
    assert found.count == 1500 and "75 %" in found.text and "batches" in found.text


def test_gaps_are_seen() -> None:
    trace = healthy()
    arrival = trace.arrival + np.where(np.arange(2000) >= 700, 300 * S, 0)
    found = about(trace.changed(arrival=arrival))["gaps"]
    assert found.count == 1 and f"{trace.arrival[699] / S:,.1f} s on" in found.text
    assert "300.2 s" in found.text or "30" in found.text


def test_a_drifting_rate_is_seen() -> None:
    arrival = (np.sqrt(np.arange(4000)) * 20 * S).astype(np.int64)  # the rate grows with time
    trace = healthy(4000)
    assert "far from steady" in about(trace.changed(arrival=arrival))["rate"].text


def test_duplicates_are_counted() -> None:
    trace = healthy()
    columns = {n: np.repeat(getattr(trace, n), 2)[:2040] for n in ("arrival", "prompt", "output")}
    found = about(healthy(**columns))["duplicates"]
    assert found.count == 1020 and found.level == "warning" and "50 %" in found.text


@pytest.mark.parametrize("label", ["prompt", "output"])
def test_odd_lengths_are_seen(label: str) -> None:
    tokens = getattr(healthy(), label)
    constant = about(healthy(**{label: np.full(2000, 128)}))[label]
    assert "exactly 128 tokens" in constant.text and constant.count == 2000
    clipped = about(healthy(**{label: np.minimum(tokens, 200)}))[label]
    assert clipped.count == (tokens >= 200).sum() and "cut off at a limit" in clipped.text
    far = tokens.copy()
    far[7] = 90_000
    outlier = about(healthy(**{label: far}))[label]
    assert outlier.count == 1 and "90,000" in outlier.text
    single = tokens.copy()
    single[::10] = 1
    assert about(healthy(**{label: single}))[label].count == 200


def test_small_traces_are_told() -> None:
    assert "only 120 requests" in about(healthy(120))["rows"].text
    assert "less than one of them" in about(healthy(20))["rows"].text


def test_unshared_blocks_are_told() -> None:
    trace = healthy(300, prompt=np.full(300, 64))
    blocks = {"block_ids": np.arange(300), "block_count": np.ones(300, int), "block_tokens": 64}
    blocks["block_start"] = np.arange(300)
    assert "no prompt shares" in about(trace.changed(**blocks))["prefix"].text


def test_a_file_with_everything_wrong(tmp_path) -> None:
    path = tmp_path / "bad.csv"
    rows = [f"{i * 0.37:.2f},{100 + i},{10 + i % 7}" for i in range(400)]
    rows[20], rows[30] = rows[30], rows[20]
    rows[40] = "14.8,100,0"
    rows[41] = "15.2,100,0"
    rows[50] = "18.5,many,7"
    path.write_text(HEADER + "\n".join(rows) + "\n")
    report = inspect_trace(path)
    assert not report.valid and "bad.csv, line" in report.refused
    texts = " ".join(finding.text for finding in report.findings)
    assert (
        "2 lines left out: column 'output' is 0: a request has at least one" in texts
        and "(line 42: " in texts
    )
    assert "1 line left out: column 'prompt' is not a number" in texts
    assert "Times go back at" in texts
    assert len(report.trace) == 397 and report.findings[0].level == "error"
    packed = tmp_path / "bad.csv.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    assert inspect_trace(packed).data()["findings"] == report.data()["findings"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "the file is empty"),
        (b"a,b\n1,2\n", "no known format"),
        (b"PK\x03\x04junk", "zip"),
        (HEADER.encode() + b"x,y,z\n", "is not a number"),
        (gzip.compress(HEADER.encode() * 9, mtime=0)[:-12], "bad.csv"),
        (b"\x00\x01" * 50, "bad.csv"),
    ],
)
def test_unreadable_files_keep_the_readers_line(tmp_path, content: bytes, said: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_bytes(content)
    with pytest.raises(mt.InputError, match=said):
        inspect_trace(path)


def test_names_are_opened_as_they_are(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("nowhere.csv", "azure-konv"):
        with pytest.raises(mt.InputError):
            inspect_trace(name)


def test_rates_count_every_request() -> None:
    trace = healthy()
    rate = rate_over_time(trace)
    width = np.full(len(rate["start_s"]), rate["width_s"])
    width[-1] = trace.span_s - (len(width) - 1) * rate["width_s"]
    assert len(width) <= 240
    assert np.dot(rate["rate_per_s"], width) == pytest.approx(2000)
    assert np.dot(rate["prompt_per_s"], width) == pytest.approx(trace.prompt.sum())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 10**15), min_size=1, max_size=60))
def test_rates_of_any_arrivals(times: list[int]) -> None:
    n = len(times)
    trace = Trace.make(np.sort(times), np.ones(n, int), np.ones(n, int))
    rate = rate_over_time(trace)
    assert len(rate["start_s"]) <= 241 and np.isfinite(rate["rate_per_s"]).all()
    assert all(f.text.endswith((".", "?")) for f in findings(trace))
    dispersion(trace)
    assert sum(map(sum, joint_lengths(trace)["count"])) == n


def test_dispersion_of_known_streams() -> None:
    """1 for Poisson within its error, 0 for a clock, and the batch size for Poisson batches."""
    rng = np.random.default_rng(3)
    n = 40_000
    arrival = np.cumsum(rng.exponential(0.1, n) * S).astype(np.int64)

    def index(times: np.ndarray) -> dict[float, float]:
        found = dispersion(
            healthy(n, arrival=times, prompt=np.ones(n, int), output=np.ones(n, int))
        )
        return dict(zip(found["window_s"], found["index"], strict=True))

    heads = np.cumsum(rng.exponential(0.5, n // 5) * S).astype(np.int64)
    poisson, batches = index(arrival), index(np.repeat(heads, 5))
    for window in (1, 10, 60):
        windows = int(arrival[-1] / S // window)
        assert abs(poisson[window] - 1) < 4 * np.sqrt(2 / windows)
        assert abs(batches[window] / 5 - 1) < 6 * np.sqrt(2 / windows)
    assert max(index(np.arange(n) * S // 10).values()) < 0.05


def test_distributions_and_heat_maps() -> None:
    trace = healthy()
    found = distribution(trace.prompt)
    assert found["value"][0] == trace.prompt.min() and found["value"][-1] == trace.prompt.max()
    half = found["share"].index(0.5)
    assert found["value"][half] == np.median(trace.prompt)
    joint = joint_lengths(trace)
    assert np.sum(joint["count"]) == 2000 and len(joint["count"]) == len(joint["prompt_edges"]) - 1
    assert distribution(np.zeros(0)) == {"share": [], "value": []}


def test_sessions_and_prefixes() -> None:
    assert sessions(healthy()) is None and prefixes(healthy()) is None
    trace = healthy(6, session=[0, 0, 0, 1, 1, -1], arrival=np.array([0, 2, 5, 6, 7, 8]) * S)
    found = sessions(trace)
    assert found is not None and found["sessions"] == 2 and found["requests"] == 5
    assert found["turns"]["max"] == 3 and found["pause_s"]["mean"] == pytest.approx(2.0)
    mooncake = prefixes(mt.open_trace("mooncake-conv-synthetic"))
    assert mooncake is not None and 0.3 < mooncake["shared_prefix"] < 0.4


@pytest.mark.data
def test_measured_traces_are_described(request: pytest.FixtureRequest) -> None:
    """What is known of public traces from their owners' papers shows up as findings."""
    import os

    if not os.environ.get("MLTWIN_DATA"):
        pytest.skip("MLTWIN_DATA is not set")
    mooncake = about(mt.open_trace("mooncake-conv"))
    assert "most instants are 3 s apart" in mooncake["clock"].text
    code = inspect_trace("azure-code-2023")
    index = code.pictures["dispersion"]["index"]
    assert min(index) > 5  # the code service is bursty at all scales


def test_the_report_is_one_page(tmp_path) -> None:
    report = inspect_trace("azure-conv-synthetic")
    text = Path(report.save(tmp_path / "t.html")).read_text()
    assert text.startswith("<!DOCTYPE html>") and "Findings" in text and "http://" not in text
    report.plot(tmp_path / "t.svg")
    with pytest.raises(mt.InputError, match=r"use \.png"):
        report.plot(tmp_path / "t.doc")
