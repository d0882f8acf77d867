"""`Sweep`: the rows of a study as a table, a frame, a picture, a page; whole or as far as it is."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from mltwin.fields import close_to
from mltwin.metrics import direction
from mltwin.sim.errors import InputError
from mltwin.sim.runspec import canonical_json
from mltwin.text import Table, show

from .record import Record, read_record
from .spaces import Point
from .store import read_rows
from .work import Row

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_DEFAULT_METRICS = 6


class Failure(NamedTuple):
    """A run that failed: the point's values, the seed, and the error on one line."""

    point: Point
    seed: int
    error: str


class Sweep:
    """The rows of a study, as far as they are there.

    Attributes:
        record: what was run: points, seeds, names.
        rows: `rows[point][seed]`, None where a run has not been made yet.
        notices: what the reader should know, one sentence each.
    """

    def __init__(
        self, record: Record, rows: Sequence[Sequence[Row | None]], notices: Sequence[str] = ()
    ) -> None:
        self.record = record
        self.rows = [list(row) for row in rows]
        self.notices = list(notices)

    @staticmethod
    def load(path: str | Path) -> "Sweep":
        """The last sweep of a folder, as far as it has come; also while it is running.

        Raises InputError where there is none, or its files are damaged.
        """
        record = read_record(path)
        rows, notices = read_rows(path, record.keys())
        return Sweep(record, by_point(record, rows), notices)

    @property
    def fields(self) -> list[str]:
        """The varied fields."""
        return self.record.varied

    @property
    def points(self) -> list[Point]:
        """The values of the fields, one dict a point."""
        return self.record.points

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds that every point is run on."""
        return self.record.seeds

    @property
    def total(self) -> int:
        """Runs in all."""
        return len(self.points) * len(self.seeds)

    @property
    def done(self) -> int:
        """Runs made, failed ones among them."""
        return sum(row is not None for group in self.rows for row in group)

    @property
    def failures(self) -> list[Failure]:
        """The runs that failed."""
        return [
            Failure(point, row.seed, row.error)
            for point, group in zip(self.points, self.rows, strict=True)
            for row in group
            if row is not None and row.error
        ]

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over point, seed, digest and metrics of all rows, in sorted order: equal
        sweeps have equal digests, whatever ran them in whatever order. Times do not count."""
        lines = [
            canonical_json([point, row.seed, row.digest, bool(row.error)]) + _exact(row.metrics)
            for point, group in zip(self.points, self.rows, strict=True)
            for row in group
            if row is not None
        ]
        return hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()

    def metrics(self) -> list[str]:
        """Metrics that any run has, in order of appearance."""
        found = (row.metrics for group in self.rows for row in group if row is not None)
        return list(dict.fromkeys(name for metrics in found for name in metrics))

    def headline(self) -> list[str]:
        """The metrics that the study names, else those the system shows first, else all."""
        known = self.metrics()
        wanted = self.record.metrics or self.record.headline
        return [name for name in wanted if name in known] or known

    def frame(self) -> "pd.DataFrame":
        """One row a run that was made: point (its number), varied fields, seed, metrics, digest,
        error ("" where it went well). A field that is named like a metric is `scenario.<field>`."""
        import pandas as pd

        names, heads = self.metrics(), self.field_names()
        columns: dict[str, list[Any]] = {"point": [], **{head: [] for head in heads.values()}}
        columns |= {"seed": [], **{name: [] for name in names}, "digest": [], "error": []}
        for number, (point, group) in enumerate(zip(self.points, self.rows, strict=True)):
            for row in group:
                if row is None:
                    continue
                columns["point"].append(number)
                for name, head in heads.items():
                    columns[head].append(point.get(name, self.record.base_value(name)))
                columns["seed"].append(row.seed)
                for name in names:
                    columns[name].append(row.metrics.get(name, np.nan))
                columns["digest"].append(row.digest)
                columns["error"].append(row.error)
        return pd.DataFrame(columns)

    def means(self, metrics: Sequence[str] | None = None) -> "pd.DataFrame":
        """One row a point: varied fields, runs (that went well), the mean of each metric over its
        seeds, and `<metric> ±`, half the width of its 95 % interval (Student's t, NaN for one
        seed).

        Raises InputError for a metric that no run has.
        """
        import pandas as pd

        chosen = self.chosen(metrics)
        heads = self.field_names()
        rows = []
        for number, point in enumerate(self.points):
            found: dict[str, Any] = {
                head: point.get(name, self.record.base_value(name)) for name, head in heads.items()
            }
            found["runs"] = sum(row is not None and not row.error for row in self.rows[number])
            for metric in chosen:
                found[metric], found[f"{metric} ±"] = self.mean(number, metric)
            rows.append(found)
        return pd.DataFrame(rows)

    def mean(self, point: int, metric: str) -> tuple[float, float]:
        """Mean of a metric over the seeds of a point, and half its 95 % interval; NaN without."""
        from mltwin.sim.stats import mean_ci

        rows = [row for row in self.rows[point] if row is not None]
        values = [row.metrics[metric] for row in rows if metric in row.metrics]
        if not values:
            return float("nan"), float("nan")
        if len(values) == 1 or not np.all(np.isfinite(values)):
            return float(np.mean(values)), float("nan")
        return float(np.mean(values)), mean_ci(values).half_width

    def table(self, metrics: Sequence[str] | None = None, *, most: int | None = None) -> Table:
        """One row a point: its values, then each metric's mean over the seeds, `±` half its 95 %
        interval; the best of a column stands out.

        Args:
            metrics: which; by default the study's or the headline's, six at most.
            most: rows at most; the caption says how many were left out.

        Raises InputError for a metric that no run has.
        """
        chosen = self.chosen(metrics)
        rows: list[list[Any]] = []
        best = set()
        numbers = [[self.mean(i, metric) for i in range(len(self.points))] for metric in chosen]
        shown = len(self.points) if most is None else min(most, len(self.points))
        for i in range(shown):
            cells = [_cell(self.points[i].get(f, self.record.base_value(f))) for f in self.fields]
            rows.append([*cells, *(_mean_text(*numbers[j][i]) for j in range(len(chosen)))])
        for j, metric in enumerate(chosen):
            winner = _best([mean for mean, _ in numbers[j]], direction(metric))
            if winner is not None and winner < shown:
                best.add((winner, len(self.fields) + j))
        columns = [*self.fields, *chosen]
        return Table(columns, rows, title=self.record.name, caption=self._caption(shown), best=best)

    def failure_table(self, most: int = 20) -> Table:
        """The runs that failed: the point's values, the seed, the error on one line."""
        failures = self.failures
        rows: list[list[Any]] = [
            [*(_cell(one.point.get(name)) for name in self.fields), one.seed, one.error]
            for one in failures[:most]
        ]
        caption = f"{len(failures) - most} more" if len(failures) > most else ""
        title = f"{len(failures)} of {self.total} runs failed"
        return Table([*self.fields, "seed", "error"], rows, title=title, caption=caption)

    def plot(
        self, path: str | Path | None = None, metrics: Sequence[str] | None = None
    ) -> "Figure":
        """A panel a metric: curves with 95 % bands over one field, a heat map over two, else the
        points over each field; saved if a path is given.

        Raises InputError for a metric that no run has.
        """
        from mltwin.plots import save_figure

        from .plots import plot_sweep

        return save_figure(plot_sweep(self, self.chosen(metrics)), path)

    def report(self, path: str | Path, metrics: Sequence[str] | None = None) -> Path:
        """Write one self-contained HTML page; its path.

        Raises InputError where it cannot be written, or for a metric that no run has.
        """
        from .report import write_report

        return write_report(self, path, self.chosen(metrics))

    def export(self, path: str | Path) -> Path:
        """Write the frame to a `.csv` or `.parquet` file; its path.

        Raises InputError: another ending, or a place that cannot be written.
        """
        target = Path(path)
        if target.suffix == ".csv":
            from mltwin.csvfile import write_csv

            return write_csv(self.frame(), target)
        if target.suffix != ".parquet":
            raise InputError(
                f"ending {target.suffix!r}", where=str(path), mend="use .csv or .parquet"
            )
        try:
            _without_mixed(self.frame()).to_parquet(target, index=False)
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None
        return target

    def chosen(self, metrics: Sequence[str] | None) -> list[str]:
        """The metrics named; none: the headline's, six at most, or all that the study names.

        Raises InputError for a metric, named here or by the study, that no run has.
        """
        known = self.metrics()
        for metric in metrics or self.record.metrics:
            if metric not in known and self.done > len(self.failures):
                raise InputError(f"no metric {metric!r}", mend=close_to(metric, known))
        if metrics:
            return list(metrics)
        return self.headline()[: None if self.record.metrics else _DEFAULT_METRICS]

    def field_names(self) -> dict[str, str]:
        """The name of each varied field's column in frames."""
        taken = {"point", "seed", "runs", "digest", "error", *self.metrics()}
        return {name: f"scenario.{name}" if name in taken else name for name in self.fields}

    def data(self) -> dict[str, Any]:
        """Plain data for JSON: each run's point, seed, digest, metrics and error."""
        runs = [
            {"point": point, "seed": r.seed, "digest": r.digest, "metrics": _finite(r.metrics)}
            | ({"error": r.error} if r.error else {})
            for point, group in zip(self.points, self.rows, strict=True)
            for r in group
            if r is not None
        ]
        found = {"name": self.record.name, "done": self.done, "total": self.total}
        return {**found, "digest": self.digest, "notices": self.notices, "runs": runs}

    def _caption(self, shown: int) -> str:
        seeds = f"means of {len(self.seeds)} seeds ± 95 %" if len(self.seeds) > 1 else ""
        parts = [seeds]
        if shown < len(self.points):
            parts.append(f"the first {shown} of {len(self.points)} points")
        if self.done < self.total:
            parts.append(f"{self.done} of {self.total} runs so far")
        return "; ".join(part for part in parts if part)

    def __str__(self) -> str:
        return str(self.table())

    def __repr__(self) -> str:
        return f"<Sweep {self.record.name!r}: {self.done} of {self.total} runs>"


