"""Is a hashed sample of peers really cheaper than talking with neighbours, and does it survive?

Paper: de Vos et al., "MoDeST", arXiv 2302.13837 version 1 (abstract): convergence as fast as
federated learning, "3x-14x reduction in communication costs" against decentralised learning, quick
adaptation to failures "even when 80 % of all nodes become unresponsive". Version 2 of the same
paper, Plexus (abstract): 2.4 to 15.3 times fewer bytes, 1.2 to 8.3 times sooner, 6.4 to 370 times
less training than baselines.

Theirs: the protocol, read in the authors' code (samples of 13, an aggregator has enough with 10
models, or 5 after 300 s), and D-PSGD on the one-peer exponential graph. Ours: digits (Dirichlet
1), softmax regression sent as 0.35 MB, FedScale's phones (fitted), a synthetic square of 200 ms (a
measured matrix in MLTWIN_DATA is taken, there was none for these figures), D-PSGD on a ring, and
how the crashes come. Step sizes are those that need fewest bytes on two other seeds at 64 peers,
one for each row; MoDeST's is the greatest of those tried, the others lie within.

What we find:
- MoDeST's bytes are a server's: FedAvg with rounds of 13 needs 0.6 to 1.0 times as many, both ways
  counted, at 32 to 256 peers (all intervals hold 1). Agreed.
- Against D-PSGD the factor is mostly the number of peers: a round of MoDeST sends 26 models, one of
  D-PSGD one or two from each peer. Until the peers' own models are at 80 % D-PSGD on the
  exponential graph sends 13 times as much with 32 peers, 98 times with 256; 24 to 188 times the
  training, 10 times the time. The published 3 to 14 are within, at few peers.
- It depends on whose model is judged. The mean of all models, which no peer has, is at 80 % after
  three rounds; judged by it D-PSGD sends 0.4 times MoDeST's bytes with 32 peers and 3.5 times with
  256 (ring: 1 to 7 times).
- With one aggregator a round, as in the README of the code, survival is a matter of luck: of 16
  worlds in which 80 % of 128 peers crash over an hour 56 % go on, with 80 % at one moment 25 %. Who
  has sent its model to an aggregator that dies waits for ever; nobody else starts a round.
- Two aggregators survive 80 % over an hour in all worlds, for twice the bytes (17.6 for 8.8 MB
  a round): the cheapest setting is not the one that survives. At one moment four do not either
  (38 %), since of 13 participants 2.6 are left on average and a round needs 5 models.
- Who goes on goes slowly: 1.2 rounds a minute become 0.5, as each search asks the dead and waits 5
  s for each set of them. D-PSGD by a coordinator (ring, in rounds of a minute) never stops, and
  learns nothing more: its accuracy falls from 69 to 66 %, survivors have no neighbours.

Limits: crashes are final and silent; no peer comes back or is told of a lost round (the authors'
network layer may do more than the code that we read). Accuracies at the end of runs that stopped
are those of their last model. Five seeds for learning, 16 for survival.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.federated_peers import overlay_of, protocol_of
from mltwin.federated_run import lower
from mltwin.models.federation.peers.simulate import simulate_peers
from mltwin.models.federation.tables import TICKS_PER_S, Availability
from mltwin.plots import COLOURS, FAINT, new_figure, number_axis, share_axis
from mltwin.sim.rng_arrays import PEERS, uniforms
from mltwin.sim.stats import mean_ci
from mltwin.text import Table
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from mltwin.models.federation.outcome import FederatedRun

SAMPLE = 13  # of MoDeST, and clients of a round of FedAvg
NUMBERS = [32, 64, 128, 256]  # of peers; powers of two, so that the exponential graph is exact
MEGABYTES = 0.35  # of a model
ACROSS_MS = 200.0  # peers stand at random in a square of this side
ROUNDS, TARGET = 200, 0.8
SEEDS = 5
TUNING_SEEDS, TUNED_AT = range(1_000_000, 1_000_002), 64  # peers
LRS = [0.1, 0.2, 0.4, 0.8, 1.6]

CRASHED, CRASH_S, END_S = 128, 1800.0, 7200.0  # peers of the second part, when some begin to crash
DEAD = [0.5, 0.8, 0.9]
SPREADS_S = [0.0, 3600.0]  # over which they crash
AGGREGATORS = [1, 2, 4]
WORLDS = 16  # seeds of time alone
SHOWN = [("at once", 0.0, 1), ("in an hour", 3600.0, 1), ("in an hour", 3600.0, 2)]
ROUND_S = 60.0  # of D-PSGD by a coordinator: what its slowest peer needs, nearly

PUBLISHED = {"MoDeST": (3.0, 14.0), "Plexus": (2.4, 15.3)}  # times less communication, abstracts

MODEST, RING, EXPONENTIAL, FEDAVG = "MoDeST", "D-PSGD, ring", "D-PSGD, exponential", "FedAvg"
PEERING: dict[str, dict[str, Any]] = {
    MODEST: {"protocol": {"name": "modest", "sample": SAMPLE}, "overlay": "complete"},
    RING: {"protocol": "dpsgd", "overlay": "ring"},
    EXPONENTIAL: {
        "protocol": {"name": "dpsgd", "weights": "uniform"}, "overlay": "exponential",
    },
}  # fmt: skip
MEANS = {name: f"{name}, mean model" for name in (RING, EXPONENTIAL)}
METHODS = {  # label -> who learns, and which accuracy is to reach the target
    MODEST: (MODEST, "accuracy"),
    RING: (RING, "peers_accuracy"),
    EXPONENTIAL: (EXPONENTIAL, "peers_accuracy"),
    MEANS[RING]: (RING, "accuracy"),
    MEANS[EXPONENTIAL]: (EXPONENTIAL, "accuracy"),
    FEDAVG: (FEDAVG, "accuracy"),
}
SHADES = {MODEST: COLOURS[0], RING: COLOURS[1], EXPONENTIAL: COLOURS[4], FEDAVG: COLOURS[2]}

Row = dict[str, Any]


def measured_latencies() -> str | None:
    """A matrix of milliseconds between sites, if the measured data holds one."""
    root = os.environ.get("MLTWIN_DATA")
    path = Path(root or "", "traces", "federated", "latencies.txt")
    return str(path) if root and path.exists() else None


def scenario(name: str, peers: int, rounds: int = ROUNDS) -> mt.federated.Scenario:
    """Digits among so many phones, each with a mix of its own."""
    given: dict[str, Any] = {
        "clients": {"count": peers, "speed": "fedscale"},
        "dataset": {
            "source": {"name": "digits", "copies": 4},
            "split": {"name": "dirichlet", "alpha": 1.0},
        },
        "model": {"level": "softmax", "megabytes": MEGABYTES},
        "training": {"steps": 5, "batch": 20, "lr": 0.2},
        "stop": {"versions": rounds},
        "target": {"accuracy": TARGET},
    }
    if name == FEDAVG:
        given["strategy"] = {"name": "fedavg", "clients": SAMPLE, "equal": True}
        return mt.federated.Scenario(**given)
    found = measured_latencies()
    sites = {"latency_file": found} if found else {"across_ms": ACROSS_MS}
    return mt.federated.Scenario(**given, peers={**PEERING[name], **sites})


def spent_at(run: mt.Result, label: str) -> Row | None:
    """What it took until a method's accuracy reached the target; None: it never did."""
    name, column = METHODS[label]
    table = run.tables["evaluations"]
    rows = np.flatnonzero(np.asarray(table[column]) >= TARGET)
    if not len(rows):
        return None
    at = rows[0]
    sent = float(table["up_bytes"][at])
    if name == FEDAVG:
        sent += float(table["down_bytes"][at])  # what the server sends
    return {
        "mb": sent / 1e6, "s": float(table["time_s"][at]),
        "rounds": int(table["version"][at]), "trainings": int(table["updates"][at]),
    }  # fmt: skip


