"""Does giving fast silos more local steps, so that groups of them arrive together, pay?

Paper: Li et al., "FedCompass: Efficient Cross-Silo Federated Learning on Heterogeneous Client
Devices Using a Computing Power-Aware Scheduler", ICLR 2024. Its abstract and the authors' code
(APPFL/FedCompass) could be read; its tables could not.

Theirs: the rules and their defaults (20 to 100 local steps, discount by staleness with exponent
0.5, server step size 0.9), the comparison of three laws of speed (alike, normal, exponential), and
the claim: FedCompass converges faster than other asynchronous algorithms while remaining more
efficient than synchronous ones on heterogeneous clients. Ours: the speeds (normal with 30 % of the
mean; exponential above a tenth of the mean that all need), softmax regression on scikit-learn's
digits (10 silos, Dirichlet 0.3, batches of 16), the target of 93 %, and every number. The others
take 100 local steps. Server step sizes are the usual ones, and then tuned: for each method and law
of speed alone, on five seeds that do not rank.

What we find:
- Against FedAvg the claim holds, where speeds differ. With usual step sizes FedCompass takes 0.75
  of FedAvg's time under normal speeds (0.58 to 0.96) and 0.71 under exponential ones, there with
  an interval that holds 1; tuned, 0.78 (0.59 to 1.01) and 0.39 (0.22 to 0.66). Silos that are all
  alike wait for nobody, and FedCompass takes half as long again: it learns their speeds by ten
  steps with a single update each.
- Against other asynchronous algorithms it depends on the server's step size. FedCompass beats
  FedAsync under all laws once both are tuned (0.71, 0.39 and 0.28 of its time), but with the usual
  sizes FedBuff with K = 3 gets there in 0.45 to 0.64 of FedCompass's time: an update moves its
  model by 1/K, FedCompass's by 0.9/N. Tuned, the order under unequal speeds turns around (0.81
  and 0.74 of FedBuff's time), with intervals that hold 1.
- What it does is what it says: silos are at work 99 % of the time (FedAvg: 67 % under normal, 37 %
  under exponential speeds) with updates one or two versions old (FedAsync: nearly nine).
- The range of steps is what matters, with the usual step size. If all take 100 steps (Qmin 100)
  FedCompass takes 2.5 times as long as FedAvg under exponential speeds, with 50 to 100 steps 1.33
  times, with 20 to 100 0.71, with 10 to 100 0.39. Tuned, the differences are within the intervals.
- FedFix, half the slowest silo's time between steps, seems to need half FedAvg's time at usual
  sizes. With equal silos it is FedAvg with twice the step size: tuned, both are the same, as
  under normal speeds (1.01); a quarter is left under exponential ones (0.73, 0.58 to 0.92).

Limits: small models, no transfer times, speeds that do not change (FedCompass's estimates are then
exact after one update). Runs end at 93 %, some ten rounds of FedAvg, so that FedCompass's first ten
lone steps weigh more than in the paper's longer runs, and nothing is said of final accuracy. Under
exponential speeds the tuned step size of FedCompass is the largest that was tried. FedCompass
weighs silos alike, FedAvg and FedFix by their data.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, FAINT, new_figure, number_axis, share_axis, tell_apart
from mltwin.sim.stats import mean_ci
from mltwin.text import Table
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SILOS, LEAST, MOST = 10, 20, 100  # LEAST, MOST: the paper's Q_min and Q_max local steps
TARGET = 0.93
UNTIL_S = 250.0
SEEDS, TUNING_SEEDS = 10, 5
SPEEDS: dict[str, Any] = {
    "homogeneous": "homogeneous",
    "normal": {"name": "normal", "sd": 3e-4, "least": 0.1},
    "exponential": {"name": "exponential", "least": 0.1},
}
FEDAVG, COMPASS = "FedAvg", "FedCompass"
# A method, its server's step size, what that usually is, and what is tried for it.
METHODS: dict[str, tuple[dict[str, Any], str, float, list[float]]] = {
    FEDAVG: ({"name": "fedavg", "clients": 0}, "server_lr", 1.0, [0.5, 1.0, 1.5, 2.0, 3.0]),
    "FedAsync": ({"name": "fedasync"}, "alpha", 0.6, [0.2, 0.4, 0.6, 0.8, 1.0]),
    "FedBuff, K = 3": (
        {"name": "fedbuff", "buffer": 3, "concurrency": 0},
        "server_lr", 1.0, [0.3, 0.6, 1.0, 1.5, 2.0],
    ),
    "FedFix": ({"name": "fedfix"}, "server_lr", 1.0, [0.5, 1.0, 1.5, 2.0]),
    COMPASS: (
        {"name": "fedcompass", "least": LEAST, "most": MOST},
        "alpha", 0.9, [0.9, 1.5, 2.0, 3.0, 5.0, 8.0],
    ),
}  # fmt: skip
RANGES = [100, 50, 10]  # other values of Q_min, exponential only; 100: as many steps for all
SHADES = dict(zip(METHODS, (COLOURS[6], COLOURS[1], COLOURS[3], COLOURS[2], COLOURS[0]),
                  strict=True))  # fmt: skip

Row = dict[str, Any]


def scenario(speed: Any, strategy: Mapping[str, Any]) -> mt.federated.Scenario:
    """Ten silos with digits, few classes in each, that train a softmax regression."""
    return mt.federated.Scenario(
        clients={"count": SILOS, "speed": speed},
        dataset={"source": "digits", "split": {"name": "dirichlet", "alpha": 0.3}},
        training={"steps": MOST, "batch": 16, "lr": 0.1},
        strategy=dict(strategy),
        stop={"until_s": UNTIL_S, "at_target": True},
        target={"accuracy": TARGET},
    )


def methods_for(law: str, quick: bool) -> dict[str, tuple[dict[str, Any], str, float, list[float]]]:
    """The methods to be run under a law of speeds: FedCompass with other ranges too."""
    found = dict(METHODS)
    if law == "exponential" and not quick:
        spec, *rest = METHODS[COMPASS]
        for least in RANGES:
            found[f"{COMPASS}, Qmin {least}"] = ({**spec, "least": least}, *rest)
    return found


def compared(law: str, options: Options, tuned: bool) -> mt.federated.FederatedComparison:
    """All methods under a law of speeds, with usual step sizes or each tuned on other seeds."""
    methods = methods_for(law, options.quick)
    grids = {name: {f"strategy.{field}": tried} for name, (_, field, _, tried) in methods.items()}
    return mt.federated.compare(
        {
            name: scenario(SPEEDS[law], {**spec, field: usual})
            for name, (spec, field, usual, _) in methods.items()
        },
        seeds=2 if options.quick else SEEDS,
        tune=grids if tuned else None,
        tuning_seeds=TUNING_SEEDS,
        workers=options.workers,
    )


def seconds_to(runs: Sequence[mt.Result]) -> np.ndarray:
    """float64[seeds], virtual seconds to the target; infinite where it is never reached."""
    return np.array([run.metrics.get("time_to_accuracy_s", np.inf) for run in runs])


def ratio(ours: np.ndarray, theirs: np.ndarray) -> list[float]:
    """Geometric mean over seeds of paired ratios of times, and its 95 % interval.

    Times not reached count as the run's length, the least that they can be.
    """
    found = mean_ci(np.log(np.minimum(ours, UNTIL_S) / np.minimum(theirs, UNTIL_S)))
    return [float(np.exp(x)) for x in (found.estimate, found.low, found.high)]


def row_of(
    runs: Sequence[mt.Result], base: Sequence[mt.Result], compass: Sequence[mt.Result]
) -> Row:
    """A method over all seeds: times, ratios of times, and how busy its silos were."""
    times = seconds_to(runs)
    computed = [run.tables["clients"]["compute_ticks"].sum() / 1e9 for run in runs]
    lasted = [run.metrics["duration_s"] for run in runs]
    return {
        "times": [float(one) if np.isfinite(one) else None for one in times],
        "median": float(np.median(times)),
        "reached": int(np.isfinite(times).sum()),
        "ratio": ratio(times, seconds_to(base)),
        "compass": ratio(seconds_to(compass), times),
        "busy": float(np.mean(np.array(computed) / (SILOS * np.array(lasted)))),
        "staleness": float(np.mean([run.metrics["mean_staleness"] for run in runs])),
        "spread": float(np.median([_spread(run) for run in runs])),
    }


def _spread(run: mt.Result) -> float:
    """How many times slower the slowest silo is than the fastest."""
    pace = run.tables["clients"]["s_per_sample"]
    return float(pace.max() / pace.min())


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    laws = ["normal"] if options.quick else list(SPEEDS)
    kinds = {"usual": False} if options.quick else {"usual": False, "tuned": True}
    runs = {(law, kind): compared(law, options, tuned) for law in laws
            for kind, tuned in kinds.items()}  # fmt: skip
    rows: dict[str, dict[str, dict[str, Row]]] = {law: {} for law in laws}
    for (law, kind), found in runs.items():
        base, compass = found.results[FEDAVG], found.results[COMPASS]
        rows[law][kind] = {
            name: row_of(mine, base, compass) for name, mine in found.results.items()
        }
        for name, (_, _, usual, _) in methods_for(law, options.quick).items():
            rows[law][kind][name] |= {"step": usual, "edge": False}
        for one in found.tuned:
            step = next(iter(one.chosen.values()))
            rows[law][kind][one.name] |= {"step": step, "edge": bool(one.edge)}
    curves = {law: curves_of(runs[law, "usual"]) for law in laws}
    publish(options, "fedcompass", draw(curves, rows), tables(rows), {"rows": rows})
    return {"rows": rows}


def tables(rows: Mapping[str, Mapping[str, Mapping[str, Row]]]) -> dict[str, Table]:
    """One table a law of speeds and way to choose the step size."""
    made = {}
    for law, kinds in rows.items():
        for kind, methods in kinds.items():
            lines = []
            for name, row in methods.items():
                lines.append(
                    [name, f"{row['step']:g}" + (" (edge)" if row["edge"] else ""),
                     f"{row['reached']} of {len(row['times'])}",
                     row["median"] if np.isfinite(row["median"]) else None,
                     told(row["ratio"]) if name != FEDAVG else "1",
                     told(row["compass"]) if name != COMPASS else "1",
                     f"{row['busy']:.0%}", row["staleness"]]
                )  # fmt: skip
            heads = ["method", "step size", f"reach {TARGET:g}", f"s to {TARGET:g}",
                     "time over FedAvg's", "FedCompass's over its", "silos busy",
                     "staleness"]  # fmt: skip
            spread = methods[FEDAVG]["spread"]
            made[f"{law}-{kind}"] = Table(
                heads, lines,
                title=f"{law}, {kind} step sizes; slowest silo {spread:.1f} times slower (median)",
                caption="Seconds: medians over seeds. Ratios: geometric means of paired ratios, "
                f"95 % intervals; a run that never gets there counts as {UNTIL_S:g} s.",
            )  # fmt: skip
    return made


def told(found: Sequence[float]) -> str:
    """A ratio with its interval."""
    return f"{found[0]:.2f} ({found[1]:.2f} to {found[2]:.2f})"


def curves_of(found: mt.federated.FederatedComparison) -> dict[str, list[np.ndarray]]:
    """Best accuracy so far up to the target, median over seeds: [seconds, accuracy] by method."""
    at = np.geomspace(1.0, UNTIL_S, 80)
    made = {}
    for name in METHODS:
        each = []
        for run in found.results[name]:
            evaluations = run.tables["evaluations"]
            best = np.maximum.accumulate(evaluations["accuracy"])
            row = np.searchsorted(evaluations["time_s"], at, side="right") - 1
            each.append(np.minimum(best[row], TARGET))
        made[name] = [at, np.median(each, axis=0)]
    return made


def draw(
    curves: Mapping[str, Mapping[str, Sequence[np.ndarray]]],
    rows: Mapping[str, Mapping[str, Mapping[str, Row]]],
) -> "Figure":
    """Learning curves under each law of speeds; times over FedAvg's."""
    count = len(curves)
    title = "FedCompass: local steps by speed, under three laws of speed"
    with new_figure(2, count, (3.6 * count, 6.2), title) as (figure, axes):
        for column, (law, by_method) in enumerate(curves.items()):
            panel = axes[0, column]
            for name, (at, accuracy) in by_method.items():
                panel.plot(at, accuracy, color=SHADES[name], label=name)
            panel.set_ylim(0.6, TARGET + 0.01)
            panel.axhline(TARGET, color=FAINT, linewidth=0.8, linestyle="--")
            share_axis(panel)
            number_axis(panel)
            panel.set_title(f"{law}, usual step sizes")
            panel.set_xlabel("virtual seconds")
            _ratios(axes[1, column], rows[law])
        axes[0, 0].set_ylabel(f"best accuracy so far, up to {TARGET:.0%}")
        tell_apart(axes[0, 0])
    return figure


def _ratios(panel: "Axes", kinds: Mapping[str, Mapping[str, Row]]) -> None:
    names = [name for name in kinds["usual"] if name != FEDAVG][::-1]
    for shift, marker, methods in zip((0.15, -0.15), "so", kinds.values(), strict=False):
        for place, name in enumerate(names):
            estimate, low, high = methods[name]["ratio"]
            colour = SHADES.get(name, COLOURS[5])
            panel.plot([low, high], [place + shift] * 2, color=colour, linewidth=2)
            panel.plot([estimate], [place + shift], marker, color=colour, markersize=5)
    panel.axvline(1, color=FAINT, linewidth=0.8, linestyle="--")
    panel.set_yticks(range(len(names)), names)
    panel.set_xscale("log")
    panel.set_xticks([0.25, 0.5, 1, 2, 4], ["¼", "½", "1", "2", "4"])
    panel.minorticks_off()
    panel.set_xlabel("time over FedAvg's: square usual, dot tuned")


if __name__ == "__main__":
    main(study, __doc__)
