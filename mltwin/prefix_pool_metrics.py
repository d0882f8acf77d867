"""Metrics of a serving run whose prefix KV lives beyond the HBM too (`[prefix_pool]`)."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .metrics import flat, spread

Columns = Mapping[str, np.ndarray]
TICKS_PER_MS = 1e9
_IN_GB = ("host_read", "host_written", "host_evicted", "pool_read", "pool_written", "pool_evicted")


def fetch_ms(requests: Columns) -> np.ndarray:
    """How long each request was out of its queue for fetches, ms; NaN where it was not.

    Empty where there are no stores.
    """
    if "fetch_wait" not in requests:
        return np.zeros(0)
    waited = np.asarray(requests["fetch_wait"])
    return np.where(waited > 0, waited / TICKS_PER_MS, np.nan)


def pool_metrics(
    requests: Columns, facts: Mapping[str, Any], prefilled_tokens: int
) -> dict[str, float]:
    """What was fetched, written and copied, and how long it took; {} without stores.

    `fetched_tokens` were brought by a request's own fetch; `saved_prefill_tokens` were found in
    the HBM, fetched or not; `copied_gb` were fetched though another replica had them in its HBM,
    `mean_duplicates_gb` is what replicas' HBM holds once more, a mean over the ends of requests.
    """
    stores = facts.get("stores")
    if not stores:
        return {}
    block_gb = facts["block_tokens"] * facts["kv_bytes_per_token"] / 1e9
    hit_tokens, done = (facts["totals"][name] for name in ("hit_tokens", "done"))
    fetched = int(np.asarray(requests["fetched"]).sum(dtype=np.int64))
    found = {
        "fetches": float(stores["fetches"]),
        "followed_fetches": float(stores["followed"]),
        "fetched_tokens": float(fetched),
        "saved_prefill_tokens": float(hit_tokens),
        **{f"{name}_gb": stores[name] * block_gb for name in _IN_GB},
        "copied_gb": stores["copies"] * block_gb,
    }
    if done:
        found["mean_duplicates_gb"] = stores["duplicates"] / done * block_gb
    if hit_tokens + prefilled_tokens:
        found["fetched_ratio"] = fetched / (hit_tokens + prefilled_tokens)
    waits = fetch_ms(requests)
    return found | flat("fetch", "ms", spread(waits[np.isfinite(waits)]))
