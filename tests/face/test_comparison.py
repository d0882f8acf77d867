"""Comparisons of any system: stored runs, pairing, corrected differences, seeds needed."""

import math
from typing import Literal

import numpy as np
import pytest
from dice_system import DiceScenario

import mltwin as mt
from mltwin.differences import change_text, p_text
from mltwin.inference import holm, paired_p, simultaneous_level
from mltwin.sim.stats import paired_ci
from mltwin.stored import stored_groups

SEEDS = range(6)


@pytest.fixture(scope="module")
def three() -> mt.Comparison:
    """A base, one 2 % slower with noise of its own, one the same but for its name."""
    base = DiceScenario(name="base")
    slower = DiceScenario(name="slower", slow=1.02, noise=0.01)
    return mt.compare([base, slower, DiceScenario(name="same")], seeds=SEEDS, workers=1)


def test_differences_are_what_the_formulas_say(three: mt.Comparison) -> None:
    found = three.differences(["mean_wait_ms", "p99_wait_ms"])
    assert [(row.metric, row.name) for row in found.rows] == [
        ("mean_wait_ms", "slower"),
        ("mean_wait_ms", "same"),
        ("p99_wait_ms", "slower"),
        ("p99_wait_ms", "same"),
    ]
    pairs = [(three.values(r.name, r.metric), three.values("base", r.metric)) for r in found.rows]
    raw = [paired_p(new, old) for new, old in pairs]
    assert [row.p for row in found.rows] == raw
    assert [row.adjusted_p for row in found.rows] == holm(raw).tolist()
    first, (new, old) = found.rows[0], pairs[0]
    alone = paired_ci(new, old, relative=True)
    wide = paired_ci(new, old, simultaneous_level(0.95, 4), relative=True)
    assert first.change == alone.estimate == pytest.approx(float((new / old - 1).mean()))
    assert first.interval == (alone.low, alone.high) and first.together == (wide.low, wide.high)
    assert first.mean == pytest.approx(new.mean()) and first.pairs == 6
    assert wide.low < alone.low and first.verdict == "worse" and first.is_found
    assert found.rows[1].verdict == "identical" and not found.rows[1].is_found


def test_words_for_what_was_found(three: mt.Comparison) -> None:
    slower, same = three.differences(["mean_wait_ms", "throughput", "requests"]).in_words()
    assert slower.startswith(
        "slower against base, over 6 paired seeds: worse in mean_wait_ms +1.9 %"
    )
    assert "throughput -1.9 %" in slower and "(the same in requests)" in slower
    assert "no difference found (the same in mean_wait_ms, throughput, requests)" in same


def test_a_least_difference_tells_what_is_small_and_how_many_seeds(three: mt.Comparison) -> None:
    found = three.differences(["mean_wait_ms"], least=0.05)
    slower, same = found.rows
    assert slower.verdict == "worse, within 5 %" and slower.is_found
    assert slower.seeds == three.seeds_needed("mean_wait_ms", 0.05, name="slower")
    assert same.seeds is None  # no spread to judge by
    noisy = mt.compare([DiceScenario(), DiceScenario(noise=0.02)], seeds=SEEDS, workers=1)
    row = noisy.differences(["mean_wait_ms"], least=0.05).rows[0]
    assert row.verdict == "same within 5 %"
    assert noisy.differences(["mean_wait_ms"], least=0.001).rows[0].verdict == "unclear"
    small, large = (noisy.seeds_needed("mean_wait_ms", least) for least in (0.001, 0.01))
    assert small > large >= 2


def test_either_way_may_be_neither_better_nor_worse(three: mt.Comparison) -> None:
    found = mt.compare(
        [DiceScenario(waits=50), DiceScenario(waits=60)], seeds=SEEDS, workers=1
    ).differences(["requests"])
    assert found.rows[0].verdict == "higher" and found.rows[0].p == 0.0


def test_a_base_of_zero_is_taken_absolutely() -> None:
    found = mt.compare([DiceScenario(), DiceScenario(refuse=3)], seeds=SEEDS, workers=1)
    row = found.differences(["refused"], least=0.01).rows[0]
    assert (row.change, row.relative, row.verdict, row.text()) == (3.0, False, "worse", "+3")
    assert row.seeds is None
    with pytest.raises(mt.InputError, match="no spread"):
        found.seeds_needed("refused")


