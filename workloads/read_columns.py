"""Any CSV, JSON lines or Parquet file by a map of its columns; our own form among them.

Our own form (`Trace.to_csv`, `Trace.to_jsonl`) has the columns `arrival_s, prompt, output, tenant,
session, priority, after, delay_s, timeout_s, block_ids, block_tokens`, all but the first three
optional, times as exact decimals.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError

from .build import build
from .from_csv import read_csv
from .from_jsonl import read_jsonl
from .lengths_only import with_arrivals
from .read_mooncake import session_numbers
from .read_parquet import is_parquet, read_parquet
from .source import Source
from .table import MAX_PRIORITY, MAX_ROWS, MAX_TOKENS, Trace
from .tabular import Field, Rejects, Table
from .values import UNITS, Count, Ids, Kind, Stamp, Text, Time

# Forms with other names for the same columns: (map, unit of times).
FORMS: dict[str, tuple[dict[str, str], str]] = {
    "llmservingsim": (
        {"arrival": "arrival_time_ns", "prompt": "input_toks", "output": "output_toks"},
        "ns",
    ),
    "apex": (
        {"arrival": "StartTimeOffset", "prompt": "ContextTokens", "output": "GeneratedTokens"},
        "ns",
    ),
    "lengths": ({"prompt": "input_length", "output": "output_length"}, "s"),
}

_PLAIN: dict[str, Kind] = {
    "prompt": Count(),
    "output": Count(),
    "tenant": Text(blank="unknown"),
    "session": Text(),
    "priority": Count(-MAX_PRIORITY, MAX_PRIORITY),
    "after": Count(-1, MAX_ROWS),
    "blocks": Ids(),
}
_TIMES = ("arrival", "delay", "timeout")

OWN: dict[str, Field] = {
    "arrival": Field("arrival_s", Time("s")),
    "prompt": Field("prompt", Count()),
    "output": Field("output", Count()),
    "tenant": Field("tenant", Text(), optional=True),
    "session": Field("session", Count(-1, MAX_ROWS), optional=True),
    "priority": Field("priority", Count(-MAX_PRIORITY, MAX_PRIORITY), optional=True),
    "after": Field("after", Count(-1, MAX_ROWS), optional=True),
    "delay": Field("delay_s", Time("s"), optional=True),
    "timeout": Field("timeout_s", Time("s"), optional=True),
    "blocks": Field("block_ids", Ids(), optional=True),
    "block_tokens": Field("block_tokens", Count(0, MAX_TOKENS), optional=True),
}


def read_columns(
    source: Source,
    rejects: Rejects,
    *,
    columns: Mapping[str, str] | None = None,
    unit: str | Mapping[str, str] = "s",
    origin: str = "zero",
    block_tokens: int = 0,
    sort: bool = False,
    arrivals: Mapping[str, Any] | None = None,
    seed: int = 0,
) -> Trace:
    """A trace from named columns.

    Args:
        source: a CSV, JSON lines or Parquet file.
        rejects: what becomes of lines that do not fit.
        columns: our name -> the file's, e.g. `{"arrival": "ts", "prompt": "in", "output": "out"}`;
            ours are arrival, prompt, output, tenant, session, priority, after, delay, timeout,
            blocks. None: the file is in our own form.
        unit: of the times: s, ms, us, ns, ps, or iso (date and time, for arrival); one for all or
            one for each, e.g. `{"arrival": "iso", "delay": "ms"}`.
        origin: `zero` takes arrivals as they stand, `first` counts from the first one (always so
            with iso).
        block_tokens: tokens of a prefix block, needed with blocks.
        sort: sort by arrival instead of refusing.
        arrivals: an arrival process (`workloads.arrivals`) in place of an arrival column.
        seed: for that process.
    """
    if columns is None:
        fields = OWN
    else:
        fields = _fields(columns, unit, block_tokens, arrivals is not None)
    if columns is None and arrivals is not None:
        fields = {label: field for label, field in OWN.items() if label in ("prompt", "output")}
    if origin not in ("zero", "first"):
        raise InputError(f"origin = {origin!r} is unknown", mend="use 'zero' or 'first'")
    table = _read(source, fields, rejects)
    if arrivals is not None or "arrival" not in table:
        return with_arrivals(table, arrivals, seed)
    if columns is None:
        block_tokens = _own(table)
    elif "session" in table:
        table.columns["session"] = session_numbers(table["session"])
    if "after" in table and rejects.count:
        raise source.error(
            f"{rejects.count} {rejects.unit}s do not fit and cannot be skipped where requests "
            "release one another",
            mend="correct them",
        )
    for label in ("delay", "timeout"):
        if label in table:
            table.columns[label] = table[label].ticks_from(0)
    iso = columns is not None and _unit(unit, "arrival") == "iso"
    return build(
        table,
        origin="first" if iso or origin == "first" else "zero",
        sort=sort,
        block_tokens=block_tokens,
    )


def _read(source: Source, fields: Mapping[str, Field], rejects: Rejects) -> Table:
    if is_parquet(source):
        return read_parquet(source, fields, rejects)
    head = source.head(1)
    jsonl = bool(head) and head[0].lstrip().startswith("{")
    return (read_jsonl if jsonl else read_csv)(source, fields, rejects)


def _fields(
    columns: Mapping[str, str],
    unit: str | Mapping[str, str],
    block_tokens: int,
    no_times: bool,
) -> dict[str, Field]:
    known = (*_TIMES, *_PLAIN)
    for label in columns:
        if label not in known:
            raise InputError(
                f"{label!r} is no column of a trace",
                where="columns",
                mend=f"use {', '.join(known)}",
            )
    for label in ("prompt", "output"):
        if label not in columns:
            raise InputError(f"{label!r} is not mapped", where="columns", mend="name its column")
    if "blocks" in columns and not 1 <= block_tokens <= MAX_TOKENS:
        raise InputError("blocks need block_tokens, the size of a block", where="columns")
    fields: dict[str, Field] = {}
    for label, column in columns.items():
        if label == "arrival" and no_times:
            continue
        fields[label] = Field(column, _PLAIN.get(label) or _time(label, _unit(unit, label)))
    return fields


def _unit(unit: str | Mapping[str, str], label: str) -> str:
    return unit if isinstance(unit, str) else unit.get(label, "s")


def _time(label: str, unit: str) -> Kind:
    if unit == "iso":
        return Stamp() if label == "arrival" else Time("s")
    if unit not in UNITS:
        raise InputError(
            f"unit {unit!r} of {label} is unknown",
            where="unit",
            mend="use s, ms, us, ns, ps or iso",
        )
    return Time(unit)


def _own(table: Table) -> int:
    """The block size of a file in our own form; tenant names lose their guard."""
    if "tenant" in table:
        names = table["tenant"]
        guarded = [name[1:] if name.startswith("'") else name for name in names]
        table.columns["tenant"] = np.array(guarded, dtype=object)
    if "blocks" not in table:
        return int(table["block_tokens"][0]) if "block_tokens" in table else 0
    if "block_tokens" not in table:
        raise table.source.error(
            "has block_ids but no block_tokens", mend="add a column with the size of a block"
        )
    sizes = table["block_tokens"]
    same = (sizes == sizes[0]) & (sizes > 0)
    why = "is 0, or differs from the first one"
    table.require("block_tokens", same, why, "use one block size")
    return int(sizes[0])
