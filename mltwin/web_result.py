"""`WebResult`: offload, bytes and latency of friends' browsers or of a CDN."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mltwin.models.web import CdnOutcome, CdnPlan, FriendsOutcome, FriendsPlan
from mltwin.models.web import cdn_tables as cdn
from mltwin.models.web import friends_tables as friends

from .derived_result import Derived, DerivedResult
from .result import Columns
from .web_metrics import cdn_metrics, friends_metrics, violations

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .samples import Sample


class WebResult(DerivedResult):
    """A finished run of the system `web-cache`.

    Tables of friends: `views` (without publications; time and latency in ticks of 1 ns; user,
    bytes, source, uploader) and `users` (uploaded, wasted, cached bytes). Of a CDN: `requests`
    (time, latency, edge, item, bytes, source) and `nodes` (requests, hits, cached bytes; the
    parent last).
    """

    headline = (
        "offload_ratio",
        "byte_offload_ratio",
        "edge_hit_ratio",
        "parent_hit_ratio",
        "local_hit_ratio",
        "mean_latency_ms",
        "p99_latency_ms",
        "origin_gb",
        "upload_fairness",
    )

    @classmethod
    def of_friends(
        cls, outcome: FriendsOutcome, plan: FriendsPlan, facts: Mapping[str, Any]
    ) -> Self:
        """The result of friends' browsers."""
        viewed = plan.view_kind == 0
        ms = facts["latency_ms"]
        asked = ms["redirector"] if facts["ask_friends"] else 0.0
        added = np.array([0.0, 0.0, 0.0, asked + ms["friend"], asked + ms["origin"],
                          asked + ms["friend"] + ms["origin"]])  # fmt: skip
        source, pair = outcome.source[viewed], plan.view_pair[viewed]
        # Who joins a fetch waits for what is left of it.
        wait = outcome.done[viewed] - plan.view_time[viewed]
        tables: dict[str, Columns] = {
            "views": {
                "time": plan.view_time[viewed],
                "latency": wait + np.rint(added * 1e6).astype(np.int64)[source],
                "user": plan.pair_user[pair],
                "bytes": plan.pair_bytes[pair],
                "source": source.astype(np.int8),
                "uploader": outcome.uploader[viewed],
            },
            "users": {
                "uploaded": outcome.uploaded,
                "wasted": outcome.wasted,
                "cached": outcome.used,
            },
        }
        known = {**facts, "published": int((~viewed).sum()), "totals": dict(outcome.totals)}
        return cls.derived(tables, known, trace_sha256=facts.get("requests_sha256", ""))

    @classmethod
    def of_cdn(cls, outcome: CdnOutcome, plan: CdnPlan, facts: Mapping[str, Any]) -> Self:
        """The result of a CDN."""
        size = plan.item_bytes[plan.item]
        last_mile = 2 * facts["edge_ms"] * 1e6 + size * 8e3 / facts["edge_mbit_per_s"]
        by_edge = np.bincount(plan.edge, minlength=plan.edges)
        edge_hits = np.bincount(plan.edge[outcome.source == cdn.EDGE_HIT], minlength=plan.edges)
        joined = (cdn.EDGE_HIT, cdn.EDGE_JOINED)
        at_parent = int((~np.isin(outcome.source, joined)).sum()) if plan.parent else 0
        parent_hits = int((outcome.source == cdn.PARENT_HIT).sum())
        tables: dict[str, Columns] = {
            "requests": {
                "time": plan.time,
                "latency": outcome.done - plan.time + np.rint(last_mile).astype(np.int64),
                "edge": plan.edge,
                "item": plan.item,
                "bytes": size,
                "source": outcome.source.astype(np.int8),
            },
            "nodes": {
                "requests": np.append(by_edge, at_parent),
                "hits": np.append(edge_hits, parent_hits),
                "cached": outcome.used,
            },
        }
        known = {**facts, "totals": dict(outcome.totals)}
        return cls.derived(tables, known, trace_sha256=facts.get("requests_sha256", ""))

    @classmethod
    def derive(cls, tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> Derived:
        """Metrics, notes and violations."""
        metrics = friends_metrics if facts["kind"] == "friends" else cdn_metrics
        return metrics(tables, facts), _notes(tables, facts), violations(tables, facts)

    @property
    def sources(self) -> tuple[str, ...]:
        """What the numbers of the column `source` mean."""
        return friends.SOURCES if self.facts["kind"] == "friends" else cdn.SOURCES

    def samples(self) -> dict[str, "Sample"]:
        """Latency of each view or request in ms, at the time it was made; uploads of each user."""
        from .samples import Sample

        kind = self.facts["kind"]
        table = "views" if kind == "friends" else "requests"
        rows = self.tables[table]
        found = {
            "latency": Sample.of(
                rows["latency"] / 1e6, rows["time"] / 1e9, title="latency", unit="ms", table=table
            )
        }
        if kind == "friends":
            uploaded = self.tables["users"]["uploaded"] / 1e6
            found["upload"] = Sample.of(uploaded, title="uploaded", unit="MB", table="users")
        return found

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Who served what over time, latencies, and the load of users or caches."""
        from .plots import save_figure
        from .web_plots import plot_web

        return save_figure(plot_web(self), path)


def _notes(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> list[str]:
    notes = [
        f"[{name}] is set but not looked at: kind = {facts['kind']!r}."
        for name in facts.get("idle", ())
    ]
    if facts["kind"] == "friends" and not len(tables["views"]["time"]):
        notes.append("Nothing was viewed: nobody came online to see it, or nobody has friends.")
    return notes
