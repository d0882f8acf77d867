"""Multi-token prediction: what a decode iteration costs and how many tokens it makes.

With k draft tokens an iteration runs k + 1 tokens of each sequence and keeps the longest prefix of
the drafts that the model itself would have made, and one token more. DeepSeek-V3's technical
report (arXiv 2412.19437, section 5.4.3) has the second token right in 85 to 90 % of cases, which
would make 2.6 tokens of k = 2 and 3.2 of k = 3; served by SGLang on H200 it was 2.18 and 2.44
("Accelerating SGLang with Multiple Token Prediction", lmsys.org, 17 July 2025). What was served is
taken. TensorRT-LLM's own speed-up of 2.16 for k = 3 and one sequence ("DeepSeek R1 MTP
Implementation and Optimization") agrees with it.
"""

import math
from dataclasses import replace

import numpy as np

from mltwin.models.gpu.iteration import IterationModel
from mltwin.models.llm.precision import precision
from mltwin.models.serving.tables import IterationCells

TOKENS = {0: 1.0, 1: 1.70, 2: 2.18, 3: 2.44}
"""Mean tokens of an iteration by draft tokens; of k = 1 by the same chance p for both drafts of
k = 2, 1 + p + p^2 = 2.18."""


def emitted(drafts: int) -> float:
    """Mean tokens that an iteration with ``drafts`` draft tokens makes; beyond three, no more."""
    return TOKENS[min(drafts, max(TOKENS))]


def iterations(tokens: np.ndarray, drafts: int) -> np.ndarray:
    """Iterations that make so many output tokens, the first of which the prefill made."""
    made = np.ceil((tokens - 1) / emitted(drafts))
    return np.asarray(1 + made, np.int64) if drafts else np.asarray(tokens, np.int64)


def speculative(
    cells: IterationCells,
    drafts: int,
    read: float,
    stretch: float,
    draft_share: float,
    prompts: bool = False,
) -> IterationCells:
    """Cells of decode iterations over n sequences, from those of n (k + 1) tokens.

    With F(N, ctx) the time of N tokens without the host's part a sequence, an iteration takes
    ``(1 + draft_share) (F(N, 0) + read (F(N, stretch ctx) - F(N, 0)))`` at N = n (k + 1).

    Args:
        cells: the engine's.
        drafts: k.
        read: time of attention over a context for k + 1 queries over that for one.
        stretch: true context over the simulated one (which grows by one token an iteration).
        draft_share: what the draft passes add, as a share.
        prompts: keep the rows of iterations with prompts, in which a decoding sequence counts as
            one token (else they are timed as pure decode is).
    """
    if not drafts:
        return cells
    each = drafts + 1
    sequences = np.arange((len(cells.token_row) - 1) // each + 1)
    columns = len(cells.context_knots) - 1
    rows, index = np.unique(cells.token_row[sequences * each], return_inverse=True)
    table = cells.cells.reshape(-1, columns, 4)[rows].astype(float)
    table[:, :, :2] = (1 - read) * table[:, :1, :2] + read * table[:, :, :2]
    table[:, :, 2:] *= read * stretch
    table *= (1 + draft_share) * np.array([1.0, each, 1.0, each])
    inner = np.rint(np.asarray(cells.context_knots[:-1], float) / stretch)
    row = index.reshape(-1).astype(np.int32)
    found = replace(
        cells,
        token_row=row,
        context_knots=np.append(inner, cells.context_knots[-1]).astype(np.int64),
        cells=np.rint(table).astype(np.int64).reshape(-1, 4),
        prefill_row=row,
        prefill_per_sequence=cells.per_sequence,
    )
    return _with_prompts(found, cells, stretch) if prompts else found


def _with_prompts(found: IterationCells, cells: IterationCells, stretch: float) -> IterationCells:
    """``found`` with the rows that ``cells`` has for iterations with prompts."""
    if cells.prefill_row is None:
        raise ValueError("no rows of iterations with prompts")
    columns = len(cells.context_knots) - 1
    rows, index = np.unique(cells.prefill_row, return_inverse=True)
    table = cells.cells.reshape(-1, columns, 4)[rows].astype(float)
    table[:, :, 2:] *= stretch
    longer = len(cells.prefill_row) - len(found.token_row)
    return replace(
        found,
        token_row=np.pad(found.token_row, (0, max(0, longer)), mode="edge"),
        cells=np.concatenate((found.cells, np.rint(table).astype(np.int64).reshape(-1, 4))),
        prefill_row=(len(found.cells) // columns + index.reshape(-1)).astype(np.int32),
        prefill_per_sequence=cells.prefill_per_sequence,
    )


def context_factor(times: IterationModel, drafts: int) -> float:
    """Time of decode attention for k + 1 queries of a sequence over that for one.

    Keys and values are read once for all of them. Multi-head latent attention multiplies each by
    all query heads of the GPU, so that it can be bound by arithmetic: roofline of
    2 H (2 r + p) operations and (r + p) numbers for a token in the cache (r, p: sizes of the
    latent and of the rotary part; H: heads of the GPU).
    """
    mla, facts = times.model.mla, times.profile.facts
    if mla is None or not drafts:
        return 1.0
    heads = times.model.heads / times.tp
    kv = precision(times.kv_dtype)
    peak = facts.peak_flops.get("fp8" if times.kv_dtype == "fp8" else "bfloat16")
    read = mla.latent * kv.weight_bytes / facts.hbm_bandwidth
    compute = 2 * heads * (2 * mla.latent - mla.qk_rope_head_dim) / (peak or math.inf)
    return max(read, (drafts + 1) * compute) / max(read, compute)
