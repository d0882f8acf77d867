"""The plain-Python twin of `bandit`: the same equations with lists, sums in the same order."""

import math
from typing import Any

import numpy as np

from .routing_tables import (
    LFU,
    LRU,
    ORACLE,
    POLAR,
    POLAR_PLUS,
    RoutingInput,
    RoutingOutcome,
    forced_rounds,
)

Vector = list[float]


def dot(left: Vector, right: Vector) -> float:
    """Sum of products, from the first to the last."""
    total = 0.0
    for one, other in zip(left, right, strict=True):
        total += one * other
    return total


class Arm:
    """One adapter's ridge regression."""

    def __init__(self, d: int, ridge: float) -> None:
        self.inverse = [[1.0 / ridge if i == j else 0.0 for j in range(d)] for i in range(d)]
        self.moment = [0.0] * d
        self.theta = [0.0] * d

    def mean(self, x: Vector) -> float:
        """theta . x."""
        return dot(self.theta, x)

    def width(self, x: Vector) -> float:
        """sqrt(x' V^-1 x)."""
        return math.sqrt(max(dot(x, [dot(row, x) for row in self.inverse]), 0.0))

    def learn(self, x: Vector, reward: float) -> None:
        """One more request, by Sherman and Morrison's formula."""
        u = [dot(row, x) for row in self.inverse]
        denominator = 1.0
        for value, other in zip(x, u, strict=True):
            denominator += value * other
        for i, row in enumerate(self.inverse):
            self.inverse[i] = [
                value - u[i] * other / denominator for value, other in zip(row, u, strict=True)
            ]
        self.moment = [m + reward * value for m, value in zip(self.moment, x, strict=True)]
        self.theta = [dot(row, self.moment) for row in self.inverse]


class Learner:
    """Router, controller and cache."""

    def __init__(self, given: RoutingInput) -> None:
        self.given = given
        _, self.adapters, d = given.shape
        self.arms = [Arm(d, given.ridge) for _ in range(self.adapters)]
        self.contexts: list[Vector] = given.contexts.tolist()
        self.cost: Vector = given.cost.tolist()
        self.resident = set(given.start.tolist())
        self.last, self.count = [-1] * self.adapters, [0] * self.adapters
        self.epoch_start, self.epoch_length, self.next_forced = 0, given.epoch, 0
        self.forced = 0
        if given.controller == POLAR_PLUS:
            self.forced = forced_rounds(given.exploration, given.epoch)
        self.totals = {"hits": 0, "pagings": 0, "swaps": 0, "epochs": 0}

    def route(self, t: int) -> tuple[int, float]:
        """The adapter of request t and what was paid for paging."""
        price = 0.0
        if (
            self.given.controller in (POLAR, POLAR_PLUS)
            and t - self.epoch_start >= self.epoch_length
        ):
            price = self._end_epoch(t)
        a = self._choose(t)
        if a in self.resident:
            self.totals["hits"] += 1
        else:
            self.totals["pagings"] += 1
            price += self.cost[a]
            if self.given.controller in (LRU, LFU):
                self.resident.remove(min(self.resident, key=self._rank))
                self.resident.add(a)
                self.totals["swaps"] += 1
        self.last[a], self.count[a] = t, self.count[a] + 1
        if self.given.controller != ORACLE:
            self.arms[a].learn(self.contexts[t], float(self.given.rewards[t, a]))
        return a, price

    def _rank(self, a: int) -> tuple[int, int, int]:
        return (self.count[a] if self.given.controller == LFU else 0, self.last[a], a)

    def _choose(self, t: int) -> int:
        if self.forced > 0:
            self.forced -= 1
            a = self.next_forced
            self.next_forced = (a + 1) % self.adapters
            return a
        return max(range(self.adapters), key=lambda a: (self._bound(a, t), -a))

    def _bound(self, a: int, t: int) -> float:
        if self.given.controller == ORACLE:
            value = float(self.given.means[t, a])
        else:
            x = self.contexts[t]
            value = self.arms[a].mean(x) + self.given.bonus * self.arms[a].width(x)
        return value - self.cost[a] if self.given.aware and a not in self.resident else value

    def _estimates(self, begin: int, end: int) -> list[Vector]:
        optimistic = self.given.controller == POLAR
        return [
            [
                arm.mean(x) + self.given.bonus * arm.width(x) if optimistic else arm.mean(x)
                for arm in self.arms
            ]
            for x in self.contexts[begin:end]
        ]

    def _end_epoch(self, now: int) -> float:
        self.totals["epochs"] += 1
        if self.given.controller == POLAR_PLUS:
            self.epoch_length *= 2
            self.forced = forced_rounds(self.given.exploration, self.epoch_length)
        self.epoch_start = now
        begin = max(0, now - min(self.given.window, len(self.contexts)))
        values = self._estimates(begin, now)
        proposed = self._proposed(values)
        newcomers = sorted(proposed - self.resident)
        price = 0.0
        for a in newcomers:
            price += self.cost[a]
        gained = self._worth(values, proposed) - self._worth(values, self.resident)
        if gained * float(self.epoch_length) / float(now - begin) <= price:
            return 0.0
        self.totals["swaps"] += len(newcomers)
        self.resident = proposed
        return price

    def _proposed(self, values: list[Vector]) -> set[int]:
        covered = [max(v - c for v, c in zip(row, self.cost, strict=True)) for row in values]
        chosen: set[int] = set()

        def gain(a: int) -> float:
            total = 0.0
            for row, had in zip(values, covered, strict=True):
                total += max(0.0, row[a] - had)
            return total

        gains = {a: gain(a) for a in range(self.adapters)}
        while len(chosen) < len(self.resident):
            best = max(gains, key=lambda a: (gains[a], -a))
            chosen.add(best)
            del gains[best]
            if self.given.controller == POLAR_PLUS:
                covered = [max(had, row[best]) for row, had in zip(values, covered, strict=True)]
                gains = {a: gain(a) for a in gains}
        return chosen

    def _worth(self, values: list[Vector], members: set[int]) -> float:
        total = 0.0
        for row in values:
            total += max(v if a in members else v - self.cost[a] for a, v in enumerate(row))
        return total


def route_reference(given: RoutingInput) -> RoutingOutcome:
    """Run the twin.

    Raises InputError for an input that does not fit together.
    """
    given.check()
    learner = Learner(given)
    routed: Any = [learner.route(t) for t in range(len(given.contexts))]
    return RoutingOutcome(
        chosen=np.array([a for a, _ in routed], np.int64),
        paid=np.array([price for _, price in routed]),
        theta=np.array([arm.theta for arm in learner.arms]),
        inverse=np.array([arm.inverse for arm in learner.arms]),
        resident=np.array(sorted(learner.resident), np.int64),
        totals=learner.totals,
    )
