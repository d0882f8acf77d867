"""From the tasks of one GPU a stage to the graph of one or of all ranks."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .graph import COLLECTIVE, HOST, NOTHING, TRANSFER, GraphBuilder
from .step_work import StepWork
from .tables import CATEGORIES, Graph

NEXT_NODE, LOCAL = 1, 2
"""Where a transfer of weights or gradients goes: the same place on the next node of the group, or
the next rank of its own node."""


class Row(NamedTuple):
    """One task of one GPU of a stage.

    Attributes:
        kind, stream, category, name: as in a graph; ``length`` is its duration in ticks.
        stage: whose GPU runs it; -1 for none.
        target: stage that a message goes to; ``size`` its bytes.
        hop: of a transfer of weights or gradients, 0 for none.
    """

    kind: int
    stage: int
    stream: int
    length: int
    category: int
    name: str
    target: int
    size: float
    hop: int = 0


def replicated(
    rows: list[Row],
    edges: list[tuple[int, int]],
    work: StepWork,
    *,
    everyone: bool,
    network: bool,
) -> Graph:
    """The graph of one GPU a stage, or of all of them with groups that start together.

    Args:
        rows, edges: tasks in the order of issue, and (task, what it waits for).
        network: messages have no duration of their own.
    """
    plan = work.plan
    graph = GraphBuilder()
    kind, stage, stream, length, category, names, target, size, hop = zip(*rows, strict=True)
    stages, codes, hops = np.array(stage), np.array(category), np.array(hop)
    label = np.array([graph.label(text) for text in names])
    kinds, lengths = _kinds(np.array(kind), codes, np.array(length, np.int64), network)
    moves = kinds == TRANSFER
    pairs = np.array(edges, np.int64).reshape(-1, 2)
    n, width = len(rows), plan.data_ranks * plan.tp
    copies = width if everyone else 1
    for r in range(copies):
        far = np.where(hops > 0, stages * width, np.array(target) * width + r)
        for way in (NEXT_NODE, LOCAL):
            far = np.where(hops == way, far + _neighbour(work, r, way), far)
        graph.add(
            count=n,
            kind=kinds,
            device=np.where(stages < 0, -1, stages * copies + r),
            stream=np.array(stream),
            duration=lengths,
            group=_groups(kinds, codes, hops, work, copies, r) if everyone else -1,
            source=np.where(moves, stages * width + r, -1),
            target=np.where(moves, far, -1),
            bytes=np.where(moves, np.array(size), 0.0),
            name=label,
            category=codes,
        )
        graph.depend(pairs[:, 0] + r * n, pairs[:, 1] + r * n)
    return graph.build(facts={"plan": plan.describe(), "ranks": "all" if everyone else "one"})


def _kinds(
    kinds: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
    lengths: npt.NDArray[np.int64],
    network: bool,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Kinds and durations; with a network, transfers take the time it gives them. Without one a
    message that takes no time is a join, as a transfer without a duration asks for a network."""
    moves = kinds == TRANSFER
    if network:
        lengths = np.where(moves, 0, lengths)
    else:
        kinds = np.where(moves & (lengths == 0), NOTHING, kinds)
    return np.where(codes == CATEGORIES.index("host"), HOST, kinds), lengths


def _neighbour(work: StepWork, rank: int, way: int) -> int:
    """The rank of the same stage that ``rank`` sends its weights or gradients to."""
    plan, k = work.plan, work.together
    n = plan.data_ranks
    k = k if n % k == 0 else 1
    data, shard = divmod(rank, plan.tp)
    if way == NEXT_NODE:
        return (data + k) % n * plan.tp + shard
    return (data // k * k + (data % k + 1) % k) * plan.tp + shard


def _groups(
    kinds: npt.NDArray[np.int64],
    codes: npt.NDArray[np.int64],
    hops: npt.NDArray[np.int64],
    work: StepWork,
    copies: int,
    rank: int,
) -> npt.NDArray[np.int64]:
    """Group of each task of one rank: tasks of the same row start together on the ranks that share
    the collective."""
    plan = work.plan
    data, shard = divmod(rank, plan.tp)
    mates = {
        "tp": data,
        "dp": shard,
        "cp": data // plan.cp * plan.tp + shard,
        "ep": data // plan.ep * plan.tp + shard,
    }
    group = np.full(len(kinds), -1, np.int64)
    for name, mate in mates.items():
        here = ((kinds == COLLECTIVE) | (hops > 0)) & (codes == CATEGORIES.index(name))
        group[here] = np.flatnonzero(here) * copies + mate
    return group
