"""A folder with a toy scenario, and the world that it runs in."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import toy

import mltwin as mt


@pytest.fixture
def world():
    """What the code under test does."""
    yield toy.fresh_world()
    toy.fresh_world()


@pytest.fixture
def folder(tmp_path, monkeypatch, world):
    """The working directory: `baselines/toy.toml` and its baseline of all four metrics."""
    monkeypatch.chdir(tmp_path)
    place = tmp_path / "baselines"
    place.mkdir()
    (place / "toy.toml").write_text('system = "gate-toy"\nsize = 1000\n')
    names = ["mean_wait_ms", "served", "refused", "hit_ratio"]
    mt.make_baseline(place / "toy.toml", reason="the first", metrics=names)
    return place
