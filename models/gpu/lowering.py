"""From the composed model to integer tables, and how much is lost on the way.

The table knows of a batch only (tok, ctx, nseq, work) and whether it holds prompt tokens. So there
are two regimes with rows of their own:

- pure decode: tok sequences that share ctx evenly. Nothing is guessed.
- with prefill: ctx / 1024 sequences decode (at most ``max_decode``, at least one token is of a
  prompt), the rest is one fresh chunk; ``e`` corrects for the true number of sequences, ``f`` for
  pairs beyond those of the fresh chunk.

Rows are knots of tokens, columns powers of two of ctx; between knots time is interpolated such
that it never falls as tokens are added. Layers with a window of up to 2048 tokens put their
prefill attention into the cost per token (each new token sees a full window), wider ones into
the cost per pair (as if they had none).
"""

from collections.abc import Callable
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
TYPICAL_CHUNK = 512
FIRST_CONTEXT_KNOT = 2**10
NARROW_WINDOW = 2048
SPREAD = 0.5
"""Standard deviation of the log of the contexts in a batch, taken where a window cuts some off."""
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
    # One column past the last knot gives the slope of the open-ended last cell.
    columns = np.append(contexts, 2 * contexts[-1])
    decode = _regime(
        _decode_points(max_decode),
        lambda tok: _decode_grid(model, tok, columns, max_context),
        columns,
        tolerance,
    )
    each_s = _per_sequence(model, max_decode)
    prefill = _regime(
        _token_points(max_tokens, max_decode, model.pp),
        lambda tok: _prefill_grid(model, tok, columns, max_decode, each_s),
        columns,
        tolerance,
    )
    decode_row, prefill_row = (
        np.maximum(np.searchsorted(knots, np.arange(last + 1), side="right") - 1, 0)
        for knots, last in ((decode[0], max_tokens), (prefill[0], max_tokens))
    )
    return IterationTable(
        token_row=decode_row.astype(np.int32),
        context_knots=np.append(contexts, LAST_KNOT).astype(np.int64),
        cells=np.concatenate((decode[1], prefill[1])),
        per_sequence=ticks(model.sequence_s),
        per_work=ticks(_per_work(model)),
        prefill_row=(prefill_row + len(decode[0])).astype(np.int32),
        prefill_per_sequence=ticks(each_s),
    )


def _regime(
    points: Ints, grid_of: Callable[[Ints], Ints], columns: Ints, tolerance: float
) -> tuple[Ints, Ints]:
    """(first token count of each row, cells) of one regime; the last point only ends the last
    row."""
    grid = grid_of(points)
    chosen = _choose_rows(points, grid, tolerance)
    return points[chosen][:-1], _cells(points[chosen], grid[chosen], columns)


def _decode_points(max_decode: int) -> Ints:
    """Every number of sequences to 512, then one in 64 and both sides of it."""
    dense = np.arange(1, min(512, max_decode) + 1)
    sparse = np.arange(576, max_decode, 64)
    ends = [max_decode, max_decode + 1]
    return np.unique(np.concatenate((dense, sparse, sparse + 1, ends))).astype(np.int64)


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


def _decode_grid(model: "IterationModel", points: Ints, columns: Ints, max_context: int) -> Ints:
    """Ticks of pure decode at (sequences, context knot), without the host's part a sequence."""
    tok = points.astype(float)[:, None]
    # A sequence reads at least the token it makes, and at most max_context: knots beyond (but for
    # the one that ends the cell) cannot be met, and must not decide what more sequences take.
    ctx = np.clip(columns.astype(float)[None, :], tok, 2 * tok * max_context)
    context, longest = {}, {}
    for window in {0, *model.window_layers}:
        context[window] = tok * _seen(ctx / tok, window)
        longest[window] = np.minimum(context[window] / tok, TYPICAL_CONTEXT)
    batch = Batch(tok, tok, tok, context, longest)
    return _rising(model.batch_seconds(batch) - model.sequence_s * tok, axes=(1,))


