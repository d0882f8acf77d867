"""From the composed model to integer tables, and how much is lost on the way.

The table knows of a batch only (tok, ctx, nseq, work). Two regimes fill it:

- up to ``max_decode`` tokens, rows are exact for pure decode of tok sequences of equal context,
  unless that were less than 64 tokens each: then ctx / 64 decode and the rest is prefill;
- above, there must be prefill: the decodes beside it are taken as ctx / 1024 sequences (at most
  ``max_decode``), and ``e`` corrects for the true number.

Rows are knots of tokens, columns powers of two of ctx; between knots time is interpolated such
that it never falls as tokens are added. Layers with a window of up to 2048 tokens put their
prefill attention into the cost per token (each new token sees a full window), wider ones into
the cost per pair (as if they had none).
"""

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

from .batch import Batch
from .table import LAST_KNOT, MAX_CONTEXT_SUM, Ints, IterationTable

if TYPE_CHECKING:
    from .iteration import IterationModel

TYPICAL_CONTEXT = 1024
SHORTEST_CONTEXT = 128
FIRST_CONTEXT_KNOT = 2**10
NARROW_WINDOW = 2048
Floats = npt.NDArray[np.float64]


def lower(
    model: "IterationModel",
    max_tokens: int,
    max_context: int,
    max_decode: int = 256,
    tolerance: float = 0.005,
) -> IterationTable:
    """Integer tables of ``model`` for iterations of 1..max_tokens tokens.

    Args:
        max_tokens: most tokens of an iteration (the engine's batched-token budget).
        max_context: longest KV length of one request; places the knots of ctx.
        max_decode: most sequences that decode together.
        tolerance: largest relative error of the piecewise-linear token axis.

    Raises:
        InputError: sizes below 1.
    """
    if min(max_tokens, max_context, max_decode) < 1:
        raise InputError(
            f"max_tokens {max_tokens}, max_context {max_context}, max_decode {max_decode}",
            mend="each must be 1 or more",
        )
    max_decode = min(max_decode, max_tokens)
    contexts = _context_knots(max_decode * max_context)
    per_sequence_s = _per_sequence(model, max_decode)
    points = _token_points(max_tokens, max_decode, model.pp)
    # One column past the last knot gives the slope of the open-ended last cell.
    columns = np.append(contexts, 2 * contexts[-1])
    grid = _grid(model, points, columns, max_decode, per_sequence_s)
    chosen = _choose_rows(points, grid, tolerance)
    cells = _cells(points[chosen], grid[chosen], columns)
    rows = len(chosen) - 1
    token_row = np.searchsorted(points[chosen][:rows], np.arange(max_tokens + 1), side="right") - 1
    return IterationTable(
        token_row=np.maximum(token_row, 0).astype(np.int32),
        context_knots=np.append(contexts, LAST_KNOT).astype(np.int64),
        cells=cells,
        per_sequence=ticks(per_sequence_s),
        per_work=ticks(_per_work(model)),
    )


