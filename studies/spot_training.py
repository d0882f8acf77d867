"""On spot instances that come and go, what do live resharding, restarts and waiting leave of a job?

Paper: Kang et al., "ElasWave", arXiv 2510.00606 (abstract): remap in place and reshard, from
snapshots in memory of each step, in place of a restart. Duan et al., "Parcae", NSDI 2024, arXiv
2403.14097 (abstract): on pre-emptible instances "near-optimal performance ... under frequent
preemptions, in which case existing approaches cannot make any progress", "up to 10x".

Theirs: the mechanisms, the claims, and Parcae's trace: 177 instances of AWS p3.2xlarge (one V100
each), at most 32 at a time and 24 on average, 167 pre-emptions in 11.4 hours. Ours: the job, of
steps of 10 s on 32 nodes, 21 GB of state (1.5 billion parameters), lazy checkpoints, 1 GB/s of
storage, 1.2 GB/s of network a node, 120 s to restart, 30 s to notice, 10 s to remap. The trace is
also run faster and slower; each way takes new nodes as often as suits it best (every 1 to 60
minutes). Measured is the share of the paid GPU hours that trained.

What we find:
- On the trace as it is, a pre-emption every four minutes, remapping live keeps 86 % of the GPU
  hours at work, restarts on what is there 63 %, 16 of 32 nodes with the rest as spares 41 %, and
  waiting for all 32, which are there a fifth of the time, 17 %. Live over restart is 1.37 times;
  ElasWave's abstract has 1.35 and 1.60, over two systems that do not restart either.
- The gap widens with the pace and closes again: 1.04 times at a pre-emption an hour, twice at one a
  minute; at one every half minute, three steps, hardly anything trains (13 % and 10 %). "Near-
  optimal where others cannot make any progress" is true in between, for a narrow band.
- Copies in memory are no insurance here: pre-emptions come in bursts, two nodes that hold each
  other's state leave at one instant, and the job goes back to storage, which such a run writes
  seldom: 82 % in place of the 86 % of lazy checkpoints. With four copies it is 89 %. Synchronous
  checkpoints cost 16 % of the time.
- A restart of 30 s instead of 120 s closes a third of the gap (71 %), one of 10 minutes leaves
  35 %. Who restarts should be slow to take new nodes: once an hour is best here, where remapping
  takes them every minute.
- Replicas of four nodes cost up to 6 points beside that, for the nodes that make no whole one.

Limits: any number of nodes can share the batch evenly, so that remapping is shown at its best, and
restarts on what is there too. The two minutes of notice that a cloud gives are not used, nor are
pre-emptions foreseen, as Parcae does: what remains lost under "remap" is what foresight can win.
"""

import csv
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, share_axis
from mltwin.text import Table
from studies._common import Options, main, publish, shared_data

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NODES, STEP_S, STATE_GB = 32, 10.0, 21.0
PACES = [0.0625, 0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0]  # of the trace
REGROW_MINUTES = [1.0, 5.0, 15.0, 60.0]
STRATEGIES: dict[str, dict[str, Any]] = {
    "sync": {"checkpoint__strategy": "sync"},
    "lazy": {"checkpoint__strategy": "lazy"},
    "memory, 2 copies": {"checkpoint__strategy": "memory"},
    "memory, 4 copies": {"checkpoint__strategy": "memory", "checkpoint__copies": 4},
}
RESTARTS_S = [30.0, 60.0, 120.0, 300.0, 600.0]
WAYS: dict[str, tuple[dict[str, Any], str]] = {
    "wait for all 32": ({"recovery__elastic": "rigid"}, COLOURS[6]),
    "run on 16, rest stand by": (
        {"recovery__elastic": "rigid", "job__nodes": 16, "cluster__spares": 16},
        COLOURS[4],
    ),
    "restart on replicas of 4": (
        {"recovery__elastic": "restart", "job__unit_nodes": 4},
        COLOURS[3],
    ),
    "restart on what is there": ({"recovery__elastic": "restart"}, COLOURS[1]),
    "remap live": ({"recovery__elastic": "live"}, COLOURS[0]),
}
RESTART, REMAP = list(WAYS)[3], list(WAYS)[4]
Rows = list[tuple[float, str, str]]  # seconds, add or remove, node


