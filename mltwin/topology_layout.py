"""Where the parts of a topology stand in its picture.

Trees stand in layers, ranks at the bottom in their islands; a torus of two or three dimensions is a
grid; dragonflies and sites stand in a ring. Large topologies are folded first: each island becomes
one box, then nodes that have the same neighbours become one.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.network.builders_wide import node_levels
from mltwin.models.network.routing import island_of_nodes
from mltwin.models.network.topology import KIND_NAMES, Topology

MOST_NODES = 420
MOST_BOXES = 100
_PLURALS = {"leaf": "leaves", "switch": "switches", "nvswitch": "NVSwitches", "gpu": "GPUs"}
_PLURALS |= {"ub": "UB switches", "top": "top switches"}
Array = npt.NDArray[Any]


@dataclass
class Layout:
    """G boxes (nodes, or several folded to one) and where they stand.

    Attributes:
        box: int64[N], the box of each node.
        x, y: float64[G].
        kind: int64[G], kind of the nodes; size: int64[G], how many.
        labels: G texts.
        captions: (x, y, text) of the layers.
        frames: (left, bottom, right, top, text) around islands and groups.
        spread: places a node needs beside the next, 1 unless nodes are folded.
        quiet: no names, as they would stand in each other's way.
        stubs: link -> (dx, dy), for links that leave the picture on one side and come back on the
            other.
        layered: whether height is the layer.
    """

    box: Array
    x: Array
    y: Array
    kind: Array
    size: Array
    labels: list[str]
    captions: list[tuple[float, float, str]] = field(default_factory=list)
    frames: list[tuple[float, float, float, float, str]] = field(default_factory=list)
    spread: float = 1.0
    quiet: bool = False
    stubs: dict[int, tuple[float, float]] = field(default_factory=dict)
    layered: bool = True


def lay_out(t: Topology, most_nodes: int = MOST_NODES) -> Layout:
    """Boxes and places for a topology; it is folded where it has more than `most_nodes` nodes."""
    box = np.arange(len(t.nodes))
    if len(box) > most_nodes:
        box = folded(t, MOST_BOXES)
    whole = int(box.max()) + 1 == len(box)
    if whole and t.fabric == "torus" and 2 <= len(t.facts["shape"]) <= 3:
        return _grid(t)
    if whole and t.fabric == "dragonfly":
        return _dragonfly_ring(t)
    if t.fabric == "wan" and whole:
        return _site_ring(t)
    if np.all(t.transit[t.endpoints]) and not np.any(t.kinds > 2):
        return _ring(t, box)
    return _layers(t, box)


def folded(t: Topology, most: int) -> Array:
    """int64[N]: a box for each node, fewer than N: islands first, then equals, until `most`."""
    box = np.arange(len(t.nodes))
    of = island_of_nodes(t)
    if t.islands < t.ranks and t.islands > 1:
        box = np.where(of >= 0, len(t.nodes) + of, box)
    box = np.unique(box, return_inverse=True)[1]
    level = node_levels(t)
    lowest = True
    while box.max() + 1 > most or lowest:
        merged = _merged_equals(t, box, level, lowest)
        if merged.max() == box.max() and not lowest:
            break
        box, lowest = merged, False
    return box


def _merged_equals(t: Topology, box: Array, level: Array, lowest: bool) -> Array:
    """Boxes of one level and kind with the same neighbours become one; `lowest`: only ranks."""
    count = int(box.max()) + 1
    a = np.concatenate((box[t.source], box[t.target]))
    b = np.concatenate((box[t.target], box[t.source]))
    order = np.unique(np.stack((a, b), axis=1)[a != b], axis=0)
    first = np.searchsorted(order[:, 0], np.arange(count + 1))
    of_level, of_kind = np.full(count, 1 << 30), np.zeros(count, np.int64)
    np.minimum.at(of_level, box, level)
    of_kind[box] = t.kinds
    alike: dict[Any, int] = {}
    found = np.empty(count, np.int64)
    for g in range(count):
        near = order[first[g] : first[g + 1], 1].tobytes()
        key: Any = (of_level[g], of_kind[g], near)
        if lowest and of_level[g] > 0:
            key = g
        found[g] = alike.setdefault(key, len(alike))
    return found[box]


def _boxes(t: Topology, box: Array) -> Layout:
    count = int(box.max()) + 1
    size = np.bincount(box, minlength=count)
    lowest = np.full(count, len(t.nodes))
    np.minimum.at(lowest, box, np.arange(len(t.nodes)))
    labels = [t.nodes[n] for n in lowest]
    for g in np.flatnonzero(size > 1):
        labels[g] = _fold_label(t, np.flatnonzero(box == g))
    empty = np.zeros(count)
    return Layout(box, empty, empty.copy(), t.kinds[lowest].astype(np.int64), size, labels)


def _fold_label(t: Topology, members: Array) -> str:
    of = island_of_nodes(t)[members]
    islands = np.unique(of[of >= 0])
    ranks = np.isin(members, t.endpoints)
    shown = members[ranks] if np.any(ranks) else members
    word = stem(t.nodes[int(shown[0])])
    if np.any(ranks) and 1 < len(islands) < ranks.sum():
        return f"{len(islands)} x {counted(word, len(shown) // len(islands))}"
    return counted(word, len(shown))


def counted(word: str, n: int) -> str:
    """A number of things: ``4 leaves``, ``1,024 GPUs``."""
    many = _PLURALS.get(word, word if word.endswith("s") else f"{word}s")
    upper = {"gpu": "GPU", "npu": "NPU", "nic": "NIC", "nvswitch": "NVSwitch"}
    upper |= {"ub": "UB switch", "top": "top switch"}
    if word in ("npu", "nic"):
        many = f"{upper[word]}s"
    return f"{n:,} {upper.get(word, word) if n == 1 else many}"


def stem(name: str) -> str:
    """The last part of a node's name without its numbers: ``pod0.edge1`` gives ``edge``."""
    parts = [p.rstrip("0123456789") for p in name.replace("/", ".").split(".")]
    return next((p for p in reversed(parts) if p), name)


