"""Each study runs in quick mode, leaves its files, and still finds what its page says."""

import csv
import importlib
import json
import os
from pathlib import Path
from typing import Any

import gallery
import pytest

import mltwin as mt
from studies._common import Options, crossing, shared_data, trace_or

DATA = os.environ.get("MLTWIN_DATA")
needs_data = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA, reason="MLTWIN_DATA names no folder"),
]


def quick(name: str, folder: Path) -> dict[str, Any]:
    """The figures of a quick run, checked against what it wrote."""
    module = importlib.import_module(f"studies.{name}")
    module.study(Options(folder, quick=True, workers=2))
    assert (folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
    assert (folder / f"{name}.md").read_text().startswith("| ")
    tables = list(folder.glob(f"{name}-*.csv"))
    assert tables
    for path in tables:
        with path.open(newline="") as file:
            assert len(list(csv.DictReader(file))) >= 4
    figures: dict[str, Any] = json.loads((folder / f"{name}.json").read_text())
    return figures


def test_vtc_shields_the_modest_tenant(tmp_path: Path) -> None:
    found = quick("fairness", tmp_path)
    loaded, within, sizes = found["cases"].values()
    assert loaded["FCFS"]["largest_difference"] > found["bound"]
    assert loaded["VTC"]["largest_difference"] < found["bound"]
    assert sizes["VTC"]["largest_difference"] < found["bound"]
    assert sizes["rounds over tenants"]["largest_difference"] > found["bound"]
    assert within["VTC"]["p90_ttft_s"]["modest"] < within["FCFS"]["p90_ttft_s"]["modest"] / 5
    assert within["VTC"]["refused"] == {"modest": 0, "greedy": 0}
    assert within["VTC"]["tokens_per_s"] == pytest.approx(within["FCFS"]["tokens_per_s"], rel=0.02)


def test_routing_by_prefix_and_load_beats_either(tmp_path: Path) -> None:
    found = quick("prefix_routing", tmp_path)
    assert found["trace"] == ("mooncake-conv" if DATA else "mooncake-conv-synthetic")
    largest = {name: mine[-1] for name, mine in found["by_cache"].items()}
    blind = max(largest[name]["hits"] for name in ("random", "round robin", "least tokens"))
    assert largest["prefix affinity"]["hits"] > 1.5 * blind
    assert largest["prefix and load"]["mean"] < largest["least tokens"]["mean"]
    assert largest["prefix and load"]["mean"] < largest["prefix affinity"]["mean"]


@pytest.mark.parametrize("name", [pytest.param("distserve", marks=needs_data)])
def test_the_search_picks_the_published_placement(name: str, tmp_path: Path) -> None:
    found = quick(name, tmp_path)
    small = found["opt-13b"]
    assert small["search"]["4"][0][1] == "1 x P(TP2) + 1 x D(TP1)"
    assert small["search"]["4"][0][0] == pytest.approx(1.56, rel=0.2)
    assert small["goodput"]["vLLM"]["rate"] == 0
    assert small["goodput"]["disaggregated"]["rate"] == pytest.approx(1.56, rel=0.2)
    rate = small["rates"].index(1)
    assert small["attainment"]["vLLM"][rate] == pytest.approx(0.62, abs=0.1)
    assert small["attainment"]["disaggregated"][rate] == pytest.approx(0.98, abs=0.05)
    for model in ("opt-13b", "opt-66b"):
        gaps = {name: mine[1] for name, mine in found[model]["p99_itl_ms"].items()}
        assert gaps["disaggregated"] < gaps["vLLM"]
        goods = found[model]["bandwidth_goodput"]
        assert goods[0] < goods[-1]


@pytest.mark.parametrize("name", [pytest.param("splitwise", marks=needs_data)])
def test_splitting_beats_the_papers_baselines(name: str, tmp_path: Path) -> None:
    found = quick(name, tmp_path)
    assert found["real_traces"] == {"conversation": True, "code": True}
    for budget in ("power", "cost"):
        for kind in ("conversation", "code"):
            rates = {n: mine["rate"] for n, mine in found["best"][f"{budget}/{kind}"].items()}
            assert rates["Splitwise-HH"] > 1.4 * rates["Baseline-H100"]
            assert rates["Splitwise-AA"] > 1.4 * rates["Baseline-A100"]
    conversation, code = (
        found["best"][f"power/{kind}"]["Splitwise-HH"] for kind in ("conversation", "code")
    )
    assert code["prompts"] > conversation["prompts"]
    assert found["shift"]["mixed pool"][-1] < found["shift"]["fixed split"][-1]


@pytest.mark.parametrize("name", ["distserve", "splitwise"])
def test_missing_data_is_one_clear_error(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MLTWIN_DATA", raising=False)
    module = importlib.import_module(f"studies.{name}")
    for cached in ("coefficients", "kv_tokens", "points"):
        if hasattr(module, cached):
            getattr(module, cached).cache_clear()
    with pytest.raises(mt.InputError, match="measured data that is not in the package"):
        module.study(Options(tmp_path, quick=True))
    assert not list(tmp_path.iterdir())


def test_shared_data_and_stand_ins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLTWIN_DATA", str(tmp_path))
    with pytest.raises(mt.InputError, match="is not there"):
        shared_data("kernels", "none.csv")
    (tmp_path / "here.txt").write_text("1")
    assert shared_data("here.txt") == tmp_path / "here.txt"
    assert trace_or("azure-2024", "azure-conv-synthetic") == ("azure-conv-synthetic", False)


def test_crossing() -> None:
    assert crossing([1, 2, 3], [1.0, 0.95, 0.85], 0.9) == pytest.approx(2.5)
    assert crossing([1, 2], [0.8, 0.7], 0.9) == 0
    assert crossing([1, 2], [1.0, 0.95], 0.9) == 2


@pytest.mark.parametrize("name", gallery.studies())
def test_its_page_is_current(name: str) -> None:
    page = gallery.PAGES / f"{name}.md"
    assert page.read_text("utf-8") == gallery.page(name, gallery.kept_tables(name)), (
        "run python tools/gallery.py, or with --pages where only the text has changed"
    )
    for ending in ("png", "json"):
        assert (gallery.PAGES / f"{name}.{ending}").is_file()


def test_the_index_shows_every_study() -> None:
    assert (gallery.PAGES / "index.md").read_text("utf-8") == gallery.index(gallery.studies())
