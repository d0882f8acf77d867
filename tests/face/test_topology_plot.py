"""Pictures of topologies: every node has a place, links their load, large ones are folded."""

import numpy as np
import pytest

from mltwin.models.network.builders import (
    cell,
    dragonfly,
    dumbbell,
    fat_tree,
    join_sites,
    leaf_spine,
    nvswitch_node,
    rail_optimised,
    star,
    supernode,
    torus,
    wan,
)
from mltwin.models.network.routing import link_bytes, routes
from mltwin.models.network.topology import Topology
from mltwin.sim.errors import InputError
from mltwin.topology_layout import lay_out, short, stem
from mltwin.topology_plot import draw_topology, link_loads, rate_text

SMALL = [
    nvswitch_node(),
    leaf_spine(4, 8, 4),
    leaf_spine(2, 2, 2, gpus_per_host=4),
    fat_tree(4),
    rail_optimised(4, 8, nodes_per_leaf=2),
    rail_optimised(16, 8, nodes_per_leaf=8),
    torus((4, 4)),
    torus((3, 3, 3)),
    torus((5,)),
    torus((2, 2, 2, 2)),
    dragonfly(),
    supernode(4, 8),
    supernode(2, 2, supernodes=2),
    wan(4, bytes_per_s=1e9, latency_s=0.03, hosts_per_site=3),
    wan(3, bytes_per_s=1e9, latency_s=0.03, hosts_per_site=0),
    cell(12, medium_bytes_per_s=1e8),
    star(),
    dumbbell(),
    join_sites({"a": leaf_spine(2, 2, 2), "b": star(3)}, bytes_per_s=1e9, latency_s=0.03),
]


@pytest.mark.parametrize("t", SMALL, ids=lambda t: t.name)
def test_every_node_has_a_place_of_its_own(t: Topology) -> None:
    layout = lay_out(t)
    assert len(layout.labels) == len(t.nodes)
    places = np.round(np.stack((layout.x, layout.y), axis=1), 6)
    assert len(np.unique(places, axis=0)) == len(t.nodes)
    assert np.all(np.isfinite(places))


@pytest.mark.parametrize("t", SMALL[::3], ids=lambda t: t.name)
def test_every_joined_pair_is_one_line(t: Topology) -> None:
    panel = draw_topology(t).axes[0]
    drawn = sum(len(lines.get_segments()) for lines in panel.collections if _is_lines(lines))
    pairs = {frozenset(p) for p in zip(t.source.tolist(), t.target.tolist(), strict=True)}
    wrapped = len(lay_out(t).stubs)
    assert drawn == len(pairs) - wrapped // 2 + 2 * wrapped


def _is_lines(collection) -> bool:
    return hasattr(collection, "get_segments")


def test_a_line_has_the_largest_load_of_its_links() -> None:
    t = leaf_spine(2, 2, 2)
    loads = np.zeros(len(t.source))
    up, down = (int(t.links_between(*p)[0]) for p in (("leaf0", "spine1"), ("spine1", "leaf0")))
    loads[[up, down]] = 0.25, 0.75
    panel = draw_topology(t, loads).axes[0]
    lines = next(c for c in panel.collections if _is_lines(c))
    assert sorted(lines.get_array().tolist())[-2:] == [0.0, 0.75]
    assert panel.get_title(loc="left") == "busiest  spine1 -> leaf0: 75%;  leaf0 -> spine1: 25%"
    ends = lines.get_segments()[-1]
    layout = lay_out(t)
    wanted = {(layout.x[n], layout.y[n]) for n in map(t.node_number, ("leaf0", "spine1"))}
    assert {tuple(end) for end in ends} == wanted


def test_loads_of_wrapped_links_stand_on_their_stubs() -> None:
    t = torus((4, 4))
    layout = lay_out(t)
    assert len(layout.stubs) == 16
    link = next(iter(layout.stubs))
    loads = np.zeros(len(t.source))
    loads[link] = 0.5
    lines = next(c for c in draw_topology(t, loads).axes[0].collections if _is_lines(c))
    assert np.count_nonzero(lines.get_array() == 0.5) == 2


