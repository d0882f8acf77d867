"""The pytest plugin, in a project of its own."""

import subprocess
import sys
from pathlib import Path

import pytest
from source_tree import pyproject

pytest_plugins = ["pytester"]

HERE = Path(__file__).parent


@pytest.fixture
def project(pytester, monkeypatch):
    """A project with a scenario and a test that checks it."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.syspathinsert(str(HERE))
    pytester.makepyfile(
        conftest="import toy\ntoy.fresh_world()\n",
        test_policies="""
            import toy

            def test_policy(mltwin_check):
                report = mltwin_check("baselines/toy.json")
                assert report.passed

            def test_scenario(mltwin_check):
                scenario = toy.ToyScenario(size=5)
                mltwin_check(scenario, baseline="baselines/own.json", max_seeds=10)
            """,
    )
    pytester.mkdir("baselines")
    (pytester.path / "baselines" / "toy.toml").write_text('system = "gate-toy"\n')
    return pytester


def run(project, *words):
    """Run the project's tests with this plugin and no other."""
    plugins = ["-p", "no:cacheprovider", "-p", "mltwin.gate.plugin"]
    return project.runpytest_inprocess(*plugins, *words)


def test_an_installation_brings_the_plugin():
    entries = pyproject()["project"]["entry-points"]["pytest11"]
    assert entries == {"mltwin": "mltwin.gate.plugin"}


def test_without_a_baseline_it_says_what_to_do(project):
    result = run(project)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*no baseline*", "*--mltwin-update*"])


def test_update_then_pass_then_fail(project):
    run(project, "--mltwin-update", "the first").assert_outcomes(passed=2)
    assert (project.path / "baselines" / "own.json").is_file()
    run(project).assert_outcomes(passed=2)
    (project.path / "conftest.py").write_text(
        "import toy\ntoy.fresh_world()\ntoy.WORLD.slower = 0.02\n"
    )
    result = run(project)
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(
        [
            "*AssertionError*",
            "*mean_wait_ms: regression +2.00 %*",
            "*again: pytest test_policies.py::test_policy*",
            "*--mltwin-update 'why it is'*",
        ]
    )
    result.stdout.no_fnmatch_line("*plugin.py*Error*")
    run(project, "--mltwin-update", "slower on purpose").assert_outcomes(passed=2)
    assert "slower on purpose" in (project.path / "baselines" / "toy.json").read_text()
    run(project).assert_outcomes(passed=2)


def test_an_empty_reason_is_refused(project):
    result = run(project, "--mltwin-update", " ")
    result.assert_outcomes(failed=2)
    result.stdout.fnmatch_lines(["*--reason: is missing*"])


def test_a_scenario_needs_a_baseline(project):
    project.makepyfile(
        test_policies="""
        import toy

        def test_policy(mltwin_check):
            mltwin_check(toy.ToyScenario())
        """
    )
    run(project).stdout.fnmatch_lines(["*TypeError: a scenario needs baseline=*"])


def test_loading_the_plugin_is_light():
    """It loads in every pytest of an environment: it must not bring NumPy, pydantic or Numba."""
    code = (
        "import sys, pytest\n"
        "before = set(sys.modules)\n"
        "import mltwin.gate.plugin\n"
        "new = {name.partition('.')[0] for name in set(sys.modules) - before}\n"
        "print(sorted(new & {'numpy', 'pydantic', 'numba', 'pandas', 'scipy', 'typer', 'rich'}))\n"
        "print(sorted(name for name in sys.modules if name.startswith('mltwin')))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy, ours = done.stdout.splitlines()
    assert heavy == "[]" and ours == "['mltwin', 'mltwin.gate', 'mltwin.gate.plugin']"
