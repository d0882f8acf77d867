"""Which measured tables make which model of collectives, and its errors on rows held out."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from mltwin.models.network.nccl import CollectiveModel, Origin

from . import read
from .fit.nccl import binned, count_errors, fit_law, size_errors


@dataclass(frozen=True)
class Table:
    """One measured file.

    Attributes:
        file: under ``kernels/``.
        version: of the software.
        form: ``nccl``, ``vllm`` (its own all-reduce), ``node`` (Vidur's form) or ``apex``.
    """

    file: str
    version: str
    form: str


def _nccl(system: str, version: str) -> Table:
    return Table(f"aiconfigurator/{system}/comm/nccl-{version}/nccl_perf.csv", version, "nccl")


def _vllm(system: str, version: str) -> Table:
    file = f"aiconfigurator/{system}/comm/vllm-{version}/custom_allreduce_perf.csv"
    return Table(file, version, "vllm")


def _apex(system: str, *names: str) -> tuple[Table, ...]:
    return tuple(Table(f"apex_plus/comm/{system}/{name}.csv", "", "apex") for name in names)


_V100 = ("all_reduce", "all_gather", "reduce_scatter", "alltoall", "sendrecv")
MODELS: dict[str, tuple[Table, ...]] = {
    "h100-sxm": (
        _nccl("h100_sxm", "2.29.2"),
        _vllm("h100_sxm", "0.24.0"),
        Table("vidur/network/h100_dgx/send_recv.csv", "", "node"),
    ),
    "a100-sxm": (
        _nccl("a100_sxm", "2.27.3"),
        _vllm("a100_sxm", "0.14.0"),
        Table("vidur/network/a100_dgx/send_recv.csv", "", "node"),
        Table("vidur/network/a100_dgx/all_reduce.csv.gz", "", "node"),
    ),
    "b200-sxm": (_nccl("b200_sxm", "2.29.2"), _vllm("b200_sxm", "0.24.0")),
    "gb200": (_nccl("gb200", "2.29.2"), _vllm("gb200", "0.24.0")),
    "l40s": (_nccl("l40s", "2.27.3"), _vllm("l40s", "0.22.0")),
    "rtx-pro-6000": (
        _nccl("rtx_pro_6000_server", "2.29.2"),
        _vllm("rtx_pro_6000_server", "0.24.0"),
    ),
    "a100-pairwise-nvlink": (
        Table("vidur/network/a100_pairwise_nvlink/all_reduce.csv.gz", "", "node"),
        Table("vidur/network/a100_pairwise_nvlink/send_recv.csv", "", "node"),
    ),
    "a800-pairwise-nvlink": (
        Table("frontier/network/a800_pairwise_nvlink/all_reduce.csv.gz", "", "node"),
    ),
    "v100-pcie": _apex("V100-PCIE-16GB", *_V100),
}
"""Models that ship with the package. Where two tables hold the same collective the first counts."""
OTHERS = (
    _nccl("h100_sxm", "2.23"),
    _nccl("h100_sxm", "2.27.3"),
    _nccl("b200_sxm", "2.27.3"),
    _nccl("gb200", "2.23"),
    Table("vidur/network/h100_dgx/all_reduce.csv.gz", "", "node"),
    *_apex("H100-SXM-80GB", *_V100),
)
"""Further tables of collectives; they are scored but make no model."""


@dataclass(frozen=True)
class CollectiveCase:
    """The measured rows of one collective of one table, inside a node or across nodes.

    Attributes:
        model: a key of :data:`MODELS`, or empty.
        table: where the rows are from.
        law: key in :attr:`~mltwin.models.network.nccl.CollectiveModel.laws`.
        kind: of the collective.
        rows: columns gpus, nodes, size_bytes, seconds.
    """

    model: str
    table: Table
    law: str
    kind: str
    rows: pd.DataFrame

    @property
    def across(self) -> bool:
        """Whether it is of several nodes."""
        return self.law.endswith(".across")


def collective_cases(data: str | Path, model: str | None = None) -> Iterator[CollectiveCase]:
    """All cases of a model, or (None) of every table.

    Args:
        data: the folder that holds ``kernels/``.

    Raises:
        InputError: a table is missing or cannot be read.
    """
    named = MODELS if model is None else {model: MODELS[model]}
    tables = [(name, table) for name, parts in named.items() for table in parts]
    if model is None:
        tables += [("", table) for table in OTHERS]
    for name, table in tables:
        rows = _rows(read.source_path(data, table.file), table.form)
        library = "vllm" if table.form == "vllm" else "nccl"
        for (kind, far), part in rows.groupby(["op", rows["nodes"] > 1], sort=True):
            law = f"{library}.{kind}" + (".across" if far else "")
            columns = part[["gpus", "nodes", "size_bytes", "seconds"]].reset_index(drop=True)
            yield CollectiveCase(name, table, law, str(kind), columns)


def _rows(path: Path, form: str) -> pd.DataFrame:
    if form == "nccl":
        return read.read_nccl(path).assign(nodes=1)
    if form == "vllm":
        return read.read_all_reduce(path).assign(op="all_reduce", nodes=1)
    if form == "node":
        table = read.read_node_collective(path)
    else:
        # A NaN is a size below 1 KiB that the file does not tell.
        table = read.read_apex_collective(path).dropna(subset=["size_bytes"])
    return table.assign(nodes=table["gpus"] // table["per_node"])


def build_collectives(data: str | Path, model: str) -> CollectiveModel:
    """The model fitted to all rows of its tables, with the errors that fits without some of them
    have on those."""
    laws, origin = {}, []
    for case in collective_cases(data, model):
        if case.law in laws:
            continue
        laws[case.law] = fit_law(binned(case.rows), case.kind)
        origin.append(
            Origin(
                law=case.law,
                file=case.table.file,
                sha256=read.sha256(read.source_path(data, case.table.file)),
                version=case.table.version,
                rows=len(case.rows),
                sizes_pct=median_pct(size_errors(case.rows, case.kind)),
                counts_pct=median_pct(count_errors(case.rows, case.kind)),
            )
        )
    return CollectiveModel(model, laws, tuple(origin))


def median_pct(errors: pd.DataFrame) -> float | None:
    """Median of the absolute errors, percent; None of none."""
    if errors.empty:
        return None
    return round(float(np.median(np.abs(errors["error"].to_numpy(float)))) * 100, 2)


def refit_collectives(data: str | Path, folder: str | Path) -> list[Path]:
    """Writes every model of :data:`MODELS` as JSON into ``folder``; returns the files."""
    written = []
    for name in MODELS:
        path = Path(folder) / f"collectives-{name}.json"
        path.write_text(build_collectives(data, name).to_json(), encoding="utf-8")
        written.append(path)
    return written
