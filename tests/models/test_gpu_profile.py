"""The shipped profiles, and what a wrong one gets."""

import json
import re

import numpy as np
import pytest

from mltwin.models.gpu import load_profile, parse_profile, profile_names
from mltwin.models.gpu.profile import shipped_path
from mltwin.sim.errors import InputError

NAMES = ["a100-sxm-80gb", "b200", "h100-sxm-80gb", "h200-sxm", "l40s", "rtx-pro-6000"]


def test_shipped_names() -> None:
    assert profile_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_its_canonical_text(name: str) -> None:
    text = shipped_path(name).read_text()
    assert load_profile(name).to_json() == text
    assert len(text) < 1_000_000


@pytest.mark.parametrize("name", NAMES)
def test_every_operator_has_its_provenance(name: str) -> None:
    profile = load_profile(name)
    operators = profile.operators
    expected = {"elementwise"}
    expected |= {f"gemm.{dtype}" for dtype in operators.gemm}
    expected |= {f"moe.{dtype}" for dtype in operators.moe}
    expected |= {f"all_reduce.{gpus}" for gpus in operators.all_reduce}
    expected |= {f"nccl.{op}.{g}" for op, known in operators.collectives.items() for g in known}
    for kind in ("decode", "prefill"):
        for kv, sizes in getattr(operators, kind).items():
            expected |= {f"{kind}.{kv}.{size}" for size in sizes}
    found = {p.operator for p in profile.provenance} - {"mixed", "power"}
    # Where no element-wise kernel was measured, its bandwidth is an assumed share.
    assert found == expected or found == expected - {"elementwise"}
    for entry in profile.provenance:
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert entry.rows > 0
        assert 0 < entry.median < entry.p95
        assert 0 < entry.sigma < 0.5
        assert entry.valid
        assert all(low <= high for low, high in entry.valid.values())


@pytest.mark.parametrize("name", NAMES)
def test_fitted_rates_stay_below_the_data_sheet(name: str) -> None:
    profile = load_profile(name)
    facts, operators = profile.facts, profile.operators
    for dtype, gemm in operators.gemm.items():
        times = {"bfloat16": 1, "nvfp4": 4}.get(dtype, 2)
        peak = facts.peak_flops["bfloat16"] * times
        assert 0.3 * peak < gemm.flops <= 1.0001 * peak
        assert gemm.bandwidth <= 1.0001 * facts.hbm_bandwidth
        assert gemm.trees is not None
        # What physics leaves over is within a factor of twelve at worst, 1.5 at the median (block
        # scaling, half of whose time on small shapes is launches: 2.5).
        typical = 2.5 if dtype == "fp8_block" else 1.5
        n, k = np.meshgrid([512, 1024, 4096, 7168, 16384], [512, 2048, 5120, 8192])
        factor = gemm.seconds(256, n, k) / gemm.physical(256, n, k)
        assert factor.min() > 1 / 12 and factor.max() < 12
        assert 1 / typical < np.median(factor) < typical
    for sizes in operators.decode.values():
        assert all(cost.bandwidth <= facts.hbm_bandwidth for cost in sizes.values())
    for sizes in operators.prefill.values():
        assert all(cost.flops <= facts.peak_flops["bfloat16"] for cost in sizes.values())


def _data() -> dict:
    return json.loads(shipped_path("a100-sxm-80gb").read_text())


def test_a_profile_may_be_a_file(tmp_path) -> None:
    path = tmp_path / "mine.json"
    data = _data()
    data["name"] = "mine"
    path.write_text(json.dumps(data))
    assert load_profile(path).name == "mine"


def _without_operator(data: dict) -> None:
    del data["operators"]["gemm"]


def _text_for_a_number(data: dict) -> None:
    data["facts"]["hbm_bandwidth"] = "fast"


def _zero_bandwidth(data: dict) -> None:
    data["operators"]["elementwise"]["bandwidth"] = 0.0


def _negative_overhead(data: dict) -> None:
    data["host"]["iteration_s"] = -1e-3


def _extra_field(data: dict) -> None:
    data["colour"] = "green"


def _other_format(data: dict) -> None:
    data["format"] = "other"


def _negative_time(data: dict) -> None:
    data["operators"]["all_reduce"]["2"]["times"][0] = -1e-6


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_operator, "operators.gemm"),
        (_text_for_a_number, "facts.hbm_bandwidth"),
        (_zero_bandwidth, "operators.elementwise.bandwidth"),
        (_negative_overhead, "host.iteration_s"),
        (_extra_field, "unknown field 'colour'"),
        (_other_format, "not a GPU profile"),
        (_negative_time, r"operators.all_reduce.2.times\[0\]"),
    ],
)
def test_a_wrong_profile_names_the_field(spoil, message: str) -> None:
    data = _data()
    spoil(data)
    with pytest.raises(InputError, match=message):
        parse_profile(data, where="mine.json")


def test_unknown_names_get_a_suggestion() -> None:
    with pytest.raises(InputError, match="did you mean 'h100-sxm-80gb'"):
        load_profile("h100-sxm-80")


def test_a_file_that_is_not_json(tmp_path) -> None:
    path = tmp_path / "broken.json"
    path.write_text("{")
    with pytest.raises(InputError, match=r"broken\.json: not JSON"):
        load_profile(path)
