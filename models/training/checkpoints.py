"""What a checkpoint costs by strategy, how often to write one, and what a run then lasts.

Strategies, from the sizes and bandwidths of the state:

- `sync`: training stops for the copy to host memory and the write to storage.
- `async`: it stops for the copy; the write is flushed in the background (as torch.save does in a
  thread; CheckFreq, Mohan et al., FAST 2021).
- `lazy`: the copy, too, runs beside forward and backward of the next step, in which parameters do
  not change, and only the update waits for it (DataStates-LLM, Maurya et al., HPDC 2024, arXiv
  2406.10707).
- `memory`: as lazy, to the host memory of a group of `copies` nodes (Gemini, Wang et al., SOSP
  2023); each `storage_every`-th is flushed to storage besides.
"""

import math
from dataclasses import dataclass

from mltwin.sim.errors import InputError

STRATEGIES = ("sync", "async", "lazy", "memory")


@dataclass(frozen=True)
class CheckpointCosts:
    """Seconds of the phases of a checkpoint, as in `reliability`.

    Attributes:
        block_s: training stops.
        snapshot_s: a copy runs beside the next step.
        flush_s: to storage, in the background.
        write_s: copy and write of a planned restart.
        load_memory_s, load_storage_s: to get the state back.
        memory: whether the copy is a checkpoint.
    """

    block_s: float
    snapshot_s: float
    flush_s: float
    write_s: float
    load_memory_s: float
    load_storage_s: float
    memory: bool


def checkpoint_costs(
    strategy: str,
    state_bytes: float,
    nodes: int,
    *,
    storage_bytes_per_s: float,
    host_bytes_per_s: float,
    peer_bytes_per_s: float,
    copies: int = 1,
) -> CheckpointCosts:
    """The phases of a strategy.

    Args:
        strategy: one of `STRATEGIES`.
        state_bytes: of the whole job: parameters and optimiser, about 14 a parameter with Adam in
            mixed precision (2 + 4 + 4 + 4).
        nodes: that share it evenly.
        storage_bytes_per_s: of the storage system, shared by all nodes.
        host_bytes_per_s: from all GPUs of a node to its memory.
        peer_bytes_per_s: of a node's network.
        copies: nodes that hold a node's state in memory, itself among them.

    Raises InputError for an unknown strategy.
    """
    if strategy not in STRATEGIES:
        raise InputError(f"unknown strategy {strategy!r}", mend=f"known: {', '.join(STRATEGIES)}")
    share = state_bytes / nodes
    copy = share / host_bytes_per_s
    write = state_bytes / storage_bytes_per_s
    # Copies to peers are pipelined in small buffers, as in Gemini: the slower of the two counts.
    peers = max(copy, (copies - 1) * share / peer_bytes_per_s)
    block = {"sync": copy + write, "async": copy}.get(strategy, 0.0)
    snapshot = {"lazy": copy, "memory": peers}.get(strategy, 0.0)
    return CheckpointCosts(
        block_s=block,
        snapshot_s=snapshot,
        flush_s=0.0 if strategy == "sync" else write,
        write_s=copy + write,
        load_memory_s=max(copy, share / peer_bytes_per_s),
        load_storage_s=write + copy,
        memory=strategy == "memory",
    )


def young_interval(cost: float, mtbf: float) -> float:
    """Work between checkpoints that loses least, to first order: sqrt(2 cost mtbf).

    Young, A first order approximation to the optimum checkpoint interval, CACM 17(9), 1974. All
    in one unit of time.
    """
    return math.sqrt(2.0 * cost * mtbf)


def daly_interval(cost: float, mtbf: float) -> float:
    """The same to higher order (Daly, FGCS 22, 2006, equation 37); mtbf where cost >= 2 mtbf."""
    if cost >= 2.0 * mtbf:
        return mtbf
    half = cost / (2.0 * mtbf)
    return young_interval(cost, mtbf) * (1.0 + math.sqrt(half) / 3.0 + half / 9.0) - cost


def expected_run(work: float, interval: float, cost: float, recovery: float, mtbf: float) -> float:
    """Expected time of a run under exponential failures that may strike at any time.

        T = mtbf exp(recovery / mtbf) (exp((interval + cost) / mtbf) - 1) work / interval

    (Daly, FGCS 22, 2006: his complete model), with a checkpoint after each interval, the last
    included. All in one unit of time.
    """
    segment = math.expm1((interval + cost) / mtbf)
    return mtbf * math.exp(recovery / mtbf) * segment * work / interval


def expected_ettr(interval: float, cost: float, recovery: float, mtbf: float) -> float:
    """Share of a long run that trains, to first order in failures.

    One minus checkpoints, cost / (interval + cost), minus failures, each of which costs the
    recovery and half an interval: (recovery + interval / 2) / mtbf. The ratio is that of Kokolis
    et al. (arXiv 2410.21680), without time in queues.
    """
    return 1.0 - cost / (interval + cost) - (recovery + interval / 2.0) / mtbf


def system_mtbf(nodes: int, node_mtbf: float, racks: int = 0, rack_mtbf: float = 0.0) -> float:
    """Time between failures of any of the nodes or racks; infinite where nothing fails."""
    rate = (nodes / node_mtbf if node_mtbf else 0.0) + (racks / rack_mtbf if rack_mtbf else 0.0)
    return 1.0 / rate if rate else math.inf
