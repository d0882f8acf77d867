"""Every topology builder, by name."""

from collections.abc import Callable

from .builders_base import TopologyBuilder
from .builders_clusters import leaf_spine, nvswitch_node, rail_optimised
from .builders_fabrics import dragonfly, fat_tree, torus
from .builders_supernode import supernode
from .builders_wide import cell, dumbbell, fibre_latency_s, join_sites, star, wan
from .topology import Topology

BUILDERS: dict[str, Callable[..., Topology]] = {
    "nvswitch_node": nvswitch_node,
    "rail_optimised": rail_optimised,
    "leaf_spine": leaf_spine,
    "fat_tree": fat_tree,
    "torus": torus,
    "dragonfly": dragonfly,
    "supernode": supernode,
    "wan": wan,
    "cell": cell,
    "star": star,
    "dumbbell": dumbbell,
}
"""Builders by name, as scenarios name them."""

__all__ = [
    "BUILDERS",
    "TopologyBuilder",
    "cell",
    "dragonfly",
    "dumbbell",
    "fat_tree",
    "fibre_latency_s",
    "join_sites",
    "leaf_spine",
    "nvswitch_node",
    "rail_optimised",
    "star",
    "supernode",
    "torus",
    "wan",
]
