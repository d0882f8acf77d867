"""`Trace`: the one typed table of requests that every reader, generator and transform yields.

Time is int64 ticks of 1 ps (`mltwin.sim.ticks`) from the trace's start, lengths are tokens.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import NEVER, TICKS_PER_S, seconds

from .blocks import canonical, pack, prefix_hits

if TYPE_CHECKING:
    import pandas as pd

MAX_TOKENS = 1 << 24
# int64 picoseconds end at 106.75 days; a request must also come a day before NEVER at the latest.
MAX_TIME = min(106 * 86_400 * TICKS_PER_S, NEVER - 86_400 * TICKS_PER_S)
MAX_ROWS = (1 << 31) - 1
MAX_PRIORITY = 1 << 20

# Column, type, least and greatest value, value where none is given. Order is that of the digest.
_COLUMNS: tuple[tuple[str, type[np.signedinteger], int, int, int | None], ...] = (
    ("arrival", np.int64, 0, MAX_TIME, None),
    ("prompt", np.int32, 1, MAX_TOKENS, None),
    ("output", np.int32, 1, MAX_TOKENS, None),
    ("tenant", np.int32, 0, MAX_ROWS, 0),
    ("session", np.int32, -1, MAX_ROWS, -1),
    ("priority", np.int32, -MAX_PRIORITY, MAX_PRIORITY, 0),
    ("after", np.int32, -1, MAX_ROWS, -1),
    ("delay", np.int64, 0, MAX_TIME, 0),
    ("timeout", np.int64, 0, MAX_TIME, 0),
)
COLUMNS = tuple(name for name, *_ in _COLUMNS)
DEFAULTS = {name: default for name, _, _, _, default in _COLUMNS if default is not None}


@dataclass(frozen=True, eq=False, repr=False)
class Trace:
    """n requests, sorted by arrival, ties in line order. Make one with `Trace.make`.

    The arrays are contiguous and read-only: `.copy()` one to change it.

    Attributes:
        arrival: int64[n], ticks from the trace's start, >= 0, non-decreasing.
        prompt, output: int32[n], tokens, >= 1.
        tenant: int32[n], index into `tenants`.
        session: int32[n], conversation the request belongs to, -1: none.
        priority: int32[n], larger is more urgent.
        after: int32[n], index of the request whose completion releases this one; -1: it comes at
            `arrival`. Where >= 0, `arrival` is nominal (order, windows).
        delay: int64[n], ticks of think time after that completion.
        timeout: int64[n], ticks after which the client gives up, 0: never.
        block_start, block_count: int64[n] and int32[n]; the request's prefix blocks are
            `block_ids[block_start : block_start + block_count]`.
        block_ids: int32[m], numbered from 0 by first appearance. The first `prompt // block_tokens`
            of a request are full prompt blocks, the others hold the prompt's end and the output.
        block_tokens: tokens of a block, 0: no prefix information.
    """

    arrival: NDArray[np.int64]
    prompt: NDArray[np.int32]
    output: NDArray[np.int32]
    tenant: NDArray[np.int32]
    session: NDArray[np.int32]
    priority: NDArray[np.int32]
    after: NDArray[np.int32]
    delay: NDArray[np.int64]
    timeout: NDArray[np.int64]
    block_start: NDArray[np.int64]
    block_count: NDArray[np.int32]
    block_ids: NDArray[np.int32]
    block_tokens: int
    tenants: tuple[str, ...]
    name: str
    source: str
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        arrival: ArrayLike,
        prompt: ArrayLike,
        output: ArrayLike,
        *,
        tenant: ArrayLike | None = None,
        session: ArrayLike | None = None,
        priority: ArrayLike | None = None,
        after: ArrayLike | None = None,
        delay: ArrayLike | None = None,
        timeout: ArrayLike | None = None,
        block_start: ArrayLike | None = None,
        block_count: ArrayLike | None = None,
        block_ids: ArrayLike | None = None,
        block_tokens: int = 0,
        tenants: Sequence[str] | None = None,
        name: str = "trace",
        source: str = "",
        meta: Mapping[str, Any] | None = None,
        sort: bool = False,
    ) -> "Trace":
        """A checked table. `sort=True` sorts by arrival (stable) instead of refusing.

        `block_start` may be left out where the lists follow one another in `block_ids`.
        Raises InputError naming the request (counted from 0), the column and the value.
        """
        given = {
            "arrival": arrival,
            "prompt": prompt,
            "output": output,
            "tenant": tenant,
            "session": session,
            "priority": priority,
            "after": after,
            "delay": delay,
            "timeout": timeout,
        }
        n = int(np.asarray(arrival).size)
        if n > MAX_ROWS:
            raise InputError(f"{n} requests are too many", where=name, mend="split the trace")
        columns = {
            label: _column(name, label, given[label], dtype, low, high, default, n)
            for label, dtype, low, high, default in _COLUMNS
        }
        starts, counts, ids = _blocks(name, block_start, block_count, block_ids, n)
        if sort:
            order = np.argsort(columns["arrival"], kind="stable")
            columns = _reorder(columns, order)
            starts, counts = starts[order], counts[order]
        _check_order(name, columns["arrival"], columns["after"])
        names = _tenant_names(name, tenants, columns["tenant"])
        _check_blocks(name, counts, int(block_tokens), columns["prompt"], columns["output"])
        starts, dense = canonical(starts, counts, ids)
        blocks = {"block_start": starts, "block_count": counts, "block_ids": dense}
        arrays: dict[str, Any] = {**columns, **blocks}
        for key, array in arrays.items():
            arrays[key] = np.ascontiguousarray(array)
            arrays[key].flags.writeable = False
        return cls(
            **arrays,
            block_tokens=int(block_tokens),
            tenants=names,
            name=name,
            source=source,
            meta=dict(meta or {}),
        )

    def __len__(self) -> int:
        return int(self.arrival.size)

    def __repr__(self) -> str:
        return f"<Trace {self.name!r}: {len(self):,} requests over {self.span_s:,.1f} s>"

    @property
    def span_s(self) -> float:
        """Seconds from the first (nominal) arrival to the last."""
        return float(seconds(int(self.arrival[-1] - self.arrival[0]))) if len(self) else 0.0

    @cached_property
    def sha256(self) -> str:
        """Digest of the content: columns, tenant names and blocks; not of name, source, meta."""
        digest = hashlib.sha256(b"mltwin.trace/1\0")
        for label in COLUMNS:
            digest.update(np.ascontiguousarray(getattr(self, label), "<i8").data)
        digest.update(json.dumps([self.block_tokens, *self.tenants]).encode())
        digest.update(np.ascontiguousarray(self.block_count, "<i8").data)
        digest.update(np.ascontiguousarray(self.packed_blocks(), "<i8").data)
        return digest.hexdigest()

    def equals(self, other: "Trace") -> bool:
        """True where the content is the same (see `sha256`)."""
        return len(self) == len(other) and self.sha256 == other.sha256

    def packed_blocks(self) -> NDArray[np.int32]:
        """Block ids of all requests in order, shared slices written out."""
        return pack(self.block_start, self.block_count, self.block_ids).astype(np.int32)

    def columns(self) -> dict[str, Any]:
        """Everything `Trace.make` takes, to build a changed table from."""
        labels = (*COLUMNS, "block_start", "block_count", "block_ids", "block_tokens")
        kept = {label: getattr(self, label) for label in labels}
        return {
            **kept,
            "tenants": self.tenants,
            "name": self.name,
            "source": self.source,
            "meta": dict(self.meta),
        }

    def changed(self, **changes: Any) -> "Trace":
        """A checked copy with some columns or fields put anew."""
        return Trace.make(**{**self.columns(), **changes})

    def retimed(
        self, arrival: NDArray[np.int64], *, sessions: bool, meta: Mapping[str, Any]
    ) -> "Trace":
        """The same requests in the same order at other instants; all that was checked stays so.

        The trace takes `arrival` over: it becomes read-only. Without `sessions` nothing releases
        anything. Raises InputError for instants that are no trace's.
        """
        open_loop: dict[str, Any] = {} if sessions else {"after": None, "delay": None}
        fits = arrival.dtype == np.int64 and arrival.shape == self.arrival.shape
        if not fits or not _in_order(arrival):
            return self.changed(arrival=arrival, **open_loop, meta=meta)
        arrays: dict[str, Any] = {"arrival": np.ascontiguousarray(arrival)}
        if not sessions and np.any(self.after != DEFAULTS["after"]):
            arrays["after"] = np.full(len(self), DEFAULTS["after"], np.int32)
        if not sessions and np.any(self.delay != DEFAULTS["delay"]):
            arrays["delay"] = np.full(len(self), DEFAULTS["delay"], np.int64)
        for array in arrays.values():
            array.flags.writeable = False
        return replace(self, **arrays, meta=dict(meta))

    def describe(self) -> dict[str, Any]:
        """Summary: counts, rate, lengths (tokens), inter-arrival CV, prefix sharing.

        `same_instant` counts the requests that come with the one before them.
        `shared_prefix` is the share of prompt blocks that an infinite prefix cache would hit
        (cold start, partial last blocks counted), None without prefix information.
        """
        gaps = np.diff(self.arrival).astype(float)
        span = self.span_s
        return {
            "name": self.name,
            "rows": len(self),
            "span_s": span,
            "rate_per_s": (len(self) - 1) / span if span > 0 else None,
            "same_instant": int(np.count_nonzero(gaps == 0)),
            "interarrival_cv": float(gaps.std() / gaps.mean()) if gaps.any() else None,
            "prompt": _spread(self.prompt),
            "output": _spread(self.output),
            "tenants": len(self.tenants),
            "sessions": int(np.unique(self.session[self.session >= 0]).size),
            "released_by_another": int(np.count_nonzero(self.after >= 0)),
            "block_tokens": self.block_tokens,
            "shared_prefix": self.shared_prefix(),
            "sha256": self.sha256,
        }

    def shared_prefix(self) -> float | None:
        """Block hit ratio of an infinite prefix cache from a cold start; None without blocks."""
        if not self.block_tokens:
            return None
        full = -(-self.prompt.astype(np.int64) // self.block_tokens)
        width = np.minimum(full, self.block_count)
        hits = prefix_hits(self.block_start, self.block_count, self.block_ids, full)
        return float(hits.sum() / width.sum()) if width.any() else 0.0

    def to_frame(self) -> "pd.DataFrame":
        """A pandas table: times in seconds, tenant names, block ids as lists where known."""
        import pandas as pd

        frame = pd.DataFrame(
            {
                "arrival_s": seconds(self.arrival),
                "prompt": self.prompt,
                "output": self.output,
                "tenant": np.array(self.tenants, dtype=object)[self.tenant],
                "session": self.session,
                "priority": self.priority,
                "after": self.after,
                "delay_s": seconds(self.delay),
                "timeout_s": seconds(self.timeout),
            }
        )
        if self.block_tokens:
            ends = np.cumsum(self.block_count, dtype=np.int64)[:-1]
            frame["block_ids"] = pd.Series(list(np.split(self.packed_blocks(), ends)), dtype=object)
        return frame

    def save(self, path: str | Path) -> Path:
        """Write Parquet (zstd); `Trace.load` gives the equal table. Written whole or not at all."""
        from .export import save

        return save(self, path)

    @staticmethod
    def load(path: str | Path) -> "Trace":
        """Read what `save` wrote; the digest is verified. InputError if it does not fit."""
        from .export import load

        return load(path)

    def to_csv(self, path: str | Path, form: str = "columns", *, lossy: bool = False) -> Path:
        """Write CSV: form `columns` (ours), `azure` or `vidur` (see `workloads.export`)."""
        from .export import to_csv

        return to_csv(self, path, form, lossy=lossy)

    def to_jsonl(self, path: str | Path, form: str = "columns", *, lossy: bool = False) -> Path:
        """Write JSON lines: form `columns` (ours) or `mooncake` (see `workloads.export`)."""
        from .export import to_jsonl

        return to_jsonl(self, path, form, lossy=lossy)


def _column(
    name: str,
    label: str,
    values: ArrayLike | None,
    dtype: type[np.signedinteger],
    low: int,
    high: int,
    default: int | None,
    n: int,
) -> NDArray[Any]:
    """One column as integers of its type; checked before it is cast."""
    if values is None:
        return np.full(n, default, dtype)
    array = np.asarray(values)
    if array.shape != (n,):
        raise InputError(
            f"column {label} has shape {array.shape}, arrival has ({n},)",
            where=name,
            mend="give one value per request",
        )
    if n and array.dtype.kind not in "iuf":
        raise InputError(
            f"column {label} holds {array.dtype}, not numbers", where=name, mend="give integers"
        )
    if array.dtype.kind == "f":
        _reject(name, label, array, ~np.isfinite(array), "is not finite")
        _reject(name, label, array, array != np.floor(array), "is not a whole number")
    if n:
        _reject(name, label, array, (array < low) | (array > high), f"is not in {low}..{high}")
    return array.astype(dtype)


def _reject(name: str, label: str, array: NDArray[Any], bad: NDArray[np.bool_], why: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{label} = {array[row]} {why}", where=f"{name}: request {row}", mend="correct the data"
        )


def _blocks(
    name: str,
    start: ArrayLike | None,
    count: ArrayLike | None,
    ids: ArrayLike | None,
    n: int,
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int64]]:
    """Block slices, checked to lie inside `ids`."""
    flat = np.asarray([] if ids is None else ids)
    if flat.size and (flat.dtype.kind not in "iu" or flat.ndim != 1):
        raise InputError("block_ids must be a flat array of integers", where=name)
    counts = _column(name, "block_count", count, np.int32, 0, MAX_ROWS, 0, n)
    if start is None:
        starts = np.cumsum(counts, dtype=np.int64) - counts
    else:
        starts = _column(name, "block_start", start, np.int64, 0, 1 << 62, None, n)
    beyond = (starts + counts > flat.size) & (counts > 0)
    _reject(name, "block_start", starts, beyond, f"runs past the {flat.size} block_ids")
    return np.where(counts > 0, starts, 0), counts, flat.astype(np.int64, copy=False)


def _reorder(columns: dict[str, NDArray[Any]], order: NDArray[np.intp]) -> dict[str, NDArray[Any]]:
    """Rows in a new order, `after` pointing at the same requests as before."""
    place = np.empty(order.size, np.int32)
    place[order] = np.arange(order.size, dtype=np.int32)
    moved = {label: array[order] for label, array in columns.items()}
    after = moved["after"]
    inside = (after >= 0) & (after < order.size)
    moved["after"] = np.where(inside, place[np.where(inside, after, 0)], after).astype(np.int32)
    return moved


def _in_order(arrival: NDArray[np.int64]) -> bool:
    """Whether instants are non-decreasing and within a trace's range."""
    if not arrival.size:
        return True
    return bool(arrival[0] >= 0 and arrival[-1] <= MAX_TIME and np.all(arrival[1:] >= arrival[:-1]))


