"""Eviction policies by name: which file holds one, its parameters, and what it needs to know."""

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from numbers import Real
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
    scored: whether it asks a function for a score (hook `evict_object`).
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
    scored: bool = False

    def load(self) -> ModuleType:
        """Its file, imported (and its kernels compiled at their first call).

        It holds NEEDS (tables), STEPS (`driver.Steps`) and the kernels `replay`, `replay_full` and
        `step`; perhaps ``prepare(world)``, which sets up its own numbers, and ``regrow(world)``,
        which lengthens its own tables when there are more objects.
        """
        return importlib.import_module(f"mltwin.models.caching.eviction.{self.module}")

    def knobs(self, given: Mapping[str, float] | None = None) -> np.ndarray:
        """The parameters as float64, some replaced.

        Raises InputError for one that it does not have, and for a value that is no number.
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
            if isinstance(value, bool) or not isinstance(value, Real) or not isfinite(value):
                raise InputError(f"{name} = {value!r} is no number", where=f"eviction.{name}")
            values[name] = float(value)
        return np.array(list(values.values()) or [0.0], np.float64)


_ALL = (
    Eviction("fifo", "fifo", "the object that entered first goes"),
    Eviction("lru", "lru", "the object asked for longest ago goes"),
    Eviction(
        "clock",
        "clock",
        "FIFO, but objects asked for since go round once more",
        {"bits": 1.0},
    ),
    Eviction("sieve", "sieve", "FIFO, but a hand spares objects asked for where they stand"),
    Eviction(
        "s3_fifo",
        "s3_fifo",
        "small and main FIFO queues and ghosts; while it is empty new objects fill main too",
        {"small": 0.1, "ghost": 0.9, "threshold": 2.0, "warm_up_to_main": 1.0},
    ),
    Eviction(
        "s3_fifo_original",
        "s3_fifo",
        "the same, without the rule for an empty cache",
        {"small": 0.1, "ghost": 0.9, "threshold": 2.0, "warm_up_to_main": 0.0},
    ),
    Eviction(
        "two_q",
        "two_q",
        "FIFO for new objects, LRU for those asked for again after they left it",
        {"recent": 0.25, "ghost": 0.5},
    ),
    Eviction(
        "slru",
        "slru",
        "LRU segments; a hit lifts an object by one",
        {"segments": 4.0},
    ),
    Eviction(
        "lirs",
        "lirs",
        "objects with close requests stay; room is made on hits too, as in the reference data",
        {"hir": 0.01, "stack": 2.0, "strict": 1.0},
    ),
    Eviction(
        "lirs_original",
        "lirs",
        "the same as its paper has it: room is made on misses only",
        {"hir": 0.01, "stack": 2.0, "strict": 0.0},
    ),
    Eviction(
        "w_tinylfu",
        "w_tinylfu",
        "LRU window, then segmented LRU for those asked for more often than what they push out",
        {"window": 0.01, "protected": 0.8},
        sketch=True,
    ),
    Eviction("arc", "arc", "LRU lists of objects seen once and more often, shares by ghost hits"),
    Eviction("lfu", "lfu", "the object asked for least often since it entered goes", heap=True),
    Eviction(
        "lfuda",
        "lfuda",
        "LFU with dynamic aging: requests plus the age of the cache",
        {"compound": 0.0},
        heap=True,
    ),
    Eviction(
        "lfuda_compound",
        "lfuda",
        "the same, where each hit adds the age anew",
        {"compound": 1.0},
        heap=True,
    ),
    Eviction(
        "gdsf",
        "gdsf",
        "greedy dual by size and frequency, aged by what went",
        heap=True,
        sized=True,
    ),
    Eviction("belady", "belady", "the object asked for next latest goes", future=True),
    Eviction(
        "belady_size",
        "belady_size",
        "of some drawn, the one with the greatest size * time to its next request goes",
        {"samples": 128.0},
        future=True,
        heap=True,
        random=True,
        sized=True,
    ),
    Eviction("random", "random", "any object goes", heap=True, random=True),
    Eviction(
        "hyperbolic",
        "hyperbolic",
        "of some drawn, the one asked for least often per time goes",
        {"samples": 64.0},
        heap=True,
        random=True,
        sized=True,
    ),
    Eviction(
        "lhd",
        "lhd",
        "of some drawn, the one with the fewest expected hits per size and time goes",
        {"samples": 64.0, "interval": 0.0, "decay": 0.9},
        heap=True,
        random=True,
        sized=True,
    ),
    Eviction(
        "lecar",
        "lecar",
        "LRU or LFU decides, by weights that regret changes",
        {"rate": 0.45, "discount": 0.005},
        heap=True,
        random=True,
    ),
    Eviction("lru_k", "lru_k", "the K-th last request longest ago goes", {"k": 2.0}, heap=True),
)
SCORED = Eviction(
    "scored", "scored", "what a function scores least goes", heap=True, sized=True, scored=True
)
"""Not in EVICTIONS: it has no meaning without its function."""
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
