"""How the shipped laws were fitted, and how far they are from clients that the fit did not see.

    MLTWIN_DATA=... python -m mltwin.workloads.federated.fits    # prints, and writes the file anew

What ships is fitted to all clients of a file. The distances beside it are two-sample
Kolmogorov-Smirnov distances between the clients of odd number and 4,000 drawn from a law fitted to
those of even number; `split` is the distance between the two halves themselves, what chance
makes of a perfect law. The numbers of classes and of parts of the day (`renewal`) were chosen with
an eye on both halves: the distances judge the fitted numbers, not that choice.
"""

import hashlib
import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError

from . import device_law, fedscale, flash, renewal, stragglers
from .devices import Array, Devices
from .presence import DAY_S, Presence

_FEDSCALE = "traces/federated/fedscale_subset"
_FLASH = "traces/federated/flash_imc20"
_AZURE = "traces/stragglers/azure_vm_noise"
_ALIBABA = "traces/stragglers/alibaba_v2020_minibatch_time"

_SOURCES = {
    "fedscale": (
        "Lai et al., FedScale, ICML 2022; 60 of the clients published with Khan et al., FLOAT, "
        "EuroSys 2024 (AFKD98/FLOAT@0557c89)",
        "Apache-2.0",
    ),
    "flash": ("Yang et al., FLASH, WWW 2021 (meiyuan666/flash@c770339)", "BSD-2-Clause"),
    "azure": ("Freischuetz et al., TUNA, EuroSys 2025 (Azure/AzurePublicDataset@b469a11)",
              "CC-BY-4.0"),
    "alibaba": ("Xiao et al., AntMan, OSDI 2020 (alibaba/clusterdata@7a6c496)", "CC-BY-4.0"),
}  # fmt: skip


def ks_distance(a: Array, b: Array) -> float:
    """Two-sample Kolmogorov-Smirnov distance: the widest gap of two distribution functions."""
    first, second = np.sort(a), np.sort(b)
    at = np.concatenate((first, second))
    gap = np.searchsorted(first, at, side="right") / len(first) - np.searchsorted(
        second, at, side="right"
    ) / len(second)
    return float(np.abs(gap).max())


def presence_distances(seen: Presence, drawn: Presence) -> dict[str, float]:
    """Distances of what devices of two sets did.

    Keys: intervals and duty of a device, lengths of stays and gaps, hours of coming (all
    Kolmogorov-Smirnov), and by_hour: the widest difference of the share there, over 24 hours.
    """
    pairs = {
        "intervals": (seen.counts, drawn.counts),
        "duty": (seen.duty, drawn.duty),
        "stays": (seen.lengths_s, drawn.lengths_s),
        "gaps": (seen.gaps_s, drawn.gaps_s),
        "hours": (seen.begin_s % DAY_S, drawn.begin_s % DAY_S),
    }
    found = {name: ks_distance(*pair) for name, pair in pairs.items()}
    found["by_hour"] = float(np.abs(seen.by_hour() - drawn.by_hour()).max())
    return {name: round(value, 4) for name, value in found.items()}


def device_distances(seen: Devices, drawn: Devices) -> dict[str, float]:
    """Distances of the columns that were measured (finite, and not alike for all)."""
    found = {}
    for column in device_law.COLUMNS:
        a, b = getattr(seen, column), getattr(drawn, column)
        if np.isfinite(a).all() and np.isfinite(b).all() and np.ptp(a) > 0:
            found[column] = round(ks_distance(a, b), 4)
    return found


def fit_presence(presence: Presence, name: str, **classes: int) -> dict[str, Any]:
    """The law of all traces with an interval, and the distances on those of odd number."""
    used = presence.take(presence.counts > 0)
    even, odd = used.take(np.arange(0, len(used), 2)), used.take(np.arange(1, len(used), 2))
    window = float(np.median(used.period_s))
    drawn = renewal.fit(even, name=name, **classes).draw(4000, period_s=window, seed=1)
    return {
        "traces": len(used),
        "distances": presence_distances(odd, drawn.take(drawn.counts > 0)),
        "split": presence_distances(odd, even),
        "law": renewal.fit(used, name=name, **classes).to_dict(),
    }


def fit_devices(devices: Devices, name: str) -> dict[str, Any]:
    """The law of all devices, and the distances on those of odd number."""
    even, odd = (
        devices.take(np.arange(0, len(devices), 2)),
        devices.take(np.arange(1, len(devices), 2)),
    )
    drawn = device_law.fit(even, name=name).draw(4000, seed=1)
    return {
        "devices": len(devices),
        "distances": device_distances(odd, drawn),
        "split": device_distances(odd, even),
        "law": device_law.fit(devices, name=name).to_dict(),
    }