def test_one_seed_says_nothing_for_sure() -> None:
    found = mt.compare([DiceScenario(name="a"), DiceScenario(name="b", slow=2)]).differences()
    rows = {row.metric: row for row in found.rows}
    assert rows["mean_wait_ms"].verdict == "one seed" and rows["mean_wait_ms"].p is None
    assert rows["requests"].verdict == "identical"
    assert "nothing can be said for sure" in found.in_words()[0]
    assert "- " in str(found) and "-" in found.table().markdown()


def test_pairs_are_of_the_seeds_that_both_have() -> None:
    old = [DiceScenario(name="old").run(seed) for seed in (5, 1, 3)]
    new = [DiceScenario(name="new", slow=1.5).run(seed) for seed in (3, 4, 5)]
    compared = mt.compare([old, new])
    pair = compared.paired("new", "mean_wait_ms")
    assert pair is not None and pair[0] == pytest.approx(1.5 * pair[1])
    assert len(pair[0]) == 2 and compared.difference("new", "mean_wait_ms").n == 2
    assert compared.differences(["mean_wait_ms"]).rows[0].pairs == 2
    apart = mt.compare([old[:1], new[:1]])
    assert apart.paired("new", "mean_wait_ms") is None
    assert apart.difference("new", "mean_wait_ms") is None
    assert apart.differences(["mean_wait_ms"]).rows[0].verdict == "not comparable"


def test_a_metric_that_a_run_lacks_is_not_compared() -> None:
    runs = [[DiceScenario(name=name).run(seed) for seed in (0, 1)] for name in "ab"]
    del runs[1][0].metrics["mean_wait_ms"]
    compared = mt.compare(runs)
    row = compared.differences(["mean_wait_ms"]).rows[0]
    assert row.verdict == "not comparable" and row.change is None
    assert compared.differences().rows  # the others are


def test_notes_are_told_once_with_who_says_them() -> None:
    runs = [[DiceScenario(name=name).run(seed) for seed in (0, 1)] for name in "ab"]
    runs[0][1].notes.append("a die fell off the table")
    for run in runs[1]:
        run.notes.append("loaded")
    assert mt.compare(runs).notes() == [
        "dice were thrown",
        "a: a die fell off the table (1 of 2 runs)",
        "b: loaded",
    ]


def test_frames_and_data(three: mt.Comparison) -> None:
    found = three.differences(["mean_wait_ms"], least=0.01)
    frame = found.frame()
    assert frame.loc[0, "scenario"] == "slower" and frame.loc[0, "low"] < frame.loc[0, "high"]
    data = found.data()
    assert data["base"] == "base" and data["differences"][0]["interval"][0] == frame.loc[0, "low"]
    runs = three.frame()
    assert len(runs) == 18 and list(runs["seed"][:6]) == list(SEEDS)
    assert runs["slow"].tolist() == [1.0] * 6 + [1.02] * 6 + [1.0] * 6
    assert set(three.metrics()) <= set(runs.columns)


def test_fields_that_differ(three: mt.Comparison) -> None:
    assert three.fields().rows == [["slow", 1.0, 1.02, 1.0], ["noise", 0.0, 0.01, 0.0]]
    assert mt.compare([DiceScenario(seed=1), DiceScenario(seed=2)]).fields().rows == []


def test_a_folder_is_groups_of_scenarios(tmp_path) -> None:
    scenarios = [DiceScenario(name="rate = 10"), DiceScenario(name="rate = 9", slow=1.1)]
    fresh = mt.compare(scenarios, seeds=SEEDS, store=tmp_path, workers=1)
    stored = mt.compare([tmp_path])
    assert stored.names == ["rate = 9", "rate = 10"]  # as people count
    assert [run.seed for run in stored.runs["rate = 9"]] == list(SEEDS)
    back = stored.based_on("rate = 10")
    assert back.data() == fresh.data() and back.names == fresh.names
    names = fresh.headline()
    assert str(back.differences(names)) == str(fresh.differences(names))
    assert mt.compare([tmp_path], base="rate = 10").names == back.names
    with pytest.raises(mt.InputError, match="did you mean"):
        mt.compare([tmp_path], base="rate")


