"""Must packets be sprayed over a leaf-spine, or do flows in a few parts do as well?

Paper: Addanki, Goyal and Marinos, "Challenging the Need for Packet Spraying in Large-Scale
Distributed Training", arXiv 2407.00550 v1 (2024); v2: "Ethereal: Divide and Conquer Network Load
Balancing in Large-Scale Distributed Training" (abstracts): flows of a collective start together and
are equal in size, so that single paths with minimal splitting by the application are "equivalent to
an ideal multipath transport with packet spraying in terms of maximum congestion".

Theirs: the claim, proved there. The proof, the rule of splitting and the numbers stand in the body
of the papers, which we could not read. Ours: 8 leaves, 8 hosts each, 8 spines, links of
400 Gbit/s; a rule of our own: the n flows between two leaves are dealt out over the s spines in
turn, and of the n mod s that are left each is cut into s / gcd(n mod s, s) parts. Congestion is
that of the busiest link between leaf and spine, over the same under ideal spraying.

What we find:
- Yes, where the application also chooses the paths: dealt out, every traffic has the congestion of
  ideal spraying, to the last digit, and the same completion time. A ring over the leaves and an
  all-to-all need no cut at all (8 and 64 flows between two leaves, for 8 spines); a random
  permutation, with one flow between two on average, needs 6.4 parts a flow where spraying takes
  7.2 paths: there splitting is spraying by another name.
- No, where the parts are hashed: one path a flow has 4.2 (permutation) and 4 times (ring) the
  congestion, 8 parts 1.9 times, and 64 parts still 1.3: four times the parts halve what is above
  1, and completion follows. Minimal splitting is not what ECMP makes of more connections.
- All-to-all hardly minds: 63 flows a host even out. One path costs 31 % of congestion and 16 % of
  completion, 8 parts less than 1 %, as the hosts' own links are then the narrow ones.
- Whole flows placed one by one where there is most room do as well for ring and all-to-all, but
  twice as badly for a permutation; a placement without collisions exists there too (Koenig's
  theorem on edge colourings), for who knows all flows beforehand.
- Equal sizes matter: dealt by count, lognormal sizes (sigma 1) cost an all-to-all 13 %; placed
  by size, next to nothing. Permutation and ring are then bound by their largest flow.
- A cable at half speed makes spraying and dealing alike twice as slow (1.8 times for all-to-all),
  as neither looks where there is room.

Limits: flows share links max-min fairly and nothing is lost: what spraying costs (packets out of
order, buffers) and what hashes cost beyond bandwidth (queues, pauses) are not in it, so that
spraying is shown at its best. All flows start at once.
"""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from math import gcd
from typing import TYPE_CHECKING, Any

import numpy as np

import mltwin as mt
from mltwin.models.network.flows import FlowTable
from mltwin.models.network.routing import routes
from mltwin.models.network.simulate import simulate_flows
from mltwin.plots import COLOURS, new_figure
from mltwin.sim.ticks import ticks
from mltwin.text import Table
from studies._common import Options, main, publish

if TYPE_CHECKING:
    from matplotlib.figure import Figure

LEAVES, HOSTS, SPINES = 8, 8, 8
PARTS = [1, 2, 4, 8, 16, 32, 64]
MOST_SUBFLOWS = 70_000
TRAFFIC = {
    "permutation": {"pattern": "permutation", "size_mb": 256.0},
    "ring": {"pattern": "shift", "size_mb": 256.0},
    "all-to-all": {"pattern": "all_to_all", "size_mb": 2.0},
}
SIGMA = 1.0  # of the logarithm of sizes, where they differ
SLOW = ("leaf0<->spine0", 0.5)  # a cable, and what is left of it
SEEDS = 6

Flows = tuple[np.ndarray, np.ndarray, np.ndarray]  # source and target rank, bytes
Paths = list[list[list[int]]]  # of each flow the paths of its parts, as link numbers