def cost(runs: Sequence[mt.Result], label: str) -> Row | None:
    """Means over seeds of `spent_at`; None where a seed never got there."""
    found = [spent_at(run, label) for run in runs]
    known = [one for one in found if one is not None]
    if len(known) < len(found):
        return None
    return {key: float(np.mean([one[key] for one in known])) for key in known[0]} | {
        "each_mb": [one["mb"] for one in known]
    }


def tuned(options: Options, rounds: int) -> dict[str, float]:
    """Step size of each method: fewest bytes to the target, on seeds and peers of its own."""
    if options.quick:
        return dict.fromkeys(METHODS, 0.2)
    made = [
        scenario(name, TUNED_AT, rounds).changed({"training.lr": lr, "name": f"{name}, {lr:g}"})
        for name in (*PEERING, FEDAVG)
        for lr in LRS
    ]
    runs = mt.compare(made, seeds=list(TUNING_SEEDS), workers=options.workers).runs

    def score(label: str, lr: float) -> tuple[int, float]:
        found = [spent_at(run, label) for run in runs[f"{METHODS[label][0]}, {lr:g}"]]
        known = [one["mb"] for one in found if one is not None]
        return len(known), -float(np.mean(known)) if known else 0.0

    return {label: max(LRS, key=lambda lr, label=label: score(label, lr)) for label in METHODS}


