"""A class is known only to slow clients: what is to be done with updates that come very late?

Paper: Wang and Gao, "Tackling Intertwined Data and Device Heterogeneities in Federated Learning
with Unlimited Staleness", arXiv 2309.13536. Its abstract and its code
(pittisl/FL-with-intertwined-heterogeneity) could be read: turning stale updates into fresh ones by
gradient inversion "can improve the trained model accuracy by up to 25% and reduce the number of
required training epochs by up to 35%".

Theirs: the setting (the ten clients with most of one class are slow), the four ways of dealing with
a late update (as it is; times 2^(-staleness / 20); DC-ASGD with factor 4; inverted to dummy data
that is trained on anew from the current model, left when it does worse than the stale update), the
claim. Ours: softmax regression on digits, 50 clients of few classes; delays that follow from the
devices (theirs are fixed, and a stale update of each slow client comes in every round; here it
comes seldom and counts for all steps since the last); "direct, 1/K" and "left out" as what servers
do that do not care; the server's step, best of three on other seeds.

What we find:
- What counts is how much a late update counts. Leaving the slow out, or counting their updates as
  one of K, leaves 81 % and 90 % on their data where they are 10 times slower; counting an update
  for the steps that its client missed gives 97 %, and 3.6 and 1.8 points more over all.
- Staleness itself hardly hurts there: as it is, by DC-ASGD or inverted, a late update brings the
  same accuracy to 0.1 points, in much the same number of versions.
- It hurts where it is long: 160 times slower (up to 340 versions late) the direct update, counted
  for all it missed, swings the model to 81 % (16 points either way over seeds). Fading it
  (weighted) keeps 92 %, but that is no more than leaving it out does: at such delays both are one.
- Inversion does not win in our setting, at any delay, and falls furthest at 160 times (76 %, at the
  least step). Probably a convex model leaves little to mend, and an update from so far away says
  little of what the client would send now. The paper's gains are of other data and models.
- Inversion is not free: where the server takes 3 s for one (a round of the others takes about half
  a second) the time to 90 % doubles, at 10 s it is 3.6 times as long.

Limits: a convex model; 32 dummy samples and 100 iterations of Adam (theirs 256 and up to 40,000;
one trial with 64, 300 and no switch, on three seeds at 40 times, was 0.8 points above direct,
within noise). The best server step is often the largest of the three tried, always for the two
that count the slow little or not at all, so that these may gain from larger ones. Six seeds: over
all, the differences at 40 and 160 times are within their intervals.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, FAINT, new_figure, number_axis, share_axis
from mltwin.text import Table
from studies._common import Options, main, publish, run_all
from studies._step_sizes import ranked, tried

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLIENTS, SLOW, LABEL = 50, 10, 3  # the owners of most 3s are slow
ALPHA, S_PER_SAMPLE, SPREAD = 0.1, 0.02, 0.2
DELAYS = [10.0, 40.0, 160.0]  # times slower than the others
MIDDLE = 10.0
BUFFER, VERSIONS = CLIENTS - SLOW, 400
STEPS = [0.3, 1.0, 3.0]
SEEDS, TUNING_SEEDS, TARGET = 6, 3, 0.9
SECONDS = [0.0, 1.0, 3.0, 10.0]  # of the server for one inversion

LEFT_OUT, PLAIN, DIRECT = "left out", "direct, 1/K", "direct"
WEIGHTED, DC_ASGD, INVERSION = "weighted", "DC-ASGD", "inversion"
METHODS: dict[str, dict[str, Any]] = {
    DIRECT: {},
    WEIGHTED: {"correct": "weighted"},
    DC_ASGD: {"correct": "dc_asgd"},
    INVERSION: {"correct": "inversion", "iterations": 100},
    PLAIN: {"weigh": "count"},
    LEFT_OUT: {"weigh": "count", "max_staleness": 5},
}
SHADES = dict(zip(METHODS, (*COLOURS[:5], COLOURS[6]), strict=True))


def scenario(delay: float, versions: int) -> mt.federated.Scenario:
    """Digits, few classes a client; the owners of a class are slow."""
    return mt.federated.Scenario(
        clients={
            "count": CLIENTS,
            "speed": {"name": "log_normal", "median": S_PER_SAMPLE, "sigma": SPREAD},
            "slow_label": LABEL, "slow_clients": SLOW, "slow_factor": delay,
        },
        dataset={"source": "digits", "split": {"name": "dirichlet", "alpha": ALPHA}},
        training={"steps": 5, "batch": 10, "lr": 0.1, "evaluate_every": 10},
        strategy={"name": "stale", "buffer": BUFFER, "weigh": "gap"},
        stop={"versions": versions},
        target={"accuracy": TARGET},
    )  # fmt: skip


def methods_of(delay: float, versions: int) -> dict[str, mt.Scenario]:
    """All methods at a delay."""
    base = scenario(delay, versions)
    return {
        name: base.changed({f"strategy.{key}": value for key, value in change.items()})
        for name, change in METHODS.items()
    }


def slow_accuracy(run: mt.Result) -> float:
    """Accuracy of the last model on the data of the slow clients."""
    clients = run.tables["clients"]
    slow = np.argsort(clients["s_per_sample"], kind="stable")[-SLOW:]
    return float(clients["accuracy"][slow].mean())


def told(group: Sequence[mt.Result]) -> dict[str, Any]:
    """Of a method's runs: accuracy on the slow clients' data, rounds to the target, staleness."""
    return {
        "slow": float(np.mean([slow_accuracy(run) for run in group])),
        "rounds": float(np.median([_rounds(run) for run in group])),
        "staleness": float(np.mean([run.metrics["max_staleness"] for run in group])),
    }


def _rounds(run: mt.Result) -> float:
    return float(run.metrics.get("rounds_to_accuracy", np.inf))


def priced(
    step: float, versions: int, seconds: Sequence[float], seeds: Sequence[int], options: Options
) -> dict[float, float]:
    """Seconds of virtual time to the target, by what an inversion costs the server (median)."""
    base = methods_of(MIDDLE, versions)[INVERSION].changed({"strategy.server_lr": step})
    groups = run_all(
        [base.changed({"strategy.inversion_s": cost, "name": f"{cost:g} s"}) for cost in seconds],
        options,
        seeds,
    )
    return {
        cost: float(np.median([run.metrics.get("time_to_accuracy_s", np.inf) for run in group]))
        for cost, group in zip(seconds, groups, strict=True)
    }


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    versions = 150 if options.quick else VERSIONS
    delays = [MIDDLE] if options.quick else DELAYS
    seeds = range(2 if options.quick else SEEDS)
    steps = STEPS[1:2] if options.quick else STEPS
    tuning = 1 if options.quick else TUNING_SEEDS
    scores = {delay: tried(methods_of(delay, versions), steps, tuning, options) for delay in delays}
    rows, curves = {}, {}
    for delay in delays:
        rows[delay], curves[delay] = ranked(
            methods_of(delay, versions), scores[delay], seeds, options, told
        )
    seconds = SECONDS[::2] if options.quick else SECONDS
    costs = priced(rows[MIDDLE][INVERSION]["step"], versions, seconds, seeds, options)
    figures = {
        "versions": versions, "seeds": len(seeds), "tuning": scores, "delays": rows,
        "cost": costs,
    }  # fmt: skip
    publish(options, "stale_labels", draw(figures, curves), tables(figures), figures)
    return figures


def tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    """Accuracy by delay and method; what inversions cost; the steps that were tried."""
    rows: list[list[Any]] = []
    breaks = set()
    for delay, by_method in figures["delays"].items():
        for name, one in by_method.items():
            ahead = f"{100 * one['ahead']:+.1f} ± {100 * one['ahead_half']:.1f}"
            rows.append(
                [f"{delay:g} x", name, f"{one['step']:g}",
                 f"{one['accuracy']:.1%} ± {one['half']:.1%}", "" if name == DIRECT else ahead,
                 f"{one['slow']:.1%}", one["rounds"] if np.isfinite(one["rounds"]) else "-",
                 one["staleness"]]
            )  # fmt: skip
        breaks.add(len(rows) - 1)
    heads = ["slower", "late updates", "server step", "accuracy", "points ahead of direct",
             "slow clients' data", f"versions to {TARGET:.0%}", "most stale"]  # fmt: skip
    caption = (
        f"{figures['seeds']} seeds, {figures['versions']} versions; ± half a 95 % interval, ahead: "
        "paired by seed; versions: median. Server steps chosen on other seeds."
    )
    found = {"methods": Table(heads, rows, caption=caption, breaks=breaks - {len(rows) - 1})}
    found["cost"] = Table(
        ["seconds of an inversion", f"seconds to {TARGET:.0%}"],
        [[f"{cost:g}", value if np.isfinite(value) else "-"] for cost, value in
         figures["cost"].items()],
        caption=f"Virtual time, median; owners {MIDDLE:g} times slower; the server inverts one "
        "update after the other before it steps.",
    )  # fmt: skip
    steps = next(iter(next(iter(figures["tuning"].values())).values()))
    found["steps"] = Table(
        ["slower", "late updates", *(f"step {step:g}" for step in steps)],
        [
            [f"{delay:g} x", name, *(f"{score:.1%}" for score in scores.values())]
            for delay, by_method in figures["tuning"].items()
            for name, scores in by_method.items()
        ],
        caption="Accuracy on the seeds that chose the server's step.",
    )
    return found


def draw(figures: Mapping[str, Any], curves: Mapping[str, Any]) -> "Figure":
    """Accuracy by delay, of all and of slow clients' data; learning curves; cost of inversion."""
    with new_figure(2, 2, (9.4, 7.0)) as (figure, axes):
        for panel, key in ((axes[0, 0], "accuracy"), (axes[0, 1], "slow")):
            _by_delay(panel, figures, key)
        axes[0, 0].set_title("Accuracy, by how much slower the owners are")
        axes[0, 1].set_title("Accuracy on the slow owners' data")
        for name, found in curves[MIDDLE].items():
            axes[1, 0].plot(found.x, found.mean, color=SHADES[name], linewidth=1.3, label=name)
        axes[1, 0].axhline(TARGET, color=FAINT, linestyle="--", linewidth=1)
        axes[1, 0].set_ylim(0.5, None)
        axes[1, 0].set_xlabel("server versions")
        axes[1, 0].set_title(f"Learning, owners {MIDDLE:g} times slower")
        share_axis(axes[1, 0])
        cost = figures["cost"]
        axes[1, 1].plot(list(cost), list(cost.values()), "o-", color=SHADES[INVERSION])
        axes[1, 1].set_ylim(0)
        axes[1, 1].set_xlabel("server's seconds for one inversion")
        axes[1, 1].set_title(f"Seconds to {TARGET:.0%} with inversion")
        lines, names = axes[1, 0].get_legend_handles_labels()
        figure.legend(lines, names, loc="outside lower center", ncols=6)
    return figure


def _by_delay(panel: "Axes", figures: Mapping[str, Any], key: str) -> None:
    delays = list(figures["delays"])
    for number, name in enumerate(METHODS):
        ours = [figures["delays"][delay][name] for delay in delays]
        half = [one["half"] for one in ours] if key == "accuracy" else None
        apart = np.array(delays) * 1.03 ** (number - 2.5)  # so that intervals do not hide
        panel.errorbar(apart, [one[key] for one in ours], half, marker="o", markersize=3.5,
                       linewidth=1.2, color=SHADES[name])  # fmt: skip
    number_axis(panel)
    panel.set_xticks(delays, [f"{delay:g}" for delay in delays])
    panel.minorticks_off()
    panel.set_xlabel("times slower")
    share_axis(panel)


if __name__ == "__main__":
    main(study, __doc__)
