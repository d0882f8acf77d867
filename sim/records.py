"""Record types: the rows of the tables that kernels work on.

A table is a 1-D record array. Inside a kernel ``S.req[i].arrive`` is a load; without the compiler
the same text works on a ``numpy.recarray``. Hence the forbidden names: a field called ``size``
reads as the attribute of NumPy (1) in plain Python and as the field in a kernel.
"""

import keyword
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

FORBIDDEN_FIELDS = frozenset({"size", "shape", "base", "data", "T", "view"})
_NUMPY_NAMES = frozenset(dir(np.record)) | frozenset(dir(np.recarray))


class Field(NamedTuple):
    """One field of a record: its NumPy type and what it means (unit first)."""

    name: str
    type: str
    comment: str


Fields = Sequence[tuple[str, str] | tuple[str, str, str]] | Mapping[str, str]


def record(name: str, fields: Fields) -> np.dtype:
    """An aligned record dtype.

    Args:
        name: of the record, for error messages and the documentation.
        fields: ``(field, type)`` or ``(field, type, comment)`` each, or a mapping of field to
            type; the type is a NumPy scalar type such as ``"i8"``, the comment begins with the
            unit.

    Raises:
        ValueError: no fields, a duplicate, a name that is no identifier or that NumPy uses for
            itself, or a type that is no number.
    """
    rows = fields.items() if isinstance(fields, Mapping) else fields
    described = [Field(row[0], row[1], row[2] if len(row) > 2 else "") for row in rows]
    if not described:
        raise ValueError(f"record {name} has no fields")
    seen: set[str] = set()
    for field in described:
        _check_field(name, field, seen)
        seen.add(field.name)
    return np.dtype(
        [(field.name, field.type) for field in described],
        align=True,
        metadata={"name": name, "comments": {f.name: f.comment for f in described}},
    )


def _check_field(record_name: str, field: Field, seen: set[str]) -> None:
    where = f"record {record_name}: field {field.name!r}"
    if field.name in seen:
        raise ValueError(f"{where} is given twice")
    if not field.name.isidentifier() or keyword.iskeyword(field.name):
        raise ValueError(f"{where} is not a Python name")
    if field.name in FORBIDDEN_FIELDS or field.name in _NUMPY_NAMES or field.name[0] == "_":
        raise ValueError(f"{where} is a name that NumPy uses for itself; choose another")
    try:
        kind = np.dtype(field.type).kind
    except TypeError as error:
        raise ValueError(f"{where}: {error}") from None
    if kind not in "iufb":
        raise ValueError(f"{where} has type {field.type!r}; use an integer, float or bool type")


def table(n: int, dtype: np.dtype, /, **fill: Any) -> np.recarray:
    """A table of n zeroed records; ``field=value`` (a scalar or n values) fills a field.

    Raises:
        ValueError: an unknown field, or a value that the field's type cannot hold exactly.
    """
    if dtype.names is None:
        raise ValueError(f"a table needs a record dtype, not {dtype}")
    rows = np.zeros(int(n), dtype).view(np.recarray)
    for name, value in fill.items():
        if name not in dtype.names:
            raise ValueError(f"record {record_name(dtype)} has no field {name!r}: {dtype.names}")
        given = np.asarray(value)
        column = rows[name]
        with np.errstate(invalid="ignore"):
            column[...] = given
        if column.dtype.kind in "iu" and not np.all(column == given):
            raise ValueError(
                f"record {record_name(dtype)}: values given for {name!r} do not fit {column.dtype}"
            )
    return rows


def record_name(dtype: np.dtype) -> str:
    """The name given to `record`, or ``?`` for another dtype."""
    return str(_notes(dtype).get("name", "?"))


def describe(dtype: np.dtype) -> list[Field]:
    """The fields of a record in order, for the documentation."""
    comments = _notes(dtype).get("comments", {})
    return [
        Field(name, dtype[name].str.lstrip("<>|="), comments.get(name, ""))
        for name in dtype.names or ()
    ]


def _notes(dtype: np.dtype) -> Mapping[str, Any]:
    return dtype.metadata or {}
