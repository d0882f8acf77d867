"""What a run of a federation gives back."""

from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from .tables import TICKS_PER_S

Array = npt.NDArray[Any]
Columns = dict[str, Array]

VERSION_COLUMNS = ("version", "time", "used", "staleness_mean", "staleness_max", "in_flight")
COST_COLUMNS = ("updates", "down_bytes", "up_bytes", "joules", "wasted_s")
EVALUATION_COLUMNS = ("version", "time", *COST_COLUMNS)
CLIENT_COLUMNS = (
    "dispatches", "arrived", "used", "lost", "cancelled", "discarded", "compute_ticks",
    "send_ticks", "receive_ticks", "wasted_ticks", "down_bytes", "up_bytes",
)  # fmt: skip
TOTALS = (
    "dispatched", "arrived", "used", "lost", "cancelled", "discarded", "pending", "in_flight",
    "versions_made", "versions_freed", "versions_live_most",
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class FederatedRun:
    """One run. Times are ticks of 1 ns.

    Costs are of dispatches that have ended (come, lost or cancelled), for the phases actually
    spent; those still under way at the end of the run are not in them.

    Attributes:
        versions: a row for each server version made, from 1: version, time, used (updates in it),
            staleness_mean, staleness_max (of these), in_flight.
        evaluations: version, time; cumulative updates (arrived so far), down_bytes, up_bytes,
            joules and wasted_s (client seconds of work lost, cancelled or discarded); then the
            task's metrics (loss, accuracy, ...).
        clients: a row a client; names in CLIENT_COLUMNS.
        staleness: int64[...], used updates by their staleness.
        weights: float64[d], the last model; None where only time was simulated.
        totals: counts; names in TOTALS. in_flight are those under way at the end, pending those
            that arrived and were neither used nor discarded.
        end: ticks at which the run ended.
        ended: why, in one line.
        complete: whether it ended as planned.
        violations: of the laws of conservation; none in a correct run.
        log: event log (rows of `mltwin.sim.eventlog.LOG`), None unless recorded.
        facts: what else a system or strategy has to say.
        aggregation: what the plan's aggregation did and cost (`aggregators.AggregationRun`); None
            where there is none.
    """

    versions: Columns
    evaluations: Columns
    clients: Columns
    staleness: Array
    weights: Array | None
    totals: dict[str, int]
    end: int
    ended: str
    complete: bool
    violations: list[str]
    log: Any = None
    facts: dict[str, Any] = field(default_factory=dict)
    aggregation: Any = None

    @property
    def end_s(self) -> float:
        """Seconds of virtual time."""
        return self.end / TICKS_PER_S


def violations(totals: dict[str, int]) -> list[str]:
    """Laws of conservation that the counts of a run break, a line each."""
    laws = (
        (
            "dispatched = arrived + lost + cancelled + in flight",
            ("dispatched",),
            ("arrived", "lost", "cancelled", "in_flight"),
        ),
        ("arrived = used + discarded + pending", ("arrived",), ("used", "discarded", "pending")),
        ("versions made = freed + live", ("versions_made",), ("versions_freed", "versions_live")),
    )
    found = []
    for law, left, right in laws:
        sides = [sum(totals.get(name, 0) for name in names) for names in (left, right)]
        if sides[0] != sides[1]:
            found.append(f"{law}: {sides[0]} is not {sides[1]}")
    return found
