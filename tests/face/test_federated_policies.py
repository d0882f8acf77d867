"""Every built-in policy in a whole run: twice the same, on the SimPy twin too, no law broken."""

import pytest

import mltwin as mt
from mltwin.policies.federated.registry import KINDS, built_in

BASE = {
    "system": "federated",
    "dataset": {"source": {"name": "gaussians", "samples": 300, "features": 6, "classes": 4}},
    "clients": {
        "count": 12,
        "speed": "exponential",
        "failure": 0.05,
        "availability": {"name": "cyclic", "period_s": 1.0, "duty": 0.7},
        "down_mbit_per_s": 5.0,
        "up_mbit_per_s": 2.0,
    },
    "stop": {"versions": 8, "until_s": 100.0},
}
EVERY = [(kind, name) for kind in KINDS for name in built_in(kind)]


@pytest.mark.parametrize(("kind", "name"), EVERY, ids=[f"{k}-{n}" for k, n in EVERY])
def test_it_runs(kind: str, name: str) -> None:
    scenario = mt.Scenario.parse({**BASE, kind: {"name": name}})
    first = scenario.run(1)
    assert not first.violations and first.metrics["updates"] > 0
    assert first.digest == scenario.run(1).digest == scenario.run(1, reference=True).digest
    assert first.facts["complete"], first.notes


@pytest.mark.parametrize("name", list(built_in("strategy")))
def test_it_runs_without_a_model_or_says_why_not(name: str) -> None:
    model = {"level": "time", "megabytes": 0.01}
    scenario = mt.Scenario.parse({**BASE, "strategy": {"name": name}, "model": model})
    try:
        result = scenario.run(1)
    except mt.InputError as error:
        assert "model" in str(error) or "learn" in str(error)
        return
    assert not result.violations and result.metrics["updates"] > 0
    assert "final_loss" not in result.metrics
    assert result.digest == scenario.run(1, reference=True).digest
