"""Binary trees: one, or two at once so that every rank's link is full both ways."""

from collections import defaultdict

import numpy as np

from .collectives_table import Ints, Steps, padded, steps_of

Edge = tuple[int, int, int]
"""Of a chunk over a tree's edge: number of the tree, the child, the chunk."""


def binary_parents(n: int) -> Ints:
    """A balanced binary tree in the order of a heap: each member's parent, -1 of the root 0."""
    return ((np.arange(n) + 1) // 2 - 1).astype(np.int32)


def ordered_parents(n: int) -> Ints:
    """A binary tree whose in-order walk is 0 .. n-1 and in which every even member is a leaf.

    Sanders, Speck and Träff 2009, "Two-tree algorithms for full bandwidth broadcast, reduction
    and scan". Counting from 1, the lowest set bit of a number is its height; its
    parent has the next higher bit in its place, or, beyond the last member, none there.
    """
    number = np.arange(1, n + 1)
    low = number & -number
    up = (number ^ low) | (low << 1)
    parent = np.where(up <= n, up, number ^ low)
    return (parent - 1).astype(np.int32)


def two_trees(n: int) -> tuple[Ints, Ints]:
    """Parents in two trees over the same members: the inner members of one are leaves of the
    other: its mirror for even ``n``; shifted by one for odd, where one member is a leaf in both."""
    first = ordered_parents(n)
    if n % 2 == 0:
        mirrored = first[::-1]
        return first, np.where(mirrored >= 0, n - 1 - mirrored, -1).astype(np.int32)
    shifted = np.roll(first, 1)
    return first, np.where(shifted >= 0, (shifted + 1) % n, -1).astype(np.int32)


def tree(kind: str, n: int, root: int, chunks: int, *, pipelined: bool = False) -> Steps:
    """Broadcast down a balanced binary tree, or all-reduce up and down it.

    A parent serves one child at a time. The root's broadcast follows the whole reduction.
    """
    parents = [binary_parents(n)]
    member = (np.arange(n) + root) % n
    if pipelined:
        return _flows(kind, parents, member)
    order = [(0, v, c) for c in range(chunks) for v in range(1, n)]
    down = _broadcast_lists(parents[0], chunks)
    if kind == "broadcast":
        return _as_steps(order, parents, member, chunks, down, [False] * len(order))
    # A reduction is a broadcast backwards: edges and dependencies turned round.
    total = len(order)
    up: list[list[int]] = [[] for _ in range(total)]
    for i, waits in enumerate(down):
        for w in waits:
            up[total - 1 - w].append(total - 1 - i)
    rising = [(0, v, chunks - 1 - c) for (_, v, c) in reversed(order)]
    into_root = [i for i, (_, v, _) in enumerate(rising) if parents[0][v] == 0]
    lists = up + [[w + total for w in waits] if waits else into_root for waits in down]
    adds = [True] * total + [False] * total
    return _as_steps(rising + order, parents, member, chunks, lists, adds)


def _broadcast_lists(parent: Ints, chunks: int) -> list[list[int]]:
    """What each (chunk, child) of a broadcast waits for: the parent has the chunk and has sent
    what comes before, all children of a chunk first."""
    n = len(parent)
    lists: list[list[int]] = []
    for c in range(chunks):
        for v in range(1, n):
            waits = []
            if parent[v] > 0:
                waits.append(c * (n - 1) + parent[v] - 1)
            elder = v - 1 if v % 2 == 0 else 0
            if elder:
                waits.append(c * (n - 1) + elder - 1)
            elif c:
                last = v + 1 if v + 1 < n else v
                waits.append((c - 1) * (n - 1) + last - 1)
            lists.append([int(w) for w in waits])
    return lists


def tree_rounds(n: int, chunks: int) -> int:
    """Steps of a broadcast of ``chunks`` down :func:`binary_parents` when a parent serves one
    child at a time: the largest, over members, of the step in which the first chunk comes plus
    ``chunks - 1`` times the most children of any member above."""
    first, slowest = np.zeros(n, int), np.zeros(n, int)
    for v in range(1, n):
        up = (v - 1) // 2
        children = 2 if 2 * up + 2 < n else 1
        first[v] = first[up] + (1 if v % 2 else 2)
        slowest[v] = max(slowest[up], children)
    return int((first + slowest * (chunks - 1)).max())


def double_tree(kind: str, n: int, root: int, chunks: int, *, pipelined: bool = False) -> Steps:
    """Broadcast or all-reduce over two trees, each of one half of the data in ``chunks`` chunks.

    Sanders, Speck and Träff 2009: edges have two colours, such that a member gets over
    edges of different colours in the two trees and sends over different colours to its two
    children; colours take turns, so that every member sends one chunk and gets one at a time. A
    broadcast's root feeds both trees' roots; a reduction is a broadcast backwards.
    """
    parents = _double_parents(kind, n)
    member = (np.arange(n) + (root if kind == "broadcast" else 0)) % n
    if pipelined:
        return _flows(kind, parents, member)
    order = _in_turn(parents, chunks)
    adds = [False] * len(order)
    if kind == "all_reduce":
        order = [(t, v, chunks - 1 - c) for t, v, c in reversed(order)] + order
        adds = [True] * len(adds) + adds
    return _as_steps(order, parents, member, chunks, _port_lists(order, adds, parents), adds)


def _double_parents(kind: str, n: int) -> list[Ints]:
    if kind == "all_reduce":
        return list(two_trees(n))
    if n == 2:
        return [binary_parents(n)] * 2
    # The trees' members are 1 .. n-1; member 0 feeds both roots.
    return [np.concatenate([[-1], np.maximum(p + 1, 0)]).astype(np.int32) for p in two_trees(n - 1)]


def _colours(parents: list[Ints]) -> list[Ints]:
    """0 or 1 for the edge into each member of each tree, -1 for roots.

    Edges that share a sender or a receiver form paths and even cycles (at most two of each), so
    that two colours do.
    """
    colours = [np.full(len(p), -1, np.int32) for p in parents]
    edges = [(t, int(v)) for t, p in enumerate(parents) for v in np.flatnonzero(p >= 0)]
    beside: dict[tuple[str, int], list[tuple[int, int]]] = defaultdict(list)
    for t, v in edges:
        beside["from", int(parents[t][v])].append((t, v))
        beside["to", v].append((t, v))
    for start in edges:
        waiting = [(start, 0)] if colours[start[0]][start[1]] < 0 else []
        while waiting:
            (t, v), colour = waiting.pop()
            if colours[t][v] >= 0:
                continue
            colours[t][v] = colour
            near = beside["from", int(parents[t][v])] + beside["to", v]
            waiting += [(edge, 1 - colour) for edge in near if edge != (t, v)]
    return colours


def _in_turn(parents: list[Ints], chunks: int) -> list[Edge]:
    """All transfers of a broadcast from the roots, by turn.

    A member passes the first chunk on in the first turn of the edge's colour after it came, and
    every further one two turns later.
    """
    order: list[tuple[int, Edge]] = []
    for t, (parent, colour) in enumerate(zip(parents, _colours(parents), strict=True)):
        first = np.where(parent < 0, 0, -1)
        level = np.flatnonzero(parent < 0)
        while len(level):
            level = np.flatnonzero(np.isin(parent, level) & (first < 0))
            came = first[parent[level]] + 1
            first[level] = came + (came % 2 != colour[level])
        for v in np.flatnonzero(parent >= 0).tolist():
            order += [(int(first[v]) + 2 * c, (t, v, c)) for c in range(chunks)]
    return [edge for _, edge in sorted(order)]


def _port_lists(order: list[Edge], adds: list[bool], parents: list[Ints]) -> list[list[int]]:
    """What each transfer waits for: the ones before it at its source and at its target, and those
    that brought its source what it passes on."""
    sent: dict[int, int] = {}
    got: dict[int, int] = {}
    held: dict[Edge, list[int]] = defaultdict(list)
    lists: list[list[int]] = []
    for i, ((t, v, c), upward) in enumerate(zip(order, adds, strict=True)):
        up = int(parents[t][v])
        source, target = (v, up) if upward else (up, v)
        before = {w for w in (sent.get(source), got.get(target)) if w is not None}
        lists.append(sorted(before | set(held[t, source, c])))
        sent[source] = got[target] = i
        held[t, target, c].append(i)
    return lists


def double_tree_rounds(kind: str, n: int, chunks: int) -> int:
    """Steps of :func:`double_tree`: its longest chain of transfers."""
    steps = double_tree(kind, n, 0, chunks)
    length = np.zeros(len(steps.source) + 1, int)
    for i, waits in enumerate(steps.after):
        # Transfers stand in the order of their turns.
        length[i] = length[waits].max(initial=0) + 1
    return int(length.max())


def _flows(kind: str, parents: list[Ints], member: np.ndarray) -> Steps:
    """Pipelined: one flow an edge and way, of the tree's share of the data."""
    children = [np.flatnonzero(p >= 0) for p in parents]
    ups = [p[c] for p, c in zip(parents, children, strict=True)]
    low, high = np.concatenate(children), np.concatenate(ups)
    both = kind == "all_reduce"
    source = np.concatenate([low, high]) if both else high
    target = np.concatenate([high, low]) if both else low
    return steps_of(
        member[source],
        member[target],
        1 / len(parents),
        hops=max(depth(p) for p in parents) * (2 if both else 1),
        adds=np.arange(len(source)) < (len(low) if both else 0),
        group=0,
    )


def depth(parent: Ints) -> int:
    """Edges from the root to the deepest member."""
    steps, at = 0, np.arange(len(parent))
    while True:
        at = parent[at]
        at = at[at >= 0]
        if len(at) == 0:
            return steps
        steps += 1


def port_load(kind: str, algorithm: str, n: int) -> float:
    """The most bytes that one rank sends or gets in a pipelined tree, over those of the
    collective: all flows are equal, so the time is this over the bandwidth."""
    steps = {"tree": tree, "double_tree": double_tree}[algorithm](kind, n, 0, 1, pipelined=True)
    sent = np.bincount(steps.source, steps.share, minlength=n)
    got = np.bincount(steps.target, steps.share, minlength=n)
    return float(max(sent.max(), got.max()))


def _as_steps(
    edges: list[Edge],
    parents: list[Ints],
    member: np.ndarray,
    chunks: int,
    lists: list[list[int]],
    adds: list[bool],
) -> Steps:
    number, child, chunk = np.array(edges).T
    up = np.stack(parents)[number, child]
    rising = np.array(adds)
    trees = len(parents)
    return steps_of(
        member[np.where(rising, child, up)],
        member[np.where(rising, up, child)],
        1 / (trees * chunks),
        after=padded(lists),
        phase=~rising,
        chunk=number * chunks + chunk,
        count=1,
        adds=rising,
        pieces=trees * chunks,
    )
