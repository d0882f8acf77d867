"""The system `network`: scenarios to flows and back, closed forms, errors in a line."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import mltwin as mt
from mltwin.network import NetworkScenario
from mltwin.network_run import alone_ticks, lower
from mltwin.sim.errors import InputError

STAR = {"name": "star", "hosts": 5, "bytes_per_s": 1e9, "latency_s": 0.0}


def scenario(**changes: object) -> NetworkScenario:
    return NetworkScenario(topology=STAR).changed(
        {k.replace("__", "."): v for k, v in changes.items()}
    )


def test_incast_shares_the_last_link() -> None:
    result = scenario(
        traffic__kind="pattern", traffic__pattern="incast", traffic__size_mb=100.0
    ).run()
    assert result.metrics["makespan_ms"] == pytest.approx(400.0)  # 4 x 100 MB over 1 GB/s
    assert result.metrics["mean_slowdown"] == pytest.approx(4.0)
    assert result.metrics["max_link_utilisation"] == pytest.approx(1.0)
    assert result.violations == []


def test_without_contention_nobody_waits() -> None:
    result = scenario(
        fidelity="alphabeta", traffic__kind="pattern", traffic__pattern="incast"
    ).run()
    assert result.metrics["max_slowdown"] == pytest.approx(1.0)
    assert any("congestion" in note for note in result.notes)


def test_a_ring_is_what_the_formula_says() -> None:
    result = scenario(
        traffic__kind="collective", traffic__algorithm="ring", traffic__size_mb=1000.0
    ).run()
    assert result.metrics["makespan_ms"] == pytest.approx(2 * 4 / 5 * 1000, rel=1e-9)
    assert result.metrics["busbw_gb_per_s"] == pytest.approx(1.0, rel=1e-9)


@pytest.mark.parametrize("kind", ["poisson", "pattern", "collective"])
def test_the_reference_agrees(kind: str) -> None:
    one = scenario(traffic__kind=kind, traffic__flows=60, traffic__size_mb=3.0)
    fast, slow = one.run(3), one.run(3, reference=True)
    assert fast.metrics.keys() == slow.metrics.keys()
    for name, value in fast.metrics.items():
        assert value == pytest.approx(slow.metrics[name], rel=1e-9), name


def test_a_link_that_is_down_for_a_while() -> None:
    base = scenario(traffic__kind="pattern", traffic__pattern="shift", traffic__size_mb=100.0)
    down = [
        {"at_ms": 20.0, "link": "host0->switch", "share": 0.0},
        {"at_ms": 70.0, "link": "host0->switch", "share": 1.0},
    ]
    names = base.topology
    assert names == STAR
    before, after = base.run(), base.set("changes", down).run()
    assert before.metrics["makespan_ms"] == pytest.approx(100.0)
    assert after.metrics["makespan_ms"] == pytest.approx(150.0)


def test_parts_of_a_flow_count_as_one() -> None:
    tree = NetworkScenario(topology={"name": "fat_tree", "k": 4})
    for routing in ("ecmp", "spray", "split"):
        more = {"parts": 4} if routing == "split" else {}
        result = tree.changed({"routing": routing, "traffic.flows": 50, **more}).run()
        assert result.metrics["flows"] == 50
        assert result.metrics["sent_gb"] == pytest.approx(tree.set("traffic.flows", 50).run()
                                                          .metrics["sent_gb"])  # fmt: skip
        assert result.violations == []


def test_alone_means_alone() -> None:
    one = scenario(traffic__flows=1, traffic__matrix="uniform")
    lowered = lower(one, 4)
    flows = one.run(4).tables["flows"]
    assert flows["end"] - flows["start"] == pytest.approx(alone_ticks(lowered), abs=1)


def test_the_load_is_what_was_asked_for() -> None:
    result = scenario(traffic__flows=20_000, traffic__load=0.5, fidelity="alphabeta").run()
    flows = result.tables["flows"]
    offered = flows["bytes"].sum() / (flows["time"].max() / 1e12) / 5e9
    assert offered == pytest.approx(0.5, rel=0.03)


def test_islands_send_elsewhere() -> None:
    two = NetworkScenario(topology={"name": "rail_optimised", "nodes": 2}).changed(
        {"traffic.matrix": "islands", "traffic.flows": 300}
    )
    flows = two.run().tables["flows"]
    assert (flows["source"] // 8 != flows["target"] // 8).all()


def test_flows_from_a_file(tmp_path: Path) -> None:
    (tmp_path / "flows.csv").write_text(
        "start_s,source,target,bytes,weight,cap_gbps\n0,0,1,1e8,1,0.8\n0.05,2,1,5e7,1,8\n"
    )
    (tmp_path / "a.toml").write_text(
        'system = "network"\n[topology]\nname = "star"\nhosts = 3\nbytes_per_s = 1e9\n'
        'latency_s = 0.0\n[traffic]\nkind = "file"\nfile = "flows.csv"\n'
    )
    result = mt.Scenario.load(tmp_path / "a.toml").run()
    took = (result.tables["flows"]["end"] - result.tables["flows"]["start"]) / 1e12
    # The first may send 0.1 GB/s, so that the second has 0.9 GB/s while it lasts.
    assert took == pytest.approx([1.0, 5e7 / 0.9e9], rel=1e-6)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("0,0,9,1e6", "a rank from 0 to 2"),
        ("0,1,1,1e6", "another rank"),
        ("0,0,1,-5", "more than 0"),
        ("x,0,1,1e6", "not a number"),
        ("0,0,1,inf", "'inf' is not a number"),
        ("0,0,1,", "is missing"),
        ("1e12,0,1,5", "0 to 9.2e.06 s"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, row: str, words: str) -> None:
    file = tmp_path / "flows.csv"
    file.write_text(f"start_s,source,target,bytes\n0,0,1,1e6\n{row}\n")
    bad = NetworkScenario(topology={**STAR, "hosts": 3}).changed(
        {"traffic": {"kind": "file", "file": str(file)}}
    )
    with pytest.raises(InputError, match=words) as error:
        bad.run()
    assert "flows.csv:3" in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("start_s,source,target,bytes\n0,0,1,5,6,7\n", "csv:2: more values than columns"),
        ("start_s,source,target,bytes,wieght\n0,0,1,5,2\n", "did you mean 'weight'"),
        ("start_s,source,target,bytes,bytes\n0,0,1,5,6\n", "unknown column"),
        ("start_s,source,target,bytes\n0,0,1,5\n\n0,0,1,x\n", "csv:4: bytes: 'x'"),
        ("start_s,source,target,bytes\n\n", "no flow in it"),
        ("# flows\nstart_s,source,target,bytes\n0,0,1,5\n", "no column 'start_s'"),
    ],
)
def test_a_bad_table_is_named(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "flows.csv"
    file.write_text(text)
    with pytest.raises(InputError, match=words) as error:
        scenario(traffic__kind="file", traffic__file=str(file)).run()
    assert "\n" not in str(error.value)


def test_empty_optional_cells_and_blank_lines_are_defaults(tmp_path: Path) -> None:
    file = tmp_path / "flows.csv"
    file.write_text("start_s,source,target,bytes,weight,cap_gbps\n0,0,1,1e6,,0.8\n\n0,2,3,1e6,1,\n")
    result = scenario(traffic__kind="file", traffic__file=str(file)).run()
    ends = result.tables["flows"]["end"] / 1e9
    assert ends.tolist() == pytest.approx([10.0, 1.0])  # 0.8 Gbit/s, and the whole 1 GB/s


def test_alphabeta_of_a_collective_keeps_to_the_links() -> None:
    base = scenario(fidelity="alphabeta", traffic__kind="collective")
    ring, direct = (base.set("traffic.algorithm", name) for name in ("ring", "direct"))
    assert ring.run().metrics["busbw_gb_per_s"] == pytest.approx(1.0)
    assert lower(base, 0).facts["algorithm"] == "ring"
    with pytest.raises(InputError, match=r"4 times what host\d -> switch can carry"):
        direct.run()


def test_auto_takes_an_algorithm_that_becomes_flows() -> None:
    many = NetworkScenario(topology={"name": "star", "hosts": 300}).changed(
        {"traffic": {"kind": "collective", "size_mb": 0.01}}
    )
    small = many.set("topology", {"name": "star", "hosts": 16})
    assert lower(small, 0).facts["algorithm"] == "direct"
    assert lower(many, 0).facts["algorithm"] in ("tree", "double_tree", "halving_doubling")


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: mt.topology(5), "no topology"),
        (lambda: mt.collective_times("star", "all_reduce", []), "no size"),
        (lambda: mt.collective_times("star", "all_reduce", 1e6, ranks=9), "the topology has 8"),
    ],
)
def test_what_python_gives_wrong(call: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        call()


def test_one_size_and_a_name_will_do() -> None:
    given = mt.collective_times(mt.topology("star"), "all_reduce", [1e6])
    assert mt.collective_times("star", "all_reduce", 1e6).data() == given.data()


def test_a_broken_link_is_named() -> None:
    star = mt.topology("star", hosts=2)
    broken = replace(star, bytes_per_s=np.where(np.arange(4) == 0, 0.0, star.bytes_per_s))
    with pytest.raises(InputError, match="link host0 -> switch has no bandwidth"):
        mt.collective_times(broken, "all_reduce", 1e6)


def test_nccl_across_nodes_is_said_to_be_modelled() -> None:
    pair = mt.topology("rail_optimised", nodes=2)
    times = mt.collective_times(pair, "all_reduce", 1e6, algorithms=["ring"], hardware="h100-sxm")
    assert [t.algorithm for t in times.times] == ["ring", "nccl modelled"]
    with pytest.raises(InputError, match="give ranks of one node"):
        mt.collective_times(pair, "all_reduce", 1e6, hardware="l40s")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"topology": "fat_treee"}, "did you mean 'fat_tree'"),
        ({"topology": {"name": "star", "host": 3}}, "did you mean 'hosts'"),
        ({"topology": {"name": "star", "hosts": "many"}}, "topology"),
        ({"topology": {"file": "nowhere.json"}}, "nowhere.json"),
        ({"parts": 3}, "routing = 'split'"),
        ({"changes": [{"at_ms": 1.0, "link": "host0", "share": 0.5}]}, "a->b"),
        ({"changes": [{"at_ms": 1.0, "link": "host0->host1", "share": 0.5}]}, "no link goes"),
        ({"traffic": {"kind": "collective", "ranks": 99}}, "the topology has 5"),
        ({"traffic": {"kind": "collective", "groups": 4}}, "each group needs"),
        ({"traffic": {"kind": "pattern", "pattern": "shift", "shift": 5}}, "sends to itself"),
        ({"topology": {"hosts": 3}}, "names no topology"),
        ({"topology": {"name": ["star"]}}, "unknown topology"),
        ({"topology": {"name": "star", "latency_s": 1e9}}, "give at most 100000"),
        ({"changes": [{"at_ms": 1e12, "link": "host0->switch", "share": 0.5}]}, "less than"),
        ({"traffic": {"kind": "pattern", "pattern": "incast", "senders": 5}}, "give at most 4"),
        ({"traffic": {"kind": "collective", "collective": "send_recv"}}, "traffic: ranks"),
        ({"traffic": {"matrix": "islands"}, "topology": {"name": "nvswitch_node"}}, "two islands"),
    ],
)
def test_errors_are_one_line(changes: dict, words: str) -> None:
    with pytest.raises(InputError, match=words) as error:
        NetworkScenario(topology=STAR).changed(changes).run()
    assert "\n" not in str(error.value)


def test_stored_and_read_back(tmp_path: Path) -> None:
    result = scenario(traffic__flows=40).run(2)
    result.save(tmp_path / "run")
    again = mt.Result.load(tmp_path / "run")
    assert again.metrics == result.metrics
    assert np.array_equal(again.tables["flows"]["end"], result.tables["flows"]["end"])


def test_collectives_by_algorithm() -> None:
    node = mt.topology("nvswitch_node")
    found = mt.collective_times(node, "all_reduce", [1e6, 1e9])
    names = {t.algorithm for t in found.times}
    assert {"ring", "double_tree", "direct"} <= names and "in_network" not in names
    assert len(found.table().rows) == len(found.times) == len(found.data())
    beside = mt.collective_times(node, "all_reduce", [1e9], hardware="h100-sxm").times
    assert beside[-1].algorithm == "nccl Simple"
    assert beside[-1].seconds == pytest.approx(beside[0].seconds, rel=0.15)  # of 450 GB/s links
    with pytest.raises(InputError, match="h101"):
        mt.collective_times(node, "all_reduce", [1e9], hardware="h101-sxm")
    with pytest.raises(InputError, match="did you mean 'all_reduce'"):
        mt.collective_times(node, "all_redcue", [1e6])


@pytest.mark.parametrize("routing", ["spray", "split", "shortest"])
def test_a_collective_may_be_routed_in_parts(routing: str) -> None:
    more = {"parts": 2} if routing == "split" else {}
    tree = NetworkScenario(topology={"name": "fat_tree", "k": 4}, routing=routing, **more)
    ring = {"traffic.kind": "collective", "traffic.algorithm": "ring", "traffic.size_mb": 1000.0}
    result = tree.changed(ring).run()
    assert result.metrics["flows"] == 16  # one pipelined flow an edge
    assert result.metrics["busbw_gb_per_s"] == pytest.approx(50, rel=0.01)
    assert result.violations == []
