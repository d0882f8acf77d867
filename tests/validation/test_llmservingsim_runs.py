"""LLMServingSim's tables and runs: small synthetic folders in the original form."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mltwin.calibration.llmservingsim import (
    LayerTables,
    MeasuredIterations,
    expert_seconds,
    interpolated,
    stepped,
    tables_folder,
)
from mltwin.models.gpu.batch import make_batch
from mltwin.models.llm.config import load_model
from mltwin.sim.errors import InputError
from mltwin.validation.links import collectives, links
from mltwin.validation.pairs import PAST
from mltwin.validation.runs_llmservingsim import (
    Setup,
    find_runs,
    graph_sizes,
    mean_abs_pct,
    stamped,
    validate_llmservingsim,
)

LAYERS = 32
DENSE = ("layernorm", "qkv_proj", "rotary_emb", "o_proj", "gate_up_proj", "act_fn", "down_proj")
CHUNKS, NUMBERS, LENGTHS = (16, 128, 1000, 2048), (1, 16, 64, 256), (16, 512, 4096)
PURE_US, CHUNK_US, TOKEN_US = 0.01, 0.05, 0.5


def write(path: Path, header: str, rows: list[tuple[Any, ...]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header.split(","))
        writer.writerows(rows)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Tables whose sums are known: GEMMs of 10 us + 0.5 us a token (tile 16), attention of 5 us +
    0.01 us a cached token of decodes + 0.05 us a prompt token, no excess for unequal lengths."""
    folder = tmp_path / "kernels/llmservingsim/v1/GPU1/meta-llama/Llama-3.1-8B/bf16/tp1"
    tokens = [1, 2, 4, *range(8, 65, 8), *range(80, 2049, 16)]
    dense = [
        (name, t, 10 + TOKEN_US * t if name.endswith("_proj") else 2.0)
        for name in (*DENSE, "embedding", "final_layernorm")
        for t in tokens
    ]
    write(folder / "dense.csv", "layer,tokens,time_us", dense)
    heads = [(name, n, 100.0) for name in ("lm_head", "sampler") for n in (1, 64, 256)]
    write(folder / "per_sequence.csv", "layer,sequences,time_us", heads)
    alone = [(0, 0, n, v, 5 + PURE_US * n * v) for n in NUMBERS for v in LENGTHS]
    prompts = [(c, b, 0, 0, 5 + CHUNK_US * c) for c in CHUNKS for b in (0, 512, 4096)]
    mixed = [
        (c, 0, n, v, 10 + PURE_US * n * v + CHUNK_US * c)
        for c in CHUNKS
        for n in NUMBERS
        for v in LENGTHS
    ]
    header = "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us"
    write(folder / "attention.csv", header, alone + prompts + mixed)
    return tmp_path


def tables(data: Path) -> LayerTables:
    return LayerTables.read(tables_folder(data, "GPU1", "meta-llama/Llama-3.1-8B"))


def seconds(
    data: Path, chunks: list[tuple[int, int]], contexts: list[int], **options: Any
) -> float:
    times = MeasuredIterations(tables(data), load_model("llama-3.1-8b"), **options)
    return float(times.batch_seconds(make_batch({0}, chunks, contexts)))


def layers_us(tokens: int, attention_us: float) -> float:
    """An iteration by hand: four GEMMs, two norms, rotary embedding, activation, attention in each
    of 32 layers; embedding, last norm, head and sampler once."""
    return LAYERS * (4 * (10 + TOKEN_US * tokens) + 4 * 2.0 + attention_us) + 2 * 2.0 + 2 * 100.0


def test_an_iteration_is_the_sum_of_its_layers(data: Path) -> None:
    decode = seconds(data, [], [512] * 16)
    assert decode == pytest.approx(1e-6 * layers_us(16, 5 + PURE_US * 16 * 512), rel=1e-9)
    prompt = seconds(data, [(128, 0)], [])
    assert prompt == pytest.approx(1e-6 * layers_us(128, 5 + CHUNK_US * 128), rel=1e-9)
    # 144 tokens in one call that holds both: the measured 10 us, not 5 + 5.
    both = seconds(data, [(128, 0)], [512] * 16)
    exact = layers_us(144, 10 + PURE_US * 16 * 512 + CHUNK_US * 128)
    assert both == pytest.approx(1e-6 * exact, rel=1e-3)


