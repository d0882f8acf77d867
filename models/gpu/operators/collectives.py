"""Collectives over the GPUs of a replica."""

from dataclasses import dataclass

import numpy as np

from .arrays import Array, Number


@dataclass(frozen=True)
class AllReduceCost:
    """Sum over GPUs of one node: t = (alpha^p + (bytes/bandwidth)^p)^(1/p).

    The p-norm blends the one-shot, two-shot and ring protocols between latency and bandwidth.
    """

    alpha_s: float
    bandwidth: float
    power: float

    def seconds(self, size_bytes: Number) -> Array:
        size = np.asarray(size_bytes, float)
        time = self.alpha_s**self.power + (size / self.bandwidth) ** self.power
        return time ** (1 / self.power)
