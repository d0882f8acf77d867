"""How long the parts of a dispatch take: download, training, upload.

    receive = latency + down_bytes / down_rate
    compute = overhead + steps x batch x s_per_sample x compute_factor x scale x jitter
    send    = latency + up_bytes / up_rate

The jitter is log-normal with mean 1, exp(sigma z - sigma^2 / 2), and drawn by the engines. Each
part becomes whole ticks once.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .durations import LONGEST as LONGEST
from .durations import LONGEST_S, PARTS, parts
from .tables import Clients, Plan

Array = npt.NDArray[Any]

STAYS = 10_000
"""Of a client that pauses, during one transfer at a rate that follows a trace; what is left then
moves as if it stayed, so that no transfer goes on for ever."""


@dataclass(frozen=True, eq=False)
class Phases:
    """Of n dispatches.

    Attributes:
        steps: int64[n].
        receive, send: int64[n] ticks.
        compute_s: float64[n], seconds, without overhead and before the jitter.
        down_bytes, up_bytes: float64[n].
    """

    steps: Array
    receive: Array
    compute_s: Array
    send: Array
    down_bytes: Array
    up_bytes: Array

    def __len__(self) -> int:
        return len(self.steps)

    def where(self, rows: Array) -> "Phases":
        """Some of them."""
        return Phases(
            self.steps[rows],
            self.receive[rows],
            self.compute_s[rows],
            self.send[rows],
            self.down_bytes[rows],
            self.up_bytes[rows],
        )


def local_steps(clients: Clients, plan: Plan, which: Array) -> Array:
    """int64[n], the plan's local steps of clients."""
    if plan.epochs is None:
        return np.full(len(which), plan.steps, np.int64)
    samples = clients.samples[which]
    batch = np.minimum(plan.batch, samples) if plan.batch else samples
    return np.maximum(1, np.ceil(plan.epochs * samples / batch)).astype(np.int64)


def phases_of(
    clients: Clients,
    plan: Plan,
    which: Array,
    *,
    steps: npt.ArrayLike,
    scale: npt.ArrayLike,
    down_bytes: npt.ArrayLike,
    up_bytes: npt.ArrayLike,
) -> Phases:
    """The parts of dispatches to clients `which`.

    Raises:
        InputError: negative steps, scale or bytes; a part longer than 31 years.
    """
    count = len(which)
    taken = filled(steps, count, np.int64)
    down, up = filled(down_bytes, count), filled(up_bytes, count)
    seconds, ticks, right = parts(
        clients, which, plan.batch, plan.compute_factor, taken, filled(scale, count), down, up
    )
    if not right:
        wrong = ~((seconds >= 0.0) & (seconds <= LONGEST_S))
        part, row = np.argwhere(wrong)[0].tolist()
        raise InputError(
            f"the {PARTS[part]} of client {int(which[row])} lasts {seconds[part, row]:g} s",
            where="clients",
            mend="look at its speed and at the bytes and steps that it is given",
        )
    return Phases(taken, ticks[0], seconds[1], ticks[2], down, up)


def filled(values: npt.ArrayLike, count: int, kind: type = np.float64) -> Array:
    """[count] of values or of one for all, of its own memory."""
    column: Array = np.empty(count, kind)
    column[:] = values
    return column
