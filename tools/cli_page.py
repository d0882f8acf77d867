"""Writes docs/cli.md: every command with its arguments and options, from their signatures.

`python tools/cli_page.py` writes the page, `--check` says whether it is current.
"""

import inspect
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from reference_page import rows
from written_pages import write_pages

PAGE = Path(__file__).resolve().parent.parent / "docs" / "cli.md"

HEAD = """\
# Command line

Made by `python tools/cli_page.py` from the code; a test holds it current. `mltwin COMMAND --help`
says the same in the terminal.

Results go to standard output, all else (progress, notes, errors) to standard error.
`--progress-json` makes the progress one JSON object a line. A wrong input is one line, `where: what
is wrong; what to do`; `mltwin --debug COMMAND` shows the traceback.

| exit code | meaning |
|---|---|
| 0 | done |
| 1 | a failure; `mltwin check`: a regression; `mltwin search`: nothing keeps the limits |
| 2 | wrong input |
| 3 | a broken invariant of a simulation; `mltwin check --strict`: inconclusive |
| 4 | `mltwin check`: a baseline is missing or stale |
| 130 | interrupted |"""


@dataclass(frozen=True)
class Parameter:
    """One argument or option of a command."""

    name: str
    is_argument: bool
    takes: str
    default: Any
    required: bool
    help: str

    def usage(self) -> str:
        """How an argument stands in a command."""
        return self.name if self.required else f"[{self.name}]"

    def row(self) -> list[str]:
        """A row of the table: name, takes, default, what."""
        told = self.default is not None and self.default is not False
        default = f"`{self.default}`" if told else "required" if self.required else ""
        return [f"`{self.name}`", self.takes, default, self.help]


def parameters(function: Callable[..., Any]) -> list[Parameter]:
    """Arguments, then options, of a command, from its signature."""
    hints = get_type_hints(function, include_extras=True)
    found = []
    for name, given in inspect.signature(function).parameters.items():
        told = next((m for m in get_args(hints[name])[1:] if hasattr(m, "param_decls")), None)
        if told is not None and not told.hidden:
            found.append(parameter(name, get_args(hints[name])[0], told, given.default))
    return sorted(found, key=lambda p: not p.is_argument)


def parameter(name: str, kind: Any, told: Any, default: Any) -> Parameter:
    """One parameter from its annotation and default."""
    required = default is inspect.Parameter.empty
    is_argument = type(told).__name__ == "ArgumentInfo"
    core = plain_kind(kind)
    if is_argument:
        shown = str(told.metavar or name).upper() + ("..." if get_origin(core) is list else "")
    else:
        # In an annotation the first spelling stands where a default would.
        given = [d for d in (told.default, *(told.param_decls or ())) if isinstance(d, str)]
        plain = name.strip("_").replace("_", "-")
        own = f"--{plain}/--no-{plain}" if core is bool else f"--{plain}"
        shown = ", ".join(part for one in given or [own] for part in one.split("/"))
    return Parameter(
        shown, is_argument, takes(core, told), None if required else default, required, told.help
    )


def plain_kind(kind: Any) -> Any:
    """A type without `| None`."""
    inner = [one for one in get_args(kind) if one is not type(None)]
    return inner[0] if get_origin(kind) in (Union, UnionType) and len(inner) == 1 else kind


def takes(kind: Any, told: Any) -> str:
    """What a parameter takes, in words; nothing for a flag."""
    if kind is bool:
        return ""
    if get_origin(kind) is list:
        return f"{takes(get_args(kind)[0], told)}, more than one allowed"
    names = {str: "text", int: "whole number", float: "number", Path: "path"}
    word = names.get(kind, getattr(kind, "__name__", str(kind)))
    if told.metavar and type(told).__name__ == "OptionInfo":
        word = f"`{told.metavar}`"
    if told.min is not None and told.max is not None:
        return f"{word} {told.min}..{told.max}"
    return word if told.min is None else f"{word} >= {told.min}"


def command_part(path: str, function: Callable[..., Any], level: int) -> list[str]:
    """Heading, help, usage and parameters of a command."""
    found = parameters(function)
    words = [path, *(p.usage() for p in found if p.is_argument)]
    options = " [OPTIONS]" if any(not p.is_argument for p in found) else ""
    parts = [
        f"{'#' * level} {path}",
        inspect.cleandoc(function.__doc__ or ""),
        f"    {' '.join(words)}{options}",
    ]
    if found:
        parts.append(rows(["", "takes", "default", "what"], [p.row() for p in found]))
    return parts


def group_part(path: str, group: Any, level: int) -> list[str]:
    """The commands of a group, and of the groups within it."""
    parts = []
    for one in group.registered_commands:
        if not one.hidden:
            name = one.name or one.callback.__name__.replace("_", "-")
            parts += command_part(f"{path} {name}", one.callback, level)
    for inner in group.registered_groups:
        instance = inner.typer_instance
        parts += [f"{'#' * level} {path} {inner.name}", str(instance.info.help)]
        callback = instance.registered_callback
        if callback is not None and callback.invoke_without_command:
            parts += command_part(f"{path} {inner.name}", callback.callback, level)[1:]
        parts += group_part(f"{path} {inner.name}", instance, level + 1)
    return parts


def page() -> str:
    """The whole page."""
    from mltwin.app.cli import app

    return "\n\n".join(part for part in [HEAD, *group_part("mltwin", app, 2)] if part) + "\n"


def main() -> int:
    """Write the page, or with --check compare it."""
    return write_pages({PAGE: page})


if __name__ == "__main__":
    sys.exit(main())
