"""Kernels that only move bytes."""

from dataclasses import dataclass

import numpy as np

from .arrays import Array, Number


@dataclass(frozen=True)
class ElementwiseCost:
    """Norms, activations, rotary embedding, cache writes: t = kernel_s + bytes/bandwidth."""

    kernel_s: float
    bandwidth: float
    per_layer: int = 5
    """Such kernels in a layer: engines fuse them to different degrees."""

    def seconds(self, kernels: float, size_bytes: Number) -> Array:
        return kernels * self.kernel_s + np.asarray(size_bytes, float) / self.bandwidth
