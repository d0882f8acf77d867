"""Policies that remember objects which left: S3-FIFO, 2Q, ARC."""

from typing import Any


class WithGhosts:
    """What they share. Queues are lists, ghosts are dicts of sizes; the oldest is first in both."""

    cache: Any

    def __init__(self) -> None:
        self.wanted: int | None = None  # the missed key, if its ghost was known

    def size(self, queue: list[int]) -> int:
        """Of all in a queue."""
        return sum(self.cache.sizes[key] for key in queue)

    def remember(self, ghosts: dict[int, int], key: int, limit: int) -> None:
        """Make a ghost; the oldest give way."""
        size = self.cache.sizes[key]
        if size <= limit:
            while sum(ghosts.values()) + size > limit:
                del ghosts[next(iter(ghosts))]
            ghosts[key] = size


class S3Fifo(WithGhosts):
    """Small and main FIFO queues and a ghost queue."""

    def __init__(
        self,
        small: float = 0.1,
        ghost: float = 0.9,
        threshold: int = 2,
        warm_up_to_main: bool = True,
    ) -> None:
        super().__init__()
        self.small_share, self.ghost_share, self.threshold = small, ghost, threshold
        self.warming = warm_up_to_main  # until the first eviction
        self.small: list[int] = []
        self.main: list[int] = []
        self.ghosts: dict[int, int] = {}
        self.count: dict[int, int] = {}

    @property
    def small_limit(self) -> int:
        """Room of the small queue."""
        return max(1, int(self.cache.capacity * self.small_share))

    def hit(self, key: int) -> None:
        """One more, at most 3."""
        self.count[key] = min(self.count[key] + 1, 3)

    def miss(self, key: int) -> None:
        """The ghost goes and its object is wanted."""
        self.wanted = key if self.ghosts.pop(key, None) is not None else None

    def make_room(self, key: int) -> int | None:
        """From the small queue, unless main is above its share."""
        self.warming = False
        if self.size(self.main) <= self.cache.capacity - self.small_limit:
            while self.small:
                oldest = self.small.pop(0)
                if self.count[oldest] < self.threshold:
                    self.remember(self.ghosts, oldest, int(self.cache.capacity * self.ghost_share))
                    return oldest
                self.count[oldest] = 0
                self.main.append(oldest)
        while self.main:
            oldest = self.main.pop(0)
            if self.count[oldest] == 0:
                return oldest
            self.count[oldest] -= 1
            self.main.append(oldest)
        return None

    def insert(self, key: int) -> None:
        """Wanted ones to the main queue, others to the small one."""
        full = self.warming and self.size(self.small) >= self.small_limit
        (self.main if full or self.wanted == key else self.small).append(key)
        self.count[key] = 0
        self.wanted = None

    def drop(self, key: int) -> None:
        """Take it out."""
        (self.small if key in self.small else self.main).remove(key)


class TwoQ(WithGhosts):
    """2Q: FIFO for new objects, its ghosts, LRU for those asked for as ghosts."""

    def __init__(self, recent: float = 0.25, ghost: float = 0.5) -> None:
        super().__init__()
        self.recent_share, self.ghost_share = recent, ghost
        self.a1in: list[int] = []
        self.am: list[int] = []
        self.a1out: dict[int, int] = {}

    def hit(self, key: int) -> None:
        """Only the LRU list moves."""
        if key in self.am:
            self.am.remove(key)
            self.am.append(key)

    def miss(self, key: int) -> None:
        """The ghost goes and its object is wanted."""
        self.wanted = key if self.a1out.pop(key, None) is not None else None

    def make_room(self, key: int) -> int | None:
        """From the FIFO queue if it is above its share, into the ghosts; else from the LRU list."""
        capacity = self.cache.capacity
        above = self.size(self.a1in) > int(capacity * self.recent_share)
        if self.a1in and (above or not self.am):
            self.remember(self.a1out, self.a1in[0], int(capacity * self.ghost_share))
            return self.a1in.pop(0)
        return self.am.pop(0) if self.am else None

    def insert(self, key: int) -> None:
        """Wanted ones to the LRU list."""
        (self.am if self.wanted == key else self.a1in).append(key)
        self.wanted = None

    def drop(self, key: int) -> None:
        """Take it out."""
        (self.am if key in self.am else self.a1in).remove(key)


class Arc(WithGhosts):
    """ARC, with a real target."""

    def __init__(self) -> None:
        super().__init__()
        self.t1: list[int] = []
        self.t2: list[int] = []
        self.b1: dict[int, int] = {}
        self.b2: dict[int, int] = {}
        self.target = 0.0
        self.was_frequent = False  # the wanted one was in b2

    def hit(self, key: int) -> None:
        """To the end of T2."""
        self.drop(key)
        self.t2.append(key)

    def miss(self, key: int) -> None:
        """Cases II and III."""
        self.wanted = key if key in self.b1 or key in self.b2 else None
        recent, frequent = (max(1, sum(ghosts.values())) for ghosts in (self.b1, self.b2))
        self.was_frequent = key in self.b2
        if key in self.b1:
            self.target = min(self.target + max(frequent / recent, 1.0), self.cache.capacity)
            del self.b1[key]
        elif key in self.b2:
            self.target = max(self.target - max(recent / frequent, 1.0), 0.0)
            del self.b2[key]

    def make_room(self, key: int) -> int | None:
        """Case IV, then replace."""
        if self.wanted != key:
            incoming = 0 if key in self.cache.sizes else self.cache.incoming
            once = self.size(self.t1) + sum(self.b1.values())
            twice = self.size(self.t2) + sum(self.b2.values())
            if once + incoming > self.cache.capacity:
                if self.b1:
                    del self.b1[next(iter(self.b1))]
                elif self.t1:
                    return self.t1.pop(0)
            elif once + twice >= 2 * self.cache.capacity and self.b2:
                del self.b2[next(iter(self.b2))]
        return self.replace(self.wanted == key and self.was_frequent)

    def replace(self, was_frequent: bool) -> int | None:
        """T1 gives if it is above its target."""
        recent = self.size(self.t1)
        above = recent > self.target or (was_frequent and recent == self.target)
        if self.t1 and (above or not self.t2):
            self.b1[self.t1[0]] = self.cache.sizes[self.t1[0]]
            return self.t1.pop(0)
        if self.t2:
            self.b2[self.t2[0]] = self.cache.sizes[self.t2[0]]
            return self.t2.pop(0)
        return None

    def insert(self, key: int) -> None:
        """Wanted ones to T2."""
        (self.t2 if self.wanted == key else self.t1).append(key)
        self.wanted = None

    def drop(self, key: int) -> None:
        """Take it out."""
        (self.t1 if key in self.t1 else self.t2).remove(key)
