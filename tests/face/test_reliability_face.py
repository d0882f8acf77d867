"""The system `training-run` in the house: files, runs, comparison, sweep, store, timeline."""

import os
from pathlib import Path

import numpy as np
import pytest

import mltwin as mt
from mltwin.metrics import direction
from mltwin.reliability import TrainingRunScenario
from mltwin.reliability_intervals import compare_intervals
from mltwin.reliability_result import SHARES, TrainingRunResult, _violations

DATA = os.environ.get("MLTWIN_DATA")
SMALL = {"job.nodes": 16, "job.days": 2.0, "job.step_s": 20.0, "failures.mtbf_days": 4.0}


def small(**more: object) -> TrainingRunScenario:
    changes = SMALL | {key.replace("__", "."): value for key, value in more.items()}
    return TrainingRunScenario().changed(changes)


def test_the_default_runs_and_breaks_no_law() -> None:
    scenario = TrainingRunScenario()
    result = scenario.run()
    assert isinstance(result, TrainingRunResult) and not result.violations and not result.notes
    assert result.digest == scenario.run().digest != scenario.run(1).digest
    assert 0.85 < result.metrics["goodput_ratio"] < result.metrics["ettr"] < 1
    assert result.metrics["makespan_days"] > 30
    assert result.metrics["mtbf_hours"] == pytest.approx(260 * 24 / 256)
    assert sum(result.parts.values()) == result.facts["end"]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"checkpoint__strategy": "async", "failures__kind": "weibull"},
        {"checkpoint__strategy": "lazy", "stragglers__kind": "measured"},
        {"checkpoint__strategy": "memory", "checkpoint__interval": "adaptive"},
        {"recovery__elastic": "live", "job__unit_nodes": 2, "cluster__spares": 0},
        {"recovery__elastic": "restart", "cluster__rack_mtbf_days": 10.0, "cluster__spares": 0},
        {"stragglers__slow_days": 3.0, "stragglers__detect_hours": 1.0},
    ],
)
def test_the_reference_gives_the_same_result(more: dict[str, object]) -> None:
    scenario = small(**more)
    fast, plain = scenario.run(5), scenario.run(5, reference=True)
    assert fast.digest == plain.digest and not fast.violations
    assert fast.metrics == pytest.approx(plain.metrics, rel=1e-9)


def test_it_is_stored_compared_and_swept(tmp_path: Path) -> None:
    base = small(name="sync")
    back = mt.Result.load(base.run(2).save(tmp_path))
    assert isinstance(back, TrainingRunResult) and back.metrics == base.run(2).metrics
    lazy = base.changed({"checkpoint.strategy": "lazy", "name": "lazy"})
    compared = mt.compare([base, lazy], seeds=range(4))
    assert compared.difference("lazy", "checkpoint_share").high < 0
    assert "goodput_ratio" in compared.table().markdown()
    swept = mt.sweep(base, {"failures.mtbf_days": [2.0, 40.0]}, seeds=3, workers=1)
    often, rarely = (row["ettr"] for row in swept.means().to_dict("records"))
    assert often < rarely
    base.run().plot(tmp_path / "a.png")
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_every_metric_points_the_right_way() -> None:
    metrics = small().run().metrics
    higher = {name for name in metrics if direction(name) == "higher"}
    assert higher == {"goodput_ratio", "ettr", "finished"}
    lower = {name for name in metrics if direction(name) == "lower"}
    assert lower >= {"makespan_days", "wasted_gpu_hours", "dollars", *SHARES.values()}


def test_the_strategies_are_in_the_order_of_their_papers() -> None:
    """Lazy copies stall less than asynchronous ones, these less than synchronous ones; memory
    checkpoints every few steps lose less than any to storage."""
    runs = {
        name: mt.compare([small(checkpoint__strategy=name, checkpoint__storage_gb_per_s=5.0,
                                checkpoint__host_gb_per_s=5.0)], seeds=range(8))
        for name in ("sync", "async", "lazy", "memory")
    }  # fmt: skip
    stall, lost = (
        [float(np.mean([run.metrics[m] for run in next(iter(c.runs.values()))])) for c in
         runs.values()]
        for m in ("checkpoint_share", "lost_share")
    )  # fmt: skip
    assert stall[0] > stall[1] > stall[2] == 0
    assert lost[3] < 0.5 * min(lost[:3])


def test_how_often_to_save(tmp_path: Path) -> None:
    base = small(stragglers__kind="none", failures__repair_hours=0.0, job__days=10.0,
                 failures__mtbf_days=8.0, job__step_s=2.0)  # fmt: skip
    found = compare_intervals(base, [6.0, 24.0, 96.0], seeds=20, workers=2)
    assert int(np.argmin(found.wasted)) == 1
    assert 6 < found.best_minutes < 96
    assert np.allclose(found.wasted, found.daly, atol=0.003 + 4 * found.wasted_error.max())
    assert "Daly" in str(found.table())
    found.plot(tmp_path / "a.svg")
    with pytest.raises(mt.InputError, match="nothing fails"):
        compare_intervals(base.set("failures.kind", "none"))
    with pytest.raises(mt.InputError, match="positive"):
        compare_intervals(base, [0.0])


