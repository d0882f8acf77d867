"""The system `training`: a step as a scenario, graphs from files, noise, plans, errors."""

import json
from pathlib import Path

import numpy as np
import pytest

import mltwin as mt
from mltwin.models.training.tables import COMPUTE
from mltwin.sim.errors import InputError
from mltwin.training import TrainingScenario
from mltwin.training_plans import plan_rows, plan_table, refused_table

SMALL = {"plan.dp": 2, "plan.pp": 2, "plan.zero": 1, "plan.microbatches": 4, "batch.tokens": 1024}


def test_the_graph_takes_as_long_as_the_formula() -> None:
    for changes in ({}, SMALL, {**SMALL, "plan.schedule": "gpipe"}):
        result = TrainingScenario().changed(changes).run()
        assert result.metrics["step_ms"] == pytest.approx(
            result.metrics["closed_form_ms"], rel=1e-9
        )
        assert result.violations == []


def test_metrics_fit_together() -> None:
    result = TrainingScenario().changed(SMALL).run()
    m = result.metrics
    assert m["step_tokens"] == 2 * 4 * 1024 and m["gpus"] == 4
    assert m["tokens_per_s"] == pytest.approx(m["step_tokens"] / m["step_ms"] * 1e3)
    parts = [v for k, v in m.items() if k.startswith("critical_")]
    assert sum(parts) == pytest.approx(m["step_ms"], rel=1e-9)
    hours = m["gpus"] * m["step_ms"] / 3.6e6
    assert m["dollars_per_million_tokens"] == pytest.approx(2.0 * hours / m["step_tokens"] * 1e6)
    assert 0.2 < m["mfu"] < 0.7 and m["memory_gib"] < 80


def test_the_reference_agrees() -> None:
    noisy = TrainingScenario().changed({**SMALL, "ranks": "all", "noise.sigma": 0.2})
    fast, slow = noisy.run(5), noisy.run(5, reference=True)
    assert np.array_equal(fast.tables["tasks"]["end"], slow.tables["tasks"]["end"])
    assert fast.metrics == slow.metrics


def test_noise_is_paired_and_slows_the_whole_job() -> None:
    base = TrainingScenario().changed({**SMALL, "ranks": "all"})
    quiet, noisy = base.run(1), base.set("noise.sigma", 0.1).run(1)
    assert noisy.metrics["step_ms"] > quiet.metrics["step_ms"]
    assert noisy.metrics == base.set("noise.sigma", 0.1).run(1).metrics
    slow = base.changed({"noise.slow_share": 1.0, "noise.slow_factor": 1.5}).run(1)
    mine = quiet.tables["tasks"]["kind"] == COMPUTE
    took = [(r.tables["tasks"]["end"] - r.tables["tasks"]["start"])[mine] for r in (quiet, slow)]
    assert took[1] == pytest.approx(1.5 * took[0], abs=1)


def test_messages_cross_a_network() -> None:
    base = TrainingScenario().changed({**SMALL, "plan.dp": 1})
    wired = base.set("cluster.topology", {"name": "star", "hosts": 2, "bytes_per_s": 1e9}).run()
    assert wired.metrics["step_ms"] > base.run().metrics["step_ms"]
    assert wired.metrics["critical_pp_ms"] > 0


