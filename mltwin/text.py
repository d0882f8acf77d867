"""Tables of results as text: for the terminal (rich), Markdown, or a data frame."""

import math
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeGuard

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table as RichTable

Cell = str | int | float | None


def show(value: Any, digits: int = 4) -> str:
    """A number as people read it: four digits, no exponent in the usual range, `-` for none.

    >>> show(1234567), show(0.51234), show(31.25), show(None), show(1e-9)
    ('1,234,567', '0.5123', '31.25', '-', '1e-09')
    """
    if value is None:
        return "-"
    if isinstance(value, bool | str):
        return str(value)
    number = float(value)
    if math.isnan(number):
        return "-"
    if number == int(number) and abs(number) < 1e15:
        return f"{int(number):,}"
    if not 1e-4 <= abs(number) < 1e12:
        return f"{number:.{digits}g}"
    decimals = digits - 1 - math.floor(math.log10(abs(number)))
    return f"{number:,.{max(0, decimals)}f}"


@dataclass
class Table:
    """Rows under named columns; `str(table)` is plain text.

    best: cells to stand out, as (row, column) numbers.
    breaks: rows after which a new group begins.
    formats: how to write the numbers of a column, where `show` will not do.
    """

    columns: list[str]
    rows: list[list[Cell]]
    title: str = ""
    caption: str = ""
    best: set[tuple[int, int]] = field(default_factory=set)
    breaks: set[int] = field(default_factory=set)
    formats: Mapping[int, Callable[[float], str]] = field(default_factory=dict)

    def frame(self) -> "pd.DataFrame":
        """The table as a data frame."""
        import pandas as pd

        return pd.DataFrame(self.rows, columns=self.columns)

    def markdown(self) -> str:
        """A Markdown table; the best cells are bold."""
        lines = [f"**{_escaped(self.title)}**", ""] if self.title else []
        lines.append(_line([_escaped(column) for column in self.columns]))
        lines.append(_line(["---" if j == 0 else "---:" for j in range(len(self.columns))]))
        for i, row in enumerate(self.rows):
            cells = [_escaped(text) for text in self._texts(row)]
            bold = [f"**{c}**" if (i, j) in self.best else c for j, c in enumerate(cells)]
            lines.append(_line(bold))
        if self.caption:
            lines += ["", _escaped(self.caption)]
        return "\n".join(lines) + "\n"

    def rich(self) -> "RichTable":
        """A table for `rich.print`; the best cells are bold green."""
        from rich import box
        from rich.markup import escape
        from rich.table import Table as RichTable

        made = RichTable(
            title=escape(self.title) or None,
            expand=False,
            caption=escape(self.caption) or None,
            box=box.SIMPLE_HEAD,
            title_justify="left",
            caption_justify="left",
            title_style="bold",
        )
        numeric = [self._is_numeric(j) for j in range(len(self.columns))]
        heads = self._wrapped_heads()
        for j, (column, right) in enumerate(zip(heads, numeric, strict=True)):
            label = j < 2 and not right
            made.add_column(
                escape(column), justify="right" if right else "left", no_wrap=label, overflow="fold"
            )
        for i, row in enumerate(self.rows):
            cells = [escape(text) for text in self._texts(row)]
            made.add_row(
                *(f"[bold green]{c}[/]" if (i, j) in self.best else c for j, c in enumerate(cells)),
                end_section=i in self.breaks,
            )
        return made

    def texts(self) -> list[list[str]]:
        """The cells of each row as text, as they are shown."""
        return [self._texts(row) for row in self.rows]

    def _texts(self, row: list[Cell]) -> list[str]:
        """The cells of a row as text."""
        return [
            self.formats[j](cell) if j in self.formats and _is_number(cell) else show(cell)
            for j, cell in enumerate(row)
        ]

    def _wrapped_heads(self) -> list[str]:
        """The column names, broken at spaces to be no wider than their cells need."""
        texts = [self._texts(row) for row in self.rows]
        heads = []
        for j, column in enumerate(self.columns):
            words = column.split(" ")  # a no-break space holds a number and its unit together
            widest = max([len(row[j]) for row in texts] + [len(word) for word in words] or [1])
            heads.append(textwrap.fill(column, widest, break_on_hyphens=False) or column)
        return heads

    def _is_numeric(self, column: int) -> bool:
        return all(not isinstance(row[column], str) for row in self.rows)

    def __str__(self) -> str:
        cells = [self.columns] + [self._texts(row) for row in self.rows]
        widths = [max(len(row[j]) for row in cells) for j in range(len(self.columns))]
        numeric = [self._is_numeric(j) for j in range(len(self.columns))]
        lines = [
            "  ".join(
                text.rjust(width) if right else text.ljust(width)
                for text, width, right in zip(row, widths, numeric, strict=True)
            ).rstrip()
            for row in cells
        ]
        lines.insert(1, "  ".join("-" * width for width in widths))
        return "\n".join([*([self.title] if self.title else []), *lines])

    def _repr_markdown_(self) -> str:
        return self.markdown()


def short(value: float) -> str:
    """A positive number in three or four characters where they suffice.

    >>> short(5457.2), short(426.4), short(18.13), short(0.4)
    ('5,457', '426', '18.1', '0.4')
    """
    return f"{value:,.0f}" if abs(value) >= 99.95 else f"{value:.1f}"


def _is_number(cell: Cell) -> TypeGuard[int | float]:
    return isinstance(cell, int | float) and not isinstance(cell, bool) and math.isfinite(cell)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
