"""JSON lines as a checked `Table`; JSON without its traps."""

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .source import Source
from .tabular import Field, Rejects, Row, Table, collect, data_lines
from .typed import typed_column
from .values import UNITS, Count, Ids, Kind, Time, Values

if TYPE_CHECKING:
    import pyarrow as pa


def read_jsonl(
    source: Source, fields: Mapping[str, Field], rejects: Rejects, *, fast: bool = True
) -> Table:
    """The wanted members of the objects of a JSON lines file. Raises InputError as `read_csv`."""
    table = _fast(source, fields, rejects) if fast else None
    if table is None:
        table = collect(source, fields, rejects, _json_rows(source, fields, rejects))
    if not table.rows:
        raise source.error("no requests to use", mend="give a file with one JSON object per line")
    return table


def parse_json(text: str) -> Any:
    """JSON without its traps: no NaN, no infinities; fractions are exact Decimals.

    Raises ValueError with a short reason, also for nesting or integers beyond all measure.
    """
    try:
        return json.loads(text, parse_float=Decimal, parse_constant=_refuse_constant)
    except json.JSONDecodeError as wrong:
        raise ValueError(f"is not JSON ({wrong.msg}, column {wrong.colno})") from None
    except RecursionError:
        raise ValueError("is nested too deeply") from None
    except (ArithmeticError, ValueError) as wrong:
        text = str(wrong)
        long = "integer string conversion" in text
        raise ValueError("holds an integer of thousands of digits" if long else text) from None


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"holds {text}, which is not a finite number")


def _fast(source: Source, fields: Mapping[str, Field], rejects: Rejects) -> Table | None:
    """All members through pyarrow, or None where a single value or line is not plain and right.

    An optional member must stand in every line or in none; line 1 tells which.
    """
    import pyarrow as pa
    from pyarrow import json as arrow_json

    try:
        first = parse_json(next(iter(source.head(1)), ""))
    except ValueError:
        return None
    wanted = {field.column: _arrow_type(field.kind) for field in fields.values()}
    if not isinstance(first, dict) or any(
        field.column not in first for field in fields.values() if not field.optional
    ):
        return None
    with source.open() as guard:
        try:
            data = arrow_json.read_json(
                pa.PythonFile(guard, "r"),
                arrow_json.ReadOptions(block_size=1 << 23),
                arrow_json.ParseOptions(
                    explicit_schema=pa.schema(list(wanted.items())),
                    unexpected_field_behavior="ignore",
                ),
            )
        except pa.ArrowException:
            if guard.error:
                raise guard.error from None
            return None
        if data.num_rows != guard.lines_seen:
            return None
    columns: dict[str, Values] = {}
    for label, field in fields.items():
        column = data[field.column]
        if field.column not in first:
            if column.null_count < data.num_rows:
                return None
            continue
        values = typed_column(field.kind, column)
        if values is None:
            return None
        columns[label] = values
    return Table(source, columns, rejects, data.num_rows, fields, data_lines(source, 0))


def _arrow_type(kind: Kind) -> "pa.DataType":
    import pyarrow as pa

    if isinstance(kind, Count):
        return pa.int64()
    if isinstance(kind, Ids):
        return pa.list_(pa.int64())
    if isinstance(kind, Time):
        return pa.decimal128(38, UNITS[kind.unit] + 1)
    return pa.string()


def _json_rows(source: Source, fields: Mapping[str, Field], rejects: Rejects) -> Iterator[Row]:
    needed = [wanted.column for wanted in fields.values() if not wanted.optional]
    for number, line in source.lines():
        if not line.strip():
            continue
        try:
            item = parse_json(line)
        except ValueError as wrong:
            rejects.add(number, None, line, str(wrong), "correct the line")
            continue
        if not isinstance(item, dict):
            rejects.add(number, None, line, "is not a JSON object", "write one object per line")
            continue
        lost = next((name for name in needed if name not in item), None)
        if lost is not None:
            shown = ", ".join(repr(name)[:40] for name in list(item)[:12])
            why = f"has no member {lost!r}; there are {shown}"
            rejects.add(number, None, line, why, "complete the line or map the columns")
            continue
        cells = {
            label: item[wanted.column] for label, wanted in fields.items() if wanted.column in item
        }
        yield number, cells, line
