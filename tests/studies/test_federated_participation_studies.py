"""Studies of clients that come as they like or come late still find what their pages say."""

import json
from pathlib import Path

import pytest

from studies import anarchic, fedau, stale_labels
from studies._common import Options
from studies._step_sizes import best


@pytest.mark.slow
def test_weights_mend_what_seldom_clients_lose(tmp_path: Path) -> None:
    found = fedau.study(Options(tmp_path, quick=True, workers=2))
    assert (tmp_path / "fedau.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((tmp_path / "fedau.json").read_text())["rounds"] == 150
    rows = found["cases"][fedau.FINITE]
    for name in ("known 1/p", "FedAU", "FedAU, K = 50", "FedVARP"):
        assert rows[name]["seldom"] > rows[fedau.FEDAVG]["seldom"] + 0.02, name
    # A larger step makes up for weights that are wrong; FedAU needs none.
    tried = found["tuning"][fedau.COINS]
    assert tried[fedau.FEDAVG][3.0] > tried[fedau.FEDAVG][1.0] + 0.03
    assert tried["FedAU"][1.0] > tried[fedau.FEDAVG][1.0] + 0.03


@pytest.mark.slow
def test_anarchic_workers_speed_up_and_arrivals_bias(tmp_path: Path) -> None:
    found = anarchic.study(Options(tmp_path, quick=True, workers=2))
    assert (tmp_path / "anarchic.png").read_bytes()[:4] == b"\x89PNG"
    for name, one in found["workers"].items():
        assert 0.75 < one["exponent"] < 1.35, name
        assert one["spent"][1] < one["spent"][0] / 2.5
    assert found["steps"]["speed_up"][1] > 1.5
    devices, silos = found["tied"]
    assert (devices["name"], silos["name"]) == (anarchic.CD, anarchic.CS)
    assert silos["slow"] > devices["slow"] + 0.05
    assert devices["others"] - devices["slow"] > 0.1


@pytest.mark.slow
def test_what_late_updates_count_for(tmp_path: Path) -> None:
    found = stale_labels.study(Options(tmp_path, quick=True, workers=2))
    assert (tmp_path / "stale_labels.png").read_bytes()[:4] == b"\x89PNG"
    rows = found["delays"][stale_labels.MIDDLE]
    direct = rows[stale_labels.DIRECT]
    assert direct["slow"] > rows[stale_labels.LEFT_OUT]["slow"] + 0.05
    assert direct["slow"] > rows[stale_labels.PLAIN]["slow"] + 0.03
    assert direct["staleness"] > 10
    # Inverting does not win on a convex model, and it is not free.
    assert abs(rows[stale_labels.INVERSION]["ahead"]) < 0.03
    costs = list(found["cost"].values())
    assert costs[-1] > 1.3 * costs[0]


def test_the_best_step_is_the_smallest_of_equals() -> None:
    assert best({3.0: 0.9, 1.0: 0.9, 0.3: 0.8}) == 1.0
