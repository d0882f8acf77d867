"""Tables with every number checked: the columns under our names, or one error that says where."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mltwin.sim.errors import InputError

from .files import read_columns


def read_checked(
    path: Path,
    names: Mapping[str, str],
    *,
    positive: Iterable[str] = (),
    counts: Iterable[str] = (),
) -> pd.DataFrame:
    """The columns of ``names``, renamed from theirs (keys) to ours (values).

    Args:
        positive: columns (our names) that must hold numbers above 0.
        counts: columns (our names) that must hold whole numbers from 0; they become int64.

    Raises:
        InputError: the file is no table, lacks a column, or holds a value that cannot be; the
            message names line, column and value.
    """
    table = table_of(path, tuple(names))[list(names)].rename(columns=dict(names))
    theirs = {ours: name for name, ours in names.items()}
    for name in positive:
        table[name] = positive_numbers(table[name], path, theirs[name])
    for name in counts:
        table[name] = whole_numbers(table[name], path, theirs[name])
    return table


def table_of(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    """The file as it is, with at least one row and the columns.

    Raises:
        InputError: it is not such a file.
    """
    try:
        table = read_columns(path, columns)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"no table ({error})", where=str(path), mend="give a CSV file") from None
    if table.empty:
        raise InputError("no rows", where=str(path))
    return table


def positive_numbers(values: "pd.Series[Any]", path: Path, column: str) -> "pd.Series[float]":
    """The values as floats above 0.

    Raises:
        InputError: one is not; it names the line of the file.
    """
    numbers = pd.to_numeric(values, errors="coerce")
    _refuse(values, ~((numbers > 0) & np.isfinite(numbers)), path, column, "a number above 0")
    return numbers.astype(float)


def whole_numbers(values: "pd.Series[Any]", path: Path, column: str) -> "pd.Series[int]":
    """The values as whole numbers from 0.

    Raises:
        InputError: one is not; it names the line of the file.
    """
    numbers = pd.to_numeric(values, errors="coerce")
    good = (numbers >= 0) & np.isfinite(numbers) & (numbers % 1 == 0)
    _refuse(values, ~good, path, column, "a whole number from 0")
    return numbers.astype(np.int64)


def _refuse(
    values: "pd.Series[Any]", wrong: "pd.Series[bool]", path: Path, column: str, wanted: str
) -> None:
    places = np.flatnonzero(wrong.to_numpy())
    if len(places):
        row = values.index[places[0]]
        raise InputError(
            f"{column!r} is {str(values.loc[row])!r}",
            where=f"{path}, line {int(row) + 2}",
            mend=f"give {wanted}",
        )
