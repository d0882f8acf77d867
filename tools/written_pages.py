"""The command line of a tool that writes pages of the documentation from the code."""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path


def write_pages(pages: Mapping[Path, Callable[[], str]]) -> int:
    """Write the pages, or with --check compare them; the exit code, 1 where one is out of date."""
    current = True
    for place, make in pages.items():
        text = make()
        if "--check" in sys.argv[1:]:
            current &= place.is_file() and place.read_text(encoding="utf-8") == text
        else:
            place.write_text(text, encoding="utf-8")
    return 0 if current else 1
