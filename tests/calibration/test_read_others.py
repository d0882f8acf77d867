"""Readers of the tables that other projects measured: columns, units, quirks, errors."""

import json
from pathlib import Path

import numpy as np
import pytest

from mltwin.calibration import read
from mltwin.sim.errors import InputError

EVENTS = "time_stats.{}.median"


def table(tmp_path: Path, name: str, *lines: str) -> Path:
    path = tmp_path / name
    path.write_text("\n".join(lines) + "\n")
    return path


def rows_of(columns: dict[str, object], *changes: dict[str, object]) -> list[str]:
    """A header and one line of JSON-quoted cells for each change of the columns."""

    def cell(value: object) -> str:
        return '"' + json.dumps(value) + '"' if isinstance(value, list) else str(value)

    return [",".join(columns)] + [
        ",".join(cell(v) for v in {**columns, **change}.values()) for change in changes
    ]


def test_layers_of_llmservingsim(tmp_path) -> None:
    path = table(tmp_path, "dense.csv", "layer,tokens,time_us", "act_fn,4,2.5")
    row = read.read_dense(path).iloc[0]
    assert (row["layer"], row["tokens"]) == ("act_fn", 4)
    assert row["seconds"] == pytest.approx(2.5e-6)
    path = table(tmp_path, "s.csv", "layer,sequences,time_us", "sampler,256,310")
    assert read.read_per_sequence(path)["seconds"].tolist() == pytest.approx([3.1e-4])
    path = table(tmp_path, "moe.csv", "tokens,activated_experts,time_us", "2,16,135")
    assert read.read_experts(path)["active_experts"].tolist() == [16]


def test_attention_of_llmservingsim(tmp_path) -> None:
    head = "prefill_chunk,kv_prefill,n_decode,kv_decode,time_us"
    rows = read.read_mixed_attention(table(tmp_path, "a.csv", head, "512,1024,8,4096,250"))
    assert rows.to_dict("records") == [
        {"prefill_tokens": 512, "prefill_context": 1024, "decodes": 8, "decode_context": 4096,
         "seconds": 2.5e-4}
    ]  # fmt: skip
    head = "regime,n,nb,ratio,skew,pc,kp,kvs,kv_big,kv_mean,t_mean_us,t_max_us,t_skew_us,alpha"
    line = "pure,2,1,0.5,4.0,0,0,128,512,320,52,56,53,0.29"
    skew = read.read_skew(table(tmp_path, "skew.csv", head, line)).iloc[0]
    assert (skew["decodes"], skew["long_decodes"], skew["mean_context"]) == (2, 1, 320)
    assert [skew[c] for c in ("mean_s", "longest_s", "skewed_s")] == [52e-6, 56e-6, 53e-6]


def test_the_heads_of_llmservingsim_are_those_of_a_shard(tmp_path) -> None:
    lines = [
        "vllm_version: 0.19.0", "gpu: Some GPU", "tp_degrees: [1, 2]",
        "    num_attention_heads: 16",
        "    num_key_value_heads: 2", "    vocab_size: 75968",
    ]  # fmt: skip
    found = read.read_layer_shape(table(tmp_path, "meta.yaml", *lines))
    assert found == read.LayerShape("Some GPU", "vllm 0.19.0", 32, 4, 151936)
    with pytest.raises(InputError, match="no line 'vocab_size'"):
        read.read_layer_shape(table(tmp_path, "short.yaml", *lines[:-1]))
    with pytest.raises(InputError, match="'num_key_value_heads' is 'two'"):
        read.read_layer_shape(table(tmp_path, "m.yaml", *lines[:4], "num_key_value_heads: two"))


