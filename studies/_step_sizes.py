"""Server step sizes for studies of federated methods: tried on seeds of their own, for each method.

A method with a badly chosen step loses to any other, and which step suits differs by ten times
between methods. So each study tries the same steps for all, on seeds that do not rank.
"""

from collections.abc import Mapping, Sequence

import numpy as np

import mltwin as mt
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
