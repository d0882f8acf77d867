"""When do local steps with averages that come one round late hide all communication?

Paper: Sun et al., "CO2: Efficient Distributed Training with Full Communication-Computation
Overlap", ICLR 2024, arXiv 2401.16265 (abstract; `weigao266/fairscale-CO2`, co2.py): each GPU takes
tau steps by itself; the all-reduce of the weights after them runs beside the next tau steps and is
used when those are done, one round late. Claimed: full overlap, and "high scalability even on
extensive multi-node clusters constrained by very limited communication bandwidth", on up to 128
A100 GPUs, with 800 Gb/s RDMA or 80 Gb/s TCP/IP between nodes.

Theirs: the mechanism, the claim, 128 A100s and the two networks. Models, tau and tables stand in
the body of the paper, which we could not read. Ours: Mistral 7B, 2,048 tokens a GPU and step, bf16
on the wire, 16 nodes of 8 GPUs; all-reduces by our model of NCCL, TCP/IP no less efficient than
RDMA. Beside it local SGD (the same average, waited for) and DDP (gradients every step, in buckets
beside the backward pass). Communication takes nothing from computation, unless said.

What we find:
- Full overlap if and only if the all-reduce takes at most tau steps, to the tick: at exactly tau
  steps nothing is lost, at 0.1 % more 0.1 % of the speed is. Beyond, a step costs all-reduce / tau.
- At 800 Gb/s tau = 1 is enough (0.61 steps), and local steps are not what helps: DDP keeps 90 % of
  the speed, as most of its exchange is hidden too. At 80 Gb/s the all-reduce takes 4.8 steps: DDP
  keeps 19 %, local SGD with 5 steps 51 %, CO2 with 5 steps 100 %. The paper's claim of speed holds.
- It holds for any number of nodes, once there are two: the least tau is 4.5 for 16 GPUs and 4.8
  for 128, as a ring's bytes hardly grow. Tokens count as much as the network: with 8,192 a step tau
  = 2 is enough at 80 Gb/s, with 1,024 it takes 8.
- Being late also hides stragglers. Where steps vary by sigma 0.2 and the exchange takes no time,
  waiting for all 128 GPUs each step leaves 61 % of the speed, an average one round late 91 %. At
  the least tau there is no slack left for that (88 %); at twice that there is (97 %).
- "Full" needs communication that is free: if NCCL takes 24 of the A100's 108 multiprocessors, so
  that steps beside it are 1.29 times as long, tau = 5 keeps 82 %, tau = 48 (the code's) 98 %.

Limits: time only; whether training converges with weights tau steps apart and an average one round
old is the paper's subject, not ours. Memory is not counted: a replica of 7 billion parameters with
Adam does not fit one A100 unless its states are split, as the paper does with ZeRO; that traffic is
not here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.models.training.executor import execute
from mltwin.models.training.graph import (
    COLLECTIVE,
    COMMUNICATION_STREAM,
    GraphBuilder,
)
from mltwin.plots import COLOURS, new_figure, share_axis
from mltwin.sim.ticks import seconds, ticks
from mltwin.text import Table
from mltwin.training_run import executed
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MODEL, GPU, TOKENS, GPUS_PER_NODE = "mistral-7b", "a100-sxm-80gb", 2048, 8
GPUS = [8, 16, 32, 64, 128]
NETWORKS = {"800 Gb/s": 800.0, "80 Gb/s": 80.0}  # of a node
TAUS = [1, 2, 3, 4, 5, 6, 8, 12, 24, 48]
METHODS = {"CO2": COLOURS[0], "local SGD": COLOURS[1]}
NOISES = [0.0, 0.05, 0.1, 0.2, 0.4]  # sigma of the logarithm of a step's time on a GPU
SLOWDOWNS = [1.0, 1.05, 1.1, 1.29]  # of compute beside an all-reduce; the last: 24 of 108 SMs
ROUNDS = 8


def step_scenario(gpus: int, node_gbit_per_s: float, tokens: int = TOKENS) -> mt.Scenario:
    """A step of plain data parallel training."""
    return mt.Scenario.parse(
        {
            "system": "training",
            "name": f"{gpus} GPUs, {node_gbit_per_s:g} Gb/s a node",
            "model": MODEL,
            "gpu": GPU,
            "batch": {"tokens": tokens},
            "plan": {"dp": gpus, "zero": 0, "gradient_bytes": 2},
            "cluster": {
                "gpus_per_node": GPUS_PER_NODE,
                "nic_gbit_per_s": node_gbit_per_s / GPUS_PER_NODE,
            },
            "overlap_slowdown": 1.0,
            "fit": False,  # memory is not what is asked here
        }
    )


def step_times(gpus: int, node_gbit_per_s: float, tokens: int = TOKENS) -> dict[str, float]:
    """Seconds of a step alone, of an all-reduce of all weights, and of a step under DDP."""
    alone = executed(step_scenario(1, node_gbit_per_s, tokens), 0)
    if gpus == 1:
        return {"compute_s": alone.makespan_s, "reduce_s": 0.0, "ddp_s": alone.makespan_s}
    ddp = executed(step_scenario(gpus, node_gbit_per_s, tokens), 0)
    reduces = ddp.graph.kind == COLLECTIVE
    one = reduces & (ddp.graph.device == ddp.graph.device[reduces][0])
    return {
        "compute_s": alone.makespan_s,
        "reduce_s": float(seconds(int(ddp.graph.duration[one].sum()))),
        "ddp_s": ddp.makespan_s,
    }


def rounds_s(
    compute_s: float,
    reduce_s: float,
    tau: int,
    *,
    late: int,
    gpus: int = 1,
    sigma: float = 0.0,
    slowdown: float = 1.0,
    seed: int = 0,
    rounds: int = ROUNDS,
) -> float:
    """Seconds a step of tau local steps and one all-reduce, as a task graph.

    Args:
        compute_s, reduce_s: of a step, and of an all-reduce among all.
        late: rounds after which an average is used: 0 is local SGD, 1 is CO2.
        sigma: of the lognormal time (mean 1) of each step on each GPU.
        slowdown: of compute while the all-reduce runs.
        rounds: counted, after as many that are not.
    """
    random = np.random.default_rng(seed)
    graph = GraphBuilder()
    device = np.arange(gpus)
    averages: list[np.ndarray] = []
    for number in range(2 * rounds):
        used = number - 1 - late
        step = averages[used] if used >= 0 else None
        for _ in range(tau):
            factor = np.exp(sigma * random.normal(size=gpus) - sigma**2 / 2)
            step = graph.add(device=device, duration=ticks(compute_s * factor), after=step,
                             name="step", category="forward")  # fmt: skip
        group = np.full(gpus, graph.new_groups(1)[0])
        averages.append(graph.add(kind=COLLECTIVE, device=device, stream=COMMUNICATION_STREAM,
                                  group=group, duration=ticks(reduce_s), after=step,
                                  name="all-reduce", category="dp"))  # fmt: skip
    run = execute(graph.build(), overlap_slowdown=slowdown)
    half, end = averages[rounds - 1][0], averages[-1][0]
    return float(seconds(int(run.end[end] - run.end[half]))) / (rounds * tau)


def by_tau(times: Mapping[str, float], taus: Sequence[int], **world: Any) -> dict[str, list[float]]:
    """Share of the GPUs' speed alone that is left, by local steps."""
    return {
        name: [
            times["compute_s"]
            / rounds_s(times["compute_s"], times["reduce_s"], tau, late=late, **world)
            for tau in taus
        ]
        for name, late in (("CO2", 1), ("local SGD", 0))
    }


