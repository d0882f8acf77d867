"""The system `federated` in the house: files, runs, metrics, comparison, sweep, store, timeline."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

import mltwin as mt
from mltwin.federated_metrics import violations_of
from mltwin.federated_result import FederatedResult, there_share
from mltwin.federated_timeline import UNDER_WAY, codes_of, spans
from mltwin.metrics import direction
from mltwin.models.federation.tables import TICKS_PER_S, Availability, Clients

FedScenario = mt.FederatedScenario
QUADRATIC = {
    "system": "federated",
    "model": {"level": "quadratic", "parameters": 4},
    "clients": {"count": 12, "speed": "exponential"},
    "strategy": {"name": "fedavg", "clients": 4},
    "stop": {"versions": 12},
}
SOFTMAX = {
    "system": "federated",
    "dataset": {"source": {"name": "gaussians", "samples": 400, "features": 8}},
    "clients": {"count": 10, "speed": "exponential"},
    "strategy": {"name": "fedavg", "clients": 4},
    "stop": {"versions": 8},
}
ASYNCHRONOUS = {"strategy": {"name": "fedbuff", "buffer": 3, "concurrency": 6}}
LEAVING = {
    "clients.availability": {"name": "cyclic", "period_s": 0.5, "duty": 0.5},
    "clients.failure": 0.1,
}


def small(base: dict = QUADRATIC, **more: object) -> FedScenario:
    changes = {key.replace("__", "."): value for key, value in more.items()}
    found = mt.Scenario.parse(base)
    assert isinstance(found, FedScenario)
    return found.changed(changes) if changes else found


def test_the_default_runs_learns_and_breaks_no_law() -> None:
    scenario = mt.federated.Scenario()
    result = scenario.run()
    assert isinstance(result, FederatedResult) and not result.violations and not result.notes
    assert result.digest == scenario.run().digest != scenario.run(1).digest
    evaluations = result.tables["evaluations"]
    assert evaluations["accuracy"][0] < 0.5 < result.metrics["final_accuracy"]
    assert result.metrics["versions"] == 100 and result.metrics["best_accuracy"] <= 1


@pytest.mark.parametrize(
    "more",
    [
        {},
        ASYNCHRONOUS,
        LEAVING,
        {**ASYNCHRONOUS, **LEAVING, "training.interruption": "pause"},
        {"model": {"level": "time"}, **ASYNCHRONOUS},
        {"strategy": {"name": "fedcompass"}},
    ],
)
def test_the_reference_gives_the_same_result(more: dict[str, object]) -> None:
    scenario = small().changed(more)
    fast, plain = scenario.run(5), scenario.run(5, reference=True)
    assert fast.digest == plain.digest and not fast.violations
    assert fast.metrics == plain.metrics


def test_it_is_stored_compared_swept_and_reported(tmp_path: Path) -> None:
    base = small(name="FedAvg")
    first = base.run(2)
    back = mt.Result.load(first.save(tmp_path))
    assert isinstance(back, FederatedResult) and back.metrics == first.metrics
    assert back.notes == first.notes and back.digest == first.digest
    other = base.changed({**ASYNCHRONOUS, "name": "FedBuff"})
    compared = mt.compare([base, other], seeds=range(3))
    assert compared.difference("FedBuff", "mean_staleness") is None  # 0 in the base
    assert "final_loss" in compared.table().markdown()
    compared.report(tmp_path / "a.html")
    assert "FedBuff" in (tmp_path / "a.html").read_text(encoding="utf-8")
    swept = mt.sweep(base, {"training.lr": [0.01, 0.1]}, seeds=2, backend="threads")
    slow, fast = (row["final_loss"] for row in swept.means().to_dict("records"))
    assert fast < slow
    first.plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_file_is_read_and_written(tmp_path: Path) -> None:
    path = tmp_path / "fed.toml"
    path.write_text(
        'system = "federated"\n[strategy]\nname = "fedbuff"\nbuffer = 5\n'
        '[clients]\ncount = 20\n[stop]\nuntil_s = 2.5\n[training]\ndetect_s = "never"\n',
        encoding="utf-8",
    )
    scenario = mt.Scenario.load(path)
    assert isinstance(scenario, FedScenario) and scenario.strategy == {
        "name": "fedbuff",
        "buffer": 5,
    }
    assert scenario.training.detect_s == "never"
    scenario.check()
    scenario.save(tmp_path / "again.toml")
    assert mt.Scenario.load(tmp_path / "again.toml") == scenario
    assert scenario.set("strategy.buffer", 7).strategy == {"name": "fedbuff", "buffer": 7}


def test_every_metric_points_the_right_way() -> None:
    metrics = {
        name
        for scenario in (
            small(SOFTMAX, target__accuracy=0.2, target__loss=2.0),
            small(**{"clients.failure": 0.2}),
        )
        for name in scenario.run().metrics
    }
    higher = {name for name in metrics if direction(name) == "higher"}
    assert higher == {
        "final_accuracy", "best_accuracy", "updates_per_s", "participation_jain",
        "client_accuracy_worst_tenth",
    }  # fmt: skip
    neither = {name for name in metrics if direction(name) == "none"}
    assert neither == {"duration_s", "versions", "updates"}


def test_what_the_target_took_is_what_the_first_row_beyond_says() -> None:
    result = small(SOFTMAX, target__accuracy=0.5, clients__down_mbit_per_s=1.0).run()
    table = result.tables["evaluations"]
    row = next(i for i, value in enumerate(table["accuracy"]) if value >= 0.5)
    assert row > 0
    found = result.metrics
    assert found["time_to_accuracy_s"] == table["time_s"][row] > 0
    assert found["rounds_to_accuracy"] == table["version"][row]
    assert found["bytes_to_accuracy"] == table["down_bytes"][row] + table["up_bytes"][row] > 0
    missed = small(SOFTMAX, target__accuracy=1.0, stop__versions=1).run()
    assert "time_to_accuracy_s" not in missed.metrics
    assert "accuracy 1, was not reached" in missed.notes[0]
    stopped = small(SOFTMAX, target__accuracy=0.5, stop={"at_target": True}).run()
    assert stopped.metrics["versions"] == found["rounds_to_accuracy"]


def test_dollars_and_energy_by_hand() -> None:
    result = small(
        clients__compute_w=5.0, costs__dollars_per_server_hour=2.0, costs__servers=3,
        costs__server_w=100.0, costs__dollars_per_kwh=0.5, costs__dollars_per_gb_down=7.0,
        costs__dollars_per_gb_up=11.0, costs__dollars_per_client_kwh=0.25,
    ).run()  # fmt: skip
    clients, found = result.tables["clients"], result.metrics
    joules = 5.0 * clients["compute_ticks"].sum() / TICKS_PER_S
    assert found["client_kwh"] == pytest.approx(joules / 3.6e6, rel=1e-9)
    hours = found["duration_s"] / 3600
    assert found["kwh"] - found["client_kwh"] == pytest.approx(0.3 * hours)
    down, up = clients["down_bytes"].sum() / 1e9, clients["up_bytes"].sum() / 1e9
    dollars = 6.0 * hours + 7.0 * down + 11.0 * up + 0.15 * hours + 0.25 * joules / 3.6e6
    assert found["dollars"] == pytest.approx(dollars)
    assert up == 16 * found["updates"] / 1e9 + 0 * down  # 4 parameters of 4 bytes


def test_participation_by_hand() -> None:
    result = small(strategy={"name": "fedavg", "clients": 2}, stop__versions=3).run()
    used = result.tables["clients"]["used"].astype(float)
    assert used.sum() == 6
    assert result.metrics["participation_jain"] == pytest.approx(36 / (12 * (used**2).sum()))
    assert result.metrics["unused_clients_share"] == np.mean(used == 0) >= 0.5


@pytest.mark.parametrize("end", [1, 7, 10, 25, 100])
def test_share_of_time_there(end: int) -> None:
    """Against looking at every tick, for traces that end and traces that start again."""
    there = Availability(
        first=np.array([0, 2, 3, 3]),
        begin=np.array([1, 5, 0]),
        end=np.array([4, 8, 3]),
        period=np.array([10, 0, 6]),
        trace=np.array([0, 0, 1, 2, -1], np.int32),
        offset=np.array([0, 6, 1, 0, 0]),
    )
    clients = Clients.make(np.ones(5, int), availability=there)
    rows = [there.trace.tolist(), there.offset.tolist()]
    wanted = []
    for trace, offset in zip(*rows, strict=True):
        if trace < 0:
            wanted.append(1.0)
            continue
        mine = range(int(there.first[trace]), int(there.first[trace + 1]))
        count = 0
        for tick in range(offset, offset + end):
            at = tick % int(there.period[trace]) if there.period[trace] else tick
            count += any(there.begin[k] <= at < there.end[k] for k in mine)
        wanted.append(count / end)
    assert there_share(clients, end).tolist() == pytest.approx(wanted)


def test_two_strategies_see_the_same_world() -> None:
    one = small(SOFTMAX).run(3).tables["clients"]
    other = small(SOFTMAX, **ASYNCHRONOUS).run(3).tables["clients"]
    assert (one["s_per_sample"] == other["s_per_sample"]).all()
    assert (one["samples"] == other["samples"]).all()
    fixed = [small(SOFTMAX, clients__seed=1, dataset__seed=2).run(s).tables["clients"]
             for s in (3, 4)]  # fmt: skip
    assert (fixed[0]["s_per_sample"] == fixed[1]["s_per_sample"]).all()
    assert (fixed[0]["samples"] == fixed[1]["samples"]).all()
    assert not (one["s_per_sample"] == fixed[0]["s_per_sample"]).all()


def test_a_timeline_shows_what_clients_did() -> None:
    result = small(**LEAVING, **ASYNCHRONOUS).run(record=True)
    assert result.digest == small(**LEAVING, **ASYNCHRONOUS).run().digest
    totals = result.facts["totals"]
    log, end = result.tables["log"], result.facts["end"]
    client, start, until, how = spans(log, end, codes_of(""))
    assert (np.bincount(client, minlength=12) == result.tables["clients"]["dispatches"]).all()
    assert (how == UNDER_WAY).sum() == totals["in_flight"] and (start <= until).all()
    made = result.timeline()
    work = made.work
    kinds = {made.kinds[code].name: int((work.kind == code).sum()) for code in set(work.kind)}
    assert kinds["update"] == totals["arrived"] and kinds["lost"] == totals["lost"] > 0
    assert kinds["under way"] == ((how == UNDER_WAY) & (start < result.facts["end"])).sum() > 0
    few = result.timeline(requests=3)
    assert len(set(few.work.lane.tolist())) <= 3 < len(set(work.lane.tolist()))
    assert "3 of 12 clients are shown." in few.notes
    with pytest.raises(mt.InputError, match="record=True"):
        small().run().timeline()


NETWORKS: dict[str, dict[str, object]] = {
    "server": {"down_gbit_per_s": 1e-5},
    "cells": {"cells": 2, "cell_down_mbit_per_s": 0.02, "up_gbit_per_s": 1e-4},
    "topology": {"topology": {"name": "star", "hosts": 5, "bytes_per_s": 1250.0}, "server": 1},
}


@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
def test_transfers_share_links(network: dict[str, object]) -> None:
    base = small(clients__down_mbit_per_s=1.0, clients__up_mbit_per_s=1.0)
    shared = base.changed({"network": network})
    result = shared.run(2)
    assert result.digest == shared.run(2, reference=True).digest and not result.violations
    assert result.metrics["duration_s"] > base.run(2).metrics["duration_s"]
    assert result.metrics["up_gb"] == base.run(2).metrics["up_gb"]


def test_latencies_of_peers_from_a_file(tmp_path: Path) -> None:
    rows = [",".join("0" if i == j else "250" for j in range(12)) for i in range(12)]
    (tmp_path / "ms.csv").write_text("\n".join(rows), encoding="utf-8")
    same = {"clients.speed": "homogeneous", "strategy": {"name": "fedavg"}}
    near = small(**same, peers={"protocol": "dpsgd"})
    far = near.set("peers.latency_file", str(tmp_path / "ms.csv"))
    slower = far.run().metrics["duration_s"] - near.run().metrics["duration_s"]
    assert slower == pytest.approx(12 * 0.25, rel=0.01)
    assert near.set("peers.across_ms", 100.0).run().metrics["duration_s"] > 0


def test_a_policy_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        '"""Mine."""\n'
        "from mltwin.models.federation.hooks import Strategy\n\n\n"
        "class OneByOne(Strategy):\n"
        '    """Each update at once."""\n\n'
        "    lr: float = 1.0\n\n"
        "    def start(self, server):\n"
        "        server.refill(3)\n\n"
        "    def arrived(self, server, arrivals):\n"
        "        made = server.train(arrivals)\n"
        "        share = [self.lr] * len(made.delta)\n"
        "        server.step(server.combine(share, made.delta), used=len(made.delta))\n",
        encoding="utf-8",
    )
    text = 'system = "federated"\nstrategy = {name = "mine.py:OneByOne", lr = 0.5}\n[model]\n'
    (tmp_path / "a.toml").write_text(text + 'level = "quadratic"\n[stop]\nversions = 9\n')
    scenario = mt.Scenario.load(tmp_path / "a.toml")
    result = scenario.run()
    assert result.metrics["updates"] == 9 and not result.violations
    before = result.spec
    assert "mine.py" in before.versions
    for name, told in (("Other", "has no 'Other'"), ("Strategy", "is no selection")):
        with pytest.raises(mt.InputError, match=told):
            scenario.set("selection", f"mine.py:{name}").run()
    with pytest.raises(mt.InputError, match="no parameter 'learning'"):
        scenario.set("strategy", {"name": "mine.py:OneByOne", "learning": 1}).run()


def test_data_and_clients_of_ones_own(tmp_path: Path) -> None:
    """Files are found beside the scenario's, and are part of what a run is known by."""
    rng = np.random.default_rng(1)
    rows = [
        f"{x:.3f},{y:.3f},{'north' if x + y > 0 else 'south'},c{i % 6}"
        for i, (x, y) in enumerate(rng.normal(size=(120, 2)))
    ]
    (tmp_path / "mine.csv").write_text("\n".join(["x,y,label,who", *rows]), encoding="utf-8")
    phones = {f"p{i}": {"computation": 10.0 * (i + 1), "communication": 800.0} for i in range(6)}
    (tmp_path / "phones.json").write_text(json.dumps(phones), encoding="utf-8")
    (tmp_path / "a.toml").write_text(
        'system = "federated"\n[dataset]\nsource = {name = "arrays", path = "mine.csv", '
        'client = "who"}\nsplit = "natural"\n[clients]\ncount = 6\n'
        'speed = {name = "file", path = "phones.json"}\n[stop]\nversions = 20\n'
        '[strategy]\nname = "fedavg"\nclients = 3\n',
        encoding="utf-8",
    )
    result = mt.Scenario.load(tmp_path / "a.toml").run()
    assert result.metrics["final_accuracy"] > 0.8
    assert sorted(result.tables["clients"]["s_per_sample"]) == pytest.approx(
        [0.03 * (i + 1) for i in range(6)]
    )
    assert {"mine.csv", "phones.json"} <= set(result.spec.versions)
    with pytest.raises(mt.InputError, match=r"none\.csv"):
        mt.Scenario.load(tmp_path / "a.toml").set("dataset.source.path", "none.csv").run()


