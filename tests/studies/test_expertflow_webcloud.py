"""The studies of expert caches and of friends' browsers still find what their pages say."""

import importlib
import json
from pathlib import Path
from typing import Any

from studies._common import Options


def quick(name: str, folder: Path) -> dict[str, Any]:
    """The figures of a quick run, as it wrote them beside picture and tables."""
    importlib.import_module(f"studies.{name}").study(Options(folder, quick=True, workers=2))
    assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / f"{name}.md").read_text().startswith("| ") and list(folder.glob("*.csv"))
    figures: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return figures


def test_overlap_gains_little_and_sparsity_much(tmp_path: Path) -> None:
    found = quick("expertflow", tmp_path)
    gains = {link: [row["gain"] for row in mine] for link, mine in found["by_recall"].items()}
    assert all(max(mine) < 2 for mine in gains.values())
    assert gains["PCIe 5"][-1] < 1.06 < gains["NVLink-C2C"][-1]
    middle = found["recalls"].index(0.7)
    assert gains["PCIe 5"][middle] < 0.9
    by_batch = {model: mine["rows"] for model, mine in found["by_batch"].items()}
    for rows in by_batch.values():
        over = [row["gain"] for row in rows]
        assert over == sorted(over, reverse=True)
    assert by_batch["Mixtral 8x7B"][0]["hit_ratio"] == 0
    assert (
        3 < by_batch["Mixtral 8x7B"][0]["gain"] < 5 and by_batch["Mixtral 8x7B"][-1]["gain"] < 1.1
    )
    assert by_batch["1 of 128, small"][0]["gain"] > 100
    for ways in found["regrouping"].values():
        assert (
            ways["four passes, regrouped"]["experts_per_visit"]
            < (ways["four passes"]["experts_per_visit"])
        )
        assert ways["one pass"]["output_throughput"] > ways["four passes"]["output_throughput"]
    hits = {
        text: {policy: row["hit_ratio"] for policy, row in mine.items()}
        for text, mine in found["policies"].items()
    }
    assert hits["one ranking, repeats 0"]["lfu"] > hits["one ranking, repeats 0"]["lru"] + 0.08
    assert hits["four topics, repeats 0.6"]["lru"] > hits["four topics, repeats 0.6"]["lfu"] + 0.08
    assert all(mine["belady"] == max(mine.values()) for mine in hits.values())


def test_friends_serve_what_friends_view(tmp_path: Path) -> None:
    found = quick("webcloud", tmp_path)
    for mine in found["by_online"].values():
        offload = [row["offload_ratio"] for row in mine]
        assert offload == sorted(offload) and offload[-1] > 0.99
    few, many = (found["by_online"][degree][0]["offload_ratio"] for degree in ("10", "50"))
    assert many > 1.5 * few
    variants = found["variants"]
    usual = variants["usual"]["offload_ratio"]
    assert variants["site alone"]["offload_ratio"] == 0
    assert variants["no clusters (all edges random)"]["offload_ratio"] < usual - 0.1
    assert variants["publisher's browser keeps nothing"]["offload_ratio"] < usual - 0.1
    assert variants["usual"]["mean_latency_ms"] > 2 * variants["site alone"]["mean_latency_ms"]
    hubs = variants["hubs (Barabasi-Albert)"]
    assert hubs["top_1_percent_upload"] > 1.5 * variants["usual"]["top_1_percent_upload"]
    caches = [row["offload_ratio"] for row in found["by_cache"]["0.3"]]
    assert caches == sorted(caches)
