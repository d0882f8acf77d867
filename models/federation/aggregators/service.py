"""A service that runs: its instances, its average queue and its costs from step to step."""

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

from .instances import Pool
from .outcome import AggregationRun, totals_of
from .placement import Queue, always_on, shares
from .routes import Routes
from .stations import ARRIVAL, CLOSE, Clock
from .tables import GB, Service
from .tree import Memory, Tree


class Running:
    """One service over the steps of a run.

    Args:
        service: what it is.
        update_bytes: of each update and each sum.

    Attributes:
        free: tick at which the last step's version was made; the next one is served from then.
        rows: of `AggregationRun.steps`.
        violations: of conservation.

    Raises InputError: negative or endless updates, or nodes too small for one.
    """

    def __init__(self, service: Service, update_bytes: float) -> None:
        if not 0 <= update_bytes < 1e15:
            raise InputError(f"updates of {update_bytes} bytes", where="aggregation")
        self.service, self.size = service, float(update_bytes)
        self.clock = Clock()
        self.routes = Routes(service, self.clock, self.size)
        limit = service.leaf_limit(self.size)
        self.pool = Pool(service, self.clock, self.routes.nodes, limit)
        self.queue = Queue(service)
        self.memory = Memory()
        self.free = 0
        self.rows: list[tuple[Any, ...]] = []
        self.violations: list[str] = []
        self._limit = limit

    def step(
        self, arrived: npt.ArrayLike, closes: int, clients: npt.ArrayLike | None = None
    ) -> int:
        """Aggregate a step; the tick at which its version is made.

        Args:
            arrived: int64[U] ticks at which its updates came, in any order.
            closes: tick from which on it is known that no more come, not before the last.
            clients: int[U], whose they are; None: in the order given.

        A step of no updates takes no time.
        """
        given = np.asarray(arrived, np.int64)
        order = np.argsort(given, kind="stable")
        ticks = given[order]
        if len(ticks) and (ticks[0] < 0 or ticks[-1] > closes):
            raise InputError(
                f"updates come from {ticks[0]} to {ticks[-1]}, the step closes at {closes}",
                where="aggregation",
                mend="give ticks from 0 to the close",
            )
        if not len(ticks):
            return max(closes, self.free)
        whose = np.arange(len(ticks)) if clients is None else np.asarray(clients)
        owners = np.argsort(np.argsort(whose, kind="stable"), kind="stable")[order].tolist()
        tree = Tree(
            self.service, self.clock, self.routes, self.pool, self.queue, self.memory, owners
        )
        before = self._spent(), self.pool.started, self.routes.off_node
        served = np.maximum(ticks, self.free)
        for place, tick in enumerate(served.tolist()):
            self.clock.at(tick, ARRIVAL, place, self._arrival(tree, place))
        self.clock.at(max(closes, self.free), CLOSE, 0, tree.close)
        self.clock.run(lambda: tree.made is not None)
        self._check(tree, len(ticks))
        queue, average = self.queue.most, self.queue.average
        self.queue.end_step()
        self.free = tree.ended
        spent = self._spent()
        self.rows.append((
            len(ticks), int(ticks[0]), int(ticks[-1]), closes, tree.ended, len(tree.leaves),
            len({leaf.node for leaf in tree.leaves}), queue, -1.0 if average is None else average,
            self.pool.started - before[1], self.routes.off_node - before[2],
            sum(spent.values()) - sum(before[0].values()),
        ))  # fmt: skip
        return tree.ended

    def _arrival(self, tree: Tree, place: int) -> Any:
        def event() -> None:
            if place == 0:
                self._warm_up()
            tree.arrive(place)

        return event

    def _warm_up(self) -> None:
        """Instances for the leaves that are planned."""
        planned = self.queue.planned()
        for node, leaves in enumerate(shares(self.service, planned, self._limit)):
            if leaves:
                self.pool.warm_up(node, leaves)

    def _spent(self) -> Counter[str]:
        """Ticks of cores so far, by kind of work."""
        found: Counter[str] = Counter()
        for machine in (*self.routes.nodes, self.routes.broker):
            found += machine.cores.busy
        return found

    def _check(self, tree: Tree, count: int) -> None:
        """Every update is in the version once, and nothing is left."""
        step = len(self.rows) + 1
        if tree.made is None:
            self.violations.append(f"step {step} made no version")
        elif sorted(tree.made) != list(range(count)):
            self.violations.append(
                f"step {step}: {len(tree.made)} updates of {count}, or one of them twice"
            )
        if self.queue.now or any(self.queue.load) or any(self.pool.leaves):
            self.violations.append(f"step {step}: updates or leaves are left")
        if abs(self.memory.now) > 1e-6 * max(1.0, self.size):
            self.violations.append(f"step {step}: {self.memory.now} bytes are left in memory")

    def run_until(self, end: int) -> AggregationRun:
        """What it did and cost until a tick."""
        end = max(end, self.free)
        self.clock.run_until(end)
        spent = self._spent()
        fixed = always_on(self.service) if self.service.fixed else 0
        lived = fixed * end if self.service.fixed else self.pool.lived_until(end)
        held = max(self.pool.most, fixed) * self.service.instance_gb * GB
        return AggregationRun.of(
            self.rows,
            totals_of(
                self.service, spent, lived, end,
                instances=max(self.pool.most, fixed), started=self.pool.started,
                off_node=self.routes.off_node, memory=self.memory.most + held,
            ),
            self.violations,
        )  # fmt: skip