def fit_all(folder: str | os.PathLike[str]) -> dict[str, dict[str, Any]]:
    """All laws that ship, from the folder that MLTWIN_DATA names.

    Raises InputError: a file that is not there or not what it should be.
    """
    base = Path(folder)
    found: dict[str, dict[str, Any]] = {"presence": {}, "devices": {}, "noise": {}}

    def add(kind: str, name: str, source: str, path: str, make: Callable[[Path], Any]) -> None:
        said, licence = _SOURCES[source]
        digest = hashlib.sha256((base / path).read_bytes()).hexdigest()
        facts = {"source": said, "licence": licence, "file": path, "sha256": digest}
        found[kind][name] = {**facts, **make(base / path)}

    for rule in ("strict", "loose"):
        path = f"{_FLASH}/ready_{rule}.first70pct_users.json.gz"
        add("presence", f"flash-{rule}", "flash", path, partial(_flash, name=f"flash-{rule}"))
    add("presence", "fedscale", "fedscale", f"{_FEDSCALE}/client_behave_trace.json", _fedscale)
    for name, source, path, read in (
        ("fedscale", "fedscale", f"{_FEDSCALE}/client_device_capacity.json",
         fedscale.read_fedscale_capacity),
        ("ai-benchmark", "flash", f"{_FLASH}/benchmark2score.json", flash.read_ai_benchmark),
        ("flash-wifi", "flash", f"{_FLASH}/speed_distri.json",
         lambda path: flash.read_flash_speeds(path)[0]),
    ):  # fmt: skip
        add("devices", name, source, path, partial(_device, name=name, read=read))
    for name, test in (("cpu", "sysbench_cpu"), ("redis", "redis_get")):
        path = f"{_AZURE}/{test}.short.eastus.D8s_v5.csv"
        add(
            "noise",
            f"azure-{name}",
            "azure",
            path,
            partial(_noise, read=stragglers.read_azure_noise),
        )
    path = f"{_ALIBABA}/job_1_norm.csv"
    add("noise", "alibaba", "alibaba", path, partial(_noise, read=stragglers.read_alibaba_noise))
    return found


def _flash(path: Path, name: str) -> dict[str, Any]:
    read = flash.read_flash_availability(path)
    facts = {key: read.facts[key] for key in ("users", "dropped")}
    return {**facts, **fit_presence(read, name)}


def _fedscale(path: Path) -> dict[str, Any]:
    # Sixty traces are too few for the classes that FLASH's two thousand bear.
    return fit_presence(fedscale.read_fedscale_availability(path), "fedscale", counts=2, duties=2)


def _device(path: Path, name: str, read: Callable[[Path], Devices]) -> dict[str, Any]:
    return fit_devices(read(path), name)


def _noise(path: Path, read: Callable[[Path], stragglers.Noise]) -> dict[str, Any]:
    noise = read(path)
    return {
        "rows": noise.facts["rows"],
        "factor": [float(f"{value:.5g}") for value in noise.factor],
        "sigma": float(f"{noise.sigma:.4g}"),
    }


def main() -> None:
    """Fit all laws, print their distances, write the file that ships."""
    from .shipped import FILE

    folder = os.environ.get("MLTWIN_DATA")
    if not folder:
        raise InputError("MLTWIN_DATA is not set", where="fits", mend="name the folder of the data")
    found = fit_all(folder)
    for kind, entries in found.items():
        for name, entry in entries.items():
            print(kind, name, entry.get("distances", entry.get("sigma")), entry.get("split", ""))
    FILE.write_text(to_json(found), "utf-8")


def to_json(found: dict[str, dict[str, Any]]) -> str:
    """The file's text: one line for each fact, so that a change of one shows as one."""
    lines = ["{"]
    for k, (kind, entries) in enumerate(found.items()):
        lines.append(f" {json.dumps(kind)}: {{")
        for n, (name, entry) in enumerate(entries.items()):
            lines.append(f"  {json.dumps(name)}: {{")
            facts = [f"   {json.dumps(key)}: {json.dumps(entry[key])}" for key in entry]
            lines.append(",\n".join(facts))
            lines.append("  }" + "," * (n + 1 < len(entries)))
        lines.append(" }" + "," * (k + 1 < len(found)))
    return "\n".join([*lines, "}", ""])


if __name__ == "__main__":
    main()