class Fabric:
    """A leaf-spine and the ways through it."""

    def __init__(self, leaves: int, hosts: int, spines: int) -> None:
        self.spec = {
            "name": "leaf_spine",
            "leaves": leaves,
            "hosts_per_leaf": hosts,
            "spines": spines,
        }
        self.leaves, self.hosts, self.spines = leaves, hosts, spines
        self.topology = mt.topology("leaf_spine", **{k: v for k, v in self.spec.items()
                                                     if k != "name"})  # fmt: skip
        nodes, ends = self.topology.nodes, (self.topology.source, self.topology.target)
        names = [f"{nodes[a]}->{nodes[b]}" for a, b in zip(*ends, strict=True)]
        self.link = {name: number for number, name in enumerate(names)}
        self.fabric = np.array(["spine" in name for name in names])
        self._flows: dict[tuple[str, int], Flows] = {}

    def flows(self, traffic: str, seed: int) -> Flows:
        """The flows of a pattern, as the scenario makes them."""
        if (traffic, seed) not in self._flows:
            made = scenario(self, traffic, "ecmp").run(seed).tables["flows"]
            ends = made["source"].astype(int), made["target"].astype(int)
            self._flows[traffic, seed] = (*ends, made["bytes"])
        return self._flows[traffic, seed]

    def path(self, source: int, target: int, spine: int) -> list[int]:
        """The links from one rank to another over a spine, or within a leaf."""
        a, b = source // self.hosts, target // self.hosts
        nodes = [f"host{source}", f"leaf{a}", f"spine{spine}", f"leaf{b}", f"host{target}"]
        if a == b:
            nodes = [nodes[0], nodes[1], nodes[4]]
        return [self.link[f"{u}->{v}"] for u, v in pairwise(nodes)]


def scenario(
    fabric: Fabric, traffic: str, routing: str, parts: int = 1, **more: Any
) -> mt.Scenario:
    """A pattern over the fabric, routed so."""
    sent = {"kind": "pattern", **TRAFFIC[traffic]}
    if traffic == "ring":
        sent["shift"] = fabric.hosts  # each host to the same place under the next leaf
    page = {"system": "network", "topology": fabric.spec, "traffic": sent, "name": traffic}
    return mt.Scenario.parse(page | {"routing": routing, "parts": parts} | more)


def dealt(fabric: Fabric, flows: Flows) -> Paths:
    """Flows between two leaves in turn over the spines, the largest first; those left are cut."""
    source, target, size = flows
    paths: Paths = [[] for _ in source]
    pair = source // fabric.hosts * fabric.leaves + target // fabric.hosts
    for one in np.unique(pair):
        mine = np.flatnonzero(pair == one)
        mine = mine[np.argsort(-size[mine], kind="stable")]
        left = len(mine) % fabric.spines
        cut = fabric.spines // gcd(left, fabric.spines) if left else 1
        spine = int(one)  # another first spine for each pair, so that parts meet evenly
        for place, flow in enumerate(mine):
            for _ in range(cut if place >= len(mine) - left else 1):
                paths[flow].append(fabric.path(source[flow], target[flow], spine % fabric.spines))
                spine += 1
    return paths


def whole(fabric: Fabric, flows: Flows) -> Paths:
    """Each flow, the largest first, over the spine whose busier link has most room."""
    source, target, size = flows
    up = np.zeros((fabric.leaves, fabric.spines))
    down = np.zeros((fabric.leaves, fabric.spines))
    paths: Paths = [[] for _ in source]
    for flow in np.argsort(-size, kind="stable"):
        a, b = source[flow] // fabric.hosts, target[flow] // fabric.hosts
        spine = 0
        if a != b:
            spine = int(np.lexsort((up[a] + down[b], np.maximum(up[a], down[b])))[0])
            up[a, spine] += size[flow]
            down[b, spine] += size[flow]
        paths[flow] = [fabric.path(source[flow], target[flow], spine)]
    return paths


RULES: dict[str, Callable[[Fabric, Flows], Paths] | tuple[str, int]] = {
    "spraying": ("spray", 1),
    "hash": ("ecmp", 1),
    "hash, 4 parts": ("split", 4),
    "hash, 16 parts": ("split", 16),
    "placed whole": whole,
    "dealt, rest cut": dealt,
}


