"""Policies that are one queue: FIFO, LRU."""


class Fifo:
    """First in, first out."""

    def __init__(self) -> None:
        self.queue: list[int] = []  # oldest first

    def hit(self, key: int) -> None:
        """Nothing."""

    def miss(self, key: int) -> None:
        """Nothing."""

    def peek(self) -> int | None:
        """What goes next."""
        return self.queue[0] if self.queue else None

    def make_room(self, key: int) -> int | None:
        """The oldest goes."""
        return self.queue.pop(0) if self.queue else None

    def insert(self, key: int) -> None:
        """At the end."""
        self.queue.append(key)

    def drop(self, key: int) -> None:
        """Take it out."""
        self.queue.remove(key)


class Lru(Fifo):
    """Least recently used: FIFO in which a hit moves to the end."""

    def hit(self, key: int) -> None:
        """To the end."""
        self.queue.remove(key)
        self.queue.append(key)
