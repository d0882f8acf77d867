"""The key of a run: a hash of all that its outcome depends on, taken before it is run.

That is the scenario without its labels, the seed, the content of each file that the scenario names
(traces, models, policies), the code and the versions under it. So a run found under its key need
not be run again, and a run by other code, or on a file since changed, has another key.

A content hash of a large trace takes seconds, so it is kept for as long as the file's path, size
and time of change stay as they are.
"""

import functools
import hashlib
import inspect
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mltwin.scenario import Scenario
from mltwin.sim.cachedir import PACKAGE_ROOT, kernel_hash
from mltwin.sim.runspec import content_hash, installed_versions

# What may shape a run. The rest of the package only looks at results.
_CODE = ("sim", "models", "policies", "workloads", "calibration")
_FACE = "mltwin"
_SUFFIXES = frozenset({".py", ".json", ".csv", ".parquet", ".npz", ".toml"})
_LONGEST_NAME = 1024
_NO_FILES = frozenset({"system", "name"})


@functools.cache
def portable_hash() -> str:
    """SHA-256 (hex) over the code and data of this package that may shape a run and the versions
    under it: equal on all machines of a cluster that is set up alike."""
    digest = hashlib.sha256()
    files = [path for folder in _CODE for path in (PACKAGE_ROOT / folder).rglob("*")]
    files += _face().glob("*.py")
    for path in sorted(files):
        if path.suffix in _SUFFIXES and path.is_file():
            name = f"{path.parent.name}/{path.name}\0".encode()
            digest.update(name + hashlib.sha256(path.read_bytes()).digest())
    versions = {name: v for name, v in installed_versions().items() if name != "python"}
    return content_hash({"code": digest.hexdigest(), "versions": versions})


@functools.cache
def code_hash() -> str:
    """SHA-256 (hex) over the code on this machine: the same, with the CPU and the Python that
    kernels are compiled for."""
    return content_hash([portable_hash(), kernel_hash()])


def _face() -> Path:
    """The folder of the face's own modules: in a checkout below the root, else the root itself."""
    below = PACKAGE_ROOT / _FACE
    return below if below.is_dir() else PACKAGE_ROOT


def point_key(scenario: Scenario) -> str:
    """SHA-256 (hex) of what the runs of a scenario have in common: all but the seed."""
    return content_hash(
        {
            "scenario": scenario.hash,
            "files": files_of(scenario),
            "own": _own_code(type(scenario)),
            "code": code_hash(),
        }
    )


def run_key(point: str, seed: int) -> str:
    """The key (hex) of one run of a point.

    >>> len(run_key("a", 0)), run_key("a", 0) == run_key("a", 1)
    (64, False)
    """
    return hashlib.sha256(f"{point}:{seed}".encode()).hexdigest()


def files_of(scenario: Scenario) -> dict[str, str]:
    """The files that a scenario names anywhere, or that a trace's name stands for: name to a
    SHA-256 (hex) of the content, or of names, sizes and times of change in a folder."""
    found = {}
    fields = {name: value for name, value in scenario.data().items() if name not in _NO_FILES}
    for text in dict.fromkeys(_texts(fields)):
        for path in _named(scenario, text):
            found[text] = _file_hash(path)
    return found


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        if value and len(value) <= _LONGEST_NAME and "\0" not in value and "\n" not in value:
            yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from _texts(inner)
    elif isinstance(value, Sequence):
        for inner in value:
            yield from _texts(inner)


def _named(scenario: Scenario, text: str) -> Iterator[Path]:
    """The file or folder that a text names, if it names one."""
    path, colon, _ = text.rpartition(":")
    for name in (text, path) if colon and path.endswith(".py") else (text,):
        try:
            place = scenario.resolve_path(name)
            if place.exists():
                yield place
                return
        except (OSError, RuntimeError, ValueError):
            continue
    trace = _catalogued(text, os.environ.get("MLTWIN_DATA", ""))
    if trace is not None:
        yield trace


@functools.cache
def _catalogued(text: str, data: str) -> Path | None:
    """Where the trace of the catalogue that bears this name lies, if it lies here."""
    from mltwin.workloads.catalogue import list_traces, locate
    from mltwin.workloads.objects.catalogue import list_objects
    from mltwin.workloads.objects.catalogue import locate as locate_objects

    if text in list_traces():
        return locate(text, verify=False)
    return locate_objects(text, verify=False) if text in list_objects() else None


def _file_hash(path: Path) -> str:
    """SHA-256 (hex) of a file's content, or of what tells that a folder has changed: a folder that
    happens to bear a policy's name may hold anything."""
    if path.is_dir():
        below = sorted(file for file in path.rglob("*") if file.is_file())
        infos = [(str(file.relative_to(path)), file.stat()) for file in below]
        return content_hash([[name, info.st_size, info.st_mtime_ns] for name, info in infos])
    info = path.stat()
    return _hashed(str(path.resolve()), info.st_mtime_ns, info.st_size)


@functools.lru_cache(maxsize=4096)
def _hashed(path: str, changed_ns: int, size: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@functools.cache
def _own_code(cls: type[Scenario]) -> str:
    """A hash of the file that defines a user's own system; "" for those of this package."""
    if cls.__module__.split(".")[0] == _FACE:
        return ""
    try:
        file = inspect.getsourcefile(cls)
        return _file_hash(Path(file)) if file else ""
    except (TypeError, OSError):
        module = sys.modules.get(cls.__module__)
        return f"{getattr(module, '__name__', '')}.{cls.__qualname__}"
