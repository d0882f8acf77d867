"""Clients of a scenario whose links follow traces."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mltwin as mt
from mltwin.federated_clients import clients_of, clients_table, laws_table
from mltwin.sim.errors import InputError

BASE: dict[str, Any] = {
    "system": "federated",
    "clients": {"count": 40, "speed": "exponential", "down_trace": "3g",
                "up_trace": {"name": "3g", "scale": 0.3, "duration_s": 900.0}, "seed": 5},
    "model": {"level": "time", "megabytes": 2.0},
    "strategy": {"name": "fedavg", "clients": 10},
    "stop": {"versions": 10},
}  # fmt: skip


def scenario(**changes: Any) -> Any:
    return mt.federated.Scenario.parse(BASE).changed(changes)


def test_rounds_wait_longer_where_links_change() -> None:
    """The slowest of ten at a moment is slower than the slowest mean; the bytes are the same."""
    moving = scenario()
    steady = moving.changed(
        {f"clients.{side}_trace": {"name": "3g", "steady": True, **more}
         for side, more in (("down", {}), ("up", {"scale": 0.3, "duration_s": 900.0}))}
    )  # fmt: skip
    slow, fast = (one.run(seed=1).metrics for one in (moving, steady))
    assert slow["duration_s"] > 1.1 * fast["duration_s"]
    assert slow["up_gb"] == fast["up_gb"]


def test_links_are_of_the_population() -> None:
    """The same clients whatever the run's seed; what `fed clients` tells are means."""
    given = scenario()
    one, two = (clients_of(given, np.full(40, 9), None, seed)[0] for seed in (1, 2))
    assert one.links is not None and two.links is not None
    assert np.array_equal(one.links.offset, two.links.offset)
    assert np.array_equal(one.links.bytes_per_s, two.links.bytes_per_s)
    assert one.up_bytes_per_s == pytest.approx(one.links.mean_bytes_per_s[one.links.up])
    table = clients_table(given, 1)
    down = next(row for row in table.rows if row[0] == "down (Mbit/s)")
    assert down[-1] == pytest.approx(one.down_bytes_per_s.mean() * 8e-6)
    assert "means of links" in str(table.caption)
    assert any(row[:2] == ["down_trace, up_trace", "files"] for row in laws_table().rows)


def test_files_are_found_beside_the_scenario_and_hashed(tmp_path: Path) -> None:
    (tmp_path / "drives").mkdir()
    for number in range(2):
        times = np.linspace(1, 20_000, 4000 * (1 + number)).astype(int)
        (tmp_path / f"drives/{number}.down").write_text("\n".join(map(str, times)) + "\n")
    (tmp_path / "drives/README").write_text("Two drives along the coast.\n")
    file = tmp_path / "fed.toml"
    file.write_text(
        'system = "federated"\n[clients]\ncount = 20\n'
        'down_trace = {name = "files", path = "drives/*.down"}\n'
        '[model]\nlevel = "time"\n[stop]\nversions = 3\n'
    )
    result = mt.Scenario.load(file).run(seed=0)
    assert sorted(result.facts["sources"]) == ["drives/0.down", "drives/1.down"]
    assert result.metrics["down_gb"] > 0
    with pytest.raises(InputError, match=r"clients.down_trace: .*README: is not a bandwidth"):
        mt.Scenario.load(file).set("clients.down_trace.path", "drives").run(seed=0)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"clients.down_mbit_per_s": 3.0}, "clients.down_mbit_per_s: clients.down_trace says it"),
        ({"clients.radio": {}}, "clients.radio: clients.down_trace says it"),
    ],
)
def test_two_rates_for_one_link(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        scenario().changed(changes)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"clients.down_trace": "6g"}, "clients.down_trace: no law is called '6g'"),
        ({"clients.up_trace.scale": -1.0}, "clients.up_trace.scale: scale is -1"),
        ({"clients.up_trace.speed": 1.0}, "clients.up_trace: 3g has no parameter 'speed'"),
    ],
)
def test_traces_that_cannot_be(changes: dict[str, Any], text: str) -> None:
    with pytest.raises(InputError, match=text):
        scenario().changed(changes).run(seed=0)


def test_traces_are_caps_beside_links_that_all_share() -> None:
    wide, narrow = (
        scenario().changed({"network.up_gbit_per_s": rate}).run(seed=0).metrics["duration_s"]
        for rate in (1e3, 1e-4)
    )
    assert wide == pytest.approx(scenario().run(seed=0).metrics["duration_s"], rel=1e-6)
    assert narrow > 1.2 * wide


def test_peers_have_constant_links() -> None:
    peers = {name: part for name, part in BASE.items() if name != "strategy"}
    with pytest.raises(InputError, match=r"clients.down_trace: .*with 'peers'"):
        mt.federated.Scenario.parse({**peers, "peers": {"protocol": "gossip"}}).run(seed=0)


@pytest.mark.data
def test_a_run_on_measured_links(data_dir: Path) -> None:
    """Mahimahi's LTE down and up, and the UCC's 5G: all that was sent has moved, in time."""
    network = data_dir / "traces" / "network"
    for down, up in (("mahimahi/*LTE*.down", "mahimahi/*LTE*.up"),
                     ("ucc_5g_download/*/*.csv", "mahimahi/*.up")):  # fmt: skip
        given = scenario(
            **{"clients.down_trace": {"name": "files", "path": str(network / down)},
               "clients.up_trace": {"name": "files", "path": str(network / up)}}
        )  # fmt: skip
        found = given.run(seed=3).metrics
        assert found["down_gb"] == pytest.approx(0.2) and found["updates"] == 100