def short(name: str) -> str:
    """The last part of a node's name, with the part before where that is a number only."""
    parts = name.replace("/", ".").split(".")
    return parts[-1] if not parts[-1].isdigit() or len(parts) == 1 else ".".join(parts[-2:])


def _layers(t: Topology, box: Array) -> Layout:
    found = _boxes(t, box)
    count = len(found.labels)
    level_of = node_levels(t)
    if t.fabric == "cell":
        level_of = _levels_from(t, t.endpoints[1:])
    level = np.full(count, 1 << 30)
    np.minimum.at(level, box, np.where(level_of < 0, 0, level_of))
    of = island_of_nodes(t)
    is_rank = np.zeros(len(t.nodes), bool)
    is_rank[t.endpoints] = True
    hub = (of >= 0) & ~is_rank
    if t.islands > 1 and np.any((of < 0) & ~is_rank):
        below = np.unique(box[hub])
        below = below[level[below] > 0]
        level[below] *= -1  # an island's own switches stand under its ranks
    block = _blocks(t, box, level)
    _place_bottom(t, found, level, block)
    _place_rest(t, found, level)
    _caption(t, found, level)
    if t.islands < t.ranks:
        _frame(t, found, level, block)
    return found


def _levels_from(t: Topology, starts: Array) -> Array:
    level = np.full(len(t.nodes), -1, np.int64)
    level[starts] = 0
    a, b = np.concatenate((t.source, t.target)), np.concatenate((t.target, t.source))
    for at in range(len(t.nodes)):
        reached = b[(level[a] == at) & (level[b] < 0)]
        if not len(reached):
            break
        level[reached] = at + 1
    return level


