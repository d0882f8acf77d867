"""Measure this machine, fit a profile, follow a running deployment: what a study calls.

Each function is one subcommand of ``mltwin calibrate``.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mltwin.sim.errors import InputError

if TYPE_CHECKING:
    from mltwin.calibration.refit_operators import Fitted
    from mltwin.models.gpu.profile import GpuProfile
    from mltwin.text import Table

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


@dataclass(frozen=True)
class FitReport:
    """A fitted profile, its errors, and the pictures that were drawn."""

    profile: "GpuProfile"
    plots: tuple[Path, ...] = ()

    def table(self) -> "Table":
        """One row an operator: rows fitted to and held out, and the error on the latter."""
        from mltwin.text import Table

        return Table(
            ["operator", "rows", "held out", "median %", "p95 %", "bias %", "shape sigma %"],
            [
                [p.operator, p.rows, p.held_rows, *(100 * v for v in (p.median, p.p95, p.bias,
                                                                      p.sigma))]
                for p in self.profile.provenance
            ],
            title=f"{self.profile.name}: error on what was held out",
            caption="Where nothing was held out, of the fitted rows.",
            formats={3: _tenths, 4: _tenths, 5: lambda v: f"{v:+.1f}", 6: _tenths},
        )  # fmt: skip

    def data(self) -> dict[str, Any]:
        """Name, engine, and each operator's provenance, for JSON."""
        from dataclasses import asdict

        return {
            "name": self.profile.name,
            "engine": self.profile.engine,
            "operators": [asdict(p) for p in self.profile.provenance],
            "plots": [str(path) for path in self.plots],
        }


def fit_profile(
    data: str | Path,
    gpu: str,
    *,
    like: str | Path | None = None,
    out: str | Path | None = None,
    plots: str | Path | None = None,
    force: bool = False,
) -> FitReport:
    """A GPU profile fitted to measurements: of a known source, or our own.

    Args:
        data: the data folder (the shipped profile ``gpu`` is fitted anew from its tables), or a
            file of :func:`measure_device`.
        gpu: name of the profile; for a file any name. A shipped one lends its data sheet.
        like: for a file: the profile (name or JSON) whose data sheet holds for the device, and
            whose operators stand in for those that were not measured.
        out: the JSON file to write.
        plots: folder for a picture of every fit.
        force: replace ``out``.

    Raises:
        InputError: data that is not there, is damaged or too little; an unknown name; a file
            that exists or cannot be written.
    """
    from mltwin.models.gpu import load_profile, profile_names

    path = Path(data)
    if not path.exists():
        raise InputError("no such file or folder", where=str(path), mend="give --data")
    if out is not None and Path(out).suffix != ".json":
        raise InputError("a profile is a .json file", where=str(out))
    if path.is_dir():
        if like is not None:
            raise InputError("--like is for a file of measurements", where=str(path))
        profile, fits = _fit_source(path, gpu, draw=plots is not None)
    else:
        from mltwin.calibration.refit import fit_measurements

        base = like if like is not None else gpu if gpu in profile_names() else None
        profile, fits = fit_measurements(path, gpu, load_profile(base) if base else None)
    if out is not None:
        from mltwin.templates import write_new

        write_new(Path(out), profile.to_json(), force=force)
    drawn: list[Path] = []
    if plots is not None:
        from mltwin.calibration.plots import plot_fits

        drawn = plot_fits(fits, plots)
    return FitReport(profile, tuple(drawn))


def _fit_source(folder: Path, gpu: str, *, draw: bool) -> "tuple[GpuProfile, list[Fitted]]":
    """A shipped profile anew; its fits, if they are to be drawn.

    Element-wise kernels, mixed attention and power, which are fitted to other sources than the
    tables of operators, are not among them.
    """
    from mltwin.calibration.cases import cases
    from mltwin.calibration.plots import fitted_case
    from mltwin.calibration.profiles import build_profile
    from mltwin.calibration.sources import SOURCES
    from mltwin.calibration.tables import index_tables

    data = folder.parent if folder.name == "kernels" else folder
    profile = build_profile(data, gpu)
    source = next((s for s in SOURCES if s.name == gpu), None)
    if not draw or source is None:
        return profile, []
    found = []
    for case in cases(index_tables(data), source):
        cost = case.cost_of(profile.operators)
        if cost is not None:
            found.append(fitted_case(case, cost))
    return profile, found


def _tenths(value: float) -> str:
    return f"{value:.1f}"
