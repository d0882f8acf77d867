"""Splitwise's table of whole runs."""

from pathlib import Path

import pandas as pd

from .files import read_columns


def read_splitwise(path: Path) -> pd.DataFrame:
    """Medians over repeats: model, gpu, tp, prompt_tokens, batch, prompt_s, token_s, power.

    ``power`` is the average as a fraction of TDP, NaN where the table holds 0 (not recorded).
    ``e2e_time`` is left out: it stops early at end of text.
    """
    columns = ("model", "hardware", "tensor_parallel", "prompt_size", "batch_size", "token_size")
    frame = read_columns(path, (*columns, "prompt_time", "token_time", "average_power"))
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
