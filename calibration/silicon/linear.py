"""Gated-delta-net layers from a table: convolution and recurrence, by value heads on one GPU."""

import numpy as np
import pandas as pd

from mltwin.models.gpu.operators import Array, Number

from .answers import EXACT, INTERPOLATED, Answers
from .interpolate import Curve, curve


class TableLinearAttention:
    """Times of the kernels of one linear layer besides its projections.

    Args:
        rows: columns kernel_source, phase, batch_size, seq_len, num_v_heads, d_model, seconds.
        hidden: the model's hidden size, whose rows are preferred.
    """

    def __init__(self, rows: pd.DataFrame, hidden: int, answers: Answers) -> None:
        self.answers = answers
        same = rows[rows["d_model"] == hidden]
        rows = same if len(same) else rows
        self._curves: dict[tuple[str, int], list[Curve]] = {}
        for (phase, heads), group in rows.groupby(["phase", "num_v_heads"]):
            parts = []
            for _, kernel in group.groupby("kernel_source"):
                tokens = kernel["batch_size"] * np.maximum(kernel["seq_len"], 1)
                if phase == "generation":
                    tokens = kernel["batch_size"]
                parts.append(curve(tokens, kernel["seconds"], least=0.5))
            self._curves[(str(phase), int(str(heads)))] = parts

    def seconds(self, tokens: Number, sequences: Number, heads: int, head_dim: int) -> Array:
        """Seconds of one layer: iterations with more tokens than sequences hold prefill, and run
        the chunked kernels over all tokens; others one step a sequence."""
        tokens, sequences = np.asarray(tokens, float), np.asarray(sequences, float)
        chunked = self._phase("context", np.maximum(tokens, 1.0), heads)
        stepped = self._phase("generation", np.maximum(sequences, 1.0), heads)
        return np.where(tokens > sequences + 0.5, np.maximum(chunked, stepped), stepped)

    def _phase(self, phase: str, size: Array, heads: int) -> Array:
        known = sorted(h for p, h in self._curves if p == phase)
        nearest = min(known, key=lambda h: abs(np.log(h / heads)))
        self.answers.add("linear attention", EXACT if nearest == heads else INTERPOLATED)
        scale = max(1.0, heads / nearest)
        time: Array = np.zeros(np.shape(size))
        for part in self._curves[(phase, nearest)]:
            time = time + part.seconds(size * scale)
        return time
