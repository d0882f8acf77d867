"""apex_plus, MLPerf and Mooncake: small synthetic folders in the original form."""

from pathlib import Path

import numpy as np
import pytest

from mltwin.sim.errors import InputError
from mltwin.validation import runs_apex, runs_mlperf, runs_mooncake
from mltwin.validation.pairs import BELOW

APEX = (
    "engine,result_file,trace_file,trace_prompt_tokens,trace_output_tokens,served_prompt_tokens,"
    "served_output_tokens,mean_ttft_s,mean_tpot_s,sum_request_latency_s\n"
    "vllm,vllm/results/llama_chat_05_validation_2DP4TP_1.txt,llama/chat_05_2DP4TP_1.jsonl,"
    "600,90,600,60,0.05,0.02,3.0\n"
    "vllm,vllm/results/mistral_lost_05_validation_8TP_fp8.txt,mistral/lost_05.jsonl,"
    "600,90,600,60,0.05,0.02,3.0\n"
    "sglang,sglang/results/mistral_tp_8_chat.txt,mistral/chat_05.jsonl,1,1,1,1,2,0.0001,3\n"
)


@pytest.fixture
def apex(tmp_path: Path) -> Path:
    (tmp_path / "traces/llama").mkdir(parents=True)
    (tmp_path / "output_len_diff").mkdir()
    (tmp_path / "serving_results.csv").write_text(APEX)
    (tmp_path / "traces/llama/chat_05_2DP4TP_1.csv").write_text(
        "RequestID,StartTimeOffset,ContextTokens,GeneratedTokens\n"
        "b,9000000000,200,30\na,2000000000,100,30\nc,15000000000,300,30\n"
    )
    (tmp_path / "output_len_diff/llama_chat_05_validation_2DP4TP_1.csv").write_text(
        "RequestID,prompt_difference,output_len_diff\na,0,-10\nb,1,-20\n"
    )
    return tmp_path


def test_apex_runs_and_requests_are_read_as_served(apex: Path) -> None:
    runs = runs_apex.read_runs(apex)
    assert [(r.family, r.tp) for r in runs] == [("llama", 4), ("mistral", 8)]
    arrival, prompts, outputs = runs_apex.read_requests(apex, runs[0])
    assert arrival.tolist() == [2 * 10**12, 9 * 10**12, 15 * 10**12]  # ps
    assert prompts.tolist() == [100, 201, 300] and outputs.tolist() == [20, 10, 30]


def test_apex_replay_answers_what_has_a_trace(apex: Path) -> None:
    pairs = runs_apex.validate_apex(apex)
    here = {p.metric: p for p in pairs if p.row_id.startswith("llama")}
    assert here["e2e_mean"].measured == pytest.approx(1.0)
    assert {p.load_bin for p in here.values()} == {BELOW}
    run = runs_apex.read_runs(apex)[0]
    replayed = runs_apex.replay(run, *runs_apex.read_requests(apex, run))
    outputs = np.array([20, 10, 30])
    tpot = np.sum(replayed.tpot_s * (outputs - 1)) / outputs.sum()
    assert here["tpot_mean"].predicted == pytest.approx(tpot)
    # Alone on the replica: the whole stay is the first token and the gaps.
    assert replayed.e2e_s == pytest.approx(replayed.ttft_s + replayed.tpot_s * (outputs - 1))
    assert np.all(np.diff(replayed.ttft_s) > 0)
    lost = [p for p in pairs if p.row_id.startswith("mistral")]
    assert [p.metric for p in lost] == ["ttft_mean", "tpot_mean"]
    assert all(p.predicted is None and "not stored" in p.note for p in lost)
    slower = {p.metric: p for p in runs_apex.validate_apex(apex, host_s=5e-3)}
    assert slower["ttft_mean"].source == "apex_plus"
    gained = runs_apex.replay(run, *runs_apex.read_requests(apex, run), host_s=5.5e-3)
    assert gained.tpot_s - replayed.tpot_s == pytest.approx(np.full(3, 5e-3), rel=0.01)


