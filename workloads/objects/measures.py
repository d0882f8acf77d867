"""What `ObjectTrace.describe` says."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .table import OPS, ObjectTrace

_LEAST_REQUESTS = 5
_BINS_PER_DECADE = 10


def describe(trace: ObjectTrace) -> dict[str, Any]:
    """Summary of an object trace.

    `one_hit_share` is the share of objects that are asked for once (one-hit wonders); `size_bytes`
    is over requests, `object_bytes` over objects (each at its greatest size); `zipf_alpha` see
    `zipf_slope`; `best_hit_ratio` is that of an unbounded cache from a cold start, writes counted
    as requests.
    """
    counts = trace.counts[trace.counts > 0]
    alpha, fit = zipf_slope(counts)
    return {
        "name": trace.name,
        "requests": trace.requests,
        "objects": trace.unique,
        "footprint_bytes": None if trace.size_bytes is None else trace.footprint_bytes,
        "one_hit_share": float((counts == 1).mean()) if counts.size else None,
        "best_hit_ratio": 1.0 - trace.unique / trace.requests if trace.requests else None,
        "requests_per_object": _spread(counts),
        "zipf_alpha": alpha,
        "zipf_r2": fit,
        "size_bytes": None if trace.size_bytes is None else _spread(trace.size_bytes),
        "object_bytes": _object_bytes(trace),
        "span_s": trace.span_s if trace.arrival is not None else None,
        "tenants": len(trace.tenants),
        "operations": _operations(trace),
        "expiring": 0 if trace.ttl_ns is None else int(np.count_nonzero(trace.ttl_ns)),
        "sha256": trace.sha256,
    }


def zipf_slope(counts: NDArray[np.int64]) -> tuple[float | None, float | None]:
    """(alpha, R**2) of requests ~ rank**-alpha, by least squares of the logarithms.

    Objects asked for at least 5 times are ranked by their requests; ranks are put into bins of
    equal width in log rank (10 a decade), so that the many rare objects do not outweigh the few
    popular ones, and each bin gives one point, the means of log rank and log requests. None where
    fewer than 3 bins are filled.
    """
    ranked = np.sort(counts[counts >= _LEAST_REQUESTS])[::-1]
    rank = np.log10(np.arange(1, ranked.size + 1))
    places = np.floor(rank * _BINS_PER_DECADE).astype(np.int64)
    filled = np.bincount(places) if places.size else places
    kept = filled > 0
    if np.count_nonzero(kept) < 3:
        return None, None
    x = (np.bincount(places, rank) / np.maximum(filled, 1))[kept]
    y = (np.bincount(places, np.log10(ranked)) / np.maximum(filled, 1))[kept]
    dx, dy = x - x.mean(), y - y.mean()
    if np.ptp(y) < 1e-9:  # all asked for alike, as in a loop
        return 0.0, None
    slope = float((dx * dy).sum() / (dx * dx).sum())
    return -slope, float((dx * dy).sum() ** 2 / ((dx * dx).sum() * (dy * dy).sum()))


def _object_bytes(trace: ObjectTrace) -> dict[str, float] | None:
    if trace.size_bytes is None:
        return None
    greatest = np.zeros(trace.objects, np.int64)
    np.maximum.at(greatest, trace.ids, trace.size_bytes)
    return _spread(greatest[trace.counts > 0])


def _operations(trace: ObjectTrace) -> dict[str, int]:
    if trace.op is None:
        return {OPS[0]: trace.requests}
    found = np.bincount(trace.op, minlength=len(OPS))
    return {name: int(found[i]) for i, name in enumerate(OPS) if found[i]}


def _spread(values: NDArray[Any]) -> dict[str, float]:
    if not values.size:
        return {}
    p50, p90, p99 = np.percentile(values, [50, 90, 99])
    return {
        "mean": float(values.mean()),
        "p50": float(p50),
        "p90": float(p90),
        "p99": float(p99),
        "min": float(values.min()),
        "max": float(values.max()),
    }
