"""The silicon sample: thousands of measured closed-loop runs, replayed and scored.

Nothing of the twin is fitted to these runs. :func:`fitted_pairs` shows apart what one scale a
deployment family would give, each configuration predicted with a scale from the others.
"""

import functools
import hashlib
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.calibration.silicon.resolver import known_model
from mltwin.sim.errors import InputError

from .pairs import AT, BELOW, PAST, UNKNOWN, Pair
from .silicon_replay import replay
from .silicon_rows import Run, read_runs

SOURCE = "silicon_sample"
CHUNK = 16
"""Runs of one family that a worker process takes at a time: they share their tables."""
Progress = Callable[[float, str], None]


@dataclass(frozen=True)
class Outcome:
    """A measured run and what the twin said of it.

    Attributes:
        run: as measured.
        ttft_s, tpot_s: predicted means; None where the twin has no answer.
        knee: concurrency at which the deployment saturates; NaN where unknown.
        confidence: 1 for tables of the very engine, GPU and shape, less for each step away.
        note: notes of the tables, or why there is no answer.
    """

    run: Run
    ttft_s: float | None
    tpot_s: float | None
    knee: float
    confidence: float
    note: str

    @property
    def load_bin(self) -> str:
        """Half the knee and twice the knee bound what counts as at the knee."""
        if not math.isfinite(self.knee):
            return UNKNOWN
        ratio = self.run.concurrency / self.knee
        return BELOW if ratio < 0.5 else AT if ratio <= 2.0 else PAST

    @property
    def core(self) -> bool:
        """One of the runs that the feasibility study counts."""
        return self.run.core(_shipped(self.run))

    def pairs(self) -> list[Pair]:
        """The TTFT and the TPOT of the run."""
        run = self.run
        base = Pair(
            source=SOURCE,
            row_id=run.row_id,
            gpu=run.system,
            engine=run.engine,
            model=_shipped(run) or run.model,
            mode="disagg" if run.disaggregated else "agg",
            load_bin=self.load_bin,
            metric="ttft_mean",
            measured=run.ttft_s,
            predicted=self.ttft_s,
            confidence=f"{self.confidence:.2f}",
            note=self.note,
        )
        return [base, replace(base, metric="tpot_mean", measured=run.tpot_s, predicted=self.tpot_s)]


def validate_silicon(
    data: str | Path,
    sample: int | None = None,
    progress: Progress | None = None,
    jobs: int | None = None,
) -> list[Pair]:
    """Replay the deduplicated runs of a file and pair them with the predictions.

    Args:
        data: the CSV file, the folder that holds it, or a data folder.
        sample: at most so many runs, chosen by a hash of their configuration.
        progress: called with (share done, text).
        jobs: worker processes (default: one a core).

    Raises:
        InputError: no such file, or a row that cannot be read.
    """
    outcomes = predict_runs(chosen(read_runs(data), sample), progress, jobs)
    return [pair for outcome in outcomes for pair in outcome.pairs()]


def chosen(runs: Sequence[Run], sample: int | None) -> list[Run]:
    """``sample`` of the runs, in their order; the same ones every time."""
    if sample is None or sample >= len(runs):
        return list(runs)
    order = sorted(range(len(runs)), key=lambda i: _digest(f"{runs[i].config} {runs[i].row_id}"))
    return [runs[i] for i in sorted(order[:sample])]


def predict_runs(
    runs: Sequence[Run], progress: Progress | None = None, jobs: int | None = None
) -> list[Outcome]:
    """Outcomes in the order of the runs; runs of one family go to one process.

    Raises:
        InputError: the package of measured tables is missing.
    """
    if not runs:
        return []
    from joblib import Parallel, delayed

    _require_tables()
    order = sorted(range(len(runs)), key=lambda i: (runs[i].family, i))
    chunks: list[list[int]] = []
    for _, group in groupby(order, key=lambda i: runs[i].family):
        places = list(group)
        chunks += [places[i : i + CHUNK] for i in range(0, len(places), CHUNK)]
    work = (delayed(_predict_all)([runs[i] for i in chunk]) for chunk in chunks)
    workers = Parallel(n_jobs=jobs or -1, return_as="generator")
    found: list[Outcome | None] = [None] * len(runs)
    done = 0
    for chunk, outcomes in zip(chunks, workers(work), strict=True):
        for place, outcome in zip(chunk, outcomes, strict=True):
            found[place] = outcome
        done += len(chunk)
        if progress:
            progress(done / len(runs), f"{done} of {len(runs)} runs")
    return [outcome for outcome in found if outcome is not None]


