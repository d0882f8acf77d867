"""What a page of the explorer is, and how the pages are found.

A page is one short module in `app/explorer/pages/`; it needs no registration. A whole one:

    import streamlit as st

    import mltwin
    from mltwin.app.explorer import show
    from mltwin.app.explorer.copies import command_of, python_of, toml_of
    from mltwin.app.explorer.frame import Page
    from mltwin.app.explorer.panel import run_panel
    from mltwin.app.explorer.safe import safe_scenario
    from mltwin.app.explorer.view import View

    SLUG = "coins"

    def page() -> None:
        view = View(SLUG, {"flips": 100})  # the choices, kept in the URL
        with st.sidebar:
            view.set(flips=st.slider("Flips", 1, 1000, view.get("flips"), key=view.key("flips")))
        scenario = safe_scenario({"system": "coin", "flips": view.get("flips")})
        if scenario is None:
            return  # the one-line error is on the page
        toml = toml_of(scenario)
        argv = ["run", "{in}/scenario.toml", "--out", "{out}", "--progress-json"]
        job = run_panel(SLUG, argv, files={"scenario.toml": toml}, title="100 coins")
        if job is not None:
            result = mltwin.Result.load(job.out)
            show.metric_row({"heads": result.metrics["heads"]})
            show.table(result.table(), "coins")
        show.copy_as(toml, python_of(scenario), command_of(toml, "coins.toml"))

    PAGE = Page("coins", "Coins", ":material/casino:", "Serving", "Toss coins.", page)

`page` runs from top to bottom at every change of a control, as Streamlit has it. Whatever takes
longer than a blink is a command of `mltwin`, run by `run_panel` in a process of its own.
"""

import importlib
import logging
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial

from mltwin import InputError

SECTIONS = ("Serving", "Caches", "Training", "Federated", "Studies", "Measured")
"""Headings of the navigation in their order; a page may bring a new one, which comes after."""

_DOT = {"mark": "point", "data": {"values": [{}]}, "height": 1}


@dataclass(frozen=True)
class Page:
    """A page of the explorer.

    slug: its name in the URL, and of its module.
    title, icon: in the navigation (`:material/...:`).
    section: heading under which it stands.
    about: one sentence, the page's subtitle.
    show: draws it.
    order: place within the section; the first page of all is the home page.
    """

    slug: str
    title: str
    icon: str
    section: str
    about: str
    show: Callable[[], None]
    order: int = 50


@cache
def pages() -> tuple[Page, ...]:
    """All pages: each module of `mltwin.app.explorer.pages` with a `PAGE`, in order."""
    from . import pages as package

    found = [_page(info.name) for info in pkgutil.iter_modules(package.__path__)]
    return tuple(sorted((page for page in found if page is not None), key=_place))


def _page(name: str) -> Page | None:
    """The page of a module; one that says what is wrong where the module cannot be imported."""
    try:
        module = importlib.import_module(f"mltwin.app.explorer.pages.{name}")
        return getattr(module, "PAGE", None)
    except Exception as error:
        logging.getLogger(__name__).exception("page %s", name)
        about = f"This page cannot be loaded: {type(error).__name__}."
        return Page(name, name.title(), ":material/error:", SECTIONS[-1], about, lambda: None, 99)


def _place(page: Page) -> tuple[int, str, int, str]:
    known = page.section in SECTIONS
    section = SECTIONS.index(page.section) if known else len(SECTIONS)
    return section, page.section, page.order, page.slug


def draw(page: Page) -> None:
    """Draw a page under its title: wrong input is one line on it, never a traceback.

    `st.session_state["arrived"]` says whether the visitor has just come from another page: the URL
    is bare then and is filled in; it is left alone where the browser's Back made it bare.
    """
    import streamlit as st

    from . import show

    first = "drawn" not in st.session_state
    st.session_state["arrived"] = st.session_state.get("drawn") != page.slug
    st.session_state["drawn"] = page.slug
    st.title(page.title, anchor=False)
    st.markdown(page.about)
    place = st.empty()
    if first:  # the browser loads the code that draws charts while the first run is made
        place.vega_lite_chart(_DOT, width=1)
    try:
        page.show()
    except InputError as error:
        show.error(str(error))
    place.empty()


def runner(page: Page) -> Callable[[], None]:
    """What Streamlit calls to draw a page."""
    return partial(draw, page)
