"""`mltwin cache`: object traces through caches; replay, curves, and what is there."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .arguments import check_choice
from .console import show_json, show_tables, split_words, tell

if TYPE_CHECKING:
    from mltwin.text import Table

cache = typer.Typer(
    help="Object caches: replay a trace, draw miss-ratio curves, list policies and traces.",
    no_args_is_help=True,
)

TraceName = Annotated[str, typer.Argument(help="A trace of `mltwin cache traces`, or a file.")]
Policies = Annotated[
    list[str] | None,
    typer.Option("--policy", help="Eviction policy; several with commas. Default: lru."),
]
Format = Annotated[str, typer.Option(help="table, json or markdown.")]
Unit = Annotated[str, typer.Option(help="What capacities count: objects or bytes.")]
Seed = Annotated[int, typer.Option(min=0, help="Of random policies and samples.")]
FileFormat = Annotated[
    str, typer.Option("--as", metavar="FORMAT", help="The file's format; auto looks at it.")
]
Columns = Annotated[
    str | None,
    typer.Option(help='Columns of a CSV, as JSON: {"key": "url", "size_bytes": "bytes", ...}.'),
]
TimeUnit = Annotated[
    str | None, typer.Option("--time-unit", help="Of times in a text file: s, ms, us or ns.")
]
Sort = Annotated[bool, typer.Option("--sort", help="Sort times that go back.")]
Skip = Annotated[bool, typer.Option("--skip", help="Leave out bad lines, say how many.")]


@cache.command("replay")
def replay(
    trace: TraceName,
    capacity: Annotated[str, typer.Option(help="Objects or bytes; 10% is of the footprint.")],
    policy: Policies = None,
    unit: Unit = "objects",
    admission: Annotated[
        str, typer.Option(help="always, size, probability, second_hit or tinylfu.")
    ] = "always",
    ttl_s: Annotated[float | None, typer.Option(help="Objects get stale so soon.")] = None,
    seed: Seed = 0,
    as_: FileFormat = "auto",
    columns: Columns = None,
    time_unit: TimeUnit = None,
    sort: Sort = False,
    skip: Skip = False,
    format: Format = "table",
) -> None:
    """Hit ratios of one or several policies on a trace."""
    from mltwin.cache_replay import replay_cache
    from mltwin.cache_shelf import size_of

    check_choice("--format", format, ("table", "json", "markdown"))
    check_choice("--unit", unit, ("objects", "bytes"))
    opened = _open(trace, as_, columns, time_unit, sort, skip)
    room = size_of(capacity, opened, unit)
    runs = [
        replay_cache(opened, name, room, unit=unit, admission=admission, ttl_s=ttl_s, seed=seed)
        for name in split_words(policy) or ["lru"]
    ]
    heads = ["policy", f"capacity ({unit})", "requests", "hits", "hit ratio", "evicted"]
    if unit == "bytes":
        heads.append("byte hit ratio")
    rows: list[list[Any]] = [
        [run.policy, run.capacity, run.requests, run.hits, run.hit_ratio, run.evicted]
        + ([run.byte_hit_ratio] if unit == "bytes" else [])
        for run in runs
    ]
    _show(format, _table(heads, rows, opened.name))


@cache.command("curve")
def curve(
    trace: TraceName,
    policy: Policies = None,
    capacities: Annotated[
        list[str] | None,
        typer.Option("--capacity", help="Where to look; several with commas. Default: 20."),
    ] = None,
    unit: Unit = "objects",
    sample: Annotated[
        float | None, typer.Option(help="Look at this share of the objects only.")
    ] = None,
    one_pass: Annotated[
        bool, typer.Option("--one-pass", help="LRU over bytes: one approximate pass.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw it: .png, .svg or .pdf.")] = None,
    unit_dollars: Annotated[
        float | None, typer.Option(help="Of an object (byte) of capacity, over the trace's span.")
    ] = None,
    miss_dollars: Annotated[float | None, typer.Option(help="Of a miss.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Threads.")] = 1,
    seed: Seed = 0,
    as_: FileFormat = "auto",
    columns: Columns = None,
    time_unit: TimeUnit = None,
    sort: Sort = False,
    skip: Skip = False,
    format: Format = "table",
) -> None:
    """Miss ratios at rising capacities; with two prices, the cheapest capacity."""
    from mltwin import InputError
    from mltwin.cache_curves import miss_ratio_curve
    from mltwin.cache_shelf import size_of

    check_choice("--format", format, ("table", "json", "markdown"))
    check_choice("--unit", unit, ("objects", "bytes"))
    if (unit_dollars is None) != (miss_dollars is None):
        raise InputError("give both --unit-dollars and --miss-dollars, or neither")
    opened = _open(trace, as_, columns, time_unit, sort, skip)
    given = split_words(capacities)
    curves = miss_ratio_curve(
        opened,
        split_words(policy) or ["lru"],
        [size_of(text, opened, unit) for text in given] if given else None,
        unit=unit,
        sample=sample,
        one_pass=one_pass,
        workers=workers,
        seed=seed,
    )
    if plot is not None:
        curves.plot(plot)
        tell(f"drawn to {plot}")
    if format == "json":
        show_json(curves.data())
        return
    tables = [curves.table()]
    if unit_dollars is not None and miss_dollars is not None:
        tables.append(curves.cheapest(dollars_per_unit=unit_dollars, dollars_per_miss=miss_dollars))
    _show(format, *tables)


@cache.command("policies")
def policies(format: Format = "table") -> None:
    """The eviction policies and their parameters."""
    from mltwin.cache_shelf import eviction_table

    check_choice("--format", format, ("table", "json", "markdown"))
    _show(format, eviction_table())


@cache.command("traces")
def traces(format: Format = "table") -> None:
    """The object traces of the catalogue."""
    from mltwin.cache_shelf import object_traces_table

    check_choice("--format", format, ("table", "json", "markdown"))
    _show(format, object_traces_table())


@cache.command("fetch")
def fetch(name: Annotated[str, typer.Argument(help="A name of `mltwin cache traces`.")]) -> None:
    """Download an object trace from its owner, check it, keep it."""
    from mltwin.cache_shelf import fetch_objects

    print(fetch_objects(name))


@cache.command("inspect")
def inspect_objects(
    trace: TraceName,
    as_: FileFormat = "auto",
    columns: Columns = None,
    time_unit: TimeUnit = None,
    sort: Sort = False,
    skip: Skip = False,
    format: Format = "table",
) -> None:
    """What an object trace is like: sizes, popularity, footprint."""
    check_choice("--format", format, ("table", "json", "markdown"))
    opened = _open(trace, as_, columns, time_unit, sort, skip)
    if format == "json":
        show_json(opened.describe())
        return
    from mltwin.shelf import cut, pairs

    rows: list[list[Any]] = [[key, cut(value)] for key, value in pairs(opened.describe())]
    _show(format, _table(["property", "value"], rows, opened.name))


def _open(
    trace: str, format: str, columns: str | None, unit: str | None, sort: bool, skip: bool
) -> Any:
    from mltwin.cache_shelf import open_objects

    from .shelf_commands import column_map

    options: dict[str, Any] = {}
    if columns is not None:
        mend = 'write {"key": "url", "size_bytes": "bytes", "arrival": "when"}'
        options["columns"] = column_map(columns, mend)
    if unit is not None:
        options["unit"] = unit
    if sort:
        options["sort"] = True
    if skip:
        options["on_error"] = "skip"
    opened = open_objects(trace, format, **options)
    left = opened.meta.get("rejected", {}).get("count", 0)
    if left:
        tell(f"left out {left:,} bad line{'s' if left > 1 else ''}")
    return opened


def _table(columns: list[str], rows: list[list[Any]], title: str) -> "Table":
    from mltwin.text import Table

    return Table(columns, rows, title=title)


def _show(format: str, *tables: "Table") -> None:
    if format == "json":
        for table in tables:
            show_json([dict(zip(table.columns, row, strict=True)) for row in table.rows])
    elif format == "markdown":
        print("\n".join(table.markdown() for table in tables), end="")
    else:
        show_tables(*tables)
