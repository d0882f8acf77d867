"""Paths that the user gives: checked link by link, then the same `Routes` as any other."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError

from .routing import Routes, make_routes
from .topology import Array, Topology


def given_routes(
    topology: Topology,
    source: Array,
    target: Array,
    paths: Sequence[Sequence[Any]] | None,
    where: str,
) -> Routes:
    """One subflow a flow along its path, or one along each of its paths.

    Args:
        source, target: int64[F] ranks.
        paths: for each flow its path: link numbers, or node names from the source's node to the
            target's (of parallel cables the first). Nodes that do not forward may stand on it. A
            list of such paths splits the flow into equal parts.

    Raises:
        InputError: another number of paths than flows, or a path that does not lead from source to
            target; flow and place are named.
    """
    if paths is None or len(paths) != len(source):
        found = "none" if paths is None else str(len(paths))
        raise InputError(
            f"{found} paths for {len(source)} flows", where=where, mend="give one path a flow"
        )
    chosen, flow_of, share = [], [], []
    for flow, given in enumerate(paths):
        start, end = int(topology.endpoints[source[flow]]), int(topology.endpoints[target[flow]])
        several = len(given) > 0 and not np.isscalar(given[0])
        parts = list(given) if several else [given]
        for path in parts:
            chosen.append(_links(topology, path, start, end, f"{where}, path of flow {flow}"))
            flow_of.append(flow)
            share.append(1 / len(parts))
    first = np.concatenate(([0], np.cumsum([len(links) for links in chosen])))
    flat = np.array([link for links in chosen for link in links], np.int32)
    return make_routes(topology, first, flat, np.array(flow_of, np.int32), np.array(share))


def _links(t: Topology, path: Sequence[Any], start: int, end: int, where: str) -> list[int]:
    if len(path) and isinstance(path[0], str):
        numbers = _from_names(t, [str(name) for name in path], where)
    else:
        numbers = [int(link) for link in path]
    at = start
    for place, link in enumerate(numbers):
        if not 0 <= link < len(t.source):
            raise InputError(f"link {link} does not exist, there are {len(t.source)}", where=where)
        a, b = int(t.source[link]), int(t.target[link])
        if at == a:
            at = b
        elif at == b and t.shared[link]:
            at = a
        else:
            raise InputError(
                f"link {t.link_name(link)} (place {place}) does not start at {t.nodes[at]}",
                where=where,
            )
    if at != end:
        raise InputError(f"ends at {t.nodes[at]}, not at {t.nodes[end]}", where=where)
    return numbers


def _from_names(t: Topology, names: list[str], where: str) -> list[int]:
    numbers = []
    for a, b in pairwise(names):
        between = t.links_between(a, b)
        if not len(between):
            raise InputError(f"no link leads from {a} to {b}", where=where)
        numbers.append(int(between[0]))
    return numbers
