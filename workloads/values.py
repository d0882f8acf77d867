"""How one cell becomes a number: token counts, times, stamps, ids, names.

Each kind reads a single value (`scalar`, the truth, which says what is wrong) and a whole column
of strings at once (`column`, fast, which only knows whether all of it is plain and right). Tests
hold the two together.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, DecimalException
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from .blocks import pack

if TYPE_CHECKING:
    import pyarrow as pa

MAX_WHOLE = 1 << 62
MAX_TICKS = (1 << 63) - (1 << 58)
# Decimal places from a unit down to one tick (1 ps).
UNITS = {"s": 12, "ms": 9, "us": 6, "ns": 3, "ps": 0}
_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_STAMP = re.compile(
    r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?\s?(Z|[+-]\d\d:?\d\d)?", re.ASCII
)
_STAMP_TEXT = (
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}"
    r"(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})?$"
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Instants(NamedTuple):
    """Times before their origin is known: `whole` units and `part` ticks, both int64[n]."""

    whole: NDArray[np.int64]
    part: NDArray[np.int64]
    places: int

    def ticks_from(self, whole: int, part: int = 0) -> NDArray[np.int64]:
        """Ticks since an origin, clipped to +-MAX_TICKS where int64 would not hold them."""
        scale = 10**self.places
        far = MAX_TICKS // scale
        return np.clip(self.whole - whole, -far, far) * scale + (self.part - part)


def decimal(value: Any) -> Decimal:
    """A finite decimal from a cell or a JSON value; ValueError says what it is instead."""
    if isinstance(value, bool) or value is None:
        raise ValueError("is not a number")
    if isinstance(value, int):
        return Decimal(value)
    if isinstance(value, float):
        value = repr(value)
    text = str(value).strip()
    if not text:
        raise ValueError("is empty")
    if not _PLAIN.fullmatch(text):
        odd = text.lstrip("+-").lower() in ("nan", "inf", "infinity", "null", "none")
        raise ValueError("is not a finite number" if odd else "is not a number")
    try:
        found = Decimal(text)
    except DecimalException:
        raise ValueError("is out of range") from None
    if found and found.adjusted() > 40:
        raise ValueError("is out of range")
    return found


@dataclass(frozen=True)
class Count:
    """A whole number from `low` to `high`."""

    low: int = 1
    high: int = 1 << 24

    def scalar(self, value: Any) -> int:
        """The number; ValueError where it is none or out of range."""
        number = decimal(value)
        if number.adjusted() < -40 or number != number.to_integral_value():
            raise ValueError("is not a whole number")
        if not self.low <= number <= self.high:
            raise ValueError(f"is not in {self.low}..{self.high}")
        return int(number)

    def column(self, cells: "pa.ChunkedArray") -> NDArray[np.int64] | None:
        """All of them, or None where one is not plain digits in range."""
        whole = _digits(cells)
        if whole is None or (whole.size and (whole.min() < self.low or whole.max() > self.high)):
            return None
        return whole

    def join(self, values: list[int]) -> NDArray[np.int64]:
        """The column made of scalars."""
        return np.array(values, np.int64)


@dataclass(frozen=True)
class Time:
    """A number of `unit`s (s, ms, us, ns, ps), exact to 1 ps, finer digits rounded half up."""

    unit: str = "s"

    def scalar(self, value: Any) -> tuple[int, int]:
        """(whole units, ticks of the rest)."""
        number = decimal(value)
        if abs(number) >= MAX_WHOLE:
            raise ValueError("is out of range")
        if number and number.adjusted() < -40:
            return 0, 0
        places = UNITS[self.unit]
        tenths = int(number.scaleb(places + 1).to_integral_value(rounding="ROUND_FLOOR"))
        return divmod((tenths + 5) // 10, 10**places)

    def column(self, cells: "pa.ChunkedArray") -> Instants | None:
        """All of them, or None where one is not plain digits with at most one point."""
        import pyarrow.compute as pc

        places = UNITS[self.unit]
        whole = _digits(cells)
        if whole is not None:
            return Instants(whole, np.zeros(whole.size, np.int64), places)
        if not pc.all(pc.match_substring_regex(cells, r"^[0-9]{1,18}(\.[0-9]*)?$")).as_py():
            return None
        parts = pc.extract_regex(cells, r"^(?P<whole>[0-9]+)\.?(?P<rest>[0-9]*)$")
        whole = _int64(pc.struct_field(parts, "whole"))
        rest = pc.utf8_slice_codeunits(pc.struct_field(parts, "rest"), 0, places + 1)
        tenths = _int64(pc.utf8_rpad(rest, places + 1, "0"))
        ticks = (tenths + 5) // 10
        return Instants(whole + ticks // 10**places, ticks % 10**places, places)

    def join(self, values: list[tuple[int, int]]) -> Instants:
        """The column made of scalars."""
        pairs = np.array(values, np.int64).reshape(-1, 2)
        return Instants(pairs[:, 0].copy(), pairs[:, 1].copy(), UNITS[self.unit])


@dataclass(frozen=True)
class Stamp:
    """A date and time as `2023-11-16 18:15:46.6805900`, with or without zone (none means UTC)."""

    def scalar(self, value: Any) -> tuple[int, int]:
        """(nanoseconds since 1970 UTC, 0)."""
        found = _STAMP.fullmatch(value.strip()) if isinstance(value, str) else None
        if not found:
            raise ValueError("is not a date and time such as 2023-11-16 18:15:46.6805900")
        day, clock, fraction, zone = found.groups()
        try:
            moment = datetime.fromisoformat(f"{day}T{clock}{zone or '+00:00'}")
        except ValueError as wrong:
            raise ValueError(f"is no date and time ({wrong})") from None
        since = moment - _EPOCH
        nanoseconds = (since.days * 86_400 + since.seconds) * 10**9
        nanoseconds += int((fraction or "").ljust(9, "0"))
        if abs(nanoseconds) >= 1 << 63:
            raise ValueError("is out of range (years 1678 to 2261)")
        return nanoseconds, 0

    def column(self, cells: "pa.ChunkedArray") -> Instants | None:
        """All of them, or None where one is odd."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not pc.all(pc.match_substring_regex(cells, _STAMP_TEXT)).as_py():
            return None
        for kind in (pa.timestamp("ns"), pa.timestamp("ns", "UTC")):
            try:
                whole = cells.cast(kind).cast(pa.int64()).to_numpy()
            except pa.ArrowInvalid:
                continue
            return Instants(whole, np.zeros(whole.size, np.int64), UNITS["ns"])
        return None

    def join(self, values: list[tuple[int, int]]) -> Instants:
        """The column made of scalars."""
        return Time("ns").join(values)


