"""`KvCacheResult`: hits, saved tokens and latency of a cluster of KV prefix caches."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mltwin.models.caching.prefix_nodes import Outcome
from mltwin.models.caching.prefix_tables import FROM_NODE, FROM_POOL, Plan

from .derived_result import Derived, DerivedResult
from .metrics import flat, spread
from .result import Columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .samples import Sample

TICKS_PER_MS = 1e6
SOURCES = ("hits_near", "hits_second", "hits_third", "hits_peer", "hits_pool")


class KvCacheResult(DerivedResult):
    """A finished run of the system `kv-cache`.

    Tables: `requests` (node, prompt tokens and blocks, hit blocks by source; arrival, start,
    fetched, end in ticks of 1 ns), `nodes` (requests, blocks, hits, prefilled tokens, busy ticks),
    `caches` (capacity and blocks at the end, by node and tier; the pool's last, node -1).
    """

    headline = (
        "block_hit_ratio",
        "token_hit_ratio",
        "mean_ttft_ms",
        "p99_ttft_ms",
        "prefilled_tokens",
        "imbalance",
        "duplicates_ratio",
        "network_gb",
    )

    @classmethod
    def of(
        cls,
        outcome: Outcome,
        plan: Plan,
        *,
        facts: Mapping[str, Any],
        notes: Iterable[str],
        trace_sha256: str,
    ) -> Self:
        """The result of an outcome."""
        facts = {**facts, "totals": dict(outcome.totals)}
        return cls.derived(_tables(outcome, plan), facts, notes=notes, trace_sha256=trace_sha256)

    @classmethod
    def derive(cls, tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> Derived:
        """Metrics, notes and violations."""
        return _metrics(tables, facts), [], violations(tables, facts)

    def samples(self) -> dict[str, "Sample"]:
        """Share of each request's blocks that were hit; TTFT and wait in ms where there is time."""
        from .samples import Sample

        rows = self.tables["requests"]
        timed = self.facts["timed"]
        at_s = rows["arrival"] / 1e9 if timed else np.arange(len(rows["node"]), dtype=float)
        hits = rows["hits"] / np.maximum(rows["blocks"], 1)
        found = {"hit_ratio": Sample.of(hits, at_s, title="hit ratio", table="requests")}
        if timed:
            for name, title, ticks in (
                ("ttft", "TTFT", rows["end"] - rows["arrival"]),
                ("wait", "wait", rows["start"] - rows["arrival"]),
            ):
                found[name] = Sample.of(
                    ticks / TICKS_PER_MS, at_s, title=title, unit="ms", table="requests"
                )
        return found

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Hits over time and by source, load of the nodes, TTFT; saved if a path is given."""
        from .kv_cache_plots import plot_kv_cache
        from .plots import save_figure

        return save_figure(plot_kv_cache(self), path)


def _tables(outcome: Outcome, plan: Plan) -> dict[str, Columns]:
    served = outcome.served
    node, hits = served["node"], served["hits"]
    blocks = np.diff(plan.start)
    tokens = hit_tokens(hits, plan)
    rows = {
        "node": node,
        "prompt": plan.prompt,
        "blocks": blocks,
        "hits": hits,
        "hit_tokens": tokens,
        **{name: outcome.sources[:, i].copy() for i, name in enumerate(SOURCES)},
    }
    busy = np.zeros(plan.requests, np.int64)
    if plan.timed:
        rows |= {
            "arrival": plan.arrival,
            "start": served["start"],
            "fetched": served["fetched"],
            "end": served["end"],
        }
        busy = served["end"] - served["start"]

    def by_node(values: np.ndarray) -> np.ndarray:
        total = np.zeros(plan.nodes, np.int64)
        np.add.at(total, node, values)
        return total

    tiers, pool = len(plan.tiers), plan.pool_blocks > 0
    return {
        "requests": rows,
        "nodes": {
            "node": np.arange(plan.nodes),
            "requests": by_node(np.ones(plan.requests, np.int64)),
            "blocks": by_node(blocks),
            "hits": by_node(hits),
            "prefilled_tokens": by_node(plan.prompt - tokens),
            "busy": by_node(busy),
        },
        "caches": {
            "node": np.concatenate([np.repeat(np.arange(plan.nodes), tiers), [-1] * pool]).astype(
                np.int64
            ),
            "tier": np.concatenate([np.tile(np.arange(tiers), plan.nodes), [0] * pool]).astype(
                np.int64
            ),
            "capacity": np.array([*plan.tiers * plan.nodes, *[plan.pool_blocks] * pool]),
            "used": outcome.used,
        },
    }


def hit_tokens(hits: np.ndarray, plan: Plan) -> np.ndarray:
    """Prompt tokens of the hit blocks; the last block may be short."""
    return np.minimum(hits * int(plan.settings["block_tokens"]), plan.prompt)


def _metrics(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> dict[str, float]:
    rows, nodes, totals = tables["requests"], tables["nodes"], facts["totals"]
    blocks, prompt = int(rows["blocks"].sum()), int(rows["prompt"].sum())
    gb = facts["block_bytes"] / 1e9
    saved = int(rows["hit_tokens"].sum())
    found = {
        "requests": float(len(rows["node"])),
        "block_hit_ratio": int(rows["hits"].sum()) / max(blocks, 1),
        "token_hit_ratio": saved / max(prompt, 1),
        "prefilled_tokens": float(prompt - saved),
        "saved_prefill_tokens": float(saved),
    }
    for name in SOURCES:
        if rows[name].any():
            found[f"{name.removeprefix('hits_')}_hit_ratio"] = int(rows[name].sum()) / blocks
    read = int(rows[SOURCES[FROM_NODE]].sum() + rows[SOURCES[FROM_POOL]].sum())
    wrote = totals["pool_inserted"] + totals["copied"] + totals["lent"]
    found["network_gb"] = (read + wrote) * gb
    found["network_read_gb"] = read * gb
    found["duplicates"] = float(totals["duplicates"])
    if totals["resident_sum"]:
        found["duplicates_ratio"] = totals["duplicates_sum"] / totals["resident_sum"]
    work = nodes["prefilled_tokens"]
    if work.any():
        found["imbalance"] = float(work.max() / work.mean())
    if facts["timed"]:
        found |= _latencies(rows, nodes)
    return found


def _latencies(rows: Columns, nodes: Columns) -> dict[str, float]:
    end = int(rows["end"].max(initial=0))
    found = {"duration_s": end / 1e9}
    if end:
        found["busy_share"] = float(nodes["busy"].mean() / end)
    found |= flat("ttft", "ms", spread((rows["end"] - rows["arrival"]) / TICKS_PER_MS))
    for name, ticks in (("wait", rows["start"] - rows["arrival"]), ("fetch", rows["fetched"])):
        if len(ticks):
            found[f"mean_{name}_ms"] = float(ticks.mean()) / TICKS_PER_MS
    return found


def violations(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> list[str]:
    """Conservation laws that the run broke; a healthy run gives none."""
    t, rows, caches = facts["totals"], tables["requests"], tables["caches"]
    blocks = int(rows["blocks"].sum())
    pool = caches["node"] < 0
    sources = sum(int(rows[name].sum()) for name in SOURCES)
    laws = [
        ("requests come and gone", len(rows["node"]), t["done"]),
        ("hit blocks and their sources", int(rows["hits"].sum()), sources),
        ("blocks resident and in the caches", t["resident"], int(caches["used"][~pool].sum())),
        (
            "blocks of nodes and requests",
            int(tables["nodes"]["blocks"].sum()),
            blocks,
        ),
        (
            "blocks into the pool and there or evicted",
            t["pool_inserted"],
            t["pool_evicted"] + int(caches["used"][pool].sum()),
        ),
    ]
    if t["inserted"]:
        laws.append(
            ("blocks into nodes and there or evicted", t["inserted"], t["evicted"] + t["resident"])
        )
    found = [f"{law}: {a} and {b} differ" for law, a, b in laws if a != b]
    if (caches["used"] > caches["capacity"]).any():
        found.append("a cache holds more blocks than fit")
    if (rows["hits"] > rows["blocks"]).any():
        found.append("a request hit more blocks than it has")
    if facts["timed"] and len(rows["end"]):
        if (rows["start"] < rows["arrival"]).any() or (rows["end"] < rows["start"]).any():
            found.append("a request ended before it began, or began before it came")
        order = np.lexsort((rows["start"], rows["node"]))
        same = np.diff(rows["node"][order]) == 0
        if (rows["start"][order][1:] < rows["end"][order][:-1])[same].any():
            found.append("a node served two requests at once")
    return found
