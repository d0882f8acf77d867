"""Builders of GPU clusters: one NVSwitch server, rail-optimised, leaf-spine, supernode."""

import numpy as np

from mltwin.sim.errors import InputError

from .builders_base import (
    NIC_BYTES_PER_S,
    NIC_LATENCY_S,
    NVLINK_BYTES_PER_S,
    NVLINK_LATENCY_S,
    SWITCH_LATENCY_S,
    TopologyBuilder,
    island_of_gpus,
    numbered,
    speeds,
    uplinks_of,
    whole,
)
from .topology import HOST, SWITCH, Topology

SWITCH_PORTS = 64
"""Ports of 400 Gb/s of one switch (NVIDIA QM9700)."""


def nvswitch_node(
    gpus: int = 8,
    *,
    nvlink_bytes_per_s: float = NVLINK_BYTES_PER_S,
    latency_s: float = NVLINK_LATENCY_S,
    name: str | None = None,
) -> Topology:
    """One server whose GPUs talk through NVSwitch: any two at full rate, others undisturbed.

    Defaults: DGX H100 (8 GPUs, 450 GB/s each way a GPU; NVIDIA H100 whitepaper). `latency_s` is
    that of one of the two links between two GPUs.
    """
    whole("nvswitch_node", 2, gpus=gpus)
    speeds("nvswitch_node", nvlink_bytes_per_s=nvlink_bytes_per_s, latency_s=latency_s)
    made = TopologyBuilder()
    devices, _ = island_of_gpus(made, 1, gpus, nvlink_bytes_per_s, latency_s)
    return made.build(
        name or f"NVSwitch node of {gpus} GPUs",
        devices,
        island=np.zeros(gpus, np.int32),
        rail=np.arange(gpus),
        fabric="nvswitch_node",
        facts={"gpus": gpus},
    )


