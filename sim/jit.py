"""How kernels are compiled: two decorators, and the Numba types of our records.

``@kernel(signature)`` compiles an entry point (or a policy) at once and caches it on disk;
``@handler`` marks an inner function, compiled into each kernel that calls it. Under
``NUMBA_DISABLE_JIT=1`` both leave the plain Python function.

The error model is "python": an integer division by zero raises ZeroDivisionError, as it does
without the compiler, where the "numpy" model would carry on with 0. On a serving kernel the two
could not be told apart in speed (171 and 177 ns a request, 325 and 324). There is no ``fastmath``
and no ``parallel``: results must not depend on CPU or thread count.
"""

import functools
import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar, overload

import numpy as np

from .cachedir import KERNEL_FOLDERS, PACKAGE_ROOT, prepare_cache

CACHE_DIR = prepare_cache()

import numba  # noqa: E402  (the cache directory must be known first)
from numba.core import types  # noqa: E402

Function = TypeVar("Function", bound=Callable[..., Any])

_numba: Any = numba  # its stubs differ from version to version
_types: Any = types
JIT_DISABLED = bool(_numba.config.DISABLE_JIT)
_FORBIDDEN = ("fastmath", "parallel")


def kernel(signature: Any = None, **options: Any) -> Callable[[Function], Function]:
    """Compile an entry point: nogil, cached, for exactly one signature.

    Args:
        signature: Numba signature, e.g. ``int64(WORLD, int64)``; compiled where it is decorated.
            None compiles at the first call.
        options: further options of ``numba.njit``.

    Functions outside the package (a user's policy file, a test) are not cached on disk: our cache
    key does not cover what they import, and a policy compiles in 0.04-0.2 s.
    """
    _check(options)

    def decorate(function: Function) -> Function:
        chosen = {"nogil": True, "cache": _is_cacheable(function), "error_model": "python"}
        chosen.update(options)
        compiled: Function = _numba.njit(signature, **chosen)(function)
        return compiled

    return decorate


def entry(compiled: Function) -> Function:
    """The code of a kernel of one signature, called without a look at the arguments' types.

    A call of a kernel looks at the type of each argument, which for a World takes 2 us; the code
    itself is called in a tenth of that. But it takes any array for what the signature says: one of
    other dimensions or strides reads wrong memory, so the caller makes sure (`ascontiguousarray`).
    """
    if JIT_DISABLED:
        return compiled
    dispatcher: Any = compiled
    (only,) = dispatcher.overloads.values()
    code: Function = only.entry_point
    return code


@overload
def handler(function: Function) -> Function: ...
@overload
def handler(**options: Any) -> Callable[[Function], Function]: ...
def handler(function: Any = None, **options: Any) -> Any:
    """Mark an inner function: it is compiled into its callers, and callable from Python too.

    No cache of its own: a kernel's cache entry holds its handlers (caching them too made a
    serving kernel compile 7 % slower and its cache 8 times larger, and saved nothing). No wrapper
    for C callbacks, as nothing takes the address of a handler. The wrapper for Python stays:
    without it a cold compile is 9 % shorter, but a call from Python is a segmentation fault.
    """
    if function is None:
        return functools.partial(handler, **options)
    _check(options)
    chosen = {"nogil": True, "no_cfunc_wrapper": True, "error_model": "python"}
    chosen.update(options)
    _name_by_contents(function)
    compiled = _numba.njit(**chosen)(function)
    if not JIT_DISABLED:
        _merge_integers(compiled)
    return compiled


def _name_by_contents(function: Any) -> None:
    """Put what a function made by another one encloses into its name.

    Numba's symbols are qualified name, a number counted in the process, and argument types; of
    equal symbols the linker keeps one. Kernels that two processes compiled and a third loads from
    the cache may hold different closures (the steps of two policies) under one symbol, and one of
    them silently runs the other's code. With the contents in the name equal symbols are equal code.
    """
    cells = function.__closure__ or ()
    if not cells:
        return
    text = ",".join(_described(cell) for cell in cells)
    digest = hashlib.sha256(text.encode()).hexdigest()[:12]
    function.__qualname__ = f"{function.__qualname__}_{digest}"


def _described(cell: Any) -> str:
    """What a closure holds, in words that are the same in every process."""
    try:
        value = cell.cell_contents
    except ValueError:  # not yet assigned: the function itself, or one defined below it
        return "unassigned"
    return _named(value)


def _named(value: Any) -> str:
    if isinstance(value, tuple):
        return f"({','.join(map(_named, value))})"
    plain = getattr(value, "py_func", value)
    if inspect.isfunction(plain):
        return f"{plain.__module__}.{plain.__qualname__}"
    return repr(value)


def record_type(dtype: np.dtype) -> types.Type:
    """The Numba type of one record (or scalar) of dtype."""
    return numba.from_dtype(dtype)


def array_type(dtype: Any) -> types.Array:
    """The Numba type of a table: a 1-D C-contiguous array of dtype."""
    return types.Array(numba.from_dtype(np.dtype(dtype)), 1, "C")


def _merge_integers(dispatcher: Any) -> None:
    """Let kernels call a handler with int64 for every signed integer, constants included.

    Numba would compile it anew for each constant and width among the arguments: a serving kernel
    then had 24 copies of `log_event` and compiled 10 % longer. `get_call_template` is not
    documented; should it go, only that time comes back.
    """
    resolve = getattr(dispatcher, "get_call_template", None)
    if resolve is None:
        return

    def widen(argument: Any) -> Any:
        plain = _types.unliteral(argument)
        return types.int64 if isinstance(plain, _types.Integer) and plain.signed else plain

    def resolve_widened(args: Any, kws: Any) -> Any:
        return resolve(
            tuple(map(widen, args)), {name: widen(kind) for name, kind in dict(kws).items()}
        )

    dispatcher.get_call_template = resolve_widened


def _check(options: dict[str, Any]) -> None:
    for name in _FORBIDDEN:
        if options.get(name):
            raise ValueError(f"{name} is forbidden: results would depend on CPU or thread count")


def _is_cacheable(function: Callable[..., Any]) -> bool:
    if CACHE_DIR is None:
        return False
    file = Path(inspect.getfile(function)).resolve()
    return any(file.is_relative_to(PACKAGE_ROOT / folder) for folder in KERNEL_FOLDERS)
