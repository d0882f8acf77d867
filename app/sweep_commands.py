"""`mltwin sweep`: a study on every core or a cluster, and how far it has come."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import assignments
from .console import console, progress_bar, show_json, show_tables, split_words, tell, tell_error
from .run_commands import ProgressJson, Set, Workers, say_if_cold

if TYPE_CHECKING:
    from mltwin.sweeps.study import Study
    from mltwin.sweeps.sweep import Sweep

_MOST_ROWS = 60
_LIVE_ROWS = 30
_STATUS = "status"

Out = Annotated[
    Path | None,
    typer.Option(help="Keep rows in this folder; default: the study's, or results/sweep-NAME."),
]
Backend = Annotated[
    str | None, typer.Option(help="threads, processes, serial, dask or ray; default: the study's.")
]


def sweep(
    study: Annotated[
        str, typer.Argument(help="A study file; or `status` and the folder of a sweep.")
    ],
    folder: Annotated[Path | None, typer.Argument(help="status: of which sweep.")] = None,
    set_: Set = None,
    seeds: Annotated[
        int | None, typer.Option(min=1, help="How many; default: the study's.")
    ] = None,
    backend: Backend = None,
    workers: Workers = None,
    address: Annotated[
        str | None, typer.Option(help="Of a Dask or Ray cluster; none: one is started here.")
    ] = None,
    out: Out = None,
    keep: Annotated[bool, typer.Option("--keep/--no-keep", help="Keep rows in a folder.")] = True,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Run failed runs again.")
    ] = False,
    metrics: Annotated[
        list[str] | None, typer.Option(help="Only these, with commas between.")
    ] = None,
    format: Annotated[str, typer.Option(help="table, json or markdown.")] = "table",
    plot: Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write one HTML page.")] = None,
    export: Annotated[Path | None, typer.Option(help="Write all runs: .csv or .parquet.")] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Show the table while it fills (on a terminal).")
    ] = False,
    progress_json: ProgressJson = False,
) -> None:
    """Run a study: a scenario at many points, each on the same seeds.

    Killed or interrupted, the same command goes on where it was. `mltwin sweep status FOLDER`
    shows how far one has come, also while it runs.
    """
    from mltwin import InputError

    if format not in ("table", "json", "markdown"):
        raise InputError(
            f"unknown value {format!r}", where="--format", mend="use table, json or markdown"
        )
    chosen = split_words(metrics)
    if study == _STATUS:
        found = _status(folder)
    elif folder is not None:
        raise InputError(f"{str(folder)!r} stands behind the study", mend="give one study file")
    else:
        options = {"backend": backend, "workers": workers, "address": address}
        planned = _study(study, set_, seeds)
        say_if_cold(planned.base)
        found = _swept(
            planned,
            {name: value for name, value in options.items() if value is not None},
            _store(out, keep),
            retry_failed=retry_failed,
            live=live and not progress_json,
            progress_json=progress_json,
        )
    chosen = chosen or list(found.record.metrics) or None  # a misspelt one is told
    _write(found, chosen, plot, report, export)
    _show(found, chosen, format)
    if found.failures:
        retry = "" if study == _STATUS else "; --retry-failed runs them again"
        tell_error(f"{len(found.failures)} of {found.total} runs failed{retry}")
        raise typer.Exit(1)


def _status(folder: Path | None) -> "Sweep":
    from mltwin import InputError
    from mltwin.sweeps.sweep import Sweep

    if folder is None:
        raise InputError("no folder", where="sweep status", mend="mltwin sweep status FOLDER")
    return Sweep.load(folder)


def _study(study: str, set_: list[str] | None, seeds: int | None) -> "Study":
    """The study of a file.

    Raises InputError, for a scenario in place of a study too: the likeliest slip.
    """
    from mltwin import InputError
    from mltwin.sweeps.study import load_study
    from mltwin.tomlfile import read_toml

    if "system" in read_toml(study):
        raise InputError(
            "is a scenario, not a study",
            where=study,
            mend=f'write a study: scenario = "{Path(study).name}" and the fields of a [grid]',
        )
    return load_study(study, changes=assignments(set_), seeds=seeds)


def _store(out: Path | None, keep: bool) -> Path | bool | None:
    """The folder asked for; True: the usual one; None: none."""
    from mltwin import InputError

    if out is not None and not keep:
        raise InputError("and --out exclude each other", where="--no-keep", mend="leave one out")
    return out if out is not None else (True if keep else None)


def _swept(
    study: "Study",
    options: dict[str, Any],
    store: Path | bool | None,
    *,
    retry_failed: bool,
    live: bool,
    progress_json: bool,
) -> "Sweep":
    """Run the study; what is done stays when it is interrupted."""
    from mltwin.sweeps.run import sweep as run_study

    given = {**study.options, **options}
    usual = given.pop("store", None) or Path("results") / f"sweep-{_file_name(study.name)}"
    folder = usual if store is True else store
    if given.get("backend") not in ("dask", "ray") and "address" not in options:
        given["address"] = None
    done = 0

    try:
        with _progress(study.name, live, progress_json) as (say, show):

            def progress(now: int, total: int) -> None:
                nonlocal done
                done = now
                say(now / max(total, 1), f"{now} of {total} runs")

            found = run_study(
                study,
                store=folder or None,
                progress=progress,
                live=show,
                retry_failed=retry_failed,
                **given,
            )
    except KeyboardInterrupt:
        if folder:
            tell(f"{done} of {study.runs} runs are kept in {folder}; the same command goes on")
        raise
    if folder:
        tell(f"kept in {folder}")
    return found


def _file_name(name: str) -> str:
    """A name without what file names may not hold."""
    return re.sub(r"[^\w.-]+", "-", name)[:80]


Say = Callable[[float, str], None]
ShowLive = Callable[["Sweep"], None] | None


@contextmanager
def _progress(title: str, live: bool, as_json: bool) -> Iterator[tuple[Say, ShowLive]]:
    """A bar, JSON lines, or a table that fills while runs come in."""
    screen = console(stderr=True)
    if not live or not screen.is_terminal:
        with progress_bar(title, as_json=as_json) as update:
            yield update, None
        return
    from rich.live import Live

    started = time.monotonic()
    with Live(console=screen, transient=True, auto_refresh=False) as drawn:

        def show(found: "Sweep") -> None:
            table = found.table(most=_LIVE_ROWS)
            left_s = (time.monotonic() - started) * (found.total / max(found.done, 1) - 1)
            table.caption = f"{found.done} of {found.total} runs, about {left_s:,.0f} s left"
            drawn.update(table.rich(), refresh=True)

        yield lambda share, text: None, show


def _write(
    found: "Sweep",
    metrics: list[str] | None,
    plot: Path | None,
    report: Path | None,
    export: Path | None,
) -> None:
    if plot is not None:
        found.plot(plot, metrics)
        tell(f"drawn to {plot}")
    if report is not None:
        tell(f"report: {found.report(report, metrics)}")
    if export is not None:
        tell(f"written to {found.export(export)}")


def _show(found: "Sweep", metrics: list[str] | None, format: str) -> None:
    for notice in found.notices:
        tell(f"note: {notice}")
    if format == "json":
        show_json(found.data())
        return
    table = found.table(metrics, most=_MOST_ROWS)
    if format == "markdown":
        print(table.markdown(), end="")
    else:
        show_tables(table)
    if found.failures:
        console(stderr=True).print(found.failure_table().rich())
    if found.done == found.total:
        tell(f"digest {found.digest}")
