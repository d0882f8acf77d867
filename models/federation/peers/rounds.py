"""D-PSGD: rounds in which every peer trains and averages with its neighbours.

Lian et al., "Can decentralized algorithms outperform centralized algorithms?", NeurIPS 2017,
algorithm 1, and its variant that sends what training made (adapt, then combine), which is the
baseline of Plexus (de Vos et al., 2023; dlsim/dl/community.py).

With a local barrier there is nothing to simulate event by event. Peer i begins round r at T_i(r),
trains until C_i(r) = T_i(r) + compute_i(r), and begins the next one when it has trained and has the
models of all who send to it:

    T_i(r+1) = max(C_i(r), max_j [C_j(r) + transfer_ji(r)])        (T_j in place of C_j: `overlap`)
    transfer_ji = latency_ji + bytes / min(up_j / sent_j, down_i / received_i)

a linear system over (max, +). All transfers of a peer in a round count as simultaneous. A version
is made when the last peer has ended its round; what others did beyond is left out of all counts.

With `round_s` a coordinator starts a round every so many seconds instead (as Plexus simulates it):
who is away does not take part, and what is not there by the end of the round is lost. The weight of
a model that did not come goes to the peer's own.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.errors import InputError

from .learner import Learner
from .mixing import WEIGHTS, Mixing, mixing
from .overlay import Edges
from .presence import NEVER, PeerPresence
from .protocol import Protocol
from .timeline import Learned, Setting, Timeline, empty_columns
from .work import base_seconds, compute_ticks, failed_at

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class DPSGD(Protocol):
    """Synchronous averaging with neighbours.

    Attributes:
        weights: of what is averaged: "metropolis" or "uniform".
        overlap: a round sends the models it begins with while it trains, and adds what training
            made to the average: x <- W x + D(x) (Lian et al.). Otherwise x <- W (x + D(x)).
        round_s: seconds from round to round, by a coordinator; None: peers wait for neighbours.
    """

    weights: str = "metropolis"
    overlap: bool = False
    round_s: float | None = None

    def check(self, setting: Setting) -> None:
        """Raises InputError: unknown weights, weights that the overlay cannot have, peers that
        leave while others wait for them."""
        if self.weights not in WEIGHTS:
            raise InputError(
                f"unknown weights {self.weights!r}: {', '.join(WEIGHTS)}", where="protocol.weights"
            )
        if self.round_s is not None and not 0 < self.round_s < 1e9:
            raise InputError(f"rounds of {self.round_s} s", where="protocol.round_s")
        leaves = (setting.clients.availability.trace >= 0).any()
        if self.round_s is None and leaves and setting.plan.interruption != "finish":
            raise InputError(
                "peers of D-PSGD wait for their neighbours, and here some leave",
                where="protocol",
                mend='give round_s, or interruption = "finish" to let them stay',
            )

    def timeline(self, setting: Setting, versions: int | None) -> Timeline:
        """Rounds until a limit of the plan, at most `versions`."""
        return _Rounds(self, setting).run(versions)

    def learn(self, setting: Setting, line: Timeline) -> Learned:
        """Train and mix round by round."""
        learner = Learner(setting, len(line.versions))
        everyone = np.arange(setting.peers)
        models = np.tile(learner.initial, (setting.peers, 1))
        done = learner.version(0, models)
        for number, step in enumerate(line.steps):
            if done:
                break
            made = learner.train(models, everyone, step.dispatch, number)
            made[~step.trained] = 0.0
            mixed = step.mix.apply(models if self.overlap else models + made)
            models = mixed + made if self.overlap else mixed
            done = learner.version(number + 1, models)
        return learner.learned


@dataclass(frozen=True, eq=False)
class Step:
    """What learning needs of a round: who trained (bool[N], with the number of the dispatch) and
    how models mix."""

    trained: Array
    dispatch: Array
    mix: Mixing


class _Phase:
    """Edges of a phase with their transfer times."""

    def __init__(self, setting: Setting, edges: Edges, weights: str) -> None:
        clients, overlay = setting.clients, setting.overlay
        self.sender, self.receiver = edges.source, edges.to
        self.mix = mixing(edges, weights)
        self.weight = np.asarray(self.mix.matrix[self.receiver, self.sender]).ravel()
        up = clients.up_bytes_per_s[self.sender] / edges.out_degree[self.sender]
        down = clients.down_bytes_per_s[self.receiver] / edges.in_degree[self.receiver]
        seconds = setting.model_bytes / np.minimum(up, down)
        self.busy = np.ceil(seconds * TICKS_PER_S).astype(np.int64)
        own, site, between = overlay.latency_ticks(clients.latency_s)
        latency = own[self.sender] + own[self.receiver]
        latency += between[site[self.sender], site[self.receiver]]
        self.transfer = self.busy + latency
        count = setting.peers
        self.send = np.zeros(count, np.int64)
        self.receive = np.zeros(count, np.int64)
        np.maximum.at(self.send, self.sender, self.busy)
        np.maximum.at(self.receive, self.receiver, self.busy)

    def masked(self, came: Array) -> Mixing:
        """The mixing matrix where only some edges brought their model."""
        if came.all():
            return self.mix
        from scipy.sparse import coo_array

        lost = np.flatnonzero(~came)
        count = self.mix.matrix.shape[0]
        rows = np.concatenate([self.receiver[lost], self.receiver[lost]])
        others = np.concatenate([self.sender[lost], self.receiver[lost]])
        values = np.concatenate([-self.weight[lost], self.weight[lost]])
        change = coo_array((values, (rows, others)), shape=(count, count)).tocsr()
        whole = (self.mix.matrix + change).tocsr()
        whole.sort_indices()
        return Mixing(whole, False)


class _Rounds:
    """The loop over rounds."""

    def __init__(self, protocol: DPSGD, setting: Setting) -> None:
        self.protocol, self.setting = protocol, setting
        self.phases = [_Phase(setting, edges, protocol.weights) for edges in setting.overlay.phases]
        self.columns = empty_columns(setting.peers)
        self.joules = 0.0
        self.lost = self.sent = 0.0
        self.at = np.zeros(setting.peers, np.int64)
        self.base_s = base_seconds(setting.clients, setting.plan)
        self.presence = PeerPresence(setting.clients.availability)
        stays = setting.plan.interruption == "finish" or protocol.round_s is None
        comes = np.zeros_like(self.at) if not stays else np.full_like(self.at, NEVER)
        self.change = np.where(setting.clients.availability.trace < 0, NEVER, comes)
        """When each peer comes or leaves next."""
        self.here = np.ones(setting.peers, bool)

    def run(self, limit: int | None) -> Timeline:
        """All rounds."""
        setting, plan = self.setting, self.setting.plan
        limits = [n for n in (limit, plan.versions) if n is not None]
        most = min(limits) if limits else 10**9
        versions: list[tuple[Any, ...]] = []
        costs = [self._costs()]
        steps: list[Step] = []
        ended = f"version {most} was made, the last one asked for"
        end = 0
        while len(versions) < most:
            if plan.updates is not None and self.columns["arrived"].sum() >= plan.updates:
                ended = f"{plan.updates} updates have come"
                break
            made = self._round(len(versions))
            if made is None:
                ended, end = f"{plan.until_s:g} s are over", setting.until
                break
            step, end = made
            steps.append(step)
            used = int(step.trained.sum())
            versions.append((len(versions) + 1, end, used, 0.0, 0, 0))
            costs.append(self._costs())
        kinds = [{"model": value} for value in (self.sent, self.sent - self.lost, self.lost, 0.0)]
        return Timeline(
            versions=versions,
            costs=costs,
            clients=self.columns,
            staleness=np.array([int(self.columns["used"].sum())]),
            totals={"pending": 0, "in_flight": 0},
            sent=kinds[0],
            received=kinds[1],
            lost=kinds[2],
            under_way=kinds[3],
            end=end,
            ended=ended,
            complete=True,
            steps=steps,
        )

    def _costs(self) -> tuple[Any, ...]:
        c = self.columns
        wasted = float(c["wasted_ticks"].sum() / TICKS_PER_S)
        down, up = float(c["down_bytes"].sum()), float(c["up_bytes"].sum())
        return int(c["arrived"].sum()), down, up, self.joules, wasted

    def _round(self, number: int) -> tuple[Step, int] | None:
        """A round and when its last peer ends it; None if that is too late, and nothing counts."""
        setting, clients = self.setting, self.setting.clients
        phase = self.phases[number % len(self.phases)]
        slot = self.protocol.round_s
        begin = self.at
        dispatch = self.columns["dispatches"].copy()
        ticks = compute_ticks(clients, setting.plan, setting.seed, self.base_s, dispatch)
        fails = failed_at(clients, setting.seed, dispatch, ticks)
        takes_part = np.ones(setting.peers, bool)
        leaves = np.full(setting.peers, np.iinfo(np.int64).max)
        if slot is not None:
            length = max(1, round(slot * TICKS_PER_S))
            begin = np.full(setting.peers, number * length, np.int64)
            takes_part = self._there(number * length)
            leaves = np.minimum(self.change, begin + length)
        spent = np.minimum(np.where(fails >= 0, fails, ticks), leaves - begin)
        trained = takes_part & (fails < 0) & (begin + ticks <= leaves)
        ready = begin + spent
        start = (begin if self.protocol.overlap else ready)[phase.sender]
        there = start + phase.transfer
        if slot is None:
            sends = np.ones(len(there), bool)
            came = sends
            end = ready.copy()
            np.maximum.at(end, phase.receiver, there)
            self_end = int(end.max())
        else:
            able = takes_part if self.protocol.overlap else trained
            sends = able[phase.sender]
            came = sends & takes_part[phase.receiver]
            came &= (there <= leaves[phase.sender]) & (there <= leaves[phase.receiver])
            end = begin + length
            self_end = int(end[0])
        if self_end > setting.until:
            return None
        self.at = end
        self._count(phase, takes_part, trained, spent, sends, came)
        return Step(trained, dispatch, phase.masked(came)), self_end

    def _there(self, now: int) -> Array:
        """bool[N], who is there."""
        for peer in np.flatnonzero(self.change <= now):
            self.here[peer] = self.presence.here(int(peer), now)
            self.change[peer] = self.presence.next_change(int(peer), now)
        return self.here.copy()

    def _count(
        self,
        phase: _Phase,
        takes_part: Array,
        trained: Array,
        spent: Array,
        sends: Array,
        came: Array,
    ) -> None:
        c, clients, size = self.columns, self.setting.clients, self.setting.model_bytes
        count = self.setting.peers
        spent = np.where(takes_part, spent, 0)
        lost = takes_part & ~trained
        sending = np.zeros(count, np.int64)
        receiving = np.zeros(count, np.int64)
        np.maximum.at(sending, phase.sender[sends], phase.busy[sends])
        np.maximum.at(receiving, phase.receiver[came], phase.busy[came])
        sent = np.bincount(phase.sender[sends], minlength=count) * size
        received = np.bincount(phase.receiver[came], minlength=count) * size
        for name, values in (
            ("dispatches", takes_part),
            ("arrived", trained),
            ("used", trained),
            ("lost", lost),
            ("compute_ticks", spent),
            ("wasted_ticks", np.where(lost, spent, 0)),
            ("send_ticks", sending),
            ("receive_ticks", receiving),
            ("up_bytes", sent),
            ("down_bytes", received),
        ):
            c[name] += values
        self.sent += float(sent.sum())
        self.lost += float(sent.sum() - received.sum())
        watts = clients.compute_w * spent + clients.send_w * sending
        self.joules += float((watts + clients.receive_w * receiving).sum() / TICKS_PER_S)
