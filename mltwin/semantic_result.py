"""`SemanticResult`: a run of a semantic cache as tables, metrics and pictures."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mltwin.models.semantic.tables import (
    NEVER,
    ONE,
    OUTCOMES,
    TICKS_PER_S,
    UNCACHED,
    UNKNOWN,
    Outcome,
    Queries,
    Rules,
)

from .result import Columns, Result
from .semantic_metrics import MS, category_rows, latency_ms, run_metrics, served
from .text import Table

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from .samples import Sample
    from .semantic import SemanticScenario
    from .timelines.timeline import Timeline

_SHOWN = (
    "category",
    "queries",
    "threshold",
    "quota",
    "hit_ratio",
    "false_hit_ratio",
    "stale_hit_ratio",
    "break_even_hit_ratio",
    "mean_latency_ms",
    "saved_dollars",
)


class SemanticResult(Result):
    """A finished run; table `queries` has one row a query (ticks of 1 ns)."""

    headline = (
        "hit_ratio",
        "false_hit_ratio",
        "stale_hit_ratio",
        "useful_hit_ratio",
        "joined_ratio",
        "mean_latency_ms",
        "p99_latency_ms",
        "uncached_latency_ms",
        "mean_llm_wait_ms",
        "llm_busy",
        "llm_calls",
        "cost_dollars",
        "saved_dollars",
        "evictions",
        "expirations",
    )

    def __init__(
        self,
        tables: Mapping[str, Columns],
        facts: Mapping[str, Any],
        *,
        notes: list[str] | None = None,
        violations: list[str] | None = None,
        trace_sha256: str = "",
    ) -> None:
        super().__init__(
            run_metrics(tables["queries"], facts),
            tables,
            facts=facts,
            notes=notes or [],
            violations=violations or [],
            trace_sha256=trace_sha256,
        )

    @classmethod
    def of(
        cls,
        scenario: "SemanticScenario",
        queries: Queries,
        rules: Rules,
        dollars: np.ndarray,
        outcome: Outcome,
        violations: list[str],
    ) -> Self:
        """The result of an outcome."""
        table = _query_table(queries, rules, dollars, outcome)
        facts = _facts(scenario, queries, rules, outcome, table)
        return cls(
            {"queries": table},
            facts,
            notes=_notes(facts, table),
            violations=violations,
            trace_sha256=queries.sha256,
        )

    @classmethod
    def restored(
        cls, metrics: Mapping[str, float], tables: Mapping[str, Columns], about: Mapping[str, Any]
    ) -> Self:
        """A result from what `save` stored; its metrics are computed anew."""
        del metrics
        return cls(
            tables, about["facts"], notes=about["notes"], violations=about.get("violations", [])
        )

    @property
    def categories(self) -> "pd.DataFrame":
        """One row a category: its rules, ratios, latencies, break-even hit ratio, savings."""
        import pandas as pd

        return pd.DataFrame(category_rows(self.tables["queries"], self.facts))

    @property
    def queries(self) -> "pd.DataFrame":
        """One row a query: category, arrival in s, how it was answered, latency in ms."""
        import pandas as pd

        columns = self.tables["queries"]
        names = np.array(self.facts["categories"], object)
        return pd.DataFrame(
            {
                "category": names[columns["category"]],
                "arrival_s": columns["arrival"] / TICKS_PER_S,
                "outcome": np.array(OUTCOMES, object)[columns["outcome"]],
                "entry": columns["entry"],
                "similarity": columns["near"] / ONE,
                "false": columns["false"].astype(bool),
                "stale": columns["stale"].astype(bool),
                "latency_ms": latency_ms(columns),
            }
        ).rename_axis("query")

    def report(self) -> list[Table]:
        """The headline metrics, and one row a category."""
        rows: list[list[Any]] = [
            [name, self.metrics[name]] for name in self.headline if name in self.metrics
        ]
        table = Table(["metric", "value"], rows, title=self.label)
        if self.error_bars is not None:
            table = self.error_bars.beside(table)
        found = category_rows(self.tables["queries"], self.facts)
        shown = [name for name in _SHOWN if any(name in row for row in found)]
        heads = [name.replace("_", " ").replace(" ratio", "") for name in shown]
        cells = [[row.get(name) for name in shown] for row in found]
        return [table, Table(heads, cells, title="Categories")]

    def samples(self) -> dict[str, "Sample"]:
        """Latency of all queries and by outcome, in ms, at the arrival."""
        from .samples import Sample

        columns = self.tables["queries"]
        ms, at = latency_ms(columns), columns["arrival"] / TICKS_PER_S
        found = {"latency": Sample.of(ms, at, title="latency", unit="ms", table="queries")}
        for code, name in enumerate(OUTCOMES):
            mine = columns["outcome"] == code
            if mine.any():
                values = np.where(mine, ms, np.nan)
                found[f"latency_{name}"] = Sample.of(
                    values, at, title=f"latency of {name}", unit="ms", table="queries"
                )
        return found

    def timeline(
        self,
        *,
        window_s: tuple[float, float] | None = None,
        requests: int = 500,
        seed: int = 0,
    ) -> "Timeline":
        """Calls on the LLM's servers by category, entries in the cache, calls that wait.

        Args:
            window_s: only what touches these seconds of the run, from and to; None: all of it.
            requests, seed: not used; every call is shown.

        Raises InputError: no such window, or a run longer than a timeline can be.
        """
        from .semantic_timeline import semantic_timeline

        del requests, seed
        return semantic_timeline(self, window_s)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Hit ratio against break-even, latency, and what was served, by category."""
        from .plots import save_figure
        from .semantic_plots import plot_categories

        return save_figure(plot_categories(self), path)