def test_large_topologies_are_folded() -> None:
    t = rail_optimised(512)
    layout = lay_out(t)
    assert len(layout.labels) <= 100
    assert layout.size.sum() == len(t.nodes)
    assert layout.labels.count("32 x 8 GPUs") == 16
    assert layout.labels.count("8 leaves") == 16
    assert layout.labels.count("32 spines") == 1
    draw_topology(t, np.linspace(0, 1, len(t.source)))
    npus = lay_out(supernode())
    assert npus.labels.count("8 NPUs") == 48
    hosts = lay_out(leaf_spine(32, 32, 16))
    assert hosts.labels.count("32 hosts") == 32


def test_layers_go_up_from_the_ranks() -> None:
    t = rail_optimised(4, 4, nodes_per_leaf=2)
    layout = lay_out(t)
    height = {kind: {float(y) for n, y in zip(t.nodes, layout.y, strict=True) if kind in n}
              for kind in ("gpu", "leaf", "spine", "nvswitch")}  # fmt: skip
    assert all(len(one) == 1 for one in height.values())
    order = [next(iter(height[kind])) for kind in ("nvswitch", "gpu", "leaf", "spine")]
    assert order == sorted(order)
    assert [text for *_, text in layout.frames] == ["n0", "n1", "n2", "n3"]
    for left, _, right, _, name in layout.frames:
        inside = [n for n, x in zip(t.nodes, layout.x, strict=True) if left < x < right]
        assert {n for n in inside if "gpu" in n} == {f"{name}.gpu{r}" for r in range(4)}


def test_a_picture_is_written_and_is_the_same_again(tmp_path) -> None:
    t = fat_tree(4)
    for name in ("one", "two"):
        draw_topology(t, np.full(len(t.source), 0.1), tmp_path / f"{name}.png", title="ours")
    one, two = ((tmp_path / f"{name}.png").read_bytes() for name in ("one", "two"))
    assert one == two and len(one) > 10_000


def test_loads_from_bytes_and_time() -> None:
    t = leaf_spine(2, 2, 2)
    moved = link_bytes(t, routes(t, [0], [3]), 5e9)
    found = link_loads(t, moved, 1.0)
    assert found.max() == pytest.approx(0.1) and np.count_nonzero(found) == 4
    broken = t.with_links(bytes_per_s=0.0)
    assert not link_loads(broken, moved, 1.0).any()


def test_what_cannot_be_drawn_is_named(tmp_path) -> None:
    t = star(3)
    with pytest.raises(InputError, match="picture of 'star of 3 hosts': 2 loads for 6 links"):
        draw_topology(t, [0.1, 0.2])
    with pytest.raises(InputError, match=r"load of host1 -> switch is -1\.0; give 0 or more"):
        draw_topology(t, [0, -1.0, 0, 0, 0, 0])
    with pytest.raises(InputError, match="seconds is 0; give more than 0"):
        link_loads(t, np.zeros(6), 0)
    with pytest.raises(InputError, match="cannot draw to"):
        draw_topology(t, path=tmp_path / "net.xyz")


def test_names_and_rates_for_people() -> None:
    assert [stem(n) for n in ("n0.gpu1", "pod0.edge1", "core1.0", "a/leaf3")] == [
        "gpu",
        "edge",
        "core",
        "leaf",
    ]
    assert [short(n) for n in ("n0.gpu1", "core1.0", "host7")] == ["gpu1", "core1.0", "host7"]
    told = [rate_text(r) for r in (0, 12, 5e3, 1.25e6, 50e9, 3.136e12)]
    assert told == ["broken", "12 B/s", "5 kB/s", "1.25 MB/s", "50 GB/s", "3.14 TB/s"]
