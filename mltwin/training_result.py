"""`TrainingResult`: time of a step, its critical path, bubbles, memory and cost."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from mltwin.models.training.tables import CATEGORIES, COMPUTE, KINDS
from mltwin.sim.errors import InputError

from .derived_result import Derived, DerivedResult
from .result import Columns
from .text import Table

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mltwin.models.training.executor import GraphRun

    from .samples import Sample
    from .timelines.timeline import Timeline

GIB = 2**30
_SHOWN = 12
TICKS_PER_MS = 1e9


class TrainingResult(DerivedResult):
    """A finished run of the system `training`.

    Tables: `tasks` (start and end in ticks of 1 ps, device, stream, kind, category, bytes; name:
    place in ``facts["names"]``), `streams` (device, stream, busy and idle ticks, whether it
    computes) and `critical` (task and ticks of the chain that sets the step's time).
    """

    headline = (
        "step_ms",
        "tokens_per_s_per_gpu",
        "mfu",
        "memory_gib",
        "bubble_share",
        "exposed_share",
        "dollars_per_million_tokens",
    )

    @classmethod
    def of_run(cls, run: "GraphRun", facts: Mapping[str, Any]) -> Self:
        """The result of an execution."""
        graph, path = run.graph, run.critical_path()
        tables: dict[str, Columns] = {
            "tasks": {
                "start": run.start,
                "end": run.end,
                "device": graph.device,
                "stream": graph.stream,
                "kind": graph.kind,
                "category": graph.category,
                "bytes": graph.bytes,
                "name": graph.name,
            },
            "streams": {
                "device": run.device,
                "stream": run.stream,
                "busy": run.busy,
                "idle": run.idle,
                "computes": run.computes.astype(np.int8),
            },
            "critical": {"task": path.tasks, "ticks": path.ticks, "reason": path.reasons},
        }
        broken = []
        waits = np.repeat(np.arange(len(graph)), np.diff(graph.after_first))
        if (run.start[waits] < run.end[graph.after]).any():
            broken.append("a task started before one that it waits for had ended")
        return cls.derived(tables, {**facts, "broken_laws": broken})

    @classmethod
    def derive(cls, tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> Derived:
        """Metrics, notes and violations."""
        return _metrics(tables, facts), _notes(tables, facts), _violations(tables, facts)

    def report(self) -> list[Table]:
        """The metrics, what the critical path is made of, and memory by part."""
        tables = [self.table()]
        critical, tasks = self.tables["critical"], self.tables["tasks"]
        span = max(int(critical["ticks"].sum()), 1)
        kinds = [_unnumbered(name) for name in self.facts["names"]]
        total: Counter[str] = Counter()
        count: Counter[str] = Counter()
        place = tasks["name"][critical["task"]]
        for k, ticks in zip(place.tolist(), critical["ticks"].tolist(), strict=True):
            total[kinds[k]] += ticks
            count[kinds[k]] += 1
        rows: list[list[Any]] = [
            [name or "(no name)", count[name], ticks / TICKS_PER_MS, 100 * ticks / span]
            for name, ticks in total.most_common(_SHOWN)
            if ticks > 0
        ]
        tables.append(Table(["critical path", "tasks", "ms", "%"], rows))
        memory = self.facts.get("memory_bytes")
        if memory:
            parts = sorted(memory.items(), key=lambda item: -item[1])
            rows = [[name, size / GIB] for name, size in parts if size > 0]
            tables.append(Table(["memory of a GPU", "GiB"], rows))
        return tables

    def samples(self) -> dict[str, "Sample"]:
        """Durations of compute tasks, and idle time of each compute stream."""
        from .samples import Sample

        tasks, streams = self.tables["tasks"], self.tables["streams"]
        mine = tasks["kind"] == COMPUTE
        took = (tasks["end"] - tasks["start"])[mine] / TICKS_PER_MS
        at_s = tasks["start"][mine] / 1e12
        idle = streams["idle"][streams["computes"] > 0] / TICKS_PER_MS
        return {
            "compute": Sample.of(took, at_s, title="compute task", unit="ms", table="tasks"),
            "idle": Sample.of(idle, title="idle of a compute stream", unit="ms", table="streams"),
        }

    def timeline(
        self,
        *,
        window_s: "tuple[float, float] | None" = None,
        requests: int = 500,
        seed: int = 0,
    ) -> "Timeline":
        """What each stream of each device did; the critical path at the top.

        Raises InputError: the result does not know its scenario.
        """
        from .training import TrainingScenario
        from .training_timeline import training_timeline

        del requests, seed
        if not isinstance(self.scenario, TrainingScenario):
            raise InputError("the run does not know its scenario", where=self.label)
        return training_timeline(self, window_s)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Streams over time, the critical path by category, and memory."""
        from .plots import save_figure
        from .training_plots import plot_training

        return save_figure(plot_training(self), path)


def _unnumbered(name: str) -> str:
    """A task's name without its numbers: `F 0 block 12` is `F block`."""
    return " ".join(word for word in name.split() if not word.isdigit())


def _metrics(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> dict[str, float]:
    tasks, streams, critical = tables["tasks"], tables["streams"], tables["critical"]
    span = int(tasks["end"].max(initial=0))
    seconds = span / 1e12
    found: dict[str, float] = {"tasks": float(len(tasks["end"])), "step_ms": span / TICKS_PER_MS}
    if facts.get("gpus") and seconds > 0:
        gpus, tokens = facts["gpus"], facts["tokens"]
        each = tokens / seconds / gpus
        found |= {
            "gpus": float(gpus),
            "step_tokens": float(tokens),
            "tokens_per_s": tokens / seconds,
            "tokens_per_s_per_gpu": each,
            "mfu": facts["model_flops"] * each / facts["peak_flops"],
            "hfu": facts["hardware_flops"] * each / facts["peak_flops"],
            "memory_gib": sum(facts["memory_bytes"].values()) / GIB,
            "closed_form_ms": facts["closed_s"] * 1e3,
            "dollars_per_million_tokens": (
                facts["dollars_per_gpu_hour"] * gpus * seconds / 3600 / tokens * 1e6
            ),
        }
    computes = streams["computes"] > 0
    if computes.any() and span > 0:
        busy = float(streams["busy"][computes].sum())
        found["bubble_share"] = 1 - busy / (int(computes.sum()) * span)
    if len(critical["task"]) and span > 0:
        kind = tasks["kind"][critical["task"]]
        worked = float(critical["ticks"][kind == COMPUTE].sum())
        found["exposed_share"] = 1 - worked / span
        category = tasks["category"][critical["task"]]
        total = np.bincount(category, critical["ticks"].astype(float), len(CATEGORIES))
        for k in np.flatnonzero(total > 0).tolist():
            found[f"critical_{CATEGORIES[k]}_ms"] = total[k] / TICKS_PER_MS
    return found


def _notes(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> list[str]:
    idle = ["No message crosses the network: the times are those without it."]
    idle = idle if facts.get("idle_network") else []
    if facts.get("plan"):
        notes = [f"{facts['model']} on {facts['gpus']} x {facts['gpu']}: {facts['plan']}."]
        need, have = sum(facts["memory_bytes"].values()) / GIB, facts["usable_bytes"] / GIB
        if need > have:
            notes.append(f"It does not fit: {need:.1f} GiB of the {have:.1f} that a GPU has.")
        return notes + idle
    kinds = np.bincount(tables["tasks"]["kind"], minlength=len(KINDS))
    told = ", ".join(f"{n:,} {KINDS[k]}" for k, n in enumerate(kinds.tolist()) if n)
    return [f"Graph of {told or 'no'} tasks.", *idle]


def _violations(tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> list[str]:
    found = list(facts["broken_laws"])
    tasks, critical = tables["tasks"], tables["critical"]
    if (tasks["end"] < tasks["start"]).any():
        found.append("a task ended before it started")
    span = int(tasks["end"].max(initial=0))
    if len(critical["ticks"]) and int(critical["ticks"].sum()) != span:
        found.append(f"the critical path is {int(critical['ticks'].sum())} ticks, the step {span}")
    return found
