"""A world as plain Python sees it: named tables and hooks, checked, replaceable in place.

`PlainWorld` is all there is under ``NUMBA_DISABLE_JIT=1``. The compiled kinds (`world`,
`world_structref`) add the Numba type and what a kernel needs to reach the tables.
"""

from collections.abc import Collection, Mapping
from typing import Any, NoReturn, Self

import numpy as np

from .jit import array_type, types


class PlainWorld:
    """State of one simulation: tables and hooks, both attributes of the same object.

    Tables are 1-D, C-contiguous, aligned, writable arrays of records or numbers; those named in
    `read_only` need not be writable, and no kernel may write them (nothing checks that). Tables
    keep their dtype for life; `replace` swaps one for another array, also of another length.
    Assigning an attribute is refused: a kernel would still work on the old array.
    """

    _tables: dict[str, np.ndarray]
    _hooks: dict[str, tuple[Any, Any]]
    _read_only: frozenset[str]

    def __init__(self, /, *, read_only: Collection[str] = (), **tables: np.ndarray) -> None:
        self._set("_read_only", frozenset(read_only))
        names = sorted(tables)  # so the order of arguments makes no second type
        for name in names:
            _check_name(type(self), name)
            _check_table(name, tables[name], name in self._read_only)
        self._set("_tables", {name: tables[name] for name in names})
        self._set("_hooks", {})
        for name in names:
            self._set(name, tables[name])
        self._relayout()

    def bind(self, /, **hooks: tuple[Any, Any]) -> Self:
        """Attach first-class functions: ``name=(signature, compiled function)``.

        Replaces all hooks bound before, hence makes another Numba type; to swap a function for
        another of the same signature, use `rebind`.

        Returns:
            The world itself.

        Raises:
            TypeError: not a compiled function, or one that does not fit the signature.
        """
        bound = {name: hooks[name] for name in sorted(hooks)}
        for name, (signature, function) in bound.items():
            _check_name(type(self), name)
            if name in self._tables:
                raise ValueError(f"hook {name!r}: a table has that name")
            self._check_hook(name, signature, function)
        for name in self._hooks:
            object.__delattr__(self, name)
        self._set("_hooks", bound)
        for name, (_, function) in bound.items():
            self._set(name, function)
        self._relayout()
        return self

    def rebind(self, /, **functions: Any) -> Self:
        """Put other functions of the same signatures behind hooks; the Numba type stays."""
        for name, function in functions.items():
            if name not in self._hooks:
                raise ValueError(f"no hook {name!r}; bound are {sorted(self._hooks)}")
            self._check_hook(name, self._hooks[name][0], function)
        for name, function in functions.items():
            self._hooks[name] = (self._hooks[name][0], function)
            self._set(name, function)
            self._refresh_hook(name)
        return self

    def replace(self, /, **tables: np.ndarray) -> Self:
        """Put other arrays of the same dtypes (of any length) in the place of tables."""
        for name, array in tables.items():
            if name not in self._tables:
                raise ValueError(f"no table {name!r}; there are {sorted(self._tables)}")
            _check_table(name, array, name in self._read_only)
            if array.dtype != self._tables[name].dtype:
                raise TypeError(
                    f"table {name!r} holds {self._tables[name].dtype}, not {array.dtype}"
                )
        for name, array in tables.items():
            self._tables[name] = array
            self._set(name, array)
            self._refresh_table(name)
        return self

    def copy(self) -> Self:
        """A world with copies of all tables and the same hooks."""
        copies = {name: array.copy() for name, array in self._tables.items()}
        twin = type(self)(read_only=self._read_only, **copies)
        return twin.bind(**self._hooks) if self._hooks else twin

    def tables(self) -> dict[str, np.ndarray]:
        """Name to table, sorted by name."""
        return dict(self._tables)

    def hooks(self) -> dict[str, Any]:
        """Name to bound function, sorted by name."""
        return {name: function for name, (_, function) in self._hooks.items()}

    def __setattr__(self, name: str, value: Any) -> NoReturn:
        raise AttributeError(f"cannot assign {name!r}; use replace() or rebind()")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete {name!r} from a world")

    def __getattr__(self, name: str) -> Any:  # only for names that are not there
        raise AttributeError(f"world has no table or hook {name!r}")

    def __repr__(self) -> str:
        tables = ", ".join(f"{name}[{len(array)}]" for name, array in self._tables.items())
        return f"{type(self).__name__}({'; '.join(filter(None, [tables, ', '.join(self._hooks)]))})"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a world holds addresses and cannot be pickled; send its scenario instead")

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _check_hook(self, name: str, signature: Any, function: Any) -> None:
        if not callable(function):
            raise TypeError(f"hook {name!r} is not a function: {function!r}")

    def _relayout(self) -> None:
        """The set of tables or hooks has changed."""

    def _refresh_table(self, name: str) -> None:
        """One table has been replaced."""

    def _refresh_hook(self, name: str) -> None:
        """One hook has been rebound."""


def world_fields(
    tables: Mapping[str, np.dtype], hooks: Mapping[str, Any]
) -> tuple[tuple[str, types.Type], ...]:
    """Names with Numba types: tables by name, then hooks by name, whatever order they came in."""
    fields: list[tuple[str, types.Type]] = []
    fields += [(name, array_type(tables[name])) for name in sorted(tables)]
    fields += [(name, types.FunctionType(hooks[name])) for name in sorted(hooks)]
    return tuple(fields)


def check_compiled_hook(name: str, signature: Any, function: Any) -> None:
    """Refuse what is no compiled function of exactly this signature, return type included.

    Calling through a pointer of another type would corrupt memory, so nothing is assumed.
    """
    from numba.core.dispatcher import Dispatcher

    wanted = f"{signature.return_type}({', '.join(map(str, signature.args))})"
    if not isinstance(function, Dispatcher):
        raise TypeError(f"hook {name!r} is not compiled; decorate it with @kernel({wanted})")
    if function.targetoptions.get("no_cfunc_wrapper"):
        raise TypeError(f"hook {name!r} is a @handler; decorate it with @kernel({wanted})")
    try:
        result: Any = function.get_compile_result(signature)
    except Exception as error:  # Numba raises bare KeyError and others from inside the compiler
        reason = f"{type(error).__name__}: {error}"
        raise TypeError(f"hook {name!r} does not fit {wanted}: {reason}") from error
    returned = result.signature.return_type
    if returned != signature.return_type:
        raise TypeError(f"hook {name!r} returns {returned}, not {signature.return_type}")


def _check_name(owner: type, name: str) -> None:
    if name.startswith("_") or not name.isidentifier() or hasattr(owner, name) or name == "view":
        raise ValueError(f"{name!r} cannot name a table or hook")


def _check_table(name: str, array: Any, read_only: bool) -> None:
    if not isinstance(array, np.ndarray):
        raise TypeError(f"table {name!r} is not an array: {type(array).__name__}")
    flags = array.flags
    if array.ndim != 1 or not flags.c_contiguous:
        raise ValueError(f"table {name!r} must be 1-D and contiguous, not shape {array.shape}")
    if not (flags.aligned and (flags.writeable or read_only)):
        raise ValueError(f"table {name!r} must be aligned and writable")
    if not array.dtype.isnative or array.dtype.hasobject:
        raise TypeError(f"table {name!r} has dtype {array.dtype}: not native numbers")
    if array.dtype.names is not None and not isinstance(array, np.recarray):
        raise TypeError(f"table {name!r} is no recarray; make it with mltwin.sim.records.table")
