"""How much is lost between the composed model and its integer tables."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mltwin.sim.ticks import ticks

from .batch import make_batch, prefill_pairs
from .table import Ints, IterationTable

if TYPE_CHECKING:
    from .iteration import IterationModel


@dataclass(frozen=True)
class LoweringError:
    """|table - composed| / composed over random batches: of pure decode and of mixed ones."""

    batches: int
    p50: float
    p95: float
    max: float
    decode_p95: float
    mixed_p95: float

    def __str__(self) -> str:
        return (
            f"lowering error over {self.batches} batches: p50 {self.p50:.2%}, p95 {self.p95:.2%}, "
            f"max {self.max:.2%} (decode p95 {self.decode_p95:.2%}, mixed p95 {self.mixed_p95:.2%})"
        )


def lowering_error(
    model: "IterationModel",
    table: IterationTable,
    batches: int = 400,
    seed: int = 1,
    max_decode: int = 256,
    max_context: int = 8192,
) -> LoweringError:
    """Compares the table with the composed model on random batches.

    Half are pure decode (sequences log-uniform, contexts log-normal around 1000 tokens), half
    hold one to four prefill chunks, every third of them after cached context.
    """
    errors = lowering_errors(model, table, batches, seed, max_decode, max_context)
    mixed = np.arange(batches) % 2 == 1
    p50, p95 = np.quantile(errors, [0.5, 0.95])
    return LoweringError(
        batches=batches,
        p50=float(p50),
        p95=float(p95),
        max=float(errors.max()),
        decode_p95=float(np.quantile(errors[~mixed], 0.95)),
        mixed_p95=float(np.quantile(errors[mixed], 0.95)),
    )


def lowering_errors(
    model: "IterationModel",
    table: IterationTable,
    batches: int = 400,
    seed: int = 1,
    max_decode: int = 256,
    max_context: int = 8192,
) -> npt.NDArray[np.float64]:
    """float64[batches]: absolute relative error of each random batch; the odd ones are mixed."""
    errors = np.empty(batches)
    mixed = np.arange(batches) % 2 == 1
    for index in range(batches):
        draw = _Draw(seed, index, table.max_tokens, max_decode, max_context)
        chunks, contexts = draw.mixed() if mixed[index] else ([], draw.decodes(table.max_tokens))
        batch = make_batch((0,), chunks, contexts)
        work = sum(prefill_pairs(chunk, before) for chunk, before in chunks)
        lowered = int(
            table.evaluate(batch.tokens, batch.context[0], batch.sequences, work, bool(chunks))
        )
        exact = ticks(model.seconds(chunks, contexts))
        errors[index] = abs(lowered - exact) / exact
    return errors


class _Draw:
    """The random numbers of one batch: keyed, so a batch does not depend on those before it."""

    def __init__(
        self, seed: int, index: int, max_tokens: int, max_decode: int, max_context: int
    ) -> None:
        self.seed, self.index, self.used = seed, index, 0
        self.max_tokens, self.max_decode, self.max_context = max_tokens, max_decode, max_context

    def uniform(self, count: int = 1) -> np.ndarray:
        """The next ``count`` numbers in [0, 1)."""
        from mltwin.sim.rng import LENGTHS, uniforms

        first, self.used = self.used, self.used + count
        return uniforms(self.seed, LENGTHS, np.arange(first, first + count), self.index)

    def normal(self, count: int = 1) -> np.ndarray:
        """The next ``count`` standard normal numbers."""
        from mltwin.sim.rng import LENGTHS, normals

        first, self.used = self.used, self.used + count
        return normals(self.seed, LENGTHS, np.arange(first, first + count), self.index)

    def between(self, low: float, high: float) -> int:
        """An integer, log-uniform in [low, high]."""
        return int(np.exp(np.log(low) + float(self.uniform()[0]) * np.log((high + 1) / low)))

    def decodes(self, most: int) -> Ints:
        """Contexts of at most ``most`` sequences."""
        most = min(self.max_decode, most)
        sequences = min(self.between(1, most), most) if most > 0 else 0
        centre = np.log(min(1000, self.max_context)) + 0.5 * float(self.normal()[0])
        contexts = np.exp(centre + 0.8 * self.normal(sequences))
        return np.clip(contexts, 1, self.max_context).astype(np.int64)

    def mixed(self) -> tuple[list[tuple[int, int]], Ints]:
        """Prefill chunks (tokens, context before) and the decodes beside them, every fifth time
        none."""
        contexts = self.decodes(self.max_tokens - 1)
        if self.uniform()[0] < 0.2:
            contexts = contexts[:0]
        budget = self.max_tokens - len(contexts)
        total = min(self.between(min(64, budget), budget), budget)
        parts = min(self.between(1, 4), total)
        cuts = np.unique(1 + (self.uniform(parts - 1) * (total - 1)).astype(np.int64))
        sizes = np.diff(np.concatenate(([0], cuts, [total])))
        cached = (self.uniform(len(sizes)) * self.max_context).astype(np.int64)
        cached[self.uniform(len(sizes)) > 1 / 3] = 0
        return list(zip(sizes.tolist(), cached.tolist(), strict=True)), contexts
