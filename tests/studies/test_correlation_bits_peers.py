"""Studies of correlated clients, quantisation with privacy, and MoDeST still find what they say."""

from pathlib import Path

import numpy as np
import pytest

from mltwin.models.federation.tables import TICKS_PER_S
from studies import correlated_clients, modest, quantisation
from studies._common import Options


def made(folder: Path, name: str) -> None:
    assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / f"{name}.json").stat().st_size > 100


def test_correlation_moves_time_more_than_ranks(tmp_path: Path) -> None:
    found = correlated_clients.study(Options(tmp_path, quick=True))
    made(tmp_path, "correlated_clients")
    data = found["by_pair"]["speed_data"]
    rounds = [data[rho]["FedAvg"]["rounds"] for rho in (-0.8, 0.0, 0.8)]
    assert rounds == sorted(rounds)
    assert rounds[0] < 0.85 * rounds[2]
    for by_rho in found["by_pair"].values():
        for row in by_rho.values():
            assert row["FedAvg"]["rounds"] < row["over-selection"]["rounds"]
            assert row["FedAvg"]["wasted"] < 0.1 < row["over-selection"]["wasted"]
    owners = found["by_pair"]["speed_label"]
    for name in ("over-selection", "Oort"):
        assert owners[-0.8][name]["slow_accuracy"] < owners[0.0][name]["slow_accuracy"]


def test_times_sooner_are_of_pairs_of_seeds() -> None:
    told = correlated_clients.speed_up([1.0, 2.0], [2.0, 8.0])
    assert told is not None
    assert told[0] == pytest.approx(np.sqrt(2 * 4))
    assert correlated_clients.speed_up([1.0, np.inf], [2.0, 8.0]) is None


def test_few_bits_are_enough_and_noise_is_not_free(tmp_path: Path) -> None:
    found = quantisation.study(Options(tmp_path, quick=True))
    made(tmp_path, "quantisation")
    rows = found["codecs"]["two digits each"]
    cosine = rows["24 to 8"]
    assert 0.45 < cosine["up_saved"] < 0.51
    assert rows["24 to 8, by client"]["up_saved"] > cosine["up_saved"]
    assert abs(cosine["points"]) < 0.3
    assert abs(rows["8 bits"]["points"]) < 0.3
    assert rows["8 bits"]["up_saved"] > 0.74
    assert all(row["saved"] == pytest.approx(row["up_saved"] / 2) for row in rows.values())
    noise = found["noise"]
    assert noise["Laplace 100"]["points"] < -5 < noise["Laplace 1000"]["points"]
    assert noise["Laplace 1000"]["epsilon"] > 1000 * noise["Gaussian 1"]["epsilon"]
    assert noise["Gaussian 1"]["epsilon_fixed"] > noise["Gaussian 1"]["epsilon"]
    noisy = found["noisy_bits"]
    assert noisy["1 bits"]["points"] < noisy["8 bits"]["points"] - 2


def test_a_sample_is_cheap_and_hangs_on_its_aggregator(tmp_path: Path) -> None:
    found = modest.study(Options(tmp_path, quick=True))
    made(tmp_path, "modest")
    few, many = (found["by_peers"][n] for n in (32, 64))
    for rows in (few, many):
        assert rows["FedAvg"]["to"]["mb"] < rows["MoDeST"]["to"]["mb"]
        assert rows["MoDeST"]["to"]["mb"] < 0.5 * rows["D-PSGD, exponential"]["to"]["mb"]
    alive = {(r["spread_s"], r["aggregators"]): r["alive"] for r in found["survival"]}
    assert alive[0.0, 1] < 0.6
    assert alive[600.0, 1] < alive[600.0, 4]
    sizes = {row["aggregators"]: row["mb_a_round"] for row in found["survival"]}
    assert sizes[4] > 3 * sizes[1]


def test_crashes_take_the_share_that_they_say() -> None:
    there = modest.crash(100, 0.8, 600.0, seed=3)
    assert (there.trace >= 0).sum() == 80
    seconds = there.end / TICKS_PER_S
    assert seconds.min() >= modest.CRASH_S
    assert modest.CRASH_S + 500 < seconds.max() <= modest.CRASH_S + 600


def test_the_measured_latencies_are_taken_where_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLTWIN_DATA", str(tmp_path))
    assert modest.measured_latencies() is None
    file = tmp_path / "traces" / "federated" / "latencies.txt"
    file.parent.mkdir(parents=True)
    file.write_text("0 10\n10 0\n")
    assert modest.measured_latencies() == str(file)
