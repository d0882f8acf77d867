"""Builder of supernodes: hundreds of NPUs on one two-tier memory-semantic fabric."""

import numpy as np

from .builders_base import NIC_BYTES_PER_S, NIC_LATENCY_S, TopologyBuilder, numbered, speeds, whole
from .topology import GPU, SWITCH, Topology

UB_BYTES_PER_S = 392e9
"""Unified Bus of one Ascend 910C each way: 7 planes of 56 GB/s."""


def supernode(
    nodes: int = 48,
    npus: int = 8,
    *,
    supernodes: int = 1,
    planes: int = 7,
    top_switches: int = 16,
    merged: bool = True,
    npu_bytes_per_s: float = UB_BYTES_PER_S,
    rdma_bytes_per_s: float = NIC_BYTES_PER_S,
    npu_latency_s: float = 0.6e-6,
    top_latency_s: float = 0.35e-6,
    rdma_latency_s: float = NIC_LATENCY_S,
    name: str | None = None,
) -> Topology:
    """A supernode after CloudMatrix384: 48 nodes of 8 Ascend 910C on a non-blocking Unified Bus.

    Zuo et al., "Serving Large Language Models on Huawei CloudMatrix384", arXiv 2506.12708, section
    3: each NPU has 392 GB/s each way; seven first-tier switch chips a node, each the edge of one of
    seven separate planes; 16 second-tier chips a plane, joined to every node; uplinks as fast as
    downlinks (448 GB/s a chip). Beside it each NPU has 400 Gb/s of RDMA, here used between
    supernodes only. The paper says that a step to another node costs less than 1 us more than one
    within; the latencies here are assumptions that keep to it.

    Args:
        nodes, npus: of each supernode.
        supernodes: from 2 on they are joined by one non-blocking RDMA switch.
        planes, top_switches: of the second tier, a plane.
        merged: all planes count as one, as do the chips of the second tier, since traffic is spread
            over them evenly. False: all chips and cables (route with "spray" then, or a flow has
            one plane only).
        npu_bytes_per_s: all planes together.

    Island = supernode, rail = NPU within it. The CPUs are left out.
    """
    fabric = "supernode"
    whole(fabric, nodes=nodes, npus=npus, supernodes=supernodes, planes=planes)
    whole(fabric, top_switches=top_switches)
    speeds(
        fabric,
        npu_bytes_per_s=npu_bytes_per_s,
        rdma_bytes_per_s=rdma_bytes_per_s,
        npu_latency_s=npu_latency_s,
        top_latency_s=top_latency_s,
        rdma_latency_s=rdma_latency_s,
    )
    lanes, tops = (1, 1) if merged else (planes, top_switches)
    made = TopologyBuilder()
    pre = "s{}." if supernodes > 1 else ""
    counts = (supernodes,) if supernodes > 1 else ()
    devices = made.nodes(GPU, numbered(pre + "n{}.npu{}", *counts, nodes, npus))
    low = made.nodes(SWITCH, numbered(pre + "n{}.ub{}", *counts, nodes, lanes))
    high = made.nodes(SWITCH, numbered(pre + "plane{}.top{}", *counts, lanes, tops))
    low = low.reshape(supernodes, nodes, lanes)
    high = high.reshape(supernodes, lanes, tops)
    per_plane = npu_bytes_per_s / lanes
    made.duplex(
        np.repeat(devices, lanes), np.repeat(low, npus, axis=1).ravel(), per_plane, npu_latency_s
    )
    if nodes > 1:
        made.duplex(
            np.repeat(low, tops),
            np.repeat(high[:, None], nodes, axis=1).ravel(),
            per_plane * npus / tops,
            top_latency_s,
        )
    if supernodes > 1:
        switch = made.nodes(SWITCH, ["rdma"])
        made.duplex(devices, switch, rdma_bytes_per_s, rdma_latency_s)
    each = nodes * npus
    return made.build(
        name or f"supernode{'s' if supernodes > 1 else ''} of {each} NPUs",
        devices,
        island=np.repeat(np.arange(supernodes), each),
        rail=np.tile(np.arange(each), supernodes),
        fabric=fabric,
        facts={
            "nodes": nodes,
            "npus": npus,
            "supernodes": supernodes,
            "planes": planes,
            "top_switches": top_switches,
            "merged": bool(merged),
        },
    )
