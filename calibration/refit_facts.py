"""What a device's data sheet would say, estimated from measurements of it."""

from collections.abc import Mapping, Sequence
from typing import Any

from mltwin.models.gpu.profile import Facts
from mltwin.models.llm.precision import precision
from mltwin.sim.errors import InputError

from .measure.record import Header

HEADROOM = 1.25
"""A peak is taken for so much more than the best that was measured."""
LARGE_BYTES = 16 * 2**20
ASSUMED_MEMORY_BYTES = 16 * 2**30


def facts_of(header: Header, rows: Sequence[Mapping[str, Any]]) -> Facts:
    """Peaks a quarter above the best measured rates; memory as the header has it.

    Raises:
        InputError: nothing from which to tell the peak or the bandwidth.
    """
    device = header.device
    gemms = [r for r in rows if r["op"] == "gemm"]
    rates = {
        dtype: max(_flops(r) / r["seconds"] for r in gemms if r["dtype"] == dtype)
        for dtype in sorted({r["dtype"] for r in gemms})
    }
    bandwidth = max((_bandwidth(r) for r in rows), default=0.0)
    if not rates or not bandwidth:
        raise InputError(
            "no GEMMs and no large copies from which to tell the device's peaks",
            mend="measure gemm and copy_device too, or give --like PROFILE",
        )
    peaks = {name: float(f"{HEADROOM * rate:.4g}") for name, rate in rates.items()}
    peaks.setdefault(
        "bfloat16", peaks.get("float16") or peaks.get("float32") or max(peaks.values())
    )
    memory = int(device.get("memory_bytes", ASSUMED_MEMORY_BYTES))
    links = [_link(r) for r in rows if r["op"] in ("copy_h2d", "copy_d2h")]
    host = max(links, default=0.0) or bandwidth
    return Facts(
        source=f"estimated from measurements of {device.get('name', 'this device')}: peaks "
        f"{HEADROOM} times the best measured rate; memory "
        + ("as the device reports it" if "memory_bytes" in device else "assumed"),
        sms=int(device.get("multiprocessors", device.get("threads", 1))),
        l2_bytes=int(device.get("l2_bytes", 0)),
        peak_flops=peaks,
        hbm_bytes=memory,
        usable_bytes=memory,
        hbm_bandwidth=float(f"{HEADROOM * bandwidth:.4g}"),
        nvlink_bandwidth=float(f"{host:.4g}"),
        host_link_bandwidth=float(f"{host:.4g}"),
        gpus_per_node=int(device.get("count", 1)),
        tdp_w=0.0,
    )


def _flops(row: Mapping[str, Any]) -> float:
    return 2.0 * row["m"] * row["n"] * row["k"]


def _bandwidth(row: Mapping[str, Any]) -> float:
    """Bytes a second of what cannot have come from a cache; 0 of anything else."""
    if row["op"] == "copy_device" and row["bytes"] >= LARGE_BYTES:
        return 2.0 * row["bytes"] / row["seconds"]
    if row["op"] == "gemm" and row["m"] <= 4:
        size = row["n"] * row["k"] * precision(row["dtype"]).weight_bytes
        return size / row["seconds"] if size >= LARGE_BYTES else 0.0
    return 0.0


def _link(row: Mapping[str, Any]) -> float:
    return float(row["bytes"] / row["seconds"]) if row["bytes"] >= LARGE_BYTES else 0.0
