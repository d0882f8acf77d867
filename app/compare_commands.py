"""`mltwin compare`: scenarios and stored runs side by side."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import PLOTS, check_choice, check_ending, load_scenario
from .console import progress_bar, show_json, show_tables, split_words, tell
from .run_commands import (
    ErrorBars,
    Goodput,
    ProgressJson,
    Set,
    Workers,
    _draws,
    say_if_cold,
)

if TYPE_CHECKING:
    from mltwin import Comparison, Scenario
    from mltwin.differences import Differences
    from mltwin.text import Table

TABLES = ("means", "differences", "runs", "fields")
FORMATS = ("table", "json", "markdown", "csv")
_MOST_SEEDS = 1_000_000


def compare(
    items: Annotated[
        list[Path], typer.Argument(help="Scenario files, stored runs or folders of stored runs.")
    ],
    set_: Set = None,
    vary: Annotated[
        str | None,
        typer.Option(metavar="FIELD=A,B,..", help="Compare values of a field of one scenario."),
    ] = None,
    seeds: Annotated[
        str | None,
        typer.Option(metavar="N", help="How many seeds, from 0; or which: 5-9 or 3,7,11."),
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Name of the one to hold the others against; else the first.")
    ] = None,
    metrics: Annotated[
        list[str] | None, typer.Option(help="Only these, with commas between.")
    ] = None,
    table: Annotated[
        str | None, typer.Option(help="means, differences, runs or fields; default: means.")
    ] = None,
    least: Annotated[
        str | None,
        typer.Option(metavar="SHARE", help="The least difference that matters, 1% or 0.01."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the results in this folder.")] = None,
    goodput: Goodput = None,
    error_bars: ErrorBars = None,
    format: Annotated[str, typer.Option(help="table, json, markdown or csv.")] = "table",
    plot: Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a report: .html.")] = None,
    workers: Workers = None,
    progress_json: ProgressJson = False,
) -> None:
    """Run scenarios on the same seeds and set them side by side; the first is the base.

    Stored runs are taken as they are; those of a folder are grouped by scenario. Differences are
    paired by seed. With --least the table of differences also tells how many seeds would find a
    difference of that size.
    """
    import mltwin

    chosen = _table_of(table, least)
    check_choice("--table", chosen, TABLES)
    check_choice("--format", format, FORMATS)
    check_ending(report, "--report", (".html", ".htm"))
    check_ending(plot, "--plot", PLOTS)
    share = None if least is None else parse_share(least)
    wanted = None if seeds is None else parse_seeds(seeds)
    draws = None if error_bars is None else _draws(error_bars)
    todo = _todo(items, set_, goodput, vary)
    if not any(isinstance(item, mltwin.Scenario) for item in todo):
        _refuse_for_stored({"--seeds": seeds, "--set": set_, "--goodput": goodput})
    else:
        say_if_cold(*(item for item in todo if isinstance(item, mltwin.Scenario)))
    with progress_bar("comparing", as_json=progress_json) as update:
        compared = mltwin.compare(
            todo,
            seeds=wanted,
            base=base,
            workers=workers,
            store=out,
            progress=lambda done, n: update(done / n, f"{done} of {n} runs"),
            error_bars=draws,
        )
    shown = split_words(metrics)
    if plot is not None:
        (compared.plot_differences if chosen == "differences" else compared.plot)(plot, shown)
        tell(f"drawn to {plot}")
    if report is not None:
        compared.report(report, shown, least=share or 0.01)
        tell(f"written to {report}")
    _print(compared, chosen, format, shown, share)
    for note in compared.notes():
        tell(f"note: {note}")


def parse_seeds(text: str) -> list[int]:
    """Seeds as they are written on the command line: a number of them, a range or a list.

    >>> parse_seeds("3"), parse_seeds("5-7"), parse_seeds("3,9")
    ([0, 1, 2], [5, 6, 7], [3, 9])

    Raises InputError for anything else.
    """
    from mltwin import InputError

    found: list[int] = []
    if re.fullmatch(r"[0-9]{1,19}", text) and 0 < int(text) <= _MOST_SEEDS:
        found = list(range(int(text)))
    elif match := re.fullmatch(r"([0-9]{1,19})-([0-9]{1,19})", text):
        first, last = (int(part) for part in match.groups())
        found = list(range(first, last + 1)) if last - first < _MOST_SEEDS else []
    elif re.fullmatch(r"[0-9]{1,19}(,[0-9]{1,19})+,?|[0-9]{1,19},", text):
        found = [int(part) for part in text.split(",") if part]
    if not found or len(set(found)) < len(found) or max(found) >= 2**62:
        raise InputError(
            f"{text!r:.60} are no seeds",
            where="--seeds",
            mend="write how many (10), a range (5-9) or different ones (3,7,11)",
        )
    return found


def parse_share(text: str) -> float:
    """A share as it is written on the command line: `1%` or `0.01`.

    Raises InputError for anything that is no number above 0, and for 1 or more without the sign:
    who writes 5 means 5 %.
    """
    from mltwin import InputError

    number, percent = text.strip().removesuffix("%").strip(), text.strip().endswith("%")
    try:
        value = float(number) / (100 if percent else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e6:
        raise InputError(f"{text!r:.60} is no share", where="--least", mend="write 1% or 0.01")
    if value >= 1 and not percent:
        mend = f"write {number}% for per cent, or {100 * value:g}% if that is meant"
        raise InputError(f"{text!r:.60} is {100 * value:g} %", where="--least", mend=mend)
    return value


def _table_of(table: str | None, least: str | None) -> str:
    """The table asked for; --least alone asks for the differences."""
    return table or ("means" if least is None else "differences")


def _todo(
    items: list[Path], set_: list[str] | None, goodput: list[str] | None, vary: str | None
) -> list[Any]:
    """Scenarios, changed as the options say, and paths of stored runs."""
    todo: list[Any] = [
        item if _is_stored(item) else load_scenario(item, set_, goodput) for item in items
    ]
    return todo if vary is None else [one for item in todo for one in varied(item, vary)]


def _is_stored(item: Path) -> bool:
    return item.is_dir() or item.name == "run.json"


def varied(item: Any, vary: str) -> list["Scenario"]:
    """The scenarios that `--vary field=a,b` makes of one.

    Raises InputError for a text that is none of that, or an item that is no scenario.
    """
    from mltwin import InputError, Scenario
    from mltwin.tomlfile import parse_value

    field, equals, values = vary.partition("=")
    if not equals or not values or not isinstance(item, Scenario):
        raise InputError(
            f"{vary!r} varies nothing", where="--vary", mend="write field=a,b for a scenario file"
        )
    last = field.rpartition(".")[2]
    texts = [text.strip() for text in values.split(",")]
    return [item.changed({field: parse_value(text), "name": f"{last} = {text}"}) for text in texts]


def _refuse_for_stored(given: dict[str, Any]) -> None:
    from mltwin import InputError

    for option, value in given.items():
        if value:
            raise InputError(
                "changes nothing: all runs are stored ones", where=option, mend="leave it out"
            )


def _print(
    compared: "Comparison",
    which: str,
    format: str,
    metrics: list[str] | None,
    least: float | None,
) -> None:
    differences = compared.differences(metrics, least=least) if which == "differences" else None
    if format == "json":
        show_json(_data(compared, differences))
    elif format == "csv":
        print(_csv(compared, which, metrics, differences), end="")
    else:
        table = differences.table() if differences else _table(compared, which, metrics)
        if format == "markdown":
            print(table.markdown(), end="")
        else:
            show_tables(table)


def _data(compared: "Comparison", differences: "Differences | None") -> dict[str, Any]:
    """Runs by scenario; with differences, both under their names."""
    if differences is None:
        return compared.data()
    return {**differences.data(), "runs": compared.data()}


def _table(compared: "Comparison", which: str, metrics: list[str] | None) -> "Table":
    from mltwin.text import Table

    if which == "fields":
        return compared.fields()
    if which == "means":
        return compared.table(metrics)
    frame = compared.frame()
    shown = ["scenario", "seed", "digest", *(metrics or compared.headline())]
    rows = [[_cell(cell) for cell in row] for row in frame.reindex(columns=shown).itertuples(False)]
    return Table(shown, [[row[0], str(row[1]), row[2][:12], *row[3:]] for row in rows])


def _csv(
    compared: "Comparison",
    which: str,
    metrics: list[str] | None,
    differences: "Differences | None",
) -> str:
    """The table as CSV; of runs every column, of differences plain numbers."""
    from mltwin.csvfile import csv_text

    if differences is not None:
        return csv_text(differences.frame())
    return csv_text(
        compared.frame() if which == "runs" else _table(compared, which, metrics).frame()
    )


def _cell(cell: Any) -> Any:
    return cell.item() if hasattr(cell, "item") else cell
