"""Results on disk: one folder a run, named by the hash of its run spec.

``<store>/<hash>/run.json`` is the manifest (spec, metrics, digest, checksums); beside it stands a
Parquet file for each table. The manifest is written last and removed first, each file
appears whole or not at all, and a table must match its checksum. So a run is either complete or
absent, wherever a process was killed. Nothing is pickled.
"""

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from .errors import InputError
from .runspec import RunSpec, canonical_json

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "mltwin.run"
FORMAT_VERSION = 1
MANIFEST = "run.json"
MAX_MANIFEST_BYTES = 64 * 2**20
_HASH = re.compile(r"[0-9a-f]{64}")
_TABLE_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SHAPE = {"spec": dict, "digest": str, "metrics": dict, "tables": dict}


@dataclass(frozen=True)
class StoredRun:
    """One complete run: its spec, the digest of its behaviour, its metrics, and its tables."""

    folder: Path
    spec: RunSpec
    digest: str
    metrics: dict[str, Any]
    checksums: dict[str, str]

    def table(self, name: str) -> "pa.Table":
        """Read a table.

        Raises:
            InputError: no such table, or its file is missing, damaged or not the one stored.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        if name not in self.checksums:
            raise InputError(
                f"no table {name!r}",
                where=str(self.folder),
                mend=f"there are {sorted(self.checksums)}",
            )
        path = self.folder / f"{name}.parquet"
        content = _read(path)
        if hashlib.sha256(content).hexdigest() != self.checksums[name]:
            raise _damaged(path, "the file does not match its checksum")
        try:
            # Without threads of its own: they can outlive the interpreter, and abort its exit.
            file = pq.ParquetFile(pa.BufferReader(content), pre_buffer=False)
            return file.read(use_threads=False)
        except pa.ArrowException as error:
            raise _damaged(path, str(error)) from None


class ResultStore:
    """A folder of runs. Several processes may write different runs at the same time."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __contains__(self, spec: RunSpec | str) -> bool:
        """Whether a complete run of this spec (or hash) is stored."""
        return (self._folder(spec) / MANIFEST).is_file()

    def __iter__(self) -> Iterator[str]:
        """Hashes of the complete runs, sorted."""
        if not self.path.is_dir():
            return iter(())
        names = [folder.name for folder in self.path.iterdir() if _HASH.fullmatch(folder.name)]
        return iter(sorted(name for name in names if name in self))

    def write(
        self,
        spec: RunSpec,
        tables: Mapping[str, Any],
        metrics: Mapping[str, Any],
        digest: str,
    ) -> StoredRun:
        """Store a run, in the place of an earlier one of the same spec.

        Args:
            tables: name to a pyarrow Table, a pandas DataFrame, a record array, or a mapping of
                column names to arrays.
            metrics: what JSON can hold; None for what was not measured.

        Raises:
            InputError: a name or value that cannot be stored, or a place that cannot be written.
        """
        folder = self._folder(spec)
        for name in tables:
            if not _TABLE_NAME.fullmatch(name):
                raise InputError(f"table name {name!r}", mend="use small letters, digits and _")
        arrow = {name: as_arrow(data) for name, data in tables.items()}
        manifest = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "spec": asdict(spec),
            "digest": digest,
            "metrics": dict(metrics),
        }
        manifest = json.loads(canonical_json(manifest))  # refuses before anything is written
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._forget(folder)
            checksums = {name: _write_parquet(folder, name, arrow[name]) for name in sorted(arrow)}
            text = json.dumps({**manifest, "tables": checksums}, indent=2, sort_keys=True) + "\n"
            write_atomically(folder / MANIFEST, lambda file: file.write(text.encode()))
            _sync_directory(folder.parent)
            _drop_other_tables(folder, checksums)
        except OSError as error:
            raise InputError(
                f"cannot write: {error.strerror or error}",
                where=str(folder),
                mend="choose a folder that you may write to, with room",
            ) from error
        return StoredRun(folder, spec, digest, manifest["metrics"], checksums)

    def read(self, spec: RunSpec | str) -> StoredRun:
        """The run of this spec (or hash).

        Raises:
            InputError: missing, truncated, or not a run that this package wrote.
        """
        folder = self._folder(spec)
        path = folder / MANIFEST
        manifest = _parse_manifest(path)
        try:
            stored = RunSpec(**manifest["spec"])
            actual = stored.hash
        except (TypeError, InputError) as error:
            raise _damaged(path, f"spec: {error}") from None
        if actual != folder.name:
            raise _damaged(path, f"the run in it is {actual[:16]}..., not that of its folder")
        return StoredRun(
            folder, stored, manifest["digest"], manifest["metrics"], manifest["tables"]
        )

    def remove(self, spec: RunSpec | str) -> None:
        """Forget a run; nothing happens if there is none."""
        folder = self._folder(spec)
        if folder.is_dir():
            self._forget(folder)
            for path in folder.iterdir():
                path.unlink()
            folder.rmdir()

    def _folder(self, spec: RunSpec | str) -> Path:
        name = spec if isinstance(spec, str) else spec.hash
        if not _HASH.fullmatch(name):
            raise InputError(f"{name!r} is not the hash of a run", where=str(self.path))
        return self.path / name

    def _forget(self, folder: Path) -> None:
        """Remove the manifest, so that the run counts as absent from here on."""
        with contextlib.suppress(FileNotFoundError):
            (folder / MANIFEST).unlink()
            _sync_directory(folder)