def _query_table(
    queries: Queries, rules: Rules, dollars: np.ndarray, outcome: Outcome
) -> dict[str, np.ndarray]:
    got = np.flatnonzero(outcome.entry >= 0)
    entry = outcome.entry[got]
    false = np.zeros(len(queries), np.int8)
    stale = np.zeros(len(queries), np.int8)
    known = (queries.intent[got] != UNKNOWN) & (queries.intent[entry] != UNKNOWN)
    wrong = known & (queries.intent[got] != queries.intent[entry])
    false[got] = wrong
    dated = (queries.version[got] != UNKNOWN) & (queries.version[entry] != UNKNOWN)
    stale[got] = dated & ~wrong & (queries.version[got] != queries.version[entry])
    return {
        "category": queries.category,
        "arrival": queries.arrival,
        "outcome": outcome.outcome,
        "entry": outcome.entry,
        "near": outcome.near,
        "called": outcome.called,
        "done": outcome.done,
        "ready": outcome.ready,
        "service": rules.service,
        "dollars": dollars,
        "false": false,
        "stale": stale,
        "cut": outcome.cut.astype(np.int8),
        "left": outcome.left,
        "left_at": outcome.left_at,
        "hits": outcome.hits,
    }


def _facts(
    scenario: "SemanticScenario",
    queries: Queries,
    rules: Rules,
    outcome: Outcome,
    table: Mapping[str, np.ndarray],
) -> dict[str, Any]:
    looked = table["outcome"] != UNCACHED
    lookup = (table["ready"] - table["arrival"])[looked]
    return {
        "categories": list(queries.categories),
        "threshold": [float(t) / ONE for t in rules.threshold],
        "ttl_s": [None if t == NEVER else float(t) / TICKS_PER_S for t in rules.ttl],
        "quota": [int(q) for q in rules.quota],
        "lookup_ms": float(lookup.mean() / MS) if len(lookup) else 0.0,
        "fetch_ms": rules.fetch / MS,
        "embed_dollars": scenario.index.embed_dollars,
        "servers": rules.servers,
        "intents": bool((queries.intent != UNKNOWN).all()),
        "versions": bool((queries.version != UNKNOWN).all()),
        "source": queries.source,
        "totals": {name: int(value) for name, value in outcome.totals.items()},
    }


def _notes(facts: Mapping[str, Any], table: Mapping[str, np.ndarray]) -> list[str]:
    notes = []
    cut = int(table["cut"].sum())
    if cut:
        notes.append(
            f"{cut:,} misses had more near queries than were kept: some may be hits; raise "
            "neighbours.most."
        )
    if not facts["intents"]:
        notes.append("False hits are not counted: the workload does not tell intents.")
    elif not facts["versions"]:
        notes.append("Stale hits are not counted: the workload does not tell versions.")
    if not served(table).any():
        notes.append("Nothing was served from the cache.")
    return notes