@dataclass(frozen=True)
class Text:
    """A name; blank becomes `blank`."""

    blank: str = ""

    def scalar(self, value: Any) -> str:
        """The text without surrounding space."""
        if value is None:
            return self.blank
        if isinstance(value, bool | list | dict):
            raise ValueError("is not a name")
        text = str(value).strip()
        if len(text) > 256 or not text.isprintable():
            raise ValueError("is not a name of up to 256 printable characters")
        return text or self.blank

    def column(self, cells: "pa.ChunkedArray") -> NDArray[Any] | None:
        """All of them, as objects; each different one is checked once."""
        import pyarrow.compute as pc

        coded = pc.dictionary_encode(cells).combine_chunks()
        try:
            names = [self.scalar(name) for name in coded.dictionary.to_pylist()]
        except ValueError:
            return None
        return np.array(names, dtype=object)[coded.indices.to_numpy(zero_copy_only=False)]

    def join(self, values: list[str]) -> NDArray[Any]:
        """The column made of scalars."""
        return np.array(values, dtype=object)


class Ragged(NamedTuple):
    """Lists of ids: `widths` int64[n] and all ids after one another."""

    widths: NDArray[np.int64]
    flat: NDArray[np.int64]


@dataclass(frozen=True)
class Ids:
    """A list of whole numbers: a JSON list, or a cell of numbers parted by spaces."""

    def scalar(self, value: Any) -> list[int]:
        """The ids, each within int64."""
        if value is None or (isinstance(value, str) and not value.strip()):
            return []
        parts = value.split() if isinstance(value, str) else value
        if not isinstance(parts, list):
            raise ValueError("is not a list of block ids")
        ids = []
        for part in parts:
            try:
                ids.append(part if type(part) is int else Count(-(1 << 63), 1 << 64).scalar(part))
            except ValueError as wrong:
                raise ValueError(f"holds {str(part)[:40]!r}, which {wrong}") from None
        if ids and not (min(ids) >= -(1 << 63) and max(ids) < 1 << 63):
            raise ValueError("holds an id beyond 64 bits")
        return ids

    def column(self, cells: "pa.ChunkedArray") -> Ragged | None:
        """All of them, or None where one is not plain digits parted by single spaces."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not pc.all(pc.match_substring_regex(cells, r"^([0-9]{1,18}( [0-9]{1,18})*)?$")).as_py():
            return None
        lists = pc.split_pattern(cells, " ")
        flat = pc.list_flatten(lists)
        empty = pc.equal(cells, "").to_numpy()
        count = np.where(empty, 0, pc.list_value_length(lists).to_numpy())
        kept = pc.filter(flat, pc.not_equal(flat, ""))
        return Ragged(count.astype(np.int64), kept.cast(pa.int64()).to_numpy())

    def join(self, values: list[list[int]]) -> Ragged:
        """The column made of scalars."""
        count = np.array([len(ids) for ids in values], np.int64)
        flat = np.fromiter((i for ids in values for i in ids), np.int64, int(count.sum()))
        return Ragged(count, flat)


Kind = Count | Time | Stamp | Text | Ids
Values = NDArray[Any] | Instants | Ragged


def pick(values: Values, rows: NDArray[Any]) -> Values:
    """The rows (indices or mask) of a column of any kind."""
    if isinstance(values, Instants):
        return Instants(values.whole[rows], values.part[rows], values.places)
    if isinstance(values, Ragged):
        start = np.cumsum(values.widths) - values.widths
        flat = pack(start[rows], values.widths[rows], values.flat)
        return Ragged(values.widths[rows], flat)
    return values[rows]


def _digits(cells: "pa.ChunkedArray") -> NDArray[np.int64] | None:
    """Columns of plain digits; None as soon as one cell is anything else."""
    import pyarrow.compute as pc

    if not pc.all(pc.match_substring_regex(cells, "^-?[0-9]{1,18}$")).as_py():
        return None
    return _int64(cells)


def _int64(cells: Any) -> NDArray[np.int64]:
    import pyarrow as pa

    return cells.cast(pa.int64()).to_numpy()
