"""What the comparison with the local engine found: tables, a picture, every number as JSON."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.plots import COLOURS, FAINT, draw_cdf, new_figure, number_axis, save_figure, share_axis
from mltwin.sim.errors import InputError
from mltwin.text import Cell, Table

from .pairs import AT, BELOW, PAST, Pair, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

METRICS = ("ttft_p50", "ttft_p90", "ttft_p99", "ttft_mean", "tpot_p50", "tpot_p90", "tpot_p99",
           "tpot_mean")  # fmt: skip
# How a prediction was calibrated, the scored one first.
KINDS = {
    "around": "speed of the machine measured just before and just after the run",
    "blind": "speed measured just before the run; on disk before the run",
    "upfront": "nothing measured after the calibration; on disk before the run",
    "own speed": "the run's own steps: what is left when the speed is known",
}
SCORED_BELOW = 1.0  # loads whose errors count; those at or past capacity are reported
FILES = ("report.md", "report.json", "pairs.csv", "local.png")


@dataclass(frozen=True)
class Curves:
    """TTFT and TPOT (seconds) of each request at one load: of each run, predicted and real."""

    load: float
    predicted: list[dict[str, np.ndarray]]
    measured: list[dict[str, np.ndarray]]
    quiet: list[bool]


@dataclass(frozen=True)
class LocalReport:
    """Predicted, real, and real against real.

    Attributes:
        runs: what ``local_session`` found of each run.
        calibration: its fitted cost, capacity and errors, as data.
        machine: hardware and versions. settings: what was asked.
        kernel: per load, what the serving kernel (without the shape-change term) predicts.
        curves: for the picture.
    """

    runs: Sequence[dict[str, Any]]
    calibration: dict[str, Any]
    machine: dict[str, Any]
    settings: dict[str, Any]
    kernel: dict[float, dict[str, float]] = field(default_factory=dict)
    curves: Sequence[Curves] = ()

    @property
    def loads(self) -> list[float]:
        """The loads, ascending."""
        return sorted({run["load"] for run in self.runs})

    def of(self, load: float, *, quiet: bool = True) -> list[dict[str, Any]]:
        """The runs at a load: those that pass the quiet rule, or all."""
        return [
            run
            for run in self.runs
            if run["load"] == load and (run["quiet"]["passed"] or not quiet)
        ]

    def error_pct(
        self, load: float, metric: str, kind: str = "around", *, quiet: bool = True
    ) -> float | None:
        """Median over the runs of the absolute error, per cent; None without runs."""
        errors = [abs(_error(run, metric, kind)) for run in self.of(load, quiet=quiet)]
        return float(np.median(errors)) if errors else None

    def spread_pct(self, load: float, metric: str, *, quiet: bool = True) -> float | None:
        """Reality against itself: (most - least) / median over the runs, per cent."""
        values = [run["measured"][metric] for run in self.of(load, quiet=quiet)]
        if len(values) < 2:
            return None
        return float(100.0 * (max(values) - min(values)) / np.median(values))

    def figures(self) -> dict[str, float | None]:
        """The figures of the benchmark; None where no run was quiet.

        The engine's figures are the worst of the loads below capacity; each is the median absolute
        error of the runs that pass the quiet rule. The same over all runs, and for the blind
        prediction, stands beside them.
        """
        steps = sum(run["steps"] for run in self.runs)
        found: dict[str, float | None] = {
            "local_step_match_pct": 100.0 * sum(r["emissions"] for r in self.runs) / steps,
            "local_step_match_whole_pct": 100.0 * sum(r["whole"] for r in self.runs) / steps,
            "local_steps": float(steps),
        }
        for metric in ("ttft_p50", "tpot_p50"):
            for suffix, kind, quiet in (
                ("", "around", True),
                ("_blind", "blind", True),
                ("_all_runs", "around", False),
            ):
                key = f"local_engine_{metric}{suffix}_pct"
                found[key] = self._worst(metric, kind, quiet=quiet)
        return found

    def _worst(self, metric: str, kind: str, *, quiet: bool) -> float | None:
        scored = [load for load in self.loads if load < SCORED_BELOW]
        errors = [self.error_pct(load, metric, kind, quiet=quiet) for load in scored]
        known = [error for error in errors if error is not None]
        return max(known) if known and len(known) == len(errors) else None

    def pairs(self) -> list[Pair]:
        """Each number of each run, as predicted around it."""
        return [
            Pair(
                source="local_engine",
                row_id=run["name"],
                gpu=str(self.machine.get("processor", "cpu")),
                engine=f"openvino-genai {self.machine.get('openvino-genai', '')}".strip(),
                model="tiny-llama",
                mode="agg",
                load_bin=BELOW if run["load"] < 0.75 else AT if run["load"] < 1 else PAST,
                metric=metric,
                measured=run["measured"][metric],
                predicted=run["predicted"]["around"][metric],
                confidence="quiet" if run["quiet"]["passed"] else "disturbed",
                note="; ".join(run["reasons"]),
            )
            for run in self.runs
            for metric in METRICS
        ]

    def tables(self) -> list[Table]:
        """Step match, predicted against real by load, the runs one by one, the cost."""
        return [self._match_table(), self._load_table(), self._run_table(), self._cost_table()]

    def _match_table(self) -> Table:
        rows: list[list[Cell]] = []
        for load in self.loads:
            runs = self.of(load, quiet=False)
            steps = sum(run["steps"] for run in runs)
            same, whole = (sum(run[key] for run in runs) for key in ("emissions", "whole"))
            rows.append([load, len(runs), steps, f"{100 * same / steps:.3f}",
                         f"{100 * whole / steps:.3f}"])  # fmt: skip
        return Table(
            ["load", "runs", "steps", "same tokens %", "same sequences and blocks too %"],
            rows,
            title="scheduler mirror under the real step times",
        )

    def _load_table(self) -> Table:
        rows: list[list[Cell]] = []
        breaks = set()
        for load in self.loads:
            quiet = bool(self.of(load))
            for metric in METRICS:
                rows.append([load, metric, *self._load_cells(load, metric, quiet=quiet)])
            breaks.add(len(rows) - 1)
        return Table(
            ["load", "metric", "predicted ms", "real ms", "error %", "blind %", "upfront %",
             "own speed %", "kernel %", "real against real %", "runs"],
            rows,
            title="predicted against real: medians over the runs that pass the quiet rule",
            caption="error, blind, upfront, own speed: median absolute error by what the "
            "prediction knew of the machine's speed. kernel: the serving kernel, cost without the "
            "term for a changed number of tokens, as upfront. real against real: (most - least) / "
            "median. runs: quiet of all; where none is quiet, all runs are shown.",
            breaks=breaks,
            formats=dict.fromkeys(range(4, 10), lambda v: f"{v:.1f}"),
        )  # fmt: skip

    def _load_cells(self, load: float, metric: str, *, quiet: bool) -> list[Cell]:
        runs = self.of(load, quiet=quiet)
        real = float(np.median([run["measured"][metric] for run in runs]))
        said = float(np.median([run["predicted"]["around"][metric] for run in runs]))
        errors: list[Cell] = [self.error_pct(load, metric, kind, quiet=quiet) for kind in KINDS]
        kernel = self.kernel.get(load)
        beside = None if kernel is None else abs(100 * (kernel[metric] / real - 1))
        spread = self.spread_pct(load, metric, quiet=quiet)
        share = f"{len(self.of(load))}/{len(self.of(load, quiet=False))}"
        return [1e3 * said, 1e3 * real, *errors, beside, spread, share]

    def _run_table(self) -> Table:
        rows: list[list[Cell]] = []
        for run in self.runs:
            quiet = run["quiet"]
            rows.append(
                [
                    run["name"],
                    "yes" if quiet["passed"] else "; ".join(run["reasons"]),
                    run["speed_before"],
                    run["speed_run"],
                    run["speed_after"],
                    100 * quiet["steal"],
                    100 * quiet["others"],
                    1e3 * run["measured"]["ttft_p50"],
                    _error(run, "ttft_p50", "around"),
                    1e3 * run["measured"]["tpot_p50"],
                    _error(run, "tpot_p50", "around"),
                ]
            )
        return Table(
            ["run", "quiet", "before", "speed", "after", "steal %", "others %", "TTFT p50 ms",
             "error %", "TPOT p50 ms", "error %"],
            rows,
            title="every run",
            caption="before, speed, after: step time against the calibration, in the burst before, "
            "the run itself (not used), the burst after.",
            formats={
                **dict.fromkeys((2, 3, 4), lambda v: f"{v:.3f}"),
                **dict.fromkeys((5, 6), lambda v: f"{v:.2f}"),
                **dict.fromkeys((8, 10), lambda v: f"{v:+.1f}"),
            },
        )  # fmt: skip

    def _cost_table(self) -> Table:
        rows: list[list[Cell]] = []
        quiet = self.calibration.get("quiet", {}).get("passed", True)
        for name, key, errors in (
            ("with the term", "cost", "errors"),
            ("without", "plain", "plain_errors"),
        ):
            cost, error = self.calibration[key], self.calibration[errors]
            scale = 1e3 * cost["scale"]
            rows.append(
                [
                    name,
                    scale * cost["base"],
                    scale * cost["token"],
                    1e3 * scale * cost["context"],
                    1e4 * scale * cost["pair"],
                    scale * cost["sequence"],
                    scale * cost["change"],
                    error["median_abs_pct"],
                    error["p90_abs_pct"],
                    error["sum_pct"],
                ]
            )
        return Table(
            ["change term", "base", "token", "context/1000", "pairs/10^4", "sequence", "change",
             "median %", "p90 %", "sum %"],
            rows,
            title="cost of a step, ms; its error on a burst that it was not fitted to",
            caption=f"capacity {self.calibration['capacity']:.2f} requests/s; calibrated on a "
            f"{'quiet' if quiet else 'busy'} machine, in try {self.calibration.get('tries', 1)}",
        )  # fmt: skip

    def data(self) -> dict[str, Any]:
        """Everything as JSON-able values."""
        return {
            "figures": self.figures(),
            "settings": self.settings,
            "machine": self.machine,
            "calibration": self.calibration,
            "kernel": {f"{load:g}": found for load, found in self.kernel.items()},
            "runs": list(self.runs),
        }

    def markdown(self) -> str:
        """The report as Markdown."""
        machine = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        lines = [f"- `{key}`: {_shown(value)}" for key, value in self.figures().items()]
        kinds = [f"- {name}: {what}" for name, what in KINDS.items()]
        parts = [
            "# A real engine on this machine and its twin\n",
            f"{machine}.\n",
            "\n".join(lines) + "\n",
            "What the predictions knew:\n\n" + "\n".join(kinds) + "\n",
            *(table.markdown() for table in self.tables()),
        ]
        return "\n".join(parts)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Distributions of TTFT and TPOT at each load: predicted, and each real run.

        Raises:
            InputError: the file cannot be written.
        """
        wide = max(1, len(self.curves))
        title = "OpenVINO GenAI on this machine: predicted and real"
        with new_figure(2, wide, (3.4 * wide, 5.6), title) as (figure, axes):
            for column, curves in enumerate(self.curves):
                for row, name in enumerate(("ttft", "tpot")):
                    _draw(axes[row, column], curves, name)
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
            text = json.dumps(self.data(), indent=1, allow_nan=False) + "\n"
            (place / "report.json").write_text(text, encoding="utf-8")
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(place)) from None
        write_csv(self.pairs(), place / "pairs.csv")
        self.plot(place / "local.png")
        return [place / name for name in FILES]


