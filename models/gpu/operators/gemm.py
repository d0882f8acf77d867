"""Matrix multiplications."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .arrays import Array, Number
from .smooth import ROWS, Correction, along
from .trees import Trees

# Output tiles that the libraries choose among (CUTLASS and cuBLAS offer about these).
TILES = ((64, 64), (64, 128), (64, 256), (128, 64), (128, 128), (128, 256), (256, 64), (256, 128))
SPLITS = (1, 2, 4, 8)
INPUT_TILES = ((64, 64), (64, 128), (128, 128), (128, 256), (64, 256))


@dataclass(frozen=True)
class GemmCost:
    """y[m, n] = x[m, k] W[n, k]^T: roofline with wave quantisation.

    With tile (a, b) and split s of the inner size, w = s ceil(m/a) ceil(n/b) / SMs waves, each
    of q k/s + ``tile_s`` seconds where q = 2 a b SMs / ``flops``, the last wave counted whole in
    the share ``whole_wave``; a split adds ``split_cost`` passes over the float32 output. The
    cheapest tile and split is taken, then

        t = overhead + (compute^p + memory^p)^(1/p),  memory = bytes / ``bandwidth``,

    times exp of ``trees`` at the sizes, clipped to the measured range. Wave quantisation as in
    NVIDIA, "Matrix Multiplication Background User's
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
    trees: Trees | None = None
    least: tuple[float, float, float] = (1.0, 1.0, 1.0)
    most: tuple[float, float, float] = (1e9, 1e9, 1e9)

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
        """Seconds of one multiplication; ``weight_bytes`` for weights stored narrower.

        Of one (n, k), given as numbers, the times never fall as m grows
        (:mod:`mltwin.models.gpu.operators.smooth`); of arrays they are those of the trees.
        """
        time = self.physical(m, n, k, weight_bytes)
        if self.trees is None:
            return time
        if np.ndim(n) == 0 and np.ndim(k) == 0:
            return time * _correction(self, float(n), float(k)).along(m)
        return time * np.exp(self.trees.predict(self.inputs(m, n, k))).reshape(np.shape(time))

    def inputs(self, m: Number, n: Number, k: Number) -> Array:
        """What the trees look at, (points, 27): sizes and products, physical time, waves of five
        tiles, and how far the sizes are from whole tiles."""
        sizes = np.broadcast_arrays(*(np.asarray(v, float) for v in (m, n, k)))
        rows, width, inner = (
            np.clip(v.ravel(), low, high)
            for v, low, high in zip(sizes, self.least, self.most, strict=True)
        )
        areas = (rows * width, width * inner, rows * inner, rows * width * inner)
        columns: list[Array] = [np.log2(v) for v in (rows, width, inner, *areas)]
        columns.append(np.log(self.physical(rows, width, inner)))
        for high, wide in INPUT_TILES:
            waves = np.ceil(rows / high) * np.ceil(width / wide) / self.sms
            columns += [np.ceil(waves) / waves, np.log2(waves)]
        columns += [(v / unit) % 1 for unit in (64, 128, 256) for v in (width, inner, rows)]
        return np.column_stack(columns)


@lru_cache(maxsize=4096)
def _correction(cost: GemmCost, n: float, k: float) -> Correction:
    """What the trees say of one (n, k), on a grid of m."""
    assert cost.trees is not None
    physical = cost.physical(ROWS, n, k)
    time = physical * np.exp(cost.trees.predict(cost.inputs(ROWS, n, k)))
    return along(ROWS, time, physical)
