"""Sweeps of a toy system: rows, digests, failures, tables, pictures, the same from all backends."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from flipping import FlipScenario

import mltwin as mt
from mltwin.sweeps import backends, clusters
from mltwin.sweeps.jobs import Job, run_jobs
from mltwin.sweeps.work import MAX_ERROR_CHARACTERS, Row

SPACE = {"flips": [5, 10, 20], "heads": [0.2, 0.8]}


def run(**options: Any) -> mt.Sweep:
    return mt.sweep(FlipScenario(name="coin"), SPACE, seeds=4, **options)


def test_rows_are_those_of_the_runs() -> None:
    found = run()
    assert (found.done, found.total, found.failures) == (24, 24, [])
    for point, rows in zip(found.points, found.rows, strict=True):
        for seed, row in enumerate(rows):
            alone = FlipScenario().changed(point).run(seed)
            assert row is not None and row.seed == seed
            assert row.metrics == alone.metrics and row.digest == alone.digest


def test_all_points_have_the_same_seeds() -> None:
    frame = run().frame()
    assert len(frame) == 24
    assert frame.groupby("point")["seed"].apply(list).map(tuple).unique().tolist() == [(0, 1, 2, 3)]


def test_backends_agree() -> None:
    digests = {run(backend=name, workers=2).digest for name in ("serial", "threads", "processes")}
    assert len(digests) == 1


@pytest.mark.cluster
def test_a_dask_cluster_agrees() -> None:
    pytest.importorskip("distributed")
    assert run(backend="dask", workers=2).digest == run(backend="serial").digest


@pytest.mark.cluster
def test_a_held_cluster_serves_several_calls(monkeypatch: pytest.MonkeyPatch) -> None:
    distributed = pytest.importorskip("distributed")
    started, start = [], distributed.LocalCluster

    def counted(**options: Any) -> Any:
        started.append(start(**options))
        return started[-1]

    monkeypatch.setattr(distributed, "LocalCluster", counted)
    with clusters.clusters_held():
        assert run(backend="dask", workers=2).digest == run(backend="dask", workers=2).digest
        assert started[0].status.name == "running"
    assert len(started) == 1 and started[0].status.name == "closed"


@pytest.mark.cluster
def test_a_ray_cluster_agrees() -> None:
    pytest.importorskip("ray")
    assert run(backend="ray", workers=2).digest == run(backend="serial").digest


def test_a_digest_tells_points_seeds_and_bits_apart() -> None:
    found = run()
    others = [
        mt.sweep(FlipScenario(), SPACE, seeds=[0, 1, 2, 4]),
        mt.sweep(FlipScenario(), {**SPACE, "heads": [0.2, 0.8000001]}, seeds=4),
        mt.sweep(FlipScenario(), {**SPACE, "flips": [5, 10]}, seeds=4),
    ]
    assert len({found.digest, *(other.digest for other in others)}) == 4
    turned = mt.sweep(
        FlipScenario(), {"heads": [0.8, 0.2], "flips": [20, 5, 10]}, seeds=[3, 1, 2, 0]
    )
    assert turned.digest == found.digest


def test_failures_are_kept_and_the_rest_goes_on() -> None:
    found = mt.sweep(FlipScenario(fail_on=10), SPACE, seeds=2)
    assert found.done == 12 and len(found.failures) == 4
    failure = found.failures[0]
    assert failure.point["flips"] == 10
    assert failure.error == "flips: 10 flips are not to my taste"
    assert "not to my taste" in str(found.failure_table())
    assert found.means()["runs"].tolist() == [2, 2, 0, 0, 2, 2]
    assert found.table().markdown().count("| - |") == 2


class Broken(FlipScenario):
    """Fails in ways that are no errors of ours."""

    system: Any = "broken"

    def simulate(self, seed: int, **options: object) -> mt.Result:
        """Fail by seed."""
        if seed == 0:
            raise SystemExit(3)
        if seed == 1:
            raise ValueError("word " * 1000)
        return mt.Result({"up": 1.0}, violations=["a law"])


def test_any_failure_is_one_line() -> None:
    rows = mt.sweep(Broken(), {"flips": [1]}, seeds=3).rows[0]
    errors = [row.error for row in rows if row is not None]
    assert errors[0] == "SystemExit: 3" and errors[1].startswith("ValueError: word word")
    assert len(errors[1]) == MAX_ERROR_CHARACTERS
    assert errors[2] == "violation: a law"


def test_a_worker_that_dies_takes_one_run_with_it() -> None:
    found = mt.sweep(
        FlipScenario(die_on=10), {"flips": [5, 10, 20]}, seeds=2, backend="processes", workers=2
    )
    assert [failure.point["flips"] for failure in found.failures] == [10, 10]
    assert "worker" in found.failures[0].error
    healthy = mt.sweep(FlipScenario(), {"flips": [5, 20]}, seeds=2)
    assert found.rows[0][0] == _timeless(healthy.rows[0][0], found.rows[0][0])


def _timeless(row: Row | None, other: Row | None) -> Row:
    assert row is not None and other is not None
    return Row(row.seed, row.metrics, row.digest, other.wall_s, row.error)


def test_run_jobs_keeps_order_and_runs_equal_jobs_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FLIP_LOG", str(tmp_path / "log"))
    one, two = FlipScenario(), FlipScenario(flips=3)
    jobs = [Job(one, 1), Job(two, 0), Job(one, 1), Job(one, 0)]
    seen: list[tuple[int, int]] = []
    rows = run_jobs(jobs, workers=2, progress=lambda done, n: seen.append((done, n)))
    assert [row.seed for row in rows] == [1, 0, 1, 0] and rows[0] == rows[2]
    assert len((tmp_path / "log").read_text().splitlines()) == 3
    assert seen[-1] == (4, 4)
    assert run_jobs([]) == []


def test_threads_leave_the_switch_interval_as_it_was() -> None:
    before = sys.getswitchinterval()
    inside: list[float] = []
    mt.sweep(
        FlipScenario(), SPACE, workers=2, progress=lambda *_: inside.append(sys.getswitchinterval())
    )
    assert sys.getswitchinterval() == before > min(inside)


def test_chunks_grow_with_cheap_runs_and_hold_each_job_once() -> None:
    jobs = [(i, FlipScenario(), 0) for i in range(5000)]
    chunks = backends.Chunks(jobs, 0.05, 4)
    sizes, numbers = [], []
    for chunk in chunks:
        sizes.append(len(chunk))
        numbers += [number for number, _, _ in chunk]
        chunks.learn([(number, Row(0, {}, "", 1e-4)) for number, _, _ in chunk])
    assert numbers == list(range(5000))
    assert sizes[0] == 1 and max(sizes) > 100 and sizes[-1] == 1


def test_chunks_of_long_runs_are_single() -> None:
    chunks = backends.Chunks([(i, FlipScenario(), 0) for i in range(40)], 0.05, 4)
    for chunk in chunks:
        assert len(chunk) == 1
        chunks.learn([(0, Row(0, {}, "", 0.2))])


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"backend": "thread"}, "did you mean 'threads'"),
        ({"workers": 0}, "at least 1"),
        ({"address": "tcp://here"}, "no address"),
    ],
)
def test_wrong_options_are_told(options: dict[str, Any], told: str) -> None:
    with pytest.raises(mt.InputError, match=told):
        run(**options)


@pytest.mark.parametrize(("backend", "package"), [("dask", "distributed"), ("ray", "ray")])
def test_a_missing_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, backend: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(mt.InputError, match=rf"pip install mltwin\[{backend}\]"):
        run(backend=backend)


@pytest.mark.cluster
def test_a_scheduler_that_does_not_answer_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr(clusters, "_CONNECT_S", 0.3)
    with pytest.raises(mt.InputError, match="no Dask scheduler answers"):
        run(backend="dask", address="tcp://127.0.0.1:9")


def test_tables_show_means_and_intervals() -> None:
    found = run()
    table = found.table()
    assert table.columns[:2] == ["flips", "heads"] and len(table.rows) == 6
    values = [row.metrics["up"] for row in found.rows[0] if row is not None]
    mean, half = found.mean(0, "up")
    assert mean == pytest.approx(sum(values) / 4) and half > 0
    assert "±" in str(table) and "means of 4 seeds" in table.caption
    assert len(found.table(most=2).rows) == 2
    with pytest.raises(mt.InputError, match="did you mean 'up'"):
        found.table(["ups"])


def test_a_metric_misspelt_in_the_study_is_told() -> None:
    found = run(metrics=["headz"])
    for shown in (found.table, found.plot):
        with pytest.raises(mt.InputError, match="no metric 'headz'"):
            shown()
    assert found.metrics() and found.table(found.metrics()[:1]).rows


def test_columns_that_would_clash_are_told_apart() -> None:
    class Own(FlipScenario):
        system: Any = "own"

        def simulate(self, seed: int, **options: object) -> mt.Result:
            return mt.Result({"heads": 3.0})

    frame = mt.sweep(Own(), {"heads": [0.25, 0.5]}).frame()
    assert frame["scenario.heads"].tolist() == [0.25, 0.5] and frame["heads"].tolist() == [3, 3]


@pytest.mark.parametrize(
    "space",
    [
        {"flips": {"from": 1, "to": 100, "steps": 4, "scale": "log"}},
        {"colour": ["red", "blue"]},
        {"flips": [1, 2, 3], "heads": [0.1, 0.2, 0.3]},
        {"flips": [1, 2, 3], "colour": ["red", "blue"]},
        {"lhs": {"points": 4, "flips": {"from": 1, "to": 9}, "heads": {"from": 0, "to": 1}}},
        {"flips": [1, 2], "heads": [0.1, 0.2], "colour": ["red", "blue"]},
    ],
)
def test_it_plots_and_reports(tmp_path: Path, space: dict[str, Any]) -> None:
    found = mt.sweep(FlipScenario(name="<coin>"), space, seeds=2)
    found.plot(tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text().startswith("<?xml")
    page = found.report(tmp_path / "a.html").read_text()
    assert "&lt;coin&gt;" in page and "<coin>" not in page and found.digest in page


def test_it_is_exported(tmp_path: Path) -> None:
    import pandas as pd

    found = mt.sweep(FlipScenario(), {"list": [{"flips": 3}, {"colour": "blue"}]}, seeds=2)
    assert len(pd.read_csv(found.export(tmp_path / "a.csv"))) == 4
    back = pd.read_parquet(found.export(tmp_path / "a.parquet"))
    assert back["flips"].tolist() == [3, 3, 100, 100] and back["blues"].isna().sum() == 2
    with pytest.raises(mt.InputError, match="ending"):
        found.export(tmp_path / "a.xlsx")


def test_live_tables_are_partial() -> None:
    shares: list[int] = []
    mt.sweep(
        FlipScenario(wait_s=0.05),
        SPACE,
        seeds=8,
        workers=2,
        live=lambda part: shares.append(part.done) or part.table(),  # type: ignore[func-returns-value]
    )
    assert shares and all(0 < done < 48 for done in shares) and shares == sorted(shares)


def test_importing_the_package_does_not_import_sweeps() -> None:
    code = "import sys, mltwin, mltwin.app.cli; print([m for m in sys.modules if 'sweeps' in m])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