def by_point(record: Record, rows: Sequence[Row | None]) -> list[list[Row | None]]:
    """Rows in the order of jobs (seed by seed) as rows[point][seed]."""
    count = len(record.points)
    return [list(rows[i::count]) for i in range(count)]


def _exact(metrics: Mapping[str, float]) -> str:
    """Metrics as text that differs wherever a bit does."""
    return ",".join(f"{name}={float(metrics[name]).hex()}" for name in sorted(metrics))


def _finite(metrics: Mapping[str, float]) -> dict[str, float | None]:
    """Metrics as JSON has them: no infinities."""
    return {name: value if np.isfinite(value) else None for name, value in metrics.items()}


def _mean_text(mean: float, half: float) -> str | float:
    if np.isnan(half):
        return mean
    return f"{show(mean)} ± {show(half, 2)}" if half else show(mean)


def _cell(value: Any) -> Any:
    return value if value is None or isinstance(value, str | int | float) else str(value)


def _best(means: Sequence[float], way: str) -> int | None:
    known = [(value, i) for i, value in enumerate(means) if not np.isnan(value)]
    if way == "none" or len({value for value, _ in known}) < 2:
        return None
    return min(known)[1] if way == "lower" else max(known, key=lambda pair: pair[0])[1]


def _without_mixed(frame: "pd.DataFrame") -> "pd.DataFrame":
    """A frame that Parquet takes: columns of values of several types become text."""
    for name in frame.columns:
        column = frame[name]
        if column.dtype == object and not column.map(lambda cell: isinstance(cell, str)).all():
            frame[name] = column.map(str)
    return frame