def _check_order(name: str, arrival: NDArray[np.int64], after: NDArray[np.int32]) -> None:
    back = np.diff(arrival) < 0
    if back.any():
        row = int(np.argmax(back)) + 1
        raise InputError(
            f"arrival goes back {int(back.sum())} times, first from {arrival[row - 1]} to "
            f"{arrival[row]} ticks",
            where=f"{name}: request {row}",
            mend="sort the requests by arrival or pass sort=True",
        )
    late = after >= np.arange(after.size)
    _reject(name, "after", after, late, "does not name an earlier request")


def _tenant_names(
    name: str, tenants: Sequence[str] | None, tenant: NDArray[np.int32]
) -> tuple[str, ...]:
    count = int(tenant.max()) + 1 if tenant.size else 0
    if tenants is None:
        return tuple(str(i) for i in range(count)) if count > 1 else ("default",)
    names = tuple(tenants)
    for label in names:
        plain = isinstance(label, str) and label.isprintable() and label == label.strip()
        if not plain or not 0 < len(label) <= 256:
            raise InputError(
                f"tenant name {label!r:.80} is not 1 to 256 printable characters, trimmed",
                where=name,
            )
    if len(set(names)) != len(names) or len(names) < max(count, 1):
        raise InputError(
            f"tenants gives {len(set(names))} different names, the tenant column needs {count}",
            where=name,
            mend="give each tenant one name of its own",
        )
    return names


def _check_blocks(
    name: str,
    count: NDArray[np.int32],
    block_tokens: int,
    prompt: NDArray[np.int32],
    output: NDArray[np.int32],
) -> None:
    if not 0 <= block_tokens <= MAX_TOKENS:
        raise InputError(f"block_tokens = {block_tokens} is not in 0..{MAX_TOKENS}", where=name)
    if not block_tokens:
        if count.any():
            raise InputError("there are block ids but block_tokens is 0", where=name)
        return
    most = -(-(prompt.astype(np.int64) + output) // block_tokens)
    bad = count > most
    _reject(name, "block_count", count, bad, f"blocks of {block_tokens} exceed prompt + output")


def _spread(tokens: NDArray[np.int32]) -> dict[str, float]:
    """Mean, percentiles (linear interpolation) and range."""
    if not tokens.size:
        return {}
    p50, p90, p99 = np.percentile(tokens, [50, 90, 99])
    return {
        "mean": float(tokens.mean()),
        "p50": float(p50),
        "p90": float(p90),
        "p99": float(p99),
        "min": int(tokens.min()),
        "max": int(tokens.max()),
    }
