"""How much should the last update of an absent client count?

Paper: Rodio and Neglia, "FedStale: leveraging stale client updates in federated learning", arXiv
2405.04171, 2024. Its abstract and the authors' code (arodio/FedStale) could be read, its figures
could not.

Theirs: the rule (a weight beta on the last updates of clients, from 0, unbiased FedAvg, to 1,
FedVARP), the setting (24 clients with alike data, of which half are always there and half seldom;
heterogeneity is a share of swapped labels; beta of 0, 0.2, 0.5, 0.8, 1), and the claims: stale
updates are the less useful the less data differ and the more participation differs, and FedStale
outperforms FedAvg and FedVARP in many settings. Ours: digits instead of MNIST and CIFAR-10, softmax
regression with weight decay instead of networks, 200 rounds of five local steps, q below 0.5 too,
which labels are swapped (k for 9 - k, of those seldom there), q known to the server, and every
number. What counts is the loss on everybody's data above its least value (by L-BFGS), at the end
of the run. Step sizes are tuned for each beta and setting on two seeds that do not rank; which beta
is best is read off the five seeds that rank.

What we find:
- Less useful with less data heterogeneity: yes. At q = 0.03 FedVARP's excess is 0.21 of FedAvg's
  with all labels of the second half swapped, 0.30 with half of them, 0.53 with none. With batches
  of 10 and q = 0.1 the best beta falls from 0.8 (all swapped) to 0.5 (none).
- Less useful with more participation heterogeneity: at the end of the scale, and not for all.
  From q = 0.1 to 0.03 the best beta's gain falls from a hundredfold to two- to fivefold. From 0.5
  to 0.1 it grows, as absent clients cost FedAvg more and stale updates are not yet old. With
  batches of 10 and swapped labels it grows from 0.1 to 0.03 too (0.62 to 0.35 of FedAvg's excess).
- FedStale against both: where updates carry the noise of small batches, or the step is too large.
  With batches of 10 a beta of 0.5 or 0.8 comes out best in all four settings; the gain over FedAvg
  is clear in three of four, that over FedVARP (1 to 15 %) is within its interval in all. Without
  that noise and with a step size that fits, FedVARP is best in all nine settings: its variance
  vanishes where the clients' updates come to rest, and FedAvg's does not.
- Choosing beta is mostly choosing what the step size did not. At q = 0.03 with a step size of 3, a
  beta of 0.5 or 0.8 has about a third of FedAvg's excess, and FedVARP as much as FedAvg or twice
  that: the updates of clients that are away for 33 rounds on average are used too long. With the
  step size tuned to 1, FedVARP is best and a beta of 0.8 within a tenth of it.

Limits: a convex problem near its optimum, where memory shines; the paper's networks stay far from
theirs. The largest step size (3) is chosen in most settings with q of 0.5 and 0.1. The excess of
local steps themselves, which no beta removes, is 0.02 to 0.06 thousandths (300 rounds with
everybody there). The clients are rounds only: no speeds, no transfers.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.federated_run import lower
from mltwin.models.federation.simulate import simulate
from mltwin.plots import COLOURS, FAINT, new_figure, number_axis, tell_apart
from mltwin.sim.executors import map_runs
from mltwin.sim.stats import mean_ci
from mltwin.text import Table
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLIENTS, ROUNDS, L2 = 24, 200, 0.01
BETAS = [0.0, 0.2, 0.5, 0.8, 1.0]  # 0: unbiased FedAvg, 1: FedVARP
CHANCES = [0.5, 0.1, 0.03]  # of the second half of the clients; the first is always there
SWAPS = [0.0, 0.5, 1.0]  # share of swapped labels in the second half's data
STEP_SIZES = [0.5, 1.0, 3.0]
SEEDS, TUNING = 5, 2  # the seeds that tune follow those that rank
LAST = 0.2  # share of the rounds that counts as the end
EVERY = 10
WHOLE, SMALL = 0, 10  # batches: all of a client's 60 samples, or 10 of them

Job = tuple[int, float, float, float, float, int]  # batch, beta, chance, swap, step size, seed
Cell = tuple[int, float, float]  # batch, chance, swap
Curve = np.ndarray  # excess of the common loss at each evaluation


class Common:
    """A task that is judged by the common loss of all clients, weight decay and all.

    The clients' data are the training data: with swapped labels no held-out set is fair to both
    halves.
    """

    def __init__(self, task: Any, data: Any) -> None:
        self.task, self.x, self.y = task, data.x[data.row], data.y[data.row]

    def __getattr__(self, name: str) -> Any:
        return getattr(self.task, name)

    def evaluate(self, weights: np.ndarray) -> dict[str, float]:
        """The loss that the clients minimise together."""
        values = np.asarray(weights, np.float64)
        losses = self.task.test_samples(weights, self.x, self.y)[0]
        return {"loss": float(losses.mean() + 0.5 * L2 * (values * values).sum())}


def scenario(
    batch: int, beta: float, chance: float, swap: float, step: float, rounds: int
) -> mt.federated.Scenario:
    """24 clients with digits dealt out evenly; half of them seldom there, with swapped labels."""
    half = CLIENTS // 2
    return mt.federated.Scenario(
        clients={"count": CLIENTS},
        dataset={"source": "digits", "split": "iid", "swap_share": swap, "swap_clients": 0.5},
        model={"level": "softmax", "l2": L2},
        training={"steps": 5, "batch": batch, "lr": 0.1, "evaluate_every": EVERY},
        strategy={"name": "fedstale", "beta": beta, "server_lr": step},
        selection={"name": "participation", "chance": [1.0] * half + [chance] * half},
        stop={"versions": rounds},
    )


def losses(job: Job, rounds: int) -> np.ndarray:
    """The common loss at each evaluation of a run."""
    batch, beta, chance, swap, step, seed = job
    lowered = lower(scenario(batch, beta, chance, swap, step, rounds), seed)
    task = Common(lowered.task, lowered.examples)
    run = simulate(lowered.clients, lowered.policies, lowered.plan, task=task, seed=seed)
    return np.asarray(run.evaluations["loss"])


def least_loss(swap: float, seed: int) -> float:
    """The least value of the common loss: softmax regression on everybody's data, by L-BFGS."""
    from scipy.optimize import minimize

    data = lower(scenario(WHOLE, 0.0, 1.0, swap, 1.0, 1), seed).examples
    assert data is not None
    x = np.c_[data.x[data.row].astype(float), np.ones(len(data.row))]
    right = np.eye(data.classes)[data.y[data.row]]

    def value(flat: np.ndarray) -> tuple[float, np.ndarray]:
        weights = flat.reshape(x.shape[1], -1)
        scores = x @ weights
        scores -= scores.max(axis=1, keepdims=True)
        logs = scores - np.log(np.exp(scores).sum(axis=1, keepdims=True))
        slope = x.T @ (np.exp(logs) - right) / len(x) + L2 * weights
        loss = -(right * logs).sum() / len(x) + 0.5 * L2 * (weights * weights).sum()
        return float(loss), slope.ravel()

    begin = np.zeros(x.shape[1] * data.classes)
    options = {"maxiter": 5000, "ftol": 1e-13, "gtol": 1e-9}
    return float(minimize(value, begin, jac=True, method="L-BFGS-B", options=options).fun)


