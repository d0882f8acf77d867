"""The study of overlap in a layer of experts still finds what its page says."""

from pathlib import Path

import pytest

from studies._common import Options
from studies.moe_overlap import CHUNKS, fused_bound, study


def test_no_schedule_hides_more_than_there_is(tmp_path: Path) -> None:
    found = study(Options(tmp_path, quick=True))
    assert (tmp_path / "moe_overlap.png").read_bytes()[:4] == b"\x89PNG"
    assert found["most_fused"] == pytest.approx(1.75, abs=0.01)
    for one in found["in_node"]:
        assert 1 <= one["chunks"] <= one["bound"] + 1e-9
        assert one["fused"] <= min(one["bound"], fused_bound(one["ratio"]) + 0.02)
    slow = [one for one in found["in_node"] if one["links"] < 1]
    assert sum(one["fused"] > one["chunks"] for one in slow) > 0.8 * len(slow)
    deep = {
        one["tokens"]: one
        for one in found["in_node"]
        if one["model"] == "DeepSeek-V3" and one["links"] == 1
    }
    assert deep[1024]["best_chunks"] == 2 and deep[16384]["best_chunks"] == CHUNKS[-1]
    assert deep[1024]["by_chunks"][-1] < 0.25
    gain = {(one["model"], one["tokens"]): one["gain"] for one in found["over_nodes"]}
    assert 1.1 < gain["Mixtral 8x7B", 4096] < 1.25 < gain["DeepSeek-V3", 4096]
    even, odd = found["uneven"].values()
    assert odd["chunks"] < even["chunks"] and odd["fused"] < even["fused"]
