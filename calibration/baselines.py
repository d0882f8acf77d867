"""What a fit has to beat, on the same split: a roofline, a forest, the nearest measured shapes.

And what it cannot beat: the noise of the measurements, as far as repeats show it.
"""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from mltwin.sim.errors import InputError

from .cases import FAMILIES, Case
from .fit import FitError, fit_error, robust_fit
from .fit.robust import Array
from .tables import Index, as_text
from .vidur_cases import OPERATIONS, vidur_files

ROOFLINE, FOREST, NEAREST = "roofline", "random forest", "nearest neighbours"
BASELINES = (ROOFLINE, FOREST, NEAREST)
FOREST_TREES = 60
NEIGHBOURS = 4
LEAST_TRAINING = 5
Mask = npt.NDArray[np.bool_]


def baselines(case: Case, held: Mask | None = None) -> dict[str, FitError]:
    """Errors of the baselines on the rows held out, fitted to the others.

    The roofline is t = a + max(work / (e1 peak), bytes / (e2 bandwidth)) (Williams et al., CACM
    2009) with a, e1 and e2 fitted robustly. The forest (Breiman, Machine Learning 45, 2001) goes
    from the logarithms of the sizes and of the two times on paper to that of the time (without
    the times on paper it does far worse); the distance-weighted nearest neighbours know the sizes.

    Args:
        case: rows of one operator.
        held: rows to hold out; None: those that the fit holds out.

    Returns:
        By name; empty where there is nothing to hold out or too little to learn from.

    Raises:
        InputError: scikit-learn is not installed.
    """
    held = case.held if held is None else held
    if not held.any() or (~held).sum() < LEAST_TRAINING:
        return {}
    predicted = {ROOFLINE: roofline(case, ~held), **learned(case, ~held)}
    return {
        name: fit_error(times, case.measured, held, case.shapes())
        for name, times in predicted.items()
    }


def roofline(case: Case, seen: Mask) -> Array:
    """Seconds of all rows by a roofline fitted to some of them."""
    return roofline_times(roofline_constants(case, seen), case)


def roofline_constants(case: Case, seen: Mask) -> dict[str, float]:
    """Overhead and the two shares of the data sheet that are reached."""
    some = case.only(seen)
    bounds = {
        "overhead_s": (1e-7, 5e-6, 1e-2),
        "compute": (0.005, 0.7, 1.5),
        "memory": (0.005, 0.7, 1.5),
    }
    return robust_fit(lambda p: roofline_times(p, some), some.measured, bounds)


def roofline_times(constants: dict[str, float], case: Case) -> Array:
    """Seconds of the rows by a roofline's constants."""
    arithmetic, memory = case.work()
    slower = np.maximum(arithmetic / constants["compute"], memory / constants["memory"])
    return constants["overhead_s"] + slower


def learned(case: Case, seen: Mask) -> dict[str, Array]:
    """Seconds of all rows by what only learns."""
    return learn(case.sizes(), np.column_stack(case.work()), case.measured, seen)


def learn(sizes: Array, paper: Array, measured: Array, seen: Mask) -> dict[str, Array]:
    """Seconds of all rows by forest and nearest neighbours.

    Args:
        sizes: (rows, sizes), logarithms.
        paper: (rows, any), seconds on paper, for the forest.
        measured: (rows,) seconds.
        seen: rows to learn from.
    """
    times, known = np.log(measured), np.log(np.maximum(paper, 1e-12))
    models = {
        FOREST: (_forest(), np.hstack([sizes, known])),
        NEAREST: (_nearest(int(seen.sum())), sizes),
    }
    found = {}
    for name, (model, inputs) in models.items():
        model.fit(inputs[seen], times[seen])
        found[name] = np.exp(model.predict(inputs))
    return found


def _forest() -> Any:
    try:
        from sklearn.ensemble import RandomForestRegressor
    except ImportError:
        raise InputError(
            "scikit-learn is not installed", mend="pip install 'mltwin[calibrate]'"
        ) from None
    return RandomForestRegressor(n_estimators=FOREST_TREES, random_state=0, n_jobs=1)


def _nearest(rows: int) -> Any:
    from sklearn.neighbors import KNeighborsRegressor

    return KNeighborsRegressor(n_neighbors=min(NEIGHBOURS, rows), weights="distance")


def between_campaigns(case: Case, index: Index) -> tuple[FitError, str] | None:
    """Differences from the closest other campaign that timed the same shapes on this GPU.

    Another campaign is another version or engine, whose kernels may differ too: an upper bound of
    the noise.

    Returns:
        The error of the other campaign taken as a prediction, and its version; None where there
        is no other.
    """
    system = case.source.folder.rsplit("/", 1)[-1]
    keys = [*FAMILIES[case.family].sizes]
    if case.family in ("decode", "prefill"):
        keys.append("head_dim")
    best: tuple[FitError, str] | None = None
    for version, file in index.versions(system, case.family).items():
        if version == case.version:
            continue
        other = _same_operator(case, version, file)
        if other is None:
            continue
        both = case.rows.merge(other.rows, on=keys, suffixes=("", "_other"))
        if len(both) < 20:
            continue
        error = fit_error(
            both["seconds_other"].to_numpy(float),
            both["seconds"].to_numpy(float),
            np.ones(len(both), bool),
        )
        if best is None or error.median < best[0].median:
            best = error, version
    return best


def _same_operator(case: Case, version: str, file: Path) -> Case | None:
    from .cases import family_cases

    found = family_cases(case.family, as_text(file), case.source, version, file)
    return next((c for c in found if c.operator == case.operator), None)


def repeats(data: str | Path, gpu: str) -> FitError | None:
    """Noise within a campaign: Vidur's configurations that were timed twice (fp16 GEMMs).

    Args:
        data: a folder that holds ``vidur/compute``, at most three folders down.
        gpu: Vidur's name, e.g. ``h100``.

    Returns:
        The second time taken as a prediction of the first; None without such files.
    """
    pairs: list[tuple[float, float]] = []
    for path in vidur_files(data, gpu):
        table = pd.read_csv(path)
        keys = [c for c in table if not str(c).startswith("time_stats.")]
        repeated = table[table.duplicated(keys, keep=False)]
        for _, rows in repeated.groupby(keys, sort=True):
            for name in OPERATIONS:
                column = f"time_stats.{name}.median"
                if column in rows and len(rows) > 1:
                    first, second = rows[column].to_numpy(float)[:2]
                    if first > 0 and second > 0:
                        pairs.append((first, second))
    if not pairs:
        return None
    values = np.array(pairs)
    return fit_error(values[:, 1], values[:, 0], np.ones(len(values), bool))
