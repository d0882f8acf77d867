"""Watts of a GPU under steady loads, against how much of its compute and bandwidth they use.

Each load runs for a while; the driver's instantaneous power is read many times and the median
kept. Reads come from NVML, as ``nvidia-smi`` does it.
"""

import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from .points import Point

FIELD_POWER_INSTANT = 186  # NVML_FI_DEV_POWER_INSTANT, milliwatts
LOADS: tuple[Point, ...] = (
    {"load": "idle"},
    *({"load": "gemm", "m": m, "n": 8192, "k": 8192} for m in (1, 16, 64, 128, 256, 512, 1024)),
    *({"load": "gemm", "m": m, "n": 8192, "k": 8192} for m in (2048, 8192)),
    {"load": "copy", "bytes": 2**30},
    *({"load": "decode", "batch": b, "context": 4096} for b in (1, 8, 64, 256)),
    {"load": "prefill", "batch": 1, "tokens": 8192},
)


def power_points() -> list[Point]:
    """One point a load."""
    return [{"op": "power", **load} for load in LOADS]


def open_meter(index: int = 0) -> Callable[[], float] | None:
    """A function that reads watts, or None without NVML."""
    try:
        import pynvml

        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(index)
    except Exception:  # any failure of an optional library of the driver means: no meter
        return None

    def read() -> float:
        value = pynvml.nvmlDeviceGetFieldValues(handle, [FIELD_POWER_INSTANT])[0]
        if value.nvmlReturn == 0 and value.value.uiVal:
            return value.value.uiVal / 1000
        return pynvml.nvmlDeviceGetPowerUsage(handle) / 1000

    return read


def time_load(
    torch: Any, calls: Any, point: Point, read: Callable[[], float], seconds: float = 2.0
) -> dict[str, Any]:
    """Median watts of a load that runs for ``seconds``, and the time of one call.

    Returns:
        ``seconds`` of one call, ``watts``, ``spread`` of the watts ((p75 - p25) / median),
        ``repeats`` calls.
    """
    run = _load(torch, calls, point)
    watts: list[float] = []
    torch.cuda.synchronize()
    start, count = time.perf_counter(), 0
    while (now := time.perf_counter() - start) < seconds:
        count += run(count)
        # The first half lets clocks and the regulator settle.
        if now > seconds / 2:
            watts.append(read())
    torch.cuda.synchronize()
    taken = time.perf_counter() - start
    low, middle, high = np.quantile(watts, [0.25, 0.5, 0.75])
    return {
        "seconds": float(f"{taken / max(count, 1):.6g}"),
        "watts": round(float(middle), 1),
        "spread": round(float((high - low) / middle), 4),
        "repeats": max(count, 1),
    }


def _load(torch: Any, calls: Any, point: Point) -> Callable[[int], int]:
    """Starts work that lasts a few milliseconds, waits for it, and says how many calls it was."""
    if point["load"] == "idle":

        def rest(_: int) -> int:
            time.sleep(0.02)
            return 0

        return rest
    heads: Point = {"heads": 64, "kv_heads": 8, "head_dim": 128, "dtype": "bfloat16", "window": 0}
    ops = {"gemm": "gemm", "copy": "copy_device", "decode": "attention_decode"}
    op = ops.get(point["load"], "attention_prefill")
    call = calls.make(heads | point | {"op": op})

    def work(done: int) -> int:
        begun, count = time.perf_counter(), 0
        while time.perf_counter() - begun < 0.005:
            call(done + count)
            count += 1
        torch.cuda.synchronize()
        return count

    return work


def sample_powers(torch: Any, calls: Any) -> Iterator[tuple[Point, dict[str, Any]]]:
    """Every load with its result; nothing where there is no meter."""
    read = open_meter()
    if read is not None:
        for point in power_points():
            yield point, time_load(torch, calls, point, read)
