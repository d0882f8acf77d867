"""Operators whose times are multiplied with the factor of a draw, shape by shape.

Each class has the ``seconds`` of the operator that it stands before
(:mod:`mltwin.models.gpu.operators`); all other attributes are that operator's own.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from .operators import Array, Number

FEW = 256
"""Rows up to which a GEMM (tokens up to which the experts) take the first of two factors."""
FEW_ROWS, MANY_ROWS = "few", "many"


class Factors(Protocol):
    """What gives the factor of a shape (:class:`mltwin.models.gpu.draw.Draw`)."""

    def factor(self, operator: str, *shape: Any, part: str = "", stands_in: bool = False) -> Array:
        """The factor of a shape of an operator (or of a part of its times)."""
        ...


@dataclass(frozen=True)
class Source:
    """The factors of one operator, which provenance calls ``name``."""

    factors: Factors
    name: str

    def __call__(self, *shape: Any, part: str = "", stands_in: bool = False) -> Array:
        return self.factors.factor(self.name, *shape, part=part, stands_in=stands_in)

    @property
    def head_size(self) -> float | None:
        """The head size that ends the name, as in ``decode.fp8.128``."""
        last = self.name.rpartition(".")[2]
        return float(last) if last.isdigit() else None


class _Drawn:
    """An operator and the factors of its shapes."""

    def __init__(self, cost: Any, factor: Source) -> None:
        self.cost, self.factor = cost, factor

    def __getattr__(self, name: str) -> Any:
        if name in ("cost", "factor") or name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.cost, name)


class _ByRows(_Drawn):
    """An operator with a factor for few rows and one for the time that more rows add."""

    def _scaled(
        self, rows: Number, seconds: Callable[[Number], Array], *shape: Number, stands_in: bool
    ) -> Array:
        few, many = (
            self.factor(*shape, part=part, stands_in=stands_in) for part in (FEW_ROWS, MANY_ROWS)
        )
        time = seconds(rows)
        if np.array_equal(few, many):
            return np.asarray(few * time)
        first = seconds(np.minimum(rows, FEW))
        return np.asarray(few * first + many * (time - first))


class Gemm(_ByRows):
    """A matrix multiplication; factors by (n, k), for few rows and for more."""

    def seconds(self, m: Number, n: Number, k: Number, weight_bytes: float | None = None) -> Array:
        """Seconds of one multiplication."""

        def seconds(rows: Number) -> Array:
            return np.asarray(self.cost.seconds(rows, n, k, weight_bytes))

        return self._scaled(m, seconds, n, k, stands_in=weight_bytes is not None)


class Decode(_Drawn):
    """Decode attention; factors by (heads, kv_heads, head_dim)."""

    def seconds(
        self,
        sequences: Number,
        context: Number,
        longest: Number,
        heads: Number,
        kv_heads: Number,
        head_dim: Number,
        window: int = 0,
        **options: Any,
    ) -> Array:
        """Seconds of one layer."""
        stands_in = bool(np.any(np.asarray(head_dim, float) != self.factor.head_size))
        factor = self.factor(heads, kv_heads, head_dim, stands_in=stands_in)
        shape = (heads, kv_heads, head_dim, window)
        return np.asarray(
            factor * self.cost.seconds(sequences, context, longest, *shape, **options)
        )


class Prefill(_Drawn):
    """Prefill attention; factors by (heads, head_dim), which is all that the cost of a pair
    depends on: both must have the same."""

    def _of(self, heads: Number, head_dim: Number) -> Array:
        stands_in = bool(np.any(np.asarray(head_dim, float) != self.factor.head_size))
        return self.factor(heads, head_dim, stands_in=stands_in)

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
        """Seconds of one layer."""
        one = self.cost.seconds(tokens, pairs, longest, heads, kv_heads, head_dim, window)
        return np.asarray(self._of(heads, head_dim) * one)

    def per_pair_s(self, heads: Number, head_dim: int) -> Array:
        """Seconds of one more (query, key) pair."""
        return np.asarray(self._of(heads, head_dim) * self.cost.per_pair_s(heads, head_dim))


class MlaDecode(_Drawn):
    """Decode attention over a latent; factors by heads."""

    def seconds(self, sequences: Number, context: Number, longest: Number, heads: int) -> Array:
        """Seconds of one layer."""
        one = self.cost.seconds(sequences, context, longest, heads)
        return np.asarray(self.factor(heads) * one)


class MlaPrefill(_Drawn):
    """Prefill attention with a latent widened; factors by heads."""

    def seconds(self, tokens: Number, pairs: Number, longest: Number, heads: int) -> Array:
        """Seconds of one layer."""
        return np.asarray(self.factor(heads) * self.cost.seconds(tokens, pairs, longest, heads))

    def per_pair_s(self, heads: int) -> Array:
        """Seconds of one more (query, key) pair."""
        return np.asarray(self.factor(heads) * self.cost.per_pair_s(heads))


class Moe(_ByRows):
    """Routed experts; factors by (hidden, width, experts, chosen), for few tokens and for more."""

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
        """Seconds of one layer."""
        shape = (hidden, width, experts, chosen)

        def seconds(rows: Number) -> Array:
            return np.asarray(self.cost.seconds(rows, *shape, weight_bytes, ep=ep))

        return self._scaled(tokens, seconds, *shape, stands_in=weight_bytes is not None)


class LinearAttention(_Drawn):
    """Linear attention; factors by (heads, head_dim)."""

    def seconds(self, tokens: Number, sequences: Number, heads: int, head_dim: int) -> Array:
        """Seconds of one layer."""
        one = self.cost.seconds(tokens, sequences, heads, head_dim)
        return np.asarray(self.factor(heads, head_dim) * one)


class Collective(_Drawn):
    """A collective over the number of GPUs that its name ends in: one factor for all messages."""

    def seconds(self, size_bytes: Number) -> Array:
        """Seconds of one message."""
        return np.asarray(self.factor() * self.cost.seconds(size_bytes))


class Exchange(_Drawn):
    """Dispatch and combine of tokens between ranks; factors by (hidden, chosen, experts, ranks)."""

    def seconds(self, tokens: Number, hidden: int, chosen: int, experts: int, group: int) -> Array:
        """Seconds of one layer."""
        shape = (hidden, chosen, experts, group)
        return np.asarray(self.factor(*shape) * self.cost.seconds(tokens, *shape))


class Elementwise(_Drawn):
    """Kernels that only move bytes: one factor for all."""

    def seconds(self, kernels: float, size_bytes: Number) -> Array:
        """Seconds of some kernels."""
        return np.asarray(self.factor() * self.cost.seconds(kernels, size_bytes))


class Mixed(_Drawn):
    """Prefill and decode in one call: one factor, within what such a call can take at all."""

    def seconds(self, prefill_s: Number, decode_s: Number, *others: Any, **named: Any) -> Array:
        """Seconds of both, not less than the prefill alone; where the two are known to share the
        GPU (no ``chain_s``), between the larger of the two and their sum."""
        p, d = np.asarray(prefill_s, float), np.asarray(decode_s, float)
        both, factor = self.cost.seconds(p, d, *others, **named), self.factor()
        if factor == 1.0:
            return np.asarray(both)
        if getattr(self.cost, "chain_s", 0.0):
            return np.asarray(np.maximum(factor * both, p))
        return np.clip(factor * both, np.maximum(p, d), p + d)
