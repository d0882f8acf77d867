"""The documentation site: it builds without a warning, and needs nothing but itself."""

import functools
import http.server
import os
import re
import subprocess
import sys
import threading
from html.parser import HTMLParser
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit

import pytest
from site_math import MathError, mathml
from source_tree import ROOT

needs_mkdocs = pytest.mark.skipif(
    not (find_spec("mkdocs") and find_spec("mkdocstrings") and find_spec("material")),
    reason="the extra docs is not installed",
)
# Elements whose URL a browser loads by itself.
LOADED = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src"}
HOME = "http://site.test/"


class Page(HTMLParser):
    """What a page links to, loads and offers as anchors."""

    def __init__(self, text):
        super().__init__()
        self.links, self.loads, self.ids = [], [], set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        given = dict(attrs)
        if given.get("id"):
            self.ids.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in LOADED and given.get(LOADED[tag]):
            self.loads.append(given[LOADED[tag]])
        if tag == "link" and given.get("href"):
            self.loads.append(given["href"])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the site, built anew."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Path within the site -> what is on the page."""
    found = {
        file.relative_to(site).as_posix(): Page(file.read_text(encoding="utf-8"))
        for file in site.rglob("*.html")
    }
    assert len(found) > 30
    return found


def address(path):
    return urljoin(HOME, path.removesuffix("index.html"))


@needs_mkdocs
def test_nothing_is_loaded_from_another_host(site, pages):
    for path, page in pages.items():
        for target in page.loads:
            assert urljoin(address(path), target).startswith((HOME, "data:")), f"{path}: {target}"
    for style in site.rglob("*.css"):
        foreign = re.findall(r"(?:url\(|@import)\s*[\"']?(?:https?:)?//", style.read_text("utf-8"))
        assert not foreign, style.name
    diagrams = [p for p in site.rglob("*.html") if 'class="mermaid"' in p.read_text("utf-8")]
    assert not diagrams, "the theme would load a script from another host to draw them"


@needs_mkdocs
def test_every_link_and_picture_is_there(site, pages):
    for path, page in pages.items():
        if path == "404.html":  # its links are those of the site's root
            continue
        for target in [*page.links, *page.loads]:
            goal = urlsplit(urljoin(address(path), target))
            if goal.netloc != "site.test" or goal.scheme not in ("http", ""):
                continue
            name = unquote(goal.path).lstrip("/")
            name = f"{name}index.html" if not name or name.endswith("/") else name
            assert (site / name).is_file(), f"{path}: {target}"
            if goal.fragment and name in pages:
                assert unquote(goal.fragment) in pages[name].ids | {"__skip"}, f"{path}: {target}"


@needs_mkdocs
def test_formulas_and_roles_are_drawn(site):
    formulas = 0
    for file in site.rglob("*.html"):
        text = file.read_text(encoding="utf-8")
        formulas += text.count("<math")
        assert 'class="arithmatex"' not in text, file
        assert not re.search(r":(?:class|func|meth|mod):<code>", text), file
    assert formulas > 100


@needs_mkdocs
def test_offered_names_are_on_the_python_page(site):
    import mltwin

    text = (site / "api" / "index.html").read_text(encoding="utf-8")
    missing = [name for name in mltwin.__all__ if f">mt.{name}<" not in text]
    assert missing == ["__version__"], "name them in docs/api/index.md"


