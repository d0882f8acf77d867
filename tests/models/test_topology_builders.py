"""Builders give what their papers say: counts, degrees, diameters, bisection."""

import numpy as np
import pytest

from mltwin.models.network.builders import (
    BUILDERS,
    cell,
    dragonfly,
    dumbbell,
    fat_tree,
    fibre_latency_s,
    join_sites,
    leaf_spine,
    nvswitch_node,
    rail_optimised,
    star,
    supernode,
    torus,
    wan,
)
from mltwin.models.network.builders_wide import top_nodes
from mltwin.models.network.routing import routes
from mltwin.models.network.topology import GPU, HOST, SWITCH, Topology
from mltwin.sim.errors import InputError


def degree(t: Topology) -> np.ndarray:
    """Cables at each node."""
    return np.bincount(t.source, minlength=len(t.nodes))


def hops(t: Topology, **options) -> np.ndarray:
    """Links between every two ranks, [E, E]."""
    a, b = np.divmod(np.arange(t.ranks**2), t.ranks)
    return np.diff(routes(t, a, b, **options).first).reshape(t.ranks, t.ranks)


def cut_bytes_per_s(t: Topology, left: np.ndarray) -> float:
    """Maximum flow from the ranks in `left` to the others: what the narrowest cut carries."""
    from scipy.sparse import coo_matrix
    from scipy.sparse.csgraph import maximum_flow

    n, unit = len(t.nodes), t.bytes_per_s.max() / 1e6
    inside = np.isin(np.arange(t.ranks), left)
    into, out = t.endpoints[inside], t.endpoints[~inside]
    rows = np.concatenate((t.source, np.full(len(into), n), out))
    columns = np.concatenate((t.target, into, np.full(len(out), n + 1)))
    rate = np.concatenate((np.rint(t.bytes_per_s / unit), np.full(t.ranks, 2e7)))
    graph = coo_matrix((rate.astype(np.int32), (rows, columns)), shape=(n + 2, n + 2)).tocsr()
    return maximum_flow(graph, n, n + 1).flow_value * unit


