"""A service alone: rounds of updates whose times are given."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.errors import InputError

from .outcome import AggregationRun
from .tables import Service

Array = npt.NDArray[Any]


def simulate_aggregation(
    service: Service,
    rounds: Sequence[npt.ArrayLike],
    *,
    update_bytes: float,
    from_version: bool = True,
    until_s: float = 0.0,
) -> AggregationRun:
    """Aggregate rounds of updates.

    Args:
        service: `design("lifl")` and the like.
        rounds: a float array for each, seconds at which the update of client 0, 1, ... arrives.
        update_bytes: of each update.
        from_version: count a round's seconds from when the version before it was made (clients
            that are sent it and come back); else from the beginning.
        until_s: costs are of at least so long.

    Raises InputError: no round, a round without updates, negative or endless times or bytes.

    Example: ten rounds of 100 updates of 100 MB, spread over a minute.

        rounds = np.random.default_rng(0).uniform(60, 120, (10, 100))
        run = simulate_aggregation(design("lifl"), rounds, update_bytes=1e8)
        run.latency_s.mean(), run.totals["cpu_s"]
    """
    if not len(rounds):
        raise InputError("there is no round", where="rounds")
    running = service.begin(update_bytes)
    for number, given in enumerate(rounds):
        seconds = np.atleast_1d(np.asarray(given, np.float64))
        if not seconds.size or not ((seconds >= 0) & (seconds < 9e9)).all():
            raise InputError(
                f"round {number} has " + ("no update" if not seconds.size else "impossible times"),
                where="rounds",
                mend="give seconds of 0 and more",
            )
        ticks = np.rint(seconds.ravel() * TICKS_PER_S).astype(np.int64)
        if from_version:
            ticks += running.free
        running.step(ticks, int(ticks.max()))
    return running.run_until(round(until_s * TICKS_PER_S))
