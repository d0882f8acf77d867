"""Whether what a user gives to a law is of the kind that its signature asks for."""

import math
import typing
from collections.abc import Callable, Mapping
from os import PathLike
from types import NoneType
from typing import Any

from mltwin.sim.errors import InputError

_WORDS = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def check_kinds(function: Callable[..., Any], given: Mapping[str, Any], *, where: str) -> None:
    """Refuse values of another kind than the parameters of their names.

    A text or a truth value is no number, 2.5 no whole one, and numbers are finite. Parameters of
    other kinds than numbers, texts and truth values are left to the function.

    Args:
        function: a function or a dataclass, whose annotations say the kinds.
        given: parameters by name; all of them are known.
        where: the field, for errors.

    Raises InputError: the first value that does not fit.
    """
    hints = typing.get_type_hints(function)
    for key, value in given.items():
        kinds = _kinds(hints.get(key))
        if kinds and not any(_is(value, kind) for kind in kinds):
            words = [_WORDS[kind] for kind in _WORDS if kind in kinds]
            raise InputError(
                f"{key} is {value!r}", where=f"{where}.{key}", mend=f"give {' or '.join(words)}"
            )


def _kinds(hint: Any) -> list[type]:
    """The kinds of a parameter; [] where it takes others than those known here."""
    members = typing.get_args(hint) or (hint,)
    kinds = [one for one in members if (typing.get_origin(one) or one) is not PathLike]
    known = all(one in _WORDS or one is NoneType for one in kinds)
    return kinds if known and kinds != [NoneType] else []


def _is(value: Any, kind: type) -> bool:
    if kind in (int, float) and isinstance(value, bool):
        return False
    if kind is float:
        return isinstance(value, int | float) and math.isfinite(value)
    return isinstance(value, kind)
