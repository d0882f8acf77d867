"""`AdapterResult`: a run of the adapter system; which metrics and tables it has depends on mode."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mltwin.models.adapters import TICKS_PER_S

from .result import Result
from .text import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .samples import Sample
    from .timelines.timeline import Timeline, Window

_WAITS = {
    "adapter_wait": ("wait for the adapter", "ready", "arrival"),
    "queue": ("wait for a slot", "start", "ready"),
    "latency": ("latency", "finish", "arrival"),
}


class AdapterResult(Result):
    """A finished run.

    Tables: `requests` and `adapters` (serving; ticks of 1 ns), `requests` and `regret` (routing),
    `turns` and `schemes` (agents), `classes` and `shares` (memory).
    """

    headline = (
        "hit_ratio",
        "miss_ratio",
        "mean_adapter_wait_ms",
        "mean_latency_ms",
        "p99_latency_ms",
        "p99_ttft_ms",
        "paged_gb",
        "request_throughput",
        "regret",
        "regret_slope",
        "mean_utility",
        "bytes_per_token_per_agent",
        "capacity_tokens",
        "prefilled_tokens",
        "token_hit_ratio",
        "saved_ratio",
        "miss_seconds",
    )

    @property
    def mode(self) -> str:
        """Which part of the system was run."""
        return str(self.facts["mode"])

    def samples(self) -> dict[str, "Sample"]:
        """Waits and latency in ms by arrival (serving); else every column of every table."""
        from .samples import Sample

        if self.mode != "serving":
            return super().samples()
        columns = self.tables["requests"]
        at_s = columns["arrival"] / TICKS_PER_S
        return {
            name: Sample.of(
                (columns[end] - columns[begin]) / (TICKS_PER_S / 1000),
                at_s,
                title=title,
                unit="ms",
                table="requests",
            )
            for name, (title, end, begin) in _WAITS.items()
        }

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over all tables; not over the log of events, which may be kept or not."""
        from mltwin.sim.runspec import array_digest, content_hash

        return content_hash(
            {
                table: {name: array_digest(np.asarray(column)) for name, column in columns.items()}
                for table, columns in self.tables.items()
                if table not in ("error_bars", "log")
            }
        )

    def timeline(
        self, *, window_s: "Window | None" = None, requests: int = 500, seed: int = 0
    ) -> "Timeline":
        """Requests in their slots, loads on the link, and what is waiting (mode serving).

        Raises InputError for a run of another mode.
        """
        from .adapters_timeline import adapter_timeline

        return adapter_timeline(self, window_s)

    def report(self) -> list[Table]:
        """The metrics, and what else the mode has to tell."""
        shown = {"agents": "schemes", "memory": "classes"}.get(self.mode)
        if shown is None:
            return [self.table()]
        columns = self.tables[shown]
        names = self.facts[f"{shown}_names"]
        rows = [
            [name, *(np.asarray(column)[i].item() for column in columns.values())]
            for i, name in enumerate(names)
        ]
        title = {"schemes": "KV across agents", "classes": "What shares the memory"}[shown]
        head = {"schemes": "scheme", "classes": "class"}[shown]
        return [self.table(), Table([head, *(k.replace("_", " ") for k in columns)], rows, title)]

    def plot(self, path: str | Path | None = None) -> "Figure":
        """One picture for each mode; saved if a path is given."""
        from .adapters_plots import plot_adapters
        from .plots import save_figure

        return save_figure(plot_adapters(self), path)
