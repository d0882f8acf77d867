"""What the federated page shows of a comparison: small tables, made from the stored runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mltwin import Comparison, InputError
from mltwin.federated_compare import FederatedComparison, Tuned
from mltwin.federated_metrics import RISING
from mltwin.federated_plots import AXES, BINS, band, participation_map, target_of
from mltwin.federated_result import FederatedResult
from mltwin.stored import stored_groups

from .show import downsampled

if TYPE_CHECKING:
    import pandas as pd

SHOWN_AXES = ("time", "rounds", "bytes", "joules")
_GRID, _POINTS = 3000, 300
_BEYOND = 2.0
_BARS = 20


@dataclass(frozen=True)
class FederatedView:
    """A comparison of methods in small.

    found: the comparison itself.
    metric: what learning curves show; None where only time is simulated.
    target: of that metric, if there is one.
    curves: axis -> method, x, mean, low, high; axes along which nothing is spent are left out.
    needed: axis -> what the last method to get to the target had spent by then; 0: none gets there.
    work: method, time_s, used: updates used by then, of the first seed of each method.
    staleness: method, staleness (the least of a bar), last (its greatest), share of used updates
        of all seeds.
    participation: method, speed, row, used: mean used updates of a client by ranks (0 to 7), over
        seeds.
    rows_are: method -> what the rows of its map are: availability or samples.
    notes: of the runs, with their methods.
    """

    found: FederatedComparison
    metric: str | None
    target: float | None
    curves: dict[str, "pd.DataFrame"]
    needed: dict[str, float]
    work: "pd.DataFrame"
    staleness: "pd.DataFrame"
    participation: "pd.DataFrame"
    rows_are: dict[str, str]
    notes: list[str]

    @property
    def names(self) -> list[str]:
        """The methods, the first is the base."""
        return self.found.runs.names

    @property
    def seeds(self) -> int:
        """Runs of each method."""
        return len(self.found.runs.runs[self.names[0]])

    def shown(self, axis: str) -> "pd.DataFrame":
        """The learning curves along an axis, as far as is of interest: well beyond the target."""
        frame, needed = self.curves[axis], self.needed[axis]
        if needed > 0:
            frame = frame[frame["x"] <= _BEYOND * needed]
        parts = [downsampled(part, _POINTS) for _, part in frame.groupby("method", sort=False)]
        return _stacked(parts)

    def medians(self) -> dict[str, float]:
        """Median seconds to the target of each method that gets there in most runs."""
        if self.metric is None or self.target is None:
            return {}
        times = {name: float(np.median(self.found.reached(name, self.metric)))
                 for name in self.names}  # fmt: skip
        return {name: seconds for name, seconds in times.items() if np.isfinite(seconds)}


@lru_cache(maxsize=4)
def view_of(folder: Path, names: tuple[str, ...], printed: str = "") -> FederatedView:
    """The view of the runs that `mltwin fed compare --out` stored; the last few are kept.

    Args:
        folder: with the runs.
        names: of the methods, in order.
        printed: what the command printed as JSON: what it tuned.

    Raises InputError: a method without a run, or a run that is damaged.
    """
    groups = {group[0].label: group for group in stored_groups(folder)}
    lacking = [name for name in names if name not in groups]
    if lacking:
        raise InputError("there is no run", where=lacking[0], mend="run it again")
    runs = Comparison([groups[name] for name in names], list(names))
    return made_view(FederatedComparison(runs, _tuned(printed)))


def made_view(found: FederatedComparison) -> FederatedView:
    """The view of a comparison."""
    results = found.results
    learned = all(group[0].curve_metric is not None for group in results.values())
    metric = found.metric if learned else None
    every = [run for group in results.values() for run in group]
    target: float | None = None
    curves: dict[str, pd.DataFrame] = {}
    needed: dict[str, float] = {}
    if metric is not None:
        target, curves = target_of(every, metric), _curves(found, metric)
        needed = _needed(curves, metric, target)
    maps = {name: _participation(name, group) for name, group in results.items()}
    return FederatedView(
        found=found,
        metric=metric,
        target=target,
        curves=curves,
        needed=needed,
        work=_stacked([_work(name, group[0]) for name, group in results.items()]),
        staleness=_stacked([_staleness(name, group) for name, group in results.items()]),
        participation=_stacked([frame for frame, _ in maps.values()]),
        rows_are={name: rows for name, (_, rows) in maps.items()},
        notes=found.notes,
    )


def _tuned(printed: str) -> list[Tuned]:
    try:
        told = json.loads(printed)["tuned"] if printed else []
        return [
            Tuned(one["method"], one["chosen"], one["choices"], one["seeds"], one["edge"])
            for one in told
        ]
    except (ValueError, KeyError, TypeError):
        raise InputError("what was tuned cannot be read", mend="run it again") from None


def _stacked(parts: "Sequence[pd.DataFrame]") -> "pd.DataFrame":
    import pandas as pd

    return pd.concat(parts, ignore_index=True)


def _curves(found: FederatedComparison, metric: str) -> "dict[str, pd.DataFrame]":
    """Learning curves along each axis on which anything is spent."""
    import pandas as pd

    curves = {}
    for axis in SHOWN_AXES:
        bands = {name: band(group, axis, metric, _GRID) for name, group in found.results.items()}
        if any(one.x[-1] > 0 for one in bands.values()):
            curves[axis] = _stacked(
                [pd.DataFrame({"method": name, **one._asdict()}) for name, one in bands.items()]
            )
    return curves


def _needed(
    curves: "Mapping[str, pd.DataFrame]", metric: str, target: float | None
) -> dict[str, float]:
    """What the last method whose mean curve gets to a target had spent by then, by axis."""
    if target is None:
        return dict.fromkeys(curves, 0.0)
    found = {}
    for axis, frame in curves.items():
        there = frame["mean"] >= target if metric in RISING else frame["mean"] <= target
        found[axis] = float(frame[there].groupby("method")["x"].min().max()) if there.any() else 0.0
    return found


def _work(name: str, result: FederatedResult) -> "pd.DataFrame":
    import pandas as pd

    versions = result.tables["versions"]
    frame = pd.DataFrame(
        {"method": name, "time_s": versions["time_s"], "used": np.cumsum(versions["used"])}
    )
    return downsampled(frame, _POINTS)


def _staleness(name: str, group: "Sequence[FederatedResult]") -> "pd.DataFrame":
    """Shares of used updates by staleness, in bars of equal width."""
    import pandas as pd

    counts = _counts(group)
    width = -(-len(counts) // _BARS)
    starts = np.arange(0, len(counts), width)
    share = np.add.reduceat(counts, starts) / max(counts.sum(), 1)
    return pd.DataFrame(
        {"method": name, "staleness": starts, "last": starts + width - 1, "share": share}
    )


def _counts(group: "Sequence[FederatedResult]") -> np.ndarray:
    """float64[s]: used updates of each staleness up to the greatest there is, of all seeds."""
    columns = [run.tables["staleness"]["updates"] for run in group]
    total = np.zeros(max((len(one) for one in columns), default=1) or 1)
    for one in columns:
        total[: len(one)] += one
    last = np.flatnonzero(total)
    return total[: last[-1] + 1] if len(last) else total[:1]


def _participation(name: str, group: "Sequence[FederatedResult]") -> "tuple[pd.DataFrame, str]":
    """The mean of the seeds' maps whose rows are those of the first, and what these are."""
    import pandas as pd

    maps = [participation_map(run) for run in group]
    rows_are = maps[0][1]
    grids = np.array([grid for grid, rows in maps if rows == rows_are])
    known = np.isfinite(grids)
    mean = np.where(known, grids, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    row, speed = np.nonzero(known.any(axis=0))
    return pd.DataFrame({"method": name, "speed": speed, "row": row, "used": mean[row, speed]}), (
        rows_are
    )


AXIS_TITLES = {name: AXES[name].label for name in SHOWN_AXES}
"""What each axis of learning curves is called."""
LAST_RANK = BINS - 1
"""The slowest clients' column of the map, and the row of those most often there."""
