"""Text traces in blocks of whole lines: columns of a block at once, or line by line at a doubt.

Memory is bounded by the block. The fast way is pyarrow's CSV reader over a block; where a single
cell of it is not plain and right, the block is read line by line, which names line, column, value
and mend, or leaves the line out (`on_error="skip"`).
"""

import csv
import io
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mltwin.workloads.source import Source
from mltwin.workloads.tabular import Rejects
from mltwin.workloads.values import Count, Text, Time

from .kinds import Amount, Operation, TextKey, WholeKey

BLOCK_BYTES = 1 << 23
NOT_PARTED = "\x01"
"""Delimiter of lines that are one cell whatever they hold; no text file holds it."""
UNQUOTED = (" ", NOT_PARTED)
Kind = Count | Time | Text | WholeKey | TextKey | Amount | Operation


class Cell(NamedTuple):
    """One wanted column: its place in a line from 0, its name for messages, and its kind."""

    place: int
    column: str | None
    kind: Kind


class Layout(NamedTuple):
    """How a line is made.

    delimiter: one character, or a space for any run of spaces and tabs.
    width: cells of a line; 0: at least as many as are wanted.
    skip: lines that are nothing but this are no requests (blank ones never are).
    """

    cells: Mapping[str, Cell]
    delimiter: str
    width: int
    skip: str | None = None


class Block(NamedTuple):
    """Columns of some lines, their numbers where they do not simply follow the first."""

    columns: dict[str, Any]
    rows: int
    line: int
    lines: NDArray[np.int64] | None


def read_blocks(
    source: Source, rejects: Rejects, layout: Layout, *, below: int = 0
) -> Iterator[Block]:
    """Checked columns of the lines below line `below`, block by block."""
    for line, text in _text_blocks(source, below):
        block = _fast(text, line, layout)
        if block is None:
            block = _line_by_line(source, text, line, layout, rejects)
        if block.rows:
            yield block


def _text_blocks(source: Source, below: int) -> Iterator[tuple[int, bytes]]:
    """(number of the first line, whole lines) of the file."""
    rest = b""
    line, skipped = 1, 0
    with source.open() as guard:
        while True:
            pieces = [rest]
            size = len(rest)
            while size < BLOCK_BYTES and (piece := guard.read(1 << 18)):
                pieces.append(piece)
                size += len(piece)
            block = b"".join(pieces)
            if line == 1:
                block = block.removeprefix(b"\xef\xbb\xbf")
            last = size < BLOCK_BYTES
            cut = len(block) if last else block.rfind(b"\n") + 1
            block, rest = block[:cut], block[cut:]
            lines = block.count(b"\n")
            while skipped < below and block:
                _, _, block = block.partition(b"\n")
                skipped, line, lines = skipped + 1, line + 1, lines - 1
            if block:
                yield line, block
                line += lines
            if last:
                return


def _fast(text: bytes, line: int, layout: Layout) -> Block | None:
    """The block through pyarrow, or None where anything is not plain and right."""
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    width = layout.width or max(cell.place for cell in layout.cells.values()) + 1
    names = [f"c{i}" for i in range(width)]
    wanted = sorted({cell.place for cell in layout.cells.values()})
    plain = text
    if layout.skip:
        plain = re.sub(rb"(?m)^[ \t]*%s[ \t\r]*$" % re.escape(layout.skip.encode()), b"", text)
    try:
        cells = arrow_csv.read_csv(
            pa.BufferReader(plain),
            arrow_csv.ReadOptions(column_names=names, block_size=len(text) + 1, use_threads=False),
            arrow_csv.ParseOptions(
                delimiter=layout.delimiter,
                quote_char=False if layout.delimiter in UNQUOTED else '"',
                newlines_in_values=False,
            ),
            arrow_csv.ConvertOptions(
                include_columns=[names[i] for i in wanted],
                column_types={names[i]: pa.string() for i in wanted},
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowException:
        return None
    columns: dict[str, Any] = {}
    for label, cell in layout.cells.items():
        values = cell.kind.column(cells[names[cell.place]])
        if values is None:
            return None
        columns[label] = values
    lines = None
    if cells.num_rows != text.count(b"\n") + (not text.endswith(b"\n")):
        lines = np.array([number for number, _ in _numbered(text, line, layout)], np.int64)
        if lines.size != cells.num_rows:
            return None
    return Block(columns, cells.num_rows, line, lines)


def _numbered(text: bytes, line: int, layout: Layout) -> Iterator[tuple[int, str]]:
    """(line number, text) of the lines that are requests."""
    for number, one in enumerate(io.StringIO(text.decode(), newline=None), line):
        bare = one.strip()
        if bare and bare != layout.skip:
            yield number, one.rstrip("\n")


def _line_by_line(
    source: Source, text: bytes, line: int, layout: Layout, rejects: Rejects
) -> Block:
    split = _splitter(layout.delimiter)
    kept: dict[str, list[Any]] = {label: [] for label in layout.cells}
    numbers: list[int] = []
    for number, one in _numbered(text, line, layout):
        try:
            cells = split(one)
        except csv.Error as wrong:
            rejects.add(number, None, one, f"is not CSV ({wrong})", "close the quotes")
            continue
        values = _values(cells, one, number, layout, rejects)
        if values is None:
            continue
        numbers.append(number)
        for label, value in values.items():
            kept[label].append(value)
    columns = {label: _joined(source, line, layout.cells[label], kept[label]) for label in kept}
    return Block(columns, len(numbers), line, np.array(numbers, np.int64))


def _values(
    cells: list[str], one: str, number: int, layout: Layout, rejects: Rejects
) -> dict[str, Any] | None:
    need = layout.width or max(cell.place for cell in layout.cells.values()) + 1
    if len(cells) < need or (layout.width and len(cells) > layout.width):
        why = f"has {len(cells)} cells, not {need}"
        rejects.add(number, None, one, why, "complete the line, or name another format")
        return None
    values = {}
    for label, cell in layout.cells.items():
        try:
            values[label] = cell.kind.scalar(cells[cell.place])
        except ValueError as wrong:
            rejects.add(number, cell.column, cells[cell.place], str(wrong), "correct the value")
            return None
    return values


def _joined(source: Source, line: int, cell: Cell, values: list[Any]) -> Any:
    try:
        return cell.kind.join(values)
    except OverflowError:
        raise source.error(
            "keys from here on are both negative and beyond 2**63", line, 'read with keys="text"'
        ) from None


def _splitter(delimiter: str) -> Callable[[str], list[str]]:
    if delimiter == " ":
        return str.split

    def split(line: str) -> list[str]:
        if '"' in line and delimiter not in UNQUOTED:
            return next(csv.reader([line], delimiter=delimiter, strict=True))
        return line.split(delimiter)

    return split


def header(source: Source, delimiter: str = ",") -> tuple[int, list[str]]:
    """(line, names) of the first line that is not blank."""
    for number, line in source.lines():
        if line.strip():
            try:
                return number, [name.strip() for name in _splitter(delimiter)(line)]
            except csv.Error as wrong:
                raise source.error(f"is not CSV ({wrong})", number, "close the quotes") from None
    raise source.error("the file holds only blank lines", mend="give a file with requests")
