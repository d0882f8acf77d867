"""`--error-bars` on the command line."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]


def test_a_run_prints_intervals(call: Call, scenario: Path) -> None:
    code, out, _ = call("run", scenario, "--error-bars", 3, "--workers", 1)
    assert code == 0 and ".." in out and "95 % of 3 draws from the error of the fit" in out
    assert "request_throughput" in out and "TPOT (ms)" in out


def test_a_run_gives_them_as_json(call: Call, scenario: Path, tmp_path: Path) -> None:
    out_folder = tmp_path / "runs"
    arguments = ("run", scenario, "--error-bars", 3, "--format", "json", "--out", out_folder)
    code, out, _ = call(*arguments, "--progress-json")
    bars = json.loads(out)["summary"]["error_bars"]
    assert code == 0 and bars["draws"] == 3
    low, high = bars["intervals"]["p50_tpot_ms"]
    assert 0 < low < high
    assert len(list(out_folder.glob("*/error_bars.parquet"))) == 1
    code, plain, _ = call("run", scenario, "--format", "json")
    assert json.loads(plain)["digest"] == json.loads(out)["digest"]


def test_a_comparison_prints_them(call: Call, scenario: Path) -> None:
    varied = ("--vary", "cluster.mixed.replicas=2,1", "--error-bars", 3)
    code, out, _ = call("compare", scenario, *varied)
    assert code == 0 and ".." in out and "3 draws" in out
    code, out, _ = call("compare", scenario, *varied, "--format", "json")
    assert code == 0 and json.loads(out)["replicas = 1"][0]["error_bars"]["vs_first"]


@pytest.mark.parametrize("number", [1, 0, -5, 10_001, 10**12])
@pytest.mark.parametrize("verb", ["run", "compare"])
def test_numbers_that_cannot_be(call: Call, scenario: Path, verb: str, number: int) -> None:
    code, _, err = call(verb, scenario, "--error-bars", number)
    assert code == 2 and "--error-bars" in err and "give 2 to 10000" in err.replace("\n", " ")
    assert "Traceback" not in err


def test_words_are_refused(call: Call, scenario: Path) -> None:
    code, _, err = call("run", scenario, "--error-bars", "many")
    assert code == 2 and "Traceback" not in err


def test_the_main_job_has_none(call: Call) -> None:
    code, _, err = call("run", "--error-bars", 5)
    assert code == 2 and "needs a scenario file" in err
