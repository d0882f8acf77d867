"""The studies of long training runs still find what their pages say."""

from pathlib import Path

import pytest

from studies import elastic_training, lazy_checkpoints
from studies._common import Options


def test_lazy_checkpoints_gain_at_most_two(tmp_path: Path) -> None:
    found = lazy_checkpoints.study(Options(tmp_path, quick=True, workers=2))
    assert (tmp_path / "lazy_checkpoints.png").read_bytes()[:4] == b"\x89PNG"
    steps = found["step_s"]
    assert max(found["gain"]) < 2.05 and steps["sync"][0] > 5.5 * lazy_checkpoints.STEP_S
    assert steps["memory"][0] == pytest.approx(lazy_checkpoints.STEP_S)
    assert steps["lazy"][0] > 4.5 * lazy_checkpoints.STEP_S  # storage bounds it
    late = dict(zip(found["copies_s"], found["stall_s"]["lazy"], strict=True))
    assert late[5.0] == 0 and late[15.0] == pytest.approx(5.5, abs=0.01)
    few, many = ({name: rows[i]["ettr"] for name, rows in found["month"].items()} for i in (0, -1))
    assert many["sync"] < many["lazy"] - 0.05 < many["memory"]
    assert few["lazy"] - few["sync"] < 0.03


def test_using_every_node_gains_more_than_fast_recovery(tmp_path: Path) -> None:
    found = elastic_training.study(Options(tmp_path, quick=True, workers=2))
    assert (tmp_path / "elastic_training.png").read_bytes()[:4] == b"\x89PNG"
    small, large = (found["gain"][elastic_training.RESTART][i] for i in (0, -1))
    assert 1 < small < large
    ways = {name: [row["goodput_ratio"] for row in rows] for name, rows in found["by_mtbf"].items()}
    for restart, drop, remap in zip(
        *(ways[name] for name in (elastic_training.RESTART, elastic_training.DROP,
                                  elastic_training.REMAP)),
        strict=True,
    ):  # fmt: skip
        assert restart < drop < remap and remap - drop > drop - restart
    assert ways["wait"][0] < 0.1 and ways["wait, 2 spares"][-1] > 0.95
    assert elastic_training.one_lost(4) == pytest.approx(11 / 8)