def around_the_limit(times: Mapping[str, float]) -> list[dict[str, float]]:
    """All-reduces of just less and just more than tau steps, and what is left of CO2's speed."""
    rows = []
    for tau in (1, 4, 48):
        for ratio in (0.5, 0.999, 1.0, 1.001, 2.0):
            reduce_s = float(seconds(ticks(times["compute_s"]) * tau)) * ratio
            step_s = rounds_s(times["compute_s"], reduce_s, tau, late=1)
            rows.append({"tau": tau, "ratio": ratio, "speed": times["compute_s"] / step_s})
    return rows


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    taus = TAUS[::3] if options.quick else TAUS
    gpus = GPUS[::2] if options.quick else GPUS
    most = gpus[-1]
    times = {
        network: {n: step_times(n, speed) for n in gpus} for network, speed in NETWORKS.items()
    }
    noisy_gpus, seeds = (16, range(1)) if options.quick else (most, range(3))
    slow = times["80 Gb/s"][most]
    needed = int(np.ceil(slow["reduce_s"] / slow["compute_s"]))
    figures: dict[str, Any] = {
        "taus": taus,
        "gpus": gpus,
        "needed": needed,
        "times": {k: {str(n): row for n, row in mine.items()} for k, mine in times.items()},
        "by_tau": {k: by_tau(mine[most], taus) for k, mine in times.items()},
        "limit": around_the_limit(slow),
        "by_gpus": {
            k: {
                str(n): {"DDP": row["compute_s"] / row["ddp_s"]}
                | {name: mine[0] for name, mine in by_tau(row, [needed]).items()}
                for n, row in mine.items()
            }
            for k, mine in times.items()
        },
        "noises": NOISES,
        "noisy_gpus": noisy_gpus,
        "noisy": noise(slow, needed, noisy_gpus, seeds),
        "slowdowns": SLOWDOWNS,
        "slowed": {
            str(tau): [by_tau(slow, [tau], slowdown=s)["CO2"][0] for s in SLOWDOWNS]
            for tau in (needed, 2 * needed, 48)
        },
        "by_tokens": {
            str(tokens): {k: step_times(most, speed, tokens) for k, speed in NETWORKS.items()}
            for tokens in (1024, 2048, 8192)
        },
    }
    tables = {"tau": tau_table(figures), "gpus": gpu_table(figures), "noise": noise_table(figures),
              "tokens": token_table(figures), "slowdown": slow_table(figures)}  # fmt: skip
    publish(options, "co2", picture(figures), tables, figures)
    return figures


