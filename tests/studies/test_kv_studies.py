"""The studies of KV prefix caches still find what their pages say."""

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
    assert (folder / f"{name}.md").read_text().count("| ") > 20 and list(folder.glob("*.csv"))
    figures: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return figures


def test_the_pool_gains_what_the_router_leaves(tmp_path: Path) -> None:
    found = quick("kv_pool", tmp_path)
    hits = {name: row[found["sizes"].index(5859)] for name, row in found["hits"].items()}
    assert hits["pool"] > 2.5 * hits["random"] and hits["pool"] > 2.5 * hits["round robin"]
    assert hits["pool"] < 1.03 * hits["prefix and load"]
    assert hits["longest prefix"] < 0.7 * hits["pool"]
    ttft = {name: row["mean_ttft_ms"] for name, row in found["timed"].items()}
    best = [
        min(ttft[name][i] for name in ttft if "pool" not in name)
        for i in range(len(found["rates"]))
    ]
    assert all(ms < least for ms, least in zip(ttft["pool, 100 GB/s"], best, strict=True))
    assert ttft["pool, 25 GB/s"][-1] > best[-1]
    assert ttft["pool, 25 GB/s shared"][-1] > 1.5 * best[-1]


def test_order_beats_policy(tmp_path: Path) -> None:
    found = quick("mooncake_curves", tmp_path)
    for mine in found["traces"].values():
        policies = mine["policies"]
        for name, row in policies.items():
            assert all(a <= b + 1e-9 for a, b in zip(row, policies["oracle"], strict=True)), name
        assert policies["oracle"][0] > 2.5 * policies["LRU"][0]
        assert policies["LRU"][0] < 0.2 * mine["unbounded"]
        assert mine["orders"]["grouped"] == pytest.approx([mine["unbounded"]] * 3, rel=1e-4)
        assert mine["orders"]["first come first served"] == policies["LRU"]
        tail = zip(policies["LRU"], policies["LRU, tail first"], strict=True)
        assert all(abs(a - b) < 0.006 for a, b in tail)
