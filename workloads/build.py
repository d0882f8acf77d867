"""From checked columns to a `Trace`: origin of time, order, tenants, blocks. Shared by readers."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .table import DEFAULTS, MAX_TIME, Trace
from .tabular import Table
from .values import Instants, Ragged

Origin = Literal["zero", "first"] | tuple[int, int]


def build(
    table: Table,
    *,
    origin: Origin,
    sort: bool = False,
    name: str | None = None,
    block_tokens: int = 0,
    meta: Mapping[str, Any] | None = None,
) -> Trace:
    """A trace from columns labelled as in `Trace` (`tenant` as names, `blocks` as lists of ids).

    `origin`: `zero` takes times as they stand, `first` counts from the earliest, a pair (whole
    units, ticks) counts from that moment. Times must not go back unless `sort`.
    """
    if "blocks" in table:
        _check_blocks(table, block_tokens)
    arrival, found = arrivals(table, origin)
    if not table.rows:
        raise table.source.error("no requests to use", mend="give a file with requests")
    arrival, found = _ordered(table, arrival, found, sort)
    tenant, tenants = dense_names(table["tenant"]) if "tenant" in table else (None, None)
    blocks = table["blocks"] if "blocks" in table else Ragged(*[np.zeros(0, np.int64)] * 2)
    optional = {label: table[label] for label in DEFAULTS if label in table and label != "tenant"}
    table.rejects.write()
    return Trace.make(
        arrival,
        table["prompt"],
        table["output"],
        tenant=tenant,
        tenants=tenants,
        **optional,
        block_count=blocks.widths if "blocks" in table else None,
        block_ids=blocks.flat,
        block_tokens=block_tokens if "blocks" in table else 0,
        name=name or table.source.stem,
        source=table.source.path.name,
        meta={**found, **(meta or {}), **table.rejects.meta()},
    )


def arrivals(table: Table, origin: Origin) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Ticks of the `arrival` column and what to say about its origin.

    Rows before the origin or more than `MAX_TIME` after it are refused.
    """
    times: Instants = table["arrival"]
    if not times.whole.size:
        return times.whole, {}
    start = _start(times, origin)
    ticks = times.ticks_from(*start)
    why = f"is not within 0 to {MAX_TIME / 1e12 / 86_400:.0f} days of the start of the trace"
    mend = "correct the time, or take the first request as the start with origin='first'"
    good = (ticks >= 0) & (ticks <= MAX_TIME)
    table.require("arrival", good, why, mend, values=_decimal_units(times))
    return ticks[good], {} if start == (0, 0) else {"start": _stated(start, times.places)}


def dense_names(names: NDArray[Any]) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """Names as numbers from 0 in order of first appearance, and the names."""
    import pandas as pd

    codes, unique = pd.factorize(names)
    return codes.astype(np.int32), tuple(str(name) for name in unique)


def _start(times: Instants, origin: Origin) -> tuple[int, int]:
    if isinstance(origin, tuple):
        return origin
    if origin == "zero":
        return 0, 0
    whole = int(times.whole.min())
    return whole, int(times.part[times.whole == whole].min())


def _stated(start: tuple[int, int], places: int) -> str:
    """The origin in the unit of the file, as exact decimal text."""
    whole, part = start
    return f"{whole}.{part:0{places}d}".rstrip("0").rstrip(".") if part else str(whole)


def _decimal_units(times: Instants) -> NDArray[np.float64]:
    return times.whole + times.part / 10.0**times.places


def _ordered(
    table: Table,
    arrival: NDArray[np.int64],
    found: dict[str, Any],
    sort: bool,
) -> tuple[NDArray[np.int64], dict[str, Any]]:
    """Times that do not go back: refused, or sorted with their rows (stable)."""
    back = np.flatnonzero(np.diff(arrival) < 0)
    if not back.size:
        return arrival, found
    if not sort:
        column = table.fields["arrival"].column
        raise table.source.error(
            f"column {column!r} goes back in time at {back.size} of {arrival.size} requests, "
            "here for the first time",
            int(table.lines()[back[0] + 1]),
            "sort the file or pass sort=True",
        )
    order = np.argsort(arrival, kind="stable")
    if "after" in table:
        place = np.full(arrival.size + 1, -1, np.int64)
        place[order] = np.arange(order.size)
        after = table["after"]
        table.columns["after"] = np.where(after < order.size, place[after], after)
    table.keep(order)
    return arrival[order], {**found, "sorted": int(back.size)}


def _check_blocks(table: Table, block_tokens: int) -> None:
    """Refuse rows with more ids than blocks of prompt and output."""
    count = table["blocks"].widths
    most = -(-(table["prompt"] + table["output"]) // block_tokens)
    table.require(
        "blocks",
        count <= most,
        f"block ids are more than prompt and output fill with {block_tokens} tokens a block",
        "pass the block_tokens that the trace was made with",
        values=count,
    )
