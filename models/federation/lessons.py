"""Learning of automatic steps: events first, then what was learned in them.

Where a strategy only counts (`Strategy.automatic`), no time depends on a model. So the kernel goes
on through many steps and notes whose updates went into which (`state.LESSON`); then these are
trained, many at a time, and the steps are made of them in their order. Bit for bit as if the
strategy had been called at each step, without a hook a step.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from numba import boolean, float32, float64, int64

from mltwin.sim.jit import entry, kernel

from .engine import KernelEngine
from .hooks import Lesson, Policies, Selection, Task
from .server import RunServer
from .tables import Plan

Array = npt.NDArray[Any]

ROOM_BYTES = 2**19
"""Of updates that are trained at a time: what a cache holds."""


class DivergedError(Exception):
    """A model is not finite, and the events after it have been simulated already."""


def lesson_of(policies: Policies, plan: Plan, task: Task | None) -> Lesson | None:
    """What the steps of an automatic strategy learn, if nothing but the strategy has a say."""
    selection, strategy = policies.selection, policies.strategy
    reports = selection is not None and type(selection).report is not Selection.report
    asked = policies.codec or policies.attack or policies.combine or reports or plan.aggregation
    if task is None or not task.parameters or asked or "lesson" not in vars(type(strategy)):
        return None
    return strategy.lesson


class Lessons:
    """Makes the models of automatic steps."""

    def __init__(self, server: RunServer, engine: KernelEngine, lesson: Lesson) -> None:
        self.server, self.engine, self.lesson = server, engine, lesson
        # Where training depends on what else is trained at a time, each step is alone.
        alone = not getattr(server.task, "separable", False)
        self.most = 0 if alone else ROOM_BYTES // (4 * len(server.weights))

    def catch_up(self) -> None:
        """Learn what the engine has done since the last call.

        Raises:
            DivergedError: a model is not finite.
        """
        steps, rows = self.engine.take_lessons()
        if len(steps):
            self._learn(steps, rows)

    def _learn(self, steps: Array, rows: Array) -> None:
        """Go through steps (rows of `state.STEP`) and their updates (rows of `state.LESSON`)."""
        ends = np.cumsum(steps["used"])
        starts = ends - steps["used"]
        made = np.repeat(steps["version"] - 1, steps["used"])
        coefficients = self.lesson.weigh(made - rows["held"], rows["client"])
        # A step can be trained once the newest version that its updates held is made.
        newest = np.maximum.accumulate(np.maximum.reduceat(rows["held"], starts))
        first = 0
        while first < len(steps):
            ready = np.searchsorted(newest, steps["version"][first] - 1, side="right")
            room = np.searchsorted(ends, starts[first] + self.most, side="right")
            last = max(first + 1, int(min(ready, room)))
            some = slice(int(starts[first]), int(ends[last - 1]))
            edges = np.append(starts[first], ends[first:last]) - starts[first]
            self._steps(rows[some], coefficients[some], edges, steps["slot"][first:last])
            first = last

    def _steps(self, rows: Array, coefficients: Array, edges: Array, slots: Array) -> None:
        """Train the updates of some steps, and make these."""
        server = self.server
        held = rows["slot"].astype(np.int64)
        deltas = server.learned(rows, held, self.lesson.local)
        ring = server.room_for(int(slots.max()))
        weights = server.weights.copy()
        assert deltas.shape == (len(rows), len(weights)) and coefficients.shape == held.shape
        right = _follow(
            weights,
            ring,
            np.ascontiguousarray(coefficients, np.float64),
            np.ascontiguousarray(deltas, np.float32),
            held,
            edges,
            np.ascontiguousarray(slots, np.int64),
            self.lesson.mixes,
        )
        if not right:
            raise DivergedError
        server.weights = weights


def follow_body(
    weights: Any,
    ring: Any,
    coefficients: Any,
    deltas: Any,
    held: Any,
    edges: Any,
    slots: Any,
    mixes: bool,
) -> Any:
    """Make steps one after the other; whether all models are finite.

    The order of each sum is that of `sums.weighted_sum` and `RunServer.step`.

    Args:
        weights: float64[d], the model before, becomes that after.
        ring: float32[V, d], versions.
        coefficients, deltas, held: of all updates; held are slots of the ring.
        edges: int64[steps + 1], where the updates of each step begin.
        slots: int64[steps], of the versions that are made.
        mixes: as of `Lesson`.
    """
    width = len(weights)
    total = np.zeros(width, np.float64)
    right = True
    for step in range(len(slots)):
        total[:] = 0.0
        for i in range(edges[step], edges[step + 1]):
            c = coefficients[i]
            for j in range(width):
                total[j] += c * np.float64(deltas[i, j])
        if mixes:
            c = coefficients[edges[step]]
            old = held[edges[step]]
            for j in range(width):
                total[j] = (np.float64(ring[old, j]) - weights[j]) * c + total[j]
        for j in range(width):
            weights[j] += total[j]
            right &= np.isfinite(weights[j])
            ring[slots[step], j] = weights[j]
        if not right:
            return False
    return True


_follow = entry(
    kernel(
        boolean(
            *(float64[::1], float32[:, ::1], float64[::1], float32[:, ::1]),
            *(int64[::1], int64[::1], int64[::1], boolean),
        )
    )(follow_body)
)
