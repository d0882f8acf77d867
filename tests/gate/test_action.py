"""The composite GitHub Action: its check step is run as GitHub would, and it trusts nobody."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).resolve().parents[2]
ACTION = yaml.safe_load((ROOT / "action.yml").read_text())
STEPS = {step["id"]: step for step in ACTION["runs"]["steps"]}


def test_inputs_never_become_script_text():
    for step in STEPS.values():
        assert "${{" not in step["run"] and step["shell"] == "bash" and "uses" not in step
    assert "secrets" not in str(ACTION) and "token" not in str(ACTION)


@pytest.fixture
def step(tmp_path, folder):
    """Run a step's script with these inputs in the toy project; its exit code and outputs."""
    place = tmp_path / "venv" / "bin"
    place.mkdir(parents=True)
    wrapper = place / "python"
    # The toy system is no part of the package: it is imported first.
    wrapper.write_text(
        f"#!/bin/sh\nshift 2\nexec {sys.executable} -c "
        '"import sys, toy; from mltwin.app.cli import main; main(sys.argv[1:])" "$@"\n'
    )
    wrapper.chmod(0o755)

    def call(name, **inputs):
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), str(ROOT)]),
            "PLACE": str(tmp_path / "venv"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
            "GITHUB_OUTPUT": str(tmp_path / "output"),
            "BASELINES": "baselines",
            "ARGS": "",
            "REPORTS": "reports",
            **inputs,
        }
        done = subprocess.run(
            ["bash", "-c", STEPS[name]["run"]], env=environment, capture_output=True, text=True
        )
        return done.returncode, done.stdout + done.stderr

    return call


def test_the_check_step_passes_and_writes(step, tmp_path):
    code, told = step("check")
    assert code == 0, told
    assert (tmp_path / "output").read_text() == "exit-code=0\n"
    for name in ("report.md", "report.xml", "report.json"):
        assert (tmp_path / "reports" / name).is_file()
    assert (tmp_path / "summary.md").read_text() == (tmp_path / "reports/report.md").read_text()


def test_the_check_step_fails(step, tmp_path):
    code, told = step("check", ARGS="--set size=970 --only t*")
    assert code == 1, told
    assert "exit-code=1" in (tmp_path / "output").read_text()


def test_inputs_are_words_and_not_commands(step, tmp_path):
    code, _ = step("check", BASELINES="$(touch owned) ; touch owned", ARGS="`touch owned`")
    assert code == 2 or code == 4
    assert not list(tmp_path.rglob("owned"))


def test_a_python_that_is_not_there_is_told(step):
    if shutil.which("python3.999"):
        pytest.skip("there is one")
    code, told = step("install", VERSION="3.999", SOURCE="x")
    assert code == 2 and "no Python 3.999" in told
