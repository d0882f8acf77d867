"""The compiled engine (`events.Engine`): Python's side of the kernel's world."""

from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError
from mltwin.sim.eventlog import EventLog
from mltwin.sim.records import table
from mltwin.sim.ticks import NEVER

from . import kernel
from .events import LEARN, TABLE, Limits, Spent
from .hooks import Arrivals
from .links import SharedLinks
from .phases import Phases
from .state import LESSON, STATE, STEP, make_world
from .tables import Clients

Array = npt.NDArray[Any]
LOG_ROWS = 65536
LESSONS = 4096
"""Updates that automatic steps keep before they are learned; no more than `state.STEPS`."""


def _word(name: str) -> int:
    """Which word of the state a field is."""
    assert STATE.fields is not None
    return int(STATE.fields[name][1]) // 8


_NOW, _VERSION, _IN_FLIGHT, _ARRIVED = map(_word, ("now", "version", "in_flight", "arrived"))
_AWAITED, _AT_ONCE = map(_word, ("awaited", "at_once"))
_CONCURRENCY, _SELECTS, _READY = map(_word, ("concurrency", "selects", "ready"))
_CURRENT, _FREE, _SLOTS, _CAME = map(_word, ("current", "free", "slots", "came"))
_COSTS = [_word(name) for name in ("down_bytes", "up_bytes", "joules")]
_WASTED, _STEPS, _LESSONS = map(_word, ("wasted", "steps", "lessons"))
NOTHING_LEARNED = np.zeros(0, STEP), np.zeros(0, LESSON)


