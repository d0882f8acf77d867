"""Readers of measurement files: units, quirks, errors."""

import gzip

import numpy as np
import pytest

from mltwin.calibration import read
from mltwin.sim.errors import InputError

ATTENTION = (
    "batch_size,isl,num_heads,num_key_value_heads,head_dim,kv_cache_dtype,step,kernel_source,"
    "latency\n4,1,32,8,128,bfloat16,1023,flash,0.5\n"
)


def write(tmp_path, text: str, name: str = "table.csv"):
    path = tmp_path / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def test_gemm_milliseconds_become_seconds(tmp_path) -> None:
    text = "gemm_dtype,m,n,k,kernel_source,latency\nbfloat16,8,128,256,linear,0.25\n"
    rows = read.read_gemm(write(tmp_path, text, "gemm.csv.gz"))
    assert rows.to_dict("records") == [
        {"dtype": "bfloat16", "m": 8, "n": 128, "k": 256, "seconds": 2.5e-4, "kernel": "linear"}
    ]


def test_attention_context_counts_the_token_being_made(tmp_path) -> None:
    rows = read.read_decode_attention(write(tmp_path, ATTENTION))
    assert rows["context"].tolist() == [1024]
    # A campaign without a window column attends to everything.
    assert rows["window"].tolist() == [0]
    assert rows["seconds"].tolist() == [5e-4]
    assert read.read_prefill_attention(write(tmp_path, ATTENTION))["tokens"].tolist() == [1]


def test_all_reduce_sizes_are_elements_in_the_file(tmp_path) -> None:
    text = (
        "num_gpus,message_size,allreduce_dtype,backend,latency\n"
        "2,1024,bfloat16,vllm_eager,0.02\n2,1024,bfloat16,vllm_graph,0.004\n"
    )
    path = write(tmp_path, text)
    assert read.read_all_reduce(path)["size_bytes"].tolist() == [2048]
    assert read.read_all_reduce(path)["seconds"].tolist() == [4e-6]
    assert read.read_all_reduce(path, graph=False)["seconds"].tolist() == [2e-5]


def test_splitwise_repeats_become_medians_and_zero_power_is_unknown(tmp_path) -> None:
    head = (
        "model,hardware,prompt_size,batch_size,token_size,peak_power,average_power,prompt_time,"
        "token_time,e2e_time,tensor_parallel\n"
    )
    rows = [
        f"llama,{gpu},512,1,128,1,{power},{prompt},50,0,2"
        for gpu, power in (("a100", 0.7), ("h100", 0))
        for prompt in (100, 110, 900)
    ]
    table = read.read_splitwise(write(tmp_path, head + "\n".join(rows) + "\n"))
    assert table["gpu"].tolist() == ["a100", "h100"]
    assert table["prompt_s"].tolist() == pytest.approx([0.11, 0.11])
    assert table["power"].iloc[0] == 0.7
    assert np.isnan(table["power"].iloc[1])


@pytest.mark.parametrize("latency", ["0", "-1", "nan", ""])
def test_an_impossible_latency_names_its_row(tmp_path, latency: str) -> None:
    text = f"gemm_dtype,m,n,k,kernel_source,latency\nbf16,1,1,1,x,1\nbf16,1,1,1,x,{latency}\n"
    with pytest.raises(InputError, match="data row 2: latency"):
        read.read_gemm(write(tmp_path, text))


def test_missing_columns_and_files(tmp_path) -> None:
    with pytest.raises(InputError, match="columns \\['n'\\] are missing"):
        read.read_gemm(write(tmp_path, "gemm_dtype,m,k,kernel_source,latency\n"))
    with pytest.raises(InputError, match="no such measurement file"):
        read.source_path(tmp_path, "gemm.csv")


def test_held_out_keys_stay_together_and_are_about_a_fifth() -> None:
    n = np.repeat(np.arange(1000), 3)
    held = read.held_out(n, n + 1)
    assert held.reshape(-1, 3).std(axis=1).max() == 0
    assert 0.15 < held.mean() < 0.25
    assert np.array_equal(held, read.held_out(n, n + 1))
    assert not np.array_equal(held, read.held_out(n, n))
