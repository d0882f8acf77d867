"""A user's own data: features, labels and, where there are any, clients, from .npz, CSV, Parquet.

    pool = arrays("mine.csv", label="species", client="hospital")

An `.npz` holds `x` [n, features] and `y` [n], and may hold `client` [n], `test_x` and `test_y`.
A table (`.csv`, `.csv.gz`, `.parquet`) has one row a sample: a label column, a client column or
none, and every other column a number. Labels and clients may be text: they are numbered in sorted
order, and `facts["labels"]` keeps the labels.
"""

import os
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError
from mltwin.workloads.source import Source

from .pool import NONE, Array, Pool

_TABLES = (".csv", ".csv.gz", ".parquet")

Places = Sequence[int]
"""Line of each row of a text file (a list), or its number (a range)."""
_UNIT = ("row", "line")


def arrays(
    path: str | os.PathLike[str],
    *,
    label: str = "label",
    client: str | None = None,
    features: Sequence[str] | None = None,
    regression: bool = False,
    held_out: float = 0.2,
    standardise: bool = True,
    seed: int = 0,
) -> Pool:
    """A pool from a file.

    Args:
        path: `.npz`, `.csv` (also `.csv.gz`) or `.parquet`.
        label, client: columns of a table; without `client`, a column of that name is taken.
        features: columns of a table to learn from; None: all others.
        regression: labels are numbers to be predicted, not classes.
        held_out, standardise, seed: as `Pool.make`; an `.npz` with `test_x` brings its own test
            samples, and nothing else is held out.

    Raises:
        InputError: no such file or column, a cell that is no finite number (file, line and column
            are named), labels of one class only, arrays that do not fit each other.
    """
    name = Path(path).name
    if name.endswith(".npz"):
        return _npz(Path(path), regression, held_out, standardise, seed)
    if not name.endswith(_TABLES):
        raise InputError(
            "is not a table that is known",
            where=str(path),
            mend=f"give .npz, {', '.join(_TABLES)}",
        )
    columns, places = _parquet(Path(path)) if name.endswith(".parquet") else _csv(Source(path))
    if label not in columns:
        raise _no_column(path, label, list(columns))
    if client is not None and client not in columns:
        raise _no_column(path, client, list(columns))
    by = client or ("client" if "client" in columns and label != "client" else None)
    wanted = list(features) if features else [c for c in columns if c not in (label, by)]
    for column in wanted:
        if column not in columns:
            raise _no_column(path, column, list(columns))
    if not wanted:
        raise InputError("has no column to learn from", where=str(path))
    x = np.column_stack([_numbers(path, c, columns[c], places) for c in wanted])
    y, classes, labels = _labels(path, label, columns[label], regression, places)
    group, names = (None, ()) if by is None else _numbered(columns[by])
    return Pool.make(
        x,
        y,
        classes=classes,
        group=group,
        names=tuple(names),
        held_out=held_out,
        standardise=standardise,
        seed=seed,
        name=name,
        facts={"source": name, "labels": labels},
    )


def _npz(path: Path, regression: bool, held_out: float, standardise: bool, seed: int) -> Pool:
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = {key: stored[key] for key in stored.files}
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="check the path") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as wrong:
        raise InputError(
            f"cannot be read as .npz ({wrong})",
            where=str(path),
            mend="save numbers and text with numpy.savez, no objects",
        ) from None
    missing = [key for key in ("x", "y") if key not in found]
    if missing:
        raise InputError(
            f"has no array {missing[0]!r}; there are {', '.join(sorted(found)) or 'none'}",
            where=str(path),
            mend="save x [n, features] and y [n]",
        )
    x = _matrix(path, "x", found["x"])
    own_test = "test_x" in found
    if own_test != ("test_y" in found):
        raise InputError("has one of test_x and test_y", where=str(path), mend="save both or none")
    if len(x) != len(found["y"]):
        raise InputError(f"{len(x)} rows of x, {len(found['y'])} of y", where=str(path))
    y, classes, labels = _labels(path, "y", found["y"], regression, range(len(x)))
    group, names = (None, ()) if "client" not in found else _numbered(found["client"])
    if group is not None and len(group) != len(x):
        raise InputError(f"{len(x)} rows of x, {len(group)} of client", where=str(path))
    pool = Pool.make(
        x,
        y,
        classes=classes,
        group=group,
        names=tuple(names),
        held_out=0.0 if own_test else held_out,
        standardise=standardise and not own_test,
        seed=seed,
        name=path.name,
        facts={"source": path.name, "labels": labels},
    )
    if not own_test:
        return pool
    return _with_test(path, pool, x, found, labels, standardise)


def _with_test(
    path: Path, pool: Pool, x: Array, found: dict[str, Array], labels: list[Any], standardise: bool
) -> Pool:
    """The pool with the file's own test samples, scaled by what is trained on."""
    test_x = _matrix(path, "test_x", found["test_x"])
    if test_x.shape[1] != x.shape[1] or len(test_x) != len(found["test_y"]):
        raise InputError(
            f"test_x {test_x.shape} and test_y {found['test_y'].shape} beside x {x.shape}",
            where=str(path),
        )
    if standardise:
        mean, spread = x.mean(axis=0), x.std(axis=0)
        spread = np.where(spread > 1e-12 * np.maximum(1.0, np.abs(mean)), spread, np.inf)
        x, test_x = (x - mean) / spread, (test_x - mean) / spread
    test_y = found["test_y"]
    if labels:
        number = {value: k for k, value in enumerate(labels)}
        unknown = [value for value in test_y.tolist() if value not in number]
        if unknown:
            raise InputError(f"test_y has {unknown[0]!r}, which y has not", where=str(path))
        test_y = np.array([number[value] for value in test_y.tolist()])
    return replace(
        pool,
        x=x.astype(np.float32),
        test_x=test_x.astype(np.float32),
        test_y=np.asarray(test_y, pool.y.dtype),
        test_group=np.full(len(test_x), NONE, np.int32),
    )


