"""Routes: valid, shortest, all of them where sprayed, the same whatever else is routed."""

from collections import deque
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.models.network.builders import (
    TopologyBuilder,
    cell,
    dragonfly,
    fat_tree,
    leaf_spine,
    rail_optimised,
    star,
    torus,
)
from mltwin.models.network.routing import Routes, link_bytes, routes
from mltwin.models.network.topology import GPU, HOST, SWITCH, Topology
from mltwin.sim.errors import InputError


def steps(t: Topology) -> dict[int, list[tuple[int, int]]]:
    """Node -> (link, next node), shared links both ways."""
    found: dict[int, list[tuple[int, int]]] = {n: [] for n in range(len(t.nodes))}
    for k in range(len(t.source)):
        a, b = int(t.source[k]), int(t.target[k])
        found[a].append((k, b))
        if t.shared[k]:
            found[b].append((k, a))
    return found


def all_shortest(t: Topology, start: int, end: int) -> set[tuple[int, ...]]:
    """Every shortest path as links, by searching forwards with whole paths."""
    out, waiting = steps(t), deque([(start, ())])
    found: set[tuple[int, ...]] = set()
    best = {start: 0}
    while waiting:
        at, path = waiting.popleft()
        if found and len(path) >= len(next(iter(found))):
            break
        for link, after in out[at]:
            if after == end:
                found.add((*path, link))
            elif t.transit[after] and best.get(after, len(path) + 1) == len(path) + 1:
                best[after] = len(path) + 1
                waiting.append((after, (*path, link)))
    return found


def walk(t: Topology, source: int, path: np.ndarray) -> int:
    """The node at which a path ends; fails where it breaks or passes through a closed node."""
    at = int(t.endpoints[source])
    for place, link in enumerate(path.tolist()):
        assert place == 0 or t.transit[at]
        a, b = int(t.source[link]), int(t.target[link])
        assert at == a or (t.shared[link] and at == b)
        at = b if at == a else a
    return at


def random_graph(seed: int) -> Topology:
    """Some ranks and switches, joined at random, now and then by a shared link or two cables."""
    draw = np.random.default_rng(seed)
    ends, middles = int(draw.integers(2, 7)), int(draw.integers(1, 7))
    made = TopologyBuilder()
    hosts = made.nodes(HOST, [f"h{i}" for i in range(ends)])
    switches = made.nodes(SWITCH, [f"s{i}" for i in range(middles)])
    links = int(draw.integers(ends, 4 * (ends + middles)))
    a = draw.integers(0, ends + middles, links)
    b = (a + draw.integers(1, ends + middles, links)) % (ends + middles)
    for i, j in zip(a, b, strict=True):
        made.links(i, j, 1e9, draw.random() * 1e-6, shared=bool(draw.random() < 0.2))
    made.duplex(hosts, draw.choice(switches, ends), 1e9, 1e-6)
    forwards = np.arange(ends + middles) >= ends
    return made.build("random", hosts, transit=forwards | (draw.random(ends + middles) < 0.2))


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**6), routing=st.sampled_from(["ecmp", "shortest", "spray", "split"]))
def test_paths_are_the_shortest_on_any_graph(seed: int, routing: str) -> None:
    t = random_graph(seed)
    a, b = np.divmod(np.arange(t.ranks**2), t.ranks)
    wanted = {}
    for s, d in zip(a.tolist(), b.tolist(), strict=True):
        joined = all_shortest(t, int(t.endpoints[s]), int(t.endpoints[d]))
        if s == d or joined:
            wanted[s, d] = joined
        else:
            with pytest.raises(InputError, match=f"no path leads from h{s} to h{d}"):
                routes(t, [s], [d], routing=routing)
    pairs = np.array(list(wanted))
    found = routes(
        t, pairs[:, 0], pairs[:, 1], routing=routing, parts=3 if routing == "split" else 1
    )
    assert np.all(np.diff(found.flow) >= 0)
    assert np.bincount(found.flow, found.share) == pytest.approx(1.0, abs=1e-12)
    for f, pair in enumerate(wanted):
        of_flow = [tuple(found.path(r).tolist()) for r in np.flatnonzero(found.flow == f)]
        if pair[0] == pair[1]:
            assert set(of_flow) == {()}
        elif routing == "spray":
            assert sorted(of_flow) == sorted(wanted[pair])
        else:
            assert len(of_flow) == (3 if routing == "split" else 1)
            assert set(of_flow) <= wanted[pair]
    for r in range(len(found)):
        s, d = pairs[found.flow[r]]
        assert walk(t, s, found.path(r)) == t.endpoints[d]
        assert found.latency_s[r] == pytest.approx(t.latency_s[found.path(r)].sum())


