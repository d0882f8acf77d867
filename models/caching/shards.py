"""SHARDS: miss-ratio curves from a sample of the objects.

Waldspurger, Park, Garthwaite, Ahmad, "Efficient MRC construction with SHARDS", FAST 2015: an object
belongs to the sample if a hash of its id falls below a threshold (section 3.1), stack distances in
the sample are scaled by 1 / rate (3.2), and the difference between the expected and the actual
number of sampled requests is added to the shortest distance (SHARDS-adj, 3.4), since a few very
popular objects in or out of the sample shift the whole curve.

Its error is measured here, not bounded: `replicates` disjoint samples give a curve each, and their
spread the standard error of the mean.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import SELECTION, uniforms

from .stack_distance import StackDistances


class Sampled(NamedTuple):
    """A sampled curve: LRU's miss ratio at each capacity, and its standard error.

    miss_ratio, error: float64 per capacity; the error is NaN for one replicate.
    requests: sampled requests, of all replicates.
    """

    miss_ratio: NDArray[np.float64]
    error: NDArray[np.float64]
    requests: int


def sampled_miss_ratio(
    ids: NDArray[np.uint32],
    objects: int,
    capacities: NDArray[np.int64],
    *,
    rate: float = 0.01,
    replicates: int = 4,
    seed: int = 0,
) -> Sampled:
    """LRU's miss ratio at some capacities (objects), from samples.

    Args:
        ids: uint32 per request, below `objects`.
        capacities: objects, int64.
        rate: share of the objects in one replicate; all replicates together at most 1.
        replicates: disjoint samples.
        seed: of the hash.

    Raises:
        InputError: a rate outside of (0, 1], more than all objects asked for, or an empty sample.
    """
    if not 0 < rate <= 1 or replicates < 1 or rate * replicates > 1 + 1e-12:
        raise InputError(
            f"{replicates} samples of a share of {rate} each",
            where="sample",
            mend="give a rate above 0 and replicates * rate of at most 1",
        )
    drawn = uniforms(seed, SELECTION, np.arange(objects))
    curves, sampled = [], 0
    for k in range(replicates):
        chosen = (drawn >= k * rate) & (drawn < (k + 1) * rate)
        curve, n = _curve(ids, chosen, capacities, rate)
        curves.append(curve)
        sampled += n
    if sampled == 0:
        raise InputError(
            f"no object is in a sample of {rate}", where="sample", mend="raise the rate"
        )
    table = np.array(curves)
    error = (
        table.std(axis=0, ddof=1) / np.sqrt(replicates)
        if replicates > 1
        else np.full(len(capacities), np.nan)
    )
    return Sampled(table.mean(axis=0), error, sampled)


def _curve(
    ids: NDArray[np.uint32], chosen: NDArray[np.bool_], capacities: NDArray[np.int64], rate: float
) -> tuple[NDArray[np.float64], int]:
    """The curve of one sample, and its requests."""
    place = np.cumsum(chosen, dtype=np.int64) - 1
    kept = ids[chosen[ids]]
    distances = StackDistances(max(1, int(chosen.sum())))
    distances.add(place[kept].astype(np.uint32))
    hits = np.cumsum(distances.histogram).astype(np.float64)
    expected = len(ids) * rate
    hits[1:] += expected - len(kept)  # SHARDS-adj
    steps = np.minimum((np.asarray(capacities) * rate).astype(np.int64), len(hits) - 1)
    return np.clip(1 - hits[steps] / expected, 0, 1), len(kept)
