"""`FederatedResult`: what a federation learned, when, and what it cost."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from mltwin.models.federation.tables import TICKS_PER_S, Clients
from mltwin.sim.errors import InputError

from .derived_result import Derived, DerivedResult
from .federated_aggregation import step_table
from .federated_metrics import metrics_of, notes_of, violations_of
from .result import Columns
from .samples import Sample, table_samples

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mltwin.models.federation.outcome import FederatedRun

    from .timelines.timeline import Timeline


BYTES = ("down_bytes", "up_bytes")
LOG_COLUMNS = ("time", "kind", "entity", "value")


class FederatedResult(DerivedResult):
    """A finished run of the system `federated`.

    Table `evaluations`: version, time_s, and up to then updates, down_bytes, up_bytes, joules,
    wasted_s; then the metrics of the model (loss, accuracy, ...), if there is one.
    Table `versions`: version, time_s, used (updates in it), staleness_mean, staleness_max,
    in_flight.
    Table `clients`, one row each: samples, s_per_sample, there_share (of the run's time in which it
    was available), group; counts of dispatches, arrived, used, lost, cancelled, discarded; ticks of
    1 ns that it computed, sent, received and did in vain; down_bytes, up_bytes, whole ones (parts
    of a transfer are rounded); where the task tells them, metrics of the last model on its data.
    Table `staleness`: how many used updates had each staleness.
    Table `aggregation`, where there is a service for it, a row a step: updates, when the first and
    the last came, when it closed and its version was made, leaves, nodes, queue, cold starts,
    off_node_gb, busy_s.
    Table `log` (runs with `record=True` only): the event log.
    """

    headline = (
        "final_accuracy",
        "final_loss",
        "time_to_accuracy_s",
        "rounds_to_accuracy",
        "bytes_to_accuracy",
        "joules_to_accuracy",
        "time_to_loss_s",
        "updates_per_s",
        "mean_staleness",
        "wasted_share",
        "lost_share",
        "participation_jain",
        "mean_aggregation_s",
        "aggregation_cpu_s",
        "dollars",
    )
    timeline_options: ClassVar[Mapping[str, Any]] = {"record": True}
    kept_or_not: ClassVar[frozenset[str]] = frozenset({"log"})

    @classmethod
    def of(
        cls,
        run: "FederatedRun",
        clients: Clients,
        facts: Mapping[str, Any],
        personal: Mapping[str, np.ndarray] | None = None,
    ) -> Self:
        """The result of a run.

        Args:
            run: the outcome.
            clients: who took part.
            facts: what the metrics need besides.
            personal: metrics of the last model for each client, by name.
        """
        counts = np.asarray(run.staleness, np.int64)
        tables: dict[str, Columns] = {
            "evaluations": in_seconds(run.evaluations),
            "versions": in_seconds(run.versions),
            "clients": {
                "samples": clients.samples,
                "s_per_sample": clients.s_per_sample,
                "there_share": there_share(clients, int(run.end)),
                "group": clients.group,
                **run.clients,
                **{name: np.rint(run.clients[name]).astype(np.int64) for name in BYTES},
                **(personal or {}),
            },
            "staleness": {"staleness": np.arange(len(counts)), "updates": counts},
        }
        if run.aggregation is not None:
            tables["aggregation"] = step_table(run.aggregation)
            facts = {**facts, "aggregation": dict(run.aggregation.totals)}
        if run.log is not None:
            tables["log"] = {name: run.log[name].copy() for name in LOG_COLUMNS}
        known = {
            **facts,
            "end": int(run.end),
            "ended": run.ended,
            "complete": bool(run.complete),
            "totals": {name: int(value) for name, value in run.totals.items()},
            "broken": list(run.violations),
            "groups": list(clients.names),
        }
        return cls.derived(tables, known)

    @classmethod
    def derive(cls, tables: Mapping[str, Columns], facts: Mapping[str, Any]) -> Derived:
        """Metrics, notes and violations."""
        return metrics_of(tables, facts), notes_of(tables, facts), violations_of(tables, facts)

    @property
    def curve_metric(self) -> str | None:
        """What learning curves show: accuracy, else loss; None where only time is simulated."""
        known = self.tables["evaluations"]
        return next((name for name in ("accuracy", "loss") if name in known), None)

    def samples(self) -> dict[str, Sample]:
        """Learning curves over time, staleness of each version, and work of each client."""
        evaluations, versions = self.tables["evaluations"], self.tables["versions"]
        clients = self.tables["clients"]
        found: dict[str, Sample] = {
            name: Sample.of(evaluations[name], evaluations["time_s"], title=name,
                            table="evaluations")
            for name in ("accuracy", "loss")
            if name in evaluations
        }  # fmt: skip
        found["staleness"] = Sample.of(
            versions["staleness_mean"], versions["time_s"], title="mean staleness", unit="versions",
            table="versions",
        )  # fmt: skip
        found["used updates"] = Sample.of(
            clients["used"], title="updates used of a client", table="clients"
        )
        found["compute"] = Sample.of(
            clients["compute_ticks"] / TICKS_PER_S, title="compute of a client", unit="s",
            table="clients",
        )  # fmt: skip
        return found | {k: v for k, v in table_samples(self).items() if not k.startswith("log.")}

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Learning curves, staleness, and who took part."""
        from .federated_plots import plot_run
        from .plots import save_figure

        return save_figure(plot_run(self), path)

    def timeline(
        self, *, window_s: tuple[float, float] | None = None, requests: int = 500, seed: int = 0
    ) -> "Timeline":
        """What clients did when; `requests` is how many of them are shown.

        Raises InputError: the run kept no event log, or the window is none.
        """
        if "log" not in self.tables:
            closed = self.facts["protocol"] in ("dpsgd", "matchmaking")
            raise InputError(
                "the run kept no log of its events",
                where=self.label,
                mend="its rounds have closed forms" if closed else "run it with record=True",
            )
        from .federated_timeline import run_timeline

        return run_timeline(self, window_s, requests, seed)