def late(curve: Curve) -> float:
    """Mean over the end; a run that broke down is as bad as no model at all."""
    found = curve[-max(1, round(LAST * len(curve))) :].mean()
    return float(found) if np.isfinite(found) else np.inf


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    rounds = 100 if options.quick else ROUNDS
    betas = BETAS[::2] if options.quick else BETAS
    steps = STEP_SIZES[1:2] if options.quick else STEP_SIZES
    ends = [SWAPS[0], SWAPS[-1]]
    places: list[Cell] = [(WHOLE, q, h) for q in CHANCES for h in SWAPS]
    places += [(SMALL, q, h) for q in CHANCES[1:] for h in ends]
    if options.quick:
        places = [(WHOLE, CHANCES[1], h) for h in ends]
    ranking = range(2 if options.quick else SEEDS)
    tuning = range(len(ranking), len(ranking) + (0 if options.quick else TUNING))
    seeds = [*ranking, *tuning]
    jobs = [(batch, b, q, h, s, seed) for batch, q, h in places for b in betas for s in steps
            for seed in seeds]  # fmt: skip
    found = map_runs(lambda job: losses(job, rounds), jobs, workers=options.workers)
    least = {(h, seed): least_loss(h, seed) for h in {h for *_, h in places} for seed in seeds}
    excess = {job: one.get() - least[job[3], job[5]] for job, one in zip(jobs, found, strict=True)}
    cells = {place: cell(excess, place, betas, steps, ranking, tuning) for place in places}
    figures: dict[str, Any] = {
        "betas": betas,
        "cells": {
            f"{'all' if batch == WHOLE else batch} samples, q {q:g}, swapped {h:g}": one
            for (batch, q, h), one in cells.items()
        },
    }
    publish(options, "fedstale", draw(cells, betas), tables(cells, betas), figures)
    return figures


