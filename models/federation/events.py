"""Events of a federation: their order at one tick, their names in the log, why an engine stops.

An engine (`kernel` or its SimPy twin `reference`) goes on by itself until something must be
decided; `simulate` calls the policies then.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy.typing as npt

from .hooks import Arrivals
from .phases import Phases

Array = npt.NDArray[Any]

RANK_LOSS, RANK_ARRIVAL, RANK_NOTICE, RANK_TIMER, RANK_REFILL, RANK_STAGE = range(6)

EVENT_NAMES = ("sent", "lost", "arrived", "noticed", "timer", "cancelled", "step", "returned")
E_SENT, E_LOST, E_ARRIVED, E_NOTICED, E_TIMER, E_CANCELLED, E_STEP, E_RETURNED = range(8)

REASONS = (
    "awaited", "timer", "refill", "forced", "limit", "stuck", "over", "nothing", "table", "learn",
)  # fmt: skip
AWAITED, TIMER, REFILL, FORCED, LIMIT, STUCK, OVER, NOTHING, TABLE, LEARN = range(10)
"""Why an engine stops: the awaited updates are there; a timer rang; clients must be selected;
nothing is under way; the limit of updates or versions is reached; only losses; the time is over;
nothing will happen any more; a table is full (the kernel's own affair); automatic steps are to be
learned, one of which may be due for evaluation."""

MISSES = 64
"""Draws in a row that meet no idle client before all clients are looked at."""


@dataclass(frozen=True)
class Limits:
    """What an engine must know of the plan.

    Attributes:
        interruption: number in `tables.INTERRUPTIONS`.
        detect: ticks until the server knows of a loss; -1: never.
        until: ticks; nothing later happens.
        updates: to arrive; NEVER: no limit.
        losses: in a row, without any arrival, after which it is given up.
        overhead_s: of each dispatch.
    """

    interruption: int
    detect: int
    until: int
    updates: int
    losses: int
    overhead_s: float


@dataclass
class Spent:
    """What all ended dispatches cost."""

    down_bytes: float = 0.0
    up_bytes: float = 0.0
    joules: float = 0.0
    wasted: int = 0


class Engine(Protocol):
    """What moves time; the same behaviour from the kernel and from its twin."""

    concurrency: int
    """Of `Server.refill`."""
    ready: int
    """Tick before which no work of a refill begins."""
    selects: bool
    """Whether a refill needs a policy (REFILL); otherwise clients are drawn uniformly."""

    @property
    def now(self) -> int:
        """Ticks."""

    @property
    def version(self) -> int:
        """Steps so far."""

    @property
    def in_flight(self) -> int:
        """Dispatches that the server believes under way."""

    @property
    def arrived(self) -> int:
        """Updates so far."""

    def idle(self) -> Array:
        """As `Server.idle`."""

    def uniform(self, count: int) -> Array:
        """As `Server.uniform`."""

    def next_available(self) -> int | None:
        """As `Server.next_available`."""

    def send(self, clients: Array, phases: Phases, tags: Array, ready: int) -> None:
        """Dispatch idle clients with the current version; work begins at `ready` or now."""

    def standard(self, phases: Phases) -> None:
        """What refills give to clients (of all N)."""

    def wait(self, count: int) -> None:
        """As `Server.wait`."""

    def set_timer(self, at: int) -> None:
        """Stop with TIMER at a tick; NEVER: not."""

    def cancel(self, clients: Array) -> None:
        """As `Server.cancel`."""

    def step(self, used: int) -> int:
        """There is a new version; the slot of the ring that it gets."""

    def release(self, slots: Array) -> None:
        """The versions in these slots have each one holder less."""

    def take(self) -> tuple[Arrivals, Array]:
        """What came since the last call, and the slots of the versions that each row held."""

    def advance(self) -> int:
        """Go on until something must be decided: why (REASONS)."""

    def spent(self) -> Spent:
        """Costs so far."""

    def tallies(self) -> dict[str, Array]:
        """Columns of `FederatedRun.clients`, without used and discarded."""

    def counts(self) -> dict[str, int]:
        """dispatched, lost, cancelled, versions_made, versions_freed, versions_live_most, ..."""

    def log(self) -> Any:
        """Rows of the event log."""
