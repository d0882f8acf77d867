"""`mltwin check` as typed: exit codes, files written, options that do not go together."""

import json
import os
import subprocess
import xml.etree.ElementTree as ET

import pytest

from mltwin.app.cli import main


@pytest.fixture
def mltwin(capsys):
    """Run a command line in this process: exit code, standard output, standard error."""

    def call(*words):
        with pytest.raises(SystemExit) as done:
            main([str(word) for word in words])
        out, err = capsys.readouterr()
        return done.value.code, out, err

    return call


def test_pass_and_fail(folder, mltwin, world):
    code, out, _ = mltwin("check")
    assert code == 0 and "passed: 1 scenario, 4 metrics: 4 same" in out
    world.slower = 0.02
    code, out, _ = mltwin("check", "--workers", 2)
    assert code == 1 and "regression" in out and "again: mltwin check baselines/toy.json" in out
    code, out, _ = mltwin("check", "--set", "size=1001")
    assert "again: mltwin run baselines/toy.toml --seed" in out and "--set size=1001" in out


def test_all_shows_the_same_too(folder, mltwin):
    assert "hit_ratio" not in mltwin("check")[1]
    assert "hit_ratio" in mltwin("check", "--all")[1]


def test_files_are_written(folder, mltwin, world, monkeypatch, tmp_path):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(tmp_path / "summary.md"))
    (tmp_path / "summary.md").write_text("before\n")
    world.slower = 0.02
    words = ["--markdown", "out/r.md", "--junit", "out/r.xml", "--json", "out/r.json", "--summary"]
    code, out, _ = mltwin("check", "--format", "json", *words)
    assert code == 1 and json.loads(out) == json.loads((tmp_path / "out/r.json").read_text())
    assert (tmp_path / "summary.md").read_text() == "before\n" + (tmp_path / "out/r.md").read_text()
    assert ET.parse(tmp_path / "out/r.xml").getroot()[0].get("failures") == "1"


def test_summary_without_github_is_told(folder, mltwin, monkeypatch):
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    code, _, err = mltwin("check", "--summary")
    assert code == 2 and "GITHUB_STEP_SUMMARY" in err


def test_the_exit_codes(folder, mltwin, world):
    world.slower, world.spread = 0.009, 0.004
    assert mltwin("check")[0] == 0
    assert mltwin("check", "--strict")[0] == 3
    assert mltwin("check", "--exact")[0] == 1
    assert mltwin("check", "nowhere.json")[0] == 4
    (folder / "toy.toml").write_text('system = "gate-toy"\nsize = 3\n')
    assert mltwin("check")[0] == 4
    (folder / "toy.toml").write_text('system = "gate-toy"\nsizes = 3\n')
    code, _, err = mltwin("check")
    assert code == 2 and "did you mean 'size'" in err
    (folder / "toy.json").write_text("{")
    code, _, err = mltwin("check")
    assert code == 2 and "line 1, column 2" in err


def test_init(folder, mltwin):
    (folder / "new.toml").write_text('system = "gate-toy"\n')
    words = ["check", "--init", "baselines/new.toml"]
    code, _, err = mltwin(*words)
    assert code == 2 and "--reason" in err and not (folder / "new.json").exists()
    words += ["--reason", "new", "--seeds", 3, "--hold", 4, "--metrics", "served,refused"]
    assert mltwin(*words, "--tol", "served=3%,abs:2")[0] == 0
    data = json.loads((folder / "new.json").read_text())
    assert data["first"] == 3 and data["seeds"] == [0, 1, 2, 3] and data["updated"] == ["new"]
    assert data["metrics"]["served"]["tol"] == {"rel": 0.03}
    assert data["metrics"]["refused"]["tol"] == {"abs": 2.0}
    assert mltwin("check", "--only", "new")[0] == 0


def test_a_baseline_elsewhere(folder, mltwin, tmp_path):
    words = ["check", "--init", "baselines/toy.toml", "held/here.json", "--reason", "x"]
    assert mltwin(*words)[0] == 0
    assert (
        json.loads((tmp_path / "held/here.json").read_text())["scenario"] == "../baselines/toy.toml"
    )
    assert mltwin("check", "held")[0] == 0


@pytest.mark.parametrize(
    "words",
    [
        ["--reason", "x"],
        ["--seeds", "3"],
        ["--metrics", "served"],
        ["--update"],
        ["--update", "--reason", "  "],
        ["--update", "--reason", "x", "--exact"],
        ["--update", "--reason", "x", "--hold", "3"],
        ["--init", "baselines/toy.toml", "--update"],
        ["--init", "baselines/toy.toml", "--reason", "x", "--junit", "x.xml"],
        ["--init", "nowhere.toml", "--reason", "x"],
        ["--init", "baselines/toy.toml", "--reason", "x", "--tol", "much"],
        ["--set", "size"],
        ["--set", "sizes=3"],
        ["--only", "tyo"],
        ["--format", "xml"],
        ["--max-seeds", "0"],
        ["--markdown", "baselines"],
    ],
)
def test_wrong_use(folder, mltwin, words):
    before = (folder / "toy.json").read_text()
    code, _, err = mltwin("check", *words)
    assert code == 2 and err.startswith("error:") and len(err.strip().splitlines()) == 1
    assert (folder / "toy.json").read_text() == before


def git(*words):
    identity = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
    subprocess.run(["git", *identity, *words], check=True, capture_output=True, env=environment)


def test_update_wants_a_clean_tree(folder, mltwin, world, tmp_path):
    world.slower = 0.02
    words = ["check", "--update", "--reason", "slower on purpose"]
    (tmp_path / "policy.py").write_text("old\n")
    git("init", "-q")
    git("add", "-A")
    git("commit", "-q", "-m", "all")
    (tmp_path / "policy.py").write_text("new\n")
    code, _, err = mltwin(*words)
    assert code == 2 and "policy.py is not committed" in err and "--force" in err
    git("commit", "-q", "-a", "-m", "slower")
    (tmp_path / "untracked.txt").write_text("x\n")
    assert mltwin(*words)[0] == 0 and mltwin("check")[0] == 0
    # Only the baseline itself differs now: a second update is not in the way of the first.
    world.slower = 0.03
    assert mltwin(*words)[0] == 0
    (tmp_path / "policy.py").write_text("newer\n")
    assert mltwin(*words)[0] == 2 and mltwin(*words, "--force")[0] == 0


def test_update_without_git(folder, mltwin, world, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(folder.parent.parent))
    world.slower = 0.02
    code, _, err = mltwin("check", "--update", "--reason", "slower", "--only", "toy")
    assert code == 0 and "written anew" in err
    assert "as it was" in mltwin("check", "--update", "--reason", "slower")[2]
    assert json.loads((folder / "toy.json").read_text())["updated"] == ["the first", "slower"]


def test_progress_json(folder, mltwin):
    err = mltwin("check", "--progress-json")[2]
    lines = [json.loads(line) for line in err.splitlines() if line.startswith("{")]
    assert lines[-1] == {"progress": 1.0, "text": "10 of 10 runs"}
