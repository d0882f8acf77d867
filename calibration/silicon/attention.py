"""Attention from tables: prefill over (sequences, tokens), decode over (sequences, context)."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mltwin.models.gpu.operators import Array, Number

from .answers import EXACT, SCALED, Answers
from .interpolate import Surface, groups, surface

Shape = tuple[int, int]


class _ByHeads:
    """Surfaces by (heads, kv_heads); shapes that were not measured are scaled from the nearest."""

    def __init__(
        self, rows: pd.DataFrame, length: str, most: float, answers: Answers, name: str
    ) -> None:
        self.answers, self.name = answers, name
        self._rows = {(h, k): g for (h, k), g in groups(rows, "num_heads", "num_key_value_heads")}
        self._length, self._most = length, most
        self._surfaces: dict[Shape, Surface] = {}

    def _surface(self, shape: Shape) -> Surface:
        if shape not in self._surfaces:
            group = self._rows[shape]
            self._surfaces[shape] = surface(
                group["batch_size"], group[self._length], group["seconds"], most=self._most
            )
        return self._surfaces[shape]

    def seconds(self, batch: Array, length: Array, heads: int, kv_heads: int) -> Array:
        """Seconds of ``batch`` sequences of ``length``; the busier the heads, the larger a batch
        of the nearest shape they count for."""
        shape = (int(heads), int(kv_heads))
        if shape in self._rows:
            self.answers.add(self.name, EXACT)
            return self._surface(shape).seconds(batch, length)
        group = heads / kv_heads

        def distance(known: Shape) -> float:
            scale = abs(np.log(known[0] / heads)) + abs(np.log(known[1] / kv_heads))
            return scale + abs(np.log(known[0] / known[1] / group))

        nearest = min(sorted(self._rows), key=distance)
        self.answers.add(
            self.name,
            SCALED,
            f"{self.name}: {shape} heads and key-value heads are scaled from {nearest}",
        )
        scale = kv_heads / nearest[1] if self._most <= 1 else heads / nearest[0]
        return self._surface(nearest).seconds(batch * scale, length)


class TablePrefill:
    """Causal attention of new tokens, by head size and window.

    Chunks are mapped to fresh prompts of equal work: pairs p over t tokens are b = t / s prompts
    of s = 2 p / t - 1 tokens. Below one prompt (a chunk after a long context) time falls with b,
    but not below that of the chunk alone.

    Args:
        rows: by head size and window: columns batch_size, isl, num_heads, num_key_value_heads,
            seconds.
    """

    def __init__(self, rows: Mapping[Shape, pd.DataFrame], answers: Answers) -> None:
        self.answers = answers
        self._by_size = {
            key: _ByHeads(group, "isl", 2.0, answers, f"prefill attention {key[0]}")
            for key, group in rows.items()
        }
        self.flops = 1.0

    def seconds(
        self,
        tokens: Number,
        pairs: Number,
        longest: Number,
        heads: int,
        kv_heads: int,
        head_dim: int,
        window: int = 0,
    ) -> Array:
        """Seconds of one layer; see :class:`mltwin.models.gpu.operators.PrefillCost`."""
        tokens, pairs, longest = (np.asarray(v, float) for v in (tokens, pairs, longest))
        table, known_window = _pick(self._by_size, head_dim, window, self.answers, "prefill")
        some = tokens > 0
        mean = np.divide(pairs, tokens, out=np.ones(np.shape(pairs / np.maximum(tokens, 1))),
                         where=some)  # fmt: skip
        length = np.maximum(2 * mean - 1, 1.0)
        if window and known_window:
            # Beyond half the window the mean falls short of it by w / 2s.
            beyond = mean > window / 2
            short = np.maximum(window - mean, window / 64)
            length = np.where(beyond, window * window / (2 * short), length)
            length = np.minimum(length, np.maximum(tokens, 1.0))
        time = table.seconds(tokens / length, length, heads, kv_heads)
        alone = table.seconds(np.ones(np.shape(length)), np.minimum(length, tokens), heads,
                              kv_heads)  # fmt: skip
        return np.where(some, np.where(tokens < length, np.maximum(time, alone), time), 0.0)

    def per_pair_s(self, heads: int, head_dim: int) -> Array:
        """Seconds of one more pair, at one prompt of 8,192 tokens."""
        n = np.array([8192.0, 16384.0])
        time = self.seconds(n, n * (n + 1) / 2, n, heads, max(1, heads // 8), head_dim)
        return np.asarray((time[1] - time[0]) / np.diff(n * (n + 1) / 2)[0])


class TableDecode:
    """Attention of sequences that each make one token, by head size and window.

    Args:
        rows: by head size and window: columns batch_size, step (KV length before the token),
            num_heads, num_key_value_heads, seconds.
    """

    def __init__(self, rows: Mapping[Shape, pd.DataFrame], answers: Answers) -> None:
        self.answers = answers
        self._by_size = {
            key: _ByHeads(
                group.assign(context=group["step"] + 1),
                "context",
                1.0,
                answers,
                f"decode attention {key[0]}",
            )
            for key, group in rows.items()
        }
        self.bandwidth = 1.0

    def seconds(
        self,
        sequences: Number,
        context: Number,
        longest: Number,
        heads: int,
        kv_heads: int,
        head_dim: int,
        window: int = 0,
    ) -> Array:
        """Seconds of one layer; see :class:`mltwin.models.gpu.operators.DecodeCost`."""
        sequences, context = np.asarray(sequences, float), np.asarray(context, float)
        table, _ = _pick(self._by_size, head_dim, window, self.answers, "decode")
        mean = np.maximum(context / np.maximum(sequences, 1e-9), 1.0)
        time = table.seconds(np.maximum(sequences, 1e-3), mean, heads, kv_heads)
        return np.where(sequences > 0, time, 0.0)


def _pick(
    tables: Mapping[Shape, _ByHeads], head_dim: int, window: int, answers: Answers, what: str
) -> tuple[_ByHeads, int]:
    """The table of the nearest head size, of the window if measured, else of full attention."""
    sizes = sorted({size for size, _ in tables})
    size = min(sizes, key=lambda known: abs(np.log(known / head_dim)))
    if size != head_dim:
        answers.add(f"{what} attention {size}", SCALED, f"{what}: head size {head_dim} as {size}")
    if (size, window) in tables:
        return tables[(size, window)], window
    return tables[(size, 0)], 0
