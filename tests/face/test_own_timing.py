"""Pools that bring iteration times of their own."""

import json
from pathlib import Path
from typing import Any

import pytest

import mltwin as mt

FORMAT = "mltwin-user-timing-1"
PREFILL = {"kind": "linear", "constant_s": 0.01, "per_token_s": 1e-4}
DECODE = {"kind": "linear", "constant_s": 0.02, "per_context_s": 1e-6}
BOTH = {"format": FORMAT, "kind": "phases", "prefill": PREFILL, "decode": DECODE}


def scenario(timing: Any, **pool: Any) -> mt.ServingScenario:
    trace = {
        "requests": 1,
        "arrivals": {"process": "deterministic", "rate_per_s": 1.0},
        "prompt": {"law": "fixed", "value": 100},
        "output": {"law": "fixed", "value": 5},
    }
    return mt.ServingScenario(
        workload={"trace": trace},
        model={"name": "opt-13b"},
        cluster={"mixed": {"replicas": 1, "timing": timing, "kv_blocks": 100} | pool},
    )


def test_one_request_takes_what_its_timing_says() -> None:
    metrics = scenario(BOTH).run().metrics
    assert metrics["mean_ttft_ms"] == pytest.approx(10 + 100 * 0.1)
    # the second token is made with 101 tokens of context, the fifth with 104
    contexts = [101, 102, 103, 104]
    assert metrics["mean_tpot_ms"] == pytest.approx(20 + sum(contexts) / 4 * 1e-3)


def test_kernel_and_reference_agree_on_it() -> None:
    given = scenario(BOTH)
    assert given.run(1).digest == given.run(1, reference=True).digest


def test_a_file_is_read_again_when_it_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(BOTH))
    before = scenario(str(path)).run().metrics["mean_ttft_ms"]
    path.write_text(json.dumps(BOTH | {"prefill": PREFILL | {"constant_s": 0.0123}}))
    after = scenario(str(path)).run().metrics["mean_ttft_ms"]
    assert after - before == pytest.approx(2.3)


def test_timings_survive_toml(tmp_path: Path) -> None:
    scenario(BOTH).save(tmp_path / "s.toml")
    assert mt.Scenario.load(tmp_path / "s.toml").run().digest == scenario(BOTH).run().digest


def test_scale_and_host_overhead_apply() -> None:
    base = scenario(BOTH).run().metrics["mean_ttft_ms"]
    assert scenario(BOTH, time_scale=2.0).run().metrics["mean_ttft_ms"] == pytest.approx(2 * base)
    slower = scenario(BOTH, host_overhead_ms=3.0).run().metrics["mean_ttft_ms"]
    assert slower == pytest.approx(base + 3)


@pytest.mark.parametrize(
    ("timing", "pool", "message"),
    [
        ({"format": FORMAT, "kind": "magic"}, {}, r"cluster\.mixed.*timing.*kind 'magic'"),
        (BOTH | {"decode": {"kind": "phases"}}, {}, r"cluster\.mixed.*timing.*kind 'phases'"),
        ({"format": FORMAT, "kind": "phases", "prefill": PREFILL}, {}, "'decode' is None"),
        ("nowhere.json", {}, r"cluster\.mixed.*timing.*cannot read"),
        (BOTH, {"kv_blocks": None}, "give the number of KV blocks"),
    ],
)
def test_what_is_wrong_is_said(timing: Any, pool: dict[str, Any], message: str) -> None:
    with pytest.raises(mt.InputError, match=message):
        scenario(timing, **pool).run()


def test_they_have_no_error_bars() -> None:
    with pytest.raises(mt.InputError, match="no error to draw from"):
        scenario(BOTH).run(error_bars=3)
