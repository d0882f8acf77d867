"""The routed experts of a mixture-of-experts layer."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .arrays import Array, Number
from .smooth import Correction, along
from .trees import Trees

TOKENS = 2.0 ** (np.arange(0, 73) / 4)
"""1 to 262,144 by factors of the fourth root of two."""


@dataclass(frozen=True)
class MoeCost:
    """The routed experts of one layer on one GPU (gate-up, activation, down, fused).

        t = overhead + expert_s A + row_s rows h + (compute^p + memory^p)^(1/p)

    m tokens choose T of E experts. Of the E/q that one of q ranks holds, A = E/q (1 - (1 -
    T/E)^(skew m)) are read, each padded to ``block`` rows; rows = m T/q are computed, times
    ``imbalance`` where q > 1 (the busiest rank decides). compute = 6 (rows + A block/2) h M /
    flops, memory = A 3 h M weight_bytes / bandwidth. ``row_s`` is for each routed row and column
    of h (gather, scatter).
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
    imbalance: float = 1.0
    trees: Trees | None = None

    def seconds(
        self,
        tokens: Number,
        hidden: Number,
        width: Number,
        experts: Number,
        chosen: Number,
        weight_bytes: float | None = None,
        ep: int = 1,
    ) -> Array:
        """Seconds of one layer; of one shape, given as numbers, they never fall as m grows.

        Args:
            tokens: m.
            hidden, width: h and the expert's intermediate size on this GPU.
            experts, chosen: E and T.
            weight_bytes: of one weight, when stored otherwise than fitted.
            ep: ranks over which the experts are spread; ``tokens`` are those of all of them.
        """
        shape = (hidden, width, experts, chosen)
        time = self.physical(tokens, *shape, weight_bytes, ep)
        if self.trees is None:
            return time
        if all(np.ndim(v) == 0 for v in shape):
            key = tuple(float(v) for v in shape)
            return time * _correction(self, *key, ep).along(tokens)
        own = self.physical(tokens, *shape, None, ep)
        factor = self.trees.predict(self.inputs(tokens, *shape, ep, own))
        return time * np.exp(factor).reshape(np.shape(time))

    def physical(
        self,
        tokens: Number,
        hidden: Number,
        width: Number,
        experts: Number,
        chosen: Number,
        weight_bytes: float | None = None,
        ep: int = 1,
    ) -> Array:
        """Seconds without the trees."""
        m, h, w, e, t = (np.asarray(v, float) for v in (tokens, hidden, width, experts, chosen))
        read = e / ep * -np.expm1(self.skew * m * np.log1p(-np.minimum(t / e, 1 - 1e-9)))
        rows = m * t / ep * (self.imbalance if ep > 1 else 1.0)
        compute = 6 * (rows + read * self.block / 2) * h * w / self.flops
        stored = self.weight_bytes if weight_bytes is None else weight_bytes
        memory = read * 3 * h * w * stored / self.bandwidth
        top = np.maximum(compute, memory)
        ratio = np.minimum(compute, memory) / top
        time = self.overhead_s + top * (1 + ratio**self.power) ** (1 / self.power)
        return time + self.row_s * rows * h + self.expert_s * read

    @staticmethod
    def inputs(
        tokens: Number,
        hidden: Number,
        width: Number,
        experts: Number,
        chosen: Number,
        ep: Number,
        time: Array,
    ) -> Array:
        """What the trees look at, (points, 9)."""
        values = np.broadcast_arrays(tokens, hidden, width, experts, chosen, ep, time)
        m, h, w, e, t, q, s = (np.asarray(v, float).ravel() for v in values)
        m = np.maximum(m, 1.0)
        columns = [np.log2(v) for v in (m, h, w, e, t, q, m * t / e, m * t / q)]
        return np.column_stack([*columns, np.log(np.maximum(s, 1e-9))])


@lru_cache(maxsize=1024)
def _correction(
    cost: MoeCost, hidden: float, width: float, experts: float, chosen: float, ep: int
) -> Correction:
    """What the trees say of one shape, on a grid of tokens."""
    assert cost.trees is not None
    shape = (hidden, width, experts, chosen)
    physical = cost.physical(TOKENS, *shape, None, ep)
    time = physical * np.exp(cost.trees.predict(cost.inputs(TOKENS, *shape, ep, physical)))
    return along(TOKENS, time, physical)
