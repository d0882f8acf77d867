"""A check of a toy system from end to end: what is said of every kind of change."""

import json
import shutil

import pytest
import toy

import mltwin as mt
from mltwin.gate.update import make_baseline


def line(report, metric="mean_wait_ms"):
    return next(found for _, found in report.lines if found.metric == metric)


def test_unchanged_code_passes(folder):
    report = mt.check()
    assert report.passed and {found.verdict for _, found in report.lines} == {"same"}
    (part,) = report.parts
    assert part.behaviour == "identical" and part.seeds == 10
    assert "passed: 1 scenario, 4 metrics: 4 same" in str(report)


def test_slower_by_two_per_cent_is_a_regression(folder, world):
    world.slower = 0.02
    report = mt.check()
    assert report.exit_code == 1 and line(report).verdict == "regression"
    assert line(report).change == pytest.approx(0.02) and line(report, "served").verdict == "same"
    assert "mean_wait_ms: regression +2.00 %" in str(report)
    assert "again: mltwin check baselines/toy.json" in str(report)
    assert "again: mltwin run baselines/toy.toml --seed" in str(report)


def test_faster_is_improved_and_passes(folder, world):
    world.slower = -0.05
    report = mt.check()
    assert report.passed and line(report).verdict == "improved"


def test_any_change_fails_where_exactness_is_asked(folder, world):
    world.slower = 0.001
    assert mt.check().passed
    report = mt.check(exact=True)
    assert report.exit_code == 1 and "behaviour changed in 10 of 10 runs" in str(report)
    assert report.parts[0].changed == tuple(range(10))


def test_an_open_question_takes_more_seeds(folder, world):
    world.slower, world.spread = 0.009, 0.004
    report = mt.check()
    assert line(report).verdict == "inconclusive" and line(report).seeds == 30
    assert report.passed and mt.check(strict=True).exit_code == 3
    assert mt.check(max_seeds=10).parts[0].seeds == 10


def test_more_seeds_settle_it(folder, world):
    """+2 % with a spread of 1.8 %: open with 10 seeds, sure with more."""
    world.slower, world.spread = 0.02, 0.018
    assert line(mt.check(max_seeds=10)).verdict == "inconclusive"
    assert line(mt.check()).verdict == "regression"


def test_from_zero(folder, world):
    world.refused = 3
    report = mt.check()
    assert line(report, "refused").verdict == "regression"
    assert "the baseline is 0" in line(report, "refused").why and report.exit_code == 1


def test_shares_are_held_to_half_a_point(folder, world):
    world.misses = 0.004
    assert line(mt.check(), "hit_ratio").verdict == "same"
    world.misses = 0.006
    found = line(mt.check(), "hit_ratio")
    assert found.verdict == "regression" and found.change == pytest.approx(-0.006)


@pytest.mark.parametrize(
    ("gone", "odd", "said"),
    [
        ({"served"}, {}, "the run of seed 0 has no such metric"),
        (set(), {"served": float("nan")}, "it is nan in seed 0"),
        (set(), {"served": float("inf")}, "it is inf in seed 0"),
    ],
)
def test_a_metric_that_is_missing_fails(folder, world, gone, odd, said):
    world.gone, world.odd = gone, odd
    report = mt.check()
    assert report.exit_code == 1 and line(report, "served").verdict == "missing"
    assert said in line(report, "served").why and line(report).verdict == "same"


def test_a_metric_that_the_baseline_lacks(folder, world):
    """None in a baseline stands for "this run had none"; then none is expected."""
    path = folder / "toy.json"
    data = json.loads(path.read_text())
    data["metrics"]["served"]["values"] = [None] * 30
    path.write_text(json.dumps(data))
    assert "the baseline has no value for seed 0" in line(mt.check(), "served").why
    world.gone = {"served"}
    assert line(mt.check(), "served").verdict == "same"


