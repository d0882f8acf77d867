"""What the processor and the sampler add to an iteration, as far as tables tell.

Measured: the sampler against the sequences of a batch, and how long kernels take that are
launched one by one, against the kernels alone. Not in any table: scheduling, detokenising and
the network, per iteration and per sequence (:class:`mltwin.models.gpu.profile.Host` says so).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mltwin.calibration.read import held_out
from mltwin.models.gpu.operators import Array, Number
from mltwin.sim.errors import InputError

from .robust import FitError, fit_error, robust_fit

_LOGIT_BYTES = 4
SHORT_KERNEL_S = 1e-5


@dataclass(frozen=True)
class SamplerCost:
    """Sampling on the GPU, one row of logits a sequence.

        t = (base^p + (passes x 4 bytes x vocabulary x sequences / bandwidth)^p)^(1/p)

    ``passes`` counts how often a float32 logit is read or written in memory beyond L2.
    """

    base_s: float
    passes: float
    power: float
    bandwidth: float

    def seconds(self, sequences: Number, vocabulary: Number) -> Array:
        """Seconds for a batch."""
        size = _LOGIT_BYTES * np.asarray(vocabulary, float) * np.asarray(sequences, float)
        stream = self.passes * size / self.bandwidth
        return np.asarray((self.base_s**self.power + stream**self.power) ** (1 / self.power))


def fit_sampler(rows: pd.DataFrame, *, bandwidth: float) -> tuple[SamplerCost, FitError]:
    """The sampler of one GPU; numbers of sequences are held out.

    Args:
        rows: sequences, vocabulary, seconds.
        bandwidth: of the GPU's data sheet, bytes a second.

    Raises:
        InputError: fewer than 8 rows.
    """
    if len(rows) < 8:
        raise InputError(f"{len(rows)} timings of the sampler", mend="give at least 8")
    measured = rows["seconds"].to_numpy(float)
    sizes = [rows[name].to_numpy(float) for name in ("sequences", "vocabulary")]
    held = held_out(rows["sequences"])
    bounds = {"base_s": (1e-6, 2e-5, 1e-3), "passes": (0.1, 2.0, 20.0), "power": (1.0, 2.0, 8.0)}

    def times(p: dict[str, float]) -> Array:
        return SamplerCost(**p, bandwidth=bandwidth).seconds(*(v[~held] for v in sizes))

    cost = SamplerCost(**robust_fit(times, measured[~held], bounds), bandwidth=bandwidth)
    return cost, fit_error(cost.seconds(*sizes), measured, held)


def launch_times(
    launched: pd.DataFrame, kernels: pd.DataFrame, keys: Sequence[str] = ("tokens", "tp")
) -> pd.DataFrame:
    """How long small operators take when each is launched from Python.

    Where the kernel itself takes less than 10 us the processor is what one waits for.

    Args:
        launched: operator, the keys, seconds between events (with launches).
        kernels: the same, of the kernels alone.
        keys: which point is which.

    Returns:
        Columns operator, points, launched_s (median), kernel_s (median), gap_s (median of the
        differences), gap_low_s and gap_high_s (5th and 95th percentile), sorted by operator.

    Raises:
        InputError: the tables share no point with a small kernel.
    """
    by = ["operator", *keys]
    both = pd.merge(
        launched.groupby(by, as_index=False)["seconds"].median(),
        kernels.groupby(by, as_index=False)["seconds"].median(),
        on=by,
        suffixes=("", "_kernel"),
    )
    both = both[both["seconds_kernel"] < SHORT_KERNEL_S]
    if both.empty:
        raise InputError("no operator with a small kernel in both tables")
    both["gap"] = both["seconds"] - both["seconds_kernel"]
    rows = [
        (
            str(operator),
            len(some),
            some["seconds"].median(),
            some["seconds_kernel"].median(),
            *(float(some["gap"].quantile(q)) for q in (0.5, 0.05, 0.95)),
        )
        for operator, some in both.groupby("operator", sort=True)
    ]
    names = ["operator", "points", "launched_s", "kernel_s", "gap_s", "gap_low_s", "gap_high_s"]
    return pd.DataFrame(rows, columns=names)
