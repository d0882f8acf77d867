"""Policies of LRU segments: SLRU, W-TinyLFU."""

from typing import Any

from .admission import TinyLfu


class Slru:
    """LRU segments; a hit lifts an object by one."""

    cache: Any

    def __init__(self, segments: int = 4) -> None:
        self.segments: list[list[int]] = [[] for _ in range(segments)]  # lowest, oldest first

    @property
    def limit(self) -> int:
        """Of every segment."""
        return int(self.cache.capacity // len(self.segments))

    def has_room(self, level: int, size: int) -> bool:
        """Whether a segment can take so much more."""
        held = sum(self.cache.sizes[key] for key in self.segments[level])
        return bool(held + size <= self.limit)

    def level(self, key: int) -> int:
        """Of a resident object."""
        return next(i for i, segment in enumerate(self.segments) if key in segment)

    def send_down(self, level: int) -> None:
        """The oldest of a segment goes to the one below, which makes room likewise."""
        oldest = self.segments[level].pop(0)
        if level == 0:
            self.cache.expel(oldest)
        else:
            self.enter(level - 1, oldest)

    def enter(self, level: int, key: int) -> None:
        """Make room and enter."""
        while self.segments[level] and not self.has_room(level, self.cache.sizes[key]):
            self.send_down(level)
        self.segments[level].append(key)

    def hit(self, key: int) -> None:
        """Up by one."""
        level = self.level(key)
        self.segments[level].remove(key)
        if level + 1 < len(self.segments) and self.cache.sizes[key] <= self.limit:
            self.enter(level + 1, key)
        else:
            self.segments[level].append(key)

    def miss(self, key: int) -> None:
        """Nothing."""

    def make_room(self, key: int) -> int | None:
        """The oldest of the lowest segment that is not empty."""
        return next((segment.pop(0) for segment in self.segments if segment), None)

    def insert(self, key: int) -> None:
        """Into the lowest segment with room, or the lowest."""
        size = self.cache.sizes[key]
        room = (i for i in range(len(self.segments)) if self.has_room(i, size))
        self.segments[next(room, 0)].append(key)

    def drop(self, key: int) -> None:
        """Take it out."""
        self.segments[self.level(key)].remove(key)


class WTinyLfu:
    """A window, a probationary and a protected segment, and counts in a sketch."""

    cache: Any

    def __init__(self, counters: int, window: float = 0.01, protected: float = 0.8) -> None:
        self.sketch = TinyLfu(counters)
        self.window_share, self.protected_share = window, protected
        self.window: list[int] = []
        self.probation: list[int] = []
        self.protected: list[int] = []

    def size(self, segment: list[int]) -> int:
        """Of all in a segment."""
        return sum(self.cache.sizes[key] for key in segment)

    @property
    def window_limit(self) -> int:
        """Room of the window."""
        return max(1, int(self.cache.capacity * self.window_share))

    def hit(self, key: int) -> None:
        """To the end of its segment, or up."""
        self.sketch.note(self.cache, key)
        if key in self.window:
            self.window.remove(key)
            self.window.append(key)
            return
        limit = int((self.cache.capacity - self.window_limit) * self.protected_share)
        lifted = key in self.protected or self.cache.sizes[key] <= limit
        self.drop(key)
        (self.protected if lifted else self.probation).append(key)
        while self.size(self.protected) > limit:
            self.probation.append(self.protected.pop(0))

    def miss(self, key: int) -> None:
        """Count it."""
        self.sketch.note(self.cache, key)

    def make_room(self, key: int) -> int | None:
        """A duel between the oldest of the window and of the main cache, if the former must go."""
        incoming = 0 if key in self.cache.sizes else self.cache.incoming
        overfull = self.size(self.window) + incoming > self.window_limit
        main = self.probation or self.protected
        if not main:
            return self.window.pop(0) if self.window else None
        if not self.window or not overfull:
            return main.pop(0)
        candidate = self.window.pop(0)
        if self.sketch.estimate(candidate) <= self.sketch.estimate(main[0]):
            return candidate
        victim = main.pop(0)
        self.probation.append(candidate)
        return victim

    def insert(self, key: int) -> None:
        """Into the window, whose oldest move on."""
        size = self.cache.sizes[key]
        while self.window and self.size(self.window) + size > self.window_limit:
            self.probation.append(self.window.pop(0))
        self.window.append(key)

    def drop(self, key: int) -> None:
        """Take it out."""
        for segment in (self.window, self.probation, self.protected):
            if key in segment:
                segment.remove(key)
