"""DeepEP, the exchange of tokens between experts: measured tables, and its authors' Markdown."""

import re
from pathlib import Path

import pandas as pd

from mltwin.sim.errors import InputError

from .checked import positive_numbers, table_of, whole_numbers

_US = 1e-6
_CELL = {"us": ("seconds", 1e-6), "GB/s": ("bandwidth", 1e9)}


def read_deepep(path: Path) -> pd.DataFrame:
    """aiconfigurator's ``wideep_deepep_*`` tables (microseconds).

    Columns mode (``ll``: low latency, for decodes; ``normal``), nodes, hidden, tokens (of one
    rank), chosen, experts, sms (given to the exchange; 0 where it does not matter), dispatch_s and
    combine_s, which hold the notification of sizes where that is apart.
    """
    names = {
        "op_name": "mode",
        "node_num": "nodes",
        "hidden_size": "hidden",
        "num_token": "tokens",
        "num_topk": "chosen",
        "num_experts": "experts",
    }
    table = table_of(path, tuple(names))
    result = pd.DataFrame({"mode": table["op_name"].astype(str)})
    for theirs, ours in names.items():
        if ours != "mode":
            result[ours] = whole_numbers(table[theirs], path, theirs)
    sms = table.get("dispatch_sms", pd.Series(0, index=table.index))
    result["sms"] = whole_numbers(sms, path, "dispatch_sms")
    for half in ("dispatch", "combine"):
        column = f"{half}_avg_t_us" if f"{half}_avg_t_us" in table else f"{half}_transmit_us"
        if column not in table:
            raise InputError(f"column {column!r} is missing", where=str(path))
        notify = table.get(f"{half}_notify_us", 0.0)
        result[f"{half}_s"] = (positive_numbers(table[column], path, column) + notify) * _US
    return result


def read_deepep_markdown(path: Path) -> pd.DataFrame:
    """The tables of DeepEP's documents that name a bandwidth: one row for dispatch or combine.

    Columns op, ranks (of expert parallelism), link (``NVLink`` or ``RDMA``, empty where the
    table's head says it), seconds (NaN where not given), bandwidth (bytes a second).

    Raises:
        InputError: no such table.
    """
    found: list[dict[str, object]] = []
    head: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        cells = [c.strip() for c in line.strip().strip("|").split("|")]
        if not line.strip().startswith("|"):
            head = []
        elif not head:
            head = cells
        elif len(cells) == len(head):
            found.extend(_halves(head, cells))
    if not found:
        raise InputError("no table of dispatch and combine", where=str(path))
    return pd.DataFrame(found, columns=["op", "ranks", "link", "seconds", "bandwidth"])


def _halves(head: list[str], cells: list[str]) -> list[dict[str, object]]:
    """The dispatch and the combine of one line: a value belongs to the last of the two named, or
    to the one its own heading names."""
    rows: dict[str, dict[str, object]] = {}
    ranks: int | None = None
    op = ""
    for name, cell in zip(head, cells, strict=True):
        for word in ("dispatch", "combine"):
            if word in name.lower():
                op = word
        size = re.fullmatch(r"(?:EP )?(\d+)(?: x (\d+))?", cell)
        if size and ("ep" in name.lower() or "topo" in name.lower()):
            ranks = int(size[1]) * int(size[2] or 1)
        value = re.match(r"([\d.]+) (us|GB/s)(?: \((\w+)\))?", cell)
        if value and op:
            row = rows.setdefault(op, {"op": op, "ranks": ranks, "link": ""})
            key, unit = _CELL[value[2]]
            row[key], row["link"] = float(value[1]) * unit, value[3] or row["link"]
    return [row for row in rows.values() if "bandwidth" in row and row["ranks"]]
