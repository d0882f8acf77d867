"""A search that is killed goes on where it was and ends in the same answer, on any backend."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from search_systems import serving

import mltwin as mt

SCENARIO = """
system = "serving"

[workload]
requests = 4000
rate = 20.0

[model]
name = "llama-3.1-8b"

[cluster.mixed]
replicas = 2

[slo]
ttft_ms = 300.0
tpot_ms = 30.0
"""


def command(scenario: Path, out: Path) -> list[str]:
    words = ["search", "goodput", str(scenario), "--seeds", "4", "--out", str(out)]
    return [sys.executable, "-m", "mltwin", *words, "--workers", "2"]


@pytest.mark.slow
def test_killed_searches_end_in_the_same_answer(tmp_path: Path) -> None:
    scenario = tmp_path / "chat.toml"
    scenario.write_text(SCENARIO)
    started = time.monotonic()
    subprocess.run(command(scenario, tmp_path / "whole"), check=True, capture_output=True)
    whole_s = time.monotonic() - started
    killed = 0
    for i in range(8):
        process = subprocess.Popen(
            command(scenario, tmp_path / "killed"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        time.sleep(whole_s * (0.3 + 0.08 * i))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.wait()
    subprocess.run(command(scenario, tmp_path / "killed"), check=True, capture_output=True)
    assert killed >= 2
    data = [json.loads((tmp_path / n / "found.json").read_text()) for n in ("whole", "killed")]
    assert data[0] == data[1]
    tables = [(tmp_path / n / "rows.csv").read_bytes() for n in ("whole", "killed")]
    assert tables[0] == tables[1]


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["serial", "processes"])
def test_backends_agree(backend: str) -> None:
    threads = mt.goodput(serving(), seeds=2, tolerance=0.1)
    other = mt.goodput(serving(), seeds=2, tolerance=0.1, backend=backend, workers=2)
    assert (other.rate, other.fails_at) == (threads.rate, threads.fails_at)
    assert other.by_seed == threads.by_seed


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_clusters_agree_and_start_once(
    backend: str, package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mltwin.sweeps import clusters

    pytest.importorskip(package)
    starts: list[Any] = []
    opened = getattr(clusters, f"open_{backend}")
    monkeypatch.setattr(
        clusters, f"open_{backend}", lambda *given: starts.append(given) or opened(*given)
    )
    threads = mt.smallest_cluster(serving(), fields={"cluster.mixed.replicas": (1, 16)}, seeds=2)
    other = mt.smallest_cluster(
        serving(), fields={"cluster.mixed.replicas": (1, 16)}, seeds=2, backend=backend, workers=2
    )
    assert other.values == threads.values and other.cost == threads.cost
    assert len(starts) == 1, "one cluster serves all rounds"
