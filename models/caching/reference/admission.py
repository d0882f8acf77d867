"""The admission policies in plain Python (`mltwin.models.caching.admission`)."""

import math
from typing import Any

from mltwin.models.caching.sketch import SPREAD
from mltwin.models.caching.tables import FIRST
from mltwin.sim.rng import POLICY, keyed_bits, keyed_uniform


class BySize:
    """Objects up to a size."""

    def __init__(self, most: int) -> None:
        self.most = most

    def note(self, cache: Any, key: int) -> None:
        """Nothing."""

    def admits(self, cache: Any, key: int, size: int) -> bool:
        """Whether it is small enough."""
        return size <= self.most


class ByChance:
    """A coin; with a scale, large objects less often."""

    def __init__(self, chance: float, scale: float, seed: int) -> None:
        self.chance, self.scale, self.seed = chance, scale, seed
        self.misses = 0

    def note(self, cache: Any, key: int) -> None:
        """Misses number the draws; a stale object is one."""
        fresh = key in cache.pins or (key in cache.sizes and cache.expiry[key] > cache.now)
        self.misses += not fresh

    def admits(self, cache: Any, key: int, size: int) -> bool:
        """Toss it."""
        chance = self.chance * (math.exp(-size / self.scale) if self.scale else 1.0)
        return bool(keyed_uniform(self.seed, POLICY, key + FIRST, self.misses) < chance)


class SecondHit:
    """Only at the second miss within a window of first misses."""

    def __init__(self, window: int) -> None:
        self.window = window
        self.seen: list[int] = []

    def note(self, cache: Any, key: int) -> None:
        """Nothing."""

    def admits(self, cache: Any, key: int, size: int) -> bool:
        """Whether it was missed before."""
        if key in self.seen:
            return True
        if len(self.seen) == self.window:
            self.seen = []
        self.seen.append(key)
        return False


class TinyLfu:
    """Only if it is asked for more often than the one that would leave for it."""

    def __init__(self, counters: int) -> None:
        self.counts = [[0] * counters for _ in range(4)]
        self.sampled = 0

    def _cells(self, key: int) -> list[int]:
        width = len(self.counts[0])
        return [int(keyed_bits(0, 0, key + FIRST, row)) % width for row in range(4)]

    def estimate(self, key: int) -> int:
        """The least of its counters."""
        pairs = zip(self.counts, self._cells(key), strict=True)
        return min(row[cell] for row, cell in pairs)

    def note(self, cache: Any, key: int) -> None:
        """Count it; halve all after a sample."""
        for row, cell in zip(self.counts, self._cells(key), strict=True):
            row[cell] = min(15, row[cell] + 1)
        self.sampled += 1
        if self.sampled >= 10 * len(self.counts[0]) // SPREAD:
            self.counts = [[count // 2 for count in row] for row in self.counts]
            self.sampled //= 2

    def admits(self, cache: Any, key: int, size: int) -> bool:
        """Compare it with the first that would leave."""
        most = cache.max_objects or 2**62
        if cache.used + size <= cache.capacity and len(cache.sizes) < most:
            return True
        victim = cache.policy.peek()
        return victim is None or self.estimate(key) > self.estimate(victim)
