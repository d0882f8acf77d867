"""Metrics and conservation laws of the system `web-cache`.

Offload is the share of what did not come from one's own browser (friends) or of all requests (CDN)
that the origin did not serve.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mltwin.models.web import cdn_tables as cdn
from mltwin.models.web.friends_tables import CUT, FRIEND, JOINED, LOCAL, ORIGIN

from .metrics import flat, spread
from .result import Columns


def friends_metrics(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> dict[str, float]:
    """Of friends' browsers: who served what, how fast, and who bore it."""
    views, users, totals = tables["views"], tables["users"], facts["totals"]
    source, size = views["source"], views["bytes"]
    count = {code: int((source == code).sum()) for code in (LOCAL, JOINED, FRIEND, ORIGIN, CUT)}
    fetched = count[FRIEND] + count[ORIGIN] + count[CUT]
    fetched_bytes = int(size[np.isin(source, (FRIEND, ORIGIN, CUT))].sum())
    found = {
        "requests": float(len(source)),
        "published": float(facts["published"]),
        "origin_requests": float(count[ORIGIN] + count[CUT]),
    }
    if len(source):
        found["local_hit_ratio"] = count[LOCAL] / len(source)
        found["joined_ratio"] = count[JOINED] / len(source)
    if fetched:
        found["offload_ratio"] = count[FRIEND] / fetched
        found["byte_offload_ratio"] = 1 - totals["origin"] / fetched_bytes
        tried = count[FRIEND] + count[CUT]
        found["cut_loss"] = count[CUT] / tried if tried else 0.0
    found |= flat("latency", "ms", spread(views["latency"] / 1e6))
    uploaded = users["uploaded"].astype(np.float64)
    found["origin_gb"] = totals["origin"] / 1e9
    found["uploaded_gb"] = float(uploaded.sum()) / 1e9
    found["wasted_gb"] = float(users["wasted"].sum()) / 1e9
    found["mean_upload_mb"] = float(uploaded.mean()) / 1e6
    found["max_upload_mb"] = float(uploaded.max()) / 1e6
    if uploaded.sum() > 0:
        found["upload_fairness"] = fairness(uploaded)
        top = np.sort(uploaded)[::-1][: max(1, len(uploaded) // 100)]
        found["top_1_percent_upload"] = float(top.sum() / uploaded.sum())
    return found


def fairness(shares: np.ndarray) -> float:
    """Jain's index (sum x)^2 / (n sum x^2): 1 where all bear the same, 1/n where one bears all.

    Jain, Chiu and Hawe, DEC research report 301, 1984.
    """
    return float(shares.sum() ** 2 / (len(shares) * (shares**2).sum()))


def cdn_metrics(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> dict[str, float]:
    """Of a CDN: hits at each level, what is left for the origin, and how fast it was."""
    requests, nodes, totals = tables["requests"], tables["nodes"], facts["totals"]
    source, size = requests["source"], requests["bytes"]
    n = len(source)
    edge_hit = source == cdn.EDGE_HIT
    found = {
        "requests": float(n),
        "edge_hit_ratio": float(edge_hit.mean()),
        "edge_byte_hit_ratio": float(size[edge_hit].sum() / size.sum()),
        "joined_ratio": float(np.isin(source, (cdn.EDGE_JOINED, cdn.PARENT_JOINED)).mean()),
        "offload_ratio": 1 - totals["origin_requests"] / n,
        "byte_offload_ratio": 1 - totals["origin_bytes"] / float(size.sum()),
        "origin_requests": float(totals["origin_requests"]),
        "origin_gb": totals["origin_bytes"] / 1e9,
        "parent_gb": totals["parent_bytes"] / 1e9 if facts["parent"] else 0.0,
    }
    if nodes["requests"][-1]:
        found["parent_hit_ratio"] = float(nodes["hits"][-1] / nodes["requests"][-1])
    found |= flat("latency", "ms", spread(requests["latency"] / 1e6))
    return found


def violations(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> list[str]:
    """Conservation laws that the run broke; a healthy run gives none."""
    if facts["kind"] == "cdn":
        return _told(_cdn_laws(tables, facts), tables["requests"]["latency"])
    return _told(_friends_laws(tables, facts), tables["views"]["latency"])


def _friends_laws(
    tables: Mapping[str, Columns], facts: Mapping[str, Any]
) -> list[tuple[str, int, int]]:
    views, users, totals = tables["views"], tables["users"], facts["totals"]
    fetched = views["bytes"][np.isin(views["source"], (FRIEND, ORIGIN, CUT))].sum()
    useful = users["uploaded"].sum() - users["wasted"].sum() + totals["origin"]
    served = np.isin(views["source"], (LOCAL, JOINED, FRIEND, ORIGIN, CUT)).sum()
    return [
        ("views served and made", int(served), len(views["source"])),
        ("bytes fetched and sent", int(fetched), int(useful)),
        (
            "bytes kept and held or evicted",
            totals["kept"],
            int(users["cached"].sum()) + totals["evicted"],
        ),
    ]


def _cdn_laws(
    tables: Mapping[str, Columns], facts: Mapping[str, Any]
) -> list[tuple[str, int, int]]:
    requests, nodes, totals = tables["requests"], tables["nodes"], facts["totals"]
    source, size = requests["source"], requests["bytes"]
    origin = source == cdn.FROM_ORIGIN
    passed = np.isin(source, (cdn.PARENT_HIT, cdn.PARENT_JOINED, cdn.FROM_ORIGIN))
    return [
        ("requests served and made", int((source >= 0).sum()), len(source)),
        ("requests of the origin", int(origin.sum()), totals["origin_requests"]),
        ("bytes of the origin", int(size[origin].sum()), totals["origin_bytes"]),
        ("bytes that reach edges", int(size[passed].sum()), totals["parent_bytes"]),
        (
            "bytes kept and held or evicted",
            totals["kept"],
            int(nodes["cached"].sum()) + totals["evicted"],
        ),
    ]


def _told(laws: list[tuple[str, int, int]], latency: np.ndarray) -> list[str]:
    found = [f"{law}: {a} and {b} differ" for law, a, b in laws if a != b]
    if len(latency) and int(latency.min()) < 0:
        found.append(f"{int((latency < 0).sum())} were served before they were asked for")
    return found
