"""`mltwin search`: goodput, cluster, plan; `search_more_commands` has the other verbs."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .run_commands import Goodput, ProgressJson, Set, Workers
from .search_common import (
    Address,
    Backend,
    Format,
    Limit,
    Out,
    Plot,
    Seeds,
    Store,
    on_scenario,
    show_found,
)
from .search_more_commands import optimise, pareto, sensitivity

search = typer.Typer(
    name="search",
    help="Search: highest rate, smallest cluster, best values, what matters.",
    no_args_is_help=True,
)

Scenario_ = Annotated[Path, typer.Argument(help="A scenario file.")]


Least = Annotated[
    float | None,
    typer.Option(help="Share of requests within the SLO; default: 0.9, with --limit none."),
]


@search.command()
def goodput(
    scenario: Scenario_,
    set_: Set = None,
    goodput: Goodput = None,
    field: Annotated[str, typer.Option(help="The field that is raised.")] = "workload.rate",
    metric: Annotated[str, typer.Option(help="What has to hold.")] = "slo_attainment",
    least: Annotated[
        float | None, typer.Option(help="The metric is at least this; default: 0.9.")
    ] = None,
    most: Annotated[float | None, typer.Option(help="The metric is at most this.")] = None,
    low: Annotated[float | None, typer.Option(help="Not below this rate.")] = None,
    high: Annotated[float | None, typer.Option(help="Not above this rate.")] = None,
    tolerance: Annotated[float, typer.Option(help="Of the answer, relative.")] = 0.02,
    check: Annotated[
        bool, typer.Option("--check/--no-check", help="Look also at rates further off.")
    ] = True,
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
    """The highest rate at which enough requests stay within the SLO."""
    with on_scenario(
        "goodput",
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
        from mltwin.searches.goodput import goodput as find

        found = find(
            loaded,
            rate_field=field,
            metric=metric,
            least=least,
            most=most,
            low=low,
            high=high,
            tolerance=tolerance,
            check=check,
            **options,
        )
    show_found(found, format, plot, out)


@search.command()
def cluster(
    scenario: Scenario_,
    set_: Set = None,
    goodput: Goodput = None,
    field: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=1..64", help="What may be smaller; default: replicas of each pool."
        ),
    ] = None,
    least: Least = None,
    limit: Limit = None,
    cost: Annotated[str, typer.Option(help="gpus or dollars.")] = "gpus",
    around: Annotated[int, typer.Option(min=0, help="Run all within so many steps.")] = 1,
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
    """The fewest GPUs (or dollars an hour) that keep the SLO at the scenario's rate."""
    with on_scenario(
        "cluster",
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
        from mltwin.searches.cluster import smallest_cluster

        found = smallest_cluster(
            loaded,
            fields=None if not field else dict(_bounds(text) for text in field),
            limits=limit,
            least=least,
            cost=cost,
            around=around,
            **options,
        )
    show_found(found, format, plot, out)


@search.command()
def plan(
    scenario: Scenario_,
    set_: Set = None,
    goodput: Goodput = None,
    most: Annotated[int, typer.Option(min=1, help="Replicas of a pool at the utmost.")] = 32,
    least: Least = None,
    limit: Limit = None,
    cost: Annotated[str, typer.Option(help="gpus or dollars.")] = "gpus",
    frontier: Annotated[
        bool, typer.Option("--frontier/--no-frontier", help="Find how far the rate could rise.")
    ] = True,
    around: Annotated[int, typer.Option(min=0, help="Run all pairs within so many steps.")] = 2,
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
    """How many prefill and decode GPUs the traffic needs, against GPUs that do both."""
    with on_scenario(
        "plan",
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
        from mltwin.searches.planning import plan as find

        found = find(
            loaded,
            most=most,
            limits=limit,
            least=least,
            cost=cost,
            frontier=frontier,
            around=around,
            **options,
        )
    show_found(found, format, plot, out)


def _bounds(text: str) -> tuple[str, Any]:
    """A field and its range of whole numbers, `FIELD=1..64`, or its values, `FIELD=1,2,4`."""
    from mltwin import InputError
    from mltwin.searches.space import parse_axis

    name, given = parse_axis(text)
    if isinstance(given, list):
        return name, given
    ends = given["from"], given["to"]
    if "scale" in given or not all(isinstance(end, int) for end in ends):
        raise InputError(f"{text!r} is no range", where="--field", mend="write field=1..64")
    return name, ends


search.command()(pareto)
search.command()(optimise)
search.command()(sensitivity)