def as_arrow(data: Any) -> "pa.Table":
    """A pyarrow Table of a Table, DataFrame, record array or mapping of columns."""
    import numpy as np
    import pyarrow as pa

    if isinstance(data, pa.Table):
        return data
    if isinstance(data, np.ndarray) and data.dtype.names is not None:
        data = {name: np.ascontiguousarray(data[name]) for name in data.dtype.names}
    if isinstance(data, Mapping):
        return pa.table({name: pa.array(np.asarray(column)) for name, column in data.items()})
    return pa.Table.from_pandas(data, preserve_index=False)


def write_atomically(path: Path, write: Callable[[BinaryIO], Any]) -> None:
    """Make path hold what write puts into the file, or leave it as it was.

    A temporary file in the same directory is written, flushed to the disk and renamed; then the
    directory is flushed too.
    """
    temporary = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    _sync_directory(path.parent)


def _write_parquet(folder: Path, name: str, data: "pa.Table") -> str:
    """Write a table; the SHA-256 of the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(data, buffer, compression="zstd")
    content = buffer.getvalue()
    write_atomically(folder / f"{name}.parquet", lambda file: file.write(content))
    return hashlib.sha256(content).hexdigest()


def _drop_other_tables(folder: Path, keep: Mapping[str, str]) -> None:
    """Remove the tables of an earlier run that this one does not have."""
    for path in folder.glob("*.parquet"):
        if path.stem not in keep:
            path.unlink()


def _parse_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads(_read(path, MAX_MANIFEST_BYTES))
    except (ValueError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise _damaged(path, f"not a manifest of format {FORMAT!r}")
    if manifest.get("format_version") != FORMAT_VERSION:
        raise InputError(
            f"format version {manifest.get('format_version')!r}",
            where=str(path),
            mend=f"this version reads {FORMAT_VERSION}; run it again",
        )
    for name, kind in _SHAPE.items():
        if not isinstance(manifest.get(name), kind):
            raise _damaged(path, f"{name!r} is missing or no {kind.__name__}")
    return manifest


def _read(path: Path, most_bytes: int | None = None) -> bytes:
    try:
        if most_bytes is not None and path.stat().st_size > most_bytes:
            raise _damaged(path, f"more than {most_bytes} bytes")
        return path.read_bytes()
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="run it again") from None
    except OSError as error:
        raise InputError(f"cannot read: {error.strerror}", where=str(path)) from None


def _damaged(path: Path, message: str) -> InputError:
    return InputError(message, where=str(path), mend="remove the folder and run it again")


def _sync_directory(path: Path) -> None:
    if os.name == "nt":  # Windows cannot open a directory, and orders renames itself
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
