"""`mltwin traces inspect`: what a trace is like, and what is odd about it."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .arguments import check_choice
from .console import show_json, show_tables, tell
from .shelf_commands import Name
from .shelf_commands import traces as traces


@traces.command("inspect")
def inspect_trace(
    name: Name,
    format: Annotated[str, typer.Option(help="table, json or markdown.")] = "table",
    report: Annotated[Path | None, typer.Option(help="Write a page with pictures: .html.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.")] = None,
    as_: Annotated[
        str, typer.Option("--as", metavar="FORMAT", help="The file's format; auto looks at it.")
    ] = "auto",
    columns: Annotated[
        str | None, typer.Option(help='Column map as JSON: {"arrival": "ts", ...}.')
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of a synthetic trace.")] = 0,
) -> None:
    """Statistics, burstiness and quality of a trace: a name of the catalogue, or a file."""
    from mltwin.trace_report import inspect_trace as inspected

    check_choice("--format", format, ("table", "json", "markdown"))
    made = inspected(name, seed=seed, **_reading(as_, columns))
    if report is not None:
        tell(f"report: {made.save(report)}")
    if plot is not None:
        made.plot(plot)
        tell(f"drawn to {plot}")
    tables = [made.statistics_table(), made.findings_table()]
    if format == "json":
        show_json(made.data())
    elif format == "markdown":
        print("\n".join(table.markdown() for table in tables), end="")
    else:
        show_tables(*tables)
    if made.refused:
        tell(f"as it stands the simulator refuses the file: {made.refused}")


def _reading(format: str, columns: str | None) -> dict[str, Any]:
    """Options of the reader; those of a name in the catalogue stay as they are."""
    from .shelf_commands import column_map

    chosen: dict[str, Any] = {} if format == "auto" else {"format": format}
    return chosen if columns is None else {**chosen, "columns": column_map(columns)}
