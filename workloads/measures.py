"""Measures of a trace that fit a picture: rate over time, distributions, burstiness, sessions.

All are plain data of bounded size, whatever the length of the trace.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.ticks import TICKS_PER_S

from .table import Trace

MOST_BINS = 240
CDF_POINTS = 201
HEAT_CELLS = 24
_WIDTHS_S = (
    *(1e-3, 2e-3, 5e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600),
    *(900, 1800, 3600, 7200, 14_400, 43_200, 86_400),
)
_LEAST_WINDOWS = 10


def rate_over_time(trace: Trace) -> dict[str, Any]:
    """Requests and tokens a second in at most `MOST_BINS` equal bins of a round width.

    start_s: where each bin begins; rate_per_s; prompt_per_s and output_per_s: tokens; width_s.
    The last bin may be cut short by the trace's end; its rates count only what lasted.
    """
    if not len(trace):
        return {"width_s": 1.0, "start_s": [], "rate_per_s": []}
    arrived = trace.arrival - trace.arrival[0]
    span_s = float(arrived[-1]) / TICKS_PER_S
    width = next((w for w in _WIDTHS_S if span_s / w < MOST_BINS), span_s / (MOST_BINS - 1))
    ticks = round(width * TICKS_PER_S)
    bins = arrived // ticks
    count = int(bins[-1]) + 1
    lasted = np.full(count, float(width))
    if count > 1:  # a bin of which less than a tenth lasted joins the one before it
        lasted[-1] = span_s - (count - 1) * width
        if lasted[-1] < width / 10:
            bins, count = np.minimum(bins, count - 2), count - 1
            lasted = np.r_[lasted[:-2], lasted[-2] + lasted[-1]]

    def per_second(weights: NDArray[Any] | None) -> list[float]:
        return (np.bincount(bins, weights, minlength=count) / lasted).tolist()

    start = float(trace.arrival[0]) / TICKS_PER_S
    return {
        "width_s": float(width),
        "start_s": (start + np.arange(count) * float(width)).tolist(),
        "rate_per_s": per_second(None),
        "prompt_per_s": per_second(trace.prompt),
        "output_per_s": per_second(trace.output),
    }


def distribution(values: NDArray[Any]) -> dict[str, list[float]]:
    """`CDF_POINTS` quantiles, denser towards the top: share of values and the value there."""
    if not len(values):
        return {"share": [], "value": []}
    even = np.linspace(0, 1, CDF_POINTS - 20)
    top = 1 - np.geomspace(1e-4, 5e-3, 20)
    share = np.unique(np.concatenate([even, top]))
    return {"share": share.tolist(), "value": np.quantile(values, share).tolist()}


def interarrival_s(trace: Trace) -> NDArray[np.float64]:
    """Seconds between one request and the next: float64[n - 1]."""
    return np.diff(trace.arrival) / TICKS_PER_S


def dispersion(trace: Trace) -> dict[str, list[float]]:
    """Index of dispersion for counts: variance over mean of the requests in windows of a length.

    1 at every length for a Poisson stream; growing with the length for traffic that is bursty at
    many scales or whose rate drifts (Gusella, "Characterizing the variability of arrival processes
    with indexes of dispersion", IEEE JSAC 9(2), 1991). Lengths of which at least ten windows fit
    and that hold a request on average; a window that the trace's end cuts is left out.
    """
    lengths: list[float] = []
    index: list[float] = []
    if len(trace) > 1:
        arrived = trace.arrival - trace.arrival[0]
        for width in _WIDTHS_S:
            ticks = round(width * TICKS_PER_S)
            windows = int(arrived[-1] // ticks)
            if windows < _LEAST_WINDOWS:
                break
            if windows > len(trace):
                continue
            counts = np.bincount(arrived // ticks, minlength=windows)[:windows]
            lengths.append(float(width))
            index.append(float(counts.var(ddof=1) / counts.mean()))
    return {"window_s": lengths, "index": index}


def joint_lengths(trace: Trace) -> dict[str, Any]:
    """Counts of requests by prompt and output tokens, in cells of equal ratio.

    prompt_edges, output_edges: `HEAT_CELLS` + 1 each or fewer; count: rows by prompt.
    """
    if not len(trace):
        return {"prompt_edges": [], "output_edges": [], "count": []}
    edges = [_ratio_edges(values) for values in (trace.prompt, trace.output)]
    count, _, _ = np.histogram2d(trace.prompt, trace.output, bins=edges)
    return {
        "prompt_edges": edges[0].tolist(),
        "output_edges": edges[1].tolist(),
        "count": count.astype(int).tolist(),
    }


def _ratio_edges(values: NDArray[Any]) -> NDArray[np.float64]:
    """Edges half way between whole numbers, about equally far apart in ratio."""
    low, high = int(values.min()), int(values.max())
    whole = np.unique(np.round(np.geomspace(low, high + 1, HEAT_CELLS + 1)))
    whole = whole if len(whole) > 1 else np.array([low, low + 1.0])
    return np.r_[whole[:-1], high + 1] - 0.5


def sessions(trace: Trace) -> dict[str, Any] | None:
    """Conversations: how many, turns of each, seconds between their turns; None without any.

    Only turns that arrive at instants of their own have a pause here; those released by another
    request's end have a think time (`delay`).
    """
    mine = trace.session >= 0
    if not mine.any():
        return None
    session, arrival = trace.session[mine], trace.arrival[mine]
    order = np.lexsort((arrival, session))
    same = np.diff(session[order]) == 0
    timed = trace.after[mine][order][1:] < 0
    pauses = (np.diff(arrival[order])[same & timed]) / TICKS_PER_S
    turns = np.unique(session, return_counts=True)[1]
    think = trace.delay[trace.after >= 0] / TICKS_PER_S
    return {
        "sessions": len(turns),
        "requests": int(mine.sum()),
        "turns": _summary(turns),
        "pause_s": _summary(pauses),
        "think_s": _summary(think),
    }


def prefixes(trace: Trace) -> dict[str, Any] | None:
    """How prompts share their beginnings; None without prefix blocks.

    shared_prefix: the hit ratio of an infinite cache, from a cold start, in blocks; blocks: how
    many different ones; top_share: of all block uses, those of the hundredth of blocks used most.
    """
    if not trace.block_tokens:
        return None
    uses = np.sort(np.bincount(trace.packed_blocks()))[::-1]
    uses = uses[uses > 0]
    top = max(1, len(uses) // 100)
    return {
        "block_tokens": trace.block_tokens,
        "blocks": len(uses),
        "shared_prefix": trace.shared_prefix(),
        "top_share": float(uses[:top].sum() / uses.sum()) if len(uses) else 0.0,
    }


def _summary(values: NDArray[Any]) -> dict[str, float] | None:
    if not len(values):
        return None
    p50, p99 = np.quantile(values, [0.5, 0.99])
    mean, most = float(np.mean(values)), float(np.max(values))
    return {"mean": mean, "p50": float(p50), "p99": float(p99), "max": most}
