"""`CachingResult`: how a cache did, over the course of its trace."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .result import Result
from .samples import Sample
from .text import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class CachingResult(Result):
    """A finished run of a `CachingScenario`.

    Tables: `windows` (partition, window, requests, hits, asked, hit: counts over parts of equal
    length, sizes in the unit of the capacity) and `partitions` (one row a partition).

    Of a run through tiers `windows` has also delayed and level_0 ... (who served, the origin last);
    `tiers` a row a tier and the origin: capacity, asked, hits, read_bytes, write_bytes,
    updated_bytes, moved_in, served, delayed, used, resident, evicted, refused, expired, dirty, busy
    (share of the time), peak (transfers at a time). In time there are also `latencies` (arrival,
    latency in ns, level, delayed; evenly spaced requests, at most 20,000) and `latency_histogram`
    (low_ns, level_0 ...: all requests). The level of a delayed hit is that of the fetch it waited
    for.
    """

    headline = (
        "hit_ratio",
        "byte_hit_ratio",
        "delayed_ratio",
        "mean_latency_ms",
        "p99_latency_ms",
        "origin_gb",
        "evictions",
    )

    def samples(self) -> dict[str, Sample]:
        """The hit ratio window by window; in time also latencies of requests."""
        windows = self.tables["windows"]
        ratio = windows["hits"] / np.maximum(1, windows["requests"])
        found = {"window_hit_ratio": Sample.of(ratio, title="hit ratio of a window", unit="")}
        if "latencies" in self.tables:
            rows = self.tables["latencies"]
            found["latency"] = Sample.of(
                rows["latency"] / 1e6,
                rows["arrival"] / 1e9,
                title="latency",
                unit="ms",
                table="latencies",
            )
        return found

    def report(self) -> list[Table]:
        """The metrics, and the tiers or partitions if there are some."""
        if "tiers" in self.facts:
            from .caching_tiers_plot import tiers_table

            return [self.table(), tiers_table(self)]
        names = self.facts.get("partitions", [""])
        if len(names) < 2:
            return [self.table()]
        rows = self.tables["partitions"]
        table = Table(
            ["partition", "capacity", "requests", "hit ratio", "evictions"],
            [
                [
                    str(name),
                    int(rows["capacity"][k]),
                    int(rows["requests"][k]),
                    float(rows["hits"][k] / max(1, rows["requests"][k])),
                    int(rows["evicted"][k]),
                ]
                for k, name in enumerate(names)
            ],
            title="Partitions",
        )
        return [self.table(), table]

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Hit ratio over the trace, or who served it and how fast; saved if a path is given."""
        from .plots import new_figure, save_figure

        if "tiers" in self.facts:
            from .caching_tiers_plot import plot_tiers

            return save_figure(plot_tiers(self), path)
        windows = self.tables["windows"]
        names = self.facts.get("partitions", [""])
        with new_figure(1, 1, (7.0, 3.2), f"{self.label}: hit ratio over the trace") as (fig, axes):
            axis = axes[0][0]
            for k, name in enumerate(names):
                mine = windows["partition"] == k
                asked = windows["requests"][mine]
                axis.plot(
                    np.cumsum(asked) / 1e3,
                    100 * windows["hits"][mine] / np.maximum(1, asked),
                    label=str(name),
                )
            axis.set_xlabel("requests (1,000)")
            axis.set_ylabel("hits (%)")
            axis.set_ylim(bottom=0)
            if len(names) > 1:
                axis.legend()
        return save_figure(fig, path)
