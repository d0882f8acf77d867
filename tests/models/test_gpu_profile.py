"""The shipped profiles, and what a wrong one gets."""

import json
import re

import numpy as np
import pytest

from mltwin.models.gpu import load_profile, parse_profile, profile_names
from mltwin.models.gpu.profile import shipped_path
from mltwin.sim.errors import InputError

NAMES = ["a100-sxm-80gb", "h100-sxm-80gb"]


def test_shipped_names() -> None:
    assert profile_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_profile_is_its_canonical_text(name: str) -> None:
    text = shipped_path(name).read_text()
    assert load_profile(name).to_json() == text
    assert len(text) < 50_000


@pytest.mark.parametrize("name", NAMES)
def test_every_operator_has_its_provenance(name: str) -> None:
    profile = load_profile(name)
    operators = profile.operators
    expected = {"elementwise"}
    expected |= {f"gemm.{dtype}" for dtype in operators.gemm}
    expected |= {f"moe.{dtype}" for dtype in operators.moe}
    expected |= {f"all_reduce.{gpus}" for gpus in operators.all_reduce}
    for kind in ("decode", "prefill"):
        for kv, sizes in getattr(operators, kind).items():
            expected |= {f"{kind}.{kv}.{size}" for size in sizes}
    assert {p.operator for p in profile.provenance} == expected
    for entry in profile.provenance:
        assert re.fullmatch("[0-9a-f]{64}", entry.sha256)
        assert entry.rows > 0
        assert 0 < entry.median < entry.p95
        assert entry.valid
        assert all(low <= high for low, high in entry.valid.values())


@pytest.mark.parametrize("name", NAMES)
def test_fitted_rates_stay_below_the_data_sheet(name: str) -> None:
    profile = load_profile(name)
    facts, operators = profile.facts, profile.operators
    for dtype, gemm in operators.gemm.items():
        peak = facts.peak_flops["bfloat16"] * (1 if dtype == "bfloat16" else 2)
        assert 0.4 * peak < gemm.flops <= 1.0001 * peak
        assert gemm.bandwidth <= 1.0001 * facts.hbm_bandwidth
        assert gemm.residual is not None
        assert np.abs(gemm.residual.milli).max() < 2500
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


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_without_operator, "operators.gemm"),
        (_text_for_a_number, "facts.hbm_bandwidth"),
        (_zero_bandwidth, "operators.elementwise.bandwidth"),
        (_negative_overhead, "host.iteration_s"),
        (_extra_field, "unknown field 'colour'"),
        (_other_format, "not a GPU profile"),
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