def test_the_first_version_of_llmservingsim(tmp_path) -> None:
    path = table(
        tmp_path, "layers.csv", "layer_name,input,kv_cache,tp_size,latency(ns)", "rope,8,0,2,251"
    )
    assert read.read_v0_layers(path)["seconds"].tolist() == pytest.approx([251e-9])
    columns = {EVENTS.format("attn_prefill"): "", EVENTS.format("attn_decode"): "",
               "batch_size": 1, "prefill_chunk_size": 32, "kv_cache_size": 64,
               "is_prefill": "True"}  # fmt: skip
    first, second = list(columns)[:2]
    changes = {first: 0.005}, {second: 0.02, "is_prefill": "False", "batch_size": 8}
    rows = read.read_v0_attention(table(tmp_path, "a.csv", *rows_of(columns, *changes)))
    assert rows["prefill"].tolist() == [True, False]
    assert rows["tokens"].tolist() == [32, 1]
    assert rows["seconds"].tolist() == pytest.approx([5e-6, 2e-5])
    tpu = "prefill_chunk_size,kv_cache_size,batch_size,is_prefill,mean_ns,p50_ns,p90_ns,max_ns"
    rows = read.read_v0_attention(table(tmp_path, "t.csv", tpu, "32,0,1,True,7000,7100,7200,9000"))
    assert rows["seconds"].tolist() == pytest.approx([7.1e-6])
    with pytest.raises(InputError, match=r"a.csv, line 2: .*a time above 0"):
        read.read_v0_attention(table(tmp_path, "a.csv", *rows_of(columns, {})))


ATTENTION = {
    EVENTS.format("attn_prefill"): 0.0,
    EVENTS.format("attn_decode"): 0.0,
    EVENTS.format("attn_kv_cache_save"): 0.002,
    "batch_size": 2,
    "prefill_chunk_size": 0,
    "kv_cache_size": 100,
    "n_q_head": 32,
    "n_kv_head": 4,
    "num_tensor_parallel_workers": 8,
    "is_prefill": "False",
    "attention_backend": "AttentionBackend.FLASHINFER",
    "is_true_mixed_batch": "",
    "seq_lens": "",
    "prefill_seq_lens": "",
    "prefill_kv_cache_sizes": "",
    "decode_kv_cache_sizes": "",
    "measurement_type": "KERNEL_ONLY",
}
PREFILL, DECODE = (EVENTS.format(f"attn_{half}") for half in ("prefill", "decode"))


def test_attention_of_frontier(tmp_path) -> None:
    lines = rows_of(
        ATTENTION,
        {DECODE: 0.02},
        {PREFILL: 0.05, "is_prefill": "True", "prefill_chunk_size": 64},
        {PREFILL: 0.06, "is_prefill": "True", "kv_cache_size": 0, "seq_lens": [3, 5]},
        {PREFILL: 0.07, DECODE: 0.03, "is_true_mixed_batch": "True", "is_prefill": "True",
         "prefill_seq_lens": [4], "prefill_kv_cache_sizes": [10],
         "decode_kv_cache_sizes": [7, 9, 20]},
    )  # fmt: skip
    rows = read.read_frontier_attention(table(tmp_path, "attention.csv", *lines))
    assert rows["kind"].tolist() == ["decode", "prefill", "prefill", "mixed"]
    assert rows["prefill_tokens"].tolist() == [0, 128, 8, 4]
    assert rows["pairs"].tolist() == [0, 2 * (64 * 100 + 64 * 65 // 2), 6 + 15, 40 + 10]
    assert rows["longest_chunk"].tolist() == [0, 64, 5, 4]
    assert rows["decodes"].tolist() == [2, 0, 0, 3]
    assert rows["context"].tolist() == [202, 0, 0, 8 + 10 + 21]
    assert rows["longest"].tolist() == [101, 0, 0, 21]
    assert set(rows["heads"]) == {4} and set(rows["kv_heads"]) == {1}
    assert rows["prefill_s"].tolist()[1:] == pytest.approx([5e-5, 6e-5, 7e-5])
    assert np.isnan(rows["prefill_s"][0]) and np.isnan(rows["decode_s"][1])
    assert rows["decode_s"].tolist()[::3] == pytest.approx([2e-5, 3e-5])
    assert not rows["launches"].any() and set(rows["backend"]) == {"flashinfer"}
    assert rows["cache_s"].tolist() == pytest.approx([2e-6] * 4)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({DECODE: 0}, r"line 2: 'time_stats.attn_decode.median' is '0'; give a number above 0"),
        ({DECODE: 1, "batch_size": 1.5}, "line 2: 'batch_size' is '1.5'; give a whole number"),
        ({PREFILL: 1, "is_prefill": "True"}, r"'seq_lens' is nan; give a list"),
        ({PREFILL: 1, DECODE: 1, "is_true_mixed_batch": "True", "prefill_seq_lens": [4],
          "prefill_kv_cache_sizes": [1, 2], "decode_kv_cache_sizes": [1]},
         "1 prompts with 2 cached contexts"),
    ],
)  # fmt: skip
def test_attention_of_frontier_that_cannot_be(tmp_path, change, message: str) -> None:
    path = table(tmp_path, "attention.csv", *rows_of(ATTENTION, change))
    with pytest.raises(InputError, match=message):
        read.read_frontier_attention(path)