@pytest.mark.parametrize("t", [fat_tree(4), dragonfly(), torus((3, 4)), rail_optimised(4, 4)])
def test_a_route_does_not_depend_on_what_else_is_routed(t: Topology) -> None:
    draw = np.random.default_rng(5)
    s, d = draw.integers(0, t.ranks, (2, 200))
    keys = draw.integers(0, 2**40, 200)
    whole = routes(t, s, d, keys=keys, seed=3)
    order = draw.permutation(200)
    shuffled = routes(t, s[order], d[order], keys=keys[order], seed=3)
    for place, f in enumerate(order):
        assert np.array_equal(whole.path(f), shuffled.path(place))
    alone = routes(t, s[7:8], d[7:8], keys=keys[7:8], seed=3)
    assert np.array_equal(alone.links, whole.path(7))


def test_ecmp_fills_equal_paths_evenly_and_by_seed() -> None:
    t = leaf_spine(2, 4, 8)
    flows = 8000
    one, two = (routes(t, np.zeros(flows, int), np.full(flows, 7), seed=seed) for seed in (0, 1))
    spine = one.links.reshape(flows, 4)[:, 1]
    used, count = np.unique(spine, return_counts=True)
    assert len(used) == 8
    # Chi-squared with 7 degrees of freedom: 24.3 is passed by 1 in 1,000 fair draws.
    assert float(((count - flows / 8) ** 2 / (flows / 8)).sum()) < 24.3
    changed = np.mean(spine != two.links.reshape(flows, 4)[:, 1])
    assert 0.8 < changed < 0.95  # 7 in 8 land elsewhere


def test_one_key_is_one_path_and_splitting_spreads_it() -> None:
    t = leaf_spine(2, 4, 8)
    same = routes(t, [0] * 50, [7] * 50, keys=[11] * 50)
    assert len({tuple(same.path(r)) for r in range(50)}) == 1
    split = routes(t, [0], [7], routing="split", parts=64)
    assert len(split) == 64 and np.all(split.share == 1 / 64)
    assert len({tuple(split.path(r)) for r in range(64)}) == 8
    first = routes(t, [0], [7], routing="split", parts=1)
    assert np.array_equal(first.links, routes(t, [0], [7]).links)


def test_shortest_is_dimension_ordered_in_a_torus() -> None:
    t = torus((5, 5, 5))
    shape = (5, 5, 5)
    s, d = np.random.default_rng(1).integers(0, 125, (2, 300))
    found = routes(t, s, d, routing="shortest")
    for f in range(300):
        nodes = [int(s[f]), *t.target[found.path(f)].tolist()]
        at = np.array(np.unravel_index(nodes, shape)).T
        moved = [int(np.flatnonzero(a != b)[0]) for a, b in pairwise(at)]
        assert moved == sorted(moved)


def test_spray_shares_equally_at_every_switch() -> None:
    t = fat_tree(4)
    found = routes(t, [0], [15], routing="spray")
    assert len(found) == 4 and np.all(found.share == 0.25)
    # One way of two hops over s1, three over s2: the switch before them cannot know.
    made = TopologyBuilder()
    a, b = made.nodes(HOST, ["a", "b"])
    s0, s1, s2 = made.nodes(SWITCH, ["s0", "s1", "s2"])
    made.links([a, s0, s0, s1], [s0, s1, s2, b], 1.0, 0.0)
    made.links([s2] * 3, [b] * 3, 1.0, 0.0)
    uneven = routes(made.build("uneven", [a, b]), [0], [1], routing="spray")
    assert sorted(uneven.share.tolist()) == pytest.approx([1 / 6] * 3 + [1 / 2])


