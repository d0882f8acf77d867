"""Is this installation well? Versions, compiled kernels, data, devices. And warming it up."""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from .text import Table

PACKAGES = ("numpy", "numba", "scipy", "pandas", "pyarrow", "pydantic", "simpy", "matplotlib")


def doctor_table() -> Table:
    """One row a finding: what, its state, and the mend where something is amiss."""
    from mltwin import __version__
    from mltwin.sim.cachedir import kernel_hash

    rows: list[list[Any]] = [
        ["mltwin", __version__, ""],
        ["python", f"{platform.python_version()} ({sys.executable})", ""],
        ["platform", f"{platform.platform()}, {os.cpu_count()} cores", ""],
    ]
    rows += [_package(name) for name in PACKAGES]
    rows += [
        ["kernel hash", kernel_hash()[:16], ""],
        _cache(),
        ["threads", *_threads()],
        _data(),
        ["GPUs here", *_devices()],
    ]
    return Table(["what", "state", "mend"], rows)


KERNELS = {"serving": "kernel.advance-*.nbc", "federated": "federation_*/kernel.advance_body-*.nbc"}
"""Systems whose kernel takes long to compile, and the file that is there when it is."""


_TIME_ONLY = {"model.level": "time", "strategy": "fedbuff"}


def is_warm(system: str = "serving") -> bool:
    """Whether the kernel of a system, of these very sources, is compiled and on the disk."""
    from mltwin.sim.cachedir import prepare_cache

    if os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return True
    folder = prepare_cache()
    return folder is not None and any(folder.rglob(KERNELS[system]))


def warm_up(told: Callable[[str], None] = lambda text: None) -> float:
    """Compile the kernels of serving and federations and the policies of every hook; the seconds.

    It runs ten requests, and two rounds of federations of some kinds.
    """
    import time

    from mltwin.policies import list_policies

    from .federated import FederatedScenario
    from .serving import ServingScenario

    started = time.perf_counter()
    told("the serving kernel")
    ServingScenario().changed({"workload.requests": 10}).run()
    told("the federated kernels")
    short = FederatedScenario().changed({"stop.versions": 2})
    kinds: list[dict[str, Any]] = [{}, _TIME_ONLY, {"peers.protocol": "gossip"}]
    for kind in kinds:
        short.changed(kind).run()
    for policy in list_policies(system=None):
        told(f"policy {policy.name}")
        policy.compiled()
    return time.perf_counter() - started


def _package(name: str) -> list[Any]:
    try:
        return [name, version(name), ""]
    except PackageNotFoundError:
        return [name, "missing", f"pip install {name}"]


def _cache() -> list[Any]:
    from mltwin.sim.cachedir import prepare_cache

    folder = prepare_cache()
    if folder is None:
        return ["kernel cache", "no place is writable", "set MLTWIN_CACHE_DIR to a folder of yours"]
    cold = [system for system in KERNELS if not is_warm(system)]
    state = f"not compiled yet: {', '.join(cold)}" if cold else "compiled"
    return ["kernel cache", f"{folder}, {state}", "run `mltwin warmup`" if cold else ""]


def _threads() -> list[str]:
    from mltwin.sim.executors import usable_cores

    jit = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
    state = f"{usable_cores()} usable cores, one run a thread"
    return [state, "NUMBA_DISABLE_JIT is set: very slow" if jit else ""]


def _data() -> list[Any]:
    from mltwin.workloads.catalogue import list_traces, locate

    folder = os.environ.get("MLTWIN_DATA")
    if not folder:
        return ["MLTWIN_DATA", "not set", "optional: a folder of measured traces"]
    if not Path(folder).is_dir():
        return ["MLTWIN_DATA", f"{folder} is no folder", "correct it or unset it"]
    found = [name for name in list_traces() if locate(name, verify=False)]
    return ["MLTWIN_DATA", f"{folder}, {len(found)} traces of the catalogue", ""]


def _devices() -> list[str]:
    """What nvidia-smi says; the simulator itself needs no GPU."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return ["none found", "none is needed"]
    command = [tool, "--query-gpu=name,memory.total", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
    except (OSError, subprocess.SubprocessError):
        return ["nvidia-smi does not answer", "none is needed"]
    return ["; ".join(done.stdout.split("\n")).strip("; "), ""]