def _require_tables() -> None:
    """One clear error for all rows, not one for each, where the extra is not installed."""
    from mltwin.calibration.silicon.package import package_folder

    package_folder()


def _predict_all(runs: Iterable[Run]) -> list[Outcome]:
    return [_predict(run) for run in runs]


def _predict(run: Run) -> Outcome:
    try:
        answer = replay(run)
    except InputError as error:
        return Outcome(run, None, None, math.nan, 0.0, str(error).replace("\n", " "))
    return Outcome(
        run, answer.ttft_s, answer.tpot_s, answer.knee, answer.confidence, "; ".join(answer.notes)
    )


def fitted_pairs(outcomes: Sequence[Outcome]) -> list[Pair]:
    """Pairs with one scale for each (system, engine, model, precision), leave one out.

    TPOT and TTFT have one each: the exponential of the median log ratio of measured to predicted
    over the family's *other* configurations; repeats of a configuration are left out with it. A
    family of one configuration keeps scale 1.
    """
    families: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.tpot_s is not None:
            families.setdefault(outcome.run.family, []).append(outcome)
    found = []
    for family in families.values():
        ttft = _scales(family, [_ratio(o.run.ttft_s, o.ttft_s) for o in family])
        tpot = _scales(family, [_ratio(o.run.tpot_s, o.tpot_s) for o in family])
        for outcome, first, each in zip(family, ttft, tpot, strict=True):
            assert outcome.ttft_s is not None and outcome.tpot_s is not None
            scaled = replace(outcome, ttft_s=outcome.ttft_s * first, tpot_s=outcome.tpot_s * each)
            found += scaled.pairs()
    return found


def _scales(family: Sequence[Outcome], ratios: Sequence[float]) -> list[float]:
    """For each outcome the median ratio over the other configurations."""
    configs = np.array([outcome.run.config for outcome in family])
    logs = np.log(np.asarray(ratios))
    others = {config: logs[configs != config] for config in set(configs.tolist())}
    scale = {c: math.exp(float(np.median(v))) if len(v) else 1.0 for c, v in others.items()}
    return [scale[config] for config in configs.tolist()]


def _ratio(measured: float, predicted: float | None) -> float:
    assert predicted is not None
    return measured / max(predicted, 1e-9)


def figures(outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The project's figures on the silicon sample, in per cent (the share apart).

    ``silicon_*`` and ``silicon_fitted_*`` count the runs of :meth:`Outcome.core`,
    ``silicon_all_*`` and ``silicon_fitted_all_*`` all that are answered.
    """
    core = [outcome for outcome in outcomes if outcome.core]
    fitted, all_fitted = fitted_pairs(core), fitted_pairs(outcomes)
    found: dict[str, Any] = {}
    for name, metric in (("tpot", "tpot_mean"), ("ttft", "ttft_mean")):
        of_core = [pair for outcome in core for pair in outcome.pairs()]
        of_all = [pair for outcome in outcomes for pair in outcome.pairs()]
        found[f"silicon_{name}_median_pct"] = _median(of_core, metric)
        found[f"silicon_all_{name}_median_pct"] = _median(of_all, metric)
        found[f"silicon_fitted_{name}_median_pct"] = _median(fitted, metric)
        found[f"silicon_fitted_all_{name}_median_pct"] = _median(all_fitted, metric)
    answered = sum(outcome.tpot_s is not None for outcome in outcomes)
    found["silicon_answered_share"] = answered / len(outcomes) if outcomes else math.nan
    return found


def _median(pairs: Iterable[Pair], metric: str) -> float:
    errors = [abs(p.error_pct) for p in pairs if p.metric == metric and p.predicted is not None]
    return float(np.median(errors)) if errors else math.nan


@functools.lru_cache(maxsize=256)
def _known(model: str) -> str:
    try:
        return known_model(model)
    except InputError:
        return ""


def _shipped(run: Run) -> str:
    """The shipped name of the run's model; empty if it is none of the known families."""
    return _known(run.model)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
