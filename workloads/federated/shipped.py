"""Laws of devices and of presence that ship: numbers of our own, fitted to public traces.

`fits` says how they were made; the traces themselves do not ship.
"""

import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError

from .device_law import DeviceLaw
from .renewal import PresenceLaw

FILE = Path(__file__).resolve().parent.parent / "data" / "federated.json"


def presence_law(name: str) -> PresenceLaw:
    """Availability: "flash-strict", "flash-loose" or "fedscale". Raises InputError."""
    return PresenceLaw.from_dict(_entry("presence", name)["law"])


def device_law(name: str) -> DeviceLaw:
    """Devices: "fedscale", "ai-benchmark" or "flash-wifi". Raises InputError."""
    return DeviceLaw.from_dict(_entry("devices", name)["law"])


def noise_sigma(name: str) -> float:
    """Sigma for `Clients.jitter`: "azure-cpu", "azure-redis" or "alibaba". Raises InputError."""
    return float(_entry("noise", name)["sigma"])


def provenance(kind: str, name: str) -> Mapping[str, Any]:
    """Source, licence, file with its sha256, rows, distances on clients left out of the fit.

    kind: "presence", "devices" or "noise". Raises InputError.
    """
    entry = _entry(kind, name)
    return {key: value for key, value in entry.items() if key not in ("law", "sigma")}


def _entry(kind: str, name: str) -> dict[str, Any]:
    found = _shipped()
    if kind not in found:
        raise InputError(f"no kind is called {kind!r}", mend=f"use one of {', '.join(found)}")
    if name not in found[kind]:
        raise InputError(
            f"no law of {kind} is called {name!r}", mend=f"use one of {', '.join(found[kind])}"
        )
    entry: dict[str, Any] = found[kind][name]
    return entry


@functools.cache
def _shipped() -> dict[str, dict[str, Any]]:
    data: dict[str, dict[str, Any]] = json.loads(FILE.read_text("utf-8"))
    return data
