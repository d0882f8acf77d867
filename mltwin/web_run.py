"""From a `WebScenario` to a plan, and from its outcome to a result."""

from functools import lru_cache
from typing import Any

import numpy as np

from mltwin.models.web import TICKS_PER_S, CdnPlan, FriendsPlan, run_cdn, run_friends
from mltwin.models.web.activity import (
    Sessions,
    Views,
    draw_sessions,
    draw_views,
    object_bytes,
    pairs_of,
)
from mltwin.models.web.cdn_tables import POLICIES
from mltwin.models.web.friends_tables import CHOICES, units_a_tick
from mltwin.models.web.graph import Graph, barabasi_albert, read_edges, watts_strogatz
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import ARRIVALS, CLIENTS, SELECTION, exponentials, integers, uniforms

from .web import CDN_TABLES, FRIENDS_TABLES, WebScenario
from .web_result import WebResult

MBIT = 1e6 / 8
TICKS_PER_MS = 10**6


def run_web(scenario: WebScenario, seed: int, *, reference: bool = False) -> WebResult:
    """Simulate a scenario once.

    Raises InputError: a file that cannot be read, or a bandwidth too low for the uploads.
    """
    idle = _idle_tables(scenario)
    if scenario.kind == "cdn":
        plan, name = lower_cdn(scenario, seed)
        facts = {**_cdn_facts(scenario, name), **idle}
        return WebResult.of_cdn(run_cdn(plan, reference=reference), plan, facts)
    friends, graph = lower_friends(scenario, seed)
    outcome = run_friends(friends, reference=reference)
    return WebResult.of_friends(outcome, friends, {**_friends_facts(scenario, graph), **idle})


def _idle_tables(scenario: WebScenario) -> dict[str, Any]:
    """Tables of the other kind that say something, under `idle`; nothing where there are none."""
    theirs = FRIENDS_TABLES if scenario.kind == "cdn" else CDN_TABLES
    usual = WebScenario()
    idle = [name for name in theirs if getattr(scenario, name) != getattr(usual, name)]
    return {"idle": idle} if idle else {}


def graph_of(scenario: WebScenario, seed: int) -> Graph:
    """The social graph of a scenario and seed.

    Raises InputError: the file of edges cannot be read.
    """
    g = scenario.graph
    if g.kind == "file":
        assert g.edges is not None
        return read_edges(scenario.resolve_path(g.edges))
    return _drawn(g.kind, seed, g.users, g.degree, g.rewire)


@lru_cache(maxsize=8)
def _drawn(kind: str, seed: int, users: int, degree: int, rewire: float) -> Graph:
    """Drawn graphs, remembered: the points of a sweep share them."""
    if kind == "barabasi_albert":
        return barabasi_albert(seed, users, degree)
    return watts_strogatz(seed, users, degree, rewire)


def lower_friends(scenario: WebScenario, seed: int) -> tuple[FriendsPlan, Graph]:
    """The plan of friends' browsers, and the graph."""
    b = scenario.browser
    graph = graph_of(scenario, seed)
    sessions, views = what_users_do(scenario, seed, graph)
    pair, owner, item, friend_start, friend_pair = pairs_of(graph, views.user, views.item)
    sizes = object_bytes(
        seed,
        scenario.activity.objects,
        scenario.activity.size_mb * 1e6,
        scenario.activity.size_sigma,
    )
    toggle_time, toggle_user = sessions.toggles()
    users = graph.users
    plan = FriendsPlan(
        view_time=views.time,
        view_pair=pair,
        view_kind=views.kind,
        pair_user=owner,
        pair_bytes=sizes[item],
        friend_start=friend_start,
        friend_pair=friend_pair,
        toggle_time=toggle_time,
        toggle_user=toggle_user,
        online=sessions.online,
        capacity=np.full(users, round(b.cache_mb * 1e6)),
        upload=np.full(users, units_a_tick(b.upload_mbit_per_s * MBIT)),
        slots=b.uploads,
        download=units_a_tick(b.download_mbit_per_s * MBIT),
        resume=b.resume,
        choice=CHOICES.index(b.choose),
        friends=b.ask_friends,
        keep=b.publisher_keeps,
        seed=seed,
    )
    return plan, graph


