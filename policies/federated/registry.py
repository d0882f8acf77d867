"""Policies of federations by name.

A built-in is a dataclass in one of the modules of `MODULES` under a decorator of this file; its
fields are its parameters, its docstring's first line is what lists of policies show.
"""

import dataclasses
import functools
import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from mltwin.models.federation.hooks import Attack, Codec, Combine, Selection, Strategy
from mltwin.policies.words import did_you_mean
from mltwin.sim.errors import InputError

KINDS: dict[str, type] = {
    "strategy": Strategy,
    "selection": Selection,
    "codec": Codec,
    "attack": Attack,
    "combine": Combine,
}
MODULES = (
    "synchronous",
    "adaptive",
    "heavy_ball",
    "participation",
    "variance",
    "selection",
    "oort",
    "robust",
    "attacks",
    "asynchronous",
    "compass",
    "fixed_time",
    "anarchic",
    "stale",
    "wireless",
    "quantise",
    "sparsify",
    "privacy",
    "randomness",
    "submodels",
    "zeroth_order",
    "sized",
)

Made = TypeVar("Made", bound=type)


@dataclasses.dataclass(frozen=True)
class Entry:
    """A registered policy: its class, kind, name and the source of its rule."""

    kind: str
    name: str
    cls: type
    source: str

    @property
    def about(self) -> str:
        """The first line of its docstring."""
        return (self.cls.__doc__ or "").strip().split("\n", 1)[0]

    @property
    def parameters(self) -> dict[str, Any]:
        """Its parameters and their defaults."""
        return {field.name: field.default for field in dataclasses.fields(self.cls) if field.init}


def named(kind: str, name: str, *, source: str) -> Callable[[Made], Made]:
    """Register a dataclass as the built-in `name` of a kind; `source` says whose rule it is."""

    def mark(cls: Made) -> Made:
        cls._entry = Entry(kind, name, cls, source)  # type: ignore[attr-defined]
        return cls

    return mark


@functools.cache
def built_in(kind: str) -> Mapping[str, Entry]:
    """All built-in policies of a kind, by name."""
    found: dict[str, Entry] = {}
    for name in MODULES:
        module = importlib.import_module(f"mltwin.policies.federated.{name}")
        for value in vars(module).values():
            entry = vars(value).get("_entry") if isinstance(value, type) else None
            if entry and entry.kind == kind and value.__module__ == module.__name__:
                found[entry.name] = entry
    return dict(sorted(found.items()))


def make(kind: str, spec: str | Mapping[str, Any], *, where: str = "") -> Any:
    """A policy from its name, or a mapping with `name` and parameters.

    Raises InputError: an unknown name or parameter, a value of the wrong type or out of range.
    """
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = given.pop("name", None)
    known = built_in(kind)
    place = where or kind
    if not isinstance(name, str) or name not in known:
        raise InputError(
            f"unknown {kind} {name!r}", where=place, mend=did_you_mean(str(name), list(known))
        )
    return create(known[name], given, where=place)


def create(entry: Entry, given: Mapping[str, Any], *, where: str) -> Any:
    """A policy of an entry with parameters.

    Raises InputError: as `make`.
    """
    fields = entry.parameters
    for key, value in given.items():
        if key not in fields:
            raise InputError(
                f"{entry.name} has no parameter {key!r}",
                where=f"{where}.{key}",
                mend=did_you_mean(key, list(fields)),
            )
        _check_type(entry, key, value, fields[key], where)
    # A whole number where a parameter is a fraction would make integer arrays of what follows.
    whole = {k: float(v) for k, v in given.items() if isinstance(fields[k], float)}
    try:
        return entry.cls(**{**given, **whole})
    except InputError as error:
        raise InputError(error.message, where=error.where or where, mend=error.mend) from None
    except TypeError as error:
        raise InputError(f"{entry.name}: {error}", where=where) from None


def _check_type(entry: Entry, key: str, value: Any, default: Any, where: str) -> None:
    if default is dataclasses.MISSING or default is None:
        return
    if isinstance(default, tuple | list):
        _check_numbers(entry, key, value, where)
        return
    fits = (
        isinstance(value, bool)
        if isinstance(default, bool)
        else (isinstance(value, type(default)) and not isinstance(value, bool))
        or (isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool))
    )
    if not fits:
        raise InputError(
            f"{entry.name} takes {key} as {type(default).__name__}, not {value!r}",
            where=f"{where}.{key}",
            mend=f"the default is {default!r}",
        )


def _check_numbers(entry: Entry, key: str, value: Any, where: str) -> None:
    many = value if isinstance(value, list | tuple | np.ndarray) else [None]
    wrong = [
        one for one in many if not isinstance(one, int | float | np.number) or isinstance(one, bool)
    ]
    if wrong:
        raise InputError(
            f"{entry.name} takes {key} as a list of numbers, not {value!r}", where=f"{where}.{key}"
        )
