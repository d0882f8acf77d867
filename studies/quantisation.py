"""How few bits may an update have, and what does privacy cost on top of that?

Paper: Ardıç and Genç, "Enhanced Privacy and Communication Efficiency in Non-IID Federated Learning
with Adaptive Quantization and Differential Privacy", IEEE Access 2025, arXiv 2604.23426 (abstract):
bits that follow a cosine over the rounds and the entropy of a client's data, with Laplace noise;
"up to 52.64 % for MNIST, 45.06 % for CIFAR10" less data than 32-bit floats "while maintaining
competitive model accuracy".

Theirs: cosine, entropy, Laplace noise, two digits a client (a summary of the paper has it so; its
body was not to be had). Ours: the direction of the cosine (both are tried), its ends (24 and 8
bits, 4 and 1), a client's factor (entropy over the greatest), rounding at random to a uniform grid
between the least and the greatest entry, the model (softmax regression on digits), how the
noise is clipped, and both accounts of epsilon. Server step sizes and clipping are tuned for each
row on other seeds; points are differences to 32 bits without noise, paired over five seeds.

What we find:
- Savings of the published size are arithmetic: a cosine from 24 to 8 bits takes 49 % off the
  uploads whatever is learned, 59 to 64 % with fewer bits for clients of few classes. Accuracy
  is that of 32 bits to 0.0 points.
- But so is that of a plain grid: 8 bits take 75 % off at 0.0 points, 4 bits 87 % at 0.1 or less.
  What is adaptive pays only against a fixed width that is wider than needed.
- Where bits are scarce a falling cosine loses: from 4 bits to 1 (2.6 on average) it is 1.9 ± 1.8
  points worse than fixed 2 bits, which are fewer, with two digits each, 0.7 ± 1.2 with Dirichlet
  shares. A grid's squared error grows fourfold with each bit less, so that equal widths do best
  for a given mean. If it must vary it should rise, as the last rounds decide: 1 to 4 is 1.5 ± 2.5
  and 2.0 ± 1.2 better than 4 to 1, and near 2 bits (-0.5 ± 0.9, +1.4 ± 1.2).
- Of both directions at most half can be saved while the model comes down in 32 bits: 25 % with
  the cosine, 44 % with 4 bits. 52.64 % of all that is communicated needs fewer bits downwards too.
- Noise at the clients is what costs. For 650 entries an epsilon of 100 a message loses 27 points
  and only 1,000 is harmless (0.2); the busiest client sends 22 messages, 22,000 in all. Shared out
  among the entries that is 1.5 each: an epsilon says little before one knows what it counts.
- Noise at the server, on the sum of 40 clients, is another league: epsilon 5.6 costs 6.5 points
  (clients drawn by coins of their own, delta 0.001; as the rounds here draw them, 40 of 400, the
  bound that we know is 79). It needs a server that is trusted.
- Noise and few bits do not add up, they multiply: noise stretches the range that the grid must
  span. Under Laplace noise of 1,000 a message 8 bits cost nothing more, 2 bits 1.6 points, 1 bit
  12, against 0.1 and 2.3 without noise.

Limits: one small convex model; in a larger one noise hurts more, as an update has more entries at
the same L1 norm. Composition is the plain sum for Laplace. Encoding takes no time. Tuned clipping
reveals something too, which is not counted.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.models.federation.accountant import composed, epsilon
from mltwin.plots import COLOURS, FAINT, new_figure, number_axis, share_axis
from mltwin.sim.stats import mean_ci
from mltwin.text import Table
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

CLIENTS, WANTED, ROUNDS = 400, 40, 100
COPIES = 10  # of each digit, moved by a pixel, so that 400 clients have 40 images each
PARAMETERS = 650  # of softmax regression on 64 pixels and 10 classes
SPLITS = {
    "two digits each": {"name": "shards", "per_client": 2},
    "Dirichlet 0.1": {"name": "dirichlet", "alpha": 0.1},
}
LAST = 20  # rounds whose mean accuracy counts
SEEDS, TUNING_SEEDS = 5, 2
SERVER_LRS = [0.5, 1.0, 2.0]
LAPLACE = [30, 100, 300, 1000, 3000, 10_000]  # epsilon of one message
LAPLACE_CLIPS = [1.0, 3.0, 10.0, 30.0]  # L1 norm of an update
GAUSSIAN = [0.3, 1.0, 3.0]  # noise multiplier
GAUSSIAN_CLIPS = [0.1, 0.3, 1.0, 3.0]  # L2 norm of an update
NOISY_BITS = [8, 4, 3, 2, 1]
NOISY_AT = 1000  # epsilon of a message at which bits are tried
DELTA = 1e-3

SCHEDULES = [("4 to 1", "2 bits"), ("1 to 4", "2 bits"), ("1 to 4", "4 to 1")]  # set side by side

PUBLISHED = {"MNIST": 0.5264, "CIFAR-10": 0.4506}  # less data than 32 bits, from the abstract

Row = dict[str, Any]


def scenario(split: str, rounds: int = ROUNDS) -> mt.federated.Scenario:
    """Digits, FedAvg; all updates of a round weigh the same."""
    return mt.federated.Scenario(
        clients={"count": CLIENTS, "up_mbit_per_s": 5.0, "down_mbit_per_s": 20.0},
        dataset={"source": {"name": "digits", "copies": COPIES}, "split": SPLITS[split]},
        training={"epochs": 1.0, "batch": 10, "lr": 0.1},
        strategy={"name": "fedavg", "clients": WANTED, "equal": True},
        stop={"versions": rounds},
    )


def uniform(bits: int) -> Row:
    """A grid of 2^bits levels."""
    return {"codec": {"name": "uniform", "bits": bits}}


def adaptive(least: int, most: int, *, rising: bool = False, by_client: bool = False) -> Row:
    """Bits along a half cosine, and fewer for clients of few classes."""
    return {
        "codec": {"name": "adaptive_bits", "min_bits": least, "max_bits": most, "rising": rising,
                  "by_client": by_client}
    }  # fmt: skip


def codecs(quick: bool) -> dict[str, Row]:
    """How updates travel, by what the tables call it."""
    fixed = {f"{bits} bits": uniform(bits) for bits in ((8, 2) if quick else (8, 4, 3, 2, 1))}
    found = {"32 bits": {}, **fixed}
    for least, most in ((8, 24), (1, 4)):
        found[f"{most} to {least}"] = adaptive(least, most)
        if not quick:
            found[f"{least} to {most}"] = adaptive(least, most, rising=True)
        found[f"{most} to {least}, by client"] = adaptive(least, most, by_client=True)
    return found


def private(each: Sequence[int], noise: Sequence[float]) -> dict[str, Row]:
    """Laplace noise at the clients, and Gaussian noise at the server."""
    found: dict[str, Row] = {
        f"Laplace {one}": {"codec": {"name": "laplace", "epsilon": float(one), "clip": 3.0}}
        for one in each
    }
    for one in noise:
        found[f"Gaussian {one:g}"] = {
            "combine": {"name": "gaussian", "noise_multiplier": one, "clip": 0.3,
                        "expected": WANTED}
        }  # fmt: skip
    return found


def noisy_bits(bits: Sequence[int]) -> dict[str, Row]:
    """Laplace noise before the rounding, by bits."""
    return {
        f"{one} bits": {
            "codec": {"name": "adaptive_bits", "min_bits": one, "max_bits": one,
                      "by_client": False, "epsilon": float(NOISY_AT), "clip": 3.0}
        }
        for one in bits
    }  # fmt: skip


def ranked(base: mt.Scenario, changes: Mapping[str, Row], options: Options) -> dict[str, Row]:
    """Accuracy and bytes of each method, its step sizes and clipping tuned on other seeds."""
    methods = {name: base.changed(change) for name, change in changes.items()}
    grids: dict[str, dict[str, list[float]]] = {}
    for name, change in changes.items():
        grids[name] = {"strategy.server_lr": SERVER_LRS[1:2] if options.quick else SERVER_LRS}
        if "epsilon" in change.get("codec", {}):
            grids[name]["codec.clip"] = LAPLACE_CLIPS[1:3] if options.quick else LAPLACE_CLIPS
        if "combine" in change:
            grids[name]["combine.clip"] = GAUSSIAN_CLIPS[1:2] if options.quick else GAUSSIAN_CLIPS
    found = mt.federated.compare(
        methods, seeds=2 if options.quick else SEEDS, tune=grids,
        tuning_seeds=1 if options.quick else TUNING_SEEDS, workers=options.workers,
    )  # fmt: skip
    chosen = {one.name: dict(one.chosen) for one in found.tuned}
    return {name: {**summary(runs), "chosen": chosen[name]}
            for name, runs in found.results.items()}  # fmt: skip


def summary(runs: Sequence[mt.Result]) -> Row:
    """Means over seeds: accuracy of the last rounds, bytes, messages, seconds."""
    accuracy = [float(run.tables["evaluations"]["accuracy"][-LAST:].mean()) for run in runs]
    up = float(np.mean([run.metrics["up_gb"] for run in runs]))
    down = float(np.mean([run.metrics["down_gb"] for run in runs]))
    sent = float(np.mean([run.metrics["updates"] for run in runs]))
    plain = sent * PARAMETERS * 4 / 1e9
    messages = [int(run.tables["clients"]["arrived"].max()) for run in runs]
    return {
        "accuracy": float(np.mean(accuracy)), "each": accuracy,
        "bits": 32 * up / plain, "up_mb": 1e3 * up, "up_saved": 1 - up / plain,
        "saved": 1 - (up + down) / (2 * plain), "messages": max(messages),
        "seconds": float(np.mean([run.metrics["duration_s"] for run in runs])),
    }  # fmt: skip


def against(rows: Mapping[str, Row], plain: Row) -> None:
    """Adds points of accuracy more than 32 bits without noise, paired by seed, and their half
    interval."""
    for row in rows.values():
        told = mean_ci(100 * (np.array(row["each"]) - np.array(plain["each"])))
        row["points"], row["half"] = told.estimate, told.half_width


def schedules(rows: Mapping[str, Row]) -> list[Row]:
    """Paired differences of schedules of few bits."""
    found = []
    for one, other in SCHEDULES:
        if one in rows and other in rows:
            told = mean_ci(100 * (np.array(rows[one]["each"]) - np.array(rows[other]["each"])))
            found.append(
                {"one": one, "other": other, "points": told.estimate, "half": told.half_width}
            )
    return found


def spent(rows: Mapping[str, Row], rounds: int) -> None:
    """Adds the epsilon of the whole run to rows of noise, for the client that sent most."""
    for name, row in rows.items():
        kind, value = name.split()
        if kind == "Laplace":
            row["each_epsilon"] = float(value)
            row["entry_epsilon"] = float(value) / PARAMETERS
            row["epsilon"] = composed(float(value), row["messages"])
        else:
            row["epsilon"] = epsilon(
                WANTED / CLIENTS, float(value), rounds, DELTA, sampling="poisson"
            )[0]
            row["epsilon_fixed"] = epsilon(
                WANTED / CLIENTS, float(value), rounds, DELTA, sampling="fixed"
            )[0]


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    splits = list(SPLITS)[:1] if options.quick else list(SPLITS)
    rounds = 50 if options.quick else ROUNDS
    base = scenario(splits[0], rounds)
    by_split = {
        split: ranked(scenario(split, rounds), codecs(options.quick), options) for split in splits
    }
    tried = private([100, 1000], [1.0]) if options.quick else private(LAPLACE, GAUSSIAN)
    noise = ranked(base, tried, options)
    spent(noise, rounds)
    bits = ranked(base, noisy_bits([8, 4, 1] if options.quick else NOISY_BITS), options)
    plain = by_split[splits[0]]["32 bits"]
    against(noise, plain)
    against(bits, plain)
    for rows in by_split.values():
        against(rows, rows["32 bits"])
    figures = {
        "codecs": by_split, "noise": noise, "noisy_bits": bits, "published": PUBLISHED,
        "schedules": {split: schedules(rows) for split, rows in by_split.items()},
    }  # fmt: skip
    publish(options, "quantisation", draw(figures), tables(figures), figures)
    return figures


def tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    """Codecs by split; privacy; bits under noise."""
    made = {}
    for split, rows in figures["codecs"].items():
        made[f"codecs-{split.split()[0].lower()}"] = Table(
            ["update", "bits an entry", "less up", "less both ways", "accuracy", "points",
             "server_lr"],
            [[name, row["bits"], f"{row['up_saved']:.1%}", f"{row['saved']:.1%}", row["accuracy"],
              _points(row), row["chosen"]["strategy.server_lr"]] for name, row in rows.items()],
            title=split,
        )  # fmt: skip
    made["schedules"] = Table(
        ["data", "update", "against", "points"],
        [[split, row["one"], row["other"], _points(row)]
         for split, rows in figures["schedules"].items() for row in rows],
    )  # fmt: skip
    made["privacy"] = Table(
        ["noise", "epsilon of an entry", "of a message", "of the run", "drawn as simulated",
         "accuracy", "points", "clip"],
        [[name, row.get("entry_epsilon"), row.get("each_epsilon"), row["epsilon"],
          row.get("epsilon_fixed"), row["accuracy"], _points(row),
          row["chosen"].get("codec.clip", row["chosen"].get("combine.clip"))]
         for name, row in figures["noise"].items()],
        title=f"Laplace: delta 0; Gaussian: delta {DELTA:g}",
    )  # fmt: skip
    made["noisy-bits"] = Table(
        ["bits an entry", "less up", "accuracy", "points"],
        [[name.split()[0], f"{row['up_saved']:.1%}", row["accuracy"], _points(row)]
         for name, row in figures["noisy_bits"].items()],
        title=f"Laplace noise of epsilon {NOISY_AT} a message, then rounding",
    )  # fmt: skip
    return made


def _points(row: Row) -> str:
    return f"{row['points']:+.1f} ± {row['half']:.1f}"


def draw(figures: Mapping[str, Any]) -> "Figure":
    """Accuracy against bits, against epsilon, and against bits under noise."""
    with new_figure(1, 3, (12.5, 4.0)) as (figure, axes):
        one, two, three = axes[0]
        rows = next(iter(figures["codecs"].values()))
        _codecs(one, rows)
        _privacy(two, figures["noise"], rows["32 bits"])
        _noisy(three, figures)
        for panel in axes[0]:
            share_axis(panel)
            panel.set_ylabel("accuracy")
    return figure


def _codecs(panel: "Axes", rows: Mapping[str, Row]) -> None:
    kinds = {
        "fixed": ([n for n in rows if n.endswith(" bits")], COLOURS[0], "o"),
        "falling": ([n for n in rows if n in ("24 to 8", "4 to 1")], COLOURS[1], "v"),
        "rising": ([n for n in rows if n in ("8 to 24", "1 to 4")], COLOURS[2], "^"),
        "falling, by client": ([n for n in rows if n.endswith("client")], COLOURS[4], "s"),
    }
    for name, (mine, colour, marker) in kinds.items():
        if not mine:
            continue
        mine = sorted(mine, key=lambda one: rows[one]["bits"])
        panel.errorbar(
            [rows[n]["bits"] for n in mine], [rows[n]["accuracy"] for n in mine],
            yerr=[rows[n]["half"] / 100 for n in mine], color=colour, marker=marker, markersize=5,
            linewidth=1.2 if name == "fixed" else 0, elinewidth=0.8, label=name,
        )  # fmt: skip
    for place, saved in PUBLISHED.items():
        panel.axvline(32 * (1 - saved), color=FAINT, linewidth=0.8, linestyle="--")
        panel.text(32 * (1 - saved), panel.get_ylim()[0], f" {place}", fontsize=7, rotation=90,
                   va="bottom", ha="right")  # fmt: skip
    panel.set_xscale("log", base=2)
    ticks = [1, 2, 4, 8, 16, 32]
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.set_xlabel("mean bits an entry, upwards")
    panel.set_title("Bits alone (dashed: the paper's savings)")
    panel.legend()


def _privacy(panel: "Axes", rows: Mapping[str, Row], plain: Row) -> None:
    for kind, colour, label in (
        ("Laplace", COLOURS[1], "Laplace, at each client"),
        ("Gaussian", COLOURS[0], "Gaussian, at the server"),
    ):
        mine = sorted((r for n, r in rows.items() if n.startswith(kind)),
                      key=lambda row: row["epsilon"])  # fmt: skip
        panel.errorbar(
            [r["epsilon"] for r in mine], [r["accuracy"] for r in mine],
            yerr=[r["half"] / 100 for r in mine], color=colour, marker="o", markersize=4,
            elinewidth=0.8, label=label,
        )  # fmt: skip
    panel.axhline(plain["accuracy"], color=FAINT, linewidth=0.8, linestyle="--")
    number_axis(panel)
    panel.set_xlabel("epsilon of the whole run (less is more private)")
    panel.set_title("Noise alone (dashed: none)")
    panel.legend()


def _noisy(panel: "Axes", figures: Mapping[str, Any]) -> None:
    plain = next(iter(figures["codecs"].values()))
    noisy = figures["noisy_bits"]
    for rows, colour, label in (
        ({n: r for n, r in plain.items() if n.endswith(" bits")}, COLOURS[0], "no noise"),
        (noisy, COLOURS[1], f"Laplace, {NOISY_AT} a message"),
    ):
        mine = sorted(rows.values(), key=lambda row: row["bits"])
        panel.errorbar(
            [r["bits"] for r in mine], [r["accuracy"] for r in mine],
            yerr=[r["half"] / 100 for r in mine], color=colour, marker="o", markersize=4,
            elinewidth=0.8, label=label,
        )  # fmt: skip
    whole = figures["noise"].get(f"Laplace {NOISY_AT}")
    if whole:
        panel.plot([32], [whole["accuracy"]], "o", color=COLOURS[1], markersize=4)
    panel.set_xscale("log", base=2)
    ticks = [1, 2, 4, 8, 16, 32]
    panel.set_xticks(ticks, [str(tick) for tick in ticks])
    panel.set_xlabel("bits an entry, upwards")
    panel.set_title("Bits under noise")
    panel.legend()


if __name__ == "__main__":
    main(study, __doc__)
