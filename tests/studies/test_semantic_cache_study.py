"""The study of semantic caches runs in quick mode and still finds what its page says."""

from pathlib import Path

import pytest
from test_studies import quick


def test_semantic_caches(tmp_path: Path) -> None:
    found = quick("semantic_cache", tmp_path)
    for row in found["crossings"].values():
        assert row["simulated"] == pytest.approx(row["formula"], abs=0.001)
    implied = found["implied"]
    assert implied["saved_ms"] == pytest.approx([150, 200])
    assert implied["break_even_at_2_ms"] == pytest.approx([0.01, 0.01333], abs=1e-5)
    assert implied["lookup_ms_for_3_to_5_percent"] == pytest.approx([6.0, 7.5])
    assert implied["fetch_ms_for_3_to_5_percent"] == pytest.approx([133.333, 110], abs=1e-3)
    assert found["coverage"]["remote"]["losing"] == ["chat", "news"]
    assert found["coverage"]["in memory"]["losing"] == []
    for row in found["thresholds"]["bounds"]:
        assert row["by_category"]["useful_hit_ratio"] > 1.1 * row["one"]["useful_hit_ratio"]
    loaded = {(row["load"], row["fall"]): row for row in found["adaptive"]}
    falls = sorted({fall for _, fall in loaded})
    cuts = [loaded[1.3, fall]["cut"] for fall in falls]
    false = [loaded[1.3, fall]["false_hit_ratio"] for fall in falls]
    assert cuts == sorted(cuts) and cuts[-1] > 0.09
    assert false == sorted(false) and false[-1] > 3 * false[0]
