"""A decision point of a system: what a policy is given there, and what it answers."""

from collections.abc import Mapping
from typing import Any, NamedTuple


class Hook(NamedTuple):
    """One decision point: its arguments by name, what it returns, and what it decides."""

    name: str
    arguments: tuple[str, ...]
    returns: str
    decides: str


def hook_signature(hook: Hook, kinds: Mapping[str, Any]) -> Any:
    """The Numba signature of a hook's function from the Numba type of each argument name."""
    from .jit import types

    return getattr(types, hook.returns)(*(kinds[name] for name in hook.arguments))
