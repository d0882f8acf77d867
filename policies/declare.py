"""The `@policy` decorator: turns a plain function into a `Policy`, and checks it at once."""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from mltwin.models.serving.hooks import STABILITIES
from mltwin.sim.errors import InputError

from .hooks import HOOKS
from .lint import Declared, check_function
from .words import did_you_mean


class Sizes(NamedTuple):
    """How large a run is: what the memory of a policy may depend on. 0 where a system has none."""

    requests: int
    tenants: int
    sessions: int
    replicas: int
    objects: int = 0


Memory = int | Callable[[Sizes], int]


@dataclass(frozen=True, eq=False)
class Policy:
    """A decision function and what the simulator must know of it.

    Calling a Policy calls the plain Python function; `compiled` gives the machine code.

    hook: name of the decision point it fills.
    name: what a scenario calls it.
    stability: "static", "on_event" or "every_iteration" (priority only, see the hooks).
    live: whether it reads `free_blocks` or `decode_context`, which must be computed for it.
    queue: whether it reads `wanted` of a block, which must be counted for it (evict only); it is
        then asked again for an evictable block whenever that changes.
    params: default of each parameter by name; the order is that of the array ``params``.
    memory: floats of memory that it needs, a number or a function of `Sizes`.
    default_for: the system that uses it unless told otherwise, "" for none.
    location: ``file:line`` of its definition.
    """

    hook: str
    name: str
    function: FunctionType = field(repr=False)
    stability: str = "static"
    live: bool = False
    params: dict[str, float] = field(default_factory=dict)
    memory: Memory = 0
    default_for: str = ""
    location: str = ""
    queue: bool = False

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)

    @property
    def doc(self) -> str:
        """Its docstring, without indentation."""
        return inspect.getdoc(self.function) or ""

    @property
    def summary(self) -> str:
        """The first paragraph of its docstring, in one line."""
        return " ".join(self.doc.partition("\n\n")[0].split())

    @property
    def source(self) -> str:
        """Its source text."""
        return inspect.getsource(self.function)

    def memory_size(self, sizes: Sizes) -> int:
        """Floats of memory for a run of these sizes.

        Raises InputError if the policy's own function gives no whole number >= 0.
        """
        wanted = self.memory(sizes) if callable(self.memory) else self.memory
        if not _is_count(wanted):
            raise InputError(
                f"policy {self.name}: memory for {sizes} is {wanted!r}",
                where=self.location,
                mend="return a whole number of at least 0",
            )
        return int(wanted)

    def compiled(self) -> Any:
        """A first-class function for Numba, compiled at the first call.

        Under ``NUMBA_DISABLE_JIT=1`` the plain function. Raises InputError if Numba cannot
        compile it.
        """
        return _compiled(self)


@functools.cache
def _compiled(policy: Policy) -> Any:
    from .compiling import compile_policy

    return compile_policy(policy.function, policy.hook, policy.location)


def policy(
    hook: str,
    *,
    name: str | None = None,
    stability: str = "static",
    live: bool = False,
    queue: bool = False,
    params: Mapping[str, float] | None = None,
    memory: Memory = 0,
    default_for: str = "",
) -> Callable[[Callable[..., Any]], Policy]:
    """Declare a function as a policy for a hook; the arguments are the fields of `Policy`.

    Raises:
        InputError: unknown hook or stability, arguments that are not the hook's, parameters that
            are no numbers, or a body that a policy may not have (see `lint`). It names file and
            line.
    """

    def decorate(function: Callable[..., Any]) -> Policy:
        if not isinstance(function, FunctionType):
            raise InputError(
                f"@policy({hook!r}) stands on {function!r}",
                mend="put it on a plain Python function; it compiles it by itself",
            )
        code = function.__code__
        location = f"{code.co_filename}:{code.co_firstlineno}"
        if hook not in HOOKS:
            raise InputError(
                f"no hook {hook!r}", where=location, mend=did_you_mean(str(hook), HOOKS)
            )
        _check_stability(stability, hook, location)
        _check_queue(queue, hook, location)
        _check_memory(memory, location)
        numbers = _checked_params(params or {}, location)
        check_function(
            function,
            HOOKS[hook],
            Declared(tuple(numbers), memory, live, stability, queue),
        )
        return Policy(
            hook,
            name or function.__name__,
            function,
            stability,
            live,
            numbers,
            memory,
            default_for,
            location,
            queue,
        )

    return decorate


def policy_params(policy: Policy, overrides: Mapping[str, Any] | None = None) -> np.ndarray:
    """The array ``params`` of a policy: its defaults with some of them replaced, float64.

    Raises InputError for a parameter that it does not have, or a value that is no number.
    """
    values = dict(policy.params)
    for name, value in (overrides or {}).items():
        where = f"policy.{policy.hook}.{name}"
        if name not in values:
            raise InputError(
                f"policy {policy.name!r} has no parameter {name!r}",
                where=where,
                mend=did_you_mean(str(name), values) if values else "it has none",
            )
        if not _is_number(value):
            raise InputError(f"{value!r} is no number", where=where, mend="give a number")
        values[name] = float(value)
    return np.array(list(values.values()), np.float64)


def _check_stability(stability: str, hook: str, location: str) -> None:
    if stability not in STABILITIES:
        raise InputError(
            f"no stability {stability!r}",
            where=location,
            mend=did_you_mean(str(stability), STABILITIES),
        )
    if hook != "priority" and stability != "static":
        raise InputError(
            f"a policy for {hook!r} cannot be {stability!r}",
            where=location,
            mend="only those for 'priority' have a stability; leave it out",
        )


def _check_queue(queue: bool, hook: str, location: str) -> None:
    if queue and hook != "evict":
        raise InputError(
            f"a policy for {hook!r} has no use for queue=True",
            where=location,
            mend="only those for 'evict' are told what waits; leave it out",
        )


def _check_memory(memory: Any, location: str) -> None:
    if not (callable(memory) or _is_count(memory)):
        raise InputError(
            f"memory is {memory!r}",
            where=location,
            mend="give a whole number of at least 0, or a function of Sizes that returns one",
        )


def _checked_params(params: Mapping[str, Any], location: str) -> dict[str, float]:
    for name, value in params.items():
        if not isinstance(name, str) or not name.isidentifier() or name == "name":
            raise InputError(
                f"parameter name {name!r}",
                where=location,
                mend="use a Python name other than 'name'",
            )
        if not _is_number(value):
            raise InputError(
                f"parameter {name!r} has the default {value!r}",
                where=location,
                mend="all parameters are numbers",
            )
    return {name: float(value) for name, value in params.items()}


def _is_count(value: Any) -> bool:
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and int(value) >= 0


def _is_number(value: Any) -> bool:
    number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
    return number and not math.isnan(value)
