"""Iteration time as small integer tables that a compiled kernel can read.

    t = a + b tok + (c + d tok) ctx + e nseq + f work      [ticks]

with (a, b, c, d) of the cell that (tok, ctx) falls in. Integers make replay bit-exact, and time
is linear in the context sum within a cell, so a kernel may skip identical iterations in closed
form.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

LAST_KNOT = 2**60
MAX_CONTEXT_SUM = 2**31

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class IterationTable:
    """Time of one iteration over (tok, ctx, nseq, work).

    Attributes:
        token_row: int32[max_tokens + 1], the row of each token count.
        context_knots: int64[columns + 1], first 0, last 2**60; column j holds ctx from knot j up
            to but without knot j + 1.
        cells: int64[rows * columns, 4] of (a, b, c, d), row major.
        per_sequence: e, ticks a sequence of the batch.
        per_work: f, ticks a unit of prefill work (a query-key pair).
        prefill_row, prefill_per_sequence: token_row and e of iterations that hold prompt tokens;
            None where they are timed as pure decode is.

    tok counts all tokens of the iteration, decode and prefill; ctx is the sum over decoding
    requests of their KV length with the token being made; nseq the sequences of the batch; work
    the sum over prefill chunks of chunk * kv_before + chunk * (chunk + 1) // 2.
    """

    token_row: npt.NDArray[np.int32]
    context_knots: Ints
    cells: Ints
    per_sequence: int
    per_work: int
    prefill_row: npt.NDArray[np.int32] | None = None
    prefill_per_sequence: int = 0

    def __post_init__(self) -> None:
        _check(self)

    @property
    def max_tokens(self) -> int:
        return len(self.token_row) - 1

    @property
    def columns(self) -> int:
        return len(self.context_knots) - 1

    @property
    def rows(self) -> int:
        return len(self.cells) // self.columns

    def evaluate(
        self,
        tok: npt.ArrayLike,
        ctx: npt.ArrayLike,
        nseq: npt.ArrayLike = 0,
        work: npt.ArrayLike = 0,
        prefill: npt.ArrayLike = False,
    ) -> Ints:
        """Ticks of iterations, element by element, all in int64.

        ``prefill``: whether they hold prompt tokens (work > 0 says so as well).

        Raises:
            ValueError: tok outside 0..max_tokens or a negative argument.
        """
        tok, ctx, nseq, work = np.broadcast_arrays(
            *(np.asarray(v, dtype=np.int64) for v in (tok, ctx, nseq, work))
        )
        if any(np.any(v < 0) for v in (tok, ctx, nseq, work)) or np.any(tok > self.max_tokens):
            raise ValueError(f"tok must be 0..{self.max_tokens}, the others not negative")
        row: npt.NDArray[np.int64] = self.token_row[tok]
        each: npt.NDArray[np.int64] = np.asarray(self.per_sequence, np.int64)
        if self.prefill_row is not None:
            some = np.broadcast_to(np.asarray(prefill, bool) | (work > 0), tok.shape)
            row = np.where(some, self.prefill_row[tok], row)
            each = np.where(some, self.prefill_per_sequence, self.per_sequence)
        column = np.searchsorted(self.context_knots, ctx, side="right") - 1
        a, b, c, d = np.moveaxis(self.cells[row * self.columns + column], -1, 0)
        return a + b * tok + (c + d * tok) * ctx + each * nseq + self.per_work * work

    def to_dict(self) -> dict[str, Any]:
        table = {
            "kind": "cells",
            "token_row": self.token_row.tolist(),
            "context_knots": self.context_knots.tolist(),
            "cells": self.cells.tolist(),
            "per_sequence": self.per_sequence,
            "per_work": self.per_work,
        }
        if self.prefill_row is not None:
            table["prefill_row"] = self.prefill_row.tolist()
            table["prefill_per_sequence"] = self.prefill_per_sequence
        return table


def linear_table(
    max_tokens: int,
    *,
    constant_s: float,
    per_token_s: float = 0.0,
    per_context_s: float = 0.0,
    per_sequence_s: float = 0.0,
    per_work_s: float = 0.0,
) -> IterationTable:
    """time = constant + per_token tok + per_context ctx + per_sequence nseq + per_work work."""
    cells = [ticks(float(v)) for v in (constant_s, per_token_s, per_context_s)] + [0]
    return IterationTable(
        token_row=np.zeros(max_tokens + 1, np.int32),
        context_knots=np.array([0, LAST_KNOT], np.int64),
        cells=np.array([cells], np.int64),
        per_sequence=ticks(float(per_sequence_s)),
        per_work=ticks(float(per_work_s)),
    )


def table_from_dict(data: dict[str, Any], *, where: str | None = None) -> IterationTable:
    """The inverse of :meth:`IterationTable.to_dict`.

    Raises:
        InputError: a part is missing or malformed.
    """
    try:
        return IterationTable(
            token_row=np.asarray(data["token_row"], dtype=np.int32),
            context_knots=np.asarray(data["context_knots"], dtype=np.int64),
            cells=np.asarray(data["cells"], dtype=np.int64).reshape(-1, 4),
            per_sequence=int(data["per_sequence"]),
            per_work=int(data["per_work"]),
            prefill_row=(
                np.asarray(data["prefill_row"], dtype=np.int32) if "prefill_row" in data else None
            ),
            prefill_per_sequence=int(data.get("prefill_per_sequence", 0)),
        )
    except KeyError as error:
        raise InputError(f"iteration table lacks {error}", where=where) from None
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"malformed iteration table ({error})", where=where) from None


def save_table(table: IterationTable, path: str | Path) -> None:
    """Writes the table as JSON."""
    Path(path).write_text(json.dumps(table.to_dict()) + "\n", encoding="utf-8")


def _check(table: IterationTable) -> None:
    """Raises InputError where a kernel that trusts the table could misbehave."""
    knots, row = table.context_knots, table.token_row
    if row.ndim != 1 or len(row) < 2 or row.dtype != np.int32:
        raise InputError("token_row must be int32 of max_tokens + 1 >= 2 entries")
    if knots.ndim != 1 or len(knots) < 2 or knots[0] != 0 or knots[-1] != LAST_KNOT:
        raise InputError("context_knots must run from 0 to 2**60")
    if np.any(np.diff(knots) <= 0):
        raise InputError("context_knots must increase")
    if table.cells.ndim != 2 or table.cells.shape[1] != 4 or len(table.cells) % table.columns:
        raise InputError("cells must be (rows * columns, 4)")
    rows = [row] if table.prefill_row is None else [row, table.prefill_row]
    for some in rows:
        if some.shape != row.shape or some.dtype != np.int32:
            raise InputError("prefill_row must be int32, as long as token_row")
        if some.min() < 0 or some.max() >= table.rows:
            raise InputError(f"token_row must name rows 0..{table.rows - 1}")
    _check_range(table, row, table.per_sequence)
    if table.prefill_row is not None:
        _check_range(table, table.prefill_row, table.prefill_per_sequence)


def _in_range(
    table: IterationTable,
    rows: npt.NDArray[np.int32],
    starts: Ints,
    ends: Ints,
    per_sequence: int,
    largest_fixed: int,
) -> bool:
    """Whether all corners are in range with room to spare, seen at once; False: look one by one."""
    cells = table.cells.reshape(-1, table.columns, 4)[rows]
    a, b, c, d = (cells[:, None, None, :, k] for k in range(4))
    low, last = table.context_knots[:-1], table.context_knots[1:] - 1
    high = np.maximum(low, np.minimum(last, MAX_CONTEXT_SUM))
    ctx = np.stack((low, high))[None, None]
    tok = np.maximum(np.stack((starts, ends), axis=1), 1)[:, :, None, None]
    width = [abs(v.astype(np.float64)) for v in (a, b, c, d)]
    largest = width[0] + width[1] * tok + (width[2] + width[3] * tok) * ctx.astype(np.float64)
    if largest.max() + float(largest_fixed) >= 2.0**62:
        return False
    sequences = np.ones_like(tok) if per_sequence >= 0 else tok
    time = a + b * tok + (c + d * tok) * ctx + per_sequence * sequences
    return bool(np.all((time >= 1) | (low > MAX_CONTEXT_SUM)))


def _check_range(
    table: IterationTable, token_row: npt.NDArray[np.int32], per_sequence: int
) -> None:
    """At least one tick for every batch of a sequence or more, and no int64 overflow.

    A cell is linear in ctx for each tok and linear in tok for each ctx, so its corners bound it.
    """
    if table.per_work < 0:
        raise InputError(f"per_work is {table.per_work}", mend="it must not be negative")
    largest_fixed = table.max_tokens * abs(per_sequence) + abs(table.per_work) * (
        table.max_tokens * MAX_CONTEXT_SUM
    )
    changes = np.flatnonzero(np.diff(token_row)) + 1
    starts = np.concatenate(([0], changes))
    ends = np.concatenate((changes - 1, [table.max_tokens]))
    if _in_range(table, token_row[starts], starts, ends, per_sequence, largest_fixed):
        return
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        row = int(token_row[start])
        for column in range(table.columns):
            a, b, c, d = (int(v) for v in table.cells[row * table.columns + column])
            low = int(table.context_knots[column])
            high = min(int(table.context_knots[column + 1]) - 1, MAX_CONTEXT_SUM)
            for tok in (max(start, 1), max(end, 1)):
                for ctx in (low, max(low, high)):
                    largest = abs(a) + abs(b) * tok + (abs(c) + abs(d) * tok) * ctx
                    if largest + largest_fixed >= 2**63:
                        raise InputError(f"iteration time overflows at tok={tok}, ctx={ctx}")
                    sequences = 1 if per_sequence >= 0 else tok
                    time = a + b * tok + (c + d * tok) * ctx + per_sequence * sequences
                    if time < 1 and low <= MAX_CONTEXT_SUM:
                        raise InputError(
                            f"iteration time is {time} ticks at tok={tok}, ctx={ctx}",
                            mend="every iteration must take at least one tick",
                        )
