"""`mltwin validate`: how far the twin is from kernels, deployments and an engine measured here."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from .console import progress_bar, show_json, show_tables, split_words, tell

validate = typer.Typer(
    help="Compare the twin with what was measured: kernels, deployments, an engine.",
    no_args_is_help=True,
)
Words = list[str] | None
DATA_HELP = "The data folder, or a folder of measurements in the same form [MLTWIN_DATA]."
Data = Annotated[Path | None, typer.Option(help=DATA_HELP, show_default=False)]
Out = Annotated[
    Path | None, typer.Option(help="Folder for the report: every pair, tables, a picture.")
]
AsJson = Annotated[bool, typer.Option("--json", help="The scores as JSON.")]
ProgressJson = Annotated[
    bool, typer.Option("--progress-json", help="Progress as JSON lines on standard error.")
]


def _data_folder(given: Path | None) -> Path:
    """The folder that was given, or that MLTWIN_DATA names."""
    if given is None:
        named = os.environ.get("MLTWIN_DATA")
        if not named:
            raise typer.BadParameter("give --data FOLDER, or set MLTWIN_DATA")
        given = Path(named)
    if not given.exists():
        raise typer.BadParameter(f"no such folder: {given}")
    return given


def _show(report: Any, out: Path | None, as_json: bool) -> None:
    """Print a report and write its files, if asked for."""
    written = report.save(out) if out is not None else []
    if as_json:
        show_json(report.data())
    else:
        show_tables(*report.tables())
    for path in written:
        tell(f"wrote {path}")


@validate.command("serving")
def serving(
    data: Data = None,
    only: Annotated[
        Words,
        typer.Option(
            help="Only these sources (repeat, or commas): llmservingsim, apex_plus, mlperf, "
            "mooncake, silicon."
        ),
    ] = None,
    sample: Annotated[
        int | None, typer.Option(min=1, help="At most so many rows of the silicon sample.")
    ] = None,
    kernels: Annotated[
        Path | None, typer.Option(help="The data folder with kernel tables, if another.")
    ] = None,
    out: Out = None,
    progress_json: ProgressJson = False,
    json_: AsJson = False,
) -> None:
    """Replay measured deployments and compare TTFT, TPOT and latency with what was measured.

    Tables by source, load (below, at, past the knee), GPU, engine, model and mode.
    """
    from mltwin.validation.report import ValidationReport
    from mltwin.validation.serving import FITTED, validate_serving

    folder = _data_folder(data)
    with progress_bar("replaying", as_json=progress_json) as progress:
        pairs = validate_serving(
            folder, only=split_words(only), sample=sample, progress=progress, kernels=kernels
        )
    report = ValidationReport(pairs, fitted=FITTED)
    _show(report, out, json_)
    if not json_:
        for reason, count in report.unanswered().items():
            tell(f"{count} unanswered: {reason}")


@validate.command("kernels")
def kernels(
    data: Data = None,
    gpu: Annotated[Words, typer.Option(help="Only these GPUs (repeat, or commas).")] = None,
    refit: Annotated[
        bool, typer.Option("--refit/--shipped", help="Refit on a split, or score what is shipped.")
    ] = True,
    out: Out = None,
    progress_json: ProgressJson = False,
    json_: AsJson = False,
) -> None:
    """Score fitted kernels on shapes, heads, a model and a GPU that they have not seen.

    Beside them: plain roofline, random forest and nearest neighbour on the same split, and the
    noise floor of the measurements.
    """
    from mltwin.validation.kernels import validate_kernels

    folder = _data_folder(data)
    with progress_bar("fitting", as_json=progress_json) as progress:
        report = validate_kernels(folder, gpus=split_words(gpu), progress=progress, refit=refit)
    _show(report, out, json_)


@validate.command("local")
def local(
    load: Annotated[
        Words, typer.Option(help="Loads as shares of capacity (repeat, or commas).")
    ] = None,
    repeats: Annotated[int, typer.Option(min=1, help="Real runs of each load.")] = 3,
    requests: Annotated[int, typer.Option(min=10, help="Requests of a run.")] = 250,
    seed: Annotated[int, typer.Option(min=0, help="Of the arrivals and lengths.")] = 0,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Of the engine [half of the cores, at most two].")
    ] = None,
    out: Out = None,
    progress_json: ProgressJson = False,
    json_: AsJson = False,
) -> None:
    """Predict a real engine on this machine, then run it: OpenVINO GenAI (extra localtwin).

    Calibrates, predicts Poisson runs at shares of capacity, runs each for real several times,
    and prints predicted, real, and real against real.
    """
    from mltwin.validation.local import validate_local

    loads = _loads(load) or (0.5, 0.8, 1.1)
    with progress_bar("running", as_json=progress_json) as progress:
        report = validate_local(
            loads=loads,
            repeats=repeats,
            requests=requests,
            seed=seed,
            out=out,
            progress=progress,
            threads=threads,
        )
    _show(report, out, json_)


@validate.command("show")
def show(
    file: Annotated[Path, typer.Argument(help="pairs.csv or groups.csv of a report's folder.")],
    json_: AsJson = False,
    points: Annotated[
        int, typer.Option(min=0, help="With --json: at most so many of the pairs.")
    ] = 0,
) -> None:
    """Print a stored report once more, from the pairs or groups that `--out` left."""
    from mltwin.validation.reading import points_of, read_report

    report = read_report(file)
    if json_:
        show_json({**report.data(), "kind": report.kind, "points": points_of(report, points)})
    else:
        show_tables(*report.tables())


def _loads(words: Words) -> tuple[float, ...] | None:
    found = split_words(words)
    if found is None:
        return None
    try:
        loads = tuple(float(word) for word in found)
    except ValueError:
        loads = (0.0,)
    if not all(0 < load < 10 for load in loads):
        raise typer.BadParameter("--load takes shares of capacity, e.g. 0.5,0.8,1.1")
    return loads
