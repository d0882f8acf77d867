"""The four kernels of every policy, written once.

Numba's disk cache knows a function by file, qualified name and code, and cannot know one that
encloses compiled functions: it would be compiled again in each process. So each policy gets copies
of the functions below that find its steps among their globals, under a name of its own.
"""

from types import FunctionType
from typing import Any, NamedTuple

import numpy as np

from mltwin.models.caching.driver import Steps
from mltwin.models.caching.tables import FIRST
from mltwin.sim.jit import kernel

_access: Any = None  # each copy has its own policy's
_request: Any = None
_perform: Any = None


class Kernels(NamedTuple):
    """Compiled at their first call: see the functions of these names."""

    replay: Any
    replay_full: Any
    access: Any
    step: Any


def make_kernels(policy: str, steps: Steps, fast: Steps | None = None) -> Kernels:
    """The kernels of a policy.

    Args:
        policy: the name of its file.
        steps: of the full form.
        fast: of the form for unit objects, where its parts are others.
    """
    found = {
        "_access": (fast or steps).access,
        "_request": steps.request,
        "_perform": steps.perform,
    }
    return Kernels(*(_copy(f, policy, found) for f in (_replay, _replay_full, _one, _step)))


def _copy(function: FunctionType, policy: str, found: dict[str, Any]) -> Any:
    copy = FunctionType(function.__code__, {**globals(), **found}, function.__name__)
    copy.__qualname__ = f"{function.__name__}_{policy}"
    copy.__module__, copy.__doc__ = function.__module__, function.__doc__
    return kernel()(copy)


def _replay(S: Any, ids: Any) -> int:
    """Hits of unit objects."""
    hits = 0
    for i in range(len(ids)):
        hits += _access(S, np.uint64(ids[i]) + np.uint64(FIRST))
    return hits


def _replay_full(S: Any, ids: Any, sizes: Any, times: Any, lives: Any, outcome: Any) -> None:
    """The outcome of each request, with sizes, expiry and admission."""
    for i in range(len(ids)):
        x = np.uint64(ids[i]) + np.uint64(FIRST)
        outcome[i] = _request(S, x, sizes[i], times[i], lives[i])


def _one(S: Any, x: Any) -> int:
    """One request of the fast form: 1 for a hit."""
    return _access(S, x)


def _step(S: Any, what: int, x: Any, size: int, now: int, ttl: int) -> int:
    """One operation, see `driver.make_steps`."""
    return _perform(S, what, x, size, now, ttl)