def what_users_do(scenario: WebScenario, seed: int, graph: Graph) -> tuple[Sessions, Views]:
    """Sessions and views of a scenario and seed."""
    a, s = scenario.activity, scenario.sessions
    horizon = round(a.hours * 3600 * TICKS_PER_S)
    sessions = draw_sessions(
        seed,
        graph.users,
        horizon,
        share=s.online_share,
        session=round(s.minutes * 60 * TICKS_PER_S),
        diurnal=s.diurnal,
        peak=round(s.peak_hour * 3600 * TICKS_PER_S),
    )
    views = draw_views(
        seed,
        graph,
        sessions,
        horizon,
        objects=a.objects,
        view_probability=a.view_probability,
        share_probability=a.share_probability,
        delay=round(a.delay_minutes * 60 * TICKS_PER_S),
        repeat_probability=a.repeat_probability,
        publisher_skew=a.publisher_skew,
    )
    return sessions, views


def lower_cdn(scenario: WebScenario, seed: int) -> tuple[CdnPlan, str]:
    """The plan of a CDN, and the digest of its requests."""
    from mltwin.sim.runspec import array_digest

    c = scenario.cdn
    time, item, sizes = _requests(scenario, seed)
    edge = integers(seed, CLIENTS, np.arange(len(item)), c.edges)

    def ticks(gbit_per_s: float) -> np.ndarray:
        return np.rint(sizes * 8 / gbit_per_s).astype(np.int64)  # bytes over 10^9 bit/s, in ns

    plan = CdnPlan(
        time=time,
        edge=edge,
        item=item,
        item_bytes=sizes,
        capacity=np.array([round(c.edge_gb * 1e9)] * c.edges + [round(c.parent_gb * 1e9)]),
        parent_ticks=ticks(c.parent_gbit_per_s) if c.parent else np.zeros(len(sizes), np.int64),
        origin_ticks=ticks(c.origin_gbit_per_s),
        policy=POLICIES.index(c.policy),
        parent=c.parent,
        collapse=c.collapse,
        parent_latency=round(c.parent_ms * TICKS_PER_MS) if c.parent else 0,
        origin_latency=round(c.origin_ms * TICKS_PER_MS),
    )
    return plan, array_digest(np.stack([time, item]))


def _requests(scenario: WebScenario, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Times (ticks), objects, and the bytes of each object."""
    r = scenario.requests
    if r.trace is not None:
        return _traced(scenario, seed)
    number = np.arange(r.requests)
    weight = np.arange(1, r.objects + 1, dtype=np.float64) ** -r.skew
    law = np.cumsum(weight)
    item = np.searchsorted(law / law[-1], uniforms(seed, SELECTION, number))
    item = np.minimum(item, r.objects - 1).astype(np.int64)
    sizes = object_bytes(seed, r.objects, r.size_mb * 1e6, r.size_sigma)
    return _poisson(seed, r.requests, r.rate_per_s), item, sizes


def _poisson(seed: int, requests: int, rate_per_s: float) -> np.ndarray:
    gaps = exponentials(seed, ARRIVALS, np.arange(requests)) * (TICKS_PER_S / rate_per_s)
    return np.cumsum(np.rint(gaps).astype(np.int64))


def _traced(scenario: WebScenario, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    from mltwin.workloads.objects import read_objects

    r = scenario.requests
    assert r.trace is not None
    path = scenario.resolve_path(r.trace)
    options: dict[str, Any] = {} if r.columns is None else {"columns": r.columns}
    trace = read_objects(path, r.format, limit=r.requests, **options)
    if trace.requests == 0:
        raise InputError("has no requests", where=str(path))
    item = trace.ids.astype(np.int64)
    sizes = np.ones(trace.objects, np.int64)
    if trace.size_bytes is None:
        sizes = object_bytes(seed, trace.objects, r.size_mb * 1e6, r.size_sigma)
    else:
        np.maximum.at(sizes, item, trace.size_bytes)
    time = _poisson(seed, trace.requests, r.rate_per_s)
    if trace.arrival is not None:
        time = np.asarray(trace.arrival, np.int64)
    return time, item, sizes


def _friends_facts(scenario: WebScenario, graph: Graph) -> dict[str, Any]:
    b = scenario.browser
    return {
        "kind": "friends",
        "users": graph.users,
        "friendships": len(graph.friend) // 2,
        "hours": scenario.activity.hours,
        "ask_friends": b.ask_friends,
        "latency_ms": {
            "redirector": b.redirector_ms,
            "friend": b.friend_ms,
            "origin": b.origin_ms,
        },
    }


def _cdn_facts(scenario: WebScenario, sha256: str) -> dict[str, Any]:
    c = scenario.cdn
    return {
        "kind": "cdn",
        "edges": c.edges,
        "parent": c.parent,
        "requests_sha256": sha256,
        "edge_ms": c.edge_ms,
        "edge_mbit_per_s": c.edge_mbit_per_s,
    }
