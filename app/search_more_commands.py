"""`mltwin search pareto`, `optimise` and `sensitivity`."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .console import split_words
from .run_commands import Goodput, ProgressJson, Set, Workers, say_if_cold
from .search_common import (
    Address,
    Backend,
    Format,
    Limit,
    Out,
    Plot,
    Seeds,
    Store,
    check_output,
    on_scenario,
    show_found,
)

Vary = Annotated[
    list[str] | None,
    typer.Option(metavar="FIELD=1..9", help="What may change: 1..9, 0.1..10:log, or a,b,c."),
]
Objective = Annotated[
    list[str] | None,
    typer.Option(metavar="METRIC", help="What should be best; METRIC:lower or :higher."),
]


def pareto(
    item: Annotated[
        Path,
        typer.Argument(help="A study (run where it is not yet), a sweep's folder, .csv, .parquet."),
    ],
    objective: Objective = None,
    by: Annotated[
        list[str] | None,
        typer.Option(help="Columns that name a point; default: those before `seed`."),
    ] = None,
    out: Out = None,
    format: Format = "table",
    plot: Plot = None,
    workers: Workers = None,
    progress_json: ProgressJson = False,
) -> None:
    """The points that no other beats in every objective."""
    from mltwin import InputError
    from mltwin.searches.pareto import pareto as find

    check_output(format, plot, out)
    objectives = _objectives(objective)
    if not objectives:
        raise InputError("there is no objective", where="--objective", mend="name two metrics")
    found = find(_rows(item, workers, progress_json), objectives, by=split_words(by))
    show_found(found, format, plot, out)


def optimise(
    scenario: Annotated[Path, typer.Argument(help="A scenario file.")],
    vary: Vary = None,
    objective: Objective = None,
    limit: Limit = None,
    set_: Set = None,
    goodput: Goodput = None,
    trials: Annotated[int, typer.Option(min=1, help="At most so many.")] = 100,
    patience: Annotated[
        int, typer.Option(min=0, help="Stop after so many without progress; 0: never.")
    ] = 30,
    prune: Annotated[
        bool, typer.Option("--prune/--no-prune", help="Stop clearly worse trials early.")
    ] = True,
    sampler: Annotated[str, typer.Option(help="tpe, nsga2 or random.")] = "tpe",
    sampler_seed: Annotated[int, typer.Option(min=0, help="Of the sampler.")] = 0,
    seeds: Seeds = "3",
    backend: Backend = "threads",
    address: Address = None,
    store: Store = None,
    out: Out = None,
    format: Format = "table",
    plot: Plot = None,
    workers: Workers = None,
    progress_json: ProgressJson = False,
) -> None:
    """The best values of fields, by Optuna (pip install mltwin[optuna])."""
    from mltwin import InputError

    objectives = _objectives(objective)
    if not objectives:
        raise InputError("there is no objective", where="--objective", mend="name a metric")
    space = _space(vary)
    with on_scenario(
        "optimise",
        scenario,
        set_,
        goodput,
        seeds,
        backend,
        address,
        store,
        out,
        workers,
        format,
        plot,
        progress_json,
    ) as (loaded, options):
        from mltwin.searches.optimise import optimise as find

        found = find(
            loaded,
            space,
            objectives,
            limits=limit,
            trials=trials,
            patience=patience or None,
            prune=prune,
            sampler=sampler,
            seed=sampler_seed,
            **options,
        )
    show_found(found, format, plot, out)


def sensitivity(
    scenario: Annotated[Path, typer.Argument(help="A scenario file.")],
    vary: Vary = None,
    metric: Annotated[str, typer.Option(help="What may depend on them.")] = "p99_ttft_ms",
    method: Annotated[str, typer.Option(help="oat, morris or sobol.")] = "oat",
    points: Annotated[
        int | None, typer.Option(min=2, help="Trajectories of morris, base points of sobol.")
    ] = None,
    step: Annotated[float, typer.Option(help="Of oat, relative, each way.")] = 0.1,
    design_seed: Annotated[int, typer.Option(min=0, help="Of morris and sobol.")] = 0,
    set_: Set = None,
    goodput: Goodput = None,
    seeds: Seeds = "5",
    backend: Backend = "threads",
    address: Address = None,
    store: Store = None,
    out: Out = None,
    format: Format = "table",
    plot: Plot = None,
    workers: Workers = None,
    progress_json: ProgressJson = False,
) -> None:
    """Which field a metric depends on, with intervals.

    For oat a field needs no range: --vary workload.rate.
    """
    bare = [text for text in vary or [] if "=" not in text]
    space: Any = bare if method == "oat" and bare and len(bare) == len(vary or []) else _space(vary)
    with on_scenario(
        "sensitivity",
        scenario,
        set_,
        goodput,
        seeds,
        backend,
        address,
        store,
        out,
        workers,
        format,
        plot,
        progress_json,
    ) as (loaded, options):
        from mltwin.searches.sensitivity import sensitivity as find

        found = find(
            loaded,
            space,
            metric,
            method=method,
            points=points,
            step=step,
            seed=design_seed,
            **options,
        )
    show_found(found, format, plot, out)


def _space(vary: list[str] | None) -> dict[str, Any]:
    """Field to its values.

    Raises InputError for none, or a text that varies nothing.
    """
    from mltwin import InputError
    from mltwin.searches.space import parse_axis

    if not vary:
        raise InputError("nothing to vary", where="--vary", mend="write --vary field=1..9")
    return dict(parse_axis(text) for text in vary)


def _objectives(given: list[str] | None) -> dict[str, str]:
    """Metric to its side; "" where none was said."""
    from mltwin.searches.pareto import parse_objective

    return dict(parse_objective(text) for text in split_words(given) or [])


def _rows(item: Path, workers: int | None, progress_json: bool) -> Any:
    """The rows of a study, a sweep's folder or a file.

    Raises InputError for anything else.
    """
    import pandas as pd

    from mltwin import InputError
    from mltwin.sweeps.sweep import Sweep

    if item.suffix.lower() == ".toml":
        return _swept(item, workers, progress_json)
    if item.is_dir():
        return Sweep.load(item)
    readers: dict[str, Any] = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    if item.suffix.lower() not in readers or not item.is_file():
        raise InputError(
            "is no sweep",
            where=str(item),
            mend="give a study, its folder, a .csv or a .parquet file",
        )
    try:
        found: pd.DataFrame = readers[item.suffix.lower()](item)
        return found
    except Exception as error:
        raise InputError(f"cannot be read: {error}", where=str(item)) from None


def _swept(item: Path, workers: int | None, progress_json: bool) -> Any:
    """The sweep of a study file: what its usual folder lacks is run."""
    from . import sweep_commands

    say_if_cold()
    options = {} if workers is None else {"workers": workers}
    return sweep_commands._swept(
        sweep_commands._study(str(item), None, None),
        options,
        True,
        retry_failed=False,
        live=False,
        progress_json=progress_json,
    )
