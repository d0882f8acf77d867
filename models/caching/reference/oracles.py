"""Policies that know the future: Belady's MIN, and a sampled one for sizes."""

from collections.abc import Sequence
from typing import Any

from .chance import Drawn

LONG_AGO_FIRST = 2**62


class Belady:
    """Evicts the object whose next request lies farthest ahead, looking it up in the stream."""

    cache: Any

    def __init__(self, stream: Sequence[int]) -> None:
        self.stream = [int(key) for key in stream]
        self.touched: dict[int, int] = {}  # key: number of its last touch

    def next_use(self, key: int) -> int | None:
        """Number of the next request of key after the current one."""
        for place in range(self.cache.clock, len(self.stream)):
            if self.stream[place] == key:
                return place
        return None

    def distance(self, key: int) -> int:
        """How good key is to evict; those never asked for again before all, oldest first."""
        following = self.next_use(key)
        return LONG_AGO_FIRST - self.touched[key] if following is None else following

    def hit(self, key: int) -> None:
        """Note when."""
        self.touched[key] = self.cache.clock

    def miss(self, key: int) -> None:
        """Nothing."""

    def insert(self, key: int) -> None:
        """Note when."""
        self.touched[key] = self.cache.clock

    def make_room(self, key: int) -> int | None:
        """The farthest goes."""
        if not self.touched:
            return None
        victim = max(self.touched, key=self.distance)
        del self.touched[victim]
        return victim

    def drop(self, key: int) -> None:
        """Forget it."""
        del self.touched[key]


class BeladySize(Drawn):
    """Of some drawn, the one with the greatest size * time to its next request."""

    def __init__(self, stream: Sequence[int], seed: int = 0, samples: int = 128) -> None:
        super().__init__(seed=seed, samples=samples)
        self.stream = [int(key) for key in stream]

    def value(self, key: int) -> float:
        """Minus size * requests until the next one."""
        rest = self.stream[self.cache.clock :]
        ahead = float(rest.index(key)) if key in rest else 2.0**60
        return -ahead * max(1, self.cache.sizes[key])