@needs_mkdocs
def test_folders_become_pages_of_the_navigation(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    from site_hooks import with_folders

    (tmp_path / "g").mkdir()
    for name in ("b_c.md", "index.md", "a.md", "d.txt"):
        (tmp_path / "g" / name).touch()
    nav = [{"Home": "index.md"}, {"More": [{"Gallery": "g/"}]}]
    made = [
        {"Home": "index.md"},
        {"More": [{"Gallery": ["g/index.md", {"A": "g/a.md"}, {"B c": "g/b_c.md"}]}]},
    ]
    assert with_folders(nav, tmp_path) == made


@needs_mkdocs
def test_lists_of_fields_get_a_heading_and_a_line_each():
    from site_docstrings import one_a_line, with_heading

    told = (
        "What.\n\nseed: of all draws.\nlow, high: bounds,\n    inclusive.\n\nNote: this is prose."
    )
    made = "Attributes:\n    seed: of all draws.\n    low, high: bounds,\n        inclusive."
    assert with_heading(told) == f"What.\n\n{made}\n\nNote: this is prose."
    assert with_heading(made) == made
    each = made.replace("low, high:", "low:") + "\n    high: bounds,\n        inclusive."
    assert one_a_line(f"{made}\n\nNote: a, b: prose.") == f"{each}\n\nNote: a, b: prose."


@pytest.mark.parametrize(
    ("tex", "expected"),
    [
        ("x", "<mi>x</mi>"),
        ("2.5", "<mn>2.5</mn>"),
        ("a_i^2", "<msubsup><mi>a</mi><mi>i</mi><mn>2</mn></msubsup>"),
        (
            r"\frac{1}{B k}",
            "<mfrac><mrow><mn>1</mn></mrow><mrow><mi>B</mi><mi>k</mi></mrow></mfrac>",
        ),
        (r"\text{a b}", "<mtext>a&#160;b</mtext>"),
        (r"a \le \alpha", "<mi>a</mi><mo>≤</mo><mi>α</mi>"),
        ("a < b", "<mi>a</mi><mo>&lt;</mo><mi>b</mi>"),
        (r"\hat\theta", "<mover><mi>θ</mi><mo>^</mo></mover>"),
        (
            r"\sin(x)",
            '<mi>sin</mi><mo stretchy="false">(</mo><mi>x</mi><mo stretchy="false">)</mo>',
        ),
    ],
)
def test_formula(tex, expected):
    assert mathml(tex) == f"<math><mrow>{expected}</mrow></math>"


def test_limits_stand_below_where_a_formula_is_displayed():
    assert "<munder><mi>max</mi><mi>j</mi></munder>" in mathml(r"\max_j x", display=True)
    assert "<msub><mi>max</mi><mi>j</mi></msub>" in mathml(r"\max_j x")


def test_cases_have_rows_and_cells():
    drawn = mathml(r"\begin{cases} 1 & a \\ 0 & b \end{cases}")
    assert drawn.count("<mtr>") == 2 and drawn.count("<mtd>") == 4


@pytest.mark.parametrize(
    "tex", [r"\unknown x", "{a", "a}", r"\frac{1}", r"\left( a", r"\begin{x}a\end{x}", r"\text{a"]
)
def test_what_is_not_understood_is_an_error(tex):
    with pytest.raises(MathError):
        mathml(tex)


@pytest.fixture(scope="module")
def server(site):
    """The site, served on this machine; its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    handler = functools.partial(Quiet, directory=str(site))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}/"
        serving.shutdown()


@pytest.fixture(scope="module")
def browser():
    """Debian's Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = Path("/usr/bin/chromium")
    if not path.is_file():
        pytest.skip("no Chromium here")
    with playwright.sync_playwright() as running:
        made = running.chromium.launch(executable_path=str(path), args=["--no-sandbox"])
        yield made
        made.close()


@needs_mkdocs
@pytest.mark.browser
@pytest.mark.parametrize("width", [375, 1280])
def test_pages_in_a_browser(server, browser, width, pages):
    """No page errs, calls out, or is wider than the screen; in light and dark."""
    shown = ["", "tutorial/", "theory/memory/", "theory/gpu/", "cli/", "api/scenario/", "gallery/"]
    for scheme in ("light", "dark"):
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme)
        page = context.new_page()
        wrong = []
        page.on("console", lambda m, w=wrong: m.type == "error" and w.append(m.text))
        page.on("pageerror", lambda error, w=wrong: w.append(str(error)))
        page.on("request", lambda r, w=wrong: w.append(r.url) if foreign(r.url, server) else None)
        for path in shown:
            page.goto(server + path, wait_until="load")
            beyond = page.evaluate(
                "document.documentElement.scrollWidth - document.documentElement.clientWidth"
            )
            assert beyond <= 0, f"{path} is {beyond} px too wide at {width}"
        assert not wrong
        context.close()


def foreign(url, server):
    return not url.startswith((server, "data:", "blob:"))


@needs_mkdocs
@pytest.mark.browser
def test_search_finds_a_page(server, browser):
    page = browser.new_page()
    page.goto(server)
    page.fill("input.md-search__input", "max-min fair flows")
    page.wait_for_selector(".md-search-result__item a[href*='theory/network']", state="attached")
    page.close()