def _error(run: dict[str, Any], metric: str, kind: str) -> float:
    """Signed error of one number of a run, per cent of the measured one."""
    return float(100.0 * (run["predicted"][kind][metric] / run["measured"][metric] - 1.0))


def _shown(value: float | None) -> str:
    return "no quiet run" if value is None else f"{value:.3f}".rstrip("0").rstrip(".")


def _draw(axes: Any, curves: Curves, name: str) -> None:
    # Where there are quiet runs, the others are shown as they were, without a prediction.
    some = any(curves.quiet)
    for measured, quiet in zip(curves.measured, curves.quiet, strict=True):
        draw_cdf(axes, 1e3 * measured[name], colour=COLOURS[1] if quiet else FAINT)
    for predicted, quiet in zip(curves.predicted, curves.quiet, strict=True):
        if quiet or not some:
            draw_cdf(axes, 1e3 * predicted[name], colour=COLOURS[0])
    axes.plot([], [], color=COLOURS[0], label="predicted, each run")
    if some:
        axes.plot([], [], color=COLOURS[1], label="real, quiet runs")
    if not all(curves.quiet):
        axes.plot([], [], color=FAINT, label="real, disturbed runs")
    axes.set_xlabel(f"{name.upper()} (ms)")
    if name == "ttft":
        axes.set_title(f"load {curves.load:g}")
        axes.legend(loc="upper left")
    share_axis(axes)
    number_axis(axes)