def test_spray_and_split_have_equal_mean_load_on_leaf_spine() -> None:
    t = leaf_spine(4, 8, 4)
    s, d = np.arange(32), (np.arange(32) + 8) % 32
    sprayed = link_bytes(t, routes(t, s, d, routing="spray"), 1e6)
    split = link_bytes(t, routes(t, s, d, routing="split", parts=512), 1e6)
    up = np.flatnonzero((t.kinds[t.source] == SWITCH) & (t.kinds[t.target] == SWITCH))
    assert np.all(sprayed[up] == 2e6)
    assert split[up] == pytest.approx(2e6, rel=0.2)
    assert split.sum() == pytest.approx(sprayed.sum()) == pytest.approx(32 * 4 * 1e6)


def test_pxn_changes_rails_before_the_network() -> None:
    t = rail_optimised(8, 4, nodes_per_leaf=4)
    a, b = np.divmod(np.arange(t.ranks**2), t.ranks)
    for routing, parts in (("ecmp", 1), ("spray", 1), ("split", 5)):
        over = routes(t, a, b, routing=routing, parts=parts)
        direct = routes(t, a, b, routing=routing, parts=parts, pxn=False)
        for found in (over, direct):
            assert np.bincount(found.flow, found.share) == pytest.approx(1.0)
            for r in range(0, len(found), 7):
                f = found.flow[r]
                assert _end_anyhow(t, int(a[f]), found.path(r)) == t.endpoints[b[f]]
        leaf = np.array(["leaf" in name for name in t.nodes])
        last_leaf = [t.source[over.path(r)[-1]] for r in range(len(over)) if len(over.path(r)) > 2]
        assert all(leaf[n] for n in last_leaf)
        first_leaf = {}
        for r in range(len(over)):
            entered = [n for n in t.target[over.path(r)] if leaf[n]]
            if entered:
                first_leaf[over.flow[r]] = t.nodes[entered[0]].split(".")[1]
        assert all(name == f"leaf{t.rail[b[f]]}" for f, name in first_leaf.items())


def _end_anyhow(t: Topology, source: int, path: np.ndarray) -> int:
    at = int(t.endpoints[source])
    for link in path:
        assert t.source[link] == at
        at = int(t.target[link])
    return at


def test_inside_an_island_nothing_leaves_it() -> None:
    t = leaf_spine(2, 2, 2, gpus_per_host=4)
    a, b = np.divmod(np.arange(t.ranks**2), t.ranks)
    found = routes(t, a, b, routing="spray")
    inside = (t.island[a] == t.island[b])[found.flow]
    hubs = np.array(["nvswitch" in name for name in t.nodes])
    crosses = np.array([np.any(hubs[t.target[found.path(r)]]) for r in range(len(found))])
    apart = np.diff(found.first) > 0
    assert np.array_equal(crosses, inside & apart)


def test_islands_without_a_switch_of_their_own_go_by_the_network() -> None:
    t = star(4)
    two = Topology.make(
        name="two islands",
        nodes=t.nodes,
        kinds=t.kinds,
        source=t.source,
        target=t.target,
        bytes_per_s=t.bytes_per_s,
        latency_s=t.latency_s,
        endpoints=t.endpoints,
        island=[0, 0, 1, 1],
        rail=[0, 1, 0, 1],
    )
    assert np.all(np.diff(routes(two, [0, 0], [1, 2]).first) == 2)


def test_a_partly_wired_island_falls_back_on_the_network() -> None:
    """DGX-1 without NVSwitch: some pairs have a cable, the others go over the leaf."""
    made = TopologyBuilder()
    gpus = made.nodes(GPU, ["g0", "g1", "g2", "g3"])
    leaf = made.nodes(SWITCH, ["leaf"])
    far = made.nodes(GPU, ["far"])
    made.duplex(gpus[[0, 2]], gpus[[1, 3]], 25e9, 1e-6)
    made.duplex([*gpus, *far], leaf, 12e9, 1e-6)
    t = made.build("dgx1", [*gpus, *far], island=[0, 0, 0, 0, 1])
    assert np.diff(routes(t, [0, 0, 2], [1, 2, 3]).first).tolist() == [1, 2, 1]


