"""MoDeST (Plexus): rounds of a sample of peers that everybody can work out, without a server.

De Vos et al., "Plexus: practical federated learning without a server", 2023 (MoDeST: Dhasade et
al., "Decentralized learning made practical with client sampling", 2023); the rules are those of the
code, sacs-epfl/plexus, dlsim/plexus/community.py.

- The sample of a round: the peers that a peer believes active, in the order of md5(peer "-" round);
  the first `sample` that answer a ping are participants, the first `aggregators` of the next
  round's order are aggregators. Participants of round 1 are drawn among those there.
- A participant trains, looks for the aggregators of round + 1 by pings (again after `ping_retry_s`,
  given up after `ping_timeout_s`; then the next in order), sends them its model, and is done when
  one says that the round is over. A model of a later round interrupts what it does.
- An aggregator averages when it has `sample * success` models, or at `timeout_s` after the first
  one if it has `sample * liveness`. Then it looks for the participants of the round, sends them the
  average, and tells those who sent theirs when all have it. Of several averages of one round a peer
  takes the first.
- Views travel with every model: the last round in which each peer was heard of, and its last change
  of membership. Peers not heard of for `inactive_rounds` are no longer asked. Who comes tells ten
  samples' worth of peers, who pass it on with their next model; who leaves by the rules
  (`graceful`) does so too, and an aggregator hands over. A crash tells nobody.

Any peer may send to any: samples are of all peers, and of the overlay only the latencies count (the
result's `facts["samples_of"]` says so). Messages other than models take the latency only. Models
(with a view) share the links of both ends in equal parts (`flows`), then take the latency. What has
begun to flow is lost if an end leaves; what is past that arrives unless the receiver is away.

A version is the first average of a round.

Where this differs from the code: a search ends when nobody asked is left (there it may hang if
fewer peers than wanted exist); a crash sends no word to participants; the highest round heard of
never falls; liveness is a share (the code read has a plain 3, its settings a share of 0.4). The
code's runs use inactive_rounds = 1000, its class 50.

Not modelled: the network layer below (IPv8), lost packets, peers that lie.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.errors import InputError
from mltwin.sim.eventlog import LOG

from .learner import Learner
from .modest_tables import (
    CANCELLED,
    DISCARDED,
    DONE,
    LOST,
    RUNNING,
    USED,
    ModestRaw,
    Training,
)
from .protocol import Protocol
from .timeline import Learned, Setting, Timeline, empty_columns

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Modest(Protocol):
    """MoDeST.

    Attributes:
        sample: participants of a round.
        aggregators: of a round.
        success: share of the sample whose models an aggregator waits for.
        liveness: share that will do when the time is over.
        timeout_s: that an aggregator waits after the first model.
        ping_timeout_s, ping_retry_s: see above.
        inactive_rounds: after which a peer not heard of is left out.
        graceful: peers that leave say so; otherwise they crash.
        fastest: of the sample, aggregators are those with the fastest uplinks.
        by_samples: averages weigh models by the data of their peers; otherwise all alike.
        message_bytes: of a ping, pong, word of the end of a round, or of who comes and leaves
            (an IPv8 packet: header, key, signature; our estimate).
        view_entry_bytes: of a peer in a view (a 74-byte key and three numbers; our estimate).
    """

    sample: int = 13
    aggregators: int = 1
    success: float = 0.8
    liveness: float = 0.4
    timeout_s: float = 300.0
    ping_timeout_s: float = 5.0
    ping_retry_s: float = 1.0
    inactive_rounds: int = 50
    graceful: bool = False
    fastest: bool = False
    by_samples: bool = False
    message_bytes: int = 180
    view_entry_bytes: int = 90

    @property
    def enough(self) -> int:
        """Models that an aggregator waits for."""
        return max(1, int(self.sample * self.success + 1e-9))

    @property
    def least(self) -> int:
        """Models that will do when the time is over."""
        return max(1, int(self.sample * self.liveness + 1e-9))

    def check(self, setting: Setting) -> None:
        """Raises InputError: numbers that cannot be, more in a sample than there are peers."""
        limits = {
            "sample": (self.sample, 1, setting.peers),
            "aggregators": (self.aggregators, 1, self.sample),
            "success": (self.success, 0.0, 1.0),
            "liveness": (self.liveness, 0.0, 1.0),
            "timeout_s": (self.timeout_s, 0.0, 1e9),
            "ping_timeout_s": (self.ping_timeout_s, 0.0, 1e9),
            "ping_retry_s": (self.ping_retry_s, 0.0, 1e9),
            "inactive_rounds": (self.inactive_rounds, 1, 2**31 - 2),
            "message_bytes": (self.message_bytes, 0, 2**31),
            "view_entry_bytes": (self.view_entry_bytes, 0, 2**31),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise InputError(
                    f"{name} is {value}",
                    where=f"protocol.{name}",
                    mend=f"give {low:g} to {high:g}",
                )
        if setting.plan.interruption != "drop" and (setting.clients.availability.trace >= 0).any():
            raise InputError(
                f"interruption = {setting.plan.interruption!r}: a peer of MoDeST that leaves drops "
                "what it does",
                where="plan.interruption",
                mend='set it to "drop"',
            )

    def timeline(self, setting: Setting, versions: int | None) -> Timeline:
        """Events until a limit of the plan, at most `versions`."""
        plan = setting.plan
        limits = [n for n in (versions, plan.versions) if n is not None]
        most = min(limits) if limits else None
        if setting.reference:
            from .modest_reference import ModestReference

            raw = ModestReference(self, setting, most, plan.updates).run()
        else:
            from .modest_engine import ModestEngine

            raw = ModestEngine(self, setting, most, plan.updates).run()
        return _timeline(setting, raw)

    def learn(self, setting: Setting, line: Timeline) -> Learned:
        """Train the members of each average, in the order of averages."""
        return _follow(self, setting, line.steps, Learner(setting, len(line.versions)))


def _timeline(setting: Setting, raw: ModestRaw) -> Timeline:
    clients = empty_columns(setting.peers)
    made = len(raw.costs)
    pending = 0
    for training in raw.trainings:
        if training.status == DONE:
            if training.round <= made:
                training.status = DISCARDED
            else:
                pending += 1
        _count(clients, training)
    clients["send_ticks"] += np.array(raw.sending)
    clients["receive_ticks"] += np.array(raw.receiving)
    clients["up_bytes"] += np.array(raw.up_bytes)
    clients["down_bytes"] += np.array(raw.down_bytes)
    firsts = [aggregate for aggregate in raw.aggregates if aggregate.first]
    versions = [
        (a.round, a.time, len(a.members), 0.0, 0, raw.in_flight[place])
        for place, a in enumerate(firsts)
    ]
    log = np.zeros(len(raw.log), LOG)
    for place, name in enumerate(LOG.names or ()):
        log[name] = [row[place] for row in raw.log]
    used = int(clients["used"].sum())
    return Timeline(
        versions=versions,
        costs=_costs(setting, raw, [a.time for a in firsts]),
        clients=clients,
        staleness=np.array([used]),
        totals={
            "pending": pending,
            "in_flight": sum(training.status == RUNNING for training in raw.trainings),
        },
        sent=raw.sent,
        received=raw.received,
        lost=raw.lost,
        under_way=raw.under_way,
        end=raw.end,
        ended=raw.ended,
        complete=raw.complete,
        steps=raw,
        log=log if setting.record else None,
        facts={
            "aggregates": len(raw.aggregates),
            "samples_of": "all peers: of the overlay only the latencies count, not the edges",
        },
    )


def _count(clients: dict[str, Array], training: Training) -> None:
    peer, status = training.peer, training.status
    clients["dispatches"][peer] += 1
    if status == RUNNING:
        return
    ticks = training.end - training.begin
    clients["compute_ticks"][peer] += ticks
    if status in (DONE, USED, DISCARDED):
        clients["arrived"][peer] += 1
    names = {USED: "used", DISCARDED: "discarded", LOST: "lost", CANCELLED: "cancelled"}
    if status in names:
        clients[names[status]][peer] += 1
    if status in (DISCARDED, LOST, CANCELLED):
        clients["wasted_ticks"][peer] += ticks


def _costs(setting: Setting, raw: ModestRaw, times: list[int]) -> list[tuple[Any, ...]]:
    """Costs at each version: trainings by the tick at which they ended."""
    ended = [t for t in raw.trainings if t.status != RUNNING]
    ended.sort(key=lambda training: training.end)
    at = np.array([t.end for t in ended], np.int64)
    ticks = np.array([t.end - t.begin for t in ended], np.float64)
    status = np.array([t.status for t in ended], np.int64)
    peer = np.array([t.peer for t in ended], np.int64)
    arrived = np.concatenate([[0], np.cumsum(np.isin(status, (DONE, USED, DISCARDED)))])
    wasted = np.where(np.isin(status, (LOST, CANCELLED, DISCARDED)), ticks, 0.0)
    wasted = np.concatenate([[0.0], np.cumsum(wasted)]) / TICKS_PER_S
    joules = setting.clients.compute_w[peer] * ticks
    joules = np.concatenate([[0.0], np.cumsum(joules)]) / TICKS_PER_S
    rows: list[tuple[Any, ...]] = [(0, 0.0, 0.0, 0.0, 0.0)]
    for time, (down, up, links) in zip(times, raw.costs, strict=True):
        place = int(np.searchsorted(at, time, side="right"))
        rows.append((int(arrived[place]), down, up, float(joules[place]) + links,
                     float(wasted[place])))  # fmt: skip
    return rows


def _follow(protocol: Modest, setting: Setting, raw: ModestRaw, learner: Learner) -> Learned:
    """Models by the number of their average; each is kept as long as something starts from it."""
    if learner.version(0, learner.initial):
        return learner.learned
    needed = {member for aggregate in raw.aggregates for member in aggregate.members}
    starts: dict[int, int] = {}
    for number in needed:
        held = raw.trainings[number].held
        starts[held] = starts.get(held, 0) + 1
    ends: dict[int, int] = {}
    for aggregate in raw.aggregates:
        for number in aggregate.members:
            ends[number] = ends.get(number, 0) + 1
    averages = {0: learner.initial}
    trained: dict[int, Array] = {}
    for number, aggregate in enumerate(raw.aggregates, 1):
        new = [member for member in aggregate.members if member not in trained]
        for held in sorted({raw.trainings[member].held for member in new}):
            same = [member for member in new if raw.trainings[member].held == held]
            _train(learner, raw, held, same, averages, trained)
            starts[held] -= len(same)
            if not starts[held]:
                del averages[held]
        weights = np.ones(len(aggregate.members))
        if protocol.by_samples:
            owners = [raw.trainings[member].peer for member in aggregate.members]
            weights = setting.clients.samples[owners].astype(np.float64)
        models = np.stack([trained[member] for member in aggregate.members])
        mean = (models * (weights / weights.sum())[:, None]).sum(axis=0)
        for member in aggregate.members:
            ends[member] -= 1
            if not ends[member]:
                del trained[member]
        if starts.get(number):
            averages[number] = mean
        if aggregate.first and learner.version(aggregate.round, mean):
            break
    return learner.learned


def _train(
    learner: Learner,
    raw: ModestRaw,
    held: int,
    members: list[int],
    averages: dict[int, Array],
    trained: dict[int, Array],
) -> None:
    chosen = [raw.trainings[member] for member in members]
    start = averages[held]
    made = learner.train(
        np.tile(start, (len(members), 1)),
        np.array([training.peer for training in chosen]),
        np.array([training.dispatch for training in chosen]),
        chosen[0].round - 1,
    )
    trained.update(zip(members, start + made, strict=True))
