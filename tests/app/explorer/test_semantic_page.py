"""The semantic-cache page: its choices, its charts, and that it says what the command line says."""

import json
from pathlib import Path
from typing import Any

import pytest

import mltwin as mt
from mltwin.app.cli import main
from mltwin.app.explorer.copies import toml_of
from mltwin.app.explorer.semantic_charts import (
    PARTS,
    chosen_frame,
    curve_chart,
    curve_frame,
    served_chart,
    served_frame,
)
from mltwin.app.explorer.semantic_choices import (
    DEFAULTS,
    EXAMPLES,
    LEVELS,
    NAMES,
    curve_toml,
    scenario_of,
)
from mltwin.semantic import SemanticScenario
from mltwin.semantic_result import SemanticResult
from mltwin.sweeps.study import load_study

SMALL = DEFAULTS | {"queries": 600}


def test_the_defaults_are_the_default_scenario() -> None:
    plain = SemanticScenario().changed({"workload.queries": 5000, "cache.entries": 1000})
    assert scenario_of(DEFAULTS).hash == plain.hash


@pytest.mark.parametrize("name", list(EXAMPLES))
def test_every_example_runs(name: str) -> None:
    assert scenario_of(SMALL | EXAMPLES[name]).run().violations == []


def test_choices_reach_the_scenario() -> None:
    chosen = {"code_ttl": 40.0, "news_ttl": 0.0, "chat_quota": 70, "fall": 0.05, "servers": 9}
    scenario = scenario_of(SMALL | chosen | {"index": "remote", "code_threshold": 0.8})
    assert isinstance(scenario, SemanticScenario)
    code, news = scenario.categories["code"], scenario.categories["news"]
    assert (code.ttl_s, code.threshold, code.lowest_threshold) == (40.0, 0.8, 0.75)
    assert news.ttl_s is None and scenario.categories["chat"].quota == 70
    assert scenario.adaptive.on and scenario.llm.servers == 9 and scenario.index.kind == "remote"


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"fall": 0.1}, "no load without a limit"),
        ({"code_quota": 5000}, "quotas add up"),
        ({"eviction": "lifo"}, "unknown value"),
        ({"queries": -1}, "greater than or equal to 1"),
    ],
)
def test_a_link_that_fits_nothing_is_told(changes: dict[str, Any], why: str) -> None:
    with pytest.raises(mt.InputError, match=why):
        scenario_of(DEFAULTS | changes)


def test_the_curve_is_what_the_sweep_prints(tmp_path: Path, capsys: Any) -> None:
    scenario = scenario_of(SMALL | {"servers": 9, "fall": 0.05})
    path = tmp_path / "thresholds.toml"
    path.write_text(curve_toml(scenario))
    assert load_study(path).runs == len(LEVELS)
    with pytest.raises(SystemExit) as ended:
        main(["sweep", str(path), "--out", str(tmp_path / "out"), "--format", "json"])
    assert not ended.value.code
    curve = curve_frame(json.loads(capsys.readouterr().out), NAMES)
    assert len(curve) == len(LEVELS) * (len(NAMES) + 1)
    level = LEVELS[8]
    same = scenario_of(SMALL | {"servers": 9, **{f"{name}_threshold": level for name in NAMES}})
    direct = same.set("neighbours.floor", LEVELS[0]).run().metrics
    row = curve[(curve["category"] == "code") & (curve["threshold"] == level)].iloc[0]
    assert row["hit_pct"] == pytest.approx(100 * direct["code_hit_ratio"])
    assert row["false_pct"] == pytest.approx(100 * direct["code_false_hit_ratio"])
    result = scenario.run()
    assert isinstance(result, SemanticResult)
    drawn = json.dumps(curve_chart(curve, chosen_frame(result.categories)).to_dict())
    assert "false, of the answers served" in drawn and "news" in drawn


def test_the_bars_are_the_result(tmp_path: Path) -> None:
    path = tmp_path / "cache.toml"
    path.write_text(toml_of(scenario_of(SMALL)))
    result = mt.Scenario.load(path).run()
    assert isinstance(result, SemanticResult)
    frame = served_frame(result.categories)
    assert frame.groupby("category")["share_pct"].sum().tolist() == pytest.approx([100] * 4)
    assert frame["part"].unique().tolist() == list(PARTS)
    useful = frame[frame["part"] == "right"]["share_pct"].to_numpy() / 100
    assert useful == pytest.approx(result.categories["useful_hit_ratio"].to_numpy())
    assert "break_even_pct" in json.dumps(served_chart(result.categories).to_dict())
