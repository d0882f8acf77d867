"""Which object the i-th request of a source asks for: Zipf, changing popularity, scans, loops, and
mixtures of them.

A pattern gives the key of request i (i from 0, counted within the pattern) and how popular that
object is. Draws are keyed by the request: two traces of different length
agree as far as the shorter goes.

Zipf: object of rank k = 0, 1, ... is asked for with probability proportional to (k + 1)**-alpha
(Breslau, Cao, Fan, Phillips, Shenker, "Web caching and Zipf-like distributions", INFOCOM 1999),
independently at each request (the independent reference model).
"""

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from mltwin.sim import rng_arrays as rng
from mltwin.workloads.spec import Spec

_DRAWN_AT_ONCE = 1 << 16
_PERMUTATION = 1 << 32
_MAX_DEPTH = 4

Objects = Annotated[int, Field(ge=1, le=1 << 30)]


Keys = NDArray[np.int64]
Drawn = tuple[Keys, NDArray[np.float64] | None]
"""Keys int64[n], and float64[n] of (0, 1): the share of objects that are more popular, with half of
the object itself. None (or NaN for some) where a pattern has no ranks."""


class Zipf(Spec):
    """Independent requests, popularity falling as rank**-alpha; alpha = 0 is uniform."""

    pattern: Literal["zipf"] = Field(default="zipf", description="Zipf-distributed popularity")
    objects: Objects = Field(default=10_000, description="objects that there are")
    alpha: float = Field(default=1.0, ge=0, le=20, description="Zipf exponent; 0 is uniform")

    def draw(self, index: Keys, seed: int, stream: int) -> Drawn:
        """Ranks as keys, and the share of each."""
        rank = _ranks(self.objects, self.alpha, index, seed, stream)
        return rank, _shares(rank, self.objects)


class Drifting(Spec):
    """Zipf whose ranks change hands every `every` requests.

    `rotate`: the object at rank k moves to rank k + step, those at the end come to the front.
    `redraw`: a share of the ranks, drawn anew each time, is shuffled among its objects.
    `replace`: a share of the ranks, drawn anew each time, goes to objects never seen before.
    """

    pattern: Literal["drifting"] = Field(description="Zipf with changing popularity")
    objects: Objects = Field(default=10_000, description="objects that are alive at a time")
    alpha: float = Field(default=1.0, ge=0, le=20, description="Zipf exponent; 0 is uniform")
    every: PositiveInt = Field(default=10_000, description="requests between changes")
    change: Literal["rotate", "redraw", "replace"] = Field(
        default="redraw", description="rotate ranks, redraw them, or replace their objects"
    )
    step: PositiveInt = Field(default=1, description="rotate: ranks that an object moves")
    share: float = Field(default=0.1, ge=0, le=1, description="redraw, replace: share of ranks")

    def draw(self, index: Keys, seed: int, stream: int) -> Drawn:
        """Objects, and the share of the rank that each has at that moment.

        `redraw` and `replace` carry a table of objects from change to change: O(objects) each.
        """
        rank = _ranks(self.objects, self.alpha, index, seed, stream)
        epoch = index // self.every
        if self.change == "rotate":
            return (rank - epoch * self.step) % self.objects, _shares(rank, self.objects)
        keys = np.empty_like(rank)
        holder = np.arange(self.objects)
        born = self.objects
        done = 0
        for now in range(int(epoch[-1]) + 1 if epoch.size else 0):
            if now:
                born = self._change(holder, now, born, seed, stream)
            stop = int(np.searchsorted(epoch, now, side="right"))
            keys[done:stop] = holder[rank[done:stop]]
            done = stop
        return keys, _shares(rank, self.objects)

    def _change(self, holder: Keys, now: int, born: int, seed: int, stream: int) -> int:
        """Change `holder` (object by rank) in place; the number of objects ever born."""
        coin = rng.uniforms(seed, stream, np.arange(self.objects), _PERMUTATION + 2 * now)
        places = np.flatnonzero(coin < self.share)
        if self.change == "replace":
            holder[places] = born + np.arange(places.size)
            return born + places.size
        order = np.argsort(rng.bits(seed, stream, places, _PERMUTATION + 2 * now + 1))
        holder[places] = holder[places[order]]
        return born


class Scan(Spec):
    """Every request asks for a new object: what no cache can hold."""

    pattern: Literal["scan"] = Field(description="each object once, in order")

    def draw(self, index: Keys, seed: int, stream: int) -> Drawn:
        """The index itself; no ranks."""
        return index, None


