"""Paired differences of a comparison, corrected for how many are asked at once.

Each scenario is held against the first, seed by seed: Student's t on the differences gives an
interval and a p-value, Holm's procedure over all metrics and scenarios adjusts the p-values, and
Bonferroni's gives intervals that hold together. The verdict follows the adjusted p-value.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.sim.errors import InputError

from .inference import (
    CONFIDENCE,
    POWER,
    holm,
    paired_differences,
    paired_p,
    seeds_needed,
    simultaneous_level,
)
from .metrics import direction
from .text import Cell, Table, show

if TYPE_CHECKING:
    import pandas as pd

    from .comparison import Comparison

Bounds = tuple[float, float]

IDENTICAL, UNCLEAR, ONE_SEED, NOT_PAIRED = "identical", "unclear", "one seed", "not comparable"


@dataclass(frozen=True)
class Difference:
    """One metric of one scenario against the base.

    Attributes:
        metric, name: of what, of whom.
        pairs: seeds that both have.
        base_mean, mean: over these seeds; None where a run lacks the metric.
        change: mean of new / old - 1, or of new - old where the base has a 0 (`relative`).
        interval: of the change, this one alone; None for one seed.
        together: interval that holds together with those of all other rows.
        p, adjusted_p: of no change, two-sided; adjusted by Holm over all rows.
        bars: of the change under draws of the models' fitted parameters, where the runs have them.
        seeds: how many would show the least difference asked for; None where it was not asked.
        verdict: `better`, `worse` (`higher`, `lower` where neither is better), `unclear`,
            `same within 1 %`, `identical`, `one seed` or `not comparable`.
    """

    metric: str
    name: str
    pairs: int
    base_mean: float | None = None
    mean: float | None = None
    change: float | None = None
    relative: bool = True
    interval: Bounds | None = None
    together: Bounds | None = None
    p: float | None = None
    adjusted_p: float | None = None
    bars: Bounds | None = None
    seeds: int | None = None
    verdict: str = NOT_PAIRED

    @property
    def is_found(self) -> bool:
        """Whether the difference is told from none."""
        return self.verdict.partition(" ")[0].rstrip(",") in ("better", "worse", "higher", "lower")

    def text(self) -> str:
        """The change as people read it: `+3.2 %`, or in the metric's unit."""
        return "-" if self.change is None else change_text(self.change, self.relative)