def _matrix(path: Path, name: str, values: Array) -> Array:
    if values.ndim < 2 or values.dtype.kind not in "biuf":
        raise InputError(
            f"{name} has shape {values.shape} of {values.dtype}",
            where=str(path),
            mend="save numbers, one row a sample",
        )
    flat = values.reshape(len(values), -1).astype(np.float64)
    bad = np.argwhere(~np.isfinite(flat))
    if len(bad):
        row, column = bad[0].tolist()
        raise InputError(f"{name}[{row}, {column}] is {flat[row, column]}", where=str(path))
    return flat


def _csv(source: Source) -> tuple[dict[str, Array], Places]:
    """Columns as text, and the line of each row; lines of another width are refused."""
    import csv

    header: list[str] = []
    rows: list[list[str]] = []
    places: list[int] = []
    for number, cells in enumerate(csv.reader(line for _, line in source.lines()), 1):
        if not cells:
            continue
        if not header:
            header = [cell.strip() for cell in cells]
            if len(set(header)) < len(header):
                twice = next(name for name in header if header.count(name) > 1)
                raise source.error(f"column {twice!r} stands there twice", number)
            continue
        if len(cells) != len(header):
            raise source.error(f"{len(cells)} columns, the header has {len(header)}", number)
        rows.append(cells)
        places.append(number)
    if not rows:
        raise source.error("has no rows", mend="give a header and one line a sample")
    columns = zip(*rows, strict=True)
    return {name: np.array(column) for name, column in zip(header, columns, strict=True)}, places


def _parquet(path: Path) -> tuple[dict[str, Array], Places]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="check the path") from None
    except (OSError, pa.ArrowException) as wrong:
        raise InputError(f"cannot be read as Parquet ({wrong})", where=str(path)) from None
    if not table.num_rows:
        raise InputError("has no rows", where=str(path))
    columns = {name: table[name].to_numpy() for name in table.column_names}
    return columns, range(1, table.num_rows + 1)


def _numbers(path: Any, column: str, values: Array, places: Places) -> Array:
    """A column as finite numbers; the first cell that is none is named."""
    try:
        numbers = values.astype(np.float64)
    except (TypeError, ValueError):
        numbers = np.array([_number(cell) for cell in values.tolist()])
    bad = np.flatnonzero(~np.isfinite(numbers))
    if len(bad):
        row = int(bad[0])
        raise InputError(
            f"{str(values[row])[:40]!r} is not a finite number",
            where=f"{path}, {_UNIT[isinstance(places, list)]} {places[row]}, column {column!r}",
            mend="correct it, or name the columns to learn from with features=[...]",
        )
    return numbers


def _number(cell: Any) -> float:
    try:
        return float(cell)
    except (TypeError, ValueError):
        return float("nan")


def _labels(
    path: Any, column: str, values: Array, regression: bool, places: Places
) -> tuple[Array, int, list[Any]]:
    """Targets, or class numbers with the number of classes and the labels in their order."""
    if regression:
        return _numbers(path, column, values, places), 0, []
    blank = [k for k, value in enumerate(values.tolist()) if value in ("", None) or value != value]
    if blank:
        raise InputError(
            "has no label",
            where=f"{path}, {_UNIT[isinstance(places, list)]} {places[blank[0]]}, "
            f"column {column!r}",
            mend="label the sample, or leave it out",
        )
    codes, names = _numbered(values)
    if len(names) < 2:
        raise InputError(
            f"all labels are {names[0]!r}" if names else "there are no labels",
            where=f"{path}, column {column!r}",
            mend="give two classes or more, or regression=True",
        )
    if len(names) > 1 << 16:
        raise InputError(
            f"{len(names)} different labels",
            where=f"{path}, column {column!r}",
            mend="name the label's column, or say regression=True",
        )
    return codes, len(names), names


def _numbered(values: Array) -> tuple[Array, list[Any]]:
    """int64 codes and what they stand for, in sorted order (numbers by value, text by letters)."""
    try:
        numeric = values.astype(np.float64)
        whole = np.isfinite(numeric).all() and (numeric == np.floor(numeric)).all()
        keys: Array = numeric.astype(np.int64) if whole else numeric
    except (TypeError, ValueError):
        keys = values.astype(str)
    names, codes = np.unique(keys, return_inverse=True)
    return codes, names.tolist()


def _no_column(path: Any, name: str, there: list[str]) -> InputError:
    import difflib

    close = difflib.get_close_matches(name, there, n=1)
    listed = ", ".join(repr(column) for column in there[:12])
    return InputError(
        f"no column {name!r}; there are {listed}",
        where=str(path),
        mend=f"did you mean {close[0]!r}?" if close else "name the column with label= or client=",
    )
