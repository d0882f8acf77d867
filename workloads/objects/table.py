"""`ObjectTrace`: the one typed table of object requests that readers and generators yield.

Time is int64 ticks of 1 ns from the trace's start, so that a trace may last 292 years.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.sim.errors import InputError

TICKS_PER_S = 10**9
GET, SET, DELETE = 0, 1, 2
OPS = ("get", "set", "delete")
MAX_OBJECTS = 2**32 - 2**16
MAX_SIZE = 1 << 48
MAX_TIME = 1 << 62
MAX_TENANTS = 1 << 20
_MAX_TOTAL = float(1 << 62)

# Column, type, least and greatest value. Order is that of the digest.
_COLUMNS: tuple[tuple[str, Any, float, float], ...] = (
    ("size_bytes", np.int64, 0, MAX_SIZE),
    ("arrival", np.int64, 0, MAX_TIME),
    ("tenant", np.int32, 0, MAX_TENANTS),
    ("cost", np.float64, 0, 1e300),
    ("op", np.uint8, GET, DELETE),
    ("ttl_ns", np.int64, 0, MAX_TIME),
)
COLUMNS = tuple(name for name, *_ in _COLUMNS)


@dataclass(frozen=True, eq=False, repr=False)
class ObjectTrace:
    """n requests for objects, in order. Make one with `ObjectTrace.make`.

    The arrays are contiguous and read-only: `.copy()` one to change it.

    Attributes:
        ids: uint32[n], dense object ids. Readers and generators number by first appearance, so
            that the digest does not depend on how objects were called, and popular objects, which
            come early, lie close together in the tables of a cache.
        objects: all ids are below it; in a trace numbered by first appearance, the distinct ids.
        size_bytes: int64[n], of the object at this request, >= 0. None: all 1 (count objects).
        arrival: int64[n], ticks of 1 ns from the trace's start, non-decreasing. None: no times.
        tenant: int32[n], index into `tenants`. None: one tenant.
        cost: float64[n], of fetching the object on a miss, any unit, >= 0. None: 1.
        op: uint8[n], GET = 0, SET = 1, DELETE = 2. None: all GET.
        ttl_ns: int64[n], ticks that an object set at this request lives; 0: never expires. None:
            no object expires.
        keys: what the file called each object, by id: integers, or an object array of str. None:
            not kept.
    """

    ids: NDArray[np.uint32]
    objects: int
    size_bytes: NDArray[np.int64] | None = None
    arrival: NDArray[np.int64] | None = None
    tenant: NDArray[np.int32] | None = None
    cost: NDArray[np.float64] | None = None
    op: NDArray[np.uint8] | None = None
    ttl_ns: NDArray[np.int64] | None = None
    tenants: tuple[str, ...] = ("default",)
    keys: NDArray[Any] | None = None
    name: str = "objects"
    source: str = ""
    meta: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        ids: ArrayLike,
        *,
        objects: int | None = None,
        size_bytes: ArrayLike | None = None,
        arrival: ArrayLike | None = None,
        tenant: ArrayLike | None = None,
        cost: ArrayLike | None = None,
        op: ArrayLike | None = None,
        ttl_ns: ArrayLike | None = None,
        tenants: Sequence[str] | None = None,
        keys: ArrayLike | None = None,
        name: str = "objects",
        source: str = "",
        meta: Mapping[str, Any] | None = None,
    ) -> "ObjectTrace":
        """A checked table. An array of the right type that is read-only already is kept as it is,
        any other is copied.

        `ids` must be dense already; `densify` makes them so. `objects` is one more than the
        greatest id where it is not given.
        Raises InputError naming the request (counted from 0), the column and the value.
        """
        dense = _column(name, "ids", ids, np.uint32, 0, MAX_OBJECTS - 1, None)
        least = int(dense.max()) + 1 if dense.size else 0
        count = least if objects is None else int(objects)
        if not least <= count <= MAX_OBJECTS:
            raise InputError(
                f"objects = {count} is not in {least}..{MAX_OBJECTS}",
                where=name,
                mend="give one more than the greatest id, or more",
            )
        given = {
            "size_bytes": size_bytes,
            "arrival": arrival,
            "tenant": tenant,
            "cost": cost,
            "op": op,
            "ttl_ns": ttl_ns,
        }
        columns = {
            label: None
            if given[label] is None
            else _column(name, label, given[label], dtype, low, high, dense.size)
            for label, dtype, low, high in _COLUMNS
        }
        _check_order(name, columns["arrival"])
        _check_total(name, columns["size_bytes"])
        return cls(
            ids=dense,
            objects=count,
            **columns,
            tenants=_tenant_names(name, tenants, columns["tenant"]),
            keys=_checked_keys(name, keys, count),
            name=name,
            source=source,
            meta=dict(meta or {}),
        )

    def __len__(self) -> int:
        return int(self.ids.size)

    def __repr__(self) -> str:
        return f"<ObjectTrace {self.name!r}: {len(self):,} requests, ids below {self.objects:,}>"

    @property
    def requests(self) -> int:
        """How many."""
        return int(self.ids.size)

    @cached_property
    def unique(self) -> int:
        """Distinct objects that are asked for."""
        return int(np.count_nonzero(self.counts))

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """int64[objects]: requests of each object."""
        counted = np.bincount(self.ids, minlength=self.objects).astype(np.int64, copy=False)
        counted.flags.writeable = False
        return counted

    @cached_property
    def footprint_bytes(self) -> int:
        """Bytes of all distinct objects, each at its greatest size; objects where none is given."""
        if self.size_bytes is None:
            return self.unique
        greatest = np.zeros(self.objects, np.int64)
        np.maximum.at(greatest, self.ids, self.size_bytes)
        return int(greatest.sum())

    @property
    def span_s(self) -> float:
        """Seconds from the first arrival to the last; 0 where there are no times."""
        if self.arrival is None or not len(self):
            return 0.0
        return int(self.arrival[-1] - self.arrival[0]) / TICKS_PER_S

    @cached_property
    def sha256(self) -> str:
        """Digest of the content: ids, columns, tenant names; not of name, source, meta, keys."""
        digest = hashlib.sha256(b"mltwin.objects/1\0")
        digest.update(json.dumps([self.requests, self.objects, *self.tenants]).encode())
        digest.update(self.ids.astype("<u4", copy=False).data)
        for label, dtype, _, _ in _COLUMNS:
            array = getattr(self, label)
            digest.update(label.encode() + (b"-" if array is None else b"+"))
            if array is not None:
                digest.update(array.astype(np.dtype(dtype).newbyteorder("<"), copy=False).data)
        return digest.hexdigest()

    def equals(self, other: "ObjectTrace") -> bool:
        """True where the content is the same (see `sha256`)."""
        return len(self) == len(other) and self.sha256 == other.sha256

    def columns(self) -> dict[str, Any]:
        """Everything `ObjectTrace.make` takes, to build a changed table from."""
        kept = ("ids", "objects", *COLUMNS, "tenants", "keys", "name", "source")
        return {**{label: getattr(self, label) for label in kept}, "meta": dict(self.meta)}

    def changed(self, **changes: Any) -> "ObjectTrace":
        """A checked copy with some columns or fields put anew."""
        return ObjectTrace.make(**{**self.columns(), **changes})

    def rows(self, start: int, stop: int) -> "ObjectTrace":
        """Requests start to stop - 1 with the ids and the clock of the whole trace."""
        cut = {
            label: None if array is None else array[start:stop]
            for label in ("ids", *COLUMNS)
            for array in [getattr(self, label)]
        }
        return self.changed(**cut)

    def chunks(self, rows: int = 1 << 22) -> "list[ObjectTrace]":
        """The trace in pieces of at most so many requests (see `rows`)."""
        if rows < 1:
            raise InputError(f"chunks of {rows} requests", mend="give at least 1")
        return [self.rows(at, at + rows) for at in range(0, len(self), rows)]

    def describe(self) -> dict[str, Any]:
        """Summary: counts, footprint, sizes, popularity (see `workloads.objects.measures`)."""
        from .measures import describe

        return describe(self)

    def save(self, path: str | Path) -> Path:
        """Write Parquet (zstd); `load` gives the equal table. Written whole or not at all."""
        from .store import save_objects

        return save_objects(self, path)

    @staticmethod
    def load(path: str | Path) -> "ObjectTrace":
        """Read what `save` wrote; the digest is verified. InputError if it does not fit."""
        from .store import load_objects

        return load_objects(path)


def frozen(array: NDArray[Any]) -> NDArray[Any]:
    """The same array, read-only: `ObjectTrace.make` then takes it without a copy."""
    array.flags.writeable = False
    return array


def _column(
    name: str, label: str, values: Any, dtype: Any, low: float, high: float, n: int | None
) -> NDArray[Any]:
    """One column of its type, checked before it is cast."""
    array = np.asarray(values)
    if array.ndim != 1 or (n is not None and array.size != n):
        raise InputError(
            f"column {label} has shape {array.shape}" + ("" if n is None else f", ids has ({n},)"),
            where=name,
            mend="give one value per request",
        )
    if array.size and array.dtype.kind not in "iuf":
        raise InputError(
            f"column {label} holds {array.dtype}, not numbers", where=name, mend="give numbers"
        )
    if array.size:
        _check_range(name, label, array, low, high, whole=np.dtype(dtype).kind != "f")
    kept = array.dtype == dtype and array.flags.c_contiguous and not array.flags.writeable
    return array if kept else frozen(np.array(array, dtype, order="C"))


def _check_range(
    name: str, label: str, array: NDArray[Any], low: float, high: float, whole: bool
) -> None:
    if array.dtype.kind == "f":
        _reject(name, label, array, ~np.isfinite(array), "is not finite")
        if whole:
            _reject(name, label, array, array != np.floor(array), "is not a whole number")
    if array.min() < low or array.max() > high:
        _reject(name, label, array, (array < low) | (array > high), f"is not in {low}..{high}")


def _reject(name: str, label: str, array: NDArray[Any], bad: NDArray[np.bool_], why: str) -> None:
    if bad.any():
        row = int(np.argmax(bad))
        raise InputError(
            f"{label} = {array[row]} {why}", where=f"{name}: request {row}", mend="correct the data"
        )


def _check_order(name: str, arrival: NDArray[np.int64] | None) -> None:
    if arrival is None or arrival.size < 2:
        return
    back = arrival[1:] < arrival[:-1]
    if back.any():
        row = int(np.argmax(back)) + 1
        raise InputError(
            f"arrival goes back {int(back.sum())} times, first from {arrival[row - 1]} to "
            f"{arrival[row]} ns",
            where=f"{name}: request {row}",
            mend="sort the requests by arrival, or leave the times out",
        )


def _check_total(name: str, size: NDArray[np.int64] | None) -> None:
    if size is not None and float(size.sum(dtype=np.float64)) > _MAX_TOTAL:
        raise InputError("sizes add up to more than 2**62 bytes", where=name, mend="scale them")


def _tenant_names(
    name: str, tenants: Sequence[str] | None, tenant: NDArray[np.int32] | None
) -> tuple[str, ...]:
    needed = int(tenant.max()) + 1 if tenant is not None and tenant.size else 1
    if tenants is None:
        return ("default",) if needed == 1 else tuple(f"tenant-{i}" for i in range(needed))
    names = tuple(str(one) for one in tenants)
    if len(set(names)) != len(names) or len(names) < needed:
        raise InputError(
            f"{len(names)} tenant names ({len(set(names))} different) for {needed} tenants",
            where=name,
            mend="give each tenant its own name",
        )
    return names


def _checked_keys(name: str, keys: ArrayLike | None, count: int) -> NDArray[Any] | None:
    if keys is None:
        return None
    array = np.asarray(keys)
    if array.shape != (count,) or array.dtype.kind not in "iuO":
        raise InputError(
            f"keys has shape {array.shape} and type {array.dtype}, objects is {count}",
            where=name,
            mend="give one key for each object id",
        )
    return array if not array.flags.writeable else frozen(array.copy())
