"""What the compare page shows of a comparison: small tables, made from the stored runs. It knows
only scenarios and results: any system's samples are drawn.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mltwin import Comparison, Result, compare
from mltwin.differences import Differences
from mltwin.samples import Sample, windowed

if TYPE_CHECKING:
    import pandas as pd

MOST_QUANTITIES = 3
_DOTS = 1200  # of all scenarios together
_WINDOWS = 40
_SHARES = np.unique(np.concatenate([np.linspace(0, 1, 121), 1 - np.geomspace(1e-4, 0.05, 20)]))


@dataclass(frozen=True)
class Quantity:
    """What a chart shows: its column in `dots`, title, unit and limit."""

    column: str
    title: str
    unit: str
    limit: float | None

    @property
    def axis(self) -> str:
        """Title and unit."""
        return f"{self.title} ({self.unit})" if self.unit else self.title


@dataclass(frozen=True)
class ComparedView:
    """A comparison in small.

    names: of the scenarios, the base first.
    differences: as the command line prints them.
    fields: the fields that differ, one row each.
    runs: scenario, seed, digest and metrics of each run.
    quantities: what the charts show.
    curves: quantity, scenario, share, value: quantities over all values of all seeds.
    dots: scenario, seed, at_s and one column a quantity: evenly spaced rows of the runs.
    windows: quantity, scenario, at_s, value: 99th percentile over windows of time, mean of seeds.
    notes: of the runs, each once.
    """

    names: list[str]
    differences: Differences
    fields: "pd.DataFrame"
    runs: "pd.DataFrame"
    quantities: list[Quantity]
    curves: "pd.DataFrame"
    dots: "pd.DataFrame"
    windows: "pd.DataFrame"
    notes: list[str]


@lru_cache(maxsize=4)
def view_of(folder: Path, base: str, least: float) -> ComparedView:
    """The view of the runs stored in a folder; the last few are kept.

    Raises InputError where there is no run or one is damaged.
    """
    return made_view(opened(folder, base), least)


def opened(folder: Path, base: str) -> Comparison:
    """The comparison of the runs stored in a folder."""
    return compare([folder], base=base)


def made_view(compared: Comparison, least: float) -> ComparedView:
    """The view of a comparison."""
    samples = {n: [run.samples() for run in group] for n, group in compared.runs.items()}
    keys = _shared(samples)
    first = next(iter(samples.values()))[0]
    quantities = [
        Quantity(f"q{i}", first[k].title, first[k].unit, first[k].limit) for i, k in enumerate(keys)
    ]
    return ComparedView(
        names=compared.names,
        differences=compared.differences(least=least),
        fields=compared.fields().frame(),
        runs=compared.frame(),
        quantities=quantities,
        curves=_curves(samples, keys, quantities),
        dots=_dots(samples, keys),
        windows=_windows(samples, keys, quantities),
        notes=_notes(compared),
    )


Samples = dict[str, list[dict[str, Sample]]]


def _shared(samples: Samples) -> list[str]:
    """Quantities that all runs have, of one table, the first few."""
    every = [one for group in samples.values() for one in group]
    shared = [key for key in every[0] if all(key in one for one in every)]
    table = every[0][shared[0]].table if shared else ""
    return [key for key in shared if every[0][key].table == table][:MOST_QUANTITIES]


def _curves(
    samples: Samples, keys: Sequence[str], quantities: Sequence[Quantity]
) -> "pd.DataFrame":
    import pandas as pd

    parts = []
    for key, quantity in zip(keys, quantities, strict=True):
        for name, group in samples.items():
            values = np.concatenate([one[key].values for one in group])
            found = np.quantile(values, _SHARES)
            part = {"quantity": quantity.title, "scenario": name, "share": _SHARES, "value": found}
            parts.append(pd.DataFrame(part))
    columns = ["quantity", "scenario", "share", "value"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _dots(samples: Samples, keys: Sequence[str]) -> "pd.DataFrame":
    """Evenly spaced rows of each run, one column a quantity; NaN where a row has no value."""
    import pandas as pd

    runs = sum(len(group) for group in samples.values())
    parts = []
    for name, group in samples.items():
        for seed, one in enumerate(group):
            if keys:
                parts.append(_rows(one, keys, max(20, _DOTS // runs)).assign(scenario=name, n=seed))
    columns = ["at_s", "scenario", "n"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _rows(one: dict[str, Sample], keys: Sequence[str], count: int) -> "pd.DataFrame":
    import pandas as pd

    known = [_row_numbers(one[key]) for key in keys]
    every = np.unique(np.concatenate(known))
    some = every[np.unique(np.linspace(0, len(every) - 1, min(count, len(every))).astype(int))]
    data = {"at_s": np.full(len(some), np.nan)}
    for i, (key, rows) in enumerate(zip(keys, known, strict=True)):
        place = np.clip(np.searchsorted(rows, some), 0, len(rows) - 1)
        there = rows[place] == some
        data[f"q{i}"] = np.where(there, one[key].values[place], np.nan)
        times = one[key].at_s
        if times is not None:
            data["at_s"] = np.where(there, times[place], data["at_s"])
    return pd.DataFrame(data)


def _row_numbers(sample: Sample) -> np.ndarray:
    return np.arange(len(sample.values)) if sample.rows is None else sample.rows


def _windows(
    samples: Samples, keys: Sequence[str], quantities: Sequence[Quantity]
) -> "pd.DataFrame":
    import pandas as pd

    parts = []
    for key, quantity in zip(keys, quantities, strict=True):
        times = [one[key].at_s for group in samples.values() for one in group]
        known = [t for t in times if t is not None and len(t)]
        if len(known) < len(times):
            continue
        edges = np.linspace(0.0, max(float(t.max()) for t in known) or 1.0, _WINDOWS + 1)
        for name, group in samples.items():
            found = np.array([windowed(one[key], edges, "p99") for one in group])
            there = np.isfinite(found).any(axis=0)
            value = np.nanmean(found[:, there], axis=0)
            at = ((edges[:-1] + edges[1:]) / 2)[there]
            part = {"quantity": quantity.title, "scenario": name, "at_s": at, "value": value}
            parts.append(pd.DataFrame(part))
    columns = ["quantity", "scenario", "at_s", "value"]
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=columns)


def _notes(compared: Comparison) -> list[str]:
    def said(run: Result) -> list[str]:
        return [*run.violations, *run.notes]

    found = [
        f"{name}: {text}"
        for name, group in compared.runs.items()
        for run in group
        for text in said(run)
    ]
    return list(dict.fromkeys(found))[:8]
