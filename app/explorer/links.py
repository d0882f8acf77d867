"""Links from one page of the explorer to another, with choices, within the visitor's session."""

from collections.abc import Mapping
from typing import Any

from .frame import pages, runner
from .view import encode


def page_link(
    slug: str,
    label: str,
    choices: Mapping[str, Any],
    defaults: Mapping[str, Any],
    *,
    icon: str | None = None,
) -> None:
    """A link to a page that opens with these choices; nothing where there is no such page.

    Unlike an address in a text it stays in this session, where the visitor's uploads are known.
    """
    import streamlit as st

    page = next((page for page in pages() if page.slug == slug), None)
    if page is None:
        return
    known = {k: v for k, v in choices.items() if k in defaults and v != defaults[k]}
    params = {k: encode(v, defaults[k]) for k, v in known.items()}
    entry = st.Page(runner(page), title=page.title, icon=page.icon, url_path=page.slug)
    st.page_link(entry, label=label, icon=icon or page.icon, query_params=params)
