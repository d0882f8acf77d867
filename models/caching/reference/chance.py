"""Policies that draw random numbers: random, Hyperbolic, LHD, LeCaR.

They draw the same keyed numbers as the compiled ones, whose seed and parameters they take over from
the cache given.
"""

import math
from typing import Any

from mltwin.sim.rng import EVICTION, keyed_below, keyed_uniform


class Drawn:
    """Evicts the best of some residents drawn at random; of equals the one drawn first."""

    cache: Any

    def __init__(self, twin: Any = None, seed: int = 0, samples: int = 1) -> None:
        self.seed = int(twin.world.par[0].seed) if twin else seed
        self.knobs = [float(knob) for knob in twin.world.knobs] if twin else [float(samples)]
        self.samples = int(self.knobs[0])
        self.residents: list[int] = []
        self.drawn = 0

    def value(self, key: int) -> float:
        """The smallest goes."""
        return 0.0

    def peek(self) -> int | None:
        """What goes next."""
        count = len(self.residents)
        if not count:
            return None
        places = [
            keyed_below(self.seed, EVICTION, self.drawn, number, count)
            for number in range(max(1, self.samples))
        ]
        return min((self.residents[place] for place in places), key=self.value)

    def make_room(self, key: int) -> int | None:
        """Take it out."""
        victim = self.peek()
        if victim is not None:
            self.evicted(victim)
            self.drawn += 1
            self.drop(victim)
        return victim

    def evicted(self, key: int) -> None:
        """Nothing."""

    def hit(self, key: int) -> None:
        """Nothing."""

    def miss(self, key: int) -> None:
        """Nothing."""

    def insert(self, key: int) -> None:
        """To the end of the array."""
        self.residents.append(key)

    def drop(self, key: int) -> None:
        """The last takes its place."""
        place = self.residents.index(key)
        self.residents[place] = self.residents[-1]
        self.residents.pop()


class Random(Drawn):
    """Any object goes."""

    def __init__(self, twin: Any) -> None:
        super().__init__(twin)
        self.samples = 1


class Hyperbolic(Drawn):
    """Fewest requests per time and size since it entered."""

    def __init__(self, twin: Any) -> None:
        super().__init__(twin)
        self.count: dict[int, int] = {}
        self.entered: dict[int, int] = {}

    def value(self, key: int) -> float:
        """Requests per time and size."""
        age = max(1, self.cache.clock - self.entered[key])
        return self.count[key] / age / max(1, self.cache.sizes[key])

    def hit(self, key: int) -> None:
        """Count."""
        self.count[key] += 1

    def insert(self, key: int) -> None:
        """Count from 1, now."""
        super().insert(key)
        self.count[key], self.entered[key] = 1, self.cache.clock