def test_gemms_take_as_long_as_their_whole_tiles(data: Path) -> None:
    curve = (np.array([16.0, 32.0, 64.0]), np.array([1.0, 3.0, 4.0]))
    assert stepped(curve, [1, 16, 17, 32, 33, 128]).tolist() == [1, 1, 3, 3, 4, 8]
    assert interpolated(curve, [16, 24, 128]).tolist() == [1, 2, 8]
    assert seconds(data, [(2001, 0)], []) == pytest.approx(
        1e-6 * layers_us(2016, 5 + CHUNK_US * 2001), rel=0.02
    )


def test_graphs_pad_all_but_attention(data: Path) -> None:
    sizes = graph_sizes(128)
    assert sizes[:5] == [1, 2, 4, 8, 16] and sizes[-1] == 256
    assert graph_sizes(256)[-1] == 512 and graph_sizes(4)[-1] == 8
    padded = seconds(data, [], [512] * 17, graph_sizes=sizes)
    exact = layers_us(24, 5 + PURE_US * 17 * 512)
    assert padded == pytest.approx(1e-6 * exact, rel=1e-3)


def test_unequal_lengths_cost_what_was_measured(data: Path) -> None:
    folder = tables_folder(data, "GPU1", "Llama-3.1-8B")
    rows = [("pure", n, 1, 512, 2048, 600, 0, 0, 10.0, 20.0, 12.0) for n in (2, 64)]
    for chunk in (64, 512):
        rows += [("mixed", n, 1, 512, 2048, 600, chunk, 0, 10.0, 20.0, 11.0) for n in (2, 64)]
    header = "regime,n,nb,kvs,kv_big,kv_mean,pc,kp,t_mean_us,t_max_us,t_skew_us"
    write(folder / "skew.csv", header, rows)
    attention = tables(data).attention
    for chunk, factor in ((0, 1.2), (128, 1.1)):
        even = attention.seconds(chunk, 0, 16, 512, skewed=False)
        assert attention.seconds(chunk, 0, 16, 512) == pytest.approx(factor * even)
    assert attention.seconds(128, 0, 0, 0) == pytest.approx(1e-6 * (5 + CHUNK_US * 128))


def test_experts_follow_their_table() -> None:
    rows = np.array([(t, a, 1e-6 * (a + t)) for t in (1, 64) for a in (8, 64)], float)
    assert expert_seconds(rows, 1.0, 8.0) == pytest.approx(9e-6)
    assert expert_seconds(rows, 64.0, 36.0) == pytest.approx(100e-6)
    # Beyond the table: twice the tokens, twice the time; more experts, the last slope goes on.
    assert expert_seconds(rows, 128.0, 64.0) == pytest.approx(2 * 128e-6)
    assert expert_seconds(rows, 1.0, 120.0) == pytest.approx(121e-6)


def test_experts_are_spread_over_all_gpus(data: Path) -> None:
    """The experts' table stands with tp1; at tp 2 each GPU holds half of them."""
    one = tables_folder(data, "GPU1", "Llama-3.1-8B")
    header = "tokens,activated_experts,time_us"
    write(one / "moe.csv", header, [(t, a, 100 * a + t) for t in (1, 64) for a in (1, 128)])
    two = one.parent / "tp2"
    two.mkdir()
    for path in one.glob("*.csv"):
        if path.name != "moe.csv":
            (two / path.name).write_text(path.read_text())
    model = load_model("qwen3-30b-a3b")
    assert model.moe is not None
    batch = make_batch({0}, [], [512] * 16)
    times = {}
    for tp, reduce in ((1, None), (2, lambda size: 0.0 * size)):
        folder = tables_folder(data, "GPU1", "Llama-3.1-8B", tp)
        given = MeasuredIterations(LayerTables.read(folder), model, tp=tp, all_reduce=reduce)
        times[tp] = float(given.batch_seconds(batch))
    chance = model.moe.experts_per_token / model.moe.experts
    active = model.moe.experts * (1 - (1 - chance) ** 16)
    half_us = 100 * active / 2
    assert times[1] - times[2] == pytest.approx(1e-6 * model.layers * half_us, rel=0.01)


