"""What an iteration holds, as the sums that its time depends on."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .operators import Array, Number


@dataclass(frozen=True)
class Batch:
    """What an iteration holds, as numbers or arrays that broadcast together.

    Attributes:
        tokens: all tokens, decode and prefill.
        sequences: sequences in the batch.
        decoding: sequences that each make one token.
        context: per window (0 = full), the sum over decoding sequences of the tokens attended.
        longest: per window, the most of them in one sequence.
        prefill: tokens of prefill chunks.
        pairs: per window, (query, key) pairs of prefill chunks.
        chunk: per window, tokens of the longest prefill chunk, at most the window. A short chunk
            after a long cached context is not a long chain: kernels split its keys.
    """

    tokens: Number
    sequences: Number
    decoding: Number
    context: Mapping[int, Number]
    longest: Mapping[int, Number]
    prefill: Number = 0
    pairs: Mapping[int, Number] = field(default_factory=dict)
    chunk: Mapping[int, Number] = field(default_factory=dict)


def prefill_pairs(chunk: int, before: int, window: int = 0) -> int:
    """Causal (query, key) pairs of ``chunk`` new tokens after ``before`` cached ones.

    Each query sees itself and all before it, at most ``window`` of them (0: no limit).
    """
    if window <= 0 or before + chunk <= window:
        return chunk * before + chunk * (chunk + 1) // 2
    growing = max(0, min(chunk, window - before))
    return growing * before + growing * (growing + 1) // 2 + (chunk - growing) * window


def make_batch(
    windows: Iterable[int],
    prefill_chunks: Sequence[tuple[int, int]],
    decode_contexts: Sequence[int] | npt.NDArray[np.int64],
) -> Batch:
    """The batch of given chunks (tokens, context before) and decode contexts.

    Raises:
        InputError: a chunk without tokens, or a negative context.
    """
    if any(tokens < 1 or before < 0 for tokens, before in prefill_chunks):
        raise InputError(
            f"prefill chunks {list(prefill_chunks)}", mend="give (tokens >= 1, context >= 0)"
        )
    contexts = np.asarray(decode_contexts, dtype=np.int64)
    if contexts.size and contexts.min() < 1:
        raise InputError(
            f"decode context {contexts.min()}", mend="the token being made counts: give >= 1"
        )
    prefill = sum(tokens for tokens, _ in prefill_chunks)
    context, longest, pairs, chunk = {}, {}, {}, {}
    for window in set(windows):
        seen = np.minimum(contexts, window) if window else contexts
        context[window] = int(seen.sum())
        longest[window] = int(seen.max(initial=0))
        pairs[window] = sum(prefill_pairs(c, before, window) for c, before in prefill_chunks)
        most = max((c for c, _ in prefill_chunks), default=0)
        chunk[window] = min(most, window) if window else most
    return Batch(
        tokens=prefill + len(contexts),
        sequences=len(prefill_chunks) + len(contexts),
        decoding=len(contexts),
        context=context,
        longest=longest,
        prefill=prefill,
        pairs=pairs,
        chunk=chunk,
    )


def micro_batch(batch: Batch, pp: int) -> Batch:
    """1/pp of a batch: sums are divided, the longest sequence is not."""

    def part(value: Number) -> Array:
        return np.asarray(value, float) / pp

    return Batch(
        tokens=part(batch.tokens),
        sequences=part(batch.sequences),
        decoding=part(batch.decoding),
        context={w: part(v) for w, v in batch.context.items()},
        longest=batch.longest,
        prefill=part(batch.prefill),
        pairs={w: part(v) for w, v in batch.pairs.items()},
        chunk=batch.chunk,
    )
