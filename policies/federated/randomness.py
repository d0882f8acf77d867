"""A few scalars in place of an update: both ends draw the same random vectors from a seed."""

import itertools
import math
from dataclasses import dataclass

import numpy as np

from mltwin.models.federation.hooks import Array, Arrivals, Server
from mltwin.sim import rng_arrays

from .limits import one_of, within
from .payloads import (
    BASES,
    PLACES,
    ROUNDING,
    SERVER,
    RowCodec,
    counters,
    message_uniforms,
    same,
    uniforms,
)
from .registry import named

LAWS = {"rademacher": 1.0, "uniform": 9.0 / 5.0, "normal": 3.0}
"""Laws of the entries of a random vector and their kurtosis; all are scaled to variance 1 / d."""
MAX_BASES = 1 << 14
_SEED_BYTES = 8.0
_DRAWS_AT_ONCE = 1 << 21


@named(
    "codec",
    "ferret",
    source="Ferret: Shu et al., ICML 2025 (arXiv 2409.06277), and its code, ferret_optimizer.py",
)
@dataclass
class Ferret(RowCodec):
    """Coordinates along K random vectors that a seed names.

    c_j = <D, v_j>, decoded as (1 / K) sum_j c_j v_j d with entries of v_j independent of mean 0 and
    variance 1 / d: unbiased, E|decoded - D|^2 = (d - 2 + kurtosis) / K |D|^2. The update is cut
    into `blocks` of equal length, and the K scalars are shared among them by the norms of D's
    blocks, at least one each, as the code does with parameter groups.

    The code draws v from a normal law cut at +-1 / sqrt(d), which tends to "uniform" as d grows,
    with variance near 1 / (3 d), and multiplies by d / K: a third of the unbiased length, the rest
    of which its server step (10) holds. Here it is unbiased and the server step is the strategy's.
    "hadamard" takes K distinct rows of an orthogonal matrix (random signs times Hadamard): K = d,
    d a power of two, gives D back; it also costs d log d in place of K d.

    Attributes:
        bases: K, scalars of a message.
        law: "uniform", "normal", "rademacher" (least error: Rostami and Kia, arXiv 2410.02260) or
            "hadamard".
        shrink: True: scaled by K / (K + d - 2 + kurtosis) to the least mean squared error; biased.
    """

    bases: int = 64
    law: str = "uniform"
    blocks: int = 1
    shrink: bool = False

    def __post_init__(self) -> None:
        within(self, bases=(1, MAX_BASES))
        within(self, blocks=(1, self.bases))
        one_of(self, "law", (*LAWS, "hadamard"))

    def up_bytes(self, server: Server, clients: Array) -> Array:
        """4 bytes a scalar, 8 for the seed, 2 a block for its share where there are blocks."""
        shares = 2.0 * self.blocks if self.blocks > 1 else 0.0
        return same(clients, 4.0 * self.bases + _SEED_BYTES + shares)

    def decoded(self, server: Server, arrivals: Arrivals, delta: Array) -> Array:
        """What the scalars say of each update; they travel as float32."""
        width = delta.shape[1]
        blocks = min(self.blocks, width)
        edges = [width * i // blocks for i in range(blocks + 1)]
        made = np.zeros_like(delta)
        for i in range(len(arrivals)):
            one = arrivals.where(np.array([i]))
            row = delta[i].astype(np.float64)
            parts = [row[a:b] for a, b in itertools.pairwise(edges)]
            first = 0
            for a, part, count in zip(
                edges, parts, shared_by_norm(parts, self.bases), strict=False
            ):
                made[i, a : a + len(part)] = self._part(server, one, part, width, first, count)
                first += count
        return made

    def _part(
        self, server: Server, one: Arrivals, part: Array, whole: int, first: int, count: int
    ) -> Array:
        stride = 1 << (2 * whole).bit_length()
        if self.law == "hadamard":
            return _hadamard(server, one, part, first, count, stride, shrink=self.shrink)
        width = len(part)
        total = np.zeros(width)
        at_once = max(1, _DRAWS_AT_ONCE // width)
        for begin in range(first, first + count, at_once):
            end = min(first + count, begin + at_once)
            vectors = _vectors(server, one, self.law, np.arange(begin, end), width, stride)
            scalars = np.einsum("kd,d->k", vectors, part).astype(np.float32)
            total += np.einsum("k,kd->d", scalars.astype(np.float64), vectors)
        others = width - 2.0 + LAWS[self.law]
        return np.asarray(total * (width / (count + others if self.shrink else count)))


def shared_by_norm(parts: list[Array], total: int) -> list[int]:
    """`total` scalars shared among parts by Euclidean norm: one each, the rest by largest part."""
    norms = np.array([math.sqrt(float((part * part).sum())) for part in parts])
    if not 0.0 < norms.sum() < np.inf:
        norms = np.ones(len(parts))
    exact = norms / norms.sum() * (total - len(parts))
    counts = np.floor(exact).astype(np.int64)
    left = total - len(parts) - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:left]] += 1
    return [1 + count for count in counts.tolist()]


