"""Metrics common to all systems: spreads, their names, units and which way is better.

A flat metric is named as vLLM names it: statistic, quantity, unit (`p99_ttft_ms`, `mean_e2e_ms`).
A metric that has no value (no completed request, an unknown power) is left out, never NaN.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

QUANTILES = {"p50": 0.50, "p90": 0.90, "p95": 0.95, "p99": 0.99}
STATS = ("mean", "std", "min", *QUANTILES, "max")


def exact_sum(values: np.ndarray) -> int:
    """The sum of integers as a Python int: a run's ticks over all requests can pass 2**63."""
    if values.dtype.kind not in "iu":
        return int(values.sum())
    low = values.astype(np.int64) & 0xFFFFFFFF
    high = values.astype(np.int64) >> 32
    return (int(high.sum()) << 32) + int(low.sum())


def spread(values: np.ndarray) -> dict[str, float]:
    """Mean, (population) standard deviation, range and percentiles of values; {} for none.

    Values are finite. Percentiles interpolate linearly between order statistics, as NumPy and vLLM
    do.
    """
    if not len(values):
        return {}
    ordered = np.sort(values)
    return {
        "mean": float(np.mean(values)),
        "std": float(np.std(values)),
        "min": float(ordered[0]),
        **{name: _quantile(ordered, q) for name, q in QUANTILES.items()},
        "max": float(ordered[-1]),
    }


def _quantile(ordered: np.ndarray, q: float) -> float:
    """Linear between order statistics, from the nearer one, to NumPy's last bit; NumPy's own
    `percentile` takes four times as long to find them."""
    place = (len(ordered) - 1) * q
    k = min(int(place), len(ordered) - 2) if len(ordered) > 1 else 0
    share = place - k
    low, high = float(ordered[k]), float(ordered[min(k + 1, len(ordered) - 1)])
    return high - (high - low) * (1 - share) if share >= 0.5 else low + (high - low) * share


def histogram_spread(
    counts: np.ndarray, edges: np.ndarray, *, mean: float | None = None
) -> dict[str, float]:
    """The same for a histogram; `edges` are the bins' lower ends, the last bin is open.

    Percentiles interpolate within a bin, `std` takes its middle: both are exact to a bin's width.
    Give `mean` where it is known exactly.
    """
    total = int(counts.sum())
    if total == 0:
        return {}
    lower = edges.astype(np.float64)
    upper = np.append(lower[1:], lower[-1])
    middle = (lower + upper) / 2
    centre = float((counts * middle).sum() / total)
    variance = float((counts * (middle - centre) ** 2).sum() / total)
    below = np.concatenate([[0], np.cumsum(counts)])
    result = {"mean": centre if mean is None else mean, "std": variance**0.5}
    filled = np.flatnonzero(counts)
    result["min"] = float(lower[filled[0]])
    for name, q in QUANTILES.items():
        rank = q * (total - 1) + 0.5
        k = int(np.searchsorted(below, rank, side="right")) - 1
        share = (rank - below[k]) / counts[k]
        result[name] = float(lower[k] + share * (upper[k] - lower[k]))
    result["max"] = float(upper[filled[-1]])
    return result


def flat(quantity: str, unit: str, stats: Mapping[str, float]) -> dict[str, float]:
    """Statistics under their flat names: `{"p99_ttft_ms": ...}`."""
    return {f"{stat}_{quantity}_{unit}": value for stat, value in stats.items()}


_MORE = re.compile(r"saved|useful|^capacity_(tokens|agents)$")
_LESS = re.compile(
    r"_ms$|(?<!_per)_s$|^(refused|cancelled|unfinished|preemptions|dollars|joules)|_per_million_tokens$|"
    r"_per_token(_per_agent)?$|miss_ratio$|_error$|_loss$|_dollars$|regret|stall|"
    r"^(evict|expir|evicted|wasted)|(^|_)(false|stale)_|(uncached|false|stale)_ratio$|"
    r"^(paged|moved|origin|wasted|network)_\w+$|(_loads|^loads|_calls|_misses|late_\w+)$|"
    r"^(prefilled_tokens|duplicates|imbalance|mean_paid|peak_gb|evicted_gb)|"
    r"^(makespan_days|interruptions)$|slowdown$|"
    r"^(bubble_share|exposed_share|memory_gib|max_link_gb|max_link_utilisation)$|^peak_flows|"
    r"^(straggling|shrunk|checkpoint|lost|restart|reshard|waiting)_share$|"
    r"^(rounds|updates|bytes|joules)_to_|staleness$|^unused_\w+_share$|kwh$|^(down|up|server)_gb$|"
    r"^final_(distance|consensus)$|^client_(hours|accuracy_std)$|"
    r"^(cold_starts|off_node_gb|aggregation_\w+)$"
)
_NEITHER = re.compile(
    r"^(duration_s|requests|gpus|prompt_tokens|replicas)$|busy|kv_use|^mean_batch|"
    r"^(objects|capacity|queries|tokens|activations|insertions|published|experts_per_visit)$|"
    r"^(delayed|dirty)_|_held_gb$|^(oracle_utility|epochs|swaps|moves|turns|context_tokens)$|"
    r"^(host|pool)_(read|written|evicted)_gb$|^fetched_\w+|^(fetches|followed_fetches)$|"
    r"^(copied|mean_duplicates)_gb$|"
    r"^(resident_entries|hbm_gb|uploaded_gb|mean_upload_mb|max_upload_mb|top_1_percent_upload)$|"
    r"^(interval_minutes|mtbf_hours|gpu_hours|checkpoints|failures|crashes|replaced|resizes)$|"
    r"^(from_(start|storage|memory|live)|steps|attempt)$|"
    r"^(flows|tasks|links_used|sent_gb|step_tokens|mean_link_utilisation|hfu)$|"
    r"^(versions|updates)$"
)


def direction(metric: str) -> str:
    """`lower`, `higher` or `none`: which way a metric is better."""
    if _NEITHER.search(metric):
        return "none"
    if _MORE.search(metric):
        return "higher"
    return "lower" if _LESS.search(metric) else "higher"


def unit(metric: str) -> str:
    """The unit that a metric's name ends in or implies, for axes and tables."""
    for suffix, name in _UNITS:
        if metric.endswith(suffix):
            return name
    return ""


_UNITS = (
    ("request_throughput", "requests/s"),
    ("request_goodput", "requests/s"),
    ("throughput", "tokens/s"),
    ("tokens_per_s_per_gpu", "tokens/s"),
    ("tokens_per_s", "tokens/s"),
    ("gb_per_s", "GB/s"),
    ("_gib", "GiB"),
    ("_days", "days"),
    ("_hours", "hours"),
    ("_minutes", "minutes"),
    ("dollars_per_million_tokens", "$"),
    ("_ms", "ms"),
    ("_s", "s"),
    ("tokens", "tokens"),
    ("dollars", "$"),
    ("joules", "J"),
    ("mean_batch", "sequences"),
    *(
        (name, "share")
        for name in ("attainment", "_use", "_ratio", "_share", "busy_prefill", "busy_decode")
    ),
)


def plain(value: Any) -> Any:
    """A NumPy number as a Python one, for JSON."""
    return value.item() if isinstance(value, np.generic) else value