def costs(peers: int, lrs: Mapping[str, float], rounds: int, options: Options) -> dict[str, Row]:
    """What it took each method to the target."""
    labels = [MODEST, EXPONENTIAL, FEDAVG] if options.quick else list(METHODS)
    made = [
        scenario(METHODS[label][0], peers, rounds).changed(
            {"training.lr": lrs[label], "name": label}
        )
        for label in labels
    ]
    seeds = list(range(2 if options.quick else SEEDS))
    runs = mt.compare(made, seeds=seeds, workers=options.workers).runs
    return {
        label: {
            "lr": lrs[label], "to": cost(runs[label], label),
            "last": float(np.mean(
                [run.tables["evaluations"][METHODS[label][1]][-1] for run in runs[label]]
            )),
        }
        for label in labels
    }  # fmt: skip


def times_more(rows: Mapping[str, Row], label: str) -> list[float] | None:
    """How many times the bytes of MoDeST another needs, by seed: geometric mean, interval."""
    mine, theirs = rows[MODEST]["to"], rows[label]["to"]
    if label == MODEST or mine is None or theirs is None:
        return None
    told = mean_ci(np.log(theirs["each_mb"]) - np.log(mine["each_mb"]))
    return [float(np.exp(x)) for x in (told.estimate, told.low, told.high)]


def crash(peers: int, dead: float, spread_s: float, seed: int) -> Availability:
    """A share of the peers, drawn, leave for good, at any time within a spread."""
    order = np.argsort(uniforms(seed, PEERS, np.arange(peers), 7))
    who = order[: round(dead * peers)]
    trace = np.full(peers, -1, np.int32)
    trace[who] = np.arange(len(who))
    at = CRASH_S + spread_s * np.asarray(uniforms(seed, PEERS, np.arange(len(who)), 8))
    end = np.rint(at * TICKS_PER_S).astype(np.int64)
    zero = np.zeros(len(who), np.int64)
    return Availability(np.arange(len(who) + 1), zero, end, zero, trace, np.zeros(peers, np.int64))


def crashing(name: str, aggregators: int, *, lr: float | None, end_s: float) -> mt.Scenario:
    """The scenario of a run with crashes; without a step size, of its time alone."""
    given = scenario(name, CRASHED).changed(
        {"stop": {"until_s": end_s}, "target": {"accuracy": None}}
    )
    if lr is None:
        given = given.changed({"model": {"level": "time", "megabytes": MEGABYTES}})
    else:
        given = given.changed({"training.lr": lr})
    if name == MODEST:
        return given.changed({"peers.protocol.aggregators": aggregators})
    return given.changed({"peers.protocol": {"name": "dpsgd", "round_s": ROUND_S}})


def crashed(given: mt.Scenario, dead: float, spread_s: float, seed: int) -> "FederatedRun":
    """A run in which a share of the peers crash without a word."""
    assert isinstance(given, mt.federated.Scenario)
    lowered = lower(given, seed)
    clients = lowered.clients.changed(availability=crash(CRASHED, dead, spread_s, seed))
    return simulate_peers(
        clients, overlay_of(given, CRASHED, seed), protocol_of(given), lowered.plan,
        task=lowered.task, seed=seed,
    )  # fmt: skip


def survival(aggregators: int, dead: float, spread_s: float, worlds: int, end_s: float) -> Row:
    """In how many worlds rounds still end; rounds a minute among survivors, bytes a round."""
    given = crashing(MODEST, aggregators, lr=None, end_s=end_s)
    alive, after, size = 0, [], []
    for seed in range(worlds):
        run = crashed(given, dead, spread_s, seed)
        at = run.versions["time"] / TICKS_PER_S
        size.append(float(run.evaluations["up_bytes"][-1]) / max(len(at), 1) / 1e6)
        if run.complete:
            alive += 1
            late = at >= CRASH_S + spread_s
            after.append(60 * float(late.sum()) / (end_s - CRASH_S - spread_s))
    return {
        "alive": alive / worlds, "mb_a_round": float(np.mean(size)),
        "rounds_a_minute": float(np.mean(after)) if after else None,
    }  # fmt: skip


