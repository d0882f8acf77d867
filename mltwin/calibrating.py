"""Measure this machine, fit a profile, follow a running deployment: what a study calls.

Each function is one subcommand of ``mltwin calibrate``.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

DEFAULT_MODELS = ("llama-3.1-8b",)


def measure_device(
    out: str | Path,
    *,
    device: str = "cpu",
    models: Sequence[str] = DEFAULT_MODELS,
    dtypes: Sequence[str] | None = None,
    tps: Sequence[int] = (1,),
    ops: Sequence[str] | None = None,
    backends: Sequence[str] | None = None,
    grid: int = 256,
    quick: bool = False,
    limit_s: float | None = None,
    progress: Callable[[float, str], None] | None = None,
) -> dict[str, int]:
    """Time the kernels that models need on this machine, into a JSON-lines file.

    Args:
        out: the file; a run that was stopped goes on where it was.
        device: ``cpu`` or ``cuda``.
        models: shipped names or config.json files; their shapes are timed.
        dtypes: GEMM formats (default: float32 on the CPU, bfloat16 and fp8 on CUDA).
        tps: tensor-parallel splits of those shapes.
        ops: some of :data:`mltwin.calibration.measure.points.OPS` (default: all).
        backends: ``numpy`` or ``torch`` on the CPU, ``torch-graph`` or ``torch`` on CUDA.
        grid: points of the space-filling GEMM grid.
        quick: fewer samples a point.
        limit_s: begin no point after so many seconds.
        progress: called with (share, text).

    Returns:
        Numbers of points ``planned``, ``timed``, ``skipped``, ``known`` and ``left``.

    Raises:
        InputError: unknown names, no device, no PyTorch, a file of another device.
    """
    from mltwin.calibration.measure import measure, plan_points
    from mltwin.calibration.measure.points import CPU_LIMITS, CUDA_LIMITS, OPS
    from mltwin.models.llm.config import load_model

    cuda = device == "cuda"
    points = plan_points(
        [load_model(name) for name in models],
        ops=OPS if ops is None else ops,
        dtypes=dtypes or (("bfloat16", "fp8") if cuda else ("float32",)),
        tps=tps,
        grid=grid,
        limits=CUDA_LIMITS if cuda else CPU_LIMITS,
        devices=_devices() if cuda else 1,
    )
    count = measure(
        points,
        out,
        device=device,
        backends=backends,
        quick=quick,
        limit_s=limit_s,
        progress=progress,
    )
    return {"planned": len(points), **count}


def _devices() -> int:
    from mltwin.calibration.measure.torch_backend import import_torch

    return int(import_torch().cuda.device_count())


def measurement_summary(path: str | Path) -> list[dict[str, Any]]:
    """One row an operator and backend of a file of measurements.

    Returns:
        Dicts of op, backend, points, skipped, least and most seconds, median spread.

    Raises:
        InputError: not such a file.
    """
    import numpy as np

    from mltwin.calibration.measure import read_measurements

    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in read_measurements(path)[1]:
        groups.setdefault((row["op"], row["backend"]), []).append(row)
    found = []
    for (op, backend), rows in sorted(groups.items()):
        timed = [r for r in rows if "seconds" in r]
        found.append(
            {
                "op": op,
                "backend": backend,
                "points": len(timed),
                "skipped": len(rows) - len(timed),
                "least_s": min((r["seconds"] for r in timed), default=None),
                "most_s": max((r["seconds"] for r in timed), default=None),
                "spread": float(np.median([r["spread"] for r in timed])) if timed else None,
            }
        )
    return found