def cell(
    excess: Mapping[Job, Curve],
    place: Cell,
    betas: Sequence[float],
    steps: Sequence[float],
    ranking: Sequence[int],
    tuning: Sequence[int],
) -> dict[str, Any]:
    """Excess losses of each beta, for each step size and for that which other seeds choose."""

    batch, chance, swap = place

    def at(beta: float, step: float, seeds: Sequence[int]) -> list[float]:
        return [late(excess[batch, beta, chance, swap, step, seed]) for seed in seeds]

    fixed = {step: {beta: float(np.mean(at(beta, step, ranking))) for beta in betas}
             for step in steps}  # fmt: skip
    chosen = {beta: min(steps, key=lambda s: float(np.mean(at(beta, s, tuning or ranking))))
              for beta in betas}  # fmt: skip
    tuned = {beta: at(beta, chosen[beta], ranking) for beta in betas}
    best = min(betas, key=lambda beta: float(np.mean(tuned[beta])))
    against = {}
    for name, beta in (("FedAvg", betas[0]), ("FedVARP", betas[-1])):
        if beta != best:
            ratio = mean_ci(np.log(np.array(tuned[best]) / np.array(tuned[beta])))
            against[name] = [float(np.exp(x)) for x in (ratio.estimate, ratio.low, ratio.high)]
    return {
        "fixed": fixed,
        "best_fixed": {step: min(row, key=lambda b: row[b]) for step, row in fixed.items()},
        "chosen": chosen,
        "tuned": {beta: float(np.mean(values)) for beta, values in tuned.items()},
        "best": best,
        "best_over": against,
    }


def tables(cells: Mapping[Cell, Mapping[str, Any]], betas: Sequence[float]) -> dict[str, Table]:
    """Excess loss by beta: tuned, with the largest step size, and with small batches."""
    made = {}
    largest = max(next(iter(cells.values()))["fixed"])
    titles = {
        "tuned": "Excess loss (thousandths), step size tuned for each beta on other seeds",
        "largest": f"Excess loss (thousandths), step size {largest:g} for all",
        "small-batches": f"Excess loss (thousandths), batches of {SMALL}, step size tuned",
    }
    for kind, title in titles.items():
        size = SMALL if kind == "small-batches" else WHOLE
        rows = []
        for (batch, chance, swap), one in cells.items():
            if batch != size:
                continue
            values = one["fixed"][largest] if kind == "largest" else one["tuned"]
            best = min(values, key=lambda beta: values[beta])
            row = [chance, f"{swap:.0%}", *[round(1000 * values[beta], 2) for beta in betas], best]
            if kind != "largest":
                row += [_ratio(one["best_over"].get(name)) for name in ("FedAvg", "FedVARP")]
                row.append(", ".join(f"{one['chosen'][beta]:g}" for beta in betas))
            rows.append(row)
        heads = ["seldom there: q", "swapped", *[f"beta {beta:g}" for beta in betas], "best"]
        if kind != "largest":
            heads += ["best over FedAvg", "best over FedVARP", "step sizes"]
        if rows:
            made[kind] = Table(heads, rows, title=title)
    return made


def _ratio(found: Sequence[float] | None) -> str:
    return "" if found is None else f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"


def draw(cells: Mapping[Cell, Mapping[str, Any]], betas: Sequence[float]) -> "Figure":
    """Excess loss against beta; columns: how seldom, rows: step size tuned, or the largest."""
    chances = sorted({chance for _, chance, _ in cells}, reverse=True)
    largest = max(next(iter(cells.values()))["fixed"])
    title = "FedStale: what the last update of an absent client should count"
    with new_figure(2, len(chances), (3.4 * len(chances), 6.2), title) as (figure, axes):
        for (batch, chance, swap), one in cells.items():
            column, colour = chances.index(chance), COLOURS[SWAPS.index(swap)]
            small = batch == SMALL
            label = f"{swap:.0%} swapped" + (f", batches of {SMALL}" if small else "")
            _line(axes[0, column], one["tuned"], betas, colour, label, small)
            _line(axes[1, column], one["fixed"][largest], betas, colour, label, small)
        for column, chance in enumerate(chances):
            axes[0, column].set_title(f"half are there with q = {chance:g}")
            axes[1, column].set_xlabel("beta: 0 FedAvg, 1 FedVARP")
        for row in axes:
            low = min(panel.get_ylim()[0] for panel in row)
            high = max(panel.get_ylim()[1] for panel in row)
            for panel in row:
                panel.set_ylim(low, high)
        axes[0, 0].set_ylabel("excess loss (thousandths), step size tuned")
        axes[1, 0].set_ylabel(f"excess loss (thousandths), step size {largest:g}")
        tell_apart(axes[0, -1])
    return figure


def _line(
    panel: "Axes",
    values: Mapping[float, float],
    betas: Sequence[float],
    colour: str,
    label: str,
    dashed: bool,
) -> None:
    shown = 1000 * np.maximum([values[beta] for beta in betas], 1e-5)
    panel.plot(betas, shown, "o--" if dashed else "o-", markersize=4, color=colour, label=label)
    best = int(np.argmin(shown))
    panel.plot([betas[best]], [shown[best]], "o", markersize=9, fillstyle="none", color=FAINT)
    number_axis(panel, "y")


if __name__ == "__main__":
    main(study, __doc__)
