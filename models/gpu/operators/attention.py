"""Attention of one layer: decode, prefill, and both in one batch."""

from dataclasses import dataclass

import numpy as np

from .arrays import Array, Number


@dataclass(frozen=True)
class DecodeCost:
    """Attention of one layer for sequences that each make one token.

        t = overhead + ((item_s B K)^p + (bytes/bandwidth)^p + (serial_s c_max)^p)^(1/p)

    with B sequences, K key-value heads on the GPU, and the bytes of their cached keys and values.
    Split-KV kernels (Flash-Decoding) spread one sequence over the GPU, so ``serial_s`` is 0 for
    them. FlashAttention-2 does not split a head that serves one query head (``group`` 1): such a
    sequence costs at least ``serial_s`` a token of the longest context, but no second kernel has
    to combine the parts, so its overhead is ``ungrouped_overhead_s`` (0: as the others).
    """

    overhead_s: float
    item_s: float
    bandwidth: float
    power: float
    serial_s: float = 0.0
    ungrouped_overhead_s: float = 0.0
    kv_bytes: float = 2.0

    def overhead(self, group: Number) -> Array:
        """Seconds of an empty call; ``group`` is query heads per key-value head."""
        alone = (np.asarray(group) == 1) & (self.ungrouped_overhead_s > 0)
        return np.where(alone, self.ungrouped_overhead_s, self.overhead_s)

    def seconds(
        self,
        sequences: Number,
        context: Number,
        longest: Number,
        heads: Number,
        kv_heads: Number,
        head_dim: Number,
        window: int = 0,
    ) -> Array:
        """Seconds of one layer; 0 without sequences.

        Args:
            sequences: B.
            context: tokens attended, summed over the sequences, at most the window of each.
            longest: the most of them in one sequence.
            heads, kv_heads: H and K on this GPU.
            head_dim: numbers of one key (and of one value).
            window: the layer's sliding window; the fit knows it only through ``context``.
        """
        sequences, kv_heads = np.asarray(sequences, float), np.asarray(kv_heads, float)
        group = np.asarray(heads) / kv_heads
        items = self.item_s * sequences * kv_heads
        read = 2 * kv_heads * head_dim * self.kv_bytes * np.asarray(context, float)
        total = items**self.power + (read / self.bandwidth) ** self.power
        if self.serial_s:
            chain = (self.serial_s * np.asarray(longest, float)) ** self.power
            total = total + np.where(group == 1, chain, 0.0)
        time = self.overhead(group) + total ** (1 / self.power)
        return np.where(sequences > 0, time, 0.0)


@dataclass(frozen=True)
class PrefillCost:
    """Causal attention of one layer over new tokens.

        work = 4 H D pairs / flops + (H + kv_share K) D token_s tokens
        t = overhead + (work^p + (serial_s D c)^p)^(1/p)

    where pairs counts (query, key) pairs under the mask. The second term of the work holds what
    grows with the tokens alone: half-empty tiles on the diagonal, reading queries, keys and
    values, writing the output. The chain is the last query tile of the longest chunk, which
    passes its c keys one tile after another, however empty the GPU is.
    """

    overhead_s: float
    flops: float
    token_s: float
    kv_share: float
    serial_s: float
    power: float

    def per_pair_s(self, heads: Number, head_dim: int) -> Array:
        return 4.0 * np.asarray(heads, float) * head_dim / self.flops

    def seconds(
        self,
        tokens: Number,
        pairs: Number,
        longest: Number,
        heads: Number,
        kv_heads: Number,
        head_dim: int,
        window: int = 0,
    ) -> Array:
        """Seconds of one layer; 0 without tokens.

        Args:
            tokens: new tokens.
            pairs: (query, key) pairs under the mask.
            longest: tokens of the longest chunk (its window, if that is less).
            heads, kv_heads, head_dim: H and K on this GPU, and D.
            window: the layer's sliding window; the fit knows it only through ``pairs``.
        """
        tokens = np.asarray(tokens, float)
        columns = np.asarray(heads, float) + self.kv_share * np.asarray(kv_heads, float)
        work = np.asarray(pairs, float) * self.per_pair_s(heads, head_dim)
        work = work + tokens * columns * head_dim * self.token_s
        chain = np.asarray(longest, float) * self.serial_s * head_dim
        total = (work**self.power + chain**self.power) ** (1 / self.power)
        return np.where(tokens > 0, self.overhead_s + total, 0.0)


@dataclass(frozen=True)
class MixedCost:
    """One call that holds prefill chunks and decodes: t = (p^power + d^power)^(1/power).

    p and d are the times of the two alone. 1 adds them; a large power leaves the longer one. The
    ragged call overlaps them in part, since the decodes' reads and the chunk's arithmetic use
    different parts of the GPU.
    """

    power: float = 1.0

    def seconds(
        self, prefill_s: Number, decode_s: Number, tokens: Number = 0, sequences: Number = 0
    ) -> Array:
        """Seconds of both in one call; between the larger of the two and their sum."""
        p, d = np.asarray(prefill_s, float), np.asarray(decode_s, float)
        top = np.maximum(p, d)
        ratio = np.divide(np.minimum(p, d), top, out=np.zeros(np.shape(top + 0.0)), where=top > 0)
        return top * (1 + ratio**self.power) ** (1 / self.power)