def _prefill_grid(
    model: "IterationModel", points: Ints, columns: Ints, max_decode: int, each_s: float
) -> Ints:
    """Ticks of iterations with prefill at (token point, context knot) without e nseq and f work."""
    tok = points.astype(float)[:, None]
    ctx = columns.astype(float)[None, :]
    decoding = np.clip(ctx / TYPICAL_CONTEXT, 0.0, np.minimum(max_decode, tok - 1))
    prefill = tok - decoding
    fresh = prefill * (prefill + 1) / 2
    context, longest, pairs, chunk = {}, {}, {}, {}
    for window in {0, *model.window_layers}:
        seen = decoding * _seen(ctx / np.maximum(decoding, 1e-9), window)
        context[window] = seen
        # Only kernels that do not split a sequence care; a longer one would make few long
        # sequences slower than many short ones, which a table over (tok, ctx) cannot hold.
        longest[window] = np.minimum(seen / np.maximum(decoding, 1.0), TYPICAL_CONTEXT)
        if _waits_for_longest(model):
            longest[window] = np.minimum(seen, longest[window] * _longest_share(decoding))
        pairs[window] = prefill * window if 0 < window <= NARROW_WINDOW else fresh
        chunk[window] = np.minimum(prefill, window) if window else prefill
    sequences = decoding + 1
    batch = Batch(tok, sequences, decoding, context, longest, prefill, pairs, chunk)
    return _rising(model.batch_seconds(batch) - each_s * sequences - _per_work(model) * fresh)


def _waits_for_longest(model: "IterationModel") -> bool:
    """Whether a call with prompts leaves the longest decode to one multiprocessor."""
    return getattr(getattr(model, "mixed", None), "chain_s", 0.0) > 0


def _longest_share(number: Floats) -> Floats:
    """The median of the longest of several log-normal lengths over their mean."""
    from scipy.special import ndtri

    share = 0.5 ** (1 / np.maximum(number, 1.0))
    return np.asarray(np.exp(SPREAD * ndtri(share) - SPREAD**2 / 2)).clip(1.0)


def _seen(mean: Floats, window: int) -> Floats:
    """Tokens that a sequence sees on average through a window, if lengths are log-normal around
    their mean: E min(X, w) = m Phi((ln w - mu - s^2)/s) + w Phi((mu - ln w)/s)."""
    if not window:
        return mean
    from scipy.special import ndtr

    mu = np.log(np.maximum(mean, 1e-9)) - SPREAD**2 / 2
    edge = np.log(window)
    inside = mean * ndtr((edge - mu - SPREAD**2) / SPREAD)
    return np.asarray(inside + window * ndtr((mu - edge) / SPREAD))


def _rising(time: Floats, axes: tuple[int, ...] = (0, 1)) -> Ints:
    """Whole ticks, at least one, never falling along the axes.

    Pure decode may fall along the first: of one sum of contexts, few long sequences can take
    longer than many short ones.
    """
    grid = ticks(np.maximum(time, 0.0)) + 1
    for axis in axes:
        grid = np.maximum.accumulate(grid, axis=axis)
    return np.asarray(grid)


def _per_sequence(model: "IterationModel", max_decode: int) -> float:
    """Seconds that one more sequence adds at equal tokens and context sum.

    The secant between 16 sequences and ``max_decode``; it holds the host's share, the head's rows,
    the attention's work items (beside a chunk, where that changes them) and narrow windows.
    """
    low, high = (1.0, 2.0) if max_decode < 32 else (16.0, float(max_decode))
    ctx, prefill = high * TYPICAL_CONTEXT, 0
    if _waits_for_longest(model):
        # Few contexts: what many lose by not fitting L2 belongs to the context, not to the number.
        ctx, prefill = low * TYPICAL_CONTEXT, TYPICAL_CHUNK

    def time(sequences: float) -> float:
        context, longest, pairs, chunk = {}, {}, {}, {}
        for window in {0, *model.window_layers}:
            narrow = 0 < window < TYPICAL_CONTEXT
            context[window] = sequences * window if narrow else ctx
            longest[window] = TYPICAL_CONTEXT
            pairs[window] = prefill * (prefill + 1) / 2
            chunk[window] = prefill
        batch = Batch(4096.0, sequences, sequences, context, longest, prefill, pairs, chunk)
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
    that overshoots neither corner of the next row. So time never falls as tokens are added where
    the grid does not.
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
            d = np.where((b < 0) & (rise[:-1] >= 0), 0, d)
            b = np.where(d > 0, b, np.minimum(rise[:-1], rise[1:]) // width)
        if i == rows - 1:  # the last row goes on beyond the grid, where a fall would pass zero
            b = np.maximum(b, 0)
        start, first = int(knots[i]), columns[:-1]
        a = grid[i, :-1] - b * start - slope[i] * first + d * start * first
        cells[i] = np.stack((a, b - d * first, slope[i] - d * start, d), axis=-1)
    return cells.reshape(-1, 4)