def sent(fabric: Fabric, traffic: str, rule: Any, seed: int, *, spread: float = 0.0,
         slow: bool = False) -> dict[str, float]:  # fmt: skip
    """Send a pattern by a rule of `RULES`; sizes that differ, and a slow cable, if asked for."""
    source, target, size = fabric.flows(traffic, seed)
    size = size * np.exp(spread * np.random.default_rng(seed).normal(size=len(source)))
    capacity = fabric.topology.bytes_per_s.copy()
    if slow:
        a, b = SLOW[0].split("<->")
        for name in (f"{a}->{b}", f"{b}->{a}"):
            capacity[fabric.link[name]] *= SLOW[1]
    if callable(rule):
        how: dict[str, Any] = {"routing": "given", "paths": rule(fabric, (source, target, size))}
    else:
        keys = np.random.default_rng([seed, 1]).integers(0, 2**62, len(source))
        how = {"routing": rule[0], "parts": rule[1], "keys": keys, "seed": seed}
    found = routes(fabric.topology, source, target, **how)
    table = FlowTable.make(size[found.flow] * found.share, found.first, found.links,
                           weight=found.share, delay=ticks(found.latency_s))  # fmt: skip
    run = simulate_flows(capacity, table)
    end = np.zeros(len(source), np.int64)
    np.maximum.at(end, found.flow, run.end)
    return {
        "congestion_s": float((run.link_bytes / capacity)[fabric.fabric].max()),
        "completion_ms": float(end.max()) / 1e9,
        "mean_fct_ms": float(end.mean()) / 1e9,
        "subflows": len(found) / len(source),
    }


def by_parts(fabric: Fabric, parts: Sequence[int], seeds: Sequence[int]) -> dict[str, Any]:
    """Congestion and completion of hashes in k parts, over those of spraying, by seed."""
    found: dict[str, Any] = {}
    for traffic in TRAFFIC:
        rows = []
        even = [_faced(fabric, traffic, "spray", 1, seed) for seed in seeds]
        for k in parts:
            flows = fabric.leaves * fabric.hosts * (fabric.leaves * fabric.hosts - 1)
            if traffic == "all-to-all" and flows * k > MOST_SUBFLOWS:
                break
            runs = [_faced(fabric, traffic, "split" if k > 1 else "ecmp", k, seed)
                    for seed in seeds]  # fmt: skip
            ratio = [[a / b for a, b in zip(x, y, strict=True)]
                     for x, y in zip(runs, even, strict=True)]  # fmt: skip
            rows.append({"parts": k, "congestion": _spread([r[0] for r in ratio]),
                         "completion": _spread([r[1] for r in ratio])})  # fmt: skip
        found[traffic] = rows
    return found


def _faced(fabric: Fabric, traffic: str, routing: str, parts: int, seed: int) -> list[float]:
    result = scenario(fabric, traffic, routing, parts).run(seed)
    links = result.tables["links"]
    load = (links["bytes"] / links["capacity"])[fabric.fabric]
    return [float(load.max()), result.metrics["makespan_ms"]]


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": float(np.mean(values)), "least": min(values), "most": max(values)}


def by_rule(fabric: Fabric, seeds: Sequence[int], **world: Any) -> dict[str, Any]:
    """Each traffic by each rule, mean over the seeds, over spraying's."""
    found: dict[str, Any] = {}
    for traffic in TRAFFIC:
        runs = {
            name: [sent(fabric, traffic, rule, seed, **world) for seed in seeds]
            for name, rule in RULES.items()
        }
        found[traffic] = {
            name: {
                key: float(np.mean([a[key] / b[key] for a, b in zip(mine, runs["spraying"],
                                                                    strict=True)]))
                for key in ("congestion_s", "completion_ms", "mean_fct_ms")
            } | {"subflows": float(np.mean([a["subflows"] for a in mine])),
                 "ms": float(np.mean([a["completion_ms"] for a in mine]))}
            for name, mine in runs.items()
        }  # fmt: skip
    return found


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    fabric = Fabric(4, 8, 8) if options.quick else Fabric(LEAVES, HOSTS, SPINES)
    seeds = range(2 if options.quick else SEEDS)
    parts = PARTS[:5:2] if options.quick else PARTS
    figures = {
        "hosts": fabric.leaves * fabric.hosts,
        "by_parts": by_parts(fabric, parts, seeds),
        "equal": by_rule(fabric, seeds),
        "unequal": by_rule(fabric, seeds, spread=SIGMA),
        "slow": by_rule(fabric, seeds, slow=True),
    }
    tables = {"parts": parts_table(figures), "rules": rule_table(figures)}
    publish(options, "packet_spraying", picture(figures), tables, figures)
    return figures


