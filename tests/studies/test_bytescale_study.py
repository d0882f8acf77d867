"""The study of static and hybrid splits of long contexts still finds what its page says."""

from pathlib import Path

import numpy as np
import pytest

from studies._common import Options
from studies.bytescale import CAPACITY, CONTEXTS, Piece, packed, placed, speed, study


def test_static_groups_pay_for_short_sequences(tmp_path: Path) -> None:
    found = study(Options(tmp_path, quick=True))
    assert (tmp_path / "bytescale.png").read_bytes()[:4] == b"\x89PNG"
    assert all(abs(one["off"]) < 0.02 for one in found["checks"])
    by_context = dict(zip(found["contexts"], found["by_context"], strict=True))
    node, *_, widest = (by_context[c] for c in sorted(by_context) if c >= 131_072)
    assert node["static"]["exposed"] == 0 and widest["static"]["exposed"] > 0.75
    assert speed(node, "hybrid") < 1 < speed(node, "static_even")
    assert speed(node, "hybrid_even") == pytest.approx(speed(node, "static_even"), rel=0.1)
    assert 4 < speed(widest, "hybrid_even") < 8
    assert speed(widest, "hybrid_even") > 1.3 * speed(widest, "hybrid")
    short, *_, long = found["by_spread"]
    assert speed(short, "hybrid_even") > 2 * speed(long, "hybrid_even")
    for ways in (*found["by_context"], *found["by_spread"]):
        for one in ways.values():
            shares = [one[part] for part in ("useful", "exposed", "waiting", "update")]
            assert sum(shares) == pytest.approx(1, abs=1e-6)


def test_nothing_is_lost_in_packing_and_placing() -> None:
    lengths = np.array([900.0, 16_000, 50, 8_000, 8_384, 700])
    packs = packed(lengths, CAPACITY)
    assert sorted(np.concatenate(packs).tolist()) == sorted(lengths.tolist())
    assert all(pack.sum() <= CAPACITY for pack in packs)
    pieces = [Piece(1, split, float(split), 0.0) for split in (1, 4, 2, 2, 1)]
    for even in (False, True):
        order = placed(pieces, 4, even)
        assert sorted(p.split for _, p in order) == [1, 1, 2, 2, 4]
        assert all(first >= 0 and first + p.split <= 4 for first, p in order)
    assert max(CONTEXTS) // CAPACITY == 128