def test_experts_of_frontier(tmp_path) -> None:
    columns = {
        EVENTS.format("moe_gating_linear"): 0.02, EVENTS.format("moe_gating_routing_topk"): 0.03,
        EVENTS.format("moe_shuffling"): "", EVENTS.format("moe_grouped_gemm"): 0.12,
        "num_tokens": 64, "num_experts": 128, "expert_parallel_size": 4, "router_topk": 8,
        "hidden_dim": 2048, "expert_hidden_dim": 512, "num_tensor_parallel_workers": 2,
        "load_imbalance_cv": 0.5,
    }  # fmt: skip
    row = read.read_frontier_experts(table(tmp_path, "moe.csv", *rows_of(columns, {}))).iloc[0]
    assert (row["width"], row["ep"], row["chosen"], row["load_cv"]) == (256, 4, 8, 0.5)
    assert row["seconds"] == pytest.approx(1.2e-4)
    assert row["gate_s"] == pytest.approx(5e-5)
    assert np.isnan(row["shuffle_s"])


def test_other_operators_of_frontier_and_vidur(tmp_path) -> None:
    columns = {
        EVENTS.format("emb"): 0.002, "time_stats.emb.min": 0.001, EVENTS.format("add"): 0,
        "num_tokens": 8, "num_tensor_parallel_workers": 2, "n_embd": 4096,
        "n_expanded_embd": 11008, "n_head": 32, "n_kv_head": 8, "vocab_size": 32000,
        "use_gated_mlp": True,
    }  # fmt: skip
    rows = read.read_frontier_linear(table(tmp_path, "mlp.csv", *rows_of(columns, {})))
    assert rows["operator"].tolist() == ["emb"]  # an addition below the clock is left out
    assert rows["seconds"].tolist() == pytest.approx([2e-6])
    assert rows["launches"].tolist() == [True] and rows["gated"].tolist() == [True]


def test_collectives_of_nodes(tmp_path) -> None:
    head = "time_stats.send_recv.median,num_workers,size,devices_per_node"
    rows = read.read_node_collective(table(tmp_path, "n.csv", head, "0.06,2,2097152,1"))
    assert rows.to_dict("records") == [
        {"op": "send_recv", "gpus": 2, "per_node": 1, "size_bytes": 2097152, "seconds": 6e-5}
    ]


def test_collectives_of_apex(tmp_path) -> None:
    head = "gpu,num_nodes,num_gpus_per_node,dtype,size(kb),time(us)"
    lines = ["H,1,8,half,0,15", "H,2,4,float,64,20", "V,4,1,half,1,30", "V,4,2048,half,1,595.0"]
    rows = read.read_apex_collective(table(tmp_path, "alltoall.csv", head, *lines))
    assert set(rows["op"]) == {"all_to_all"}
    assert rows["dtype"].tolist() == ["float16", "float32", "float16", "float16"]
    # The last two have their size and their GPUs per node exchanged.
    assert rows["gpus"].tolist() == [8, 8, 4, 4]
    assert np.isnan(rows["size_bytes"][0])
    assert rows["size_bytes"].tolist()[1:] == [65536, 1024, 2048 * 1024]
    assert rows["seconds"].tolist() == pytest.approx([15e-6, 20e-6, 30e-6, 595e-6])
    with pytest.raises(InputError, match="line 2: 'dtype' is 'int3'; use one of"):
        read.read_apex_collective(table(tmp_path, "x.csv", head, "H,1,8,int3,4,15"))


