"""`mltwin compare`: tables, formats, seeds, reports."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from mltwin import InputError
from mltwin.app.compare_commands import parse_seeds, parse_share

Call = Callable[..., tuple[int, str, str]]
METRICS = ("--metrics", "p50_tpot_ms,completed")


@pytest.fixture
def runs(call: Call, scenario: Path, tmp_path: Path) -> Path:
    """Two scenarios, three seeds each, stored in one folder."""
    folder = tmp_path / "runs"
    code, _, _ = call(
        *("compare", scenario, "--vary", "cluster.mixed.replicas=2,1", "--seeds", "5-7"),
        *("--out", folder, "--workers", 1),
    )
    assert code == 0 and len(list(folder.glob("*/run.json"))) == 6
    return folder


def test_stored_runs_in_each_form(call: Call, runs: Path, tmp_path: Path) -> None:
    code, out, _ = call(
        "compare", runs, "--base", "replicas = 2", "--table", "differences", *METRICS
    )
    assert code == 0 and "worse" in out and "identical" in out and "Paired over 3 seeds" in out
    code, out, _ = call("compare", *runs.iterdir(), "--least", "1%", "--format", "json", *METRICS)
    data = json.loads(out)
    assert code == 0 and data["least"] == 0.01 and data["power"] == 0.8
    first, second = data["differences"]
    assert first["metric"] == "p50_tpot_ms" and first["seeds"] >= 2 and second["seeds"] is None
    assert [run["seed"] for run in data["runs"]["replicas = 1"]] == [5, 6, 7]
    code, plain, _ = call("compare", runs, "--format", "json")
    assert json.loads(plain) == data["runs"]
    code, out, _ = call("compare", runs, "--table", "runs", "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert len(rows) == 6 and rows[0]["cluster.mixed.replicas"] == "1"
    stored = data["runs"]["replicas = 1"][0]["metrics"]
    assert float(rows[0]["p99_ttft_ms"]) == stored["p99_ttft_ms"]
    code, out, _ = call("compare", runs, "--least", "0.5 %", "--format", "csv", *METRICS)
    assert code == 0 and out.startswith("metric,scenario,pairs,base_mean,mean,change,")
    code, out, _ = call("compare", runs, "--table", "fields", "--format", "markdown")
    assert "| cluster.mixed.replicas | 1 | 2 |" in out
    code, out, _ = call("compare", runs, "--table", "runs", *METRICS)
    assert code == 0 and out.count("replicas = 1") == 3


def test_the_report_and_the_pictures(call: Call, runs: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "r.html", tmp_path / "d.svg"
    code, _, err = call("compare", runs, "--least", "2%", "--report", page, "--plot", picture)
    assert code == 0 and "written to" in err and "drawn to" in err
    text = page.read_text(encoding="utf-8")
    assert "replicas = 2 against replicas = 1" in text and "a difference of 2 %" in text
    assert "--seeds 5-7" in text and picture.read_text().startswith("<?xml")


def test_new_runs_beside_stored_ones(call: Call, runs: Path, scenario: Path) -> None:
    code, out, _ = call("compare", runs, scenario, "--format", "json", "--workers", 1)
    data = json.loads(out)
    assert code == 0 and [run["seed"] for run in data["small"]] == [5, 6, 7]
    digests = [[run["digest"] for run in data[name]] for name in ("small", "replicas = 2")]
    assert digests[0] == digests[1]


def test_error_bars_stand_beside_the_intervals(call: Call, scenario: Path) -> None:
    words = ("--vary", "cluster.mixed.replicas=2,1", "--seeds", 2, "--error-bars", 3)
    options = ("--table", "differences", "--metrics", "p50_tpot_ms", "--workers", 1)
    code, out, _ = call("compare", scenario, *words, *options, "--format", "json")
    row = json.loads(out)["differences"][0]
    low, high = row["bars"]
    assert code == 0 and row["pairs"] == 2 and low < high
    code, out, _ = call("compare", scenario, *words, *options, "--format", "markdown")
    assert "| fit |" in out and f"{100 * low:+.1f}..{100 * high:+.1f} %" in out


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--seeds", "0"], "--seeds"),
        (["--seeds", "7-5"], "--seeds"),
        (["--seeds", "1,1"], "--seeds"),
        (["--seeds", "many"], "--seeds"),
        (["--seeds", "9" * 30], "--seeds"),
        (["--least", "0"], "--least"),
        (["--least", "nan"], "--least"),
        (["--least", "x%"], "--least"),
        (["--table", "mean"], "use one of means"),
        (["--format", "xml"], "use one of table"),
        (["--report", "r.pdf"], "--report"),
        (["--plot", "p.html"], "--plot"),
        (["--base", "smal"], "did you mean 'small'"),
    ],
)
def test_wrong_options(call: Call, scenario: Path, options: list[str], words: str) -> None:
    code, out, err = call("compare", scenario, *options)
    assert code == 2 and words in err and len(err.strip().splitlines()) == 1 and not out


def test_options_that_stored_runs_do_not_heed(call: Call, runs: Path, tmp_path: Path) -> None:
    for option in (["--seeds", "2"], ["--set", "workload.rate=3"], ["--goodput", "ttft:5"]):
        code, _, err = call("compare", runs, *option)
        assert code == 2 and option[0] in err and "stored" in err
    code, _, err = call("compare", tmp_path)
    assert code == 2 and "there is no run" in err
    code, _, err = call("compare", runs, "--report", tmp_path / "none" / "r.html")
    assert code == 2 and "cannot be written" in err


def test_seeds_and_shares() -> None:
    assert parse_seeds("3") == [0, 1, 2] and parse_seeds("4-4") == [4]
    assert parse_seeds("9,2") == [9, 2] and parse_seeds("5,") == [5]
    assert parse_share("1%") == parse_share("0.01") == parse_share(" 1 % ") == 0.01
    for text in ("", "-1", "1-", "1,,2", "1.5", "٣", str(2**62 + 1) + ",1", "0-9999999"):
        with pytest.raises(InputError):
            parse_seeds(text)
    assert parse_share("500%") == 5.0
    for text in ("5", "1", "0", "-1%", "x"):  # 5 means 5 %, not 500 %
        with pytest.raises(InputError):
            parse_share(text)
