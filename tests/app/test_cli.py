"""The command line, called in this process and as a program."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from mltwin.app import cli

Call = Callable[..., tuple[int, str, str]]


def test_help_and_version(call: Call) -> None:
    code, out, _ = call("--help")
    assert code == 0 and all(verb in out for verb in ("run", "compare", "traces", "doctor"))
    code, out, _ = call("--version")
    assert code == 0 and out.count(".") == 2


@pytest.mark.parametrize("verb", ["run", "compare", "traces", "models", "gpus", "policies"])
def test_every_verb_has_help(call: Call, verb: str) -> None:
    assert call(verb, "--help")[0] == 0


def test_running_a_scenario(call: Call, scenario: Path) -> None:
    code, out, _ = call("run", scenario)
    assert code == 0 and "TTFT (ms)" in out and "completed" in out and "60" in out


def test_pools_are_shown_where_there_are_several(call: Call, scenario: Path) -> None:
    text = scenario.read_text().replace("[cluster.mixed]", "[cluster.decode]")
    scenario.write_text(text + "[cluster.prefill]\nreplicas = 1\n")
    code, out, _ = call("run", scenario)
    assert code == 0 and "Pools" in out and "busy_decode" in out


def test_output_as_json(call: Call, scenario: Path) -> None:
    code, out, _ = call("run", scenario, "--format", "json")
    data = json.loads(out)
    assert code == 0 and data["summary"]["completed"] == 60 and len(data["digest"]) == 64
    code, out, _ = call("run", scenario, "--format", "vllm", "--goodput", "ttft:500", "tpot:50")
    assert code == 0 and json.loads(out)["request_goodput"] > 0


def test_overrides_and_seed(call: Call, scenario: Path) -> None:
    def summary(*more: object) -> dict:
        return json.loads(call("run", scenario, "--format", "json", *more)[1])

    plain = summary()
    assert summary("--set", "workload.requests=30")["summary"]["completed"] == 30
    assert summary("--seed", 1)["digest"] != plain["digest"]
    assert summary("--set", "policy.route=round_robin")["digest"] != plain["digest"]
    limited = summary("--goodput", "ttft:500", "tpot:50")
    assert 0 < limited["summary"]["slo_attainment"] <= 1


def test_all_the_files_a_run_can_write(call: Call, scenario: Path, tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("run.png", "t.json.gz", "as-run.parquet")]
    code, _, err = call(
        *("run", scenario, "--out", tmp_path / "kept", "--plot", paths[0]),
        *("--timeline", paths[1], "--export-trace", paths[2], "--check"),
    )
    assert code == 0 and all(path.stat().st_size > 100 for path in paths)
    stored = list((tmp_path / "kept").glob("*/run.json"))
    assert len(stored) == 1 and "kept in" in err
    code, out, _ = call("compare", stored[0].parent, scenario, "--format", "json")
    first, second = json.loads(out).values()
    assert first[0]["digest"] == second[0]["digest"]


def test_comparing(call: Call, scenario: Path, tmp_path: Path) -> None:
    code, out, _ = call(
        *("compare", scenario, "--vary", "cluster.mixed.replicas=1,2", "--seeds", 2),
        *("--plot", tmp_path / "c.svg", "--out", tmp_path / "runs"),
    )
    assert code == 0 and "replicas = 1" in out and "means of 2 seeds" in out
    assert (tmp_path / "c.svg").exists() and len(list((tmp_path / "runs").glob("*/run.json"))) == 4
    code, out, _ = call("compare", scenario, scenario, "--format", "markdown", "--metrics", "gpus")
    assert code == 0 and out.startswith("| metric | small #1 | small #2 |")


def test_the_main_job(call: Call, tmp_path: Path) -> None:
    code, out, err = call(
        *("run", "--trace", "azure-conv-synthetic", "--requests", 300, "--out", tmp_path),
        "--progress-json",
    )
    assert code == 0 and "Who wins" in out and "disaggregated" in out
    assert (tmp_path / "main-azure-conv-synthetic" / "report.md").exists()
    told = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert told[0]["progress"] == 0 and told[-1]["progress"] == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "{s}", "--set", "workload.rat=5"], "did you mean 'rate'"),
        (["run", "{s}", "--set", "workload"], "write field=value"),
        (["run", "{s}", "--set", "cluster.mixd.replicas=3"], "did you mean 'mixed'"),
        (["run", "{s}", "--set", "model.name=lama-3.1-8b"], "llama-3.1-8b"),
        (["run", "{s}", "--goodput", "tfft:500"], "goodput"),
        (["run", "{s}", "--goodput"], "goodput"),
        (["run", "{s}", "--format", "xml"], "use one of table"),
        (["run", "{s}", "--plot", "x.doc"], "use .png"),
        (["run", "{s}", "--trace", "azure-conv-2023"], "workload.trace"),
        (["run", "missing.toml"], "no such file"),
        (["run", "--set", "a=1"], "needs a scenario file"),
        (["run", "--seed", "-1"], "--seed"),
        (["run", "--no-such-option"], "--no-such-option"),
        (["run", "--trace", "azure-conv-sintetic"], "azure-conv-sintetic"),
        (["compare", "{s}", "--vary", "nothing"], "--vary"),
        (["compare", "{s}", "--metrics", "p99_ttf_ms"], "p99_ttft_ms"),
        (["traces", "info", "nothing.csv"], "nothing.csv"),
        (["traces", "fetch", "azure-conv-synthetic"], "synthetic"),
        (["traces", "validate", "{s}"], "small.toml"),
        (["models", "show", "gtp-oss-120b"], "gpt-oss-120b"),
        (["gpus", "show", "h200"], "h100"),
        (["policies", "show", "nothing"], "nothing"),
        (["policies", "list", "rout"], "did you mean 'route'"),
        (["policies", "new", "rout", "x.py"], "did you mean 'route'"),
        (["scenario", "init", "{s}"], "--force"),
        (["scenario", "show", "missing.toml"], "no such file"),
        (["scenario", "schema", "--system", "servin"], "did you mean 'serving'"),
        (["rnu"], "rnu"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_input_is_one_line_and_code_2(
    call: Call, scenario: Path, arguments: list[str], words: str
) -> None:
    code, out, err = call(*(a.replace("{s}", str(scenario)) for a in arguments))
    lines = [line for line in err.splitlines() if not line.startswith("compiling")]
    assert code == 2, err
    assert len(lines) == 1 and lines[0].startswith("error: "), err
    assert words in lines[0], err
    assert "Traceback" not in out + err


def test_debug_shows_the_traceback(scenario: Path) -> None:
    from mltwin import InputError

    with pytest.raises(InputError):
        cli.main(["--debug", "run", str(scenario), "--set", "workload.rat=5"])


def test_a_bug_is_told_in_one_line(call: Call, scenario: Path, monkeypatch) -> None:
    from mltwin import ServingScenario

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("division by zero")

    monkeypatch.setattr(ServingScenario, "simulate", broken)
    code, _, err = call("run", scenario)
    assert code == 1 and "ZeroDivisionError" in err and "report it" in err


def test_a_policy_that_answers_nonsense_is_code_3(call: Call, scenario: Path) -> None:
    policy = scenario.parent / "bad.py"
    policy.write_text(
        "from mltwin.policies import policy\n\n\n"
        '@policy("route")\ndef far(_request, _replicas, _hits, _ctx, _params, _memory):\n'
        '    """Nowhere."""\n    return 99\n'
    )
    code, _, err = call("run", scenario, "--set", "policy.route=bad.py:far")
    assert code == 3 and "replica 99" in err and err.count("\n") == 1


def test_the_shelf(call: Call, tmp_path: Path) -> None:
    for arguments in (
        ["traces", "list"],
        ["models", "list"],
        ["gpus", "list"],
        ["policies", "list"],
        ["policies", "hooks"],
    ):
        code, out, _ = call(*arguments)
        assert code == 0 and len(out.splitlines()) > 4
        if arguments[0] != "gpus":
            code, out, _ = call(*arguments, "--json")
            assert code == 0 and len(json.loads(out)) > 4
    assert "parameters" in call("models", "show", "llama-3.1-8b")[1]
    assert "gemm" in call("gpus", "show", "h100-sxm-80gb")[1]
    assert "def least_tokens" in call("policies", "show", "least_tokens")[1]
    assert "vllm_v1" in call("policies", "engines")[1]


def test_starting_from_nothing(call: Call, tmp_path: Path) -> None:
    """The way of a new user: template, own policy, check, run."""
    file, policy = tmp_path / "s.toml", tmp_path / "mine.py"
    assert call("scenario", "init", file)[0] == 0
    assert call("policies", "new", "route", policy)[0] == 0
    code, out, err = call("scenario", "show", file)
    assert code == 0 and "[cluster.mixed]" in out and "hash" in err
    code, out, _ = call(
        *("run", file, "--set", "workload.requests=40"),
        *("--set", "policy.route=mine.py:first_below"),
    )
    assert code == 0 and "TTFT" in out
    assert json.loads(call("scenario", "schema")[1])["title"] == "ServingScenario"


def test_validating_a_trace(call: Call, tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("ts,in,out\n0,10,2\n1,x,3\n")
    columns = '{"arrival": "ts", "prompt": "in", "output": "out"}'
    code, _, err = call("traces", "validate", path, "--columns", columns)
    assert code == 2 and "line 3" in err and "'in'" in err
    code, out, _ = call("traces", "validate", path, "--columns", columns, "--skip")
    assert code == 0 and "rejected" in out
    code, _, err = call("traces", "validate", path, "--columns", "{")
    assert code == 2 and "--columns" in err


def test_the_doctor(call: Call) -> None:
    code, out, _ = call("doctor")
    assert code == 0 and "kernel hash" in out and "numba" in out


@pytest.mark.parametrize(
    ("given", "parsed"),
    [
        (
            ["--goodput", "ttft:5", "tpot:6", "x"],
            ["--goodput", "ttft:5", "--goodput", "tpot:6", "x"],
        ),
        (["a", "--goodput", "ttft:5"], ["a", "--goodput", "ttft:5"]),
        (["--goodput", "--seed", "1"], ["--goodput", "--seed", "1"]),
        (["--goodput"], ["--goodput"]),
        (["--goodput", "tfft:5"], ["--goodput", "tfft:5"]),
        (["ttft:5"], ["ttft:5"]),
    ],
)
def test_goodput_takes_several_words(given: list[str], parsed: list[str]) -> None:
    assert cli.gather_limits(given) == parsed


def program(*arguments: str, **options: object) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "mltwin", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, **options)  # type: ignore[call-overload,no-any-return]


def test_as_a_program(scenario: Path) -> None:
    done = program("run", str(scenario), "--format", "json")
    assert done.returncode == 0 and json.loads(done.stdout)["summary"]["completed"] == 60
    failed = program("run", "missing.toml")
    assert failed.returncode == 2 and failed.stdout == "" and failed.stderr.count("\n") == 1


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys\nfrom mltwin.app import cli\n"
        "try:\n    cli.main(['--help'])\nexcept SystemExit:\n    pass\n"
        "heavy = {'numpy', 'numba', 'pandas', 'matplotlib', 'scipy', 'pyarrow', 'pydantic'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stderr.strip() == "[]"


def test_a_closed_pipe_is_no_error(scenario: Path) -> None:
    script = f"{sys.executable} -m mltwin traces list --json | head -1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60)
    assert "Traceback" not in done.stderr and "error" not in done.stderr.lower()


@pytest.mark.skipif(os.name == "nt", reason="signals of Unix")
def test_interrupting_keeps_what_is_done(scenario: Path, tmp_path: Path) -> None:
    """Ctrl-C ends with 130, and the runs that were ready stay."""
    out = tmp_path / "runs"
    command = [sys.executable, "-m", "mltwin", "compare", str(scenario), "--seeds", "100000"]
    command += ["--out", str(out), "--workers", "1"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while len(list(out.glob("*/run.json"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in err and "Traceback" not in err
    from mltwin import Result

    whole = list(out.glob("*/run.json"))
    assert len(whole) >= 3
    assert Result.load(whole[0].parent).metrics["completed"] == 60