def test_the_gate_takes_it(tmp_path: Path) -> None:
    small(name="").save(tmp_path / "fed.toml")
    mt.make_baseline(tmp_path / "fed.toml", reason="the first", seeds=3)
    report = mt.check(tmp_path, workers=1)
    assert report.passed


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"strategy": "fedavgg"}, "did you mean 'fedavg"),
        ({"strategy": {"name": "fedavg", "client": 3}}, "did you mean 'clients'"),
        ({"selection": "oortt"}, "did you mean 'oort'"),
        ({"strategy": "none.py:A"}, r"none\.py"),
        ({"model.level": "softmaxx"}, "did you mean 'softmax'"),
        ({"model.level": "torch"}, "go together"),
        ({"model": {"level": "torch", "module": "net"}}, "write file.py:function"),
        ({"model": {"level": "torch", "module": "none.py:net"}}, r"none\.py"),
        ({"stop.at_target": True}, "leave it out, or learn a softmax model"),
        ({"stop.at_target": True, "model": {"level": "softmax"}}, "give target.accuracy"),
        ({"model.level": "time", "target.loss": 1.0}, "could reach a target"),
        ({"target.accuracy": 0.5}, "has no accuracy"),
        ({"dataset.source": "digitz", "model": {"level": "softmax"}}, "did you mean 'digits'"),
        (
            {"dataset.source": {"name": "gaussians", "sample": 3}, "model": {"level": "softmax"}},
            "dataset.source.sample: unknown key; did you mean 'samples'",
        ),
        ({"dataset.split": {"name": "dirichlet"}, "model": {"level": "softmax"}}, "needs 'alpha'"),
        ({"dataset.split": "natural", "model": {"level": "softmax"}}, "no natural clients"),
        ({"dataset.samples": {"name": "zipff", "mean": 3}}, "did you mean 'zipf'"),
        ({"dataset.samples": 0}, "dataset.samples"),
        ({"dataset.samples": 10**7, "clients.count": 1000}, "samples in all; give fewer"),
        ({"model.parameters": 10**5, "clients.count": 10**5}, "numbers; give fewer"),
        ({"model": {"level": "mlp", "hidden": [100_000, 100_000]}}, "numbers; give fewer"),
        ({"clients.count": 9999, "model": {"level": "softmax"}}, "cannot have a row each"),
        ({"clients.speed": "exponentiall"}, "did you mean 'exponential'"),
        ({"clients.failure": 2.0}, "less than or equal to 1"),
        ({"training.detect_s": "nver"}, "detect_s"),
        ({"model.hidden": []}, "model.hidden"),
        ({"model.hidden": [0]}, "model.hidden"),
        ({"peers": {"overlay": "rings"}, "strategy": {"name": "fedavg"}}, "did you mean 'ring'"),
        (
            {"peers": {"protocol": "dpsgdd"}, "strategy": {"name": "fedavg"}},
            "did you mean 'dpsgd'",
        ),
        ({"peers": {}, "network": {}}, "peers send over their own links"),
        ({"network": {"cell_up_mbit_per_s": 1.0}}, "give cells"),
        ({"network": {"topology": "star", "cells": 2}}, "a topology has all links"),
        ({"network": {"topology": "starr"}}, "did you mean 'star'"),
        ({"network": {"topology": "star", "server": 99}}, "rank 99 of 8"),
        (
            {"peers": {}, "strategy": {"name": "fedavg"}, "codec": "sign"},
            "codec: peers have no server",
        ),
    ],
)
def test_bad_fields_are_told(changes: dict[str, object], said: str) -> None:
    with pytest.raises(mt.InputError, match=said) as told:
        small().changed(changes).run()
    assert "\n" not in str(told.value)


