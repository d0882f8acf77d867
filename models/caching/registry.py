"""Eviction policies by name: which file holds one, its parameters, and what it needs to know."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from mltwin.sim.errors import InputError


@dataclass(frozen=True)
class Eviction:
    """An eviction policy.

    name: what a scenario calls it.
    module: its file in `mltwin.models.caching.eviction`.
    about: one sentence.
    params: default of each parameter; the order is that of the table `knobs`.
    future: whether it must know the next request of each object (`next_use`), hence a whole trace.
    heap: whether it keeps the resident objects in `heap`.
    ring: rows of `ring` it needs, as a multiple of the objects that fit.
    sketch: whether it counts requests in `sketch`.
    random: whether it draws numbers, so that the seed matters.
    sized: whether sizes or costs matter to its decisions (else only to what fits).
    """

    name: str
    module: str
    about: str
    params: Mapping[str, float] = field(default_factory=dict)
    future: bool = False
    heap: bool = False
    ring: float = 0.0
    sketch: bool = False
    random: bool = False
    sized: bool = False

    def load(self) -> ModuleType:
        """Its file, imported (and its kernels compiled at their first call).

        It holds NEEDS (tables), STEPS (`driver.Steps`) and the kernels `replay`, `replay_full` and
        `step`; perhaps ``prepare(world)``, which sets up its own numbers.
        """
        return importlib.import_module(f"mltwin.models.caching.eviction.{self.module}")

    def knobs(self, given: Mapping[str, float] | None = None) -> np.ndarray:
        """The parameters as float64, some replaced.

        Raises InputError for one that it does not have.
        """
        values = dict(self.params)
        for name, value in (given or {}).items():
            if name not in values:
                known = ", ".join(values) or "none"
                raise InputError(
                    f"eviction policy {self.name!r} has no parameter {name!r}",
                    where=f"eviction.{name}",
                    mend=f"it has: {known}",
                )
            values[name] = float(value)
        return np.array(list(values.values()) or [0.0], np.float64)


_ALL = (
    Eviction("fifo", "fifo", "the object that entered first goes"),
    Eviction("lru", "lru", "the object asked for longest ago goes"),
)
EVICTIONS = {eviction.name: eviction for eviction in _ALL}


def eviction(name: str) -> Eviction:
    """The policy of a name. InputError with the nearest name where there is none."""
    import difflib

    if name in EVICTIONS:
        return EVICTIONS[name]
    close = difflib.get_close_matches(name, EVICTIONS, n=1, cutoff=0.5)
    known = ", ".join(EVICTIONS)
    raise InputError(
        f"no eviction policy {name!r}",
        where="eviction",
        mend=f"did you mean {close[0]!r}?" if close else f"there are {known}",
    )
