"""Readers of measured kernel timings: units normalised once, quirks kept in one place.

All latencies come out in seconds and all message sizes in bytes. ``data`` is the folder that
holds ``kernels/``.
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from mltwin.sim.errors import InputError


def source_path(data: str | Path, relative: str) -> Path:
    """The file ``kernels/<relative>`` under ``data``.

    Raises:
        InputError: it is not there.
    """
    path = Path(data) / "kernels" / relative
    if not path.is_file():
        raise InputError(
            "no such measurement file", where=str(path), mend="point --data at the data folder"
        )
    return path


def sha256(path: Path) -> str:
    """Hex digest of the file as stored."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _read(path: Path, columns: tuple[str, ...]) -> pd.DataFrame:
    frame = pd.read_csv(path)
    missing = [c for c in columns if c not in frame]
    if missing:
        raise InputError(f"columns {missing} are missing", where=str(path))
    return frame


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
    frame = _read(path, ("gemm_dtype", "m", "n", "k", "kernel_source", "latency"))
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
    frame = _read(path, (*columns, "kernel_source", "latency"))
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
    frame["tokens"] = _read(path, ("isl",))["isl"]
    return frame


def read_decode_attention(path: Path) -> pd.DataFrame:
    """As prefill, with ``context`` in place of ``tokens``: KV length with the token being made."""
    frame = _read_attention(path)
    frame["context"] = _read(path, ("step",))["step"] + 1
    return frame


def read_all_reduce(path: Path, *, graph: bool = True) -> pd.DataFrame:
    """Columns gpus, size_bytes, seconds.

    The table's message_size counts elements. Rows outside CUDA graphs hold a launch overhead of
    16-40 us; ``graph`` chooses between the two.
    """
    frame = _read(path, ("num_gpus", "message_size", "allreduce_dtype", "backend", "latency"))
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
    frame = _read(path, (*names, "latency"))
    result = frame[list(names)].rename(columns=names)
    result["seconds"] = _latency_s(frame, path)
    return result


def read_mlp_activation(path: Path) -> pd.DataFrame:
    """Columns tokens, size_bytes, seconds of the gated activation (Vidur's ``mlp_act``).

    It reads 2 I and writes I numbers of 2 bytes a token, I split over the tensor-parallel GPUs.
    """
    time = "time_stats.mlp_act.median"
    keys = ("num_tokens", "num_tensor_parallel_workers", "n_expanded_embd", "use_gated_mlp")
    frame = _read(path, (time, *keys))
    frame = frame[frame["use_gated_mlp"] & (frame[time] > 0)]
    shard = frame["n_expanded_embd"] / frame["num_tensor_parallel_workers"]
    return pd.DataFrame(
        {
            "tokens": frame["num_tokens"],
            "size_bytes": 3 * shard * 2 * frame["num_tokens"],
            "seconds": frame[time] * 1e-3,
        }
    )


def read_splitwise(path: Path) -> pd.DataFrame:
    """Medians over repeats: model, gpu, tp, prompt_tokens, batch, prompt_s, token_s, power.

    ``power`` is the average as a fraction of TDP, NaN where the table holds 0 (not recorded).
    ``e2e_time`` is left out: it stops early at end of text.
    """
    columns = ("model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size")
    frame = _read(path, (*columns, "prompt_time", "token_time", "average_power"))
    frame["average_power"] = frame["average_power"].where(frame["average_power"] > 0)
    grouped = frame.groupby(list(columns), sort=True)[
        ["prompt_time", "token_time", "average_power"]
    ].median()
    result = grouped.reset_index()
    result.columns = pd.Index(
        ["model", "gpu", "tp", "prompt_tokens", "batch", "output_tokens", "prompt_s", "token_s",
         "power"]
    )  # fmt: skip
    result[["prompt_s", "token_s"]] *= 1e-3
    return result


def held_out(*keys: npt.ArrayLike, share: int = 5) -> npt.NDArray[np.bool_]:
    """True for one key in ``share``, chosen by a hash of the key.

    Rows with equal keys fall on the same side, so a held-out shape was never seen in the fit.
    """
    columns = [np.asarray(key).astype(str) for key in keys]
    names = [",".join(row) for row in zip(*columns, strict=True)]
    verdict = {
        name: int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % share == 0
        for name in set(names)
    }
    return np.array([verdict[name] for name in names], dtype=bool)
