"""Server step sizes for studies of federated methods: tried on seeds of their own, for each method.

A method with a badly chosen step loses to any other, and which step suits differs by ten times
between methods. So each study tries the same steps for all, on seeds that do not rank.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import mltwin as mt
from mltwin.federated_plots import band
from mltwin.sim.stats import mean_ci, paired_ci
from studies._common import Options, run_all

FIRST_SEED = 1_000_000
LATE = 0.15
"""Share of a run, at its end, over which accuracy is meant: one evaluation is noisy."""

Tried = dict[str, dict[float, float]]


def late(run: mt.Result, metric: str = "accuracy") -> float:
    """Mean of a metric of the model over the end of a run; 0 where the run diverged."""
    values = np.asarray(run.tables["evaluations"][metric], float)
    tail = values[-max(1, round(LATE * len(values))) :]
    return float(tail.mean()) if np.isfinite(tail).all() else 0.0


def tried(
    methods: Mapping[str, mt.Scenario], steps: Sequence[float], seeds: int, options: Options
) -> Tried:
    """Late accuracy of each method with each server step, a mean over seeds that rank nothing."""
    cases = [(name, step) for name in methods for step in steps]
    runs = run_all(
        [
            methods[name].changed({"strategy.server_lr": step, "name": f"{name}, {step:g}"})
            for name, step in cases
        ],
        options,
        range(FIRST_SEED, FIRST_SEED + seeds),
    )
    found: Tried = {name: {} for name in methods}
    for (name, step), group in zip(cases, runs, strict=True):
        found[name][step] = float(np.mean([late(run) for run in group]))
    return found


def best(scores: Mapping[float, float]) -> float:
    """The step with the highest score, the smallest of equals."""
    return max(sorted(scores), key=lambda step: scores[step])


def ranked(
    methods: Mapping[str, mt.Scenario],
    scores: Tried,
    seeds: Sequence[int],
    options: Options,
    more: Callable[[Sequence[mt.Result]], dict[str, Any]],
) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Each method with its own step, on the seeds that rank, against the first; learning curves.

    `more`: further figures of a method's runs.
    """
    chosen = {name: best(scores[name]) for name in methods}
    groups = run_all(
        [
            one.changed({"strategy.server_lr": chosen[name], "name": name})
            for name, one in methods.items()
        ],
        options,
        seeds,
    )
    base = [late(run) for run in groups[0]]
    rows, curves = {}, {}
    for name, group in zip(methods, groups, strict=True):
        accuracy = [late(run) for run in group]
        known, ahead = mean_ci(accuracy), paired_ci(accuracy, base)
        rows[name] = {
            "step": chosen[name],
            "accuracy": known.estimate,
            "half": known.half_width,
            "ahead": ahead.estimate,
            "ahead_half": ahead.half_width,
            **more(group),
        }
        curves[name] = band(group, "rounds", "accuracy")
    return rows, curves