def _vectors(
    server: Server, one: Arrivals, law: str, which: Array, width: int, stride: int
) -> Array:
    """float64[k, width], some of the random vectors of a message, entries of variance 1 / d."""
    numbered = counters(int(one.dispatch[0]) * MAX_BASES + which, BASES, width, stride)
    client = np.full(len(which), int(one.client[0]))
    if law == "normal":
        made = rng_arrays.normals(server.seed, rng_arrays.PRIVACY, client[:, None], numbered)
    else:
        made = uniforms(server.seed, client, numbered)
        made = _signs(made) if law == "rademacher" else (made - 0.5) * math.sqrt(12.0)
    return np.asarray(made / math.sqrt(width))


def _signs(draws: Array) -> Array:
    return np.where(draws < 0.5, -1.0, 1.0)


def _hadamard(
    server: Server,
    one: Arrivals,
    part: Array,
    first: int,
    count: int,
    stride: int,
    *,
    shrink: bool,
) -> Array:
    """`part` from `count` rows of H diag(signs) / sqrt(d'), d' the power of two above d."""
    width = 1 << max(0, len(part) - 1).bit_length()
    count = min(count, width)
    key = one.dispatch * MAX_BASES + first
    signs = _signs(uniforms(server.seed, one.client, counters(key, BASES, width, stride))[0])
    places = uniforms(server.seed, one.client, counters(key, PLACES, width, stride))[0]
    rows = np.argsort(places, kind="stable")[:count]
    padded = np.zeros(width)
    padded[: len(part)] = part
    seen = walsh(padded * signs) / math.sqrt(width)
    scalars = np.zeros(width)
    scalars[rows] = seen[rows].astype(np.float32)
    back = walsh(scalars) / math.sqrt(width) * signs
    return np.asarray((back if shrink else back * (width / count))[: len(part)])


def walsh(values: Array) -> Array:
    """Walsh-Hadamard transform (natural order, not normed) of float64[2^m]; additions only."""
    out = np.array(values, np.float64)
    half = 1
    while half < len(out):
        pairs = out.reshape(-1, 2, half)
        out = np.stack([pairs[:, 0] + pairs[:, 1], pairs[:, 0] - pairs[:, 1]], axis=1).ravel()
        half *= 2
    return out


