"""What the command line prints with: tables, progress, one red line for an error."""

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from mltwin.text import Table

# A pipe has no width of its own; tables that are read later should not be cut.
_PIPE_WIDTH = 160
_SHOW_AFTER_S = 2.0


def console(*, stderr: bool = False) -> "Console":
    """A rich console on standard output (or error), wide where it is no terminal."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    width = None if stream.isatty() else _PIPE_WIDTH
    return Console(stderr=stderr, width=width, highlight=False, soft_wrap=False)


def show_tables(*tables: "Table") -> None:
    """Print tables to standard output."""
    out = console()
    for table in tables:
        out.print(table.rich())


def show_json(data: Any) -> None:
    """Print data as JSON to standard output."""
    print(json.dumps(data, indent=1, allow_nan=False))


def tell(text: str) -> None:
    """A line for the reader on standard error, out of the way of results."""
    from rich.markup import escape

    console(stderr=True).print(f"[dim]{escape(text)}[/]")


def tell_error(text: str) -> None:
    """One red line on standard error."""
    from rich.markup import escape

    err = console(stderr=True)
    err.print(f"[bold red]error:[/] [red]{escape(text)}[/]", soft_wrap=True)


def split_words(words: list[str] | None) -> list[str] | None:
    """The words of an option that may be repeated or hold commas; None where it was not given."""
    return [part for word in words for part in word.split(",") if part] if words else None


def report_progress_json(share: float, text: str) -> None:
    """One JSON line on standard error, for programs that watch."""
    line = json.dumps({"progress": round(share, 4), "text": text})
    print(line, file=sys.stderr, flush=True)


@contextmanager
def progress_bar(title: str, *, as_json: bool = False) -> Iterator[Callable[[float, str], None]]:
    """A function to call with (share done, text).

    On a terminal it draws a bar once two seconds have gone by; `as_json` prints JSON lines
    instead; elsewhere it is silent.
    """
    if as_json:
        yield report_progress_json
        return
    if not sys.stderr.isatty():
        yield lambda share, text: None
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    started = time.monotonic()
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f} %"),
        TimeRemainingColumn(),
        TextColumn("[dim]{task.fields[text]}[/]"),
        console=console(stderr=True),
        transient=True,
    )
    task = bar.add_task(title, total=1.0, text="")
    running = False

    def update(share: float, text: str) -> None:
        nonlocal running
        if not running and share < 1.0 and time.monotonic() - started > _SHOW_AFTER_S:
            bar.start()
            running = True
        bar.update(task, completed=share)
        if text:
            bar.update(task, text=text)

    try:
        yield update
    finally:
        if running:
            bar.stop()
