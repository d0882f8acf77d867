"""Specifications of a federation: a name, or a table with `name` and parameters, made into things.

What a name may stand for is a mapping of functions; their signatures say which parameters they
take. Users' own policies are classes in their files: `file.py:Class`.
"""

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltwin.sim.errors import InputError

from .fields import Spec, close_to, placed

if TYPE_CHECKING:
    from mltwin.policies.federated.registry import Entry

Resolve = Callable[[str], Path]


def named(spec: Spec, where: str) -> tuple[str, dict[str, Any]]:
    """The name and the parameters of a specification.

    Raises InputError: a table without a name.
    """
    given = {"name": spec} if isinstance(spec, str) else dict(spec)
    name = given.pop("name", None)
    if not isinstance(name, str) or not name:
        raise InputError("names nothing", where=where, mend='write { name = "...", ... }')
    return name, given


def parameters_of(function: Callable[..., Any], own: frozenset[str]) -> dict[str, Any]:
    """Parameters that a user may give to a function and their defaults; not those of `own`."""
    found = inspect.signature(function).parameters
    return {
        name: parameter.default
        for name, parameter in found.items()
        if name not in own and parameter.kind is not parameter.VAR_KEYWORD
    }


def made(
    functions: Mapping[str, Callable[..., Any]],
    spec: Spec,
    *arguments: Any,
    where: str,
    own: frozenset[str] = frozenset(),
    **more: Any,
) -> Any:
    """What the function that a specification names makes of its parameters.

    Args:
        functions: by name.
        spec: name and parameters.
        arguments, more: what the caller gives besides.
        where: the field, for errors.
        own: names of parameters that a user may not give.

    Raises InputError: an unknown name or parameter, a missing one, a value of the wrong kind, or
    what the function refuses.
    """
    from mltwin.workloads.federated.arguments import check_kinds

    name, given = named(spec, where)
    if name not in functions:
        raise InputError(f"unknown name {name!r}", where=where, mend=close_to(name, functions))
    known = parameters_of(functions[name], own)
    for key in given:
        if key not in known:
            mend = close_to(key, known) or f"{name} takes none"
            raise InputError("unknown key", where=f"{where}.{key}", mend=mend)
    for key, default in known.items():
        if default is inspect.Parameter.empty and key not in given and key not in more:
            raise InputError(f"{name} needs {key!r}", where=where, mend=f"give {key}")
    check_kinds(functions[name], given, where=where)
    try:
        return functions[name](*arguments, **given, **more)
    except InputError as error:
        raise placed(error, where) from None
    except (TypeError, ValueError, OverflowError, MemoryError) as error:
        raise InputError(f"{name}: {error}", where=where, mend="check its values") from None


def is_file(name: str) -> bool:
    """Whether a name is that of something in a user's file: `file.py:Name`."""
    return name.rpartition(":")[0].endswith(".py")


def from_file(name: str, resolve: Resolve, where: str) -> tuple[Any, Path]:
    """The object `Name` of `file.py:Name`, and the file's path.

    Raises InputError: no such file or object, or a mistake in the file.
    """
    from mltwin.policies.loading import load_file

    from .federated_flower_calls import missing_flower, not_installed

    file, _, wanted = name.rpartition(":")
    path = resolve(file)
    try:
        module = load_file(path)
    except InputError as error:
        if missing_flower(error.__cause__):
            raise not_installed() from None
        raise
    found = getattr(module, wanted, None)
    if found is None:
        names = [key for key, value in vars(module).items() if callable(value) and key[0] != "_"]
        raise InputError(f"{file} has no {wanted!r}", where=where, mend=close_to(wanted, names))
    return found, path


def policy_entry(kind: str, name: str, resolve: Resolve) -> "Entry":
    """The policy of a kind that a name stands for: a built-in, or a class in a user's file.

    Raises InputError: no such policy or class, or a class that is none of that kind.
    """
    from mltwin.policies.federated.registry import KINDS, Entry, built_in

    if not is_file(name):
        known = built_in(kind)
        if name not in known:
            mend = f"{close_to(name, known)} (or file.py:Class)"
            raise InputError(f"unknown {kind} {name!r}", where=kind, mend=mend)
        return known[name]
    found, path = from_file(name, resolve, kind)
    base = KINDS[kind]
    if kind == "strategy" and makes_flower(found):
        from .federated_flower import adapted

        return Entry(kind, name, adapted(found, where=name), path.name)
    if not (isinstance(found, type) and issubclass(found, base)):
        mend = f"make it a class that inherits mltwin.models.federation.hooks.{base.__name__}"
        raise InputError(f"{name!r} is no {kind}", where=kind, mend=mend)
    if not dataclasses.is_dataclass(found):
        found = dataclasses.dataclass(found)
    return Entry(kind, name, found, path.name)


def makes_flower(found: Any) -> bool:
    """Whether something of a user's file makes a Flower strategy: a function, or such a class."""
    if isinstance(found, type):
        return hasattr(found, "aggregate_fit") or hasattr(found, "aggregate_train")
    return callable(found)


def policy_of(kind: str, spec: Spec, resolve: Resolve) -> Any:
    """The policy that a specification makes.

    Raises InputError: as `policy_entry`; an unknown parameter, or a value that does not fit.
    """
    from mltwin.policies.federated.registry import create

    name, given = named(spec, kind)
    return create(policy_entry(kind, name, resolve), given, where=kind)
