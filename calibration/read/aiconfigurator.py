"""Tables of aiconfigurator: latencies in milliseconds, message sizes in elements."""

from pathlib import Path

import pandas as pd

from mltwin.sim.errors import InputError

from .files import read_columns


def _latency_s(frame: pd.DataFrame, path: Path) -> pd.Series:
    """Milliseconds as seconds; a latency that is not positive is an error in the table."""
    wrong = frame.index[~(frame["latency"] > 0)]
    if len(wrong):
        raise InputError(
            f"latency {frame['latency'][wrong[0]]!r}", where=f"{path}, data row {wrong[0] + 1}"
        )
    return frame["latency"] * 1e-3


def read_gemm(path: Path) -> pd.DataFrame:
    """Columns dtype, m, n, k, seconds, kernel."""
    frame = read_columns(path, ("gemm_dtype", "m", "n", "k", "kernel_source", "latency"))
    return pd.DataFrame(
        {
            "dtype": frame["gemm_dtype"],
            "m": frame["m"],
            "n": frame["n"],
            "k": frame["k"],
            "seconds": _latency_s(frame, path),
            "kernel": frame["kernel_source"],
        }
    )


def _read_attention(path: Path) -> pd.DataFrame:
    columns = ("batch_size", "num_heads", "num_key_value_heads", "head_dim", "kv_cache_dtype")
    frame = read_columns(path, (*columns, "kernel_source", "latency"))
    return pd.DataFrame(
        {
            "batch": frame["batch_size"],
            "heads": frame["num_heads"],
            "kv_heads": frame["num_key_value_heads"],
            "head_dim": frame["head_dim"],
            "kv_dtype": frame["kv_cache_dtype"],
            # Older campaigns have no window column: all their kernels attend to everything.
            "window": frame.get("window_size", 0),
            "kernel": frame["kernel_source"],
            "seconds": _latency_s(frame, path),
        }
    )


def read_prefill_attention(path: Path) -> pd.DataFrame:
    """Columns batch, tokens (a sequence), heads, kv_heads, head_dim, kv_dtype, window, seconds."""
    frame = _read_attention(path)
    frame["tokens"] = read_columns(path, ("isl",))["isl"]
    return frame


def read_decode_attention(path: Path) -> pd.DataFrame:
    """As prefill, with ``context`` in place of ``tokens``: KV length with the token being made."""
    frame = _read_attention(path)
    frame["context"] = read_columns(path, ("step",))["step"] + 1
    return frame


def read_all_reduce(path: Path, *, graph: bool = True) -> pd.DataFrame:
    """Columns gpus, size_bytes, seconds.

    The table's message_size counts elements. Rows outside CUDA graphs hold a launch overhead of
    16-40 us; ``graph`` chooses between the two.
    """
    frame = read_columns(
        path, ("num_gpus", "message_size", "allreduce_dtype", "backend", "latency")
    )
    width = frame["allreduce_dtype"].map({"bfloat16": 2, "half": 2, "float16": 2})
    if width.isna().any():
        raise InputError("unknown allreduce_dtype", where=str(path))
    result = pd.DataFrame(
        {
            "gpus": frame["num_gpus"],
            "size_bytes": frame["message_size"] * width,
            "seconds": _latency_s(frame, path),
        }
    )
    return result[frame["backend"].str.endswith("graph" if graph else "eager")]


def read_moe(path: Path) -> pd.DataFrame:
    """Columns dtype, tokens, hidden, width, chosen, experts, tp, ep, distribution, seconds."""
    names = {
        "moe_dtype": "dtype",
        "num_tokens": "tokens",
        "hidden_size": "hidden",
        "inter_size": "width",
        "topk": "chosen",
        "num_experts": "experts",
        "moe_tp_size": "tp",
        "moe_ep_size": "ep",
        "distribution": "distribution",
        "kernel_source": "kernel",
    }
    frame = read_columns(path, (*names, "latency"))
    result = frame[list(names)].rename(columns=names)
    result["seconds"] = _latency_s(frame, path)
    return result


def read_nccl(path: Path) -> pd.DataFrame:
    """Columns op (all_reduce, all_gather, reduce_scatter, all_to_all), gpus, size_bytes, seconds
    of 2-byte numbers. ``message_size`` counts elements."""
    frame = read_columns(path, ("op_name", "nccl_dtype", "num_gpus", "message_size", "latency"))
    frame = frame[frame["nccl_dtype"] == "half"]
    names = {"alltoall": "all_to_all"}
    return pd.DataFrame(
        {
            "op": frame["op_name"].replace(names),
            "gpus": frame["num_gpus"],
            "size_bytes": frame["message_size"] * 2,
            "seconds": _latency_s(frame, path),
        }
    )
