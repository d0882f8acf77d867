"""`ServingResult`: a serving run as data frames, tables, plots and the formats of other tools.

It is made of the run's tables (ticks, as the kernel left them) and facts (pools, limits, names),
so that a stored run read back is the run.
"""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from mltwin.models.serving.outcome import EVENT_NAMES, REPLICA_COLUMNS, Outcome
from mltwin.models.serving.tables import DONE, STATE_NAMES

from .metrics import STATS, plain, unit
from .prefix_pool_metrics import fetch_ms, pool_metrics
from .result import Columns, Result
from .serving_fabric import fabric_metrics, fabric_rows
from .serving_frontend import FrontEnd, sent
from .serving_metrics import (
    LATENCIES,
    cluster_metrics,
    duration_s,
    gap_metrics,
    latencies_ms,
    pool_rows,
    request_metrics,
    tallied,
    violations,
)
from .text import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mltwin.workloads.table import Trace

    from .samples import Sample
    from .timelines.timeline import Timeline

# Columns of the trace that a result keeps beside the outcome's.
TRACE_COLUMNS = ("prompt", "output", "tenant", "session", "priority")
# Kernel and reference differ in the width of their columns; results do not. The rest is int32.
_TYPES = {
    **dict.fromkeys(
        ("arrival", "scheduled", "first", "finish", "transfer", "fetch_wait"), np.int64
    ),
    "state": np.int8,
}
TITLES = {
    "ttft": "TTFT (ms)",
    "tpot": "TPOT (ms)",
    "itl": "ITL (ms)",
    "e2e": "E2E (ms)",
    "queue": "queue (ms)",
    "transfer": "KV transfer (ms)",
    "fetch": "KV fetch (ms)",
}


