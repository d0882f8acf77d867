"""Topologies as files: what is written reads back the same, and what is wrong is named."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mltwin.models.network.builders import (
    cell,
    dragonfly,
    leaf_spine,
    nvswitch_node,
    rail_optimised,
    supernode,
    torus,
    wan,
)
from mltwin.models.network.routing import routes
from mltwin.models.network.topology import GPU, HOST, NIC, SITE, SWITCH, Topology
from mltwin.models.network.topology_file import (
    guessed_kind,
    read_topology,
    topology_data,
    topology_from,
)
from mltwin.sim.errors import InputError

ALL = [
    nvswitch_node(),
    rail_optimised(4, 2, nodes_per_leaf=2),
    leaf_spine(2, 3, 2),
    torus((2, 3)),
    dragonfly(1, 2, 1),
    supernode(2, 2, supernodes=2),
    wan(["Zürich", 'quo"te', "back\\slash"], bytes_per_s=1e9 / 3, latency_s=0.1),
    cell(2, medium_bytes_per_s=1e8),
    leaf_spine(1, 2, 1).with_links(bytes_per_s=[0.0, 1.0, 2.0, 3.0, 4.0, 5.0], name="broken"),
]


@pytest.mark.parametrize("ending", [".json", ".toml"])
@pytest.mark.parametrize("t", ALL, ids=lambda t: t.fabric)
def test_what_is_written_reads_back_the_same(t: Topology, ending: str, tmp_path) -> None:
    again = read_topology(t.save(tmp_path / f"net{ending}"))
    assert again.sha256 == t.sha256
    assert again.describe() == t.describe()
    last = t.ranks - 1
    assert np.array_equal(routes(t, [0], [last]).links, routes(again, [0], [last]).links)


def test_a_csv_edge_list_names_its_own_nodes(tmp_path) -> None:
    path = tmp_path / "lab.csv"
    path.write_text(
        "# our lab\nsource,target,gbit_per_s,latency_us,duplex\n"
        "gpu0,leaf1,400,1,yes\ngpu1,leaf1,400,1,yes\n\nleaf1,router,100,250,yes\n"
    )
    t = read_topology(path)
    assert t.name == "lab" and t.nodes == ("gpu0", "leaf1", "gpu1", "router")
    assert t.kinds.tolist() == [GPU, SWITCH, GPU, SITE]
    assert t.endpoints.tolist() == [0, 2]
    assert t.bytes_per_s.tolist() == [50e9] * 4 + [12.5e9] * 2
    assert t.latency_s[-1] == pytest.approx(250e-6)
    assert routes(t, [0], [1]).latency_s[0] == pytest.approx(2e-6)


def test_json_may_leave_out_what_can_be_guessed(tmp_path) -> None:
    path = tmp_path / "net.json"
    links = [{"source": "h1", "target": "s1", "mbit_per_s": 8, "shared": True}]
    path.write_text(json.dumps({"links": [*links, {**links[0], "source": "h2"}]}))
    t = read_topology(path)
    assert (t.name, t.ranks, t.kinds.tolist()) == ("net", 2, [HOST, SWITCH, HOST])
    assert t.bytes_per_s.tolist() == [1e6, 1e6] and t.shared.all() and not t.latency_s.any()
    assert len(routes(t, [0], [1]).links) == 2


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("n3.gpu1", GPU),
        ("s0.n1.npu7", GPU),
        ("chip1.2.3", GPU),
        ("node3/nic0", NIC),
        ("host12", HOST),
        ("worker-3", HOST),
        ("region", SITE),
        ("42", SWITCH),
        ("u0.leaf3", SWITCH),
        ("core1.0", SWITCH),
    ],
)
def test_kinds_are_guessed_from_names(name: str, kind: int) -> None:
    assert guessed_kind(name) == kind


HEAD = "source,target,bytes_per_s\n"
CSV = [
    ("", "is empty; begin with source,target,bytes_per_s"),
    (HEAD, "has no links; add at least one"),
    ("sorce,target\n", "line 1: 'sorce' is not known; did you mean 'source'?"),
    (HEAD + "a,b\n", "line 2: 2 cells, the header has 3"),
    (HEAD + "a,b,1\na,,1\n", "line 3: has no target"),
    (HEAD + "a,b,fast\n", "line 2: bytes_per_s is 'fast', not a number"),
    (HEAD + "a,b,-1\n", "line 2: bytes_per_s is '-1'; give a finite number, 0 or more"),
    (HEAD + "a,b,nan\n", "line 2: bytes_per_s is 'nan'; give a finite number, 0 or more"),
    ("source,target\na,b\n", "line 2: has no rate; give one of bytes_per_s"),
    (
        "source,target,bytes_per_s,gb_per_s\na,b,1,1\n",
        "line 2: has bytes_per_s and gb_per_s; give one of",
    ),
    ("source,target,bytes_per_s,duplex\na,b,1,2\n", "line 2: duplex is '2'; say true or false"),
    (HEAD + "a,a,1\n", "link a -> a ends where it starts"),
    (HEAD + 'a,"b,1\n', "line 2: is not CSV"),
]


@pytest.mark.parametrize(("content", "says"), CSV)
def test_a_wrong_csv_is_named_by_line(content: str, says: str, tmp_path) -> None:
    path = tmp_path / "net.csv"
    path.write_text(content)
    with pytest.raises(InputError) as raised:
        read_topology(path)
    assert says in str(raised.value)
    assert "net" in str(raised.value)


LINK = {"source": "a", "target": "b", "bytes_per_s": 1}
JSON = [
    ({"links": [LINK], "facts": 3}, "facts: is not a table"),
    ([], "is not a table"),
    ({}, "has no links"),
    ({"links": [LINK], "node": []}, "'node' is not known; did you mean 'nodes'?"),
    ({"links": [LINK, 3]}, "links[1]: is not a table"),
    ({"links": [LINK], "nodes": ["a"]}, "links[0]: target 'b' is not among the nodes"),
    ({"links": [LINK], "nodes": ["a", "a"]}, "nodes[1]: node 'a' is there twice"),
    ({"links": [LINK], "nodes": ["a", {"kind": "gpu"}]}, "nodes[1]: has no name"),
    ({"links": [LINK], "nodes": [{"name": "a", "kind": "tree"}]}, "nodes[0]: kind is 'tree'"),
    ({"links": [LINK], "nodes": [{"name": "a", "rank": -1}]}, "rank is -1, not a whole number"),
    (
        {"links": [LINK], "nodes": [{"name": "a", "rank": 1}, "b"]},
        "nodes: ranks do not count from 0",
    ),
    ({"links": [{**LINK, "latency_ms": True}]}, "links[0]: latency_ms is True, not a number"),
]


@pytest.mark.parametrize(("data", "says"), JSON)
def test_wrong_json_is_named_by_entry(data, says: str, tmp_path) -> None:
    path = tmp_path / "net.json"
    path.write_text(json.dumps(data))
    with pytest.raises(InputError) as raised:
        read_topology(path)
    assert str(raised.value).startswith(str(path)) and says in str(raised.value)


def test_files_that_are_none(tmp_path) -> None:
    with pytest.raises(InputError, match="no such file; check the path"):
        read_topology(tmp_path / "none.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(InputError, match=r"a\.json, line 1: is not JSON"):
        read_topology(tmp_path / "a.json")
    (tmp_path / "a.toml").write_text("=")
    with pytest.raises(InputError, match=r"a\.toml.* is not TOML"):
        read_topology(tmp_path / "a.toml")
    (tmp_path / "a.json").write_bytes(b"\xff\xfe{")
    with pytest.raises(InputError, match="is not UTF-8 text"):
        read_topology(tmp_path / "a.json")
    (tmp_path / "a.xml").write_text("<a/>")
    with pytest.raises(InputError, match=r"not read from \.xml; use \.json, \.toml or \.csv"):
        read_topology(tmp_path / "a.xml")
    with pytest.raises(InputError, match=r"not written to \.csv; use \.json or \.toml"):
        nvswitch_node().save(tmp_path / "a.csv")
    with pytest.raises(InputError, match="cannot be written"):
        nvswitch_node().save(tmp_path / "missing" / "a.json")


_ANY = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2**40)
    | st.floats()
    | st.sampled_from(["a", "b", ""]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from([*LINK, "name", "kind", "rank", "duplex"]), inner)
    ),
    max_leaves=8,
)


@settings(max_examples=120, deadline=None)
@given(
    data=st.fixed_dictionaries(
        {"links": st.lists(st.fixed_dictionaries(dict.fromkeys(LINK, _ANY)) | st.just(LINK))},
        optional={"nodes": st.lists(_ANY | st.just("a")), "facts": _ANY, "name": _ANY},
    )
)
def test_whatever_stands_there_gives_a_topology_or_one_clear_line(data) -> None:
    try:
        made = topology_from(data)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert topology_from(topology_data(made)).sha256 == made.sha256
