"""The sweep page: its choices, its charts, and that it says what the command line says."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import mltwin as mt
from mltwin import InputError
from mltwin.app.explorer.sweep_charts import sweep_chart
from mltwin.app.explorer.sweep_choices import (
    BASE,
    DEFAULTS,
    EXAMPLES,
    python_of,
    space_of,
    store_name,
    study_of,
    study_toml,
    values_of,
)
from mltwin.app.explorer.workspace import is_token
from mltwin.sweeps.study import load_study

SMALL = DEFAULTS | {"base": BASE.replace("2000", "150"), "seeds": 2}


def choices(**changes: object) -> dict[str, Any]:
    return {**SMALL, **changes}


def test_the_defaults_are_a_study() -> None:
    study = study_of(DEFAULTS)
    assert study.fields == ["workload.rate", "policy.route"] and study.runs == 36


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_the_examples_are_studies(name: str) -> None:
    assert study_of(DEFAULTS | EXAMPLES[name]).runs > 0


def test_the_file_is_the_same_study(tmp_path: Path) -> None:
    for chosen in (choices(), choices(kind="lhs", points=7), choices(field2="", values2="")):
        study = study_of(chosen)
        path = tmp_path / "study.toml"
        path.write_text(study_toml(study, chosen))
        assert load_study(path).hash == study.hash


def test_visitors_have_folders_of_their_own() -> None:
    toml = study_toml(study_of(SMALL), SMALL)
    names = {store_name(visitor, text) for visitor in "ab" for text in (toml, f"{toml} ")}
    assert len(names) == 4 and all(is_token(name) for name in names)
    assert store_name("a", toml) == store_name("a", toml)


def test_the_script_makes_the_same_sweep(tmp_path: Path) -> None:
    study = study_of(choices())
    script = python_of(study, choices()) + "print(found.digest)\n"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True
    )
    assert done.stdout.split()[-1] == mt.sweep(study).digest


def test_values_as_they_are_typed() -> None:
    assert values_of("1, 2.5, a", "v") == [1, 2.5, "a"]
    assert values_of("{ from = 1, to = 3 }", "v") == {"from": 1, "to": 3}
    assert values_of("[1, 2]", "v") == [1, 2]
    assert space_of(choices(kind="random", points=3))["random"]["points"] == 3


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"base": "x ="}, "is not TOML"),
        ({"base": BASE.replace("requests", "request")}, "did you mean"),
        ({"field1": "workload.rat"}, "did you mean 'rate'"),
        ({"values1": ""}, "there are none"),
        ({"values1": "{ from = "}, "no range"),
        ({"values1": "many"}, "many"),
        ({"field1": "", "field2": ""}, "varies no"),
        ({"field2": "workload.rate"}, None),
        ({"seeds": 0}, "seeds"),
        ({"seeds": 10**9}, "seeds"),
        ({"kind": "spiral"}, "unknown kind"),
        ({"kind": "lhs", "points": 10**6}, "points"),
        ({"values1": "{ from = 1, to = 500, steps = 400 }"}, "more than the explorer"),
        ({"field2": "workload.requests", "values2": "900000", "seeds": 9}, "requests in all"),
        ({"field2": "workload.trace", "values2": "/etc/passwd"}, "cannot be used"),
        ({"field2": "policy.route", "values2": "mine.py:route"}, "cannot be used"),
        ({"base": BASE + '[policy]\nroute = "/tmp/x.py:f"\n'}, "cannot be used"),
    ],
)
def test_wrong_choices_are_told(changes: dict[str, Any], told: str | None) -> None:
    if told is None:  # the second of two equal fields counts; nothing is wrong with it
        return
    with pytest.raises(InputError, match=told) as error:
        study_of(choices(**changes))
    assert "\n" not in str(error.value)


@pytest.fixture(scope="module")
def swept() -> Callable[..., mt.Sweep]:
    def run(**changes: Any) -> mt.Sweep:
        return mt.sweep(study_of(choices(**changes)))

    return run


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        ({}, "line"),
        ({"field2": "", "values2": "", "field1": "policy.route", "values1": "random"}, "circle"),
        ({"field2": "cluster.mixed.replicas", "values2": "2, 3, 4"}, "rect"),
        ({"kind": "lhs", "points": 4}, "rule"),
    ],
)
def test_charts_show_the_means(
    swept: Callable[..., mt.Sweep], changes: dict[str, Any], mark: str
) -> None:
    found = swept(**changes)
    chart, means = sweep_chart(found, "p99_ttft_ms")
    text = chart.to_json()
    assert f'"type": "{mark}"' in text
    expected = [found.mean(i, "p99_ttft_ms")[0] for i in range(len(found.points))]
    assert means["p99_ttft_ms"].tolist() == expected


def test_a_partial_sweep_is_charted(swept: Callable[..., mt.Sweep]) -> None:
    found = swept()
    found.rows[0] = [None, None]
    _, means = sweep_chart(found, "p99_ttft_ms")
    assert means["p99_ttft_ms"].isna().sum() == 1


def test_the_page_runs_its_default_and_shows_the_command_lines_table(place: Path) -> None:
    from streamlit.testing.v1 import AppTest

    from mltwin.app.explorer import jobs

    def script() -> None:
        from mltwin.app.explorer.frame import draw
        from mltwin.app.explorer.pages.sweep import PAGE

        draw(PAGE)

    app = AppTest.from_function(script, default_timeout=120)
    app.run()
    job = next(iter(jobs._jobs.values()))
    assert job.wait(100) and job.state == "done"
    app.run()
    assert not app.exception and not app.error
    assert {metric.label: metric.value for metric in app.metric} == {
        "Points": "12",
        "Runs": "36",
        "Failed": "0",
    }
    table = mt.sweep(study_of(DEFAULTS)).table()
    shown = app.dataframe[0].value
    assert shown.iloc[:, 2].tolist() == [row[2] for row in table.rows]


def test_policy_code_of_a_link_is_never_run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page only reads a visitor's choices; a file beside the server stays unread."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("open('ran', 'w').close()\n")
    choices = DEFAULTS | {"field2": "policy.route", "values2": "mine.py:route"}
    with pytest.raises(InputError, match="cannot be used"):
        study_of(choices)
    assert not (tmp_path / "ran").exists()
