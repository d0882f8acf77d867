"""How long peers train: ticks of local training, as the plan asks for it.

Draws are those of a federation with a server (`phases`): the same client under the same seed trains
as long here as there.
"""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.phases import LONGEST, phases_of
from mltwin.models.federation.phases import local_steps as steps_of
from mltwin.models.federation.tables import TICKS_PER_S, Clients, Plan
from mltwin.sim.rng_arrays import FAILURES, SERVICE, normals, uniforms

Array = npt.NDArray[Any]


def local_steps(clients: Clients, plan: Plan) -> Array:
    """int64[N], steps of one local training of each client."""
    return steps_of(clients, plan, np.arange(len(clients)))


def base_seconds(clients: Clients, plan: Plan) -> Array:
    """float64[N], seconds of one local training without jitter and overhead.

    Raises InputError: longer than 31 years.
    """
    which = np.arange(len(clients))
    steps = local_steps(clients, plan)
    parts = phases_of(clients, plan, which, steps=steps, scale=1.0, down_bytes=0.0, up_bytes=0.0)
    return parts.compute_s


def compute_ticks(
    clients: Clients, plan: Plan, seed: int, base_s: Array, dispatches: Array
) -> Array:
    """int64[N], ticks of a training of each client (with these numbers), at least one."""
    sigma = clients.jitter
    seconds = base_s
    if sigma.any():
        z = normals(seed, SERVICE, np.arange(len(clients)), dispatches)
        exponents = sigma * z - 0.5 * sigma * sigma
        seconds = base_s * np.array([math.exp(x) for x in exponents])  # np.exp may be an ulp off
    ticks = np.rint((plan.overhead_s + seconds) * TICKS_PER_S)
    return np.clip(ticks, 1, LONGEST).astype(np.int64)


def failed_at(clients: Clients, seed: int, dispatches: Array, ticks: Array) -> Array:
    """int64[N], ticks after its start at which a training fails, at least one; -1: it does not."""
    out = np.full(len(clients), -1, np.int64)
    if not clients.failure.any():
        return out
    which = np.arange(len(clients))
    fails = uniforms(seed, FAILURES, which, 2 * dispatches) < clients.failure
    part = uniforms(seed, FAILURES, which, 2 * dispatches + 1)
    out[fails] = 1 + (part * (ticks - 1)).astype(np.int64)[fails]
    return out
