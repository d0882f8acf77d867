"""What do lazy checkpoints buy, step by step and over a month of failures?

Paper: Maurya, Underwood, Rafique, Cappello and Nicolae, "DataStates-LLM: Lazy Asynchronous
Checkpointing for Large Language Models", HPDC 2024, arXiv 2406.10707 (abstract): state is immutable
through forward and backward, so that its copy to the host can be hidden there; "up to 48x faster
checkpointing and 2.2x faster end-to-end training runtime", up to a checkpoint each iteration, on up
to 180 GPUs. Beside it the in-memory checkpoints of Gemini (Wang et al., SOSP 2023).

Theirs: the mechanism and the two claims; sizes and bandwidths stand in the body of the paper,
which we could not read. Ours: a state of 980 GB (70 billion parameters, 14 bytes each) on 45
nodes of 4 GPUs, steps of 10 s, 80 GB/s from a node's GPUs to its memory, 20 GB/s of storage for
all nodes.

What we find:
- End to end the gain is bounded by two: between two checkpoints a synchronous run takes its steps
  and then copy and write, a lazy one the longer of the two, as the next checkpoint waits for the
  flush. The ratio is greatest where both are as long; we get 1.97, at a checkpoint every five
  steps. Their 2.2 is beyond it, so that what they compare with must lose more than time of
  writing (serialisation, small files, blocking I/O), which we do not model.
- With a checkpoint each step all but memory is slow: storage takes 49 s for what a step of 10 s
  changes, and lazy gains 1.2 over synchronous. "Up to the granularity of individual iterations"
  needs five times the storage, or checkpoints that stay in memory, which cost nothing here.
- What a checkpoint stops training for falls from 49 s to nothing, so that a ratio such as 48 has no
  bound where the copy fits beside forward and backward. Where it does not, the update waits for the
  rest: of 15 s of copy 5.5 s remain.
- Lazy against asynchronous is that copy and no more: 0.3 s of 10 s here. It matters where the copy
  is long (slow host links, few GPUs for a large state) or the checkpoints are many.
- Over a month on 4,096 nodes that fail every 260 days, synchronous checkpoints leave 82 % of the
  time to training, lazy and asynchronous ones 92 %, those in memory 94 %; on 64 nodes 98.4 %,
  99.9 % and 99.9 %. What is left are the restarts, 6 to 7 %, which no checkpoint shortens.

Limits: copies and flushes slow no step down: contention for PCIe, memory and network is what the
paper's engine works to avoid, and we take its success as given. All nodes write at once, at one
bandwidth. Restarts take 330 s and the load.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, share_axis
from mltwin.text import Table
from studies._common import Options, main, mean, publish, run_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NODES, GPUS = 45, 4
STEP_S, STATE_GB, STORAGE_GB_PER_S, HOST_GB_PER_S = 10.0, 980.0, 20.0, 80.0
EVERY = [1, 2, 3, 5, 10, 20, 50]  # steps between checkpoints
COPIES_S = [0.5, 2.0, 5.0, 10.0, 15.0, 20.0]  # of a state to the host
CLUSTERS = [64, 256, 1024, 2048, 4096]
STRATEGIES = {"sync": COLOURS[1], "async": COLOURS[4], "lazy": COLOURS[0], "memory": COLOURS[2]}
CLAIMED = 2.2  # end to end, at most (abstract)


def scenario(strategy: str, steps: int = 400, **fields: Any) -> mt.Scenario:
    """A run of so many steps without failures, unless `fields` (dots as __) say otherwise."""
    base = mt.Scenario.parse({"system": "training-run", "name": strategy})
    usual = {
        "job__nodes": NODES,
        "job__gpus_per_node": GPUS,
        "job__step_s": STEP_S,
        "job__days": steps * STEP_S / 86400,
        "stragglers__kind": "none",
        "failures__kind": "none",
        "checkpoint__strategy": strategy,
        "checkpoint__state_gb": STATE_GB,
        "checkpoint__storage_gb_per_s": STORAGE_GB_PER_S,
        "checkpoint__host_gb_per_s": HOST_GB_PER_S,
    }
    return base.with_(**(usual | fields))


def fixed(steps: float) -> dict[str, Any]:
    """The fields of an interval of so many steps (a little less, so that rounding cannot skip)."""
    return {"checkpoint__interval": "fixed", "checkpoint__minutes": (steps - 0.01) * STEP_S / 60}


def by_every(options: Options, every: Sequence[int]) -> dict[str, list[float]]:
    """Seconds a step, of each strategy, by the steps between checkpoints."""
    steps = 100 if options.quick else 400
    found = {}
    for strategy in STRATEGIES:
        runs = run_all([scenario(strategy, steps, **fixed(k)) for k in every], options)
        found[strategy] = [mean(one, "makespan_days") * 86400 / steps for one in runs]
    return found


def by_copy(options: Options) -> dict[str, list[float]]:
    """Seconds that a checkpoint stops training, by how long its copy to the host takes."""
    found = {}
    for strategy in ("async", "lazy"):
        given = [
            scenario(strategy, 200, checkpoint__host_gb_per_s=STATE_GB / NODES / s, **fixed(20))
            for s in COPIES_S
        ]
        found[strategy] = [mean(one, "stall_per_checkpoint_s") for one in run_all(given, options)]
    return found


def by_nodes(options: Options, clusters: Sequence[int]) -> dict[str, list[dict[str, float]]]:
    """Shares of the time over a month of failures, by nodes, each at Daly's interval."""
    seeds = range(2 if options.quick else 8)
    days = 5.0 if options.quick else 30.0
    found = {}
    for strategy in STRATEGIES:
        given = [
            scenario(
                strategy, job__nodes=nodes, job__days=days, failures__kind="exponential",
                cluster__spares=nodes // 32, cluster__rack_nodes=1,
            )
            for nodes in clusters
        ]  # fmt: skip
        names = ("ettr", "checkpoint_share", "lost_share", "restart_share", "interval_minutes")
        found[strategy] = [
            {name: mean(runs, name) for name in names} for runs in run_all(given, options, seeds)
        ]
    return found


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    every = EVERY[::3] if options.quick else EVERY
    clusters = CLUSTERS[::2] if options.quick else CLUSTERS
    figures = {
        "every": every,
        "step_s": by_every(options, every),
        "copies_s": COPIES_S,
        "stall_s": by_copy(options),
        "clusters": clusters,
        "month": by_nodes(options, clusters),
    }
    figures["gain"] = [a / b for a, b in zip(figures["step_s"]["sync"], figures["step_s"]["lazy"],
                                             strict=True)]  # fmt: skip
    publish(options, "lazy_checkpoints", draw(figures), tables(figures), figures)
    return figures


def tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    """Seconds a step, stalls, and shares of a month."""
    steps = [
        [k, *(f"{figures['step_s'][name][i]:.2f}" for name in STRATEGIES), figures["gain"][i]]
        for i, k in enumerate(figures["every"])
    ]
    stalls = [
        [copy, figures["stall_s"]["async"][i], figures["stall_s"]["lazy"][i]]
        for i, copy in enumerate(figures["copies_s"])
    ]
    month = [
        [nodes, name, *(f"{row[m]:.2%}" for m in
                        ("ettr", "checkpoint_share", "lost_share", "restart_share")),
         row["interval_minutes"]]
        for i, nodes in enumerate(figures["clusters"])
        for name, row in ((name, figures["month"][name][i]) for name in STRATEGIES)
    ]  # fmt: skip
    heads = ["steps between", *(f"{n} s a step" for n in STRATEGIES), "sync / lazy"]
    return {
        "steps": Table(heads, steps),
        "stalls": Table(["copy s", "async stalls s", "lazy stalls s"], stalls),
        "month": Table(
            ["nodes", "strategy", "ETTR", "checkpoints", "lost", "restarts", "interval min"], month
        ),
    }  # fmt: skip


def draw(figures: Mapping[str, Any]) -> "Figure":
    """Time of a step by frequency, the gain with its bound, and a month of failures by nodes."""
    with new_figure(1, 3, (12.5, 3.9), "Checkpoints of 980 GB") as (figure, axes):
        left, middle, right = axes[0]
        for name, colour in STRATEGIES.items():
            left.plot(figures["every"], figures["step_s"][name], marker="o", markersize=4,
                      color=colour, label=name)  # fmt: skip
        left.axhline(STEP_S, color=COLOURS[6], linewidth=0.8, linestyle="--")
        left.set_title("Seconds a step")
        left.set_ylim(bottom=0)
        write = STATE_GB / STORAGE_GB_PER_S
        copy = STATE_GB / NODES / HOST_GB_PER_S
        k = np.geomspace(min(figures["every"]), max(figures["every"]), 100)
        bound = (k * STEP_S + copy + write) / np.maximum(k * STEP_S, copy + write)
        middle.plot(k, bound, color=COLOURS[6], linewidth=1, label="closed form")
        middle.plot(figures["every"], figures["gain"], "o", markersize=5, color=COLOURS[0],
                    label="simulated")  # fmt: skip
        middle.axhline(
            CLAIMED, color=COLOURS[1], linewidth=1, linestyle="--", label="paper, at most"
        )
        middle.set_ylim(1, 2.4)
        middle.set_title("Synchronous over lazy, end to end")
        for axis in (left, middle):
            axis.set_xscale("log")
            axis.set_xticks(figures["every"], [str(n) for n in figures["every"]])
            axis.minorticks_off()
            axis.set_xlabel("steps between checkpoints")
            axis.legend()
        for name, colour in STRATEGIES.items():
            ettr = [row["ettr"] for row in figures["month"][name]]
            right.plot(
                figures["clusters"], ettr, marker="o", markersize=4, color=colour, label=name
            )
        right.set_xscale("log", base=2)
        right.set_xticks(figures["clusters"], [f"{n:,}" for n in figures["clusters"]])
        right.set_ylim(0.8, 1.004)
        share_axis(right)
        right.set_title("Share of a month that trains")
        right.set_xlabel("nodes, each fails every 260 days")
        right.legend(loc="lower left")
    return figure


if __name__ == "__main__":
    main(study, __doc__)
