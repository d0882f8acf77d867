"""A toy system gets Perfetto files and the replay view by giving lanes and slices."""

import json
from typing import Any, ClassVar, Literal

import numpy as np
import pytest
import trace_event_rules as rules

import mltwin as mt
from mltwin.timelines.timeline import Arrows, Instant, Timeline, Tracks

NASTY = 'a "quoted" <b>name</b>\n\u2603\\'


class BakeryResult(mt.Result):
    """Loaves in ovens."""

    def timeline(self, **options: Any) -> Timeline:
        """A lane for each oven; loaves are baked one after another."""
        made = Timeline(self.label)
        bakes = self.tables["bakes"]
        ovens = np.array([made.lane("bakery", f"oven {i}") for i in range(2)])
        made.slices(ovens[bakes["oven"]], bakes["start"], bakes["end"], kind="bake")
        made.counter("bakery", "dough", bakes["start"], np.arange(len(bakes["start"]))[::-1])
        return made


class BakeryScenario(mt.Scenario):
    """Two ovens and so many loaves."""

    system: Literal["bakery"] = "bakery"
    loaves: int = 100

    result_class: ClassVar[str] = f"{__name__}:BakeryResult"

    def simulate(self, seed: int, **options: object) -> mt.Result:
        """Each loaf takes a second, every other one in the second oven."""
        n = np.arange(self.loaves)
        start = (n // 2) * 10**12
        bakes = {"oven": n % 2, "start": start, "end": start + 10**12}
        return BakeryResult({"loaves": float(self.loaves)}, {"bakes": bakes})


class PlainScenario(mt.Scenario):
    """A system without a timeline."""

    system: Literal["plain"] = "plain"

    def simulate(self, seed: int, **options: object) -> mt.Result:
        """Nothing."""
        return mt.Result({"nothing": 0.0})


def test_a_toy_run_opens_in_perfetto(tmp_path) -> None:
    path = tmp_path / "bakery.json.gz"
    notes = BakeryScenario().run().timeline().save(path)
    content = rules.read(path)
    assert rules.problems(content) == [] and notes == []
    slices = [e for e in content["traceEvents"] if e["ph"] == "X"]
    assert len(slices) == 100 and sum(e["dur"] for e in slices) == pytest.approx(100e6)
    names = {e["args"]["name"] for e in content["traceEvents"] if e["name"] == "thread_name"}
    assert names == {"oven 0", "oven 1"}


def test_a_toy_run_is_replayed() -> None:
    timeline = BakeryScenario(loaves=20).run().timeline()
    frame = timeline.frame((2.5, 4.0))
    assert list(frame["start_s"]) == [2, 3] * 2 and set(frame["kind"]) == {"bake"}
    chart = timeline.chart().to_dict()
    assert "oven 1" in json.dumps(chart) and len(chart["vconcat"]) == 2
    with pytest.raises(mt.InputError, match="nothing happened"):
        timeline.chart((50.0, 60.0))


def test_a_system_without_one_says_so() -> None:
    with pytest.raises(mt.InputError, match="a plain run has no timeline"):
        PlainScenario().run().timeline()


def full_timeline() -> Timeline:
    """Everything that a timeline can hold, with names that need escaping."""
    made = Timeline(NASTY)
    a, b = made.lane(NASTY, NASTY), made.lane("p", "b")
    made.slices(a, [0, 5_000], [5_000, 9_000], kind=NASTY, sums={"work": [1, 2]})
    made.slices(b, [7_000], [8_777], kind="late", text=NASTY)
    made.counter("p", NASTY, [0, 4_000, 9_000], [0.0, 2.5, 0.0], unit="things", shown=True)
    made.instants.append(Instant(a, 4_500, NASTY))
    one = np.array([0])
    made.arrows.append(Arrows(NASTY, one + a, one + 5_000, one + b, one + 7_000))
    ids, start, end = (
        np.array([7, 9, 11]),
        np.array([0, 1_000, 2_000]),
        np.array([9_000, 5_000, 2_000]),
    )
    owner, begins = np.array([0, 0, 1]), np.array([0, 4_000, 1_000])
    made.tracks.append(
        Tracks(
            *("jobs", [NASTY] * 3, ids, start, end, {"size": np.array([1.0, np.nan, 2.0])}),
            *(owner, begins, np.array([4_000, 9_000, 5_000]), ["wait", "run", "run"]),
        )
    )
    return made


def test_all_kinds_of_events_follow_the_rules(tmp_path) -> None:
    path = tmp_path / "all.json"
    assert full_timeline().save(path) == []
    content = rules.read(path)
    assert rules.problems(content) == []
    phases = [e["ph"] for e in content["traceEvents"]]
    assert {p: phases.count(p) for p in "XbenCisf"} == {
        "X": 3,
        "b": 5,
        "e": 5,
        "n": 1,
        "C": 3,
        "i": 1,
        "s": 1,
        "f": 1,
    }
    assert content["otherData"]["title"] == NASTY
    assert "NaN" not in path.read_text()


@pytest.mark.parametrize(
    ("broken", "problem"),
    [
        (lambda e: e.update(ts=-1.0), "ts -1"),
        (lambda e: e.update(dur=0.007), "overlaps"),
        (lambda e: e.update(name=""), "name ''"),
        (lambda e: e.update(pid=77), "no name"),
    ],
)
def test_the_checker_sees_broken_files(tmp_path, broken: Any, problem: str) -> None:
    full_timeline().save(tmp_path / "t.json")
    content = rules.read(tmp_path / "t.json")
    broken(next(e for e in content["traceEvents"] if e["ph"] == "X"))
    assert problem in "; ".join(rules.problems(content))


@pytest.mark.parametrize("phase", ["e", "s", "f", "b"])
def test_the_checker_sees_lost_halves(tmp_path, phase: str) -> None:
    full_timeline().save(tmp_path / "t.json")
    content = rules.read(tmp_path / "t.json")
    events = content["traceEvents"]
    events.remove(next(e for e in events if e["ph"] == phase))
    assert rules.problems(content)


def test_overlapping_work_is_refused() -> None:
    made = Timeline()
    lane = made.lane("p", "worker")
    made.slices(lane, [0, 5], [6, 9], kind="work")
    with pytest.raises(mt.InputError, match=r"worker.*overlap at tick 5"):
        made.frame()
    with pytest.raises(mt.InputError, match="starts at tick 9 and ends at 3"):
        made.slices(lane, 9, 3, kind="work")


def test_overlapping_work_is_laid_out() -> None:
    made = Timeline()
    start, end = np.array([0, 1, 2, 10]), np.array([5, 9, 4, 11])
    lanes = made.rows_of("p", "link", start, end)
    made.slices(lanes, start, end, kind="move")
    assert [lane.thread for lane in made.lanes] == ["link", "link (2)", "link (3)"]
    assert made.frame()["lane"].value_counts().to_dict() == {
        "link": 2,
        "link (2)": 1,
        "link (3)": 1,
    }


def test_files_that_cannot_be_written(tmp_path) -> None:
    made = full_timeline()
    with pytest.raises(mt.InputError, match=r"use \.json"):
        made.save(tmp_path / "t.txt")
    with pytest.raises(mt.InputError, match="cannot be written"):
        made.save(tmp_path / "nowhere" / "t.json")
    with pytest.raises(mt.InputError, match="too few"):
        made.save(tmp_path / "t.json", max_events=3)