def noise(times: Mapping[str, float], needed: int, gpus: int,
          seeds: Sequence[int]) -> dict[str, dict[str, list[float]]]:  # fmt: skip
    """Share of the speed left where each step takes a random time on each GPU."""
    found: dict[str, dict[str, list[float]]] = {}
    cases = {f"tau {needed}": (needed, times["reduce_s"]), f"tau {2 * needed}": (
        2 * needed, times["reduce_s"]), "every step, no all-reduce time": (1, 0.0)}  # fmt: skip
    for text, (tau, reduce_s) in cases.items():
        world = {"compute_s": times["compute_s"], "reduce_s": reduce_s}
        rows = [
            [by_tau(world, [tau], gpus=gpus, sigma=sigma, seed=seed) for seed in seeds]
            for sigma in NOISES
        ]
        found[text] = {
            name: [float(np.mean([one[name][0] for one in row])) for row in rows]
            for name in METHODS
        }
    return found


def tau_table(figures: Mapping[str, Any]) -> Table:
    """Speed by local steps and network."""
    rows: list[list[Any]] = [
        [network, tau, *(f"{mine[name][i]:.1%}" for name in METHODS)]
        for network, mine in figures["by_tau"].items()
        for i, tau in enumerate(figures["taus"])
    ]
    caption = f"Share of the speed of GPUs alone, {figures['gpus'][-1]} GPUs."
    return Table(["a node's network", "tau", *METHODS], rows, caption=caption,
                 breaks={len(figures["taus"]) - 1})  # fmt: skip


def gpu_table(figures: Mapping[str, Any]) -> Table:
    """Times and speeds by GPUs."""
    rows: list[list[Any]] = []
    for network, mine in figures["times"].items():
        for n, row in mine.items():
            speed = figures["by_gpus"][network][n]
            rows.append(
                [
                    network,
                    int(n),
                    row["compute_s"],
                    row["reduce_s"],
                    row["reduce_s"] / row["compute_s"],
                    *(f"{speed[name]:.1%}" for name in ("DDP", *reversed(METHODS))),
                ]
            )
    needed = figures["needed"]
    heads = ["a node's network", "GPUs", "step s", "all-reduce s", "least tau", "DDP",
             f"local SGD, tau {needed}", f"CO2, tau {needed}"]  # fmt: skip
    caption = "Least tau: all-reduce over step; from the next whole number on all is hidden."
    return Table(heads, rows, caption=caption, breaks={len(figures["gpus"]) - 1})


