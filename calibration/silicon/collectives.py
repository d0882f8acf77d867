"""Collectives from tables: log-log in the size of the message."""

import numpy as np
import pandas as pd

from mltwin.models.gpu.operators import Array, Number

from .interpolate import curve

WIDTHS = {"half": 2, "float16": 2, "bfloat16": 2, "int8": 1, "fp8": 1, "float32": 4}


class TableCollective:
    """One collective over a number of GPUs.

    Args:
        rows: columns message_size (elements), seconds, and the element's format in ``dtype``.
        scale: the time counts for so much (1), where it stands for another number of GPUs.
    """

    def __init__(self, rows: pd.DataFrame, dtype: str, scale: float = 1.0) -> None:
        size = rows["message_size"].to_numpy(float) * rows[dtype].map(WIDTHS).to_numpy(float)
        self._curve = curve(size, rows["seconds"].to_numpy(float) * scale, least=0.5)

    def seconds(self, size_bytes: Number) -> Array:
        """Seconds for a message of ``size_bytes``."""
        return self._curve.seconds(np.maximum(np.asarray(size_bytes, float), 1.0))


class TableExchange:
    """Dispatch and combine of tokens between expert ranks, from DeepEP-like tables.

    Args:
        low: columns num_token, seconds (dispatch + combine) of the low-latency kernels, or None.
        normal: likewise of the throughput kernels, or None.
        hidden, chosen: the model those were measured with.
        switch: tokens a rank from which the throughput kernels are used.
    """

    def __init__(
        self,
        low: pd.DataFrame | None,
        normal: pd.DataFrame | None,
        hidden: int,
        chosen: int,
        switch: int = 256,
    ) -> None:
        self.hidden, self.chosen, self.switch = hidden, chosen, switch
        self._low = None if low is None else curve(low["num_token"], low["seconds"], least=0.5)
        self._normal = (
            None if normal is None else curve(normal["num_token"], normal["seconds"], least=0.5)
        )

    def seconds(self, tokens: Number, hidden: int, chosen: int, experts: int, group: int) -> Array:
        """Seconds of one layer's dispatch and combine, ``tokens`` a rank; other sizes count as
        more or fewer tokens."""
        tokens = np.asarray(tokens, float) * hidden * chosen / (self.hidden * self.chosen)
        if self._low is None or self._normal is None:
            only = self._low or self._normal
            assert only is not None
            return only.seconds(tokens)
        # A serving engine decodes with the one and prefills with the other; what holds both
        # kinds of token goes the prefill's way.
        return np.where(
            tokens <= self.switch,
            self._low.seconds(tokens),
            np.maximum(self._normal.seconds(tokens), self._low.seconds(np.array(1.0))),
        )
