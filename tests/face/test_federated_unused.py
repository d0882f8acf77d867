"""No field of a federation is given in vain without a word: it acts, is refused, or is remarked."""

from pathlib import Path
from typing import Any

import pytest

import mltwin as mt
from mltwin.federated_fields import LEVEL_FIELDS, Model
from mltwin.policies.federated.registry import built_in

SMALL: dict[str, Any] = {
    "clients.count": 40,
    "clients.speed": "log_normal",
    "clients.down_mbit_per_s": 20.0,
    "clients.up_mbit_per_s": 5.0,
    "stop.versions": 12,
}

FIELDS: dict[str, Any] = {
    "clients.speed": "exponential",
    "clients.availability": {"name": "cyclic", "period_s": 2.0, "duty": 0.7},
    "clients.down_mbit_per_s": 1.0,
    "clients.up_mbit_per_s": 1.0,
    "clients.latency_ms": 30.0,
    "clients.jitter": 0.5,
    "clients.failure": 0.3,
    "clients.correlation": {"speed_data": -0.6},
    "clients.slow_label": 1,
    "clients.slow_clients": 3,
    "clients.slow_factor": 4.0,
    "clients.label": 1,
    "clients.radio": {},
    "clients.down_trace": "4g",
    "clients.up_trace": "4g",
    "clients.energy": "wifi",
    "clients.compute_w": 2.0,
    "clients.send_w": 2.0,
    "clients.receive_w": 2.0,
    "clients.seed": 5,
    "dataset.source": {"name": "gaussians", "samples": 600},
    "dataset.split": "iid",
    "dataset.samples": 30,
    "dataset.swap_share": 0.5,
    "dataset.swap_clients": 0.2,
    "model.hidden": [8],
    "model.l2": 0.05,
    "model.loss": "x.py:y",
    "model.parameters": 5,
    "model.condition": 3.0,
    "model.spread": 2.0,
    "model.noise": 0.3,
    "model.megabytes": 2.0,
    "model.compute_factor": 3.0,
    "training.steps": 9,
    "training.epochs": 2.0,
    "training.batch": 4,
    "training.lr": 0.02,
    "training.lr_decay": 0.5,
    "training.overhead_s": 0.5,
    "training.aggregate_s": 0.3,
    "training.aggregate_s_per_update": 0.1,
    "training.evaluate_every": 5,
    "costs.servers": 2,
    "costs.dollars_per_server_hour": 3.0,
    "costs.server_w": 20.0,
    "costs.dollars_per_gb_down": 1.0,
    "costs.dollars_per_gb_up": 1.0,
    "costs.dollars_per_kwh": 1.0,
    "costs.dollars_per_client_kwh": 1.0,
    "attack": {"name": "sign_flip", "fraction": 0.4, "scale": 5.0},
    "combine": "median",
    "selection": "oort",
    "codec": {"name": "uniform", "bits": 4},
    "network": {"cells": 3},
    "network.server": 3,
}

ELSEWHERE = {
    "clients.count": "of everything",
    "dataset.seed": "of the data",
    "model.level": "the levels are cases",
    "model.module": "goes with the level torch",
    "training.interruption": "of clients that leave",
    "training.detect_s": "of losses",
    "training.lr_decay_every": "times a factor of 1",
}
"""Fields that act, or not, by what their values are."""

LEVELS: list[dict[str, Any]] = [
    {"model.level": "time"},
    {"model.level": "quadratic"},
    {"model.level": "softmax"},
    {"model.level": "mlp"},
]
PEERS: list[dict[str, Any]] = [
    {"peers": {"protocol": "dpsgd"}},
    {"peers": {"protocol": "gossip"}},
    {"peers": {"protocol": {"name": "modest", "sample": 5, "aggregators": 2}}},
    {"peers": {"protocol": "matchmaking"}},
]


def small(**changes: Any) -> mt.FederatedScenario:
    return mt.federated.Scenario().changed({**SMALL, **changes})


def acts(base: mt.FederatedScenario, before: mt.Result, path: str, value: Any) -> str:
    """What comes of a field: "acts", "refused", "remarked" or "nothing"."""
    try:
        after = base.set(path, value).run(1)
    except mt.InputError as error:
        return "refused" if "\n" not in str(error) else "several lines"
    words = [note for note in after.notes if note not in before.notes and path in note]
    if after.digest != before.digest or after.metrics != before.metrics:
        return "acts, but called unused" if any(n.startswith("Not used") for n in words) else "acts"
    return "remarked" if words else "nothing"


def test_no_field_is_left_out() -> None:
    whole = mt.federated.Scenario()
    for section in ("clients", "dataset", "model", "training", "costs"):
        names = {f"{section}.{name}" for name in type(getattr(whole, section)).model_fields}
        assert names <= {*FIELDS, *ELSEWHERE}


@pytest.mark.parametrize("kind", [*LEVELS, *PEERS], ids=lambda kind: str(next(iter(kind.values()))))
def test_every_field_acts_or_is_spoken_of(kind: dict[str, Any]) -> None:
    base = small(**kind)
    before = base.run(1)
    assert not before.notes
    found = {path: acts(base, before, path, value) for path, value in FIELDS.items()}
    assert {path: what for path, what in found.items() if what not in ("acts", "refused")} == {
        path: "remarked" for path, what in found.items() if what == "remarked"
    }
    assert len([what for what in found.values() if what == "acts"]) > 15