def in_seconds(columns: Columns) -> dict[str, np.ndarray]:
    """Columns with `time` (ticks) as `time_s`."""
    found = {}
    for name, column in columns.items():
        if name == "time":
            found["time_s"] = np.asarray(column, np.int64) / TICKS_PER_S
        else:
            found[name] = np.asarray(column)
    return found


def there_share(clients: Clients, end: int) -> np.ndarray:
    """float64[N]: share of [0, end) ticks in which each client was available."""
    there = clients.availability
    share = np.ones(len(clients))
    mine = there.trace >= 0
    if not mine.any() or end <= 0:
        return share
    covered = _covered_before(clients, mine, there.offset[mine] + end)
    covered -= _covered_before(clients, mine, there.offset[mine])
    share[mine] = covered / end
    return share


def _covered_before(clients: Clients, mine: np.ndarray, at: np.ndarray) -> np.ndarray:
    """float64[...]: ticks before `at`, counted in a client's trace, in which it is there."""
    there = clients.availability
    lengths = (there.end - there.begin).astype(float)
    total = np.r_[0.0, np.cumsum(lengths)]
    trace = there.trace[mine]
    period = there.period[trace]
    laps = np.where(period > 0, at // np.maximum(period, 1), 0)
    rest = at - laps * period
    first, last = there.first[trace], there.first[trace + 1]
    row = _last_begun(there.begin, first, last, rest)
    begun = row >= first
    safe = np.maximum(row, 0)
    full = np.where(begun, total[safe] - total[first], 0.0)
    part = np.where(begun, np.minimum(rest, there.end[safe]) - there.begin[safe], 0)
    return laps * (total[last] - total[first]) + full + part


def _last_begun(
    begin: np.ndarray, first: np.ndarray, last: np.ndarray, at: np.ndarray
) -> np.ndarray:
    """int64[...]: the last row of [first, last) that begins at or before `at`; first - 1: none."""
    low, high = first - 1, last - 1
    while (low < high).any():
        middle = (low + high + 1) // 2
        fits = begin[np.minimum(middle, len(begin) - 1)] <= at
        going = low < high
        low = np.where(going & fits, middle, low)
        high = np.where(going & ~fits, middle - 1, high)
    return low
