"""Iteration times that the user brings along, in place of a GPU profile.

One JSON object with ``"format": "mltwin-user-timing-1"``, a ``kind`` and, optionally,
``kv_blocks`` (an integer) and ``name``:

- ``linear``: ``constant_s``, ``per_token_s``, ``per_context_s``, ``per_sequence_s``,
  ``per_work_s`` (all but the first default to 0);
- ``cells``: a table as :func:`mltwin.models.gpu.table.save_table` writes it;
- ``distserve``: coefficients in milliseconds as DistServe (OSDI 2024, appendix A) fits them, and
  ``phase``. Prefill: ``prefill`` [a, b, c], t = a + b sum(l) + c sum(l^2). Decode:
  ``decoding_smallbs`` and ``decoding_largebs`` [a, b, c], t = a + b sum(context) + c batch, large
  from ``decoding_large_small_bs_threshold`` requests on;
- ``splitwise``: points in milliseconds as Splitwise (ISCA 2024, section V) interpolates them, and
  ``phase``: ``points`` [[tokens, ms], ...] for ``prefill``, [[batch, ms], ...] for ``decode``;
- ``phases``: ``prefill`` and ``decode``, each an object of one of the kinds above: iterations that
  hold prompt tokens are timed by the first, all others by the second.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import seconds, ticks

from .iteration import make_batch, prefill_pairs
from .table import LAST_KNOT, IterationTable, linear_table, table_from_dict

FORMAT = "mltwin-user-timing-1"
_LINEAR = ("constant_s", "per_token_s", "per_context_s", "per_sequence_s", "per_work_s")
_FIELDS = {
    "linear": set(_LINEAR),
    "cells": {
        *("token_row", "context_knots", "cells", "per_sequence", "per_work"),
        *("prefill_row", "prefill_per_sequence"),
    },
    "distserve": {
        "phase",
        "prefill",
        "decoding_smallbs",
        "decoding_largebs",
        "decoding_large_small_bs_threshold",
    },
    "splitwise": {"phase", "points"},
    "phases": {"prefill", "decode"},
}


@dataclass(frozen=True)
class UserTable:
    """User-given timings behind the interface of ``IterationModel``.

    They hold the whole iteration: nothing of it is told apart as the host's (``host_s``,
    ``sequence_s``).
    """

    name: str
    data: Mapping[str, Any]
    where: str | None = None

    linear_in_context = True
    host_s = 0.0
    sequence_s = 0.0
    notes: tuple[str, ...] = ()

    def lower(
        self, max_tokens: int, max_context: int, max_decode: int = 256, tolerance: float = 0.005
    ) -> IterationTable:
        """The table for iterations of up to ``max_tokens``; the other arguments change nothing.

        Raises:
            InputError: a field is missing or wrong, or a given table is too small.
        """
        if max_tokens < 1:
            raise InputError(f"max_tokens {max_tokens}", where=self.where, mend="give 1 or more")
        try:
            return self._table(max_tokens)
        except InputError as error:
            raise InputError(
                error.message, where=error.where or self.where, mend=error.mend
            ) from None

    def _table(self, max_tokens: int) -> IterationTable:
        kind = self.data["kind"]
        if kind == "linear":
            values = {name: self._number(name, 0.0) for name in _LINEAR}
            return linear_table(max_tokens, **values)
        if kind == "cells":
            table = table_from_dict(dict(self.data), where=self.where)
            if table.max_tokens < max_tokens:
                raise InputError(
                    f"the table ends at {table.max_tokens} tokens and {max_tokens} are asked for",
                    mend="lower the engine's token budget or extend 'token_row'",
                )
            return table
        if kind == "distserve":
            return self._distserve(max_tokens)
        if kind == "phases":
            return _joined(*(self._part(name)._table(max_tokens) for name in ("prefill", "decode")))
        return self._splitwise(max_tokens)

    def seconds(
        self,
        prefill_chunks: Sequence[tuple[int, int]] = (),
        decode_contexts: Sequence[int] | npt.NDArray[np.int64] = (),
    ) -> float:
        """Seconds of one iteration, read from the table."""
        batch = make_batch((0,), prefill_chunks, decode_contexts)
        tokens = int(batch.tokens)
        table = self.lower(tokens, 1)
        work = sum(prefill_pairs(chunk, before) for chunk, before in prefill_chunks)
        some = bool(prefill_chunks)
        return seconds(int(table.evaluate(tokens, batch.context[0], batch.sequences, work, some)))

    def kv_blocks(
        self,
        block_tokens: int = 16,
        gpu_memory_utilization: float = 0.9,
        activation_bytes: float | None = None,
    ) -> int:
        """The number given as ``kv_blocks``.

        Raises:
            InputError: none was given; timings alone do not say how much memory there is.
        """
        blocks = self.data.get("kv_blocks")
        if not isinstance(blocks, int) or isinstance(blocks, bool) or blocks < 1:
            raise InputError(
                f"'kv_blocks' is {blocks!r}", where=self.where, mend="give the number of KV blocks"
            )
        return blocks

    def power_w(self) -> dict[str, float | None]:
        """Unknown."""
        return {"prefill": None, "decode": None, "idle": None, "tdp": None}

    def _number(self, name: str, default: float | None = None) -> float:
        value = self.data.get(name, default)
        good = isinstance(value, int | float) and not isinstance(value, bool)
        if value is None or not good or not np.isfinite(value):
            raise InputError(f"field {name!r} is {value!r}", mend="give a finite number")
        return float(value)

    def _numbers(self, name: str, count: int) -> list[float]:
        values = self.data.get(name)
        if not isinstance(values, list) or len(values) != count:
            raise InputError(f"field {name!r} is {values!r}", mend=f"give {count} numbers")
        for value in values:
            if not isinstance(value, int | float) or not np.isfinite(value):
                raise InputError(f"field {name!r} holds {value!r}", mend="give finite numbers")
        return [float(value) for value in values]

    def _part(self, name: str) -> "UserTable":
        data = self.data.get(name)
        if not isinstance(data, Mapping):
            raise InputError(f"field {name!r} is {data!r}", mend="give timings of one phase")
        return UserTable(self.name, _checked(data, self.where, parts=False), self.where)

    def _phase(self) -> str:
        phase = self.data.get("phase")
        if phase not in ("prefill", "decode"):
            raise InputError(f"field 'phase' is {phase!r}", mend="give 'prefill' or 'decode'")
        return phase

    def _distserve(self, max_tokens: int) -> IterationTable:
        if self._phase() == "prefill":
            a, b, c = (v * 1e-3 for v in self._numbers("prefill", 3))
            # work = l (l + 1) / 2, so c l^2 = 2c work - c l.
            return linear_table(max_tokens, constant_s=a, per_token_s=b - c, per_work_s=2 * c)
        threshold = int(self._number("decoding_large_small_bs_threshold"))
        cells = []
        for name in ("decoding_smallbs", "decoding_largebs"):
            a, b, c = (ticks(v * 1e-3) for v in self._numbers(name, 3))
            cells.append([a, c, b, 0])
        row = (np.arange(max_tokens + 1) >= threshold).astype(np.int32)
        return IterationTable(row, _one_column(), np.array(cells, np.int64), 0, 0)

    def _splitwise(self, max_tokens: int) -> IterationTable:
        self._phase()
        points = self.data.get("points")
        if not isinstance(points, list) or not points:
            raise InputError("field 'points' is missing", mend="give [[tokens, ms], ...]")
        pairs = [self._pair(point) for point in points]
        knots = np.array([int(x) for x, _ in pairs], np.int64)
        times = np.array([ticks(y * 1e-3) for _, y in pairs], np.int64)
        if np.any(np.diff(knots) <= 0):
            raise InputError("'points' must increase", mend="sort them by their first number")
        # Constant before the first point, the last slope after the last one.
        slopes = np.diff(times) // np.maximum(np.diff(knots), 1)
        slopes = np.concatenate(([0], slopes, slopes[-1:] if len(slopes) else [0]))
        starts = np.concatenate((knots[:1], knots))
        values = np.concatenate((times[:1], times))
        a = values - slopes * starts
        zero = np.zeros_like(a)
        row = np.searchsorted(knots, np.arange(max_tokens + 1), side="right").astype(np.int32)
        return IterationTable(row, _one_column(), np.stack((a, slopes, zero, zero), 1), 0, 0)

    def _pair(self, point: Any) -> tuple[float, float]:
        if isinstance(point, list) and len(point) == 2:
            x, y = point
            numbers = all(isinstance(v, int | float) and np.isfinite(v) for v in point)
            if numbers and x >= 1 and y > 0:
                return float(x), float(y)
        raise InputError(f"'points' holds {point!r}", mend="give [count >= 1, ms > 0]")


def load_user_table(source: str | Path | Mapping[str, Any]) -> UserTable:
    """User timings from a JSON file or a dict.

    Raises:
        InputError: not such an object, an unknown kind or field.
    """
    where, name = None, "user timings"
    if isinstance(source, Mapping):
        data: Any = source
    else:
        where, name = str(source), Path(source).stem
        try:
            data = json.loads(Path(source).read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"cannot read ({error.strerror})", where=where) from None
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"not JSON ({error})", where=where) from None
    if not isinstance(data, Mapping) or data.get("format") != FORMAT:
        raise InputError("not user timings", where=where, mend=f"'format' must be {FORMAT!r}")
    table = UserTable(str(data.get("name", name)), _checked(data, where), where)
    table.lower(1, 1)
    return table


def _checked(
    data: Mapping[str, Any], where: str | None, *, parts: bool = True
) -> Mapping[str, Any]:
    """The object, of a known kind and without unknown fields.

    Raises:
        InputError: it is not.
    """
    known = sorted(kind for kind in _FIELDS if parts or kind != "phases")
    kind = data.get("kind")
    if kind not in known:
        raise InputError(f"kind {kind!r}", where=where, mend=f"use one of {known}")
    unknown = sorted(set(data) - _FIELDS[kind] - {"format", "kind", "name", "kv_blocks"})
    if unknown:
        raise InputError(
            f"unknown field {unknown[0]!r}", where=where, mend=f"known are {sorted(_FIELDS[kind])}"
        )
    return data


def _joined(prefill: IterationTable, decode: IterationTable) -> IterationTable:
    """One table that times iterations with prompt tokens by the first, all others by the second."""
    knots = np.union1d(prefill.context_knots, decode.context_knots)
    cells = []
    for table in (decode, prefill):
        column = np.searchsorted(table.context_knots, knots[:-1], side="right") - 1
        by_row = table.cells.reshape(table.rows, table.columns, 4)
        cells.append(by_row[:, column].reshape(-1, 4))
    shortest = min(prefill.max_tokens, decode.max_tokens) + 1
    return IterationTable(
        token_row=decode.token_row[:shortest],
        context_knots=knots,
        cells=np.concatenate(cells),
        per_sequence=decode.per_sequence,
        per_work=prefill.per_work,
        prefill_row=prefill.token_row[:shortest] + np.int32(decode.rows),
        prefill_per_sequence=prefill.per_sequence,
    )


def _one_column() -> npt.NDArray[np.int64]:
    return np.array([0, LAST_KNOT], np.int64)