def test_a_run_that_breaks_a_law_fails(folder, world):
    world.broken = {3}
    report = mt.check()
    assert report.exit_code == 1 and report.parts[0].status == "failed"
    assert "seed 3: a law was broken" in str(report)


def test_a_run_that_violates_conservation_fails(folder, world):
    world.violations = ["one request was lost"]
    assert mt.check().exit_code == 1 and "one request was lost" in str(mt.check())


def test_any_error_of_a_users_code_is_told(folder, world):
    world.gone = {"never there"}
    report = mt.check()
    assert report.exit_code == 1 and "KeyError: 'never there'" in str(report)


def test_same_names_are_told_apart(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "more")
    assert [p.name for p in mt.check(["baselines", "more"]).parts] == ["baselines/toy", "more/toy"]


def test_wrong_input_is_told_apart(folder, world):
    world.wrong_input = True
    report = mt.check()
    assert report.exit_code == 2 and "policy: no such policy" in str(report)


def test_streams_that_changed(folder, world):
    """Other draws for the same seed: pairs are lost, means of 30 seeds are compared."""
    world.stream = 1000
    report = mt.check()
    part = report.parts[0]
    assert part.streams and part.seeds == 30 and "streams changed" in part.behaviour
    assert not line(report).paired and line(report).verdict in ("same", "inconclusive")
    assert report.passed
    world.slower = 0.2
    assert line(mt.check()).verdict == "regression"


def test_streams_that_changed_need_seeds(folder, world):
    make_baseline(folder / "toy.toml", reason="x", seeds=10, hold=10)
    world.stream = 1000
    found = line(mt.check())
    assert found.verdict == "inconclusive" and "needs 30 seeds, not 10" in found.why


def test_another_fixed_trace_is_stale(folder, world):
    world.drawn = False
    make_baseline(folder / "toy.toml", reason="x", seeds=3)
    world.stream = 1
    report = mt.check()
    assert report.exit_code == 4 and "the trace is another" in str(report)


def test_one_seed_tells_nothing_of_chance(folder, world):
    make_baseline(folder / "toy.toml", reason="x", seeds=1, hold=1)
    assert mt.check().passed
    world.slower = 0.5
    report = mt.check()
    assert report.passed and "one seed does not tell" in line(report).why


def test_stale(folder):
    (folder / "toy.toml").write_text('system = "gate-toy"\nsize = 1001\n')
    report = mt.check()
    assert report.exit_code == 4 and report.parts[0].status == "stale" and report.parts[0].why
    (folder / "toy.toml").unlink()
    assert "is gone" in str(mt.check()) and mt.check().exit_code == 4


def test_comments_and_labels_do_not_make_it_stale(folder):
    (folder / "toy.toml").write_text('# why\nsystem="gate-toy"\nname = "x"\nseed=4\nsize=1000\n')
    assert mt.check().passed


def test_another_input_file_is_stale(folder):
    (folder / "data.csv").write_text("1\n")
    (folder / "toy.toml").write_text('system = "gate-toy"\nfile = "data.csv"\n')
    make_baseline(folder / "toy.toml", reason="x", seeds=2)
    assert mt.check().passed
    (folder / "data.csv").write_text("2\n")
    assert "data.csv is another file" in str(mt.check())


def test_missing(folder, tmp_path):
    assert mt.check("nowhere").exit_code == 4
    assert mt.check(folder / "other.json").exit_code == 4
    (tmp_path / "empty").mkdir()
    assert mt.check("empty").exit_code == 4
    (folder / "study.toml").write_text("other = 1\n")
    (folder / "second.toml").write_text('system = "gate-toy"\n')
    report = mt.check()
    assert report.exit_code == 4 and "second.toml has no second.json" in str(report)
    assert "mltwin check --init baselines/second.toml" in str(report)