def parts_table(figures: Mapping[str, Any]) -> Table:
    """Hashes by parts."""
    rows: list[list[Any]] = [
        [traffic, row["parts"], *(row[what][stat] for what in ("congestion", "completion")
                                  for stat in ("mean", "most"))]
        for traffic, mine in figures["by_parts"].items() for row in mine
    ]  # fmt: skip
    heads = ["traffic", "parts", "congestion", "at most", "completion", "at most"]
    return Table(heads, rows, caption="Flows hashed in k parts, over ideal spraying; over seeds.")


def rule_table(figures: Mapping[str, Any]) -> Table:
    """All rules, in the three worlds."""
    rows: list[list[Any]] = []
    for traffic, mine in figures["equal"].items():
        for name, row in mine.items():
            others = (figures[world][traffic][name] for world in ("unequal", "slow"))
            rows.append([traffic, name, row["subflows"], row["congestion_s"],
                         row["completion_ms"], row["mean_fct_ms"],
                         *(other["completion_ms"] for other in others)])  # fmt: skip
    heads = ["traffic", "rule", "parts a flow", "congestion", "completion", "mean FCT",
             "completion, sizes differ", "completion, a slow cable"]  # fmt: skip
    caption = (
        "Over ideal spraying; other hashes than above. Sizes differ: lognormal, sigma "
        f"{SIGMA:g}. Slow: {SLOW[0]} at {SLOW[1]:.0%}."
    )
    size = len(RULES)
    return Table(heads, rows, caption=caption, breaks={size - 1, 2 * size - 1})


def picture(figures: Mapping[str, Any]) -> "Figure":
    """Congestion by parts, completion by parts, and the rules."""
    title = f"A leaf-spine of {figures['hosts']} hosts: hashes, splitting, spraying"
    with new_figure(1, 3, (12.5, 3.9), title) as (figure, axes):
        for axis, what in zip(axes[0], ("congestion", "completion"), strict=False):
            for colour, (traffic, rows) in zip(COLOURS, figures["by_parts"].items(), strict=False):
                k = [row["parts"] for row in rows]
                axis.plot(k, [row[what]["mean"] for row in rows], "o-", markersize=4, color=colour,
                          label=traffic)  # fmt: skip
                axis.fill_between(k, [row[what]["least"] for row in rows],
                                  [row[what]["most"] for row in rows], color=colour, alpha=0.15,
                                  linewidth=0)  # fmt: skip
            axis.axhline(1, color=COLOURS[6], linewidth=1, linestyle="--",
                         label="spraying; the paper's claim")  # fmt: skip
            axis.set_xscale("log", base=2)
            axis.set_xticks(PARTS, [str(k) for k in PARTS])
            axis.minorticks_off()
            axis.set_ylim(bottom=0)
            axis.set_xlabel("parts of a flow, each hashed")
            axis.legend()
        axes[0, 0].set_title("Busiest link, over spraying's")
        axes[0, 1].set_title("Completion, over spraying's")
        _bars(axes[0, 2], figures)
    return figure


def _bars(axis: Any, figures: Mapping[str, Any]) -> None:
    names = [name for name in RULES if name != "spraying"]
    width = 0.26
    for i, (traffic, colour) in enumerate(zip(TRAFFIC, COLOURS, strict=False)):
        mine = figures["equal"][traffic]
        axis.barh(np.arange(len(names)) + (i - 1) * width,
                  [mine[name]["congestion_s"] for name in names], width * 0.92, color=colour,
                  label=traffic)  # fmt: skip
    axis.axvline(1, color=COLOURS[6], linewidth=1, linestyle="--")
    axis.set_yticks(np.arange(len(names)), names)
    axis.invert_yaxis()
    axis.grid(visible=False, axis="y")
    axis.set_title("Busiest link by rule, over spraying's")


if __name__ == "__main__":
    main(study, __doc__)
