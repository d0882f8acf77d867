"""FedCompass, FedFix and FedStale in quick mode still find what their studies say."""

import importlib
import json
from pathlib import Path
from typing import Any

import pytest

from studies._common import Options

pytest.importorskip("sklearn")


def quick(name: str, folder: Path) -> dict[str, Any]:
    """The figures of a quick run."""
    importlib.import_module(f"studies.{name}").study(Options(folder, quick=True, workers=2))
    assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    figures: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return figures


def test_fedcompass_keeps_silos_busy_and_its_updates_fresh(tmp_path: Path) -> None:
    rows = quick("fedcompass", tmp_path)["rows"]["normal"]["usual"]
    assert rows["FedCompass"]["busy"] > 0.95 > 0.8 > rows["FedAvg"]["busy"]
    assert rows["FedCompass"]["staleness"] < 0.3 * rows["FedAsync"]["staleness"]
    assert rows["FedCompass"]["ratio"][0] < 1.0 < rows["FedAsync"]["ratio"][0]
    assert all(row["reached"] == len(row["times"]) for row in rows.values())


def test_identical_weights_favour_fast_clients_as_the_theory_says(tmp_path: Path) -> None:
    found = quick("fedfix", tmp_path)
    weights, theory = found["weights"], found["expected"]
    assert weights["async, identical"]["weights"] == pytest.approx(theory, rel=0.01)
    assert theory[-1] == pytest.approx(5 * theory[0], rel=1e-5)
    assert weights["FedAvg"]["bias"] < 0.002 and weights["FedFix 0.5 s"]["bias"] < 0.01
    assert weights["FedFix 0.5 s"]["settles_s"] < weights["FedAvg"]["settles_s"]
    assert weights["FedFix 0.5 s"]["wobble"] > weights["FedAvg"]["wobble"]
    digits = found["digits"]["one step size"]
    assert digits["FedFix 0.2 s"]["ratio"][0] < 0.6


def test_stale_updates_help_the_more_the_more_data_differ(tmp_path: Path) -> None:
    cells = quick("fedstale", tmp_path)["cells"]
    alike, opposed = (cells[f"all samples, q 0.1, swapped {h}"] for h in (0, 1))
    assert opposed["best"] == 1.0 and opposed["tuned"]["1.0"] < 0.9 * opposed["tuned"]["0.0"]
    gain = {name: cell["tuned"]["1.0"] / cell["tuned"]["0.0"]
            for name, cell in (("alike", alike), ("opposed", opposed))}  # fmt: skip
    assert gain["opposed"] < gain["alike"]
