"""Fits of collectives: a known law is found again, and the shipped models are what the tables give
and predict held-out rows within stated bounds."""

import json

import numpy as np
import pandas as pd
import pytest

from mltwin.calibration import read
from mltwin.calibration.collectives import (
    MODELS,
    build_collectives,
    collective_cases,
    median_pct,
)
from mltwin.calibration.exchange import FILES, MARKDOWN, VERSION, rdma_rows
from mltwin.calibration.fit.exchange import byte_count_error, fit_exchange
from mltwin.calibration.fit.nccl import binned, count_errors, fit_law, held_sizes, size_errors
from mltwin.calibration.fit.robust import robust_fit
from mltwin.models.network.collectives_experts import HALVES, exchange_models, load_exchange
from mltwin.models.network.nccl import CollectiveLaw, Protocol, load_collectives

TRUTH = CollectiveLaw(
    "all_reduce",
    (
        Protocol(4e-6, 7e-7, 0.0, 3e10, 1e13),
        Protocol(9e-6, 1e-6, 0.0, 1.5e11, 2e12),
        Protocol(2e-5, 1.2e-6, 0.0, 3.6e11, 1e12),
    ),
)


def table(counts: tuple[int, ...] = (2, 4, 8), *, noise: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(1)
    size, gpus = (x.ravel() for x in np.meshgrid(2.0 ** np.arange(9, 30), counts, indexing="xy"))
    seconds = TRUTH.law(size, gpus) * np.exp(noise * rng.standard_normal(len(size)))
    return pd.DataFrame({"gpus": gpus, "nodes": 1, "size_bytes": size, "seconds": seconds})


def test_a_law_is_found_again_and_tells_gpus_it_never_saw() -> None:
    errors = count_errors(table(), "all_reduce")
    assert len(errors) == 63
    assert median_pct(errors) < 1.5
    noisy = count_errors(table(noise=0.03), "all_reduce")
    assert 1 < median_pct(noisy) < 6


def test_held_rows_are_not_seen() -> None:
    """A held size that is made ten times slower is missed by ten times."""
    rows = table().sort_values(["gpus", "size_bytes"]).reset_index(drop=True)
    held = held_sizes(binned(rows))
    spoilt = rows.assign(seconds=rows["seconds"] * np.where(held, 10.0, 1.0))
    assert held.sum() == 12
    assert np.median(size_errors(spoilt, "all_reduce")["error"]) == pytest.approx(-0.9, abs=0.02)
    assert median_pct(size_errors(rows, "all_reduce")) < 2


def test_known_rows_are_met_exactly() -> None:
    rows = binned(table(noise=0.1))
    law = fit_law(rows, "all_reduce")
    for n in (2, 4, 8):
        part = rows[rows["gpus"] == n]
        told = law.seconds(part["size_bytes"].to_numpy(float), n)
        assert told == pytest.approx(part["seconds"].to_numpy(float), rel=1e-9)


def test_repeats_and_dense_sizes_become_medians() -> None:
    rows = pd.DataFrame(
        {
            "gpus": 2,
            "nodes": 1,
            "size_bytes": [1024, 1024, 1024, 1030, 4096],
            "seconds": [1.0, 9.0, 1.0, 1.1, 2.0],
        }
    )
    made = binned(rows)
    assert made["seconds"].tolist() == [1.05, 2.0]


@pytest.mark.data
@pytest.mark.parametrize("name", ["h100-sxm", "v100-pcie"])
def test_a_refit_gives_the_shipped_model(name: str, data_dir) -> None:
    fitted, shipped = build_collectives(data_dir, name), load_collectives(name)
    old, new = json.loads(shipped.to_json()), json.loads(fitted.to_json())
    assert [(o["file"], o["sha256"]) for o in old["origin"]] == [
        (o["file"], o["sha256"]) for o in new["origin"]
    ]
    size = 2.0 ** np.arange(10, 30)
    for key, law in shipped.laws.items():
        nodes = 2 if key.endswith(".across") else 1
        assert fitted.laws[key].seconds(size, 4, nodes) == pytest.approx(
            law.seconds(size, 4, nodes), rel=0.02
        )


@pytest.mark.data
def test_every_named_file_has_the_stated_hash(data_dir) -> None:
    for name in MODELS:
        for entry in load_collectives(name).origin:
            assert read.sha256(read.source_path(data_dir, entry.file)) == entry.sha256, entry.file


@pytest.mark.data
@pytest.mark.parametrize("name", ["h100-sxm", "a100-sxm", "b200-sxm"])
def test_inside_a_node_held_rows_are_told_within_bounds(name: str, data_dir) -> None:
    sizes, counts = [], []
    for case in collective_cases(data_dir, name):
        if case.law.startswith("nccl") and not case.across:
            sizes.append(size_errors(case.rows, case.kind))
            counts.append(count_errors(case.rows, case.kind))
    assert median_pct(pd.concat(sizes)) < 4
    assert median_pct(pd.concat(counts)) < 8


@pytest.mark.data
@pytest.mark.parametrize("name", exchange_models())
def test_every_exchange_table_has_the_stated_hash(name: str, data_dir) -> None:
    for entry in load_exchange(name).origin:
        assert read.sha256(read.source_path(data_dir, entry["file"])) == entry["sha256"]


@pytest.mark.data
def test_a_refit_of_the_exchange_gives_the_shipped_law(data_dir) -> None:
    path = read.source_path(data_dir, f"aiconfigurator/h100_sxm/comm/{VERSION}/{FILES['ll']}")
    law = fit_exchange(read.read_deepep(path), "combine", 8)
    shipped = load_exchange("h100-sxm").laws["combine.ll"]
    tokens = 2.0 ** np.arange(11)
    assert law.seconds(tokens, 4096, 8, 128) == pytest.approx(
        shipped.seconds(tokens, 4096, 8, 128), rel=0.02
    )


@pytest.mark.data
def test_bytes_over_the_published_bandwidth_are_the_published_seconds(data_dir) -> None:
    """So that what DeepEP counts as bytes is what is counted here."""
    rows = rdma_rows(read.source_path(data_dir, MARKDOWN))
    for half in HALVES:
        part = rows[(rows["op"] == half) & (rows["mode"] == "ll")]
        assert len(part) == 6
        assert np.abs(byte_count_error(part, half, 128)).max() < 0.03


@pytest.mark.data
def test_latency_across_nodes_is_linear_in_them(data_dir) -> None:
    """SimAI's shares of the bus bandwidth on 2 to 128 nodes of 8: the bytes at which half of it is
    reached grow with the nodes, less one."""
    rows = read.read_simai_shares(read.source_path(data_dir, "simai/nic_ratio.csv")).dropna()
    size, share = rows["size_bytes"].to_numpy(float), rows["share"].to_numpy(float)
    steps = rows["gpus"].to_numpy(float) / 8 - 1

    def law(p: dict[str, float]) -> np.ndarray:
        late = p["half"] * steps ** p["power"] / size
        return p["most"] / (1 + late ** p["knee"]) ** (1 / p["knee"])

    bounds = {
        "most": (0.5, 0.95, 1.2),
        "half": (1e5, 1e7, 1e9),
        "power": (0.1, 0.6, 3.0),
        "knee": (0.3, 1.0, 5.0),
    }
    found = robust_fit(law, share, bounds)
    assert found["power"] == pytest.approx(1, abs=0.1)
    assert np.median(np.abs(law(found) / share - 1)) < 0.08
