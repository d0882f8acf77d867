"""The Topology itself: its checks, names and changes."""

import numpy as np
import pytest

from mltwin.models.network.builders import TopologyBuilder, leaf_spine, star
from mltwin.models.network.topology import HOST, SWITCH, Topology
from mltwin.sim.errors import InputError


def two_hosts(**changes) -> Topology:
    """Two hosts and a switch, with some columns changed."""
    columns = {
        "name": "two",
        "nodes": ["a", "b", "s"],
        "kinds": [HOST, HOST, SWITCH],
        "source": [0, 1, 2, 2],
        "target": [2, 2, 0, 1],
        "bytes_per_s": 1e9,
        "latency_s": 1e-6,
        "endpoints": [0, 1],
    }
    return Topology.make(**{**columns, **changes})


def test_defaults() -> None:
    t = two_hosts()
    assert t.transit.tolist() == [False, False, True]
    assert (t.island.tolist(), t.rail.tolist(), t.shared.any()) == ([0, 1], [0, 0], False)
    assert t.describe() == (
        "two (file): 2 hosts, 1 switch; 2 ranks in 2 islands, 4 links\n  4 links: 1 GB/s, 1 us"
    )
    with pytest.raises(ValueError, match="read-only"):
        t.bytes_per_s[0] = 2.0


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"nodes": [], "kinds": []}, "endpoint 0 is node 0, there are 0"),
        ({"nodes": ["a", "b", "a"]}, "two nodes are called 'a'; rename one"),
        ({"kinds": [HOST, HOST, 9]}, "node kinds go from 0 to 4"),
        ({"source": [0, 1, 2, 7]}, "link source 3 is node 7, there are 3"),
        ({"target": [2, 2, 0, 2]}, "link s -> s ends where it starts"),
        ({"target": [2, 2, 0]}, "4 link sources and 3 targets"),
        ({"bytes_per_s": [1.0, -1.0, 1.0, 1.0]}, "link b -> s has -1 bytes/s; give a finite"),
        ({"bytes_per_s": [1.0, 2.0]}, "bytes_per_s has shape (2,), 4 rows are wanted"),
        ({"latency_s": np.inf}, "link a -> s has inf s; give a finite number, 0 or more"),
        ({"endpoints": []}, "no node sends or receives; name its endpoints"),
        ({"endpoints": [0, 0]}, "node 'a' has two ranks; name it once"),
        ({"endpoints": [0, -1]}, "endpoint 1 is node -1, there are 3"),
        ({"island": [0, -2]}, "island of rank 1 is -2, below 0"),
        ({"rail": [0]}, "rail has shape (1,), 2 rows are wanted"),
    ],
)
def test_columns_that_cannot_be_are_named(changes, says: str) -> None:
    with pytest.raises(InputError) as raised:
        two_hosts(**changes)
    assert str(raised.value).startswith("topology 'two': ") and says in str(raised.value)


def test_every_column_is_in_the_hash() -> None:
    base = two_hosts()
    assert two_hosts().sha256 == base.sha256
    others = [
        {"name": "three"},
        {"nodes": ["a", "c", "s"]},
        {"kinds": [HOST, HOST, HOST]},
        {"source": [0, 1, 2, 1]},
        {"bytes_per_s": 2e9},
        {"latency_s": 2e-6},
        {"endpoints": [1, 0]},
        {"island": [0, 0]},
        {"rail": [0, 1]},
        {"shared": True},
        {"transit": True},
        {"fabric": "own"},
        {"facts": {"pxn": True}},
    ]
    others[3]["target"] = [2, 2, 0, 0]
    assert len({base.sha256, *(two_hosts(**change).sha256 for change in others)}) == 14


def test_parallel_cables_have_names_of_their_own() -> None:
    made = TopologyBuilder()
    ends = made.nodes(HOST, ["a", "b"])
    made.links([0, 0, 1, 0], [1, 1, 0, 1], 1.0, 0.0)
    t = made.build("cables", ends)
    assert t.link_names() == ["a -> b", "a -> b #2", "b -> a", "a -> b #3"]
    assert [t.link_name(k) for k in range(4)] == t.link_names()
    assert t.links_between("a", "b").tolist() == [0, 1, 3]


def test_a_missing_node_is_named_with_the_nearest() -> None:
    with pytest.raises(InputError, match="no node is called 'hots1'; did you mean 'host1'"):
        star(4).node_number("hots1")


def test_links_can_be_degraded_and_broken() -> None:
    t = leaf_spine(2, 2, 2)
    slow = t.with_links(bytes_per_s=t.bytes_per_s / 2)
    assert slow.sha256 != t.sha256 and np.array_equal(slow.source, t.source)
    assert (
        "2 links: broken"
        in t.with_links(
            bytes_per_s=np.where(np.arange(len(t.source)) < 2, 0.0, t.bytes_per_s)
        ).describe()
    )


def test_a_builder_without_links_and_shared_links() -> None:
    made = TopologyBuilder()
    ends = made.nodes(HOST, ["alone"])
    assert len(made.build("one", ends).source) == 0
    made.nodes(HOST, ["other"])
    made.links(0, 1, 1e6, 0.0, shared=True)
    t = made.build("air", [0, 1])
    assert t.link_names() == ["alone <-> other"] and t.links_between("other", "alone").size == 1
