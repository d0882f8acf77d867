"""Thresholds of a semantic cache: the whole curve, and the best ones for a bound on false hits."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError

from .semantic import SemanticScenario
from .semantic_result import SemanticResult
from .text import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_RATIOS = ("hit_ratio", "joined_ratio", "false_hit_ratio", "stale_hit_ratio", "useful_hit_ratio")


@dataclass(frozen=True)
class ThresholdCurve:
    """What each threshold gives.

    Attributes:
        rows: one dict a threshold and category (`all`: every query), with `threshold`, `category`,
            `queries`, the ratios and `mean_latency_ms`.
        label: of the scenario.
    """

    rows: list[dict[str, Any]]
    label: str

    def parts(self) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
        """(category, columns over rising thresholds), all queries together first."""
        for name in dict.fromkeys(row["category"] for row in self.rows):
            mine = [row for row in self.rows if row["category"] == name]
            yield name, {key: np.array([row[key] for row in mine]) for key in mine[0]}

    def frame(self) -> "pd.DataFrame":
        """The rows as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows)

    def table(self) -> Table:
        """The rows of all queries together."""
        mine = [row for row in self.rows if row["category"] == "all"]
        heads = [key for key in mine[0] if key not in ("category", "queries")]
        return Table(heads, [[row[key] for key in heads] for row in mine], title=self.label)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Hit ratio over thresholds and against false hits; saved if a path is given."""
        from .plots import save_figure
        from .semantic_plots import plot_curve

        return save_figure(plot_curve(self), path)

    def best(self, false_hit_ratio: float) -> dict[str, float]:
        """Category-aware thresholds: the lowest of each category whose false hits stay within a
        bound, there and at every higher threshold; the highest where none does.

        Raises InputError where the workload does not tell false hits.
        """
        found = {name: self._lowest(part, false_hit_ratio) for name, part in self.parts()}
        return {name: value for name, value in found.items() if name != "all"}

    def best_single(self, false_hit_ratio: float) -> float:
        """The lowest threshold for all categories whose false hits stay within a bound, likewise.

        Raises InputError where the workload does not tell false hits.
        """
        return self._lowest(dict(self.parts())["all"], false_hit_ratio)

    def _lowest(self, part: Mapping[str, np.ndarray], bound: float) -> float:
        if "false_hit_ratio" not in part:
            raise InputError(
                "does not tell which hits are false",
                where=self.label,
                mend="use a workload with intents",
            )
        beyond = np.flatnonzero(part["false_hit_ratio"] > bound)
        place = int(beyond[-1]) + 1 if len(beyond) else 0
        return float(part["threshold"][min(place, len(part["threshold"]) - 1)])


def with_threshold(
    scenario: SemanticScenario, threshold: float | Mapping[str, float]
) -> SemanticScenario:
    """The scenario with this threshold for all categories, or one for each that is named.

    Lowest thresholds under load are lowered where they would lie above it.
    """
    changes: dict[str, Any] = {}
    if not isinstance(threshold, Mapping):
        changes["cache.threshold"] = threshold
        threshold = dict.fromkeys(scenario.categories, threshold)
    for name, value in threshold.items():
        changes[f"categories.{name}.threshold"] = value
        lowest = scenario.categories[name].lowest_threshold
        if lowest is not None and lowest > value:
            changes[f"categories.{name}.lowest_threshold"] = value
    return scenario.changed(changes)


def threshold_curve(
    scenario: SemanticScenario, thresholds: Sequence[float], *, seed: int | None = None
) -> ThresholdCurve:
    """Run the scenario with one threshold for all categories, for each of these thresholds.

    Near queries are found once, down to the lowest. With `best` the curve gives category-aware
    thresholds for a bound on false hits.

    Raises InputError: no thresholds.
    """
    levels = sorted({float(t) for t in thresholds})
    if not levels:
        raise InputError("there are no thresholds", where="thresholds", mend="give some")
    floor = scenario.neighbours.floor
    least = min([levels[0], 1.0, *_lowest(scenario), *([] if floor is None else [floor])])
    base = scenario.set("neighbours.floor", max(least, -1.0))
    rows = []
    for level in levels:
        result = with_threshold(base, level).run(seed)
        assert isinstance(result, SemanticResult)
        shown = [name for name in _RATIOS if name in result.metrics]
        whole = {name: result.metrics[name] for name in (*shown, "mean_latency_ms")}
        rows.append(
            {"threshold": level, "category": "all", "queries": int(result.metrics["queries"])}
            | whole
        )
        for row in result.categories.to_dict("records"):
            if row["queries"]:
                names = ("category", "queries", *shown, "mean_latency_ms")
                rows.append({"threshold": level, **{str(k): row[k] for k in names}})
    return ThresholdCurve(rows, scenario.label)


def _lowest(scenario: SemanticScenario) -> list[float]:
    """Thresholds that load may reach."""
    if not scenario.adaptive.on:
        return []
    found = [category.lowest_threshold for category in scenario.categories.values()]
    return [value for value in found if value is not None]
