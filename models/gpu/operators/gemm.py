"""Matrix multiplications."""

from dataclasses import dataclass

import numpy as np

from .arrays import Array, Number
from .residual import Residual

# Output tiles that the libraries choose among (CUTLASS and cuBLAS offer about these).
TILES = ((64, 64), (64, 128), (64, 256), (128, 64), (128, 128), (128, 256), (256, 64), (256, 128))
SPLITS = (1, 2, 4, 8)


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
