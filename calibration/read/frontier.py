"""Tables of Frontier (and, of the same form, Vidur): milliseconds, statistics over repeats.

``measurement_type`` says how a time was taken: CUDA_EVENT includes the gaps between launches
(10 to 50 us for a small kernel), KERNEL_ONLY does not. The head size is not in the tables (hidden
size over heads is wrong for some of the models).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mltwin.sim.errors import InputError

from .checked import positive_numbers, table_of, whole_numbers

_MS = 1e-3
_TIME = "time_stats.{}.median"
_SHAPE = ("batch_size", "prefill_chunk_size", "kv_cache_size", "n_q_head", "n_kv_head")
_TP = "num_tensor_parallel_workers"


def read_frontier_attention(path: Path) -> pd.DataFrame:
    """One attention call of a layer, with its sizes as sums.

    Columns kind (``prefill``, ``decode``, ``mixed``); of its prompts chunks, prefill_tokens,
    pairs (causal, with cached tokens), longest_chunk; of its decodes decodes, context (tokens
    attended, with the one being made), longest; heads and kv_heads on this GPU, tp, backend,
    launches (True: the gaps between launches are included); prefill_s, decode_s (NaN where the
    call has no such half: the two are kernels of their own) and cache_s (writing the KV cache,
    NaN where not measured).

    QUIRK: rows that the file calls mixed (``is_mixed_batch``) hold prompts of unequal lengths,
    no decodes; those with both say ``is_true_mixed_batch``. QUIRK: an empty half is timed as 0
    or, with events, as 6 us.

    Raises:
        InputError: a column is missing, or a size or time cannot be.
    """
    table = table_of(path, (*_SHAPE, _TP, "is_prefill", *map(_TIME.format, _HALVES)))
    for name in (*_SHAPE, _TP):
        table[name] = whole_numbers(table[name], path, name)
    both = _true(table, "is_true_mixed_batch")
    kind = np.where(both, "mixed", np.where(_true(table, "is_prefill"), "prefill", "decode"))
    both_of = zip(kind, _rows(table), strict=True)
    sizes = [_sizes(row, str(k), path, i) for i, (k, row) in enumerate(both_of)]
    result = pd.DataFrame(sizes, columns=_SIZES)
    result.insert(0, "kind", kind)
    split = table[_TP].clip(lower=1)
    result["heads"] = table["n_q_head"] // split
    result["kv_heads"] = (table["n_kv_head"] // split).clip(lower=1)
    result["tp"] = table[_TP]
    backend = table.get("attention_backend", pd.Series("", index=table.index))
    result["backend"] = backend.astype(str).str.replace("AttentionBackend.", "").str.lower()
    result["launches"] = _launches(table)
    for half, others in (("prefill", "decode"), ("decode", "prefill")):
        column = _TIME.format(f"attn_{half}")
        here = kind != others
        result[f"{half}_s"] = positive_numbers(table[column][here], path, column) * _MS
    result["cache_s"] = _optional(table, "attn_kv_cache_save")
    return result


_HALVES = ("attn_prefill", "attn_decode")
_SIZES = ["chunks", "prefill_tokens", "pairs", "longest_chunk", "decodes", "context", "longest"]


def _rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(k): v for k, v in row.items()} for row in table.to_dict("records")]


def _sizes(row: dict[str, Any], kind: str, path: Path, index: int) -> tuple[int, ...]:
    """The row's ``_SIZES``."""
    chunks: list[int] = []
    before: list[int] = []
    cached: list[int] = []
    batch, chunk, kv = (int(row[name]) for name in _SHAPE[:3])
    if kind == "mixed":
        chunks = _list(row, "prefill_seq_lens", path, index)
        before = _list(row, "prefill_kv_cache_sizes", path, index)
        cached = _list(row, "decode_kv_cache_sizes", path, index)
        if len(chunks) != len(before):
            raise InputError(
                f"{len(chunks)} prompts with {len(before)} cached contexts",
                where=f"{path}, line {index + 2}",
            )
    elif kind == "prefill":
        chunks = [chunk] * batch if chunk > 0 else _list(row, "seq_lens", path, index)
        before = [kv] * len(chunks)
    else:
        cached = [kv] * batch
    attended = [c + 1 for c in cached]
    pairs = sum(c * b + c * (c + 1) // 2 for c, b in zip(chunks, before, strict=True))
    return (
        len(chunks), sum(chunks), pairs, max(chunks, default=0),
        len(attended), sum(attended), max(attended, default=0),
    )  # fmt: skip


def _list(row: dict[str, Any], name: str, path: Path, index: int) -> list[int]:
    try:
        values = json.loads(row[name])
        return [int(v) for v in values]
    except (KeyError, TypeError, ValueError):
        raise InputError(
            f"{name!r} is {row.get(name)!r}",
            where=f"{path}, line {index + 2}",
            mend="give a list of whole numbers, e.g. [64, 32]",
        ) from None


def _true(table: pd.DataFrame, name: str) -> "pd.Series[bool]":
    if name not in table:
        return pd.Series(False, index=table.index)
    return table[name].astype(str).str.lower().isin(("true", "1", "1.0"))


def _launches(table: pd.DataFrame) -> "pd.Series[bool]":
    """Whether times include the gaps between launches; older tables are of events alone."""
    if "measurement_type" not in table:
        return pd.Series(True, index=table.index)
    return table["measurement_type"].astype(str) != "KERNEL_ONLY"


def _optional(table: pd.DataFrame, operator: str) -> "pd.Series[float]":
    """Seconds of an operator, NaN where it was not measured (no column, empty or 0)."""
    column = _TIME.format(operator)
    if column not in table:
        return pd.Series(np.nan, index=table.index)
    values = pd.to_numeric(table[column], errors="coerce")
    return values.where(values > 0) * _MS


def read_frontier_experts(path: Path) -> pd.DataFrame:
    """One rank's experts.

    Columns tokens, hidden, width (of an expert on this GPU), experts, chosen, ep, tp, load_cv
    (standard deviation over mean of the tokens an expert gets; NaN where not recorded), launches,
    seconds (the grouped GEMMs), gate_s (router and top-k) and shuffle_s.
    """
    names = {
        "num_tokens": "tokens",
        "hidden_dim": "hidden",
        "expert_hidden_dim": "width",
        "num_experts": "experts",
        "router_topk": "chosen",
        "expert_parallel_size": "ep",
        _TP: "tp",
    }
    time = _TIME.format("moe_grouped_gemm")
    table = table_of(path, (*names, time))
    result = pd.DataFrame(
        {ours: whole_numbers(table[theirs], path, theirs) for theirs, ours in names.items()}
    )
    result["width"] = result["width"] // result["tp"].clip(lower=1)
    cv = table.get("load_imbalance_cv")
    result["load_cv"] = np.nan if cv is None else pd.to_numeric(cv, errors="coerce")
    result["launches"] = _launches(table)
    result["seconds"] = positive_numbers(table[time], path, time) * _MS
    gates = [_optional(table, f"moe_gating{part}") for part in ("", "_linear", "_routing_topk")]
    result["gate_s"] = pd.concat(gates, axis=1).sum(axis=1, min_count=1)
    result["shuffle_s"] = _optional(table, "moe_shuffling")
    return result


def read_frontier_linear(path: Path) -> pd.DataFrame:
    """The other operators of a layer (Frontier's linear_op.csv, Vidur's mlp.csv), one row each.

    Columns operator (the file's name of it, e.g. ``attn_pre_proj``), tokens, tp, hidden, width
    (of the feed-forward, before it is split), heads, kv_heads (of the whole model), vocabulary,
    gated, launches, seconds. Operators that a model lacks, and times of 0 (below the clock's
    microsecond), are left out.
    """
    names = {
        "num_tokens": "tokens",
        _TP: "tp",
        "n_embd": "hidden",
        "n_expanded_embd": "width",
        "n_head": "heads",
        "n_kv_head": "kv_heads",
        "vocab_size": "vocabulary",
    }
    table = table_of(path, (*names, "use_gated_mlp"))
    base = pd.DataFrame(
        {ours: whole_numbers(table[theirs], path, theirs) for theirs, ours in names.items()}
    )
    base["gated"], base["launches"] = _true(table, "use_gated_mlp"), _launches(table)
    medians = _medians(table)
    parts = []
    for operator in (c.split(".")[1] for c in medians):
        part = base.assign(seconds=_optional(table, operator)).dropna(subset=["seconds"])
        part.insert(0, "operator", operator)
        parts.append(part)
    if not parts:
        raise InputError("no column time_stats.<operator>.median", where=str(path))
    return pd.concat(parts, ignore_index=True)


def _medians(table: pd.DataFrame) -> list[str]:
    names = [str(c) for c in table.columns]
    return [c for c in names if c.startswith("time_stats.") and c.endswith(".median")]


def read_node_collective(path: Path) -> pd.DataFrame:
    """Columns op, gpus, per_node (GPUs of one node that take part), size_bytes, seconds.

    Seconds are medians over a point's repeats: all-reduces on A100 nodes have outliers of 20 to
    150 %. Vidur's network tables have the same form.
    """
    names = {"num_workers": "gpus", "devices_per_node": "per_node", "size": "size_bytes"}
    table = table_of(path, tuple(names))
    found = _medians(table)
    if len(found) != 1:
        raise InputError(
            f"{len(found)} columns time_stats.<collective>.median", where=str(path), mend="give one"
        )
    result = pd.DataFrame(
        {ours: whole_numbers(table[theirs], path, theirs) for theirs, ours in names.items()}
    )
    result.insert(0, "op", found[0].split(".")[1])
    result["seconds"] = positive_numbers(table[found[0]], path, found[0]) * _MS
    return result
