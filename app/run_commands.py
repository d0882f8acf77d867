"""`mltwin run`, and what commands that run scenarios share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import check_choice, load_scenario
from .console import console, progress_bar, show_json, show_tables, tell

if TYPE_CHECKING:
    from mltwin import Result, Scenario

Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="FIELD=VALUE", help="Change a field, e.g. workload.rate=5."),
]
Goodput = Annotated[
    list[str] | None,
    typer.Option(metavar="LIMIT", help="SLO limits in ms: ttft:500 tpot:50 e2el:5000."),
]
Workers = Annotated[int | None, typer.Option(min=1, help="Threads; default: all cores.")]
ErrorBars = Annotated[
    int | None,
    typer.Option(
        "--error-bars",
        metavar="N",
        help="Intervals from N more runs under draws of the fitted parameters.",
    ),
]
ProgressJson = Annotated[
    bool, typer.Option("--progress-json", help="Progress as JSON lines on standard error.")
]


def run(
    scenario: Annotated[
        Path | None, typer.Argument(help="A scenario file; none: the main job.")
    ] = None,
    set_: Set = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Of all random draws.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the result in this folder.")] = None,
    goodput: Goodput = None,
    format: Annotated[str, typer.Option(help="table, json or vllm.")] = "table",
    plot: Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Write a timeline for Perfetto: .json.gz.")
    ] = None,
    export_trace: Annotated[
        Path | None, typer.Option(help="Write the requests as they arrived: .parquet.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Check conservation at every event (slow).")
    ] = False,
    error_bars: ErrorBars = None,
    trace: Annotated[
        str | None, typer.Option(help="Main job: this trace instead of the default.")
    ] = None,
    requests: Annotated[int | None, typer.Option(min=1, help="Main job: fewer requests.")] = None,
    workers: Workers = None,
    progress_json: ProgressJson = False,
) -> None:
    """Simulate a scenario. Without one: the main job.

    The main job asks whether prefill and decode should share GPUs: Llama-3.1-70B on 32 H100 in
    three set-ups at rising load.
    """
    given = {"--set": set_, "--seed": seed, "--goodput": goodput, "--plot": plot}
    given |= {"--timeline": timeline, "--export-trace": export_trace, "--check": check}
    given |= {"--error-bars": error_bars is not None}
    if scenario is None:
        _refuse([name for name, value in given.items() if value], "needs a scenario file")
        _main_job(trace, requests, workers, out or Path("results"), progress_json)
        return
    _refuse(
        [n for n, v in {"--trace": trace, "--requests": requests}.items() if v],
        "belongs to the main job; use --set workload.trace=... with a scenario",
    )
    loaded = load_scenario(scenario, set_, goodput)
    options: dict[str, Any] = {"check": True} if check else {}
    if error_bars is not None:
        options |= {"error_bars": _draws(error_bars), "workers": workers}
    result = _run_one(loaded, seed, progress_json, options)
    if out is not None:
        tell(f"kept in {result.save(out)}")
    if plot is not None:
        result.plot(plot)
        tell(f"drawn to {plot}")
    if timeline is not None:
        result.timeline().save(timeline)
        tell(f"written to {timeline}")
    if export_trace is not None:
        _of_serving(result, "export_trace")(export_trace)
        tell(f"written to {export_trace}")
    _print_result(result, format)


def say_if_cold(*scenarios: "Scenario") -> None:
    """Tell that the first run compiles a large kernel, if it does (others take seconds).

    scenarios: what will be run; none given, serving scenarios.
    """
    from mltwin.doctor import KERNELS, is_warm

    systems = {scenario.system for scenario in scenarios} or {"serving"}
    if any(system in KERNELS and not is_warm(system) for system in systems):
        tell("compiling the kernel (once, about 30 s) ...")


def _draws(given: int) -> int:
    """The number of draws asked for, checked before anything is run."""
    from mltwin import InputError
    from mltwin.uncertainty import check_draws

    try:
        return check_draws(given)
    except InputError as error:
        raise InputError(error.message, where="--error-bars", mend=error.mend) from None


def _run_one(
    loaded: "Scenario", seed: int | None, progress_json: bool, options: dict[str, Any]
) -> "Result":
    say_if_cold(loaded)
    with progress_bar(loaded.label, as_json=progress_json) as update:
        return loaded.run(
            seed, progress=lambda share, now: update(share, f"{now:,.0f} s"), **options
        )


def _print_result(result: "Result", format: str) -> None:
    check_choice("--format", format, ("table", "json", "vllm"))
    if format == "json":
        show_json({"summary": result.summary(), "digest": result.digest, "notes": result.notes})
    elif format == "vllm":
        show_json(_of_serving(result, "to_vllm_json")())
    else:
        show_tables(*result.report())
    for note in result.notes:
        tell(f"note: {note}")
    for violation in result.violations:
        console(stderr=True).print(f"[bold red]violation:[/] {violation}")
    if result.violations:
        raise typer.Exit(3)


def _main_job(
    trace: str | None, requests: int | None, workers: int | None, out: Path, progress_json: bool
) -> None:
    from mltwin.mainjob import default_traffic, study, traffic_of
    from mltwin.mainjob_report import (
        answer,
        capacity_table,
        load_table,
        title,
        winner_table,
        write_study,
    )

    say_if_cold()
    for traffic in [traffic_of(trace)] if trace else default_traffic():
        folder = out / f"main-{Path(traffic.trace).stem}"
        with progress_bar(f"main job, {traffic.trace}", as_json=progress_json) as update:
            found = study(
                traffic, requests=requests, workers=workers, store=folder / "runs", progress=update
            )
        out_console = console()
        out_console.print(f"\n[bold]{title(found)}[/]")
        for set_up in found.chosen:
            out_console.print(f"  {set_up.family}: {set_up.variant}")
        show_tables(load_table(found), winner_table(found), capacity_table(found))
        for line in answer(found):
            out_console.print(line)
        written = write_study(found, folder)
        out_console.print(f"report: {written[0]}")


def _of_serving(result: "Result", method: str) -> Any:
    from mltwin import InputError

    if not hasattr(result, method):
        system = result.scenario.system if result.scenario else "this system"
        raise InputError(f"{system} runs have no {method}", mend="leave the option out")
    return getattr(result, method)


def _refuse(options: list[str], why: str) -> None:
    from mltwin import InputError

    if options:
        raise InputError(why, where=options[0])
