"""Serving runs from scenario to result and out again."""

import gzip
import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

import mltwin as mt
from mltwin.models.serving.tables import DONE
from mltwin.serving_workload import make_trace

SCENARIO = {
    "system": "serving",
    "name": "small",
    "workload": {"requests": 200, "rate": 8.0},
    "model": {"name": "llama-3.1-8b"},
    "cluster": {"mixed": {"replicas": 2}},
    "slo": {"ttft_ms": 60.0, "tpot_ms": 9.0},
}
SPLIT = {
    "cluster.mixed": None,
    "cluster.prefill": {"replicas": 2},
    "cluster.decode": {"replicas": 2},
}


def scenario(**changes: Any) -> mt.ServingScenario:
    made = mt.Scenario.parse(SCENARIO)
    assert isinstance(made, mt.ServingScenario)
    return made.changed(changes)


@pytest.fixture(scope="module")
def colocated() -> mt.ServingResult:
    result = scenario().run()
    assert isinstance(result, mt.ServingResult)
    return result


@pytest.fixture(scope="module")
def split() -> mt.ServingResult:
    result = scenario(**SPLIT, name="split").run()
    assert isinstance(result, mt.ServingResult)
    return result


def test_metrics_are_those_of_the_requests(colocated: mt.ServingResult) -> None:
    frame, metrics = colocated.requests, colocated.metrics
    assert (frame["state"] == "done").all() and metrics["completed"] == 200
    ttft = (frame["first_ticks"] - frame["arrival_ticks"]) / 1e9
    decode = (frame["finish_ticks"] - frame["first_ticks"]) / 1e9
    tpot = (decode / (frame["output_tokens"] - 1))[frame["output_tokens"] > 1]
    for name, values in (("ttft", ttft), ("tpot", tpot)):
        assert metrics[f"mean_{name}_ms"] == pytest.approx(values.mean())
        assert metrics[f"p99_{name}_ms"] == pytest.approx(np.percentile(values, 99))
    kept = (ttft <= 60) & ~(frame["tpot_ms"] > 9)
    assert metrics["slo_attainment"] == pytest.approx(kept.mean())
    span = (frame["finish_ticks"].max() - frame["arrival_ticks"].min()) / 1e12
    assert metrics["duration_s"] == pytest.approx(span)
    assert metrics["output_throughput"] == pytest.approx(frame["output_tokens"].sum() / span)
    gaps = (decode.sum()) / (frame["output_tokens"] - 1).sum()
    assert metrics["mean_itl_ms"] == pytest.approx(gaps)
    assert colocated.violations == []


def test_token_gaps_are_all_counted(colocated: mt.ServingResult) -> None:
    gaps = colocated.tables["gaps"]["count"].sum()
    assert gaps == (colocated.tables["requests"]["output"] - 1).sum()


def test_replicas_and_pools_add_up(split: mt.ServingResult) -> None:
    frame, pools = split.replicas, split.pools
    assert list(pools["pool"]) == ["prefill", "decode"]
    assert pools["prefill_tokens"].sum() == split.requests["prompt_tokens"].sum()
    assert frame["decode_tokens"].sum() == (split.requests["output_tokens"] - 1).sum()
    assert list(frame["pool_name"]) == ["prefill"] * 2 + ["decode"] * 2
    assert pools["decode_tokens"][0] == 0 and (split.requests["transfer_ms"] > 0).any()
    assert "mean_transfer_ms" in split.metrics


def test_equal_seeds_give_equal_runs(colocated: mt.ServingResult) -> None:
    again = scenario().run(0)
    assert again.digest == colocated.digest and again.metrics == colocated.metrics
    assert scenario().run(1).digest != colocated.digest


def test_the_reference_agrees(colocated: mt.ServingResult) -> None:
    """Also the table that the GPU model makes, which the kernel's own tests do not use."""
    twin = scenario().run(reference=True)
    assert twin.digest == colocated.digest


def test_the_summary_groups_latencies(colocated: mt.ServingResult) -> None:
    summary = colocated.summary()
    assert summary["ttft_ms"]["p99"] == colocated.metrics["p99_ttft_ms"]
    assert summary["completed"] == 200
    json.dumps(summary, allow_nan=False)


