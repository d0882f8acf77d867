"""What each feature does to a run, against numbers worked out by hand from the GPU model.

The cells of the iteration table say what one iteration takes; all else here is arithmetic.
"""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mltwin as mt
from mltwin.models.serving.tables import IterationCells
from mltwin.serving_run import lower

PROMPT, OUTPUT = 1000, 11
KV_BYTES = 131_072  # a token of Llama-3.1-8B: 32 layers, 8 heads of 128, K and V, 2 bytes
DISAGGREGATED = {"prefill": {"replicas": 1}, "decode": {"replicas": 1}}
Rows = list[tuple[float, int, int]]


def scenario(tmp_path: Path, rows: Rows, **changes: Any) -> mt.Scenario:
    """Llama-3.1-8B on one H100 with these requests (arrival s, prompt, output)."""
    file = tmp_path / "trace.csv"
    lines = [",".join(str(cell) for cell in row) for row in rows]
    file.write_text("\n".join(["arrived_at,num_prefill_tokens,num_decode_tokens", *lines, ""]))
    data: dict[str, Any] = {
        "system": "serving",
        "model": {"name": "llama-3.1-8b"},
        "cluster": {"mixed": {"replicas": 1}},
        **changes,
    }
    data["workload"] = {"trace": str(file), **data.get("workload", {})}
    return mt.Scenario.parse(data)


def cells_of(made: mt.Scenario) -> IterationCells:
    assert isinstance(made, mt.ServingScenario)
    return lower(made, 0).input.kinds[0].cells


