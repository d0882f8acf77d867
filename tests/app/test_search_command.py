"""`mltwin search`: what the verbs print and write, and how they end."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

Call = Callable[..., tuple[int, str, str]]
LIMITS = ("--goodput", "ttft:300", "tpot:30")


def test_help_of_each_verb(call: Call) -> None:
    for verb in ("goodput", "cluster", "plan", "pareto", "optimise", "sensitivity"):
        assert call("search", verb, "--help")[0] == 0


def test_goodput(call: Call, scenario: Path, tmp_path: Path) -> None:
    out = tmp_path / "found"
    words = ("search", "goodput", scenario, *LIMITS, "--seeds", "2", "--tolerance", "0.1")
    code, text, err = call(*words, "--out", out)
    assert code == 0 and "keeps slo_attainment >= 0.9" in text and "per GPU" in text
    assert "written to" in err
    data = json.loads((out / "found.json").read_text("utf-8"))
    assert data["seeds"] == [0, 1] and data["rate"] < data["fails_at"]
    assert {path.name for path in out.iterdir()} >= {"rows.csv", "report.html", "found.svg", "runs"}
    code, text, _ = call(*words, "--format", "json")
    again = json.loads(text)
    assert code == 0 and again == data
    assert "**Highest workload.rate" in call(*words, "--format", "markdown")[1]


def test_what_cannot_be_kept_is_one_line_and_exit_1(call: Call, scenario: Path) -> None:
    words = (scenario, "--goodput", "ttft:0.001", "--seeds", "1")
    code, _, err = call("search", "goodput", *words)
    assert code == 1 and err.count("\n") == 1 and "the closest is" in err
    code, text, err = call(
        "search", "cluster", *words, "--field", "cluster.mixed.replicas=1..2", "--format", "json"
    )
    assert code == 1 and json.loads(text)["best"] is None and "No cluster up to 2 mixed" in err


def test_cluster(call: Call, scenario: Path, tmp_path: Path) -> None:
    words = ("search", "cluster", scenario, *LIMITS, "--set", "workload.rate=60.0", "--seeds", "2")
    code, text, _ = call(
        *words, "--field", "cluster.mixed.replicas=1..16", "--plot", tmp_path / "map.svg"
    )
    assert code == 0 and "GPUs:" in text and (tmp_path / "map.svg").is_file()
    picked = call(*words, "--field", "cluster.mixed.replicas=1,2,4,8,16", "--format", "json")
    assert json.loads(picked[1])["best"]["cluster.mixed.replicas"] in (1, 2, 4, 8, 16)


def test_plan(call: Call, scenario: Path, tmp_path: Path) -> None:
    code, text, err = call(
        "search",
        "plan",
        scenario,
        *LIMITS,
        "--most",
        4,
        "--seeds",
        1,
        "--no-frontier",
        "--out",
        tmp_path / "plan",
        "--progress-json",
    )
    assert code == 0 and "colocated" in text and "disaggregated" in text
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert lines[-1]["progress"] == 1.0
    assert json.loads((tmp_path / "plan" / "found.json").read_text("utf-8"))["kind"] == "plan"


def test_pareto_of_a_file_and_of_a_sweep(
    call: Call, scenario: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.csv"
    frame = pd.DataFrame({"policy": ["a", "b", "c"], "seed": 0, "x_s": [1, 2, 3], "y_s": [3, 2, 4]})
    frame.to_csv(rows, index=False)
    objectives = ("--objective", "x_s", "--objective", "y_s:lower", "--format", "json")
    code, text, _ = call("search", "pareto", rows, *objectives)
    assert code == 0 and [p["policy"] for p in json.loads(text)["front"]] == ["a", "b"]
    study = tmp_path / "study.toml"
    study.write_text(
        f'scenario = "{scenario}"\n[grid]\n"cluster.mixed.replicas" = [1, 2, 3]\n', "utf-8"
    )
    code, text, err = call("sweep", study, "--out", tmp_path / "swept")
    assert code == 0, err
    code, text, err = call(
        "search",
        "pareto",
        tmp_path / "swept",
        "--objective",
        "gpus:lower,p99_ttft_ms",
        "--format",
        "json",
    )
    assert code == 0, err
    assert json.loads(text)["fields"] == ["cluster.mixed.replicas"]
    monkeypatch.chdir(tmp_path)
    code, again, err = call(
        "search",
        "pareto",
        study,
        "--objective",
        "gpus:lower,p99_ttft_ms",
        "--format",
        "json",
    )
    assert code == 0 and json.loads(again) == json.loads(text), err
    code, text, _ = call("search", "pareto", rows, *objectives[:-2])
    said = " ".join(text.split())
    assert code == 0 and said.count("2 of 3 points are on the front.") == 1  # not said twice


def test_optimise(call: Call, scenario: Path) -> None:
    pytest.importorskip("optuna")
    code, text, _ = call(
        "search",
        "optimise",
        scenario,
        *LIMITS,
        "--vary",
        "cluster.mixed.replicas=1..4",
        "--vary",
        "policy.route=random,least_requests",
        "--objective",
        "p99_ttft_ms",
        "--limit",
        "gpus<=3",
        "--trials",
        8,
        "--seeds",
        2,
        "--format",
        "json",
    )
    data = json.loads(text)
    assert code == 0 and data["best"]["cluster.mixed.replicas"] <= 3


def test_sensitivity(call: Call, scenario: Path) -> None:
    code, text, _ = call(
        "search",
        "sensitivity",
        scenario,
        "--vary",
        "workload.rate",
        "--vary",
        "cluster.mixed.replicas",
        "--metric",
        "mean_ttft_ms",
        "--seeds",
        2,
    )
    assert code == 0 and "elasticity" in text and "workload.rate" in text


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("goodput", "{}", "--seeds", "x"), "--seeds"),
        (("goodput", "{}"), "slo.ttft_ms"),
        (("goodput", "{}", "--format", "xml"), "--format"),
        (("goodput", "{}", "--plot", "a.gif"), "--plot"),
        (("goodput", "{}", "--out", "{}"), "--out"),
        (("cluster", "{}", *LIMITS, "--field", "cluster.mixed.replicas=1..4:log"), "--field"),
        (("cluster", "{}", *LIMITS, "--limit", "p99"), "is no limit"),
        (("pareto", "{}", "--objective", "x_s"), "small.toml"),
        (("pareto", "rows.txt", "--objective", "x_s"), "is no sweep"),
        (("pareto", "nowhere.csv"), "--objective"),
        (("optimise", "{}", "--objective", "x_s"), "--vary"),
        (("optimise", "{}", "--vary", "seed=1..2"), "--objective"),
        (("sensitivity", "{}"), "--vary"),
        (("sensitivity", "{}", "--vary", "workload.rate", "--method", "sobol"), "--vary"),
    ],
)
def test_bad_questions_end_with_2(call: Call, scenario: Path, words: tuple, told: str) -> None:
    code, _, err = call("search", *(word.format(scenario) for word in words))
    assert code == 2 and told in err and err.count("error:") == 1
