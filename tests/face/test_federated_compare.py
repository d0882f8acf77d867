"""Federated methods side by side: bands, time to a target, values tuned on other seeds."""

from pathlib import Path

import numpy as np
import pytest
from test_federated_face import ASYNCHRONOUS

import mltwin as mt
from mltwin.federated_compare import FIRST_TUNING_SEED, FederatedComparison
from mltwin.federated_plots import Band, band, curve, participation_map
from mltwin.federated_result import FederatedResult

BASE = {
    "system": "federated",
    "model": {"level": "quadratic", "parameters": 4, "condition": 3.0},
    "clients": {"count": 12, "seed": 1},
    "dataset": {"seed": 1},
    "strategy": {"name": "fedavg", "clients": 4},
    "training": {"lr": 0.05},
    "stop": {"versions": 12},
}


def methods(**more: object) -> dict[str, mt.Scenario]:
    base = mt.Scenario.parse(BASE).changed({k.replace("__", "."): v for k, v in more.items()})
    return {"FedAvg": base, "FedBuff": base.changed(ASYNCHRONOUS)}


def test_methods_side_by_side(tmp_path: Path) -> None:
    found = mt.federated.compare(methods(target__loss=2.0), seeds=3)
    assert isinstance(found, FederatedComparison) and found.metric == "loss"
    assert [len(group) for group in found.results.values()] == [3, 3]
    table = found.table()
    assert table.columns[:3] == ["method", "final loss", "reach 2"]
    frame = found.curves("rounds")
    assert list(frame.columns) == ["method", "x", "mean", "low", "high"]
    assert (frame["low"] <= frame["mean"]).all() and (frame["mean"] <= frame["high"]).all()
    found.plot(tmp_path / "a.png", against=["time", "updates", "joules"])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "FedBuff" in found.report(tmp_path / "a.html").read_text(encoding="utf-8")
    assert found.data()["tuned"] == []


def test_each_method_gets_its_best_value_on_other_seeds() -> None:
    """Divergent and idle step sizes are tried as well; each method takes the one in between."""
    given = methods()
    values = [1e-4, 1.0, 50.0]
    found = mt.federated.compare(given, seeds=2, tune={"strategy.server_lr": values})
    assert [one.chosen for one in found.tuned] == [{"strategy.server_lr": 1.0}] * 2
    assert [one.tried for one in found.tuned] == [3, 3] and not any(o.edge for o in found.tuned)
    assert min(found.tuned[0].seeds) == FIRST_TUNING_SEED
    plain = mt.federated.compare(given, seeds=2)
    assert found.runs.data() == plain.runs.data()  # 1 is what both have untuned
    assert "3 other seeds" in found.table().caption and "server_lr" in str(found)


def test_tuning_is_by_method() -> None:
    tuned = mt.federated.compare(
        methods(), seeds=2, tune={"FedBuff": {"strategy.buffer": [1, 3]}}, tuning_seeds=2
    ).tuned
    assert tuned[0].chosen == {} and tuned[0].tried == 1
    assert set(tuned[1].chosen) == {"strategy.buffer"} and tuned[1].edge == ["strategy.buffer"]


def test_a_field_that_only_one_method_has() -> None:
    tuned = mt.federated.compare(
        methods(), seeds=1, tune={"strategy.buffer": [2, 3], "training.lr": [0.05]}
    ).tuned
    assert tuned[0].chosen == {"training.lr": 0.05} and len(tuned[1].chosen) == 2


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tune": {"strategy.nothing": [1]}}, "no method has it"),
        ({"tune": {"training.nothing": [1]}}, "no such field"),
        ({"tune": {"FedBufff": {"training.lr": [1.0]}}}, "did you mean 'FedBuff'"),
        ({"tune": {"training.lr": [0.1]}, "tuning_seeds": [0, 9]}, "seed 0 is among those"),
        ({"seeds": 0}, "0 seeds"),
    ],
)
def test_what_is_wrong_is_told(options: dict, said: str) -> None:
    with pytest.raises(mt.InputError, match=said):
        mt.federated.compare(methods(), **{"seeds": 2, **options})


def test_nothing_and_others_are_refused() -> None:
    with pytest.raises(mt.InputError, match="nothing to compare"):
        mt.federated.compare({})
    with pytest.raises(mt.InputError, match="'training-run'"):
        mt.federated.compare({"a": mt.TrainingRunScenario()})
    timed = mt.Scenario.parse({"system": "federated", "model": {"level": "time"},
                               "stop": {"versions": 2}})  # fmt: skip
    found = mt.federated.compare({"a": timed, "b": timed.set("clients.jitter", 1.0)}, seeds=2)
    assert found.table().columns[0] == "metric"
    with pytest.raises(mt.InputError, match="only its time is simulated"):
        found.plot()