class ServingResult(Result):
    """A finished serving run.

    Tables: `requests` (ticks), `replicas`, `gaps` (histogram of token gaps); `log` and `batches`
    where they were asked for.
    """

    headline = (
        "p50_ttft_ms",
        "p99_ttft_ms",
        "p50_tpot_ms",
        "p99_tpot_ms",
        "p99_e2e_ms",
        "request_goodput",
        "slo_attainment",
        "output_throughput",
        "completed",
        "refused",
        "cancelled",
        "preemptions",
        "prefix_hit_ratio",
        "fetched_ratio",
        "peak_kv_use",
        "dollars",
        "joules",
    )
    timeline_options: ClassVar[Mapping[str, Any]] = {"log": True, "batches": True}
    _trace_sha256: str

    def __init__(
        self,
        tables: Mapping[str, Columns],
        facts: Mapping[str, Any],
        *,
        trace: "Trace | None" = None,
        notes: list[str] | None = None,
        trace_sha256: str = "",
    ) -> None:
        requests, replicas = tables["requests"], tables["replicas"]
        self._trace = trace
        sums = tallied(requests)
        super().__init__(
            _metrics(tables, facts, sums),
            tables,
            facts=facts,
            notes=notes or [],
            violations=violations(requests, replicas, facts["totals"], sums=sums),
            trace_sha256=trace_sha256,
        )

    @property
    def trace_sha256(self) -> str:
        """Of the workload's content; taken when it is asked for, which a sweep never does."""
        if not self._trace_sha256 and self._trace is not None:
            self._trace_sha256 = self._trace.sha256
        return self._trace_sha256

    @trace_sha256.setter
    def trace_sha256(self, digest: str) -> None:
        self._trace_sha256 = digest

    @classmethod
    def of(
        cls,
        outcome: Outcome,
        trace: "Trace",
        facts: Mapping[str, Any],
        notes: list[str],
        more: Mapping[str, Columns] | None = None,
    ) -> Self:
        """The result of an outcome; `facts` say which pool each replica is of; `more` tables."""
        requests = {
            name: np.asarray(column).astype(_TYPES.get(name, np.int32), copy=False)
            for name, column in outcome.requests.items()
        }
        requests |= {name: np.asarray(getattr(trace, name)) for name in TRACE_COLUMNS}
        requests |= FrontEnd(**facts.get("frontend", {})).columns(requests["prompt"])
        replicas = {name: np.asarray(outcome.replicas[name]) for name in REPLICA_COLUMNS}
        replicas["pool"] = np.asarray(facts["pool_of"], np.int64)
        tables: dict[str, Columns] = {
            "requests": requests,
            "replicas": replicas,
            "gaps": {"count": np.asarray(outcome.gaps)},
            **(more or {}),
        }
        for name in ("log", "batches"):
            rows = getattr(outcome, name)
            if rows is not None and len(rows):
                tables[name] = {
                    field: np.ascontiguousarray(rows[field]) for field in rows.dtype.names
                }
        known = {**facts, "totals": {k: int(v) for k, v in outcome.totals.items()}}
        if outcome.stores:
            known["stores"] = {k: int(v) for k, v in outcome.stores.items()}
        return cls(tables, known, trace=trace, notes=notes)

    @classmethod
    def restored(
        cls, metrics: Mapping[str, float], tables: Mapping[str, Columns], about: Mapping[str, Any]
    ) -> Self:
        """A result from what `save` stored; its metrics are computed anew."""
        del metrics
        return cls(tables, about["facts"], notes=about["notes"])

    @property
    def digest(self) -> str:
        """SHA-256 (hex) over requests, replicas and token gaps; not over logs."""
        from mltwin.sim.runspec import array_digest, content_hash

        parts = {
            table: {name: array_digest(column) for name, column in self.tables[table].items()}
            for table in ("requests", "replicas", "gaps")
        }
        return content_hash(parts)

    @cached_property
    def requests(self) -> "pd.DataFrame":
        """One row a request: what it was, where it went, latencies in ms, instants in ticks."""
        import pandas as pd

        columns = self.tables["requests"]
        names = np.array(self.facts["tenants"], object)
        pools = np.array([pool["name"] for pool in self.facts["pools"]] + [""], object)
        pool_of = np.append(np.asarray(self.facts["pool_of"], np.int64), len(pools) - 1)
        return pd.DataFrame(
            {
                "tenant": names[columns["tenant"]],
                "session": columns["session"],
                "priority": columns["priority"],
                "prompt_tokens": columns["prompt"],
                "output_tokens": columns["output"],
                "generated_tokens": columns["generated"],
                "cached_tokens": columns["cached"],
                **self._fetches(columns),
                "state": np.array(STATE_NAMES, object)[columns["state"]],
                "pool": pools[pool_of[columns["replica"]]],
                "prefill_replica": columns["prefill_replica"],
                "replica": columns["replica"],
                "preemptions": columns["preempted"],
                "attempts": columns["attempts"],
                **{f"{name}_ms": ms for name, ms in self.latencies.items()},
                **{
                    f"{name}_ticks": columns[name]
                    for name in ("arrival", "scheduled", "first", "finish", "transfer")
                },
            }
        ).rename_axis("request")

    @staticmethod
    def _fetches(columns: Columns) -> dict[str, np.ndarray]:
        if "fetched" not in columns:
            return {}
        return {"fetched_tokens": columns["fetched"], "fetch_ms": fetch_ms(columns)}

    @cached_property
    def latencies(self) -> dict[str, np.ndarray]:
        """Latencies of each request in ms by name (`serving_metrics.latencies_ms`)."""
        return latencies_ms(self.tables["requests"])

    def samples(self) -> dict[str, "Sample"]:
        """Latencies of each request in ms, at the instant it arrived, with the SLO's limits."""
        from .samples import Sample

        arrived_s = sent(self.tables["requests"]) / 1e12
        return {
            name: Sample.of(
                values,
                arrived_s,
                title=TITLES[name].removesuffix(" (ms)"),
                unit="ms",
                limit=self.limits.get(name),
                table="requests",
            )
            for name, values in self.latencies.items()
            if np.isfinite(values).any()
        }

    @cached_property
    def replicas(self) -> "pd.DataFrame":
        """One row a replica: its pool, iterations, tokens, busy shares, memory."""
        frame = self.frame("replicas").rename_axis("replica")
        pools = self.facts["pools"]
        frame.insert(0, "pool_name", [pools[p]["name"] for p in frame["pool"]])
        up = frame["up_ticks"].where(frame["up_ticks"] > 0)
        frame["busy_prefill_share"] = frame["busy_prefill"] / up
        frame["busy_decode_share"] = frame["busy_decode"] / up
        blocks = np.array([pools[p]["kv_blocks"] for p in frame["pool"]])
        frame["peak_kv_use"] = frame["peak_blocks"] / blocks
        return frame

    @cached_property
    def pools(self) -> "pd.DataFrame":
        """One row a pool: size, use, tokens, cost and energy where they are known."""
        import pandas as pd

        return pd.DataFrame(pool_rows(self.tables["replicas"], self.facts["pools"]))

    @cached_property
    def tenants(self) -> "pd.DataFrame":
        """One row a tenant: the request metrics of its requests."""
        import pandas as pd

        columns = self.tables["requests"]
        span = duration_s(columns)
        rows = []
        for i, name in enumerate(self.facts["tenants"]):
            mine = columns["tenant"] == i
            part = {key: column[mine] for key, column in columns.items()}
            rows.append({"tenant": name, **request_metrics(part, self.limits, span_s=span)})
        return pd.DataFrame(rows)

    @cached_property
    def events(self) -> "pd.DataFrame":
        """The event log, if one was kept: time, kind, entity, value."""
        frame = self.frame("log")
        frame["kind"] = np.array(EVENT_NAMES, object)[frame["kind"]]
        return frame

    @property
    def limits(self) -> dict[str, float]:
        """The SLO that the metrics were made with: latency to limit in ms."""
        return dict(self.facts["limits_ms"])

    def with_limits(self, limits_ms: Mapping[str, float]) -> "ServingResult":
        """The same run measured against another SLO (`{"ttft": 500, "tpot": 50, "e2e": 5000}`)."""
        facts = {**self.facts, "limits_ms": dict(limits_ms)}
        # Goodput of the draws was counted against the old limits.
        kept = {name: table for name, table in self.tables.items() if name != "error_bars"}
        other = ServingResult(
            kept,
            facts,
            trace=self._trace,
            notes=self.notes,
            trace_sha256=self.trace_sha256,
        )
        other.scenario, other.seed = self.scenario, self.seed
        return other

    @property
    def trace(self) -> "Trace":
        """The workload as it was run; made again from the scenario if the run was read back.

        Raises InputError if it is no longer what it was.
        """
        if self._trace is None:
            from mltwin.sim.errors import InputError

            from .serving_workload import make_trace

            assert self.scenario is not None
            trace = make_trace(self.scenario, self.seed)  # type: ignore[arg-type]
            if trace.sha256 != self.trace_sha256:
                raise InputError(
                    "the workload has changed since the run", where=self.label, mend="run it again"
                )
            self._trace = trace
        return self._trace

    def summary(self) -> dict[str, Any]:
        """Latencies as nested statistics (ms), then everything else by its flat name."""
        nested: dict[str, Any] = {}
        taken = set()
        for name in TITLES:
            stats = {s: f"{s}_{name}_ms" for s in STATS if f"{s}_{name}_ms" in self.metrics}
            if stats:
                nested[f"{name}_ms"] = {s: self.metrics[key] for s, key in stats.items()}
                taken |= set(stats.values())
        return self.with_bars(nested | {k: v for k, v in self.metrics.items() if k not in taken})

    def table(self) -> Table:
        """Latencies, one row each; throughput and the rest in the caption."""
        columns, bars = ["latency", *STATS], self.error_bars
        rows: list[list[Any]] = []
        for name, title in TITLES.items():
            if f"mean_{name}_ms" in self.metrics:
                rows.append([title, *(self.metrics.get(f"{s}_{name}_ms") for s in STATS)])
                if bars is not None:
                    rows.append(["", *(bars.text(f"{s}_{name}_ms") for s in STATS)])
        return Table(columns, rows, title=self.label, caption=bars.caption if bars else "")

    def totals_table(self) -> Table:
        """Everything that is no latency, one row each."""
        rows: list[list[Any]] = [
            [k, v, unit(k)] for k, v in self.metrics.items() if not k.endswith("_ms")
        ]
        table = Table(["metric", "value", "unit"], rows)
        return table if self.error_bars is None else self.error_bars.beside(table)

    def report(self) -> list[Table]:
        """Latencies and totals; pools and tenants where there are several."""
        tables = [self.table(), self.totals_table()]
        if len(self.facts["pools"]) > 1:
            by_pool = self.pools.set_index("pool").T.rename_axis("pool").reset_index()
            tables.append(_frame_table(by_pool, "Pools"))
        if len(self.facts["tenants"]) > 1:
            tables.append(_frame_table(self.tenants.reindex(columns=_TENANT_COLUMNS), "Tenants"))
        span_s = duration_s(self.tables["requests"])
        return tables + fabric_rows(self.tables, self.facts.get("fabric_links", []), span_s)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Latency CDFs, requests over time and the load of the replicas, on one page."""
        from .plots import save_figure
        from .serving_plots import plot_run

        return save_figure(plot_run(self), path)

    def to_parquet(self, folder: str | Path) -> list[Path]:
        """Write requests and replicas for other tools: `requests.parquet`, `replicas.parquet`.

        Instants are int64 nanoseconds since the trace's start (`arrival_ns`), -1 for never.
        """
        from .exports import write_parquet

        return write_parquet(self, Path(folder))

    def to_vllm_json(self, path: str | Path | None = None) -> dict[str, Any]:
        """The result in the form of `vllm bench serve --save-result --save-detailed`."""
        from .exports import vllm_json, write_json

        data = vllm_json(self)
        if path is not None:
            write_json(Path(path), data)
        return data

    def timeline(
        self,
        *,
        window_s: tuple[float, float] | None = None,
        requests: int = 500,
        seed: int = 0,
    ) -> "Timeline":
        """Batches on replicas, KV transfers on links, requests, counters, failures and scaling.

        Of the requests the slowest and others drawn evenly; all else is there. Runs the scenario
        again with logs if this run kept none.

        Args:
            window_s: only what touches these seconds of the run, from and to; None: all of it.
            requests: how many requests to show.
            seed: of the draw of those.

        Raises InputError: no such window, or the logs cannot be made again.
        """
        from .timelines.serving import serving_timeline

        return serving_timeline(self, window_s=window_s, requests=requests, seed=seed)

    def to_chrome_trace(self, path: str | Path, *, max_events: int = 300_000) -> Path:
        """The whole timeline as a file for Perfetto or chrome://tracing (`.json`, `.json.gz`)."""
        self.timeline().save(path, max_events=max_events)
        return Path(path)

    def export_trace(self, path: str | Path) -> "Trace":
        """Write the requests as they really arrived; replaying the file gives this run again.

        In a closed loop or a session a request arrives when another ends; here its instant is
        fixed. Deadlines and predictions are the scenario's.
        """
        from .exports import arrived_trace

        trace = arrived_trace(self)
        trace.save(Path(path))
        return trace


