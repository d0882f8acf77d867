"""`mltwin network` and `mltwin training`: what is printed where, files, what is typed wrong."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest

import mltwin as mt

Call = Callable[..., tuple[int, str, str]]
STAR = ("--on", "star", "--set", "hosts=4", "--set", "latency_s=0.0")


def test_topologies_as_markdown(call: Call) -> None:
    code, out, _ = call("network", "topologies", "--format", "markdown")
    assert code == 0
    assert out.startswith("| topology |") and "| fat_tree |" in out


def test_a_topology_is_told_drawn_and_saved(call: Call, tmp_path: Path) -> None:
    png, toml = tmp_path / "t.png", tmp_path / "t.toml"
    code, out, err = call("network", "draw", "star", "--out", png, "--save", toml)
    assert code == 0 and "8 hosts, 1 switch" in out and png.stat().st_size > 1000
    assert str(png) in err and str(toml) in err
    assert call("network", "draw", toml)[1].splitlines()[0].endswith("16 links")


def test_times_of_a_collective(call: Call) -> None:
    words = ("network", "collective", "all_reduce", *STAR, "--mb", "100", "--algorithm", "ring")
    rows = json.loads(call(*words, "--format", "json")[1])
    # 2 (n - 1)/n bytes over 50 GB/s
    assert [row["seconds"] for row in rows] == pytest.approx([1.5 * 100e6 / 50e9], rel=1e-6)
    assert "| 100 | ring |" in call(*words, "--format", "markdown")[1]


def test_plans_fastest_first(call: Call) -> None:
    words = ("training", "plans", "llama-3.1-8b", "--gpus", 8, "--sequences", 8, "--tp", "1,2")
    found = json.loads(call(*words, "--pp", 1, "--top", 3, "--format", "json")[1])
    speeds = [row["tokens_per_s"] for row in found["plans"]]
    assert len(speeds) == 3 and speeds == sorted(speeds, reverse=True)


def test_a_folder_is_a_graph(call: Call, tmp_path: Path) -> None:
    for rank, us in enumerate((400, 500)):
        node = {"Id": 1, "Name": "forward", "NodeType": 4, "runtime": us, "data_deps": []}
        (tmp_path / f"r{rank}.json").write_text(json.dumps({"workload_graph": [node]}))
    code, out, _ = call("training", "inspect", tmp_path)
    assert code == 0 and "2 devices" in out and "0.0005 s" in out


@pytest.mark.parametrize("system", ["network", "training", "training-run"])
def test_a_template_runs_is_kept_and_compared(call: Call, tmp_path: Path, system: str) -> None:
    file = tmp_path / "a.toml"
    assert call("scenario", "init", file, "--system", system)[0] == 0
    code, out, _ = call("run", file, "--format", "json", "--out", tmp_path / "kept")
    found = json.loads(out)
    assert code == 0 and all(math.isfinite(value) for value in found["summary"].values())
    assert mt.Result.load(tmp_path / "kept").digest == found["digest"]
    assert call("timeline", file, tmp_path / "t.json.gz")[0] == 0
    code, out, _ = call("compare", file, file)
    assert code == 0 and "+0.0 %" in out
    code, out, err = call("run", file, "--error-bars", 3)
    assert code == 2 and out == "" and "no fitted parameters" in err


def test_figures_are_of_any_kind_that_can_be_drawn(call: Call, tmp_path: Path) -> None:
    gif = tmp_path / "t.gif"
    assert call("network", "draw", "star", "--out", gif)[0] == 0 and gif.stat().st_size > 100
    code, _, err = call("network", "draw", "star", "--out", tmp_path / "x.xyz")
    assert code == 2 and "use .png, .svg or .pdf" in " ".join(err.split())
    code, _, err = call("network", "draw", "star", "--save", tmp_path / "x.csv")
    assert code == 2 and "use .json or .toml" in " ".join(err.split())


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("network", "draw", "starr"), "did you mean 'star'"),
        (("network", "draw", "wan"), "wan needs 'sites'"),
        (("network", "collective", "all_reduce", "--mb", "big"), "'big' is no size"),
        (("network", "collective", "all_reduc"), "did you mean 'all_reduce'"),
        (("training", "plans", "llama-3.1-8b", "--gpus", 8, "--tp", "x"), "'x' is no size"),
        (("training", "plans", "llama-3.1-8b", "--gpus", 1), "no plan fits"),
        (("training", "plans", "llama-3.1-8b", "--gpus", 8, "--tp", ","), "names no size"),
        (("training", "plans", "llama-3.1-8b", "--gpus", 8, "--tp", 3), "must divide the GPUs"),
        (("training", "plans", "llama-3.1-8b", "--gpus", 8, "--recipe", "x"), "no recipe 'x'"),
        (("network", "collective", "all_reduce", "--ranks", 999), "the topology has 256"),
        (("network", "collective", "all_reduce", "--mb", "nan"), "'nan' is no size"),
        (("network", "collective", "all_reduce", "--fidelity", "exact"), "use maxmin"),
        (("network", "draw", "star", "--set", "hosts=1"), "from 2 on"),
        (("training", "inspect", "none.json"), "no such file"),
    ],
)
def test_what_is_typed_wrong(call: Call, words: tuple, told: str) -> None:
    code, out, err = call(*words)
    assert code == 2 and out == "" and told in " ".join(err.split())
    assert err.startswith("error: ")
