"""The server that strategies see (`hooks.Server`), on any engine.

It keeps the model and its versions, trains what arrived (task, then codec, then attack), counts
what became of updates, and evaluates. Time is the engine's.
"""

import heapq
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError
from mltwin.sim.rng_arrays import POLICY, uniforms
from mltwin.sim.ticks import NEVER

from .events import Engine
from .hooks import DONE, Arrivals, Local, Policies, Updates
from .open_updates import OpenUpdates
from .phases import Phases, filled, local_steps, phases_of
from .returned import bytes_from, change_from, clients_from, updates_from
from .sums import weighted_sum
from .tables import TICKS_PER_S, Clients, Plan

Array = npt.NDArray[Any]


class RunServer:
    """State of the server in one run."""

    def __init__(
        self,
        clients: Clients,
        policies: Policies,
        plan: Plan,
        task: Any,
        seed: int,
        engine: Engine,
    ) -> None:
        self.clients, self.policies, self.plan, self.task = clients, policies, plan, task
        self.seed, self.engine = seed, engine
        self.ended: str | None = None
        self.complete = False
        self.end = 0
        self.opened = OpenUpdates(len(clients))
        self.made: list[tuple[Any, ...]] = []  # rows of FederatedRun.versions
        self.evaluated: list[tuple[Any, ...]] = []
        self.metrics: list[dict[str, float]] = []
        self.ring: Array | None = None
        self._timers: dict[int, int] = {}
        self._queue: list[tuple[int, int]] = []
        self._given: tuple[Arrivals, Array] | None = None
        self._slots: dict[tuple[int, int], int] | None = None
        self._ready = 0
        self.weights: Array = np.zeros(0)
        if task is not None:
            self.weights = np.asarray(task.initial(seed), np.float64)
            self.ring = np.zeros((4, len(self.weights)), np.float32)
            self.ring[0] = self.weights
        strategy = policies.strategy
        size = plan.model_bytes
        size = 4.0 * len(self.weights) if size is None else float(size)
        self.model_bytes = size
        self._down, self._up = size * strategy.down_models, size * strategy.up_models
        self.aggregating = None if plan.aggregation is None else plan.aggregation.begin(self._up)
        self.selection = selection = policies.selection
        self._uniform = selection is None or selection.uniform
        codec = policies.codec
        engine.selects = not self._uniform or (codec is not None and not codec.steady)

    # -- what it knows -------------------------------------------------------------------------

    @property
    def now(self) -> int:
        """Ticks of 1 ns."""
        return self.engine.now

    @property
    def version(self) -> int:
        """Steps of the model so far."""
        return self.engine.version

    @property
    def in_flight(self) -> int:
        """Dispatches that the server believes under way."""
        return self.engine.in_flight

    def idle(self) -> Array:
        """int32[...], clients that are there and not at work, ascending. Costs O(N)."""
        return self.engine.idle()

    def select(self, count: int) -> Array:
        """int32[<= count], distinct idle clients chosen by the run's selection policy."""
        selection = self.policies.selection
        if count <= 0:
            return np.zeros(0, np.int32)
        if selection is None or self._uniform:
            return self.engine.uniform(count)
        return clients_from(selection, selection.choose(self, count))

    def uniform(self, count: int) -> Array:
        """int32[<= count], distinct idle clients drawn uniformly; without looking at all N."""
        return self.engine.uniform(count)

    def next_available(self) -> int | None:
        """The earliest tick after now at which an idle client that is away returns, if any."""
        return self.engine.next_available()

    def draws(self, counter: int, count: int) -> Array:
        """float64[count], uniform on [0, 1): the strategy's own, keyed by (seed, counter)."""
        return np.asarray(uniforms(self.seed, POLICY, np.arange(count), counter))

    def staleness(self, arrivals: Arrivals) -> Array:
        """int64[n], server version minus the version held."""
        return self.version - arrivals.held

    # -- dispatches ----------------------------------------------------------------------------

    def dispatch(
        self,
        clients: npt.ArrayLike,
        *,
        steps: npt.ArrayLike | None = None,
        tags: npt.ArrayLike = 0,
        scale: npt.ArrayLike = 1.0,
        down_bytes: npt.ArrayLike | None = None,
        up_bytes: npt.ArrayLike | None = None,
    ) -> None:
        """As `hooks.Server.dispatch`."""
        which = np.ascontiguousarray(clients, np.int32).reshape(-1)
        if not len(which):
            return
        if not _distinct(which, len(self.clients)):
            raise InputError(
                f"clients {which[:10].tolist()} are not distinct clients of {len(self.clients)}",
                where="dispatch",
            )
        phases = self._phases(which, steps, scale, down_bytes, up_bytes)
        self.engine.send(which, phases, filled(tags, len(which), np.int64), self._ready)

    def _phases(
        self,
        which: Array,
        steps: npt.ArrayLike | None = None,
        scale: npt.ArrayLike = 1.0,
        down_bytes: npt.ArrayLike | None = None,
        up_bytes: npt.ArrayLike | None = None,
    ) -> Phases:
        codec = self.policies.codec
        if down_bytes is None:
            down_bytes = self._down
            if codec is not None:
                given = codec.down_bytes(self, which, self._down)
                down_bytes = bytes_from(codec, "down_bytes", given, len(which))
        if up_bytes is None:
            up_bytes = self._up
            if codec is not None:
                given = bytes_from(codec, "up_bytes", codec.up_bytes(self, which), len(which))
                up_bytes = given * self.policies.strategy.up_models
        taken = local_steps(self.clients, self.plan, which) if steps is None else steps
        return phases_of(
            self.clients,
            self.plan,
            which,
            steps=taken,
            scale=scale,
            down_bytes=down_bytes,
            up_bytes=up_bytes,
        )

    def wait(self, count: int) -> None:
        """As `hooks.Server.wait`."""
        if count < 0:
            raise InputError(f"cannot wait for {count} updates", where="wait")
        self.engine.wait(int(count))

    def refill(self, concurrency: int) -> None:
        """As `hooks.Server.refill`."""
        if concurrency < 0:
            raise InputError(f"a concurrency of {concurrency}", where="refill")
        if not self.engine.selects and concurrency and not self.engine.concurrency:
            everyone = np.arange(len(self.clients), dtype=np.int32)
            self.engine.standard(self._phases(everyone))
        self.engine.concurrency = int(concurrency)

    def refill_now(self) -> None:
        """The engine asks whom to send work to."""
        self.dispatch(self.select(self.engine.concurrency - self.engine.in_flight))

    def cancel(self, clients: npt.ArrayLike) -> None:
        """As `hooks.Server.cancel`."""
        which = np.ascontiguousarray(clients, np.int32).reshape(-1)
        if len(which) and not 0 <= int(which.min()) <= int(which.max()) < len(self.clients):
            raise InputError(
                f"clients {which[:10].tolist()} are not all of the {len(self.clients)}",
                where="cancel",
            )
        self.engine.cancel(which)

    # -- timers --------------------------------------------------------------------------------

    def timer(self, number: int, at: int | None) -> None:
        """As `hooks.Server.timer`."""
        self._timers.pop(number, None)
        if at is not None:
            self._timers[number] = max(int(at), self.now)
            heapq.heappush(self._queue, (self._timers[number], number))
        self._set_timer()

    def rung(self) -> int:
        """The number of the timer that rings now; it is taken off."""
        _, number = heapq.heappop(self._queue)
        del self._timers[number]
        self._set_timer()
        return number

    def _set_timer(self) -> None:
        queue = self._queue
        while queue and self._timers.get(queue[0][1]) != queue[0][0]:
            heapq.heappop(queue)
        self.engine.set_timer(queue[0][0] if queue else NEVER)

    # -- learning ------------------------------------------------------------------------------

    def receive(self, arrivals: Arrivals, slots: Array) -> None:
        """Arrivals are handed over: until `release` their versions may be used."""
        done = arrivals.done
        self.opened.add(done)
        self._given = done, slots
        self._slots = None
        selection = self.policies.selection
        if selection is not None and (self.task is None or done is not arrivals):
            told = arrivals if self.task is None else arrivals.where(arrivals.status != DONE)
            if len(told):
                selection.report(self, told, None)

    def release(self) -> None:
        """The hook that was given arrivals has returned: their versions may go."""
        if self._given is not None:
            self.engine.release(self._given[1])
        self._given = self._slots = None

    def train(self, arrivals: Arrivals, **local: Any) -> Updates:
        """As `hooks.Server.train`."""
        ring = self._model("train")
        done = arrivals.done
        if not len(done):
            none = np.zeros(0)
            return Updates(np.zeros((0, ring.shape[1]), np.float32), none, none)
        rule = Local(**{"lr": self._rate(done.held), "batch": self.plan.batch, **local})
        updates = self.task.train(
            ring, self._which(done), done.client, done.dispatch, done.steps, rule, self.seed
        )
        policies = self.policies
        if policies.codec is not None:
            updates = updates_from(
                policies.codec, policies.codec.apply(self, done, updates), updates
            )
        if policies.attack is not None:
            updates = updates_from(
                policies.attack, policies.attack.apply(self, done, updates), updates
            )
        if policies.selection is not None:
            policies.selection.report(self, done, updates)
        return updates

    def learned(self, rows: Any, slots: Array, local: dict[str, Any]) -> Array:
        """float32[n, d], updates of automatic steps (rows of `state.LESSON`), as clients sent."""
        rule = Local(**{"lr": self._rate(rows["held"]), "batch": self.plan.batch, **local})
        columns = (np.ascontiguousarray(rows[name]) for name in ("client", "dispatch", "steps"))
        updates = self.task.train(self._model("train"), slots, *columns, rule, self.seed)
        delta: Array = updates.delta
        return delta

    def held(self, arrivals: Arrivals) -> Array:
        """As `hooks.Server.held`."""
        return self._model("held")[self._which(arrivals)]

    def combine(self, coefficients: npt.ArrayLike, deltas: Array) -> Array:
        """As `hooks.Server.combine`."""
        weights = np.asarray(coefficients, np.float64)
        combine = self.policies.combine
        if combine is not None:
            return change_from(combine, combine.combine(self, weights, deltas), deltas.shape[1])
        return weighted_sum(weights, deltas)

    def _model(self, what: str) -> Array:
        if self.ring is None:
            raise InputError(
                "there is no model: only time is simulated",
                where=what,
                mend="ask whether server.task is None",
            )
        return self.ring

    def _which(self, arrivals: Arrivals) -> Array:
        """Slots of the versions that arrivals held."""
        if self._given is not None:
            done, slots = self._given
            if arrivals is done:
                return slots
            if self._slots is None:
                self._slots = dict(zip(_keys(done), slots.tolist(), strict=True))
        known = self._slots or {}
        try:
            return np.array([known[key] for key in _keys(arrivals)], np.int64)
        except KeyError as error:
            raise InputError(
                f"the version that client {error.args[0][0]} held is gone",
                where="train",
                mend="train within the hook that was given the arrivals",
            ) from None

    def _rate(self, held: Array) -> Any:
        """Step size of dispatches by the version that they held."""
        plan = self.plan
        if plan.lr_decay == 1.0 or not plan.lr_decay_every:
            return plan.lr
        return plan.lr * plan.lr_decay ** (held // plan.lr_decay_every)

    # -- versions ------------------------------------------------------------------------------

    def step(self, change: npt.ArrayLike | None, *, used: int | Arrivals) -> None:
        """As `hooks.Server.step`."""
        if self.ended is not None:
            return
        if change is not None:
            new = self.weights + np.asarray(change, np.float64)
            if not np.isfinite(new).all():
                self._stop(
                    f"version {self.version + 1} is not finite: lower the learning rate", False
                )
                return
            self.weights = new
        staleness = self.opened.use(used, self.version)
        count = len(staleness)
        slot = self.engine.step(count)
        if self.ring is not None:
            self.room_for(slot)[slot] = self.weights
        most, mean = 0, 0.0
        if count == 1:
            most, mean = int(staleness[0]), float(staleness[0])
        elif count:
            most = int(np.maximum.reduce(staleness))
            mean = int(np.add.reduce(staleness)) / count
        version, plan = self.version, self.plan
        self.made.append((version, self.now, count, most, self.in_flight, mean))
        self._busy(count)
        if version % max(1, plan.evaluate_every) == 0:
            self.evaluate()
        if plan.versions is not None and version >= plan.versions:
            self.limit()

    def room_for(self, slot: int) -> Array:
        """The ring of versions, with room for this slot."""
        ring = self._model("step")
        while slot >= len(ring):
            self.ring = ring = np.concatenate([ring, np.zeros_like(ring)])
        return ring

    def limit(self) -> None:
        """The plan has been fulfilled."""
        if self.plan.versions is not None and self.version >= self.plan.versions:
            self._stop(f"version {self.version} was made, the last one asked for", True)
        else:
            self._stop(f"{self.engine.arrived} updates have arrived, as many as asked for", True)

    def _busy(self, used: int) -> None:
        """The server works on a step before it sends its version."""
        plan = self.plan
        if self.aggregating is not None and used:
            last = self.opened.last
            made = self.aggregating.step(last.arrived, self.now, last.client.astype(np.int64))
            self._ready = self.engine.ready = max(self._ready, made)
        seconds = plan.aggregate_s + plan.aggregate_s_per_update * used
        if seconds > 0.0:
            self._ready = max(self._ready, self.now) + round(seconds * TICKS_PER_S)
            self.engine.ready = self._ready

    def evaluate(self) -> None:
        """A row of costs, and the task's metrics of the current version."""
        if self.evaluated and self.evaluated[-1][0] == self.version:
            return
        costs = self.engine.spent()
        wasted = costs.wasted + self.opened.wasted
        self.evaluated.append((
            self.version, self.now, self.engine.arrived, costs.down_bytes, costs.up_bytes,
            costs.joules, wasted / TICKS_PER_S,
        ))  # fmt: skip
        if self.task is None:
            return
        found = self.task.evaluate(self.weights)
        self.metrics.append(found)
        target = self.plan.target
        loss = found.get("loss", 0.0)
        if not np.isfinite(loss):
            self._stop(f"the loss of version {self.version} is {loss}: lower the learning rate",
                       False)  # fmt: skip
        elif target is not None and found.get("accuracy", -1.0) >= target:
            self._stop(f"accuracy {found['accuracy']:.4g} was reached by version {self.version}",
                       True)  # fmt: skip

    def discard(self, arrivals: Arrivals) -> None:
        """As `hooks.Server.discard`."""
        self.opened.discard(arrivals.done)

    def finish(self, why: str) -> None:
        """As `hooks.Server.finish`."""
        self._stop(why, True)

    def fail(self, why: str) -> None:
        """End the run, which did not do what was asked for."""
        self._stop(why, False)

    def over(self, until: int) -> None:
        """The time is over."""
        self._stop(f"{until / TICKS_PER_S:g} s are over", True)
        self.end = until

    def _stop(self, why: str, complete: bool) -> None:
        if self.ended is None:
            self.ended, self.complete, self.end = why, complete, self.now


def _distinct(clients: Array, count: int) -> bool:
    """Whether clients are different numbers below `count`."""
    if len(clients) == 1:
        return 0 <= clients[0] < count
    ordered = np.sort(clients)
    within = ordered[0] >= 0 and ordered[-1] < count
    return bool(within and not (ordered[1:] == ordered[:-1]).any())


def _keys(arrivals: Arrivals) -> list[tuple[int, int]]:
    return list(zip(arrivals.client.tolist(), arrivals.dispatch.tolist(), strict=True))
