"""Multi-head latent attention from tables, by heads on one GPU."""

import numpy as np
import pandas as pd

from mltwin.models.gpu.operators import Array, Number

from .answers import EXACT, INTERPOLATED, Answers
from .interpolate import Surface, groups, surface


class _ByHeadCount:
    """Surfaces by number of heads, interpolated between numbers that were measured."""

    def __init__(
        self, rows: pd.DataFrame, length: str, most: float, answers: Answers, name: str
    ) -> None:
        self.answers, self.name = answers, name
        self._rows = {h: g for (h,), g in groups(rows, "num_heads")}
        self._length, self._most = length, most
        self._surfaces: dict[int, Surface] = {}

    def _surface(self, heads: int) -> Surface:
        if heads not in self._surfaces:
            group = self._rows[heads]
            self._surfaces[heads] = surface(
                group["batch_size"], group[self._length], group["seconds"], most=self._most
            )
        return self._surfaces[heads]

    def seconds(self, batch: Array, length: Array, heads: int) -> Array:
        if heads in self._rows:
            self.answers.add(self.name, EXACT)
            return self._surface(heads).seconds(batch, length)
        known = sorted(self._rows)
        above = next((h for h in known if h > heads), known[-1])
        below = next((h for h in reversed(known) if h < heads), known[0])
        self.answers.add(self.name, INTERPOLATED)
        low, high = (self._surface(h).seconds(batch, length) for h in (below, above))
        if above == below:
            return low * max(1.0, heads / below)
        share = (heads - below) / (above - below)
        return low + share * (high - low)


class TableMlaDecode:
    """Decode attention over the latent; the absorbed projections are GEMMs of the model."""

    def __init__(self, rows: pd.DataFrame, answers: Answers) -> None:
        rows = rows.assign(context=rows["step"] + 1)
        self._table = _ByHeadCount(rows, "context", 1.0, answers, "MLA decode")

    def seconds(self, sequences: Number, context: Number, longest: Number, heads: int) -> Array:
        """Seconds of one layer for ``sequences`` with ``context`` tokens in all."""
        sequences, context = np.asarray(sequences, float), np.asarray(context, float)
        mean = np.maximum(context / np.maximum(sequences, 1e-9), 1.0)
        time = self._table.seconds(np.maximum(sequences, 1e-3), mean, int(heads))
        return np.where(sequences > 0, time, 0.0)


class TableMlaPrefill:
    """Prefill attention with widened keys and values; see
    :class:`mltwin.calibration.silicon.attention.TablePrefill` for chunks."""

    def __init__(self, rows: pd.DataFrame, answers: Answers) -> None:
        self._table = _ByHeadCount(rows, "isl", 2.0, answers, "MLA prefill")

    def seconds(self, tokens: Number, pairs: Number, longest: Number, heads: int) -> Array:
        """Seconds of one layer."""
        tokens, pairs = np.asarray(tokens, float), np.asarray(pairs, float)
        some = tokens > 0
        mean = np.divide(pairs, tokens, out=np.ones(np.shape(pairs / np.maximum(tokens, 1))),
                         where=some)  # fmt: skip
        length = np.maximum(2 * mean - 1, 1.0)
        time = self._table.seconds(tokens / length, length, int(heads))
        one = np.ones(np.shape(length))
        alone = self._table.seconds(one, np.minimum(length, np.maximum(tokens, 1)), int(heads))
        return np.where(some, np.where(tokens < length, np.maximum(time, alone), time), 0.0)

    def per_pair_s(self, heads: int) -> Array:
        """Seconds of one more pair, at one prompt of 8,192 tokens."""
        n = np.array([8192.0, 16384.0])
        time = self.seconds(n, n * (n + 1) / 2, n, heads)
        return np.asarray((time[1] - time[0]) / np.diff(n * (n + 1) / 2)[0])
