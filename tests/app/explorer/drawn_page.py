"""A page of the explorer as a link opens it."""

import json
from typing import Any

from streamlit.testing.v1 import AppTest


def drawn_page(slug: str, **choices: Any) -> AppTest:
    """The page of that slug with these choices in its URL, once its job is over.

    A choice that is no text is put in as JSON, as the pages themselves do.
    """
    script = (
        "from mltwin.app.explorer.frame import draw\n"
        f"from mltwin.app.explorer.pages.{slug} import PAGE\n"
        "draw(PAGE)\n"
    )
    page = AppTest.from_string(script, default_timeout=120)
    for name, value in choices.items():
        page.query_params[name] = value if isinstance(value, str) else json.dumps(value)
    page.run()
    for _ in range(60):
        if not any(button.label == "Cancel" for button in page.button):
            break
        page.run()
    assert not page.exception
    return page
