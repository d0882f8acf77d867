"""The HTML report: self-contained, and it shows any text as it is."""

import re
from html.parser import HTMLParser

import pytest

from mltwin.plots import draw_cdf, new_figure
from mltwin.reports.html import Html, HtmlReport, code_html, escaped, table_html
from mltwin.sim.errors import InputError
from mltwin.text import Table

HOSTILE = '<script>alert(\'x\')</script> | & " onload="x" $x$ \x00\x1b'
ALLOWED = {
    *("html", "head", "meta", "title", "link", "style", "body", "main", "nav", "a", "h1", "h2"),
    *("h3", "p", "ul", "li", "div", "table", "thead", "tbody", "tr", "th", "td", "figure", "img"),
    *("picture", "source", "figcaption", "pre", "code", "details", "summary"),
}


class Reader(HTMLParser):
    """Tags, addresses and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.events: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "link", "img", "source"):
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.events.append(name)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def page_of_everything(text: str) -> str:
    report = HtmlReport(text).heading(text).paragraph(text).bullets([text])
    report.table(Table([text, "n"], [[text, 1.5]], title=text, caption=text, best={(0, 0)}))
    with new_figure(1, 1, (3, 2)) as (figure, axes):
        draw_cdf(axes[0, 0], [1.0, 2.0], colour="#0072B2", label=text)
        axes[0, 0].set_title(text)
    report.figure(figure, text).figure(figure)
    report.code(text, text).details(text, text, code_html(text)).heading(text, 3)
    return report.text()


@pytest.mark.filterwarnings("ignore:Glyph")
def test_nothing_that_is_given_becomes_markup() -> None:
    page = Reader(page_of_everything(HOSTILE))
    assert set(page.tags) <= ALLOWED and not page.events and page.open == []
    assert Reader(page_of_everything("plain")).tags == page.tags
    assert sum("<script>alert('x')</script> | &" in word for word in page.words) >= 10


@pytest.mark.filterwarnings("ignore:Glyph")
def test_the_page_loads_nothing() -> None:
    text = page_of_everything(HOSTILE)
    page = Reader(text)
    assert all(address.startswith(("data:", "#")) for address in page.addresses)
    assert "default-src 'none'" in text and "@import" not in text and "url(" not in text


def test_pictures_have_a_dark_variant() -> None:
    report = HtmlReport("x")
    with new_figure(1, 1, (3, 2)) as (figure, axes):
        axes[0, 0].plot([0, 1])
    text = report.figure(figure).text()
    found = re.findall(r"data:image/svg\+xml;base64,([A-Za-z0-9+/=]+)", text)
    import base64

    dark, light = (base64.b64decode(part).decode().lower() for part in found)
    assert "#ffffff" in light and "#ffffff" not in dark and "#0f1419" in dark
    assert "prefers-color-scheme: dark" in text and report.text() == report.text()


def test_tables() -> None:
    table = Table(
        ["a", "b", "c"], [["x", 1.0, "+1 %"], ["y", None, "-"]], best={(0, 1)}, breaks={0}
    )
    text = table_html(table)
    assert '<td class="number best">1</td>' in text and '<td class="number">+1 %</td>' in text
    assert '<tr class="break">' in text and "<td>x</td>" in text
    assert "<tbody>" in table_html(Table(["a"], []))


def test_the_contents_list_headings() -> None:
    report = HtmlReport("t")
    for name in ("A", "B", "C"):
        report.heading(name).paragraph(name)
    page = Reader(report.text())
    assert [a for a in page.addresses if a.startswith("#")] == ["#s1", "#s2", "#s3"]


def test_html_given_as_such_stands() -> None:
    assert HtmlReport("t").details("d", Html("<b>bold</b>"), "<b>").text().count("<b>bold</b>") == 1
    assert escaped("a\x07b<") == "a\N{REPLACEMENT CHARACTER}b&lt;"


def test_a_place_that_cannot_be_written(tmp_path) -> None:
    path = HtmlReport("lone surrogate \ud800").save(tmp_path / "r.html")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    with pytest.raises(InputError, match="cannot be written"):
        HtmlReport("t").save(tmp_path / "none" / "r.html")