def test_broken_apex_rows_name_their_line(apex: Path) -> None:
    path = apex / "serving_results.csv"
    path.write_text(APEX.replace("0.05,0.02", "fast,0.02", 1))
    with pytest.raises(InputError, match="line 2"):
        runs_apex.read_runs(apex)
    path.write_text(APEX.replace("2DP4TP_1.txt", "eight.txt", 1))
    with pytest.raises(InputError, match="result file"):
        runs_apex.read_runs(apex)
    with pytest.raises(InputError, match="cannot be read"):
        runs_apex.read_runs(apex / "none")


MLPERF_COLUMNS = (
    "submitter,system,accelerator,accelerators_per_node,nodes,software,weight_data_types,model,"
    "scenario,target_qps,completed_samples_per_s,completed_tokens_per_s,ttft_mean_ns,"
    "ttft_p50.00_ns,ttft_p99.00_ns,tpot_mean_ns,tpot_p50.00_ns,tpot_p99.00_ns\n"
)


def mlperf(folder: Path, *rows: str) -> Path:
    (folder / "dataset_lengths").mkdir(exist_ok=True)
    (folder / "llm_runs.csv").write_text(MLPERF_COLUMNS + "".join(row + "\n" for row in rows))
    (folder / "dataset_lengths/llama2-70b-99.csv").write_text(
        "input_length,output_length\n100,50\n200,150\n"
    )
    return folder


TIMES = "4e8,3e8,9e8,2e8,1e8,2e8"


def test_mlperf_rows_are_read(tmp_path: Path) -> None:
    folder = mlperf(
        tmp_path,
        'X,S,NVIDIA H200-SXM-141GB,8,2,"TensorRT 10, CUDA",fp8,llama2-70b-99.9,Server,80,80,24000,'
        + TIMES,
        "X,S,NVIDIA H200-SXM-141GB,8,1,TensorRT,fp8,llama2-70b-99,Offline,,90,24000,,,,,,",
    )
    (run,) = runs_mlperf.read_runs(folder)
    assert (run.gpus, run.rate, run.output, run.family) == (16, 80.0, 300.0, "llama2-70b")
    assert run.measured["ttft_p99"] == pytest.approx(0.9) and run.software == "TensorRT 10"
    with pytest.raises(InputError, match="line 2"):
        runs_mlperf.read_runs(mlperf(tmp_path, f"X,S,G,8,1,T,fp8,m,Server,often,1,1,{TIMES}"))


def test_mlperf_unknown_deployments_are_not_guessed(tmp_path: Path) -> None:
    folder = mlperf(
        tmp_path,
        f"X,S,NVIDIA B200-SXM-180GB,8,1,TensorRT,fp4,llama2-70b-99,Server,9,9,900,{TIMES}",
        f"X,S,AMD Instinct MI300X,8,1,vLLM,fp8,llama2-70b-99,Server,9,9,900,{TIMES}",
    )
    pairs = runs_mlperf.validate_mlperf(folder)
    assert len(pairs) == 12
    assert all(p.predicted is None and "not published" in p.note for p in pairs)


@pytest.mark.slow
def test_mlperf_replay(tmp_path: Path) -> None:
    pytest.importorskip("aiconfigurator_core")
    row = "X,S,NVIDIA H200-SXM-141GB,8,1,TensorRT,fp8,llama2-70b-99,Server,{rate},8,800,{times}"
    light = mlperf(tmp_path, row.format(rate=8, times=TIMES))
    (run,) = runs_mlperf.read_runs(light)
    replayed, chosen = runs_mlperf.replay(light, run, requests=400)
    assert chosen.tolist() == list(range(100, 300))
    # One request a second on each GPU: the mean gap of arrivals, and outputs scaled to 100.
    arrival = np.asarray(replayed.outcome.requests["arrival"], float) * 1e-12
    assert np.mean(np.diff(arrival)) == pytest.approx(1.0, rel=0.15)
    again, _ = runs_mlperf.replay(light, run, requests=400)
    assert np.array_equal(again.ttft_s, replayed.ttft_s)
    heavy = mlperf(tmp_path, row.format(rate=80, times=TIMES))
    busy, _ = runs_mlperf.replay(heavy, runs_mlperf.read_runs(heavy)[0], requests=400)
    assert np.nanmean(busy.tpot_s) > np.nanmean(replayed.tpot_s)


