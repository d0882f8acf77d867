"""The report of a comparison says what the comparison says, and how to run it again."""

import shlex
import tomllib

import pytest
from dice_system import DiceScenario
from test_html_report import ALLOWED, Reader

import mltwin as mt
from mltwin.reports.compared import compared_report, reproduction, scenario_files, seeds_text

HOSTILE = ["<script>x</script>", 'a | b & "c"', "../../etc/passwd", "-rf '; ls $(x) `y`"]


@pytest.fixture(scope="module")
def two() -> mt.Comparison:
    scenarios = [DiceScenario(name="base"), DiceScenario(name="slower", slow=1.02, noise=0.01)]
    return mt.compare(scenarios, seeds=range(4), workers=1)


def test_it_says_it_all(two: mt.Comparison, tmp_path) -> None:
    path = two.report(tmp_path / "r.html", least=0.05)
    page = Reader(path.read_text(encoding="utf-8"))
    text = " ".join(page.words)
    assert "slower against base" in text and two.differences(least=0.05).in_words()[0] in text
    for row in two.differences(least=0.05).rows:
        assert row.metric in text and row.text() in text and row.verdict in text
    assert page.tags.count("img") == 4  # forest, two distributions, one over time
    assert "mltwin compare base.toml slower.toml --seeds 4" in text
    for group in two.runs.values():
        assert all(run.digest[:16] in text for run in group)
    assert mt.__version__ in text and "dice were thrown" in text
    assert two.report(tmp_path / "again.html", least=0.05).read_bytes() == path.read_bytes()


def test_the_files_and_the_command_make_it_again(two: mt.Comparison, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for file, toml in scenario_files(two).values():
        (tmp_path / file).write_text(toml)
    _, verb, *files, option, seeds = shlex.split(reproduction(two))
    assert (verb, option, seeds) == ("compare", "--seeds", "4")
    again = mt.compare(files, seeds=range(int(seeds)), workers=1)
    assert again.data() == two.data()


@pytest.mark.filterwarnings("ignore:Glyph")
def test_hostile_names(tmp_path) -> None:
    compared = mt.compare([DiceScenario(name=name) for name in HOSTILE], seeds=[3, 5], workers=1)
    page = Reader(compared.report(tmp_path / "r.html").read_text(encoding="utf-8"))
    assert set(page.tags) <= ALLOWED and not page.events
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    files = [file for file, _ in scenario_files(compared).values()]
    assert len(set(files)) == 4 and all("/" not in f and f[0] not in ".-" for f in files)
    for name, (_, toml) in scenario_files(compared).items():
        assert tomllib.loads(toml)["name"] == name
    assert shlex.split(reproduction(compared))[-1] == "3,5"


def test_one_seed_one_scenario_and_runs_without_samples(tmp_path) -> None:
    one_seed = mt.compare([DiceScenario(), DiceScenario(slow=2)], workers=1)
    assert "nothing can be said for sure" in compared_report(one_seed, ["mean_wait_ms"]).text()
    alone = mt.compare([DiceScenario(name="alone")], workers=1)
    assert "mltwin run alone.toml --seed 0" in alone.report(tmp_path / "a.html").read_text()
    bare = mt.Result({"x": 1.0})
    assert "<h1>run</h1>" in bare.report_html(tmp_path / "b.html").read_text()


def test_a_report_of_one_run(tmp_path) -> None:
    run = DiceScenario(name="lone <b>").run(7)
    page = Reader(run.report_html(tmp_path / "r.html").read_text(encoding="utf-8"))
    assert "lone <b>" in page.words and "mltwin run lone-b.toml --seed 7" in " ".join(page.words)


def test_what_makes_pairs_unequal_is_said() -> None:
    old = [DiceScenario(name="old").run(seed) for seed in (0, 1, 2)]
    new = [DiceScenario(name="new", slow=2).run(seed) for seed in (1, 2)]
    new[0].violations.append("lost a die")
    text = compared_report(mt.compare([old, new]), ["mean_wait_ms"]).text()
    assert "new and old have 2 of 3 seeds in common" in text
    assert "1 of 2 runs broke a conservation law" in text and "lost a die" in text


def test_an_unknown_metric_is_refused(two: mt.Comparison, tmp_path) -> None:
    with pytest.raises(mt.InputError, match="did you mean"):
        two.report(tmp_path / "r.html", ["mean_wait"])


def test_seeds_as_text() -> None:
    assert [seeds_text(s) for s in ([0], [0, 1, 2], [7], [7, 8], [0, 2])] == [
        *("1", "3", "7-7", "7-8", "0,2"),
    ]


def test_pictures_hold_as_many_scenarios_as_there_are_colours() -> None:
    scenarios = [DiceScenario(name=f"s{i}", slow=1 + i / 10) for i in range(9)]
    text = compared_report(mt.compare(scenarios, seeds=[0, 1], workers=1), ["mean_wait_ms"]).text()
    assert "Pictures show the first 7 of 9 scenarios" in text
    assert text.count("<td>s8</td>") >= 3  # the tables hold all
