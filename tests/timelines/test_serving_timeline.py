"""A serving run's timeline: valid files that hold the run's own busy time and latencies."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import trace_event_rules as rules

import mltwin as mt
from mltwin.models.serving.tables import DONE
from mltwin.timelines.phases import RequestLog, kv_transfers, request_phases

BASE: dict[str, Any] = {
    "system": "serving",
    "model": {"name": "llama-3.1-8b"},
    "workload": {"requests": 300, "rate": 12.0},
    "cluster": {"mixed": {"gpu": "h100-sxm-80gb", "tp": 1, "replicas": 2}},
}
SPLIT = {
    "prefill": {"role": "prefill", "gpu": "h100-sxm-80gb", "tp": 1, "replicas": 2},
    "decode": {"role": "decode", "gpu": "h100-sxm-80gb", "tp": 1, "replicas": 2},
}
CASES: dict[str, dict[str, Any]] = {
    "colocated": {},
    "split": {"cluster": SPLIT, "network": {"bandwidth_gbps": 20.0}},
    "front end": {"workload": {**BASE["workload"], "frontend_s": 0.01, "return_s": 0.002}},
    "tight memory": {
        "workload": {**BASE["workload"], "rate": 60.0},
        "cluster": {"mixed": {**BASE["cluster"]["mixed"], "gpu_memory_utilization": 0.27}},
    },
    "failure": {
        "control": {"failures": [{"pool": "mixed", "at_s": 5.0, "until_s": 9.0}]},
    },
    "split and failure": {
        "cluster": SPLIT,
        "network": {"bandwidth_gbps": 20.0},
        "control": {"failures": [{"pool": "prefill", "at_s": 5.0, "until_s": 9.0}]},
    },
    "scaling": {
        "workload": {**BASE["workload"], "rate": 60.0},
        "cluster": {
            "mixed": {
                **BASE["cluster"]["mixed"],
                "replicas": 4,
                "initially_up": 1,
                "startup_s": 1.5,
            }
        },
        "policy": {"scale": {"name": "queue_threshold", "high_tokens": 500.0, "cooldown_s": 1.0}},
        "control": {"scale_interval_s": 0.5},
    },
    "refusing": {
        "workload": {**BASE["workload"], "rate": 200.0},
        "policy": {"admit": {"name": "queue_limit", "limit": 2.0}},
    },
}


def run(name: str) -> mt.ServingResult:
    result = mt.Scenario.parse({**BASE, "name": name, **CASES[name]}).run(0, log=True, batches=True)
    assert isinstance(result, mt.ServingResult) and not result.violations
    return result


@pytest.fixture(scope="module", params=list(CASES))
def case(request: pytest.FixtureRequest) -> mt.ServingResult:
    return run(request.param)


@pytest.fixture(scope="module")
def split() -> mt.ServingResult:
    return run("split")


def events(result: mt.ServingResult, path: Path, **options: Any) -> list[rules.Event]:
    result.timeline(**options).save(path)
    content = rules.read(path)
    assert rules.problems(content) == []
    return content["traceEvents"]


def test_files_follow_the_rules(case: mt.ServingResult, tmp_path) -> None:
    found = events(case, tmp_path / "t.json.gz", requests=1000)
    assert {"M", "X", "C", "b", "e"} <= {e["ph"] for e in found}
    if "decode" in case.scenario.cluster:  # type: ignore[union-attr]
        assert {"s", "f"} <= {e["ph"] for e in found}


def busy_us(found: list[rules.Event]) -> dict[str, float]:
    """Busy time by thread of the kinds that are iterations."""
    total: dict[str, float] = {}
    for e in found:
        if e["ph"] == "X" and e["cat"] in ("prefill", "decode", "mixed"):
            key = str(e["tid"])
            total[key] = total.get(key, 0.0) + e["dur"]
    return total


def test_busy_time_is_that_of_the_replicas(case: mt.ServingResult, tmp_path) -> None:
    timeline = case.timeline()
    work = timeline.work
    busy = np.zeros(len(case.replicas), np.int64)
    iterations = np.isin(work.kind, [timeline.kind(k) for k in ("prefill", "decode", "mixed")])
    np.add.at(busy, work.lane[iterations], work.busy[iterations])
    expected = (case.replicas["busy_prefill"] + case.replicas["busy_decode"]).to_numpy()
    cut_off = [note for note in timeline.notes if "before a failure" in note]
    if cut_off:
        assert "failure" in case.label and (busy <= expected).all()
    else:
        assert (busy == expected).all()
        prefills = np.isin(work.kind, [timeline.kind("prefill"), timeline.kind("mixed")])
        assert work.busy[prefills].sum() == case.replicas["busy_prefill"].sum()
        assert work.sums["iterations"].sum() == case.replicas["iterations"].sum()
        assert work.sums["prefill_tokens"].sum() == case.replicas["prefill_tokens"].sum()
        assert work.sums["decode_tokens"].sum() == case.replicas["decode_tokens"].sum()


@pytest.mark.parametrize("name", ["colocated", "split"])
def test_capped_files_hold_all_busy_time(name: str, tmp_path) -> None:
    result = run(name)
    path = tmp_path / "t.json"
    for most in (300, 700):
        notes = result.timeline(requests=20).save(path, max_events=most)
        content = rules.read(path)
        assert rules.problems(content) == [] and len(content["traceEvents"]) <= most
        assert any("slices are drawn as" in note for note in notes)
        assert content["otherData"]["left out"] == notes
        busy = (result.replicas["busy_prefill"] + result.replicas["busy_decode"]) / 1e6
        drawn = busy_us(content["traceEvents"])
        for replica, expected in enumerate(busy):
            assert drawn[str(replica + 1)] == pytest.approx(expected, rel=1e-6)
        last = max(e["ts"] for e in content["traceEvents"] if e["ph"] == "X")
        assert last > 0.9 * result.facts["totals"]["end"] / 1e6  # not cut at the start


def test_request_slices_are_the_latencies(case: mt.ServingResult, tmp_path) -> None:
    found = events(case, tmp_path / "t.json", requests=1000)
    spans: dict[int, dict[str, float]] = {}
    open_: dict[str, list[float]] = {}
    for e in (e for e in found if e["ph"] in "be"):
        stack = open_.setdefault(e["id"], [])
        if e["ph"] == "b":
            stack.append(e["ts"])
            continue
        mine = spans.setdefault(int(e["id"].split()[1]), {})
        mine[e["name"]] = mine.get(e["name"], 0.0) + (e["ts"] - stack.pop()) / 1e3
    done = np.flatnonzero(case.tables["requests"]["state"] == DONE)
    assert set(done) <= set(spans)
    preempted = case.tables["requests"]["preempted"] + case.tables["requests"]["attempts"] > 0
    for request in done.tolist():
        mine, want = spans[request], {k: v[request] for k, v in case.latencies.items()}
        parts = sum(value for name, value in mine.items() if name != "request")
        assert mine["request"] == pytest.approx(want["e2e"], abs=2e-6)
        assert parts == pytest.approx(want["e2e"], abs=1e-5)
        if not preempted[request]:
            assert mine.get("queue", 0.0) == pytest.approx(want["queue"], abs=2e-6)
            before = sum(mine.get(n, 0.0) for n in ("front end", "queue", "prefill"))
            back = mine.get("return", 0.0)
            assert before + back == pytest.approx(want["ttft"], abs=5e-6)
            moved = mine.get("hand-over", 0.0) + mine.get("KV transfer", 0.0)
            assert moved == pytest.approx(np.nan_to_num(want["transfer"]), abs=5e-6)


def test_phases_tile_each_request(case: mt.ServingResult) -> None:
    log = RequestLog.of(dict(case.tables["log"]))
    end = case.facts["totals"]["end"]
    phases = request_phases(log, end)
    assert (phases.end > phases.start).all()
    same = phases.request[1:] == phases.request[:-1]
    assert (phases.start[1:] == phases.end[:-1])[same].all()
    columns = case.tables["requests"]
    stop = np.where(columns["finish"] >= 0, columns["finish"], end)
    total = np.zeros(len(stop), np.int64)
    np.add.at(total, phases.request, phases.end - phases.start)
    assert (total == stop - columns["arrival"]).all()


def test_transfers_are_drawn_on_links(split: mt.ServingResult, tmp_path) -> None:
    found = events(split, tmp_path / "t.json")
    moved = kv_transfers(RequestLog.of(dict(split.tables["log"])), 0)
    slices = [e for e in found if e["ph"] == "X" and e["cat"] == "transfer"]
    assert len(slices) == len(moved.request) > 200
    assert sum(e["dur"] for e in slices) == pytest.approx((moved.end - moved.start).sum() / 1e6)
    columns = split.tables["requests"]
    assert (moved.end - moved.ready == columns["transfer"][moved.request]).all()
    assert (moved.source == columns["prefill_replica"][moved.request]).all()
    assert (moved.destination == columns["replica"][moved.request]).all()
    arrows = [e for e in found if e["ph"] == "s"]
    assert len(arrows) > 1.9 * len(slices)


def test_a_window_shows_what_touches_it(split: mt.ServingResult, tmp_path) -> None:
    found = events(split, tmp_path / "t.json", window_s=(5.0, 7.0))
    timed = [e for e in found if e["ph"] in "XC"]
    assert all(e["ts"] <= 7e6 and e["ts"] + e.get("dur", 2e6) >= 5e6 for e in timed)
    batches = split.tables["batches"]
    inside = (batches["end"] > 5 * 10**12) & (batches["start"] < 7 * 10**12)
    slices = [e for e in found if e["ph"] == "X" and "iterations" in e["args"]]
    assert len(slices) == inside.sum() > 0
    assert len(split.timeline(window_s=(1e12, float("inf"))).frame()) == 0
    assert len(split.timeline().frame((0.0, 1e300))) > 100
    for window in ((5.0, 5.0), (-1.0, 4.0), (float("nan"), 4.0)):
        with pytest.raises(mt.InputError, match="is no window"):
            split.timeline(window_s=window)


def test_failures_are_seen(tmp_path) -> None:
    timeline = run("failure").timeline()
    frame = timeline.frame()
    down = frame[frame["kind"] == "failed"]
    assert len(down) == 1 and down["start_s"].iloc[0] == pytest.approx(5.0)
    texts = [instant.text for instant in timeline.instants]
    assert "failed" in texts and "up" in texts and any("lost" in text for text in texts)


def test_scaling_is_seen() -> None:
    timeline = run("scaling").timeline()
    texts = [instant.text for instant in timeline.instants]
    assert texts.count("starting") == texts.count("up") >= 2
    frame = timeline.frame()
    starting = frame[frame["kind"] == "starting"]
    assert (starting["end_s"] - starting["start_s"]).to_numpy() == pytest.approx(1.5)
    for _, row in starting.iterrows():
        lane = frame[frame["lane"] == row["lane"]]
        assert (lane["kind"].iloc[0], lane["start_s"].iloc[0]) == ("stopped", 0.0)
        work = lane[lane["kind"].isin(["prefill", "decode", "mixed"])]
        assert (work["start_s"] >= row["end_s"] - 1e-9).all()


def test_samples_of_requests(split: mt.ServingResult) -> None:
    tracks = split.timeline(requests=50).tracks[0]
    slowest = np.argsort(-split.latencies["e2e"])[:10]
    assert len(tracks.id) == 50 and set(slowest) <= set(tracks.id)
    other = split.timeline(requests=50, seed=1).tracks[0]
    assert set(tracks.id) != set(other.id) and set(slowest) <= set(other.id)
    assert split.timeline(requests=0).tracks == []


def test_counters_count(split: mt.ServingResult) -> None:
    timeline = split.timeline()
    frame = timeline.counter_frame(rows=10**6)
    flying = frame[frame["counter"] == "requests in flight"]
    columns = split.tables["requests"]
    for time_s, value in zip(flying["time_s"][::37], flying["value"][::37], strict=True):
        now = round(time_s * 1e12)
        assert value == ((columns["arrival"] <= now) & (columns["finish"] > now)).sum()
    assert flying["value"].iloc[-1] == 0
    used = frame[frame["unit"] == "%"]
    assert 0 < used["value"].max() <= 100 * split.metrics["peak_kv_use"] + 1e-9


def test_equal_runs_give_equal_files(split: mt.ServingResult, tmp_path) -> None:
    paths = [tmp_path / name for name in ("a.json.gz", "b.json.gz")]
    for path in paths:
        run("split").timeline().save(path)
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_run_without_logs_is_run_again(split: mt.ServingResult) -> None:
    bare = split.scenario.run(0)  # type: ignore[union-attr]
    assert "batches" not in bare.tables
    assert bare.timeline().frame().equals(split.timeline().frame())
    bare.scenario = None
    with pytest.raises(mt.InputError, match="its scenario is unknown"):
        bare.timeline()


def test_the_replay_view(split: mt.ServingResult) -> None:
    timeline = split.timeline()
    assert len(timeline.frame(rows=300)) <= 300
    spec = timeline.chart((2.0, 10.0), rows=500).to_dict()
    text = json.dumps(spec)
    for word in ("prefill: replica 0", "KV transfers: to replica", "idle", "requests in flight"):
        assert word in text
    units = {part.get("title", {}).get("text") for part in spec["vconcat"]}
    assert {"requests", "%"} <= units