def test_broken_links_are_taken_unless_asked_not_to() -> None:
    t = leaf_spine(2, 1, 2)
    link = int(t.links_between("leaf0", "spine0")[0])
    broken = t.with_links(bytes_per_s=np.where(np.arange(len(t.source)) == link, 0, t.bytes_per_s))
    keys = np.arange(64)
    ends = (np.zeros(64, int), np.ones(64, int))
    assert link in routes(broken, *ends, keys=keys).links
    assert link not in routes(broken, *ends, keys=keys, around_broken=True).links
    cut = t.with_links(bytes_per_s=np.zeros(len(t.source)))
    with pytest.raises(InputError, match=r"no path .* without broken links; join them by links"):
        routes(cut, [0], [1], around_broken=True)


def test_given_paths_are_taken_as_they_are() -> None:
    t = leaf_spine(2, 2, 2)
    names = ["host0", "leaf0", "spine1", "leaf1", "host3"]
    by_name = routes(t, [0, 1], [3, 1], routing="given", paths=[names, []])
    numbers = by_name.path(0).tolist()
    by_number = routes(t, [0], [3], routing="given", paths=[numbers])
    assert [t.nodes[n] for n in t.target[by_number.links]] == names[1:]
    assert by_name.first.tolist() == [0, 4, 4] and by_name.latency_s[0] == pytest.approx(2.7e-6)
    other = ["host0", "leaf0", "spine0", "leaf1", "host3"]
    parted = routes(
        t, [0, 1], [3, 0], routing="given", paths=[[names, other], ["host1", "leaf0", "host0"]]
    )
    assert parted.flow.tolist() == [0, 0, 1] and parted.share.tolist() == [0.5, 0.5, 1.0]
    air = cell(2, medium_bytes_per_s=1.0)
    up = routes(
        air, [1], [0], routing="given", paths=[["client0", "air", "access point", "server"]]
    )
    assert air.shared[up.links].tolist() == [True, True, False]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"routing": "fast"}, "no routing is called 'fast'; use one of"),
        ({"routing": "given"}, "none paths for 1 flows; give one path a flow"),
        ({"paths": [[0]]}, "paths go with routing 'given', not 'ecmp'"),
        ({"routing": "given", "paths": [[0]]}, "path of flow 0: ends at leaf0, not at host3"),
        (
            {"routing": "given", "paths": [[2]]},
            "link host2 -> leaf1 (place 0) does not start at host0",
        ),
        ({"routing": "given", "paths": [[99]]}, "link 99 does not exist, there are 16"),
        (
            {"routing": "given", "paths": [["host0", "spine0"]]},
            "no link leads from host0 to spine0",
        ),
        (
            {"routing": "spray", "most_paths": 1},
            "more than 1 shortest paths lead from host0 to host3",
        ),
        ({"routing": "spray", "parts": 2}, "parts=2 with routing 'spray'; use routing='split'"),
        ({"parts": 0}, "parts=0 with routing 'ecmp'"),
        ({"keys": [-1]}, "keys are not 1 whole numbers of 0 or more"),
    ],
)
def test_what_cannot_be_routed_is_named(options, says: str) -> None:
    t = leaf_spine(2, 2, 2)
    with pytest.raises(InputError) as raised:
        routes(t, [0], [3], **options)
    assert says in str(raised.value) and t.name in str(raised.value)


def test_ranks_that_are_not_there_are_named() -> None:
    t = star(3)
    with pytest.raises(InputError, match="source of flow 1 is rank 3, there are 3"):
        routes(t, [0, 3], [1, 1])
    with pytest.raises(InputError, match="2 sources and 1 targets"):
        routes(t, [0, 1], [1])
    with pytest.raises(InputError, match="target ranks are float64, integers are wanted"):
        routes(t, [0], [1.0])
    none = routes(t, [], [])
    assert isinstance(none, Routes) and len(none) == 0 and len(none.links) == 0


@pytest.mark.slow
def test_sixteen_thousand_gpus_are_routed_without_a_table_of_all_pairs() -> None:
    t = rail_optimised(2048)
    ranks = np.arange(t.ranks)
    found = routes(t, ranks, (ranks + 1003 * 8 + 3) % t.ranks)
    assert np.all(np.diff(found.first) >= 4)
    kept = [value for value in t._kept.values() if isinstance(value, tuple)]
    assert max(len(column) for value in kept for column in value) <= len(t.source)
