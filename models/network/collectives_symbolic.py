"""Carries out the transfers of a collective on symbols: who holds whose part of which chunk.

It does not look at bytes or times. It shows that an algorithm keeps its promise in whatever order
its dependencies allow.
"""

import heapq

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import NETWORK, uniforms

from .collectives_table import Transfers

Held = npt.NDArray[np.int32]


def carry_out(table: Transfers, *, seed: int = 0) -> Held:
    """What every member holds in the end.

    A transfer reads what its source holds when it starts and gives it to its target when it ends.
    Which of those that may start does so next, and which of those under way ends next, is drawn.

    Args:
        table: of single steps.
        seed: of the draws.

    Returns:
        int32[n, pieces, n]: how many times member ``m`` holds rank ``r``'s part of chunk ``c``.

    Raises:
        InputError: pipelined flows, which name no chunks, or dependencies in a cycle.
    """
    if table.pipelined and (table.chunk < 0).any():
        raise InputError("flows of many chunks at once", mend="give single steps")
    number_of = np.arange(len(table))
    first, last = (uniforms(seed, NETWORK, number_of, half).tolist() for half in (0, 1))
    number = {int(rank): i for i, rank in enumerate(table.members)}
    n = len(number)
    switches = -int(min(0, table.source.min(initial=0), table.target.min(initial=0)))
    held = np.zeros((n + switches, table.pieces, n), np.int32)
    held[:n] = at_start(table)
    missing = np.diff(table.after_first)
    needed = _needed_by(table)
    waiting = [(first[i], 0, int(i)) for i in np.flatnonzero(missing == 0)]
    heapq.heapify(waiting)
    read: dict[int, Held] = {}
    ended = 0
    while waiting:
        _, begun, i = heapq.heappop(waiting)
        chunks = slice(table.chunk[i], table.chunk[i] + table.count[i])
        if not begun:
            source = int(table.source[i])
            read[i] = held[number.get(source, n - 1 - source), chunks].copy()
            heapq.heappush(waiting, (last[i], 1, i))
            continue
        target = int(table.target[i])
        place = number.get(target, n - 1 - target)
        held[place, chunks] = read.pop(i) + (held[place, chunks] if table.adds[i] else 0)
        ended += 1
        for k in needed[i]:
            missing[k] -= 1
            if missing[k] == 0:
                heapq.heappush(waiting, (first[k], 0, k))
    if ended < len(table):
        raise InputError(f"{len(table) - ended} transfers wait for each other in a cycle")
    return held[:n]


def _needed_by(table: Transfers) -> list[list[int]]:
    needed: list[list[int]] = [[] for _ in range(len(table))]
    for i in range(len(table)):
        for w in table.after[table.after_first[i] : table.after_first[i + 1]]:
            needed[w].append(i)
    return needed


def at_start(table: Transfers) -> Held:
    """What members hold at first: their own part of every chunk for reductions; for the others
    the chunks that are theirs to give."""
    n, pieces = len(table.members), table.pieces
    held = np.zeros((n, pieces, n), np.int32)
    member, chunk = np.arange(n), np.arange(pieces)
    if table.kind in ("all_reduce", "reduce_scatter"):
        held[member, :, member] = 1
    elif table.kind == "all_gather":
        held[table.home, chunk, table.home] = 1
    elif table.kind == "all_to_all":
        held[chunk // n, chunk, chunk // n] = 1
    else:
        root = _root(table)
        held[root, :, root] = 1
    return held


def _root(table: Transfers) -> int:
    """The member that sends and gets nothing from any rank or switch."""
    return int(np.flatnonzero(~np.isin(table.members, table.target))[0])


def broken_promises(table: Transfers, held: Held) -> list[str]:
    """What a collective promises and ``held`` lacks, as sentences; empty if all is well.

    All-reduce: every rank has every rank's part of every chunk exactly once. Reduce-scatter: a
    chunk's home has that. All-gather, broadcast, send-receive: every rank has every chunk.
    All-to-all: a chunk's home has it.
    """
    n, pieces = len(table.members), table.pieces
    member, chunk = np.arange(n)[:, None], np.arange(pieces)[None, :]
    at_home = (member == table.home[None, :]) | (chunk < 0)
    promised = at_home if table.kind in ("reduce_scatter", "all_to_all") else member >= 0 * chunk
    want = np.zeros((n, pieces, n), np.int32)
    if table.kind in ("all_reduce", "reduce_scatter"):
        want[:] = 1
    elif table.kind == "all_gather":
        want[:, np.arange(pieces), table.home] = 1
    elif table.kind == "all_to_all":
        want[:, np.arange(pieces), np.arange(pieces) // n] = 1
    else:
        want[:, :, _root(table)] = 1
    wrong = promised[:, :, None] & (held != want)
    shares = np.bincount(table.home, minlength=n)
    lines = []
    if table.kind in ("reduce_scatter", "all_gather", "all_to_all") and (shares != shares[0]).any():
        lines.append(f"homes hold {shares.min()} to {shares.max()} chunks")
    for m, c, r in np.argwhere(wrong)[:5]:
        lines.append(f"member {m} holds rank {r}'s part of chunk {c} {held[m, c, r]} times")
    return lines
