"""Baseline files: readable in a diff, the same when read back, and strict about damage."""

import json
import math

import pytest
import toy

import mltwin as mt
from mltwin.gate.baseline import Baseline, input_hashes, scenario_hash
from mltwin.gate.tolerances import parse_tolerance
from mltwin.sim.cachedir import source_hash


def test_it_reads_what_it_wrote(folder):
    path = folder / "toy.json"
    found = Baseline.load(path)
    assert found.text() == path.read_text()
    assert found.name == "toy" and found.first == 10 and found.seeds == tuple(range(30))
    assert found.generated and found.updated == ("the first",)
    result = toy.ToyScenario(size=1000).run(4)
    assert found.metrics["mean_wait_ms"].values[4] == result.metrics["mean_wait_ms"]
    assert result.digest.startswith(found.digests[4]) and len(found.digests[4]) == 16
    assert found.code == {"mltwin": mt.__version__, "kernel": source_hash()[:16]}


def test_it_is_made_to_be_read_in_a_diff(folder):
    lines = (folder / "toy.json").read_text().splitlines()
    data = json.loads("\n".join(lines))
    assert list(data) == sorted(data) and list(data["metrics"]) == sorted(data["metrics"])
    for name in data["metrics"]:
        assert sum(line.startswith(f'  "{name}": {{"direction"') for line in lines) == 1
    assert max(map(len, lines)) < 1500


def test_a_fixed_trace_is_told_once(folder, world):
    world.drawn = False
    made = mt.make_baseline(folder / "toy.toml", folder / "fixed.json", reason="x", seeds=2)
    assert json.loads((folder / "fixed.json").read_text())["trace_sha256"] == "trace 0"
    assert not Baseline.load(folder / "fixed.json").generated and made.first == 2


def test_headline_metrics_by_default(folder):
    made = mt.make_baseline(folder / "toy.toml", reason="x", seeds=2, hold=2)
    assert list(made.metrics) == ["mean_wait_ms", "served"]
    assert made.metrics["served"].direction == "higher"


def test_metrics_and_tolerances_of_ones_own(folder):
    made = mt.make_baseline(
        folder / "toy.toml",
        reason="x",
        seeds=2,
        metrics=["refused", "served"],
        tolerances={"refused": parse_tolerance("abs:3"), "": parse_tolerance("4%")},
    )
    assert made.metrics["refused"].tolerance.data() == {"abs": 3.0}
    assert made.metrics["served"].tolerance.data() == {"rel": 0.04}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"reason": " "}, "reason"),
        ({"metrics": ["serve"]}, "did you mean 'served'"),
        ({"tolerances": {"hit_ratio": parse_tolerance("1%")}}, "no metric 'hit_ratio' is guarded"),
        ({"seeds": 5, "hold": 3}, "hold at least"),
        ({"path": "baselines/toy.toml/x.json"}, "cannot be written"),
    ],
)
def test_what_cannot_be_made(folder, change, said):
    with pytest.raises(mt.InputError, match=said):
        mt.make_baseline(folder / "toy.toml", **{"reason": "x", "seeds": 2, **change})


def test_no_baseline_of_broken_runs(folder, world):
    world.broken = {1}
    with pytest.raises(mt.InputError, match="seed 1 failed: a law was broken"):
        mt.make_baseline(folder / "toy.toml", folder / "new.json", reason="x", seeds=2)
    assert not (folder / "new.json").exists()


def spoilt(path, key, value):
    data = json.loads(path.read_text())
    here = data
    *steps, last = key.split(".")
    for step in steps:
        here = here[step]
    here[last] = value
    path.write_text(json.dumps(data))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("format", "other", "is no baseline"),
        ("schema", 2, "has schema 2"),
        ("seeds", [0, 0, 1], "repeated"),
        ("seeds", [-1], "seeds"),
        ("seeds", "all", "seeds"),
        ("first", 31, "first = 31 of 30 seeds"),
        ("first", True, "first"),
        ("digests", ["a"], "as many digests"),
        ("digests", [1] * 30, "digests"),
        ("trace_sha256", None, "trace_sha256"),
        ("scenario", None, "scenario"),
        ("metrics", {}, "guards no metric"),
        ("metrics.served", 3, "is no metric"),
        ("metrics.served.values", [1.0], "each of 30 seeds"),
        ("metrics.served.values", ["1"] * 30, "each of 30 seeds"),
        ("metrics.served.values", [math.nan] * 30, "NaN is no number"),
        ("metrics.served.direction", "up", "unknown direction 'up'"),
        ("metrics.served.tol", {"rel": -1}, "no tolerance"),
        ("metrics.served.tol", 0.01, "no tolerance"),
        ("updated", "x", "updated"),
    ],
)
def test_damage_is_told(folder, key, value, said):
    spoilt(folder / "toy.json", key, value)
    with pytest.raises(mt.InputError, match=said) as error:
        mt.check(folder / "toy.json")
    assert "toy.json" in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"a": 1e999}', "[" * 100_000, '"\ud800"', "\x00"]
)
def test_no_json(folder, text):
    (folder / "toy.json").write_bytes(text.encode("utf-8", "surrogatepass"))
    with pytest.raises(mt.InputError, match=r"toy\.json"):
        mt.check(folder / "toy.json")


def test_a_scenario_is_no_baseline(folder):
    with pytest.raises(mt.InputError, match=r"toy\.toml: is a scenario, .* name the \.json"):
        mt.check(folder / "toy.toml")


def test_the_hash_is_of_what_is_said():
    plain = toy.ToyScenario(size=7)
    assert scenario_hash(plain) == scenario_hash(plain.with_(name="label", seed=3))
    assert scenario_hash(plain) != scenario_hash(plain.with_(size=8))


def test_named_files_are_inputs_but_policies_are_not(tmp_path):
    (tmp_path / "trace.csv").write_text("1\n")
    (tmp_path / "mine.py").write_text("1\n")
    (tmp_path / "toy.toml").write_text('system = "gate-toy"\nfile = "trace.csv"\nname = "mine.py"')
    assert list(input_hashes(mt.Scenario.load(tmp_path / "toy.toml"))) == ["trace.csv"]
    assert input_hashes(toy.ToyScenario(file="mine.py")) == {}