def _context_knots(largest: int) -> Ints:
    """0 and powers of two up to the largest context sum."""
    knots = [0, FIRST_CONTEXT_KNOT]
    while 2 * knots[-1] < min(largest, MAX_CONTEXT_SUM // 2):
        knots.append(2 * knots[-1])
    return np.array(knots, dtype=np.int64)


def _token_points(max_tokens: int, max_decode: int, pp: int) -> Ints:
    """Token counts to look at: all small ones, then both sides of every tile boundary.

    The last point is max_tokens + 1, where the last row ends.
    """
    step = 64 * pp
    dense = np.arange(1, min(max(512, max_decode + 1), max_tokens) + 1)
    tiles = np.arange(step, max_tokens, step)
    points = np.concatenate((dense, tiles, tiles + 1, [max_tokens, max_tokens + 1]))
    return np.unique(points).astype(np.int64)


def _grid(
    model: "IterationModel", points: Ints, columns: Ints, max_decode: int, per_sequence_s: float
) -> Ints:
    """Ticks at (token point, context knot) without e nseq and f work, never falling along either
    axis.

    What is not decoding is one fresh prefill chunk.
    """
    tok = points.astype(float)[:, None]
    ctx = columns.astype(float)[None, :]
    pure = tok <= max_decode
    decoding = np.where(
        pure,
        np.minimum(tok, ctx / SHORTEST_CONTEXT),
        np.clip(ctx / TYPICAL_CONTEXT, 0.0, max_decode),
    )
    prefill = np.maximum(tok - decoding, 0.0)
    context, longest, pairs, chunk = {}, {}, {}, {}
    fresh = prefill * (prefill + 1) / 2
    for window in {0, *model.window_layers}:
        seen = np.minimum(ctx, decoding * window) if window else ctx
        context[window] = seen
        # Only kernels that do not split a sequence care; a longer one would make few long
        # sequences slower than many short ones, which a table over (tok, ctx) cannot hold.
        longest[window] = np.minimum(seen / np.maximum(decoding, 1.0), TYPICAL_CONTEXT)
        pairs[window] = prefill * window if 0 < window <= NARROW_WINDOW else fresh
        chunk[window] = np.minimum(prefill, window) if window else prefill
    batch = Batch(tok, decoding, decoding, context, longest, prefill, pairs, chunk)
    time = model.batch_seconds(batch) - per_sequence_s * decoding - _per_work(model) * fresh
    grid = ticks(np.maximum(time, 0.0)) + 1
    return np.maximum.accumulate(np.maximum.accumulate(grid, axis=0), axis=1)


def _per_sequence(model: "IterationModel", max_decode: int) -> float:
    """Seconds that one more sequence adds at equal tokens and context sum.

    The secant between 16 sequences and ``max_decode`` in a mixed batch; it holds the host's
    share, the head's rows, the attention's work items and narrow windows.
    """
    low, high = (1.0, 2.0) if max_decode < 32 else (16.0, float(max_decode))
    ctx = high * TYPICAL_CONTEXT

    def time(sequences: float) -> float:
        context, longest = {}, {}
        for window in {0, *model.window_layers}:
            narrow = 0 < window < TYPICAL_CONTEXT
            context[window] = sequences * window if narrow else ctx
            longest[window] = TYPICAL_CONTEXT
        batch = Batch(4096.0, sequences, sequences, context, longest)
        return float(model.batch_seconds(batch))

    return max(0.0, (time(high) - time(low)) / (high - low))


def _per_work(model: "IterationModel") -> float:
    """Seconds of one (query, key) pair over all layers that are not narrow."""
    layers = sum(n for w, n in model.window_layers.items() if not 0 < w <= NARROW_WINDOW)
    return layers * model.pair_seconds() / model.pp


def _choose_rows(points: Ints, grid: Ints, tolerance: float) -> npt.NDArray[np.intp]:
    """Indices of the fewest points (greedily) whose chords stay within the tolerance.

    Chords are judged at a low, a middle and a high context. The last index is always taken.
    """
    width = grid.shape[1]
    judged = grid[:, [0, width // 2, width - 2]].astype(float)
    chosen, here, last = [0], 0, len(points) - 1
    while here < last:
        there = here + 1
        for candidate in range(here + 2, last + 1):
            inner = slice(here + 1, candidate)
            share = (points[inner] - points[here]) / (points[candidate] - points[here])
            chord = judged[here] + share[:, None] * (judged[candidate] - judged[here])
            if np.any(np.abs(chord - judged[inner]) > tolerance * judged[inner]):
                # A later chord may fit again by chance, but the fewest rows are not worth it.
                break
            there = candidate
        chosen.append(there)
        here = there
    return np.array(chosen, dtype=np.intp)


def _cells(knots: Ints, grid: Ints, columns: Ints) -> Ints:
    """(a, b, c, d) of every cell from the values at its corners, all integer.

    In a cell that starts at (T, C) with value g, slopes s = dt/dctx at its first and last token
    and d = their difference per token if that grows (0 if not); b is the largest slope in tok
    that overshoots neither corner of the next row. So time never falls as tokens are added.
    """
    rows, cols = len(knots) - 1, len(columns) - 1
    cells = np.zeros((rows, cols, 4), dtype=np.int64)
    span = np.diff(columns)
    slope = np.diff(grid, axis=1) // span
    # Beyond the last knot the slope must not fall from row to row.
    slope[:, -1] = np.maximum.accumulate(slope[:, -1])
    for i in range(rows):
        width = int(knots[i + 1] - knots[i])
        rise = grid[i + 1] - grid[i]
        if width == 1:
            b, d = np.zeros(cols, np.int64), np.zeros(cols, np.int64)
        else:
            d = np.maximum(slope[i + 1] - slope[i], 0) // width
            b = np.minimum(rise[:-1], rise[1:] - d * width * span) // width
            # Rounding may leave less than nothing: give up the twist of that cell.
            d = np.where(b < 0, 0, d)
            b = np.maximum(np.where(d > 0, b, np.minimum(rise[:-1], rise[1:]) // width), 0)
        start, first = int(knots[i]), columns[:-1]
        a = grid[i, :-1] - b * start - slope[i] * first + d * start * first
        cells[i] = np.stack((a, b - d * first, slope[i] - d * start, d), axis=-1)
    return cells.reshape(-1, 4)
