"""`View`: the choices a visitor made on a page, kept in the URL.

Each choice that differs from its default is one parameter of the URL (`?rate=30&route=random`: a
text as it stands, anything else as JSON), so that a link shows the same view elsewhere, a reload
keeps it, and one can read it. What a link says is not trusted: where a choice is unknown, too long
or of another type than its default, the page says so in one line and shows its defaults.
"""

import json
import math
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

PRIVATE = ("run", "pin", "files")
"""Parameters that let one reach a visitor's jobs and uploads: never part of a link to share."""
MAX_LINK = 8000
"""Characters of all choices of a link together."""
_DEEPEST = 6


def encode(value: Any, default: Any) -> str:
    """A choice as text of a URL: a text as it stands unless it would be read as something else."""
    if isinstance(value, str) and isinstance(default, str):
        return value
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def decode(text: str, default: Any) -> Any:
    """The choice that a text of a URL stands for.

    Raises ValueError for what is no JSON, not finite, too deep, or of another type than a default
    that is not None.
    """
    if isinstance(default, str):
        return text
    try:
        value = json.loads(text, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("too deep") from None
    _check(value, _DEEPEST)
    if isinstance(default, float) and type(value) is int:
        value = float(value)
    if default is not None and type(value) is not type(default):
        raise ValueError(f"is no {type(default).__name__}")
    return value


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number")


def _check(value: Any, depth: int) -> None:
    """A value that JSON and a scenario can hold: finite numbers of a sane size, not too deep."""
    if depth == 0:
        raise ValueError("too deep")
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return
    if isinstance(value, int | float):
        if not math.isfinite(value) or abs(value) > 1e15:
            raise ValueError("too large")
        return
    parts = value if isinstance(value, list) else value.values()
    for part in parts:
        _check(part, depth - 1)


def link_of(slug: str, choices: Mapping[str, Any], defaults: Mapping[str, Any]) -> str:
    """A relative URL of a page with these choices; those equal to their defaults are left out."""
    changed = {k: v for k, v in choices.items() if v != defaults[k]}
    query = urlencode({k: encode(v, defaults[k]) for k, v in changed.items()})
    return f"/{slug}?{query}" if query else f"/{slug}"


def read_choices(
    given: Mapping[str, str], defaults: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """The choices that the parameters of a URL stand for, and what was wrong with them."""
    choices, wrong = dict(defaults), []
    known = {k: v for k, v in given.items() if k not in PRIVATE}
    if sum(len(k) + len(v) for k, v in known.items()) > MAX_LINK:
        return choices, [f"it is longer than {MAX_LINK:,} characters"]
    for name, text in known.items():
        if name not in defaults:
            wrong.append(f"there is no choice {name[:40]!r}")
            continue
        try:
            choices[name] = decode(text, defaults[name])
        except ValueError:
            wrong.append(f"{name} cannot be {text[:40]!r}")
    return choices, wrong


_LATE_S = 1.5
_NEW: dict[str, Any] = {
    "choices": None,
    "url": {},
    "made": 0,
    "refused": "",
    "at": 0.0,
    "before": [],
}


class View:
    """The choices of one page in this browser tab.

    They are read from the URL when the page is opened or the URL changes from outside, and written
    back by `set`. Going to another page and back keeps them.

    fresh: whether they have just been read from the URL, so that the page should check them.
    """

    def __init__(self, slug: str, defaults: Mapping[str, Any]) -> None:
        """slug: of the page. defaults: each choice with its default, plain JSON data."""
        import streamlit as st

        self.slug, self.defaults = slug, dict(defaults)
        kept = st.session_state.setdefault(f"view.{slug}", dict(_NEW))
        self._kept: dict[str, Any] = kept
        self.fresh = self._shown = False
        given = {k: v for k, v in st.query_params.to_dict().items() if k not in PRIVATE}
        if kept["choices"] is None:
            self._open(given)
        elif given != kept["url"]:
            if not st.query_params.to_dict() and st.session_state.get("arrived"):
                self._write()
            elif not self._is_late(given):
                self._open(given)
        if kept["refused"]:
            self._tell()
        self._shown = True

    def _is_late(self, given: Mapping[str, str]) -> bool:
        """Whether a control was moved before the browser had heard of the URL written last: it
        then sends the one before. Only time tells this from the browser's Back."""
        recent = time.monotonic() - self._kept["at"] < _LATE_S
        return recent and given in self._kept["before"]

    def _open(self, given: Mapping[str, str]) -> None:
        self.fresh, self._kept["refused"] = True, ""
        choices, wrong = read_choices(given, self.defaults)
        self._kept["choices"], self._kept["made"] = choices, self._kept["made"] + 1
        if wrong:
            self.refuse("; ".join(wrong[:3]))
            return
        self._kept["url"] = dict(given)

    def refuse(self, why: str) -> None:
        """Tell that the link could not be followed, and go back to the defaults. The page says so
        until a choice is made."""
        told = bool(self._kept["refused"])
        self._kept.update(choices=dict(self.defaults), made=self._kept["made"] + 1, refused=why)
        self._write()
        if not told and self._shown:
            self._tell()

    def _tell(self) -> None:
        import streamlit as st

        from .show import escaped

        why = escaped(self._kept["refused"])
        st.warning(f"The link could not be followed ({why}). Showing the defaults.")

    @property
    def choices(self) -> dict[str, Any]:
        """All choices."""
        return dict(self._kept["choices"])

    def get(self, name: str) -> Any:
        """One choice."""
        return self._kept["choices"][name]

    def key(self, name: str) -> str:
        """The key for the widget of a choice: a new one when the URL was changed from outside, so
        that the widget shows what the URL says."""
        return f"{self.slug}.{name}.{self._kept['made']}"

    def set(self, **changes: Any) -> None:
        """Take choices over, into the URL too."""
        unknown = set(changes) - set(self.defaults)
        if unknown:
            raise KeyError(f"{self.slug} has no choice {sorted(unknown)}")
        if any(self._kept["choices"][k] != v for k, v in changes.items()):
            self._kept["choices"].update(changes)
            self._kept["refused"] = ""
            self._write()

    def restart(self, **changes: Any) -> None:
        """Take choices over that widgets hold too: the widgets are made anew with them."""
        self._kept["made"] += 1
        self.set(**changes)

    def link(self) -> str:
        """A relative URL of this view, to share: it holds no run and no upload."""
        return link_of(self.slug, self._kept["choices"], self.defaults)

    def _write(self) -> None:
        """Bring the URL in line with the choices."""
        import streamlit as st

        params = {
            k: encode(v, self.defaults[k])
            for k, v in self._kept["choices"].items()
            if v != self.defaults[k]
        }
        if params != self._kept["url"]:
            self._kept["before"] = [*self._kept["before"][-5:], self._kept["url"]]
            self._kept["url"], self._kept["at"] = params, time.monotonic()
        held = {k: v for k, v in st.query_params.to_dict().items() if k in PRIVATE}
        if st.query_params.to_dict() != {**params, **held}:
            st.query_params.from_dict({**params, **held})
