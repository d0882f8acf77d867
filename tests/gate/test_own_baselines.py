"""The project's own baselines: every built-in policy stands in one, and they are what ships."""

from pathlib import Path

import pytest

import mltwin as mt
from mltwin.gate.baseline import Baseline, scenario_hash
from mltwin.policies.registry import list_policies
from mltwin.scenario import system_class, system_names
from mltwin.serving_run import choose_policies

FOLDER = Path(__file__).resolve().parents[2] / "baselines"
FILES = sorted(FOLDER.glob("*.toml"))


def test_every_built_in_policy_is_guarded():
    guarded = set()
    for file in FILES:
        scenario = mt.Scenario.load(file)
        if isinstance(scenario, mt.ServingScenario):
            chosen = choose_policies(scenario)
            guarded |= {(hook, policy.name) for hook, (policy, _) in chosen.items()}
    missing = {(policy.hook, policy.name) for policy in list_policies()} - guarded
    assert not missing, f"put them into a scenario of baselines/: {sorted(missing)}"


def test_every_system_is_guarded():
    guarded = {mt.Scenario.load(file).system for file in FILES}
    ours = {name for name in system_names() if system_class(name).__module__.startswith("mltwin.")}
    assert guarded >= ours


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_each_scenario_has_a_current_baseline(file):
    baseline = Baseline.load(file.with_suffix(".json"))
    assert baseline.scenario == file.name
    assert baseline.scenario_hash == scenario_hash(mt.Scenario.load(file)), "mltwin check --update"
    assert not baseline.inputs, "a baseline of ours needs no file besides"
    assert baseline.first >= 10 and len(baseline.seeds) >= 30


def test_no_baseline_without_a_scenario():
    assert {file.stem for file in FOLDER.glob("*.json")} == {file.stem for file in FILES}


@pytest.mark.parametrize("name", ["deadlines", "prefix-affinity"])
def test_the_runs_are_those_of_the_baseline(name):
    """Two seeds of two scenarios; all of them are `mltwin check`, which CI runs besides."""
    baseline = Baseline.load(FOLDER / f"{name}.json")
    scenario = mt.Scenario.load(FOLDER / f"{name}.toml")
    for i in (0, 9):
        result = scenario.run(baseline.seeds[i])
        assert result.digest.startswith(baseline.digests[i]), "mltwin check says what changed"
        for metric, tracked in baseline.metrics.items():
            assert result.metrics[metric] == tracked.values[i]