def test_gemms_of_apex(tmp_path) -> None:
    path = table(tmp_path, "gemm_0.csv", "gpu,dtype,m,k,n,time(us)", "V,half,1,2,3,14")
    assert read.read_apex_gemm(path).to_dict("records") == [
        {"dtype": "float16", "m": 1, "n": 3, "k": 2, "seconds": 14e-6}
    ]


def test_coefficients_of_distserve(tmp_path) -> None:
    law = {"decoding_large_small_bs_threshold": 95, "prefill": [20, 0.1, 1e-6],
           "decoding_smallbs": [23, 6e-4, 0.06], "decoding_largebs": [20, 5e-4, 0.12]}  # fmt: skip
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"opt": {"4": law}}))
    rows = read.read_distserve(path)
    assert rows["law"].tolist() == ["prefill", "decode_small", "decode_large"]
    assert rows.iloc[1][["constant_s", "first_s", "second_s"]].tolist() == pytest.approx(
        [0.023, 6e-7, 6e-5]
    )
    assert set(rows["tp"]) == {4} and set(rows["threshold"]) == {95}
    path.write_text(json.dumps({"opt": {"4": {**law, "prefill": [1, 2]}}}))
    with pytest.raises(InputError, match=r"opt, 4: 'prefill' is \[1, 2\]; give three numbers"):
        read.read_distserve(path)
    path.write_text("{")
    with pytest.raises(InputError, match="not JSON"):
        read.read_distserve(path)
    caps = table(tmp_path, "c.csv", "model,tp,pp,max_num_tokens", "opt,2,1,66144")
    assert read.read_distserve_capacity(caps)["capacity_tokens"].tolist() == [66144]


def test_tables_of_alibaba(tmp_path) -> None:
    head = "comm_type,comm_group,comm_group_size,msg_size,stage,_elapsed_time"
    lines = [f"CommType.all_reduce,CommGroup.dp_group,{g}" for g in (4, 4, "None")]
    lines = [f"{line},8,init,{t}" for line, t in zip(lines, (3380.2, 0.15, 0.2), strict=True)]
    rows = read.read_aicb(table(tmp_path, "log.csv", head, *lines, "CommType.epoch_end,,,,,"))
    assert rows["op"].tolist() == ["all_reduce"] * 3
    assert rows["first"].tolist() == [True, False, True]
    assert rows["seconds"].tolist() == pytest.approx([3.3802, 1.5e-4, 2e-4])
    path = table(tmp_path, "ratio.csv", "Size,1 Node(NVLinkx),2Node-16GPU(NIC )", "1024,0.5,")
    assert read.read_simai_shares(path).to_dict("records")[0]["share"] == 0.5
    path = table(tmp_path, "ratio.csv", "Size,2Node-16GPU(NIC )", "1024,0.5")
    assert read.read_simai_shares(path)["gpus"].tolist() == [16]


def test_tables_of_deepep(tmp_path) -> None:
    keys = "op_name,node_num,hidden_size,num_token,num_topk,num_experts"
    low = table(
        tmp_path, "ll.csv", f"{keys},combine_avg_t_us,dispatch_avg_t_us", "ll,1,2048,1,8,128,11,10"
    )
    row = read.read_deepep(low).iloc[0]
    assert (row["dispatch_s"], row["combine_s"], row["sms"]) == pytest.approx((10e-6, 11e-6, 0))
    parts = ("dispatch_sms,dispatch_transmit_us,dispatch_notify_us,"
             "combine_transmit_us,combine_notify_us")  # fmt: skip
    normal = table(tmp_path, "n.csv", f"{keys},{parts}", "normal,2,2048,1,8,128,4,25,3,30,1")
    row = read.read_deepep(normal).iloc[0]
    assert (row["dispatch_s"], row["combine_s"], row["sms"]) == pytest.approx((28e-6, 31e-6, 4))


