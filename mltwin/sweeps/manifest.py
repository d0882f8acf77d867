"""The manifest of a sweep's folder: which files of rows belong to it, and the lock of its writer.

`sweep.json` lists the parts with their checksums. A part counts from the moment the manifest that
names it has taken the place of the one before (one rename), so an append happens whole or not at
all, wherever the process was killed. What lies in the folder beside it is the rest of a killed
writer and is swept out by the next.
"""

import contextlib
import json
import os
import socket
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from mltwin.sim.errors import InputError
from mltwin.sim.store import write_atomically

from .parts import PART_NAME, Part

FORMAT = "mltwin.sweep"
FORMAT_VERSION = 1
NAME = "sweep.json"
LOCK = "lock"
_MOST_BYTES = 256 * 2**20
_LEFT_OVER = (".rows-*", f".{NAME}.*", ".study.json.*")


def read_manifest(folder: Path) -> list[Part] | None:
    """The parts that the manifest lists; None where there is no manifest.

    Raises InputError where it is damaged or of another version.
    """
    path = folder / NAME
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise _damaged(path, f"more than {_MOST_BYTES} bytes")
        data = json.loads(path.read_bytes())
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise _damaged(path, f"not of format {FORMAT!r}")
        if data.get("format_version") != FORMAT_VERSION:
            raise InputError(
                f"format version {data.get('format_version')!r}",
                where=str(path),
                mend=f"this version reads {FORMAT_VERSION}; choose another folder",
            )
        parts = [Part(**entry) for entry in data["parts"]]
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from None
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise _damaged(path, str(error)) from None
    if not all(_sound(part) for part in parts):
        raise _damaged(path, "a part's name or checksum is not one")
    return parts


def write_manifest(folder: Path, parts: list[Part]) -> None:
    """Put a new manifest in the place of the old one.

    Raises OSError where it cannot be written.
    """
    data = {
        "format": FORMAT,
        "format_version": FORMAT_VERSION,
        "parts": [asdict(part) for part in parts],
    }
    text = json.dumps(data, indent=1) + "\n"
    write_atomically(folder / NAME, lambda out: out.write(text.encode()))


def parts_by_name(folder: Path) -> list[Part]:
    """The parts as the names of the files tell them, in order: for a folder without manifest."""
    found = []
    for path in folder.iterdir():
        named = PART_NAME.fullmatch(path.name)
        if named:
            found.append((int(named[1]), Part(path.name, 0, named[2])))
    return [part for _, part in sorted(found, key=lambda pair: (pair[0], pair[1].file))]


def sweep_out(folder: Path, parts: list[Part]) -> None:
    """Remove what a killed writer left: half-written files, and parts no manifest names."""
    kept = {part.file for part in parts}
    for path in folder.iterdir():
        if PART_NAME.fullmatch(path.name) and path.name not in kept:
            path.unlink(missing_ok=True)
    for pattern in _LEFT_OVER:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


def take_lock(folder: Path) -> IO[str]:
    """Become the one writer of a folder, until the file is closed or the process ends.

    Raises InputError where another process is it, OSError where the folder cannot be written.
    """
    path = folder / LOCK
    file = open(path, "a+", encoding="utf-8")  # noqa: SIM115 (held open on purpose)
    try:
        _lock(file)
    except OSError:
        file.seek(0)
        holder = file.read(200).strip() or "another process"
        file.close()
        raise InputError(
            f"is being written by {holder}",
            where=str(folder),
            mend="wait for it, or choose another folder",
        ) from None
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}")
    file.flush()
    return file


def _lock(file: IO[str]) -> None:
    if os.name == "nt":
        import msvcrt

        file.seek(4096)  # beyond the text, which others may read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        return
    import fcntl

    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def release(file: IO[str]) -> None:
    """Let others write."""
    with contextlib.suppress(OSError):
        file.truncate(0)
    file.close()


def _sound(part: Any) -> bool:
    named = PART_NAME.fullmatch(str(part.file))
    return named is not None and str(part.sha256).startswith(named[2]) and part.rows >= 0


def _damaged(path: Path, message: str) -> InputError:
    return InputError(
        f"is damaged: {message}",
        where=str(path),
        mend="remove this file: the rows are then found by the names of theirs",
    )
