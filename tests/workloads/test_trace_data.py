"""Real traces (MLTWIN_DATA): row counts and statistics that their owners or their notes state."""

import os
from pathlib import Path

import numpy as np
import pytest

from mltwin.workloads import fetch, info, list_traces, locate, open_trace, read_measured, read_trace
from mltwin.workloads.catalogue import synthetic_statistics

DATA = os.environ.get("MLTWIN_DATA")
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not DATA, reason="MLTWIN_DATA names no measured data"),
]
LLM = Path(DATA or ".") / "traces" / "llm"
TRUTH = Path(DATA or ".") / "groundtruth"
POISSON = {"process": "poisson", "rate_per_s": 2.0}


def spread(found, mean, p50, p90, p99, low, high):
    """Hold a part of `describe` to stated figures (6 digits)."""
    stated = {"mean": mean, "p50": p50, "p90": p90, "p99": p99, "min": low, "max": high}
    for label, value in stated.items():
        assert found[label] == pytest.approx(value, rel=2e-5), label


def test_azure_conversation():
    trace = read_trace(LLM / "azure_llm_2023" / "AzureLLMInferenceTrace_conv.csv")
    found = trace.describe()
    assert len(trace) == 19_366
    spread(found["prompt"], 1154.7, 1020, 2734.5, 4142, 2, 14050)
    spread(found["output"], 211.126, 129, 424, 601, 7, 1000)
    gaps = np.diff(trace.arrival) / 1e12
    assert gaps.mean() == pytest.approx(0.180827, rel=1e-5)
    assert np.median(gaps) == pytest.approx(0.118424, rel=1e-5)
    assert gaps.max() == pytest.approx(4.31458, rel=1e-6)
    assert trace.arrival[1] == 4_314_579_000_000


def test_azure_code():
    trace = read_trace(LLM / "azure_llm_2023" / "AzureLLMInferenceTrace_code.csv")
    found = trace.describe()
    assert len(trace) == 8_819
    assert trace.arrival[-1] == 3_435_948_056_000_000
    spread(found["prompt"], 2047.85, 1469, 5187.6, 7436, 3, 7437)
    spread(found["output"], 27.8825, 13, 55, 251.46, 6, 1899)


def test_mooncake_conversation():
    trace = read_trace(LLM / "mooncake_fast25" / "conversation_trace.first30min.jsonl.gz")
    found = trace.describe()
    assert len(trace) == 5_719 and found["span_s"] == 1797.0
    assert trace.block_count.sum() == 146_464 and trace.block_ids.max() + 1 == 96_534
    assert found["shared_prefix"] == pytest.approx(0.3409, abs=5e-5)
    spread(found["prompt"], 12870.1, 7640, 28637.8, 91206.9, 891, 123192)
    spread(found["output"], 345.725, 356, 608.2, 1104.64, 1, 2000)


def test_mooncake_synthetic():
    trace = read_trace(LLM / "mooncake_fast25" / "synthetic_trace.jsonl.gz")
    found = trace.describe()
    assert len(trace) == 3_993 and found["span_s"] == pytest.approx(1022.025)
    assert trace.block_count.sum() == 121_877 and trace.block_ids.max() + 1 == 43_924
    assert found["shared_prefix"] == pytest.approx(0.6396, abs=5e-5)
    spread(found["prompt"], 15325.5, 11587, 38611.2, 66456.2, 13, 191378)


def test_vidur_arxiv():
    name = "arxiv_summarization_stats_llama2_tokenizer_filtered_v2.csv"
    found = read_trace(LLM / "vidur_arxiv_summarization" / name, arrivals=POISSON).describe()
    assert found["rows"] == 28_257
    spread(found["prompt"], 2588.08, 2730, 3702, 3933.44, 1, 4054)
    spread(found["output"], 291.43, 167, 372, 3271.32, 5, 4056)


def test_etalon_lengths():
    name = "sharegpt_8k_filtered_stats_llama2_tokenizer.csv"
    found = read_trace(LLM / "etalon_lengths" / name, arrivals=POISSON).describe()
    assert found["rows"] == 30_731
    spread(found["prompt"], 2340.03, 1730, 5696, 7433.7, 1, 8141)
    spread(found["output"], 438.71, 415, 834, 998, 2, 1024)


@pytest.mark.parametrize(
    ("run", "ttft", "tpot", "latency"),
    [
        ("RTX4090/Llama-3.1-8B", 65.4566, 0.0324466, 86.5783),
        ("RTXPRO6000/Llama-3.1-8B", 7.09716, 0.032458, 28.2007),
        ("RTXPRO6000/Qwen3-30B-A3B-Instruct-2507", 1.08598, 0.0472863, 32.3446),
    ],
)
def test_measured_vllm_runs(run, ttft, tpot, latency):
    for path in (
        LLM / "llmservingsim_vllm_measured" / run / "vllm" / "requests.jsonl",
        TRUTH / "llmservingsim" / run / "requests.jsonl",
    ):
        found = read_measured(path)
        assert len(found.trace) == 300
        assert found.ttft_s.mean() == pytest.approx(ttft, rel=1e-5)
        assert found.tpot_s.mean() == pytest.approx(tpot, rel=1e-5)
        assert found.e2e_s.mean() == pytest.approx(latency, rel=1e-5)


