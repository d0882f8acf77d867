"""What a run gives back, out of its server and engine."""

from typing import Any

import numpy as np
import numpy.typing as npt

from .engine import KernelEngine
from .outcome import (
    CLIENT_COLUMNS,
    EVALUATION_COLUMNS,
    TOTALS,
    VERSION_COLUMNS,
    Columns,
    FederatedRun,
    violations,
)
from .server import RunServer
from .tables import TICKS_PER_S

Array = npt.NDArray[Any]

_FLOATS = {"staleness_mean", "down_bytes", "up_bytes", "joules", "wasted_s"}
_SERVER_ROW = ("version", "time", "used", "staleness_max", "in_flight", "staleness_mean")


def outcome_of(server: RunServer, *, record: bool) -> FederatedRun:
    """The result of a run that has ended."""
    engine, opened = server.engine, server.opened
    left, _ = engine.take()
    tallies = engine.tallies()
    made = _columns(server.made, _SERVER_ROW)
    evaluations = _columns(server.evaluated, EVALUATION_COLUMNS)
    used = opened.used
    staleness = opened.histogram()
    if isinstance(engine, KernelEngine) and engine.alone:
        alone = engine.take_steps()
        made, evaluations = _merge(server, alone, made, evaluations)
        still = np.concatenate([left.done.client, opened.clients])
        used = tallies["arrived"] - np.bincount(still, minlength=len(used)) - opened.discarded
        staleness = _add(staleness, engine.staleness())
    for name in dict.fromkeys(name for row in server.metrics for name in row):
        evaluations[name] = np.array([row.get(name, np.nan) for row in server.metrics])
    counts = engine.counts() | {
        "arrived": engine.arrived,
        "used": int(made["used"].sum()),
        "discarded": int(opened.discarded.sum()),
        "pending": len(opened) + len(left.done),
    }
    found = violations(counts)
    if not used.sum() == staleness.sum() == counts["used"]:
        found.append(
            f"updates used: {used.sum()} by client, {staleness.sum()} by staleness, "
            f"{counts['used']} by version"
        )
    aggregation = None if server.aggregating is None else server.aggregating.run_until(server.end)
    if aggregation is not None:
        found += aggregation.violations
    tallies |= {
        "used": used,
        "discarded": opened.discarded,
        "wasted_ticks": tallies["wasted_ticks"] + opened.wasted_of,
    }
    return FederatedRun(
        versions={name: made[name] for name in VERSION_COLUMNS},
        evaluations=evaluations,
        clients={name: tallies[name] for name in CLIENT_COLUMNS},
        staleness=staleness,
        weights=None if server.task is None else server.weights,
        totals={name: int(counts[name]) for name in TOTALS},
        end=server.end,
        ended=server.ended or "",
        complete=server.complete,
        violations=found,
        log=engine.log() if record else None,
        facts={**server.policies.facts, **server.policies.strategy.told},
        aggregation=aggregation,
    )


def _columns(rows: list[tuple[Any, ...]], names: tuple[str, ...]) -> Columns:
    data = list(zip(*rows, strict=True)) if rows else [()] * len(names)
    return {
        name: np.array(values, np.float64 if name in _FLOATS else np.int64)
        for name, values in zip(names, data, strict=True)
    }


def _merge(
    server: RunServer, alone: Any, made: Columns, evaluations: Columns
) -> tuple[Columns, Columns]:
    """Rows of automatic steps among those of the server."""
    due = alone[alone["version"] % server.plan.evaluate_every == 0]
    seconds = {"wasted_s": due["wasted"] / TICKS_PER_S}
    costs = {name: seconds.get(name, due[name] if name in due.dtype.names else None)
             for name in EVALUATION_COLUMNS}  # fmt: skip
    steps = {name: alone[name] for name in VERSION_COLUMNS}
    return _sorted(steps, made), _sorted(costs, evaluations)


def _sorted(one: Columns, two: Columns) -> Columns:
    """Rows of both by version; of equal versions the first stays."""
    both = {name: np.concatenate([one[name], two[name]]) for name in one}
    _, kept = np.unique(both["version"], return_index=True)
    return {name: column[kept] for name, column in both.items()}


def _add(one: Array, two: Array) -> Array:
    total = np.zeros(max(len(one), len(two)), np.int64)
    total[: len(one)] += one
    total[: len(two)] += two
    return total[: int(np.flatnonzero(total).max(initial=-1)) + 1]
