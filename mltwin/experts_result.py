"""`ExpertResult`: hits, stalls and speed of a run with a cache of experts."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mltwin.models.experts.simulate import Outcome

from .derived_result import Derived, DerivedResult
from .metrics import flat, spread
from .result import Columns

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from .experts_run import Lowered
    from .samples import Sample
    from .timelines.timeline import Timeline, Window

TICKS_PER_MS = 1e6


class ExpertResult(DerivedResult):
    """A finished run of the system `expert-cache`.

    Tables: `steps` (begin, end, stall in ticks of 1 ns; activations, hits, late), `layers`
    (activations, hits, late, misses, loads of each layer).
    """

    headline = (
        "output_throughput",
        "hit_ratio",
        "stall_share",
        "mean_step_ms",
        "p99_step_ms",
        "memory_saved_ratio",
        "moved_gb_per_token",
        "prefetch_precision",
        "prefetch_coverage",
    )

    @classmethod
    def of(cls, outcome: Outcome, lowered: "Lowered") -> Self:
        """The result of an outcome."""
        facts = {
            **lowered.facts,
            "totals": dict(outcome.totals),
            "in_flight": outcome.in_flight,
            "resident": outcome.resident,
            "unused": outcome.unused,
        }
        return cls.derived(
            _tables(outcome, lowered),
            facts,
            notes=lowered.notes,
            trace_sha256=lowered.routing_sha256,
        )

    @classmethod
    def derive(cls, tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> Derived:
        """Metrics, notes and violations."""
        return _metrics(tables, facts), [], violations(tables, facts)

    def samples(self) -> dict[str, "Sample"]:
        """Duration and stall of each step in ms, hit ratio of each step, at the step's begin."""
        from .samples import Sample

        steps = self.tables["steps"]
        begin_s = steps["begin"] / 1e9
        activations = np.maximum(steps["activations"], 1)
        return {
            "step": Sample.of(
                (steps["end"] - steps["begin"]) / TICKS_PER_MS,
                begin_s,
                title="step",
                unit="ms",
                table="steps",
            ),
            "stall": Sample.of(
                steps["stall"] / TICKS_PER_MS, begin_s, title="stall", unit="ms", table="steps"
            ),
            "hit_ratio": Sample.of(
                steps["hits"] / activations, begin_s, title="hit ratio", table="steps"
            ),
        }

    def timeline(
        self, *, window_s: "Window | None" = None, requests: int = 500, seed: int = 0
    ) -> "Timeline":
        """What the GPU does and what each stream loads; the scenario is run again with a log.

        Args:
            window_s: only what touches these seconds of the run, from and to; None: all of it.
            requests, seed: of other systems; a run of this one follows no requests.

        Raises InputError: no such window.
        """
        from .experts_timeline import expert_timeline

        return expert_timeline(self, window_s)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Where the time goes, hits by layer and over time; saved if a path is given."""
        from .experts_plots import plot_experts
        from .plots import save_figure

        return save_figure(plot_experts(self), path)


def _tables(outcome: Outcome, lowered: "Lowered") -> dict[str, Columns]:
    plan, visits = lowered.plan, outcome.visits
    layers = plan.layers
    per_step = layers * lowered.facts["passes_a_step"]
    activations = np.diff(plan.visit_start)
    by_layer = {
        "activations": activations,
        "hits": visits["hits"],
        "late": visits["late"],
        "misses": activations - visits["hits"] - visits["late"],
    }
    return {
        "steps": {
            "begin": visits["begin"][::per_step].copy(),
            "end": visits["end"][per_step - 1 :: per_step].copy(),
            "stall": visits["stall"].reshape(-1, per_step).sum(axis=1),
            **{
                name: by_layer[name].reshape(-1, per_step).sum(axis=1)
                for name in ("activations", "hits", "late")
            },
        },
        "layers": {
            "layer": np.arange(layers),
            **{name: column.reshape(-1, layers).sum(axis=0) for name, column in by_layer.items()},
            "loads": outcome.loads.reshape(layers, plan.experts).sum(axis=1),
        },
    }


def _metrics(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> dict[str, float]:
    totals = facts["totals"]
    activations = totals["hits"] + totals["late"] + totals["misses"]
    loads = totals["demand"] + totals["prefetch"]
    tokens, duration_s = facts["tokens"], totals["end"] / 1e9
    steps = tables["steps"]
    expert, keys = facts["expert_bytes"], facts["layers"] * facts["experts"]
    held = facts["other_bytes"] + facts["capacity"] * expert
    found = {
        "tokens": float(tokens),
        "duration_s": duration_s,
        "activations": float(activations),
    }
    if duration_s > 0:
        found["output_throughput"] = tokens / duration_s
        found["stall_share"] = totals["stalled"] / totals["end"]
        working = totals["end"] - totals["stalled"] - facts["predictor_ticks"]
        if working:
            found["resident_throughput"] = tokens / working * 1e9
    found |= flat("step", "ms", spread((steps["end"] - steps["begin"]) / TICKS_PER_MS))
    found["stall_ms_per_token"] = totals["stalled"] / TICKS_PER_MS / tokens
    if activations:
        found["hit_ratio"] = totals["hits"] / activations
        found["late_miss_ratio"] = totals["late"] / activations
        found["miss_ratio"] = 1 - found["hit_ratio"]
    found["experts_per_visit"] = (
        activations / (len(steps["begin"]) * facts["layers"]) / max(facts["passes_a_step"], 1)
    )
    found["memory_saved_ratio"] = 1 - held / (facts["other_bytes"] + keys * expert)
    found["experts_saved_ratio"] = 1 - facts["capacity"] / keys
    found["hbm_gb"] = held / 1e9
    found["moved_gb"] = loads * expert / 1e9
    found["moved_gb_per_token"] = loads * expert / 1e9 / tokens
    found["demand_loads"] = float(totals["demand"])
    found["prefetch_loads"] = float(totals["prefetch"])
    if totals["prefetch"]:
        found["prefetch_precision"] = totals["useful"] / totals["prefetch"]
        # Of what would have been missed, the share that was there in time.
        would_miss = totals["in_time"] + totals["late"] + totals["misses"]
        found["prefetch_coverage"] = totals["in_time"] / would_miss if would_miss else 1.0
    if facts["recall"] is not None:
        found["prediction_recall"] = facts["recall"]
        if facts["precision"] is not None:
            found["prediction_precision"] = facts["precision"]
    return found


def violations(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> list[str]:
    """Conservation laws that the run broke; a healthy run gives none."""
    t, layers, steps = facts["totals"], tables["layers"], tables["steps"]
    activations = t["hits"] + t["late"] + t["misses"]
    loads = t["demand"] + t["prefetch"]
    busy = facts["dense_ticks"] + facts["expert_ticks"] + facts["predictor_ticks"]
    laws = (
        ("activations by layer", int(layers["activations"].sum()), activations),
        ("hits by layer", int(layers["hits"].sum()), t["hits"]),
        ("loads begun and loads ended or in flight", loads, t["loaded"] + facts["in_flight"]),
        ("loads by layer", int(layers["loads"].sum()), loads),
        (
            "experts come and experts there or evicted",
            facts["preloaded"] + t["loaded"],
            facts["resident"] + t["evicted"],
        ),
        ("prefetches and their ends", t["prefetch"], t["useful"] + t["wasted"] + facts["unused"]),
        ("ticks of work and stall", busy + t["stalled"], t["end"]),
        ("ticks of steps", int((steps["end"] - steps["begin"]).sum()), t["end"]),
    )
    found = [f"{law}: {a} and {b} differ" for law, a, b in laws if a != b]
    if facts["resident"] + facts["in_flight"] > facts["capacity"]:
        found.append(f"{facts['resident']} experts resident, room for {facts['capacity']}")
    return found
