"""A sweep's folder: rows under the keys of their runs, safe against being killed.

Rows are collected for a second (or some thousands of them), then written as one Parquet file and
entered in the manifest, in a thread beside the runs. A kill loses at most that second. One process
writes; any may read at the same time. Rows that were stored are never run again, and a damaged
file is set aside, said aloud, and only its rows are run again.
"""

import threading
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Self

from mltwin.sim.errors import InputError

from .manifest import (
    parts_by_name,
    read_manifest,
    release,
    sweep_out,
    take_lock,
    write_manifest,
)
from .parts import (
    PART_NAME,
    Keyed,
    Part,
    joined,
    read_part,
    to_rows,
    to_table,
    with_keys,
    write_part,
)
from .work import Row

if TYPE_CHECKING:
    import pyarrow as pa

FLUSH_S = 1.0
FLUSH_ROWS = 5_000
# So many small parts are merged into one, so that a long sweep leaves few files.
_SMALL_ROWS = 50_000
_MOST_SMALL_PARTS = 64
_READ_TRIES = 5


class SweepStore:
    """The folder, opened by its one writer; close it, or use it in a `with`.

    Attributes:
        path: of the folder.
        notices: what the reader should know, one sentence each.

    Raises InputError: the folder cannot be written, another process writes to it, or its manifest
    is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path).expanduser()
        self.notices: list[str] = []
        self._parts: list[Part] = []
        self._tables: list[pa.Table] = []
        self._fresh: dict[str, Row] = {}
        self._keys: set[str] = set()
        self._lock = self._entered()
        try:
            self._load()
        except BaseException:
            release(self._lock)
            raise
        self._pending: list[Keyed] = []
        self._since = 0.0
        self._hurry = self._closing = self._writing = False
        self._failed: InputError | None = None
        self._change = threading.Condition()
        self._thread = threading.Thread(target=self._flush_forever, daemon=True)
        self._thread.start()

    def _entered(self) -> IO[str]:
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return take_lock(self.path)
        except OSError as error:
            raise self._unwritable(error) from None

    def _load(self) -> None:
        """Read the parts; those that are damaged are set aside, their rows count as not run."""
        listed = read_manifest(self.path)
        found = parts_by_name(self.path) if listed is None else listed
        if listed is None and found:
            self.notices.append(f"{self.path}: no manifest; rows were found by the names of files")
        for part in found:
            try:
                table = read_part(self.path, part)
            except (InputError, FileNotFoundError) as error:
                self._set_aside(part, error)
                continue
            self._parts.append(replace(part, rows=len(table)))
            self._tables.append(table)
            self._keys.update(table["key"].to_pylist())
        try:
            if listed is None or len(self._parts) != len(found):
                write_manifest(self.path, self._parts)
            sweep_out(self.path, self._parts)
            if sum(len(table) for table in self._tables) > len(self._keys):
                self._rewrite([joined(self._tables)], self._parts)
            self._merge_small()
        except OSError as error:
            raise self._unwritable(error) from None

    def _set_aside(self, part: Part, error: Exception) -> None:
        place = self.path / part.file
        gone = isinstance(error, FileNotFoundError)
        if not gone:
            place.replace(place.with_name(f"{part.file}.damaged"))
        reason = "is gone" if gone else f"was damaged ({getattr(error, 'message', error)})"
        done = "" if gone else " and set aside"
        rows = f"its {part.rows} runs are" if part.rows else "its runs are"
        self.notices.append(f"{place} {reason}{done}: {rows} made again")

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: str) -> bool:
        return key in self._keys

    def known(self, keys: Sequence[str]) -> list[Row | None]:
        """The stored row of each key, or None."""
        old = {key for key in keys if key in self._keys and key not in self._fresh}
        found = dict(_taken(self._tables, old)) if old else {}
        return [self._fresh.get(key) or found.get(key) for key in keys]

    def append(self, rows: Sequence[Keyed]) -> None:
        """Add rows; they are on disk a second later, or after `flush`.

        Rows under keys that are there already are left out. Raises InputError where an earlier
        row could not be written.
        """
        with self._change:
            self._complain()
            new = [(key, row) for key, row in rows if key not in self._keys]
            if not new:
                return
            if not self._pending:
                self._since = time.monotonic()
            self._pending += new
            self._fresh.update(new)
            self._keys.update(key for key, _ in new)
            self._change.notify_all()

    def forget(self, keys: Collection[str]) -> None:
        """Remove rows, so that their runs are made again.

        Raises InputError where the folder cannot be written.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        gone = {key for key in keys if key in self._keys}
        if not gone:
            return
        self.flush()
        old, values = self._parts, pa.array(sorted(gone), pa.string())
        whole = joined(self._tables)
        try:
            self._rewrite([whole.filter(pc.invert(pc.is_in(whole["key"], value_set=values)))], old)
        except OSError as error:
            raise self._unwritable(error) from None
        self._keys -= gone
        for key in gone:
            self._fresh.pop(key, None)

    def flush(self) -> None:
        """Wait until all rows are on disk.

        Raises InputError where they cannot be written.
        """
        with self._change:
            self._hurry = True
            self._change.notify_all()
            self._change.wait_for(lambda: self._failed or not (self._pending or self._writing))
            self._hurry = False
            self._complain()

    def close(self) -> None:
        """Write what is left, and let others write. Closing twice does nothing.

        Raises InputError where rows cannot be written.
        """
        if self._lock.closed:
            return
        try:
            self.flush()
        finally:
            with self._change:
                self._closing = True
                self._change.notify_all()
            self._thread.join()
            release(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _flush_forever(self) -> None:
        """Write pending rows when they are old or many enough; runs in a thread of its own."""
        while True:
            with self._change:
                self._change.wait_for(lambda: self._pending or self._closing)
                if not self._pending:
                    return
                left_s = self._since + FLUSH_S - time.monotonic()
                self._change.wait_for(self._is_due, timeout=max(left_s, 0.0))
                rows, self._pending, self._writing = self._pending, [], True
            failed = self._attempt(rows)
            with self._change:
                self._writing = False
                self._failed = failed
                self._change.notify_all()
                if failed is not None:
                    return

    def _is_due(self) -> bool:
        return self._hurry or self._closing or len(self._pending) >= FLUSH_ROWS

    def _attempt(self, rows: list[Keyed]) -> InputError | None:
        """Write rows; the error if they cannot be."""
        try:
            table = to_table(rows)
            part = write_part(self.path, self._next_number(), table)
            write_manifest(self.path, [*self._parts, part])
            self._parts.append(part)
            self._tables.append(table)
            self._merge_small()
        except OSError as error:
            return self._unwritable(error)
        except Exception as error:  # this thread has nobody above it to tell
            return InputError(f"rows cannot be stored: {error}", where=str(self.path))
        return None

    def _merge_small(self) -> None:
        small = [i for i, part in enumerate(self._parts) if part.rows < _SMALL_ROWS]
        if len(small) <= _MOST_SMALL_PARTS:
            return
        self._rewrite([joined([self._tables[i] for i in small])], [self._parts[i] for i in small])

    def _rewrite(self, tables: Sequence["pa.Table"], old: Sequence[Part]) -> None:
        """Put tables in the place of parts: written first, then entered, then the old removed."""
        kept = [i for i, part in enumerate(self._parts) if part not in old]
        number = self._next_number()
        fresh = [write_part(self.path, number + i, t) for i, t in enumerate(tables) if len(t)]
        parts = [self._parts[i] for i in kept] + fresh
        write_manifest(self.path, parts)
        self._tables = [self._tables[i] for i in kept] + [t for t in tables if len(t)]
        self._parts = parts
        for part in old:
            (self.path / part.file).unlink(missing_ok=True)

    def _next_number(self) -> int:
        named = (PART_NAME.fullmatch(part.file) for part in self._parts)
        return 1 + max((int(name[1]) for name in named if name), default=0)

    def _complain(self) -> None:
        if self._failed is not None:
            raise self._failed

    def _unwritable(self, error: OSError) -> InputError:
        return InputError(
            f"cannot be written: {error.strerror or error}",
            where=str(self.path),
            mend="choose a folder that you may write to, with room",
        )


@contextmanager
def open_store(store: "SweepStore | str | Path | None") -> Iterator[SweepStore | None]:
    """A store to write to: the one given, left open; the folder given, closed at the end; None."""
    if store is None or isinstance(store, SweepStore):
        yield store
        return
    with SweepStore(store) as opened:
        yield opened


def read_rows(path: str | Path, keys: Sequence[str]) -> tuple[list[Row | None], list[str]]:
    """The stored row of each key or None, and what is wrong with files; also while another process
    writes.

    Raises InputError where there is no sweep, or its manifest is damaged.
    """
    folder = Path(path).expanduser()
    for _ in range(_READ_TRIES):
        parts = read_manifest(folder)
        if parts is None:
            raise InputError(
                "there is no sweep", where=str(folder), mend="give the folder of a sweep"
            )
        tables, notices = [], []
        try:
            for part in parts:
                try:
                    tables.append(read_part(folder, part))
                except InputError as error:
                    notices.append(str(error))
        except FileNotFoundError:  # merged into another part since; look again
            continue
        found = dict(_taken(tables, set(keys)))
        return [found.get(key) for key in keys], notices
    raise InputError(
        "a file of rows is gone", where=str(folder), mend="run the sweep again: it mends the folder"
    )


def _taken(tables: Sequence["pa.Table"], keys: Collection[str]) -> Iterator[Keyed]:
    """The rows of tables that have one of the keys."""
    for table in tables:
        yield from to_rows(with_keys(table, keys))
