"""Bytes of a trace file, guarded: gz and xz unpacked, sizes capped, text checked, lines counted.

Everything that can be wrong below the level of columns ends here in one `InputError`: no such
file, a directory, a truncated or hostile archive, UTF-16, binary, endless lines.
"""

import codecs
import gzip
import io
import lzma
import os
import stat
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from mltwin.sim.errors import InputError

_MAGIC = {b"\x1f\x8b": "gzip", b"\xfd7zXZ\x00": "xz"}
_FOREIGN = {b"PK\x03\x04": "zip", b"BZh": "bzip2", b"(\xb5/\xfd": "zstd", b"7z\xbc\xaf": "7z"}
_CHUNK = 1 << 18  # below the cap on lines, so that no line hides within one chunk
_UTF16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Limits:
    """How much a file may unpack to before it is refused."""

    ratio: int = 200  # unpacked bytes for one packed byte,
    ratio_from_bytes: int = 50_000_000  # looked at beyond this many unpacked bytes
    total_bytes: int = 20_000_000_000
    line_bytes: int = 1_000_000


LIMITS = Limits()


class Source:
    """One input file; `open` and `lines` may be called again and again."""

    def __init__(self, path: str | os.PathLike[str], limits: Limits = LIMITS) -> None:
        self.path = Path(path).expanduser()
        self.limits = limits
        self.packing = _packing(self.path)

    @property
    def stem(self) -> str:
        """File name without folder and without the suffixes of its format and packing."""
        name = self.path.name
        for suffix in (".gz", ".xz", ".csv", ".jsonl", ".json", ".parquet", ".txt"):
            name = name.removesuffix(suffix)
        return name

    def open(self) -> "Guard":
        """A raw, checked stream of the unpacked bytes."""
        return Guard(self)

    def lines(self) -> Iterator[tuple[int, str]]:
        """(line number from 1, text without its line end), blank lines included."""
        with self.open() as guard:
            text = io.TextIOWrapper(io.BufferedReader(guard, 1 << 18), "utf-8-sig", newline=None)
            for number, line in enumerate(text, 1):
                yield number, line.rstrip("\n")

    def head(self, lines: int = 5) -> list[str]:
        """The first few lines that are not blank."""
        found: list[str] = []
        for _, line in self.lines():
            if line.strip():
                found.append(line)
            if len(found) == lines:
                break
        return found

    def error(self, message: str, line: int | None = None, mend: str | None = None) -> InputError:
        """An error that names this file and, where given, the line."""
        where = f"{self.path}" if line is None else f"{self.path}, line {line}"
        return InputError(message, where=where, mend=mend)


