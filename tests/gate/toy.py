"""A toy system for the gate: a queue's mean wait, with a knob for everything that may go wrong."""

from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

import mltwin as mt
from mltwin.sim.errors import KernelError
from mltwin.sim.rng_arrays import SERVICE, normals


class ToyResult(mt.Result):
    """Shows two metrics first."""

    headline = ("mean_wait_ms", "served")


class ToyScenario(mt.Scenario):
    """Metrics are draws of (seed, metric), so that runs pair; `world` is what the code would be."""

    system: Literal["gate-toy"] = "gate-toy"
    size: int = Field(100, ge=1)
    file: str = ""

    result_class: ClassVar[str] = "toy:ToyResult"

    def simulate(self, seed: int, **options: Any) -> mt.Result:
        """Draw, then let the world spoil it."""
        del options
        world = WORLD
        if seed in world.broken:
            raise KernelError("a law was broken")
        if world.wrong_input:
            raise mt.InputError("no such policy", where="policy")
        noise = normals(seed + world.stream, SERVICE, np.arange(3))
        own = normals(seed, SERVICE, np.arange(10, 13) + world.own)
        wait = (100 + 5 * noise[0]) * (1 + world.slower + world.spread * own[0])
        metrics = {
            "mean_wait_ms": float(wait),
            "served": float(self.size * (1 - world.lost)),
            "refused": float(world.refused),
            "hit_ratio": 0.5 + 0.01 * float(noise[1]) - world.misses,
        }
        for name in world.gone:
            metrics.pop(name)
        metrics |= world.odd
        trace = f"trace {seed + world.stream}" if world.drawn else f"trace {world.stream}"
        return ToyResult(
            metrics,
            trace_sha256=trace,
            facts={"sources": dict(world.sources)},
            violations=world.violations,
        )


class World:
    """What the code under test does; reset before each test."""

    def __init__(self) -> None:
        self.slower = self.lost = self.refused = self.misses = self.spread = 0.0
        self.stream = self.own = 0
        self.drawn, self.wrong_input = True, False
        self.broken: set[int] = set()
        self.gone: set[str] = set()
        self.odd: dict[str, float] = {}
        self.violations: list[str] = []
        self.sources: dict[str, str] = {}


WORLD = World()


def fresh_world() -> World:
    """As the baseline was made."""
    vars(WORLD).update(vars(World()))
    return WORLD
