"""Fewer entries, or only their signs: top-k with memory, random-k, signs and majority vote."""

import math
from dataclasses import dataclass, field

import numpy as np

from mltwin.models.federation.hooks import Array, Arrivals, Combine, Server
from mltwin.sim.errors import InputError

from .limits import one_of, within
from .payloads import (
    INDICES,
    PLACES,
    Feedback,
    RowCodec,
    largest,
    message_uniforms,
    numbers,
    same,
    sparse_bytes,
    whole_bytes,
)
from .registry import named


@named(
    "codec",
    "top_k",
    source="Stich et al., Sparsified SGD with memory, arXiv 1809.07599, algorithm 1; "
    "index cost: Sattler et al., arXiv 1805.08768",
)
@dataclass
class TopK(RowCodec):
    """The entries of greatest size; what is left out is added to the client's next update.

    Attributes:
        share: k / d, k at least 1.
        value_bits: 32 or 16 (IEEE half precision).
        index: how the places are paid for, see `payloads.sparse_bytes`.
        feedback: keep what was left out (error feedback). Work that is lost changes nothing.
    """

    share: float = 0.01
    value_bits: int = 32
    index: str = "raw"
    feedback: bool = True
    _left: Feedback = field(default_factory=Feedback, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        within(self, share=(1e-12, 1.0))
        one_of(self, "index", INDICES)
        if self.value_bits not in (16, 32):
            raise InputError(
                f"value_bits is {self.value_bits}", where="TopK.value_bits", mend="give 16 or 32"
            )

    def up_bytes(self, server: Server, clients: Array) -> Array:
        """k values and their places."""
        entries = numbers(server)
        kept = float(max(1, math.ceil(self.share * entries)))
        size = sparse_bytes(entries, kept, value_bits=self.value_bits, index=self.index)
        return same(clients, size)

    def decoded(self, server: Server, arrivals: Arrivals, delta: Array) -> Array:
        """The kept entries, zero elsewhere."""
        if self.feedback:
            return self._left.sent(server, arrivals.client, delta, self.kept)
        return self.kept(delta)

    def kept(self, vectors: Array) -> Array:
        """float32[n, d], the greatest k of each row, zero elsewhere."""
        width = vectors.shape[1]
        places = largest(vectors, max(1, math.ceil(self.share * width)))
        values = np.take_along_axis(vectors, places, axis=1)
        made = np.zeros_like(vectors)
        half = values.astype(np.float16) if self.value_bits == 16 else values
        np.put_along_axis(made, places, half.astype(np.float32), axis=1)
        return made


@named(
    "codec",
    "random_k",
    source="random masks from a seed: Konečný et al., arXiv 1610.05492, section 3",
)
@dataclass
class RandomK(RowCodec):
    """k entries at places that a shared seed names, times d / k: unbiased, no index travels.

    E|decoded - v|^2 = (d / k - 1) |v|^2.
    """

    share: float = 0.01

    def __post_init__(self) -> None:
        within(self, share=(1e-12, 1.0))

    def up_bytes(self, server: Server, clients: Array) -> Array:
        """4 k bytes and 8 for the seed."""
        kept = max(1, math.ceil(self.share * numbers(server)))
        return same(clients, 4.0 * kept + 8.0)

    def decoded(self, server: Server, arrivals: Arrivals, delta: Array) -> Array:
        """The kept entries scaled up, zero elsewhere."""
        width = delta.shape[1]
        kept = max(1, math.ceil(self.share * width))
        draws = message_uniforms(server, arrivals, width, PLACES)
        places = np.argpartition(draws, kept - 1, axis=1)[:, :kept]
        sent = np.zeros_like(delta)
        values = np.take_along_axis(delta, places, axis=1) * np.float32(width / kept)
        np.put_along_axis(sent, places, values, axis=1)
        return sent


@named(
    "codec",
    "sign",
    source="signSGD: Bernstein et al., arXiv 1802.04434; with feedback EF-signSGD: Karimireddy "
    "et al., arXiv 1901.09847, algorithm 1",
)
@dataclass
class Sign(RowCodec):
    """One bit an entry and one size for all: sign(v) |v|_1 / d; zero counts as positive.

    Attributes:
        size: of every entry, in place of |v|_1 / d; 0: that.
        feedback: the error is added to the client's next update.
        down_signs: the server answers with signs too (majority vote): the way down costs a 32nd of
            the model. Right only if every client takes part in every round.
    """

    size: float = 0.0
    feedback: bool = False
    down_signs: bool = False
    _left: Feedback = field(default_factory=Feedback, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        within(self, size=(0, 1e12))

    def up_bytes(self, server: Server, clients: Array) -> Array:
        """d / 8 bytes, and 4 for the size where it is the client's."""
        return same(clients, whole_bytes(numbers(server)) + (0.0 if self.size else 4.0))

    def down_bytes(self, server: Server, clients: Array, model_bytes: float) -> Array:
        """The model's, or a bit an entry."""
        return same(clients, model_bytes / 32.0 if self.down_signs else model_bytes)

    def decoded(self, server: Server, arrivals: Arrivals, delta: Array) -> Array:
        """+-size."""
        if self.feedback:
            return self._left.sent(server, arrivals.client, delta, self.signs)
        return self.signs(delta)

    def signs(self, vectors: Array) -> Array:
        """float32[n, d], +-size."""
        size = np.full((len(vectors), 1), self.size)
        if not self.size:
            size = np.abs(vectors).mean(axis=1, dtype=np.float64, keepdims=True)
        return np.where(vectors >= 0.0, size, -size).astype(np.float32)


@named(
    "combine",
    "majority",
    source="signSGD with majority vote: Bernstein et al., arXiv 1810.05291, algorithm 1",
)
@dataclass
class Majority(Combine):
    """Each entry moves the way that most weight votes for.

    change_k = c sign(sum_i c_i sign(D_ik)) times `size`, or times the weighted mean of |D_ik| where
    size is 0; c is the sum of the coefficients. A tie moves nothing.
    """

    size: float = 0.0

    def __post_init__(self) -> None:
        within(self, size=(0, 1e12))

    def combine(self, server: Server, coefficients: Array, deltas: Array) -> Array:
        """float64[d]."""
        votes = np.zeros(deltas.shape[1])
        sizes = np.zeros(deltas.shape[1])
        for weight, delta in zip(coefficients.tolist(), deltas, strict=True):
            votes += weight * np.sign(delta)
            sizes += weight * np.abs(delta)
        way = np.sign(votes)
        return np.asarray(way * (self.size * float(coefficients.sum()) if self.size else sizes))
