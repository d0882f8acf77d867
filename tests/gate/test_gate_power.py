"""How often the gate is right, over many seed sets of the toy system."""

import pytest

import mltwin as mt

SETS = 200


def said(folder, world, *, count, slower=0.0, spread=0.0, stream=0, own=0):
    """Verdicts on the mean wait for disjoint seed sets."""
    found = []
    for trial in range(SETS):
        path = folder / f"{trial}.json"
        options = {"reason": "x", "seeds": count, "hold": count, "start": trial * count}
        world.__init__()
        world.spread = spread
        mt.make_baseline(folder / "toy.toml", path, workers=1, **options)
        world.slower, world.stream, world.own = slower, stream, own
        (part,) = mt.check(path, workers=1).parts
        found.append(part.lines[0].verdict)
        assert part.lines[0].metric == "mean_wait_ms" and part.streams == bool(stream)
    return found


@pytest.mark.slow
def test_two_per_cent_are_seen_in_ten_seeds(folder, world):
    """Noise of 5 % that pairs share, 0.5 % that they do not."""
    found = said(folder, world, count=10, slower=0.02, spread=0.005, own=1000)
    assert found.count("regression") >= 0.99 * SETS


@pytest.mark.slow
def test_unchanged_code_never_alarms(folder, world):
    assert said(folder, world, count=10, spread=0.005) == ["same"] * SETS


@pytest.mark.slow
def test_a_harmless_change_seldom_alarms(folder, world):
    """Each run is another, the true difference is 0, and its noise twice the tolerance."""
    found = said(folder, world, count=10, spread=0.02, own=1000)
    assert found.count("regression") <= 0.05 * SETS


@pytest.mark.slow
def test_other_streams_seldom_alarm(folder, world):
    found = said(folder, world, count=30, stream=10_000_000)
    assert found.count("regression") <= 0.05 * SETS
