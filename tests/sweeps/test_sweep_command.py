"""`mltwin sweep`: study files, exit codes, status, and what hostile files get."""

import json
from pathlib import Path
from typing import Any

import flipping
import pytest

import mltwin as mt
from mltwin.app import cli
from mltwin.sweeps.study import load_study

del flipping  # imported to make the system known

STUDY = """
seeds = 2
metrics = ["up"]
[scenario]
system = "flip"
[grid]
flips = [5, 10]
"heads" = { from = 0.2, to = 0.8, steps = 2 }
"""


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def call(*arguments: str) -> int:
    with pytest.raises(SystemExit) as end:
        cli.main(list(arguments))
    return int(end.value.code or 0)


def write(text: str, name: str = "study.toml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


def test_a_study_is_run_kept_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("sweep", write(STUDY)) == 0
    first = capsys.readouterr()
    assert "means of 2 seeds" in first.out and "kept in" in first.err
    assert (Path("results") / "sweep-study" / "sweep.json").is_file()
    assert call("sweep", "study.toml") == 0
    assert "8 of 8 runs were there already" in capsys.readouterr().err
    assert call("sweep", "status", "results/sweep-study", "--format", "json") == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["done"], data["total"], len(data["runs"])) == (8, 8, 8)
    assert data["runs"][0]["point"] == {"flips": 5, "heads": 0.2}


def test_options_stand_before_the_study(capsys: pytest.CaptureFixture[str]) -> None:
    path = write(STUDY.replace("metrics", 'backend = "processes"\nmetrics'))
    flags = ["--seeds", "1", "--backend", "serial", "--no-keep", "--set", "colour=blue"]
    assert call("sweep", path, *flags, "--metrics", "blues", "--format", "markdown") == 0
    assert "| flips | heads | blues |" in capsys.readouterr().out
    assert not Path("results").exists()


def test_a_metric_of_the_study_that_no_run_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("sweep", write(STUDY.replace('["up"]', '["ups"]'))) == 2
    assert "no metric 'ups'; did you mean 'up'" in capsys.readouterr().err


def test_pictures_pages_and_files() -> None:
    path = write(STUDY)
    assert call("sweep", path, "--plot", "a.png", "--report", "a.html", "--export", "a.csv") == 0
    assert all(Path(name).stat().st_size for name in ("a.png", "a.html", "a.csv"))


def test_failures_end_in_exit_code_1(capsys: pytest.CaptureFixture[str]) -> None:
    path = write(STUDY.replace('"flip"', '"flip"\nfail_on = 5'))
    assert call("sweep", path) == 1
    told = capsys.readouterr()
    assert "4 of 8 runs failed" in told.err and "not to my taste" in told.err
    assert call("sweep", path, "--retry-failed") == 1
    assert "4 of 8 runs were there already" in capsys.readouterr().err


def test_progress_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("sweep", write(STUDY), "--progress-json") == 0
    lines = [json.loads(ln) for ln in capsys.readouterr().err.splitlines() if ln.startswith("{")]
    assert lines[-1] == {"progress": 1.0, "text": "8 of 8 runs"}


def test_paths_are_taken_from_the_folder_of_the_study(tmp_path: Path) -> None:
    folder = tmp_path / "studies"
    folder.mkdir()
    (folder / "base.toml").write_text('system = "flip"\nflips = 3\n')
    (folder / "rows.csv").write_text("flips\n3\n4\n")
    (folder / "a.toml").write_text('scenario = "base.toml"\nlist = "rows.csv"\nstore = "kept"\n')
    assert call("sweep", "studies/a.toml") == 0
    assert mt.Sweep.load(folder / "kept").points == [{"flips": 3}, {"flips": 4}]
    assert load_study("studies/a.toml").name == "a"