def noise_table(figures: Mapping[str, Any]) -> Table:
    """Speed by noise."""
    rows: list[list[Any]] = [
        [text, name, *(f"{value:.1%}" for value in mine[name])]
        for text, mine in figures["noisy"].items()
        for name in METHODS
    ]
    heads = ["80 Gb/s", "method", *(f"sigma {s:g}" for s in figures["noises"])]
    return Table(heads, rows, caption="Steps that take a random time on each GPU.")


def slow_table(figures: Mapping[str, Any]) -> Table:
    """Speed where an all-reduce slows computation down."""
    rows: list[list[Any]] = [
        [int(tau), *(f"{value:.1%}" for value in mine)] for tau, mine in figures["slowed"].items()
    ]
    heads = ["80 Gb/s, tau", *(f"steps x {s:g}" for s in figures["slowdowns"])]
    return Table(heads, rows, caption="CO2 where steps beside an all-reduce are longer.")


def token_table(figures: Mapping[str, Any]) -> Table:
    """The least tau by tokens a step."""
    rows: list[list[Any]] = [
        [
            int(tokens),
            network,
            row["compute_s"],
            row["reduce_s"],
            row["reduce_s"] / row["compute_s"],
        ]
        for tokens, mine in figures["by_tokens"].items()
        for network, row in mine.items()
    ]
    heads = ["tokens a GPU and step", "a node's network", "step s", "all-reduce s", "least tau"]
    return Table(heads, rows)


def picture(figures: Mapping[str, Any]) -> "Figure":
    """Speed by tau, by GPUs, and by noise."""
    most = figures["gpus"][-1]
    with new_figure(1, 3, (12.5, 4.1), "CO2: local steps, averages one round late") as (f, axes):
        left, middle, right = axes[0]
        for network, dashes in zip(NETWORKS, ("--", "-"), strict=True):
            for name, colour in METHODS.items():
                y = figures["by_tau"][network][name]
                text = f"{name}, {network}"
                _line(left, figures["taus"], y, dashes, colour, text)
            for name, colour in {"DDP": COLOURS[2], **METHODS}.items():
                y = [row[name] for row in figures["by_gpus"][network].values()]
                _line(middle, figures["gpus"], y, dashes, colour, name if dashes == "-" else "")
            times = figures["times"][network][str(most)]
            left.axvline(times["reduce_s"] / times["compute_s"], color=COLOURS[6], linewidth=0.8,
                         linestyle=dashes)  # fmt: skip
        for (text, mine), dashes in zip(figures["noisy"].items(), ("-", "--", ":"), strict=True):
            for name, colour in METHODS.items():
                _line(right, figures["noises"], mine[name], dashes, colour, f"{name}, {text}")
        for axis, ticks_shown in ((left, figures["taus"]), (middle, figures["gpus"])):
            axis.set_xscale("log", base=2)
            axis.set_xticks(ticks_shown, [str(t) for t in ticks_shown])
            axis.minorticks_off()
        for axis in axes[0]:
            axis.set_ylim(0, 1.04)
            share_axis(axis)
        left.set_ylabel("speed, of GPUs alone")
        left.set_title(f"By local steps, {most} GPUs")
        left.set_xlabel("tau; upright lines: all-reduce / step")
        left.legend(loc="lower right", fontsize=7, handlelength=3)
        middle.set_title(f"By GPUs, tau {figures['needed']}; dashed: 800 Gb/s")
        middle.set_xlabel("GPUs")
        middle.legend(loc="center right", bbox_to_anchor=(1, 0.68))
        right.set_title(f"Steps of random length, {figures['noisy_gpus']} GPUs, 80 Gb/s")
        right.set_xlabel("sigma of a step's time")
        right.legend(loc="lower left", fontsize=7, handlelength=3)
    return f


def _line(axis: Any, x: Any, y: Any, dashes: str, colour: str, text: str) -> None:
    axis.plot(x, y, dashes, marker="o", markersize=3.5, color=colour, label=text or None)


if __name__ == "__main__":
    main(study, __doc__)