class KernelEngine:
    """A world, and what the server asks of it.

    Attributes:
        steps: automatic steps since they were last taken (`take_steps`), rows of `state.STEP`.
        alone: whether steps are automatic.
    """

    def __init__(
        self,
        clients: Clients,
        limits: Limits,
        seed: int,
        *,
        record: bool = False,
        network: SharedLinks | None = None,
    ) -> None:
        rows = LOG_ROWS + 4 * len(clients) if record else 0
        self.world = make_world(clients, limits, seed, rows, network)
        self.state = self.world.state[0]
        # A record's attribute costs a microsecond, a word of the same memory a twentieth of it.
        self._ints = self.world.state.view(np.ndarray).view(np.int64)
        self._floats = self._ints.view(np.float64)
        self.events = EventLog(0)
        self.events.log, self.events.log_count = self.world.log, self.world.log_count
        self.record = record
        self.steps: list[Any] = []
        self.alone = False

    @property
    def now(self) -> int:
        """Ticks."""
        return int(self._ints[_NOW])

    @property
    def version(self) -> int:
        """Steps so far."""
        return int(self._ints[_VERSION])

    @property
    def in_flight(self) -> int:
        """Dispatches that the server believes under way."""
        return int(self._ints[_IN_FLIGHT])

    @property
    def arrived(self) -> int:
        """Updates so far."""
        return int(self._ints[_ARRIVED])

    @property
    def concurrency(self) -> int:
        """Of refills."""
        return int(self._ints[_CONCURRENCY])

    @concurrency.setter
    def concurrency(self, count: int) -> None:
        self._ints[_CONCURRENCY] = count

    @property
    def selects(self) -> bool:
        """Whether a refill needs a policy."""
        return bool(self._ints[_SELECTS])

    @selects.setter
    def selects(self, needed: bool) -> None:
        self._ints[_SELECTS] = needed

    @property
    def ready(self) -> int:
        """Tick before which no work of a refill begins."""
        return int(self._ints[_READY])

    @ready.setter
    def ready(self, tick: int) -> None:
        self._ints[_READY] = tick

    def automatic(self, buffer: int, versions: int, aggregate: int) -> None:
        """Step by itself every `buffer` updates, until there are so many versions."""
        par = self.world.par[0]
        self.alone = True
        par.buffer, par.versions, par.aggregate = buffer, versions, aggregate
        while len(self.world.rows) < buffer + 1:
            self._grow("rows")

    def learn(self, every: int) -> None:
        """Keep what automatic steps learn, and stop with LEARN at every `every` versions."""
        par = self.world.par[0]
        par.evaluate = self.state.due = every
        self.world.replace(lessons=table(max(LESSONS, 2 * par.buffer), LESSON))

    def take_lessons(self) -> tuple[Any, Any]:
        """Steps (rows of `state.STEP`) since the last call, and their updates (`state.LESSON`)."""
        count = int(self._ints[_LESSONS])
        if not count:
            return NOTHING_LEARNED
        # Fields of a plain array are found ten times as fast as those of a `recarray`.
        steps = self.world.steps.view(np.ndarray)[: self._ints[_STEPS]].copy()
        lessons = self.world.lessons.view(np.ndarray)[:count].copy()
        self._drain_steps()
        self._ints[_LESSONS] = 0
        return steps, lessons

    def idle(self) -> Array:
        """As `Server.idle`."""
        return self.world.chosen[: kernel.list_idle(self.world)].copy()

    def uniform(self, count: int) -> Array:
        """As `Server.uniform`."""
        return self.world.chosen[: kernel.draw_uniform(self.world, count)].copy()

    def next_available(self) -> int | None:
        """As `Server.next_available`."""
        tick = int(kernel.find_return(self.world))
        return tick if tick < NEVER else None

    def send(self, clients: Array, phases: Phases, tags: Array, ready: int) -> None:
        """Dispatch idle clients with the current version; work begins at `ready` or now."""
        self._drain()
        stopped = kernel.send(
            self.world, clients, phases.steps, phases.receive, phases.compute_s, phases.send,
            phases.down_bytes, phases.up_bytes, tags, ready,
        )  # fmt: skip
        if stopped >= 0:
            client = int(clients[stopped])
            what = "at work" if self.world.work[client].state else "away"
            raise InputError(f"client {client} is {what} and cannot be sent work")

    def standard(self, phases: Phases) -> None:
        """What refills give to clients (of all N)."""
        par = self.world.par[0]
        par.down_bytes, par.up_bytes = phases.down_bytes[0], phases.up_bytes[0]
        for name in ("steps", "receive", "compute_s", "send"):
            self.world.client[name] = getattr(phases, name)
        self.state.given = 1

    def wait(self, count: int) -> None:
        """As `Server.wait`."""
        if count == 0:
            self._ints[_AT_ONCE] = 1
        else:
            self._ints[_AWAITED] = count

    def set_timer(self, at: int) -> None:
        """Stop with TIMER at a tick; NEVER: not."""
        kernel.set_timer(self.world, at)

    def cancel(self, clients: Array) -> None:
        """As `Server.cancel`."""
        self._drain()
        kernel.cancel(self.world, clients)

    def step(self, used: int) -> int:
        """There is a new version; the slot of the ring that it gets."""
        self._drain()
        self._room()
        kernel.step(self.world, used)
        return int(self._ints[_CURRENT])

    def release(self, slots: Array) -> None:
        """The versions in these slots have each one holder less."""
        kernel.release_slots(self.world, slots)

    def take(self) -> tuple[Arrivals, Array]:
        """What came since the last call, and the slots of the versions that updates held."""
        count = int(self._ints[_CAME])
        numbers = np.empty((len(kernel.TAKEN), count), np.int64)
        client, status = np.empty(count, np.int32), np.empty(count, np.int8)
        done = kernel.take(self.world, numbers, client, status)
        dispatch, held, sent, arrived, steps, tag, spent, slots = numbers
        arrivals = Arrivals(client, dispatch, held, sent, arrived, steps, status, tag, spent)
        return (arrivals.known_done() if done == count else arrivals), slots[:done]

    def advance(self) -> int:
        """Go on until something must be decided: why (`events.REASONS`)."""
        while True:
            reason = int(kernel.advance(self.world))
            if reason != TABLE:
                return reason
            if self._ints[_LESSONS]:
                return LEARN
            self._make_room()

    def take_steps(self) -> Any:
        """Rows (`state.STEP`) of automatic steps since the last call."""
        self._drain_steps()
        steps, self.steps = self.steps, []
        return np.concatenate([np.zeros(0, STEP), *steps])

    def staleness(self) -> Array:
        """int64[...], updates of automatic steps by their staleness."""
        return self.world.staleness.copy()

    def spent(self) -> Spent:
        """Costs so far."""
        down, up, joules = self._floats[_COSTS].tolist()
        return Spent(down, up, joules, int(self._ints[_WASTED]))

    def tallies(self) -> dict[str, Array]:
        """Columns of `FederatedRun.clients`, without used and discarded."""
        tally, work, client = self.world.tally, self.world.work, self.world.client
        par = self.world.par[0]
        standard = work["done"].astype(np.int64)
        counts = {name: tally[name].astype(np.int64) for name in ("arrived", "lost", "cancelled")}
        return {
            "dispatches": work["number"].astype(np.int64),
            **counts,
            "arrived": counts["arrived"] + standard,
            "compute_ticks": tally["compute"] + work["done_compute"],
            "receive_ticks": tally["receive"] + standard * client["receive"],
            "send_ticks": tally["send"] + standard * client["send"],
            "wasted_ticks": tally["wasted"].copy(),
            "down_bytes": tally["down_bytes"] + standard * par.down_bytes,
            "up_bytes": tally["up_bytes"] + standard * par.up_bytes,
        }

    def counts(self) -> dict[str, int]:
        """Counts of dispatches and versions."""
        st = self.state
        held = self.world.holders[: st.slots] > 0
        held[st.current] = True
        return {
            "dispatched": int(st.dispatched),
            "lost": int(st.lost),
            "cancelled": int(st.cancelled),
            "in_flight": int(st.flying),
            "versions_made": int(st.made),
            "versions_freed": int(st.freed),
            "versions_live": int(held.sum()),
            "versions_live_most": int(st.most),
        }

    def log(self) -> Any:
        """Rows of the event log."""
        return self.events.rows()

    def _drain(self) -> None:
        if self.record:
            self.events.drain()

    def _drain_steps(self) -> None:
        if self.state.steps:
            self.steps.append(self.world.steps[: self.state.steps].copy())
            self.state.steps = 0

    def _room(self) -> None:
        if self._ints[_FREE] == 0 and self._ints[_SLOTS] == len(self.world.holders):
            self._grow("holders")
            self._grow("free")

    def _make_room(self) -> None:
        """A table is full: empty it, or double it."""
        self._drain()
        self._drain_steps()
        self._room()
        if self.state.came == len(self.world.rows):
            self._grow("rows")
        if self.state.version >= len(self.world.staleness):
            self._grow("staleness")

    def _grow(self, name: str) -> None:
        before = getattr(self.world, name)
        after = np.zeros(2 * len(before), before.dtype).view(type(before))
        after[: len(before)] = before
        self.world.replace(**{name: after})
