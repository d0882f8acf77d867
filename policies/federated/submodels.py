"""Smaller models for weaker clients: nested, rolling, and chosen by a bandit.

What travels is the sub-model itself, 4 bytes a parameter; its compute time is that of the full
model times its share of the parameters. So a codec or an attack has no place in these runs.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mltwin.models.federation.hooks import TICKS_PER_S, Array, Arrivals, Clients, Plan, Server
from mltwin.sim.errors import InputError

from .covering import averaged, part, trained
from .limits import one_of, within
from .registry import named
from .synchronous import Rounds, learns, step_size

ASSIGNMENTS = ("speed", "turn")


@named(
    "strategy",
    "heterofl",
    source="HeteroFL: Diao, Ding and Tarokh, arXiv 2010.01264, equation 1; levels 0.75^k as in "
    "FedConv's code (Shen et al., arXiv 2502.20639)",
)
@dataclass
class HeteroFl(Rounds):
    """Nested sub-models: each client trains the first units of every hidden layer.

    Each parameter becomes the mean over the clients that have it. The paper's scaler, masked
    cross-entropy and static batch norm are left out.

    Attributes:
        shares: of units that the levels have, falling.
        assign: who has which level: "speed": the fastest clients the first level, in groups of
            equal size; "turn": client i has level i modulo their number.
    """

    shares: tuple[float, ...] = (1.0, 0.75, 0.5625)
    assign: str = "speed"
    _level: Any = field(init=False, repr=False, default=None)
    _masks: dict[tuple[int, int], Array] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.shares = tuple(self.shares)
        one_of(self, "assign", ASSIGNMENTS)
        if not self.shares or not all(0.0 < share <= 1.0 for share in self.shares):
            raise InputError(f"shares are {self.shares}", mend="give numbers above 0, at most 1")

    def check(self, clients: Clients, plan: Plan) -> None:
        """As rounds; levels are dealt (InputError)."""
        super().check(clients, plan)
        count = len(self.shares)
        if self.assign == "turn":
            self._level = np.arange(len(clients)) % count
        else:
            order = np.argsort(clients.s_per_sample, kind="stable")
            self._level = np.empty(len(clients), np.int64)
            self._level[order] = np.arange(len(clients)) * count // len(clients)

    def reset(self, server: Server) -> None:
        """Forget an earlier run; refuse what does not go together (InputError)."""
        self._masks = {}
        policies = getattr(server, "policies", None)
        for what in ("codec", "attack", "combine"):
            if policies is not None and getattr(policies, what) is not None:
                raise InputError(
                    f"sub-models cannot go with this {what}", where=what, mend="leave it out"
                )

    def levels(self, server: Server, chosen: Array) -> Array:
        """int64[n], the level of each client of a round."""
        return np.asarray(self._level[chosen])

    def offset(self, number: int) -> int:
        """The first unit of the sub-models of a round."""
        return 0

    def mask(self, server: Server, level: int, number: int) -> Array:
        """bool[d], the parameters of a level in a round."""
        key = level, self.offset(number)
        if key not in self._masks:
            self._masks[key] = part(server.task, self.shares[level], key[1])
        return self._masks[key]

    def cost(self, server: Server, level: int, number: int) -> float:
        """Parameters of a level over those of the model; its share of units where there is none."""
        if not learns(server):
            return self.shares[level]
        return float(self.mask(server, level, number).mean())

    def send(self, server: Server, chosen: Array) -> None:
        """Sub-models to the clients of a round; their level is the tag."""
        levels = self.levels(server, chosen)
        number = self._round
        costs = {k: self.cost(server, k, number) for k in np.unique(levels).tolist()}
        share = np.array([costs[k] for k in levels.tolist()])
        size = server.plan.model_bytes
        whole = 4.0 * len(server.weights) if size is None else size
        server.dispatch(
            chosen, tags=levels, scale=share, down_bytes=share * whole, up_bytes=share * whole
        )

    def learned(self, server: Server, done: Arrivals, drop: Array) -> None:
        """What came of each level: by how much the loss fell in the local steps."""

    def _step(self, server: Server, done: Arrivals) -> None:
        if not learns(server) or not len(done):
            server.step(None if not learns(server) else np.zeros(len(server.weights)), used=done)
            return
        masks = np.array([self.mask(server, k, self._round) for k in done.tag.tolist()])
        updates, drop = trained(server, done, masks, step_size(server.plan, server.version))
        if server.selection is not None:
            server.selection.report(server, done, updates)
        self.learned(server, done, drop)
        weights = np.ones(len(done)) if self.equal else server.clients.samples[done.client]
        change = self.server_lr * averaged(weights.astype(np.float64), masks, updates.delta)
        server.step(change, used=done)


@named("strategy", "fedrolex", source="FedRolex: Alam et al., arXiv 2212.01548, section 3")
@dataclass
class FedRolex(HeteroFl):
    """Rolling sub-models: the window of units moves by one each round, so all get trained."""

    def offset(self, number: int) -> int:
        """The round."""
        return number


@named(
    "strategy",
    "fedspine",
    source="FedSpine: Yao et al., arXiv 2501.02438, the abstract (an online bandit over pruning "
    "ratios); index UCB1: Auer, Cesa-Bianchi and Fischer 2002, figure 1",
)
@dataclass
class FedSpine(HeteroFl):
    """Each client's sub-model is an arm of its own bandit; reward is loss that falls per second.

    Arm a of client i has the index mean + c sqrt(2 ln t / n), t the client's plays and n those of
    the arm; each is played once first. The reward of a dispatch is (loss of the first step - loss
    of the last) / seconds that the client worked; means are divided by the greatest of the client's
    arms. That form, nested units as pruning and the absence of LoRA ranks are ours: only the idea
    of the bandit could be read.

    Attributes:
        exploration: c.
    """

    shares: tuple[float, ...] = (1.0, 0.75, 0.5, 0.25)
    exploration: float = 0.5
    _plays: Any = field(init=False, repr=False, default=None)
    _reward: Any = field(init=False, repr=False, default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, exploration=(0, 100))

    def reset(self, server: Server) -> None:
        """No plays. Raises InputError: there is no model, so no loss to learn from."""
        super().reset(server)
        if not learns(server):
            raise InputError("its bandit learns from losses: it needs a model", where="fedspine")
        shape = len(server.clients), len(self.shares)
        self._plays, self._reward = np.zeros(shape, np.int64), np.zeros(shape)

    def levels(self, server: Server, chosen: Array) -> Array:
        """int64[n], the arms of greatest index; the first of equals."""
        return np.array([self.arm(client) for client in chosen.tolist()], np.int64)

    def arm(self, client: int) -> int:
        """The arm of greatest index of a client."""
        plays, reward = self._plays[client], self._reward[client]
        if not plays.all():
            return int(np.argmin(plays > 0))
        means = reward / plays
        top = max(float(np.abs(means).max()), 1e-300)
        wide = np.sqrt(2.0 * math.log(plays.sum()) / plays)
        return int(np.argmax(means / top + self.exploration * wide))

    def learned(self, server: Server, done: Arrivals, drop: Array) -> None:
        """A play of each client's arm."""
        spent = done.arrived - done.sent if done.spent is None else done.spent
        rate = drop / np.maximum(spent / TICKS_PER_S, 1e-9)
        self._plays[done.client, done.tag] += 1
        self._reward[done.client, done.tag] += rate
