"""Writes docs/theory/serving-rules.md: the rules of the serving model, from its docstring.

`python tools/rules_page.py` writes the page, `--check` says whether it is current.
"""

import re
import sys
from pathlib import Path

from reference_page import rows
from written_pages import write_pages

PAGE = Path(__file__).resolve().parent.parent / "docs" / "theory" / "serving-rules.md"

HEAD = """\
# Serving: the rules

The docstring of `mltwin.models.serving`, which kernel and reference both follow; made by
`python tools/rules_page.py`, and a test holds it current. Equations and limits:
[Serving](serving.md)."""


def page() -> str:
    """The whole page."""
    import mltwin.models.serving as serving

    first, _, rest = (serving.__doc__ or "").partition("\n\n")
    return f"{HEAD}\n\n{first}\n\n{with_lists(with_tables(rest.strip()))}\n"


def with_tables(text: str) -> str:
    """A docstring's tables, ruled with `===`, as Markdown."""
    lines, made, at = text.splitlines(), [], 0
    while at < len(lines):
        if not re.fullmatch(r"=+( +=+)+", lines[at]):
            made.append(lines[at])
            at += 1
            continue
        starts = [found.start() for found in re.finditer(r"=+", lines[at])]
        end = next(i for i in range(at + 3, len(lines)) if lines[i].startswith("="))
        body = [cells(line, starts) for line in lines[at + 3 : end]]
        made.append(rows(cells(lines[at + 1], starts), merged(body)))
        at = end + 1
    return "\n".join(made)


def cells(line: str, starts: list[int]) -> list[str]:
    """A line of a table cut at its columns."""
    ends = [*starts[1:], len(line)]
    return [line[a:b].strip() for a, b in zip(starts, ends, strict=True)]


def merged(body: list[list[str]]) -> list[list[str]]:
    """Lines without a first cell go on with the line above."""
    made: list[list[str]] = []
    for line in body:
        if line[0]:
            made.append(line)
        else:
            made[-1] = [f"{a} {b}".strip() for a, b in zip(made[-1], line, strict=True)]
    return made


def with_lists(text: str) -> str:
    """Steps within steps, `a.` below `3.`, as Markdown wants them: bullets, four blanks deep."""
    deeper = re.sub(r"^   (?=\S)", "    ", text, flags=re.M)
    lettered = re.sub(r"^    ([a-z])\. ", r"    - *\1.* ", deeper, flags=re.M)
    apart = re.sub(r"(?<=\S)\n(    - |1\. |- )", r"\n\n\1", lettered)
    return re.sub(r"(\n {6,}\S.*)\n(    [^ -])", r"\1\n\n\2", apart)


def main() -> int:
    """Write the page, or with --check compare it."""
    return write_pages({PAGE: page})


if __name__ == "__main__":
    sys.exit(main())
