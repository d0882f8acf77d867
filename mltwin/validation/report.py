"""What a validation found, as tables, a picture and files."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from mltwin.plots import COLOURS, FAINT, draw_cdf, new_figure, number_axis, save_figure, share_axis
from mltwin.sim.errors import InputError
from mltwin.text import Cell, Table

from .pairs import LOAD_BINS, Pair, write_csv, write_parquet
from .score import Score, grouped, score

if TYPE_CHECKING:
    from matplotlib.figure import Figure

GROUPINGS: dict[str, Callable[[Pair], str]] = {
    "source": lambda pair: pair.source,
    "load": lambda pair: pair.load_bin,
    "gpu": lambda pair: pair.gpu,
    "engine": lambda pair: pair.engine,
    "model": lambda pair: pair.model,
    "mode": lambda pair: pair.mode,
}
FILES = ("pairs.parquet", "pairs.csv", "report.md", "report.json", "errors.png")
# Errors beyond this share the last step of the distribution's axis.
_WIDEST_PCT = 300.0


@dataclass(frozen=True)
class ValidationReport:
    """Pairs and what was fitted end to end before they were scored.

    Attributes:
        pairs: measured and predicted numbers.
        fitted: constants fitted to end-to-end runs, and on which split; ``nothing`` if none.
    """

    pairs: Sequence[Pair]
    fitted: str = "nothing"
    kind: ClassVar[str] = "pairs"
    _known: dict[str | None, dict[tuple[str, str], Score]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        if not self.pairs:
            raise InputError("nothing was measured", mend="give a folder with measured runs")

    def scores(self, by: str | None = None) -> dict[tuple[str, str], Score]:
        """Scores by (group, metric); the group is ``all`` without ``by``.

        Load bins come in order of load, other groups in the order of the pairs.

        Raises:
            InputError: ``by`` is no grouping.
        """
        if by is not None and by not in GROUPINGS:
            raise InputError(f"no grouping {by!r}", mend=f"use one of {list(GROUPINGS)}")
        if by not in self._known:
            self._known[by] = self._scores(by)
        return self._known[by]

    def _scores(self, by: str | None) -> dict[tuple[str, str], Score]:
        group = GROUPINGS[by] if by else lambda pair: "all"
        found = grouped(self.pairs, lambda pair: (group(pair), pair.metric))
        keys = list(found)
        if by == "load":
            keys.sort(key=lambda key: LOAD_BINS.index(key[0]))
        return {key: score(found[key]) for key in keys}

    def table(self, by: str | None = None, *, answered: bool = False) -> Table:
        """The scores as a table: median, its interval, mean, p95 and bias, in per cent.

        ``answered``: leave out groups and metrics of which nothing was answered.
        """
        rows: list[list[Cell]] = []
        for (group, metric), one in self.scores(by).items():
            if answered and not one.answered:
                continue
            interval = f"{one.median_low:.1f} to {one.median_high:.1f}"
            values = (one.median_abs, one.mean_abs, one.p95_abs, one.median_signed)
            low, *others = (None if np.isnan(v) else float(v) for v in values)
            interval = "-" if np.isnan(one.median_low) else interval
            rows.append([group, metric, one.rows, one.answered, low, interval, *others])
        heads = ["metric", "pairs", "answered", "median %", "95 % interval", "mean %", "p95 %",
                 "bias %"]  # fmt: skip
        plain = dict.fromkeys((4, 6, 7), lambda v: f"{v:.2f}")
        return Table(
            [by or "all", *heads],
            rows,
            title=f"absolute error by {by}" if by else "absolute error",
            formats={**plain, 8: lambda v: f"{v:+.2f}"},
        )

    def tables(self) -> list[Table]:
        """The overall table, that by source, and one for each grouping that tells answered pairs
        apart."""
        found = [self.table()]
        for by, group in GROUPINGS.items():
            known = {group(p) for p in self.pairs if by == "source" or p.predicted is not None}
            if len(known) > 1:
                found.append(self.table(by, answered=by != "source"))
        return found

    def unanswered(self) -> dict[str, int]:
        """Number of pairs without a prediction by reason, most first."""
        reasons = grouped((p for p in self.pairs if p.predicted is None), lambda p: p.note)
        counts = {reason: len(found) for reason, found in reasons.items()}
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def markdown(self) -> str:
        """The report as Markdown."""
        parts = [
            "# Validation\n",
            f"Fitted end to end: {self.fitted}. Errors are predicted / measured - 1; intervals "
            "resample runs (bias-corrected bootstrap).\n",
            *(table.markdown() for table in self.tables()),
        ]
        if reasons := self.unanswered():
            lines = [f"- {count}: {reason}" for reason, count in reasons.items()]
            parts.append("Unanswered:\n\n" + "\n".join(lines) + "\n")
        return "\n".join(parts)

    def data(self) -> dict[str, Any]:
        """The report as JSON-able values: scores by grouping, no pairs."""
        return {
            "fitted": self.fitted,
            "scores": {
                by or "all": [
                    {"group": group, "metric": metric, **one.data()}
                    for (group, metric), one in self.scores(by).items()
                ]
                for by in (None, *GROUPINGS)
            },
            "unanswered": self.unanswered(),
        }

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Predicted against measured, and the distribution of absolute errors.

        Raises:
            InputError: the file cannot be written.
        """
        with new_figure(1, 2, (9.5, 4.0), "Predicted against measured") as (figure, axes):
            _draw_scatter(axes[0, 0], self.pairs)
            _draw_errors(axes[0, 1], self.pairs)
            return save_figure(figure, path)

    def save(self, folder: str | Path) -> list[Path]:
        """Write ``FILES`` into a folder (made if missing); their paths.

        Raises:
            InputError: it cannot be written.
        """
        place = Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
            (place / "report.md").write_text(self.markdown(), encoding="utf-8")
            text = json.dumps(self.data(), indent=1) + "\n"
            (place / "report.json").write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(place)) from None
        write_parquet(self.pairs, place / "pairs.parquet")
        write_csv(self.pairs, place / "pairs.csv")
        self.plot(place / "errors.png")
        return [place / name for name in FILES]