class Lhd(Drawn):
    """Least hit density."""

    classes, buckets = 16, 2048

    def __init__(self, twin: Any) -> None:
        super().__init__(twin)
        fits = int(twin.world.par[0].max_objects)
        self.shift = max(0, (20 * fits // self.buckets).bit_length())
        self.interval = int(self.knobs[1]) or min(20 * fits, 2**20)
        self.next = self.interval
        self.hits = [[0.0] * self.buckets for _ in range(self.classes)]
        self.ends = [[0.0] * self.buckets for _ in range(self.classes)]
        self.density = [self.at_first() for _ in range(self.classes)]
        self.kind: dict[int, int] = {}
        self.used: dict[int, int] = {}
        self.events = self.beyond = 0

    def at_first(self) -> list[float]:
        """Densities while nothing is known."""
        return [1.0 / (age + 1.0) for age in range(self.buckets)]

    def age(self, key: int) -> int:
        """In steps."""
        return min((self.cache.clock - self.used[key]) >> self.shift, self.buckets - 1)

    def value(self, key: int) -> float:
        """Hit density."""
        return self.density[self.kind[key]][self.age(key)] / max(1, self.cache.sizes[key])

    def note(self, key: int, counts: list[list[float]]) -> int:
        """Count an event of key; its age."""
        age = self.age(key)
        counts[self.kind[key]][age] += 1.0
        self.events += 1
        self.beyond += age == self.buckets - 1
        return age

    def hit(self, key: int) -> None:
        """Count it, classify it anew."""
        age = self.note(key, self.hits)
        kind = 1
        while kind < self.classes - 1 and age < self.buckets // 2**kind:
            kind += 1
        self.kind[key], self.used[key] = kind, self.cache.clock
        self.recompute()

    def miss(self, key: int) -> None:
        """Time passes."""
        self.recompute()

    def insert(self, key: int) -> None:
        """Never hit so far."""
        super().insert(key)
        self.kind[key], self.used[key] = 0, self.cache.clock

    def evicted(self, key: int) -> None:
        """Count it."""
        self.note(key, self.ends)

    def recompute(self) -> None:
        """When it is due."""
        if self.cache.clock < self.next:
            return
        self.next = self.cache.clock + self.interval
        if self.beyond > 0.01 * self.events:
            self.shift += 1
            for counts in (*self.hits, *self.ends):
                pairs = [a + b for a, b in zip(counts[::2], counts[1::2], strict=True)]
                counts[:] = pairs + [0.0] * (self.buckets // 2)
        self.events = self.beyond = 0
        for kind in range(self.classes):
            hits = events = time = 0.0
            for age in reversed(range(self.buckets)):
                hits += self.hits[kind][age]
                events += self.hits[kind][age] + self.ends[kind][age]
                time += events
                self.density[kind][age] = hits / time if time else 0.0
                self.hits[kind][age] *= self.knobs[2]
                self.ends[kind][age] *= self.knobs[2]
            if not events:
                self.density[kind] = self.at_first()


class LeCar:
    """LRU or LFU decides, by weights that regret changes."""

    cache: Any

    def __init__(self, twin: Any) -> None:
        self.seed = int(twin.world.par[0].seed)
        self.rate, self.discount = (float(knob) for knob in twin.world.knobs)
        self.weight = {"lru": 0.5, "lfu": 0.5}
        self.order: list[int] = []  # oldest use first
        self.rank: dict[int, tuple[int, int]] = {}  # count, stamp of the last use
        self.history: dict[str, dict[int, int]] = {"lru": {}, "lfu": {}}  # key: when evicted
        self.stamp = self.drawn = 0

    def _touch(self, key: int, count: int) -> None:
        self.stamp += 1
        self.rank[key] = (count, self.stamp)
        self.order.append(key)

    def hit(self, key: int) -> None:
        """Latest, and once more."""
        self.order.remove(key)
        self._touch(key, self.rank[key][0] + 1)

    def miss(self, key: int) -> None:
        """Blame the one that evicted it."""
        for who, other in (("lru", "lfu"), ("lfu", "lru")):
            if key in self.history[who]:
                waited = self.cache.clock - self.history[who].pop(key)
                residents = max(1, len(self.cache.sizes))
                regret = math.exp(math.log(self.discount) * waited / residents)
                self.weight[other] *= math.exp(self.rate * regret)
                total = self.weight["lru"] + self.weight["lfu"]
                self.weight = {name: value / total for name, value in self.weight.items()}
                return

    def insert(self, key: int) -> None:
        """Latest, once."""
        self._touch(key, 1)

    def drop(self, key: int) -> None:
        """Forget it."""
        self.order.remove(key)
        del self.rank[key]

    def _who(self) -> str:
        chance = keyed_uniform(self.seed, EVICTION, self.drawn, 0)
        return "lru" if chance < self.weight["lru"] else "lfu"

    def peek(self) -> int | None:
        """What goes next."""
        if not self.order:
            return None
        if self._who() == "lru":
            return self.order[0]
        return min(self.rank, key=self.rank.__getitem__)

    def make_room(self, key: int) -> int | None:
        """Take it out and remember who did it."""
        victim, who = self.peek(), self._who()
        if victim is None:
            return None
        self.drawn += 1
        self.drop(victim)
        history = self.history[who]
        while len(history) >= len(self.cache.sizes):
            del history[next(iter(history))]
        history[victim] = self.cache.clock
        return victim
