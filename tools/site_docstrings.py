"""An extension of Griffe, which reads the docstrings of the Python reference.

A class may describe its fields in lines of `name: what it is` without a heading, and several fields
in one line. Here they get the heading "Attributes:" and a line each, which Griffe expects.
"""

import re
from typing import Any

import griffe

_NAMES = r"[a-z_]\w*(?:, [a-z_]\w*)*"
_ENTRY = re.compile(rf"{_NAMES}: \S")
_SECTION = re.compile(r"^Attributes:\n((?:    .*\n?|\n(?=    ))*)", re.M)
_JOINT = re.compile(rf"^    ({_NAMES})(: .*(?:\n {{5,}}.*)*)", re.M)


class FieldLists(griffe.Extension):
    """Gives lists of fields in class docstrings their heading, and each field its line."""

    def on_class(self, *, cls: Any, **_: Any) -> None:
        """Called for each class that was read."""
        if cls.docstring is not None:
            cls.docstring.value = one_a_line(with_heading(cls.docstring.value))


def with_heading(text: str) -> str:
    """A docstring whose paragraph of entries, if it has one, is a section.

    >>> print(with_heading("A run.\\n\\nseed: of all draws.\\nnotes: things worth\\n    knowing."))
    A run.
    <BLANKLINE>
    Attributes:
        seed: of all draws.
        notes: things worth
            knowing.
    """
    paragraphs = text.split("\n\n")
    return "\n\n".join(_section(p) if is_list(p) else p for p in paragraphs)


def is_list(paragraph: str) -> bool:
    """Whether a paragraph has two entries or more, and nothing else but their indented rest."""
    lines = paragraph.splitlines()
    entries = [line for line in lines if not line.startswith(" ")]
    return len(entries) >= 2 and all(_ENTRY.match(line) for line in entries)


def one_a_line(text: str) -> str:
    """A docstring in whose sections of attributes each name has an entry of its own.

    >>> print(one_a_line("Attributes:\\n    low, high: bounds."))
    Attributes:
        low: bounds.
        high: bounds.
    """

    def parted(entry: re.Match[str]) -> str:
        return "\n".join(f"    {name}{entry[2]}" for name in entry[1].split(", "))

    return _SECTION.sub(lambda found: _JOINT.sub(parted, found[0]), text)


def _section(paragraph: str) -> str:
    return "Attributes:\n" + "\n".join(f"    {line}" for line in paragraph.splitlines())
