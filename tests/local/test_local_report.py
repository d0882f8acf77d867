"""A whole measurement with an engine made of the mirror: predicted, run, judged, reported."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from mltwin.calibration.local import predict
from mltwin.calibration.local.cost import StepCost
from mltwin.calibration.local.engine import Load
from mltwin.calibration.local.mirror import Mirror, Rules
from mltwin.calibration.local.probe import Quiet, Reading
from mltwin.calibration.local.steplog import StepLog
from mltwin.sim.errors import InputError
from mltwin.validation import local_session
from mltwin.validation.local import validate_local
from mltwin.validation.local_report import KINDS, METRICS, LocalReport
from mltwin.validation.local_session import Settings, default_threads

TRUE = StepCost(base=2.6e-3, token=8.2e-5, context=6.9e-7, pair=3.4e-8, sequence=3e-5, change=1e-3)


class FakeEngine:
    """Serves at a known cost, slower by what ``slow`` says of the run; counts its runs."""

    slow: Callable[[int], float] = staticmethod(lambda number: 1.0)
    runs = 0

    def __init__(self, rules: Rules, threads: int) -> None:
        self.rules, self.machine = rules, {"processor": "made up", "threads": threads}

    def warm(self, progress: object = None) -> None:
        pass

    def run(self, load: Load, progress: object = None) -> StepLog:
        FakeEngine.runs += 1
        cost = TRUE.scaled(FakeEngine.slow(FakeEngine.runs))
        log = StepLog(self.rules, load.prompt.tolist(), load.output.tolist(), [])
        mirror, now, added, before = Mirror(self.rules), 0.0, 0, -1
        while added < len(load) or mirror.groups:
            if not mirror.groups and not load.concurrency:
                now = max(now, load.arrival[added])
            while added < len(load) and (
                len(mirror.groups) < load.concurrency
                if load.concurrency
                else load.arrival[added] <= now
            ):
                log.arrival.append(now if load.concurrency else float(load.arrival[added]))
                mirror.add(added, log.prompt[added], log.output[added])
                added += 1
            step = mirror.step()
            log.start.append(now)
            changed = step.tokens != before
            now += float(
                cost.seconds(step.tokens, step.context, step.pairs, step.sequences, changed)
            )
            before = step.tokens
            log.end.append(now)
            log.emitted.append(sorted(step.emitted))
            log.scheduled.append(step.sequences)
            log.blocks.append(step.used)
        return log


@pytest.fixture
def engine(monkeypatch) -> type[FakeEngine]:
    monkeypatch.setattr(local_session, "Engine", FakeEngine)
    # The fake engine is exact: short runs tell as much as long ones.
    monkeypatch.setattr(local_session, "CLOSED", ((1, 6), (4, 16), (16, 32)))
    monkeypatch.setattr(local_session, "OPEN_REQUESTS", 30)
    monkeypatch.setattr(local_session, "BURST_REQUESTS", 30)
    monkeypatch.setattr(predict, "_CAPACITY_REQUESTS", 200)
    # The test machine may be busy; only drift, which comes from the engine, shall judge here.
    monkeypatch.setattr(local_session, "read_machine", lambda: Reading(0.0, 0.0, 0.0, 0.0, 0))
    monkeypatch.setattr(FakeEngine, "slow", staticmethod(lambda number: 1.0))
    monkeypatch.setattr(FakeEngine, "runs", 0)
    return FakeEngine


def measured(out: Path, **more) -> LocalReport:
    given = {"loads": (0.5, 1.1), "repeats": 2, "requests": 40, "out": out, **more}
    return validate_local(**given)


def test_a_perfect_engine_is_predicted_perfectly(engine, tmp_path) -> None:
    report = measured(tmp_path)
    figures = report.figures()
    assert figures["local_step_match_pct"] == figures["local_step_match_whole_pct"] == 100.0
    assert len(report.runs) == 4 and all(run["quiet"]["passed"] for run in report.runs)
    for run in report.runs:
        for kind in KINDS:
            for metric in METRICS:
                said = run["predicted"][kind][metric]
                assert said == pytest.approx(run["measured"][metric], rel=0.02), (kind, metric)
    assert figures["local_engine_ttft_p50_pct"] < 2.0
    assert report.calibration["errors"]["p90_abs_pct"] < 1.0
    assert report.calibration["plain_errors"]["p90_abs_pct"] > 5.0
    assert report.spread_pct(0.5, "ttft_p50") == pytest.approx(0.0, abs=1e-6)


def test_a_slower_machine_is_followed_by_the_bursts(engine, tmp_path) -> None:
    """After the calibration (7 runs) all is 1.2 times slower: only upfront does not know."""
    engine.slow = staticmethod(lambda number: 1.0 if number <= 7 else 1.2)
    report = measured(tmp_path, loads=(0.5,))
    assert all(run["quiet"]["passed"] for run in report.runs)
    assert report.error_pct(0.5, "tpot_p50", "around") < 3.0
    assert report.error_pct(0.5, "tpot_p50", "blind") < 3.0
    assert report.error_pct(0.5, "tpot_p50", "upfront") > 15.0


def test_a_drifting_run_is_marked_repeated_and_kept(engine, tmp_path) -> None:
    """Runs: 7 of the calibration, burst, run, burst, run, burst ...; the ninth is the first run."""
    engine.slow = staticmethod(lambda number: 1.0 if number <= 9 else 1.3)
    report = measured(tmp_path, loads=(0.5,))
    passed = [run["quiet"]["passed"] for run in report.runs]
    assert passed == [False, True, True]
    assert "drift 30.0 % > 5 %" in report.runs[0]["reasons"]
    assert len(report.of(0.5)) == 2 and len(report.of(0.5, quiet=False)) == 3
    quiet, every = (report.error_pct(0.5, "tpot_p50", quiet=q) for q in (True, False))
    assert quiet is not None and every is not None
    confidences = [pair.confidence for pair in report.pairs()]
    assert confidences.count("disturbed") == len(METRICS)


def test_no_quiet_run_gives_no_figure(engine, tmp_path) -> None:
    engine.slow = staticmethod(lambda number: 1.0 + 0.3 * (number % 4 > 1))
    report = measured(tmp_path, loads=(0.5,))
    assert len(report.runs) == 6 and not any(run["quiet"]["passed"] for run in report.runs)
    assert report.figures()["local_engine_ttft_p50_pct"] is None
    assert report.figures()["local_engine_ttft_p50_all_runs_pct"] is not None
    assert "no quiet run" in report.markdown()
    assert report.tables()[1].rows[0][-1] == "0/6"


def test_no_repeats_after_the_time_is_up(engine, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(local_session, "MOST_S", 0.0)
    engine.slow = staticmethod(lambda number: 1.0 + 0.3 * (number % 4 > 1))
    assert len(measured(tmp_path, loads=(0.5,)).runs) == 2


def test_it_goes_on_where_it_was_cut_off(engine, tmp_path) -> None:
    whole = measured(tmp_path)
    runs = engine.runs
    # As after a cut during the last run: no end, no result of it.
    (tmp_path / "runs" / "done.json").unlink()
    (tmp_path / "runs" / "load-1.1-run-2.json").unlink()
    again = measured(tmp_path)
    assert engine.runs - runs == 3, "a burst, the run, a burst"
    assert [run["measured"] for run in again.runs] == [run["measured"] for run in whole.runs]
    measured(tmp_path)
    assert engine.runs - runs - 3 == runs, "a complete measurement is begun anew"


def test_other_settings_begin_anew(engine, tmp_path) -> None:
    measured(tmp_path, loads=(0.5,))
    (tmp_path / "runs" / "done.json").unlink()
    runs = engine.runs
    report = measured(tmp_path, loads=(0.5,), seed=1)
    assert engine.runs - runs == runs and len(report.runs) == 2


def test_predictions_are_on_disk_before_the_run(engine, tmp_path, monkeypatch) -> None:
    seen = []
    original = local_session.read_machine

    def reading() -> Reading:
        seen.append(sorted(p.name for p in (tmp_path / "runs").glob("*.prediction.json")))
        return original()

    monkeypatch.setattr(local_session, "read_machine", reading)
    measured(tmp_path, loads=(0.5,), repeats=1)
    assert seen == [[], [], *[["load-0.5-run-1.prediction.json"]] * 2]
    assert not (tmp_path / "runs" / "load-0.5-run-1.part").exists()


def test_the_report_is_saved_whole(engine, tmp_path) -> None:
    report = measured(tmp_path)
    paths = report.save(tmp_path / "made")
    assert all(path.stat().st_size > 100 for path in paths)
    data = json.loads((tmp_path / "made" / "report.json").read_text())
    assert data["figures"] == report.figures() and len(data["runs"]) == 4
    assert len(report.pairs()) == 4 * len(METRICS)
    text = report.markdown()
    for word in ("ttft_p50", "every run", "capacity", "real against real", "made up"):
        assert word in text
    assert set(data["kernel"]) == {"0.5", "1.1"}


def test_the_kernel_stands_beside(engine, tmp_path) -> None:
    """Without the change term the kernel is off, but not by much."""
    report = measured(tmp_path, loads=(0.5,), repeats=1)
    said, real = report.kernel[0.5]["tpot_p50"], report.runs[0]["measured"]["tpot_p50"]
    assert 0.7 < said / real < 1.3 and said != pytest.approx(real, rel=1e-3)


@pytest.mark.parametrize(
    "wrong", [{"loads": ()}, {"loads": (0.0,)}, {"repeats": 0}, {"requests": 3}, {"seed": -1}]
)
def test_bad_settings(wrong: dict) -> None:
    with pytest.raises(InputError):
        Settings(**wrong)


def test_a_folder_that_cannot_be_made(engine, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be made"):
        measured(tmp_path / "file")


def test_settings_are_plain_values() -> None:
    assert json.loads(json.dumps(asdict(Settings())))["rules"]["budget"] == 256
    assert 1 <= default_threads() <= 2
    assert Quiet(0.0, 0.0, 0.0).passed
    assert np.isfinite(Settings().attempts)
