"""How one cell of an object trace becomes a value; kinds beside those of `workloads.values`.

As there, each reads a single value (`scalar`, which says what is wrong) and a whole column at once
(`column`, which only knows whether all of it is plain and right).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mltwin.workloads.values import Count, Instants, decimal

from .table import DELETE, GET, MAX_TIME, SET

if TYPE_CHECKING:
    import pyarrow as pa

_OPS = {
    GET: "get gets get_lease read r load lookup",
    SET: "set set_lease add replace cas append prepend incr decr put write w store update insert",
    DELETE: "delete del remove invalidate erase d",
}
OPERATIONS = {name: op for op, names in _OPS.items() for name in names.split()}
"""Name of an operation, in small letters -> GET, SET or DELETE."""


@dataclass(frozen=True)
class WholeKey:
    """A key that is a whole number of 64 bits: -2**63 to 2**64 - 1."""

    def scalar(self, value: Any) -> int:
        """The number; ValueError with the way out where it is none."""
        try:
            return Count(-(1 << 63), (1 << 64) - 1).scalar(value)
        except ValueError as wrong:
            raise ValueError(f'{wrong}: read such keys with keys="text"') from None

    def column(self, cells: "pa.ChunkedArray") -> NDArray[Any] | None:
        """All of them, or None where one is not plain digits."""
        import pyarrow as pa
        import pyarrow.compute as pc

        whole = Count(-(1 << 63), (1 << 64) - 1).column(cells)
        if whole is not None:
            return whole
        if not pc.all(pc.match_substring_regex(cells, "^[0-9]{1,20}$")).as_py():
            return None
        try:
            return cells.cast(pa.uint64()).to_numpy()
        except pa.ArrowInvalid:
            return None

    def join(self, values: list[int]) -> NDArray[Any]:
        """int64, or uint64 where one is beyond it."""
        beyond = max(values, default=0) >= 1 << 63
        if beyond and min(values) < 0:
            raise OverflowError
        return np.array(values, np.uint64 if beyond else np.int64)


@dataclass(frozen=True)
class TextKey:
    """A key that is any text but the empty one; surrounding space is dropped."""

    def scalar(self, value: Any) -> str:
        """The text."""
        text = str(value).strip()
        if not text:
            raise ValueError("is empty")
        return text

    def column(self, cells: "pa.ChunkedArray") -> "pa.ChunkedArray | None":
        """All of them as an Arrow array, or None where one is empty."""
        import pyarrow.compute as pc

        trimmed = pc.utf8_trim_whitespace(cells)
        return None if pc.any(pc.equal(trimmed, "")).as_py() else trimmed

    def join(self, values: list[str]) -> "pa.Array":
        """The column made of scalars."""
        import pyarrow as pa

        return pa.array(values, pa.large_string())


@dataclass(frozen=True)
class Amount:
    """A number >= 0, such as a cost."""

    def scalar(self, value: Any) -> float:
        """The number; ValueError where it is none, negative or not finite."""
        number = float(decimal(value))
        if number < 0:
            raise ValueError("is below 0")
        return number

    def column(self, cells: "pa.ChunkedArray") -> NDArray[np.float64] | None:
        """All of them, or None where one is odd."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not pc.all(pc.match_substring_regex(cells, r"^[0-9]{1,18}(\.[0-9]{1,18})?$")).as_py():
            return None
        return cells.cast(pa.float64()).to_numpy()

    def join(self, values: list[float]) -> NDArray[np.float64]:
        """The column made of scalars."""
        return np.array(values, np.float64)


@dataclass(frozen=True)
class Operation:
    """get, set or delete by one of their many names."""

    names: tuple[tuple[str, int], ...] = ()

    def scalar(self, value: Any) -> int:
        """GET, SET or DELETE."""
        name = str(value).strip().lower()
        known = {**OPERATIONS, **dict(self.names)}
        if name not in known:
            raise ValueError(f"is no operation (known: {', '.join(sorted(known))})")
        return known[name]

    def column(self, cells: "pa.ChunkedArray") -> NDArray[np.uint8] | None:
        """All of them; each different one is looked up once."""
        import pyarrow.compute as pc

        coded = pc.dictionary_encode(cells).combine_chunks()
        try:
            found = [self.scalar(name) for name in coded.dictionary.to_pylist()]
        except ValueError:
            return None
        return np.array(found, np.uint8)[coded.indices.to_numpy(zero_copy_only=False)]

    def join(self, values: list[int]) -> NDArray[np.uint8]:
        """The column made of scalars."""
        return np.array(values, np.uint8)


def nanoseconds(times: Instants) -> NDArray[np.int64] | None:
    """Times as ticks of 1 ns (finer digits rounded half up); None where one is beyond `MAX_TIME`.

    `Instants` count whole units and ticks of 1 ps.
    """
    in_unit = 10 ** max(0, times.places - 3)
    if times.whole.size and np.abs(times.whole).max() > MAX_TIME // in_unit:
        return None
    if times.places < 3:  # whole picoseconds
        return (times.whole + 500) // 1000
    return times.whole * in_unit + (times.part + 500) // 1000