def _blocks(t: Topology, box: Array, level: Array) -> Array:
    """int64[G]: what stands together at the bottom: the island, else the switch above."""
    count = len(level)
    block = np.arange(count) + len(t.nodes)
    if t.islands < t.ranks and count == len(t.nodes):
        block[box[t.endpoints]] = t.island
        return block
    for a, b in ((t.source, t.target), (t.target, t.source)):
        up = (level[box[a]] == 0) & (level[box[b]] > 0)
        np.minimum.at(block, box[a][up], box[b][up])
    return block


def _place_bottom(t: Topology, found: Layout, level: Array, block: Array) -> None:
    bottom = np.flatnonzero(level == 0)
    if t.fabric == "cell":
        order = bottom
    else:
        order = bottom[np.lexsort((bottom, block[bottom]))]
    several = len(np.unique(block[bottom])) < len(bottom)
    new = np.concatenate(([False], np.diff(block[order]) != 0))
    found.spread = 1.0 if int(found.size.max()) == 1 else 3.6
    step = np.where(new & several, 1.9, 1.0) * found.spread
    step[0] = 0.0
    found.x[order] = np.cumsum(step)


def _place_rest(t: Topology, found: Layout, level: Array) -> None:
    a, b = found.box[t.source], found.box[t.target]
    a, b = np.concatenate((a, b)), np.concatenate((b, a))
    low, high = float(found.x.min()), float(found.x.max())
    middle = (low + high) / 2
    found.y[:] = np.where(level >= 0, level, 0.62 * level)
    for lv in sorted(np.unique(level[level != 0]), key=lambda v: (v < 0, abs(v))):
        here = np.flatnonzero(level == lv)
        lower = (np.abs(level[b]) < abs(lv)) & (level[b] * lv >= 0) & (level[a] == lv)
        total, count = np.zeros(len(level)), np.zeros(len(level))
        np.add.at(total, a[lower], found.x[b[lower]])
        np.add.at(count, a[lower], 1)
        centre = np.where(count > 0, total / np.maximum(count, 1), middle)[here]
        order = here[np.lexsort((here, np.round(centre, 6)))]
        if lv < 0 or len(here) == 1:
            found.x[here] = centre + _side_by_side(np.round(centre, 6))
        else:
            width = max(high - low, max(1.3, found.spread) * len(here))
            place = (np.arange(len(here)) + 0.5) / len(here) - 0.5
            found.x[order] = middle + place * width


def _side_by_side(centre: Array) -> Array:
    """float64: shifts that set those of one centre apart."""
    shift = np.zeros(len(centre))
    for one in np.unique(centre):
        alike = np.flatnonzero(centre == one)
        shift[alike] = 0.8 * (np.arange(len(alike)) - (len(alike) - 1) / 2)
    return shift


def _caption(t: Topology, found: Layout, level: Array) -> None:
    left = float(found.x.min()) - 1.2
    for lv in np.unique(level):
        here = np.flatnonzero(level == lv)
        nodes = np.flatnonzero(level[found.box] == lv)
        if np.any(found.size[here] > 1) or lv == 0:
            nodes = nodes[np.isin(nodes, t.endpoints)] if lv == 0 else nodes
        stems = {stem(t.nodes[n]) for n in nodes}
        kinds = {KIND_NAMES[int(t.kinds[n])] for n in nodes}
        word = min(stems) if len(stems) == 1 else min(kinds) if len(kinds) == 1 else "node"
        found.captions.append((left, float(found.y[here[0]]), counted(word, len(nodes))))


def _frame(t: Topology, found: Layout, level: Array, block: Array) -> None:
    if np.any(found.size > 1):
        return
    bottom = min(0.0, float(found.y.min())) - 0.24
    for island in range(t.islands):
        inside = found.box[t.endpoints[t.island == island]]
        if t.islands == 1 or len(inside) < 2:
            continue
        left, right = float(found.x[inside].min()), float(found.x[inside].max())
        name = _common([t.nodes[n] for n in t.endpoints[t.island == island]])
        name = name or f"island {island}"
        found.frames.append((left - 0.62, bottom, right + 0.62, 0.24, name))


