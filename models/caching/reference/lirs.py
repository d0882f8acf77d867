"""LIRS."""

from typing import Any

LIR, HIR, ABSENT = "LIR", "HIR", "absent"


class Lirs:
    """Stack and queue as the paper draws them; in both the oldest is first."""

    cache: Any

    def __init__(self, hir: float = 0.01, stack: float = 2.0, strict: bool = True) -> None:
        self.hir_share, self.stack_share, self.strict = hir, stack, strict
        self.stack: dict[int, str] = {}
        self.queue: list[int] = []  # resident HIR objects
        self.ghosts: dict[int, int] = {}  # sizes of absent objects in the stack
        self.wanted: int | None = None

    @property
    def queue_limit(self) -> int:
        """Room of the queue."""
        return max(1, int(self.cache.capacity * self.hir_share))

    @property
    def lir_limit(self) -> int:
        """Room of the LIR objects."""
        return int(self.cache.capacity - self.queue_limit)

    def size(self, keys: list[int]) -> int:
        """Of residents."""
        return sum(self.cache.sizes[key] for key in keys)

    def lir(self) -> list[int]:
        """LIR objects, the oldest first."""
        return [key for key, state in self.stack.items() if state == LIR]

    def push(self, key: int, state: str) -> None:
        """On top of the stack, of which the absent objects that left first are forgotten."""
        self.stack.pop(key, None)
        self.stack[key] = state

    def bound(self) -> None:
        """Keep the stack within its limit."""
        limit = int(self.cache.capacity * self.stack_share)
        while self.ghosts:
            residents = self.size([key for key in self.stack if key not in self.ghosts])
            if residents + sum(self.ghosts.values()) <= limit:
                return
            self.forget(next(iter(self.ghosts)))

    def forget(self, key: int) -> None:
        """An absent object leaves the stack."""
        del self.ghosts[key]
        del self.stack[key]

    def prune(self) -> None:
        """The oldest in the stack must be LIR."""
        while self.stack:
            oldest = next(iter(self.stack))
            if self.stack[oldest] == LIR:
                return
            if oldest in self.ghosts:
                self.forget(oldest)
            else:
                del self.stack[oldest]

    def retire(self) -> int:
        """The oldest of the queue leaves the cache."""
        oldest = self.queue.pop(0)
        if oldest in self.stack:
            self.stack[oldest] = ABSENT
            self.ghosts[oldest] = self.cache.sizes[oldest]
        return oldest

    def enqueue(self, key: int, spared: int) -> None:
        """Into the queue; if it is strict the oldest make room."""
        size = self.cache.sizes[key]
        while self.strict and self.queue and self.size(self.queue) + size > self.queue_limit:
            if self.queue[0] == spared:
                break
            self.cache.expel(self.retire())
        self.queue.append(key)

    def demote(self, size: int, spared: int) -> None:
        """LIR objects move to the queue until there is room for `size`."""
        while self.lir() and self.size(self.lir()) + size > self.lir_limit:
            oldest = self.lir()[0]
            del self.stack[oldest]
            self.enqueue(oldest, spared)
            self.prune()

    def hit(self, key: int) -> None:
        """Up the stack; HIR objects within it become LIR."""
        fits = self.cache.sizes[key] <= self.lir_limit
        if self.stack.get(key) == LIR:
            self.push(key, LIR)
            self.prune()
            self.demote(0, key)
        elif key in self.stack and fits:
            self.queue.remove(key)
            self.push(key, LIR)
            self.demote(0, key)
        else:
            self.queue.remove(key)
            self.queue.append(key)
            if key not in self.stack and self.strict and fits:
                self.demote(self.cache.sizes[key], key)
            self.push(key, HIR)
        self.bound()

    def miss(self, key: int) -> None:
        """The stack may know it."""
        self.wanted = key if key in self.ghosts else None
        if key in self.ghosts:
            self.forget(key)

    def make_room(self, key: int) -> int | None:
        """The oldest of the queue, or the oldest LIR object."""
        if self.queue:
            return self.retire()
        if not self.lir():
            return None
        oldest = self.lir()[0]
        del self.stack[oldest]
        self.prune()
        return oldest

    def insert(self, key: int) -> None:
        """LIR if wanted or there is room."""
        size = self.cache.sizes[key]
        wanted = self.wanted == key and size <= self.lir_limit
        self.wanted = None
        if wanted or self.size(self.lir()) + size <= self.lir_limit:
            self.push(key, LIR)
            self.demote(0, key)
        else:
            self.enqueue(key, key)
            self.push(key, HIR)
        self.bound()

    def drop(self, key: int) -> None:
        """Take it out."""
        was_lir = self.stack.pop(key, None) == LIR
        if was_lir:
            self.prune()
        else:
            self.queue.remove(key)
