"""The studies of networks and of overlap still find what their pages say."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from studies._common import Options


def quick(name: str, folder: Path) -> dict[str, Any]:
    """The figures of a quick run, as it wrote them beside picture and tables."""
    importlib.import_module(f"studies.{name}").study(Options(folder, quick=True, workers=2))
    assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / f"{name}.md").read_text().startswith("| ") and list(folder.glob("*.csv"))
    figures: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return figures


def test_dealt_flows_are_as_even_as_sprayed_packets(tmp_path: Path) -> None:
    found = quick("packet_spraying", tmp_path)
    for rules in found["equal"].values():
        assert rules["dealt, rest cut"]["congestion_s"] == pytest.approx(1, abs=1e-9)
        assert rules["dealt, rest cut"]["completion_ms"] == pytest.approx(1, abs=1e-5)
        assert rules["hash"]["congestion_s"] > rules["hash, 16 parts"]["congestion_s"] > 1
    cuts = {traffic: rules["dealt, rest cut"] for traffic, rules in found["equal"].items()}
    assert cuts["ring"]["subflows"] == cuts["all-to-all"]["subflows"] == 1
    assert cuts["permutation"]["subflows"] > 3
    for traffic, rows in found["by_parts"].items():
        over = [row["congestion"]["mean"] for row in rows]
        assert over == sorted(over, reverse=True)
        assert over[0] > (1.2 if traffic == "all-to-all" else 2) and over[-1] > 1
    assert found["unequal"]["all-to-all"]["placed whole"]["completion_ms"] < 1.01


def test_overlap_is_full_if_and_only_if_the_all_reduce_fits(tmp_path: Path) -> None:
    found = quick("co2", tmp_path)
    for row in found["limit"]:
        assert (row["speed"] == 1) == (row["ratio"] <= 1)
        assert row["speed"] == pytest.approx(1 / max(row["ratio"], 1), rel=1e-5)
    assert found["needed"] > 1
    most = str(found["gpus"][-1])
    slow, fast = (found["by_gpus"][network][most] for network in ("80 Gb/s", "800 Gb/s"))
    assert slow["CO2"] == fast["CO2"] == 1
    assert slow["DDP"] < 0.3 < slow["local SGD"] < 0.7
    assert fast["DDP"] > 0.8
    for mine in found["noisy"].values():
        assert all(a > b for a, b in zip(mine["CO2"][1:], mine["local SGD"][1:], strict=True))
    for mine in found["slowed"].values():
        assert mine == sorted(mine, reverse=True) and mine[-1] < 1


def test_results_sent_back_pay_in_a_mesh_of_unshared_heads(tmp_path: Path) -> None:
    found = quick("token_ring", tmp_path)
    mine = found["a10"]
    assert mine["pair"]["ring"]["rounds"][0] == pytest.approx(mine["theirs"]["ring"], rel=0.01)
    first, _, third, *_ = mine["pair"]["TokenRing"]["rounds"]
    assert first == pytest.approx(mine["theirs"]["TokenRing, first"], rel=0.1)
    assert third == pytest.approx(mine["theirs"]["TokenRing, third"], rel=0.2)
    assert mine["port"]["TokenRing"]["rounds"][2] > 1.5 * mine["theirs"]["TokenRing, third"]
    times = found["by_tokens"]
    mesh, switch, circle = (
        next(rows for name, rows in times.items() if name.startswith(kind))
        for kind in ("mesh", "NVSwitch", "ring")
    )
    assert mesh["ring"][0] > 1.4 * mesh["TokenRing"][0]
    assert mesh["ring, both ways"][0] < mesh["TokenRing"][0]
    assert switch["TokenRing"][1] > switch["ring"][1]
    assert circle["TokenRing"][0] > 1.2 * circle["ring"][0]
    heads = next(rows for name, rows in found["by_kv_heads"].items() if name.startswith("mesh"))
    place = found["kv_heads"].index(8)
    assert heads["TokenRing"][place] > 2 * heads["ring"][place]
    assert heads["TokenRing"][-1] < heads["ring"][-1]


def test_remapping_pays_on_spot_instances(tmp_path: Path) -> None:
    found = quick("spot_training", tmp_path)
    used = {way: [row["used"] for row in rows] for way, rows in found["by_pace"].items()}
    remap, restart = used.pop("remap live"), used["restart on what is there"]
    for rows in used.values():
        assert all(a > b for a, b in zip(remap, rows, strict=True))
        assert rows == sorted(rows, reverse=True)
    usual = found["paces"].index(1.0)
    assert remap[0] > 0.9 and remap[usual] > 1.3 * restart[usual]
    longer = {way: [row["used"] for row in rows] for way, rows in found["by_restart"].items()}
    assert longer["restart on what is there"][-1] < 0.6 * longer["restart on what is there"][0]
    assert longer["remap live"][-1] > 0.9 * longer["remap live"][0]