def test_targets_that_some_never_reach() -> None:
    """Their time is infinite: a median where most get there, and no difference."""
    found = mt.federated.compare(methods(target__loss=1e-9), seeds=3)
    row = found.table().rows[1]
    assert row[2] == "0 of 3" and row[3] is None and row[-1] == "-"
    assert np.isinf(found.reached("FedAvg", "loss")).all()


def test_differences_are_of_the_same_seeds() -> None:
    curve_of = methods()["FedAvg"].run().tables["evaluations"]["loss"]
    half = float(curve_of[0] + curve_of.min()) / 2
    found = mt.federated.compare(methods(target__loss=half, stop__versions=30), seeds=4)
    times = {name: found.reached(name, "loss") for name in ("FedAvg", "FedBuff")}
    assert all((one > 0).all() and np.isfinite(one).all() for one in times.values())
    change = times["FedBuff"] / times["FedAvg"] - 1
    difference = found.difference("FedBuff")
    assert difference is not None and difference.n == 4
    assert difference.estimate == pytest.approx(change.mean())
    assert f"{100 * change.mean():+.1f} %" in str(found.table().rows[1][-1])


def result_of(time: list[float], loss: list[float]) -> FederatedResult:
    """A result with a given learning curve."""
    columns = {"version": np.arange(len(time)), "time_s": np.array(time), "loss": np.array(loss)}
    return FederatedResult({}, {"evaluations": columns})


def test_a_band_by_hand() -> None:
    """Curves hold their last value, start where all have begun, end where the first one ends."""
    one = result_of([0.0, 1.0, 3.0], [8.0, 4.0, 2.0])
    two = result_of([0.0, 2.0, 4.0], [6.0, 3.0, 1.0])
    found = band([one, two], "time", "loss", points=4)
    assert found.x.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert found.low.tolist() == [6.0, 4.0, 3.0, 2.0]
    assert found.high.tolist() == [8.0, 6.0, 4.0, 3.0]
    assert found.mean.tolist() == [7.0, 5.0, 3.5, 2.5]
    alone = band([one], "time", "loss")
    assert isinstance(alone, Band) and alone.mean.tolist() == [8.0, 4.0, 2.0]
    broken = result_of([0.0, 1.0, 2.0], [8.0, np.nan, np.inf])
    assert curve(broken, "time", "loss")[1].tolist() == [8.0]
    for axis, metric, said in (("tim", "loss", "did you mean 'time'"), ("time", "los", "'loss'")):
        with pytest.raises(mt.InputError, match=said):
            curve(one, axis, metric)


def test_participation_by_speed_and_data() -> None:
    clients = {
        "s_per_sample": np.arange(16.0),
        "samples": np.r_[np.zeros(8), np.ones(8)],
        "there_share": np.ones(16),
        "used": np.arange(16),
    }
    found, rows_are = participation_map(FederatedResult({}, {"clients": clients}))
    assert rows_are == "samples"
    rows, columns = np.nonzero(np.isfinite(found))
    assert set(rows.tolist()) == {2, 6}
    assert found[rows, columns].tolist() == [0.5, 2.5, 4.5, 6.5, 8.5, 10.5, 12.5, 14.5]
    there = clients | {"there_share": np.linspace(0, 1, 16)}
    assert participation_map(FederatedResult({}, {"clients": there}))[1] == "availability"


def test_a_mean_of_some_of_the_runs_says_so_and_is_not_the_best() -> None:
    """Of what it took to the target, where not every run gets there."""
    runs = [mt.Result(metrics={"time_to_loss_s": 5.0}), mt.Result(metrics={})]
    base = [mt.Result(metrics={"time_to_loss_s": 9.0}), mt.Result(metrics={"time_to_loss_s": 7.0})]
    both = mt.Comparison([base, runs], ["all", "some"])
    table = both.table(["time_to_loss_s"])
    assert table.rows[0][1:3] == [8.0, "5 (1 of 2)"] and not table.best


def test_peers_have_no_strategy_to_tune() -> None:
    given = methods()
    peers = given["FedAvg"].changed({"strategy": {"name": "fedavg"}, "peers": {}})
    found = mt.federated.compare(
        {"FedAvg": given["FedAvg"], "peers": peers}, seeds=1, tuning_seeds=1,
        tune={"strategy.server_lr": [0.5, 1.0]},
    )  # fmt: skip
    assert [one.tried for one in found.tuned] == [2, 1]
