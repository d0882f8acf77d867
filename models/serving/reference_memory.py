"""KV blocks and prefix cache of one replica of the SimPy twin: a dict each, no cleverness."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field


@dataclass
class Block:
    """A block that holds a known piece of a prefix."""

    name: int
    depth: int  # its place in the prompt
    made: int  # ticks
    references: int = 1
    hits: int = 0
    new_hits: int = 0  # since its last score
    behind: int = 0  # blocks behind it that its last holder released with it
    released: int = 0  # ticks
    order: int = 0  # of its release among all
    score: float = -math.inf  # the last one


@dataclass
class Holding:
    """What one request holds: shared blocks, a leading run of its ids, and private ones."""

    shared: list[int] = field(default_factory=list)
    private: int = 0

    @property
    def blocks(self) -> int:
        return len(self.shared) + self.private


class Memory:
    """Counts `blocks` blocks: free, evictable (cached, no reference), shared and private.

    score(request id, block) is called as a block becomes evictable, and by `score_again`; smallest
    is evicted first, ties in the order of release. A constant score makes it LRU. now() is the
    time in ticks. evicted(id) is called for a block that has gone, completed(ids) for blocks, head
    first, that a request has filled.
    """

    def __init__(
        self,
        blocks: int,
        score: Callable[[int, Block], float],
        now: Callable[[], int],
        evicted: Callable[[int], None] = lambda name: None,
        completed: Callable[[Sequence[int]], None] = lambda names: None,
    ) -> None:
        self.blocks, self.score, self.now = blocks, score, now
        self.evicted, self.completed = evicted, completed
        self.evictions = 0
        self.peak = 0  # most blocks held at once
        self.clear()

    def clear(self) -> None:
        """Forgets every request and the cache."""
        self.free = self.blocks
        self.resident: dict[int, Block] = {}
        self.evictable: dict[int, tuple[float, int]] = {}  # block id -> score, order of release
        self.last_evicted = 0.0  # score of the block evicted last
        self.holdings: dict[int, Holding] = {}  # by request id
        self.releases = 0

    @property
    def available(self) -> int:
        return self.free + len(self.evictable)

    def held(self, request: int) -> int:
        """Blocks that a request holds."""
        return self.holdings[request].blocks if request in self.holdings else 0

    def hits(self, ids: Sequence[int], at_most: int) -> int:
        """Length of the longest run of leading ids that is resident."""
        for depth, block in enumerate(ids[:at_most]):
            if block not in self.resident:
                return depth
        return min(len(ids), max(0, at_most))

    def unreferenced(self, ids: Sequence[int]) -> int:
        """How many of the ids are evictable."""
        return sum(block in self.evictable for block in ids)

    def admit(self, request: int, hit: Sequence[int]) -> None:
        """A request comes: pins the blocks it hit."""
        assert request not in self.holdings
        self.holdings[request] = Holding(list(hit))
        for block in hit:
            self._pin(block)

    def take(self, request: int, n: int) -> None:
        """n more private blocks for a request, free ones first, then by eviction."""
        assert 0 <= n <= self.available, f"{n} blocks wanted, {self.available} available"
        while self.free < n:
            victim = min(self.evictable, key=self.evictable.__getitem__)
            self.last_evicted = self.evictable[victim][0]
            del self.evictable[victim], self.resident[victim]
            self.free += 1
            self.evictions += 1
            self.evicted(victim)
        self.free -= n
        self.holdings[request].private += n

    def note_peak(self) -> None:
        """Called at the end of each plan."""
        self.peak = max(self.peak, self.blocks - self.available)

    def share(self, request: int, ids: Sequence[int], upto: int, *, complete: bool = True) -> None:
        """The first `upto` blocks of a request become shared under their ids."""
        holding = self.holdings[request]
        if complete:
            self.completed(ids[len(holding.shared) : min(upto, len(ids))])
        for depth in range(len(holding.shared), min(upto, len(ids))):
            block = ids[depth]
            if block in self.resident:
                self._pin(block)
                self.free += 1
            else:
                self.resident[block] = Block(block, depth, self.now())
            holding.private -= 1
            holding.shared.append(block)

    def release(self, request: int) -> None:
        """A request gives back its blocks, tail first."""
        holding = self.holdings.pop(request)
        self.free += holding.private
        for behind, name in enumerate(reversed(holding.shared)):
            block = self.resident[name]
            block.references -= 1
            if block.references == 0:
                self.releases += 1
                block.released, block.order, block.behind = self.now(), self.releases, behind
                self._score(request, block)

    def score_again(self, request: int, ids: Sequence[int]) -> None:
        """Something about those of the blocks that are evictable has changed with a request."""
        for name in ids:
            if name in self.evictable:
                self._score(request, self.resident[name])

    def _score(self, request: int, block: Block) -> None:
        block.score = self.score(request, block)
        block.new_hits = 0
        self.evictable[block.name] = (block.score, block.order)

    def _pin(self, name: int) -> None:
        block = self.resident[name]
        self.evictable.pop(name, None)
        block.references += 1
        block.hits += 1
        block.new_hits += 1
