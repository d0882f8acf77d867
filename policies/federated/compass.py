"""FedCompass: clients of unequal speed are given steps so that groups of them arrive together.

Li, Kim, Kim, Kim and Ravi 2024 (ICLR, arXiv 2309.14675); the rules are those of the authors'
code (APPFL/FedCompass, `compass_scheduler.py` and `fedcompass_aggregator.py`), but for three
points, in which it departs from the paper or loses work:

* the weight falls with staleness, (1 + s)^-a; the code's grows;
* two updates of one client that wait for the same step both count; the code keeps the later one;
* floors are taken with a tolerance of `SLACK` steps, so that equal clients share a group.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.hooks import Arrivals, Server, Strategy

from .absent import Absent
from .asynchronous import DISCOUNTS, discount
from .buffered import MANY, Waiting, joined, step_with
from .limits import one_of, within
from .registry import named
from .synchronous import learns

Array = npt.NDArray[Any]

ABSENT = 0
"""Timer of clients that are away; groups have the numbers from 1."""
SLACK = 1e-6


@dataclass
class Group:
    """Clients that are to arrive together.

    Attributes:
        expected, latest: ticks at which they should be, and must be there; 0 once it is closed.
        away: clients still at work; arrived: clients whose update waits.
        parts: these updates.
    """

    expected: float
    latest: int
    away: set[int]
    arrived: list[int] = field(default_factory=list)
    parts: list[Waiting] = field(default_factory=list)


class Groups:
    """Who is in which group, how fast each client is, and how many steps it is given.

    Args:
        least, most: local steps, Q_min and Q_max.
        patience: lambda, the latest arrival of a group in expected durations.
    """

    def __init__(self, least: int, most: int, patience: float) -> None:
        self.least, self.most, self.patience = least, most, patience
        self.pace: dict[int, float] = {}
        self.of: dict[int, int] = {}
        self.open: dict[int, Group] = {}
        self.made = 0

    def observe(self, client: int, pace: float, momentum: float) -> None:
        """A client took so many ticks a step: c <- (1 - m) c + m * observed."""
        known = self.pace.get(client)
        self.pace[client] = pace if known is None else (1 - momentum) * known + momentum * pace

    def assign(self, client: int, now: int) -> tuple[int, int, int | None]:
        """Find a client's next group: its number, the steps, and where it is new its latest tick.

        It joins the group that leaves it most steps between Q_min and Q_max; without any, it
        founds one that would meet an open group on its next return.
        """
        best = self._join(client, now)
        latest = None
        if best is None:
            steps = self._found(client, now)
            duration = steps * self.pace[client]
            latest = now + max(round(self.patience * duration), 1)
            self.made += 1
            self.open[self.made] = Group(now + duration, latest, set())
            best = self.made, steps
        number, steps = best
        self.open[number].away.add(client)
        self.of[client] = number
        return number, steps, latest

    def leave(self, client: int) -> int:
        """Take a client that came or was lost out of those at work; the number of its group."""
        number = self.of.pop(client)
        self.open[number].away.discard(client)
        return number

    def forget_if_empty(self, number: int) -> None:
        """Drop a group that nobody is in any more."""
        group = self.open[number]
        if not group.away and not group.arrived:
            del self.open[number]

    def _join(self, client: int, now: int) -> tuple[int, int] | None:
        best = None
        for number, group in self.open.items():
            steps = math.floor((group.expected - now) / self.pace[client] + SLACK)
            if self.least <= steps <= self.most and (best is None or steps >= best[1]):
                best = number, steps
        return best

    def _found(self, client: int, now: int) -> int:
        steps = -1
        for group in self.open.values():
            if now < group.latest:
                fastest = min(self.pace[i] for i in [*group.away, *group.arrived])
                back = group.latest + self.most * fastest
                meets = math.floor((back - now) / self.pace[client] + SLACK)
                if meets <= self.most:
                    steps = max(steps, meets)
        return self.most if steps < 0 else max(steps, self.least)


@named("strategy", "fedcompass", source="Li et al. 2024 (ICLR), and the authors' code")
@dataclass
class FedCompass(Strategy):
    """Give faster clients more local steps, so that groups of clients arrive together.

    A group's updates step the model together, w += sum alpha w_i (1 + s_i)^-a D_i with w_i = 1/N,
    when all have arrived or the latest time has come; who is later counts in the next such step.
    The first update of each client steps the model alone; it tells the client's speed.

    Attributes:
        least, most: local steps, Q_min and Q_max.
        patience: lambda, the latest arrival of a group in expected durations.
        momentum: m, of the running mean of a client's time for a step.
        alpha: server step size; weighting, a, b: `asynchronous.discount` by staleness.
        first: local steps of the first dispatch; 0: `most`, as in the authors' code.
        equal: w_i = 1/N; else p_i, a client's share of the samples.
    """

    ignores = frozenset({"selection", "steps", "epochs"})

    least: int = 20
    most: int = 100
    patience: float = 1.2
    momentum: float = 0.9
    alpha: float = 0.9
    weighting: str = "polynomial"
    a: float = 0.5
    b: float = 4.0
    first: int = 0
    equal: bool = True
    _groups: Any = field(init=False, repr=False, compare=False, default=None)
    _late: list[Waiting] = field(init=False, repr=False, compare=False, default_factory=list)
    _absent: Absent = field(
        init=False, repr=False, compare=False, default_factory=lambda: Absent(ABSENT)
    )

    def __post_init__(self) -> None:
        within(self, least=(1, MANY), most=(self.least, MANY), first=(0, MANY))
        within(self, patience=(1, 1e6), momentum=(0, 1), alpha=(0, 1e9), a=(0, 1e6), b=(0, 1e9))
        one_of(self, "weighting", DISCOUNTS)

    def start(self, server: Server) -> None:
        """Send the first model to all clients that are there."""
        self._groups = Groups(self.least, self.most, self.patience)
        self._late, self._absent = [], Absent(ABSENT)
        self._send(server, np.arange(len(server.clients), dtype=np.int32))

    def arrived(self, server: Server, arrivals: Arrivals) -> None:
        """Take the updates one after the other; send clients that were lost out again."""
        done = arrivals.done
        for one in done.singly():
            self._update(server, one)
        if done is arrivals:
            return
        lost = arrivals.where(arrivals.status != 0).client
        for client in lost.tolist():
            if client in self._groups.of:
                self._close_if_complete(server, self._groups.leave(client))
        self._send(server, lost)

    def timer(self, server: Server, number: int) -> None:
        """A group's latest time has come, or clients are back."""
        if number == ABSENT:
            self._send(server, self._absent.back(server))
        elif number in self._groups.open and self._groups.open[number].parts:
            self._close(server, number)

    def _update(self, server: Server, one: Arrivals) -> None:
        client = int(one.client[0])
        pace = (server.now - int(one.sent[0])) / int(one.steps[0])
        self._groups.observe(client, pace, self.momentum)
        part = Waiting(one, server.train(one).delta if learns(server) else None)
        if client not in self._groups.of:
            self._step(server, [part])
            self._send(server, one.client)
            return
        number = self._groups.leave(client)
        group = self._groups.open[number]
        if server.now > group.latest:
            self._late.append(part)
            self._groups.forget_if_empty(number)
            self._send(server, one.client)
        else:
            group.arrived.append(client)
            group.parts.append(part)
            self._close_if_complete(server, number)

    def _close_if_complete(self, server: Server, number: int) -> None:
        group = self._groups.open[number]
        if not group.away and group.parts:
            self._close(server, number)
        else:
            self._groups.forget_if_empty(number)

    def _close(self, server: Server, number: int) -> None:
        """Step with a group's updates and the late ones; its clients go on, the fastest first."""
        group = self._groups.open[number]
        self._step(server, self._late + group.parts)
        arrived = sorted(group.arrived, key=self._groups.pace.__getitem__)
        self._late, group.parts, group.arrived = [], [], []
        group.expected, group.latest = 0.0, 0
        server.timer(number, None)
        self._groups.forget_if_empty(number)
        for client in arrived:
            self._send(server, np.array([client], np.int32))

    def _step(self, server: Server, parts: list[Waiting]) -> None:
        batch = joined(parts)
        who = batch.arrivals.client
        left = discount(self.weighting, server.staleness(batch.arrivals), self.a, self.b)
        share = 1.0 / len(server.clients) if self.equal else server.clients.share[who]
        step_with(server, batch, self.alpha * left * share)

    def _send(self, server: Server, clients: Array) -> None:
        here = self._absent.here(server, clients)
        known = np.array([client in self._groups.pace for client in here.tolist()], bool)
        server.dispatch(here[~known], steps=self.first or self.most)
        for client in here[known].tolist():
            number, steps, latest = self._groups.assign(client, server.now)
            if latest is not None:
                server.timer(number, latest)
            server.dispatch(np.array([client], np.int32), steps=steps)
