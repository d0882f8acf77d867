"""Do the error bars of whole runs hold what was measured? Closed-loop runs under draws."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.text import Table
from mltwin.uncertainty import coverage

from .silicon import chosen
from .silicon_replay import replay
from .silicon_rows import Run, development, read_runs

DRAWS = 16
# Standard deviations of a normal distribution on either side.
SIGMAS_68, SIGMAS_95 = 0.994, 1.96


@dataclass(frozen=True)
class RunCoverage:
    """How often measured means lie within their error bars.

    Attributes:
        metric: ``tpot`` or ``ttft``.
        runs: that were answered.
        share_68, share_95: whose measured mean lies within the intervals of that level.
        width: standard deviation of the log over the draws, at the median.
    """

    metric: str
    runs: int
    share_68: float
    share_95: float
    width: float


def run_coverage(
    data: str | Path,
    sample: int | None = None,
    draws: int = DRAWS,
    select: Callable[[Run], bool] | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> list[RunCoverage]:
    """Error bars of the silicon sample's runs against their measured TPOT and TTFT.

    The scale of what whole iterations have in common was chosen on the development fifth, so the
    other runs count here. An interval is log-normal around the prediction, its width that of the
    draws (a percentile would need far more of them).

    Args:
        data: the CSV file, the folder that holds it, or a data folder.
        sample: at most so many runs, chosen by a hash of their configuration.
        draws: of each run.
        select: which runs (default: all that are not of the development fifth).
        progress: called with (share done, text).

    Raises:
        InputError: no such file, no package of tables, or no run that is answered.
    """
    keep = select or (lambda run: not development(run))
    runs = chosen([run for run in read_runs(data) if keep(run)], sample)
    rows: list[np.ndarray] = []
    for i, run in enumerate(runs):
        found = _logs(run, draws)
        rows += [] if found is None else [found]
        if progress:
            progress((i + 1) / len(runs), f"{i + 1} of {len(runs)} runs")
    if not rows:
        raise InputError("no run was answered", where=str(data))
    return [_covered(name, np.array(rows)[:, :, k]) for k, name in enumerate(("tpot", "ttft"))]


def _logs(run: Run, draws: int) -> np.ndarray | None:
    """Logs of (measured, predicted, spread over the draws) by metric; None without an answer."""
    try:
        plain = replay(run)
        drawn = [replay(run, draw=(i, plain.confidence)) for i in range(draws)]
    except InputError:
        return None
    spread = np.std(np.log([(one.tpot_s, one.ttft_s) for one in drawn]), axis=0, ddof=1)
    measured, predicted = (np.log([one.tpot_s, one.ttft_s]) for one in (run, plain))
    return np.array([measured, predicted, spread])


def _covered(metric: str, rows: np.ndarray) -> RunCoverage:
    measured, predicted, spread = rows.T

    def share(half_width: float) -> float:
        low, high = predicted - half_width * spread, predicted + half_width * spread
        return coverage(list(zip(low, high, strict=True)), measured.tolist())

    return RunCoverage(
        metric, len(rows), share(SIGMAS_68), share(SIGMAS_95), float(np.median(spread))
    )


def run_coverage_table(found: Sequence[RunCoverage]) -> Table:
    """One row a metric."""
    columns = ["mean", "runs", "within 68 %", "within 95 %", "width (log)"]
    rows: list[list[str | int | float | None]] = [
        [c.metric, c.runs, 100 * c.share_68, 100 * c.share_95, c.width] for c in found
    ]
    return Table(columns, rows, caption="shares of runs, in per cent")
