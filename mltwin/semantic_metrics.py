"""Metrics of a semantic cache: hits, right, false and stale; latency; money.

Ratios of hits are shares of all queries; a query that joined another's call counts apart. False and
stale ratios are shares of the answers that were served from the cache or joined. The break-even hit
ratio of a category is m / (L - f): m mean time of embedding and search, f of fetching, L of a call
without waiting.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mltwin.models.semantic.tables import HIT, JOINED, MISS, TICKS_PER_S, UNCACHED

from .metrics import flat, spread

Columns = Mapping[str, np.ndarray]
MS = TICKS_PER_S / 1000
MOST_NAMED = 20
"""Categories that have metrics of their own."""


def latency_ms(queries: Columns) -> np.ndarray:
    """From a query's arrival to its answer."""
    return np.asarray((queries["done"] - queries["arrival"]) / MS)


def served(queries: Columns) -> np.ndarray:
    """Which queries got another's answer."""
    return np.asarray((queries["outcome"] == HIT) | (queries["outcome"] == JOINED))


def break_even(overhead_ms: float, llm_ms: float, fetch_ms: float = 0.0) -> float:
    """The hit ratio from which a cache makes the mean answer faster: overhead / (LLM - fetch).

    Infinite where a hit is no faster than a call. `overhead_ms` is what every lookup costs, hit or
    miss: 30 and 2 ms in the abstract of arXiv 2510.26835. It follows from equal mean latencies,
    overhead + h fetch + (1 - h) LLM = LLM.

    >>> break_even(30.0, 200.0), break_even(2.0, 200.0)
    (0.15, 0.01)
    """
    gain = llm_ms - fetch_ms
    return overhead_ms / gain if gain > 0 else float("inf")


def category_rows(queries: Columns, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One dict a category: its rules, counts and ratios."""
    rows = []
    for c, name in enumerate(facts["categories"]):
        mine = queries["category"] == c
        row: dict[str, Any] = {"category": name, "queries": int(mine.sum())}
        row |= {key: facts[key][c] for key in ("threshold", "ttl_s", "quota")}
        if row["queries"]:
            part = {key: column[mine] for key, column in queries.items()}
            row |= _ratios(part, facts)
            row["mean_latency_ms"] = float(latency_ms(part).mean())
            row["p99_latency_ms"] = float(np.percentile(latency_ms(part), 99))
            row["llm_ms"] = float(part["service"].mean() / MS)
            row["saved_dollars"] = float(part["dollars"][served(part)].sum())
            row["break_even_hit_ratio"] = break_even(
                facts["lookup_ms"], row["llm_ms"], facts["fetch_ms"]
            )
        rows.append(row)
    return rows


def _ratios(queries: Columns, facts: Mapping[str, Any]) -> dict[str, float]:
    outcome, n = queries["outcome"], len(queries["outcome"])
    got = served(queries)
    found = {
        "hit_ratio": float((outcome == HIT).sum()) / n,
        "joined_ratio": float((outcome == JOINED).sum()) / n,
        "miss_ratio": float((outcome == MISS).sum()) / n,
    }
    answers = max(int(got.sum()), 1)
    if facts["intents"]:
        found["false_hit_ratio"] = float(queries["false"].sum()) / answers
        right = got & (queries["false"] == 0) & (queries["stale"] == 0)
        found["useful_hit_ratio"] = float(right.sum()) / n
    if facts["versions"]:
        found["stale_hit_ratio"] = float(queries["stale"].sum()) / answers
    return found


def run_metrics(queries: Columns, facts: Mapping[str, Any]) -> dict[str, float]:
    """All metrics of a run."""
    n, outcome, totals = len(queries["outcome"]), queries["outcome"], facts["totals"]
    asked = (outcome == MISS) | (outcome == UNCACHED)
    lookups = int((outcome != UNCACHED).sum())
    end = float(queries["done"].max())
    span_s = (end - float(queries["arrival"][0])) / TICKS_PER_S
    wait = (queries["called"] - queries["ready"])[asked] / MS
    llm = float(queries["dollars"][asked].sum())
    found = {
        "queries": float(n),
        "duration_s": span_s,
        **_ratios(queries, facts),
        "uncached_ratio": float((outcome == UNCACHED).sum()) / n,
        "llm_calls": float(asked.sum()),
        **flat("latency", "ms", spread(latency_ms(queries))),
        "uncached_latency_ms": float(queries["service"].mean() / MS),
        "mean_lookup_ms": facts["lookup_ms"],
        "cost_dollars": llm + lookups * facts["embed_dollars"],
        "saved_dollars": float(queries["dollars"][served(queries)].sum()),
        **{name: float(totals[name]) for name in ("insertions", "evictions", "expirations")},
        "resident_entries": float(totals["resident"]),
        "truncated_misses": float(queries["cut"].sum()),
    }
    if facts["servers"]:
        found["mean_llm_wait_ms"] = float(wait.mean()) if len(wait) else 0.0
        found["llm_busy"] = totals["busy_ticks"] / (facts["servers"] * max(span_s, 1e-9) * 1e9)
    if totals["looks"]:
        found["mean_load"] = totals["load_sum"] / totals["looks"] / 1000
        found["mean_moved"] = totals["moved_sum"] / totals["looks"] / 1000
    rows = category_rows(queries, facts)
    if 1 < len(rows) <= MOST_NAMED:
        for row in rows:
            for name in ("hit_ratio", "false_hit_ratio", "stale_hit_ratio"):
                if name in row:
                    found[f"{row['category']}_{name}"] = row[name]
    return found