def _draw_scatter(axes: Any, pairs: Sequence[Pair]) -> None:
    answered = [p for p in pairs if p.predicted]
    for number, (quantity, some) in enumerate(grouped(answered, lambda p: p.quantity).items()):
        axes.plot(
            [p.measured for p in some],
            [p.predicted for p in some],
            "o",
            markersize=4 if len(answered) < 300 else 2,
            alpha=0.7 if len(answered) < 300 else 0.35,
            color=COLOURS[number % len(COLOURS)],
            label=quantity,
        )
    axes.set_xlabel("measured (SI units)")
    axes.set_ylabel("predicted")
    if not answered:
        return
    ends = [
        f(v for p in answered for v in (p.measured, p.predicted or p.measured)) for f in (min, max)
    ]
    axes.plot(ends, ends, color=FAINT, linewidth=1, zorder=0)
    number_axis(axes, "x")
    number_axis(axes, "y")
    axes.legend(loc="upper left")


def _draw_errors(axes: Any, pairs: Sequence[Pair]) -> None:
    answered = [p for p in pairs if p.predicted is not None]
    for number, (quantity, some) in enumerate(grouped(answered, lambda p: p.quantity).items()):
        errors = np.minimum([abs(p.error_pct) for p in some], _WIDEST_PCT)
        draw_cdf(axes, errors, colour=COLOURS[number % len(COLOURS)], label=quantity)
    axes.set_xlabel("absolute error (%)")
    axes.set_ylabel("share of pairs")
    axes.set_xscale("symlog", linthresh=1.0)
    axes.xaxis.set_major_formatter("{x:g}")
    share_axis(axes)
    if answered:
        axes.legend(loc="lower right")
