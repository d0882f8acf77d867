"""Policies that draw random numbers, near libCacheSim 0.3.5, which draws others.

Its own runs of these rows differ among each other by up to 0.0006. LHD leaves more open (time,
ages, classes, recomputation) than a paper can say, hence its wider tolerance; size-aware Belady
draws its candidates otherwise there (with ever more candidates both give .6734).
"""

import csv
import os
from pathlib import Path

import numpy as np
import pytest
from test_reference_ratios import cloud_physics, make

from mltwin.models.caching.tables import HIT

pytestmark = pytest.mark.data

TOLERANCE = {
    "Hyperbolic": ("hyperbolic", 5e-4),
    "LeCaR": ("lecar", 5e-4),
    "LHD": ("lhd", 1.5e-3),
    "BeladySize": ("belady_size", 2e-3),
}


def cases() -> list:
    path = Path(os.environ.get("MLTWIN_DATA", "")) / "reference" / "caching_miss_ratios.csv"
    if not os.environ.get("MLTWIN_DATA") or not path.exists():
        return []
    with path.open() as file:
        rows = [row for row in csv.DictReader(file) if row["policy"] in TOLERANCE]
    return [pytest.param(row, id=f"{row['policy']}-{row['cache_size']}") for row in rows]


@pytest.mark.parametrize("row", cases())
def test_miss_ratios_are_near_the_reference(row: dict[str, str], data_dir: Path) -> None:
    policy, tolerance = TOLERANCE[row["policy"]]
    ids, sizes = cloud_physics(str(data_dir))
    sized = row["unit"] == "bytes"
    cache = make(policy, int(row["cache_size"]), ids, sized)
    if sized:
        hit = cache.replay_full(ids, sizes) == HIT
        missed, bytes_missed = 1 - hit.mean(), sizes[~hit].sum() / sizes.sum()
        assert abs(bytes_missed - float(row["byte_miss_ratio"])) <= tolerance
    else:
        missed = 1 - cache.replay(ids) / len(ids)
    assert abs(missed - float(row["obj_miss_ratio"])) <= tolerance


def test_the_reference_has_these_rows(data_dir: Path) -> None:
    assert len(cases()) == 8 and np.all([limit < 3e-3 for _, limit in TOLERANCE.values()])
