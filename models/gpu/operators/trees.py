"""Boosted regression trees as flat arrays: a learned correction that needs no library to read.

The arrays are stored as base64 text of zlib-packed little-endian numbers, so that a profile stays
small and parses fast. A tree's nodes stand one after another, the root first; the children of a
node are neighbours.
"""

import base64
import zlib
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from .arrays import Array

LEAF = 255
SCALE = 10_000.0
BLOCK = 512


@dataclass(frozen=True)
class Trees:
    """A sum of regression trees (Friedman, "Greedy function approximation", 2001).

    Attributes:
        features: how many inputs.
        roots: int32, index of each tree's first node.
        feature: uint8, input that a node looks at; 255 in a leaf.
        threshold: float32; not larger goes left.
        left: int32, index of the left child; the right one is next to it.
        value: int16, a leaf's part of the sum, in units of 1e-4.
        offset: what the sum starts from.
    """

    features: int
    roots: str
    feature: str
    threshold: str
    left: str
    value: str
    offset: float

    @cached_property
    def _arrays(self) -> tuple[npt.NDArray[np.generic], ...]:
        kinds = ("<i4", "u1", "<f4", "<i4", "<i2")
        texts = (self.roots, self.feature, self.threshold, self.left, self.value)
        return tuple(
            np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=kind)
            for text, kind in zip(texts, kinds, strict=True)
        )

    def predict(self, inputs: Array) -> Array:
        """The sum at each point.

        Args:
            inputs: (points, features).
        """
        roots, feature, threshold, left, value = self._arrays
        x = np.ascontiguousarray(inputs, np.float32)
        if x.shape[1] != self.features:
            raise ValueError(f"{x.shape[1]} inputs, trained on {self.features}")
        total = np.empty(len(x))
        for start in range(0, len(x), BLOCK):
            block = x[start : start + BLOCK]
            # All trees of all points go down one level at a time.
            node = np.tile(roots, len(block))
            owner = np.repeat(np.arange(len(block)), len(roots))
            going = np.flatnonzero(feature[node] != LEAF)
            while len(going):
                here = node[going]
                right = block[owner[going], feature[here]] > threshold[here]
                node[going] = left[here] + right
                going = going[feature[node[going]] != LEAF]
            leaves = value[node].reshape(len(block), len(roots))
            total[start : start + BLOCK] = leaves.sum(axis=1, dtype=np.int64)
        return self.offset + total / SCALE


def encode(
    features: int,
    roots: npt.ArrayLike,
    feature: npt.ArrayLike,
    threshold: npt.ArrayLike,
    left: npt.ArrayLike,
    value: npt.ArrayLike,
    offset: float,
) -> Trees:
    """Trees from arrays; values are rounded to 1e-4 and clipped to what int16 holds."""

    def text(values: npt.ArrayLike, kind: str) -> str:
        packed = zlib.compress(np.ascontiguousarray(values, dtype=kind).tobytes(), 9)
        return base64.b64encode(packed).decode("ascii")

    rounded = np.clip(np.rint(np.asarray(value, float) * SCALE), -32768, 32767)
    return Trees(
        features=features,
        roots=text(roots, "<i4"),
        feature=text(feature, "u1"),
        threshold=text(threshold, "<f4"),
        left=text(left, "<i4"),
        value=text(rounded, "<i2"),
        offset=float(f"{offset:.6g}"),
    )
