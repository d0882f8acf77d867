"""From a policy's plain function to a first-class function for Numba, and its errors retold."""

import re
from types import FunctionType
from typing import Any

from mltwin.sim.errors import InputError
from mltwin.sim.records import record_name

from .hooks import HOOKS, all_records, signature

_RECORD_TYPE = re.compile(r"Record\(\w+\[(?:[^()]|\([^()]*\))*?;\d+;(?:True|False)\)")
_RECORD_OF_FIELDS = {
    tuple(dtype.names): record_name(dtype) for dtype in all_records() if dtype.names
}
_FIELD = re.compile(r"(\w+)\[type=")
_NOISE = re.compile(r" for '\$[\w.]+', defined at None")
_SPECIFIC = re.compile(r"raised a specific error:\s*(?:\w+: )?(.+)")
_AT = re.compile(r"at (\S[^\n]*) \((\d+)\)")


def compile_policy(function: FunctionType, hook: str, location: str) -> Any:
    """The function compiled for a hook's signature, its helpers with it.

    Policies of this package are cached on disk, a user's are not (see `mltwin.sim.jit.kernel`).

    Raises:
        InputError: Numba cannot compile it, or it answers with a fraction where the hook wants a
            whole number; names file and line, and tells Numba's reason in one sentence.
    """
    from mltwin.sim.jit import JIT_DISABLED, kernel

    if JIT_DISABLED:
        return function
    name = function.__name__
    try:
        compiled = kernel(signature(hook))(with_compiled_helpers(function))
    except Exception as error:
        raise InputError(
            f"policy {name}: Numba cannot compile it: {essence(error)}",
            where=_place(error, location),
            mend="use numbers, arrays and loops (the subset of Python that Numba compiles)",
        ) from error
    line = _fraction_returned(compiled) if HOOKS[hook].returns == "int64" else None
    if line is not None:
        raise InputError(
            f"policy {name}: answers with a fraction where {hook!r} wants a whole number",
            where=f"{location.rpartition(':')[0]}:{line}",
            mend="return int(...)",
        )
    return compiled


def with_compiled_helpers(function: FunctionType) -> FunctionType:
    """The function with the plain Python functions that it calls compiled.

    Numba cannot call a plain function, and an author should not have to know: so a copy of the
    function sees compiled helpers under the same names. Without helpers, the function itself.
    """
    from mltwin.sim.jit import handler

    helpers = {
        name: handler(with_compiled_helpers(value))
        for name in function.__code__.co_names
        if isinstance(value := function.__globals__.get(name), FunctionType)
        and not value.__module__.startswith("numpy")
    }
    if not helpers:
        return function
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **helpers},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
    return copy


def essence(error: Exception) -> str:
    """The one sentence that matters in an error of Numba, with our records by their names."""
    if isinstance(error, KeyError):
        return f"there is no field {error.args[0]!r}"
    text = _RECORD_TYPE.sub(_record_name, str(error))
    text = _NOISE.sub("", text)
    specific = _SPECIFIC.search(text)
    if specific:
        return specific[1].strip()
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and not line.startswith("Failed in ")]
    if not lines:
        return type(error).__name__
    if lines[0].endswith(":") and len(lines) > 1:
        return f"{lines[0]} {lines[1].lstrip('> ')}"
    return lines[0]


def _record_name(found: re.Match[str]) -> str:
    return _RECORD_OF_FIELDS.get(tuple(_FIELD.findall(found[0])), "Record")


def _place(error: Exception, location: str) -> str:
    """file:line of an error in the policy's file, else where the policy stands."""
    file = location.rpartition(":")[0]
    for found in _AT.finditer(str(error)):
        if found[1] == file:
            return f"{file}:{found[2]}"
    loc = getattr(error, "loc", None)
    if loc is not None and getattr(loc, "filename", None) == file:
        return f"{file}:{loc.line}"
    return location


def _fraction_returned(compiled: Any) -> int | None:
    """The line of the first return of a float, None if there is none.

    Numba cuts it to an integer without a word. Code from the cache brings no types, but it was
    judged when it was compiled.
    """
    from numba import types

    for result in compiled.overloads.values():
        notes = result.type_annotation
        for block in getattr(notes, "blocks", {}).values():
            for statement in block.body:
                value: Any = getattr(statement, "value", None)
                if getattr(value, "op", None) == "cast" and isinstance(
                    notes.typemap.get(value.value.name), types.Float
                ):
                    return int(statement.loc.line)
    return None
