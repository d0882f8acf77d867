"""Metrics against numbers worked out by hand and against NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mltwin.metrics import direction, flat, histogram_spread, spread, unit
from mltwin.models.serving.outcome import GAP_BINS, gap_bin, gap_bin_edges
from mltwin.models.serving.tables import CANCELLED, DONE, REFUSED
from mltwin.serving_metrics import (
    gap_metrics,
    good,
    latencies_ms,
    pool_rows,
    request_metrics,
    violations,
)
from mltwin.sim.errors import InputError
from mltwin.slo import parse_goodput
from mltwin.text import Table, show

MS = 10**9

# Four requests (times in ms): two complete, one is refused, one is cancelled after its first token.
#   0: arrives 0, first token 100, last 400, 4 tokens: TTFT 100, TPOT 100, E2E 400
#   1: arrives 50, first and only token 250: TTFT 200, no TPOT, E2E 200, moved for 7 ms
REQUESTS = {
    "arrival": np.array([0, 50, 60, 70]) * MS,
    "scheduled": np.array([10, 60, -1, 80]) * MS,
    "first": np.array([100, 250, -1, 300]) * MS,
    "finish": np.array([400, 250, 60, 350]) * MS,
    "transfer": np.array([0, 7, 0, 0]) * MS,
    "generated": np.array([4, 1, 0, 1]),
    "cached": np.array([0, 0, 0, 0]),
    "state": np.array([DONE, DONE, REFUSED, CANCELLED]),
    "preempted": np.array([1, 0, 0, 2]),
    "prompt": np.array([10, 20, 30, 40]),
    "output": np.array([4, 1, 5, 6]),
}
REPLICAS = {
    "iterations": np.array([10, 10]),
    "prefill_tokens": np.array([100, 0]),
    "decode_tokens": np.array([5, 45]),
    "busy_prefill": np.array([10, 0]) * 10**12,
    "busy_decode": np.array([20, 50]) * 10**12,
    "sequences": np.array([20, 40]),
    "contexts": np.array([1000, 3000]),
    "preemptions": np.array([0, 3]),
    "peak_blocks": np.array([5, 10]),
    "up_ticks": np.array([100, 100]) * 10**12,
    "pool": np.array([0, 1]),
}
POOL = {
    "name": "a",
    "role": "prefill",
    "replicas": 1,
    "gpus_per_replica": 2,
    "gpu": "g",
    "kv_blocks": 20,
    "kv_tokens": 320,
    "dollars_per_gpu_hour": 3.6,
    "power": {"busy_prefill_w": 700.0, "busy_decode_w": 400.0, "idle_w": 100.0},
}
TOTALS = {"done": 2, "refused": 1, "cancelled": 1}


def test_latencies_by_hand() -> None:
    found = latencies_ms(REQUESTS)
    np.testing.assert_equal(found["ttft"], [100, 200, np.nan, np.nan])
    np.testing.assert_equal(found["tpot"], [100, np.nan, np.nan, np.nan])
    np.testing.assert_equal(found["e2e"], [400, 200, np.nan, np.nan])
    np.testing.assert_equal(found["queue"], [10, 10, np.nan, np.nan])
    np.testing.assert_equal(found["transfer"], [np.nan, 7, np.nan, np.nan])


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({}, [1, 1, 0, 0]),
        ({"ttft": 200.0}, [1, 1, 0, 0]),
        ({"ttft": 199.0}, [1, 0, 0, 0]),
        ({"tpot": 99.0}, [0, 1, 0, 0]),
        ({"ttft": 150.0, "tpot": 100.0, "e2e": 400.0}, [1, 0, 0, 0]),
        ({"e2e": 399.0}, [0, 1, 0, 0]),
    ],
)
def test_goodput_by_hand(limits: dict[str, float], kept: list[int]) -> None:
    np.testing.assert_equal(good(latencies_ms(REQUESTS), limits), np.array(kept, bool))


def test_request_metrics_by_hand() -> None:
    found = request_metrics(REQUESTS, {"ttft": 150.0}, span_s=2.0)
    expected = {
        "requests": 4,
        "completed": 2,
        "refused": 1,
        "cancelled": 1,
        "unfinished": 0,
        "preemptions": 3,
        "prompt_tokens": 30,
        "output_tokens": 5,
        "request_throughput": 1.0,
        "output_throughput": 2.5,
        "total_token_throughput": 17.5,
        "mean_ttft_ms": 150,
        "p50_ttft_ms": 150,
        "p90_ttft_ms": 190,
        "std_ttft_ms": 50,
        "max_e2e_ms": 400,
        "mean_tpot_ms": 100,
        "slo_attainment": 0.25,
        "request_goodput": 0.5,
    }
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_no_request_completed_gives_no_latency() -> None:
    refused = {k: v[2:3] for k, v in REQUESTS.items()}
    found = request_metrics(refused, {}, span_s=0.0)
    assert not any(name.endswith("_ms") for name in found)
    assert "request_throughput" not in found and "slo_attainment" not in found


def test_pools_by_hand() -> None:
    dark = {**POOL, "name": "b", "power": {**POOL["power"], "idle_w": None}}  # type: ignore[dict-item]
    first, second = pool_rows(REPLICAS, [POOL, {**dark, "dollars_per_gpu_hour": None}])
    assert first["mean_batch"] == 2 and second["mean_batch"] == 4
    assert first["mean_kv_use"] == pytest.approx(100 / 320)
    assert second["peak_kv_use"] == 0.5
    assert (first["busy_prefill"], first["busy_decode"]) == (0.1, 0.2)
    assert first["dollars"] == pytest.approx(3.6 * 2 * 100 / 3600)
    assert first["joules"] == 2 * (700 * 10 + 400 * 20 + 100 * 70)
    assert "joules" not in second and "dollars" not in second


def test_gap_metrics() -> None:
    gaps = np.zeros(GAP_BINS, np.int64)
    gaps[gap_bin(100 * MS)] = 3
    found = gap_metrics(REQUESTS, gaps)
    assert found["mean_itl_ms"] == 100
    edges = gap_bin_edges() / MS
    k = gap_bin(100 * MS)
    assert edges[k] <= found["p50_itl_ms"] <= edges[k + 1]
    assert found["max_itl_ms"] / found["min_itl_ms"] < 1 + 1 / 64


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_spread_is_numpys(values: list[float]) -> None:
    found = spread(np.array(values))
    assert found["p99"] == np.percentile(values, 99)
    assert found["mean"] == np.mean(values) and found["std"] == np.std(values)
    assert found["min"] == min(values) and found["max"] == max(values)


@given(st.lists(st.integers(2**20, 2**51), min_size=1, max_size=200))
def test_histogram_percentiles_are_within_a_bin(gaps: list[int]) -> None:
    counts = np.bincount([gap_bin(g) for g in gaps], minlength=GAP_BINS)
    found = histogram_spread(counts, gap_bin_edges())
    ordered = sorted(gaps)
    for name, q in (("p50", 0.5), ("p99", 0.99)):
        rank = q * (len(gaps) - 1)
        low, high = ordered[int(rank)], ordered[min(int(rank) + 1, len(gaps) - 1)]
        assert low * (1 - 1 / 64) <= found[name] <= high * (1 + 1 / 64)
    assert found["mean"] == pytest.approx(np.mean(gaps), rel=1 / 64)
    assert found["std"] == pytest.approx(np.std(gaps), rel=0.1, abs=np.mean(gaps) / 32)


def test_an_empty_histogram() -> None:
    assert histogram_spread(np.zeros(GAP_BINS, int), gap_bin_edges()) == {}
    assert spread(np.zeros(0)) == {}


def test_a_healthy_run_has_no_violations() -> None:
    assert violations(REQUESTS, REPLICAS, TOTALS) == []


@pytest.mark.parametrize(
    ("column", "row", "value", "words"),
    [
        ("generated", 0, 3, "tokens missing"),
        ("first", 1, 10 * MS, "before the request's arrival"),
        ("finish", 0, 90 * MS, "last tokens before the first"),
        ("scheduled", 1, 40 * MS, "admitted before"),
        ("first", 0, 5 * MS, "before admission"),
        ("state", 0, REFUSED, "the total says"),
    ],
)
def test_violations_are_found(column: str, row: int, value: int, words: str) -> None:
    broken = {**REQUESTS, column: REQUESTS[column].copy()}
    broken[column][row] = value
    assert any(words in text for text in violations(broken, REPLICAS, TOTALS))


def test_overworked_replicas_are_found() -> None:
    broken = {**REPLICAS, "up_ticks": np.array([1, 1])}
    assert "2 replicas busy" in violations(REQUESTS, broken, TOTALS)[0]


@pytest.mark.parametrize(
    ("metric", "way", "of"),
    [
        ("p99_ttft_ms", "lower", "ms"),
        ("request_goodput", "higher", "requests/s"),
        ("output_throughput", "higher", "tokens/s"),
        ("slo_attainment", "higher", "share"),
        ("prefix_hit_ratio", "higher", "share"),
        ("refused", "lower", ""),
        ("dollars_per_million_tokens", "lower", "$"),
        ("byte_hit_ratio", "higher", "share"),
        ("false_hit_ratio", "lower", "share"),
        ("news_stale_hit_ratio", "lower", "share"),
        ("evictions", "lower", ""),
        ("saved_dollars", "higher", "$"),
        ("cost_dollars", "lower", "$"),
        ("memory_saved_ratio", "higher", "share"),
        ("moved_gb_per_token", "lower", ""),
        ("capacity", "none", ""),
        ("capacity_tokens", "higher", "tokens"),
        ("joules", "lower", "J"),
        ("duration_s", "none", "s"),
        ("peak_kv_use", "none", "share"),
        ("goodput_gb_per_s", "higher", "GB/s"),
        ("busbw_gb_per_s", "higher", "GB/s"),
        ("tokens_per_s", "higher", "tokens/s"),
        ("stall_per_checkpoint_s", "lower", "s"),
        ("memory_gib", "lower", "GiB"),
        ("makespan_days", "lower", "days"),
        ("hfu", "none", ""),
    ],
)
def test_directions_and_units(metric: str, way: str, of: str) -> None:
    assert direction(metric) == way
    assert unit(metric) == of


def test_flat_names() -> None:
    assert flat("ttft", "ms", {"p99": 1.0}) == {"p99_ttft_ms": 1.0}


def test_goodput_syntax() -> None:
    pairs = ["ttft:500", "tpot:50", "e2el:5000"]
    assert parse_goodput(pairs) == {"ttft": 500, "tpot": 50, "e2e": 5000}
    for bad in ("tfft:5", "ttft:x", "ttft:-1", "ttft", "ttft:nan", "ttft:inf"):
        with pytest.raises(InputError):
            parse_goodput([bad])


def test_tables_as_text() -> None:
    table = Table(["name", "value"], [["a|b", 0.00691], ["<c>", None]], best={(0, 1)})
    assert str(table).splitlines()[2].split() == ["a|b", "0.006910"]
    assert "| a\\|b | **0.006910** |" in table.markdown()
    assert "&lt;c>" in table.markdown()
    assert list(table.frame()["name"]) == ["a|b", "<c>"]
    assert show(float("nan")) == "-" and show(True) == "True"
