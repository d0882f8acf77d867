"""Does it matter which phones have which data, or is pairing them at random good enough?

Paper: Lai et al., "Oort", OSDI 2021, and "FedScale", ICML 2022, whose simulator gives the n-th data
set to the n-th device and the n-th availability trace: three draws that know nothing of each other,
which its users call unrealistic (SymbioticLab/FedScale, issues 163 and 164).

Theirs: over-selection (1.3 clients are invited for each update wanted, the slowest are stopped),
Oort's rule, devices (a law fitted to 60 of FedScale's clients), presence (a law fitted to FLASH's
phones). Ours: the data (digits, Dirichlet 0.2, log-normal sizes), and the correlation. Values stay
what they are and are dealt anew by ranks (Iman and Conover 1982), so that a row of a table has the
same devices and the same data as that of independence. The server's step size is tuned for
each method on four other seeds (2 of 0.5 to 4 is best for all three); the clients' step size is one
for all, set by a look at FedAvg and over-selection on four of the ten seeds.

What we find:
- Who is first does not depend on it: in all 17 settings the order by time to 92 % is Oort,
  over-selection, FedAvg. Whoever only ranks these methods may pair at random.
- By how much does: Oort gets there 1.8 times sooner than FedAvg where all is independent, and 1.6
  to 3.5 times sooner elsewhere; over-selection 1.6 times, and 1.5 to 2.4.
- Time depends most on who has much data. If the slow have it (rho -0.8), FedAvg ends 66 rounds in
  two hours, if the fast have it 128, of independent clients 96.
- Where slow phones own the 8s, choosing the fast harms them and the mean hides it. With
  over-selection the slowest quarter loses 4.9 ± 3.8 points, with Oort 2.2 ± 1.6, all clients
  together 0.4 or 0.5. With independent clients the slowest quarter is served better by
  over-selection than by FedAvg (1.6 points), here worse (2.3).
- Where the owners of the 8s are seldom there nobody helps: all lose (0.5 to 1.6 points; 1.6 ± 1.5
  and 1.5 ± 1.2 are not chance), and take 22 to 56 % longer. Who is away cannot be chosen.
- If the fast are there more, the slowest quarter makes 5 % of FedAvg's updates, if the slow are,
  54 %; accuracy hardly moves, as speed alone says nothing of what is learned.

Limits: two hours from midnight in one time zone; correlations one at a time, of ranks; a device
moves as a whole, its link with it. The slowest quarter is judged by the last model alone, whose
noise is in the intervals (ten seeds, paired). Oort's published gains are of other data and models.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, FAINT, new_figure, share_axis, tell_apart
from mltwin.sim.stats import mean_ci
from mltwin.text import Table
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLIENTS, WANTED, OVER = 300, 10, 1.3  # clients, updates of a round, invited for each
MEGABYTES = 5.0  # of a transfer, as of the mobile CNN that the seconds per sample are of
HOURS, TARGET = 2.0, 0.92
DAYS = 2  # of traces, over which it is counted who is there how often
LABEL = 8  # the digit whose owners are fast, slow, often or seldom there
RHOS = [-0.8, -0.4, 0.0, 0.4, 0.8]
SEEDS, TUNING_SEEDS = 10, 4
SERVER_LRS = [0.5, 1.0, 2.0, 4.0]
LAST = 0.2  # of the hours: accuracy is the mean over them, not that of one noisy round

FEDAVG, OVERSELECTED, OORT = "FedAvg", "over-selection", "Oort"
METHODS = {
    FEDAVG: {"strategy.over": 1.0},
    OVERSELECTED: {"strategy.over": OVER},
    OORT: {"strategy.over": OVER, "selection": "oort"},
}
SHADES = {FEDAVG: COLOURS[0], OVERSELECTED: COLOURS[1], OORT: COLOURS[4]}
PAIRS = {
    "speed_data": "fast phones have more data",
    "speed_label": f"fast phones have the {LABEL}s",
    "speed_availability": "fast phones are there more",
    "availability_label": f"those often there have the {LABEL}s",
}

Row = dict[str, Any]


def scenario(hours: float = HOURS) -> mt.federated.Scenario:
    """Phones and presence by laws fitted to traces; digits, few classes a client."""
    return mt.federated.Scenario(
        clients={
            "count": CLIENTS, "speed": "fedscale",
            "availability": {"name": "flash_strict", "period_days": DAYS},
        },
        dataset={
            "source": "digits",
            "split": {"name": "dirichlet", "alpha": 0.2},
            "samples": {"name": "log_normal", "mean": 50, "sigma": 1.0, "least": 5},
        },
        model={"level": "softmax", "megabytes": MEGABYTES},
        training={"epochs": 1.0, "batch": 10, "lr": 1.0},
        strategy={"name": "fedavg", "clients": WANTED},
        stop={"until_s": 3600 * hours},
        target={"accuracy": TARGET},
    )  # fmt: skip


def paired(base: mt.Scenario, pair: str, rho: float) -> mt.Scenario:
    """The same clients, with one rank correlation."""
    label = {"clients.label": LABEL} if "label" in pair else {}
    return base.changed({"clients.correlation": {pair: rho}, **label})


def figures_of(run: mt.Result) -> dict[str, float]:
    """What a run came to: accuracy at its end, of the slowest quarter, and who did the work."""
    evaluations, clients = run.tables["evaluations"], run.tables["clients"]
    late = evaluations["time_s"] >= (1 - LAST) * evaluations["time_s"][-1]
    slow = clients["s_per_sample"] >= np.quantile(clients["s_per_sample"], 0.75)
    used = clients["used"]
    return {
        "accuracy": float(evaluations["accuracy"][late].mean()),
        "hours": run.metrics.get("time_to_accuracy_s", np.inf) / 3600,
        "slow_accuracy": float(clients["accuracy"][slow].mean()),
        "worst_tenth": run.metrics["client_accuracy_worst_tenth"],
        "slow_share": float(used[slow].sum() / max(used.sum(), 1)),
        "wasted": run.metrics["wasted_share"],
        "rounds": run.metrics["versions"],
    }


def summary(runs: Sequence[mt.Result], apart: Sequence[mt.Result]) -> Row:
    """Means over seeds, and paired differences to the runs of independent clients."""
    mine, theirs = [figures_of(run) for run in runs], [figures_of(run) for run in apart]
    row: Row = {name: float(np.mean([one[name] for one in mine])) for name in mine[0]}
    row["each_hours"] = [one["hours"] for one in mine]
    row["hours"] = float(np.median(row["each_hours"]))
    for name in ("accuracy", "slow_accuracy"):
        moved = mean_ci([a[name] - b[name] for a, b in zip(mine, theirs, strict=True)])
        row[f"{name}_moved"] = [moved.estimate, moved.half_width]
    return row


def speed_up(ours: Sequence[float], theirs: Sequence[float]) -> list[float] | None:
    """How many times sooner, by seed: geometric mean and its interval; None: not all got there."""
    if not np.isfinite([*ours, *theirs]).all():
        return None
    told = mean_ci(np.log(theirs) - np.log(ours))
    return [float(np.exp(x)) for x in (told.estimate, told.low, told.high)]


def finite(hours: float) -> float | None:
    """None for what never came."""
    return hours if np.isfinite(hours) else None


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    rhos = [-0.8, 0.0, 0.8] if options.quick else RHOS
    pairs = list(PAIRS)[:2] if options.quick else list(PAIRS)
    seeds = range(2 if options.quick else SEEDS)
    base = scenario(HOURS / 3 if options.quick else HOURS)
    methods = {name: base.changed(change) for name, change in METHODS.items()}
    grid = {"strategy.server_lr": SERVER_LRS[1:2] if options.quick else SERVER_LRS}
    found = mt.federated.compare(
        methods, seeds=list(seeds), tune=grid, tuning_seeds=TUNING_SEEDS, workers=options.workers
    )
    apart = found.results
    chosen = {one.name: dict(one.chosen) for one in found.tuned}
    tuned = {name: one.changed(chosen[name]) for name, one in methods.items()}
    cases = [(pair, rho, name) for pair in pairs for rho in rhos if rho for name in METHODS]
    compared = mt.compare(
        [paired(tuned[name], pair, rho).changed({"name": f"{name}, {pair} {rho:+g}"})
         for pair, rho, name in cases],
        seeds=list(seeds), workers=options.workers,
    )  # fmt: skip
    runs: dict[tuple[str, float, str], Sequence[mt.Result]] = dict(
        zip(cases, compared.runs.values(), strict=True)
    )
    for pair in pairs:
        for name in METHODS:
            runs[pair, 0.0, name] = apart[name]
    rows = {
        pair: {rho: {name: summary(runs[pair, rho, name], apart[name]) for name in METHODS}
               for rho in rhos}
        for pair in pairs
    }  # fmt: skip
    for by_rho in rows.values():
        for row in by_rho.values():
            for name in (OVERSELECTED, OORT):
                one = row[name]
                one["speed_up"] = speed_up(one["each_hours"], row[FEDAVG]["each_hours"])
            for one in row.values():
                one["hours"] = finite(one["hours"])
                one["each_hours"] = [finite(hours) for hours in one["each_hours"]]
    figures = {"seeds": len(seeds), "chosen": chosen, "by_pair": rows}
    publish(options, "correlated_clients", draw(figures), tables(figures), figures)
    return figures


def tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    """One table a pair, and what was tuned."""
    made = {}
    for pair, by_rho in figures["by_pair"].items():
        rows = [
            [f"{rho:+g}" if rho else "0", name, one["accuracy"], _moved(one, "accuracy", rho),
             one["slow_accuracy"], _moved(one, "slow_accuracy", rho),
             one["hours"], _times(one),
             f"{one['slow_share']:.0%}", f"{one['wasted']:.0%}", one["rounds"]]
            for rho, row in by_rho.items()
            for name, one in row.items()
        ]  # fmt: skip
        heads = ["rho", "method", "accuracy", "points by rho", "slowest quarter",
                 "its points by rho", f"hours to {TARGET:g}", "times sooner than FedAvg",
                 "updates of slowest", "wasted", "rounds"]  # fmt: skip
        made[pair] = Table(heads, rows, title=PAIRS[pair])
    made["tuned"] = Table(
        ["method", "server_lr"],
        [[name, value["strategy.server_lr"]] for name, value in figures["chosen"].items()],
    )
    return made


def _moved(row: Row, name: str, rho: float) -> str:
    if not rho:
        return ""
    middle, half = (100 * x for x in row[f"{name}_moved"])
    return f"{middle:+.1f} ± {half:.1f}"


def _times(row: Row) -> str:
    found = row.get("speed_up")
    return "" if found is None else "{:.1f} ({:.1f} to {:.1f})".format(*found)


def draw(figures: Mapping[str, Any]) -> "Figure":
    """Accuracy, of all and of the slowest, and hours, by correlation; a column for each pair."""
    pairs = figures["by_pair"]
    names = {
        "accuracy": f"accuracy, last {LAST:.0%} of the time",
        "slow_accuracy": "accuracy, slowest quarter",
        "hours": f"hours to {TARGET:.0%}, median",
    }
    with new_figure(3, len(pairs), (3.2 * len(pairs), 8.0)) as (figure, axes):
        for column, (pair, by_rho) in enumerate(pairs.items()):
            for row, key in enumerate(names):
                _lines(axes[row, column], by_rho, key)
            axes[0, column].set_title(f"rho > 0: {PAIRS[pair]}", fontsize=8.5)
            axes[2, column].set_xlabel("rank correlation")
        for row, (key, name) in enumerate(names.items()):
            axes[row, 0].set_ylabel(name)
            limits = [panel.get_ylim() for panel in axes[row]]
            low = 0.0 if key == "hours" else min(limit[0] for limit in limits)
            for panel in axes[row]:
                panel.set_ylim(low, max(limit[1] for limit in limits))
                if key != "hours":
                    share_axis(panel)
        tell_apart(axes[2, 0])
    return figure


def _lines(panel: "Axes", by_rho: Mapping[float, Row], key: str) -> None:
    rhos = sorted(by_rho)
    for name, colour in SHADES.items():
        values = np.array([by_rho[rho][name][key] for rho in rhos], float)
        shown = np.isfinite(values)
        panel.plot(np.array(rhos)[shown], values[shown], marker="o", markersize=4, color=colour,
                   label=name)  # fmt: skip
        if key != "hours":
            half = np.array([by_rho[rho][name][f"{key}_moved"][1] if rho else 0 for rho in rhos])
            panel.fill_between(rhos, values - half, values + half, color=colour, alpha=0.15,
                               linewidth=0)  # fmt: skip
    panel.axvline(0, color=FAINT, linewidth=0.8, linestyle="--")


if __name__ == "__main__":
    main(study, __doc__)