def test_the_most_severe_code_wins(folder, world):
    for name in ("stale", "wrong"):
        shutil.copy(folder / "toy.json", folder / f"{name}.json")
        shutil.copy(folder / "toy.toml", folder / f"{name}.toml")
        path = folder / f"{name}.json"
        path.write_text(
            path.read_text().replace('"scenario": "toy.toml"', f'"scenario": "{name}.toml"')
        )
    (folder / "stale.toml").write_text('system = "gate-toy"\n')
    assert mt.check().exit_code == 4
    world.slower = 0.02
    report = mt.check()
    assert report.exit_code == 1 and [p.status for p in report.parts] == [
        "stale",
        "compared",
        "compared",
    ]


def test_only(folder):
    shutil.copy(folder / "toy.json", folder / "other.json")
    assert [part.name for part in mt.check(only=["t*"]).parts] == ["toy"]
    with pytest.raises(mt.InputError, match="there are other, toy"):
        mt.check(only=["tyo"])


def test_trying_the_gate(folder):
    report = mt.check(changes={"size": 980})
    assert line(report, "served").verdict == "regression"
    with pytest.raises(mt.InputError, match="siz"):
        mt.check(changes={"siz": 3})


def test_a_scenario_of_ones_own(folder):
    scenario = toy.ToyScenario(size=1000)
    assert mt.check(folder / "toy.json", scenario=scenario).passed
    assert mt.check(folder / "toy.json", scenario=scenario.with_(size=5)).exit_code == 4
    with pytest.raises(mt.InputError, match="one scenario"):
        mt.check([], scenario=scenario)


def test_the_cause_is_named(folder, world):
    world.sources = {"policy.route": "a" * 64}
    make_baseline(folder / "toy.toml", reason="x", seeds=2)
    world.sources, world.slower = {"policy.route": "b" * 64}, 0.001
    assert "policy.route changed" in mt.check().parts[0].behaviour


@pytest.mark.parametrize("options", [{"max_seeds": 0}, {"confidence": 1.0}, {"confidence": 0.1}])
def test_options_out_of_range(folder, options):
    with pytest.raises(mt.InputError):
        mt.check(**options)


def test_progress_counts_all_runs(folder, world):
    world.slower, world.spread = 0.009, 0.004
    seen = []
    mt.check(progress=lambda done, total: seen.append((done, total)), workers=2)
    assert seen[0] == (1, 10) and seen[-1] == (30, 30) and len(seen) == 30


def test_update(folder, world):
    before = (folder / "toy.json").read_text()
    assert mt.update_baseline(folder / "toy.json", reason="none")[1] is False
    assert (folder / "toy.json").read_text() == before
    world.slower = 0.05
    new, changed = mt.update_baseline(folder / "toy.json", reason="slower on purpose")
    assert changed and new.updated == ("the first", "slower on purpose")
    assert mt.check().passed
    with pytest.raises(mt.InputError, match="reason"):
        mt.update_baseline(folder / "toy.json", reason="")


def test_update_keeps_what_was_chosen(folder):
    path = folder / "toy.json"
    data = json.loads(path.read_text())
    data["metrics"]["served"] |= {"direction": "steady", "tol": {"abs": 7}}
    data["metrics"].pop("refused")
    path.write_text(json.dumps(data))
    (folder / "toy.toml").write_text('system = "gate-toy"\nsize = 2000\n')
    new, changed = mt.update_baseline(path, reason="twice the size")
    assert changed and list(new.metrics) == ["hit_ratio", "mean_wait_ms", "served"]
    assert new.metrics["served"].direction == "steady"
    assert new.metrics["served"].tolerance.data() == {"abs": 7.0} and mt.check().passed


def test_policies_are_loaded_by_one_thread(folder, world, monkeypatch):
    """The first run of each scenario is over before another of it begins."""
    order = []
    simulate = toy.ToyScenario.simulate

    def watched(self, seed, **options):
        order.append(("begins", seed))
        found = simulate(self, seed, **options)
        order.append(("ends", seed))
        return found

    monkeypatch.setattr(toy.ToyScenario, "simulate", watched)
    assert mt.check(workers=4).passed
    assert order[:2] == [("begins", 0), ("ends", 0)] and len(order) == 20