@named(
    "codec",
    "one_byte",
    source="one random projection from a shared seed: Rostami and Kia, FedScalar, arXiv "
    "2410.02260; the byte's code is ours",
)
@dataclass
class OneByte(RowCodec):
    """One byte an update: the projection on one random vector, on 127 levels of each sign.

    s = <D, v>, v of signs +-1 / sqrt(d) that client and dispatch name; decoded as d s v: unbiased
    below `most`, E|decoded - D|^2 about (d - 1) |D|^2. Levels of |s| are 0 and
    most * ratio^-j, j = 0 ... 126; s is rounded to one of its two neighbours at random, larger ones
    become `most`. The default spans 2^-31.5 to 1.

    With a step lr of the server this is one random direction's step a message: lr must fall as
    1 / d for it to converge (the paper's rate is O(d / sqrt(rounds))).
    """

    most: float = 1.0
    ratio: float = 2.0**0.25

    def __post_init__(self) -> None:
        within(self, most=(1e-12, 1e12))
        within(self, ratio=(1.0001, 16.0))

    def up_bytes(self, server: Server, clients: Array) -> Array:
        """1: the seed follows from client and dispatch."""
        return same(clients, 1.0)

    def decoded(self, server: Server, arrivals: Arrivals, delta: Array) -> Array:
        """The decoded projections."""
        rows = delta.astype(np.float64)
        width = rows.shape[1]
        draws = message_uniforms(server, arrivals, width, BASES)
        signs = _signs(draws)
        scalar = np.einsum("nd,nd->n", signs, rows) / math.sqrt(width)
        coins = message_uniforms(server, arrivals, 1, ROUNDING)[:, 0]
        byte = self.rounded(scalar, coins)
        byte[~np.isfinite(scalar)] = np.nan  # a byte must not hide that training diverged
        return np.asarray((byte[:, None] * math.sqrt(width) * signs).astype(np.float32))

    def rounded(self, scalars: Array, coins: Array) -> Array:
        """float64[n], scalars on the byte's levels; coins uniform on [0, 1)."""
        levels = np.concatenate([[0.0], self.most * self.ratio ** -np.arange(126.0, -1.0, -1.0)])
        size = np.minimum(np.abs(scalars), self.most)
        above = np.minimum(np.searchsorted(levels, size, side="right"), len(levels) - 1)
        low, high = levels[above - 1], levels[above]
        return np.asarray(
            np.sign(scalars) * np.where(coins < (size - low) / (high - low), high, low)
        )


@named(
    "codec",
    "seed_sign",
    source="FeedSign: Cai et al., arXiv 2501.17610, the abstract; a first-order update takes the "
    "place of its two forward passes",
)
@dataclass
class SeedSign(RowCodec):
    """One bit an update: whether it goes along the round's random direction or against it.

    v is standard normal, named by the version that the client held, so that all clients of a round
    share it; decoded as size sign(<D, v>) v. With combine `majority` the model moves by the vote,
    as FeedSign does; with the plain sum by the mean of the votes. Only the bit is paid for: a byte
    up, and with `down_bit` a byte down (right if every client takes part in every round).
    """

    size: float = 1e-3
    down_bit: bool = False

    def __post_init__(self) -> None:
        within(self, size=(1e-12, 1e12))

    def up_bytes(self, server: Server, clients: Array) -> Array:
        """1: a bit takes a byte."""
        return same(clients, 1.0)

    def down_bytes(self, server: Server, clients: Array, model_bytes: float) -> Array:
        """The model's, or 1."""
        return same(clients, 1.0 if self.down_bit else model_bytes)

    def decoded(self, server: Server, arrivals: Arrivals, delta: Array) -> Array:
        """+-size v."""
        made = np.empty_like(delta)
        for held in np.unique(arrivals.held).tolist():
            rows = arrivals.held == held
            way = round_direction(server, held, delta.shape[1])
            along = np.einsum("d,nd->n", way, delta[rows].astype(np.float64))
            size = np.where(along >= 0.0, self.size, -self.size)
            size[~np.isfinite(along)] = np.nan  # a bit must not hide that training diverged
            made[rows] = size[:, None] * way
        return made


def round_direction(server: Server, version: int, width: int) -> Array:
    """float64[width], standard normal, the same for every client that held a version."""
    numbered = version * width + np.arange(width, dtype=np.int64)
    return np.asarray(rng_arrays.normals(server.seed, rng_arrays.PRIVACY, SERVER + 1, numbered))