def rail_optimised(
    nodes: int = 32,
    gpus: int = 8,
    *,
    nodes_per_leaf: int = 32,
    spines: int | None = None,
    oversubscription: float = 1.0,
    pxn: bool = True,
    rail_only: bool = False,
    nvlink_bytes_per_s: float = NVLINK_BYTES_PER_S,
    nic_bytes_per_s: float = NIC_BYTES_PER_S,
    nvlink_latency_s: float = NVLINK_LATENCY_S,
    nic_latency_s: float = NIC_LATENCY_S,
    spine_latency_s: float = SWITCH_LATENCY_S,
    name: str | None = None,
) -> Topology:
    """NVSwitch servers with one NIC a GPU; GPU r of `nodes_per_leaf` servers is on one leaf.

    After the DGX SuperPOD reference architecture (NVIDIA, RA-11333-001: scalable units of 32 DGX
    H100, 8 leaves each, leaves of 64 ports with 32 uplinks, 4 spines a unit). All GPUs of one rail
    within a unit are one switch apart.

    Args:
        nodes: servers.
        gpus: GPUs a server = rails.
        nodes_per_leaf: servers of one scalable unit.
        spines: None gives as many 64-port switches as the uplinks need, but no more than a leaf has
            uplinks (beyond that a spine stands for a chassis of more ports).
        oversubscription: downlinks over uplinks of a leaf.
        pxn: traffic to another rail first crosses NVSwitch to the GPU of that rail (NCCL's PXN);
            False: it leaves on its own rail and crosses a spine. `routes` can override it.
        rail_only: each rail has spines of its own (Wang et al. 2023, "Rail-only", arXiv
            2307.12169); between rails only PXN leads.
        nvlink_bytes_per_s, nic_bytes_per_s: each way.
        nvlink_latency_s, nic_latency_s, spine_latency_s: of one link of that tier.

    Without NIC nodes: the link between GPU and leaf is the NIC with its cable.
    """
    fabric = "rail_optimised"
    whole(fabric, nodes=nodes, gpus=gpus, nodes_per_leaf=nodes_per_leaf)
    speeds(
        fabric,
        oversubscription=oversubscription,
        nvlink_bytes_per_s=nvlink_bytes_per_s,
        nic_bytes_per_s=nic_bytes_per_s,
        nvlink_latency_s=nvlink_latency_s,
        nic_latency_s=nic_latency_s,
        spine_latency_s=spine_latency_s,
    )
    units = -(-nodes // nodes_per_leaf)
    cables = max(1, round(min(nodes, nodes_per_leaf) / oversubscription))
    leaves_below = units if rail_only else units * gpus
    if spines is None:
        spines = 0 if leaves_below == 1 else min(cables, -(-leaves_below * cables // SWITCH_PORTS))
    whole(fabric, 0, spines=spines)
    if spines == 0 and leaves_below > 1 and not (pxn and units == 1):
        raise InputError("leaves are not joined", where=fabric, mend="give spines")
    made = TopologyBuilder()
    devices, _ = island_of_gpus(made, nodes, gpus, nvlink_bytes_per_s, nvlink_latency_s)
    leaves = made.nodes(SWITCH, numbered("u{}.leaf{}", units, gpus))
    node, rail = np.divmod(np.arange(nodes * gpus), gpus)
    leaf = leaves[node // nodes_per_leaf * gpus + rail]
    made.duplex(devices, leaf, nic_bytes_per_s, nic_latency_s)
    if spines and rail_only:
        tops = made.nodes(SWITCH, numbered("rail{}.spine{}", gpus, spines)).reshape(gpus, spines)
        for r in range(gpus):
            uplinks_of(made, leaves[r::gpus], tops[r], cables, nic_bytes_per_s, spine_latency_s)
    elif spines:
        tops = made.nodes(SWITCH, numbered("spine{}", spines))
        uplinks_of(made, leaves, tops, cables, nic_bytes_per_s, spine_latency_s)
    return made.build(
        name or f"rail-optimised, {nodes} nodes of {gpus} GPUs",
        devices,
        island=node,
        rail=rail,
        fabric=fabric,
        facts={
            "nodes": nodes,
            "gpus": gpus,
            "nodes_per_leaf": nodes_per_leaf,
            "spines": spines,
            "oversubscription": oversubscription,
            "pxn": bool(pxn),
            "rail_only": bool(rail_only),
        },
    )


def leaf_spine(
    leaves: int = 8,
    hosts_per_leaf: int = 32,
    spines: int = 8,
    *,
    gpus_per_host: int = 0,
    oversubscription: float = 1.0,
    host_bytes_per_s: float = NIC_BYTES_PER_S,
    spine_bytes_per_s: float | None = None,
    nvlink_bytes_per_s: float = NVLINK_BYTES_PER_S,
    nvlink_latency_s: float = NVLINK_LATENCY_S,
    host_latency_s: float = NIC_LATENCY_S,
    spine_latency_s: float = SWITCH_LATENCY_S,
    name: str | None = None,
) -> Topology:
    """Leaves with hosts below, each leaf joined to each spine by one link.

    Args:
        leaves, hosts_per_leaf, spines: how many.
        gpus_per_host: 0: hosts are the endpoints. Else GPUs are, a host's joined by NVSwitch
            (from 2 on), each with a NIC of `host_bytes_per_s` to the one leaf of its host (not
            rail-optimised).
        oversubscription: downlink over uplink bandwidth of a leaf; gives the spine links' rate
            unless `spine_bytes_per_s` does.

    Leaf-spine as in Alizadeh et al., "CONGA", SIGCOMM 2014, section 2. Raises InputError.
    """
    fabric = "leaf_spine"
    whole(fabric, leaves=leaves, hosts_per_leaf=hosts_per_leaf, spines=spines)
    whole(fabric, 0, gpus_per_host=gpus_per_host)
    ports = hosts_per_leaf * max(1, gpus_per_host)
    if spine_bytes_per_s is None:
        speeds(fabric, oversubscription=oversubscription, host_bytes_per_s=host_bytes_per_s)
        spine_bytes_per_s = ports * host_bytes_per_s / (spines * oversubscription)
    speeds(
        fabric,
        host_bytes_per_s=host_bytes_per_s,
        spine_bytes_per_s=spine_bytes_per_s,
        nvlink_bytes_per_s=nvlink_bytes_per_s,
        nvlink_latency_s=nvlink_latency_s,
        host_latency_s=host_latency_s,
        spine_latency_s=spine_latency_s,
    )
    made = TopologyBuilder()
    hosts = leaves * hosts_per_leaf
    if gpus_per_host:
        ends, _ = island_of_gpus(made, hosts, gpus_per_host, nvlink_bytes_per_s, nvlink_latency_s)
        island, rail = np.divmod(np.arange(len(ends)), gpus_per_host)
    else:
        ends = made.nodes(HOST, numbered("host{}", hosts))
        island, rail = np.arange(hosts), np.zeros(hosts, np.int32)
    lower = made.nodes(SWITCH, numbered("leaf{}", leaves))
    upper = made.nodes(SWITCH, numbered("spine{}", spines))
    made.duplex(ends, np.repeat(lower, ports), host_bytes_per_s, host_latency_s)
    uplinks_of(made, lower, upper, spines, spine_bytes_per_s, spine_latency_s)
    return made.build(
        name or f"leaf-spine, {leaves} leaves, {spines} spines",
        ends,
        island=island,
        rail=rail,
        fabric=fabric,
        facts={
            "leaves": leaves,
            "hosts_per_leaf": hosts_per_leaf,
            "spines": spines,
            "gpus_per_host": gpus_per_host,
        },
    )
