"""Find a policy by what a scenario says: a name, a file and function, or a table with parameters.

The built-in policies are what stands in the family modules; they are imported when a policy of
their hook is first asked for. Nothing is registered as a side effect, so a user's file cannot
change what a name means.
"""

import functools
import importlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError

from .declare import Policy, policy_params
from .hooks import HOOKS, SYSTEMS
from .loading import load_file, load_module
from .words import did_you_mean

FAMILIES = {
    "admit": "admission",
    "route": "routing",
    "place_decode": "placement",
    "priority": "scheduling",
    "preempt": "preemption",
    "evict": "eviction",
    "scale": "scaling",
    "evict_object": "caching",
}

Spec = str | Mapping[str, Any] | Policy


def resolve(
    spec: Spec, hook: str, *, folder: Path | str | None = None
) -> tuple[Policy, np.ndarray]:
    """The policy that a scenario names for a hook, and its parameters.

    Args:
        spec: the name of a built-in policy; ``file.py:function`` (or ``file.py`` that holds one
            policy for this hook); ``module:function``; a Policy; or a mapping with one of these
            under ``name`` and parameters beside it.
        hook: the hook to fill.
        folder: what a relative file path starts from; the working directory by default.

    Returns:
        The policy, and its parameters as a float64 array in the order of ``policy.params``.

    Raises:
        InputError: no such policy, file or parameter, a policy for another hook, or a user's file
            with a mistake in it.
    """
    _check_hook(hook)
    name: Any = spec
    overrides: dict[str, Any] = {}
    if isinstance(spec, Mapping):
        overrides = dict(spec)
        name = overrides.pop("name", None)
    if isinstance(name, Policy):
        found = name
    elif isinstance(name, str) and name:
        found = _find(name, hook, Path(folder or "."))
    else:
        raise InputError(
            f"{spec!r} names no policy",
            where=f"policy.{hook}",
            mend='give a name, "file.py:function", or a table with a name and parameters',
        )
    if found.hook != hook:
        raise InputError(
            f"policy {found.name!r} is for {found.hook!r}, not {hook!r}",
            where=f"policy.{hook}",
            mend=f"use it as policy.{found.hook}, or choose another",
        )
    return found, policy_params(found, overrides)


def list_policies(hook: str | None = None, *, system: str | None = "serving") -> list[Policy]:
    """The built-in policies, in the order of the hooks, then by name.

    Args:
        hook: only those of this hook.
        system: else those of a system's hooks; None for all systems.
    """
    if hook is not None:
        _check_hook(hook)
        hooks: Iterable[str] = (hook,)
    else:
        hooks = HOOKS if system is None else SYSTEMS[system].HOOKS
    return [builtins(h)[name] for h in hooks for name in sorted(builtins(h))]


def defaults(system: str = "serving") -> dict[str, Policy]:
    """The policy that each hook of a system has when the scenario names none."""
    return {p.hook: p for p in list_policies(system=None) if p.default_for == system}


@functools.cache
def builtins(hook: str) -> dict[str, Policy]:
    """The built-in policies of a hook by name."""
    module = importlib.import_module(f"{__package__}.{FAMILIES[hook]}")
    return {p.name: p for p in policies_in(module) if p.hook == hook}


def policies_in(module: ModuleType) -> list[Policy]:
    """The policies that a module defines or imports, in the order of their names."""
    return [v for _, v in sorted(vars(module).items()) if isinstance(v, Policy)]


def _check_hook(hook: str) -> None:
    if hook not in HOOKS:
        raise InputError(f"no hook {hook!r}", mend=did_you_mean(str(hook), HOOKS))


def _find(name: str, hook: str, folder: Path) -> Policy:
    left, colon, right = name.rpartition(":")
    if colon and left.endswith(".py"):
        return _member(load_file(folder / left), right, left, hook)
    if colon:
        return _member(load_module(left), right, left, hook)
    if name.endswith(".py"):
        return _only_one(load_file(folder / name), name, hook)
    known = builtins(hook)
    if name not in known:
        raise InputError(
            f"no policy {name!r}", where=f"policy.{hook}", mend=did_you_mean(name, known)
        )
    return known[name]


def _member(module: ModuleType, name: str, file: str, hook: str) -> Policy:
    """The policy called name (its function's or its own name) in a module."""
    found = policies_in(module)
    value = getattr(module, name, None)
    if isinstance(value, Policy):
        return value
    for policy in found:
        if policy.name == name and policy.hook == hook:
            return policy
    if callable(value):
        raise InputError(
            f"{name!r} is no policy", where=file, mend=f"put @policy({hook!r}) above its def"
        )
    raise InputError(
        f"no policy {name!r} in it", where=file, mend=did_you_mean(name, [p.name for p in found])
    )


def _only_one(module: ModuleType, file: str, hook: str) -> Policy:
    found = [p for p in policies_in(module) if p.hook == hook]
    if len(found) != 1:
        names = ", ".join(p.name for p in found) or "none"
        raise InputError(
            f"policies for {hook!r} in it: {names}", where=file, mend=f"name one: {file}:function"
        )
    return found[0]
