"""Clients of a federation: how fast, when there, over which links, with how much data.

Time is int64 ticks of 1 ns (a training runs for weeks).
"""

from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

TICKS_PER_S = 10**9
MAX_S = 9.2e9
"""Seconds: 290 years."""

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Availability:
    """When clients are there: traces of intervals, each used by any number of clients.

    Attributes:
        first: int64[T+1], rows of the intervals of a trace.
        begin, end: int64[I] ticks, disjoint and rising within a trace; there from begin to just
            before end.
        period: int64[T] ticks after which a trace starts again; 0: it ends with its last interval.
        trace: int32[N], the trace of a client; -1: always there.
        offset: int64[N] ticks by which a client is ahead in its trace.
    """

    first: Array
    begin: Array
    end: Array
    period: Array
    trace: Array
    offset: Array

    @classmethod
    def always(cls, clients: int) -> "Availability":
        """Clients that never leave."""
        none = np.zeros(0, np.int64)
        return cls(
            np.zeros(1, np.int64),
            none,
            none,
            none,
            np.full(clients, -1, np.int32),
            np.zeros(clients, np.int64),
        )

    def __post_init__(self) -> None:
        lengths = np.diff(self.first)
        traces = np.repeat(np.arange(len(lengths)), lengths)
        wrong = self.end <= self.begin
        wrong[1:] |= (self.begin[1:] <= self.end[:-1]) & (traces[1:] == traces[:-1])
        wrong |= (self.begin < 0) | (
            (self.period[traces] > 0) & (self.end > self.period[traces])
            if len(traces)
            else np.zeros(0, bool)
        )
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise InputError(
                f"interval {row - int(self.first[traces[row]])} of trace {int(traces[row])} is "
                f"from {self.begin[row] / TICKS_PER_S:g} to {self.end[row] / TICKS_PER_S:g} s",
                where="availability",
                mend="give intervals that rise, do not touch and end within the period",
            )
        if len(self.trace) and not (-1 <= self.trace.min() <= self.trace.max() < len(lengths)):
            raise InputError("a client names a trace that is not there", where="availability")


@dataclass(frozen=True, eq=False)
class Clients:
    """N clients; made and checked by `make`.

    Attributes:
        samples: int64[N], data of a client (its weight p_i is its share of all samples).
        s_per_sample: float64[N], seconds to train on one sample of the reference model.
        jitter: float64[N], sigma of the log-normal factor of mean 1 on each dispatch's compute
            time; 0: none.
        down_bytes_per_s, up_bytes_per_s: float64[N]; infinite: a transfer takes only latency.
        latency_s: float64[N], added to each transfer.
        failure: float64[N], probability that a dispatch ends without a result, at a uniform point
            of its duration.
        availability: when they are there.
        compute_w, send_w, receive_w: float64[N], watts above idle while computing and sending.
        memory_bytes: float64[N]; infinite where it does not matter.
        group: int32[N], which device model, site or class a client belongs to; -1 none.
        names: of groups.
    """

    samples: Array
    s_per_sample: Array
    jitter: Array
    down_bytes_per_s: Array
    up_bytes_per_s: Array
    latency_s: Array
    failure: Array
    availability: Availability
    compute_w: Array
    send_w: Array
    receive_w: Array
    memory_bytes: Array
    group: Array
    names: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def make(
        cls,
        samples: npt.ArrayLike,
        *,
        s_per_sample: npt.ArrayLike = 1e-3,
        jitter: npt.ArrayLike = 0.0,
        down_bytes_per_s: npt.ArrayLike = np.inf,
        up_bytes_per_s: npt.ArrayLike = np.inf,
        latency_s: npt.ArrayLike = 0.0,
        failure: npt.ArrayLike = 0.0,
        availability: Availability | None = None,
        compute_w: npt.ArrayLike = 0.0,
        send_w: npt.ArrayLike = 0.0,
        receive_w: npt.ArrayLike = 0.0,
        memory_bytes: npt.ArrayLike = np.inf,
        group: npt.ArrayLike = -1,
        names: tuple[str, ...] = (),
        facts: dict[str, Any] | None = None,
    ) -> "Clients":
        """Checked clients; scalars stand for all of them.

        Raises:
            InputError: no client, a client without data, a negative, missing or impossible value
                (the first client that has one is named).
        """
        count = np.atleast_1d(np.asarray(samples, np.int64))
        if count.ndim != 1 or not len(count):
            raise InputError("there is no client", where="clients")
        limits = {
            "s_per_sample": (s_per_sample, 0.0, 1e6),
            "jitter": (jitter, 0.0, 10.0),
            "down_bytes_per_s": (down_bytes_per_s, np.nextafter(0.0, 1.0), np.inf),
            "up_bytes_per_s": (up_bytes_per_s, np.nextafter(0.0, 1.0), np.inf),
            "latency_s": (latency_s, 0.0, 1e6),
            "failure": (failure, 0.0, 1.0),
            "compute_w": (compute_w, 0.0, 1e6),
            "send_w": (send_w, 0.0, 1e6),
            "receive_w": (receive_w, 0.0, 1e6),
            "memory_bytes": (memory_bytes, 0.0, np.inf),
        }
        _check("samples", count, 1, 2**62)
        columns = {
            name: _column(name, values, len(count), low, high)
            for name, (values, low, high) in limits.items()
        }
        there = availability or Availability.always(len(count))
        if len(there.trace) != len(count):
            raise InputError(
                f"availability of {len(there.trace)} clients, samples of {len(count)}",
                where="clients",
            )
        groups = np.broadcast_to(np.asarray(group, np.int32), count.shape).copy()
        return cls(
            samples=count,
            availability=there,
            group=groups,
            names=names,
            facts=dict(facts or {}),
            **columns,
        )

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def share(self) -> Array:
        """float64[N], p_i: the client's part of all samples."""
        return self.samples / self.samples.sum()

    def changed(self, **columns: Any) -> "Clients":
        """The same clients with some columns replaced (unchecked)."""
        return replace(self, **columns)


