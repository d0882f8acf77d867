"""`mltwin timeline`: what happened where and when, for Perfetto or the replay view."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .arguments import load_scenario
from .console import progress_bar, tell
from .run_commands import ProgressJson, Set, say_if_cold

if TYPE_CHECKING:
    from mltwin import Result

_PERFETTO = (".json", ".gz")
_PICTURES = (".html", ".htm", ".png", ".svg", ".pdf", ".csv", ".parquet", ".txt", ".pftrace")


def timeline(
    source: Annotated[Path, typer.Argument(help="A scenario file, or the folder of a stored run.")],
    out: Annotated[
        Path,
        typer.Argument(
            help="A .json.gz for Perfetto, or a folder for the replay view's tables (Parquet)."
        ),
    ],
    window: Annotated[
        str | None,
        typer.Option(metavar="A:B", help="Only these seconds of the run, e.g. 60:90."),
    ] = None,
    requests: Annotated[
        int, typer.Option(min=0, help="How many requests: the slowest, others drawn evenly.")
    ] = 500,
    max_events: Annotated[
        int | None,
        typer.Option(min=1, help="Of the file; what does not fit is merged. Default: 300000."),
    ] = None,
    rows: Annotated[int, typer.Option(min=1, help="Of each of the replay view's tables.")] = 5000,
    seed: Annotated[
        int | None, typer.Option(min=0, help="Of the run (else its own), and of the sample.")
    ] = None,
    set_: Set = None,
    progress_json: ProgressJson = False,
) -> None:
    """Write what happened where and when: batches, transfers, requests, queues, memory.

    Open the file at ui.perfetto.dev (it stays on your machine) or in chrome://tracing.
    """
    from mltwin import InputError
    from mltwin.timelines.timeline import MAX_EVENTS

    if out.suffix.lower() in _PICTURES:
        mend = "give a .json.gz for Perfetto, or a folder"
        raise InputError(f"cannot write {out.name!r:.60}", where="out", mend=mend)
    window_s = None if window is None else _window(window)
    result = _result(source, set_, seed, progress_json)
    made = result.timeline(window_s=window_s, requests=requests, seed=seed or 0)
    if window_s is not None:
        _check_window(window_s, made.span_s()[1] if made.run_s is None else made.run_s)
    if out.suffix in _PERFETTO:
        notes = made.save(out, max_events=max_events or MAX_EVENTS)
        tell(f"written to {out}; open it at ui.perfetto.dev")
    else:
        replay = made.replay(window_s, rows=rows)
        replay.save(out)
        notes = replay.notes
        tell(f"the replay view's tables are in {out}")
    for note in notes:
        tell(f"note: {note}")


def _result(source: Path, set_: list[str] | None, seed: int | None, as_json: bool) -> "Result":
    """A stored run, or a scenario run with the logs that a timeline needs."""
    from mltwin import InputError, Result
    from mltwin.timelines.source import run_with_logs

    if source.is_dir():
        if set_:
            raise InputError("a stored run is what it is", where="--set", mend="name a scenario")
        return Result.load(source)
    scenario = load_scenario(source, set_, None)
    say_if_cold(scenario)
    with progress_bar(scenario.label, as_json=as_json) as update:
        return run_with_logs(
            scenario, seed, progress=lambda share, now: update(share, f"{now:,.0f} s")
        )


def _check_window(window_s: tuple[float, float], run_s: float) -> None:
    """Refuse a window in which nothing can be."""
    from mltwin import InputError

    if window_s[0] >= run_s:
        raise InputError(
            f"begins at {window_s[0]:g} s, when the run is over",
            where="--window",
            mend=f"it lasts {run_s:.4g} s",
        )


def _window(text: str) -> tuple[float, float]:
    from mltwin import InputError

    low, colon, high = text.partition(":")
    try:
        if colon:
            return float(low), float(high)
    except ValueError:
        pass
    raise InputError(f"{text!r} is no window", where="--window", mend="write from:to in seconds")