def trace() -> tuple[Rows, bool]:
    """Parcae's trace, or a stand-in of its size; whether it is theirs."""
    try:
        path = shared_data("traces", "cluster", "parcae_spot", "p3trace.csv")
    except mt.InputError:
        return stand_in(), False
    with open(path, encoding="utf-8", newline="") as file:
        return [(float(ms) / 1e3, event, node) for ms, event, node in csv.reader(file)], True


def stand_in(hours: float = 11.4, up_hours: float = 1.6, down_hours: float = 0.5) -> Rows:
    """32 places, each taken and left by instances for exponential times."""
    random = np.random.default_rng(7)
    rows: Rows = []
    for place in range(NODES):
        at, number = 0.0, 0
        while at < hours:
            rows.append((at * 3600, "add", f"{place}.{number}"))
            at += random.exponential(up_hours)
            if at < hours:
                rows.append((at * 3600, "remove", f"{place}.{number}"))
            at += random.exponential(down_hours)
            number += 1
    return sorted(rows, key=lambda row: row[0])


def written(rows: Rows, pace: float, folder: Path) -> Path:
    """The trace as a file, so many times as fast."""
    path = folder / f"spot-{pace:g}.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time_s", "event", "node"])
        table.writerows((f"{at / pace:.6f}", event, node) for at, event, node in rows)
    return path


def scenario(file: Path, days: float, **fields: Any) -> mt.Scenario:
    """A job that outlasts the trace, unless `fields` (dots as __) say otherwise."""
    base = mt.Scenario.parse({"system": "training-run", "name": "spot"})
    usual = {
        "job__nodes": NODES,
        "job__gpus_per_node": 1,
        "job__step_s": STEP_S,
        "job__days": 100 * days,
        "cluster__spares": 0,
        "stragglers__kind": "none",
        "failures__kind": "trace",
        "failures__trace": str(file),
        "checkpoint__strategy": "lazy",
        "checkpoint__state_gb": STATE_GB,
        "checkpoint__storage_gb_per_s": 1.0,
        "checkpoint__host_gb_per_s": 10.0,
        "checkpoint__peer_gb_per_s": 1.2,
        "recovery__restart_s": 120.0,
        "recovery__reshard_s": 10.0,
        "limit_days": days,
    }
    return base.with_(**(usual | fields))


def best(file: Path, days: float, **fields: Any) -> dict[str, float]:
    """The run that trains most, over how often new nodes are taken."""
    tried = REGROW_MINUTES if fields["recovery__elastic"] != "rigid" else REGROW_MINUTES[:1]
    found = []
    for minutes in tried:
        run = scenario(file, days, recovery__regrow_minutes=minutes, **fields).run(0)
        kept = ("lost_share", "restart_share", "reshard_share", "waiting_share", "shrunk_share",
                "checkpoint_share", "steps")  # fmt: skip
        used = 1 - run.metrics["wasted_gpu_hours"] / run.metrics["gpu_hours"]
        found.append(
            {"used": used, "minutes": minutes} | {name: run.metrics[name] for name in kept}
        )
    return max(found, key=lambda one: one["used"])


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    rows, theirs = trace()
    paces = PACES[1::3] if options.quick else PACES
    gone = sum(event == "remove" for _, event, _ in rows)
    with tempfile.TemporaryDirectory() as name:
        files = {pace: written(rows, pace, Path(name)) for pace in {1.0, *paces}}
        days = rows[-1][0] / 86400
        figures: dict[str, Any] = {
            "theirs": theirs,
            "paces": paces,
            "minutes_between": [days * 1440 / pace / gone for pace in paces],
            "by_pace": {
                way: [best(files[pace], days / pace, **fields) for pace in paces]
                for way, (fields, _) in WAYS.items()
            },
            "by_strategy": {
                strategy: {
                    way: best(files[1.0], days, **how, **fields)
                    for way, (fields, _) in WAYS.items()
                }
                for strategy, how in STRATEGIES.items()
            },
            "restarts_s": RESTARTS_S,
            "by_restart": {
                way: [
                    best(files[1.0], days, recovery__restart_s=s, **WAYS[way][0])
                    for s in RESTARTS_S
                ]
                for way in (RESTART, REMAP)
            },
        }
    publish(options, "spot_training", picture(figures), tables(figures), figures)
    return figures


def tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    """By pace, where the time goes, and by checkpoints."""
    paces: Sequence[float] = figures["paces"]
    by_pace: list[list[Any]] = [
        [way, *(f"{row['used']:.1%}" for row in mine)] for way, mine in figures["by_pace"].items()
    ]
    heads = ["used, at pace", *(f"x {pace:g}" for pace in paces)]
    first = "Parcae's trace" if figures["theirs"] else "A stand-in for Parcae's trace"
    between = ", ".join(f"{m:.3g}" for m in figures["minutes_between"])
    shares: list[list[Any]] = [
        [strategy, way, f"{row['used']:.1%}", row["minutes"],
         *(f"{row[name]:.1%}" for name in ("waiting_share", "restart_share", "reshard_share",
                                           "lost_share", "checkpoint_share"))]
        for strategy, mine in figures["by_strategy"].items() for way, row in mine.items()
    ]  # fmt: skip
    restarts: list[list[Any]] = [
        [way, *(f"{row['used']:.1%}" for row in mine)]
        for way, mine in figures["by_restart"].items()
    ]
    n = len(WAYS)
    return {
        "pace": Table(heads, by_pace, caption=f"{first}; minutes between pre-emptions: {between}."),
        "shares": Table(
            ["checkpoints", "way", "used", "regrow min", "waiting", "restarts", "remaps", "lost",
             "checkpoints cost"],
            shares, caption="Used: of the GPU hours; the rest: of the time.",
            breaks={n - 1, 2 * n - 1, 3 * n - 1},
        ),
        "restarts": Table(["used, restart of", *(f"{s:g} s" for s in RESTARTS_S)], restarts),
    }  # fmt: skip


def picture(figures: Mapping[str, Any]) -> "Figure":
    """Used GPU hours by pace, by checkpoints and by the length of a restart."""
    title = "Training on spot instances" + ("" if figures["theirs"] else " (a stand-in trace)")
    with new_figure(1, 3, (12.5, 4.1), title) as (figure, axes):
        left, middle, right = axes[0]
        for way, (_, colour) in WAYS.items():
            left.plot(figures["minutes_between"], [r["used"] for r in figures["by_pace"][way]],
                      "o-", markersize=4, color=colour, label=way)  # fmt: skip
        left.set_xscale("log", base=2)
        left.set_xticks(figures["minutes_between"],
                        [f"{m:.2g}" for m in figures["minutes_between"]])  # fmt: skip
        left.minorticks_off()
        left.set_title("GPU hours that trained")
        left.set_xlabel("minutes between pre-emptions")
        for i, (way, (_, colour)) in enumerate(WAYS.items()):
            used = [figures["by_strategy"][s][way]["used"] for s in STRATEGIES]
            middle.bar(np.arange(len(STRATEGIES)) + 0.16 * (i - 2), used, 0.15, color=colour)
        middle.set_xticks(np.arange(len(STRATEGIES)), [s.replace(", ", "\n") for s in STRATEGIES])
        middle.grid(visible=False, axis="x")
        middle.set_title("By checkpoints, the trace as it is")
        for way, mine in figures["by_restart"].items():
            right.plot(figures["restarts_s"], [r["used"] for r in mine], "o-", markersize=4,
                       color=WAYS[way][1], label=way)  # fmt: skip
        right.set_title("By the time of a restart")
        right.set_xlabel("seconds")
        right.legend(*left.get_legend_handles_labels(), loc="lower left")
        for axis in axes[0]:
            axis.set_ylim(0, 1)
            share_axis(axis)
    return figure


if __name__ == "__main__":
    main(study, __doc__)
