"""Policies of LRU segments: SLRU."""

from typing import Any


class Slru:
    """LRU segments; a hit lifts an object by one."""

    cache: Any

    def __init__(self, segments: int = 4) -> None:
        self.segments: list[list[int]] = [[] for _ in range(segments)]  # lowest first

    def size(self, level: int) -> int:
        """Of all in a segment."""
        return sum(self.cache.sizes[key] for key in self.segments[level])

    @property
    def limit(self) -> int:
        """Of every segment; the lowest takes whatever more there is."""
        return int(self.cache.capacity // len(self.segments))

    def level(self, key: int) -> int:
        """Of a resident object."""
        return next(i for i, segment in enumerate(self.segments) if key in segment)

    def hit(self, key: int) -> None:
        """Up by one; those too many go down."""
        level = self.level(key)
        top = len(self.segments) - 1
        self.segments[level].remove(key)
        if level < top and self.cache.sizes[key] <= self.limit:
            level += 1
        self.segments[level].append(key)
        for lower in range(level - 1, -1, -1):
            while self.size(lower + 1) > self.limit:
                self.segments[lower].append(self.segments[lower + 1].pop(0))

    def miss(self, key: int) -> None:
        """Nothing."""

    def make_room(self, key: int) -> int | None:
        """The oldest of the lowest segment that is not empty."""
        return next((segment.pop(0) for segment in self.segments if segment), None)

    def insert(self, key: int) -> None:
        """Into the lowest segment with room, or the lowest."""
        size = self.cache.sizes[key]
        room = (i for i in range(len(self.segments)) if self.size(i) + size <= self.limit)
        self.segments[next(room, 0)].append(key)

    def drop(self, key: int) -> None:
        """Take it out."""
        self.segments[self.level(key)].remove(key)
