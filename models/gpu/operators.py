"""Time of single operators on one GPU, from a handful of fitted parameters each.

Every class is frozen, holds parameters in SI units and has a ``seconds`` that takes numbers or
numpy arrays (broadcast together). The same code is used to fit (:mod:`mltwin.calibration.fit`)
and to predict, so a profile cannot be read otherwise than it was fitted.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Number = float | int | npt.NDArray[Any]

# Output tiles that the libraries choose among (CUTLASS and cuBLAS offer about these).
TILES = ((64, 64), (64, 128), (64, 256), (128, 64), (128, 128), (128, 256), (256, 64), (256, 128))
SPLITS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Residual:
    """A smooth correction on a grid: the logarithm of measured over physical time.

    Trilinear in log2 of (m, n, k), constant beyond the grid. ``milli`` holds thousandths, m
    slowest, k fastest.
    """

    m: tuple[float, ...]
    n: tuple[float, ...]
    k: tuple[float, ...]
    milli: tuple[int, ...]

    def weights(self, m: Number, n: Number, k: Number) -> tuple[npt.NDArray[np.int64], Array]:
        """Indices into ``milli`` and weights of the 8 corners, each of shape (8, points)."""
        sizes = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in (m, n, k)))
        lower, share = [], []
        for values, knots in zip(sizes, (self.m, self.n, self.k), strict=True):
            grid = np.log2(np.asarray(knots))
            x = np.log2(values)
            i = np.clip(np.searchsorted(grid, x, side="right") - 1, 0, len(grid) - 2)
            lower.append(i)
            share.append(np.clip((x - grid[i]) / (grid[i + 1] - grid[i]), 0.0, 1.0))
        index, weight = [], []
        for corner in range(8):
            up = [corner >> 2 & 1, corner >> 1 & 1, corner & 1]
            i, j, l = (low + u for low, u in zip(lower, up, strict=True))  # noqa: E741
            index.append((i * len(self.n) + j) * len(self.k) + l)
            weight.append(np.prod([s if u else 1 - s for s, u in zip(share, up, strict=True)], 0))
        return np.array(index), np.array(weight)

    def factor(self, m: Number, n: Number, k: Number) -> Array:
        """What physical time is multiplied by."""
        index, weight = self.weights(m, n, k)
        values = np.asarray(self.milli)[index]
        return np.exp(np.sum(values * weight, axis=0) / 1000.0)


@dataclass(frozen=True)
class GemmCost:
    """y[m, n] = x[m, k] W[n, k]^T: roofline with wave quantisation.

    With tile (a, b) and split s of the inner size, w = s ceil(m/a) ceil(n/b) / SMs waves, each
    of q k/s + ``tile_s`` seconds where q = 2 a b SMs / ``flops``, the last wave counted whole in
    the share ``whole_wave``; a split adds ``split_cost`` passes over the float32 output. The
    cheapest tile and split is taken, then

        t = overhead + (compute^p + memory^p)^(1/p),  memory = bytes / ``bandwidth``,

    times the residual. Wave quantisation as in NVIDIA, "Matrix Multiplication Background User's
    Guide", section 4.2; the p-norm rounds the corner of the roofline (Williams et al., CACM 2009).
    """

    sms: int
    overhead_s: float
    flops: float
    bandwidth: float
    tile_s: float
    power: float
    whole_wave: float
    split_cost: float
    weight_bytes: float = 2.0
    activation_bytes: float = 2.0
    residual: Residual | None = None

    def physical(self, m: Number, n: Number, k: Number, weight_bytes: float | None = None) -> Array:
        """Seconds without the residual."""
        m, n, k = (np.asarray(v, float) for v in (m, n, k))
        compute = np.full(np.broadcast_shapes(m.shape, n.shape, k.shape), np.inf)
        for rows, columns in TILES:
            tiles = np.ceil(m / rows) * np.ceil(n / columns)
            per_k = 2 * rows * columns * self.sms / self.flops
            for split in SPLITS:
                waves = tiles * split / self.sms
                waves = self.whole_wave * np.ceil(waves) + (1 - self.whole_wave) * np.maximum(
                    waves, 1.0
                )
                time = waves * (per_k * k / split + self.tile_s)
                if split > 1:
                    time = time + self.split_cost * split * m * n * 4 / self.bandwidth
                compute = np.minimum(compute, time)
        width = self.weight_bytes if weight_bytes is None else weight_bytes
        moved = n * k * width + m * k * self.activation_bytes + m * n * 2
        memory = moved / self.bandwidth
        top = np.maximum(compute, memory)
        ratio = np.minimum(compute, memory) / top
        return self.overhead_s + top * (1 + ratio**self.power) ** (1 / self.power)

    def seconds(self, m: Number, n: Number, k: Number, weight_bytes: float | None = None) -> Array:
        """Seconds of one multiplication; ``weight_bytes`` for weights stored narrower."""
        time = self.physical(m, n, k, weight_bytes)
        if self.residual is None:
            return time
        return time * self.residual.factor(m, n, k).reshape(np.shape(time))


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

    def overhead(self, group: int) -> float:
        """Seconds of an empty call; ``group`` is query heads per key-value head."""
        if group == 1 and self.ungrouped_overhead_s:
            return self.ungrouped_overhead_s
        return self.overhead_s

    def seconds(
        self, sequences: Number, kv_heads: Number, kv_bytes: Number, longest: Number, group: int
    ) -> Array:
        """Seconds of one layer; 0 without sequences.

        Args:
            sequences: B.
            kv_heads: K on this GPU.
            kv_bytes: bytes of keys and values read.
            longest: tokens of the longest context.
            group: query heads per key-value head.
        """
        sequences = np.asarray(sequences, float)
        items = self.item_s * sequences * np.asarray(kv_heads, float)
        total = items**self.power + (np.asarray(kv_bytes, float) / self.bandwidth) ** self.power
        if group == 1 and self.serial_s:
            total = total + (self.serial_s * np.asarray(longest, float)) ** self.power
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
    ) -> Array:
        """Seconds of one layer; 0 without tokens.

        Args:
            tokens: new tokens.
            pairs: (query, key) pairs under the mask.
            longest: tokens of the longest chunk (its window, if that is less).
            heads, kv_heads, head_dim: H and K on this GPU, and D.
        """
        tokens = np.asarray(tokens, float)
        columns = np.asarray(heads, float) + self.kv_share * np.asarray(kv_heads, float)
        work = np.asarray(pairs, float) * self.per_pair_s(heads, head_dim)
        work = work + tokens * columns * head_dim * self.token_s
        chain = np.asarray(longest, float) * self.serial_s * head_dim
        total = (work**self.power + chain**self.power) ** (1 / self.power)
        return np.where(tokens > 0, self.overhead_s + total, 0.0)


@dataclass(frozen=True)
class AllReduceCost:
    """Sum over GPUs of one node: t = (alpha^p + (bytes/bandwidth)^p)^(1/p).

    The p-norm blends the one-shot, two-shot and ring protocols between latency and bandwidth.
    """

    alpha_s: float
    bandwidth: float
    power: float

    def seconds(self, size_bytes: Number) -> Array:
        size = np.asarray(size_bytes, float)
        time = self.alpha_s**self.power + (size / self.bandwidth) ** self.power
        return time ** (1 / self.power)


@dataclass(frozen=True)
class ElementwiseCost:
    """Norms, activations, rotary embedding, cache writes: t = kernel_s + bytes/bandwidth."""

    kernel_s: float
    bandwidth: float

    def seconds(self, kernels: float, size_bytes: Number) -> Array:
        return kernels * self.kernel_s + np.asarray(size_bytes, float) / self.bandwidth


@dataclass(frozen=True)
class MoeCost:
    """The routed experts of one layer on one GPU (gate-up, activation, down, fused).

        t = overhead + expert_s A + row_s m T h + (compute^p + memory^p)^(1/p)

    m tokens choose T of E experts; A = E (1 - (1 - T/E)^(skew m)) of them are read, each padded
    to ``block`` rows: compute = 6 (m T + A block/2) h M / flops, memory = A 3 h M weight_bytes /
    bandwidth. ``row_s`` is for each routed row and column of h (gather, scatter).
    """

    overhead_s: float
    expert_s: float
    flops: float
    bandwidth: float
    power: float
    block: float
    skew: float
    row_s: float
    weight_bytes: float = 2.0

    def seconds(
        self,
        tokens: Number,
        hidden: Number,
        width: Number,
        experts: Number,
        chosen: Number,
        weight_bytes: float | None = None,
    ) -> Array:
        """Seconds of one layer.

        Args:
            tokens: m.
            hidden, width: h and the expert's intermediate size on this GPU.
            experts, chosen: E and T.
            weight_bytes: of one weight, when stored otherwise than fitted.
        """
        m, h, w, e, t = (np.asarray(v, float) for v in (tokens, hidden, width, experts, chosen))
        read = e * -np.expm1(self.skew * m * np.log1p(-np.minimum(t / e, 1 - 1e-9)))
        rows = m * t
        compute = 6 * (rows + read * self.block / 2) * h * w / self.flops
        stored = self.weight_bytes if weight_bytes is None else weight_bytes
        memory = read * 3 * h * w * stored / self.bandwidth
        top = np.maximum(compute, memory)
        ratio = np.minimum(compute, memory) / top
        time = self.overhead_s + top * (1 + ratio**self.power) ** (1 / self.power)
        return time + self.row_s * rows * h + self.expert_s * read


@dataclass(frozen=True)
class Operators:
    """All fitted operators of one GPU type.

    ``gemm`` and ``moe`` by number format; ``decode`` and ``prefill`` by the format of the KV
    cache, then by head size; ``all_reduce`` by the number of GPUs.
    """

    gemm: dict[str, GemmCost]
    decode: dict[str, dict[int, DecodeCost]]
    prefill: dict[str, dict[int, PrefillCost]]
    all_reduce: dict[int, AllReduceCost]
    elementwise: ElementwiseCost
    moe: dict[str, MoeCost] = field(default_factory=dict)
