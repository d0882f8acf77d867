"""A validation report read back from the rows that it left: `pairs.csv` or `groups.csv`.

Scores are computed anew from the rows. The file may come from anyone: it is read through the same
guard as a trace (size, packing, text), and every value is checked.
"""

import csv
import io
import math
from collections.abc import Iterator
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.workloads.source import Limits, Source

from .kernel_report import PREDICTORS, TASKS, KernelReport, KernelRow
from .pairs import COLUMNS, pair_of
from .report import ValidationReport

MOST_ROWS = 200_000
_LIMITS = Limits(total_bytes=200_000_000, line_bytes=20_000)
_GROUPS = tuple(field.name for field in fields(KernelRow))
_OPTIONAL = ("median_low_pct", "median_high_pct")


def read_report(path: str | Path) -> ValidationReport | KernelReport:
    """The report of `pairs.csv` (`mltwin validate serving`) or `groups.csv` (`... kernels`).

    Raises InputError for another file, or a row that is wrong: file, line and what.
    """
    source = Source(path, _LIMITS)
    rows = _rows(source)
    header = next(rows, (0, {}))[1]
    names = set(header)
    if set(COLUMNS) <= names:
        pairs = [pair_of(row, f"{path}, line {line}") for line, row in rows]
        return ValidationReport(pairs, fitted="as the report says")
    if set(_GROUPS) <= names:
        groups = tuple(_group(row, f"{path}, line {line}") for line, row in rows)
        if not groups:
            raise InputError("holds no row", where=str(path))
        return KernelReport(groups)
    raise InputError(
        "is no report of pairs or of kernels",
        where=str(path),
        mend="give the pairs.csv or groups.csv that mltwin validate --out left",
    )


def points_of(report: ValidationReport | KernelReport, most: int) -> list[dict[str, Any]]:
    """At most so many answered pairs, evenly spaced in the order of their errors; or the groups.

    So both tails of the errors are among them however few are asked for.
    """
    if isinstance(report, KernelReport):
        return [asdict(row) for row in report.rows[:most]]
    answered = sorted(
        (pair for pair in report.pairs if pair.predicted is not None),
        key=lambda pair: (pair.error_pct, pair.source, pair.row_id, pair.metric),
    )
    if len(answered) > most:
        chosen = np.unique(np.linspace(0, len(answered) - 1, most).round().astype(int))
        answered = [answered[i] for i in chosen.tolist()]
    return [{**asdict(pair), "error_pct": pair.error_pct} for pair in answered]


def _rows(source: Source) -> Iterator[tuple[int, dict[str, Any]]]:
    """The header (as keys), then each row with its line."""
    with source.open() as guard:
        text = io.TextIOWrapper(io.BufferedReader(guard, 1 << 18), "utf-8-sig", newline="")
        reader = csv.DictReader(text)
        try:
            yield 1, dict.fromkeys(reader.fieldnames or ())
            for count, row in enumerate(reader):
                if count >= MOST_ROWS:
                    raise source.error(f"holds more than {MOST_ROWS:,} rows")
                if None in row or None in row.values():
                    raise source.error("has more or fewer cells than columns", reader.line_num)
                yield reader.line_num, row
        except csv.Error as error:
            raise source.error(f"is no CSV: {error}", reader.line_num) from None


def _group(row: dict[str, Any], where: str) -> KernelRow:
    given: dict[str, Any] = {}
    for name in _GROUPS:
        cell = row[name]
        if name in ("task", "gpu", "operator", "predictor", "basis"):
            given[name] = cell
            continue
        if cell == "" and name in _OPTIONAL:
            given[name] = None
            continue
        try:
            value = float(cell)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise InputError(f"{cell[:40]!r} is no number", where=f"{where}, column {name!r}")
        given[name] = int(value) if name in ("rows", "shapes") else value
    for name, known in (("task", TASKS), ("predictor", PREDICTORS)):
        if given[name] not in known:
            raise InputError(
                f"{given[name][:40]!r} is unknown",
                where=f"{where}, column {name!r}",
                mend=f"one of {', '.join(known)}",
            )
    return KernelRow(**given)
