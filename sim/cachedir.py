"""Where Numba keeps compiled kernels: one directory for each state of the sources.

Numba checks only the file a cached function stands in; after an edit of a helper in another file
it returns stale results silently (numba issue 1833). So the cache directory is named by a hash of
every file that may hold compiled code, the versions of the compiler and the CPU. Two states of
the sources then never share an entry, and going back to an old state finds its old entries.

This module must run before Numba is imported, so it does not import it. The hash is taken once a
process; sources edited while a process is still importing them are not noticed.
"""

import functools
import hashlib
import os
import re
import shutil
import stat
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGE_ROOT = Path(__file__).resolve().parent.parent
KERNEL_FOLDERS = ("sim", "models", "policies")
KEEP_NEWEST = 3
KEEP_USED_WITHIN_S = 3600.0

# These change the machine code, and Numba does not put them into its own cache key.
_CODE_OPTIONS = (
    "NUMBA_BOUNDSCHECK",
    "NUMBA_OPT",
    "NUMBA_DEBUGINFO",
    "NUMBA_LOOP_VECTORIZE",
    "NUMBA_SLP_VECTORIZE",
    "NUMBA_ENABLE_AVX",
)
# Names the directory that we chose, so that a child process can tell our choice from the user's.
_OURS = "MLTWIN_NUMBA_CACHE_DIR"
_HASH_NAME = re.compile(r"[0-9a-f]{16}")


@functools.cache
def source_hash() -> str:
    """SHA-256 (hex) over the kernel sources alone: equal on every machine with the same code."""
    digest = hashlib.sha256()
    for folder in KERNEL_FOLDERS:
        for path in sorted((PACKAGE_ROOT / folder).rglob("*.py")):
            _add(digest, path.relative_to(PACKAGE_ROOT).as_posix().encode())
            _add(digest, path.read_bytes())
    return digest.hexdigest()


@functools.cache
def kernel_hash() -> str:
    """SHA-256 (hex) over kernel sources, compiler versions, CPU name and Python minor version."""
    digest = hashlib.sha256()
    _add(digest, source_hash().encode())
    for package in ("numba", "llvmlite", "numpy"):
        _add(digest, f"{package}={_version(package)}".encode())
    _add(digest, f"cpu={_cpu_name()}".encode())
    _add(digest, f"python={sys.version_info.major}.{sys.version_info.minor}".encode())
    for option in _CODE_OPTIONS:
        _add(digest, f"{option}={os.environ.get(option, '')}".encode())
    return digest.hexdigest()


def user_cache() -> Path:
    """The user's cache directory: MLTWIN_CACHE_DIR, else XDG_CACHE_HOME, else ``~/.cache``."""
    for variable in ("MLTWIN_CACHE_DIR", "XDG_CACHE_HOME"):
        value = os.environ.get(variable)
        if value:
            return Path(value).expanduser()
    return Path("~/.cache").expanduser()


def prepare_cache() -> Path | None:
    """Point NUMBA_CACHE_DIR at ``<user cache>/mltwin/<hash>`` and delete old hashes.

    A NUMBA_CACHE_DIR that the user has set is left alone. Where the user's cache is not writable,
    a private directory under the system's temporary one serves. Directories are made with mode
    0700, and one that others own or may write is not used: it holds code that we would run.

    Returns:
        The directory, or None if no place is writable (compile without a cache then).
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen and chosen != os.environ.get(_OURS):
        return Path(chosen)
    directory = _make_directory(kernel_hash()[:16])
    if directory is None:
        return None
    os.environ["NUMBA_CACHE_DIR"] = os.environ[_OURS] = str(directory)
    numba = sys.modules.get("numba")
    if numba is not None:
        numba.config.CACHE_DIR = str(directory)
    os.utime(directory)
    _prune(directory)
    return directory


def _make_directory(name: str) -> Path | None:
    uid = os.getuid() if hasattr(os, "getuid") else 0
    for home in (user_cache() / "mltwin", Path(tempfile.gettempdir()) / f"mltwin-{uid}"):
        try:
            home.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            home.mkdir(mode=0o700, exist_ok=True)
            directory = home / name
            directory.mkdir(mode=0o700, exist_ok=True)
            if _is_private(home) and _is_private(directory):
                with tempfile.TemporaryFile(dir=directory):
                    return directory
        except OSError:
            continue
    return None


def _is_private(path: Path) -> bool:
    """Whether path is a real directory of ours that nobody else may write."""
    info = path.lstat()
    if not stat.S_ISDIR(info.st_mode):
        return False
    if not hasattr(os, "getuid"):
        return True
    return info.st_uid == os.getuid() and not info.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _prune(current: Path) -> None:
    """Delete the directories of old hashes beside current, save the newest and those in use."""
    used: list[tuple[float, Path]] = []
    for path in current.parent.iterdir():
        if path == current or not _HASH_NAME.fullmatch(path.name):
            continue
        try:
            used.append((path.lstat().st_mtime, path))
        except OSError:  # another process pruned it first
            continue
    used.sort(reverse=True)
    limit = time.time() - KEEP_USED_WITHIN_S
    for mtime, path in used[KEEP_NEWEST - 1 :]:
        if mtime < limit:
            shutil.rmtree(path, ignore_errors=True)


def _add(digest: "hashlib._Hash", part: bytes) -> None:
    digest.update(len(part).to_bytes(8, "little"))
    digest.update(part)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return str(__import__(package).__version__)


def _cpu_name() -> str:
    name = os.environ.get("NUMBA_CPU_NAME")
    if name:
        return name
    import llvmlite.binding

    return str(llvmlite.binding.get_host_cpu_name())