def test_documents_of_deepep(tmp_path) -> None:
    text = table(
        tmp_path, "README.md",
        "| Type | Dispatch #EP | Bottleneck bandwidth | Combine #EP | Bottleneck bandwidth |",
        "|:--|:--|:--|:--|:--|",
        "| Internode | 16 | 43 GB/s (RDMA) | 32 | 47 GB/s (RDMA) |",
        "",
        "| Arch | Topo | Dispatch Bottleneck Bandwidth | Combine Bottleneck Bandwidth |",
        "|--|--|--|--|",
        "| SM90 | EP 8 x 4 | 61 GB/s (NVLink) | 62 GB/s (NVLink) |",
    )  # fmt: skip
    rows = read.read_deepep_markdown(text)
    assert rows["op"].tolist() == ["dispatch", "combine"] * 2
    assert rows["ranks"].tolist() == [16, 32, 32, 32]
    assert rows["bandwidth"].tolist() == pytest.approx([43e9, 47e9, 61e9, 62e9])
    assert rows["link"].tolist() == ["RDMA", "RDMA", "NVLink", "NVLink"]
    with pytest.raises(InputError, match="no table"):
        read.read_deepep_markdown(table(tmp_path, "other.md", "| a | b |", "|--|--|", "| 1 | 2 |"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("layer,tokens\nx,1\n", r"columns \['time_us'\] are missing"),
        ("layer,tokens,time_us\n", "no rows"),
        ("", "no table"),
        ("layer,tokens,time_us\nx,1,2\nx,1,abc\n", "line 3: 'time_us' is 'abc'; give a number"),
        ("layer,tokens,time_us\nx,1,inf\n", "line 2: 'time_us' is 'inf'"),
        ("layer,tokens,time_us\nx,-1,2\n", "line 2: 'tokens' is '-1'; give a whole number"),
    ],
)
def test_what_is_no_table_of_times(tmp_path, text: str, message: str) -> None:
    path = tmp_path / "dense.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=message):
        read.read_dense(path)


@pytest.mark.data
def test_every_shared_file_can_be_read(data_dir) -> None:
    """Row counts of the shared files are those of their README (each row is kept)."""
    root = Path(data_dir) / "kernels"
    folders = read.layer_folders(data_dir)
    assert len(folders) >= 5
    for folder in folders["folder"]:
        assert len(read.read_mixed_attention(read.layer_file(folder, "attention"))) > 8000
        assert len(read.read_dense(read.layer_file(folder, "dense"))) > 1000
        assert len(read.read_per_sequence(read.layer_file(folder, "per_sequence"))) == 80
        assert len(read.read_skew(read.layer_file(folder, "skew"))) == 13009
        shape = read.read_layer_shape(folder.parent / "meta.yaml")
        assert shape.heads == 32 and shape.vocabulary in (128256, 151936)
    kinds = {"prefill": 0, "decode": 0, "mixed": 0}
    for path in sorted((root / "frontier/compute").rglob("attention*.csv*")):
        for kind, count in read.read_frontier_attention(path)["kind"].value_counts().items():
            kinds[str(kind)] += count
    assert kinds["mixed"] > 2000 and kinds["prefill"] > 7000 and kinds["decode"] > 20000
    for path in sorted((root / "apex_plus/comm").rglob("*.csv")):
        rows = read.read_apex_collective(path)
        assert rows["per_node"].max() <= 8 and rows["gpus"].max() <= 16
    assert len(read.read_apex_gemm(root / "apex_plus/comp/V100-PCIE-16GB/gemm_0.csv.gz")) == 92191
