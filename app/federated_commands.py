"""`mltwin fed`: federations; run one, compare methods, look at policies, clients and data."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import PLOTS, assignments, check_choice, check_ending
from .compare_commands import parse_seeds
from .console import progress_bar, show_json, show_tables, split_words, tell
from .run_commands import ProgressJson, Set, Workers, _print_result, _run_one, say_if_cold

if TYPE_CHECKING:
    from mltwin.federated import FederatedScenario
    from mltwin.text import Table

federated = typer.Typer(
    help="Federated learning: time to accuracy, bytes and energy of methods on real clients.",
    no_args_is_help=True,
)

File = Annotated[
    Path | None, typer.Argument(help="A scenario file of system 'federated'; none: the defaults.")
]
Seed = Annotated[int | None, typer.Option(min=0, help="Of all random draws.")]
Format = Annotated[str, typer.Option(help="table, json or markdown.")]
_FORMATS = ("table", "json", "markdown")


@federated.command("run")
def run(
    scenario: File = None,
    strategy: Annotated[
        str | None, typer.Option(help="A name of `mltwin fed strategies`, or file.py:Class.")
    ] = None,
    set_: Set = None,
    seed: Seed = None,
    out: Annotated[Path | None, typer.Option(help="Keep the result in this folder.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.")] = None,
    timeline: Annotated[
        Path | None, typer.Option(help="Write what clients did for Perfetto: .json.gz.")
    ] = None,
    reference: Annotated[
        bool, typer.Option("--reference", help="By the SimPy twin (slow); the same result.")
    ] = False,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
    progress_json: ProgressJson = False,
) -> None:
    """Run a federation: what it learns, when, and what it costs."""
    check_choice("--format", format, ("table", "json"))
    check_ending(plot, "--plot", PLOTS)
    check_ending(timeline, "--timeline", (".json", ".json.gz"))
    loaded = _scenario(scenario, set_, strategy)
    options: dict[str, Any] = {"record": True} if timeline is not None else {}
    if reference:
        options["reference"] = True
    result = _run_one(loaded, seed, progress_json, options)
    if out is not None:
        tell(f"kept in {result.save(out)}")
    if plot is not None:
        result.plot(plot)
        tell(f"drawn to {plot}")
    if timeline is not None:
        for note in result.timeline().save(timeline):
            tell(f"note: {note}")
        tell(f"written to {timeline}; open it at ui.perfetto.dev")
    _print_result(result, format)


@federated.command("compare")
def compare(
    scenarios: Annotated[
        list[Path] | None, typer.Argument(help="Scenario files; none: the defaults.")
    ] = None,
    strategies: Annotated[
        list[str] | None,
        typer.Option("--strategies", help="Methods of one scenario, with commas between."),
    ] = None,
    set_: Set = None,
    seeds: Annotated[
        str, typer.Option(metavar="N", help="How many seeds, from 0; or which: 5-9 or 3,7,11.")
    ] = "5",
    tune: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=A,B,..", help="Choose the best of these for each method beforehand."
        ),
    ] = None,
    tuning_seeds: Annotated[
        int, typer.Option(min=1, help="Seeds to choose on; none of those that rank.")
    ] = 3,
    against: Annotated[
        list[str] | None, typer.Option(help="Axes: time, rounds, updates, bytes, joules.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw learning curves: .png, .svg.")] = None,
    report: Annotated[Path | None, typer.Option(help="Write a report: .html.")] = None,
    out: Annotated[Path | None, typer.Option(help="Keep the results in this folder.")] = None,
    workers: Workers = None,
    format: Format = "table",
    progress_json: ProgressJson = False,
) -> None:
    """Methods on the same seeds: how soon each reaches the target, at what cost.

    The first is the base of the differences. With --tune each method first gets its best values,
    chosen on seeds that do not rank it.
    """
    from mltwin.federated import compare as compare_methods

    check_choice("--format", format, _FORMATS)
    axes = split_words(against) or ["time", "rounds", "bytes", "joules"]
    for axis in axes:
        check_choice("--against", axis, ("time", "rounds", "updates", "bytes", "joules"))
    check_ending(plot, "--plot", PLOTS)
    check_ending(report, "--report", (".html", ".htm"))
    methods = _methods(scenarios or [None], strategies, set_)
    say_if_cold(*methods.values())
    with progress_bar("comparing", as_json=progress_json) as update:
        found = compare_methods(
            methods,
            seeds=parse_seeds(seeds),
            tune=_grid(tune),
            tuning_seeds=tuning_seeds,
            workers=workers,
            store=out,
            progress=lambda done, n: update(done / n, f"{done} of {n} runs"),
        )
    if plot is not None:
        found.plot(plot, against=axes)
        tell(f"drawn to {plot}")
    if report is not None:
        tell(f"written to {found.report(report)}")
    tables = [found.table(), found.tuning_table()] if found.tuned else [found.table()]
    if format == "json":
        show_json(found.data())
    else:
        _show(format, *tables)
    for note in found.notes:
        tell(f"note: {note}")


@federated.command("strategies")
def strategies(
    kind: Annotated[
        str | None, typer.Argument(help="strategy, selection, codec, attack or combine.")
    ] = None,
    format: Format = "table",
) -> None:
    """The policies that a federation may have, their parameters and sources."""
    from mltwin.federated import strategies as listed

    check_choice("--format", format, _FORMATS)
    _show(format, listed(kind))


@federated.command("clients")
def clients(
    scenario: File = None,
    set_: Set = None,
    seed: Seed = None,
    laws: Annotated[
        bool, typer.Option("--laws", help="List the laws of speed and availability instead.")
    ] = False,
    format: Format = "table",
) -> None:
    """What the clients of a scenario are like: speeds, links, how often they are there."""
    from mltwin.federated_clients import clients_table, laws_table

    check_choice("--format", format, _FORMATS)
    if laws:
        _show(format, laws_table())
        return
    loaded = _scenario(scenario, set_, None)
    _show(format, clients_table(loaded, loaded.seed if seed is None else seed))


@federated.command("data")
def data(
    scenario: File = None, set_: Set = None, seed: Seed = None, format: Format = "table"
) -> None:
    """How the data of a scenario is split among its clients."""
    from mltwin.federated_data import split_table

    check_choice("--format", format, _FORMATS)
    loaded = _scenario(scenario, set_, None)
    _show(format, split_table(loaded, loaded.seed if seed is None else seed))


def _scenario(
    file: Path | None, set_: list[str] | None, strategy: str | None
) -> "FederatedScenario":
    """A scenario of ours, with `--set` and `--strategy` applied.

    Raises InputError: a file of another system.
    """
    from mltwin import InputError, Scenario
    from mltwin.federated import FederatedScenario

    loaded = FederatedScenario() if file is None else Scenario.load(file)
    if not isinstance(loaded, FederatedScenario):
        raise InputError(f"is of system {loaded.system!r}", where=str(file), mend="use mltwin run")
    changes = assignments(set_)
    if strategy is not None:
        changes = {"strategy": {"name": strategy}, **changes}
    return loaded.changed(changes) if changes else loaded


def _methods(
    files: list[Path] | list[None], strategies: list[str] | None, set_: list[str] | None
) -> dict[str, Any]:
    """Scenarios by name: the files, or one of them under several strategies.

    Raises InputError: several files and strategies at once, or two of one name.
    """
    from mltwin import InputError

    names = split_words(strategies)
    if names is None:
        found = {one.label: one for one in (_scenario(file, set_, None) for file in files)}
        if len(found) < len(files):
            raise InputError("two scenarios bear one name", mend="set `name` in each file")
        return found
    if len(files) > 1:
        raise InputError(
            "varies one scenario", where="--strategies", mend="give one file, or leave it out"
        )
    if len(set(names)) < len(names):
        raise InputError("a method is named twice", where="--strategies", mend="name each once")
    return {name: _scenario(files[0], set_, name) for name in names}


def _grid(tune: list[str] | None) -> dict[str, list[Any]] | None:
    """The values to try of each field. Raises InputError for a text that is none of that."""
    from mltwin import InputError
    from mltwin.tomlfile import parse_value

    found = {}
    for text in tune or []:
        field, equals, values = text.partition("=")
        given = [parse_value(value.strip()) for value in values.split(",") if value.strip()]
        if not equals or not field.strip() or not given:
            raise InputError(f"{text!r} tunes nothing", where="--tune", mend="write field=a,b")
        found[field.strip()] = given
    return found or None


def _show(format: str, *tables: "Table") -> None:
    if format == "json":
        for table in tables:
            show_json([dict(zip(table.columns, row, strict=True)) for row in table.rows])
    elif format == "markdown":
        print("\n".join(table.markdown() for table in tables), end="")
    else:
        show_tables(*tables)
