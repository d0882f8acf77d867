"""`mltwin timeline`, from a scenario, a stored run, or a system of one's own."""

from pathlib import Path

import pandas as pd
import pytest
import test_timeline_toy as toy
import trace_event_rules as rules

import mltwin as mt
from mltwin.app.cli import main
from mltwin.timelines.replay import Replay

TEXT = """
system = "serving"
model.name = "llama-3.1-8b"
workload = {requests = 120, rate = 8.0}
cluster.mixed.replicas = 2
"""


@pytest.fixture
def scenario(tmp_path) -> Path:
    path = tmp_path / "small.toml"
    path.write_text(TEXT)
    return path


def call(*words: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    return int(ended.value.code or 0)


def test_a_file_for_perfetto(scenario: Path, tmp_path, capsys) -> None:
    out = tmp_path / "t.json.gz"
    assert call("timeline", scenario, out, "--requests", 20, "--max-events", 600) == 0
    content = rules.read(out)
    assert rules.problems(content) == [] and len(content["traceEvents"]) <= 600
    err = capsys.readouterr().err
    assert "ui.perfetto.dev" in err and "20 of 120 requests" in err and "drawn as" in err
    tracks = {e["id"] for e in content["traceEvents"] if e["ph"] == "b"}
    assert len(tracks) == 20


def test_a_stored_run_and_its_scenario_give_the_same(scenario: Path, tmp_path) -> None:
    stored = mt.Scenario.load(scenario).run(3).save(tmp_path / "runs")
    paths = tmp_path / "a.json", tmp_path / "b.json"
    assert call("timeline", stored, paths[0], "--seed", 3) == 0
    assert call("timeline", scenario, paths[1], "--seed", 3) == 0
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_the_replay_tables(scenario: Path, tmp_path) -> None:
    out = tmp_path / "view"
    assert call("timeline", scenario, out, "--window", "2:6", "--rows", 200) == 0
    replay = Replay.load(out)
    assert replay.window_s == (2.0, 6.0) and 0 < len(replay.slices) <= 200
    made = mt.Scenario.load(scenario).run(log=True, batches=True).timeline(window_s=(2.0, 6.0))
    pd.testing.assert_frame_equal(replay.slices[made.frame().columns], made.frame(rows=200))
    assert replay.chart().to_dict() == made.chart((2.0, 6.0), rows=200).to_dict()


def test_a_window_beyond_the_run_ends_with_it(scenario: Path, tmp_path) -> None:
    assert call("timeline", scenario, tmp_path / "view", "--window", "2:inf") == 0
    replay = Replay.load(tmp_path / "view")
    assert replay.window_s == (2.0, replay.run_s) and replay.run_s < 1000


def test_any_system_has_the_command(tmp_path) -> None:
    (tmp_path / "b.toml").write_text('system = "bakery"\nloaves = 30\n')
    assert call("timeline", tmp_path / "b.toml", tmp_path / "b.json") == 0
    assert toy.BakeryScenario and not rules.problems(rules.read(tmp_path / "b.json"))
    out = tmp_path / "run.json"
    assert call("run", tmp_path / "b.toml", "--timeline", out) == 0 and out.is_file()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["s.toml", "t.json", "--window", "5"], "write from:to"),
        (["s.toml", "t.json", "--window", "9:3"], "no window"),
        (["s.toml", "t.json", "--window", "900:950"], "when the run is over; it lasts"),
        (["s.toml", "t.html"], "give a .json.gz for Perfetto, or a folder"),
        (["s.toml", "t.json", "--max-events", "5"], "allow at least"),
        (["none.toml", "t.json"], "none.toml"),
        ([".", "t.json"], "no run"),
        ([".", "t.json", "--set", "seed=1"], "name a scenario"),
        (["s.toml", "nowhere/t.json"], "cannot be written"),
        (["s.toml", "s.toml/view"], "cannot be written"),
    ],
)
def test_bad_input_is_one_line(tmp_path, monkeypatch, capsys, words: list[str], said: str) -> None:
    (tmp_path / "s.toml").write_text(TEXT)
    monkeypatch.chdir(tmp_path)
    assert call("timeline", *words) == 2
    err = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(err) == 1 and said in err[0]


def test_a_folder_that_is_no_view(tmp_path) -> None:
    with pytest.raises(mt.InputError, match="holds no replay view"):
        Replay.load(tmp_path)
