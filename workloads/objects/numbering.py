"""`densify`: any keys in, dense ids out; `Densifier` for a stream of them."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.sim.dense import MAX_NUMBERS, Numbering, StringNumbering
from mltwin.sim.errors import InputError

GIVEN_SHARE = 4
"""Keys may stay as they are while they lie below this many times the requests (and 2**20)."""


class Densifier:
    """Numbers keys by first appearance, in pieces; the map is kept between pieces.

    Keys are whole numbers from -2**63 to 2**64 - 1 (either all below 2**63, or none negative), or
    strings (str or bytes; compared in full). Which of the two, the first piece decides.

    Attributes:
        count: distinct keys so far.
    """

    def __init__(self) -> None:
        self._numbers: Numbering | None = None
        self._strings: StringNumbering | None = None
        self._negative = False
        self._beyond = False

    @property
    def count(self) -> int:
        """Distinct keys so far."""
        numbering = self._strings or self._numbers
        return 0 if numbering is None else numbering.count

    def add(self, keys: Any) -> NDArray[np.uint32]:
        """uint32[n]: the ids of n keys (array, list, or Arrow array of strings).

        Raises InputError for floats, mixed kinds, and more than 2**32 - 2**16 distinct keys.
        """
        array = keys if _is_arrow(keys) else np.asarray(keys)
        text = _is_arrow(keys) or array.dtype.kind in "USO"
        if (self._strings if not text else self._numbers) is not None and len(array):
            raise InputError("keys are numbers in one place and text in another", mend="use text")
        try:
            if text:
                self._strings = self._strings or StringNumbering()
                return self._strings.add(*_bytes_of(array))
            self._numbers = self._numbers or Numbering()
            return self._numbers.add(self._unsigned(array))
        except OverflowError:
            raise InputError(
                f"has more than {MAX_NUMBERS:,} distinct keys", mend="split the trace"
            ) from None

    def keys(self) -> NDArray[Any]:
        """The key of each id: int64, uint64 where one is beyond it, or str (bytes if not UTF-8)."""
        if self._strings is not None:
            return _texts(self._strings.keys())
        found = (self._numbers or Numbering()).keys()
        return found if self._beyond else found.view(np.int64)

    def _unsigned(self, array: NDArray[Any]) -> NDArray[np.uint64]:
        if array.dtype.kind not in "iu" and array.size:
            raise InputError(f"keys are {array.dtype}, not whole numbers or text")
        if array.ndim != 1:
            raise InputError(f"keys have shape {array.shape}", mend="give a flat array")
        if array.dtype.kind == "i" and array.size:
            self._negative |= bool(array.min() < 0)
        elif array.dtype == np.uint64 and array.size:
            self._beyond |= bool(array.max() >= 1 << 63)
        if self._negative and self._beyond:
            raise InputError("keys are both negative and beyond 2**63", mend="use text keys")
        return array.astype(np.uint64)


def densify(keys: ArrayLike, order: str = "first") -> tuple[NDArray[np.uint32], int, NDArray[Any]]:
    """(ids, objects, keys): dense uint32 ids of the keys, how many, and the key of each id.

    Args:
        keys: n whole numbers or strings (see `Densifier`).
        order: `first` numbers by first appearance. `given` keeps whole numbers as they are where
            all of them lie from 0 to 4 n (at least 2**20); ids that no request has may then be
            among the `objects`. LRU replays ran 1.2 to 1.3 times as fast on ids by first appearance
            (Zipf 1.0 over 10**6 objects), because popular objects, seen early, lie close together:
            keep the default.
    """
    if order not in ("first", "given"):
        raise InputError(f"order {order!r} is unknown", mend="use 'first' or 'given'")
    if order == "given":
        array = np.asarray(keys)
        if array.dtype.kind in "iu" and array.ndim == 1 and array.size:
            top = int(array.max()) + 1
            if array.min() >= 0 and top <= max(GIVEN_SHARE * array.size, 1 << 20):
                return array.astype(np.uint32), top, np.arange(top)
    numbering = Densifier()
    ids = numbering.add(keys)
    return ids, numbering.count, numbering.keys()


def _is_arrow(keys: Any) -> bool:
    return type(keys).__module__.split(".")[0] == "pyarrow"


def _bytes_of(array: Any) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """(data, offsets) of strings: item i is data[offsets[i]:offsets[i + 1]]."""
    import pyarrow as pa

    if not _is_arrow(array):
        listed = array.tolist()
        try:
            array = pa.array([one if isinstance(one, bytes) else one.encode() for one in listed])
        except AttributeError:
            raise InputError("keys hold something that is no text", mend="use text keys") from None
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
    if array.null_count:
        raise InputError("keys hold nulls", mend="give every request a key")
    array = array.cast(pa.large_binary())
    if not len(array):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, offsets, data = array.buffers()
    whole = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
    return np.frombuffer(data or b"", np.uint8), whole


def _texts(found: list[bytes]) -> NDArray[Any]:
    texts = np.empty(len(found), object)
    try:
        texts[:] = [one.decode() for one in found]
    except UnicodeDecodeError:
        texts[:] = found
    return texts
