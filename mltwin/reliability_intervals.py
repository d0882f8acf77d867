"""How often to save: the interval swept, beside Daly's expected run time and his optimum."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mltwin.models.training.checkpoints import daly_interval, expected_run
from mltwin.sim.errors import InputError

from .plots import COLOURS, INK, new_figure, save_figure, share_axis
from .reliability import TrainingRunScenario
from .text import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MINUTES = (4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0)


@dataclass(frozen=True)
class Intervals:
    """Runs over intervals, means over seeds.

    Attributes:
        label: of the scenario.
        minutes: float64[n], work between checkpoints.
        lost, stall, restart: float64[n], shares of the time.
        wasted: float64[n], one minus `ettr`; `wasted_error`: its standard error.
        daly: float64[n], the same by Daly's complete model, where failures are exponential.
        curve: his share (second row) over minutes between the given ones (first): float64[2, 60].
        best_minutes: his optimum.
    """

    label: str
    minutes: np.ndarray
    lost: np.ndarray
    stall: np.ndarray
    restart: np.ndarray
    wasted: np.ndarray
    wasted_error: np.ndarray
    daly: np.ndarray
    curve: np.ndarray
    best_minutes: float

    def table(self) -> Table:
        """One row an interval."""
        columns = ["minutes", "checkpoints", "lost steps", "restarts", "all", "Daly"]
        rows: list[list[str | int | float | None]] = [
            [float(m), *(f"{100 * share:.2f} %" for share in shares)]
            for m, *shares in zip(
                self.minutes, self.stall, self.lost, self.restart, self.wasted, self.daly,
                strict=True,
            )
        ]  # fmt: skip
        title = f"{self.label}: time that does not train (Daly's best: {self.best_minutes:.1f} min)"
        return Table(columns, rows, title=title)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Shares over the interval, Daly's curve and optimum; saved if a path is given."""
        with new_figure(1, 1, (6.4, 4.0), self.label) as (figure, axes):
            here = axes[0][0]
            for text, share, colour in (
                ("checkpoints", self.stall, COLOURS[4]),
                ("lost steps", self.lost, COLOURS[1]),
                ("restarts", self.restart, COLOURS[3]),
            ):
                here.plot(self.minutes, share, color=colour, label=text, linewidth=1.3)
            error = 1.96 * self.wasted_error
            here.errorbar(
                self.minutes, self.wasted, error, color=COLOURS[0], marker="o", markersize=4,
                linewidth=0, elinewidth=1.5, label="all, simulated",
            )  # fmt: skip
            here.plot(*self.curve, color=INK, linestyle="--", linewidth=1.3, label="all, Daly")
            here.axvline(self.best_minutes, color=INK, linewidth=0.8, linestyle=":")
            here.set_xscale("log", base=2)
            here.set_xticks(self.minutes, [f"{m:g}" for m in self.minutes])
            here.set_ylim(0, 1.15 * float(max(self.wasted.max(), self.daly.max())))
            share_axis(here)
            here.annotate(
                f"Daly's best: {self.best_minutes:.0f} min",
                (self.best_minutes, here.get_ylim()[1]),
                xytext=(4, -9),
                textcoords="offset points",
                fontsize=8,
            )
            here.set_title("Time that does not train")
            here.set_xlabel("minutes of work between checkpoints")
            here.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=5)
        return save_figure(figure, path)


def compare_intervals(
    scenario: TrainingRunScenario,
    minutes: Sequence[float] = MINUTES,
    *,
    seeds: int = 20,
    workers: int | None = None,
) -> Intervals:
    """Run a scenario at each interval, and what Daly expects.

    Args:
        scenario: any; its own interval is not used.
        minutes: of work between checkpoints.
        seeds: runs of each.
        workers: threads, None for one a core.

    Raises InputError for no minutes, or a scenario in which nothing fails.
    """
    from .comparison import compare
    from .reliability_run import DAY_S, costs_of, interval_of, mtbf_of

    given = np.array(minutes, np.float64)
    if not len(given) or not (given > 0).all():
        raise InputError(f"intervals of {list(minutes)} minutes", mend="give positive ones")
    costs = costs_of(scenario)
    mtbf = mtbf_of(scenario)
    if not np.isfinite(mtbf):
        raise InputError("nothing fails", where="failures.kind", mend="let nodes fail")
    points = [
        scenario.changed(
            {"checkpoint.interval": "fixed", "checkpoint.minutes": float(m), "name": f"{m:g} min"}
        )
        for m in given
    ]
    runs = list(compare(points, seeds=range(seeds), workers=workers).runs.values())

    def mean(metric: str) -> np.ndarray:
        return np.array([np.mean([run.metrics[metric] for run in row]) for row in runs])

    wasted = [[1 - run.metrics["ettr"] for run in row] for row in runs]
    cost = interval_of(scenario, costs, mtbf)[1]
    recovery = scenario.recovery.detect_s + scenario.recovery.restart_s + costs.load_storage_s
    work = scenario.job.days * DAY_S

    def daly(between: np.ndarray) -> np.ndarray:
        return np.array(
            [1 - work / expected_run(work, 60 * m, cost, recovery, mtbf) for m in between]
        )

    between = np.geomspace(given.min(), given.max(), 60)
    return Intervals(
        label=scenario.label,
        minutes=given,
        lost=mean("lost_share"),
        stall=mean("checkpoint_share"),
        restart=mean("restart_share"),
        wasted=np.mean(wasted, axis=1),
        wasted_error=np.std(wasted, axis=1, ddof=1) / np.sqrt(seeds) if seeds > 1 else 0 * given,
        daly=daly(given),
        curve=np.stack([between, daly(between)]),
        best_minutes=daly_interval(cost, mtbf) / 60,
    )
