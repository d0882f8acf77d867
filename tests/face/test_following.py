"""A twin that follows its original: drift that was put in is found, what cannot be told is not."""

import json
from pathlib import Path

import numpy as np
import pytest

import mltwin as mt
from mltwin.calibration.prometheus import intervals, parse_scrape
from mltwin.calibration.update import estimate_drift
from mltwin.following import apply_update, follow_files, follow_run
from mltwin.serving_cluster import pool_times
from mltwin.sim.errors import InputError
from mltwin.workloads import read_measured

BASE = {
    "system": "serving",
    "model": {"name": "llama-3.1-8b"},
    "cluster": {"main": {"replicas": 1}},
    "workload": {"trace": "azure-conv-synthetic", "requests": 600, "rate": 8},
}


@pytest.fixture(scope="module")
def base() -> mt.Scenario:
    return mt.Scenario.parse(BASE)


def measured(scenario: mt.Scenario, folder: Path, **changes: float) -> Path:
    """A run of the scenario with other truths, as vLLM's bench would have saved it."""
    for name, value in changes.items():
        scenario = scenario.set(f"cluster.main.{name}", value)
    path = folder / "run.json"
    scenario.run(seed=3).to_vllm_json(path)
    return path


def test_drift_of_scale_and_host_is_found(base: mt.Scenario, tmp_path: Path) -> None:
    path = measured(base, tmp_path, time_scale=1.15, host_overhead_ms=1.2)
    update = follow_files(base, [path])
    assert update.drift.scale == pytest.approx(1.15, abs=0.02)
    assert update.drift.host_s == pytest.approx(1.2e-3, abs=2.5e-4)
    assert abs(update.before["tpot"]) > 0.15
    assert abs(update.after["tpot"]) < 0.03 and abs(update.after["e2e"]) < 0.03
    assert update.kv_blocks is None and "KV blocks" in " ".join(update.notes)
    followed = apply_update(base, update)
    assert followed.cluster["main"].time_scale == pytest.approx(update.drift.scale, abs=1e-4)


