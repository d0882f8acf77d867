"""What commands read from their options alike: assignments, choices, the scenario they change."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mltwin import Scenario

PLOTS = (".png", ".svg", ".pdf")
"""Endings of files that plots are drawn to."""


def assignments(texts: list[str] | None) -> dict[str, Any]:
    """The fields that `--set FIELD=VALUE` changes, with their values.

    Raises InputError for what is no assignment.
    """
    from mltwin import InputError
    from mltwin.tomlfile import parse_value

    found = {}
    for text in texts or []:
        field, equals, value = text.partition("=")
        if not equals or not field.strip():
            raise InputError(f"{text!r} is no assignment", where="--set", mend="write field=value")
        found[field.strip()] = parse_value(value.strip())
    return found


def load_scenario(path: Path, set_: list[str] | None, goodput: list[str] | None) -> "Scenario":
    """A scenario from a file, with `--set` and `--goodput` applied."""
    from mltwin import Scenario
    from mltwin.slo import parse_goodput

    changes = assignments(set_)
    for name, limit in parse_goodput(goodput or []).items():
        changes[f"slo.{name}_ms"] = limit
    scenario = Scenario.load(path)
    return scenario.changed(changes) if changes else scenario


def check_choice(option: str, value: str, choices: tuple[str, ...]) -> None:
    """Raises InputError for a value that an option does not have."""
    from mltwin import InputError

    if value not in choices:
        raise InputError(
            f"unknown value {value!r}", where=option, mend=f"use one of {', '.join(choices)}"
        )


def check_ending(path: Path | None, option: str, endings: tuple[str, ...]) -> None:
    """Raises InputError for a file that could not be written, before anything runs, not after:
    another ending, or a folder that is not there."""
    from mltwin import InputError

    if path is None:
        return
    if not path.name.lower().endswith(endings):
        raise InputError(
            f"cannot write {path.name!r:.60}", where=option, mend=f"use {' or '.join(endings)}"
        )
    if not path.parent.is_dir():
        raise InputError(
            f"cannot be written: there is no folder {str(path.parent)!r:.200}",
            where=option,
            mend="make it first",
        )