def _column(name: str, values: npt.ArrayLike, count: int, low: float, high: float) -> Array:
    given = np.asarray(values, np.float64)
    if given.ndim > 1 or given.size not in (1, count):
        raise InputError(f"{given.size} values for {count} clients", where=f"clients.{name}")
    column = np.broadcast_to(given, (count,)).copy()
    _check(name, column, low, high)
    return column


def _check(name: str, column: Array, low: float, high: float) -> None:
    wrong = np.flatnonzero(~((column >= low) & (column <= high)))
    if len(wrong):
        client = int(wrong[0])
        what = "it has no data" if name == "samples" and column[client] == 0 else ""
        raise InputError(
            f"{name} of client {client} is {column[client]}" + (f": {what}" if what else ""),
            where="clients",
            mend="leave the client out" if what else f"give {low:g} to {high:g}",
        )


class StepTimes(Protocol):
    """An aggregation service in one run; it keeps its state from step to step."""

    def step(
        self, arrived: npt.ArrayLike, closes: int, clients: npt.ArrayLike | None = None
    ) -> int:
        """The tick at which a version is there that is asked for at tick `closes` and made of
        updates that arrived at these ticks from these clients."""

    def run_until(self, end: int) -> Any:
        """What it did and cost until a tick."""


class Aggregation(Protocol):
    """How a server turns updates into a version, where that takes time."""

    def begin(self, update_bytes: float) -> StepTimes:
        """A service for a run whose updates have so many bytes each."""


DROP, PAUSE, FINISH = range(3)
INTERRUPTIONS = ("drop", "pause", "finish")


@dataclass(frozen=True)
class Plan:
    """What clients are asked to do, what the server spends, and when a run ends.

    Attributes:
        steps, batch, lr: local steps of SGD, samples of a step (0: all of a client's), step size.
        epochs: in place of `steps`: a client takes ceil(epochs * samples / batch) steps.
        lr_decay, lr_decay_every: the step size is multiplied so every so many server versions.
        model_bytes: of one transfer of the model; None: 4 bytes a parameter.
        compute_factor: FLOPs a sample, relative to the model that `s_per_sample` is for.
        overhead_s: of each dispatch at the client, before it trains.
        interruption: a client that leaves while at work loses it ("drop"), goes on when it is back
            ("pause") or ends it all the same ("finish").
        detect_s: until the server knows of a loss; None: never.
        aggregate_s, aggregate_s_per_update: server time of a step, before its version is sent.
        aggregation: a service whose model says how long a step takes (`aggregators.Service`), then
            `aggregate_s` and the rest come on top; None: there is none.
        until_s, versions, updates: limits of virtual time, server versions, updates arrived.
        target: accuracy at which a run ends; None: it goes on.
        evaluate_every: versions between evaluations; the first and the last version are evaluated.
    """

    steps: int = 5
    batch: int = 10
    lr: float = 0.1
    epochs: float | None = None
    lr_decay: float = 1.0
    lr_decay_every: int = 0
    model_bytes: float | None = None
    compute_factor: float = 1.0
    overhead_s: float = 0.0
    interruption: str = "drop"
    detect_s: float | None = 0.0
    aggregate_s: float = 0.0
    aggregate_s_per_update: float = 0.0
    aggregation: "Aggregation | None" = None
    until_s: float | None = None
    versions: int | None = None
    updates: int | None = None
    target: float | None = None
    evaluate_every: int = 1