def learning(name: str, spread_s: float, aggregators: int, lr: float, seeds: int,
             end_s: float) -> Row:  # fmt: skip
    """Accuracy of peers' own models through the crash of 80 %, on a grid of seconds."""
    given = crashing(name, aggregators, lr=lr, end_s=end_s)
    grid = np.linspace(0, end_s, 121)
    values, going = [], 0
    for seed in range(seeds):
        run = crashed(given, 0.8, spread_s, seed)
        going += bool(run.complete)
        column = run.evaluations.get("peers_accuracy", run.evaluations["accuracy"])
        at = np.searchsorted(run.evaluations["time"] / TICKS_PER_S, grid, side="right") - 1
        values.append(np.asarray(column)[np.maximum(at, 0)])
    return {
        "s": grid.tolist(), "accuracy": np.mean(values, axis=0).tolist(),
        "low": np.min(values, axis=0).tolist(), "high": np.max(values, axis=0).tolist(),
        "going": going, "seeds": seeds,
    }  # fmt: skip


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    numbers = [32, 64] if options.quick else NUMBERS
    seeds, worlds = (2, 8) if options.quick else (SEEDS, WORLDS)
    end_s = 3000.0 if options.quick else END_S
    rounds = ROUNDS // 2 if options.quick else ROUNDS
    lrs = tuned(options, rounds)
    by_peers = {peers: costs(peers, lrs, rounds, options) for peers in numbers}
    cases = (
        [(0.8, 0.0, 1), (0.8, 600.0, 1), (0.8, 600.0, 4)] if options.quick
        else [(d, s, a) for d in DEAD for s in SPREADS_S for a in AGGREGATORS]
    )  # fmt: skip
    alive = [
        {"dead": d, "spread_s": s, "aggregators": a, **survival(a, d, s, worlds, end_s)}
        for d, s, a in cases
    ]
    curves = {
        f"{MODEST}, {text}, {count} aggregator{'s' if count > 1 else ''}":
            learning(MODEST, spread, count, lrs[MODEST], seeds, end_s)
        for text, spread, count in (SHOWN[:1] if options.quick else SHOWN)
    }  # fmt: skip
    if not options.quick:
        curves[f"{RING}, at once"] = learning(RING, 0.0, 1, lrs[RING], seeds, end_s)
    figures = {
        "by_peers": by_peers, "survival": alive, "curves": curves, "published": PUBLISHED,
        "latencies": "measured" if measured_latencies() else "synthetic",
        "times": {
            peers: {label: times_more(rows, label) for label in rows}
            for peers, rows in by_peers.items()
        },
    }  # fmt: skip
    publish(options, "modest", draw(figures), tables(figures), figures)
    return figures


def tables(figures: Mapping[str, Any]) -> dict[str, Table]:
    """Costs to the target; crashes."""
    rows = [
        [peers, label, row["lr"], row["last"],
         *([row["to"][key] for key in ("rounds", "mb", "s", "trainings")] if row["to"]
           else [None] * 4),
         "{:.1f} ({:.1f} to {:.1f})".format(*told) if (told := figures["times"][peers][label])
         else ""]
        for peers, methods in figures["by_peers"].items()
        for label, row in methods.items()
    ]  # fmt: skip
    heads = ["peers", "method", "lr", "accuracy at the end", "rounds", "MB sent", "seconds",
             "trainings", "times MoDeST's bytes"]  # fmt: skip
    title = f"To an accuracy of {TARGET:g}; of D-PSGD the mean of the peers' own models"
    made = {"cost": Table(heads, rows, title=title)}
    made["survival"] = Table(
        ["dead", "within (s)", "aggregators", "still going", "rounds a minute then",
         "MB a round"],
        [[f"{row['dead']:.0%}", row["spread_s"], row["aggregators"], f"{row['alive']:.0%}",
          row["rounds_a_minute"], row["mb_a_round"]] for row in figures["survival"]],
        title=f"{CRASHED} peers, of which some crash from {CRASH_S:g} s on",
    )  # fmt: skip
    made["crash"] = Table(
        ["80 % crash", "still going", "accuracy before", "at the end"],
        [[name, f"{line['going']} of {line['seeds']}",
          float(np.interp(CRASH_S, line["s"], line["accuracy"])), line["accuracy"][-1]]
         for name, line in figures["curves"].items()],
    )  # fmt: skip
    return made