MOONCAKE = """# vLLM PD

| Prompt Length | Mean TTFT (ms) | KV Size | Actual Transfer Time (ms) |
|---|---|---|---|
| 1,024 tokens | 67.29 | 200 MB | 1.50 |
| 32768 tokens | 749.62 | 4 GB | 31.65 |

| Other | Table |
|---|---|
| 1 | 2 |

- **Hardware Configuration**: NVIDIA {gpu} (81GB) x 16
- **Model**: Qwen3-8B
"""


def test_mooncake_transfers(tmp_path: Path) -> None:
    (tmp_path / "vllm.md").write_text(MOONCAKE.format(gpu="H20"))
    rows = runs_mooncake.read_transfers(tmp_path)
    assert [(r.tokens, r.size_bytes) for r in rows] == [(1024, 2e8), (32768, 4e9)]
    assert (rows[0].gpu, rows[0].model, rows[0].engine) == ("H20", "Qwen3-8B", "vLLM")
    pairs = runs_mooncake.validate_mooncake(tmp_path)
    moved = {p.row_id: p.predicted for p in pairs if p.metric == "transfer_mean"}
    # 200 GB/s after 10 us.
    assert moved["vllm.md: 1024 tokens"] == pytest.approx(1e-5 + 1e-3, rel=1e-3)
    assert moved["vllm.md: 32768 tokens"] == pytest.approx(1e-5 + 2e-2, rel=1e-3)
    assert all(p.predicted is None for p in pairs if p.metric == "ttft_mean")


def test_mooncake_ttft_where_a_profile_stands_for_the_gpu(tmp_path: Path) -> None:
    (tmp_path / "vllm.md").write_text(MOONCAKE.format(gpu="H800"))
    pairs = runs_mooncake.validate_mooncake(tmp_path)
    short, long = (p.predicted for p in pairs if p.metric == "ttft_mean")
    assert short is not None and long is not None
    # Two front ends of 15 ms and 3 us a token, and the transfer, at the least.
    assert 0.0301 + 6e-6 * 1024 < short < 0.1
    assert long > 0.03 + 6e-6 * 32768 + 2e-2 + short


def test_broken_mooncake_tables(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no table"):
        runs_mooncake.validate_mooncake(tmp_path)
    (tmp_path / "a.md").write_text(MOONCAKE.replace("200 MB", "much"))
    with pytest.raises(InputError, match="line 5"):
        runs_mooncake.read_transfers(tmp_path)


@pytest.mark.data
def test_the_shared_apex_runs(data_dir: Path) -> None:
    """Conservative bounds on what docs/validation.md states."""
    pairs = runs_apex.validate_apex(data_dir / "groundtruth/apex_plus")
    answered = [p for p in pairs if p.predicted is not None]
    assert len({p.row_id for p in answered}) == 27
    llama = [abs(p.error_pct) for p in answered if p.model == "llama-3.1-70b"]
    assert np.median(llama) < 35
    assert all("not stored" in p.note for p in pairs if p.predicted is None)


@pytest.mark.data
def test_the_shared_transfers(data_dir: Path) -> None:
    pairs = runs_mooncake.validate_mooncake(data_dir / "groundtruth/mooncake")
    moved = [p for p in pairs if p.metric == "transfer_mean"]
    assert len(moved) == 18
    # Nominal links: never slower than measured, and within a third for the largest.
    assert all(p.error_pct < 0 for p in moved)
    assert max(abs(p.error_pct) for p in moved if "32768" in p.row_id) < 35


@pytest.mark.data
@pytest.mark.slow
def test_the_shared_mlperf_runs(data_dir: Path) -> None:
    pytest.importorskip("aiconfigurator_core")
    pairs = runs_mlperf.validate_mlperf(data_dir / "groundtruth/mlperf_v5.1")
    answered = [p for p in pairs if p.predicted is not None]
    assert len({p.row_id for p in answered}) == 32
    tpot = [abs(p.error_pct) for p in answered if p.metric == "tpot_mean" and "405b" in p.model]
    assert max(tpot) < 15
