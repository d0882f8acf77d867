"""One self-contained HTML page: text, tables and pictures that open anywhere, also offline.

The page holds no script and loads nothing: pictures are embedded, and its content security policy
forbids any request. Everything that is given is escaped, so a scenario may be named as it likes.

    report = HtmlReport("Two schedulers")
    report.paragraph("The second is 3 % slower.")
    report.table(compared.table())
    report.figure(compared.plot(), "Means over seeds")
    report.save("report.html")
"""

import base64
import html
import re
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from mltwin.sim.errors import InputError
from mltwin.text import Table

from .style import CSS, DARK_FIGURE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Drawings beyond this become pictures of dots: a browser is slow on them.
_LARGEST_SVG_BYTES = 1_500_000
_NUMBER = re.compile(r"$|-$|[~+−-]?\d")
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'"


class Html(str):
    """Text that is HTML already; any other text is escaped."""


class HtmlReport:
    """A page that is written from top to bottom.

    Args:
        title: of the page and its first heading.
    """

    def __init__(self, title: str) -> None:
        self.title = title
        self._parts: list[Html] = []
        self._headings: list[tuple[str, str]] = []
        self._figures_open = False

    def heading(self, text: str, level: int = 2) -> "HtmlReport":
        """A heading; those of level 2 make the list of contents."""
        anchor = f"s{len(self._headings) + 1}"
        if level == 2:
            self._headings.append((anchor, text))
            return self.add(Html(f'<h2 id="{anchor}">{escaped(text)}</h2>'))
        return self.add(Html(f"<h{level}>{escaped(text)}</h{level}>"))

    def paragraph(self, text: str) -> "HtmlReport":
        """A paragraph."""
        return self.add(paragraph_html(text))

    def bullets(self, items: Iterable[str]) -> "HtmlReport":
        """A list of points."""
        rows = "".join(f"<li>{escaped(item)}</li>" for item in items)
        return self.add(Html(f"<ul>{rows}</ul>"))

    def table(self, table: Table) -> "HtmlReport":
        """A table; it scrolls sideways where the page is too narrow."""
        return self.add(table_html(table))

    def figure(self, figure: "Figure", caption: str = "") -> "HtmlReport":
        """A Matplotlib figure; several in a row stand side by side where there is room."""
        if not self._figures_open:
            self._parts.append(Html('<div class="figures">'))
            self._figures_open = True
        self._parts.append(figure_html(figure, caption))
        return self

    def code(self, text: str, language: str = "") -> "HtmlReport":
        """A block of code."""
        return self.add(code_html(text, language))

    def details(self, title: str, *parts: str) -> "HtmlReport":
        """A part that opens on a click; plain text is escaped and becomes a paragraph.

        Parts of other kinds come from `table_html`, `code_html`, `figure_html`, `paragraph_html`.
        """
        inner = "".join(part if isinstance(part, Html) else paragraph_html(part) for part in parts)
        return self.add(Html(f"<details><summary>{escaped(title)}</summary>\n{inner}</details>"))

    def add(self, part: Html) -> "HtmlReport":
        """HTML as it stands; whoever makes it answers for its escaping."""
        self._end_figures()
        self._parts.append(part)
        return self

    def text(self) -> str:
        """The page."""
        self._end_figures()
        links = "".join(f'<a href="#{a}">{escaped(text)}</a>' for a, text in self._headings)
        contents = f"<nav>{links}</nav>" if len(self._headings) > 2 else ""
        return "\n".join(
            [
                '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
                f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
                '<meta name="viewport" content="width=device-width, initial-scale=1">',
                f"<title>{escaped(self.title)}</title>",
                '<link rel="icon" href="data:,">',
                f"<style>{CSS}</style></head><body><main>",
                f"<h1>{escaped(self.title)}</h1>",
                contents,
                *self._parts,
                "</main></body></html>\n",
            ]
        )

    def save(self, path: str | Path) -> Path:
        """Write the page; its path.

        Raises InputError where it cannot be written.
        """
        from mltwin.sim.store import write_atomically

        target = Path(path)
        content = self.text().encode("utf-8", errors="xmlcharrefreplace")
        try:
            write_atomically(target, lambda file: file.write(content))
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", where=str(target)) from None
        return target

    def _end_figures(self) -> None:
        if self._figures_open:
            self._parts.append(Html("</div>"))
            self._figures_open = False


def escaped(text: object) -> Html:
    """Text that shows as it is; control characters, which HTML forbids, show as a box."""
    shown = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", str(text))
    return Html(html.escape(shown))


def paragraph_html(text: str) -> Html:
    """A paragraph."""
    return Html(f"<p>{escaped(text)}</p>")


def code_html(text: str, language: str = "") -> Html:
    """A block of code."""
    kind = f' class="language-{escaped(language)}"' if language else ""
    return Html(f'<pre tabindex="0"><code{kind}>{escaped(text.rstrip())}</code></pre>')


def table_html(table: Table) -> Html:
    """A table with its title, caption, best cells and groups."""
    cells = table.texts()
    numeric = [all(_NUMBER.match(row[j]) for row in cells) for j in range(len(table.columns))]

    def cell(tag: str, j: int, text: str, best: bool = False) -> str:
        names = [n for n, on in (("number", numeric[j]), ("best", best)) if on]
        marked = f' class="{" ".join(names)}"' if names else ""
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{marked}>{escaped(text)}</{tag}>"

    head = "".join(cell("th", j, column) for j, column in enumerate(table.columns))
    rows = []
    for i, row in enumerate(cells):
        inner = "".join(cell("td", j, text, (i, j) in table.best) for j, text in enumerate(row))
        rows.append(f'<tr class="break">{inner}</tr>' if i in table.breaks else f"<tr>{inner}</tr>")
    title = f'<p class="title">{escaped(table.title)}</p>' if table.title else ""
    caption = f'<p class="caption">{escaped(table.caption)}</p>' if table.caption else ""
    label = escaped(table.title or "table")
    return Html(
        f'{title}<div class="table" tabindex="0" role="region" aria-label="{label}"><table>'
        f"<thead><tr>{head}</tr></thead>\n<tbody>"
        + "\n".join(rows)
        + f"</tbody></table></div>{caption}"
    )


def figure_html(figure: "Figure", caption: str = "") -> Html:
    """A figure as an embedded picture, with a dark variant for dark pages."""
    from mltwin.plots import figure_bytes

    drawing = figure_bytes(figure, "svg")
    wide = int(96 * figure.get_figwidth())
    if len(drawing) > _LARGEST_SVG_BYTES:
        light, dark = _data_uri(figure_bytes(figure, "png"), "png"), ""
    else:
        light, dark = _data_uri(drawing, "svg+xml"), _data_uri(_darkened(drawing), "svg+xml")
    source = f'<source media="(prefers-color-scheme: dark)" srcset="{dark}">' if dark else ""
    below = f"<figcaption>{escaped(caption)}</figcaption>" if caption else ""
    return Html(
        f'<figure style="width: {wide}px"><picture>{source}<img src="{light}" width="{wide}" '
        f'alt="{escaped(caption or "figure")}"></picture>{below}</figure>'
    )


def _darkened(drawing: bytes) -> bytes:
    """An SVG of ours in the colours of a dark page."""
    pattern = re.compile("|".join(DARK_FIGURE), re.IGNORECASE)
    text = pattern.sub(lambda m: DARK_FIGURE[m.group().lower()], drawing.decode("utf-8"))
    return text.encode("utf-8")


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode('ascii')}"