@dataclass(frozen=True)
class Differences:
    """All differences of a comparison to its first scenario; `str` prints them.

    Attributes:
        rows: metric by metric, scenario by scenario.
        base: name of the scenario that the others are held against.
        confidence: of each interval, and of all that hold together.
        least: the smallest difference that matters, as a share; None if none was named.
        power: with which `seeds` show it.
    """

    rows: tuple[Difference, ...]
    base: str
    confidence: float = CONFIDENCE
    least: float | None = None
    power: float = POWER

    def table(self) -> Table:
        """One row a difference."""
        several = len({row.name for row in self.rows}) > 1
        needed = self.least is not None
        bars = any(row.bars is not None for row in self.rows)
        alone = f"{_percent(self.confidence)} alone"
        columns = ["metric", *(["scenario"] if several else []), "difference", "verdict"]
        columns += [self.base, "mean" if several else self._only_name(), alone, "together"]
        columns += [*(["fit"] if bars else []), "p", *(["seeds"] if needed else [])]
        cells = [self._cells(row, several, bars, needed) for row in self.rows]
        breaks = (
            {i for i in range(len(self.rows) - 1) if self._ends_metric(i)} if several else set()
        )
        return Table(columns, cells, caption=self._caption(bars), breaks=breaks)

    def frame(self) -> "pd.DataFrame":
        """One row a difference, as numbers; each interval is two columns."""
        import pandas as pd

        return pd.DataFrame([_flat(row) for row in self.rows], columns=list(_FLAT))

    def data(self) -> dict[str, Any]:
        """Plain data for JSON."""
        rows = [asdict(row) for row in self.rows]
        return {
            "base": self.base,
            "confidence": self.confidence,
            "least": self.least,
            "power": self.power if self.least is not None else None,
            "differences": rows,
        }

    def in_words(self) -> list[str]:
        """A sentence for each scenario: what is better, what is worse, what is unclear."""
        names = dict.fromkeys(row.name for row in self.rows)
        return [self._sentence(name, [r for r in self.rows if r.name == name]) for name in names]

    def _sentence(self, name: str, rows: Sequence[Difference]) -> str:
        seeds = max((row.pairs for row in rows), default=0)
        if seeds < 2:
            what = "has no seed in common" if not seeds else "has one seed in common"
            return f"{name} {what} with {self.base}: nothing can be said for sure."
        found = [row for row in rows if row.is_found]
        said = []
        for word in ("better", "worse", "higher", "lower"):
            mine = [f"{r.metric} {r.text()}" for r in found if r.verdict.startswith(word)]
            if mine:
                said.append(f"{word} in {', '.join(mine)}")
        told = "; ".join(said) if said else "no difference found"
        same = [r.metric for r in rows if r.verdict == IDENTICAL]
        within = [r.metric for r in rows if r.verdict.startswith("same")]
        unclear = [r.metric for r in rows if r.verdict == UNCLEAR]
        rest = [f"the same in {', '.join(same)}"] if same else []
        if self.least is not None and within:
            rest.append(f"within {_percent(self.least)} in {', '.join(within)}")
        rest += [f"unclear in {', '.join(unclear)}"] if unclear else []
        tail = f" ({'; '.join(rest)})" if rest else ""
        return f"{name} against {self.base}, over {seeds} paired seeds: {told}{tail}."

    def _cells(self, row: Difference, several: bool, bars: bool, needed: bool) -> list[Cell]:
        cells: list[Cell] = [row.metric, *([row.name] if several else []), row.text(), row.verdict]
        cells += [row.base_mean, row.mean]
        cells += [self._bounds(row, bounds) for bounds in (row.interval, row.together)]
        cells += [self._bounds(row, row.bars)] if bars else []
        return [*cells, p_text(row.adjusted_p), *([_seeds_text(row.seeds)] if needed else [])]

    def _bounds(self, row: Difference, bounds: Bounds | None) -> str:
        if bounds is None:
            return "-"
        low, high = (change_text(bound, row.relative) for bound in bounds)
        return f"{low.removesuffix(' %')}..{high}"

    def _caption(self, bars: bool) -> str:
        pairs = sorted({row.pairs for row in self.rows})
        seeds = "-".join(str(n) for n in dict.fromkeys((pairs[0], pairs[-1]))) if pairs else "0"
        tested = sum(row.p is not None for row in self.rows)
        text = [f"Paired over {seeds} seed{'s' if seeds != '1' else ''}"]
        if tested:
            text.append(
                f"p: adjusted by Holm over {tested} difference{'s' if tested > 1 else ''}; "
                f"together: intervals that all hold with {_percent(self.confidence)}"
            )
        if bars:
            text.append("fit: 95 % of the draws from the error of the fit")
        if self.least is not None:
            text.append(
                f"seeds: to find a difference of {_percent(self.least)} with a power of "
                f"{_percent(self.power)}"
            )
        return "; ".join(text)

    def _only_name(self) -> str:
        return self.rows[0].name if self.rows else "mean"

    def _ends_metric(self, i: int) -> bool:
        return self.rows[i].metric != self.rows[i + 1].metric

    def __str__(self) -> str:
        table = self.table()
        return f"{table}\n{table.caption}"

    def _repr_markdown_(self) -> str:
        return self.table().markdown()


def find_differences(
    compared: "Comparison",
    metrics: Sequence[str],
    *,
    least: float | None = None,
    confidence: float = CONFIDENCE,
    power: float = POWER,
) -> Differences:
    """Each metric of each scenario against the first.

    Raises InputError: a confidence, power or least difference that is none.
    """
    _check("confidence", confidence)
    _check("power", power)
    if least is not None and not 0 < least < np.inf:
        raise InputError(f"{least} is no difference", where="least", mend="give a share: 0.01")
    rows = [
        _difference(compared, name, metric, confidence)
        for metric in metrics
        for name in compared.names[1:]
    ]
    corrected = _corrected(compared, rows, confidence, least)
    if least is not None:
        corrected = [_with_seeds(compared, row, least, confidence, power) for row in corrected]
    return Differences(tuple(corrected), compared.names[0], confidence, least, power)


def seeds_for(
    compared: "Comparison",
    name: str,
    metric: str,
    least: float,
    *,
    confidence: float = CONFIDENCE,
    power: float = POWER,
) -> int | None:
    """Seeds that show a difference of `least` (a share of the base) in a metric.

    None where fewer than two seeds are paired, the base's mean is 0, or all pairs are identical.
    """
    pair = compared.paired(name, metric)
    if pair is None or len(pair[0]) < 2:
        return None
    new, old = pair
    relative = bool(np.all(old != 0))
    scale = 1.0 if relative else abs(float(old.mean()))
    if scale == 0:
        return None
    found = paired_differences(new, old, relative=relative) / scale
    if not found.any():
        return None
    return seeds_needed(found, least, power=power, confidence=confidence)


