"""A sweep that is killed at random moments goes on and ends as if nothing had happened."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from flipping import FlipScenario

import mltwin as mt
from mltwin.sweeps.manifest import read_manifest
from mltwin.sweeps.parts import read_part

SCRIPT = Path(__file__).with_name("flipping.py")
SEEDS = 5


def stored(folder: Path) -> list[str]:
    """The keys of all rows that the manifest stands for; each file must be whole."""
    parts = read_manifest(folder) or []
    return [key for part in parts for key in read_part(folder, part)["key"].to_pylist()]


def start(folder: Path, log: Path, points: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, str(SCRIPT), str(folder), str(points), str(SEEDS)]
    environment = {**os.environ, "FLIP_LOG": str(log)}
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


def killed_and_resumed(tmp_path: Path, kills: int, points: int) -> None:
    folder, moments = tmp_path / "s", random.Random(kills)
    known: dict[str, tuple[str, str]] = {}  # key of a stored run to its flips and seed
    early = moved = 0
    for life in range(kills):
        log = tmp_path / f"log{life}"
        process = start(folder, log, points)
        time.sleep(moments.uniform(0.0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        early += process.returncode == -signal.SIGKILL
        _nothing_stored_was_run(log, set(known.values()))
        keys = stored(folder)
        assert len(set(keys)) == len(keys), "a run is stored twice"
        assert set(known) <= set(keys), "a stored run was lost"
        moved += len(keys) > len(known)
        known = _named(folder, keys)
    log = tmp_path / "log-last"
    process = start(folder, log, points)
    output, _ = process.communicate()
    assert process.returncode == 0
    _nothing_stored_was_run(log, set(known.values()))
    keys = stored(folder)
    assert len(keys) == len(set(keys)) == points * SEEDS
    space = {"flips": {"from": 1, "to": points, "steps": points}}
    assert output.strip() == mt.sweep(FlipScenario(), space, seeds=SEEDS).digest
    assert mt.Sweep.load(folder).digest == output.strip()
    assert early == kills, f"{kills - early} kills came when the sweep was done"
    assert moved > kills // 2, f"only {moved} of {kills} lives stored anything"
    assert {path.name for path in folder.iterdir()} == {
        *("lock", "study.json", "sweep.json"),
        *(part.file for part in read_manifest(folder) or []),
    }


def _named(folder: Path, keys: list[str]) -> dict[str, tuple[str, str]]:
    """Flips and seed of each stored run, as the log names them."""
    if not keys:
        return {}
    from mltwin.sweeps.record import read_record

    record = read_record(folder)
    runs = [(str(p["flips"]), str(seed)) for seed in record.seeds for p in record.points]
    names = dict(zip(record.keys(), runs, strict=True))
    return {key: names[key] for key in keys}


def _nothing_stored_was_run(log: Path, done: set[tuple[str, str]]) -> None:
    lines = log.read_text().splitlines() if log.exists() else []
    ran = [(flips, seed) for _, flips, _, seed in (line.split() for line in lines)]
    assert not done & set(ran), "a stored run was run again"
    assert len(set(ran)) == len(ran), "a run was made twice in one life"


def test_five_kills(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, 5, points=400)


@pytest.mark.slow
def test_fifty_kills(tmp_path: Path) -> None:
    killed_and_resumed(tmp_path, 50, points=4000)


def test_an_interrupt_keeps_what_is_done(tmp_path: Path) -> None:
    lines = ["seeds = 50", "[scenario]", 'system = "flip"', "wait_s = 0.02"]
    (tmp_path / "study.toml").write_text("\n".join([*lines, "[grid]", "flips = [1, 2, 3, 4]", ""]))
    code = "import flipping, sys; from mltwin.app.cli import main; main(sys.argv[1:])"
    arguments = ["sweep", "study.toml", "--out", "s", "--progress-json", "--workers", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(SCRIPT.parent)},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("{") and json.loads(line)["progress"] > 0.1:
            break
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "runs are kept in s; the same command goes on" in told and "Traceback" not in told
    done = mt.Sweep.load(tmp_path / "s").done
    assert 20 <= done < 200
