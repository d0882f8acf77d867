"""Attention of one layer: decode, prefill, and both in one batch."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from .arrays import Array, Number
from .smooth import COUNTS, LENGTHS, Correction, over
from .trees import Trees

LATENCY_BYTES = 2e6
"""Below so many bytes a decode call's time is latency, wherever the bytes come from."""


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
    trees: Trees | None = None
    sms: int = 0
    l2_bytes: float = 0.0

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
        warm: bool = False,
    ) -> Array:
        """Seconds of one layer; 0 without sequences.

        Args:
            sequences: B.
            context: tokens attended, summed over the sequences, at most the window of each.
            longest: the most of them in one sequence.
            heads, kv_heads: H and K on this GPU.
            head_dim: numbers of one key (and of one value).
            window: the layer's sliding window; the fit knows it only through ``context``.
            warm: believe times that rest on the L2 cache, as a benchmark measures them.
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
        if self.trees is not None:
            if not warm and np.ndim(heads) == 0 and np.ndim(kv_heads) == 0:
                shape = float(heads), float(kv_heads), float(head_dim)
                each = np.asarray(context, float) / np.maximum(sequences, 1e-9)
                time = time * _decode_correction(self, *shape).over(sequences, each)
            else:
                time = time * self._factor(sequences, context, heads, kv_heads, head_dim, warm)
        return np.where(sequences > 0, time, 0.0)

    def _factor(
        self,
        sequences: Number,
        context: Number,
        heads: Number,
        kv_heads: Number,
        head_dim: Number,
        warm: bool,
    ) -> Array:
        """What the trees say, of sequences of equal length."""
        plain = replace(self, trees=None)
        longest = np.asarray(context, float) / np.maximum(sequences, 1e-9)
        time = plain.seconds(sequences, context, longest, heads, kv_heads, head_dim)
        assert self.trees is not None
        given = self.inputs(sequences, context, heads, kv_heads, time)
        factor = self.trees.predict(given).reshape(np.shape(time))
        if not warm:
            # Keys and values below the L2 size are read from it in a benchmark that repeats one
            # call; in serving the weights stream through in between.
            read = 2 * np.asarray(kv_heads, float) * head_dim * self.kv_bytes * context
            cached = (read > LATENCY_BYTES) & (read < 2 * self.l2_bytes)
            factor = np.where(cached, np.maximum(factor, 0.0), factor)
        return np.exp(factor)

    def inputs(
        self, sequences: Number, context: Number, heads: Number, kv_heads: Number, time: Array
    ) -> Array:
        """What the trees look at, (points, 9)."""
        values = np.broadcast_arrays(sequences, context, heads, kv_heads, time)
        b, c, h, k, t = (np.asarray(v, float).ravel() for v in values)
        b = np.maximum(b, 1.0)
        waves = b * k / max(self.sms, 1)
        columns = [np.log2(v) for v in (b, np.maximum(c / b, 1.0), h, k, h / k, c * k + 1)]
        columns += [np.log(np.maximum(t, 1e-9)), np.ceil(waves) / waves, np.log2(waves)]
        return np.column_stack(columns)


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
    trees: Trees | None = None
    sms: int = 0

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
        time = self.overhead_s + (work**self.power + chain**self.power) ** (1 / self.power)
        if self.trees is not None:
            if np.ndim(heads) == 0 and np.ndim(kv_heads) == 0:
                prompts, length = _prompts(tokens, pairs)
                known = _prefill_correction(self, float(heads), float(kv_heads), head_dim)
                time = time * known.over(prompts, length)
            else:
                inputs = self.inputs(tokens, pairs, heads, kv_heads, time)
                time = time * np.exp(self.trees.predict(inputs)).reshape(np.shape(time))
        return np.where(tokens > 0, time, 0.0)

    def inputs(
        self, tokens: Number, pairs: Number, heads: Number, kv_heads: Number, time: Array
    ) -> Array:
        """What the trees look at, (points, 9): prompts of equal work, heads, physical time, waves
        of query tiles."""
        values = np.broadcast_arrays(tokens, pairs, heads, kv_heads, time)
        n, p, h, k, t = (np.asarray(v, float).ravel() for v in values)
        prompts, length = _prompts(n, p)
        waves = np.ceil(length / 128) * prompts * h / max(self.sms, 1)
        columns = [np.log2(v) for v in (prompts, length, h, k, h / k)]
        columns += [np.log(np.maximum(t, 1e-9)), np.ceil(waves) / waves, np.log2(waves)]
        return np.column_stack([*columns, np.log2(np.maximum(n, 1.0))])


def _prompts(tokens: Number, pairs: Number) -> tuple[Array, Array]:
    """Prompts of equal work, and tokens of each: s = 2 pairs / tokens - 1, at least one prompt."""
    new = np.maximum(np.asarray(tokens, float), 1.0)
    length = np.maximum(2 * np.asarray(pairs, float) / new - 1, 1.0)
    return np.maximum(new / length, 1.0), length


@lru_cache(maxsize=512)
def _decode_correction(
    cost: DecodeCost, heads: float, kv_heads: float, head_dim: float
) -> Correction:
    """What the trees say of one head configuration, on a grid of sequences and lengths."""
    b, c = COUNTS[:, None], LENGTHS[None, :]
    plain = replace(cost, trees=None).seconds(b, b * c, c, heads, kv_heads, head_dim)
    factor = cost._factor(b, b * c, heads, kv_heads, head_dim, warm=False)
    return over(COUNTS, LENGTHS, plain * factor, plain)


@lru_cache(maxsize=512)
def _prefill_correction(
    cost: PrefillCost, heads: float, kv_heads: float, head_dim: int
) -> Correction:
    """What the trees say of one head configuration, on a grid of prompts and lengths."""
    assert cost.trees is not None
    b, s = COUNTS[:, None], LENGTHS[None, :]
    new, pairs = b * s, b * s * (s + 1) / 2
    plain = replace(cost, trees=None).seconds(new, pairs, s, heads, kv_heads, head_dim)
    inputs = cost.inputs(new, pairs, heads, kv_heads, plain)
    factor = np.exp(cost.trees.predict(inputs)).reshape(np.shape(plain))
    return over(COUNTS, LENGTHS, plain * factor, plain)


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