def _difference(compared: "Comparison", name: str, metric: str, confidence: float) -> Difference:
    """One difference on its own: its interval and p-value, not yet its verdict."""
    from mltwin.sim.stats import paired_ci

    pair = compared.paired(name, metric)
    if pair is None or not len(pair[0]):
        return Difference(metric, name, 0 if pair is None else len(pair[0]))
    new, old = pair
    relative = bool(np.all(old != 0))
    changes = paired_differences(new, old, relative=relative)
    known = Difference(
        metric,
        name,
        len(new),
        float(old.mean()),
        float(new.mean()),
        float(changes.mean()),
        relative,
        bars=compared.difference_bars(name, metric) if relative else None,
    )
    if len(new) < 2:
        return replace(known, verdict=IDENTICAL if new[0] == old[0] else ONE_SEED)
    alone = paired_ci(new, old, confidence, relative=relative)
    p = paired_p(new, old, relative=relative)
    return replace(known, change=alone.estimate, interval=(alone.low, alone.high), p=p)


def _corrected(
    compared: "Comparison", rows: Sequence[Difference], confidence: float, least: float | None
) -> list[Difference]:
    """Rows with adjusted p-values, intervals that hold together, and verdicts."""
    from mltwin.sim.stats import paired_ci

    tested = [i for i, row in enumerate(rows) if row.p is not None]
    adjusted = holm([float(rows[i].p or 0.0) for i in tested])
    level = simultaneous_level(confidence, len(tested))
    out = list(rows)
    for i, p in zip(tested, adjusted, strict=True):
        row = rows[i]
        pair = compared.paired(row.name, row.metric)
        assert pair is not None
        wide = paired_ci(*pair, level, relative=row.relative)
        same = bool(np.array_equal(*pair))
        done = replace(row, adjusted_p=float(p), together=(wide.low, wide.high))
        out[i] = replace(done, verdict=_verdict(done, 1 - confidence, least, same))
    return out


def _verdict(row: Difference, level: float, least: float | None, same: bool) -> str:
    if same:
        return IDENTICAL
    assert row.adjusted_p is not None and row.together is not None and row.change is not None
    small = least is not None and row.relative and max(map(abs, row.together)) < least
    within = f"within {_percent(least)}" if small and least is not None else ""
    if row.adjusted_p > level:
        return f"same {within}" if small else UNCLEAR
    way, up = direction(row.metric), row.change > 0
    if way == "none":
        word = "higher" if up else "lower"
    else:
        word = "better" if up == (way == "higher") else "worse"
    return f"{word}, {within}" if small else word


def _with_seeds(
    compared: "Comparison", row: Difference, least: float, confidence: float, power: float
) -> Difference:
    needed = seeds_for(compared, row.name, row.metric, least, confidence=confidence, power=power)
    return replace(row, seeds=needed)


_FLAT = (
    *("metric", "scenario", "pairs", "base_mean", "mean", "change", "relative", "low", "high"),
    *("together_low", "together_high", "p", "adjusted_p", "fit_low", "fit_high"),
    *("seeds_needed", "verdict"),
)


def _flat(row: Difference) -> dict[str, Any]:
    low, high = row.interval or (None, None)
    together_low, together_high = row.together or (None, None)
    fit_low, fit_high = row.bars or (None, None)
    cells = [row.metric, row.name, row.pairs, row.base_mean, row.mean, row.change, row.relative]
    cells += [low, high, together_low, together_high, row.p, row.adjusted_p, fit_low, fit_high]
    return dict(zip(_FLAT, [*cells, row.seeds, row.verdict], strict=True))


def change_text(change: float, relative: bool = True) -> str:
    """A change as people read it: in per cent, or as a signed number.

    >>> change_text(0.0321), change_text(-0.00042), change_text(0.0), change_text(-3.0, False)
    ('+3.2 %', '-0.042 %', '0 %', '-3')
    """
    value = 100 * change if relative else change
    if value == 0:
        text = "0"
    elif relative and abs(value) >= 0.95:
        text = f"{value:+,.1f}"
    else:
        text = ("+" if value > 0 else "-") + show(abs(value), 2 if relative else 3)
    return f"{text} %" if relative else text


def p_text(p: float | None) -> str:
    """A p-value as people read it.

    >>> p_text(0.00004), p_text(0.0312), p_text(1.0), p_text(None)
    ('<0.001', '0.0312', '1', '-')
    """
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3g}" if p < 0.1 else f"{p:.2g}"


def _seeds_text(seeds: int | None) -> str:
    from .inference import MOST_SEEDS

    return "-" if seeds is None else f"over {seeds:,}" if seeds >= MOST_SEEDS else f"{seeds:,}"


def _percent(share: float) -> str:
    return f"{100 * share:.6g} %"


def _check(what: str, value: float) -> None:
    if not 0 < value < 1:
        raise InputError(f"{value} is not within 0 and 1", where=what, mend="give a share: 0.95")