_TENANT_COLUMNS = [
    *("tenant", "requests", "completed", "refused", "cancelled", "output_throughput"),
    *("p50_ttft_ms", "p99_ttft_ms", "p50_tpot_ms", "p99_tpot_ms"),
]


def _frame_table(frame: "pd.DataFrame", title: str) -> Table:
    rows = [[plain(cell) for cell in row] for row in frame.itertuples(index=False)]
    return Table([str(column) for column in frame.columns], rows, title=title)


def _metrics(
    tables: Mapping[str, Columns], facts: Mapping[str, Any], sums: np.ndarray
) -> dict[str, float]:
    requests = tables["requests"]
    span = duration_s(requests, sums=sums)
    found: dict[str, float] = {"duration_s": span}
    found |= request_metrics(requests, facts["limits_ms"], span_s=span, sums=sums)
    found |= gap_metrics(requests, tables["gaps"]["count"], sums=sums)
    rows = pool_rows(tables["replicas"], facts["pools"])
    found |= cluster_metrics(
        rows,
        facts["totals"],
        found.get("output_throughput"),
        caching=facts["prefix_caching"],
    )
    prefilled = sum(row["prefill_tokens"] for row in rows)
    found |= pool_metrics(requests, facts, prefilled) | fabric_metrics(tables, span)
    if "dollars" in found and found["output_tokens"]:
        found["dollars_per_million_tokens"] = 1e6 * found["dollars"] / found["output_tokens"]
    if "joules" in found and found["output_tokens"]:
        found["joules_per_token"] = found["joules"] / found["output_tokens"]
    return found


__all__ = ["DONE", "LATENCIES", "ServingResult"]
