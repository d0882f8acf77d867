"""Timings that a user brings along."""

import json

import numpy as np
import pytest

from mltwin.models.gpu import IterationModel, load_user_table
from mltwin.models.gpu.user import FORMAT
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

LINEAR = {
    "format": FORMAT,
    "kind": "linear",
    "constant_s": 5e-3,
    "per_token_s": 2e-5,
    "per_context_s": 1e-8,
    "kv_blocks": 1000,
}
DECODE = {
    "format": FORMAT,
    "kind": "distserve",
    "phase": "decode",
    "decoding_smallbs": [20.0, 0.0006, 0.04],
    "decoding_largebs": [7.0, 0.0005, 0.16],
    "decoding_large_small_bs_threshold": 95,
}


def test_linear_coefficients() -> None:
    table = load_user_table(LINEAR)
    assert table.seconds([(100, 0)], [500, 300]) == pytest.approx(5e-3 + 102 * 2e-5 + 800e-8)
    assert table.kv_blocks() == 1000
    assert table.power_w()["decode"] is None


def test_cells_of_a_lowered_model_come_back(tmp_path) -> None:
    lowered = IterationModel("llama-3.1-8b", "h100-sxm-80gb").lower(512, 4096)
    path = tmp_path / "mine.json"
    path.write_text(json.dumps({"format": FORMAT, **lowered.to_dict()}))
    table = load_user_table(path)
    assert table.name == "mine"
    tok = np.arange(1, 513)
    assert np.array_equal(
        table.lower(512, 1).evaluate(tok, 900 * tok, tok), lowered.evaluate(tok, 900 * tok, tok)
    )
    with pytest.raises(InputError, match="ends at 512 tokens and 1024 are asked for"):
        table.lower(1024, 1)


def test_distserve_coefficients() -> None:
    prefill = load_user_table(
        {"format": FORMAT, "kind": "distserve", "phase": "prefill", "prefill": [18.0, 0.1, 7e-6]}
    )
    lengths = [100, 700]
    expected = 18.0 + 0.1 * sum(lengths) + 7e-6 * sum(n * n for n in lengths)
    assert 1e3 * prefill.seconds([(n, 0) for n in lengths]) == pytest.approx(expected, rel=1e-6)
    decode = load_user_table(DECODE)
    for batch, (a, b, c) in ((94, (20.0, 0.0006, 0.04)), (95, (7.0, 0.0005, 0.16))):
        expected = a + b * 300 * batch + c * batch
        assert 1e3 * decode.seconds((), [300] * batch) == pytest.approx(expected, rel=1e-6)


def test_splitwise_points_are_interpolated() -> None:
    table = load_user_table(
        {
            "format": FORMAT,
            "kind": "splitwise",
            "phase": "prefill",
            "points": [[128, 60.0], [512, 100.0], [1024, 180.0]],
        }
    ).lower(4096, 1)
    tok = np.array([1, 128, 320, 512, 768, 1024, 2048])
    expected = [60.0, 60.0, 80.0, 100.0, 140.0, 180.0, 340.0]
    assert table.evaluate(tok, 0).tolist() == pytest.approx([ticks(v * 1e-3) for v in expected])
    assert np.diff(table.evaluate(np.arange(1, 4097), 0)).min() >= 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "magic"}, "use one of"),
        ({"format": "x"}, "not user timings"),
        ({"per_tokn_s": 1.0}, "unknown field 'per_tokn_s'"),
        ({"constant_s": float("nan")}, "constant_s"),
        ({"constant_s": "5"}, "constant_s"),
        ({"constant_s": 0.0, "per_token_s": 0.0}, "at least one tick"),
    ],
)
def test_wrong_linear_timings(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_user_table({**LINEAR, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phase": "both"}, "phase"),
        ({"decoding_largebs": [1.0, 2.0]}, "give 3 numbers"),
        ({"decoding_largebs": None}, "decoding_largebs"),
    ],
)
def test_wrong_distserve_coefficients(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_user_table({**DECODE, **change})


@pytest.mark.parametrize("points", [[], [[1, 2], [1, 3]], [[5, 1.0], [1, 2.0]], [[1]], [["a", 1]]])
def test_wrong_splitwise_points(points: list) -> None:
    data = {"format": FORMAT, "kind": "splitwise", "phase": "decode", "points": points}
    with pytest.raises(InputError, match="points"):
        load_user_table(data)


def test_memory_must_be_given_to_be_known() -> None:
    without = {k: v for k, v in LINEAR.items() if k != "kv_blocks"}
    with pytest.raises(InputError, match="give the number of KV blocks"):
        load_user_table(without).kv_blocks()


def test_files_that_cannot_be_read(tmp_path) -> None:
    with pytest.raises(InputError, match="cannot read"):
        load_user_table(tmp_path / "absent.json")
    broken = tmp_path / "broken.json"
    broken.write_text("{")
    with pytest.raises(InputError, match=r"broken\.json: not JSON"):
        load_user_table(broken)


def test_phases_are_timed_apart() -> None:
    prefill = {"kind": "linear", "constant_s": 1e-3, "per_token_s": 1e-5, "per_work_s": 1e-9}
    lowered = IterationModel("llama-3.1-8b", "h100-sxm-80gb").lower(256, 4096)
    decode = lowered.to_dict() | {"per_sequence": 7}
    joined = load_user_table(
        {"format": FORMAT, "kind": "phases", "prefill": prefill, "decode": decode}
    )
    table = joined.lower(256, 1)
    tok = np.arange(1, 257)
    own = load_user_table({"format": FORMAT, **decode}).lower(256, 1)
    assert np.array_equal(table.evaluate(tok, 900 * tok, tok), own.evaluate(tok, 900 * tok, tok))
    alone = load_user_table({"format": FORMAT, **prefill}).lower(256, 1)
    for context in (0, 5000, 10**6):
        assert np.array_equal(
            table.evaluate(tok, context, 1, tok * (tok + 1) // 2),
            alone.evaluate(tok, context, 1, tok * (tok + 1) // 2),
        )
