"""Small random federations, and strategies for tests of the system kernel."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mltwin.models.federation.hooks import DONE, Arrivals, Policies, Selection, Strategy
from mltwin.models.federation.links import SharedLinks
from mltwin.models.federation.outcome import FederatedRun
from mltwin.models.federation.simulate import simulate
from mltwin.models.federation.tables import Availability, Clients, LinkTraces, Plan


@dataclass
class Rounds(Strategy):
    """Synchronous rounds: `sampled` clients are sent work, the first `wanted` updates count."""

    sampled: int = 3
    wanted: int = 3

    def start(self, server: Any) -> None:
        self._round(server)

    def _round(self, server: Any) -> None:
        chosen = server.select(self.sampled)
        self.out = set(chosen.tolist())
        server.dispatch(chosen)
        server.wait(min(self.wanted, max(1, len(chosen))))

    def arrived(self, server: Any, arrivals: Arrivals) -> None:
        self.out -= set(arrivals.client.tolist())
        server.cancel(np.array(sorted(self.out), np.int32))
        server.step(None, used=len(arrivals.done))
        self._round(server)


@dataclass
class Buffered(Strategy):
    """A step every `buffer` updates, work for `concurrency` clients; by hooks."""

    buffer: int = 3
    concurrency: int = 5

    def start(self, server: Any) -> None:
        server.wait(self.buffer)
        server.refill(self.concurrency)

    def arrived(self, server: Any, arrivals: Arrivals) -> None:
        if len(arrivals.done):
            server.step(None, used=len(arrivals.done))


@dataclass
class Counting(Buffered):
    """The same, which the kernel may do alone."""

    @property
    def automatic(self) -> tuple[int, int]:
        return self.buffer, self.concurrency


@dataclass
class Erratic(Strategy):
    """Does anything that the server allows, as its keyed draws say."""

    busy: int = 5

    def start(self, server: Any) -> None:
        self.calls, self.seen = 0, 0
        self.kept: Arrivals | None = None
        self._act(server)
        server.dispatch(server.select(self.busy))

    def arrived(self, server: Any, arrivals: Arrivals) -> None:
        assert arrivals.arrived.max(initial=0) <= server.now
        assert np.all(server.staleness(arrivals) >= 0)
        done = arrivals.done
        u = self._draw(server, 2)
        if u[0] < 0.15:
            server.discard(done)
        elif u[0] < 0.3:
            server.step(None, used=done)
        elif u[0] < 0.6:
            server.step(None, used=int(1 + 3 * u[1]))
        self.seen += len(done)
        self._act(server)

    def timer(self, server: Any, number: int) -> None:
        if self._draw(server, 1)[0] < 0.5:
            server.step(None, used=1)
        self._act(server)

    def _draw(self, server: Any, count: int) -> Any:
        self.calls += 1
        return server.draws(self.calls, count)

    def _act(self, server: Any) -> None:
        u = self._draw(server, 12)
        if u[0] < 0.5:
            self._send(server)
        if u[1] < 0.3:
            server.wait(int(4 * u[2]))
        if u[3] < 0.4:
            number = int(4 * u[4])
            server.timer(number, None if u[5] < 0.2 else server.now + int(30 * u[5]))
        if u[6] < 0.2:
            busy = np.setdiff1d(np.arange(len(server.clients)), server.idle())
            server.cancel(busy[self._draw(server, len(busy)) < 0.4])
        if u[7] < 0.25:
            server.refill(int((self.busy + 1) * u[8]))
        if u[9] < 0.2 and server.in_flight == 0:
            back = server.next_available()
            server.timer(9, back)

    def _send(self, server: Any) -> None:
        u = self._draw(server, 6)
        count = int(1 + 3 * u[0])
        if u[1] < 0.4:
            chosen = server.select(count)
        elif u[1] < 0.7:
            chosen = server.uniform(count)
        else:
            chosen = server.idle()[:count]
        server.dispatch(
            chosen,
            steps=None if u[2] < 0.5 else np.arange(1, 1 + len(chosen)),
            tags=self.calls,
            scale=1.0 if u[3] < 0.5 else 0.5,
            down_bytes=None if u[4] < 0.7 else 4.0,
            up_bytes=None if u[5] < 0.7 else 0.0,
        )


@dataclass
class Lowest(Selection):
    """The idle clients of the lowest numbers that have not failed last; a selection by hook."""

    def __post_init__(self) -> None:
        self.failed: set[int] = set()

    def choose(self, server: Any, count: int) -> Any:
        idle = [client for client in server.idle().tolist() if client not in self.failed]
        self.failed.clear()
        return np.array(idle[:count], np.int32)

    def report(self, server: Any, arrivals: Arrivals, updates: Any) -> None:
        assert updates is None
        self.failed |= set(arrivals.client[arrivals.status != DONE].tolist())


def random_availability(draw: Any, clients: int) -> Availability:
    """Traces of a few short intervals; some repeat, some are never there, some always."""
    first, begin, end, period = [0], [], [], []
    for _ in range(int(draw.integers(1, 4))):
        edges = np.unique(draw.integers(0, 60, 2 * int(draw.integers(0, 4))))
        edges = edges[: len(edges) // 2 * 2]
        begin += edges[::2].tolist()
        end += edges[1::2].tolist()
        first.append(len(begin))
        last = int(edges[-1]) if len(edges) else 5
        kind = draw.random()
        period.append(0 if kind < 0.3 else last if kind < 0.6 else last + int(draw.integers(0, 9)))
    if draw.random() < 0.2:
        begin.append(0), end.append(20), period.append(20), first.append(len(begin))
    return Availability(
        np.array(first, np.int64),
        np.array(begin, np.int64),
        np.array(end, np.int64),
        np.array(period, np.int64),
        draw.integers(-1, len(period), clients).astype(np.int32),
        draw.integers(0, 50, clients).astype(np.int64),
    )


def random_links(seed: int, clients: int) -> LinkTraces:
    """Traces of a few short pieces, half of them at rate 0; some repeat, some hold."""
    draw = np.random.default_rng([13, seed])
    first, begin, rates, period = [0], [], [], []
    for _ in range(int(draw.integers(1, 4))):
        pieces = int(draw.integers(1, 6))
        edges = np.concatenate([[0], 1 + draw.choice(40, pieces, replace=False)])
        edges.sort()
        kinds = [0.0, 1e9, 3e9] if draw.random() < 0.7 else draw.random(3) * 2e9
        speed = draw.choice(kinds, pieces)
        if speed[-1] == 0.0:
            speed[-1] = 0.5e9
        begin += edges[:-1].tolist()
        rates += speed.tolist()
        first.append(len(begin))
        period.append(int(edges[-1]) if draw.random() < 0.7 else 0)
    return LinkTraces(
        np.array(first, np.int64),
        np.array(begin, np.int64),
        np.array(rates, np.float64),
        np.array(period, np.int64),
        draw.integers(-1, len(period), clients).astype(np.int32),
        draw.integers(-1, len(period), clients).astype(np.int32),
        draw.integers(0, 90, clients).astype(np.int64),
    )


def random_federation(seed: int) -> tuple[Clients, Plan, int]:
    """Clients whose dispatches last a few ticks, so that much happens at one tick."""
    draw = np.random.default_rng(seed)
    count = int(draw.integers(1, 12))
    whole = draw.integers(0, 6, count) * 1e-9
    clients = Clients.make(
        draw.integers(1, 9, count),
        s_per_sample=whole if draw.random() < 0.7 else draw.random(count) * 5e-9,
        jitter=0.0 if draw.random() < 0.6 else draw.random(count) * 0.5,
        down_bytes_per_s=draw.choice([1e9, 3e9, np.inf], count),
        up_bytes_per_s=draw.choice([1e9, 2e9, np.inf], count),
        latency_s=draw.integers(0, 3, count) * 1e-9,
        failure=0.0 if draw.random() < 0.5 else draw.random(count) * 0.5,
        availability=None if draw.random() < 0.2 else random_availability(draw, count),
        compute_w=draw.random(count) * 5,
        send_w=draw.random(count),
        receive_w=draw.random(count),
    )
    plan = Plan(
        steps=int(draw.integers(0, 4)),
        batch=int(draw.integers(0, 4)),
        epochs=None if draw.random() < 0.8 else 1.5,
        model_bytes=float(draw.integers(0, 12)),
        overhead_s=1e-9 * int(draw.integers(0, 3)),
        interruption=str(draw.choice(["drop", "pause", "finish"])),
        detect_s=None if draw.random() < 0.15 else 1e-9 * int(draw.integers(0, 12)),
        aggregate_s=1e-9 * int(draw.choice([0, 0, 3])),
        aggregate_s_per_update=1e-9 * int(draw.choice([0, 0, 1])),
        until_s=1e-9 * int(draw.integers(50, 900)),
        versions=None if draw.random() < 0.5 else int(draw.integers(1, 40)),
        updates=None if draw.random() < 0.7 else int(draw.integers(1, 60)),
        evaluate_every=int(draw.integers(1, 4)),
    )
    return clients, plan, seed


def random_policies(seed: int) -> Policies:
    """Fresh policies: they keep state during a run."""
    draw = np.random.default_rng([7, seed])
    busy = int(draw.integers(1, 7))
    buffer = int(draw.integers(1, 4))
    strategies = (Erratic(busy), Erratic(busy), Rounds(busy, min(busy, buffer)),
                  Buffered(buffer, busy), Counting(buffer, busy))  # fmt: skip
    return Policies(
        strategies[int(draw.integers(0, len(strategies)))],
        selection=None if draw.random() < 0.7 else Lowest(),
    )


def assert_same(fast: FederatedRun, plain: FederatedRun, label: object = "") -> None:
    """Two runs are the same, row by row and bit by bit."""
    assert np.array_equal(fast.log, plain.log), label
    assert (fast.end, fast.ended, fast.complete) == (plain.end, plain.ended, plain.complete), label
    assert fast.totals == plain.totals, label
    assert np.array_equal(fast.staleness, plain.staleness), label
    for name in ("versions", "evaluations", "clients"):
        one, two = getattr(fast, name), getattr(plain, name)
        assert list(one) == list(two), label
        for column in one:
            assert np.array_equal(one[column], two[column]), (label, name, column)


def assert_twins(
    clients: Clients, seed: int, plan: Plan, key: int, network: SharedLinks | None = None
) -> FederatedRun:
    """The kernel's run of a random case, which is the twin's and breaks no law."""
    fast, plain = (
        simulate(
            clients, random_policies(seed), plan, seed=key, network=network, record=True,
            reference=twin,
        )
        for twin in (False, True)
    )  # fmt: skip
    assert_same(fast, plain, seed)
    assert not fast.violations and not plain.violations, seed
    return fast


def told(run: FederatedRun) -> bytes:
    """All that a recorded run says, as bytes."""
    columns = [
        column.tobytes()
        for name in ("versions", "evaluations", "clients")
        for column in getattr(run, name).values()
    ]
    said = repr((run.totals, run.end, run.ended)).encode()
    return b"".join([run.log.tobytes(), said, *columns])


def printed(script: str, **environment: str) -> str:
    """What a script prints that is run in a process of its own, told of this folder."""
    found = subprocess.run(
        [sys.executable, "-c", script, str(Path(__file__).resolve().parent)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()
