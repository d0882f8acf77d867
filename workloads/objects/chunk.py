"""`Chunk`, what every reader yields, and `Assembler`, which makes one `ObjectTrace` of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.workloads.source import Source
from mltwin.workloads.tabular import Rejects

from .numbering import Densifier
from .table import COLUMNS, ObjectTrace, frozen


class Chunk(NamedTuple):
    """n requests as they stand in a file; None where it does not tell.

    keys: n whole numbers, or an Arrow array (list, array) of strings.
    time_ns: int64[n] since any moment; tenant: n names.
    line: line (record) of the first request from 1, for messages; lines: of each.
    """

    keys: Any
    size_bytes: NDArray[Any] | None = None
    time_ns: NDArray[np.int64] | None = None
    tenant: NDArray[Any] | None = None
    cost: NDArray[np.float64] | None = None
    op: NDArray[np.uint8] | None = None
    ttl_ns: NDArray[np.int64] | None = None
    line: int = 1
    lines: NDArray[np.int64] | None = None

    def line_of(self, row: int) -> int:
        """The line (record) of a request of the chunk."""
        return int(self.lines[row]) if self.lines is not None else self.line + row


class Assembler:
    """Chunks in, traces out whose ids, clock and tenants go on from one to the next."""

    def __init__(
        self,
        source: Source,
        rejects: Rejects,
        *,
        ignore: Sequence[str] = (),
        limit: int | None = None,
        ordered: bool = True,
        name: str | None = None,
        meta: dict[str, Any] | None = None,
    ) -> None:
        check_cut(limit, ignore)
        self.source, self.rejects = source, rejects
        self.numbering = Densifier()
        self.rows = 0
        self.times: list[NDArray[np.int64]] = []
        self._ignore, self._limit, self._ordered = set(ignore), limit, ordered
        self._name = name or source.stem
        self._meta = dict(meta or {})
        self._tenants: dict[str, int] = {}
        self._origin: int | None = None
        self._last = 0

    def traces(self, chunks: Iterable[Chunk]) -> Iterator[ObjectTrace]:
        """One trace for each chunk with requests, until `limit` of them are there."""
        for chunk in chunks:
            if self._limit is not None and self.rows + len(chunk.keys) > self._limit:
                chunk = _head(chunk, self._limit - self.rows)
            if len(chunk.keys):
                yield self._trace(chunk)
            if self.rows == self._limit:
                break
        if not self.rows:
            raise self.source.error("no requests to use", mend="give a file with requests")
        self.rejects.write()

    def _trace(self, chunk: Chunk) -> ObjectTrace:
        self.rows += len(chunk.keys)
        given = {
            "size_bytes": chunk.size_bytes,
            "arrival": chunk.time_ns,
            "tenant": chunk.tenant,
            "cost": chunk.cost,
            "op": chunk.op,
            "ttl_ns": chunk.ttl_ns,
        }
        columns = {label: None if label in self._ignore else given[label] for label in given}
        if columns["arrival"] is not None and self._ordered:
            columns["arrival"] = self._clock(chunk, columns["arrival"])
        elif columns["arrival"] is not None:
            self.times.append(columns["arrival"])
            columns["arrival"] = None
        if columns["tenant"] is not None:
            columns["tenant"] = self._codes(columns["tenant"])
        try:
            ids = self.numbering.add(chunk.keys)
        except InputError as wrong:
            raise self.source.error(wrong.message, chunk.line, wrong.mend) from None
        return ObjectTrace.make(
            frozen(ids),
            objects=self.numbering.count,
            **{label: _frozen(array) for label, array in columns.items()},
            tenants=list(self._tenants) or None,
            name=self._name,
            source=self.source.path.name,
            meta=self.meta(),
        )

    def meta(self) -> dict[str, Any]:
        """Format, start and what was rejected so far."""
        start = {"start_s": self._origin / 1e9} if self._origin else {}
        return {**self._meta, **start, **self.rejects.meta()}

    def whole(self, traces: Sequence[ObjectTrace], *, keep_keys: bool = True) -> ObjectTrace:
        """One trace of all pieces; by time (stable) where the assembler is not `ordered`."""
        columns: dict[str, Any] = {}
        for label in ("ids", *COLUMNS):
            arrays = [getattr(one, label) for one in traces]
            if any(array is None for array in arrays):
                columns[label] = None
            else:
                columns[label] = arrays[0] if len(arrays) == 1 else frozen(np.concatenate(arrays))
        keys = self.numbering.keys() if keep_keys else None
        if self.times:
            time = np.concatenate(self.times)
            order = np.argsort(time, kind="stable")
            self._origin = int(time[order[0]])
            columns = {k: None if v is None else v[order] for k, v in columns.items()}
            columns["arrival"] = time[order] - self._origin
            again = Densifier()
            columns["ids"] = again.add(columns["ids"])
            keys = None if keys is None else keys[again.keys()]
        return traces[-1].changed(**columns, keys=keys, meta=self.meta())

    def _clock(self, chunk: Chunk, time: NDArray[np.int64]) -> NDArray[np.int64]:
        """Ticks since the first request; times must not go back."""
        if self._origin is None:
            self._origin = self._last = int(time[0])
        back = time < np.concatenate([[self._last], time[:-1]])
        if back.any():
            row = int(np.argmax(back))
            before = int(time[row - 1]) if row else self._last
            raise self.source.error(
                f"{self.rejects.unit} {chunk.line_of(row)}: time goes back from {before} to "
                f"{int(time[row])} ns",
                mend='sort the file, read it with sort=True, or with ignore=["arrival"]',
            )
        self._last = int(time[-1])
        return time - self._origin

    def _codes(self, names: NDArray[Any]) -> NDArray[np.int32]:
        import pandas as pd

        codes, found = pd.factorize(names)
        places = [self._tenants.setdefault(str(one), len(self._tenants)) for one in found]
        return np.array(places, np.int32)[codes]


def check_cut(limit: int | None, ignore: Sequence[str]) -> None:
    """Raise InputError for a limit below 1, or a column to ignore that does not exist."""
    for label in ignore:
        if label not in COLUMNS:
            raise InputError(f"ignore has {label!r}", mend=f"choose from {', '.join(COLUMNS)}")
    if limit is not None and limit < 1:
        raise InputError(f"limit = {limit}", mend="give at least 1 request")


def _head(chunk: Chunk, rows: int) -> Chunk:
    cut = {
        label: array[:rows]
        for label, array in chunk._asdict().items()
        if label != "line" and array is not None
    }
    return chunk._replace(**cut)


def _frozen(array: Any) -> Any:
    """Read-only where nobody else can hold it."""
    if isinstance(array, np.ndarray) and array.flags.owndata:
        return frozen(array)
    return array