def _common(names: list[str]) -> str:
    """What the dotted names of an island have in common: ``n3`` of ``n3.gpu0`` and ``n3.gpu1``."""
    parts = [name.split(".") for name in names]
    shared = 0
    while all(len(p) > shared + 1 and p[shared] == parts[0][shared] for p in parts):
        shared += 1
    return ".".join(parts[0][:shared])


def _ring(t: Topology, box: Array) -> Layout:
    found = _boxes(t, box)
    n = len(found.labels)
    angle = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    radius = max(2.0, n / 7)
    found.x, found.y = radius * np.cos(angle), radius * np.sin(angle)
    found.layered = False
    return found


def _grid(t: Topology) -> Layout:
    found = _boxes(t, np.arange(len(t.nodes)))
    shape = [int(n) for n in t.facts["shape"]]
    at = np.array(list(np.ndindex(*shape)), float)
    steps = np.array([[1.0, 0.0], [0.0, -1.0]])
    if len(shape) == 3:  # depth last, oblique: the planes stand one behind the other
        far = np.array([0.36, 0.31])
        room = far * shape[2] + 0.45
        steps = np.array([[room[0], 0.0], [0.0, -room[1]], far])
    place = at @ steps
    found.x, found.y = place[:, 0], place[:, 1]
    jump = at[t.target] - at[t.source]
    for link in np.flatnonzero(np.abs(jump).max(axis=1) > 1):
        d = int(np.argmax(np.abs(jump[link])))
        way = -np.sign(jump[link, d])
        dx, dy = 0.42 * way * steps[d]
        found.stubs[int(link)] = (float(dx), float(dy))
    found.layered, found.quiet = False, len(shape) == 3
    return found


def _dragonfly_ring(t: Topology) -> Layout:
    found = _boxes(t, np.arange(len(t.nodes)))
    groups, a, p = (int(t.facts[k]) for k in ("groups", "a", "p"))
    own = 0.3 + 0.12 * a
    reach = own + 0.5
    radius = 1.0 if groups == 1 else max(reach, 1.06 * reach / np.sin(np.pi / groups))
    hosts = groups * a * p
    for g in range(groups):
        angle = np.pi / 2 - 2 * np.pi * g / groups
        cx, cy = radius * np.cos(angle), radius * np.sin(angle)
        for r in range(a):
            turn = angle + 2 * np.pi * (r + 0.5) / a
            node = hosts + g * a + r
            found.x[node], found.y[node] = cx + own * np.cos(turn), cy + own * np.sin(turn)
            for h in range(p):
                lean = turn + (h - (p - 1) / 2) * min(0.42, 5.0 / a / p)
                host = (g * a + r) * p + h
                found.x[host] = cx + (own + 0.3) * np.cos(lean)
                found.y[host] = cy + (own + 0.3) * np.sin(lean)
        found.frames.append((cx - reach, cy - reach, cx + reach, cy + reach, f"g{g}"))
    found.layered, found.quiet = False, True
    return found


def _site_ring(t: Topology) -> Layout:
    found = _boxes(t, np.arange(len(t.nodes)))
    sites = np.flatnonzero(t.kinds == 4)
    each = int(t.facts.get("hosts_per_site", 0))
    n = len(sites)
    radius = max(1.6, n * 0.75)
    angle = np.pi / 2 - 2 * np.pi * np.arange(n) / n
    found.x[sites], found.y[sites] = radius * np.cos(angle), radius * np.sin(angle)
    for s in range(n if each else 0):
        for h in range(each):
            lean = angle[s] + (h - (each - 1) / 2) * min(0.28, 1.9 / max(each, 1) / max(n, 2))
            node = t.endpoints[s * each + h]
            found.x[node] = (radius + 1.15) * np.cos(lean)
            found.y[node] = (radius + 1.15) * np.sin(lean)
    found.layered = False
    return found
