"""What does LIFL's aggregation save over always-on aggregators, and over a broker?

Paper: Qi, Ramakrishnan and Lee, "LIFL: A Lightweight, Event-driven Serverless Platform for
Federated Learning", MLSys 2024, arXiv 2405.10968: abstract, and code in `cisco-open/flame`
(docs/lifl) and `ShixiongQi/flame` (syncfl/best_fit.py).

Theirs: shared memory between the aggregators of a node, updates placed where there is room for one
more (20 a node in the code), aggregation as updates come, three levels, as many aggregators as
needed and idle leaves reused; the claim of a "significant improvement in resource efficiency and
aggregation speed", without a number in the abstract. Their figures could not be read, so that none
is compared (about five times less CPU and 1.6 to 2.7 times faster to an accuracy is what we
remember, which is no source). Ours: all numbers. Four nodes of 16 cores and 10 Gb/s; adding,
packing and proxying at rates timed on one core; 2 s for a cold start, 60 s until an idle instance
goes (assumed); 8 leaves that are always on; one broker of 4 cores; rounds of clients that train
for about a minute, spread out (log-normal, sigma 0.3) or together (within 2 %); the average queue
as the planner's rule.

What we find:
- Where updates are spread out the version is there 0.46 s after the last of 64 updates of 241 MB:
  its way in and two additions, there is little left to save. Always-on leaves take 1.8 s (1.2 s
  if they are eager too), the broker 6.4 s (2.95 s). The factors over always-on
  leaves, 3.9 and 2.6, hardly change with the size of the model; that over the lazy broker, 14, is
  130 with 10 MB, where a cold start at the round's end is all there is.
- Most of it is eagerness: LIFL made lazy needs 1.7 s, not packed 1.3 s, over gRPC 0.8 s. To plan
  ahead and to reuse leaves brings nothing there, as instances start before the last update comes.
- It is a small part of a round: 0.4 % with LIFL, 1.4 % always on, 4.7 % behind the broker. Rounds
  twice as fast need aggregation to be half of them; we see that only behind one broker with 256
  updates at once (58 %).
- Core seconds held fall to a third (394 of 1,199 always on, 1,136 behind the broker), and that is
  idle time: the work is 16 against 18 and 71 s. With 8 updates a round LIFL holds a fifth of the
  always-on; with 256 as much. An instance for every two that wait, kept for a minute, is too many:
  8 updates a leaf hold 340, and idle ones that go after 5 s hold 263, with the same wait.
- Where updates come together LIFL is the worse choice: 3.5 s and 1,413 core seconds against 1.8 s
  and 596 always on. To pack them brings 20 through one NIC (not packed: 1.5 s), and 30 instances
  idle until just before the next round needs them (kept 5 s: 259 core seconds, same wait).
- Nothing leaves a node where updates are spread out; always on 1.4 GB a round do, behind the broker
  31 GB.

Limits: the planner's formulae could not be read; one machine is the broker, which a cluster of
brokers would relieve; nothing fails; clients' links and the way of the new version back are not in
it. Prices, cold start and keep-alive decide about costs: change them before believing them.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import mltwin as mt
from mltwin.plots import COLOURS, new_figure, number_axis
from mltwin.text import Table
from studies._common import Options, main, mean, publish, run_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ROUNDS = 10
SEEDS = 5
UPDATES, MEGABYTES = 64, 241.0  # of a round; ResNet-152, 60.2 million parameters of 4 bytes
LOADS = [8, 16, 32, 64, 128, 256]
SHOWN = [16, 64, 256]  # in the table
SIZES = [10.0, 47.0, 241.0, 1000.0]  # 47: ResNet-18
WORK_S = 60.0  # of a client's round, at the median
ARRIVALS: dict[str, dict[str, Any]] = {
    "spread out": {"name": "log_normal", "median": WORK_S / 50, "sigma": 0.3},
    "together": {"name": "homogeneous", "s_per_sample": WORK_S / 50},
}
JITTER = 0.02
DESIGNS: dict[str, dict[str, Any]] = {
    "always on": {"design": "always_on"},
    "always on, eager": {"design": "always_on", "timing": "eager"},
    "broker": {"design": "broker"},
    "broker, eager": {"design": "broker", "timing": "eager"},
    "LIFL": {"design": "lifl"},
}
PARTS: dict[str, dict[str, Any]] = {
    "LIFL": {},
    "over gRPC": {"hops": "grpc"},
    "not packed": {"placement": "spread"},
    "not packed, two levels": {"placement": "spread", "levels": 2},
    "lazy": {"timing": "lazy"},
    "no plan ahead": {"scaling": "demand"},
    "no reuse": {"reuse": False},
    "kept 5 s, not 60": {"keep_alive_s": 5.0},
    "kept 300 s": {"keep_alive_s": 300.0},
    "8 updates a leaf": {"fan_in": 8},
}
METRICS = {
    "wait_s": "mean_aggregation_s",
    "cpu_s": "aggregation_cpu_s",
    "work_s": "aggregation_work_s",
    "idle_s": "aggregation_idle_s",
    "off_node_gb": "off_node_gb",
    "cold_starts": "cold_starts",
    "dollars": "aggregation_dollars",
    "round_s": "duration_s",
}
"""Figures of a case; but for the wait they are of one round."""


def scenario(
    arrivals: str, updates: int = UPDATES, megabytes: float = MEGABYTES, **aggregation: Any
) -> mt.Scenario:
    """Rounds in which every client works for about a minute and sends an update."""
    return mt.Scenario.parse(
        {
            "system": "federated",
            "model": {"level": "time", "megabytes": megabytes},
            "clients": {"count": updates, "speed": ARRIVALS[arrivals], "jitter": JITTER},
            "strategy": {"name": "fedavg", "clients": updates},
            "stop": {"versions": ROUNDS},
            "aggregation": aggregation,
        }
    )


def measured(
    cases: Mapping[str, mt.Scenario], options: Options, seeds: Sequence[int]
) -> dict[str, dict[str, float]]:
    """Means over seeds of the METRICS of each case."""
    groups = run_all(list(cases.values()), options, seeds)
    found = {}
    for name, runs in zip(cases, groups, strict=True):
        figures = {key: mean(runs, metric) for key, metric in METRICS.items()}
        found[name] = {k: v if k == "wait_s" else v / ROUNDS for k, v in figures.items()}
    return found


def study(options: Options) -> dict[str, Any]:
    """Run it; writes picture, tables and figures, and returns the figures."""
    seeds = range(1 if options.quick else SEEDS)
    loads = [16, 64] if options.quick else LOADS
    sizes = [47.0, 241.0] if options.quick else SIZES
    by_load = {
        arrivals: {
            str(load): measured(
                {name: scenario(arrivals, load, **d) for name, d in DESIGNS.items()},
                options, seeds,
            )
            for load in loads
        }
        for arrivals in ARRIVALS
    }  # fmt: skip
    by_size = {
        f"{size:g}": measured(
            {name: scenario("spread out", megabytes=size, **d) for name, d in DESIGNS.items()},
            options, seeds,
        )
        for size in sizes
    }  # fmt: skip
    parts = {
        arrivals: measured(
            {name: scenario(arrivals, design="lifl", **c) for name, c in PARTS.items()},
            options, seeds,
        )
        for arrivals in ARRIVALS
    }  # fmt: skip
    figures = {"loads": loads, "by_load": by_load, "by_size": by_size, "parts": parts}
    tables = {
        "loads": load_table(figures),
        "sizes": size_table(figures),
        "parts": part_table(figures),
    }
    publish(options, "lifl", picture(figures), tables, figures)
    return figures


def _cells(mine: Mapping[str, float]) -> list[str]:
    return [
        f"{mine['wait_s']:.2f}",
        f"{mine['wait_s'] / mine['round_s']:.1%}",
        f"{mine['cpu_s']:,.0f}",
        f"{mine['work_s']:.1f}",
        f"{mine['off_node_gb']:.2f}",
        f"{mine['cold_starts']:.1f}",
        f"{1000 * mine['dollars']:.1f}",
    ]


_COLUMNS = ["wait s", "of a round", "core s", "of it work", "GB off node", "cold starts", "m$"]


def load_table(figures: Mapping[str, Any]) -> Table:
    """Designs by load and arrivals."""
    rows = [
        [arrivals, load, name, *_cells(mine)]
        for arrivals, by_load in figures["by_load"].items()
        for load, cases in by_load.items()
        if int(load) in SHOWN
        for name, mine in cases.items()
    ]
    caption = (
        f"Updates of {MEGABYTES:g} MB; means over seeds; wait: from a round's last update to the "
        "version; all but the wait of one round. m$: thousandths of a dollar."
    )
    return Table(["arrivals", "updates", "design", *_COLUMNS], rows, caption=caption)


def size_table(figures: Mapping[str, Any]) -> Table:
    """Designs by size of the model."""
    rows = [
        [f"{size} MB", name, *_cells(mine)]
        for size, cases in figures["by_size"].items()
        for name, mine in cases.items()
    ]
    caption = f"{UPDATES} updates a round, spread out."
    return Table(["model", "design", *_COLUMNS], rows, caption=caption)


def part_table(figures: Mapping[str, Any]) -> Table:
    """LIFL with one thing changed."""
    rows = [
        [arrivals, name, *_cells(mine)]
        for arrivals, cases in figures["parts"].items()
        for name, mine in cases.items()
    ]
    caption = f"{UPDATES} updates of {MEGABYTES:g} MB a round."
    return Table(["arrivals", "LIFL, but", *_COLUMNS], rows, caption=caption)


def picture(figures: Mapping[str, Any]) -> "Figure":
    """Waits and core seconds by load, and what each part of LIFL does."""
    title = "LIFL against always-on and broker-based aggregation"
    with new_figure(2, 2, (9.0, 6.8), title) as (figure, axes):
        for axis, arrivals in zip(axes[0], ARRIVALS, strict=True):
            _by_load(axis, figures, arrivals, "wait_s")
            axis.set_title(f"Wait for a version, updates {arrivals} (s)")
        axes[0, 1].legend()
        _by_load(axes[1, 0], figures, "spread out", "cpu_s")
        axes[1, 0].set_title("Core seconds a round, updates spread out")
        _parts(axes[1, 1], figures)
    return figure


def _by_load(axes: "Axes", figures: Mapping[str, Any], arrivals: str, metric: str) -> None:
    cases = figures["by_load"][arrivals]
    for colour, name in zip(COLOURS, DESIGNS, strict=False):
        values = [cases[str(load)][name][metric] for load in figures["loads"]]
        style = "--" if "eager" in name else "-"
        axes.plot(figures["loads"], values, style, marker="o", markersize=4, color=colour,
                  label=name)  # fmt: skip
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    number_axis(axes)
    number_axis(axes, "y")
    axes.set_xticks(figures["loads"])
    axes.set_xlabel("updates a round")


def _parts(axes: "Axes", figures: Mapping[str, Any]) -> None:
    for place, (arrivals, cases) in enumerate(figures["parts"].items()):
        at = [row + (place - 0.5) * 0.38 for row in range(len(cases))]
        waits = [mine["wait_s"] for mine in cases.values()]
        axes.barh(at, waits, height=0.36, color=COLOURS[5 + place], label=arrivals)
    axes.set_yticks(range(len(PARTS)), list(PARTS))
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(mine["wait_s"] for mine in figures["parts"]["together"].values()))
    axes.grid(visible=False, axis="y")
    axes.set_title("Wait with one thing changed (s)")
    axes.legend()


if __name__ == "__main__":
    main(study, __doc__)
