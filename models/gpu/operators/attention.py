"""Attention of one layer: decode, prefill, and both in one batch."""

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from .arrays import Array, Number
from .smooth import COUNTS, LENGTHS, Correction, over
from .trees import Trees

LATENCY_BYTES = 2e6
"""Below so many bytes a decode call's time is latency, wherever the bytes come from."""
_TILE = 64
"""Query rows of one tile of FlashAttention-2 over paged keys and values."""


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
    """One call that holds prefill chunks and decodes, from the times p and d of the two alone.

    Without ``chain_s`` it is t = (p^power + d^power)^(1/power): 1 adds the two (kernels of their
    own, as FlashInfer's), a large power leaves the longer one.

    With ``chain_s`` it is a ragged FlashAttention-2 call, which handles a decode as if it were a
    prompt of one token: no splitting of its keys over the GPU and no packing of the query heads
    that share a KV head (``flash_api.cpp``, ``mha_varlen_fwd``: both only where every sequence
    has one query). So d says nothing of it: each decode is one query tile a head that passes its
    keys one tile after another.

        e = chain_s D H (crowd C + item_tokens B) / sms
        m = 4 D K C (1 + (G/r - 1) miss) / bandwidth
        w = (p - overhead) + (e^4 + m^4)^(1/4) + empty_s B H ceil(chunk / 64) / sms
        t = overhead + (w^power + (chain_s D longest)^power)^(1/power)

    with B decodes, C the sum of their contexts, G = H/K. ``chain_s`` D is the time in which one
    tile passes one token's keys and values; a multiprocessor gains little from several tiles
    (``crowd`` is near 1). Heads that share keys and values read them again where those of all
    sequences (4 D C bytes) exceed L2: r = sms/B of the G heads, at least one, run at the same
    time. The grid holds as many tiles for each decode as for the longest chunk; all but one are
    empty and cost ``empty_s``.

    The same holds for a chunk after cached tokens: see :meth:`prefill`.

    Fitted in :mod:`mltwin.calibration.fit.mixed`.
    """

    power: float = 1.0
    chain_s: float = 0.0
    overhead_s: float = 0.0
    crowd: float = 1.0
    item_tokens: float = 0.0
    empty_s: float = 0.0
    bandwidth: float = 1.0
    sms: int = 1
    l2_bytes: float = 1.0

    def prefill(
        self,
        prefill_s: Number,
        tokens: Number,
        pairs: Number,
        chunk: Number,
        head_dim: Number,
        window: int = 0,
    ) -> Array:
        """Seconds of prefill chunks, cached tokens before them included: not less than

            overhead + chain_s D (pairs / tokens + chunk / 2)

        since the last tile of a chunk passes all keys before it, however few the new tokens are.
        What is in the brackets is the number of those keys where there is one chunk.

        Args:
            prefill_s: what a cost says that knows prompts without cached tokens only.
            tokens, pairs: of all chunks: new tokens, and (query, key) pairs.
            chunk: tokens of the longest.
            head_dim: D.
            window: the layer's sliding window (0: none), which limits the keys.
        """
        time, new = np.asarray(prefill_s, float), np.asarray(tokens, float)
        if not self.chain_s:
            return time
        keys = np.asarray(pairs, float) / np.maximum(new, 1.0) + np.asarray(chunk, float) / 2
        keys = np.minimum(keys, window + _TILE) if window else keys
        least = self.overhead_s + self.chain_s * np.asarray(head_dim, float) * keys
        return np.where(new > 0, np.maximum(time, least), time)

    def seconds(
        self,
        prefill_s: Number,
        decode_s: Number,
        tokens: Number = 0,
        sequences: Number = 0,
        context: Number = 0,
        longest: Number = 0,
        chunk: Number = 0,
        heads: Number = 1,
        kv_heads: Number = 1,
        head_dim: Number = 1,
    ) -> Array:
        """Seconds of both in one call; not less than the prefill alone.

        Args:
            prefill_s, decode_s: seconds of the prefill chunks and of the decodes alone.
            tokens: of the chunks.
            sequences: B.
            context, longest: tokens that the decodes attend to, summed, and of the longest.
            chunk: tokens of the longest chunk.
            heads, kv_heads, head_dim: H and K on this GPU, and D.
        """
        prefill, decode = np.asarray(prefill_s, float), np.asarray(decode_s, float)
        if not self.chain_s:
            return _norm(prefill, decode, self.power)
        number, sums = np.asarray(sequences, float), np.asarray(context, float)
        each = self.chain_s * np.asarray(head_dim, float)
        tiles = each * heads * (self.crowd * sums + self.item_tokens * number) / self.sms
        once = 4.0 * np.asarray(head_dim) * sums
        group = np.asarray(heads, float) / np.asarray(kv_heads, float)
        together = np.clip(self.sms / np.maximum(number, 1.0), 1.0, group)
        miss = np.clip(once / self.l2_bytes - 1.0, 0.0, 1.0)
        read = once * kv_heads * (1.0 + (group / together - 1.0) * miss) / self.bandwidth
        empty = self.empty_s * number * heads * np.ceil(np.asarray(chunk) / _TILE) / self.sms
        work = np.maximum(prefill - self.overhead_s, 0.0) + _norm(tiles, read, 4.0) + empty
        # Less than one decode occurs only between the knots of a table.
        chain = each * np.asarray(longest, float) * np.minimum(number, 1.0)
        time = np.minimum(self.overhead_s, prefill) + _norm(work, chain, self.power)
        return np.where(number > 0, time, prefill)


def _norm(first: Array, second: Array, power: float) -> Array:
    """(x^p + y^p)^(1/p) without overflow."""
    top = np.maximum(first, second)
    less = np.minimum(first, second)
    ratio = np.divide(less, top, out=np.zeros(np.shape(top + 0.0)), where=top > 0)
    return np.asarray(top * (1 + ratio**power) ** (1 / power))
