"""Collectives in closed form: latency and bandwidth, no contention.

A message of b bytes from rank to rank takes alpha + b / B; a rank sends and gets at B at the same
time (Hockney's model, full duplex; Thakur, Rabenseifner and Gropp 2005, cost model). Times of
reductions themselves are not counted.
"""

from mltwin.sim.errors import InputError

from .collectives_table import KINDS, size_of
from .collectives_tree import (
    binary_parents,
    depth,
    double_tree_rounds,
    port_load,
    tree_rounds,
    two_trees,
)

ALGORITHMS = {
    "all_reduce": (
        "ring", "tree", "double_tree", "halving_doubling", "hierarchical", "in_network", "direct",
    ),
    "reduce_scatter": ("ring", "halving_doubling", "hierarchical", "direct"),
    "all_gather": ("ring", "halving_doubling", "hierarchical", "direct"),
    "all_to_all": ("direct", "pairwise"),
    "broadcast": ("ring", "tree", "double_tree", "in_network"),
    "send_recv": ("direct",),
}  # fmt: skip
"""Algorithms by kind of collective."""
CHUNKS = 8
"""Pieces of the data where an algorithm needs some and none are named."""


def checked(kind: str, algorithm: str, n: int) -> None:
    """Whether there is such a collective.

    Raises:
        InputError: an unknown name, or fewer ranks than it takes.
    """
    if kind not in KINDS:
        raise InputError(
            f"collective {kind!r}", where="kind", mend=f"use one of {', '.join(KINDS)}"
        )
    if algorithm not in ALGORITHMS[kind]:
        raise InputError(
            f"algorithm {algorithm!r} of {kind}",
            where="algorithm",
            mend=f"use one of {', '.join(ALGORITHMS[kind])}",
        )
    if n < 2 or (kind == "send_recv" and n != 2):
        raise InputError(
            f"{kind} over {n} ranks",
            where="ranks",
            mend="give exactly 2" if kind == "send_recv" else "give at least 2",
        )


def alphabeta_s(
    kind: str,
    algorithm: str,
    n: int,
    bytes: float,
    latency_s: float,
    bytes_per_s: float,
    *,
    chunks: int | None = None,
    island: int | None = None,
    inter_latency_s: float | None = None,
    inter_bytes_per_s: float | None = None,
) -> float:
    """Seconds of a collective over ``n`` equal ranks.

    - ring, n ranks: L(n-1) (alpha + S/n/B), L = 2 for all-reduce, 1 for its halves (Patarasuk and
      Yuan 2009); broadcast along it (n-2+k)(alpha + S/k/B) in k chunks.
    - halving_doubling: alpha log2 n + (n-1)/n S/B a half (Thakur et al. 2005); for
      all-reduce where n is no power of two another 2 (alpha + S/B).
    - tree, double_tree: steps of :func:`mltwin.models.network.collectives_tree.tree_rounds` and
      :func:`~mltwin.models.network.collectives_tree.double_tree_rounds` times one chunk; pipelined
      depth x alpha and the busiest link (Sanders et al. 2009).
    - hierarchical, m islands of g: the inner ring's halves and the ring over islands on S/g.
    - in_network: up once, down once; (k+1)(alpha/2 + S/k/B) in k chunks (Graham et al. 2016).
    - direct: alpha + (n-1)/n S/B a half or all-to-all; pairwise (n-1)(alpha + S/n/B).

    Args:
        kind, algorithm: see :data:`~mltwin.models.network.collectives_table.KINDS` (which says
            what ``bytes`` counts) and :data:`ALGORITHMS`.
        bytes: S.
        latency_s, bytes_per_s: alpha and B, from rank to rank (inside an island if there are any).
        chunks: pieces that follow each other in trees, chains and switches; None: very many.
        island: ranks of one island, for ``hierarchical``.
        inter_latency_s, inter_bytes_per_s: of one rank's link between islands; None: as inside.

    Raises:
        InputError: an unknown name, ranks that islands do not divide, or a number that is not
            positive.
    """
    checked(kind, algorithm, n)
    size, rate = size_of(bytes), size_of(bytes_per_s, "bytes_per_s")
    if not 0 <= latency_s < float("inf"):
        raise InputError(f"latency_s is {latency_s}", mend="give seconds, 0 or more")
    if algorithm == "hierarchical":
        g = island_of(n, island)
        inner = (latency_s, rate)
        outer = (
            latency_s if inter_latency_s is None else inter_latency_s,
            rate if inter_bytes_per_s is None else size_of(inter_bytes_per_s, "inter_bytes_per_s"),
        )
        return _hierarchical_s(kind, n // g, g, size, inner, outer)
    if algorithm in ("tree", "double_tree"):
        return _tree_s(kind, algorithm, n, size, latency_s, rate, chunks)
    steps, moved = _steps(kind, algorithm, n, chunks)
    return steps * latency_s + moved * size / rate


def island_of(n: int, island: int | None) -> int:
    """Ranks of an island.

    Raises:
        InputError: not given, or it does not divide ``n``.
    """
    if island is None or island < 1 or n % island:
        raise InputError(
            f"hierarchical over {n} ranks in islands of {island}",
            where="island",
            mend="give a number of ranks that divides them, or a topology with equal islands",
        )
    return island


def _steps(kind: str, algorithm: str, n: int, chunks: int | None) -> tuple[float, float]:
    """Latencies, and bytes over a link as a fraction of the collective's."""
    halves = 2 if kind == "all_reduce" else 1
    if kind == "send_recv":
        return 1, 1.0
    if algorithm == "in_network":
        return (1, 1.0) if chunks is None else ((chunks + 1) / 2, (chunks + 1) / chunks)
    if kind == "broadcast":
        return (n - 1, 1.0) if chunks is None else (n - 2 + chunks, (n - 2 + chunks) / chunks)
    if algorithm in ("ring", "pairwise"):
        return halves * (n - 1), halves * (n - 1) / n
    if algorithm == "direct":
        return halves, halves * (n - 1) / n
    core = 1 << (n.bit_length() - 1)
    extra = 2 if n > core else 0
    return halves * (core.bit_length() - 1) + extra, halves * (core - 1) / core + extra


def _tree_s(
    kind: str, algorithm: str, n: int, size: float, alpha: float, rate: float, chunks: int | None
) -> float:
    ways = 2 if kind == "all_reduce" else 1
    if chunks is None:
        parent = binary_parents(n)
        deep = depth(parent)
        if algorithm == "double_tree" and ways == 2:
            deep = depth(two_trees(n)[0])
        elif algorithm == "double_tree" and n > 2:
            deep = depth(two_trees(n - 1)[0]) + 1
        return ways * deep * alpha + port_load(kind, algorithm, n) * size / rate
    if algorithm == "tree":
        return ways * tree_rounds(n, chunks) * (alpha + size / chunks / rate)
    return double_tree_rounds(kind, n, chunks) * (alpha + size / (2 * chunks) / rate)


def _hierarchical_s(
    kind: str,
    islands: int,
    island: int,
    size: float,
    inner: tuple[float, float],
    outer: tuple[float, float],
) -> float:
    halves = 2 if kind == "all_reduce" else 1
    inside = halves * (island - 1) * (inner[0] + size / island / inner[1])
    across = halves * (islands - 1) * (outer[0] + size / (island * islands) / outer[1])
    return inside + across
