"""The same World through `numba.experimental.structref`, Numba's public interface.

Slower (arrays are reference-counted at each access), but free of private calls: it serves where
`world` cannot, and under the same tests. Another set of tables or hooks compiles a constructor
(about a second).
"""

import functools
import hashlib
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.experimental import structref
from numba.extending import typeof_impl

from .world_base import PlainWorld, check_compiled_hook, world_fields

_types: Any = types  # the stubs of some versions lack StructRef


@structref.register
class WorldRefType(_types.StructRef):
    """Numba type of a StructrefWorld, with a short name instead of all its fields."""

    def __init__(self, fields: tuple[tuple[str, types.Type], ...]) -> None:
        super().__init__(fields)
        digest = hashlib.sha256(repr(fields).encode()).hexdigest()
        self.name = f"WorldRef_{digest[:12]}"


class _Handle(structref.StructRefProxy):
    """The boxed struct; keeps the compiled side alive."""


structref.define_boxing(WorldRefType, _Handle)


class StructrefWorld(PlainWorld):
    """A world whose kernels get a reference-counted struct of arrays and functions."""

    _handle: _Handle | None
    _numba_type: Any

    @property
    def _meminfo(self) -> Any:
        """Where the unboxing of structref looks; makes the struct when first asked."""
        if self._handle is None:
            make = _constructor(self._numba_type)
            tables = map(_writable, self._tables.values())
            self._set("_handle", make(*tables, *self.hooks().values()))
        return self._handle._meminfo  # type: ignore[union-attr]

    def _relayout(self) -> None:
        dtypes = {name: array.dtype for name, array in self._tables.items()}
        signatures = {name: signature for name, (signature, _) in self._hooks.items()}
        self._set("_numba_type", structref_world_type(dtypes, signatures))
        self._set("_handle", None)

    def _refresh_table(self, name: str) -> None:
        if self._handle is not None:
            _setter(self._numba_type, name)(self, _writable(self._tables[name]))

    def _refresh_hook(self, name: str) -> None:
        if self._handle is not None:
            _setter(self._numba_type, name)(self, self._hooks[name][1])

    def _check_hook(self, name: str, signature: Any, function: Any) -> None:
        check_compiled_hook(name, signature, function)


def _writable(array: np.ndarray) -> np.ndarray:
    """The array, or a copy: the types of fields are those of arrays that may be written to, and a
    kernel given another one would read wrong memory."""
    return array if array.flags.writeable else array.copy()


@typeof_impl.register(StructrefWorld)
def _typeof_world(world: StructrefWorld, context: Any) -> WorldRefType:
    return world._numba_type


def structref_world_type(
    tables: Mapping[str, np.dtype], hooks: Mapping[str, Any] | None = None
) -> WorldRefType:
    """The Numba type of a StructrefWorld with these tables (dtypes) and hooks (signatures)."""
    return WorldRefType(world_fields(tables, hooks or {}))


@functools.cache
def _constructor(numba_type: WorldRefType) -> Any:
    """A compiled function of all fields that makes the struct."""
    names = list(numba_type.field_dict)  # none begins with an underscore
    lines = [f"def _make({', '.join(names)}):", "    _world = _new(_type)"]
    lines += [f"    _world.{name} = {name}" for name in names]
    lines += ["    return _world"]
    scope: dict[str, Any] = {"_new": structref.new, "_type": numba_type}
    exec("\n".join(lines), scope)
    return numba.njit(numba_type(*numba_type.field_dict.values()))(scope["_make"])


@functools.cache
def _setter(numba_type: WorldRefType, name: str) -> Any:
    """A compiled function that replaces one field."""
    scope: dict[str, Any] = {}
    exec(f"def put(world, value):\n    world.{name} = value", scope)
    return numba.njit(types.void(numba_type, numba_type.field_dict[name]))(scope["put"])
