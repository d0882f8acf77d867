"""World: all the state of a simulation, passed to a kernel as one pointer.

Inside a kernel ``S.req`` is an array without an owner, so nothing is reference-counted, and
``S.route(...)`` calls a policy through its address. Outside, a World is an ordinary object with
the same attributes; it must outlive the call, which any Python caller's reference ensures.
The same handlers over a NamedTuple of arrays took 13 times as long.

The type depends on names and dtypes only, so all scenarios of a system share one compiled kernel.

This is the only file whose working depends on Numba's private parts (`_get_wrapper_address`,
`_get_jit_address`, array and function layouts). Tested with Numba 0.61.2 and 0.68.1; where they
are missing, or with ``MLTWIN_WORLD=structref``, the slower `world_structref` stands in.
"""

import functools
import hashlib
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .jit import JIT_DISABLED, types
from .world_base import PlainWorld, check_compiled_hook, world_fields

WORDS = 3  # per entry of the address table: (data, length, 0) or (C address, object, jit address)

try:
    from llvmlite import ir
    from numba.core import cgutils
    from numba.core.datamodel import models
    from numba.core.typing.templates import AttributeTemplate
    from numba.experimental.function_type import _get_jit_address, _get_wrapper_address
    from numba.extending import (
        NativeValue,
        infer_getattr,
        lower_getattr_generic,
        register_model,
        typeof_impl,
        unbox,
    )

    _HAS_PRIVATE = True
except ImportError:
    _HAS_PRIVATE = False


class WorldType(types.Type):
    """Numba type of a World: names with their array or function types."""

    def __init__(self, fields: tuple[tuple[str, types.Type], ...]) -> None:
        self.fields = fields
        self.index = {name: place for place, (name, _) in enumerate(fields)}
        digest = hashlib.sha256(repr(fields).encode()).hexdigest()
        super().__init__(f"World_{digest[:12]}")  # short: it is mangled into every symbol


class PointerWorld(PlainWorld):
    """A world whose kernels get the address of a table of addresses."""

    _words: np.ndarray
    _address: int
    _numba_type: Any

    def _relayout(self) -> None:
        entries = [self._table_entry(name) for name in self._tables]
        entries += [self._hook_entry(name) for name in self._hooks]
        self._set("_words", np.array(entries, np.int64).reshape(-1))
        self._set("_address", int(self._words.ctypes.data))
        dtypes = {name: array.dtype for name, array in self._tables.items()}
        signatures = {name: signature for name, (signature, _) in self._hooks.items()}
        self._set("_numba_type", _cached_type(tuple(dtypes.items()), tuple(signatures.items())))

    def _table_entry(self, name: str) -> tuple[int, int, int]:
        array = self._tables[name]
        return array.ctypes.data, array.size, 0

    def _hook_entry(self, name: str) -> tuple[int, int, int]:
        return _addresses(*self._hooks[name])

    def _refresh_table(self, name: str) -> None:
        place = self._numba_type.index[name] * WORDS
        self._words[place : place + WORDS] = self._table_entry(name)

    def _refresh_hook(self, name: str) -> None:
        place = self._numba_type.index[name] * WORDS
        self._words[place : place + WORDS] = self._hook_entry(name)

    def _check_hook(self, name: str, signature: Any, function: Any) -> None:
        check_compiled_hook(name, signature, function)


def pointer_world_type(
    tables: Mapping[str, np.dtype], hooks: Mapping[str, Any] | None = None
) -> WorldType:
    """The Numba type of a PointerWorld with these tables (dtypes) and hooks (signatures)."""
    return WorldType(world_fields(tables, hooks or {}))


@functools.lru_cache(maxsize=256)
def _addresses(signature: Any, function: Any) -> tuple[int, int, int]:
    """Where a function is, for C, for Python and compiled; the cache keeps it there."""
    return (
        _get_wrapper_address(function, signature),
        id(function),
        _get_jit_address(function, signature),
    )