def test_a_timeline_covers_the_run() -> None:
    result = small(recovery__elastic="live", cluster__spares=0).run()
    made = result.timeline()
    work = made.work
    assert int((work.end - work.start).sum()) == result.facts["end"] * 1000
    names = {made.kinds[code].name for code in work.kind}
    assert {"train", "checkpoint", "remap"} <= names
    failed = int(result.metrics["failures"] + result.metrics["crashes"])
    assert len(made.instants) == failed
    part = result.timeline(window_s=(3600.0, 7200.0))
    assert 0 < len(part.work.start) < len(work.start)
    with pytest.raises(mt.InputError, match="days, a timeline at most"):
        small(job__days=120.0).run().timeline()


def test_very_many_checkpoints_are_thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    scenario = small(checkpoint__strategy="memory", job__days=1.0)
    whole = scenario.run()
    monkeypatch.setattr("mltwin.reliability_result.MOST_CHECKPOINTS", 100)
    few = scenario.run()
    assert few.metrics == whole.metrics and few.facts["thinned"] > 1
    assert len(few.tables["events"]["time"]) < 0.2 * len(whole.tables["events"]["time"])
    assert "checkpoints is shown" in few.timeline().notes[0] and not whole.timeline().notes


def test_nodes_from_a_file(tmp_path: Path) -> None:
    rows = "".join(f"0,add,n{i}\n" for i in range(4)) + "3600000,remove,n2\n7200000,add,n2\n"
    (tmp_path / "spot.csv").write_text(rows)
    (tmp_path / "run.toml").write_text(
        'system = "training-run"\n[job]\nnodes = 4\ndays = 0.1\n[failures]\nkind = "trace"\n'
        'trace = "spot.csv"\n'
    )
    scenario = mt.Scenario.load(tmp_path / "run.toml")
    scenario.check()
    rigid = scenario.run()
    assert rigid.metrics["waiting_share"] > 0.2 and rigid.metrics["interruptions"] == 1
    elastic = scenario.set("recovery.elastic", "live").run()
    assert elastic.metrics["waiting_share"] == 0 < elastic.metrics["shrunk_share"]
    assert elastic.metrics["makespan_days"] < rigid.metrics["makespan_days"]
    with pytest.raises(mt.InputError, match="4 nodes at a time and 4 in all"):
        scenario.set("job.nodes", 5).run()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"checkpoint.strategy": "synch"}, "did you mean 'sync'"),
        ({"job.unit_nodes": 3}, "replicas of 3"),
        ({"job.step_s": 1e6}, "a step of 1e"),
        ({"failures.trace": "a.csv"}, "go together"),
        ({"recovery.elastic": "live", "recovery.least_nodes": 17}, "17 nodes at least of 16"),
        (
            {"failures.kind": "trace", "failures.trace": "a.csv", "stragglers.slow_days": 3.0},
            "leave slow nodes",
        ),
    ],
)
def test_bad_fields_are_told(changes: dict[str, object], said: str) -> None:
    with pytest.raises(mt.InputError, match=said):
        small().changed(changes)


def test_a_missing_trace_is_told() -> None:
    missing = small().changed({"failures.kind": "trace", "failures.trace": "none.csv"})
    for call in (missing.check, missing.run):
        with pytest.raises(mt.InputError, match=r"none\.csv"):
            call()


def test_a_run_that_never_ends_is_given_up() -> None:
    hopeless = small(failures__mtbf_days=0.01, limit_days=5.0)
    result = hopeless.run()
    assert result.metrics["finished"] == 0 and "given up after 5 days" in result.notes[0]
    assert result.facts["end"] == 5 * 86400 * 10**9 and not result.violations


def test_laws_can_be_broken() -> None:
    result = small().run()
    assert _violations(result.tables, {**result.facts, "end": result.facts["end"] + 1})
    assert _violations(result.tables, {**result.facts, "step_ticks": 1})


@pytest.mark.data
@pytest.mark.skipif(not DATA, reason="MLTWIN_DATA is not set")
def test_elastic_live_beats_restarts_on_measured_preemptions() -> None:
    path = Path(str(DATA), "traces", "cluster", "parcae_spot", "p3trace.csv")
    base = TrainingRunScenario().changed(
        {"failures.kind": "trace", "failures.trace": str(path), "job.nodes": 32, "job.days": 0.2,
         "job.step_s": 2.0, "checkpoint.state_gb": 20.0, "recovery.regrow_minutes": 5.0}
    )  # fmt: skip
    ends = [base.set("recovery.elastic", kind).run() for kind in ("restart", "live")]
    assert not any(one.violations for one in ends)
    assert ends[1].metrics["makespan_days"] < ends[0].metrics["makespan_days"]