def test_a_graph_from_a_file(tmp_path: Path) -> None:
    graph = {
        "format": "mltwin graph",
        "version": 1,
        "tasks": [
            {"id": "f", "name": "forward", "device": 0, "duration_s": 1e-4},
            {"id": "b", "name": "backward", "device": 0, "duration_s": 2e-4, "after": ["f"]},
        ],
    }
    (tmp_path / "graph.json").write_text(json.dumps(graph))
    (tmp_path / "a.toml").write_text('system = "training"\ngraph = "graph.json"\n')
    result = mt.Scenario.load(tmp_path / "a.toml").run()
    assert result.metrics["step_ms"] == pytest.approx(0.3)
    assert result.metrics["exposed_share"] == 0


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": "llama-3.1-405b", "plan.dp": 1}, "GiB"),
        ({"plan.tp": 3}, "tp"),
        ({"model": "lama"}, "lama"),
        ({"gpu": "h1000"}, "h1000"),
        ({"plan.shard": 3}, "plan"),
        ({"noise.sigma": 0.1}, "ranks = 'all'"),
        ({"graph": "nowhere.json"}, "nowhere.json"),
        ({"cluster.topology": "starr", "plan.pp": 2}, "cluster.topology.*did you mean 'star'"),
        ({"cluster.topology": "star", "plan.pp": 2}, "cluster.topology: 8 ranks for the 16 GPUs"),
        ({"plan.pp": 33}, "give at most 32"),
        ({"plan.ep": 8}, "it has none: ep = 1"),
    ],
)
def test_errors_are_one_line(changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        TrainingScenario().changed(changes).run()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("tasks", "words"),
    [
        ([], "holds no task"),
        ([{"id": "a", "after": ["b"]}, {"id": "b", "after": ["a"]}], "a .task 0. waits for b"),
        ([{"id": "a", "after": ["a"]}], "waits for itself"),
        ([{"id": "a", "after": ["z"]}], "'z', which there is not"),
        ([{"id": "a", "duration_s": 1e9}], "0 to 9e6"),
        (
            [{"id": "a", "kind": "transfer", "target": 1, "source": 0, "bytes": 1}],
            "give a topology",
        ),
    ],
)
def test_a_bad_graph_is_told_with_its_file(tmp_path: Path, tasks: list, words: str) -> None:
    file = tmp_path / "bad.json"
    file.write_text(json.dumps({"format": "mltwin graph", "version": 1, "tasks": tasks}))
    with pytest.raises(InputError, match=words) as error:
        TrainingScenario(graph=str(file)).run()
    assert "bad.json" in str(error.value) and "\n" not in str(error.value)


def test_a_task_without_a_name_has_its_id(tmp_path: Path) -> None:
    file = tmp_path / "graph.json"
    tasks = [{"id": "load", "duration_s": 1e-3, "device": 0}]
    file.write_text(json.dumps({"format": "mltwin graph", "version": 1, "tasks": tasks}))
    assert "load" in str(TrainingScenario(graph=str(file)).run().report()[1])


def test_what_a_run_leaves_out_is_noted() -> None:
    alone = TrainingScenario().changed({"cluster.topology": "star"}).run()
    assert any("No message crosses" in note for note in alone.notes)
    small = {**SMALL, "cluster.topology": {"name": "star", "hosts": 4}}
    assert not any("No message" in n for n in TrainingScenario().changed(small).run().notes)
    too_much = TrainingScenario().changed({"model": "llama-3.1-70b", "fit": False}).run()
    assert any("It does not fit" in note for note in too_much.notes)


def test_no_plan_of_these_sizes() -> None:
    with pytest.raises(InputError, match="must divide the GPUs"):
        _ = mt.search_plans(
            "llama-3.1-8b", 8, "h100-sxm-80gb", tokens=1024, sequences=8, tp=[3]
        ).best
    with pytest.raises(InputError, match="gpus is 0"):
        mt.search_plans("llama-3.1-8b", 0, "h100-sxm-80gb", tokens=1024, sequences=8)


def test_stored_and_read_back(tmp_path: Path) -> None:
    result = TrainingScenario().changed(SMALL).run()
    result.save(tmp_path / "run")
    again = mt.Result.load(tmp_path / "run")
    assert again.metrics == result.metrics
    assert [str(t) for t in again.report()] == [str(t) for t in result.report()]


def test_a_timeline_shows_every_stream() -> None:
    result = TrainingScenario().changed(SMALL).run()
    timeline = result.timeline()
    assert {"device 0", "device 1"} <= {lane.process for lane in timeline.lanes}
    assert timeline.run_s == pytest.approx(result.metrics["step_ms"] / 1e3)


def test_plans_are_ranked() -> None:
    found = mt.search_plans(
        "llama-3.1-8b", 8, "h100-sxm-80gb", tokens=4096, sequences=32, microbatch=(1, 2)
    )
    rows = plan_rows(found)
    speeds = [row["tokens_per_s"] for row in rows]
    assert speeds == sorted(speeds, reverse=True) and len(speeds) == 20
    assert all(r["dp"] * r["tp"] * r["pp"] * r["cp"] == 8 for r in rows)
    assert "plans fit" in plan_table(found).caption
    assert len(refused_table(found).rows) == min(10, len(found.rejected))
