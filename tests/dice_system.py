"""A toy system for the tests of comparisons and reports: waits that are drawn, not simulated."""

from typing import Literal

import numpy as np
from pydantic import Field

import mltwin as mt
from mltwin.sim.rng_arrays import SERVICE, uniforms


class DiceScenario(mt.Scenario):
    """So many waits (exponential), made `slow` times longer, with `noise` of the run's own."""

    system: Literal["dice"] = "dice"
    waits: int = Field(200, ge=1)
    slow: float = Field(1.0, gt=0)
    noise: float = Field(0.0, ge=0)
    refuse: int = Field(0, ge=0)

    def simulate(self, seed: int, **options: object) -> mt.Result:
        """Draw the waits: the same draws for any scenario of a seed, but for the noise."""
        wait = -np.log(1 - uniforms(seed, SERVICE, np.arange(self.waits)))
        key = seed + 1_000_003 * round(1000 * self.noise)
        own = 1 + self.noise * (uniforms(key, SERVICE + 1, np.arange(1))[0] - 0.5)
        wait_ms = 10 * self.slow * own * wait
        return mt.Result(
            metrics={
                "mean_wait_ms": float(wait_ms.mean()),
                "p99_wait_ms": float(np.quantile(wait_ms, 0.99)),
                "requests": float(self.waits),
                "refused": float(self.refuse),
                "throughput": 1000 / float(wait_ms.mean()),
            },
            tables={"waits": {"wait_ms": wait_ms, "time_s": np.cumsum(wait)}},
            notes=["dice were thrown"],
        )