def test_llmservingsim_workload_is_what_the_run_measured():
    sent = read_trace(TRUTH / "llmservingsim" / "workloads" / "sharegpt-llama-3.1-8b-300-sps10.csv")
    ran = read_trace(TRUTH / "llmservingsim" / "RTX4090" / "Llama-3.1-8B" / "requests.jsonl")
    assert sent.arrival[0] == 46_926_808_000
    assert sent.prompt.tolist() == ran.prompt.tolist()
    assert sent.output.tolist() == ran.output.tolist()


def test_apex_and_mlperf_forms():
    trace = read_trace(TRUTH / "apex_plus" / "traces" / "llama" / "lmsys_05.csv")
    assert len(trace) == 1_024 and trace.arrival[0] == 197_890_289_000
    lengths = TRUTH / "mlperf_v5.1" / "dataset_lengths" / "llama2-70b-99.csv"
    assert len(read_trace(lengths, arrivals=POISSON)) == 24_576


def test_the_splitwise_performance_table_is_no_trace():
    from mltwin.sim.errors import InputError

    with pytest.raises(InputError, match="no column 'arrival_timestamp'"):
        read_trace(Path(DATA) / "traces" / "calibration" / "splitwise" / "perf_model.csv")


@pytest.mark.parametrize(
    ("pool", "clients", "windows", "expected"),
    [
        ("reason/deepseek-r1", 73, 10_512, 1_383_669),
        ("multimodal/mm-image", 35, 5_040, 818_610),
        ("language/m-small", 43, 86_688, 1_420_558_786),
    ],
)
def test_servegen_pools(pool, clients, windows, expected):
    from mltwin.workloads.read_servegen import read_clients

    found = read_clients(LLM / "servegen" / pool)
    assert len(found) == clients and sum(len(c.windows) for c in found) == windows
    total = 600.0 * sum(rate for c in found for _, rate, *_ in c.windows)
    assert total == pytest.approx(expected, rel=1e-6)


def test_servegen_draws_keep_rates_and_means():
    from mltwin.workloads.read_servegen import read_clients

    folder = LLM / "servegen" / "reason" / "deepseek-r1"
    trace = read_trace(folder, seed=3, until_s=3600.0)
    clients = read_clients(folder)
    counted = 600.0 * sum(r for c in clients for t, r, *_ in c.windows if t < 3600 and c.lengths)
    assert len(trace) == pytest.approx(counted, abs=60)
    # The busiest client of this hour: its mean lengths against its distribution.
    number = np.bincount(trace.tenant).argmax()
    client = next(c for c in clients if f"client-{c.number}" == trace.tenants[number])
    values, share = client.lengths.at(0.0)["output_tokens"]
    mean = float((values * np.diff(share, prepend=0.0)).sum())
    drawn = trace.output[trace.tenant == number]
    assert drawn.mean() == pytest.approx(mean, abs=4 * drawn.std() / np.sqrt(drawn.size))
    assert read_trace(folder, seed=3, until_s=3600.0).equals(trace)
    assert not read_trace(folder, seed=4, until_s=3600.0).equals(trace)


def test_servegen_clients_without_lengths_and_wild_cvs_are_counted():
    pool = LLM / "servegen" / "language" / "m-small"
    trace = read_trace(pool, until_s=1800.0, rate_scale=0.05)
    assert trace.meta["clients_without_lengths"] == 5
    assert trace.meta["requests_without_lengths"] > 0


@pytest.mark.parametrize("name", list_traces())
def test_catalogue_finds_and_verifies_what_is_here(name):
    entry = info(name)
    if entry.synthetic or not entry.local:
        pytest.skip("nothing on disk")
    place = locate(name)
    assert place is not None
    if entry.sha256:
        assert fetch(name) == place  # no network: it is here
        options = {"arrivals": POISSON} if entry.format == "vidur" else {}
        trace = open_trace(name, **options)
        assert len(trace) == entry.rows and trace.meta["licence"] == entry.licence


def deviations(name, trace):
    """Relative deviation of each statistic of a synthetic trace from its original; printed."""
    stated, found = synthetic_statistics(name), trace.describe()
    pairs = {"rate_per_s": (found["rate_per_s"], stated["rate_per_s"])}
    for side in ("prompt", "output"):
        for label in ("mean", "p50", "p90", "p99"):
            pairs[f"{side} {label}"] = (found[side][label], stated[side][label])
    if stated["shared_prefix"]:
        pairs["shared prefix"] = (found["shared_prefix"], stated["shared_prefix"])
    result = {label: a / b - 1 for label, (a, b) in pairs.items()}
    print(name, {label: f"{value:+.1%}" for label, value in result.items()})
    return result


@pytest.mark.parametrize(
    ("name", "original", "tolerance"),
    [
        ("azure-conv-synthetic", "azure-conv-2023", 0.05),
        ("mooncake-conv-synthetic", "mooncake-conv", 0.15),
    ],
)
def test_shipped_traces_resemble_their_originals(name, original, tolerance):
    real = open_trace(original)
    stated = synthetic_statistics(name)
    found = real.describe()
    for side in ("prompt", "output"):  # the stated statistics are those of the real file
        for label, value in found[side].items():
            assert stated[side][label] == pytest.approx(value, rel=1e-4)
    for seed in (0, 1, 2):
        drawn = open_trace(name, seed=seed)
        assert max(map(abs, deviations(name, drawn).values())) < tolerance
    shared = set(
        zip(real.prompt.tolist(), real.output.tolist(), real.arrival.tolist(), strict=True)
    )
    own = zip(drawn.prompt.tolist(), drawn.output.tolist(), drawn.arrival.tolist(), strict=True)
    assert not shared & set(own)  # drawn, not copied
