"""Clients of a federation: how fast, when there, over which links, with how much data.

Time is int64 ticks of 1 ns (a training runs for weeks).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from mltwin.models.network.bandwidth.tables import REPEAT, STOP, CapacityTrace
from mltwin.sim.errors import InputError
from mltwin.sim.ticks import TICKS_PER_S as NETWORK_TICKS_PER_S

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
class LinkTraces:
    """Rates of clients' links that change: traces of pieces of constant rate, shared by clients.

    A client is at place `tick + offset` of its traces. `make` and `of` check them.

    Attributes:
        first: int64[T+1], rows of the pieces of a trace.
        begin: int64[P] ticks at which a piece begins; 0 first, rising within a trace.
        bytes_per_s: float64[P], 0 or more.
        period: int64[T] ticks after which a trace starts again; 0: its last rate goes on.
        down, up: int32[N], the trace of a client in each direction; -1: its constant rate.
        offset: int64[N] ticks by which a client is ahead in its traces, 0 to 10^18.
    """

    first: Array
    begin: Array
    bytes_per_s: Array
    period: Array
    down: Array
    up: Array
    offset: Array

    @classmethod
    def of(
        cls,
        traces: Sequence[CapacityTrace],
        *,
        down: npt.ArrayLike,
        up: npt.ArrayLike,
        offset: npt.ArrayLike = 0,
    ) -> "LinkTraces":
        """Traces of the network's models, whose ticks of 1 ps are cut to whole ns.

        Args:
            traces: T of them; each repeats, or holds its last rate.
            down, up: int[N] or one for all, the trace of a client; -1: its constant rate.
            offset: int[N] ticks of 1 ns or one for all, where in its traces a client begins.

        Raises:
            InputError: a trace that stops or comes to stay at 0 (a transfer would never end), is
                shorter than 1 ns, or is not there; columns of other lengths.
        """
        sides = np.broadcast_arrays(np.atleast_1d(down), np.atleast_1d(up), np.atleast_1d(offset))
        coarser = NETWORK_TICKS_PER_S // TICKS_PER_S
        begins, rates, periods, first = [], [], [], [0]
        for trace in traces:
            if trace.afterwards == STOP:
                raise InputError(
                    "the rate is 0 after its end: a transfer would never end",
                    where=trace.name,
                    mend='give a trace that repeats or holds ("repeat", "hold")',
                )
            begin = trace.ticks // coarser
            last = np.append(np.diff(begin) > 0, True)  # of pieces that begin in the same ns
            begins.append(begin[last])
            rates.append(trace.bytes_per_s[last])
            first.append(first[-1] + int(last.sum()))
            whole = int(trace.end) // coarser
            if whole <= begins[-1][-1]:
                raise InputError("ends in the ns in which it begins", where=trace.name)
            periods.append(whole if trace.afterwards == REPEAT else 0)
        none = [np.zeros(0)]
        return cls(
            np.array(first, np.int64),
            np.concatenate(begins or none).astype(np.int64),
            np.concatenate(rates or none).astype(np.float64),
            np.array(periods, np.int64),
            sides[0].astype(np.int32),
            sides[1].astype(np.int32),
            sides[2].astype(np.int64),
        )

    def __post_init__(self) -> None:
        where = "clients.links"
        count = len(self.period)
        if len(self.first) != count + 1 or len(self.begin) != len(self.bytes_per_s):
            raise InputError("columns of the traces are of different lengths", where=where)
        if not len(self.down) == len(self.up) == len(self.offset):
            raise InputError(
                f"{len(self.down)} clients down, {len(self.up)} up, {len(self.offset)} offsets",
                where=where,
            )
        for trace in range(count):
            wrong = self._wrong(trace)
            if wrong:
                raise InputError(wrong, where=f"{where}, trace {trace}")
        for name, used in (("down", self.down), ("up", self.up)):
            if len(used) and not (-1 <= used.min() <= used.max() < count):
                raise InputError(
                    "a client names a trace that is not there", where=f"{where}.{name}"
                )
        if len(self.offset) and not (0 <= self.offset.min() <= self.offset.max() <= 10**18):
            raise InputError("is not 0 to 10^18 ticks", where=f"{where}.offset")

    def _wrong(self, trace: int) -> str:
        """What is wrong with a trace; "" if nothing."""
        rows = slice(int(self.first[trace]), int(self.first[trace + 1]))
        begin, rates, period = self.begin[rows], self.bytes_per_s[rows], int(self.period[trace])
        if not len(begin):
            return "has no piece"
        if begin[0] != 0 or np.any(np.diff(begin) <= 0) or 0 < period <= begin[-1]:
            return "its pieces do not begin at 0 and rise to below its period"
        if not np.all(np.isfinite(rates) & (rates >= 0)):
            return "a rate is not a number of 0 or more"
        if rates[-1] == 0 if period <= 0 else not rates.any():
            return "comes to stay at rate 0: a transfer would never end"
        return "a period is below 0" if period < 0 else ""

    def __len__(self) -> int:
        return len(self.period)

    @cached_property
    def moved(self) -> Array:
        """float64[P], bytes that can pass from the start of a trace to each of its pieces."""
        return self._sums[0]

    @cached_property
    def whole(self) -> Array:
        """float64[T], bytes that can pass in one period; infinite where the last rate goes on."""
        return self._sums[1]

    @cached_property
    def _sums(self) -> tuple[Array, Array]:
        moved, whole = np.zeros(len(self.begin)), np.full(len(self), np.inf)
        for trace, period in enumerate(self.period.tolist()):
            rows = slice(int(self.first[trace]), int(self.first[trace + 1]))
            length = np.diff(np.append(self.begin[rows], period or self.begin[rows][-1]))
            passed = np.cumsum(self.bytes_per_s[rows] * length / TICKS_PER_S)
            moved[rows][1:] = passed[:-1]
            if period:
                whole[trace] = passed[-1]
        return moved, whole

    @property
    def mean_bytes_per_s(self) -> Array:
        """float64[T], mean rate of each trace in the long run."""
        last = self.bytes_per_s[self.first[1:] - 1]
        period = np.maximum(self.period, 1)
        return np.where(self.period > 0, self.whole / (period / TICKS_PER_S), last)


@dataclass(frozen=True, eq=False)
class Clients:
    """N clients; made and checked by `make`.

    Attributes:
        samples: int64[N], data of a client (its weight p_i is its share of all samples).
        s_per_sample: float64[N], seconds to train on one sample of the reference model.
        jitter: float64[N], sigma of the log-normal factor of mean 1 on each dispatch's compute
            time; 0: none.
        down_bytes_per_s, up_bytes_per_s: float64[N]; infinite: a transfer takes only latency. Of
            clients whose link follows a trace, its mean, for policies that ask how fast it is.
        latency_s: float64[N], added to each transfer.
        failure: float64[N], probability that a dispatch ends without a result, at a uniform point
            of its duration.
        availability: when they are there.
        compute_w, send_w, receive_w: float64[N], watts above idle while computing and sending.
        memory_bytes: float64[N]; infinite where it does not matter.
        group: int32[N], which device model, site or class a client belongs to; -1 none.
        names: of groups.
        links: rates that change; None: all are constant.
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
    links: LinkTraces | None = None

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
        links: LinkTraces | None = None,
    ) -> "Clients":
        """Checked clients; scalars stand for all of them. Rates of links that follow a trace become
        its mean.

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
        if links is not None:
            _means_of(links, columns, len(count))
        groups = np.broadcast_to(np.asarray(group, np.int32), count.shape).copy()
        return cls(
            samples=count,
            availability=there,
            group=groups,
            names=names,
            facts=dict(facts or {}),
            links=links,
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


def _means_of(links: LinkTraces, columns: dict[str, Array], count: int) -> None:
    """Put the means of traces into the columns of the rates."""
    if len(links.down) != count:
        raise InputError(
            f"links of {len(links.down)} clients, samples of {count}", where="clients.links"
        )
    means = links.mean_bytes_per_s
    for name, trace in (("down_bytes_per_s", links.down), ("up_bytes_per_s", links.up)):
        follows = trace >= 0
        columns[name][follows] = means[trace[follows]]


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
        detect_s: until the server knows of a loss; None: never, then a strategy needs a deadline or
            more clients than it waits for: what is lost stays under way.
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
