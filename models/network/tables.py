"""The tables of flows in motion, to be spread into any World.

A *bundle* is all flows with the same path and the same cap per unit of weight: they have one rate
per unit of weight (`share`), whatever the others do. So the solver sees bundles, and a bundle keeps
one running sum, the bytes that each unit of weight has moved (`work`): a flow ends when the sum
reaches its own `level`, and a change of rate costs the same for one flow or ten thousand.
"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.sim.records import record, table
from mltwin.sim.ticks import TICKS_PER_S

from .flows import FlowTable
from .keyed_heap import END, SHARE

IDLE, HELD, OPEN = range(3)
"""State of a bundle: no flow, has its rate, is about to get one."""

CAPPED = -2
"""Bottleneck of a bundle that its own cap holds back."""
NO_LINK = -1

FULL_SHARE = 4
"""A change that dirties more than one in this many bundles is solved in full."""

NET = record(
    "NET",
    [
        ("links", "i8"),
        ("flows", "i8", "in motion"),
        ("full_share", "i8", "see `FULL_SHARE`; 0: every solve is full"),
        ("uneven", "i8", "1: not all weights are 1"),
        ("active", "i8", "bundles with a flow"),
        ("dirty", "i8", "bundles whose flows changed since the last solve"),
        ("touched", "i8", "links that lost a bundle or changed since"),
        ("unfixed", "i8", "bundles that this solve has still to rate"),
        ("stamp", "i8", "number of this solve"),
        ("solves", "i8"),
        ("full_solves", "i8"),
        ("since_full", "i8", "solves since the last full one"),
        ("thawed", "i8", "bundles rated, over all solves"),
        ("unequal", "i8", "flows that ended with more than a tick's bytes too many or too few"),
    ],
)
LINK = record(
    "NET_LINK",
    [
        ("capacity", "f8", "bytes per tick"),
        ("left", "f8", "of it, not given to a rated bundle"),
        ("open", "f8", "weight of its unrated bundles"),
        ("level", "f8", "share of the bundles that it holds back"),
        ("bound", "i4", "how many it holds back"),
        ("unfixed", "i4", "crossings by unrated bundles"),
        ("crossing", "i4", "crossings by bundles"),
        ("touched", "i4", "1: in the list of touched links; 2: its bandwidth has changed"),
        ("first", "i8", "its rows in `cross`"),
        ("checked", "i8", "stamp of the solve that has looked whether `level` still holds"),
        ("busy_since", "i8", "ticks"),
        ("busy", "i8", "ticks with a flow, until busy_since"),
        ("flows", "i4", "that cross it"),
        ("peak", "i4", "most of them at a time"),
    ],
)
BUNDLE = record(
    "BUNDLE",
    [
        ("share", "f8", "bytes per tick and unit of weight"),
        ("rate", "f8", "bytes per tick that links count for it: weight * share when last rated"),
        ("weight", "f8", "of its flows together"),
        ("heaviest", "f8", "most of `weight` since it was summed anew"),
        ("cap", "f8", "most of `share`"),
        ("work", "f8", "bytes that a unit of weight has moved until `since`"),
        ("since", "i8", "ticks"),
        ("rated", "i8", "stamp of the solve that rated it"),
        ("first", "i8", "its rows in `route`"),
        ("last", "i8", "one beyond them"),
        ("member_first", "i8", "its rows in `member` and `fellow`"),
        ("member_last", "i8", "one beyond them"),
        ("members", "i4", "flows in motion"),
        ("ended", "i4", "flows that ended since `work` was counted from 0"),
        ("state", "i4"),
        ("bottleneck", "i4", "link that holds it back, CAPPED or NO_LINK"),
        ("place", "i4", "in `active`"),
        ("dirty", "i4"),
    ],
)
FLOW = record(
    "NET_FLOW",
    [("bytes", "f8"), ("weight", "f8"), ("bundle", "i8"), ("moving", "i8", "1: in the network")],
)
MEMBER = record("MEMBER", [("level", "f8", "`work` at which it ends"), ("flow", "i8")])
CROSS = record("CROSS", [("bundle", "i4"), ("hop", "i4", "row of `route`")])

NETWORK_DTYPES: dict[str, Any] = {
    "net": NET,
    "link": LINK,
    "bundle": BUNDLE,
    "flow": FLOW,
    "member": MEMBER,
    "cross": CROSS,
    "fellow": np.dtype(np.int32),
    "route": np.dtype(np.int32),
    "spot": np.dtype(np.int32),
    "active": np.dtype(np.int32),
    "dirty": np.dtype(np.int32),
    "touched": np.dtype(np.int32),
    "shares": SHARE,
    "share_place": np.dtype(np.int32),
    "share_count": np.dtype(np.int64),
    "ends": END,
    "end_place": np.dtype(np.int32),
    "end_count": np.dtype(np.int64),
}
"""Name and dtype of each table that `network_tables` makes."""


def network_tables(
    bytes_per_s: ArrayLike,
    flows: FlowTable,
    *,
    incremental: bool = True,
    merge: bool = True,
    full_share: int = FULL_SHARE,
) -> dict[str, NDArray[Any]]:
    """The tables of a network in which nothing moves yet.

    Args:
        bytes_per_s: float64[L], of each link; 0 is a broken one.
        flows: all flows that will ever move; only bytes, paths, weights and caps are read.
        incremental: whether a change repairs the rates it touches, or all are worked out anew.
        merge: whether flows with equal paths form one bundle (False: for tests).
        full_share: a change that dirties more than one in this many bundles is solved in full (1:
            none is).

    Raises:
        InputError: a path names a link that there is not.
    """
    speed = np.ascontiguousarray(bytes_per_s, np.float64)
    n_links, n_flows = len(speed), len(flows)
    flows.check_links(n_links)
    ratio = flows.cap / TICKS_PER_S / flows.weight
    bundle_of = bundles(flows, ratio) if merge else np.arange(n_flows)
    n_bundles = int(bundle_of.max(initial=-1)) + 1
    head = np.zeros(n_bundles, np.int64)
    head[bundle_of[::-1]] = np.arange(n_flows)[::-1]  # the first flow of each bundle
    length = (flows.first[1:] - flows.first[:-1])[head]
    route_first = np.concatenate([[0], np.cumsum(length)])
    rows = np.repeat(flows.first[head] - route_first[:-1], length) + np.arange(route_first[-1])
    route = flows.links[rows].astype(np.int32)
    crossings = np.bincount(route, minlength=n_links)
    member_first = np.concatenate([[0], np.cumsum(np.bincount(bundle_of, minlength=n_bundles))])
    capacity = speed / TICKS_PER_S
    return {
        "net": table(
            1,
            NET,
            links=n_links,
            full_share=full_share if incremental else 0,
            uneven=int(np.any(flows.weight != 1.0)),
        ),
        "link": table(
            n_links,
            LINK,
            capacity=capacity,
            left=capacity,
            first=np.concatenate([[0], np.cumsum(crossings)])[:-1],
        ),
        "bundle": table(
            n_bundles,
            BUNDLE,
            cap=ratio[head],
            first=route_first[:-1],
            last=route_first[1:],
            member_first=member_first[:-1],
            member_last=member_first[1:],
            bottleneck=NO_LINK,
        ),
        "flow": table(n_flows, FLOW, bytes=flows.bytes, weight=flows.weight, bundle=bundle_of),
        "member": table(n_flows, MEMBER),
        "cross": table(len(route), CROSS),
        "fellow": np.argsort(bundle_of, kind="stable").astype(np.int32),
        "route": route,
        "spot": np.zeros(len(route), np.int32),
        "active": np.zeros(n_bundles, np.int32),
        "dirty": np.zeros(n_bundles, np.int32),
        "touched": np.zeros(n_links, np.int32),
        "shares": table(n_links + n_bundles, SHARE),
        "share_place": np.full(n_links + n_bundles, -1, np.int32),
        "share_count": np.zeros(1, np.int64),
        "ends": table(n_bundles, END),
        "end_place": np.full(n_bundles, -1, np.int32),
        "end_count": np.zeros(1, np.int64),
    }


def bundles(flows: FlowTable, ratio: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bundle of each flow: same path, same ratio of cap to weight; numbered by first flow."""
    length = flows.first[1:] - flows.first[:-1]
    number = _number(length)
    width = int(flows.links.max(initial=0)) + 1
    for hop in range(int(length.max(initial=0))):
        rows = np.flatnonzero(length > hop)
        link = flows.links[flows.first[rows] + hop].astype(np.int64)
        # flows of different length have different numbers at every hop: length is looked at last
        number[rows] = _number(number[rows] * width + link)
    n = len(flows) + 1
    number = _number(number * (int(length.max(initial=0)) + 1) + length)
    if np.isfinite(ratio).any():
        number = _number(number * n + _number(ratio))
    _, first, inverse = np.unique(number, return_index=True, return_inverse=True)
    order = np.empty(len(first), np.int64)
    order[np.argsort(first)] = np.arange(len(first))
    return order[inverse]


def _number(values: NDArray[Any]) -> NDArray[np.int64]:
    """Equal values get equal numbers below their count."""
    return np.unique(values, return_inverse=True)[1].astype(np.int64).reshape(-1)


def crossings(world: Any) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int32]]:
    """Who crosses what now: (active bundles, and for each crossing the place in them, the link)."""
    active = np.sort(world.active[: world.net[0].active])
    b = world.bundle[active]
    hops = b.last - b.first
    owner = np.repeat(np.arange(len(active)), hops)
    rows = np.repeat(b.first - np.cumsum(hops) + hops, hops) + np.arange(hops.sum())
    return active, owner, world.route[rows]