def test_other_limits(colocated: mt.ServingResult) -> None:
    strict = colocated.with_limits({"ttft": 1e-3})
    assert strict.metrics["slo_attainment"] == 0 and strict.digest == colocated.digest
    assert "slo_attainment" not in colocated.with_limits({}).metrics


def test_results_are_stored_whole(tmp_path, split: mt.ServingResult) -> None:
    back = mt.Result.load(split.save(tmp_path))
    assert isinstance(back, mt.ServingResult)
    assert back.metrics == split.metrics and back.digest == split.digest
    assert back.facts == split.facts and back.scenario == split.scenario
    assert back.requests.equals(split.requests)
    assert back.trace.equals(split.trace)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        SPLIT,
        {"workload.rate": None, "workload.concurrency": 8, "workload.think_s": 0.5},
        {"workload.timeout_s": 1.0, "workload.rate": 30.0},
    ],
    ids=["open", "split", "closed", "timeouts"],
)
def test_an_exported_trace_replays_the_run(tmp_path, changes: dict[str, Any]) -> None:
    original = scenario(**changes).run()
    path = tmp_path / "as-run.parquet"
    original.export_trace(path)  # type: ignore[attr-defined]
    plain = {"workload": {"trace": str(path)}}
    replay = scenario(**changes).changed(plain).run()
    assert replay.digest == original.digest


def test_sessions_replay(tmp_path) -> None:
    base = scenario().changed(
        {
            "workload": {"trace": "mooncake-conv-synthetic", "window_s": [0.0, 60.0]},
            "cluster.mixed.replicas": 4,
            "prefix_caching": True,
            "policy.route": "prefix_affinity",
        }
    )
    original = base.run()
    assert original.metrics["prefix_hit_ratio"] > 0.05
    trace = original.export_trace(tmp_path / "t.parquet")  # type: ignore[attr-defined]
    replay = base.set("workload", {"trace": str(tmp_path / "t.parquet")}).run()
    assert replay.metrics["completed"] == original.metrics["completed"]
    if np.array_equal(trace.prompt, original.tables["requests"]["prompt"]):
        assert replay.digest == original.digest


VLLM_KEYS = {
    "duration",
    "completed",
    "failed",
    "total_input_tokens",
    "total_output_tokens",
    "request_throughput",
    "request_goodput",
    "output_throughput",
    "total_token_throughput",
    "max_output_tokens_per_s",
    "max_concurrent_requests",
    *("input_lens", "output_lens", "ttfts", "itls", "latencies", "start_times"),
    *("queue_times", "errors"),
}


def test_vllm_json(tmp_path, colocated: mt.ServingResult) -> None:
    data = colocated.to_vllm_json(tmp_path / "v.json")
    assert json.loads((tmp_path / "v.json").read_text()) == data
    assert set(data) >= VLLM_KEYS
    for stat in ("mean", "median", "std", "p90", "p95", "p99"):
        assert {f"{stat}_{q}_ms" for q in ("ttft", "tpot", "itl", "e2el")} <= set(data)
    latencies = np.array(data["ttfts"]) + [sum(gaps) for gaps in data["itls"]]
    np.testing.assert_allclose(latencies, data["latencies"])
    assert [len(gaps) + 1 for gaps in data["itls"]] == data["output_lens"]
    assert data["median_ttft_ms"] == pytest.approx(1000 * np.median(data["ttfts"]))


def test_peaks_of_the_vllm_json(colocated: mt.ServingResult) -> None:
    """Against a count by brute force."""
    data = colocated.to_vllm_json()
    start = np.array(data["start_times"])
    end = start + data["latencies"]
    most = max(int(((start <= t) & (end > t)).sum()) for t in start)
    assert data["max_concurrent_requests"] == most
    first = start + data["ttfts"]
    tokens = np.concatenate(
        [np.linspace(a, b, n) for a, b, n in zip(first, end, data["output_lens"], strict=True)]
    )
    most_tokens = np.bincount(tokens.astype(int)).max()
    assert data["max_output_tokens_per_s"] == pytest.approx(most_tokens, rel=0.1)


