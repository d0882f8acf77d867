"""Match-making: who learns from whom is chosen by a bandit, round by round (after KNEXA-FL).

Singh et al., "Learning to collaborate: an orchestrated-decentralized framework for peer-to-peer LLM
federation", AAAI 2026 (KNEXA-FL). A matchmaker sees profiles of peers and how much each exchange
helped, never a model, and pairs peers by LinUCB (Li et al., "A contextual-bandit approach to
personalized news article recommendation", 2010, algorithm 1): with x the profiles of student and
teacher side by side, it takes disjoint pairs of the largest

    theta' x + beta sqrt(x' A^-1 x),   A = lambda I + sum x x',   theta = A^-1 sum reward x,

beta = beta_0 / sqrt(round), as FujitsuResearch/knexa-fl, knexa_fl/cpm/linucb.py does.

Taken from that code: the bandit, the greedy choice of pairs, the profile's kinds of feature (size
and performance in five classes, trust, share of exchanges that helped, all scaled to 1), the reward
(improvement, with Laplace noise, clipped to 1). Not taken: what is exchanged. There language models
of different make distil from each other's text; here all peers have one model, and the student
mixes in the teacher's weights. The code pairs (i, j) with i < j only, so that peer 0 never teaches;
here each peer of a pair may be the student. None of the paper's figures has been reproduced.

A teacher may send to a student along an edge of the overlay, of any of its phases. A round begins
when all have ended the last one: all train, send their profile, are paired; the
teacher's model (or `exchange_bytes`) goes to the student at min(up, down) plus latency.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.tables import TICKS_PER_S
from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import PEERS, PRIVACY, uniforms

from .learner import Learner
from .protocol import Protocol
from .timeline import Learned, Setting, Timeline, empty_columns
from .work import base_seconds, compute_ticks, failed_at

Array = npt.NDArray[Any]

MATCHES = ("linucb", "random")
JUDGES = ("held_out", "own")
FEATURES = 5
_MOST_PEERS = 3000
_RANDOM = 3 * 10**9
"""Counter of the draws of random pairs, apart from other draws of that stream."""


@dataclass(frozen=True)
class Matchmaking(Protocol):
    """Exchange partners by a bandit on improvement.

    Attributes:
        pairs: of a round at most; 0: as many as there are halves.
        match: "linucb" or "random" (what it is compared with).
        judge: an exchange helps if the student's loss falls on "held_out" data (the task's; as a
            common validation set; a study then needs other data to report on), or on its "own",
            which it has just trained on and which nearly every exchange harms.
        mix: share of the teacher's model in what the student goes on with.
        only_better: the student drops an exchange that does not help.
        beta, ridge: beta_0 and lambda.
        noise: scale of the Laplace noise on a reward.
        exchange_bytes: of what a teacher sends; None: the model.
        profile_bytes: that each peer sends to the matchmaker in a round.
    """

    pairs: int = 0
    match: str = "linucb"
    judge: str = "held_out"
    mix: float = 0.5
    only_better: bool = False
    beta: float = 1.0
    ridge: float = 1.0
    noise: float = 0.01
    exchange_bytes: float | None = None
    profile_bytes: float = 64.0

    def check(self, setting: Setting) -> None:
        """Raises InputError: no model, numbers out of range, peers that leave."""
        if not setting.learns:
            raise InputError(
                "matches are made by what peers learn, and there is no model", where="protocol"
            )
        if self.match not in MATCHES:
            raise InputError(
                f"unknown match {self.match!r}: {', '.join(MATCHES)}", where="protocol.match"
            )
        if self.judge not in JUDGES:
            raise InputError(
                f"unknown judge {self.judge!r}: {', '.join(JUDGES)}", where="protocol.judge"
            )
        if setting.peers > _MOST_PEERS:
            raise InputError(
                f"{setting.peers} peers: all pairs of at most {_MOST_PEERS}", where="protocol"
            )
        limits = {
            "pairs": (self.pairs, 0, setting.peers),
            "mix": (self.mix, 0.0, 1.0),
            "beta": (self.beta, 0.0, 1e6),
            "ridge": (self.ridge, 1e-9, 1e9),
            "noise": (self.noise, 0.0, 1e6),
            "exchange_bytes": (self.exchange_bytes or 0.0, 0.0, 1e18),
            "profile_bytes": (self.profile_bytes, 0.0, 1e18),
        }
        for name, (value, low, high) in limits.items():
            if not low <= value <= high:
                raise InputError(
                    f"{name} is {value}",
                    where=f"protocol.{name}",
                    mend=f"give {low:g} to {high:g}",
                )
        leaves = (setting.clients.availability.trace >= 0).any()
        if leaves and setting.plan.interruption != "finish":
            raise InputError(
                "rounds of match-making wait for all peers, and here some leave",
                where="protocol",
                mend='interruption = "finish" lets them stay',
            )

    def timeline(self, setting: Setting, versions: int | None) -> Timeline:
        """Rounds, with what was learned in them: pairs depend on it."""
        return _Match(self, setting).run(versions)

    def learn(self, setting: Setting, line: Timeline) -> Learned:
        """What the rounds learned."""
        learned: Learned = line.steps
        return learned


class LinUCB:
    """The bandit: scores of pairs and what rewards taught.

    Args:
        features: of a profile; contexts have twice as many.
        beta, ridge: see the module.
    """

    def __init__(self, features: int, beta: float, ridge: float) -> None:
        self.beta = beta
        self.gram = np.eye(2 * features) * ridge
        self.sum = np.zeros(2 * features)

    def scores(self, profiles: Array, number: int) -> Array:
        """float64[N, N], the score of student i with teacher j in round `number` (from 1)."""
        half = profiles.shape[1]
        inverse = np.linalg.inv(self.gram)
        theta = inverse @ self.sum
        mean = (profiles @ theta[:half])[:, None] + (profiles @ theta[half:])[None, :]
        one = ((profiles @ inverse[:half, :half]) * profiles).sum(1)
        two = ((profiles @ inverse[half:, half:]) * profiles).sum(1)
        cross = profiles @ inverse[:half, half:] @ profiles.T
        width = np.sqrt(np.maximum(one[:, None] + two[None, :] + 2.0 * cross, 0.0))
        return mean + self.beta / np.sqrt(number) * width

    def update(self, student: Array, teacher: Array, reward: float) -> None:
        """A pair of profiles had a reward."""
        x = np.concatenate([student, teacher])
        self.gram += np.outer(x, x)
        self.sum += reward * x


def disjoint_pairs(scores: Array, allowed: Array, most: int) -> Array:
    """int64[n, 2], student and teacher of the best pairs, greedily, each peer in one at most.

    Equal scores in the order of student, then teacher.
    """
    count = len(scores)
    flat = np.where(allowed, scores, -np.inf).ravel()
    order = np.argsort(-flat, kind="stable")[: int(allowed.sum())]
    taken = np.zeros(count, bool)
    found = []
    for place in order.tolist():
        student, teacher = divmod(place, count)
        if taken[student] or taken[teacher]:
            continue
        taken[student] = taken[teacher] = True
        found.append((student, teacher))
        if len(found) >= most:
            break
    return np.array(found, np.int64).reshape(-1, 2)


class _Match:
    """The loop over rounds."""

    def __init__(self, protocol: Matchmaking, setting: Setting) -> None:
        self.rule, self.setting = protocol, setting
        count = setting.peers
        self.columns = empty_columns(count)
        self.bandit = LinUCB(FEATURES, protocol.beta, protocol.ridge)
        self.trust = np.full(count, 5)
        self.helped, self.exchanges = np.zeros(count), np.zeros(count)
        self.allowed = np.zeros((count, count), bool)
        for edges in setting.overlay.phases:
            self.allowed[edges.to, edges.source] = True
        self.size_class = _classes(setting.clients.samples.astype(np.float64))
        self.base_s = base_seconds(setting.clients, setting.plan)
        self.own, self.site, self.between = setting.overlay.latency_ticks(setting.clients.latency_s)
        self.joules = self.sent = 0.0
        self.now = 0
        self.rewards: list[float] = []

    def run(self, limit: int | None) -> Timeline:
        """Rounds until a limit."""
        plan = self.setting.plan
        limits = [n for n in (limit, plan.versions) if n is not None]
        most = min(limits) if limits else None
        learner = Learner(self.setting, most)
        models = np.tile(learner.initial, (self.setting.peers, 1))
        versions: list[tuple[Any, ...]] = []
        costs = [self._costs()]
        ended = f"version {most} was made, the last one asked for"
        learner.version(0, models)
        while len(versions) != most and learner.learned.stop is None:
            if plan.updates is not None and self.columns["arrived"].sum() >= plan.updates:
                ended = f"{plan.updates} updates have come"
                break
            made = self._round(len(versions), models, learner)
            if made is None:
                ended, self.now = f"{plan.until_s:g} s are over", self.setting.until
                break
            models, used = made
            versions.append((len(versions) + 1, self.now, used, 0.0, 0, 0))
            costs.append(self._costs())
            learner.version(len(versions), models)
        last = len(versions)
        if learner.learned.stop is None and last not in learner.learned.metrics:
            learner.last = last
            learner.version(last, models)
        nothing = {"exchange": 0.0, "profile": 0.0}
        profiles = last * self.setting.peers * self.rule.profile_bytes
        sent = {"exchange": self.sent, "profile": profiles}
        return Timeline(
            versions=versions,
            costs=costs,
            clients=self.columns,
            staleness=np.array([int(self.columns["used"].sum())]),
            totals={"pending": 0, "in_flight": 0},
            sent=sent,
            received=sent,
            lost=nothing,
            under_way=nothing,
            end=self.now,
            ended=ended,
            complete=True,
            steps=learner.learned,
            facts={"rewards": self.rewards},
        )

    def _costs(self) -> tuple[Any, ...]:
        c = self.columns
        wasted = float(c["wasted_ticks"].sum() / TICKS_PER_S)
        down, up = float(c["down_bytes"].sum()), float(c["up_bytes"].sum())
        return int(c["arrived"].sum()), down, up, self.joules, wasted

    def _round(self, number: int, models: Array, learner: Learner) -> tuple[Array, int] | None:
        setting, clients = self.setting, self.setting.clients
        dispatch = self.columns["dispatches"].copy()
        ticks = compute_ticks(clients, setting.plan, setting.seed, self.base_s, dispatch)
        fails = failed_at(clients, setting.seed, dispatch, ticks)
        spent = np.where(fails >= 0, fails, ticks)
        made = learner.train(models, np.arange(setting.peers), dispatch, number)
        made[fails >= 0] = 0.0
        models = models + made
        losses = np.array([self._loss(learner, p, model) for p, model in enumerate(models)])
        profiles = self._profiles(losses)
        pairs = self._pairs(number, profiles)
        size = setting.model_bytes
        if self.rule.exchange_bytes is not None:
            size = self.rule.exchange_bytes
        student, teacher = pairs[:, 0], pairs[:, 1]
        rate = np.minimum(clients.up_bytes_per_s[teacher], clients.down_bytes_per_s[student])
        busy = np.ceil(size / rate * TICKS_PER_S).astype(np.int64)
        latency = self.own[student] + self.own[teacher]
        latency += self.between[self.site[teacher], self.site[student]]
        end = self.now + int(spent.max()) + int((busy + latency).max(initial=0))
        if end > setting.until:
            return None
        self.now = end
        self._exchange(number, models, losses, profiles, pairs, learner)
        self._count(spent, fails >= 0, student, teacher, busy, size)
        return models, int((fails < 0).sum())

    def _loss(self, learner: Learner, peer: int, model: Array) -> float:
        """By which an exchange is judged."""
        if self.rule.judge == "own":
            return float(learner.task.losses(model, np.array([peer]))[0])
        return float(learner.task.evaluate(model)["loss"])

    def _profiles(self, losses: Array) -> Array:
        """float64[N, 5]."""
        rate = self.helped / np.maximum(1.0, self.exchanges)
        performance = _classes(-losses)
        one = np.ones(len(rate))
        return np.stack([self.size_class, performance, self.trust / 10.0, rate, one], axis=1)

    def _pairs(self, number: int, profiles: Array) -> Array:
        count = self.setting.peers
        most = self.rule.pairs or count // 2
        if self.rule.match == "linucb":
            scores = self.bandit.scores(profiles, number + 1)
        else:
            everyone = np.arange(count)
            scores = uniforms(
                self.setting.seed, PEERS, everyone[:, None], _RANDOM + number * count + everyone
            )
        return disjoint_pairs(scores, self.allowed, most)

    def _exchange(
        self,
        number: int,
        models: Array,
        losses: Array,
        profiles: Array,
        pairs: Array,
        learner: Learner,
    ) -> None:
        """Students mix in their teacher's model; the bandit hears how much it helped."""
        before = models.copy()
        u = uniforms(self.setting.seed, PRIVACY, pairs[:, 0], number) - 0.5
        noise = -self.rule.noise * np.sign(u) * np.log1p(-2.0 * np.abs(u))
        rewards = []
        for place, (student, teacher) in enumerate(pairs.tolist()):
            mixed = (1.0 - self.rule.mix) * before[student] + self.rule.mix * before[teacher]
            gain = float(losses[student]) - self._loss(learner, student, mixed)
            if not np.isfinite(gain):
                gain = -1.0
            self.exchanges[student] += 1
            self.helped[student] += gain > 0
            step = 1 if gain > 0 else -1
            self.trust[student] = min(10, max(0, self.trust[student] + step))
            reward = float(np.clip(gain + noise[place], -1.0, 1.0))
            self.bandit.update(profiles[student], profiles[teacher], reward)
            rewards.append(gain)
            if gain > 0 or not self.rule.only_better:
                models[student] = mixed
        self.rewards.append(float(np.mean(rewards)) if rewards else 0.0)

    def _count(
        self, spent: Array, lost: Array, student: Array, teacher: Array, busy: Array, size: float
    ) -> None:
        c, clients = self.columns, self.setting.clients
        c["dispatches"] += 1
        c["arrived"] += ~lost
        c["used"] += ~lost
        c["lost"] += lost
        c["compute_ticks"] += spent
        c["wasted_ticks"] += np.where(lost, spent, 0)
        c["send_ticks"][teacher] += busy
        c["receive_ticks"][student] += busy
        c["up_bytes"][teacher] += size
        c["up_bytes"] += self.rule.profile_bytes
        c["down_bytes"][student] += size
        self.sent += size * len(student)
        watts = float((clients.compute_w * spent).sum())
        watts += float((clients.send_w[teacher] * busy).sum())
        watts += float((clients.receive_w[student] * busy).sum())
        self.joules += watts / TICKS_PER_S


def _classes(values: Array) -> Array:
    """float64[N] in {0.2, ..., 1}: the fifth of all peers that a value is in."""
    rank = np.argsort(np.argsort(values, kind="stable"), kind="stable")
    return (1 + 5 * rank // max(1, len(values))) / 5.0
