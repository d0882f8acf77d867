"""The executor in SimPy: one short method a rule, dictionaries, and Python's own numbers.

It shares the graph with the kernels (`executor_kernel`, whose docstring has the rules) and nothing
else. Part 1 of an instant are ordinary events of SimPy, part 2 is an event of lower priority,
scheduled once an instant; part 3 follows it. Work is counted in fractions.
"""

import math
from collections import Counter
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import simpy
from numpy.typing import NDArray

from mltwin.sim.ticks import TICKS_PER_S

from .tables import COLLECTIVE, COMPUTE, TRANSFER, Graph

if TYPE_CHECKING:
    from mltwin.models.network.routing import Routes
    from mltwin.models.network.topology import Topology

    from .executor import GraphRun

LAST = 2  # below SimPy's NORMAL (1)
FAR = 2**62
Way = tuple[list[int], float, int]


class GraphReference:
    """One run of a graph.

    Args:
        graph: the tasks.
        by_priority: order "ready" instead of "issue".
        slowdown: of compute while its device communicates.
        durations: ticks of tasks by number, where they differ from the graph's.
        network: shares links between the transfers that it knows.

    After `run`, `start` and `end` hold ticks by task, in the order in which tasks began and ended;
    tasks that can never run are in neither.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        by_priority: bool = False,
        slowdown: Fraction = Fraction(1),
        durations: dict[int, int] | None = None,
        network: "GraphNetwork | None" = None,
    ) -> None:
        self.graph, self.by_priority, self.slowdown = graph, by_priority, slowdown
        self.duration = {**dict(enumerate(graph.duration.tolist())), **(durations or {})}
        self.network = network
        tasks = range(len(graph))
        self.waits_for = {
            t: set(graph.after[graph.after_first[t] : graph.after_first[t + 1]].tolist())
            for t in tasks
        }
        self.followers: dict[int, list[int]] = {t: [] for t in tasks}
        for task, others in self.waits_for.items():
            for other in others:
                self.followers[other].append(task)
        self.stream = list(zip(graph.device.tolist(), graph.stream.tolist(), strict=True))
        self.queue: dict[tuple[int, int], list[int]] = {}  # tasks of each stream, not yet taken
        self.group = graph.group.tolist()
        self.members: dict[int, list[int]] = {}
        for task in tasks:
            if self.stream[task][0] >= 0:
                self.queue.setdefault(self.stream[task], []).append(task)
            if self.group[task] >= 0:
                self.members.setdefault(self.group[task], []).append(task)
        if by_priority:
            for queue in self.queue.values():
                queue.sort(key=lambda t: (-int(graph.priority[t]), t))
        self.start: dict[int, int] = {}
        self.end: dict[int, int] = {}
        self.held: dict[tuple[int, int], int] = {}  # stream -> its task, running or waiting
        self.taken: set[int] = set()
        self.talking: Counter[int] = Counter()  # device -> collectives and transfers that run
        self.work: dict[int, list[Any]] = {}  # compute task -> [work left, counted at, rate, times]
        self.env = simpy.Environment()
        self.choosing = False

    def run(self) -> "GraphReference":
        """All tasks that can run."""
        for task in range(len(self.graph)):
            self._begin_loose(task)
        self.choose_later()
        self.env.run()
        return self

    def _ready(self, task: int) -> bool:
        together = [task]
        if self.by_priority and self.group[task] >= 0:
            together = self.members[self.group[task]]
        return not any(self.waits_for[t] for t in together)

    def _begin_loose(self, task: int) -> None:
        """A task without a stream begins when what it waits for has ended."""
        if self.stream[task][0] < 0 and task not in self.taken and not self.waits_for[task]:
            self._take(task)

    def choose_later(self) -> None:
        """Part 2 after all else of this instant."""
        if not self.choosing:
            self.choosing = True
            event = simpy.Event(self.env)
            event.callbacks.append(lambda _: self._choose())
            event._ok, event._value = True, None
            self.env.schedule(event, priority=LAST)

    def _choose(self) -> None:
        self.choosing = False
        chosen: dict[tuple[int, int], int] = {}
        for stream, queue in self.queue.items():
            candidates = queue if self.by_priority else queue[:1]
            if stream in self.held:
                continue
            task = next(filter(self._ready, candidates), None)
            if task is not None:
                chosen[stream] = task
        for stream, task in chosen.items():
            self.held[stream] = task
            self.queue[stream].remove(task)
            self._take(task)
        if self.network is not None:
            self.network.settle(self)

    def _take(self, task: int) -> None:
        self.taken.add(task)
        together = self.members.get(self.group[task], [task])
        if all(t in self.taken for t in together):
            for t in together:
                self._begin(t)

    def _begin(self, task: int) -> None:
        self.start[task] = int(self.env.now)
        self._talk(task, 1)
        if self.network is not None and task in self.network.ways:
            self.network.add(task)
        elif self.graph.kind[task] == COMPUTE and self.stream[task][0] >= 0:
            now = int(self.env.now)
            self.work[task] = [Fraction(self.duration[task]), now, Fraction(1), 0]
            self._recount(task)
        else:
            self.later(self.duration[task], lambda: self.end_of(task))

    def later(self, ticks: int, call: Callable[[], None]) -> None:
        """Call after so many ticks."""
        timeout = self.env.timeout(ticks)
        timeout.callbacks.append(lambda _: call())

    def _talk(self, task: int, change: int) -> None:
        """A task of a device begins or ends: if it communicates, compute changes its rate."""
        device = self.stream[task][0]
        if self.graph.kind[task] in (COLLECTIVE, TRANSFER) and device >= 0:
            self.talking[device] += change
            for other in [t for t in self.work if self.stream[t][0] == device]:
                self._recount(other)

    def _recount(self, task: int) -> None:
        """What is left of a compute task, and when it ends if nothing changes any more."""
        row, now = self.work[task], int(self.env.now)
        row[0] -= row[2] * (now - row[1])
        row[1], row[3] = now, row[3] + 1
        row[2] = 1 / self.slowdown if self.talking[self.stream[task][0]] else Fraction(1)
        times = row[3]

        def over() -> None:
            if task in self.work and row[3] == times:
                self.end_of(task)

        self.later(max(0, math.ceil(row[0] / row[2])), over)

    def end_of(self, task: int) -> None:
        """Part 1 for one task."""
        self.end[task] = int(self.env.now)
        self.work.pop(task, None)
        if self.stream[task][0] >= 0:
            del self.held[self.stream[task]]
        self._talk(task, -1)
        for other in self.followers[task]:
            self.waits_for[other].discard(task)
            self._begin_loose(other)
        self.choose_later()


class GraphNetwork:
    """Transfers that share links, solved anew from nothing at every change.

    Args:
        ways: task -> its parts, each (links, bytes, delay in ticks).
        capacity: bytes per tick of each link.
    """

    def __init__(self, ways: dict[int, list[Way]], capacity: list[float]) -> None:
        self.ways, self.capacity = ways, capacity
        self.new: list[int] = []
        self.parts = {task: len(parts) for task, parts in ways.items()}
        self.left: dict[tuple[int, int], float] = {}  # (task, part) -> bytes
        self.rates: dict[tuple[int, int], float] = {}
        self.since = self.version = 0
        self.changed = False

    def add(self, task: int) -> None:
        """A transfer has begun."""
        self.new.append(task)

    def settle(self, run: GraphReference) -> None:
        """Part 3."""
        for task in self.new:
            for part, (_, nbytes, delay) in enumerate(self.ways[task]):
                run.later(delay, self._arrival(run, (task, part), nbytes))
        self.new = []
        if self.changed:
            self.changed = False
            now = int(run.env.now)
            self._count(now)
            self.rates = self._fair()
            self.version += 1
            for end in {now + self._ticks(key) for key in self.left}:
                run.later(end - now, self._departure(run, self.version))

    def _ticks(self, key: tuple[int, int]) -> int:
        if self.left[key] <= 0:
            return 0
        return math.ceil(self.left[key] / self.rates[key]) if self.rates[key] else FAR

    def _count(self, now: int) -> None:
        for key in self.left:
            self.left[key] -= self.rates.get(key, 0.0) * (now - self.since)
        self.since = now

    def _arrival(
        self, run: GraphReference, key: tuple[int, int], nbytes: float
    ) -> Callable[[], None]:
        def arrive() -> None:
            self._count(int(run.env.now))
            links = self.ways[key[0]][key[1]][0]
            self.left[key], self.rates[key] = nbytes if links else 0.0, 0.0
            self.changed = True
            run.choose_later()

        return arrive

    def _departure(self, run: GraphReference, version: int) -> Callable[[], None]:
        def depart() -> None:
            if version != self.version:
                return
            self._count(int(run.env.now))
            for key in [key for key in self.left if self._ticks(key) == 0]:
                del self.left[key], self.rates[key]
                self.changed = True
                self.parts[key[0]] -= 1
                if self.parts[key[0]] == 0:
                    run.end_of(key[0])
            run.choose_later()

        return depart

    def _fair(self) -> dict[tuple[int, int], float]:
        """Progressive filling: the link that gives least to each of its flows fixes them."""
        free = list(self.capacity)
        rates: dict[tuple[int, int], float] = {}
        open_flows = {key: self.ways[key[0]][key[1]][0] for key in self.left}
        while open_flows:
            crossed = Counter(link for links in open_flows.values() for link in links)
            if not crossed:
                return rates | dict.fromkeys(open_flows, 0.0)  # on no link: already there
            link = min(crossed, key=lambda one: (free[one] / crossed[one], one))
            share = free[link] / crossed[link]
            for key in [key for key, links in open_flows.items() if link in links]:
                rates[key] = share
                for one in open_flows.pop(key):
                    free[one] -= share
        return rates


def execute_reference(
    graph: Graph,
    *,
    topology: "Topology | None" = None,
    routing: str = "ecmp",
    fidelity: str = "alphabeta",
    order: str = "issue",
    overlap_slowdown: float = 1.0,
    parts: int = 1,
    seed: int = 0,
) -> "GraphRun":
    """The same as `executor.execute`, by this reference; for small graphs.

    It shares with `execute` the ways of transfers and the checks, not what follows from them.
    """
    from .blocked import stuck_error
    from .executor import GraphRun, ways_of
    from .executor_tables import GraphPlan

    wired, found = ways_of(graph, topology, routing, fidelity, order, parts=parts, seed=seed)
    plan = GraphPlan(graph, by_priority=order == "ready", slowdown=overlap_slowdown)
    network, alone = None, {}
    if found is not None and topology is not None:
        capacity = (topology.bytes_per_s / TICKS_PER_S).tolist()
        ways = ways_of_tasks(np.flatnonzero(wired), graph.bytes, found)
        network = GraphNetwork(ways, capacity) if fidelity == "maxmin" else None
        alone = {task: max(_alone(way, capacity) for way in own) for task, own in ways.items()}
    run = GraphReference(
        graph,
        by_priority=plan.by_priority,
        slowdown=plan.slowdown,
        durations=alone,
        network=network,
    ).run()
    tasks = len(graph)
    start, end = (
        np.array([times.get(task, -1) for task in range(tasks)], np.int64)
        for times in (run.start, run.end)
    )
    if len(run.end) < tasks:
        streams = zip(plan.device.tolist(), plan.stream.tolist(), strict=True)
        held = np.array([run.held.get(stream, -1) for stream in streams], np.int32)
        raise stuck_error(plan, end, held)
    return GraphRun(
        graph=graph,
        start=start,
        end=end,
        order=np.array(list(run.end), np.int32),
        server=plan.server,
        device=plan.device,
        stream=plan.stream,
        overlap_slowdown=float(plan.slowdown),
    )


def ways_of_tasks(
    tasks: NDArray[np.int64], nbytes: NDArray[np.float64], found: "Routes"
) -> dict[int, list[Way]]:
    """The parts of each transfer, as `GraphNetwork` takes them."""
    ways: dict[int, list[Way]] = {int(task): [] for task in tasks}
    for part, flow in enumerate(found.flow.tolist()):
        task = int(tasks[flow])
        delay = round(float(found.latency_s[part]) * TICKS_PER_S)
        share = float(nbytes[task]) * float(found.share[part])
        ways[task].append((found.path(part).tolist(), share, delay))
    return ways


def _alone(way: Way, capacity: list[float]) -> int:
    """Ticks of a part that shares its links with nothing."""
    links, nbytes, delay = way
    if not links:
        return delay
    return delay + math.ceil(nbytes / min(capacity[link] for link in links))