def test_ranks_of_a_group_share_prompts(data: Path) -> None:
    exchange_us = 3.0
    given = {"dp": 2, "exchange": lambda tokens: exchange_us * 1e-6 + 0 * tokens}
    alone = seconds(data, [(512, 0)], [], **given, prompt=np.inf)
    split = seconds(data, [(512, 0)], [], **given, prompt=256.0)
    # The GEMMs of 256 tokens instead of 512; attention is left on one rank.
    assert alone - split == pytest.approx(1e-6 * LAYERS * 4 * TOKEN_US * 256)
    with pytest.raises(InputError, match="without measured collectives"):
        seconds(data, [(512, 0)], [], dp=2)


def test_broken_tables_name_file_and_line(data: Path) -> None:
    folder = tables_folder(data, "GPU1", "Llama-3.1-8B")
    with pytest.raises(InputError, match="no kernel tables"):
        tables_folder(data, "GPU2", "Llama-3.1-8B")
    text = (folder / "dense.csv").read_text()
    (folder / "dense.csv").write_text(text.replace("layernorm,1,2.0", "layernorm,1,-2.0", 1))
    with pytest.raises(InputError, match="line 2"):
        tables(data)
    (folder / "dense.csv").write_text(text.replace("qkv_proj", "other"))
    with pytest.raises(InputError, match="qkv_proj"):
        MeasuredIterations(tables(data), load_model("llama-3.1-8b"))
    (folder / "attention.csv").unlink()
    with pytest.raises(InputError, match=r"no attention\.csv"):
        tables(data)


def run_folder(data: Path, count: int = 6, gap_s: float = 1.0, max_batch: int = 8) -> Path:
    """Runs of ``count`` equal requests, one every ``gap_s``, as the tables of `data` say: prompts
    of 1000 tokens (GEMMs of 1008), 11 tokens of output at contexts of 1001..1010."""
    folder = data / "groundtruth/llmservingsim/GPU1/Llama-3.1-8B"
    folder.mkdir(parents=True)
    meta = {
        "model": "meta-llama/Llama-3.1-8B",
        "vllm_version": "0.19.0",
        "dataset_path": "workloads/none.jsonl",
        "engine_kwargs": {"max_num_seqs": max_batch, "max_num_batched_tokens": 2048},
        "kv_cache": {"num_gpu_blocks": 1000, "block_size": 16},
    }
    (folder / "meta.json").write_text(json.dumps(meta))
    first = 1e-6 * layers_us(1008, 5 + CHUNK_US * 1000)
    gaps = [1e-6 * layers_us(1, 5 + PURE_US * context) for context in range(1001, 1011)]
    rows = []
    for i in range(count):
        start = 100.0 + i * gap_s
        rows.append(
            {
                "request_id": f"r{i}",
                "input_toks": 1000,
                "output_toks": 11,
                "arrival_time": 5000.0 + i * gap_s,
                "queued_ts": start,
                "scheduled_ts": start,
                "first_token_ts": start + first,
                "last_token_ts": start + first + sum(gaps),
            }
        )
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "requests.jsonl").write_text(text)
    return folder


def test_a_run_that_follows_its_tables_is_predicted(data: Path) -> None:
    run_folder(data)
    pairs = validate_llmservingsim(data)
    assert len(pairs) == 9 and {p.row_id for p in pairs} == {"GPU1/Llama-3.1-8B"}
    # What is left is the lowering's error and the table's interpolation between lengths.
    assert max(abs(p.error_pct) for p in pairs) < 1.0
    assert {p.load_bin for p in pairs} == {"below"}
    slow = validate_llmservingsim(data, host_s=1e-3)
    tpot = {p.metric: p.predicted for p in slow}["tpot_mean"]
    assert tpot == pytest.approx({p.metric: p.predicted for p in pairs}["tpot_mean"] + 1e-3)


