"""CSV files with a header line as a checked `Table`."""

import csv
from collections.abc import Iterator, Mapping

from mltwin.sim.errors import InputError

from .source import Source
from .tabular import Field, Rejects, Row, Table, collect, data_lines, missing
from .values import Values


def read_csv(
    source: Source, fields: Mapping[str, Field], rejects: Rejects, *, fast: bool = True
) -> Table:
    """The wanted columns of a CSV file with a header line.

    Raises InputError for a missing column, for no rows and, with on_error="fail", for the first
    line that does not fit.
    """
    at, header = _header(source)
    places = _places(source, at, header, fields)
    table = _csv_fast(source, fields, rejects, at, len(header), places) if fast else None
    if table is None:
        table = collect(source, fields, rejects, _csv_rows(source, at, header, places, rejects))
    if not table.rows:
        raise source.error("no rows to use below the header", at, "give a file with requests")
    return table


def _header(source: Source) -> tuple[int, list[str]]:
    """(line, names) of the first line that is not blank."""
    for number, line in source.lines():
        if line.strip():
            return number, [name.strip() for name in _cells(source, number, line)]
    raise source.error("the file holds only blank lines", mend="give a file with requests")


def _cells(source: Source, number: int, line: str) -> list[str]:
    try:
        return _split(line)
    except csv.Error as wrong:
        raise source.error(f"is not CSV ({wrong})", number, "close the quotes") from None


def _split(line: str) -> list[str]:
    return next(csv.reader([line], strict=True)) if '"' in line else line.split(",")


def _places(
    source: Source, at: int, header: list[str], fields: Mapping[str, Field]
) -> dict[str, int]:
    """Index of each wanted column; exact names first, then regardless of case."""
    folded = [name.casefold() for name in header]
    places = {}
    for label, wanted in fields.items():
        exact = [i for i, name in enumerate(header) if name == wanted.column]
        found = exact or [i for i, name in enumerate(folded) if name == wanted.column.casefold()]
        if len(found) > 1:
            raise source.error(
                f"column {wanted.column!r} stands {len(found)} times", at, "drop one"
            )
        if found:
            places[label] = found[0]
        elif not wanted.optional:
            raise missing(source, wanted.column, header, at)
    return places


def _csv_fast(
    source: Source,
    fields: Mapping[str, Field],
    rejects: Rejects,
    at: int,
    width: int,
    places: dict[str, int],
) -> Table | None:
    """All columns through pyarrow, or None where a single cell or line is not plain and right."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    names = [f"c{i}" for i in range(width)]
    wanted = sorted(set(places.values()))
    with source.open() as guard:
        try:
            cells = arrow_csv.read_csv(
                pa.PythonFile(guard, "r"),
                arrow_csv.ReadOptions(column_names=names, skip_rows=at, block_size=1 << 23),
                arrow_csv.ParseOptions(newlines_in_values=False),
                arrow_csv.ConvertOptions(
                    include_columns=[names[i] for i in wanted],
                    column_types={names[i]: pa.string() for i in wanted},
                    strings_can_be_null=False,
                ),
            )
        except (pa.ArrowException, InputError):
            if guard.error:
                raise guard.error from None
            return None
    columns: dict[str, Values] = {}
    for label, place in places.items():
        values = fields[label].kind.column(cells[names[place]])
        if values is None:
            return None
        columns[label] = values
    return Table(source, columns, rejects, cells.num_rows, fields, data_lines(source, at))


def _csv_rows(
    source: Source, at: int, header: list[str], places: dict[str, int], rejects: Rejects
) -> Iterator[Row]:
    for number, line in source.lines():
        if number <= at or not line.strip():
            continue
        try:
            cells = _split(line)
        except csv.Error as wrong:
            rejects.add(number, None, line, f"is not CSV ({wrong})", "close the quotes")
            continue
        if len(cells) != len(header):
            why = f"has {len(cells)} cells, the header {len(header)}"
            rejects.add(number, None, line, why, "complete the line")
            continue
        yield number, {label: cells[place] for label, place in places.items()}, line
