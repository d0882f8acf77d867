"""`TrainingRunResult`: where the time of a long training run went, and what it cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mltwin.models.training.reliability import PARTS, TICKS_PER_S, RunOutcome
from mltwin.models.training.reliability_tables import (
    COUNTS,
    E_CHECKPOINT,
    E_COPIED,
    E_STORED,
    EVENT_NAMES,
)

from .derived_result import Derived, DerivedResult
from .result import Columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .timelines.timeline import Timeline

DAY_S = 86400.0
MOST_CHECKPOINTS = 20_000
SHARES = {
    "straggling": "straggling_share",
    "shrunk": "shrunk_share",
    "stall": "checkpoint_share",
    "lost": "lost_share",
    "restarting": "restart_share",
    "resharding": "reshard_share",
    "waiting": "waiting_share",
}
"""Parts of a run and the metrics of their shares of its time."""


class TrainingRunResult(DerivedResult):
    """A finished run of the system `training-run`.

    Table `events`: time (ticks of 1 ns), kind (number in `event_names`), entity and value: failures
    and repairs (node, its place in the job), checkpoints (number, ticks that training stops),
    copies and writes (steps that they hold; of over 20,000 checkpoints each k-th), losses (steps
    that are left, ticks lost), waits, restarts and remaps (nodes, source), and `running` (nodes,
    source).
    Table `parts`: ticks of each part of the run, in the order of `part_names`.
    """

    headline = (
        "goodput_ratio",
        "ettr",
        "makespan_days",
        "wasted_gpu_hours",
        "dollars",
        "lost_share",
        "checkpoint_share",
        "straggling_share",
    )
    part_names = PARTS
    event_names = EVENT_NAMES

    @classmethod
    def of(cls, outcome: RunOutcome, facts: Mapping[str, Any]) -> Self:
        """The result of an outcome."""
        rows, stride = thinned(outcome.log)
        names = ("time", "kind", "entity", "value")
        tables: dict[str, Columns] = {
            "parts": {"ticks": np.array([outcome.parts[name] for name in PARTS], np.int64)},
            "events": {name: rows[:, column].copy() for column, name in enumerate(names)},
        }
        known = {
            **facts,
            "end": outcome.end,
            "up_s": outcome.up_s,
            "finished": outcome.finished,
            "thinned": stride,
            "counts": dict(outcome.counts),
        }
        return cls.derived(tables, known)

    @classmethod
    def derive(cls, tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> Derived:
        """Metrics, notes and violations."""
        return metrics_of(tables, facts), _notes(facts), _violations(tables, facts)

    @property
    def parts(self) -> dict[str, int]:
        """Ticks of each part of the run."""
        ticks = self.tables["parts"]["ticks"]
        return {name: int(value) for name, value in zip(PARTS, ticks, strict=True)}

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Where the time went, and the run's progress."""
        from .plots import save_figure
        from .reliability_plots import plot_run

        return save_figure(plot_run(self), path)

    def timeline(
        self, *, window_s: tuple[float, float] | None = None, requests: int = 500, seed: int = 0
    ) -> "Timeline":
        """Phases of the job, checkpoints, failures and nodes over time.

        Raises InputError for a window that is none, or a run longer than a timeline can be.
        """
        from .reliability_timeline import run_timeline

        del requests, seed
        return run_timeline(self, window_s)


def thinned(log: np.ndarray) -> tuple[np.ndarray, int]:
    """A log with each k-th checkpoint only, and k: 1 unless there are very many."""
    saving = np.isin(log[:, 1], (E_CHECKPOINT, E_COPIED, E_STORED))
    stride = -(-int((log[:, 1] == E_CHECKPOINT).sum()) // MOST_CHECKPOINTS) or 1
    if stride == 1:
        return log, 1
    number = np.cumsum(log[:, 1] == E_CHECKPOINT)
    return log[~saving | (number % stride == 0)], stride


def metrics_of(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> dict[str, float]:
    """Shares of the time, GPU hours, dollars and counts.

    `goodput_ratio` is the share of the time that undisturbed steps on all nodes would have
    taken; `ettr` the share in which training went forward, slow or not (Kokolis et al.,
    arXiv 2410.21680: productive over available time).
    """
    part = dict(zip(PARTS, tables["parts"]["ticks"].tolist(), strict=True))
    counts = facts["counts"]
    end = max(facts["end"], 1)
    forward = part["useful"] + part["straggling"] + part["shrunk"]
    gpu_hours = facts["up_s"] * facts["gpus_per_node"] / 3600
    used = part["useful"] / TICKS_PER_S * facts["nodes"] * facts["gpus_per_node"] / 3600
    found = {
        "goodput_ratio": part["useful"] / end,
        "ettr": forward / end,
        "makespan_days": facts["end"] / TICKS_PER_S / DAY_S,
        "gpu_hours": gpu_hours,
        "wasted_gpu_hours": gpu_hours - used,
        "dollars": gpu_hours * facts["dollars_per_gpu_hour"],
        **{metric: part[name] / end for name, metric in SHARES.items()},
        "interval_minutes": facts["interval_s"] / 60,
        **{name: float(counts[name]) for name in COUNTS},
        "finished": float(facts["finished"]),
    }
    if facts["mtbf_hours"] is not None:
        found["mtbf_hours"] = facts["mtbf_hours"]
    if counts["checkpoints"]:
        found["stall_per_checkpoint_s"] = part["stall"] / TICKS_PER_S / counts["checkpoints"]
    return found


def _notes(facts: Mapping[str, Any]) -> list[str]:
    if facts["finished"]:
        return []
    days = facts["end"] / TICKS_PER_S / DAY_S
    done = facts["counts"]["steps"]
    return [f"The run was given up after {days:,.0f} days with {done:,} steps done."]


def _violations(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> list[str]:
    """Laws that the run broke; a healthy run gives none."""
    ticks = tables["parts"]["ticks"]
    found = []
    total = sum(ticks.tolist())
    if total != facts["end"]:
        found.append(f"parts of {total} ticks make a run of {facts['end']}")
    ideal = facts["counts"]["steps"] * facts["step_ticks"]
    if int(ticks[0]) != ideal:
        found.append(f"{ideal} ticks of steps are done, {int(ticks[0])} are useful")
    return found
