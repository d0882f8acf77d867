"""Which clusters are known to do, to fail, or not yet: a box of whole numbers under dominance.

More replicas of any pool never hurt, or so a search assumes: what fails rules out everything that
is smaller in all directions, what does rules in everything larger. In one dimension this is
bisection; in two it walks the staircase between the two regions; the same code serves any number.
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np

Index = tuple[int, ...]
# Where more points are open: so many, evenly spread, are candidates, and so many stand for all.
_CANDIDATES, _SAMPLE = 300, 2000


def _spread(points: np.ndarray, most: int) -> np.ndarray:
    """Evenly spread rows of points; all of them where they are few."""
    if len(points) <= most:
        return points
    return points[np.linspace(0, len(points) - 1, most).astype(np.int64)]


class Lattice:
    """A box of points with a cost each, and what is known of them.

    Args:
        axes: for each direction its values, the weakest first.
        cost: of each point, an array of the box's shape.
    """

    def __init__(self, axes: Sequence[Sequence[Any]], cost: np.ndarray) -> None:
        self.axes = [list(axis) for axis in axes]
        self.cost = cost
        self.shape = tuple(len(axis) for axis in axes)
        self.does = np.zeros(self.shape, bool)
        self.fails = np.zeros(self.shape, bool)
        self.tried: dict[Index, bool] = {}

    @property
    def top(self) -> Index:
        """The largest point."""
        return tuple(n - 1 for n in self.shape)

    def values(self, index: Index) -> tuple[Any, ...]:
        """The values at a point."""
        return tuple(axis[i] for axis, i in zip(self.axes, index, strict=True))

    def mark(self, index: Index, does: bool) -> None:
        """Take in what a point was found to do."""
        self.tried[index] = does
        if does:
            self.does[tuple(slice(i, None) for i in index)] = True
        else:
            self.fails[tuple(slice(0, i + 1) for i in index)] = True

    @property
    def least_cost(self) -> float:
        """The lowest cost of a point that was tried and does; infinite without one."""
        return min((self.cost[i] for i, does in self.tried.items() if does), default=np.inf)

    def best(self) -> list[Index]:
        """The points of the least cost among those that were tried and do."""
        least = self.least_cost
        return [i for i, does in self.tried.items() if does and self.cost[i] == least]

    def open(self, factor: float = 1.0) -> np.ndarray:
        """(n, directions) points of which nothing is known, of at most `factor` the least cost."""
        bound = self.least_cost * factor if np.isfinite(self.least_cost) else np.inf
        return np.argwhere(~self.does & ~self.fails & (self.cost <= bound))

    def choose(self, depth: int, factor: float = 1.0) -> list[Index]:
        """The points to try next: 2**depth - 1 at most, none if all is known.

        The first halves what is open; the next two halve what either answer would leave; and so
        on, so that workers enough for all of them gain `depth` rounds in one.
        """
        chosen: list[Index] = []
        parts = [self.open(factor)]
        for _ in range(depth):
            parts = [rest for part in parts for rest in self._split(part, chosen, factor > 1)]
        return list(dict.fromkeys(chosen))

    def _split(self, part: np.ndarray, chosen: list[Index], settle: bool) -> Iterator[np.ndarray]:
        """Choose a point of a part, and give what would stay open after either answer."""
        if not len(part):
            return
        # Small clusters are likelier, as far as one knows: even in the logarithm of the size.
        sample = _spread(part, _SAMPLE)
        weight = 1.0 / np.prod(sample + 1.0, axis=1)
        candidates = _spread(part, _CANDIDATES)
        above, below = self._ruled(candidates, sample, settle)
        gain = np.minimum(above @ weight, below @ weight)
        best = candidates[int(np.argmax(gain))]
        chosen.append(tuple(int(i) for i in best))
        for ruled in self._ruled(best[None], part, settle):
            yield part[~ruled[0]]

    def _ruled(
        self, candidates: np.ndarray, points: np.ndarray, settle: bool
    ) -> tuple[np.ndarray, np.ndarray]:
        """(candidates, points): which points are done with if a candidate does, and if it fails."""
        above: np.ndarray = np.all(points[None] >= candidates[:, None], axis=2)
        below: np.ndarray = np.all(points[None] <= candidates[:, None], axis=2)
        if not settle:
            own = self.cost[tuple(candidates.T)]
            above |= self.cost[tuple(points.T)][None] > own[:, None]
        return above, below

    def around(self, index: Index, width: int) -> list[Index]:
        """The points within `width` of one in every direction, itself among them."""
        sides = [
            range(max(0, i - width), min(n, i + width + 1))
            for i, n in zip(index, self.shape, strict=True)
        ]
        return list(product(*sides))

    def staircase(self) -> list[Index]:
        """The points that were tried and do with nothing tried that does below them, sorted."""
        good = [i for i, does in self.tried.items() if does]
        return sorted(
            i
            for i in good
            if not any(o != i and all(a <= b for a, b in zip(o, i, strict=True)) for o in good)
        )

    def contradictions(self) -> list[tuple[Index, Index]]:
        """Pairs of tried points where the smaller does and the larger fails."""
        good = [i for i, does in self.tried.items() if does]
        bad = [i for i, does in self.tried.items() if not does]
        return [(g, b) for g in good for b in bad if all(x <= y for x, y in zip(g, b, strict=True))]
