"""A real engine on this machine against its twin: calibrate, predict, run, compare.

OpenVINO GenAI's continuous batching runs a small Llama on the CPU (``calibration/local``). The
twin of its scheduler and a fitted step time predict Poisson runs at shares of its capacity, with
seeds that were not fitted to; the prediction is on disk before the run. Each load is then run for
real several times, with a burst before and after each run to know how fast the machine is, and
the report shows predicted, real, and real against real. Method and rules:
docs/validation-local.md.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from mltwin.calibration.local.cost import StepCost
from mltwin.calibration.local.predict import Requests, Served, latencies, predict
from mltwin.sim.cachedir import user_cache

from .local_report import Curves, LocalReport
from .local_session import Calibration, Session, Settings, default_threads, served_of

Progress = Callable[[float, str], None]


def validate_local(
    loads: Sequence[float] = (0.5, 0.8, 1.1),
    repeats: int = 3,
    requests: int = 250,
    seed: int = 0,
    out: str | Path | None = None,
    progress: Progress | None = None,
    threads: int | None = None,
) -> LocalReport:
    """Predict the local engine, run it, compare; about ten minutes.

    Args:
        loads: shares of the engine's capacity.
        repeats: quiet runs wanted of each load; while there are fewer, runs are repeated, up to
            three times as many in all, and all are reported.
        requests: of a run.
        seed: of arrivals and lengths, in all parts of the measurement.
        out: folder for step logs and results; a measurement that was cut off goes on there. None:
            a folder of the user's cache.
        threads: of the engine; None: half of the cores, at most two.

    Raises:
        InputError: openvino-genai is missing, a value that does not fit, or a folder that cannot
            be written.
    """
    settings = Settings(
        loads=tuple(float(load) for load in loads),
        repeats=repeats,
        requests=requests,
        seed=seed,
        threads=default_threads() if threads is None else threads,
    )
    session = Session(settings, _folder(settings, out), progress)
    runs = session.run()
    calibration = session.calibration
    assert calibration is not None
    return LocalReport(
        runs,
        calibration.data(),
        session.engine.machine,
        asdict(settings),
        {load: _kernel(session, calibration, load) for load in settings.loads},
        [_curves(session, load, runs) for load in sorted(settings.loads)],
    )


def _folder(settings: Settings, out: str | Path | None) -> Path:
    if out is not None:
        return Path(out) / "runs"
    text = json.dumps(asdict(settings), sort_keys=True)
    name = hashlib.sha256(text.encode()).hexdigest()[:12]
    return user_cache() / "mltwin" / "local-engine" / f"runs-{name}"


def _kernel(session: Session, calibration: Calibration, load: float) -> dict[str, float]:
    """What the serving kernel says of a run, as it would have before it."""
    from .local_kernel import kernel_serve

    requests = session.requests(load)
    served = kernel_serve(session.settings.rules, requests, calibration.plain)
    return latencies(requests, served)


def _curves(session: Session, load: float, runs: Sequence[dict]) -> Curves:
    requests = session.requests(load)
    mine = [run for run in runs if run["load"] == load]
    rules = session.settings.rules
    return Curves(
        load,
        [_each(requests, predict(rules, requests, StepCost(**run["cost"]))) for run in mine],
        [_each(requests, served_of(session.log(run["name"]))) for run in mine],
        [run["quiet"]["passed"] for run in mine],
    )


def _each(requests: Requests, served: Served) -> dict[str, np.ndarray]:
    several = requests.output > 1
    tpot = (served.last - served.first)[several] / (requests.output[several] - 1)
    ttft = served.first - requests.arrival
    return {"ttft": ttft[~np.isnan(ttft)], "tpot": tpot[~np.isnan(tpot)]}
