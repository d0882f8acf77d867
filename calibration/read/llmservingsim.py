"""Tables of LLMServingSim (KAIST): one layer of a model timed inside vLLM, launched eagerly.

Version 1 (``v1/<gpu>/<org>/<model>/<variant>/tpN``, vLLM 0.19.0) holds microseconds, means of
three calls; version 0 holds nanoseconds for layers and, with the columns of Vidur, milliseconds
for attention (the TPU's are nanoseconds). A tensor-parallel shard was timed on one GPU, without
communication. Files may be gzipped.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mltwin.sim.errors import InputError

from .checked import read_checked, table_of, whole_numbers

_US, _NS, _MS = 1e-6, 1e-9, 1e-3
_V0_TIMES = {
    True: "time_stats.attn_prefill.median",
    False: "time_stats.attn_decode.median",
}


@dataclass(frozen=True)
class LayerShape:
    """What ``meta.yaml`` says of the layer that was timed.

    Attributes:
        gpu, engine: e.g. ``NVIDIA GeForce RTX 4090`` and ``vllm 0.19.0``.
        heads, kv_heads, vocabulary: of the whole model, all tensor-parallel shards together.
    """

    gpu: str
    engine: str
    heads: int
    kv_heads: int
    vocabulary: int


def layer_folders(data: str | Path) -> pd.DataFrame:
    """Columns gpu, model, variant, tp, folder of the version-1 tables under ``data``, in order."""
    root = Path(data) / "kernels/llmservingsim/v1"
    found = []
    for path in sorted(root.glob("*/*/*/*/tp*")):
        gpu, owner, model, variant, split = path.relative_to(root).parts
        if path.is_dir() and split[2:].isdigit():
            found.append((gpu, f"{owner}/{model}", variant, int(split[2:]), path))
    return pd.DataFrame(found, columns=["gpu", "model", "variant", "tp", "folder"])


def layer_file(folder: Path, name: str) -> Path:
    """``name.csv.gz`` or ``name.csv`` of a tables' folder.

    Raises:
        InputError: neither is there.
    """
    for ending in (".csv.gz", ".csv"):
        if (Path(folder) / f"{name}{ending}").is_file():
            return Path(folder) / f"{name}{ending}"
    raise InputError(f"no {name}.csv[.gz]", where=str(folder))


def read_dense(path: Path) -> pd.DataFrame:
    """Columns layer, tokens, seconds: each layer of ``dense.csv`` by itself."""
    return _in_seconds(read_checked(
        path,
        {"layer": "layer", "tokens": "tokens", "time_us": "seconds"},
        positive=("seconds",), counts=("tokens",),
    ))  # fmt: skip


def read_per_sequence(path: Path) -> pd.DataFrame:
    """Columns layer (``lm_head``, ``sampler``), sequences, seconds."""
    return _in_seconds(read_checked(
        path,
        {"layer": "layer", "sequences": "sequences", "time_us": "seconds"},
        positive=("seconds",), counts=("sequences",),
    ))  # fmt: skip


def read_mixed_attention(path: Path) -> pd.DataFrame:
    """One attention call of a layer: at most one prefill chunk, and decodes of equal length.

    Columns prefill_tokens, prefill_context (cached tokens before the chunk), decodes,
    decode_context (tokens of each), seconds.
    """
    names = {
        "prefill_chunk": "prefill_tokens",
        "kv_prefill": "prefill_context",
        "n_decode": "decodes",
        "kv_decode": "decode_context",
        "time_us": "seconds",
    }
    counts = tuple(names.values())[:4]
    return _in_seconds(read_checked(path, names, positive=("seconds",), counts=counts))


def read_experts(path: Path) -> pd.DataFrame:
    """Columns tokens, active_experts (that get any token), seconds: one rank's experts."""
    names = {"tokens": "tokens", "activated_experts": "active_experts", "time_us": "seconds"}
    counts = ("tokens", "active_experts")
    return _in_seconds(read_checked(path, names, positive=("seconds",), counts=counts))


