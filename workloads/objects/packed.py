"""Bytes of binary traces: gz, xz and zst unpacked, in blocks of whole records, sizes capped."""

import gzip
import hashlib
import lzma
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.workloads.source import LIMITS, Limits, Source, open_file
from mltwin.workloads.tabular import Rejects

_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz", b"(\xb5/\xfd": "zstd"}
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)


class BinaryFile(Source):
    """A binary trace file; as `Source`, but zero bytes and zstd are welcome.

    Raises InputError where it cannot be read or is empty.
    """

    def __init__(self, path: str | os.PathLike[str], limits: Limits = LIMITS) -> None:
        self.path = Path(path).expanduser()
        self.limits = limits
        head = self.head_bytes(6, packed=True)
        if not head:
            raise InputError(
                "the file is empty", where=str(self.path), mend="give a file with requests"
            )
        self.packing = next((kind for magic, kind in _MAGIC.items() if head.startswith(magic)), "")

    @property
    def bytes_stored(self) -> int:
        """Of the file as it lies on the disk."""
        return self.path.stat().st_size

    def head_bytes(self, count: int, *, packed: bool = False) -> bytes:
        """The first bytes, unpacked unless `packed`; fewer where the file is shorter."""
        with open_file(self.path) as raw:
            if packed:
                return raw.read(count)
            try:
                return _exactly(self._unpacked(raw), count)
            except _BROKEN as broken:
                raise self._damaged(broken) from None
            except OSError as failed:
                raise self._damaged(failed) from None

    def sha256(self, *, packed: bool = False) -> str:
        """Digest (hex) of the unpacked content, or of the file as it lies."""
        digest = hashlib.sha256()
        with open_file(self.path) as raw:
            stream = raw if packed else self._unpacked(raw)
            try:
                while piece := stream.read(1 << 20):
                    digest.update(piece)
                    self._check_growth(0 if packed else stream.tell(), raw)
            except (*_BROKEN, OSError) as broken:
                raise self._damaged(broken) from None
        return digest.hexdigest()

    def records(self, dtype: np.dtype, rows: int, rejects: Rejects) -> Iterator[NDArray[Any]]:
        """Arrays of at most `rows` records. A last piece shorter than a record is refused."""
        seen = 0
        with open_file(self.path) as raw:
            if not self.packing:
                while len(block := np.fromfile(raw, dtype, rows)):
                    seen += block.size
                    yield block
                rest = self.bytes_stored - seen * dtype.itemsize
                self._check_rest(rest, seen, dtype, rejects)
                return
            stream = self._unpacked(raw)
            while True:
                try:
                    piece = _exactly(stream, rows * dtype.itemsize)
                except _BROKEN as broken:
                    raise self._damaged(broken) from None
                except OSError as failed:
                    raise self._damaged(failed) from None
                whole = len(piece) // dtype.itemsize
                self._check_growth(seen * dtype.itemsize + len(piece), raw)
                if whole:
                    seen += whole
                    yield np.frombuffer(piece, dtype, whole)
                if len(piece) < rows * dtype.itemsize:
                    self._check_rest(len(piece) % dtype.itemsize, seen, dtype, rejects)
                    return

    def _unpacked(self, raw: BinaryIO) -> Any:
        if self.packing == "gzip":
            return gzip.GzipFile(fileobj=raw)
        if self.packing == "xz":
            return lzma.LZMAFile(raw)
        if self.packing == "zstd":
            return _zstd(raw, self)
        return raw

    def _check_rest(self, rest: int, seen: int, dtype: np.dtype, rejects: Rejects) -> None:
        if rest:
            why = f"bytes are no whole record of {dtype.itemsize}: the file is cut short"
            rejects.add(seen, None, rest, why, "fetch the file again")
        if not seen:
            raise self.error("no whole record in it", mend="give a file with requests")

    def _check_growth(self, unpacked: int, raw: BinaryIO) -> None:
        limits = self.limits
        if unpacked > limits.ratio_from_bytes and unpacked > limits.ratio * max(1, raw.tell()):
            raise self.error(
                f"unpacks to more than {limits.ratio} times its size, like a gzip bomb",
                mend="unpack it yourself if you trust it",
            )

    def _damaged(self, broken: Exception) -> InputError:
        return self.error(
            f"the {self.packing or 'file'} data is damaged or cut short ({broken})",
            mend="fetch or pack the file again",
        )


def _exactly(stream: Any, count: int) -> bytes:
    """`count` bytes, fewer only at the end."""
    pieces = []
    while count > 0 and (piece := stream.read(min(count, 1 << 22))):
        pieces.append(piece)
        count -= len(piece)
    return b"".join(pieces)


def _zstd(raw: BinaryIO, source: Source) -> Any:
    try:
        import pyarrow as pa

        if pa.Codec.is_available("zstd"):
            return pa.CompressedInputStream(pa.PythonFile(raw, "r"), "zstd")
    except ImportError:
        pass
    raise source.error("is zstd data, and pyarrow here has no zstd", mend="unpack it with zstd -d")
