"""Policies that give objects asked for a second chance: CLOCK, SIEVE."""


class Clock:
    """FIFO in which an object asked for since goes round once more."""

    def __init__(self, bits: int = 1) -> None:
        self.most = 2**bits - 1
        self.queue: list[int] = []  # oldest first
        self.count: dict[int, int] = {}

    def hit(self, key: int) -> None:
        """One more, up to what the bits can hold."""
        self.count[key] = min(self.count[key] + 1, self.most)

    def miss(self, key: int) -> None:
        """Nothing."""

    def make_room(self, key: int) -> int | None:
        """The oldest that was not asked for; others pay one and go to the end."""
        while self.queue:
            oldest = self.queue.pop(0)
            if self.count[oldest] == 0:
                return oldest
            self.count[oldest] -= 1
            self.queue.append(oldest)
        return None

    def insert(self, key: int) -> None:
        """At the end."""
        self.count[key] = 0
        self.queue.append(key)

    def drop(self, key: int) -> None:
        """Take it out."""
        self.queue.remove(key)


class Sieve:
    """FIFO whose hand spares visited objects where they stand."""

    def __init__(self) -> None:
        self.queue: list[int] = []  # oldest first
        self.visited: set[int] = set()
        self.hand: int | None = None  # next to look at; None: the oldest

    def hit(self, key: int) -> None:
        """Visited."""
        self.visited.add(key)

    def miss(self, key: int) -> None:
        """Nothing."""

    def make_room(self, key: int) -> int | None:
        """The first from the hand on, towards the newest and round, that was not visited."""
        if not self.queue:
            return None
        place = 0 if self.hand is None else self.queue.index(self.hand)
        while self.queue[place] in self.visited:
            self.visited.remove(self.queue[place])
            place = (place + 1) % len(self.queue)
        victim = self.queue[place]
        self.drop(victim)
        self.hand = self.queue[place] if place < len(self.queue) else None
        return victim

    def insert(self, key: int) -> None:
        """At the end, not visited."""
        self.queue.append(key)

    def drop(self, key: int) -> None:
        """Take it out; a hand on it moves on."""
        place = self.queue.index(key)
        if self.hand == key:
            self.hand = self.queue[place + 1] if place + 1 < len(self.queue) else None
        del self.queue[place]
        self.visited.discard(key)
