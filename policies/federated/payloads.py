"""What a message costs in bytes, and the random numbers of its entries.

Helpers of the codecs: no policy is registered here.
"""

import math
from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Arrivals, Codec, Server, Updates
from mltwin.sim import rng_arrays
from mltwin.sim.errors import InputError

from .memory import Memory

Array = npt.NDArray[Any]

ROUNDING, NOISE, BASES, PLACES = range(4)
"""Lanes: draws for different ends within one message."""
_LANES = 4
SERVER = 1 << 40
"""Stands in the place of a client where the server draws."""

INDICES = ("raw", "golomb", "entropy")
_ENTRIES_AT_ONCE = 1 << 16  # what passes fit in a cache


class RowCodec(Codec):
    """A codec that makes each message by itself: many go through in pieces."""

    steady: ClassVar[bool] = True

    @abstractmethod
    def decoded(self, server: Server, arrivals: Arrivals, delta: Array) -> Array:
        """float32[n, d], what the server decodes of updates float32[n, d], n small."""

    def apply(self, server: Server, arrivals: Arrivals, updates: Updates) -> Updates:
        """What the server decodes."""
        delta = updates.delta
        some = max(1, _ENTRIES_AT_ONCE // max(1, delta.shape[1]))
        made = np.empty_like(delta)
        for first in range(0, len(delta), some):
            rows = np.arange(first, min(first + some, len(delta)))
            with np.errstate(all="ignore"):  # what is not finite ends the run when it steps
                made[rows] = self.decoded(server, arrivals.where(rows), delta[rows])
        return replace(updates, delta=made)


def numbers(server: Server) -> float:
    """Entries of an update as it is paid for: of `Plan.model_bytes` where it is given (4 bytes
    each), else of the task.

    Raises InputError: neither is there.
    """
    if server.plan.model_bytes is not None:
        return server.plan.model_bytes / 4.0
    count = getattr(server.task, "parameters", 0)
    if not count:
        raise InputError(
            "the size of an update is not known",
            where="plan.model_bytes",
            mend="give plan.model_bytes, or a task that has parameters",
        )
    return float(count)


def whole_bytes(bits: float) -> float:
    """Bytes that hold so many bits."""
    return float(math.ceil(bits / 8.0))


def same(clients: Array, size: float) -> Array:
    """float64[n], one size for all."""
    return np.full(len(clients), size, np.float64)


def counters(dispatches: Array, lane: int, count: int, stride: int = 0) -> Array:
    """int64[n, count], numbers of the draws of n messages in a lane.

    (4 * dispatch + lane) * stride + entry; stride is `count` where it is 0.
    """
    first = (np.asarray(dispatches, np.int64) * _LANES + lane) * (stride or count)
    return np.asarray(first[:, None] + np.arange(count, dtype=np.int64))


def uniforms(seed: int, clients: Array, numbered: Array) -> Array:
    """float64[n, count] on [0, 1), those of `mltwin.sim.rng.uniforms` in the stream PRIVACY.

    Args:
        clients: int[n]; numbered: int64[n, count], see `counters`.
    """
    one = np.ones((1, 1), np.uint64)
    words = rng_arrays.keyed_hash(  # each word of the key is mixed once, not once an entry
        one * np.uint64(seed),
        one * np.uint64(rng_arrays.PRIVACY),
        np.asarray(clients, np.int64).astype(np.uint64)[:, None],
        numbered.astype(np.uint64),
    )
    return np.asarray(rng_arrays.uniform_of(words))


def message_uniforms(server: Server, arrivals: Arrivals, count: int, lane: int) -> Array:
    """float64[n, count] on [0, 1) for the messages of arrivals."""
    return uniforms(server.seed, arrivals.client, counters(arrivals.dispatch, lane, count))


def server_normals(server: Server, count: int, counter: int) -> Array:
    """float64[count], standard normal: noise that the server adds, keyed by a counter."""
    numbered = counter * count + np.arange(count, dtype=np.int64)
    return np.asarray(rng_arrays.normals(server.seed, rng_arrays.PRIVACY, SERVER, numbered))


def cut(vectors: Array, norm: float) -> Array:
    """float64[n, d], rows scaled down to a Euclidean norm of at most `norm`."""
    rows = np.asarray(vectors, np.float64)
    lengths = np.sqrt((rows * rows).sum(axis=1))
    factors = np.minimum(1.0, norm / np.where(lengths > 0.0, lengths, 1.0))
    return np.asarray(rows * factors[:, None])


def sparse_bytes(entries: float, kept: float, *, value_bits: int = 32, index: str = "raw") -> float:
    """Bytes of `kept` of `entries` values with their places.

    Args:
        entries, kept: d and k.
        value_bits: of a value.
        index: how places are written. "raw": 32 bits each. "golomb": gaps in Golomb code, expected
            length b + 1 / (1 - (1 - p)^(2^b)) with p = k / d and
            b = 1 + floor(log2(log(phi - 1) / log(1 - p))), at least 0 (Sattler et al.,
            arXiv 1805.08768). "entropy": d H(p) bits in all, the least that any code
            of independently chosen places can reach.

    Raises InputError: k is not within 1 ... d, or an unknown index.
    """
    if not 0 < kept <= entries:
        raise InputError(f"{kept:g} values of {entries:g}", where="sparse message")
    if index not in INDICES:
        raise InputError(f"unknown index {index!r}", mend=f"use one of {', '.join(INDICES)}")
    share = kept / entries
    if index == "raw":
        places = 32.0 * kept
    elif share == 1.0:
        places = 0.0
    elif index == "golomb":
        places = kept * _golomb_bits(share)
    else:
        places = entries * _binary_entropy(share)
    return whole_bytes(kept * value_bits + places)


def _golomb_bits(share: float) -> float:
    golden = (math.sqrt(5.0) + 1.0) / 2.0
    absent = math.log1p(-share)
    low = max(0, 1 + math.floor(math.log2(math.log(golden - 1.0) / absent)))
    return low - 1.0 / math.expm1(absent * 2.0**low)


def _binary_entropy(share: float) -> float:
    other = 1.0 - share
    return -share * math.log2(share) - other * math.log2(other)


def largest(vectors: Array, count: int) -> Array:
    """int64[n, count], places of the entries of greatest size in each float32 row, in no order.

    Of equal sizes the first counts as greater. Size and place make one number, so no two are equal.
    """
    width = vectors.shape[1]
    size = np.abs(np.ascontiguousarray(vectors, np.float32)).view(np.uint32).astype(np.uint64)
    back = np.arange(width - 1, -1, -1, dtype=np.uint64)
    keys = np.partition((size << np.uint64(32)) | back, width - count, axis=1)[:, width - count :]
    return width - 1 - (keys & np.uint64(0xFFFFFFFF)).astype(np.int64)


class Feedback:
    """What was left out of each client's last update; forgotten when another run begins."""

    def __init__(self) -> None:
        self._server: Server | None = None
        self._memory = Memory(0, 0)

    def of(self, server: Server, width: int) -> Memory:
        """Vectors of the clients of this run."""
        if self._server is not server:
            self._server, self._memory = server, Memory(len(server.clients), width)
        return self._memory

    def sent(
        self, server: Server, clients: Array, delta: Array, send: Callable[[Array], Array]
    ) -> Array:
        """float32[n, d], what `send` makes of updates with what was left out added; the rest stays.

        A client that comes twice goes in turn.
        """
        memory = self.of(server, delta.shape[1])
        made = np.empty_like(delta)
        rows = np.arange(len(clients))
        while len(rows):
            _, first = np.unique(clients[rows], return_index=True)
            now = rows[np.sort(first)]
            whole = delta[now] + memory[clients[now]]
            made[now] = send(whole)
            memory.put(clients[now], whole - made[now])
            rows = np.setdiff1d(rows, now)
        return made
