"""Tables of APEX+: collectives on V100 and H100 nodes, GEMMs on a V100.

Most times are whole microseconds there: 20 us is known to 2.5 % at best. Small GEMMs hold a
launch of 11 to 14 us.
"""

from pathlib import Path

import numpy as np
import pandas as pd

from mltwin.sim.errors import InputError

from .checked import read_checked

_US = 1e-6
_OPERATORS = {"alltoall": "all_to_all", "sendrecv": "send_recv"}
_MOST_GPUS = 16
_TYPES = {"half": "float16", "float": "float32", "bfloat16": "bfloat16"}


def read_apex_collective(path: Path) -> pd.DataFrame:
    """Columns op (from the file's name), gpus, per_node, dtype, size_bytes, seconds.

    Sizes are whole KiB; those below 1 KiB (0 in the file) are NaN. Unlike NCCL's tests a row may
    be of 2-byte or 4-byte numbers: see ``dtype``. QUIRK: in one file the last block of rows has the
    size in the column of the GPUs per node, and the GPUs in that of the size; a run of rows with
    more than 16 GPUs per node is therefore read with the two exchanged.
    """
    names = {
        "num_nodes": "nodes",
        "num_gpus_per_node": "per_node",
        "dtype": "dtype",
        "size(kb)": "size_bytes",
        "time(us)": "seconds",
    }
    counts = ("nodes", "per_node", "size_bytes")
    table = read_checked(path, names, positive=("seconds",), counts=counts)
    table = _unswapped(table)
    name = path.name.split(".")[0]
    return pd.DataFrame(
        {
            "op": _OPERATORS.get(name, name),
            "gpus": table["nodes"] * table["per_node"],
            "per_node": table["per_node"],
            "dtype": _types(table["dtype"], path),
            "size_bytes": (table["size_bytes"] * 1024.0).replace(0.0, np.nan),
            "seconds": table["seconds"] * _US,
        }
    )


def read_apex_gemm(path: Path) -> pd.DataFrame:
    """Columns dtype, m, n, k, seconds of y[m, n] = x[m, k] W[k, n]."""
    names = {"dtype": "dtype", "m": "m", "n": "n", "k": "k", "time(us)": "seconds"}
    table = read_checked(path, names, positive=("seconds",), counts=("m", "n", "k"))
    return table.assign(dtype=_types(table["dtype"], path), seconds=table["seconds"] * _US)


def _unswapped(table: pd.DataFrame) -> pd.DataFrame:
    """Exchanges size and GPUs per node in runs of rows (of one size and number of nodes) in which
    a node would have more GPUs than exist."""
    fixed = table[["nodes", "size_bytes"]]
    run = (fixed != fixed.shift()).any(axis=1).cumsum()
    wrong = table.groupby(run)["per_node"].transform("max") > _MOST_GPUS
    size = table["per_node"].where(wrong, table["size_bytes"])
    return table.assign(
        per_node=table["size_bytes"].where(wrong, table["per_node"]), size_bytes=size
    )


def _types(values: "pd.Series[str]", path: Path) -> "pd.Series[str]":
    known = values.map(_TYPES)
    unknown = np.flatnonzero(known.isna())
    if len(unknown):
        raise InputError(
            f"'dtype' is {values.iloc[unknown[0]]!r}",
            where=f"{path}, line {unknown[0] + 2}",
            mend=f"use one of {sorted(_TYPES)}",
        )
    return known
