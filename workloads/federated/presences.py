"""When clients are there: laws of availability, by name.

Each takes the number of clients and its own parameters, and gives `Availability`. Laws that draw
share a pool of traces (4,096 unless told otherwise) among the clients, each with an offset of whole
days of its own, so a million clients cost megabytes.
"""

import functools
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from mltwin.models.federation.tables import TICKS_PER_S, Availability
from mltwin.sim.errors import InputError

from . import fedscale as fedscale_files
from . import flash
from .draws import AVAILABILITY, OFFSET, Array, client_uniforms
from .presence import DAY_S, Presence

POOL = 4096
MOST_STAYS = 3 * 10**7
"""In the traces of a law together."""
_MOST_KEPT = POOL * 14
"""Days of all traces of a fitted law that are kept for the next run: some 10 MB."""
_AT_A_TIME = 2**20
"""Stays and gaps that are drawn together."""


def always(clients: int, *, seed: int = 0) -> Availability:
    """Clients that never leave."""
    return Availability.always(_count(clients))


def cyclic(
    clients: int,
    *,
    period_s: float = DAY_S,
    duty: float = 0.5,
    spread: float = 1.0,
    seed: int = 0,
) -> Availability:
    """There once a period, for `duty` of it; all of them, at times of their own.

    Args:
        period_s: seconds.
        duty: part of the period, above 0 to 1 (1: always there).
        spread: part of the period over which their beginnings are uniform; 0: all at once.
    """
    _above(period_s, "period_s")
    _share(duty, "duty", least=1e-9)
    _share(spread, "spread")
    if duty >= 1.0:
        return Availability.always(_count(clients))
    period = max(2, round(period_s * TICKS_PER_S))
    there = min(max(1, round(duty * period)), period - 1)
    u = client_uniforms(seed, OFFSET, np.arange(_count(clients)))
    offset = (period - np.floor(u * spread * period).astype(np.int64)) % period
    return Availability(
        np.array([0, 1]),
        np.array([0]),
        np.array([there]),
        np.array([period]),
        np.zeros(clients, np.int32),
        offset,
    )


def bernoulli(
    clients: int,
    *,
    probability: npt.ArrayLike = 0.5,
    slot_s: float = 60.0,
    slots: int = 1000,
    pool: int = POOL,
    seed: int = 0,
) -> Availability:
    """In each slot there or not, independently: the coin of studies of participation.

    Args:
        probability: of all, or float[clients] (see `skew.label_probability`); where there are more
            clients than traces, theirs are rounded to the traces' quantiles.
        slot_s: seconds of a slot.
        slots: after which a trace starts again.
        pool: traces at most.
    """
    _above(slot_s, "slot_s")
    if slots < 1 or pool < 1:
        raise InputError(
            f"{slots} slots, {pool} traces", where="bernoulli", mend="give 1 or more of both"
        )
    _few(slots * min(_count(clients), pool), "bernoulli")
    given = np.asarray(probability, np.float64)
    if given.size not in (1, _count(clients)) or not np.all((given > 0) & (given <= 1)):
        raise InputError(
            "a probability is not above 0 to 1, or not one for each client",
            where="bernoulli",
            mend="give one number or one for each client",
        )
    chance = np.broadcast_to(given, (clients,))
    traces = min(clients, pool)
    who = np.arange(clients)
    trace = np.where(who < traces, who, client_uniforms(seed, AVAILABILITY, who) * traces)
    trace = trace.astype(np.int64)
    if given.size > 1:
        rank = np.empty(clients, np.int64)
        rank[np.argsort(chance, kind="stable")] = who
        trace = rank * traces // clients
    of_trace = np.bincount(trace, chance, traces) / np.bincount(trace, minlength=traces)
    cells = np.arange(slots, dtype=np.int64)
    there = (
        client_uniforms(seed, AVAILABILITY, np.arange(traces)[:, None], cells + 1)
        < of_trace[:, None]
    )
    never = ~there.any(axis=1)
    there[never, 0] = True  # a trace without a slot would never come
    edges = np.diff(np.pad(there, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    owner, begin = np.nonzero(edges == 1)
    _, end = np.nonzero(edges == -1)
    slot = max(1, round(slot_s * TICKS_PER_S))
    u = client_uniforms(seed, OFFSET, who)
    return Availability(
        np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=traces)))),
        begin * slot,
        end * slot,
        np.full(traces, slots * slot),
        trace.astype(np.int32),
        np.floor(u * slots).astype(np.int64) * slot,
    )


