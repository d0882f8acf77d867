"""Tables of the routing model: contexts, rewards and costs in, choices out."""

import math
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.world import World, world_type

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

CONTROLLERS = ("polar", "polar_plus", "lru", "lfu", "static", "popular", "oracle")
"""What decides which adapters are resident, by name; the place is the code in the kernel."""
POLAR, POLAR_PLUS, LRU, LFU, STATIC, POPULAR, ORACLE = range(len(CONTROLLERS))

G_NAMES = (
    *("round", "controller", "aware", "d", "adapters", "epoch", "epoch_start", "epoch_length"),
    *("epochs", "forced_left", "forced_next", "window", "hits", "pagings", "swaps"),
)
G = {name: place for place, name in enumerate(G_NAMES)}
F_NAMES = ("bonus", "exploration")
F = {name: place for place, name in enumerate(F_NAMES)}

_FLOATS = (
    *("contexts", "means", "rewards", "cost", "inverse", "moment", "theta", "scratch", "paid"),
    *("values", "gain", "covered", "f"),
)
_INTS = ("chosen", "resident", "proposed", "last", "count", "g")
WORLD = world_type(
    {
        **dict.fromkeys(_FLOATS, np.dtype(np.float64)),
        **dict.fromkeys(_INTS, np.dtype(np.int64)),
    }
)


@dataclass(frozen=True, eq=False)
class RoutingInput:
    """T requests to be routed to one of N adapters.

    Attributes:
        contexts: float64[T, d] what the router sees of each request.
        means: float64[T, N] expected reward of each adapter.
        rewards: float64[T, N] the reward that is observed if it is chosen.
        cost: float64[N] price of paging an adapter, in units of reward.
        capacity: K, adapters that may be resident.
        start: int64[K] adapters that are resident at first.
        controller: place in `CONTROLLERS`.
        aware: whether the router counts the price of paging when it chooses.
        bonus: factor on the width of the confidence bound.
        ridge: added to the diagonal of each adapter's moments.
        epoch: requests of an epoch; of the first one where they double.
        exploration: forced rounds of an epoch of E requests are ceil(exploration * sqrt(E)).
        window: requests at most that a controller looks back on.
    """

    contexts: Floats
    means: Floats
    rewards: Floats
    cost: Floats
    capacity: int
    start: Ints
    controller: int = POLAR
    aware: bool = True
    bonus: float = 1.0
    ridge: float = 1.0
    epoch: int = 256
    exploration: float = 1.0
    window: int = 2048

    @property
    def shape(self) -> tuple[int, int, int]:
        """(T, N, d)."""
        return len(self.contexts), self.means.shape[1], self.contexts.shape[1]

    def check(self) -> None:
        """Raises InputError for what does not fit together."""
        rounds, adapters, _ = self.shape
        if self.means.shape != self.rewards.shape or len(self.means) != rounds:
            raise InputError("contexts and rewards differ in length", where="rewards")
        if len(self.cost) != adapters or np.any(self.cost < 0):
            raise InputError("needs a cost of 0 or more for each adapter", where="cost")
        if not 1 <= self.capacity <= adapters:
            raise InputError(
                f"{self.capacity} of {adapters} adapters resident",
                where="resident",
                mend=f"give 1 to {adapters}",
            )
        if len(set(self.start.tolist())) != self.capacity:
            raise InputError("the first residents are not as many as fit", where="start")
        if self.epoch < 1 or self.window < 1 or not self.ridge > 0:
            raise InputError("epoch, window and ridge must be above 0", where="epoch")
        for name in ("contexts", "means", "rewards"):
            if not np.isfinite(getattr(self, name)).all():
                raise InputError("holds values that are not finite", where=name)


@dataclass(frozen=True, eq=False)
class RoutingOutcome:
    """What was chosen and paid.

    Attributes:
        chosen: int64[T] adapter of each request.
        paid: float64[T] price of paging at each request, of changes at an epoch's end included.
        theta: float64[N, d] what the router believes at the end.
        inverse: float64[N, d, d] inverse moments at the end.
        resident: adapters in memory at the end.
        totals: counters by name.
    """

    chosen: Ints
    paid: Floats
    theta: Floats
    inverse: Floats
    resident: Ints
    totals: dict[str, int]

    def utility(self, given: RoutingInput) -> Floats:
        """float64[T]: expected reward of the choice less what was paid."""
        return given.means[np.arange(len(self.chosen)), self.chosen] - self.paid


