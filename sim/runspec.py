"""What makes a run that run: canonical JSON, content hashes, and the key of a result."""

import contextlib
import hashlib
import json
import math
import platform
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from .errors import InputError


def canonical_json(value: Any) -> str:
    """JSON text that is equal for equal content: sorted keys, no spaces, shortest floats, ASCII.

    NumPy numbers count as numbers, tuples as lists, -0.0 as 0.0; 1 and 1.0 differ.

    Raises:
        InputError: NaN or infinity, a key that is no string, or a type that JSON lacks; the
            message names the place, e.g. ``scenario.rate``.
    """
    plain = _plain(value, "")
    return json.dumps(plain, sort_keys=True, separators=(",", ":"), allow_nan=False)


def content_hash(value: Any) -> str:
    """SHA-256 (hex) of the canonical JSON."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def array_digest(*arrays: np.ndarray) -> str:
    """SHA-256 (hex) over types, shapes and values of arrays, in order.

    Record arrays are taken column by column: the padding between fields does not count. Equal on
    little- and big-endian machines.
    """
    digest = hashlib.sha256()
    for array in arrays:
        _add_array(digest, np.asarray(array))
    return digest.hexdigest()


@dataclass(frozen=True)
class RunSpec:
    """Everything that a result depends on; ``hash`` is the key under which it is stored."""

    scenario: dict[str, Any]
    seed: int
    trace_sha256: str
    kernel_hash: str
    versions: dict[str, str] = field(default_factory=dict)

    @property
    def hash(self) -> str:
        """SHA-256 (hex) over all fields."""
        return content_hash(asdict(self))


def installed_versions() -> dict[str, str]:
    """Versions of Python, this package and the libraries that a result may depend on."""
    versions = {"python": platform.python_version()}
    for package in ("mltwin", "numba", "llvmlite", "numpy", "scipy"):
        with contextlib.suppress(PackageNotFoundError):  # a bare checkout is not installed
            versions[package] = version(package)
    return versions


def _plain(value: Any, place: str) -> Any:
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, np.generic):
        return _plain(value.item(), place)
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise InputError(f"{value} cannot be stored", where=place or None, mend="use null")
        return float(value) + 0.0  # -0.0 becomes 0.0
    if isinstance(value, dict):
        return {_key(k, place): _plain(v, f"{place}.{k}".lstrip(".")) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist(), place)
    raise InputError(f"a {type(value).__name__} cannot be stored as JSON", where=place or None)


def _key(key: Any, place: str) -> str:
    if not isinstance(key, str):
        raise InputError(f"key {key!r} is not a string", where=place or None)
    return key


def _add_array(digest: "hashlib._Hash", array: np.ndarray) -> None:
    if array.dtype.names is not None:
        digest.update(f"record {array.shape} {array.dtype.names};".encode())
        for name in array.dtype.names:
            _add_array(digest, np.asarray(array[name]))
        return
    if array.dtype.hasobject:
        raise TypeError(f"no digest of an array of {array.dtype}")
    little = array.dtype.newbyteorder("<")
    digest.update(f"{little.str} {array.shape};".encode())
    digest.update(np.ascontiguousarray(array, dtype=little).data.cast("B") if array.size else b"")
