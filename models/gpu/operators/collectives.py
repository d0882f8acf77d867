"""Collectives over the GPUs of a replica."""

from dataclasses import dataclass

import numpy as np

from .arrays import Array, Number


@dataclass(frozen=True)
class CollectiveCost:
    """A collective over some GPUs: measured times against the size of the message.

    Between two sizes the logarithm of the time is straight in that of the size; below the first
    it is constant, beyond the last t = (alpha^p + (bytes/bandwidth)^p)^(1/p) (latency and
    bandwidth blended) scaled to meet the last point.

    Attributes:
        sizes, times: bytes, rising, and seconds, never falling.
        alpha_s, bandwidth, power: of the law beyond.
    """

    sizes: tuple[float, ...]
    times: tuple[float, ...]
    alpha_s: float
    bandwidth: float
    power: float

    def seconds(self, size_bytes: Number) -> Array:
        """Seconds for a message of ``size_bytes``."""
        size = np.maximum(np.asarray(size_bytes, float), 1.0)
        inside = np.exp(np.interp(np.log(size), np.log(self.sizes), np.log(self.times)))
        last = self.sizes[-1]
        beyond = self.law(np.maximum(size, last)) / self.law(last)
        return inside * beyond

    def law(self, size_bytes: Number) -> Array:
        """The p-norm of latency and bandwidth."""
        size = np.asarray(size_bytes, float)
        time = self.alpha_s**self.power + (size / self.bandwidth) ** self.power
        return time ** (1 / self.power)
