"""Which tables of DeepEP make which model of the experts' all-to-all, and its errors."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mltwin.models.network.collectives_experts import HALVES, ExchangeModel

from . import read
from .fit.exchange import fit_exchange, fit_rdma, rank_errors, shape_errors

SYSTEMS = {"h100-sxm": ("h100_sxm", 8), "b200-sxm": ("b200_sxm", 8), "gb200": ("gb200", 4)}
"""Folder of the tables and ranks of the NVLink domain: a server's GPUs, as the tables' one node."""
FILES = {"ll": "wideep_deepep_ll_perf.csv", "normal": "wideep_deepep_normal_perf.csv.gz"}
VERSION = "sglang-0.5.12"
RDMA = "h800"
MARKDOWN = "deepep/docs/legacy.md"


def build_exchange(data: str | Path, name: str) -> ExchangeModel:
    """The model fitted to all rows of its tables.

    Args:
        data: the folder that holds ``kernels/``.
        name: a key of :data:`SYSTEMS`, or :data:`RDMA`, DeepEP's own figures over several nodes.

    Raises:
        InputError: a table is missing or cannot be read.
    """
    if name == RDMA:
        return _rdma(data)
    folder, ranks = SYSTEMS[name]
    laws, origin = {}, []
    for mode, file in FILES.items():
        relative = f"aiconfigurator/{folder}/comm/{VERSION}/{file}"
        path = read.source_path(data, relative)
        rows = read.read_deepep(path)
        for half in HALVES:
            laws[f"{half}.{mode}"] = fit_exchange(rows, half, ranks)
            errors = shape_errors(rows, half, ranks)
            origin.append(_entry(f"{half}.{mode}", relative, path, len(rows), errors))
    return ExchangeModel(name, laws, {}, tuple(origin))


def _entry(key: str, relative: str, path: Path, rows: int, errors: "np.ndarray") -> dict[str, Any]:
    return {
        "law": key,
        "file": relative,
        "sha256": read.sha256(path),
        "rows": rows,
        "median_pct": round(float(np.median(np.abs(errors))) * 100, 2),
    }


def rdma_rows(path: Path) -> pd.DataFrame:
    """DeepEP's own tables with ``mode``: rows that name a link are of normal kernels, of which
    only those over RDMA are kept; those that give seconds are of low-latency ones."""
    table = read.read_deepep_markdown(path)
    table = table.assign(mode=np.where(table["seconds"].notna(), "ll", "normal"))
    return table[(table["mode"] == "ll") | (table["link"] == "RDMA")]


def _rdma(data: str | Path) -> ExchangeModel:
    path = read.source_path(data, MARKDOWN)
    rates, origin = {}, []
    for (half, mode), rows in rdma_rows(path).groupby(["op", "mode"], sort=True):
        key = f"{half}.{mode}"
        rates[key] = fit_rdma(rows)
        origin.append(_entry(key, MARKDOWN, path, len(rows), rank_errors(rows)))
    return ExchangeModel(RDMA, {}, rates, tuple(origin))


def refit_exchanges(data: str | Path, folder: str | Path) -> list[Path]:
    """Writes every model as JSON into ``folder``; returns the files."""
    written = []
    for name in (*SYSTEMS, RDMA):
        path = Path(folder) / f"exchange-{name}.json"
        path.write_text(build_exchange(data, name).to_json(), encoding="utf-8")
        written.append(path)
    return written
