"""What the verbs of `mltwin search` share: options, opening a scenario, showing what was found."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import check_choice, load_scenario
from .console import console, progress_bar, show_json, show_tables, tell, tell_error
from .run_commands import say_if_cold

if TYPE_CHECKING:
    from mltwin.searches.found import Found

Seeds = Annotated[
    str, typer.Option(metavar="N", help="How many seeds, from 0; or which: 5-9 or 3,7,11.")
]
Backend = Annotated[str, typer.Option(help="threads, processes, serial, dask or ray.")]
Address = Annotated[
    str | None, typer.Option(help="Of a Dask or Ray cluster; none: one is started here.")
]
Store = Annotated[
    Path | None,
    typer.Option(help="Keep runs in this folder and go on from it; default: runs in --out."),
]
Out = Annotated[
    Path | None, typer.Option(help="Write JSON, CSV, picture and HTML report into this folder.")
]
Format = Annotated[str, typer.Option(help="table, json or markdown.")]
Plot = Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.")]
Limit = Annotated[
    list[str] | None,
    typer.Option(metavar="METRIC<=BOUND", help="Has to hold, e.g. p99_ttft_ms<=500."),
]

NOT_FOUND = 1
"""Exit code where nothing keeps the limits."""


@contextmanager
def on_scenario(
    title: str,
    path: Path,
    set_: list[str] | None,
    goodput: list[str] | None,
    seeds: str,
    backend: str,
    address: str | None,
    store: Path | None,
    out: Path | None,
    workers: int | None,
    format: str,
    plot: Path | None,
    progress_json: bool,
) -> Iterator[tuple[Any, dict[str, Any]]]:
    """The scenario, and the options of all searches, with a progress bar while they run."""
    from .compare_commands import parse_seeds

    check_output(format, plot, out)
    loaded = load_scenario(path, set_, goodput)
    options: dict[str, Any] = {"seeds": parse_seeds(seeds), "workers": workers}
    options |= {"backend": backend, "address": address}
    options["store"] = store or (out / "runs" if out is not None else None)
    say_if_cold()
    with progress_bar(title, as_json=progress_json) as update:
        options["progress"] = update
        yield loaded, options


def check_output(format: str, plot: Path | None, out: Path | None) -> None:
    """Refuse what cannot be written before anything runs."""
    from mltwin import InputError

    check_choice("--format", format, ("table", "json", "markdown"))
    if plot is not None and plot.suffix.lower() not in (".png", ".svg", ".pdf"):
        raise InputError(
            f"cannot write {plot.name!r:.60}", where="--plot", mend="use .png, .svg or .pdf"
        )
    if out is not None:
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"{out}: {error.strerror}", where="--out") from None


def show_found(found: "Found", format: str, plot: Path | None, out: Path | None) -> None:
    """Print and write what was found.

    Exits with 1 and one line on what came closest where nothing keeps the limits.
    """
    if out is not None:
        for path in found.save(out):
            tell(f"written to {path}")
    if plot is not None:
        found.plot(plot)
        tell(f"drawn to {plot}")
    if format == "json":
        show_json(found.data())
    elif format == "markdown":
        for table in found.tables():
            print(table.markdown())
    else:
        tables = found.tables()
        show_tables(*tables)
        if found.reached:
            said = {table.caption for table in tables}
            for line in found.answer():
                if line not in said:
                    console().print(line, markup=False, soft_wrap=True)
    for note in found.notes:
        tell(f"note: {note}")
    if not found.reached:
        tell_error(" ".join(found.answer()))
        raise typer.Exit(NOT_FOUND)
