"""The draws of MoDeST: how long a peer trains, and whom it tells that it comes or leaves."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.phases import LONGEST
from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.rng import FAILURES, SELECTION, SERVICE, keyed_normal, keyed_uniform
from mltwin.sim.rng_arrays import bits

from .timeline import Setting
from .work import base_seconds

Array = npt.NDArray[Any]


class Draws:
    """Keyed by seed, peer and number."""

    def __init__(self, setting: Setting) -> None:
        clients = setting.clients
        self.seed = setting.seed
        self.overhead_s = setting.plan.overhead_s
        self.base_s = base_seconds(clients, setting.plan).tolist()
        self.sigma = clients.jitter.tolist()
        self.failure = clients.failure.tolist()
        self.peers = len(clients)

    def training(self, peer: int, number: int) -> tuple[int, bool]:
        """(ticks of a peer's training, whether it fails then)."""
        factor, sigma = 1.0, self.sigma[peer]
        if sigma > 0:
            z = keyed_normal(self.seed, SERVICE, peer, number)
            factor = math.exp(sigma * z - 0.5 * sigma * sigma)
        seconds = self.overhead_s + self.base_s[peer] * factor
        ticks = min(max(round(seconds * TICKS_PER_S), 1), LONGEST)
        chance = self.failure[peer]
        if chance > 0 and keyed_uniform(self.seed, FAILURES, peer, 2 * number) < chance:
            part = keyed_uniform(self.seed, FAILURES, peer, 2 * number + 1)
            return 1 + int(part * (ticks - 1)), True
        return ticks, False

    def some(self, candidates: Array, count: int, peer: int, number: int) -> list[int]:
        """At most `count` of the candidates, ascending: the sample of a peer's n-th message, or,
        number 0, that of the first round."""
        keys = bits(self.seed, SELECTION, candidates, number * self.peers + peer)
        return sorted(candidates[np.argsort(keys, kind="stable")[:count]].tolist())
