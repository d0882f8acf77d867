"""Serving as benchmarks measure it: closed loops, front ends, parallel plans, engine versions."""

from typing import Any

import numpy as np
import pytest

import mltwin as mt
from mltwin.models.serving.tables import DONE, REFUSED
from mltwin.serving_frontend import FrontEnd
from mltwin.sim.errors import InputError

TRACE = {
    "requests": 60,
    "arrivals": {"process": "poisson", "rate_per_s": 4.0},
    "prompt": {"law": "uniform", "low": 205, "high": 256},
    "output": {"law": "uniform", "low": 52, "high": 64},
}
SCENARIO = {
    "system": "serving",
    "workload": {"trace": TRACE},
    "model": {"name": "llama-3.1-8b"},
    "cluster": {"mixed": {"replicas": 1}},
}
MOE = {"model.name": "qwen3-30b-a3b"}


def run(seed: int = 0, **changes: Any) -> mt.ServingResult:
    made = mt.Scenario.parse(SCENARIO)
    assert isinstance(made, mt.ServingScenario)
    return made.changed({k.replace("__", "."): v for k, v in changes.items()}).run(seed)  # type: ignore[return-value]


def test_a_closed_loop_as_benchmarks_run_it() -> None:
    """All slots send at 0, lengths are whole numbers in [0.8 L, L], the next on completion."""
    result = run(workload__concurrency=6)
    columns = result.tables["requests"]
    assert (columns["arrival"][:6] == 0).all() and (columns["arrival"][6:] > 0).all()
    ends = np.sort(columns["finish"])
    assert np.array_equal(np.sort(columns["arrival"][6:]), ends[:54] + 1)
    assert columns["prompt"].min() >= 205 and columns["prompt"].max() <= 256
    assert len(np.unique(columns["prompt"])) > 25


def test_a_constant_front_end_shifts_everything() -> None:
    """The engine sees the same world later; clients wait for the shift and the way back."""
    plain = run()
    shifted = run(workload__frontend_s=0.015, workload__return_s=0.002)
    assert shifted.metrics["mean_ttft_ms"] == pytest.approx(plain.metrics["mean_ttft_ms"] + 17)
    assert shifted.metrics["p99_e2e_ms"] == pytest.approx(plain.metrics["p99_e2e_ms"] + 17)
    for name in ("mean_tpot_ms", "mean_itl_ms", "mean_queue_ms"):
        assert shifted.metrics[name] == pytest.approx(plain.metrics[name])
    assert shifted.metrics["duration_s"] == pytest.approx(plain.metrics["duration_s"] + 0.017)


def test_a_front_end_by_prompt_tokens() -> None:
    result = run(workload__frontend_token_s=3e-6, workload__frontend_s=0.001)
    columns = result.tables["requests"]
    assert np.array_equal(columns["frontend"], (1_000 + 3 * columns["prompt"]) * 10**6)
    assert np.array_equal(columns["arrival"], result.trace.arrival + columns["frontend"])
    assert result.to_vllm_json()["ttfts"] == pytest.approx(result.latencies["ttft"] / 1e3)


def test_clients_of_a_closed_loop_wait_for_the_way_back() -> None:
    columns = run(workload__concurrency=1, workload__return_s=0.5).tables["requests"]
    assert np.array_equal(columns["arrival"][1:], columns["finish"][:-1] + 5 * 10**11)


def test_patience_counts_from_the_sending() -> None:
    late = run(workload__frontend_s=2.0, workload__timeout_s=1.0)
    assert late.metrics["completed"] == 0 and late.metrics["cancelled"] == 60


def test_a_replay_of_a_run_with_a_front_end(tmp_path: Any) -> None:
    original = run(workload__frontend_s=0.02, workload__concurrency=4)
    path = tmp_path / "replay.parquet"
    original.export_trace(path)
    replay = run(workload__frontend_s=0.02, workload__trace=str(path))
    assert sorted(replay.latencies["ttft"]) == pytest.approx(sorted(original.latencies["ttft"]))


def test_no_front_end_leaves_no_trace() -> None:
    assert FrontEnd().columns(np.ones(3)) == {}
    assert "frontend" not in run().tables["requests"]


def test_attention_ranks_are_queues_of_their_own() -> None:
    """Two ranks of one GPU: two rows, GPUs counted once, costs by the hours of both."""
    result = run(**MOE, cluster__mixed__dp=2, cluster__mixed__ep=2)
    assert result.metrics["gpus"] == 2 and len(result.replicas) == 2
    assert (result.replicas["iterations"] > 0).all()
    pool = result.pools.iloc[0]
    assert (pool["replicas"], pool["gpus"]) == (1, 2)
    hours = result.tables["replicas"]["up_ticks"].sum() / 1e12 / 3600
    assert pool["gpu_hours"] == pytest.approx(hours)
    assert result.scenario is not None and result.scenario.gpus == 2  # type: ignore[attr-defined]


