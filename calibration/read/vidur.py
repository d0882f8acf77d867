"""Profiles of Vidur: times in milliseconds with a resolution of 1 us."""

from pathlib import Path

import pandas as pd

from .files import read_columns


def read_mlp_activation(path: Path) -> pd.DataFrame:
    """Columns tokens, size_bytes, seconds of the gated activation (Vidur's ``mlp_act``).

    It reads 2 I and writes I numbers of 2 bytes a token, I split over the tensor-parallel GPUs.
    """
    time = "time_stats.mlp_act.median"
    keys = ("num_tokens", "num_tensor_parallel_workers", "n_expanded_embd", "use_gated_mlp")
    frame = read_columns(path, (time, *keys))
    frame = frame[frame["use_gated_mlp"] & (frame[time] > 0)]
    shard = frame["n_expanded_embd"] / frame["num_tensor_parallel_workers"]
    return pd.DataFrame(
        {
            "tokens": frame["num_tokens"],
            "size_bytes": 3 * shard * 2 * frame["num_tokens"],
            "seconds": frame[time] * 1e-3,
        }
    )
