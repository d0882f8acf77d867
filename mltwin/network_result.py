"""`NetworkResult`: completion times of flows, loads of links, bandwidth of collectives."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mltwin.models.network.flows import FlowRun

from .derived_result import Derived, DerivedResult
from .network_metrics import metrics_of, violations_of
from .result import Columns
from .text import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .network_run import Lowered
    from .samples import Sample
    from .timelines.timeline import Timeline, Window

_SHOWN = 10


class NetworkResult(DerivedResult):
    """A finished run of the system `network`.

    Tables: `flows` (time, start and end in ticks of 1 ps; alone: ticks it would take by itself;
    source and target rank, below 0 a switch; bytes; weight) and `links` (source and target node,
    capacity in bytes/s, bytes, busy ticks, most flows at a time). A flow that is sent in parts is
    one row: it ends with its last part.
    """

    headline = (
        "makespan_ms",
        "mean_fct_ms",
        "p99_fct_ms",
        "mean_slowdown",
        "p99_slowdown",
        "goodput_gb_per_s",
        "max_link_utilisation",
        "busbw_gb_per_s",
    )

    @classmethod
    def of_run(cls, lowered: "Lowered", run: FlowRun, alone: np.ndarray) -> Self:
        """The result of a run; `alone`: ticks that each flow would take by itself."""
        topology, table = lowered.topology, lowered.flows
        owner, n = lowered.owner, int(lowered.owner.max(initial=-1)) + 1
        first = np.searchsorted(owner, np.arange(n))

        def most(values: np.ndarray) -> np.ndarray:
            return np.maximum.reduceat(values, first) if n else values[:0]

        def total(values: np.ndarray) -> np.ndarray:
            return np.add.reduceat(values, first) if n else values[:0]

        tables: dict[str, Columns] = {
            "flows": {
                "time": table.release[first],
                "start": run.start[first],
                "end": most(run.end),
                "alone": alone,
                "source": lowered.source[first],
                "target": lowered.target[first],
                "bytes": total(table.bytes),
                "weight": total(table.weight),
            },
            "links": {
                "source": topology.source,
                "target": topology.target,
                "capacity": topology.bytes_per_s,
                "bytes": run.link_bytes,
                "busy": run.link_busy_ticks,
                "peak": run.link_peak,
            },
        }
        busiest = _busiest(tables["links"])
        facts = {
            **lowered.facts,
            "solves": run.solves,
            "full_solves": run.full_solves,
            "changes": len(lowered.changes),
            "busiest": [topology.link_name(int(k)) for k in busiest],
            "sent_over_links": float((np.diff(table.first) * table.bytes).sum()),
            "broken_laws": list(run.violations),
        }
        return cls.derived(tables, facts)

    @classmethod
    def derive(cls, tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> Derived:
        """Metrics, notes and violations."""
        return metrics_of(tables, facts), _notes(tables, facts), violations_of(tables, facts)

    def report(self) -> list[Table]:
        """The metrics, and the busiest links."""
        links, names = self.tables["links"], self.facts["busiest"]
        span = max(self.metrics["makespan_ms"] / 1e3, 1e-15)
        rows = [
            [
                name,
                float(links["capacity"][k]) / 1e9,
                float(links["bytes"][k]) / 1e9,
                100 * float(links["bytes"][k]) / max(float(links["capacity"][k]) * span, 1e-15),
                int(links["peak"][k]),
            ]
            for name, k in zip(names, _busiest(links), strict=True)
        ]
        heads = ["link", "GB/s", "GB carried", "% used", "most flows"]
        return [self.table(), Table(heads, rows, title="Busiest links")]

    def samples(self) -> dict[str, "Sample"]:
        """Completion time and slowdown of each flow at its release; bytes of each used link."""
        from .samples import Sample

        flows = self.tables["flows"]
        at_s = flows["time"] / 1e12
        took = flows["end"] - flows["start"]
        used = self.tables["links"]["bytes"]
        return {
            "fct": Sample.of(
                took / 1e9, at_s, title="flow completion time", unit="ms", table="flows"
            ),
            "slowdown": Sample.of(
                took / np.maximum(flows["alone"], 1), at_s, title="slowdown", table="flows"
            ),
            "carried": Sample.of(
                used[used > 0] / 1e9, title="carried by a link", unit="GB", table="links"
            ),
        }

    def timeline(
        self, *, window_s: "Window | None" = None, requests: int = 500, seed: int = 0
    ) -> "Timeline":
        """What each rank sends, and to whom; all flows.

        Raises InputError: a window that is none, a result that does not know its scenario.
        """
        from .network_timeline import network_timeline

        del requests, seed
        return network_timeline(self, window_s)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Completion times, slowdown by size, and how much each link carried."""
        from .network_plots import plot_network
        from .plots import save_figure

        return save_figure(plot_network(self), path)

    def draw_links(self, path: str | Path | None = None) -> "Figure":
        """The topology with the load of every link.

        Raises InputError: the result has no scenario to take the topology from.
        """
        from .network_plots import draw_links

        return draw_links(self, path)


def _busiest(links: Columns) -> np.ndarray:
    """The links with most bytes for their bandwidth, busiest first."""
    share = links["bytes"] / np.maximum(links["capacity"], 1e-300)
    order = np.argsort(-share, kind="stable")[:_SHOWN]
    return order[links["bytes"][order] > 0]


def _notes(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> list[str]:
    notes = []
    if facts["fidelity"] == "alphabeta":
        notes.append("Each flow has its links for itself: congestion is not in these figures.")
    if facts.get("algorithm"):
        notes.append(
            f"{facts['collective']} by {facts['algorithm']}, {facts['group_ranks']} ranks"
            + (f", {facts['groups']} groups at once." if facts["groups"] > 1 else ".")
        )
    if not len(tables["flows"]["time"]):
        notes.append("Nothing was sent.")
    return notes