@functools.lru_cache(maxsize=64)
def _cached_type(
    tables: tuple[tuple[str, np.dtype], ...], hooks: tuple[tuple[str, Any], ...]
) -> WorldType:
    """Building the type of 80 tables takes 3 ms, finding it again a hundredth of that."""
    return pointer_world_type(dict(tables), dict(hooks))


def _register() -> None:
    """Teach Numba to type, unbox and read a PointerWorld."""
    word = ir.IntType(64)
    template: Any = AttributeTemplate

    @typeof_impl.register(PointerWorld)
    def typeof_world(world: PointerWorld, context: Any) -> WorldType:
        return world._numba_type

    @register_model(WorldType)
    class WorldModel(models.PrimitiveModel):
        def __init__(self, manager: Any, numba_type: WorldType) -> None:
            super().__init__(manager, numba_type, word.as_pointer())

    @unbox(WorldType)
    def unbox_world(numba_type: WorldType, obj: Any, c: Any) -> Any:
        number = c.pyapi.object_getattr_string(obj, "_address")
        address = c.pyapi.long_as_longlong(number)
        c.pyapi.decref(number)
        return NativeValue(c.builder.inttoptr(address, word.as_pointer()))

    @infer_getattr
    class WorldAttributes(template):
        key = WorldType

        def generic_resolve(self, numba_type: Any, name: str) -> Any:
            place = numba_type.index.get(name)
            return None if place is None else numba_type.fields[place][1]

    @lower_getattr_generic(WorldType)
    def read_attribute(context: Any, builder: Any, world: WorldType, value: Any, name: str) -> Any:
        place = world.index[name]
        field = world.fields[place][1]
        # The table of addresses does not change during a call, so loads may be hoisted.
        invariant = builder.module.add_metadata([])

        def load(offset: int) -> Any:
            loaded = builder.load(builder.gep(value, [ir.Constant(word, place * WORDS + offset)]))
            loaded.set_metadata("invariant.load", invariant)
            return loaded

        if isinstance(field, types.FunctionType):
            return _make_function(context, builder, field, load)
        return _make_array(context, builder, field, load)


def _make_function(context: Any, builder: Any, field: Any, load: Any) -> Any:
    function = cgutils.create_struct_proxy(field)(context, builder)
    pointer = ir.IntType(8).as_pointer()
    function.c_addr = builder.inttoptr(load(0), pointer)
    function.py_addr = builder.inttoptr(load(1), pointer)
    function.jit_addr = builder.inttoptr(load(2), pointer)
    return function._getvalue()


def _make_array(context: Any, builder: Any, field: Any, load: Any) -> Any:
    array = context.make_array(field)(context, builder)
    if isinstance(field.dtype, types.Record):
        item_bytes = field.dtype.size
    else:
        item_bytes = context.get_abi_sizeof(context.get_data_type(field.dtype))
    length, item = load(1), ir.Constant(ir.IntType(64), item_bytes)
    array.data = builder.inttoptr(load(0), array.data.type)
    array.nitems = length
    array.itemsize = item
    array.shape = cgutils.pack_array(builder, [length])
    array.strides = cgutils.pack_array(builder, [item])
    array.meminfo = array.meminfo.type(None)  # no owner: nothing to count
    array.parent = array.parent.type(None)
    return array._getvalue()


KIND = "plain"
"""Which kind of world this process uses: "pointer", "structref" or "plain" (JIT off)."""

if JIT_DISABLED:
    World: type[PlainWorld] = PlainWorld

    def world_type(tables: Mapping[str, Any], hooks: Mapping[str, Any] | None = None) -> Any:
        """Stands in for the Numba type, which nothing asks for without the compiler."""
        return types.pyobject

elif _HAS_PRIVATE and os.environ.get("MLTWIN_WORLD", "pointer") == "pointer":
    _register()
    KIND, World, world_type = "pointer", PointerWorld, pointer_world_type
else:
    from .world_structref import StructrefWorld, structref_world_type

    KIND, World, world_type = "structref", StructrefWorld, structref_world_type
