"""The section `aggregation` of a federation: fields, metrics, files, errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mltwin as mt
from mltwin.federated_aggregation import Aggregation, service_of
from mltwin.metrics import direction, unit
from mltwin.models.federation.aggregators import DESIGNS, Service, design

BASE: dict[str, Any] = {
    "system": "federated",
    "model": {"level": "time", "megabytes": 100.0},
    "clients": {"count": 20, "speed": "exponential"},
    "strategy": {"name": "fedavg", "clients": 16},
    "stop": {"versions": 6},
}
NAMES = ("aggregation_cpu_s", "aggregation_idle_s", "aggregation_dollars", "cold_starts",
         "off_node_gb", "mean_aggregation_s")  # fmt: skip


def scenario(**aggregation: Any) -> mt.Scenario:
    return mt.Scenario.parse({**BASE, "aggregation": aggregation})


def test_the_defaults_are_those_of_the_model() -> None:
    for name in DESIGNS:
        assert service_of(Aggregation(design=name)) == design(name)
    assert service_of(None) is None
    given = set(Aggregation.model_fields) - {"design"}
    assert given == {field for field in Service.__dataclass_fields__ if field != "name"}


@pytest.mark.parametrize("name", DESIGNS)
def test_a_service_delays_versions_and_has_metrics(name: str) -> None:
    plain = mt.Scenario.parse(BASE).run()
    result = scenario(design=name).run()
    assert not result.violations and not result.notes
    assert result.metrics["duration_s"] > plain.metrics["duration_s"]
    assert not any(metric in plain.metrics for metric in NAMES)
    assert all(result.metrics[metric] >= 0 for metric in NAMES)
    more = result.metrics["dollars"] - plain.metrics["dollars"]
    assert more > 0.5 * result.metrics["aggregation_dollars"] > 0
    steps = result.tables["aggregation"]
    assert steps["updates"].tolist() == [16] * 6
    waits = steps["made_s"] - steps["last_s"]
    assert result.metrics["mean_aggregation_s"] == pytest.approx(waits.mean())
    # The next round's work begins when the version is there.
    assert (steps["first_s"][1:] >= steps["made_s"][:-1]).all()
    twin = scenario(design=name).run(reference=True)
    assert twin.digest == result.digest


def test_results_come_back_from_files(tmp_path: Path) -> None:
    result = scenario(design="broker", cold_start_s=1.0).run()
    result.save(tmp_path / "run")
    again = mt.Result.load(tmp_path / "run")
    assert again.metrics == result.metrics and again.digest == result.digest


def test_fields_vary_and_directions_are_right() -> None:
    found = mt.compare([scenario(design=name) for name in DESIGNS], seeds=[0, 1])
    pairs = zip(DESIGNS, found.runs.values(), strict=True)
    by_name = {name: [run.metrics for run in runs] for name, runs in pairs}
    assert {run["cold_starts"] for run in by_name["always_on"]} == {0}
    assert all(run["off_node_gb"] > 0 for run in by_name["broker"])
    lazily = scenario(timing="lazy").run().metrics["mean_aggregation_s"]
    assert lazily > scenario().run().metrics["mean_aggregation_s"]
    assert {direction(name) for name in NAMES} == {"lower"}
    assert unit("mean_aggregation_s") == "s" and unit("aggregation_dollars") == "$"


@pytest.mark.parametrize(
    ("aggregation", "message"),
    [
        ({"desing": "lifl"}, "did you mean 'design'"),
        ({"design": "lif"}, "aggregation.design"),
        ({"cores": 0}, "aggregation.cores"),
        ({"fold_gb_per_s": 0.0}, "aggregation.fold_gb_per_s"),
        ({"cold_start_s": float("nan")}, "aggregation.cold_start_s"),
        ({"levels": 4}, "aggregation.levels"),
    ],
)
def test_bad_fields_are_told(aggregation: dict[str, Any], message: str) -> None:
    with pytest.raises(mt.InputError, match=message):
        scenario(**aggregation)


def test_what_does_not_fit_or_go_together_is_refused() -> None:
    with pytest.raises(mt.InputError, match="larger nodes"):
        scenario(node_gb=0.5).check()
    peers = {key: value for key, value in BASE.items() if key != "strategy"}
    with pytest.raises(mt.InputError, match="aggregation"):
        mt.Scenario.parse({**peers, "peers": {}, "aggregation": {}})
    crowded = scenario(design="always_on", node_gb=0.71, instance_gb=0.5, nodes=1).run()
    assert any("more than the" in note for note in crowded.notes)
    assert np.isfinite(list(crowded.metrics.values())).all()