def test_nothing_is_changed_where_nothing_drifted(base: mt.Scenario, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the profile is as good as a fit"):
        follow_files(base, [measured(base, tmp_path)])


def test_kv_blocks_are_found_where_they_are_short(tmp_path: Path) -> None:
    short = mt.Scenario.parse(BASE).set("cluster.main.kv_blocks", 4000).set("workload.rate", 30)
    path = measured(short, tmp_path, kv_blocks=3000, time_scale=1.1)
    update = follow_files(short, [path])
    assert update.kv_blocks == pytest.approx(3000, rel=0.07)
    assert max(map(abs, update.after.values())) < max(map(abs, update.before.values())) / 2


def test_runs_that_cannot_tell_are_refused(base: mt.Scenario, tmp_path: Path) -> None:
    few = base.set("workload.requests", 20)
    run = read_measured(measured(few, tmp_path))
    with pytest.raises(InputError, match=r"20 requests.*at least 50"):
        follow_run(base, run)
    two = mt.Scenario.parse({**BASE, "cluster": {"a": {"replicas": 1}, "b": {"replicas": 1}}})
    with pytest.raises(InputError, match="name the one that drifts"):
        follow_run(two, run)
    with pytest.raises(InputError, match="no pool 'c'"):
        follow_run(two, run, pool="c")


def test_line_fit_recovers_both_and_says_how_surely() -> None:
    rng = np.random.default_rng(5)
    gpu = np.geomspace(4e-3, 6e-2, 40)
    seen = (1.2 * gpu + 8e-4) * np.exp(rng.normal(0, 0.01, 40))
    drift = estimate_drift(gpu, seen, 5e-4)
    assert drift.fitted == ("scale", "host_s")
    assert abs(drift.scale - 1.2) < 3 * drift.scale_error < 0.06
    assert abs(drift.host_s - 8e-4) < 3 * drift.host_error_s


def test_one_load_identifies_the_scale_alone() -> None:
    gpu = np.full(10, 1e-2) * np.linspace(0.999, 1.001, 10)
    rng = np.random.default_rng(6)
    seen = 1.3 * gpu * np.exp(rng.normal(0, 0.01, 10)) + 5e-4
    drift = estimate_drift(gpu, seen, 5e-4)
    assert drift.fitted == ("scale",) and drift.host_s == 5e-4 and "kept" in drift.kept
    assert drift.scale == pytest.approx(1.3, abs=0.02)


@pytest.mark.parametrize(
    ("gpu", "seen", "message"),
    [
        ([1e-2, 2e-2], [1e-2, 2e-2], "2 points"),
        ([1e-2, 2e-2, 3e-2], [1e-2, np.nan, 3e-2], "positive and finite"),
        ([1e-2, 1e-2, 1e-2], [1e-2, 5e-2, 1e-3], "cannot identify"),
    ],
)
def test_lines_that_tell_nothing_are_refused(
    gpu: list[float], seen: list[float], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        estimate_drift(np.array(gpu), np.array(seen), 5e-4)


def page(gaps: float, gap_sum: float, iterations: float, tokens: float, running: float) -> str:
    labels = '{engine="0",model_name="m"}'
    return "\n".join(
        [
            "# HELP vllm:num_requests_running Number of requests",
            f"vllm:num_requests_running{labels} {running}",
            f"vllm:kv_cache_usage_perc{labels} 0.25",
            f"vllm:inter_token_latency_seconds_sum{labels} {gap_sum}",
            f"vllm:inter_token_latency_seconds_count{labels} {gaps}",
            f"vllm:iteration_tokens_total_sum{labels} {tokens}",
            f"vllm:iteration_tokens_total_count{labels} {iterations}",
            'vllm:cache_config_info{block_size="16",num_gpu_blocks="30000",engine="0"} 1.0',
        ]
    )


def write_pages(
    scenario: mt.Scenario, folder: Path, scale: float, host_s: float, loads: list[int]
) -> list[Path]:
    """Scrapes of an engine that decodes at given batches, as its counters would show them."""
    times = pool_times(scenario, "main")
    gaps = gap_sum = iterations = tokens = 0.0
    paths = []
    for number, running in enumerate([loads[0], *loads]):
        if number:
            steps = 500
            context = 0.25 * 30000 * 16 / running
            whole = times.seconds([], np.full(running, round(context)))
            own = times.host_s + times.sequence_s * running
            gap = scale * (whole - own) + host_s + times.sequence_s * running
            gaps, gap_sum = gaps + steps * running, gap_sum + steps * running * gap
            iterations, tokens = iterations + steps, tokens + steps * running
        path = folder / f"{number}.txt"
        path.write_text(page(gaps, gap_sum, iterations, tokens, running))
        paths.append(path)
    return paths


def test_metrics_pages_tell_scale_host_and_blocks(base: mt.Scenario, tmp_path: Path) -> None:
    # Each load is held over two scrapes, so that the mean of both ends is the batch.
    loads = [8, 8, 64, 64, 160, 160, 32, 32]
    paths = write_pages(base, tmp_path, 1.25, 9e-4, loads)
    kept = [i for i in range(1, len(loads)) if loads[i] == loads[i - 1]]
    assert len(kept) == 4
    update = follow_files(base, paths)
    assert update.kv_blocks == 30000
    # The intervals in which the load changed are wrong by construction, so the bar is wide.
    assert update.drift.scale == pytest.approx(1.25, rel=0.1)
    assert abs(update.after["tpot"]) < abs(update.before["tpot"])


def test_intervals_are_differences_of_counters() -> None:
    first = parse_scrape(page(100, 1.0, 10, 400, 4))
    second = parse_scrape(page(300, 5.0, 30, 1400, 8))
    (interval,) = intervals([first, second])
    assert interval.gap_s == pytest.approx(4.0 / 200)
    assert (interval.running, interval.tokens, interval.iterations) == (6, 50, 20)
    assert interval.context == pytest.approx(0.25 * 30000 * 16)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("hello world again\n", "line 1.*no number"),
        ("{}\n", "line 1.*no sample"),
        ("process_cpu_seconds_total 1.0\n", "no sample of vLLM"),
    ],
)
def test_pages_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_scrape(text)


def test_a_restart_is_noticed() -> None:
    pages = [parse_scrape(page(300, 5, 30, 1400, 8), "a"), parse_scrape(page(1, 1, 1, 1, 1), "b")]
    with pytest.raises(InputError, match=r"went back since a.*restarted"):
        intervals(pages)


def test_idle_pages_are_refused(base: mt.Scenario, tmp_path: Path) -> None:
    paths = []
    for number in range(2):
        paths.append(tmp_path / f"{number}.txt")
        paths[-1].write_text(page(100, 1.0, 10, 400, 0))
    with pytest.raises(InputError, match="scrape under load"):
        follow_files(base, paths)


def test_data_is_plain(base: mt.Scenario, tmp_path: Path) -> None:
    update = follow_files(base, [measured(base, tmp_path, time_scale=1.3)])
    data = json.loads(json.dumps(update.data()))
    assert data["fields"]["cluster.main.time_scale"]["value"] == pytest.approx(1.3, abs=0.03)