class Loop(Spec):
    """Objects 0, 1, ..., objects - 1 in order, again and again: what defeats LRU."""

    pattern: Literal["loop"] = Field(description="the same objects in order, over and over")
    objects: Objects = Field(default=1_000, description="length of the loop")

    def draw(self, index: Keys, seed: int, stream: int) -> Drawn:
        """index modulo objects; no ranks."""
        return index % self.objects, None


class Part(Spec):
    """One part of a mixture and its share of requests."""

    share: PositiveFloat = Field(default=1.0, description="weight among the parts")
    accesses: "Pattern" = Field(description="pattern of the part; its objects are its own")


class Mixture(Spec):
    """Each request comes from one of several parts, which share no objects.

    `interleaved` draws the part of each request; `in_turn` takes the parts one after another, each
    for share / sum of shares of `period` requests, and then again.
    """

    pattern: Literal["mixture"] = Field(description="several patterns at once or in turn")
    parts: list[Part] = Field(min_length=1, max_length=64, description="patterns and shares")
    order: Literal["interleaved", "in_turn"] = Field(
        default="interleaved", description="draw the part of each request, or take turns"
    )
    period: PositiveInt = Field(default=100_000, description="in_turn: requests of one round")

    @model_validator(mode="after")
    def _not_deep(self) -> "Mixture":
        if _depth(self) > _MAX_DEPTH:
            raise ValueError(f"mixtures stand more than {_MAX_DEPTH} deep")
        return self

    def draw(self, index: Keys, seed: int, stream: int) -> Drawn:
        """Keys of all parts, told apart. `index` must be 0, 1, ..., n - 1."""
        part = self._parts_of(index, seed, stream)
        return gather(part, [one.accesses for one in self.parts], seed, stream)

    def _parts_of(self, index: NDArray[np.int64], seed: int, stream: int) -> NDArray[np.int64]:
        shares = np.cumsum([one.share for one in self.parts])
        if self.order == "in_turn":
            place = (index % self.period + 0.5) / self.period
        else:
            place = rng.uniforms(seed, stream, index, 1)
        found = np.searchsorted(shares, place * shares[-1], side="right")
        return np.minimum(found, shares.size - 1)


Pattern = Annotated[Zipf | Drifting | Scan | Loop | Mixture, Field(discriminator="pattern")]
Part.model_rebuild()
Mixture.model_rebuild()


def gather(part: Keys, patterns: list[Any], seed: int, stream: int) -> Drawn:
    """Keys and shares of requests of several patterns, request i of `patterns[part[i]]`.

    Each pattern counts its own requests from 0 and draws from a seed of its own, so that a part
    looks the same whatever stands beside it.
    """
    keys = np.empty(part.size, np.int64)
    shares = np.full(part.size, np.nan)
    many = len(patterns)
    for number, pattern in enumerate(patterns):
        rows = np.flatnonzero(part == number)
        if not rows.size:
            continue
        own_seed = int(rng.bits(seed, stream, number, 2)) >> 1
        drawn, share = pattern.draw(np.arange(rows.size), own_seed, stream)
        keys[rows] = drawn * many + number
        if share is not None:
            shares[rows] = share
    return keys, None if np.isnan(shares).all() else shares


def _shares(rank: Keys, objects: int) -> NDArray[np.float64]:
    return (rank + 0.5) / objects


def _ranks(objects: int, alpha: float, index: Keys, seed: int, stream: int) -> Keys:
    """Ranks by inversion of the distribution function: the first whose sum passes the uniform."""
    total = np.cumsum(np.arange(1, objects + 1, dtype=np.float64) ** -alpha)
    ranks = np.empty(index.size, np.int64)
    for at in range(0, index.size, _DRAWN_AT_ONCE):  # in pieces that stay in the CPU's cache
        piece = slice(at, at + _DRAWN_AT_ONCE)
        u = rng.uniforms(seed, stream, index[piece]) * total[-1]
        ranks[piece] = np.searchsorted(total, u, side="right")
    return np.minimum(ranks, objects - 1, out=ranks)


def _depth(mixture: Mixture) -> int:
    inner = [_depth(p.accesses) for p in mixture.parts if isinstance(p.accesses, Mixture)]
    return 1 + max(inner, default=0)
