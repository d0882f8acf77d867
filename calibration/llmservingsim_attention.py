"""LLMServingSim's attention tables: decodes, prefill chunks, and both in one call."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
# Added to lengths before their logarithm is taken, so that 0 has one.
_OFFSET = 16.0
_NEIGHBOURS = 6
# Pairs cost the same from this chunk on: smaller ones do not fill the GPU.
_LARGE_CHUNK = 256


@dataclass(frozen=True, eq=False)
class AttentionTable:
    """Seconds of one layer's attention, interpolated.

    Decodes alone are linear in their number and length between measured points, prefill chunks
    alone are a power law, and a call that holds both takes the measured ratio to their sum,
    interpolated over the logarithms of all four sizes (points that were not measured: inverse
    distance weights of the nearest). Lengths beyond the largest measured cost in proportion.

    Attributes:
        decode: (decodes, length, seconds[decodes, length]).
        prefill: (chunk, length before, log seconds[chunk, before]).
        ratio: (four axes, ratio on their grid), None where no call holds both.
        pair_s: seconds of one more (query, key) pair of a large prefill chunk.
        alone: (decodes, excess) of decodes of unequal length over equal ones; None: not measured.
        beside: (chunks, decodes, excess[chunks, decodes]) of calls that hold a chunk as well.
    """

    decode: tuple[Floats, Floats, Floats]
    prefill: tuple[Floats, Floats, Floats]
    ratio: tuple[list[Floats], Floats] | None
    pair_s: float
    alone: tuple[Floats, Floats] | None = None
    beside: tuple[Floats, Floats, Floats] | None = None

    @classmethod
    def of(cls, frame: Any, skew: Any = None) -> "AttentionTable":
        """From the frames of :func:`mltwin.calibration.read.llmservingsim.read_mixed_attention`
        and ``read_skew``."""
        names = ["prefill_tokens", "prefill_context", "decodes", "decode_context", "seconds"]
        rows = frame[names].to_numpy(float)
        chunk, number = rows[:, 0] > 0, rows[:, 2] > 0
        decode = _grid(rows[~chunk & number][:, [2, 3, 4]])
        where, before, seconds = _grid(rows[chunk & ~number][:, [0, 1, 4]])
        prefill = (where, before, np.log(seconds))
        made = cls(decode, prefill, None, _pair_seconds(where, before, seconds))
        mixed = rows[chunk & number]
        return replace(
            made,
            ratio=made._ratios(mixed) if len(mixed) else None,
            alone=None if skew is None else _excess_alone(skew),
            beside=None if skew is None else _excess_beside(skew),
        )

    def seconds(
        self,
        chunk: npt.ArrayLike,
        before: npt.ArrayLike,
        number: npt.ArrayLike,
        length: npt.ArrayLike,
        *,
        skewed: bool = True,
    ) -> Floats:
        """Seconds of calls with one prefill chunk after ``before`` tokens and ``number`` decodes
        of mean ``length``; ``skewed``: of unequal length, as far as that was measured."""
        given = (chunk, before, number, length)
        c, b, n, v = np.broadcast_arrays(*(np.asarray(x, float) for x in given))
        decode = np.where(n > 0, self.decode_seconds(np.maximum(n, 1.0), v), 0.0)
        # Fewer than one decode occurs only between the knots of a table.
        decode = decode * np.minimum(n, 1.0)
        prefill = np.where(c > 0, self.prefill_seconds(np.maximum(c, 1.0), b), 0.0)
        both = (c > 0) & (n > 0)
        time = decode + prefill
        if self.ratio is not None and both.any():
            share = np.where(both, self._ratio_at(c, b, np.maximum(n, 1.0), v), 1.0)
            # One call is never shorter than the longer of its parts alone.
            time = np.maximum(share * time, np.maximum(decode, prefill))
        if skewed and self.alone is not None:
            where, excess = self.alone
            time = time * np.where(both, 1.0, 1.0 + np.where(c > 0, 0.0, _along(where, n, excess)))
        if skewed and self.beside is not None and both.any():
            time = time * np.where(both, 1.0 + self._beside_at(c, n), 1.0)
        return np.asarray(time)

    def _beside_at(self, chunk: Floats, number: Floats) -> Floats:
        assert self.beside is not None
        chunks, decodes, excess = self.beside
        axes = (np.log2(chunks), np.log2(decodes), excess)
        x = np.log2(np.clip(chunk, chunks[0], chunks[-1]))
        y = np.log2(np.clip(number, decodes[0], decodes[-1]))
        return _bilinear(axes, x, y, beyond=False)

    def decode_seconds(self, number: Floats, length: Floats) -> Floats:
        """Seconds of decodes alone."""
        return _bilinear(self.decode, number, length)

    def prefill_seconds(self, chunk: Floats, before: Floats) -> Floats:
        """Seconds of one prefill chunk alone."""
        where, lengths, values = self.prefill
        axes = (np.log2(where + _OFFSET), np.log2(lengths + _OFFSET), values)
        inside = _bilinear(axes, np.log2(chunk + _OFFSET), np.log2(before + _OFFSET), beyond=False)
        return np.asarray(
            np.exp(inside)
            * np.maximum(chunk / where[-1], 1.0) ** 2
            * np.maximum((before + chunk) / (lengths[-1] + chunk), 1.0)
        )

    def _ratios(self, rows: Floats) -> tuple[list[Floats], Floats]:
        from scipy.spatial import cKDTree

        alone = self.decode_seconds(rows[:, 2], rows[:, 3])
        alone = alone + self.prefill_seconds(rows[:, 0], rows[:, 1])
        places = _logs(*rows[:, :4].T)
        axes = [np.unique(column) for column in places.T]
        grid = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 4)
        distance, nearest = cKDTree(places).query(grid, k=min(_NEIGHBOURS, len(rows)))
        distance, nearest = distance.reshape(len(grid), -1), nearest.reshape(len(grid), -1)
        weights = 1.0 / np.maximum(distance, 1e-6) ** 2
        values = np.sum(weights * (rows[:, 4] / alone)[nearest], axis=1) / weights.sum(axis=1)
        return axes, values.reshape([len(axis) for axis in axes])

    def _ratio_at(self, chunk: Floats, before: Floats, number: Floats, length: Floats) -> Floats:
        from scipy.interpolate import RegularGridInterpolator

        assert self.ratio is not None
        axes, values = self.ratio
        # An axis with one value says nothing of the way along it.
        wide = [i for i, axis in enumerate(axes) if len(axis) > 1]
        places = _logs(*(x.ravel() for x in (chunk, before, number, length)))
        places = np.stack([np.clip(places[:, i], axes[i][0], axes[i][-1]) for i in wide], axis=1)
        shape = [len(axes[i]) for i in wide]
        found = RegularGridInterpolator([axes[i] for i in wide], values.reshape(shape))(places)
        return np.asarray(found).reshape(chunk.shape)


def _logs(chunk: Floats, before: Floats, number: Floats, length: Floats) -> Floats:
    columns = (np.maximum(chunk, 1.0), before + _OFFSET, np.maximum(number, 1.0), length + _OFFSET)
    return np.log2(np.stack(columns, axis=-1))


def _grid(rows: Floats) -> tuple[Floats, Floats, Floats]:
    """(first axis, second axis, seconds) of rows (first, second, seconds).

    Points that did not fit the GPU lie at the end of the second axis: they cost in proportion to
    it. Others that are missing are interpolated along it.
    """
    first, second = np.unique(rows[:, 0]), np.unique(rows[:, 1])
    values = np.full((len(first), len(second)), np.nan)
    values[np.searchsorted(first, rows[:, 0]), np.searchsorted(second, rows[:, 1])] = rows[:, 2]
    for line in values:
        known = np.flatnonzero(np.isfinite(line))
        line[:] = np.interp(second, second[known], line[known])
        last = known[-1]
        line[last + 1 :] = line[last] * second[last + 1 :] / max(second[last], 1.0)
    return first, second, values


def _bilinear(
    table: tuple[Floats, Floats, Floats], x: Floats, y: Floats, *, beyond: bool = True
) -> Floats:
    """Linear along both axes; beyond their ends in proportion, or the last value."""
    first, second, values = table
    i, s = _place(first, x)
    j, t = _place(second, y)
    i2, j2 = np.minimum(i + 1, len(first) - 1), np.minimum(j + 1, len(second) - 1)
    low = values[i, j] * (1 - t) + values[i, j2] * t
    high = values[i2, j] * (1 - t) + values[i2, j2] * t
    found = low * (1 - s) + high * s
    if beyond:
        found = found * np.maximum(x / first[-1], 1.0) * np.maximum(y / second[-1], 1.0)
    return np.asarray(found)


def _place(axis: Floats, x: Floats) -> tuple[npt.NDArray[np.intp], Floats]:
    where = np.interp(x, axis, np.arange(len(axis)))
    low = np.minimum(where.astype(np.intp), max(len(axis) - 2, 0))
    return low, np.asarray(where - low)


def _pair_seconds(chunks: Floats, before: Floats, seconds: Floats) -> float:
    """Median over large chunks of what each pair with the tokens before them adds."""
    large = chunks >= min(_LARGE_CHUNK, chunks[-1])
    if len(before) < 2:
        return float(np.median(seconds[large, 0] / (chunks[large] * (chunks[large] + 1) / 2)))
    far = len(before) - 1
    added = seconds[large, far] - seconds[large, 0]
    return max(0.0, float(np.median(added / (chunks[large] * (before[far] - before[0])))))


def _along(where: Floats, at: Floats, values: Floats) -> Floats:
    """Linear over the logarithm of ``where``; the first and the last value beyond its ends."""
    return np.asarray(np.interp(np.log2(np.maximum(at, 1.0)), np.log2(where), values))


def _excess_alone(frame: Any) -> tuple[Floats, Floats] | None:
    """(decodes, relative excess over equal lengths): the median over the mixtures measured."""
    pure = frame[frame["prefill_tokens"] == 0]
    if not len(pure):
        return None
    excess = (pure["skewed_s"] / pure["mean_s"] - 1.0).groupby(pure["decodes"]).median()
    return excess.index.to_numpy(float), np.maximum(excess.to_numpy(float), 0.0)


def _excess_beside(frame: Any) -> tuple[Floats, Floats, Floats] | None:
    """(chunks, decodes, excess[chunks, decodes]) of calls with a prefill chunk: medians likewise.

    The excess is that of the whole call, whose kernel runs each decode's keys in one piece.
    """
    mixed = frame[frame["prefill_tokens"] > 0]
    if not len(mixed):
        return None
    excess = mixed["skewed_s"] / mixed["mean_s"] - 1.0
    table = excess.groupby([mixed["prefill_tokens"], mixed["decodes"]]).median().unstack()
    table = table.interpolate(axis=1, limit_direction="both")
    return (
        table.index.to_numpy(float),
        table.columns.to_numpy(float),
        np.maximum(table.to_numpy(float), 0.0),
    )