def set_value(means: Floats, cost: Floats, residents: Any) -> float:
    """Mean utility of routing with known rewards, with these adapters resident all the time."""
    return float(best_utility(means, cost, residents).mean())


def best_utility(means: Floats, cost: Floats, residents: Any) -> Floats:
    """float64[T]: max over adapters of reward less the price of one that is not resident."""
    price = cost.copy()
    price[np.asarray(residents, np.int64)] = 0.0
    found: Floats = (means - price).max(axis=1)
    return found


def best_set(means: Floats, cost: Floats, capacity: int, most: int = 20_000_000) -> Ints:
    """The K residents that are best in hindsight: what the oracle holds.

    Tries all sets where that takes at most `most` comparisons; else takes adapters greedily and
    then exchanges one for another as long as that helps (the value is monotone and submodular, as
    in facility location, so that greedy alone comes within 1 - 1/e; Nemhauser et al. 1978).
    """
    rounds, adapters = means.shape
    if math.comb(adapters, capacity) * rounds * capacity <= most:
        sets = combinations(range(adapters), capacity)
        return np.array(max(sets, key=lambda s: set_value(means, cost, s)), np.int64)
    paged = (means - cost).max(axis=1)
    chosen: list[int] = []
    covered = paged
    for _ in range(capacity):
        rest = [a for a in range(adapters) if a not in chosen]
        best = max(rest, key=lambda a: float(np.maximum(covered, means[:, a]).mean()))
        chosen.append(best)
        covered = np.maximum(covered, means[:, best])
    return np.array(sorted(_exchanged(means, cost, chosen)), np.int64)


def _exchanged(means: Floats, cost: Floats, chosen: list[int]) -> list[int]:
    """Exchange one adapter for another, the best exchange first, while that raises the value."""
    paged = (means - cost).max(axis=1)
    value = set_value(means, cost, chosen)
    while True:
        best: tuple[float, list[int]] = (value, chosen)
        for i in range(len(chosen)):
            others = chosen[:i] + chosen[i + 1 :]
            covered = np.maximum(paged, means[:, others].max(axis=1, initial=-np.inf))
            with_each = np.maximum(covered[:, None], means).mean(axis=0)
            with_each[chosen] = -np.inf
            a = int(with_each.argmax())
            found = set_value(means, cost, [*others, a]) if with_each[a] > best[0] else value
            if found > best[0]:
                best = found, [*others, a]
        if not best[0] > value:
            return chosen
        value, chosen = best


def make_routing(given: RoutingInput) -> Any:
    """The World of an input."""
    rounds, adapters, d = given.shape
    inverse = np.zeros((adapters, d, d))
    inverse[:, np.arange(d), np.arange(d)] = 1.0 / given.ridge
    resident = np.zeros(adapters, np.int64)
    resident[given.start] = 1
    window = min(given.window, rounds)
    tables: dict[str, Any] = {
        **{
            name: np.ascontiguousarray(getattr(given, name), np.float64).reshape(-1)
            for name in ("contexts", "means", "rewards", "cost")
        },
        "inverse": inverse.reshape(-1),
        "moment": np.zeros(adapters * d),
        "theta": np.zeros(adapters * d),
        "scratch": np.zeros(d),
        "paid": np.zeros(rounds),
        "values": np.zeros(window * adapters),
        "covered": np.zeros(window),
        "gain": np.zeros(adapters),
        "f": np.zeros(len(F)),
        "chosen": np.full(rounds, -1, np.int64),
        "resident": resident,
        "proposed": np.zeros(adapters, np.int64),
        "last": np.full(adapters, -1, np.int64),
        "count": np.zeros(adapters, np.int64),
        "g": np.zeros(len(G), np.int64),
    }
    scalars = {
        "controller": given.controller,
        "aware": int(given.aware),
        "d": d,
        "adapters": adapters,
        "epoch": given.epoch,
        "epoch_length": given.epoch,
        "window": window,
    }
    if given.controller == POLAR_PLUS:
        scalars["forced_left"] = forced_rounds(given.exploration, given.epoch)
    for name, value in scalars.items():
        tables["g"][G[name]] = value
    tables["f"][F["bonus"]] = given.bonus
    tables["f"][F["exploration"]] = given.exploration
    return World(**tables)


def forced_rounds(exploration: float, length: int) -> int:
    """Rounds at the beginning of an epoch that try the adapters in turn."""
    return min(length, math.ceil(exploration * math.sqrt(float(length))))
