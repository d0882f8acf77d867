"""The studies of adapters run in quick mode, leave their files, and still find what they say."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from studies._common import Options


def quick(name: str, folder: Path) -> dict[str, Any]:
    """The figures of a quick run."""
    importlib.import_module(f"studies.{name}").study(Options(folder, quick=True, workers=2))
    assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    figures: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return figures


def test_a_learner_of_residents_beats_residents_that_stay(tmp_path: Path) -> None:
    found = quick("polar", tmp_path)
    regret = {name: mine["regret"][0] for name, mine in found["controllers"].items()}
    slope = {name: mine["slope"][0] for name, mine in found["controllers"].items()}
    assert regret["POLAR+"] < 0.4 * regret["first residents"] and regret["POLAR+"] < regret["LRU"]
    assert regret["most wanted (known)"] < regret["POLAR+"]
    assert slope["POLAR+"] < 0.6 < slope["LRU"] < slope["first residents"]
    narrow = {name: values[0] for name, values in found["by_bonus"].items()}
    assert narrow["POLAR+"] < 0.6 * min(narrow["POLAR"], narrow["LRU"], narrow["LFU"])
    assert found["scaling"]["adapters"]["exponent"] > found["scaling"]["resident"]["exponent"]


def test_agents_share_memory_and_only_a_common_a_saves_computing(tmp_path: Path) -> None:
    found = quick("lragent", tmp_path)
    sizes = {name: mine["kb_per_token"] for name, mine in found["sizes"].items()}
    assert sizes["BaseShared"] / sizes["separate"] == pytest.approx(0.337, abs=5e-4)
    assert sizes["BaseLRShared"] / sizes["separate"] == pytest.approx(0.335, abs=5e-4)
    tokens = {name: mine["tokens"] for name, mine in found["replay"].items()}
    assert tokens["BaseShared"][-1] == tokens["separate"][-1]
    assert tokens["BaseShared"][-1] == pytest.approx(2.4 * tokens["BaseLRShared"][-1], rel=0.05)
    for shared, lossy in zip(tokens["BaseLRShared"], tokens["fully shared"], strict=True):
        assert shared == pytest.approx(lossy, rel=0.01)
    floor = found["by_count"]["fully shared"]
    assert floor[0] / floor[-1] == pytest.approx(64, rel=1e-6)
