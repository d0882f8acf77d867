"""Rows of text files as checked columns: wanted fields, refused lines, the table they make.

`from_csv` and `from_jsonl` fill it, each in two ways: a fast one, whole columns through pyarrow,
which gives up at the first doubt, and a precise one, line by line, which names line, column, value
and mend, or, with `on_error="skip"`, leaves the line out and counts it.
"""

import json
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError

from .source import Source
from .values import Kind, Values, pick

_SHOWN = 10


class Field(NamedTuple):
    """One wanted column: its name in the file, its kind, and whether it may be missing."""

    column: str
    kind: Kind
    optional: bool = False


@dataclass
class Rejects:
    """Lines that could not be used: refused at once (`fail`) or counted and told (`skip`)."""

    source: Source
    on_error: str = "fail"
    path: str | os.PathLike[str] | None = None
    unit: str = "line"
    count: int = 0
    first: list[dict[str, Any]] = field(default_factory=list)
    _all: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.on_error not in ("fail", "skip"):
            raise InputError(
                f"on_error = {self.on_error!r} is unknown", mend="use 'fail' or 'skip'"
            )

    def add(self, line: int, column: str | None, value: Any, why: str, mend: str) -> None:
        """Raise the error for this line, or take note of it."""
        shown = _shown(value)
        if self.on_error == "fail":
            place = f"{self.source.path}, {self.unit} {line}"
            place += f", column {column!r}" if column else ""
            raise InputError(
                f"{shown} {why}",
                where=place,
                mend=f'{mend}, or skip such {self.unit}s with on_error="skip"',
            )
        note = {self.unit: line, "column": column, "value": shown, "why": why}
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append(note)
        if self.path is not None:
            self._all.append(json.dumps(note))

    def meta(self) -> dict[str, Any]:
        """What `Trace.meta` tells of it; empty where nothing was rejected."""
        return {"rejected": {"count": self.count, "first": self.first}} if self.count else {}

    def write(self) -> None:
        """Write all rejected lines as JSON lines to `path`, where one is given."""
        if self.path is None:
            return
        try:
            Path(self.path).write_text("".join(line + "\n" for line in self._all), "utf-8")
        except OSError as failed:
            raise InputError(f"cannot be written ({failed})", where=str(self.path)) from None


@dataclass
class Table:
    """Checked columns of one file; rows may still be refused by rules across columns."""

    source: Source
    columns: dict[str, Values]
    rejects: Rejects
    rows: int
    fields: Mapping[str, Field]
    line_numbers: Callable[[], NDArray[np.int64]]
    _lines: NDArray[np.int64] | None = None

    def lines(self) -> NDArray[np.int64]:
        """Line of each row, counted from 1 as an editor does."""
        if self._lines is None:
            self._lines = self.line_numbers()
        return self._lines

    def __contains__(self, label: str) -> bool:
        return label in self.columns

    def __getitem__(self, label: str) -> Any:
        return self.columns[label]

    def require(
        self,
        label: str,
        good: NDArray[np.bool_],
        why: str,
        mend: str,
        values: NDArray[Any] | None = None,
    ) -> NDArray[np.bool_]:
        """Refuse rows where `good` is False. Returns the mask of rows that stayed."""
        if not good.all():
            lines = self.lines()
            shown = self.columns[label] if values is None else values
            column = self.fields[label].column
            for row in np.flatnonzero(~good):
                value = shown[row] if isinstance(shown, np.ndarray) else None
                self.rejects.add(int(lines[row]), column, value, why, mend)
            self.keep(good)
        return good

    def keep(self, rows: NDArray[Any]) -> None:
        """Keep only these rows (mask or indices, in that order)."""
        if self._lines is not None:
            self._lines = self._lines[rows]
        else:
            before = self.line_numbers
            self.line_numbers = lambda: before()[rows]
        self.columns = {label: pick(values, rows) for label, values in self.columns.items()}
        self.rows = int(np.arange(self.rows)[rows].size)


def missing(source: Source, column: str, header: list[str], at: int | None = None) -> InputError:
    """The error for a column that is not there, with the likeliest of those that are."""
    import difflib

    shown = ", ".join(repr(name)[:40] for name in header[:20])
    close = difflib.get_close_matches(column, header, n=1, cutoff=0.5)
    mend = f"did you mean {close[0]!r}?" if close else "map the columns with columns={...}"
    return source.error(f"no column {column!r}; there are {shown}", at, mend)


def data_lines(source: Source, at: int) -> Callable[[], NDArray[np.int64]]:
    """Numbers of the lines below the header that are not blank, found when asked for."""

    def numbers() -> NDArray[np.int64]:
        found = (number for number, line in source.lines() if number > at and line.strip())
        return np.fromiter(found, np.int64)

    return numbers


Row = tuple[int, dict[str, Any], str]


def collect(
    source: Source, fields: Mapping[str, Field], rejects: Rejects, rows: Iterable[Row]
) -> Table:
    """Rows of (line number, cells by label, text) into columns, value by value.

    An optional JSON member must stand in every line or in none; a line that differs from the
    first in this is refused.
    """
    numbers: list[int] = []
    kept: dict[str, list[Any]] = {}
    for number, cells, line in rows:
        if numbers and cells.keys() != kept.keys():
            differs = ", ".join(sorted(fields[i].column for i in cells.keys() ^ kept.keys()))
            why = f"differs from the first request in having or lacking {differs}"
            rejects.add(number, None, line, why, "write the same members in every line")
            continue
        values = _scalars(fields, rejects, number, cells)
        if values is None:
            continue
        if not numbers:
            kept = {label: [] for label in values}
        numbers.append(number)
        for label, value in values.items():
            kept[label].append(value)
    columns = {label: fields[label].kind.join(values) for label, values in kept.items()}
    lines = np.array(numbers, np.int64)
    return Table(source, columns, rejects, len(numbers), fields, lambda: lines)


def _scalars(
    fields: Mapping[str, Field], rejects: Rejects, number: int, cells: dict[str, Any]
) -> dict[str, Any] | None:
    values = {}
    for label, cell in cells.items():
        try:
            values[label] = fields[label].kind.scalar(cell)
        except ValueError as wrong:
            rejects.add(number, fields[label].column, cell, str(wrong), "correct the value")
            return None
    return values


def _shown(value: Any) -> str:
    """A value for a message: quoted text or a plain number, cut to 60 characters."""
    if isinstance(value, int | float | np.number | Decimal):
        try:
            text = str(value)
        except ValueError:
            text = "an integer of thousands of digits"
    else:
        text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
