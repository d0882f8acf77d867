"""The choices of the semantic-cache page, and the scenario and the study that they stand for."""

from collections.abc import Mapping
from typing import Any

from mltwin import Scenario
from mltwin.app.explorer.safe import check_scenario
from mltwin.semantic import SemanticScenario
from mltwin.tomlfile import write_toml

_PLAIN = SemanticScenario()
NAMES = tuple(_PLAIN.categories)
"""The categories of the default scenario, which the page shows."""
LEVELS = tuple(round(0.5 + 0.04 * k, 2) for k in range(13))
"""Thresholds of the curve."""

_GLOBAL: dict[str, Any] = {
    "queries": 5000,
    "rate": 50.0,
    "entries": 1000,
    "eviction": "lru",
    "coalesce": True,
    "index": "memory",
    "servers": 0,
    "fall": 0.0,
    "curve": True,
}


def _own(name: str) -> dict[str, Any]:
    category = _PLAIN.categories[name]
    return {
        f"{name}_threshold": category.threshold,
        f"{name}_ttl": category.ttl_s or 0.0,
        f"{name}_quota": category.quota or 0,
    }


DEFAULTS: dict[str, Any] = _GLOBAL | {k: v for name in NAMES for k, v in _own(name).items()}
"""Every choice with its default; a TTL or quota of 0: none of its own."""

EXAMPLES: dict[str, dict[str, Any]] = {
    "A threshold for each category": {},
    "One threshold for all": {f"{name}_threshold": 0.9 for name in NAMES},
    "A remote vector database": {"index": "remote"},
    "A full model, thresholds fixed": {"servers": 15},
    "A full model, thresholds fall": {"servers": 15, "fall": 0.06},
    "Little memory, by value": {"entries": 200, "eviction": "gdsf"},
}


def scenario_of(choices: Mapping[str, Any]) -> Scenario:
    """The scenario of the choices.

    Raises InputError for one that a visitor may not run, or that does not fit together.
    """
    data: dict[str, Any] = _PLAIN.data()
    data["workload"] |= {"queries": choices["queries"], "rate": choices["rate"]}
    data["cache"] |= {name: choices[name] for name in ("entries", "eviction", "coalesce")}
    data["index"] |= {"kind": choices["index"]}
    if choices["servers"]:
        data["llm"] |= {"servers": choices["servers"]}
    data["adaptive"] |= {"on": choices["fall"] > 0}
    for name in NAMES:
        category = data["categories"][name]
        threshold = choices[f"{name}_threshold"]
        category["threshold"] = threshold
        category.pop("ttl_s", None)
        if choices[f"{name}_ttl"] > 0:
            category["ttl_s"] = choices[f"{name}_ttl"]
        if choices[f"{name}_quota"]:
            category["quota"] = choices[f"{name}_quota"]
        if choices["fall"] > 0:
            category["lowest_threshold"] = round(threshold - choices["fall"], 6)
    scenario = check_scenario(data)
    scenario.check()
    return scenario


def curve_toml(scenario: Scenario) -> str:
    """The study (`mltwin sweep`) of the scenario at every threshold, one for all categories."""
    assert isinstance(scenario, SemanticScenario)
    base = scenario.changed(
        {
            "neighbours.floor": LEVELS[0],
            "adaptive.on": False,
            **{f"categories.{name}.lowest_threshold": None for name in NAMES},
        }
    )
    points = [{f"categories.{name}.threshold": level for name in NAMES} for level in LEVELS]
    return write_toml({"seeds": 1, "scenario": base.data(full=False), "list": points})
