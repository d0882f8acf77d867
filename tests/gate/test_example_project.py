"""The example project guards its policies: unchanged it passes, two per cent worse it fails."""

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

import mltwin as mt

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "ci"
SLOWER = ["--set", "cluster.fast.time_scale=1.02", "--set", "cluster.slow.time_scale=1.02"]


@pytest.fixture
def project(tmp_path):
    """A copy of the project, to be spoilt."""
    return Path(shutil.copytree(EXAMPLE, tmp_path / "project"))


@pytest.fixture(scope="module")
def as_shipped(tmp_path_factory):
    """A copy of the project that no test changes: its policies are compiled once."""
    return Path(shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("ci") / "project"))


def mltwin(project, *words):
    """Run `mltwin` in the project as a shell does."""
    return python(project, "-m", "mltwin", *words)


def python(project, *words):
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return subprocess.run(
        [sys.executable, *words],
        cwd=project,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=300,
    )


def spoilt(project, old, new):
    file = project / "policies.py"
    text = file.read_text()
    assert text.count(old) == 1
    file.write_text(text.replace(old, new))


def refuse_every_fiftieth(project):
    """A policy that wastes two per cent."""
    spoilt(project, "_tenants, _ctx, params", "_tenants, ctx, params")
    spoilt(
        project,
        "    for i in range(len(replicas)):\n        if replicas[i].state == UP and replicas",
        "    if ctx.request % 50 == 0:\n        return 0\n"
        "    for i in range(len(replicas)):\n        if replicas[i].state == UP and replicas",
    )


def test_unchanged_passes_50_times_of_50(as_shipped):
    for _ in range(50):
        report = mt.check(as_shipped / "baselines", workers=2)
        assert report.exit_code == 0 and {line.verdict for _, line in report.lines} == {"same"}
        assert report.parts[0].behaviour == "identical"


def test_unchanged_passes_on_the_command_line(as_shipped):
    for words in ([], ["--exact", "--strict", "--junit", "gate.xml"]):
        done = mltwin(as_shipped, "check", "--workers", "2", *words)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "passed: 1 scenario" in done.stdout
    assert {suite.get("failures") for suite in ET.parse(as_shipped / "gate.xml").getroot()} == {"0"}


def test_gpus_slower_by_two_per_cent_are_caught(as_shipped):
    done = mltwin(as_shipped, "check", "--workers", "2", "--markdown", "gate.md", *SLOWER)
    assert done.returncode == 1, done.stdout + done.stderr
    row = next(line for line in done.stdout.splitlines() if "p50_tpot_ms" in line)
    cells = row.split()
    assert cells[0] == "chat" and cells[-1] == "regression" and cells[4].startswith("+2.")
    assert f"again: mltwin check baselines/chat.json {' '.join(SLOWER)}" in done.stdout
    assert "| chat | p50_tpot_ms |" in (as_shipped / "gate.md").read_text()


def test_a_policy_that_wastes_two_per_cent_is_caught(project):
    refuse_every_fiftieth(project)
    report = mt.check(project / "baselines", workers=2)
    assert report.exit_code == 1
    assert "chat completed: regression -2.00 %" in str(report)
    assert "policy.admit changed" in str(report)


@pytest.mark.slow
def test_a_policy_that_is_broken_is_told(project):
    spoilt(project, "mine = request.prompt", "mine = request.promt")
    done = mltwin(project, "check", "--workers", "2")
    assert done.returncode in (1, 2) and "promt" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.slow
def test_an_update_with_a_reason_lets_it_pass(project):
    refuse_every_fiftieth(project)
    done = mltwin(project, "check", "--update", "--reason", "Every fiftieth pays for the rest.")
    assert done.returncode == 0, done.stderr
    assert mt.check(project / "baselines").passed
    assert "Every fiftieth pays" in (project / "baselines" / "chat.json").read_text()


@pytest.mark.slow
def test_its_own_tests_hold_the_policy(project):
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider"]
    installed = "--mltwin-update" in python(project, *words, "--help").stdout
    words += [] if installed else ["-p", "mltwin.gate.plugin"]
    assert python(project, *words).returncode == 0
    refuse_every_fiftieth(project)
    done = python(project, *words)
    assert done.returncode == 1 and "completed: regression -2.00 %" in done.stdout


def test_its_workflow_runs_the_gate_without_secrets():
    yaml = pytest.importorskip("yaml")
    text = (EXAMPLE / ".github" / "workflows" / "policies.yml").read_text()
    workflow = yaml.safe_load(text)
    steps = workflow["jobs"]["gate"]["steps"]
    assert any(step.get("run", "").startswith("mltwin check") for step in steps)
    assert workflow["permissions"] == {"contents": "read"} and "secrets" not in text
    for step in steps:
        if "uses" in step:
            assert len(step["uses"].partition("@")[2]) == 40, "pinned by a full commit"
