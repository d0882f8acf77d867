"""`mltwin calibrate`: measure this machine, fit a profile, follow a running deployment."""

from pathlib import Path
from typing import Annotated

import typer

from .console import progress_bar, show_json, show_tables, split_words, tell

calibrate = typer.Typer(
    help="Measure hardware, fit profiles, follow a deployment.", no_args_is_help=True
)
Words = list[str] | None


def _numbers(words: Words, option: str) -> list[int] | None:
    found = split_words(words)
    if found is None:
        return None
    if not all(word.isdigit() and int(word) > 0 for word in found):
        raise typer.BadParameter(f"{option} takes positive numbers, e.g. 1,2,4")
    return [int(word) for word in found]


@calibrate.command("measure")
def measure(
    out: Annotated[Path, typer.Argument(help="The file to write or to go on with: .jsonl.")],
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    model: Annotated[
        Words, typer.Option(help="Models whose shapes are timed (repeat, or commas).")
    ] = None,
    dtype: Annotated[Words, typer.Option(help="GEMM formats, e.g. bfloat16,fp8.")] = None,
    tp: Annotated[Words, typer.Option(help="Tensor-parallel splits, e.g. 1,2,4,8.")] = None,
    op: Annotated[Words, typer.Option(help="Only these operators.")] = None,
    backend: Annotated[
        Words, typer.Option(help="cpu: numpy, torch; cuda: torch-graph, torch.")
    ] = None,
    grid: Annotated[int, typer.Option(min=0, help="Points of the space-filling grid.")] = 256,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer samples a point.")] = False,
    limit_s: Annotated[
        float | None, typer.Option(min=0, help="Begin no point after so many seconds.")
    ] = None,
    progress_json: Annotated[
        bool, typer.Option("--progress-json", help="Progress as JSON lines on standard error.")
    ] = False,
    json_: Annotated[bool, typer.Option("--json", help="The counts as JSON.")] = False,
) -> None:
    """Time kernels on this machine: GEMMs, attention, norms, experts, copies, collectives.

    A run that was stopped goes on where it was when the same file is given again.
    """
    from mltwin.calibrating import DEFAULT_MODELS, measure_device, measurement_summary
    from mltwin.text import Table

    with progress_bar("measuring", as_json=progress_json) as progress:
        counts = measure_device(
            out,
            device=device,
            models=split_words(model) or DEFAULT_MODELS,
            dtypes=split_words(dtype),
            tps=_numbers(tp, "--tp") or [1],
            ops=split_words(op),
            backends=split_words(backend),
            grid=grid,
            quick=quick,
            limit_s=limit_s,
            progress=progress,
        )
    if json_:
        show_json(counts)
        return
    rows = measurement_summary(out)
    columns = ["op", "backend", "points", "skipped", "least_s", "most_s", "spread"]
    titles = ["operator", "backend", "points", "skipped", "least s", "most s", "spread"]
    show_tables(Table(titles, [[row[c] for c in columns] for row in rows], title=str(out)))
    tell(", ".join(f"{name} {count}" for name, count in counts.items()))
    if counts["left"]:
        tell("stopped for time: give the same command again to go on")


@calibrate.command("fit")
def fit(
    gpu: Annotated[str, typer.Option(help="Name of the profile, e.g. h100-sxm-80gb.")],
    data: Annotated[
        Path | None,
        typer.Option(
            help="The data folder, or a file of `calibrate measure` [MLTWIN_DATA].",
            show_default=False,
        ),
    ] = None,
    like: Annotated[
        str | None,
        typer.Option(
            help="For a file: the profile whose data sheet holds for the device and whose "
            "operators stand in for those that were not measured."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the profile: .json.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Folder for a picture of every fit.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace that file.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="The errors as JSON.")] = False,
) -> None:
    """Fit a GPU profile to measured kernels, and print its error on what was held out.

    Either a shipped profile anew from the data folder, or one of your own from a file of
    `mltwin calibrate measure`; use it as `gpu = "profile.json"` in a scenario.
    """
    import os

    from mltwin.calibrating import fit_profile

    named = data or os.environ.get("MLTWIN_DATA")
    if not named:
        raise typer.BadParameter("give --data FOLDER_OR_FILE, or set MLTWIN_DATA")
    report = fit_profile(named, gpu, like=like, out=out, plots=plots, force=force)
    if json_:
        show_json(report.data())
    else:
        show_tables(report.table())
    if out is not None:
        tell(f"wrote {out}: gpu = {str(out)!r} in a scenario's pool")
    if report.plots:
        tell(f"{len(report.plots)} pictures in {plots}")


@calibrate.command("update")
def update(
    scenario: Annotated[Path, typer.Argument(help="The deployment as it is believed to be.")],
    measured: Annotated[
        list[Path],
        typer.Argument(help="One measured run, or two and more scrapes of /metrics, in order."),
    ],
    pool: Annotated[str | None, typer.Option(help="The pool that drifts.")] = None,
    benchmark: Annotated[
        int | None, typer.Option(min=0, help="Which benchmark of GuideLLM's output.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the updated scenario: .toml.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace that file.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="The estimates as JSON.")] = False,
) -> None:
    """Follow a running deployment: GPU speed, host overhead, KV blocks from what it measured.

    Takes vLLM's bench JSON (--save-detailed), AIPerf's records, GuideLLM's report, LLMServingSim's
    requests, or scrapes of a live vLLM's metrics page. Refuses data that cannot tell.
    """
    from mltwin import Scenario
    from mltwin.following import apply_update, follow_files
    from mltwin.text import Table

    given = Scenario.load(scenario)
    with progress_bar("fitting") as progress:
        found = follow_files(given, measured, pool=pool, benchmark=benchmark, progress=progress)
    if out is not None:
        from mltwin.templates import write_new
        from mltwin.tomlfile import write_toml

        write_new(out, write_toml(apply_update(given, found).data(full=False)), force=force)
    if json_:
        show_json(found.data())
        return
    rows = [[name, value, error] for name, value, error in found.rows()]
    show_tables(
        Table(["field", "value", "standard error"], rows, title=f"pool {found.pool}"),
        Table(
            ["metric", "error before", "after"],
            [[m, f"{found.before[m]:+.1%}", f"{found.after[m]:+.1%}"] for m in found.before],
            title="mean, on data not fitted" if len(found.before) > 1 else "mean",
        ),
    )
    for note in found.notes:
        tell(note)
    if out is not None:
        tell(f"run it: mltwin run {out}")