def test_parquet(tmp_path, split: mt.ServingResult) -> None:
    split.to_parquet(tmp_path / "out")
    table = pq.read_table(tmp_path / "out" / "requests.parquet").to_pandas()
    ticks = split.tables["requests"]["first"]
    assert table["first_ns"].dtype == np.int64
    assert np.abs(table["first_ns"] * 1000 - ticks).max() <= 500
    assert len(pq.read_table(tmp_path / "out" / "replicas.parquet")) == 4


def test_chrome_trace(tmp_path, split: mt.ServingResult) -> None:
    path = split.to_chrome_trace(tmp_path / "t.json.gz", max_events=2000)
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    assert 1000 < len(events) <= 2000 and {"M", "X", "C", "b"} <= {e["ph"] for e in events}


def test_event_log() -> None:
    result = scenario().run(log=True)
    events = result.events  # type: ignore[attr-defined]
    assert (events["kind"] == "finish").sum() == 200
    assert events["time"].is_monotonic_increasing


def test_plots(tmp_path, split: mt.ServingResult) -> None:
    for ending in ("png", "svg", "pdf"):
        split.plot(tmp_path / f"run.{ending}")
        assert (tmp_path / f"run.{ending}").stat().st_size > 5000
    with pytest.raises(mt.InputError, match=r"use \.png"):
        split.plot(tmp_path / "run.doc")


def test_equal_plots_are_equal_files(tmp_path, split: mt.ServingResult) -> None:
    split.plot(tmp_path / "a.svg")
    split.plot(tmp_path / "b.svg")
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()


@pytest.mark.parametrize(
    ("changes", "metric"),
    [
        ({"control.failures": [{"pool": "mixed", "at_s": 5.0, "until_s": 9.0}]}, "completed"),
        ({"policy.admit": {"name": "queue_limit", "limit": 0.0}, "workload.rate": 60.0}, "refused"),
        ({"workload.timeout_s": 0.2}, "cancelled"),
        ({"cluster.mixed.kv_blocks": 300, "workload.rate": 40.0}, "preemptions"),
        ({"cluster.mixed.kv_blocks": 64}, "refused"),
    ],
    ids=["failure", "admission", "timeout", "memory", "too long"],
)
def test_hard_times_are_seen(changes: dict[str, Any], metric: str) -> None:
    result = scenario(**changes).run(check=True)
    assert result.metrics[metric] > 0 and result.violations == []
    counts = ("completed", "refused", "cancelled", "unfinished")
    assert sum(result.metrics[name] for name in counts) == 200


def test_swapping_needs_room_on_the_host() -> None:
    tight = {"cluster.mixed.kv_blocks": 300, "workload.rate": 40.0}
    swap = {"cluster.mixed.preemption": "swap", "cluster.mixed.host_memory_gb": 100.0}
    recompute, swapped = scenario(**tight).run(), scenario(**tight, **swap).run()
    assert swapped.metrics["preemptions"] > 0
    assert swapped.pools["prefill_tokens"].sum() < recompute.pools["prefill_tokens"].sum()  # type: ignore[attr-defined]


def test_a_slower_gpu_is_slower(colocated: mt.ServingResult) -> None:
    a100 = scenario(**{"cluster.mixed.gpu": "a100-sxm-80gb"}).run()
    assert a100.metrics["p50_tpot_ms"] > 1.2 * colocated.metrics["p50_tpot_ms"]


def test_the_engine_matters() -> None:
    static = scenario(**{"cluster.mixed.engine": "static"}).run()
    mixed = scenario().run()
    assert static.metrics["mean_ttft_ms"] > 3 * mixed.metrics["mean_ttft_ms"]


@pytest.mark.parametrize(
    "engine", ["vllm_v0", "sarathi", "orca", "lightllm", "trtllm", "distserve"]
)
def test_every_engine_finishes(engine: str) -> None:
    result = scenario(**{"cluster.mixed.engine": engine}).run(check=True)
    assert result.metrics["completed"] == 200 and result.violations == []


