"""Small systems whose answers are known, for the searches: a queue, a fleet, a polynomial."""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

import mltwin as mt
from mltwin.sim.rng_arrays import ARRIVALS, SERVICE, exponentials


class QueueScenario(mt.Scenario):
    """One server, Poisson arrivals, exponential service of mean 1 s, first come first served.

    In the steady state P(sojourn <= t) = 1 - exp(-(1 - rate) t) (Kleinrock, Queueing Systems,
    1975, section 5.12).
    """

    system: Literal["toy-queue"] = "toy-queue"
    rate: float = Field(0.5, gt=0)
    customers: int = Field(20_000, ge=1)
    limit_s: float = Field(10.0, gt=0)

    def simulate(self, seed: int, **options: object) -> mt.Result:
        """Lindley's recursion: W(n+1) = max(0, W(n) + S(n) - A(n+1))."""
        del options
        who = np.arange(self.customers)
        gaps = exponentials(seed, ARRIVALS, who) / self.rate
        service = exponentials(seed, SERVICE, who)
        drift = np.concatenate([[0.0], np.cumsum(service[:-1] - gaps[1:])])
        sojourn = drift - np.minimum.accumulate(drift) + service
        settled = sojourn[self.customers // 10 :]
        return mt.Result(
            {
                "slo_attainment": float(np.mean(settled <= self.limit_s)),
                "mean_sojourn_s": float(settled.mean()),
            },
            {"sojourn": {"s": sojourn}},
        )


class FleetScenario(mt.Scenario):
    """Three pools whose shares of work limit what they carry together; no randomness.

    It carries min over pools of count / need, so it keeps a demand exactly where each count is
    at least demand x need; `hole` makes one count of the first pool fail, against all monotony.
    """

    system: Literal["toy-fleet"] = "toy-fleet"
    demand: float = Field(1.0, gt=0)
    a: int = Field(1, ge=1)
    b: int = Field(1, ge=1)
    c: int = Field(1, ge=1)
    need_a: float = 1.0
    need_b: float = 1.0
    need_c: float = 1.0
    trade: float = Field(0.0, ge=0)
    hole: int = 0

    calls: ClassVar[list[tuple[int, int, int]]] = []

    def simulate(self, seed: int, **options: object) -> mt.Result:
        """Attainment falls from 1 as the demand passes what the pools carry."""
        del seed, options
        type(self).calls.append((self.a, self.b, self.c))
        carried = min(self.a / self.need_a, self.b / self.need_b, self.c / self.need_c)
        if self.trade:  # work that either of two pools may do: a staircase, not a corner
            carried = (self.a * self.b) ** 0.5 / self.trade
        if self.a == self.hole:
            carried = 0.0
        return mt.Result({"slo_attainment": min(1.0, carried / self.demand), "power": carried})

    @property
    def gpus(self) -> int:
        """Machines of all pools."""
        return self.a + 2 * self.b + self.c


class IshigamiScenario(mt.Scenario):
    """sin x1 + a sin^2 x2 + b x3^4 sin x1 (Ishigami and Homma, 1990), the usual test function."""

    system: Literal["toy-ishigami"] = "toy-ishigami"
    x1: float = 0.0
    x2: float = 0.0
    x3: float = 0.0
    a: float = 7.0
    b: float = 0.1

    def simulate(self, seed: int, **options: object) -> mt.Result:
        """The value; nothing in it is drawn."""
        del seed, options
        y = np.sin(self.x1) + self.a * np.sin(self.x2) ** 2 + self.b * self.x3**4 * np.sin(self.x1)
        return mt.Result({"y": float(y)})


class BowlScenario(mt.Scenario):
    """A noisy bowl with its bottom at x = 3, n = 5, kind = "good"."""

    system: Literal["toy-bowl"] = "toy-bowl"
    x: float = Field(0.0, ge=-10, le=10)
    n: int = Field(1, ge=1, le=20)
    kind: Literal["good", "bad", "broken"] = "good"
    noise: float = 0.1

    calls: ClassVar[list[tuple[float, int, str, int]]] = []

    def simulate(self, seed: int, **options: object) -> mt.Result:
        """Seeds share their noise (`common`), a fifth of it is each point's own."""
        del options
        type(self).calls.append((self.x, self.n, self.kind, seed))
        if self.kind == "broken":
            raise mt.InputError("is broken", where="kind")
        common = float(exponentials(seed, SERVICE, np.arange(1))[0]) - 1
        own = np.random.default_rng([seed, abs(hash((self.x, self.n))) % 2**31]).normal()
        height = (self.x - 3) ** 2 + 0.5 * (self.n - 5) ** 2 + (self.kind == "bad") * 20
        noise = self.noise * (common + 0.2 * float(own))
        return mt.Result({"cost_s": 1 + height + noise, "weight_s": 1 + self.x + 10})


def attainment_frontier(limit_s: float, least: float) -> float:
    """The rate at which the queue's steady state has this share within the limit."""
    return 1 + float(np.log(1 - least)) / limit_s


def serving(**overrides: Any) -> mt.ServingScenario:
    """A small serving scenario with an SLO."""
    base = mt.ServingScenario.parse(
        {
            "system": "serving",
            "name": "small",
            "workload": {"requests": 200, "rate": 10.0},
            "model": {"name": "llama-3.1-8b"},
            "cluster": {"mixed": {"replicas": 2, "gpu": "a100-sxm-80gb"}},
            "slo": {"ttft_ms": 300.0, "tpot_ms": 30.0},
        }
    )
    return base.changed(overrides)
