"""Policies that give each object a score, the smallest of which goes: LFU, LFUDA, GDSF, LRU-K, and
a function of the user.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

TOO_FEW = -(2.0**52)


class Scored:
    """Evicts the smallest (score, stamp); stamps count what was ranked."""

    cache: Any

    def __init__(self) -> None:
        self.ranks: dict[int, tuple[float, int]] = {}
        self.stamp = 0

    def rank(self, key: int, score: float) -> None:
        """Give key a score with a new stamp."""
        self.stamp += 1
        self.ranks[key] = (score, self.stamp)

    def lowest(self) -> int | None:
        """The key that is evicted next."""
        return min(self.ranks, key=self.ranks.__getitem__, default=None)

    def peek(self) -> int | None:
        """The key that is evicted next."""
        return self.lowest()

    def miss(self, key: int) -> None:
        """Nothing."""

    def make_room(self, key: int) -> int | None:
        """The lowest goes."""
        victim = self.lowest()
        if victim is not None:
            del self.ranks[victim]
        return victim

    def drop(self, key: int) -> None:
        """Forget it."""
        del self.ranks[key]


class Lfu(Scored):
    """Least often asked for since it entered."""

    def hit(self, key: int) -> None:
        """Count."""
        self.rank(key, self.ranks[key][0] + 1)

    def insert(self, key: int) -> None:
        """Count from 1."""
        self.rank(key, 1)


class Lfuda(Scored):
    """Requests plus the age of the cache, which is the key of what went last."""

    def __init__(self) -> None:
        super().__init__()
        self.age = 0.0
        self.counts: dict[int, int] = {}

    def hit(self, key: int) -> None:
        """Count and age."""
        self.counts[key] += 1
        self.rank(key, self.counts[key] + self.age)

    def insert(self, key: int) -> None:
        """Count from 1."""
        self.counts[key] = 1
        self.rank(key, 1 + self.age)

    def make_room(self, key: int) -> int | None:
        """The lowest goes."""
        victim = self.lowest()
        if victim is not None:
            self.age = self.ranks.pop(victim)[0]
        return victim


class LfudaCompound(Lfuda):
    """Each hit adds the age, the smallest key of a resident, to the key."""

    def hit(self, key: int) -> None:
        """Add the age."""
        old = self.ranks[key][0]
        self.rank(key, old + self.age)
        if old == self.age:
            self._age_by_lowest()

    def make_room(self, key: int) -> int | None:
        """The lowest goes."""
        victim = super().make_room(key)
        self._age_by_lowest()
        return victim

    def _age_by_lowest(self) -> None:
        if self.ranks:
            self.age = min(self.ranks.values())[0]


class Gdsf(Scored):
    """Greedy dual by size and frequency; the object that comes takes part."""

    def __init__(self, costs: dict[int, float] | None = None) -> None:
        super().__init__()
        self.costs = costs or {}
        self.age = 0.0
        self.counts: dict[int, int] = {}
        self.incoming: tuple[int, float] | None = None

    def priority(self, key: int, size: int) -> float:
        """Age + frequency * cost / size, in millionths."""
        return self.age + 1e6 * self.counts[key] * self.costs.get(key, 1.0) / max(1, size)

    def hit(self, key: int) -> None:
        """Count and rank anew."""
        self.counts[key] += 1
        self.rank(key, self.priority(key, self.cache.sizes[key]))

    def miss(self, key: int) -> None:
        """Score it before anything goes."""
        self.counts[key] = 1
        self.incoming = (key, self.priority(key, self.cache.incoming))

    def make_room(self, key: int) -> int | None:
        """The lowest goes, perhaps the one that comes; its priority becomes the age."""
        victim = self.lowest()
        if victim is None:
            return None
        if self.incoming and self.incoming[0] == key and self.incoming[1] < self.ranks[victim][0]:
            self.age = self.incoming[1]
            return None
        self.age = self.ranks.pop(victim)[0]
        return victim

    def insert(self, key: int) -> None:
        """With the priority of its arrival; one that was held starts anew."""
        if self.incoming and self.incoming[0] == key:
            priority = self.incoming[1]
        else:
            self.counts[key] = 1
            priority = self.priority(key, self.cache.sizes[key])
        self.incoming = None
        self.rank(key, priority)


class LruK(Scored):
    """Farthest K-th most recent request; fewer than K go first, oldest first request first."""

    def __init__(self, k: int = 2) -> None:
        super().__init__()
        self.k = k
        self.history: dict[int, list[int]] = {}

    def hit(self, key: int) -> None:
        """Remember the request."""
        history = [*self.history[key], self.stamp + 1][-self.k :]
        self.history[key] = history
        self.rank(key, history[0] + (TOO_FEW if len(history) < self.k else 0))

    def insert(self, key: int) -> None:
        """With an empty history."""
        self.history[key] = []
        self.hit(key)


class UserScore(Scored):
    """What a function for the hook `evict_object` scores least.

    Args:
        function: the plain function.
        params, memory: what it is given besides.
        costs: of a miss by key, 1 where there is none.
        seed: of its draws.
    """

    def __init__(
        self,
        function: Callable[..., float],
        params: Any,
        memory: Any,
        costs: dict[int, float] | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.function, self.params, self.memory, self.seed = function, params, memory, seed
        self.costs = costs or {}
        self.objects: dict[int, SimpleNamespace] = {}
        self.entering = False

    def ask(self, key: int) -> None:
        """Rank it by its score."""
        cache, asked_for = self.cache, self.objects[key]
        asked_for.bytes = cache.sizes[key]
        ctx = SimpleNamespace(
            now=cache.now,
            clock=cache.clock,
            used=cache.used - asked_for.bytes * self.entering,
            capacity=cache.capacity,
            resident=len(cache.sizes) - self.entering,
            seed=self.seed,
        )
        self.rank(key, float(self.function(asked_for, ctx, self.params, self.memory)))
        asked_for.last_use, asked_for.asked = cache.now, cache.clock

    def hit(self, key: int) -> None:
        """Once more."""
        self.entering = False  # the last miss may have been refused
        self.objects[key].hits += 1
        self.ask(key)

    def miss(self, key: int) -> None:
        """It enters, if it does, by way of a miss."""
        self.entering = True

    def insert(self, key: int) -> None:
        """As a new object."""
        now, clock = self.cache.now, self.cache.clock
        self.objects[key] = SimpleNamespace(
            id=key,
            cost=self.costs.get(key, 1.0),
            hits=0,
            inserted=now,
            last_use=now,
            entered=clock,
            asked=clock,
        )
        self.ask(key)
        self.entering = False
