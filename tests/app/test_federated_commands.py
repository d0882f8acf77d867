"""`mltwin fed`: what is printed where, files, what is typed wrong."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import mltwin as mt

Call = Callable[..., tuple[int, str, str]]
SMALL = ("--set", "model.level=quadratic", "--set", "stop.versions=4", "--set", "clients.count=12")


def test_a_run_is_told_kept_and_drawn(call: Call, tmp_path: Path) -> None:
    png, json_gz = tmp_path / "a.png", tmp_path / "t.json.gz"
    words = ("fed", "run", *SMALL, "--strategy", "fedbuff", "--set", "strategy.concurrency=3",
             "--set", "strategy.buffer=2")  # fmt: skip
    code, out, err = call(
        *words, "--format", "json", "--out", tmp_path / "kept", "--plot", png, "--timeline", json_gz
    )
    found = json.loads(out)
    assert code == 0 and all(math.isfinite(value) for value in found["summary"].values())
    assert found["summary"]["versions"] == 4 and found["summary"]["updates"] == 8
    assert mt.Result.load(tmp_path / "kept").digest == found["digest"]
    assert png.stat().st_size > 1000 and json_gz.stat().st_size > 100 and str(png) in err
    again = json.loads(call(*words, "--format", "json", "--reference")[1])
    assert again["summary"] == found["summary"]


def test_a_file_from_the_template(call: Call, tmp_path: Path) -> None:
    file = tmp_path / "a.toml"
    assert call("scenario", "init", file, "--system", "federated")[0] == 0
    code, out, _ = call("run", file, *SMALL, "--format", "json")
    assert code == 0
    assert json.loads(call("fed", "run", file, *SMALL, "--format", "json")[1]) == json.loads(out)
    assert call("timeline", file, tmp_path / "t.json.gz", *SMALL)[0] == 0
    code, out, _ = call("compare", file, file, *SMALL)
    assert code == 0 and "+0.0 %" in out


def test_methods_are_compared(call: Call, tmp_path: Path) -> None:
    words = ("fed", "compare", *SMALL, "--strategies", "fedavg,fedbuff", "--seeds", 2)
    code, out, _ = call(*words, "--format", "markdown", "--set", "target.loss=100.0")
    assert code == 0 and "| fedbuff |" in out and "2 of 2" in out
    code, out, err = call(
        *words, "--tune", "strategy.server_lr=0.5,1", "--tuning-seeds", 1, "--format", "json",
        "--plot", tmp_path / "c.svg", "--against", "rounds", "--report", tmp_path / "r.html",
    )  # fmt: skip
    found = json.loads(out)
    assert code == 0 and [one["choices"] for one in found["tuned"]] == [2, 2]
    assert set(found["runs"]) == {"fedavg", "fedbuff"} and "c.svg" in err


def test_policies_and_laws_are_listed(call: Call) -> None:
    code, out, _ = call("fed", "strategies", "selection", "--format", "markdown")
    assert code == 0 and "oort" in out and "fedavg" not in out
    names = {row["name"] for row in json.loads(call("fed", "strategies", "--format", "json")[1])}
    assert {"fedavg", "fedbuff", "fedcompass", "oort"} <= names
    laws = json.loads(call("fed", "clients", "--laws", "--format", "json")[1])
    fields = {row["field"] for row in laws}
    assert fields == {"speed", "availability", "down_trace, up_trace"}


def test_clients_and_data_are_described(call: Call) -> None:
    words = ("--set", "clients.count=50", "--set", "clients.speed=log_normal")
    rows = json.loads(call("fed", "clients", *words, "--format", "json")[1])
    speed = next(row for row in rows if row[""] == "ms a sample")
    assert speed["5 %"] < speed["50 %"] < speed["95 %"]
    code, out, _ = call("fed", "data", "--format", "markdown")
    assert code == 0 and "| clients | 100 |" in out
    assert call("fed", "data", "--seed", 1, "--format", "markdown")[1] != out


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("fed", "run", "--strategy", "fedavgg"), "did you mean 'fedavg"),
        (("fed", "run", "none.toml"), "no such file"),
        (("fed", "run", "--set", "clients.speeds=1"), "did you mean 'speed'"),
        (("fed", "run", "--format", "vllm"), "use one of table, json"),
        (("fed", "compare", "--tune", "strategy.server_lr"), "write field=a,b"),
        (("fed", "compare", "--against", "money"), "use one of time"),
        (("fed", "compare", "a.toml", "b.toml", "--strategies", "fedavg"), "give one file"),
        (("fed", "strategies", "attacks"), "did you mean 'attack'"),
        (("fed", "data", "--set", "model.level=time"), "has no data"),
        (("fed", "clients", "--set", "clients.correlation={speed_label = 0.5}", "--set",
          "model.level=time"), "there are no labels"),
    ],
)  # fmt: skip
def test_what_is_typed_wrong(call: Call, words: tuple, told: str) -> None:
    code, out, err = call(*words)
    assert code == 2 and out == "" and told in " ".join(err.split())
    assert err.startswith("error: ")


def test_another_system_is_refused(call: Call, tmp_path: Path) -> None:
    (tmp_path / "a.toml").write_text('system = "training-run"\n', encoding="utf-8")
    code, _, err = call("fed", "run", tmp_path / "a.toml")
    assert code == 2 and "use mltwin run" in err


def test_a_method_named_twice_and_a_users_mistake_are_told(call: Call, tmp_path: Path) -> None:
    code, _, err = call("fed", "compare", "--strategies", "fedavg,fedavg", "--seeds", "2")
    assert code == 2 and "--strategies: a method is named twice" in err
    file = tmp_path / "mine.py"
    file.write_text(
        "from mltwin.models.federation.hooks import Strategy\n\n\n"
        "class Mine(Strategy):\n    def start(self, server):\n        nobody\n\n"
        "    def arrived(self, server, arrivals):\n        pass\n"
    )
    code, out, err = call("fed", "run", *SMALL, "--strategy", f"{file}:Mine")
    assert code == 2 and not out and "line 6, in start: NameError" in err


def test_what_has_no_use_is_told_of_each_method(call: Call) -> None:
    more = ("--set", "selection=oort", "--seeds", 2)
    code, _, err = call("fed", "compare", *SMALL, "--strategies", "afa_cd,fedavg", *more)
    assert code == 0 and "note: afa_cd: Not used, as afa_cd settles it itself: selection." in err
    assert "note: fedavg" not in err
    code, _, err = call("fed", "run", *SMALL, "--set", "clients.slow_factor=3.0")
    assert code == 0 and "there is no clients.slow_label: clients.slow_factor." in err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "--plot", "a.xyz"), "--plot: cannot write 'a.xyz'; use .png or .svg or .pdf"),
        (("run", "--timeline", "a.txt"), "--timeline: cannot write 'a.txt'"),
        (
            ("run", "--plot", "no/such/a.png"),
            "--plot: cannot be written: there is no folder 'no/such'",
        ),
        (("compare", "--strategies", "fedavg", "--report", "a.pdf"), "--report: cannot write"),
        (("data", "--set", "dataset.samples=0"), "dataset.samples: 0 should be greater"),
        (
            ("data", "--set", "dataset.samples={name = 'log_normal', mean = 1e300}"),
            "dataset.samples: sizes: a client of",
        ),
        (("run", "--set", "training.lr_decay=0.5"), "training.lr_decay: it would never decay"),
    ],
)
def test_one_line_before_anything_runs(call: Call, words: tuple[str, ...], said: str) -> None:
    code, out, err = call("fed", *words)
    assert code == 2 and said in err and err.count("\n") == 1 and not out


def test_an_interrupted_process_does_not_wait_for_its_threads() -> None:
    script = (
        "import threading, time\n"
        "from mltwin.app import cli\n"
        "threading.Thread(target=time.sleep, args=(60,)).start()\n"
        "def stop(words):\n    print('said', flush=True)\n    return cli.INTERRUPTED\n"
        "cli._guarded = stop\ncli.main([])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 130 and done.stdout == "said\n"
