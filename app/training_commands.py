"""`mltwin training`: plans ranked by speed, and task graphs looked at."""

from pathlib import Path
from typing import Annotated

import typer

from .arguments import check_choice
from .console import show_json, show_tables, split_words

training = typer.Typer(
    help="Training: search parallel plans, look at task graphs. "
    "One step in detail: `mltwin run` of a scenario with system = 'training'.",
    no_args_is_help=True,
)


@training.command("plans")
def plans(
    model: Annotated[str, typer.Argument(help="A name of `mltwin models list`, or config.json.")],
    gpus: Annotated[int, typer.Option(min=1, help="How many.")],
    gpu: Annotated[str, typer.Option(help="A name of `mltwin gpus list`, or a profile.")] = (
        "h100-sxm-80gb"
    ),
    tokens: Annotated[int, typer.Option(min=1, help="Of a sequence.")] = 8192,
    sequences: Annotated[int, typer.Option(min=1, help="Of a step, all GPUs together.")] = 256,
    recipe: Annotated[
        str, typer.Option(help="fused, llm-foundry, torchtitan or torchtitan-compile.")
    ] = "fused",
    tp: Annotated[list[str] | None, typer.Option(help="Values to try, with commas.")] = None,
    pp: Annotated[list[str] | None, typer.Option(help="Values to try, with commas.")] = None,
    cp: Annotated[list[str] | None, typer.Option(help="Values to try, with commas.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many plans to show.")] = 15,
    refused: Annotated[bool, typer.Option("--refused", help="Show refused plans too.")] = False,
    format: Annotated[str, typer.Option(help="table or json.")] = "table",
) -> None:
    """Every plan that fits into memory, fastest first."""
    from mltwin.training_plans import plans_data, refused_table, search_plans, table_of

    check_choice("--format", format, ("table", "json"))
    found = search_plans(
        model,
        gpus,
        gpu,
        tokens=tokens,
        sequences=sequences,
        recipe=recipe,
        tp=_numbers("--tp", tp),
        pp=_numbers("--pp", pp),
        cp=_numbers("--cp", cp) or (1,),
    )
    data = plans_data(found, top)
    if format == "json":
        show_json(data)
        return
    show_tables(table_of(data))
    if refused:
        show_tables(refused_table(found))


@training.command("inspect")
def inspect(
    files: Annotated[list[Path], typer.Argument(help="Chakra, PyTorch or plain JSON; one a rank.")],
    trace: Annotated[
        Path | None, typer.Option(help="Write the run for ui.perfetto.dev: .json or .json.gz.")
    ] = None,
    save: Annotated[
        Path | None, typer.Option(help="Write the graph as plain JSON, to be edited or replayed.")
    ] = None,
    slowdown: Annotated[float, typer.Option(min=1, help="Of compute beside communication.")] = 1.0,
) -> None:
    """Execute a task graph: how long it takes, and what its critical path is made of."""
    from mltwin.training_graphs import inspect_graph

    for line in inspect_graph(files, trace=trace, save=save, slowdown=slowdown):
        print(line)


def _numbers(option: str, words: list[str] | None) -> list[int] | None:
    from mltwin import InputError

    given = split_words(words)
    if given is None:
        return None
    if not given:
        raise InputError("names no size", where=option, mend="write 1,2,4")
    for word in given:
        if not word.isdigit() or int(word) < 1:
            raise InputError(f"{word!r} is no size", where=option, mend="write 1,2,4")
    return [int(word) for word in given]