def test_runs_given_one_by_one_are_grouped(tmp_path) -> None:
    mt.compare([DiceScenario(name="a"), DiceScenario(name="b", slow=2)], seeds=[1, 2, 3],
               store=tmp_path, workers=1)  # fmt: skip
    runs = sorted(tmp_path.iterdir())
    compared = mt.compare(runs)
    assert {name: [r.seed for r in group] for name, group in compared.runs.items()} == {
        name: [1, 2, 3] for name in compared.names
    }
    mine = [run for run in runs if mt.Result.load(run).label == "a"][:2]
    assert len(mt.compare(mine).names) == 2  # two seeds of one scenario, against each other
    assert len(mt.compare([mine[0], mine[0]]).names) == 2
    assert mt.compare([mine[0] / "run.json"]).names == ["a"]


def test_new_runs_take_the_seeds_of_stored_ones(tmp_path) -> None:
    mt.compare([DiceScenario(name="kept")], seeds=[4, 7], store=tmp_path, workers=1)
    compared = mt.compare([tmp_path, DiceScenario(name="new", slow=1.5)], workers=1)
    assert [run.seed for run in compared.runs["new"]] == [4, 7]
    assert compared.difference("new", "mean_wait_ms").estimate == pytest.approx(0.5)


def test_runs_of_other_code_are_another_group(tmp_path, monkeypatch) -> None:
    DiceScenario(name="a").run(0).save(tmp_path)
    monkeypatch.setattr("mltwin.sim.cachedir.kernel_hash", lambda: "f" * 64)
    DiceScenario(name="a").run(0).save(tmp_path)
    groups = stored_groups(tmp_path)
    assert len(groups) == 2 and groups[0][0].spec.kernel_hash != groups[1][0].spec.kernel_hash
    names = mt.compare([tmp_path]).names
    assert len(set(names)) == 2 and "a (code fffffff)" in names


def test_a_run_read_back_keeps_what_it_was_made_with(tmp_path, monkeypatch) -> None:
    folder = DiceScenario().run(0).save(tmp_path / "a")
    before = mt.Result.load(folder).spec
    monkeypatch.setattr("mltwin.sim.cachedir.kernel_hash", lambda: "f" * 64)
    again = mt.Result.load(folder)
    assert again.spec == before and again.spec.kernel_hash != "f" * 64
    assert again.save(tmp_path / "b").name == folder.name


@pytest.mark.parametrize("item", [[], [1], 3, {}])
def test_other_things_are_refused(item: object) -> None:
    with pytest.raises((mt.InputError, TypeError)):
        mt.compare([item])


def test_bad_questions(three: mt.Comparison, tmp_path) -> None:
    with pytest.raises(mt.InputError, match="did you mean"):
        three.differences(["mean_wait_m"])
    with pytest.raises(mt.InputError, match="did you mean"):
        three.seeds_needed("p99_wait_s")
    with pytest.raises(mt.InputError, match="slwer"):
        three.seeds_needed("p99_wait_ms", name="slwer")
    for wrong in ({"least": 0.0}, {"least": -1.0}, {"confidence": 1.0}):
        with pytest.raises(mt.InputError):
            three.differences(["mean_wait_ms"], **wrong)
    with pytest.raises(mt.InputError, match="there is no run"):
        mt.compare([tmp_path])


def test_texts_of_numbers() -> None:
    assert [change_text(x) for x in (0.5, 0.012, 0.0012, -0.00012, 0.0)] == [
        *("+50.0 %", "+1.2 %", "+0.12 %", "-0.012 %", "0 %"),
    ]
    assert change_text(-1234.5, relative=False) == "-1,234"
    assert change_text(12.0, False) == "+12" and change_text(0.1234, False) == "+0.123"
    assert [p_text(p) for p in (None, 1.0, 0.5, 0.0499, 1e-9)] == [
        "-",
        "1",
        "0.5",
        "0.0499",
        "<0.001",
    ]


def test_half_width_and_corrected_ones_agree_with_numpy(three: mt.Comparison) -> None:
    new, old = three.paired("slower", "mean_wait_ms")
    changes = new / old - 1
    row = three.differences(["mean_wait_ms"]).rows[0]
    half = 2.5705818366147395 * np.std(changes, ddof=1) / math.sqrt(6)  # t(0.975, 5)
    assert row.interval == pytest.approx((changes.mean() - half, changes.mean() + half))


def test_a_field_that_bears_a_metrics_name_has_a_column_of_its_own() -> None:
    class ThrownScenario(DiceScenario):
        system: Literal["thrown"] = "thrown"
        requests: int = 1

    frame = mt.compare([ThrownScenario(), ThrownScenario(requests=2)], workers=1).frame()
    assert frame["scenario.requests"].tolist() == [1, 2]
    assert frame["requests"].tolist() == [200.0, 200.0]
