"""The clock of the SimPy twin: one timer per entity, fired in the order (time, rank, entity).

SimPy orders equal times by an integer priority, then by the order in which events were scheduled.
The priority here is rank and entity, of which there is one timer each, so that the order of
scheduling never decides anything.
"""

from collections.abc import Callable

import simpy

CONTROL, CANCELLATION, ARRIVAL, HAND_OVER, TRANSFER, ITERATION_END, ITERATION_START = range(7)
"""The ranks of the module docstring's table."""

SCRIPT, READY, SCALE, SNAPSHOT = range(4)
"""Order among the control events of one instant."""


def entity(group: int, member: int) -> int:
    """Entity of a pair, ordered by group, then member."""
    return group << 32 | member


class Clock:
    """A SimPy environment in ticks, and how many timers are set.

    after_each is called after each event (conservation checks).
    """

    def __init__(self, after_each: Callable[[], None] | None = None) -> None:
        self.env = simpy.Environment()
        self.after_each = after_each
        self.pending = 0
        self.last = 0  # time of the last event
        self.before = 0  # time of the one before it

    @property
    def now(self) -> int:
        return int(self.env.now)

    def run(self, goes_on: Callable[[], bool]) -> None:
        """Fires timers while goes_on() and any but background ones are set."""
        while self.pending and goes_on():
            self.env.step()


class Due(simpy.Event):
    """An event that happens at a time and in an order of our choice, as `simpy.Timeout` does."""

    def __init__(self, env: simpy.Environment, delay: int, order: int, action: Callable) -> None:
        super().__init__(env)
        self._ok, self._value = True, None
        self.callbacks = [lambda _: action()]
        env.schedule(self, order, delay)


class Timer:
    """The one pending event of an entity; setting it anew takes the earlier one back.

    A background timer alone does not keep the clock running.
    """

    def __init__(
        self,
        clock: Clock,
        rank: int,
        entity: int,
        action: Callable[[], None],
        *,
        background: bool = False,
    ) -> None:
        self.clock, self.action = clock, action
        self.order = rank << 48 | entity
        self.weight = 0 if background else 1
        self.due: Due | None = None

    def set(self, time: int) -> None:
        """Fires at `time`, at the earliest now; once."""
        self.clear()
        clock = self.clock
        self.due = Due(clock.env, time - clock.now, self.order, self._fire)
        clock.pending += self.weight

    def clear(self) -> None:
        """Takes back what is pending, if anything."""
        if self.due is not None:
            self.due.callbacks = []
            self.due = None
            self.clock.pending -= self.weight

    def _fire(self) -> None:
        self.due = None
        self.clock.pending -= self.weight
        assert self.clock.now >= self.clock.last, "the clock went back"
        self.clock.before, self.clock.last = self.clock.last, self.clock.now
        self.action()
        if self.clock.after_each:
            self.clock.after_each()
