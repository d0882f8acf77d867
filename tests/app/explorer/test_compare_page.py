"""The compare page: its choices, its charts, and that it says what the command line says."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from drawn_page import drawn_page
from streamlit.testing.v1 import AppTest

import mltwin as mt
from mltwin import InputError
from mltwin.app.explorer.compare_charts import (
    forest_chart,
    forest_rows,
    linked_charts,
    time_chart,
)
from mltwin.app.explorer.compare_choices import (
    BASE,
    DEFAULTS,
    changes_of,
    command_words,
    least_of,
    python_of,
    scenarios,
)
from mltwin.app.explorer.compare_view import ComparedView, made_view, view_of
from mltwin.app.explorer.copies import toml_of

SMALL = BASE.replace("2000", "200")
CHOICES = DEFAULTS | {"base": SMALL, "seeds": 3, "variants": ["policy.route = random"]}


def choices(**changes: object) -> dict[str, object]:
    return {**CHOICES, **changes}


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("compare") / "runs"
    mt.compare(scenarios(CHOICES), seeds=range(3), store=folder, workers=1)
    return folder


@pytest.fixture(scope="module")
def seen(stored: Path) -> ComparedView:
    return view_of(stored, "base", 0.01)


def test_the_defaults_are_a_comparison() -> None:
    base, variant = scenarios(DEFAULTS)
    assert base.name == "base" and variant.name == "route = random"
    assert variant.data()["policy"]["route"] == "random"
    assert base.changed({"policy.route": "random", "name": variant.name}) == variant
    words = command_words(DEFAULTS, ["a.toml", "b.toml"])
    assert words == ["compare", "a.toml", "b.toml", "--seeds", "5", "--least", "1%"]


def test_variants_in_each_form() -> None:
    texts = [
        "# more\nworkload.rate = 30\ncluster.mixed.replicas=2",
        "[cluster.mixed]\nreplicas = 6",
        SMALL.replace("24.0", "12.0"),
    ]
    base, lines, part, whole = scenarios(choices(variants=texts))
    assert (lines.name, part.name, whole.name) == (
        "rate = 30, replicas = 2",
        "variant 2",
        "base (3)",
    )
    assert lines.data()["workload"]["rate"] == 30 and whole.data()["workload"]["rate"] == 12
    data = part.data()["cluster"]["mixed"]
    assert data["replicas"] == 6 and data["tp"] == base.data()["cluster"]["mixed"]["tp"]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"base": "system = "}, "base: is not TOML"),
        ({"base": "system = 'servin'"}, "base: system: unknown system"),
        ({"base": SMALL + "[policy]\nroute = '/etc/x.py:f'\n"}, "cannot be used in the explorer"),
        ({"base": SMALL.replace("requests", "trace = '/etc/passwd'\nrequests")}, "cannot be used"),
        ({"variants": ["policy.route"]}, "variant 1: 'policy.route' is no change"),
        ({"variants": ["# nothing"]}, "variant 1: changes nothing"),
        ({"variants": ["polcy.route = random"]}, "variant 1: polcy"),
        ({"variants": ["cluster.mixd.replicas = 2"]}, "did you mean 'mixed'"),
        ({"variants": ["policy.route = ../x.py"]}, "variant 1: policy.route"),
        ({"variants": ["", " "]}, "0 variants"),
        ({"variants": ["seed = 1"] * 4}, "4 variants"),
        ({"variants": [1]}, "variants: is no list of texts"),
        ({"variants": ["[a"]}, "variant 1: is not TOML"),
        ({"variants": ["workload.requests = 900000"], "seeds": 6}, "more than the explorer runs"),
    ],
)
def test_what_cannot_be_compared(changes: dict[str, object], words: str) -> None:
    with pytest.raises(InputError) as caught:
        scenarios(choices(**changes))
    assert words in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_options_that_cannot_be() -> None:
    for wrong in (0.0, -1.0, 101.0):
        with pytest.raises(InputError):
            least_of(choices(least=wrong))
    for seeds in (0, 31, -1):
        with pytest.raises(InputError):
            command_words(choices(seeds=seeds), [])
    assert changes_of("a.b = [1, 2]\n c=x y", "v") == {"a.b": [1, 2], "c": "x y"}


def test_the_page_says_what_the_command_line_says(
    call: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    files = []
    for number, scenario in enumerate(scenarios(CHOICES)):
        files.append(tmp_path / f"{number}.toml")
        files[-1].write_text(toml_of(scenario))
    words = command_words(CHOICES, [str(file) for file in files])
    code, out, _ = call(*words, "--format", "json", "--out", tmp_path / "runs", "--workers", 1)
    told = json.loads(out)
    seen = view_of(tmp_path / "runs", "base", least_of(CHOICES))
    assert code == 0 and json.loads(json.dumps(seen.differences.data())) == {
        key: value for key, value in told.items() if key != "runs"
    }
    assert [run["digest"] for group in told["runs"].values() for run in group] == list(
        seen.runs["digest"]
    )


def test_curves_are_of_all_values(stored: Path, seen: ComparedView) -> None:
    assert [q.title for q in seen.quantities] == ["TTFT", "TPOT", "E2E"]
    assert seen.quantities[0].limit == 500
    compared = mt.compare([stored], base="base")
    for name, group in compared.runs.items():
        values = np.concatenate([run.samples()["ttft"].values for run in group])
        mine = (seen.curves["quantity"] == "TTFT") & (seen.curves["scenario"] == name)
        part = seen.curves[mine]
        assert part["value"].max() == values.max()
        at = part.set_index("share")["value"]
        assert at[0.5] == pytest.approx(np.quantile(values, 0.5))


def test_dots_are_rows_of_the_runs(stored: Path, seen: ComparedView) -> None:
    compared = mt.compare([stored], base="base")
    run = compared.runs["base"][1]
    ttft = run.latencies["ttft"].tolist()
    rows = seen.dots.query("scenario == 'base' and n == 1").dropna()
    assert len(rows) == 200 and len(seen.dots) <= 1300
    for row in rows.head(20).itertuples():
        place = ttft.index(row.q0)
        assert row.q1 == run.latencies["tpot"][place] and row.q2 == run.latencies["e2e"][place]


def test_charts_are_valid_and_small(seen: ComparedView) -> None:
    chart = linked_charts(seen).to_dict()
    names = {param["name"] for param in chart["params"]}
    assert {"brush_q0", "brush_q1", "brush_q2"} <= names and len(chart["vconcat"]) == 3
    for made in (forest_chart(seen), time_chart(seen, "TTFT"), linked_charts(seen)):
        assert made is not None and len(json.dumps(made.to_dict())) < 500_000
    assert time_chart(seen, "none") is None
    rows = forest_rows(seen)
    first = seen.differences.rows[0]
    assert rows.iloc[0]["low"] == pytest.approx(100 * first.interval[0])


def test_a_system_without_samples_or_times() -> None:
    runs = [[mt.Result({"x": v + s}) for s in range(3)] for v in (1.0, 2.0)]
    for number, group in enumerate(runs):
        for seed, run in enumerate(group):
            run.seed = seed
            run.scenario = mt.Scenario(name=f"s{number}")
    seen = made_view(mt.compare(runs), 0.01)
    assert seen.quantities == [] and seen.curves.empty and seen.differences.rows[0].metric == "x"
    assert forest_chart(seen) is not None


def test_the_script_makes_the_comparison(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    exec(python_of(scenarios(CHOICES), CHOICES), {})
    out = capsys.readouterr().out
    assert "p99_ttft_ms" in out and "Paired over 3 seeds" in out
    assert (tmp_path / "compared.html").read_text().startswith("<!DOCTYPE html>")


def test_names_of_files_need_no_quotes() -> None:
    words = command_words(CHOICES, ["base.toml", "variant-1.toml"])
    assert shlex.split(" ".join(words)) == words


def drawn(**choices: Any) -> AppTest:
    return drawn_page("compare", **choices)


def test_the_page_draws_a_link_and_follows_its_controls() -> None:
    app = drawn(base=SMALL, seeds="2", variants='["workload.rate = 30"]')
    assert not app.error and not app.warning
    expected = mt.compare(
        scenarios(choices(variants=["workload.rate = 30"])), seeds=range(2), workers=1
    ).differences(least=0.01)
    shown = app.dataframe[0].value
    assert shown["difference"].tolist() == [row.text() for row in expected.rows]
    assert shown["verdict"].tolist() == [row.verdict for row in expected.rows]
    first = next(area for area in app.text_area if area.label == "Variant 1")
    first.set_value("cluster.mixd.replicas = 2").run()
    assert "did you mean" in app.error[0].value and not app.exception
    assert "cluster.mixd" in "".join(app.query_params["variants"])


def test_a_link_to_nothing_gives_way_to_the_defaults() -> None:
    app = drawn(base="system = 'no'", seeds="2")
    assert "could not be followed" in app.warning[0].value and not app.error
    assert app.text_area[0].value == BASE
