"""The table of a comparison: means over seeds side by side, and differences to the first."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .metrics import direction
from .text import Table, show
from .uncertainty import interval_text, mean_interval

if TYPE_CHECKING:
    from .comparison import Comparison


def means_table(compared: "Comparison", metrics: Sequence[str]) -> Table:
    """One row a metric, one column a scenario, then one column a difference to the first.

    Where some runs of a scenario lack a metric, its mean is of the others, which is said: it is
    no candidate for the best.
    """
    names, others = compared.names, compared.names[1:]
    rows, best = [], set()
    for i, metric in enumerate(metrics):
        means = [_mean(compared, name, metric) for name in names]
        row: list[Any] = [metric]
        row += [_cell(compared, n, metric, v) for n, v in zip(names, means, strict=True)]
        row += [_difference_text(compared, name, metric) for name in others]
        rows.append(row)
        every = [_has_all(compared, name, metric) for name in names]
        known = [mean if whole else None for mean, whole in zip(means, every, strict=True)]
        if (winner := _best(known, direction(metric))) is not None:
            best.add((i, 1 + winner))
    count = max(len(group) for group in compared.runs.values())
    columns = ["metric", *names, *(f"{name} vs first" for name in others)]
    return Table(columns, rows, caption=_caption(compared, count), best=best)


def _caption(compared: "Comparison", seeds: int) -> str:
    base = compared.names[0]
    bars = next((r.error_bars for group in compared.runs.values() for r in group), None)
    means = f"means of {seeds} seeds; " if seeds > 1 else ""
    if bars is not None:
        return f"{means}{bars.caption}; ~ may differ from {base} either way"
    return f"{means}~ differs from {base} by chance (95 %)" if means else ""


def _mean(compared: "Comparison", name: str, metric: str) -> float | None:
    values = compared.values(name, metric)
    return float(values.mean()) if len(values) else None


def _has_all(compared: "Comparison", name: str, metric: str) -> bool:
    """Whether each of a scenario's runs has a metric."""
    return len(compared.values(name, metric)) == len(compared.runs[name])


def _cell(compared: "Comparison", name: str, metric: str, mean: float | None) -> float | str | None:
    """A scenario's mean of a metric, with its error bar if it has one."""
    if mean is not None and not _has_all(compared, name, metric):
        runs = compared.runs[name]
        return f"{show(mean)} ({len(compared.values(name, metric))} of {len(runs)})"
    bounds = None if mean is None else mean_interval(compared.runs[name], metric)
    if bounds is None or bounds[0] == bounds[1]:
        return mean
    return f"{show(mean)} ({interval_text(bounds)})"


def _difference_text(compared: "Comparison", name: str, metric: str) -> str:
    found = compared.difference(name, metric)
    if found is None:
        return "-"
    text = f"{100 * found.estimate:+.1f} %"
    bounds = compared.difference_bars(name, metric)
    if bounds == (0.0, 0.0):
        return text
    if bounds is not None:
        low, high = (100 * bound for bound in bounds)
        return f"{'~' if low <= 0 <= high else ''}{text} ({low:+.1f}..{high:+.1f})"
    if not np.isfinite(found.half_width):
        return text
    by_chance = found.low <= 0 <= found.high
    return f"{'~' if by_chance else ''}{text} ± {show(100 * found.half_width, 2)}"


def _best(means: list[float | None], way: str) -> int | None:
    known = [(value, i) for i, value in enumerate(means) if value is not None]
    if way == "none" or len(known) < 2 or len({value for value, _ in known}) == 1:
        return None
    return (min(known) if way == "lower" else max(known))[1]
