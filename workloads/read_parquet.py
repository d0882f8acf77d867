"""Parquet columns into a checked `Table`, with the rules and errors of the text readers."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .source import Source
from .table import MAX_ROWS
from .tabular import Field, Rejects, Row, Table, collect, missing
from .typed import typed_column
from .values import Values

if TYPE_CHECKING:
    import pyarrow as pa


def is_parquet(source: Source) -> bool:
    """True where the file begins as Parquet does."""
    with open(source.path, "rb") as raw:
        return raw.read(4) == b"PAR1"


def open_parquet(source: Source) -> Any:
    """A checked `pyarrow.parquet.ParquetFile`; InputError where it is damaged or far too large."""
    import pyarrow as pa
    from pyarrow import parquet

    try:
        opened = parquet.ParquetFile(source.path)
    except (pa.ArrowException, OSError) as wrong:
        raise source.error(
            f"is not whole Parquet ({str(wrong)[:120]})", mend="write the file again"
        ) from None
    found = opened.metadata
    size = sum(found.row_group(i).total_byte_size for i in range(found.num_row_groups))
    if found.num_rows > MAX_ROWS or size > source.limits.total_bytes:
        raise source.error(
            f"holds {found.num_rows:,} rows, {size:,} bytes unpacked", mend="split it into parts"
        )
    return opened


def read_parquet(source: Source, fields: Mapping[str, Field], rejects: Rejects) -> Table:
    """The wanted columns; errors name rows, counted from 1."""
    import pyarrow as pa

    rejects.unit = "row"
    opened = open_parquet(source)
    names = list(opened.schema_arrow.names)
    places = {}
    for label, wanted in fields.items():
        if wanted.column in names:
            places[label] = wanted.column
        elif not wanted.optional:
            raise missing(source, wanted.column, names)
    try:
        data = opened.read(columns=sorted(set(places.values())))
    except (pa.ArrowException, OSError) as wrong:
        raise source.error(
            f"is not whole Parquet ({str(wrong)[:120]})", mend="write the file again"
        ) from None
    if not data.num_rows:
        raise source.error("holds no rows", mend="give a file with requests")
    columns: dict[str, Values] = {}
    for label, column in places.items():
        values = typed_column(fields[label].kind, data[column])
        if values is None:
            return collect(source, fields, rejects, _rows(data, places))
        columns[label] = values
    numbers = np.arange(1, data.num_rows + 1)
    return Table(source, columns, rejects, data.num_rows, fields, lambda: numbers)


def _rows(data: "pa.Table", places: Mapping[str, str]) -> Iterator[Row]:
    import pyarrow as pa

    columns = {}
    for label, name in places.items():
        column = data[name]
        timed = pa.types.is_timestamp(column.type)
        columns[label] = (column.cast(pa.string()) if timed else column).to_pylist()
    for row in range(data.num_rows):
        yield row + 1, {label: column[row] for label, column in columns.items()}, ""
