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

from .tables import TICKS_PER_S, Clients, Plan

Array = npt.NDArray[Any]

LONGEST = 10**18
"""Ticks of a part (31 years)."""


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
    steps: Array,
    scale: Array | float,
    down_bytes: Array | float,
    up_bytes: Array | float,
) -> Phases:
    """The parts of dispatches to clients `which`.

    Raises:
        InputError: negative steps, scale or bytes; a part longer than 31 years.
    """
    samples = clients.samples[which]
    batch = np.minimum(plan.batch, samples) if plan.batch else samples
    count = len(which)
    compute_s = steps * batch * clients.s_per_sample[which] * plan.compute_factor * scale
    down = np.broadcast_to(np.asarray(down_bytes, np.float64), (count,))
    up = np.broadcast_to(np.asarray(up_bytes, np.float64), (count,))
    latency = clients.latency_s[which]
    parts = {
        "download": latency + down / clients.down_bytes_per_s[which],
        "training": compute_s,
        "upload": latency + up / clients.up_bytes_per_s[which],
    }
    for name, seconds in parts.items():
        wrong = ~((seconds >= 0.0) & (seconds <= LONGEST / TICKS_PER_S))
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(
                f"the {name} of client {int(which[row])} lasts {seconds[row]:g} s",
                where="clients",
                mend="look at its speed and at the bytes and steps that it is given",
            )
    return Phases(
        np.array(np.broadcast_to(steps, (count,)), np.int64),
        np.rint(parts["download"] * TICKS_PER_S).astype(np.int64),
        np.array(compute_s, np.float64),
        np.rint(parts["upload"] * TICKS_PER_S).astype(np.int64),
        np.array(down),
        np.array(up),
    )
