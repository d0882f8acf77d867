"""The hooks of all systems side by side; each system declares its own (`models/<system>/hooks.py`).

A system's module holds HOOKS (by name), RECORDS (arguments that are records, or arrays of them, and
their record types) and ``signature(hook)``. Hook names differ between systems, argument names need
not: `ctx` is another record in a cache than in a serving system.
"""

from types import ModuleType
from typing import Any

import numpy as np

from mltwin.models.caching import hooks as caching
from mltwin.models.serving import hooks as serving
from mltwin.sim.hook import Hook

SYSTEMS: dict[str, ModuleType] = {"serving": serving, "caching": caching}
"""Systems with hooks, and where they declare them."""

HOOKS: dict[str, Hook] = {
    name: hook for module in SYSTEMS.values() for name, hook in module.HOOKS.items()
}
"""All hooks by name, system by system."""

_SYSTEM_OF = {name: system for system, module in SYSTEMS.items() for name in module.HOOKS}


def system_of(hook: str) -> str:
    """The system that a hook belongs to."""
    return _SYSTEM_OF[hook]


def records_of(hook: str) -> dict[str, np.dtype]:
    """Record type of each argument of a hook's system that is a record or an array of them."""
    records: dict[str, np.dtype] = SYSTEMS[_SYSTEM_OF[hook]].RECORDS
    return records


def all_records() -> list[np.dtype]:
    """Every record type that some policy may see."""
    return [dtype for module in SYSTEMS.values() for dtype in module.RECORDS.values()]


def signature(hook: str) -> Any:
    """The Numba signature of a hook's function (numba is imported here)."""
    return SYSTEMS[_SYSTEM_OF[hook]].signature(hook)
