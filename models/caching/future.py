"""When each object is asked for next: what an oracle knows."""

from typing import Any

import numpy as np

from mltwin.sim.jit import kernel

from .tables import NEVER


@kernel()
def _next_uses(ids: Any, last: Any, following: Any) -> None:
    for i in range(len(ids) - 1, -1, -1):
        x = ids[i]
        following[i] = last[x]
        last[x] = i


def next_uses_of(ids: np.ndarray, objects: int) -> np.ndarray:
    """int64 per request: number of the next one of the same object, NEVER where none follows."""
    following = np.empty(len(ids), np.int64)
    _next_uses(ids, np.full(objects, NEVER, np.int64), following)
    return following