def test_a_run_that_diverges_keeps_what_it_has() -> None:
    result = small(training__lr=1e6, stop__versions=50).run()
    assert any("ended early" in note and "lower the learning rate" in note for note in result.notes)
    assert np.isfinite(list(result.metrics.values())).all()
    assert result.metrics["versions"] < 50


def test_laws_can_be_broken() -> None:
    result = small().run()
    facts = dict(result.facts)
    assert not violations_of(result.tables, facts)
    broken = {**facts, "totals": {**facts["totals"], "dispatched": 1}}
    assert "1 dispatches, of which" in violations_of(result.tables, broken)[0]
    lost = {**facts, "totals": {**facts["totals"], "used": -1}}
    assert any("used of clients" in text for text in violations_of(result.tables, lost))


def test_samples_have_times() -> None:
    result = small(SOFTMAX).run()
    found = result.samples()
    accuracy = found["accuracy"]
    assert accuracy.at_s is not None and len(accuracy.at_s) == len(accuracy.values) == 9
    assert found["used updates"].values.sum() == result.metrics["updates"]
    assert all(a <= b for a, b in itertools.pairwise(accuracy.at_s))


@pytest.mark.parametrize("protocol", ["dpsgd", "gossip", "modest", "matchmaking"])
def test_peers_learn_without_a_server(protocol: str) -> None:
    scenario = small(
        SOFTMAX, peers={"protocol": protocol, "overlay": "complete"}, stop={"versions": 14},
        strategy={"name": "fedavg"}, clients__count=16,
    )  # fmt: skip
    result = scenario.run()
    assert not result.violations and result.metrics["versions"] == 14
    assert result.tables["evaluations"]["accuracy"][0] < 0.3 < result.metrics["final_accuracy"]
    recorded = scenario.run(record=True)
    assert result.digest == recorded.digest
    if protocol in ("dpsgd", "matchmaking"):
        with pytest.raises(mt.InputError, match="closed forms"):
            recorded.timeline()
        return
    made = recorded.timeline()
    updates = int((made.work.kind == made.kind("update")).sum())
    assert updates == recorded.metrics["updates"]
