"""The router of the explorer: Streamlit runs this file at every change of a control."""

from typing import Any

import streamlit as st

from mltwin.app.explorer import theme
from mltwin.app.explorer.frame import pages, runner

st.set_page_config("mltwin", page_icon=theme.icon(), layout="wide")
st.logo(theme.LOGO, size="large")
st.html(theme.STYLE)

groups: dict[str, list[Any]] = {}
for page in pages():
    entry = st.Page(runner(page), title=page.title, icon=page.icon, url_path=page.slug)
    groups.setdefault(page.section, []).append(entry)
first = next(iter(groups.values()))[0]


def home() -> None:
    """The bare address leads to the first page, so that each page has one address."""
    st.switch_page(first)


start = st.Page(home, title="Start", default=True, visibility="hidden")
st.navigation({"": [start], **groups}, position="top").run()
