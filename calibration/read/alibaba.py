"""Alibaba's tables: collectives of one training job (AICB), shares of bus bandwidth (SimAI)."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from mltwin.sim.errors import InputError

from .checked import positive_numbers, table_of

_MS = 1e-3


def read_aicb(path: Path) -> pd.DataFrame:
    """Columns op, group (e.g. ``dp_group``), gpus (NaN: not recorded), size_bytes, stage,
    seconds, and first (True: the first call of that kind; the first of a group sets its
    communicator up, which takes seconds).

    Rows without a size or a time (computation, barriers) are left out.
    """
    names = ("comm_type", "comm_group", "comm_group_size", "msg_size", "stage", "_elapsed_time")
    table = table_of(path, names)
    size = pd.to_numeric(table["msg_size"], errors="coerce")
    time = pd.to_numeric(table["_elapsed_time"], errors="coerce")
    table = table[(size > 0) & (time > 0)]
    if table.empty:
        raise InputError("no row with a size and a time", where=str(path))
    result = pd.DataFrame(
        {
            "op": table["comm_type"].astype(str).str.replace("CommType.", ""),
            "group": table["comm_group"].astype(str).str.replace("CommGroup.", ""),
            "gpus": pd.to_numeric(table["comm_group_size"], errors="coerce"),
            "size_bytes": table["msg_size"].astype(float),
            "stage": table["stage"].astype(str),
            "seconds": table["_elapsed_time"].astype(float) * _MS,
        }
    )
    result["first"] = ~result.duplicated(["op", "group", "gpus"])
    return result.reset_index(drop=True)


def read_simai_shares(path: Path) -> pd.DataFrame:
    """Columns column (the file's name of it), gpus (NaN where the name has none), size_bytes,
    share (of the bus bandwidth that is reached); empty cells are left out."""
    table = table_of(path, ("Size",))
    size = positive_numbers(table["Size"], path, "Size")
    parts = []
    for name in table.columns[1:]:
        cells = table[name].dropna()
        if cells.empty:
            continue
        shares = positive_numbers(cells, path, str(name))
        found = re.search(r"(\d+)GPU", str(name))
        parts.append(
            pd.DataFrame(
                {
                    "column": str(name).strip(),
                    "gpus": float(found[1]) if found else np.nan,
                    "size_bytes": size[shares.index],
                    "share": shares,
                }
            )
        )
    if not parts:
        raise InputError("no shares", where=str(path))
    return pd.concat(parts, ignore_index=True)
