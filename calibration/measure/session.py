"""One measuring session: every planned point through every backend, with progress."""

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError

from .collectives import time_collectives
from .numpy_backend import NumpyBackend
from .points import Point, point_key
from .power import sample_powers
from .record import Header, Recorder
from .timing import QUICK, Effort, time_call
from .torch_backend import TorchBackend

BACKENDS = {"cpu": ("numpy", "torch"), "cuda": ("torch-graph", "torch")}
GRAPHED = (
    *("gemm", "attention_prefill", "attention_decode", "attention_mixed"),
    *("norm", "activation", "moe"),
)
Progress = Callable[[float, str], None]


def measure(
    points: Sequence[Point],
    path: str | Path,
    *,
    device: str = "cpu",
    backends: Sequence[str] | None = None,
    quick: bool = False,
    seed: int = 0,
    limit_s: float | None = None,
    progress: Progress | None = None,
) -> dict[str, int]:
    """Time points and append them to a file; points that it already holds are left out.

    Args:
        points: of :func:`mltwin.calibration.measure.plan_points`.
        path: the file of measurements, made if missing.
        device: ``cpu`` or ``cuda``.
        backends: some of those of the device (default: all that are installed). On CUDA,
            operators that serving engines replay from graphs are timed by ``torch-graph``, the
            others by ``torch``; name ``torch`` alone to time all of them eagerly.
        quick: fewer samples.
        seed: of the inputs.
        limit_s: begin no point after so many seconds; run again to go on.
        progress: called with (share done, text with the time left).

    Returns:
        How many points were ``timed``, ``skipped`` (this device cannot run them), ``known``
        (in the file already) and ``left`` (not begun for lack of time).

    Raises:
        InputError: an unknown device or backend, none installed, or a file of another device.
    """
    if device not in BACKENDS:
        raise InputError(f"unknown device {device!r}", mend=f"use one of {list(BACKENDS)}")
    runners = _open_backends(device, backends, seed)
    effort = QUICK if quick else Effort()
    header = _header(runners[0], device, effort, seed)
    for runner in runners[1:]:
        header.software.update(runner.software())
    recorder = Recorder(path, header)
    work = [(r, p) for r in runners for p in _shuffled(points) if _takes(r.name, p, runners)]
    count = _work_through(work, recorder, effort, limit_s, progress)
    torch_runner = next((r for r in runners if r.name == "torch"), None)
    if torch_runner is not None and not count["left"]:
        count["timed"] += _add_collectives(torch_runner, points, recorder, quick)
        if device == "cuda":
            count["timed"] += _add_powers(torch_runner, recorder)
    return count


def _add_collectives(runner: Any, points: Sequence[Point], recorder: Recorder, quick: bool) -> int:
    todo = [p for p in points if p["op"] == "collective" and not recorder.holds(runner.name, p)]
    for point, result in time_collectives(todo, runner.kind, quick=quick):
        recorder.add(runner.name, point, result)
    return len(todo)


def _add_powers(runner: Any, recorder: Recorder) -> int:
    if any('"op":"power"' in key for _, key in recorder.done):
        return 0
    found = list(sample_powers(runner.torch, runner.calls))
    for point, result in found:
        recorder.add(runner.name, point, result)
    return len(found)


def _work_through(
    work: list[tuple[Any, Point]],
    recorder: Recorder,
    effort: Effort,
    limit_s: float | None,
    progress: Progress | None,
) -> dict[str, int]:
    count = {"timed": 0, "skipped": 0, "known": 0, "left": 0}
    todo = [(r, p) for r, p in work if not recorder.holds(r.name, p)]
    count["known"] = len(work) - len(todo)
    start = time.monotonic()
    for i, (runner, point) in enumerate(todo):
        spent = time.monotonic() - start
        if limit_s is not None and spent > limit_s:
            count["left"] = len(todo) - i
            break
        sampler = runner.prepare(point)
        if sampler is None:
            recorder.add(runner.name, point, {"skipped": "not available here"})
            count["skipped"] += 1
        else:
            recorder.add(runner.name, point, time_call(sampler, effort))
            count["timed"] += 1
        if progress:
            left = (time.monotonic() - start) / (i + 1) * (len(todo) - i - 1)
            progress((i + 1) / len(todo), f"{runner.name} {point['op']}, {left:.0f} s left")
    return count


def _open_backends(device: str, names: Sequence[str] | None, seed: int) -> list[Any]:
    known = BACKENDS[device]
    wanted = list(known if names is None else names)
    unknown = [n for n in wanted if n not in known]
    if unknown:
        raise InputError(
            f"no backend {unknown[0]!r} for {device}", mend=f"use some of {list(known)}"
        )
    opened: list[Any] = []
    for name in wanted:
        if name == "numpy":
            opened.append(NumpyBackend(seed))
            continue
        try:
            opened.append(TorchBackend(device, graphs=name == "torch-graph", seed=seed))
        except InputError:
            # Asked for by name, or nothing else to fall back on: the error is the answer.
            if names is not None or not opened:
                raise
    return opened


def _shuffled(points: Sequence[Point]) -> list[Point]:
    """The points in an order without pattern, but always the same: a run that is stopped has
    seen a fair sample of all of them, and slow drifts of the device hit all operators alike."""
    return sorted(points, key=lambda p: hashlib.sha256(point_key(p).encode()).digest())


def _takes(name: str, point: Point, runners: list[Any]) -> bool:
    """Whether a backend is the one to time a point; collectives have a runner of their own."""
    if point["op"] == "collective":
        return False
    if name == "torch-graph":
        return point["op"] in GRAPHED
    graphs = any(r.name == "torch-graph" for r in runners)
    return not (name == "torch" and graphs and point["op"] in GRAPHED)


def _header(runner: Any, device: str, effort: Effort, seed: int) -> Header:
    return Header(
        device=runner.device(),
        software=runner.software(),
        settings={
            "warmup_s": effort.warmup_s,
            "sample_s": effort.sample_s,
            "samples": effort.samples,
            "inputs": "standard normal",
            "weights": "cold (rotated beyond three times L2)"
            if device == "cuda"
            else "torch: rotated beyond 64 MiB; numpy: hot",
            "seed": seed,
        },
        started=datetime.now().astimezone().isoformat(timespec="seconds"),
    )