class Guard(io.RawIOBase):
    """A readable stream that raises InputError, and keeps it in `error`, on anything hostile."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.error: InputError | None = None
        self._raw: BinaryIO = open_file(source.path)
        self._stream: Any = self._raw
        if source.packing == "gzip":
            self._stream = gzip.GzipFile(fileobj=self._raw)
        elif source.packing == "xz":
            self._stream = lzma.LZMAFile(self._raw)  # noqa: SIM115 - closed in `close`
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._bytes = 0
        self._line = 1
        self._open_line = 0

    @property
    def lines_seen(self) -> int:
        """Lines so far, an unfinished one included."""
        return self._line - (self._open_line == 0)

    def readable(self) -> bool:
        """Always."""
        return True

    def close(self) -> None:
        """Close the file below too."""
        if not self.closed:
            self._stream.close()
            self._raw.close()
        super().close()

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer with at most 256 KiB of checked bytes; 0 at the end."""
        chunk = self.read(len(buffer))
        buffer[: len(chunk)] = chunk
        return len(chunk)

    def read(self, size: int = -1) -> bytes:
        """At most `size` checked bytes, and at most 256 KiB; all the rest where it is negative."""
        if size < 0:
            return self.readall()
        try:
            chunk = self._stream.read(min(size, _CHUNK))
        except _BROKEN as broken:
            raise self._fail(
                f"data is damaged or cut short ({broken})",
                "fetch or pack the file again",
                plain=f"the {self.source.packing}",
            ) from None
        except OSError as failed:
            raise self._fail(f"cannot be read ({failed.strerror or failed})") from None
        self._check(chunk)
        return chunk

    def _check(self, chunk: bytes) -> None:
        limits = self.source.limits
        self._bytes += len(chunk)
        if self._bytes > limits.total_bytes:
            raise self._fail(
                f"unpacks to more than {limits.total_bytes:,} bytes", "split the trace into parts"
            )
        if self.source.packing and self._bytes > limits.ratio_from_bytes:
            packed = max(1, self._raw.tell())
            if self._bytes > limits.ratio * packed:
                raise self._fail(
                    f"unpacks to more than {limits.ratio} times its size, like a gzip bomb",
                    "unpack it yourself if you trust it",
                )
        if b"\0" in chunk:
            self._line += chunk.count(b"\n", 0, chunk.index(b"\0"))
            raise self._fail("holds zero bytes: not a text file", "give CSV, JSON lines or Parquet")
        try:
            self._decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as wrong:
            self._line += chunk.count(b"\n", 0, max(0, wrong.start - 3))
            raise self._fail("is not UTF-8 text", "save it as UTF-8") from None
        self._measure_lines(chunk)

    def _measure_lines(self, chunk: bytes) -> None:
        limit = self.source.limits.line_bytes
        first = chunk.find(b"\n")
        over = self._open_line + (len(chunk) if first < 0 else first)
        if over > limit:
            raise self._fail(
                f"is longer than {limit:,} bytes", "write one request per line", plain="line"
            )
        self._line += chunk.count(b"\n")
        self._open_line = over if first < 0 else len(chunk) - chunk.rfind(b"\n") - 1

    def _fail(self, what: str, mend: str | None = None, plain: str = "the file") -> InputError:
        self.error = self.source.error(f"{plain} {what}", self._line, mend)
        return self.error


def read_text(source: Source, limit_bytes: int = 1_000_000_000) -> str:
    """A whole file as text, for formats that are one JSON value; line length is not capped."""
    whole = Source(source.path, Limits(line_bytes=limit_bytes, total_bytes=limit_bytes))
    with whole.open() as guard:
        return io.TextIOWrapper(io.BufferedReader(guard, 1 << 18), "utf-8-sig").read()


def open_file(path: Path) -> BinaryIO:
    """A regular file, opened for reading bytes. InputError where that cannot be done."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            kind = "a directory" if path.is_dir() else "not a regular file"
            raise InputError(f"is {kind}", where=str(path), mend="give the path of a file")
        return open(path, "rb")
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend=_near(path)) from None
    except PermissionError:
        raise InputError(
            "no permission to read it", where=str(path), mend="change its mode or owner"
        ) from None
    except (OSError, ValueError) as failed:
        raise InputError(f"cannot be opened ({failed})", where=str(path)) from None


def _near(path: Path) -> str:
    """What to do about a missing file: the likeliest name beside it, if there is one."""
    import difflib

    try:
        names = os.listdir(path.parent)
    except OSError:
        return f"there is no folder {path.parent}"
    close = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else "check the path"


def _packing(path: Path) -> str:
    """`gzip`, `xz` or nothing, by the first bytes; other archives and UTF-16 are refused."""
    with open_file(path) as raw:
        first = raw.read(6)
    for magic, kind in _FOREIGN.items():
        if first.startswith(magic):
            raise InputError(f"is {kind} data", where=str(path), mend="unpack it, or pack it as gz")
    if first.startswith(_UTF16):
        raise InputError("is UTF-16 text", where=str(path), mend="save it as UTF-8")
    if not first:
        raise InputError("the file is empty", where=str(path), mend="give a file with data in it")
    return next((kind for magic, kind in _MAGIC.items() if first.startswith(magic)), "")
