"""Workers that come when they like and do as much as they like: do more of them learn faster?

Paper: Yang, Zhang, Khanduri and Liu, "Anarchic Federated Learning", ICML 2022, arXiv 2108.09875.
Only its abstract could be read: workers choose "when to participate" and "the number of local
steps"; AFA-CD (cross-device) and AFA-CS (cross-silo) "retain the highly desirable linear speedup
effect with respect of both the number of workers and local steps".

Theirs: the claim, and the two rules as we remember them from the paper (no code was found): a
worker returns the mean gradient of its own steps; AFA-CD steps by the mean of m returns, AFA-CS by
the mean of the last returns of all workers. Ours: the task (softmax regression on ten overlapping
clouds, batches of one sample, so that noise decides), the workers (a rest of 0.25 s on average,
then 1 to 10 steps of 50 ms), m = a tenth of the workers, so that the server steps equally often
however many there are. The server's step is chosen for each algorithm and size on other seeds.

What we find:
- Workers speed learning up linearly: eight times as many reach the loss in 1/7 (AFA-CD) and 1/10
  (AFA-CS) of the time, slopes of 0.93 and 1.09 in logarithms. That holds only because the server's
  step grows with them: the best step is two to four times m at every size. If it is kept, more
  workers give less noise, not less time.
- Local steps do the same for server versions: eight times the steps need 1/8.7 of the versions
  (slope 1.04) and as much less traffic. In time the gain is about threefold, as such a turn takes
  three times as long (1.05 s for 0.35 s).
- Where workers are alike, the memory of AFA-CS buys nothing: a return counts 1/N for about ten
  steps in place of 1/m for one, and its age costs a third more time with 10 workers (none with 80).
- Where arrivals go with labels (few classes a worker, owners of class 0 twenty times slower)
  AFA-CD keeps an error that no further step removes: with 80 workers its loss ends 0.065 above that
  without bias, AFA-CS's 0.016; on the data of slow workers AFA-CD is right on 48 %, on that of the
  others on 67 %, AFA-CS on 62 % and 65 %.
- With 20 workers AFA-CS serves slow workers as well (68 % against 59 %), but its loss is the higher
  one: probably as few returns make a step and those of the 4 slow workers stay in it for long.

Limits: a convex model, one level of noise. The time to a loss is that of a mean over nine
evaluations; the intervals of AFA-CD are wide, as few workers with a large step cross it by luck.
The clouds that are held out have all classes alike, which the data of 20 workers with few classes
each has not: their loss without bias is higher than that of 80.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, FAINT, new_figure, number_axis
from mltwin.sim.stats import mean_ci
from mltwin.text import Table
from studies._common import Options, main, publish, run_all
from studies._step_sizes import FIRST_SEED, late

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WORKERS, PER_RETURN = [10, 20, 40, 80], 10  # the server steps with N / 10 returns
LOCAL_STEPS = [2, 4, 8, 16]  # of all workers, where that is varied
SAMPLES = 8000  # of all workers together, drawn from 3,000
REST_S, S_PER_SAMPLE, LR = 0.25, 0.05, 0.02  # mean rest; work of a step; local step size
SLOW_SHARE, SLOW_FACTOR, ALPHA = 0.2, 20.0, 0.1  # where arrivals go with labels
TARGET, SMOOTH = 1.12, 9  # loss, as a mean over so many evaluations
UPDATES, LONG, EVALUATIONS = 3000, 5000, 100
FACTORS = [1.0, 2.0, 4.0]  # server steps, times returns of a step and K / 5.5
TIED_FACTORS = [0.25, 0.5, 1.0, 2.0]
SEEDS, TUNING_SEEDS = 6, 2
ANY = (1, 10)
USUAL = 5.5

CD, CS = "AFA-CD", "AFA-CS"
NAMES = {CD: "afa_cd", CS: "afa_cs"}
SHADES = {CD: COLOURS[0], CS: COLOURS[1]}

Case = tuple[str, int, tuple[int, int]]  # algorithm, workers, least and most local steps
Runs = list[mt.Result]


def scenario(
    case: Case, factor: float, updates: int = UPDATES, tied: bool = False
) -> mt.federated.Scenario:
    """Ten overlapping classes; workers alike, or few classes each and those of class 0 slow."""
    name, workers, (fewest, most) = case
    returns = workers // PER_RETURN
    step = factor * returns * (fewest + most) / 2 / USUAL
    slow: dict[str, float] = {"slow_label": 0, "slow_clients": round(SLOW_SHARE * workers)}
    slow["slow_factor"] = SLOW_FACTOR
    clients = {"count": workers, "speed": {"name": "homogeneous", "s_per_sample": S_PER_SAMPLE}}
    source = {"name": "gaussians", "samples": 4000, "features": 16, "distance": 2.0}
    return mt.federated.Scenario(
        name=f"{name}, {workers}, {fewest}-{most}, {factor:g}",
        clients={**clients, **(slow if tied else {})},
        dataset={
            "source": {**source, "held_out": 0.25},
            "split": {"name": "dirichlet", "alpha": ALPHA} if tied else "iid",
            "samples": SAMPLES // workers,
            "seed": 1,
        },
        training={
            "lr": LR, "batch": 1, "evaluate_every": max(1, updates // returns // EVALUATIONS),
        },
        strategy={
            "name": NAMES[name], "returns": returns, "rest_s": REST_S, "server_lr": step,
            "fewest": fewest, "most": most,
        },
        stop={"updates": updates},
    )  # fmt: skip


def smooth(run: mt.Result) -> np.ndarray:
    """Loss as a running mean over the last evaluations."""
    loss = np.asarray(run.tables["evaluations"]["loss"], float)
    padded = np.concatenate([np.full(SMOOTH - 1, loss[0]), loss])
    return np.convolve(padded, np.full(SMOOTH, 1 / SMOOTH), "valid")


def reached(run: mt.Result, column: str) -> float:
    """Seconds or versions until the smoothed loss is at the target; infinite: it never is."""
    rows = np.flatnonzero(smooth(run) <= TARGET)
    return float(run.tables["evaluations"][column][rows[0]]) if len(rows) else np.inf


def tuned(
    cases: Sequence[Case], factors: Sequence[float], options: Options, seeds: Sequence[int],
    tuning: int, *, column: str = "", updates: Mapping[Case, int], tied: bool = False,
) -> dict[Case, tuple[float, Runs]]:  # fmt: skip
    """Each case with the server step that is best on other seeds: the factor, and its runs.

    Best: soonest at the target by a column of the evaluations; without one, least loss at the end.
    """
    tries = [(case, factor) for case in cases for factor in factors if len(factors) > 1]
    groups = run_all(
        [scenario(case, factor, updates[case], tied) for case, factor in tries],
        options,
        range(FIRST_SEED, FIRST_SEED + tuning),
    )
    scores: dict[Case, dict[float, float]] = {}
    for (case, factor), group in zip(tries, groups, strict=True):
        worth = [reached(run, column) if column else late(run, "loss") for run in group]
        scores.setdefault(case, {})[factor] = float(np.mean(worth))
    chosen = {case: _least(scores.get(case, {factors[0]: 0.0})) for case in cases}
    runs = run_all(
        [scenario(case, chosen[case], updates[case], tied) for case in cases], options, seeds
    )
    return {case: (chosen[case], group) for case, group in zip(cases, runs, strict=True)}


def _least(scores: Mapping[float, float]) -> float:
    return min(scores, key=lambda factor: scores[factor])


def speed_up(
    found: Mapping[Case, tuple[float, Runs]], cases: Sequence[Case], column: str
) -> dict[str, Any]:
    """Time or versions to the target of each case, over that of the first; the exponent."""
    spent = [np.array([reached(run, column) for run in found[case][1]]) for case in cases]
    ratios = [spent[0] / one for one in spent]
    sizes = [case[1] if column == "time_s" else case[2][0] for case in cases]
    return {
        "sizes": sizes,
        "factors": [found[case][0] for case in cases],
        "spent": [float(np.mean(one)) for one in spent],
        "speed_up": [float(np.mean(one)) for one in ratios],
        "half": [0.0, *(mean_ci(one).half_width for one in ratios[1:])],
        "exponent": float(
            np.polyfit(np.log(sizes), -np.log([np.mean(one) for one in spent]), 1)[0]
        ),
    }


def bias(factor: float, group: Runs) -> dict[str, Any]:
    """Loss at the end, and accuracy on the data of slow and of other workers."""
    parts: dict[bool, list[float]] = {True: [], False: []}
    for run in group:
        clients = run.tables["clients"]
        slow = clients["s_per_sample"] > 2 * S_PER_SAMPLE
        for which in parts:
            parts[which].append(float(clients["accuracy"][slow == which].mean()))
    loss = mean_ci([late(run, "loss") for run in group])
    return {
        "factor": factor,
        "loss": loss.estimate,
        "half": loss.half_width,
        "slow": float(np.mean(parts[True])),
        "others": float(np.mean(parts[False])),
        "staleness": float(np.mean([run.metrics["mean_staleness"] for run in group])),
        "time": np.asarray(group[0].tables["evaluations"]["time_s"]).tolist(),
        "curve": np.mean([smooth(run) for run in group], axis=0).tolist(),
    }


def unbiased(workers: int, options: Options) -> float:
    """Held-out loss that rounds of all workers, with one step on all their data, end at."""
    rounds = scenario((CD, workers, ANY), 1.0, tied=True).changed(
        {
            "clients": {"count": workers},
            "strategy": {"name": "fedavg", "clients": 0},
            "training": {"lr": 0.5, "batch": 0, "steps": 1, "evaluate_every": 20},
            "stop": {"versions": 400},
        }
    )
    return float(run_all([rounds], options)[0][0].metrics["final_loss"])


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    quick = options.quick
    workers = [WORKERS[0], WORKERS[2]] if quick else WORKERS
    steps = LOCAL_STEPS[2:] if quick else LOCAL_STEPS
    factors, others = (FACTORS[1:2], [0.5]) if quick else (FACTORS, TIED_FACTORS)
    seeds, tuning = range(2 if quick else SEEDS), 1 if quick else TUNING_SEEDS
    alike: list[Case] = [(name, count, ANY) for name in NAMES for count in workers]
    same: list[Case] = [(CD, 40, (k, k)) for k in steps]
    apart: list[Case] = [(name, 40, ANY) for name in NAMES] if quick else [
        (name, count, ANY) for name in NAMES for count in (workers[1], workers[-1])
    ]  # fmt: skip
    by_workers = tuned(alike, factors, options, seeds, tuning, column="time_s",
                       updates=dict.fromkeys(alike, 1200 if quick else UPDATES))  # fmt: skip
    by_steps = tuned(same, factors, options, seeds, tuning, column="version",
                     updates={case: 12_000 // case[2][0] for case in same})  # fmt: skip
    by_label = tuned(apart, others, options, seeds, tuning, tied=True,
                     updates=dict.fromkeys(apart, 1500 if quick else LONG))  # fmt: skip
    figures = {
        "seeds": len(seeds),
        "unbiased": {count: unbiased(count, options) for count in {case[1] for case in apart}},
        "workers": {
            name: speed_up(by_workers, [case for case in alike if case[0] == name], "time_s")
            for name in NAMES
        },
        "steps": speed_up(by_steps, same, "version"),
        "tied": [{"name": case[0], "workers": case[1], **bias(*by_label[case])} for case in apart],
    }
    publish(options, "anarchic", draw(figures), tables(figures), figures)
    return figures


def tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    """Speed-up by workers and by local steps; what is left where arrivals go with labels."""
    rows: list[list[Any]] = []
    for name, one in [*figures["workers"].items(), (f"{CD}, K the same for all", figures["steps"])]:
        for i, size in enumerate(one["sizes"]):
            rows.append(
                [name, size, one["factors"][i], one["spent"][i],
                 f"{one['speed_up'][i]:.1f} ± {one['half'][i]:.1f}", one["exponent"]]
            )  # fmt: skip
    heads = ["algorithm", "workers or steps", "step factor", "s or versions", "speed-up", "slope"]
    caption = (
        f"Until the loss is {TARGET:g}, {figures['seeds']} seeds: seconds by workers; versions of "
        "40 workers by local steps. ± half a 95 % interval; slope: of log speed-up over log "
        "size, 1 is linear. The server's step is the factor times returns of a step (and K / "
        f"{USUAL:g}), chosen on other seeds."
    )
    found = {"speed_up": Table(heads, rows, caption=caption)}
    least = figures["unbiased"]
    found["tied"] = Table(
        ["algorithm", "workers", "step factor", "loss at the end", "slow workers' data",
         "others' data", "without bias"],
        [
            [one["name"], one["workers"], one["factor"], f"{one['loss']:.3f} ± {one['half']:.3f}",
             f"{one['slow']:.1%}", f"{one['others']:.1%}", least[one["workers"]]]
            for one in figures["tied"]
        ],
        caption=f"Owners of class 0, a fifth of all, are {SLOW_FACTOR:g} times slower. "
        "Accuracy of the last model on the workers' data. Without bias: loss where all take part "
        "in each step, with all their data.",
    )  # fmt: skip
    return found


def draw(figures: Mapping[str, Any]) -> "Figure":
    """Speed-up by workers, by local steps; curves and accuracy where arrivals go with labels."""
    with new_figure(2, 2, (9.2, 6.8)) as (figure, axes):
        for name, one in figures["workers"].items():
            _speed(axes[0, 0], one, name, SHADES[name])
        axes[0, 0].set_title("Speed-up by workers (seconds)")
        axes[0, 0].set_xlabel("workers")
        _speed(axes[0, 1], figures["steps"], CD, SHADES[CD])
        axes[0, 1].set_title("Speed-up by local steps (server versions)")
        axes[0, 1].set_xlabel("local steps of a turn")
        for panel in axes[0]:
            panel.legend()
        _curves(axes[1, 0], figures)
        _shares(axes[1, 1], figures)
    return figure


def _speed(panel: "Axes", one: Mapping[str, Any], name: str, colour: str) -> None:
    sizes = np.array(one["sizes"], float)
    if not panel.lines:
        panel.plot(sizes, sizes / sizes[0], "--", color=FAINT, linewidth=1, label="linear")
    panel.errorbar(sizes, one["speed_up"], one["half"], marker="o", markersize=4, color=colour,
                   label=f"{name}: slope {one['exponent']:.2f}")  # fmt: skip
    number_axis(panel)
    number_axis(panel, "y")


def _curves(panel: "Axes", figures: Mapping[str, Any]) -> None:
    for one in figures["tied"]:
        few = one["workers"] == min(each["workers"] for each in figures["tied"])
        panel.plot(one["time"], one["curve"], "--" if few else "-", color=SHADES[one["name"]],
                   linewidth=1.4, label=f"{one['name']}, {one['workers']} workers")  # fmt: skip
    for count, loss in figures["unbiased"].items():
        panel.axhline(loss, color=FAINT, linestyle=":", linewidth=1.2)
        panel.text(0.99, loss, f"without bias, {count} workers", ha="right", va="bottom",
                   transform=panel.get_yaxis_transform(), color=FAINT, fontsize=7)  # fmt: skip
    panel.set_ylim(min(figures["unbiased"].values()) - 0.03, 1.5)
    panel.set_xlabel("seconds")
    panel.set_title("Loss where arrivals go with labels")
    panel.legend()


def _shares(panel: "Axes", figures: Mapping[str, Any]) -> None:
    for i, one in enumerate(figures["tied"]):
        for offset, key, alpha in ((-0.2, "slow", 1.0), (0.2, "others", 0.45)):
            panel.bar(i + offset, one[key], 0.36, color=SHADES[one["name"]], alpha=alpha)
            panel.text(i + offset, one[key], f"{one[key]:.0%}", ha="center", va="bottom",
                       fontsize=8)  # fmt: skip
    names = [f"{one['name']}\n{one['workers']} workers" for one in figures["tied"]]
    panel.set_xticks(range(len(names)), names)
    panel.set_yticks([])
    panel.grid(visible=False)
    panel.set_title("Accuracy on the data of slow workers (dark) and others")


if __name__ == "__main__":
    main(study, __doc__)
