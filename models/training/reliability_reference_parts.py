"""Parts of the SimPy twin of a long run: what a checkpoint holds, a node, a law by search."""

from dataclasses import dataclass, field

import numpy as np

from mltwin.models.serving.reference_clock import Clock, Timer

from .laws import PER_OCTAVE, law_points

PART_OF = {
    "step": "lost",
    "checkpoint": "stall",
    "restart": "restarting",
    "reshard": "resharding",
    "waiting": "waiting",
}


@dataclass
class Version:
    """What was done at a checkpoint."""

    steps: int = 0
    useful: int = 0
    shrunk: int = 0
    straggling: int = 0


@dataclass(eq=False)
class Node:
    """A node: its timers, whether it is up, slow, known as slow, and how often it has failed."""

    number: int
    clock: Clock
    up: bool
    lives: int = 0
    slow: bool = False
    marked: bool = False
    timer: Timer = field(init=False)
    slow_timer: Timer = field(init=False)


def law_at(law: np.ndarray, x: float) -> float:
    """The law at x, found by bisection among the tabulated points."""
    points = law_points()
    at = int(np.searchsorted(points, x, side="right")) - 1
    if at < 0:
        return float(law[0])
    if at >= len(points) - 1:
        return float(law[-1])
    base = points[at - at % PER_OCTAVE]
    share = (x / base - 1) * PER_OCTAVE - at % PER_OCTAVE
    return float(law[at] + (law[at + 1] - law[at]) * share)