BASE = '[scenario]\nsystem = "flip"\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "scenario"),
        ("x", "is not TOML"),
        ("scenario = 3", "scenario"),
        ('scenario = "none.toml"', "none.toml: no such file"),
        ('[scenario]\nsystem = "flop"', "unknown system 'flop'"),
        (BASE, "varies nothing"),
        ('system = "flip"', "is a scenario, not a study; write a study: scenario = "),
        (f"sed = 1\n{BASE}", "did you mean 'seeds'"),
        (f"{BASE}[grd]\nflips = [1]", "did you mean 'grid'"),
        (f"{BASE}[grid]\nflip = [1]", "study.toml: flip: unknown key; did you mean 'flips'"),
        (f"{BASE}[grid]\nflips = [1, -1]", r"point 2 of 2 \(flips = -1\)"),
        (f'{BASE}[grid]\ncolour = ["green"]', "green"),
        (f'backend = "spark"\n{BASE}[grid]\nflips = [1]', "spark"),
        (f"workers = 0\n{BASE}[grid]\nflips = [1]", "workers"),
        (f"seeds = [1, 1]\n{BASE}[grid]\nflips = [1]", "twice"),
        (f'seeds = "x"\n{BASE}[grid]\nflips = [1]', "seeds"),
        (f"{BASE}flips = 0\n[grid]\nflips = [1]", "study.toml: scenario: flips"),
        (f"{BASE}[lhs]\npoints = 2\nflips = [{'[' * 50}{']' * 50}]", "flips"),
        (f'{BASE}[list]\nflips = "a"', "list"),
        (f'store = "a\\u0000b"\n{BASE}[grid]\nflips = [1]', "no path"),
        ('scenario = "a\\u0000b"', "no path"),
        (f"{BASE}[grid]\nflips = [1]\n[list]", "list"),
        (f'list = "a\\u0000b"\n{BASE}', "no path"),
        (f'{BASE}[grid]\n"__class__.x" = [1]', "__class__"),
        (f'{BASE}[grid]\n"flips.a.b" = [1]', "flips"),
        (f'{BASE}[grid]\n"" = [1]', "unknown key"),
        (f"{BASE}[grid]\nflips = {{ from = 1, to = inf, steps = 3 }}", "to"),
        (f"{BASE}[grid]\nheads = [nan]", "heads"),
    ],
)
def test_hostile_studies_get_one_line(
    text: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("sweep", write(text)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "Traceback" not in error and error.count("\n") == 1
    import re

    assert re.search(told, error), error
    assert not Path("results").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["sweep"], "study"),
        (["sweep", "none.toml"], "no such file"),
        (["sweep", "status"], "no folder"),
        (["sweep", "status", "nowhere"], "there is no sweep"),
        (["sweep", "study.toml", "more"], "stands behind"),
        (["sweep", "study.toml", "--format", "xml"], "--format"),
        (["sweep", "study.toml", "--set", "flips"], "--set"),
        (["sweep", "study.toml", "--out", "a", "--no-keep"], "--no-keep"),
        (["sweep", "study.toml", "--address", "tcp://x"], "address"),
        (["sweep", "study.toml", "--metrics", "ups"], "did you mean 'up'"),
        (["sweep", "study.toml", "--export", "a.xls"], "ending"),
    ],
)
def test_wrong_calls_get_one_line(
    arguments: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    write(STUDY)
    assert call(*arguments) == 2
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error


def test_a_sweep_of_serving(capsys: pytest.CaptureFixture[str]) -> None:
    text = """
    seeds = 2
    [scenario]
    system = "serving"
    workload = { requests = 200, rate = 5.0 }
    [grid]
    workload.rate = [4.0, 8.0]
    cluster.mixed.tp = [4, 1]
    """
    assert call("sweep", write(text), "--format", "json") == 1
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    failed = [run for run in data["runs"] if "error" in run]
    assert len(failed) == 4 and "cluster.mixed" in failed[0]["error"], "70B does not fit one GPU"
    good = next(run for run in data["runs"] if "error" not in run)
    scenario = mt.ServingScenario().changed({"workload.requests": 200, **good["point"]})
    alone = scenario.run(good["seed"])
    assert good["metrics"] == {n: v for n, v in alone.metrics.items() if v is not None}
    assert good["digest"] == alone.digest
