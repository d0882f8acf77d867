"""Collectives: what each algorithm sends from rank to rank, and how long that takes.

Three ways to the same time, which agree where nothing else uses the links (tests hold it):
:func:`alphabeta_s`, a formula; :func:`transfers` step by step, with dependencies; and
``transfers(..., pipelined=True)``, one flow for each edge of a ring or tree, which is what a
large cluster is simulated with. For real GPUs see :mod:`mltwin.models.network.nccl`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .collectives_closed import ALGORITHMS, CHUNKS, alphabeta_s, checked, island_of
from .collectives_direct import direct, halving_doubling, in_network, pairwise, send_recv
from .collectives_ring import chain, hierarchical, ring
from .collectives_table import KINDS, Ints, Steps, Transfers, finish, size_of
from .collectives_tree import double_tree, tree

__all__ = [
    "ALGORITHMS",
    "CHUNKS",
    "KINDS",
    "Transfers",
    "alphabeta_s",
    "islands_of",
    "members_of",
    "transfers",
]


def transfers(
    kind: str,
    ranks: int | npt.ArrayLike,
    bytes: float,
    algorithm: str,
    *,
    topology: Any = None,
    pipelined: bool = False,
    chunks: int | None = None,
    island: int | None = None,
    root: int = 0,
) -> Transfers:
    """The transfers of one collective.

    Args:
        kind, algorithm: see :data:`KINDS` (which says what ``bytes`` counts), :data:`ALGORITHMS`.
        ranks: how many (then they are 0 .. n-1), or which, in the order of the ring.
        topology: whose NVLink islands ``hierarchical`` uses.
        pipelined: one flow for each edge and phase, of all its bytes, in place of single steps.
            The same as steps for ``direct`` and ``halving_doubling``.
        chunks: pieces that follow each other in trees, chains and switches; None: 8.
        island: ranks of one island, for ``hierarchical`` without a topology.
        root: of a broadcast, as a place in ``ranks``.

    Raises:
        InputError: an unknown name, ranks given twice or outside the topology, islands that do not
            fit, or a number that is not positive.
    """
    members = members_of(ranks, topology)
    n = len(members)
    checked(kind, algorithm, n)
    size = size_of(bytes)
    if not 0 <= root < n:
        raise InputError(f"root {root} of {n} ranks", where="root", mend=f"give 0 to {n - 1}")
    pieces = CHUNKS if chunks is None else chunks
    if pieces < 1:
        raise InputError(f"{pieces} chunks", where="chunks", mend="give 1 or more")
    if algorithm == "hierarchical":
        if topology is None:
            g = island_of(n, island)
        else:
            members, g = islands_of(topology, members)
        steps = hierarchical(kind, n // g, g, pipelined=pipelined)
    else:
        steps = _steps(kind, algorithm, n, root, pieces, pipelined)
    return finish(steps, kind, algorithm, members, size, pipelined)


def _steps(kind: str, algorithm: str, n: int, root: int, chunks: int, pipelined: bool) -> Steps:
    if kind == "send_recv":
        return send_recv()
    if algorithm == "tree":
        return tree(kind, n, root, chunks, pipelined=pipelined)
    if algorithm == "double_tree":
        return double_tree(kind, n, root, chunks, pipelined=pipelined)
    if algorithm == "in_network":
        return in_network(kind, n, root, chunks, pipelined=pipelined)
    if algorithm == "halving_doubling":
        return halving_doubling(kind, n)
    if algorithm == "direct":
        return direct(kind, n)
    if algorithm == "pairwise":
        return pairwise(n, pipelined=pipelined)
    if kind == "broadcast":
        return chain(n, root, chunks, pipelined=pipelined)
    return ring(kind, n, pipelined=pipelined)


def members_of(ranks: int | npt.ArrayLike, topology: Any = None) -> Ints:
    """The ranks as int32[n]: 0 .. n-1 for a number, else those given.

    Raises:
        InputError: a rank given twice, or one that the topology lacks.
    """
    given = np.asarray(ranks)
    members = np.arange(int(given)) if given.ndim == 0 else given
    if given.ndim > 1 or (given.ndim and given.dtype.kind not in "iu"):
        raise InputError("ranks are not a list of whole numbers", where="ranks")
    values, times = np.unique(members, return_counts=True)
    if (times > 1).any():
        raise InputError(
            f"rank {values[times > 1][0]} is given twice", where="ranks", mend="give each once"
        )
    most = np.iinfo(np.int32).max if topology is None else len(topology.endpoints)
    wrong = values[(values < 0) | (values >= most)]
    if len(wrong):
        raise InputError(f"rank {wrong[0]}", where="ranks", mend=f"give ranks 0 to {most - 1}")
    return members.astype(np.int32)


def islands_of(topology: Any, members: Ints) -> tuple[Ints, int]:
    """The members sorted by island, then rail, and the size of an island.

    Raises:
        InputError: islands hold different numbers of the members, or their rails differ.
    """
    island, rail = np.asarray(topology.island)[members], np.asarray(topology.rail)[members]
    order = np.lexsort((members, rail, island))
    _, counts = np.unique(island, return_counts=True)
    if (counts != counts[0]).any():
        raise InputError(
            f"islands of {counts.min()} to {counts.max()} ranks",
            where="ranks",
            mend="give as many ranks of every island, or use ring",
        )
    places = rail[order].reshape(-1, counts[0])
    if (places != places[0]).any():
        raise InputError(
            "ranks of different rails", where="ranks", mend="give the same rails of every island"
        )
    return members[order], int(counts[0])
