"""What a protocol of peers hands over: first the clock, then the learning.

When peers train and send does not depend on what they learn. So a protocol first makes a
`Timeline` (events, bytes, costs), and learning walks along it afterwards; a run that learning ends
(a target reached, a model that is not finite) is timed again up to that version.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Task
from mltwin.models.federation.outcome import (
    CLIENT_COLUMNS,
    COST_COLUMNS,
    VERSION_COLUMNS,
    FederatedRun,
)
from mltwin.models.federation.outcome import violations as broken_laws
from mltwin.models.federation.tables import TICKS_PER_S, Clients, Plan
from mltwin.sim.errors import InputError

from .overlay import Overlay

Array = npt.NDArray[Any]

MAX_TICKS = 9 * 10**18


@dataclass(frozen=True, eq=False)
class Setting:
    """What every protocol is given.

    Attributes:
        clients, overlay, plan, task, seed: as for `simulate_peers`.
        evaluate_peers: of how many peers the own models are evaluated.
        record: keep the event log.
        reference: on the SimPy twin.
    """

    clients: Clients
    overlay: Overlay
    plan: Plan
    task: Task | None
    seed: int
    evaluate_peers: int = 16
    record: bool = False
    reference: bool = False

    @property
    def peers(self) -> int:
        """N."""
        return len(self.clients)

    @property
    def learns(self) -> bool:
        """Whether there is a model."""
        return self.task is not None and self.task.parameters > 0

    @property
    def model_bytes(self) -> float:
        """Bytes of one transfer of the model."""
        if self.plan.model_bytes is not None:
            return float(self.plan.model_bytes)
        return 4.0 * self.task.parameters if self.task is not None else 0.0

    @property
    def until(self) -> int:
        """Ticks at which the run ends at the latest."""
        limit = self.plan.until_s
        return MAX_TICKS if limit is None else round(limit * TICKS_PER_S)

    def check(self) -> None:
        """Refuse what cannot be. Raises InputError."""
        plan = self.plan
        if self.overlay.peers != self.peers:
            raise InputError(
                f"an overlay of {self.overlay.peers} peers, {self.peers} clients", where="overlay"
            )
        if self.clients.links is not None:
            raise InputError(
                "the links of peers do not follow traces",
                where="clients.links",
                mend="give them constant rates",
            )
        if plan.versions is None and plan.updates is None and plan.until_s is None:
            raise InputError(
                "a target alone may never end the run",
                where="plan",
                mend="give versions, updates or until_s too",
            )
        if plan.until_s is None and (self.clients.failure >= 1).all():
            raise InputError(
                "every training fails, so that no update ever comes",
                where="clients.failure",
                mend="give less than 1, or until_s",
            )


@dataclass(eq=False)
class Timeline:
    """The clock of a run.

    Attributes:
        versions: rows of VERSION_COLUMNS.
        costs: a row before the first version and one for each: COST_COLUMNS.
        clients: columns of CLIENT_COLUMNS.
        staleness: updates used, by staleness.
        totals: counts but those of `clients`.
        sent, received, lost, under_way: bytes by kind of message.
        end, ended, complete: as in `FederatedRun`.
        steps: what learning needs, in order; depends on the protocol.
        log: rows (time, kind, entity, value) or None.
        violations: of laws other than those of the counts.
        facts: what else there is to say.
    """

    versions: list[tuple[Any, ...]]
    costs: list[tuple[Any, ...]]
    clients: dict[str, Array]
    staleness: Array
    totals: dict[str, int]
    sent: dict[str, float]
    received: dict[str, float]
    lost: dict[str, float]
    under_way: dict[str, float]
    end: int
    ended: str
    complete: bool
    steps: Any = None
    log: Any = None
    violations: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(eq=False)
class Learned:
    """What learning made of a timeline.

    Attributes:
        metrics: version -> metrics.
        weights: float64[d], the mean of the last models.
        stop: the version at which it ended the run, if it did, and `why` in one line.
        complete: False where the run ended in a model that is not finite.
    """

    metrics: dict[int, dict[str, float]]
    weights: Array | None
    stop: int | None = None
    why: str = ""
    complete: bool = True


def empty_columns(peers: int) -> dict[str, Array]:
    """CLIENT_COLUMNS of zeros: bytes float64[N], the rest int64[N]."""
    return {
        name: np.zeros(peers, np.float64 if name.endswith("bytes") else np.int64)
        for name in CLIENT_COLUMNS
    }


def outcome(line: Timeline, learned: Learned | None, plan: Plan) -> FederatedRun:
    """The run, with its laws checked."""
    versions = {
        name: np.array(
            [row[place] for row in line.versions],
            np.float64 if name == "staleness_mean" else np.int64,
        )
        for place, name in enumerate(VERSION_COLUMNS)
    }
    totals = {
        "dispatched": int(line.clients["dispatches"].sum()),
        "versions_made": 0,
        "versions_freed": 0,
        "versions_live_most": 0,
        **{n: int(line.clients[n].sum()) for n in ("arrived", "used", "lost", "cancelled")},
        "discarded": int(line.clients["discarded"].sum()),
        **line.totals,
    }
    wrong = line.violations + broken_laws(totals) + _bytes_laws(line)
    facts = {
        **line.facts,
        "bytes_sent": dict(line.sent),
        "bytes_received": dict(line.received),
        "bytes_lost": dict(line.lost),
        "bytes_under_way": dict(line.under_way),
    }
    stopped = learned is not None and learned.stop is not None
    return FederatedRun(
        versions=versions,
        evaluations=_evaluations(line, learned, plan),
        clients=line.clients,
        staleness=line.staleness,
        weights=None if learned is None else learned.weights,
        totals=totals,
        end=line.end,
        ended=learned.why if stopped and learned is not None else line.ended,
        complete=line.complete if learned is None else line.complete and learned.complete,
        violations=wrong,
        log=line.log,
        facts=facts,
    )


def evaluated(plan: Plan, versions: int) -> list[int]:
    """The versions that are evaluated: the first, each `evaluate_every`-th and the last."""
    every = max(1, plan.evaluate_every)
    return sorted({0, versions, *range(0, versions + 1, every)})


def _evaluations(line: Timeline, learned: Learned | None, plan: Plan) -> dict[str, Array]:
    chosen = evaluated(plan, len(line.versions))
    if learned is not None:
        chosen = [version for version in chosen if version in learned.metrics]
    times = [0, *(row[1] for row in line.versions)]
    out: dict[str, Array] = {
        "version": np.array(chosen, np.int64),
        "time": np.array([times[v] for v in chosen], np.int64),
    }
    for place, name in enumerate(COST_COLUMNS):
        kind = np.int64 if name == "updates" else np.float64
        out[name] = np.array([line.costs[v][place] for v in chosen], kind)
    if learned is not None and chosen:
        for name in learned.metrics[chosen[0]]:
            out[name] = np.array([learned.metrics[v][name] for v in chosen])
    return out


def _bytes_laws(line: Timeline) -> list[str]:
    found = []
    for kind, sent in line.sent.items():
        parts = [part.get(kind, 0.0) for part in (line.received, line.lost, line.under_way)]
        if abs(sent - sum(parts)) > 1e-9 * max(sent, 1.0):
            found.append(
                f"bytes sent = received + lost + under way ({kind}): {sent:g} is not "
                + " + ".join(f"{part:g}" for part in parts)
            )
    return found


def measure(
    task: Task, mean: Array, models: Array | None, chosen: Sequence[int]
) -> dict[str, float]:
    """Metrics of the mean model; of peers' own models their mean (`peers_...`), and `consensus`:
    the root mean square distance of all models from the mean.

    Args:
        task: what is learned.
        mean: float64[d].
        models: float64[N, d] of all peers; None: there is only one model.
        chosen: peers whose models are evaluated.
    """
    with np.errstate(all="ignore"):
        found = dict(task.evaluate(mean))
        if models is None:
            return found
        own = [task.evaluate(models[peer]) for peer in chosen]
        for name in found:
            found_mean = float(np.mean([metrics[name] for metrics in own]))
            own[0][f"peers_{name}"] = found_mean
        found.update({key: value for key, value in own[0].items() if key.startswith("peers_")})
        apart = models - mean
        found["consensus"] = float(np.sqrt((apart * apart).sum(axis=1).mean()))
    return found
