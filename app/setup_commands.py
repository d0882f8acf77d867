"""`mltwin scenario | doctor | warmup`: getting started and staying well."""

from pathlib import Path
from typing import Annotated

import typer

from .console import show_json, show_tables, tell

scenario = typer.Typer(help="Scenario files: start one, check one.", no_args_is_help=True)
System = Annotated[str, typer.Option(help="Which system.")]


@scenario.command("init")
def init(
    path: Annotated[Path | None, typer.Argument(help="The file; none: print it.")] = None,
    system: System = "serving",
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write a commented scenario with every field and its default."""
    from mltwin.templates import scenario_template, write_new

    text = scenario_template(system)
    if path is None:
        print(text, end="")
        return
    write_new(path, text, force=force)
    tell(f"run it: mltwin run {path}")


@scenario.command("show")
def show(path: Annotated[Path, typer.Argument(help="The scenario file.")]) -> None:
    """Check a scenario and print it with all defaults filled in."""
    from mltwin import Scenario
    from mltwin.tomlfile import write_toml

    loaded = Scenario.load(path)
    print(write_toml(loaded.data()), end="")
    tell(f"hash {loaded.hash}")


@scenario.command("schema")
def schema(system: System = "serving") -> None:
    """Print the JSON schema of scenarios, for editors."""
    from mltwin.templates import scenario_schema

    show_json(scenario_schema(system))


def doctor() -> None:
    """Versions, compiled kernels, data and devices: is all well?"""
    from mltwin.doctor import doctor_table

    show_tables(doctor_table())


def warmup() -> None:
    """Compile the kernel and all policies now, so that runs start at once."""
    from mltwin.doctor import warm_up

    from .run_commands import say_if_cold

    say_if_cold()
    taken = warm_up()
    tell(f"ready after {taken:.1f} s")
