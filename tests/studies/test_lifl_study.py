"""The study of aggregation services still finds what its page says."""

import json
from pathlib import Path

import pytest

from studies._common import Options
from studies.lifl import study


def test_lifl_waits_least_where_updates_are_spread_out_only(tmp_path: Path) -> None:
    study(Options(tmp_path, quick=True, workers=2))
    assert (tmp_path / "lifl.png").read_bytes()[:4] == b"\x89PNG"
    found = json.loads((tmp_path / "lifl.json").read_text())
    apart, together = (found["by_load"][how]["64"] for how in ("spread out", "together"))
    lifl = apart["LIFL"]
    # NIC and unpacking of 241 MB, added in its leaf, and the leaf's sum in the node's middle.
    assert lifl["wait_s"] == pytest.approx(0.241 * (0.8 + 1 / 1.3 + 2 / 6), abs=0.0005)
    assert apart["always on"]["wait_s"] > 3 * lifl["wait_s"]
    assert apart["always on, eager"]["wait_s"] > 2 * lifl["wait_s"]
    assert apart["broker"]["wait_s"] > 10 * lifl["wait_s"]
    assert lifl["cpu_s"] < apart["always on"]["cpu_s"] / 2.5
    assert 0.8 < lifl["work_s"] / apart["always on"]["work_s"] < 1
    assert apart["broker"]["work_s"] > 4 * lifl["work_s"]
    assert lifl["off_node_gb"] == 0
    assert apart["broker"]["off_node_gb"] == pytest.approx(2 * 64 * 0.241)
    assert apart["always on"]["wait_s"] < 0.02 * apart["always on"]["round_s"]
    assert together["LIFL"]["wait_s"] > 1.5 * together["always on"]["wait_s"]
    assert together["LIFL"]["cpu_s"] > 2 * together["always on"]["cpu_s"]
    parts = found["parts"]
    slower = [parts["spread out"][name]["wait_s"] for name in ("LIFL", "over gRPC", "not packed")]
    assert slower == sorted(slower)
    assert parts["spread out"]["lazy"]["wait_s"] > 3 * lifl["wait_s"]
    assert parts["together"]["not packed"]["wait_s"] < 0.6 * parts["together"]["LIFL"]["wait_s"]
    kept = parts["together"]["kept 5 s, not 60"]
    assert kept["cpu_s"] < 0.3 * together["LIFL"]["cpu_s"]
    assert kept["wait_s"] == pytest.approx(together["LIFL"]["wait_s"], rel=0.1)
