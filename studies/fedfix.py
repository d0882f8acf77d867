"""What lies between waiting for the slowest client and not waiting at all?

Paper: Fraboni, Vidal, Kameni and Lorenzi, "A General Theory for Federated Optimization with
Asynchronous and Heterogeneous Clients Updates", JMLR 24, 2023. Its abstract and the authors' code
could be read, its figures could not.

Theirs: the rules (FedFix steps every dt with weights ceil(tau / dt) p; asynchronous FedAvg steps
with each update, weighted without bias or "identical"), speeds F-80 (times fall evenly by 80 % from
the slowest client to the fastest), dt of 0.8, 0.5 and 0.2, and the claims: asynchronous FedAvg
converges fast at the expense of stability, FedFix is in between and improves on both, and identical
weights minimise an objective in which a client counts by 1 / tau. Ours: dt of 0.1; the weights of
FedBuff and FedAsync; softmax regression on digits (10 clients, Dirichlet 0.1); every number.
Weights are measured with quadratics in which client i pulls coordinate i to 1, so that the model is
the vector of the clients' weights. Server step sizes are 1, and then tuned for each method alone on
four seeds that do not rank.

What we find:
- The theory of the weights holds: with identical weights the slowest client counts 4.70 % and the
  fastest 23.5 %, as it says, where their data say 10 %; 22 % of the weight is at the wrong clients.
  FedFix and the unbiased weights misplace less than 0.7 %, an effect of the finite step size.
- Discounts by staleness make the bias worse: the stale updates are those of slow clients. FedBuff
  and FedAsync, with an exponent of one half, misplace 32 % and 34 % of the weight: the fastest
  client counts ten to twelve times as much as the slowest, who takes five times as long.
- The claim on stability holds. With one step size, FedFix goes from FedAvg (60 s until 95 % of the
  weight is there, hardly any wobble) to asynchronous (1.4 s, a wobble a hundred times larger) as dt
  falls. On digits dt = 0.2 takes a fifth of FedAvg's time to 92 % (0.21, 0.17 to 0.25), less than
  dt = 0.1 (0.30) and asynchronous FedAvg (0.39), whose loss leaps for half of the run.
- Most of that gain is the step size. A step with E[d] = p moves the model as far as a round, and
  FedFix makes five of them while FedAvg makes one. With tuned step sizes (3 for FedAvg, 1 for
  FedFix, 0.3 for asynchronous) dt = 0.2 takes 0.59 of FedAvg's time (0.42 to 0.84), alone with
  an interval that stays clear of 1.
- The bias does not show in the accuracy on digits, although classes differ by client: identical
  weights have the lowest last loss (0.160), level with dt = 0.1. They make the most steps, and a
  model that nearly fits everybody's data has nearly one optimum however clients are weighed.

Limits: times do not vary, so that the periods until a step are known exactly; no transfers; ten
clients whose speed has nothing to do with their data. FedAvg, FedBuff and FedAsync have step sizes
of another meaning; in the table of weights FedBuff's and FedAsync's are a tenth of FedFix's.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.models.federation.hooks import Policies
from mltwin.models.federation.learning.quadratic import QuadraticTask
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import TICKS_PER_S, Clients, Plan
from mltwin.plots import COLOURS, FAINT, new_figure, number_axis, share_axis, tell_apart
from mltwin.policies.federated.fixed_time import frequencies, surrogate
from mltwin.policies.federated.registry import make
from mltwin.sim.stats import mean_ci
from mltwin.text import Table
from mltwin.workloads.federated.speeds import spread
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CLIENTS, PERCENT = 10, 80.0  # F-80: times fall evenly from 1 s to 0.2 s
PERIODS_S = [0.8, 0.5, 0.2, 0.1]
SEEDS, TUNING_SEEDS, SECONDS, TARGET = 8, 4, 60.0, 0.92
# eta_g tried; a step of a server that does not wait comes up to 21 times as often as FedAvg's
STEP_SIZES = [0.1, 0.3, 1.0, 2.0, 3.0, 5.0]
WEIGHTS_S, WEIGHTS_LR, WEIGHTS_STEPS = 200.0, 0.005, 10

FEDAVG, ASYNC, IDENTICAL = "FedAvg", "async, unbiased", "async, identical"
METHODS: dict[str, dict[str, Any]] = {
    FEDAVG: {"name": "fedavg", "clients": 0},
    **{f"FedFix {dt:g} s": {"name": "fedfix", "period_s": dt} for dt in PERIODS_S},
    ASYNC: {"name": "async", "weights": "fraboni"},
    IDENTICAL: {"name": "async", "weights": "identical", "server_lr": 1 / CLIENTS},
}
# Discounts by staleness, for the weights only: what they do to slow clients.
DISCOUNTED = {
    "FedBuff, K = 3": {"name": "fedbuff", "buffer": 3, "concurrency": 0, "server_lr": 0.3},
    "FedAsync": {"name": "fedasync", "alpha": 0.1},
}
SHADES = dict(
    zip(
        [*METHODS, *DISCOUNTED],
        [*(COLOURS[i] for i in (6, 5, 0, 2, 4, 1, 3)), "#8c564b", "#7f7f7f"],
        strict=True,
    )
)

Row = dict[str, Any]


class WeightTask(QuadraticTask):
    """Clients that each pull one coordinate to 1 and the others to 0.

    Their common optimum is the vector of their weights, so that what a method makes of the model
    is how much each client counts in it.
    """

    def __init__(self) -> None:
        super().__init__(np.ones((CLIENTS, CLIENTS)), np.eye(CLIENTS))

    def evaluate(self, weights: np.ndarray) -> dict[str, float]:
        """The model: a weight for each client."""
        return {f"weight_{i}": float(value) for i, value in enumerate(weights)}


def weights_of(strategy: Mapping[str, Any], seconds: float) -> Row:
    """How much each client counts in the long run, how much that wobbles, how soon it is so.

    Bias is half the sum of |weight - 1/N|, the share of the weight that is at the wrong client.
    """
    pace = spread(CLIENTS, slowest=1.0 / 100, percent=PERCENT).s_per_sample
    clients = Clients.make(np.full(CLIENTS, 100), s_per_sample=pace)
    plan = Plan(steps=WEIGHTS_STEPS, batch=10, lr=WEIGHTS_LR, until_s=seconds)
    run = simulate(clients, Policies(make("strategy", strategy)), plan, task=WeightTask())
    table = run.evaluations
    time_s = np.asarray(table["time"]) / TICKS_PER_S
    weights = np.array([table[f"weight_{i}"] for i in range(CLIENTS)])
    late = time_s >= seconds / 2
    found = weights[:, late].mean(axis=1)
    settled = np.flatnonzero(weights.sum(axis=0) >= 0.95)
    return {
        "weights": found,
        "bias": float(np.abs(found - 1 / CLIENTS).sum() / 2),
        "wobble": float(np.sqrt(weights[:, late].var(axis=1).sum())),
        "settles_s": float(time_s[settled[0]]) if len(settled) else np.inf,
        "steps": len(time_s) - 1,
    }


def expected() -> np.ndarray:
    """float64[N], the weights of "identical" by the theory: proportional to 1 / tau."""
    times = spread(CLIENTS, slowest=1.0, percent=PERCENT).s_per_sample
    return surrogate(np.full(CLIENTS, 1 / CLIENTS), frequencies(times))


def scenario(strategy: Mapping[str, Any]) -> mt.federated.Scenario:
    """Digits, few classes a client; F-80 with one second of work for the slowest."""
    given = {key: value for key, value in strategy.items() if key != "server_lr"}
    return mt.federated.Scenario(
        clients={
            "count": CLIENTS,
            "speed": {"name": "spread", "slowest": 1.0 / 320, "percent": PERCENT},
        },
        dataset={"source": "digits", "split": {"name": "dirichlet", "alpha": 0.1}},
        training={"steps": 10, "batch": 32, "lr": 0.1},
        strategy=given,
        stop={"until_s": SECONDS},
        target={"accuracy": TARGET},
    )


def digits_row(runs: Sequence[mt.Result], base: Sequence[mt.Result]) -> Row:
    """A method on digits: time to the target, loss at the end and how it wobbles.

    The ratio is a geometric mean of paired ratios of times; not reached counts as the run's length.
    """
    times, theirs = reached(runs), reached(base)
    ratio = mean_ci(np.log(np.minimum(times, SECONDS) / np.minimum(theirs, SECONDS)))
    losses, wobbles = [], []
    for run in runs:
        table = run.tables["evaluations"]
        late = table["time_s"] >= 0.8 * SECONDS
        losses.append(float(table["loss"][late].mean()))
        at, accuracy = table["time_s"][late], table["accuracy"][late]
        trend = np.polyval(np.polyfit(at, accuracy, 1), at)
        wobbles.append(float(np.std(accuracy - trend)))
    loss = mean_ci(losses)
    return {
        "median": float(np.median(times)),
        "reached": int(np.isfinite(times).sum()),
        "seeds": len(times),
        "ratio": [float(np.exp(x)) for x in (ratio.estimate, ratio.low, ratio.high)],
        "loss": [loss.estimate, loss.half_width],
        "wobble": float(np.mean(wobbles)),
    }


def reached(runs: Sequence[mt.Result]) -> np.ndarray:
    """float64[seeds], seconds to the target; infinite where it is not reached."""
    return np.array([run.metrics.get("time_to_accuracy_s", np.inf) for run in runs])


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    weighed = dict(METHODS) if options.quick else METHODS | DISCOUNTED
    learned = dict(METHODS)
    if options.quick:
        weighed = {name: weighed[name] for name in (FEDAVG, "FedFix 0.5 s", IDENTICAL)}
        learned = {name: METHODS[name] for name in (FEDAVG, "FedFix 0.2 s", ASYNC)}
    weights = {name: weights_of(one, WEIGHTS_S) for name, one in weighed.items()}
    seeds = list(range(2 if options.quick else SEEDS))
    scenarios = {name: scenario(one) for name, one in learned.items()}
    tuned = mt.federated.compare(
        scenarios,
        seeds=seeds,
        tune={"strategy.server_lr": [1.0] if options.quick else STEP_SIZES},
        tuning_seeds=TUNING_SEEDS,
        workers=options.workers,
    )
    alike = tuned if options.quick else mt.federated.compare(
        {name: one.changed({"strategy.server_lr": 1.0}) for name, one in scenarios.items()},
        seeds=seeds,
        workers=options.workers,
    )  # fmt: skip
    rows = {
        title: {name: digits_row(runs, found.results[FEDAVG]) for name, runs in
                found.results.items()}
        for title, found in (("one step size", alike), ("tuned", tuned))
    }  # fmt: skip
    figures = {
        "expected": expected(),
        "weights": weights,
        "digits": rows,
        "chosen": {one.name: one.chosen["strategy.server_lr"] for one in tuned.tuned},
        "edge": [one.name for one in tuned.tuned if one.edge],
    }
    publish(options, "fedfix", draw(figures, curves_of(alike)), tables(figures), figures)
    return figures


def tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    """Weights, and digits with one step size and with tuned ones."""
    theory = figures["expected"]
    told = {IDENTICAL: (theory[0], theory[-1])}
    lines = [
        [name, row["steps"] / WEIGHTS_S, row["weights"][0], row["weights"][-1],
         told.get(name, (1 / CLIENTS, "" ))[0] if name not in DISCOUNTED else None,
         f"{row['bias']:.2%}", row["wobble"], row["settles_s"]]
        for name, row in figures["weights"].items()
    ]  # fmt: skip
    heads = ["method", "steps/s", "slowest counts", "fastest counts", "slowest, theory",
             "weight misplaced", "wobble", "s to 95 %"]  # fmt: skip
    made = {
        "weights": Table(
            heads, lines, title="How much clients of equal data count (quadratics)",
            caption=f"Means over the second half of {WEIGHTS_S:g} s; wobble: root of the summed "
            "variances of the weights. Async, identical and the discounted: eta_g of about 1/N.",
        )
    }  # fmt: skip
    for title, rows in figures["digits"].items():
        lines = []
        for name, row in rows.items():
            size = figures["chosen"].get(name, 1.0) if title == "tuned" else 1.0
            estimate, low, high = row["ratio"]
            lines.append(
                [name, f"{size:g}" + (" (edge)" if title == "tuned" and name in figures["edge"]
                 else ""),
                 f"{row['reached']} of {row['seeds']}",
                 row["median"] if np.isfinite(row["median"]) else None,
                 f"{estimate:.2f} ({low:.2f} to {high:.2f})" if name != FEDAVG else "1",
                 f"{row['loss'][0]:.3f} ± {row['loss'][1]:.3f}", f"{100 * row['wobble']:.2f}"]
            )  # fmt: skip
        heads = ["method", "eta_g", f"reach {TARGET:g}", f"s to {TARGET:g}", "time over FedAvg's",
                 "last loss", "wobble (points)"]  # fmt: skip
        made[title.replace(" ", "-")] = Table(
            heads, lines, title=f"Digits, {title}",
            caption="Seconds: medians over seeds. Ratio: geometric mean of paired ratios, 95 % "
            f"interval; not reached counts as {SECONDS:g} s. Loss: mean over the last fifth. "
            "Wobble: standard deviation of the accuracy around its trend in the last fifth.",
        )  # fmt: skip
    return made


def curves_of(
    found: mt.federated.FederatedComparison,
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Held-out loss over time, mean over seeds."""
    at = np.geomspace(1.0, SECONDS, 60)
    made = {}
    for name, runs in found.results.items():
        each = []
        for run in runs:
            table = run.tables["evaluations"]
            row = np.searchsorted(table["time_s"], at, side="right") - 1
            each.append(np.asarray(table["loss"])[row])
        made[name] = (at, np.mean(each, axis=0))
    return made


