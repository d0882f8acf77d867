"""What every search gives: an answer in words, tables, rows, a picture, and files of all four."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltwin.sim.errors import InputError
from mltwin.text import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class Found:
    """Base of the results of searches.

    Attributes:
        notes: things worth knowing about the answer, one sentence each.
    """

    notes: list[str]

    @property
    def title(self) -> str:
        """What was asked, on one line."""
        raise NotImplementedError

    @property
    def reached(self) -> bool:
        """Whether there is an answer; where there is none, `answer` says what came closest."""
        return True

    def answer(self) -> list[str]:
        """The answer in words, a sentence or two a line."""
        raise NotImplementedError

    def tables(self) -> list[Table]:
        """The tables that the command line prints."""
        raise NotImplementedError

    def frame(self) -> "pd.DataFrame":
        """What was run, one row a run (or what is nearest to one)."""
        raise NotImplementedError

    def data(self) -> dict[str, Any]:
        """Everything as plain data, for JSON."""
        raise NotImplementedError

    def figure(self) -> "Figure":
        """The picture."""
        raise NotImplementedError

    def pictures(self) -> list[tuple["Figure", str]]:
        """All pictures of the report, each with its caption."""
        return [(self.figure(), self.title)]

    def plot(self, path: str | Path | None = None) -> "Figure":
        """The picture; saved if a path is given (.png, .svg or .pdf)."""
        from mltwin.plots import save_figure

        return save_figure(self.figure(), path)

    def reproduce(self) -> str:
        """TOML of the scenario that was searched; "" where there is none."""
        return ""

    def report(self, path: str | Path) -> Path:
        """Write one self-contained HTML page; its path."""
        from mltwin.reports.html import HtmlReport

        page = HtmlReport(self.title)
        for line in self.answer():
            page.paragraph(line)
        for figure, caption in self.pictures():
            page.figure(figure, caption)
        for table in self.tables():
            page.table(table)
        for note in self.notes:
            page.paragraph(f"Note: {note}.")
        if text := self.reproduce():
            page.heading("Scenario")
            page.code(text, "toml")
        return page.save(path)

    def save(self, folder: str | Path) -> list[Path]:
        """Write `found.json`, `rows.csv`, `found.svg` and `report.html` into a folder.

        Raises InputError where the folder cannot be written.
        """
        from mltwin.csvfile import write_csv
        from mltwin.sim.store import write_atomically

        place = Path(folder)
        try:
            place.mkdir(parents=True, exist_ok=True)
            text = json.dumps(self.data(), indent=1, allow_nan=False)
            found = place / "found.json"
            write_atomically(found, lambda file: file.write(text.encode()))
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(place)) from None
        rows, picture = place / "rows.csv", place / "found.svg"
        write_csv(self.frame(), rows)
        self.plot(picture)
        return [found, rows, picture, self.report(place / "report.html")]

    def __str__(self) -> str:
        return "\n".join([*self.answer(), "", *(str(table) for table in self.tables())])

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.title}>"


def toml_of(scenario: Any) -> str:
    """A scenario as TOML, without what is left at its default."""
    from mltwin.tomlfile import write_toml

    return write_toml(scenario.data(full=False))


def finite(value: float | None) -> float | None:
    """A number for JSON: none for one that is missing or not finite."""
    if value is None or value != value or value in (float("inf"), float("-inf")):
        return None
    return float(value)
