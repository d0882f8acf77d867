"""Pareto fronts: the rows that no other row beats in every objective."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.fields import close_to
from mltwin.metrics import direction, plain
from mltwin.sim.errors import InputError
from mltwin.text import Table

from .found import Found, finite

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Objectives = Mapping[str, str] | Sequence[str]
"""Metric to `lower` or `higher`; or metrics alone, whose better side is known by their names."""

_NOT_FIELDS = ("point", "seed", "digest", "error", "wall_s")
_ROWS = 40


def pareto(
    rows: Any, objectives: Objectives, *, by: Sequence[str] | None = None, title: str = ""
) -> "Front":
    """The rows that no other beats: as good in every objective, and better in one.

    Args:
        rows: a sweep, a comparison, a data frame or a list of mappings.
        objectives: metric to `lower` or `higher`.
        by: columns that name a point, whose runs (one a seed) are averaged first. By default
            those of a frame that stand before its column `seed`, as a sweep's do.

    Raises InputError: an unknown column or side, or no row that has every objective.
    """
    wanted = as_objectives(objectives)
    frame = frame_of(rows)
    notes = []
    if "error" in frame:
        failed = frame["error"].fillna("").astype(str) != ""
        if failed.any():
            notes.append(f"{int(failed.sum())} failed runs are left out")
        frame = frame[~failed]
    for name in (*wanted, *(by or ())):
        if name not in frame.columns:
            raise InputError(
                f"the rows have no column {name!r}",
                where="objectives" if name in wanted else "by",
                mend=close_to(name, [str(column) for column in frame.columns]),
            )
    fields = list(by) if by is not None else _fields(frame)
    points = _averaged(frame, fields)
    values = points[list(wanted)].apply(_numbers).to_numpy(float)
    whole = np.isfinite(values).all(axis=1)
    if not whole.all():
        notes.append(f"{int((~whole).sum())} points without a value are left out")
    points, values = points[whole].reset_index(drop=True), values[whole]
    if not len(points):
        raise InputError("no row has a value of every objective", where="objectives")
    sign = np.array([1.0 if way == "lower" else -1.0 for way in wanted.values()])
    points["front"] = non_dominated(values * sign)
    return Front(
        heading=title or f"Pareto front: {', '.join(f'{m} ({w})' for m, w in wanted.items())}",
        objectives=wanted,
        fields=[str(name) for name in fields],
        points=points,
        notes=notes,
    )


def as_objectives(given: Objectives) -> dict[str, str]:
    """Metric to `lower` or `higher`.

    Raises InputError for another side, or a metric whose better side is not known.
    """
    if isinstance(given, str):
        given = [given]
    pairs = dict(given) if isinstance(given, Mapping) else {name: "" for name in given}
    for name, way in pairs.items():
        pairs[name] = way or direction(name)
        if pairs[name] not in ("lower", "higher"):
            raise InputError(
                f"{pairs[name]!r} is no side of {name}", where="objectives", mend="lower or higher"
            )
    if not pairs:
        raise InputError("there is no objective", where="objectives")
    return pairs


def parse_objective(text: str) -> tuple[str, str]:
    """`p99_ttft_ms`, or `gpus:lower`: the metric and its side ("" where none is given)."""
    name, _, way = text.partition(":")
    return name.strip(), way.strip()


def non_dominated(costs: np.ndarray) -> np.ndarray:
    """Which rows of (n, objectives) costs no other row dominates; equal rows all stay.

    One pass in lexicographic order: a row is dominated by a row before it or by none.
    """
    order = np.lexsort(costs.T[::-1])
    kept: list[int] = []
    front = np.zeros(len(costs), bool)
    for i in order:
        if kept:
            others = costs[kept]
            beaten = (others <= costs[i]).all(axis=1) & (others < costs[i]).any(axis=1)
            if beaten.any():
                continue
        kept.append(int(i))
        front[i] = True
    return front


@dataclass(repr=False)
class Front(Found):
    """A Pareto front.

    Attributes:
        objectives: metric to `lower` or `higher`.
        heading: what the front is of.
        fields: columns that name a point.
        points: one row a point (means over seeds); the column `front` says which are on it.
    """

    heading: str
    objectives: dict[str, str]
    fields: list[str]
    points: "pd.DataFrame"
    notes: list[str] = field(default_factory=list)

    @property
    def title(self) -> str:
        """What the front is of."""
        return self.heading

    @property
    def front(self) -> "pd.DataFrame":
        """The points on the front, sorted by the first objective."""
        first, way = next(iter(self.objectives.items()))
        on = self.points[self.points["front"]].drop(columns="front")
        return on.sort_values(first, ascending=way == "lower", kind="stable")

    def frame(self) -> "pd.DataFrame":
        """All points; the column `front` says which are on it."""
        return self.points

    def answer(self) -> list[str]:
        """How many points are on the front."""
        return [f"{len(self.front)} of {len(self.points)} points are on the front."]

    def table(self) -> Table:
        """The points on the front: what names them, and the objectives."""
        shown = [*self.fields, *(m for m in self.objectives if m not in self.fields)]
        front = self.front
        rows = [[_cell(cell) for cell in row] for row in front[shown].to_numpy(object)[:_ROWS]]
        best = {
            (i, shown.index(metric))
            for metric, way in self.objectives.items()
            for i, value in enumerate(front[metric][:_ROWS])
            if value == (front[metric].min() if way == "lower" else front[metric].max())
        }
        left = len(front) - len(rows)
        caption = self.answer()[0] + (f" {left} more are in the rows." if left else "")
        return Table(shown, rows, title=self.title, caption=caption, best=best)

    def tables(self) -> list[Table]:
        """The front."""
        return [self.table()]

    def data(self) -> dict[str, Any]:
        """The front as plain data."""
        shown = [*self.fields, *(m for m in self.objectives if m not in self.fields)]
        return {
            "kind": "pareto",
            "objectives": self.objectives,
            "fields": self.fields,
            "points": len(self.points),
            "front": [
                {name: _json(value) for name, value in zip(shown, row, strict=True)}
                for row in self.front[shown].to_numpy(object)
            ],
            "answer": self.answer(),
            "notes": self.notes,
        }

    def figure(self) -> "Figure":
        """All points, the front joined by a line: one panel for each pair of objectives."""
        from .pictures import pareto_figure

        return pareto_figure(self)


def frame_of(rows: Any) -> "pd.DataFrame":
    """The rows as a data frame.

    Raises InputError for what has none.
    """
    import pandas as pd

    if isinstance(rows, pd.DataFrame):
        return rows
    if hasattr(rows, "runs") and hasattr(rows, "names"):  # a comparison
        return pd.DataFrame(
            [
                {"name": name, "seed": run.seed, **run.metrics}
                for name, group in rows.runs.items()
                for run in group
            ]
        )
    if callable(getattr(rows, "frame", None)):
        return rows.frame()
    try:
        return pd.DataFrame(list(rows))
    except (TypeError, ValueError):
        raise InputError(
            f"a {type(rows).__name__} has no rows", mend="give a sweep, a frame or a list of dicts"
        ) from None


def _fields(frame: "pd.DataFrame") -> list[str]:
    """The columns before `seed`; without one, all that are no numbers."""
    from pandas.api.types import is_numeric_dtype

    names = list(frame.columns)
    if "seed" in names:
        return [name for name in names[: names.index("seed")] if name not in _NOT_FIELDS]
    return [n for n in names if not is_numeric_dtype(frame[n].dtype) and n not in _NOT_FIELDS]


def _averaged(frame: "pd.DataFrame", fields: Sequence[str]) -> "pd.DataFrame":
    """One row a point: its fields, and the means of its numeric columns over the runs."""
    if not fields or "seed" not in frame.columns:
        return frame.reset_index(drop=True).copy()
    # Lists and tables as values cannot be grouped by: their text can.
    keys = [frame[name].map(repr) for name in fields]
    grouped = frame.groupby(keys, sort=False, dropna=False)
    numeric = frame.select_dtypes("number").columns.difference([*fields, "seed"], sort=False)
    firsts = grouped[list(fields)].first().reset_index(drop=True)
    # A point is as good as its runs: one that lacks a value has none.
    means = grouped[list(numeric)].mean()
    lacking = frame[list(numeric)].isna().groupby(keys, sort=False, dropna=False).any()
    means = means.mask(lacking)
    return firsts.join(means.reset_index(drop=True))


def _numbers(column: "pd.Series") -> "pd.Series":
    import pandas as pd

    return pd.to_numeric(column, errors="coerce")


def _cell(value: Any) -> Any:
    value = plain(value)
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _json(value: Any) -> Any:
    value = plain(value)
    return finite(value) if isinstance(value, float) else value
