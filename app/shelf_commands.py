"""`mltwin traces | models | gpus | policies`: what is there."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .console import console, show_json, show_tables, tell

if TYPE_CHECKING:
    from mltwin.text import Table

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Name = Annotated[str, typer.Argument(help="Its name, or a file.")]


def _group(text: str) -> typer.Typer:
    return typer.Typer(help=text, no_args_is_help=True)


def _show(table: "Table", as_json: bool) -> None:
    if as_json:
        show_json([dict(zip(table.columns, row, strict=True)) for row in table.rows])
    else:
        show_tables(table)


traces = _group("Request traces: list, statistics, download, check a file.")


@traces.command("list")
def list_traces(as_json: AsJson = False) -> None:
    """The catalogue."""
    from mltwin.shelf import traces_table

    _show(traces_table(), as_json)


@traces.command("info")
def trace_info(
    name: Name,
    seed: Annotated[int, typer.Option(help="Of a synthetic trace.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Statistics of a trace."""
    from mltwin.shelf import trace_info as made

    _show(made(name, seed), as_json)


@traces.command("fetch")
def fetch_trace(name: Annotated[str, typer.Argument(help="Its name in the catalogue.")]) -> None:
    """Download a trace from its owner, check it, keep it in the cache."""
    from mltwin.shelf import fetch_trace as fetched

    print(fetched(name))


@traces.command("validate")
def validate_trace(
    path: Annotated[Path, typer.Argument(help="The file.")],
    format: Annotated[str, typer.Option(help="Its format; auto looks at the content.")] = "auto",
    columns: Annotated[
        str | None, typer.Option(help='Column map as JSON: {"arrival": "ts", ...}.')
    ] = None,
    sort: Annotated[bool, typer.Option(help="Sort times that go back.")] = False,
    skip: Annotated[bool, typer.Option("--skip", help="Count bad lines, do not stop.")] = False,
) -> None:
    """Read a trace file and say what is in it, or what is wrong with it."""
    from mltwin.shelf import trace_info as made

    choices: dict[str, Any] = {"format": format, "sort": sort}
    if columns is not None:
        choices["columns"] = column_map(columns)
    if skip:
        choices["on_error"] = "skip"
    show_tables(made(str(path), **choices))
    tell("the file is a valid trace")


_REQUEST_MAP = 'write {"arrival": "ts", "prompt": "in", "output": "out"}'


def column_map(text: str, mend: str = _REQUEST_MAP) -> dict[str, str]:
    """The value of `--columns`; `mend` shows one.

    Raises InputError for what is no JSON object of texts.
    """
    from mltwin import InputError

    try:
        found = json.loads(text)
    except ValueError as error:
        raise InputError(f"is not JSON: {error}", where="--columns", mend=mend) from None
    if not isinstance(found, dict) or not all(isinstance(v, str) for v in found.values()):
        raise InputError("maps no names to names", where="--columns", mend=mend)
    return found


models = _group("Language models: list, show.")


@models.command("list")
def list_models(as_json: AsJson = False) -> None:
    """The models that are shipped."""
    from mltwin.shelf import models_table

    _show(models_table(), as_json)


@models.command("show")
def show_model(name: Name, as_json: AsJson = False) -> None:
    """The shape of a model and what follows from it."""
    from mltwin.shelf import model_info

    _show(model_info(name), as_json)


gpus = _group("GPU profiles: list, show.")


@gpus.command("list")
def list_gpus(as_json: AsJson = False) -> None:
    """The profiles that are shipped."""
    from mltwin.shelf import gpus_table

    _show(gpus_table(), as_json)


@gpus.command("show")
def show_gpu(name: Name) -> None:
    """The facts of a GPU, its fitted operators and their errors."""
    from mltwin.shelf import gpu_info

    show_tables(*gpu_info(name))


policies = _group("Policies and engines: list, show, start a new one.")


@policies.command("list")
def list_policies(
    hook: Annotated[str | None, typer.Argument(help="Only those of this decision.")] = None,
    as_json: AsJson = False,
) -> None:
    """The built-in policies, by the decision they make."""
    from mltwin.shelf import policies_table

    _show(policies_table(hook), as_json)


@policies.command("hooks")
def list_hooks(as_json: AsJson = False) -> None:
    """The decisions that a policy can make, and what it is given."""
    from mltwin.shelf import hooks_table

    _show(hooks_table(), as_json)


@policies.command("engines")
def list_engines(as_json: AsJson = False) -> None:
    """The engine presets and their flags."""
    from mltwin.shelf import engines_table

    _show(engines_table(), as_json)


@policies.command("show")
def show_policy(name: Annotated[str, typer.Argument(help="Its name.")]) -> None:
    """The source of a policy."""
    from rich.syntax import Syntax

    from mltwin.shelf import policy_source

    source = policy_source(name)
    out = console()
    if out.is_terminal:
        out.print(Syntax(source, "python", background_color="default"))
    else:
        print(source)


@policies.command("new")
def new_policy(
    hook: Annotated[str, typer.Argument(help="The decision: `mltwin policies hooks`.")],
    path: Annotated[Path, typer.Argument(help="The file to write.")],
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a small policy to start from."""
    from mltwin.templates import policy_template, write_new

    text = policy_template(hook)
    write_new(path, text, force=force)
    name = text.rpartition("def ")[2].partition("(")[0]
    place = "[[tiers]] eviction" if hook == "evict_object" else f"[policy] {hook}"
    tell(f'use it in a scenario: {place} = "{path}:{name}"')