@pytest.mark.parametrize("k", [2, 4, 6, 8])
def test_a_fat_tree_is_that_of_al_fares(k: int) -> None:
    t = fat_tree(k)
    assert t.ranks == k**3 // 4
    switches = np.flatnonzero(t.kinds == SWITCH)
    assert len(switches) == k * k + (k // 2) ** 2
    assert np.all(degree(t)[switches] == k)
    assert np.all(degree(t)[t.endpoints] == 1)
    assert hops(t).max() == 6
    between_pods = routes(t, [0], [t.ranks - 1], routing="spray")
    assert len(between_pods) == (k // 2) ** 2


def test_a_fat_tree_has_full_bisection() -> None:
    t = fat_tree(4, bytes_per_s=1e9)
    for left in (np.arange(8), np.arange(0, 16, 2)):
        assert cut_bytes_per_s(t, left) == pytest.approx(8e9, rel=1e-5)


@pytest.mark.parametrize("shape", [(5,), (4, 4), (3, 5), (2, 3, 4), (4, 4, 4), (2, 2, 2, 2)])
def test_a_torus_has_the_degree_and_diameter_of_its_shape(shape: tuple[int, ...]) -> None:
    t = torus(shape)
    assert t.ranks == np.prod(shape) == len(t.nodes)
    assert np.all(degree(t) == sum(min(n - 1, 2) for n in shape))
    assert hops(t).max() == sum(n // 2 for n in shape)
    apart = hops(t)
    assert np.array_equal(apart, apart.T)


def test_bisection_of_a_torus_and_a_mesh() -> None:
    # Dally and Towles, section 5.2: 2 k^(n-1) links each way cut a k-ary n-cube in half.
    assert cut_bytes_per_s(torus((4, 4), link_bytes_per_s=1e9), np.arange(8)) == pytest.approx(8e9)
    mesh = torus((4, 4), wrap=False, link_bytes_per_s=1e9)
    assert cut_bytes_per_s(mesh, np.arange(8)) == pytest.approx(4e9)
    assert hops(mesh).max() == 6


@pytest.mark.parametrize(("p", "a", "h"), [(2, 4, 2), (1, 2, 1), (3, 6, 3), (2, 3, 2)])
def test_a_dragonfly_is_that_of_kim(p: int, a: int, h: int) -> None:
    t = dragonfly(p, a, h)
    groups = a * h + 1
    assert t.ranks == a * p * groups
    routers = np.flatnonzero(t.kinds == SWITCH)
    assert len(routers) == a * groups
    assert np.all(degree(t)[routers] == p + h + a - 1)
    assert hops(t).max() <= 3 + 2  # local, global, local, and the two hosts' own links
    group = (routers - routers[0]) // a
    of = np.full(len(t.nodes), -1)
    of[routers] = group
    between = (of[t.source] >= 0) & (of[t.target] >= 0) & (of[t.source] != of[t.target])
    pairs, count = np.unique(
        np.stack((of[t.source[between]], of[t.target[between]]), axis=1), axis=0, return_counts=True
    )
    assert len(pairs) == groups * (groups - 1) and np.all(count == 1)


def test_a_dragonfly_of_few_groups_uses_its_ports_evenly_and_both_ways() -> None:
    t = dragonfly(1, 4, 3, groups=5)
    pairs = {*zip(t.source.tolist(), t.target.tolist(), strict=True)}
    assert all((b, a) in pairs for a, b in pairs)
    routers = np.flatnonzero(t.kinds == SWITCH)
    assert np.all(degree(t)[routers] == 1 + 3 + 3)  # 12 ports a group, 3 cables to each of 4 others
    with pytest.raises(InputError, match="14 groups, but a h \\+ 1 = 13"):
        dragonfly(1, 4, 3, groups=14)


def test_an_nvswitch_node_gives_every_gpu_its_full_rate() -> None:
    t = nvswitch_node()
    assert (t.ranks, t.islands, t.rail.tolist()) == (8, 1, list(range(8)))
    assert np.all(t.bytes_per_s == 450e9)
    assert np.all(hops(t)[~np.eye(8, dtype=bool)] == 2)
    assert cut_bytes_per_s(t, np.arange(4)) == pytest.approx(4 * 450e9)


@pytest.mark.parametrize(("nodes", "leaves", "spines"), [(32, 8, 4), (64, 16, 8), (128, 32, 16)])
def test_rail_optimised_has_the_switches_of_a_superpod(nodes, leaves, spines) -> None:
    # DGX SuperPOD reference architecture (H100): 1, 2 and 4 scalable units.
    t = rail_optimised(nodes)
    names = [name for name, kind in zip(t.nodes, t.kinds, strict=True) if kind == SWITCH]
    assert sum("leaf" in name for name in names) == leaves
    assert sum("spine" in name for name in names) == spines
    leaf = np.array([i for i, name in enumerate(t.nodes) if "leaf" in name])
    spine = np.array([i for i, name in enumerate(t.nodes) if "spine" in name])
    assert np.all(degree(t)[leaf] == 64) and np.all(degree(t)[spine] == 64)


def test_rail_optimised_puts_one_rail_of_a_unit_on_one_leaf() -> None:
    t = rail_optimised(8, 4, nodes_per_leaf=4)
    same_rail = routes(t, [1], [4 * 3 + 1])
    assert [t.link_name(k) for k in same_rail.links] == [
        "n0.gpu1 -> u0.leaf1",
        "u0.leaf1 -> n3.gpu1",
    ]
    assert t.island.tolist() == [r // 4 for r in range(32)]
    assert t.rail.tolist() == [r % 4 for r in range(32)]
    half = np.arange(16)
    assert cut_bytes_per_s(t, half) == pytest.approx(16 * 50e9)
    thin = rail_optimised(8, 4, nodes_per_leaf=4, oversubscription=4.0)
    assert cut_bytes_per_s(thin, half) == pytest.approx(4 * 50e9)


def test_rail_only_joins_rails_by_nvswitch_alone() -> None:
    t = rail_optimised(8, 4, nodes_per_leaf=4, rail_only=True)
    path = [t.link_name(k) for k in routes(t, [0], [31]).links]
    assert path[:2] == ["n0.gpu0 -> n0.nvswitch", "n0.nvswitch -> n0.gpu3"]
    with pytest.raises(InputError, match=r"no path leads from n0\.gpu0 to n7\.gpu3"):
        routes(t, [0], [31], pxn=False)


def test_leaf_spine_oversubscription_and_gpus() -> None:
    t = leaf_spine(4, 8, 4, oversubscription=2.0)
    assert (t.ranks, len(t.source)) == (32, 2 * (32 + 16))
    assert cut_bytes_per_s(t, np.arange(16)) == pytest.approx(16 * 50e9 / 2)
    g = leaf_spine(2, 2, 2, gpus_per_host=4)
    assert (g.ranks, g.islands) == (16, 4)
    assert np.all(g.kinds[g.endpoints] == GPU)


def test_a_supernode_is_non_blocking_merged_or_not() -> None:
    for merged in (True, False):
        t = supernode(6, 4, merged=merged)
        assert (t.ranks, t.islands) == (24, 1)
        half = 12 * 392e9
        assert cut_bytes_per_s(t, np.arange(12)) == pytest.approx(half, rel=1e-5)
        sprayed = routes(t, [0], [23], routing="spray")
        total = sprayed.bottleneck_bytes_per_s(t).sum()
        assert len(sprayed) == (1 if merged else 7 * 16)
        assert total == pytest.approx(392e9 if merged else 7 * 16 * 28e9 * 4 / 8)
    whole = supernode(merged=False)
    names = [name.split(".")[-1].rstrip("0123456789") for name in whole.nodes]
    assert (whole.ranks, names.count("ub"), names.count("top")) == (384, 336, 112)


def test_supernodes_stay_inside_for_what_is_inside() -> None:
    t = supernode(2, 2, supernodes=2)
    inside, outside = routes(t, [0, 0], [3, 4]).first[1:]
    assert (inside, outside - inside) == (4, 2)
    assert t.island.tolist() == [0] * 4 + [1] * 4


def test_sites_pass_traffic_on_where_they_are_not_joined() -> None:
    rate = [[0, 1e9, 0], [1e9, 0, 2e9], [0, 2e9, 0]]
    t = wan(["paris", "oslo", "rome"], bytes_per_s=rate, latency_s=fibre_latency_s(1500))
    found = routes(t, [0], [2])
    assert [t.nodes[n] for n in t.target[found.links]] == ["paris", "oslo", "rome", "rome.host0"]
    assert found.latency_s[0] == pytest.approx(2e-6 + 2 * 1500 * 1.468 / 299_792.458)
    bare = wan(3, bytes_per_s=1e9, latency_s=0.03, hosts_per_site=0)
    assert bare.ranks == len(bare.nodes) == 3


def test_joined_clusters_keep_their_insides() -> None:
    parts = {"a": rail_optimised(2, 2, nodes_per_leaf=1), "b": leaf_spine(2, 2, 2)}
    t = join_sites(parts, bytes_per_s=1e9, latency_s=0.01)
    assert t.facts["site_first_rank"] == [0, 4]
    assert t.ranks == 4 + 4 and t.islands == 2 + 4
    for first, part in zip((0, 4), parts.values(), strict=True):
        own, within = hops(t)[first : first + 4, first : first + 4], hops(part)
        assert np.array_equal(own, within)
    far = routes(t, [0], [7])
    assert far.bottleneck_bytes_per_s(t)[0] == 1e9
    assert far.latency_s[0] > 0.01


def test_the_air_of_a_cell_is_one_link_for_both_directions() -> None:
    t = cell(3, medium_bytes_per_s=1e8, client_bytes_per_s=[1e7, 2e7, 3e7])
    down, up = routes(t, [0, 2], [2, 0]).links.reshape(2, 3)
    assert set(down) & set(up) == set(np.flatnonzero(t.shared)) & set(down)
    assert len(set(down) & set(up)) == 2
    apart = cell(3, medium_bytes_per_s=1e8, duplex=True)
    down, up = routes(apart, [0, 2], [2, 0]).links.reshape(2, 3)
    assert not set(down) & set(up)


def test_star_and_dumbbell() -> None:
    assert np.all(hops(star(5))[~np.eye(5, dtype=bool)] == 2)
    t = dumbbell(2, 3, bottleneck_bytes_per_s=1e9)
    assert cut_bytes_per_s(t, np.arange(2)) == pytest.approx(1e9)
    assert np.all(t.kinds[t.endpoints] == HOST)


def test_top_nodes_are_spines_cores_or_a_single_chip() -> None:
    t = leaf_spine(2, 2, 3)
    assert [t.nodes[n] for n in top_nodes(t)] == ["spine0", "spine1", "spine2"]
    assert top_nodes(torus((3, 3))).tolist() == [0]


@pytest.mark.parametrize("name", sorted(BUILDERS))
def test_every_builder_joins_all_its_ranks_and_repeats_itself(name: str) -> None:
    needed = {"wan": {"sites": 3, "bytes_per_s": 1e9, "latency_s": 0.01}}
    needed["cell"] = {"medium_bytes_per_s": 1e8}
    one, two = (BUILDERS[name](**needed.get(name, {})) for _ in range(2))
    assert one.sha256 == two.sha256
    assert one.fabric == name and one.describe().startswith(one.name)
    last = one.ranks - 1
    routes(one, [0, last], [last, 0])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: fat_tree(3), "fat_tree: k is 3; give an even number"),
        (lambda: torus(()), "torus: shape has no dimensions; give e.g. (4, 4)"),
        (lambda: torus((4, 0)), "torus: shape[1] is 0; give a whole number from 1 on"),
        (lambda: torus((4, 4), wrap=[True]), "torus: wrap has 1 answers for 2 dimensions"),
        (
            lambda: star(10**9),
            "topology: 1,000,000,000 nodes called 'host{}' are too many; at most 4,000,000",
        ),
        (lambda: star("9"), "star: hosts is '9'; give a whole number from 2 on"),
        (lambda: star(4.0), "star: hosts is 4.0; give a whole number from 2 on"),
        (
            lambda: star(bytes_per_s="fast"),
            "star: bytes_per_s is 'fast'; give a finite number above 0",
        ),
        (lambda: torus(4), "torus: shape has no dimensions; give e.g. (4, 4)"),
        (lambda: star(1), "star: hosts is 1; give a whole number from 2 on"),
        (
            lambda: leaf_spine(host_bytes_per_s=0.0),
            "leaf_spine: host_bytes_per_s is 0.0; give a finite number above 0",
        ),
        (
            lambda: star(latency_s=-1.0),
            "star: latency_s is -1.0; give a finite number of 0 or more",
        ),
        (
            lambda: rail_optimised(64, spines=0),
            "rail_optimised: leaves are not joined; give spines",
        ),
        (
            lambda: wan(2, bytes_per_s=[1.0, 2.0], latency_s=0.1),
            "sites: bytes_per_s has shape (2,) for 2 sites; give one number or a square of them",
        ),
        (
            lambda: cell(2, medium_bytes_per_s=1.0, client_bytes_per_s=[1.0]),
            "cell: client_bytes_per_s has 1 values for 2 clients",
        ),
    ],
)
def test_an_argument_that_cannot_be_is_named(make, says: str) -> None:
    with pytest.raises(InputError) as raised:
        make()
    assert str(raised.value) == says