def test_a_run_without_tables_is_unanswered_and_says_why(data: Path) -> None:
    folder = run_folder(data)
    (folder.parent / "Llama-3.1-8B").rename(folder.parent / "Other")
    (data / "kernels").rename(data / "elsewhere")
    pairs = validate_llmservingsim(data)
    assert all(p.predicted is None and "no kernel tables" in p.note for p in pairs)
    assert np.isnan(mean_abs_pct(pairs))
    with pytest.raises(InputError, match="not the meta"):
        (folder.parent / "Other/meta.json").write_text("{}")
        validate_llmservingsim(data)


def test_waiting_for_a_place_marks_the_knee(data: Path) -> None:
    folder = run_folder(data)
    path = folder / "requests.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    for row in rows:
        row["scheduled_ts"] = row["queued_ts"] + 0.5 * (row["last_token_ts"] - row["queued_ts"])
        row["first_token_ts"] = max(row["first_token_ts"], row["scheduled_ts"])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert {p.load_bin for p in validate_llmservingsim(data)} == {PAST}


def test_setups_are_found_and_read(data: Path) -> None:
    folder = run_folder(data)
    assert find_runs(data) == find_runs(data / "groundtruth/llmservingsim") == [folder]
    assert find_runs(data / "kernels") == []
    setup = Setup.read(folder)
    assert (setup.gpu, setup.tp, setup.dp, setup.blocks) == ("GPU1", 1, 1, 1000)
    assert setup.caching and setup.dataset == "none"


def test_links_come_from_the_run_or_from_measurements(tmp_path: Path) -> None:
    path = tmp_path / "cluster_config.json"
    assert links(path) is None
    path.write_text('{"link_latency": 20000, "link_bw": 16}')
    assert links(path) == pytest.approx((2e-5, 16e9))
    model = load_model("llama-3.1-8b")
    reduce, exchange = collectives("GPU1", 4, 2, model, (2e-5, 16e9))
    assert reduce is not None and exchange is not None
    # A ring of 4: 6 steps, 1.5 times the tensor; a gather and a scatter of 100 rows of 8 kB.
    assert reduce(16e6) == pytest.approx(6 * 2e-5 + 1.5e-3)
    assert exchange(100) == pytest.approx(2 * (2e-5 + 100 * 8192 / 16e9))
    assert collectives("GPU1", 1, 1, model, None) == (None, None)
    measured = collectives("RTXPRO6000", 1, 2, model, None)[1]
    assert measured is not None and 1e-6 < measured(100) < exchange(100)
    with pytest.raises(InputError, match="no collectives were measured on GPU1"):
        collectives("GPU1", 2, 1, model, None)
    for text in ("{}", '{"link_latency": 1, "link_bw": 0}'):
        path.write_text(text)
        with pytest.raises(InputError):
            links(path)


def test_arrivals_are_stamped_between_iterations() -> None:
    rows = np.array(
        [(0, 30, 3), (40, 50, 1)],
        dtype=[("start", "i8"), ("end", "i8"), ("iterations", "i8")],
    )
    arrival = np.array([0, 1, 10, 11, 29, 30, 35, 45, 60])
    assert stamped(arrival, rows).tolist() == [0, 10, 10, 20, 30, 30, 35, 50, 60]


@pytest.mark.data
def test_the_shared_runs(data_dir: Path) -> None:
    """Conservative bounds on what docs/validation.md states."""
    pairs = validate_llmservingsim(data_dir)
    means = [p for p in pairs if p.metric.endswith("_mean")]
    assert all(p.predicted is not None for p in means)
    assert mean_abs_pct(pairs) == pytest.approx(np.mean([abs(p.error_pct) for p in means]))
    assert mean_abs_pct(pairs) < 8
    tpot = [abs(p.error_pct) for p in means if p.metric == "tpot_mean"]
    assert max(tpot) < 8