def draw(
    figures: Mapping[str, Any], curves: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> "Figure":
    """Weights by client; wobble against speed; loss over time; times with tuned step sizes."""
    title = "FedFix: between synchronous and asynchronous"
    with new_figure(2, 2, (9.0, 6.8), title) as (figure, axes):
        panel = axes[0, 0]
        for name, row in figures["weights"].items():
            panel.plot(range(CLIENTS), row["weights"], "o-", markersize=3, color=SHADES[name],
                       label=name)  # fmt: skip
        panel.plot(range(CLIENTS), figures["expected"], "x", color="black", markersize=5,
                   label="theory: by 1 / tau")  # fmt: skip
        share_axis(panel)
        panel.set_xlabel("client, from the slowest to the fastest")
        panel.set_title("What each client counts")
        tell_apart(panel)
        panel = axes[0, 1]
        for name, row in figures["weights"].items():
            if name not in DISCOUNTED and name != IDENTICAL:
                panel.plot([row["settles_s"]], [row["wobble"]], "o", color=SHADES[name], label=name)
        number_axis(panel)
        panel.set_xlabel("virtual seconds until 95 % of the weight is there")
        panel.set_title("Wobble of the weights, eta_g = 1")
        tell_apart(panel)
        panel = axes[1, 0]
        for name, (at, loss) in curves.items():
            panel.plot(at, loss, color=SHADES[name], label=name)
        number_axis(panel)
        panel.set_ylim(0, 2.5)
        panel.set_xlabel("virtual seconds")
        panel.set_title("Held-out loss on digits, eta_g = 1 (identical too)")
        tell_apart(panel)
        panel = axes[1, 1]
        rows = figures["digits"]
        names = [name for name in rows["tuned"] if name != FEDAVG][::-1]
        for shift, (kind, marker) in zip((0.14, -0.14), (("one step size", "s"), ("tuned", "o")),
                                         strict=True):  # fmt: skip
            for place, name in enumerate(names):
                estimate, low, high = rows[kind][name]["ratio"]
                panel.plot([low, high], [place + shift] * 2, color=SHADES[name], linewidth=2)
                panel.plot([estimate], [place + shift], marker, color=SHADES[name], markersize=5)
        panel.axvline(1, color=FAINT, linewidth=0.8, linestyle="--")
        panel.set_yticks(range(len(names)), names)
        panel.set_xlabel(f"time to {TARGET:.0%} over FedAvg's: square eta_g = 1, dot tuned")
        panel.set_title("Time to the target, one step size or tuned")
    return figure


if __name__ == "__main__":
    main(study, __doc__)