def test_a_replica_fails_with_all_its_ranks() -> None:
    failure = {"pool": "mixed", "index": 1, "at_s": 3.0, "until_s": 6.0}
    result = run(**MOE, cluster__mixed={"replicas": 2, "dp": 2}, control__failures=[failure])
    up = result.tables["replicas"]["up_ticks"]
    assert up[0] == up[1] and up[2] == up[3] == up[0] - 3 * 10**12


def test_plans_reach_the_iteration_model() -> None:
    """Experts spread over two GPUs leave a token cheaper than one GPU does; 8-bit KV holds more."""
    alone, spread = run(**MOE), run(**MOE, cluster__mixed__dp=2, cluster__mixed__ep=2)
    assert spread.metrics["mean_tpot_ms"] < alone.metrics["mean_tpot_ms"]
    eager = run(cluster__mixed__graphs="none")
    assert eager.metrics["mean_tpot_ms"] > run().metrics["mean_tpot_ms"]
    tokens = [
        run(cluster__mixed__kv_dtype=kv).facts["pools"][0]["kv_tokens"] for kv in ("fp8", None)
    ]
    assert tokens[0] == pytest.approx(2 * tokens[1], rel=0.01)


def test_dp_needs_experts() -> None:
    with pytest.raises(InputError, match=r"cluster\.mixed.*dp=2"):
        run(cluster__mixed__dp=2)


def test_the_asynchronous_engine_answers_later() -> None:
    """An arrival waits one iteration more on a busy replica; the pace of tokens stays."""
    old, new = (run(cluster__mixed__engine=name) for name in ("vllm_v1", "vllm_0.19"))
    step = old.metrics["mean_tpot_ms"]
    later = new.metrics["mean_ttft_ms"] - old.metrics["mean_ttft_ms"]
    assert 0.3 * step < later < 1.2 * step
    assert new.metrics["mean_tpot_ms"] == pytest.approx(step, rel=0.03)


def test_trtllm_refuses_prompts_over_its_budget() -> None:
    engine = {"name": "trtllm", "max_tokens": 230, "max_batch": 64}
    result = run(cluster__mixed__engine=engine)
    columns = result.tables["requests"]
    assert ((columns["state"] == REFUSED) == (columns["prompt"] > 230)).all()
    assert (columns["state"] == DONE).any()
    assert any("longer than max_tokens = 230" in note for note in result.notes)
    with pytest.raises(InputError, match="all 60 prompts"):
        run(cluster__mixed__engine={**engine, "max_tokens": 200})


def test_a_preempted_request_finds_its_blocks_without_ids_in_the_trace() -> None:
    """Short of KV: with its own blocks kept, less is prefilled again."""
    tight = {"cluster__mixed__kv_blocks": 60, "workload__concurrency": 8}
    lost, kept = (
        run(
            **tight,
            prefix_caching=True,
            cluster__mixed__engine={"name": "vllm_0.19", "keep_preempted": keep},
        )
        if keep
        else run(**tight, cluster__mixed__engine={"name": "vllm_0.19"})
        for keep in (False, True)
    )
    assert lost.metrics["preemptions"] > 0 and kept.metrics["preemptions"] > 0
    assert kept.pools["prefill_tokens"][0] < lost.pools["prefill_tokens"][0]
    assert kept.metrics["prefix_hit_ratio"] > 0
    with pytest.raises(InputError, match="has no prefix blocks"):
        run(prefix_caching=True)


@pytest.mark.parametrize("name", ["vllm_0.19", "sglang", "trtllm", "openvino"])
def test_kernel_and_twin_agree_on_the_presets(name: str) -> None:
    made = mt.Scenario.parse(SCENARIO).changed({"cluster.mixed.engine": name})
    assert made.run(0).digest == made.run(0, reference=True).digest  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("flags", "where"),
    [
        ({"refuse_over_budget": True}, "refuse_over_budget"),
        ({"admit_whole_prompt": True, "reserve": "prompt"}, "admit_whole_prompt"),
        ({"batch_wait_iterations": 3}, "batch_wait_iterations"),
    ],
)
def test_flags_that_contradict(flags: dict[str, Any], where: str) -> None:
    with pytest.raises(InputError, match=rf"cluster\.mixed\.engine\.{where}"):
        run(cluster__mixed__engine=flags)