def test_cost_is_known_where_the_price_is() -> None:
    result = scenario(**{"cluster.mixed.dollars_per_gpu_hour": 2.5}).run()
    hours = result.metrics["duration_s"] / 3600
    assert result.metrics["dollars"] == pytest.approx(2 * 2.5 * hours, rel=0.05)
    assert "dollars" not in scenario().run().metrics


def test_workloads_are_retimed() -> None:
    for arrivals in ("trace", "poisson", "gamma", "deterministic"):
        made = make_trace(scenario(**{"workload.arrivals": arrivals, "workload.rate": 5.0}), 0)
        assert len(made) == 200 and 199 / made.span_s == pytest.approx(5.0, rel=0.25)
    doubled = make_trace(scenario(**{"workload.rate": None, "workload.rate_scale": 2.0}), 0)
    plain = make_trace(scenario(**{"workload.rate": None}), 0)
    assert doubled.span_s == pytest.approx(plain.span_s / 2)
    assert np.array_equal(doubled.prompt, plain.prompt)


def test_predictions() -> None:
    from mltwin.serving_workload import predictions

    trace = make_trace(scenario(), 0)
    assert np.array_equal(predictions(scenario(), trace, 0), trace.output)
    mean = predictions(scenario(**{"workload.prediction": "mean"}), trace, 0)
    assert set(mean) == {round(trace.output.mean())}
    noisy = predictions(scenario(**{"workload.prediction": "noisy"}), trace, 0)
    errors = np.log(noisy / trace.output)[trace.output > 100]
    assert 0.35 < errors.std() < 0.65 and noisy.min() >= 1
    assert not np.array_equal(
        noisy, predictions(scenario(**{"workload.prediction": "noisy"}), trace, 1)
    )


def test_repeating_up_to_so_many_requests() -> None:
    spec = {"requests": 30, "arrivals": {"process": "poisson", "rate_per_s": 3.0}}
    made = make_trace(scenario(**{"workload.trace": spec, "workload.requests": 75}), 0)
    assert len(made) == 75 and np.array_equal(made.prompt[:30], made.prompt[30:60])


def test_a_changed_file_is_read_again(tmp_path) -> None:
    path = tmp_path / "t.csv"
    head = "arrived_at,num_prefill_tokens,num_decode_tokens\n"
    path.write_text(head + "0,9,2\n")
    here = scenario(workload={"trace": str(path)})
    assert len(make_trace(here, 0)) == 1
    path.write_text(head + "0,9,2\n1,9,2\n")
    assert len(make_trace(here, 0)) == 2


def test_prefix_blocks_left_unused_are_noted() -> None:
    changes = {"workload": {"trace": "mooncake-conv-synthetic", "requests": 5}}
    assert "prefix_caching is off" in scenario(**changes).run().notes[0]


def test_stopping_early() -> None:
    result = scenario().run(until_s=10.0)
    metrics = result.metrics
    assert 0 < metrics["completed"] < 200
    assert metrics["completed"] + metrics["unfinished"] == 200


def test_progress_is_told() -> None:
    told: list[tuple[float, float]] = []
    scenario().run(progress=lambda share, now: told.append((share, now)))
    shares = [share for share, _ in told]
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(told) > 5


def test_unknown_options_are_refused() -> None:
    with pytest.raises(TypeError, match="unknown options"):
        scenario().run(chek=True)


def test_tenants(tmp_path) -> None:
    spec = {
        "requests": 40,
        "arrivals": {"process": "poisson", "rate_per_s": 10.0},
        "tenants": {"a": 1.0, "b": 3.0},
    }
    changes = {"workload": {"trace": spec, "tenants": {"b": 2.0}}, "policy.priority": "vtc"}
    result = scenario(**changes).run()
    frame = result.tenants  # type: ignore[attr-defined]
    assert "Tenants" in [table.title for table in result.report()]
    assert list(frame["tenant"]) == ["a", "b"] and frame["requests"].sum() == 40
    done = result.tables["requests"]["state"] == DONE
    assert done.all()