def prefill_ticks(cells: IterationCells, prompt: int = PROMPT) -> int:
    return cells.evaluate(prompt, 0, 1, prompt * (prompt + 1) // 2)


def decode_ticks(cells: IterationCells, prompt: int = PROMPT, output: int = OUTPUT) -> int:
    """All decode iterations of a request alone: the k-th reads prompt + k tokens."""
    return sum(cells.evaluate(1, prompt + k, 1, 0) for k in range(1, output))


def columns(made: mt.Scenario) -> dict[str, np.ndarray]:
    return dict(made.run(0).tables["requests"])


def test_a_request_alone_takes_its_prefill_and_its_decodes(tmp_path) -> None:
    made = scenario(tmp_path, [(0, PROMPT, OUTPUT)])
    cells, found = cells_of(made), columns(made)
    assert found["first"][0] == prefill_ticks(cells)
    assert found["finish"][0] == prefill_ticks(cells) + decode_ticks(cells)


def test_the_gpu_model_is_near_the_roofline() -> None:
    """Decode of one: weights over HBM bandwidth at least; prefill: 2 FLOP a weight and token."""
    made = mt.ServingScenario().with_(workload__requests=5)
    cells = cells_of(made)  # Llama-3.1-70B on 4 H100
    decode_s = cells.evaluate(1, 1000, 1, 0) / 1e12
    read_s = 141.1e9 / 4 / 3.35e12
    assert read_s < decode_s < 2 * read_s
    prefill_s = cells.evaluate(2048, 0, 1, 2048 * 2049 // 2) / 1e12
    compute_s = 2 * 70.55e9 * 2048 / 4 / 989e12
    assert compute_s / 0.8 < prefill_s < compute_s / 0.35


def test_one_client_at_a_time(tmp_path) -> None:
    made = scenario(tmp_path, [(0, PROMPT, OUTPUT)] * 5)
    one = prefill_ticks(cells_of(made)) + decode_ticks(cells_of(made))
    for think_s, pause in ((0.0, 1), (2.0, 2 * 10**12)):  # the next comes a tick later at least
        closed = made.changed({"workload.concurrency": 1, "workload.think_s": think_s})
        assert columns(closed)["finish"].max() == 5 * one + 4 * pause


@pytest.mark.parametrize("gbps", [400.0, 10.0, 0.5])
def test_the_hand_over_takes_bytes_over_bandwidth(tmp_path, gbps: float) -> None:
    made = scenario(
        tmp_path,
        [(0, PROMPT, OUTPUT)],
        cluster=DISAGGREGATED,
        network={"bandwidth_gbps": gbps, "latency_us": 250.0},
    )
    found, cells = columns(made), cells_of(made)
    expected = PROMPT * KV_BYTES * 8 / gbps * 1e3 + 250e6  # ticks
    assert found["transfer"][0] == pytest.approx(expected, rel=1e-4)
    assert found["first"][0] == prefill_ticks(cells)  # the first token leaves before the transfer
    total = prefill_ticks(cells) + int(found["transfer"][0]) + decode_ticks(cells)
    assert found["finish"][0] == total


def test_transfers_share_a_link(tmp_path) -> None:
    """Two prompts prefilled in one iteration cross one 1 Gbit/s link at half its rate each."""
    made = scenario(
        tmp_path,
        [(0, PROMPT, OUTPUT)] * 2,
        cluster=DISAGGREGATED,
        network={"bandwidth_gbps": 1.0, "latency_us": 0.0},
    )
    expected = 2 * PROMPT * KV_BYTES * 8 * 1e3
    assert columns(made)["transfer"] == pytest.approx([expected] * 2, rel=1e-4)


def test_slow_prefill_and_fast_decode(tmp_path) -> None:
    """TTFT is that of the prefill pool's GPU, TPOT that of the decode pool's."""
    pools = {"prefill": {"replicas": 1}, "decode": {"replicas": 1}}
    times = {}
    for gpu in ("a100-sxm-80gb", "h100-sxm-80gb"):
        cluster = {"prefill": {**pools["prefill"], "gpu": gpu}, "decode": pools["decode"]}
        made = scenario(tmp_path, [(0, PROMPT, OUTPUT)], cluster=cluster)
        found = columns(made)
        assert found["first"][0] == prefill_ticks(cells_of(made))
        decoding = int(found["finish"][0] - found["first"][0] - found["transfer"][0])
        times[gpu] = int(found["first"][0]), decoding
    assert times["a100-sxm-80gb"][0] > 1.5 * times["h100-sxm-80gb"][0]
    assert times["a100-sxm-80gb"][1] == times["h100-sxm-80gb"][1]


def test_clients_that_give_up(tmp_path) -> None:
    """A timeout cuts what takes longer, and only that."""
    made = scenario(tmp_path, [(0, PROMPT, OUTPUT)])
    takes_s = (prefill_ticks(cells_of(made)) + decode_ticks(cells_of(made))) / 1e12
    for timeout_s, completed in ((takes_s * 1.001, 1), (takes_s * 0.5, 0)):
        metrics = made.changed({"workload.timeout_s": timeout_s}).run(0).metrics
        assert (metrics["completed"], metrics["cancelled"]) == (completed, 1 - completed)


def test_a_failure_starts_the_request_anew(tmp_path) -> None:
    """Struck in its decode, it waits for the return and computes prompt and output so far again."""
    made = scenario(
        tmp_path,
        [(0, PROMPT, OUTPUT)],
        control={"failures": [{"pool": "mixed", "at_s": 0.05, "until_s": 3.0}]},
    )
    cells, found = cells_of(made), columns(made)
    done, now = 1, prefill_ticks(cells)
    while (step := cells.evaluate(1, PROMPT + done, 1, 0)) + now <= 5 * 10**10:
        done, now = done + 1, now + step
    again = prefill_ticks(cells, PROMPT + done)
    rest = sum(cells.evaluate(1, PROMPT + k, 1, 0) for k in range(done + 1, OUTPUT))
    assert found["attempts"][0] == 1
    assert found["finish"][0] == 3 * 10**12 + again + rest


def test_a_greedy_tenant_delays_itself_under_vtc(tmp_path) -> None:
    """Fair share (Sheng et al., OSDI 2024): the modest tenant no longer waits in the long queue."""
    rows = [(i * 0.02, 1000, 100, "greedy") for i in range(1500)]
    rows += [(i * 0.5 + 0.01, 1000, 100, "modest") for i in range(60)]
    file = tmp_path / "tenants.csv"
    lines = [",".join(str(c) for c in row) for row in sorted(rows)]
    file.write_text("\n".join(["t,p,o,who", *lines, ""]))
    named = {"arrival": "t", "prompt": "p", "output": "o", "tenant": "who"}
    ttft: dict[str, dict[str, float]] = {}
    makespan = {}
    for priority in ("fcfs", "vtc"):
        made = scenario(
            tmp_path,
            [(0, 1, 1)],
            workload={"trace": str(file), "columns": named},
            policy={"priority": priority},
        )
        result = made.run(0)
        assert isinstance(result, mt.ServingResult)
        ttft[priority] = result.requests.groupby("tenant")["ttft_ms"].mean().to_dict()
        makespan[priority] = result.metrics["duration_s"]
    assert ttft["vtc"]["modest"] < ttft["fcfs"]["modest"] / 5
    assert ttft["vtc"]["greedy"] < 1.15 * ttft["fcfs"]["greedy"]
    assert makespan["vtc"] == pytest.approx(makespan["fcfs"], rel=0.01)  # no work is lost


def test_a_stale_view_herds(tmp_path) -> None:
    """Least requests on an old snapshot sends everybody to one replica until the next."""
    rows = [(i * 0.01, 500, 50) for i in range(2000)]
    mean = {}
    for snapshot_s in (0.0, 5.0):
        made = scenario(
            tmp_path,
            rows,
            cluster={"mixed": {"replicas": 4}},
            control={"snapshot_s": snapshot_s},
        )
        mean[snapshot_s] = made.run(0).metrics["mean_ttft_ms"]
    assert mean[5.0] > 3 * mean[0.0]


def test_startup_delay_is_waited_for(tmp_path) -> None:
    """Started at the first question, the second replica serves `startup_s` later."""
    rows = [(i * 0.05, 4000, 4) for i in range(400)]
    ends = []
    for startup_s in (0.0, 10.0):
        made = scenario(
            tmp_path,
            rows,
            cluster={"mixed": {"replicas": 2, "initially_up": 1, "startup_s": startup_s}},
            policy={"scale": "queue_threshold"},
            control={"scale_interval_s": 1.0},
        )
        found = columns(made)
        second = found["replica"] == 1
        assert second.any()
        ends.append(found["scheduled"][second].min())
    assert ends[1] - ends[0] == pytest.approx(10 * 10**12, rel=0.02)


def test_swap_moves_what_recompute_computes_again(tmp_path) -> None:
    rows = [(i * 0.02, 800, 400) for i in range(60)]
    computed = {}
    for preemption in ("recompute", "swap"):
        pool = {"replicas": 1, "kv_blocks": 1000, "host_memory_gb": 64.0, "preemption": preemption}
        result = scenario(tmp_path, rows, cluster={"mixed": pool}).run(0)
        assert result.metrics["completed"] == 60 and result.metrics["preemptions"] > 0
        computed[preemption] = int(result.tables["replicas"]["prefill_tokens"].sum())
    assert computed["swap"] < computed["recompute"]
    assert computed["swap"] >= 60 * 800


def test_a_run_of_two_months(tmp_path) -> None:
    """No overflow of int64 picoseconds, in times nor in sums over 512 replicas."""
    rows = [(i * 52_704.0, PROMPT, OUTPUT) for i in range(101)]  # 61 days
    made = scenario(tmp_path, rows, cluster={"mixed": {"replicas": 512}})
    result = made.run(0)
    cells = cells_of(made)
    alone = prefill_ticks(cells) + decode_ticks(cells)
    found = result.tables["requests"]
    assert np.all(found["finish"] - found["arrival"] == alone)
    up_s = 512 * result.metrics["duration_s"]
    busy = result.metrics["busy_prefill"] + result.metrics["busy_decode"]
    assert busy == pytest.approx(101 * alone / 1e12 / up_s, rel=1e-3)


def test_a_trace_beyond_the_clock_is_refused(tmp_path) -> None:
    made = scenario(tmp_path, [(0, 10, 2), (98 * 86_400.0, 10, 2)])
    with pytest.raises(mt.InputError, match=r"98\.0 days"):
        made.run(0)


def test_everybody_at_once(tmp_path) -> None:
    result = scenario(tmp_path, [(0, 500, 50)] * 100_000).run(0)
    assert result.metrics["completed"] == 100_000
    assert not result.violations
