"""`mltwin network`: topologies and their pictures, and how long collectives take on them."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .arguments import assignments, check_choice
from .console import show_json, show_tables, split_words, tell

if TYPE_CHECKING:
    from mltwin.text import Table

network = typer.Typer(
    help="Networks: topologies, their pictures, times of collectives. "
    "Flows and failures: `mltwin run` of a scenario with system = 'network'.",
    no_args_is_help=True,
)

TopologyName = Annotated[
    str, typer.Argument(help="A name of `mltwin network topologies`, or a file.")
]
Parameters = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Of the topology.")
]
Format = Annotated[str, typer.Option(help="table, json or markdown.")]
_FORMATS = ("table", "json", "markdown")


@network.command("topologies")
def topologies(format: Format = "table") -> None:
    """The topologies that can be built, with their parameters."""
    from mltwin.topologies import topology_table

    check_choice("--format", format, _FORMATS)
    _show(format, topology_table())


@network.command("draw")
def draw(
    name: TopologyName,
    set_: Parameters = None,
    out: Annotated[Path | None, typer.Option(help="Picture to write: .png, .svg or .pdf.")] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the topology itself: .json or .toml.")
    ] = None,
) -> None:
    """What a topology is made of; draw it, or write it to a file to be edited."""
    from mltwin import topology
    from mltwin.topology_plot import draw_topology

    built = topology(name, **assignments(set_))
    print(built.describe())
    if out is not None:
        draw_topology(built, path=out)
        tell(f"drawn to {out}")
    if save is not None:
        built.save(save)
        tell(f"written to {save}")


@network.command("collective")
def collective(
    kind: Annotated[
        str,
        typer.Argument(
            help="all_reduce, reduce_scatter, all_gather, all_to_all, broadcast or send_recv."
        ),
    ],
    topology: Annotated[
        str, typer.Option("--on", help="A name of `mltwin network topologies`, or a file.")
    ] = "rail_optimised",
    set_: Parameters = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option("--mb", help="Sizes in 10^6 bytes, as NCCL's tests count; with commas."),
    ] = None,
    algorithm: Annotated[
        list[str] | None, typer.Option(help="Which; several with commas. Default: all.")
    ] = None,
    ranks: Annotated[int | None, typer.Option(min=2, help="The first so many.")] = None,
    fidelity: Annotated[str, typer.Option(help="maxmin or alphabeta.")] = "maxmin",
    routing: Annotated[str, typer.Option(help="ecmp, shortest, spray or split.")] = "ecmp",
    hardware: Annotated[
        str | None,
        typer.Option(help="Beside them what NCCL was measured to take: h100-sxm, a100-sxm, ..."),
    ] = None,
    format: Format = "table",
) -> None:
    """Time and bus bandwidth of a collective by each algorithm."""
    from mltwin import collective_times
    from mltwin import topology as built

    check_choice("--format", format, _FORMATS)
    times = collective_times(
        built(topology, **assignments(set_)),
        kind,
        [1e6 * _size(text) for text in split_words(sizes) or ["1", "16", "256"]],
        ranks=ranks,
        algorithms=split_words(algorithm),
        fidelity=fidelity,
        routing=routing,
        hardware=hardware,
    )
    if format == "json":
        show_json(times.data())
    else:
        _show(format, times.table())


def _size(text: str) -> float:
    from mltwin import InputError

    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 < value < 1e9:
        raise InputError(f"{text!r} is no size", where="--mb", mend="write megabytes, as 16 or 0.5")
    return value


def _show(format: str, table: "Table") -> None:
    if format == "json":
        show_json(table.frame().to_dict("records"))
    elif format == "markdown":
        print(table.markdown(), end="")
    else:
        show_tables(table)
