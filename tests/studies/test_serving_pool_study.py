"""The study of a KV pool behind serving replicas still finds what its page says."""

import importlib
import json
from pathlib import Path
from typing import Any

from studies._common import Options


def test_a_pool_makes_routers_find_alike_not_as_fast(tmp_path: Path) -> None:
    importlib.import_module("studies.serving_pool").study(Options(tmp_path, quick=True, workers=2))
    assert (tmp_path / "serving_pool.png").read_bytes()[:4] == b"\x89PNG"
    found: dict[str, Any] = json.loads((tmp_path / "serving_pool.json").read_text())
    at = found["loads"].index(0.35)
    by = {
        place: {router: row[at] for router, row in rows.items()}
        for place, rows in found["by_load"].items()
    }
    pool, local, host = by["pool"], by["GPU only"], by["host tiers"]
    hits = [mine["hits"] for mine in pool.values()]
    assert max(hits) < 1.05 * min(hits), "every router finds the same in a pool"
    assert local["random"]["hits"] < 0.6 * local["prefix and load"]["hits"] < 0.8 * min(hits)
    assert pool["reach and load"]["mean"] < 0.9 * pool["random"]["mean"]
    spread = set(local) - {"longest prefix"}  # which piles requests up, with a pool or without
    assert all(pool[name]["mean"] < local[name]["mean"] for name in spread)
    assert host["reach and load"]["hits"] > 1.5 * host["least requests"]["hits"]
    always, cheaper = (found["by_speed"][fetch] for fetch in ("always", "cheaper"))
    assert always[0]["mean"] > 1.5 * local["least requests"]["mean"]
    assert cheaper[0]["mean"] < 1.02 * local["least requests"]["mean"]
    late, early = (found["by_size"][write][-1]["hits"] for write in ("eviction", "completion"))
    assert late < 0.9 * early