SETTLED: dict[str, Any] = {
    "selection": "weighted",
    "codec": {"name": "uniform", "bits": 4},
    "attack": {"name": "sign_flip", "fraction": 0.5, "scale": 5.0},
    "combine": {"name": "clipped", "norm": 0.01},
    "training.steps": 9,
    "training.epochs": 2.0,
    "training.batch": 3,
    "training.lr": 0.02,
}


@pytest.mark.parametrize("name", built_in("strategy"))
def test_a_strategy_follows_what_is_given_or_says_that_it_does_not(name: str) -> None:
    base = small(strategy={"name": name})
    before = base.run(1)
    assert not before.notes
    found = {path: acts(base, before, path, value) for path, value in SETTLED.items()}
    wrong = {path: what for path, what in found.items() if "nothing" in what or "but" in what}
    assert not wrong


SERVICE: dict[str, Any] = {
    "fan_in": 4,
    "leaves": 3,
    "node_updates": 3,
    "cold_start_s": 9.0,
    "keep_alive_s": 0.001,
    "sidecar_gb_per_s": 0.01,
    "broker_gb_per_s": 0.01,
    "broker_cores": 2,
    "broker_gb": 3.0,
    "pass_s": 0.5,
}


@pytest.mark.parametrize("levels", [1, None])
@pytest.mark.parametrize("design", ["always_on", "broker", "lifl"])
def test_every_field_of_a_service_acts_or_is_remarked(design: str, levels: int | None) -> None:
    base = small(**{
        "model.level": "time", "model.megabytes": 50.0, "clients.jitter": 1.0,
        "strategy": {"name": "fedavg", "clients": 40},
        "aggregation": {"design": design, "levels": levels, "nodes": 2},
    })  # fmt: skip
    before = base.run(1)
    found = {
        name: acts(base, before, f"aggregation.{name}", value) for name, value in SERVICE.items()
    }
    assert set(found.values()) <= {"acts", "remarked"}, found


def test_defaults_written_out_are_not_refused(tmp_path: Path) -> None:
    for level in ("time", "quadratic", "softmax", "mlp"):
        scenario = mt.federated.Scenario().set("model.level", level)
        scenario.save(tmp_path / "full.toml", full=True)
        again = mt.Scenario.load(tmp_path / "full.toml")
        assert again.hash == scenario.hash
        assert mt.Scenario.load(tmp_path / "full.toml").set("model.level", "mlp").run(0).notes == []


def test_level_fields_name_fields_and_levels() -> None:
    levels = {"quadratic", "softmax", "mlp", "torch"}
    assert set(LEVEL_FIELDS) < set(Model.model_fields)
    assert all(set(having) < levels for having in LEVEL_FIELDS.values())


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"training.lr_decay": 0.5}, "training.lr_decay: it would never decay"),
        ({"network": {"cells": 3}}, "network.cells: cells without a rate"),
        ({"network": {"server": 3}}, "network.server: is a rank of a topology"),
        ({"clients.energy": "wifi", "clients.send_w": 1.0}, "clients.send_w: clients.energy says"),
        ({"peers": {}, "training.detect_s": "never"}, "training.detect_s: peers have no server"),
        ({"peers": {"protocol": "modest", "overlay": "star"}}, "peers.overlay: MoDeST draws"),
        ({"peers": {"latency_file": "x.csv", "across_ms": 9.0}}, "peers.across_ms: .* says it"),
        ({"model.level": "quadratic", "stop.at_target": True}, "there is no accuracy to stop at"),
    ],
)  # fmt: skip
def test_what_contradicts_is_refused(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(mt.InputError, match=said):
        small().changed(changes)


def test_peers_pay_for_no_server() -> None:
    with_server = small().run(1).metrics
    alone = small(peers={"protocol": "dpsgd"}).run(1).metrics
    assert with_server["dollars"] > 0 and with_server["kwh"] > 0
    assert alone["dollars"] == 0 and alone["kwh"] == alone["client_kwh"]


def test_a_model_may_be_looked_at_by_other_levels() -> None:
    mine = small(**{"model.level": "mlp", "model.hidden": [8], "model.l2": 0.1})
    assert mine.run(1).notes == []
    (note,) = mine.set("model.level", "softmax").run(1).notes
    assert note == "Not used, as a model of level 'softmax' has none: model.hidden."
    (note,) = mine.set("model.level", "quadratic").run(1).notes
    assert note.endswith("level 'quadratic' has none: model.hidden, model.l2.")


def test_time_alone_may_be_looked_at_whatever_the_model() -> None:
    mine = small(
        **{"dataset.split": "iid", "model.level": "mlp", "model.hidden": [8], "training.lr": 0.3}
    )
    (note,) = mine.set("model.level", "time").run(1).notes
    assert "model.hidden" in note and "training.lr" in note and "dataset.split" in note
