"""How long a step takes on fewer nodes than the job wants: the global batch stays the same."""

import numpy as np

from mltwin.sim.errors import InputError


def step_ticks(step: int, nodes: int, fixed_share: float = 0.0) -> np.ndarray:
    """Ticks of an undisturbed step on 0 ... nodes nodes: int64[nodes + 1].

    step * (fixed + (1 - fixed) * nodes / n): what is left of the batch is spread evenly over the
    n that are there (ElasWave, arXiv 2510.00606: micro-batches are resharded, the global batch
    stays), and a share of the step, such as a collective of constant length, does not shrink with
    more nodes. Row 0 is never used.

    Raises InputError for a share outside 0 ... 1.
    """
    if not 0 <= fixed_share <= 1:
        raise InputError(f"a fixed share of {fixed_share}", mend="give one of 0 to 1")
    there = np.maximum(np.arange(nodes + 1), 1)
    ticks = np.rint(step * (fixed_share + (1 - fixed_share) * (nodes / there)))
    return np.maximum(ticks.astype(np.int64), 1)