def markov(
    clients: int,
    *,
    mean_on_s: float = 3600.0,
    mean_off_s: float = 3600.0,
    slot_s: float = 0.0,
    period_days: float = 14.0,
    pool: int = POOL,
    seed: int = 0,
) -> Availability:
    """There and away for exponential times (a two-state Markov chain; Gilbert 1960).

    Args:
        mean_on_s, mean_off_s: mean stay and mean gap.
        slot_s: stays and gaps are whole slots (then geometric); 0: not.
        period_days: after which a trace starts again.
        pool: traces at most; a client begins anywhere in its trace.
    """
    for name, value in (("mean_on_s", mean_on_s), ("mean_off_s", mean_off_s)):
        _above(value, name)
    _above(period_days, "period_days")
    _above(pool, "pool")
    if slot_s < 0 or slot_s > min(mean_on_s, mean_off_s):
        raise InputError(f"slot_s is {slot_s}", where="markov", mend="give less than both means")
    traces, period_s = min(_count(clients), pool), period_days * DAY_S
    _few(traces * period_s / (mean_on_s + mean_off_s), "markov")
    if slot_s:
        period_s = max(1, round(period_s / slot_s)) * slot_s
    presence = _alternating(traces, mean_on_s, mean_off_s, slot_s, period_s, seed)
    found = presence.availability(clients, seed=seed, shift="any")
    slot = max(1, round(slot_s * TICKS_PER_S))
    return replace(found, offset=found.offset // slot * slot)


def _fitted(name: str, about: str) -> Callable[..., Availability]:
    """A law of phones that was fitted to traces (`shipped`), of its own name and docstring."""

    def law(
        clients: int,
        *,
        period_days: int = 14,
        pool: int = POOL,
        zones: int = 1,
        start_hour: float = 0.0,
        seed: int = 0,
    ) -> Availability:
        if period_days < 1 or pool < 1:
            raise InputError(
                f"{period_days} days, {pool} traces", where=name, mend="give 1 or more of both"
            )
        _few(period_days * min(_count(clients), pool), name)
        if not 0.0 <= start_hour < 24.0:
            raise InputError(f"start_hour is {start_hour}", where=name, mend="give 0 to below 24")
        count = min(_count(clients), pool)
        draw = _kept if count * period_days <= _MOST_KEPT else _drawn
        traces = draw(name, count, period_days, seed)
        found = traces.availability(clients, seed=seed, zones=zones, shift="days")
        if not start_hour:
            return found
        later = (found.offset + round(start_hour * 3600) * TICKS_PER_S) % found.period[found.trace]
        return replace(found, offset=later)

    law.__name__ = law.__qualname__ = name.replace("-", "_")
    law.__doc__ = about
    return law


def _drawn(name: str, traces: int, days: int, seed: int) -> Presence:
    from .shipped import presence_law

    return presence_law(name).draw(traces, period_s=days * DAY_S, seed=seed)


@functools.lru_cache(maxsize=8)
def _kept(name: str, traces: int, days: int, seed: int) -> Presence:
    """The last few that were drawn: methods are compared on the same clients."""
    found = _drawn(name, traces, days, seed)
    for column in (found.first, found.begin_s, found.end_s, found.period_s):
        column.flags.writeable = False
    return found


flash_strict = _fitted(
    "flash-strict",
    """Phones idle, charging and on WiFi, as FLASH's by its stricter rule (fitted): there a tenth of
    the time, mostly at night. The sixth of users that never were in two days are not among them.

    `zones`: time zones, whole hours apart; `start_hour`: of the first zone when the run begins.
    """,
)
flash_loose = _fitted("flash-loose", """As `flash_strict`, by FLASH's looser rule.""")
fedscale = _fitted(
    "fedscale",
    """As the FedScale clients that FLOAT chose (fitted to 60, of high duty): there three quarters
    of the time.""",
)


def file(
    clients: int,
    *,
    path: str | os.PathLike[str],
    format: str = "fedscale",
    zones: int = 1,
    shift: str | None = None,
    wrap: bool = True,
    seed: int = 0,
) -> Availability:
    """Traces of a file.

    Args:
        path, format: "fedscale" (`client_behave_trace` as JSON) or "flash" (`ready_*.json`).
        zones, shift: as `Presence.availability`. Without `shift`, clients that are as many as the
            traces, and traces that end, begin at their beginning; others by "days".
        wrap: traces start again; else they end, and so may the run.
    """
    readers = {
        "fedscale": fedscale_files.read_fedscale_availability,
        "flash": flash.read_flash_availability,
    }
    if format not in readers:
        raise InputError(
            f"no format is called {format!r}", where=str(path), mend=f"use {' or '.join(readers)}"
        )
    found: Presence = readers[format](path)
    by = shift or ("none" if _count(clients) == len(found) or not wrap else "days")
    return found.availability(clients, seed=seed, zones=zones, shift=by, wrap=wrap)


PRESENCES: Mapping[str, Callable[..., Availability]] = {
    law.__name__: law
    for law in (always, cyclic, bernoulli, markov, flash_strict, flash_loose, fedscale, file)
}
"""All laws by name."""


def duty_of(availability: Availability) -> Array:
    """float64[N], part of the time that each client is there (of its period; 1: always).

    For a trace that ends, of the time until it does.
    """
    counts = np.diff(availability.first)
    owner = np.repeat(np.arange(len(counts)), counts)
    there = np.bincount(owner, (availability.end - availability.begin) * 1.0, len(counts))
    last = np.zeros(len(counts))
    np.maximum.at(last, owner, availability.end * 1.0)
    whole = np.where(availability.period > 0, availability.period, np.maximum(last, 1.0))
    duty = np.append(there / whole, 1.0)
    return np.asarray(duty[availability.trace])


def _alternating(
    traces: int, mean_on_s: float, mean_off_s: float, slot_s: float, period_s: float, seed: int
) -> Presence:
    """Traces of exponential (with slots: geometric) stays and gaps, by turns.

    The k-th stay or gap of a trace is drawn with counter k + 2. All traces are drawn some turns
    ahead at a time, about as many as they need; what is past the end is cut off.
    """
    means = np.array([mean_on_s, mean_off_s])
    who, at, turn = np.arange(traces), np.zeros(traces), 0
    # Row of `means` that a trace's even turns are of.
    even = (client_uniforms(seed, AVAILABILITY, who, 1) >= mean_on_s / means.sum()).astype(np.int64)
    owners, begins, ends = [], [], []
    while len(who):
        turns = int(min(2.2 * period_s / means.sum() + 8, max(1, _AT_A_TIME // len(who))))
        number = turn + np.arange(turns)
        away = (even[:, None] + number) % 2
        u = client_uniforms(seed, AVAILABILITY, who[:, None], number + 2)
        end = np.add.accumulate(np.c_[at, _lengths(u, means[away], slot_s)], axis=1)
        begin, end = end[:, :-1], np.minimum(end[:, 1:], period_s)
        row, column = np.nonzero((away == 0) & (begin < period_s))
        owners.append(who[row])
        begins.append(begin[row, column])
        ends.append(end[row, column])
        more = end[:, -1] < period_s
        who, at, even, turn = who[more], end[more, -1], even[more], turn + turns
    owner = np.concatenate(owners)
    order = np.argsort(owner, kind="stable")
    first = np.concatenate(([0], np.cumsum(np.bincount(owner, minlength=traces))))
    begin_s, end_s = (np.concatenate(columns)[order] for columns in (begins, ends))
    return Presence(first, begin_s, end_s, np.full(traces, period_s))


def _lengths(u: Array, mean_s: Array, slot_s: float) -> Array:
    """float64[...]: stays and gaps of these means, at least a microsecond or a slot."""
    if not slot_s:
        return np.maximum(-np.log1p(-u) * mean_s, 1e-6)
    with np.errstate(divide="ignore"):
        slots = np.ceil(np.log1p(-u) / np.log1p(-slot_s / mean_s))
    return np.asarray(slot_s * np.maximum(1.0, slots))


def _count(clients: int) -> int:
    if clients < 1:
        raise InputError(f"{clients} clients", where="availability", mend="give 1 or more")
    return clients


def _few(stays: float, law: str) -> None:
    if stays > MOST_STAYS:
        raise InputError(
            f"{stays:.3g} stays in all traces",
            where=law,
            mend="shorten the traces, lengthen the stays, or lower pool",
        )


def _above(value: float, name: str) -> None:
    if not 0.0 < value < math.inf:
        raise InputError(f"{name} is {value}", where="availability", mend="give more than 0")


def _share(value: float, name: str, least: float = 0.0) -> None:
    if not least <= value <= 1.0:
        raise InputError(f"{name} is {value}", where="availability", mend="give 0 to 1")
