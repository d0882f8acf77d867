"""The plain-Python twin of `arbiter`: ordered dicts for the lists, `min` for the pool."""

from collections import OrderedDict

import numpy as np

from .arbiter import MARGINAL, PER_CLASS, POOL, SharedInput, SharedOutcome


class Divider:
    """Objects of several classes in one memory."""

    def __init__(self, given: SharedInput) -> None:
        self.given = given
        classes = range(len(given.capacity))
        self.size, self.cost, self.kind = (
            [int(v) for v in column] for column in (given.size, given.cost, given.kind)
        )
        self.held: list[OrderedDict[int, None]] = [OrderedDict() for _ in classes]
        self.ghosts: list[OrderedDict[int, None]] = [OrderedDict() for _ in classes]
        self.count: dict[int, int] = {}
        self.score: dict[int, float] = {}
        self.inflation = 0.0
        self.totals = {name: [0 for _ in classes] for name in PER_CLASS}
        self.totals["capacity"] = [int(v) for v in given.capacity]
        self.moves = 0

    def used(self, c: int) -> int:
        """Bytes that a class holds."""
        return sum(self.size[x] for x in self.held[c])

    def refer(self, x: int, pinned: set[int]) -> bool:
        """One reference; whether the object was there."""
        c, totals = self.kind[x], self.totals
        if x in self.held[c]:
            totals["hits"][c] += 1
            self.held[c].move_to_end(x)
            self._ask(x)
            return True
        totals["misses"][c] += 1
        totals["miss_cost"][c] += self.cost[x]
        if x in self.ghosts[c]:
            totals["benefit"][c] += self.cost[x]
            del self.ghosts[c][x]
        if not self._room(x, pinned):
            totals["passed"][c] += 1
            return False
        self.held[c][x] = None
        totals["bytes_in"][c] += self.size[x]
        self._ask(x)
        return False

    def _ask(self, x: int) -> None:
        self.count[x] = self.count.get(x, 0) + 1
        self.score[x] = self.inflation + self.count[x] * float(self.cost[x]) / self.size[x]

    def _room(self, x: int, pinned: set[int]) -> bool:
        c, size = self.kind[x], self.size[x]
        pool = self.given.sharing == POOL
        limit = self.given.budget if pool else self.totals["capacity"][c]
        if size > limit:
            return False
        competing = range(len(self.held)) if pool else [c]
        while sum(self.used(k) for k in competing) + size > limit:
            rivals = [y for k in competing for y in self.held[k] if y not in pinned]
            if not rivals:
                return False
            self._drop(min(rivals, key=lambda y: (self.score[y], y)) if pool else rivals[0])
        return True

    def _drop(self, x: int) -> None:
        c = self.kind[x]
        self.inflation = self.score[x]
        del self.held[c][x], self.count[x]
        self.totals["bytes_out"][c] += self.size[x]
        if self.given.sharing != MARGINAL:
            return
        self.ghosts[c][x] = None
        while sum(self.size[y] for y in self.ghosts[c]) > self.given.step:
            self.ghosts[c].popitem(last=False)

    def move(self) -> None:
        """Bytes from the class of the least benefit to that of the greatest."""
        benefit, capacity = self.totals["benefit"], self.totals["capacity"]
        classes = range(len(capacity))
        taker = max(classes, key=lambda c: (benefit[c], -c))
        donors = [c for c in classes if c != taker and capacity[c] >= self.given.step]
        donor = min(donors, key=lambda c: (benefit[c], c), default=taker)
        if benefit[donor] < benefit[taker]:
            self.moves += 1
            capacity[donor] -= self.given.step
            capacity[taker] += self.given.step
            while self.used(donor) > capacity[donor]:
                self._drop(next(iter(self.held[donor])))
        self.totals["benefit"] = [0 for _ in classes]


def share_reference(given: SharedInput) -> SharedOutcome:
    """Run the twin.

    Raises InputError for an input that does not fit together.
    """
    given.check()
    divider = Divider(given)
    hit, history = [], []
    pinned: set[int] = set()
    current, next_move = -1, given.every
    classes = range(len(given.capacity))
    for request, x in zip(given.request.tolist(), given.object.tolist(), strict=True):
        if request != current:
            current, pinned = request, set()
        while request >= next_move:
            history.append([next_move, *(divider.used(c) for c in classes)])
            if given.sharing == MARGINAL:
                divider.move()
            next_move += given.every
        hit.append(divider.refer(x, pinned))
        if x in divider.held[divider.kind[x]]:
            pinned.add(x)
    divider.totals["used"] = [divider.used(c) for c in classes]
    divider.totals["ghost_used"] = [
        sum(divider.size[x] for x in divider.ghosts[c]) for c in classes
    ]
    return SharedOutcome(
        hit=np.array(hit, np.int8),
        classes={name: np.array(values, np.int64) for name, values in divider.totals.items()},
        history=np.array(history, np.int64).reshape(-1, 1 + len(classes)),
        moves=divider.moves,
        held=np.array(sorted(x for group in divider.held for x in group), np.int64),
    )
