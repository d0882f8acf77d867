"""When a node fails: remap in place, restart on fewer nodes, or wait for all of them?

Paper: Kang et al., "ElasWave: An Elastic-Native System for Scalable Hybrid-Parallel Training",
arXiv 2510.00606 (abstract): per-step snapshots in memory, communication groups edited in place
("within one second"), micro-batches resharded while the global batch stays; 96 NPUs, throughput
1.35 times ReCycle's and 1.60 times TorchFT's.

Theirs: the mechanism and these claims; failure rates and recovery times of their baselines stand
in the body of the paper, which we could not read. Ours: 12 nodes of 8 accelerators, steps of 5 s,
a state of 450 GB (32 billion parameters), 5 GB/s of storage, 330 s to restart, 10 s to notice and
10 s to remap, replicas of 4 nodes, repairs of 12 hours, no spares. "Restart without the replica"
and "drop the replica live" stand for systems that lose the whole model replica of a failed node.

What we find:
- What pays is not the fast recovery but the use of every node that is left. With one node of 12
  lost, replicas of 4 nodes leave 8 at work and resharding leaves 11: 1.38 times the throughput, and
  1.83 times with replicas of 6. The paper's 1.35 and 1.60 are of that size; its recovery within a
  second hardly shows in throughput.
- Over a run the gain depends on how many nodes are missing: at 5 days between a node's failures it
  is 1.20 over a restart without the replica (1.40 with replicas of 6 nodes, 1.03 with replicas of
  one); at 100 days 1.02.
- Dropping the replica live, without a restart, is worth up to 3 points of goodput: a restart of
  330 s every ten hours is little, even where it loses steps as well. Restarts three times as long
  cost 1.5 points more; a remap of 200 s in place of 1 s costs 0.9.
- Two spares do better than any elasticity where failures are rare (98.5 % against 97.6 % at 20
  days), as nothing is ever missing, at the price of two nodes more; where more than two are in
  repair at a time the rigid job waits and falls behind all others.

Limits: the batch is spread evenly over any number of nodes, which needs pipeline stages of uneven
depth, as ElasWave's planner makes; what that loses is not modelled, so that its gain is a bound.
ReCycle, which gives a lost node's micro-batches to its peers in other replicas, lies between. No
traces of failures: their law is exponential.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, share_axis
from mltwin.text import Table
from studies._common import Options, main, mean, publish, run_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NODES, UNIT = 12, 4  # 96 accelerators; nodes of one model replica
UNITS = [1, 2, 3, 4, 6]
MTBF_DAYS = [0.5, 1.0, 2.0, 5.0, 20.0, 100.0]  # of a node
RESTARTS_S = [30.0, 100.0, 330.0, 1000.0]
REMAPS_S = [1.0, 10.0, 60.0, 200.0]
DAYS, SEEDS = 10.0, 8
WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "wait": ({"recovery__elastic": "rigid"}, COLOURS[6]),
    "wait, 2 spares": ({"recovery__elastic": "rigid", "cluster__spares": 2}, COLOURS[4]),
    "restart without the replica": ({"recovery__elastic": "restart"}, COLOURS[1]),
    "drop the replica live": ({"recovery__elastic": "live"}, COLOURS[3]),
    "remap over all left": ({"recovery__elastic": "live", "job__unit_nodes": 1}, COLOURS[0]),
}
REMAP, RESTART, DROP = list(WAYS)[4], list(WAYS)[2], list(WAYS)[3]
CLAIMED = {"ReCycle": 1.35, "TorchFT": 1.60}
METRICS = (
    "goodput_ratio", "ettr", "waiting_share", "shrunk_share", "lost_share", "checkpoint_share",
    "restart_share", "reshard_share", "makespan_days", "wasted_gpu_hours",
)  # fmt: skip


def scenario(name: str, days: float = DAYS, **fields: Any) -> mt.Scenario:
    """A way to go on after failures, unless `fields` (dots as __) say otherwise."""
    base = mt.Scenario.parse({"system": "training-run", "name": name})
    usual = {
        "job__nodes": NODES,
        "job__unit_nodes": UNIT,
        "job__step_s": 5.0,
        "job__days": days,
        "cluster__spares": 0,
        "stragglers__kind": "none",
        "failures__mtbf_days": 5.0,
        "failures__crash_share": 0.0,
        "failures__repair_hours": 12.0,
        "checkpoint__strategy": "async",
        "checkpoint__state_gb": 450.0,
        "checkpoint__storage_gb_per_s": 5.0,
        "checkpoint__copies": 2,
        "recovery__least_nodes": 1,
        "recovery__detect_s": 10.0,
        "recovery__restart_s": 330.0,
        "recovery__reshard_s": 10.0,
        "recovery__regrow_minutes": 10.0,
        "limit_days": 400.0,
    }
    return base.with_(**(usual | WAYS[name][0] | fields))


def measured(given: Sequence[mt.Scenario], options: Options) -> list[dict[str, float]]:
    """Means over the seeds of each scenario's metrics."""
    runs = run_all(given, options, range(2 if options.quick else SEEDS))
    return [{name: mean(one, name) for name in METRICS} for one in runs]


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    days = 3.0 if options.quick else DAYS
    mtbf = MTBF_DAYS[::2] if options.quick else MTBF_DAYS
    by_mtbf = {
        name: measured([scenario(name, days, failures__mtbf_days=m) for m in mtbf], options)
        for name in WAYS
    }
    often = {"failures__mtbf_days": 5.0}
    units = UNITS[1::2] if options.quick else UNITS
    figures: dict[str, Any] = {
        "mtbf_days": mtbf,
        "by_mtbf": by_mtbf,
        "units": units,
        "by_unit": {
            name: measured([scenario(name, days, job__unit_nodes=u, **often) for u in units],
                           options)
            for name in (RESTART, DROP)
        },
        "remap": measured([scenario(REMAP, days, **often)], options)[0],
        "restarts_s": RESTARTS_S,
        "by_restart": measured([scenario(RESTART, days, recovery__restart_s=s, **often)
                                for s in RESTARTS_S], options),
        "remaps_s": REMAPS_S,
        "by_remap": measured([scenario(REMAP, days, recovery__reshard_s=s, **often)
                              for s in REMAPS_S], options),
    }  # fmt: skip
    figures["gain"] = {
        name: [figures["remap"]["goodput_ratio"] / row["goodput_ratio"] for row in rows]
        for name, rows in figures["by_unit"].items()
    }
    publish(options, "elastic_training", draw(figures), tables(figures), figures)
    return figures


def tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    """Shares of the time by failures and way; goodput by the times of recovery."""
    columns = ["goodput_ratio", "waiting_share", "shrunk_share", "lost_share", "restart_share",
               "reshard_share", "checkpoint_share"]  # fmt: skip
    rows = [
        [m, name, *(f"{figures['by_mtbf'][name][i][c]:.1%}" for c in columns)]
        for i, m in enumerate(figures["mtbf_days"])
        for name in WAYS
    ]
    heads = ["goodput", "waiting", "fewer nodes", "lost", "restarts", "remaps", "checkpoints"]
    times = [
        *(["restart", s, row["goodput_ratio"]] for s, row in
          zip(figures["restarts_s"], figures["by_restart"], strict=True)),
        *(["remap", s, row["goodput_ratio"]] for s, row in
          zip(figures["remaps_s"], figures["by_remap"], strict=True)),
    ]  # fmt: skip
    units = [
        [unit, *(cell for name in (RESTART, DROP) for cell in
                 (figures["by_unit"][name][i]["goodput_ratio"], figures["gain"][name][i])),
         one_lost(unit)]
        for i, unit in enumerate(figures["units"])
    ]  # fmt: skip
    return {
        "mtbf": Table(["days between failures", "way", *heads], rows),
        "units": Table(["nodes of a replica", "restart", "remap gains", "drop live", "remap gains",
                        "one node lost"], units),
        "times": Table(["recovery", "seconds", "goodput"], times),
    }  # fmt: skip


def one_lost(unit: int) -> float:
    """Throughput with one node lost: of all others, over that of whole replicas."""
    return (NODES - 1) / (NODES - unit)


def draw(figures: Mapping[str, Any]) -> "Figure":
    """Goodput by failures, the gain of remapping, and where the time goes."""
    title = "A job of 96 accelerators whose nodes fail"
    with new_figure(1, 3, (12.5, 3.9), title) as (figure, axes):
        left, middle, right = axes[0]
        mtbf = figures["mtbf_days"]
        for name, (_, colour) in WAYS.items():
            goodput = [row["goodput_ratio"] for row in figures["by_mtbf"][name]]
            left.plot(mtbf, goodput, marker="o", markersize=4, color=colour, label=name)
        left.set_ylim(0, 1)
        share_axis(left)
        left.set_title("Goodput")
        left.legend(loc="lower right")
        for name, gain in figures["gain"].items():
            middle.plot(figures["units"], gain, marker="o", markersize=4, color=WAYS[name][1],
                        label=f"over: {name}")  # fmt: skip
        middle.plot(figures["units"], [one_lost(u) for u in figures["units"]], color=COLOURS[6],
                    linewidth=1, label="while one node is lost")  # fmt: skip
        for (name, ratio), style in zip(CLAIMED.items(), ("--", ":"), strict=True):
            middle.axhline(ratio, color=COLOURS[2], linewidth=1, linestyle=style,
                           label=f"over {name} (paper)")  # fmt: skip
        middle.set_ylim(1, 2)
        middle.set_title("Gain of remapping over all that are left")
        middle.set_xlabel("nodes of a model replica, of 12")
        middle.legend(loc="upper left")
        left.set_xscale("log")
        left.set_xticks(mtbf, [f"{m:g}" for m in mtbf])
        left.minorticks_off()
        left.set_xlabel("days between failures of a node")
        for name, seconds, rows, colour in (
            ("restart", figures["restarts_s"], figures["by_restart"], COLOURS[1]),
            ("remap", figures["remaps_s"], figures["by_remap"], COLOURS[0]),
        ):
            goodput = [row["goodput_ratio"] for row in rows]
            right.plot(seconds, goodput, marker="o", markersize=4, color=colour, label=name)
        right.set_xscale("log")
        right.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1000"])
        right.minorticks_off()
        right.set_ylim(0, 1)
        share_axis(right)
        right.set_title("Goodput at 5 days between failures")
        right.set_xlabel("seconds of a restart or remap")
        right.legend(loc="lower left")
    return figure


if __name__ == "__main__":
    main(study, __doc__)
