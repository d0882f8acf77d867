"""Paths by breadth-first search from each destination, over the nodes that forward.

Flows are taken destination by destination. The search runs backwards from a destination and stops
as soon as the sources that send to it are reached, so that neighbours cost next to nothing and no
table of all pairs is ever made. Destinations below one and the same switch share a search.

`dist` holds hops to the destination: 0 where not (yet) reached.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler, kernel
from mltwin.sim.rng import ROUTING, keyed_bits

SHORTEST, ECMP, SPRAY = 0, 1, 2
OK, UNREACHABLE, TOO_MANY_PATHS = 0, 1, 2


@kernel()
def find_paths(
    source: Any,
    target: Any,
    order: Any,
    same: Any,
    key: Any,
    mode: int,
    parts: int,
    most_paths: int,
    seed: int,
    out_first: Any,
    out_link: Any,
    out_node: Any,
    in_first: Any,
    in_node: Any,
) -> Any:
    """The paths of all flows, in the order of `order`.

    Args:
        source, target: int32[F], nodes.
        order: int64[F], flows such that those of one search stand together.
        same: bool[F], whether flow order[i] may use the search of order[i - 1].
        key: int64[F], what ECMP hashes.
        mode: SHORTEST, ECMP (`parts` subflows a flow) or SPRAY (`most_paths` at the utmost).
        out_first, out_link, out_node: CSR of the links out of each node, by link number.
        in_first, in_node: CSR of the forwarding nodes before each node.

    Returns:
        (status, flow that failed or -1, flow int32[R], share float64[R], hops int32[R],
        links int32[sum of hops]).
    """
    nodes = len(out_first) - 1
    dist = np.zeros(nodes, np.int32)
    queue = np.empty(nodes, np.int32)
    ends = np.zeros(2, np.int64)
    at = np.empty(nodes + 1, np.int32)
    place = np.empty(nodes + 1, np.int64)
    fan = np.empty(nodes + 1, np.int64)
    flow_of = np.empty(max(len(source) * parts, 16), np.int32)
    share = np.empty(len(flow_of), np.float64)
    hops_of = np.empty(len(flow_of), np.int32)
    links = np.empty(4 * len(flow_of), np.int32)
    rows = np.int64(0)
    used = np.int64(0)
    begun = False
    for i in range(len(order)):
        f = np.int64(order[i])
        u = np.int64(source[f])
        v = np.int64(target[f])
        hops = np.int64(0)
        paths = np.int64(1)
        before = dist[u]
        begun = begun and same[i]
        if u != v:
            if not begun:
                begun = True
                _begin_search(dist, queue, ends, in_first, in_node, v)
            hops = _search(dist, queue, ends, out_first, out_node, in_first, in_node, u, v)
            if hops == 0:
                return UNREACHABLE, f, flow_of, share, hops_of, links
            before = dist[u]
            dist[u] = hops
            paths = np.int64(parts)
            if mode == SPRAY:
                paths = _count_paths(dist, out_first, out_node, at, place, u, v, most_paths)
                if paths > most_paths:
                    return TOO_MANY_PATHS, f, flow_of, share, hops_of, links
        if rows + paths > len(flow_of):
            flow_of = _grown(flow_of, rows + paths)
            share = _grown(share, rows + paths)
            hops_of = _grown(hops_of, rows + paths)
        if used + paths * hops > len(links):
            links = _grown(links, used + paths * hops)
        for p in range(paths):
            flow_of[rows + p] = f
            share[rows + p] = 1.0 / paths
            hops_of[rows + p] = hops
        if hops > 0 and mode == SPRAY:
            _all_paths(
                dist, out_first, out_link, out_node, at, place, fan, u, v, links, used, share, rows
            )
        elif hops > 0:
            for p in range(paths):
                salt = np.int64(key[f]) if mode == ECMP else np.int64(-1)
                turn = nodes * np.int64(p)
                _one_path(dist, out_first, out_link, out_node, u, v, salt, turn, seed, links, used)
                used += hops
            used -= paths * hops
        rows += paths
        used += paths * hops
        dist[u] = before
    return OK, np.int64(-1), flow_of[:rows], share[:rows], hops_of[:rows], links[:used]


@handler
def _grown(array: Any, least: int) -> Any:
    bigger = np.empty(max(2 * len(array), least), array.dtype)
    bigger[: len(array)] = array
    return bigger


@handler
def _begin_search(dist: Any, queue: Any, ends: Any, in_first: Any, in_node: Any, v: int) -> None:
    """Forget the last search; the nodes just before v are one hop away. ends = [head, tail]."""
    for k in range(ends[1]):
        dist[queue[k]] = 0
    ends[0] = 0
    ends[1] = 0
    for k in range(in_first[v], in_first[v + 1]):
        w = np.int64(in_node[k])
        if dist[w] == 0:
            dist[w] = 1
            queue[ends[1]] = w
            ends[1] += 1


@handler
def _search(
    dist: Any,
    queue: Any,
    ends: Any,
    out_first: Any,
    out_node: Any,
    in_first: Any,
    in_node: Any,
    u: int,
    v: int,
) -> int:
    """Search on, level by level, until u is reached; its hops to v, 0 where it never is."""
    hops = _distance(dist, out_first, out_node, u, v)
    while hops == 0 and ends[0] < ends[1]:
        level_end = np.int64(ends[1])
        while ends[0] < level_end:
            x = np.int64(queue[ends[0]])
            ends[0] += 1
            for k in range(in_first[x], in_first[x + 1]):
                w = np.int64(in_node[k])
                if dist[w] == 0 and w != v:
                    dist[w] = dist[x] + 1
                    queue[ends[1]] = w
                    ends[1] += 1
        hops = _distance(dist, out_first, out_node, u, v)
    return hops


@handler
def _distance(dist: Any, out_first: Any, out_node: Any, u: int, v: int) -> int:
    """Hops from u to v by what is reached so far. As levels are whole, it is final if not 0."""
    if dist[u] > 0:
        return np.int64(dist[u])
    best = np.int64(0)
    for k in range(out_first[u], out_first[u + 1]):
        w = out_node[k]
        if w == v:
            return np.int64(1)
        if dist[w] > 0 and (best == 0 or dist[w] + 1 < best):
            best = np.int64(dist[w]) + 1
    return best


@handler
def _steps(dist: Any, out_first: Any, out_node: Any, u: int, v: int) -> int:
    """How many links lead from u one hop nearer to v."""
    wanted = dist[u] - 1
    count = np.int64(0)
    for k in range(out_first[u], out_first[u + 1]):
        w = out_node[k]
        if w == v or (wanted > 0 and dist[w] == wanted):
            count += 1
    return count


@handler
def _step(dist: Any, out_first: Any, out_node: Any, u: int, v: int, place: int) -> int:
    """Where the place-th of those links stands in the CSR, by link number; -1 beyond the last."""
    wanted = dist[u] - 1
    left = np.int64(place)
    for k in range(out_first[u], out_first[u + 1]):
        w = out_node[k]
        if w == v or (wanted > 0 and dist[w] == wanted):
            if left == 0:
                return np.int64(k)
            left -= 1
    return np.int64(-1)


@handler
def _one_path(
    dist: Any,
    out_first: Any,
    out_link: Any,
    out_node: Any,
    u: int,
    v: int,
    salt: int,
    turn: int,
    seed: int,
    links: Any,
    used: int,
) -> None:
    """Write one shortest path: where links tie, the hash of (salt, node) takes one, salt < 0 the
    first."""
    x = np.int64(u)
    for j in range(np.int64(dist[u])):
        choice = np.int64(0)
        if salt >= 0:
            count = _steps(dist, out_first, out_node, x, v)
            if count > 1:
                drawn = keyed_bits(seed, ROUTING, salt, x + turn)
                choice = np.int64(drawn >> np.uint64(1)) % count
        k = _step(dist, out_first, out_node, x, v, choice)
        links[used + j] = out_link[k]
        x = np.int64(out_node[k])


@handler
def _count_paths(
    dist: Any, out_first: Any, out_node: Any, at: Any, place: Any, u: int, v: int, most: int
) -> int:
    """How many shortest paths there are; `most` + 1 stands for more than `most`."""
    found = np.int64(0)
    depth = np.int64(0)
    at[0] = u
    place[0] = 0
    while depth >= 0 and found <= most:
        k = _step(dist, out_first, out_node, np.int64(at[depth]), v, np.int64(place[depth]))
        if k < 0:
            depth -= 1
            continue
        place[depth] += 1
        if out_node[k] == v:
            found += 1
        else:
            depth += 1
            at[depth] = out_node[k]
            place[depth] = 0
    return found


@handler
def _all_paths(
    dist: Any,
    out_first: Any,
    out_link: Any,
    out_node: Any,
    at: Any,
    place: Any,
    fan: Any,
    u: int,
    v: int,
    links: Any,
    used: int,
    share: Any,
    rows: int,
) -> None:
    """Write all shortest paths; each node shares equally, so a path's part is 1 over its fans."""
    hops = np.int64(dist[u])
    depth = np.int64(0)
    row = np.int64(rows)
    place_now = np.int64(used)
    at[0] = u
    place[0] = 0
    fan[0] = _steps(dist, out_first, out_node, u, v)
    while depth >= 0:
        if place[depth] == fan[depth]:
            depth -= 1
            continue
        k = _step(dist, out_first, out_node, np.int64(at[depth]), v, np.int64(place[depth]))
        if out_node[k] != v:
            depth += 1
            at[depth] = out_node[k]
            place[depth] = 0
            fan[depth] = _steps(dist, out_first, out_node, np.int64(out_node[k]), v)
            continue
        part = 1.0
        for j in range(depth + 1):
            part /= fan[j]
            x = _step(dist, out_first, out_node, np.int64(at[j]), v, np.int64(place[j]))
            links[place_now + j] = out_link[x]
        share[row] = part
        row += 1
        place_now += hops
        # The link that ended here is done, and with it every level whose links are all done.
        place[depth] += 1
        while depth > 0 and place[depth] == fan[depth]:
            depth -= 1
            place[depth] += 1