def draw(figures: Mapping[str, Any]) -> "Figure":
    """Bytes to the target and their ratio by number of peers; survival, and accuracy through."""
    with new_figure(2, 2, (10.5, 7.4)) as (figure, axes):
        _bytes(axes[0, 0], figures["by_peers"])
        _ratios(axes[0, 1], figures["times"])
        _alive(axes[1, 0], figures["survival"])
        panel = axes[1, 1]
        for (name, line), colour in zip(
            figures["curves"].items(), (COLOURS[1], COLOURS[2], COLOURS[0], COLOURS[4]),
            strict=False,
        ):  # fmt: skip
            panel.plot(line["s"], line["accuracy"], color=colour, label=name, linewidth=1.4)
            panel.fill_between(line["s"], line["low"], line["high"], color=colour, alpha=0.1,
                               linewidth=0)  # fmt: skip
        panel.axvline(CRASH_S, color=FAINT, linewidth=0.8, linestyle="--")
        share_axis(panel)
        panel.set_title("Accuracy; 80 % crash from the dashed line on")
        panel.set_xlabel("virtual time (s)")
        panel.legend(fontsize=7)
    return figure


def _alive(panel: "Axes", rows: Sequence[Row]) -> None:
    counts = sorted({row["aggregators"] for row in rows})
    cases = sorted({(row["dead"], row["spread_s"]) for row in rows})
    for place, count in enumerate(counts):
        found = {(r["dead"], r["spread_s"]): r["alive"] for r in rows if r["aggregators"] == count}
        at = [x for x, case in enumerate(cases) if case in found]
        panel.bar(
            [x + 0.26 * (place - (len(counts) - 1) / 2) for x in at],
            [found[cases[x]] for x in at], 0.24, color=COLOURS[(1, 2, 0)[place % 3]],
            label=f"{count} aggregator{'s' if count > 1 else ''} a round",
        )  # fmt: skip
    for x, (dead, _) in enumerate(cases):
        panel.plot([x - 0.42, x + 0.42], [1 - dead, 1 - dead], "--", color=FAINT, linewidth=1.0)
    texts = [f"{dead:.0%}\n" + (f"in {spread / 60:.0f} min" if spread else "at once")
             for dead, spread in cases]  # fmt: skip
    panel.set_xticks(range(len(cases)), texts, fontsize=7)
    share_axis(panel)
    panel.set_title("MoDeST still going (dashed: share of peers alive)")
    panel.set_ylim(0, 1.15)
    panel.legend(fontsize=7, ncols=3, loc="upper left")


def _bytes(panel: "Axes", by_peers: Mapping[int, Mapping[str, Row]]) -> None:
    for label, (name, _) in METHODS.items():
        known = {n: rows[label]["to"] for n, rows in by_peers.items()
                 if label in rows and rows[label]["to"]}  # fmt: skip
        panel.plot(
            list(known), [row["mb"] for row in known.values()], ":" if label != name else "-",
            marker="o", markersize=4, color=SHADES[name], label=label,
        )  # fmt: skip
    panel.set_xscale("log", base=2)
    number_axis(panel, "y")
    panel.set_xticks(list(by_peers), [str(n) for n in by_peers])
    panel.set_title(f"MB sent until {TARGET:.0%}")
    panel.set_xlabel("peers")
    panel.set_ylim(top=5 * panel.get_ylim()[1])
    panel.legend(fontsize=7, ncols=2, loc="upper left")


def _ratios(panel: "Axes", times: Mapping[int, Mapping[str, Any]]) -> None:
    for label, (name, _) in METHODS.items():
        known = {n: row[label] for n, row in times.items() if row.get(label)}
        if known and name != FEDAVG:
            middle = np.array([row[0] for row in known.values()])
            ends = np.array([row[1:] for row in known.values()]).T
            panel.errorbar(
                list(known), middle, yerr=np.abs(ends - middle), marker="o", markersize=4,
                fmt=":" if label != name else "-", color=SHADES[name], elinewidth=0.8,
            )  # fmt: skip
    low, high = PUBLISHED["MoDeST"]
    panel.axhspan(low, high, color=FAINT, alpha=0.25, linewidth=0)
    panel.set_xscale("log", base=2)
    number_axis(panel, "y")
    panel.set_xticks(list(times), [str(n) for n in times])
    panel.set_title("Bytes of D-PSGD over MoDeST's (band: the paper's)")
    panel.set_xlabel("peers")


if __name__ == "__main__":
    main(study, __doc__)