def read_skew(path: Path) -> pd.DataFrame:
    """Decodes of two lengths in one call, next to calls with all of the mean and of the greatest.

    Columns regime (``pure``: no prefill chunk), decodes, long_decodes, short_context,
    long_context, mean_context, prefill_tokens, prefill_context, and seconds: ``mean_s`` and
    ``longest_s`` with equal lengths, ``skewed_s`` with both.
    """
    names = {
        "regime": "regime",
        "n": "decodes",
        "nb": "long_decodes",
        "kvs": "short_context",
        "kv_big": "long_context",
        "kv_mean": "mean_context",
        "pc": "prefill_tokens",
        "kp": "prefill_context",
        "t_mean_us": "mean_s",
        "t_max_us": "longest_s",
        "t_skew_us": "skewed_s",
    }
    times = ("mean_s", "longest_s", "skewed_s")
    counts = tuple(n for n in names.values() if n not in ("regime", *times))
    return _in_seconds(read_checked(path, names, positive=times, counts=counts), *times)


def read_layer_shape(path: Path) -> LayerShape:
    """The model's heads and vocabulary, the GPU and the engine, from ``meta.yaml``.

    QUIRK: the sizes stand there as the profiler set them for its last tensor-parallel degree, so
    they are multiplied by it again.

    Raises:
        InputError: a line is missing or no number.
    """
    text = path.read_text(encoding="utf-8")

    def value(name: str) -> str:
        found = re.search(rf"^\s*{name}:\s*(.+?)\s*$", text, re.MULTILINE)
        if found is None:
            raise InputError(f"no line {name!r}", where=str(path))
        return found[1].strip("'\"")

    def number(name: str) -> int:
        if not value(name).isdigit():
            raise InputError(f"{name!r} is {value(name)!r}, no whole number", where=str(path))
        return int(value(name))

    degrees = re.findall(r"\d+", value("tp_degrees"))
    if not degrees:
        raise InputError(f"'tp_degrees' is {value('tp_degrees')!r}", where=str(path))
    last = int(degrees[-1])
    return LayerShape(
        gpu=value("gpu"),
        engine=f"vllm {value('vllm_version')}",
        heads=number("num_attention_heads") * last,
        kv_heads=number("num_key_value_heads") * last,
        vocabulary=number("vocab_size") * last,
    )


def read_v0_layers(path: Path) -> pd.DataFrame:
    """Version 0: columns layer, tokens, context (0: it does not matter), tp, seconds."""
    names = {
        "layer_name": "layer",
        "input": "tokens",
        "kv_cache": "context",
        "tp_size": "tp",
        "latency(ns)": "seconds",
    }
    counts = ("tokens", "context", "tp")
    return _in_seconds(read_checked(path, names, positive=("seconds",), counts=counts), unit=_NS)


def read_v0_attention(path: Path) -> pd.DataFrame:
    """Version 0: columns prefill (bool), sequences, tokens (new ones of each), context, seconds.

    ``context`` is the column kv_cache_size of the file: cached tokens of each sequence. Seconds
    are medians over repeats.
    """
    keys = ("batch_size", "prefill_chunk_size", "kv_cache_size", "is_prefill")
    table = table_of(path, keys)
    prefill = table["is_prefill"].astype(str).str.lower() == "true"
    if "p50_ns" in table:
        theirs, seconds = "p50_ns", table["p50_ns"] * _NS
    else:
        missing = [c for c in _V0_TIMES.values() if c not in table]
        if missing:
            raise InputError(f"columns {missing} or 'p50_ns' are missing", where=str(path))
        theirs = "time_stats.attn_*.median"
        seconds = table[_V0_TIMES[True]].where(prefill, table[_V0_TIMES[False]]) * _MS
    wrong = np.flatnonzero(~(seconds > 0))
    if len(wrong):
        raise InputError(
            f"{theirs!r} is {seconds.iloc[wrong[0]]!r} s",
            where=f"{path}, line {wrong[0] + 2}",
            mend="give a time above 0",
        )
    sizes = [whole_numbers(table[name], path, name) for name in keys[:3]]
    return pd.DataFrame(
        {
            "prefill": prefill,
            "sequences": sizes[0],
            "tokens": sizes[1].where(prefill, 1),
            "context": sizes[2],
            "seconds": seconds,
        }
    )


def _in_seconds(table: pd.DataFrame, *columns: str, unit: float = _US) -> pd.DataFrame:
    columns = columns or ("seconds",)
    table[list(columns)] *= unit
    return table
