"""Availability drawn from a mixture of renewal processes with a rhythm of the day.

A device belongs to a class, of devices that come about as often and stay about as long. It stays
for a time drawn from its class's law for the part of the day in which it came, then is away for a
time drawn from its class's law, which runs faster in hours of the day when devices come more often:
the gap is drawn in operational time, the integral of the rhythm (a non-homogeneous renewal process:
Lawless and Thiagarajah, Technometrics 38, 1996). Laws are quantile functions, fitted by `fit` to
traces that start again after their window, so no gap is censored. What is not kept: weekdays,
correlation between one gap and the next, and what a device does differently from its class.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.sim.errors import InputError

from .draws import AVAILABILITY, Array, client_uniforms
from .presence import DAY_S, Presence

HOURS = 24
PARTS = 8
"""Parts of the day, of three hours, with a law of stays each."""

LEVELS = np.array(
    [0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.975, 0.99, 1.0]
)
_FEWEST = 20  # stays that a part of the day needs for a law of its own
_MOST = 100_000  # intervals of one trace
_AHEAD, _AT_A_TIME = 32, 2**17  # turns that are drawn together: of a trace, of all


@dataclass(frozen=True, eq=False)
class PresenceLaw:
    """K classes of devices.

    Attributes:
        share: float64[K], sums to 1.
        stay_s: float64[K, PARTS, 17], quantiles at `LEVELS` of a stay begun in each part of a day.
        away_s: float64[K, 17], quantiles of a gap in operational time.
        rhythm: float64[HOURS], how fast operational time runs in each hour; of mean 1.
        window_s: mean length of the traces that it was fitted to.
        name: what it is called.
    """

    share: Array
    stay_s: Array
    away_s: Array
    rhythm: Array
    window_s: float
    name: str = "presence"

    def draw(
        self,
        traces: int,
        *,
        period_s: float = 14 * DAY_S,
        seed: int = 0,
        warm_s: float | None = None,
    ) -> Presence:
        """Traces of one period each, in whole seconds; the same trace for (seed, number).

        Args:
            traces: how many.
            period_s: length of each; whole days keep the rhythm when it starts again.
            seed: of the draws.
            warm_s: drawn before the trace begins and cut off, so that it begins anywhere in a stay
                or a gap; None: the window that the law was fitted to.

        Raises:
            InputError: no trace, a period not above 0.
        """
        if traces < 1 or not period_s > 0:
            raise InputError(
                f"{traces} traces of {period_s} s", where=self.name, mend="give more than 0 of both"
            )
        warm = self.window_s if warm_s is None else warm_s
        warm = np.ceil(warm / DAY_S) * DAY_S
        who = np.arange(traces)
        kind = self._class(client_uniforms(seed, AVAILABILITY, who, 1))
        at = client_uniforms(seed, AVAILABILITY, who, 2) * DAY_S
        owners, begins, ends = [], [], []
        number, end_s = 3, warm + period_s
        ahead, row = np.zeros((traces, 0)), who  # draws of the next turns, and a trace's row in it
        turn = 0
        while len(who):
            if 2 * turn == ahead.shape[1]:
                count = 2 * min(_AHEAD, 1 + _AT_A_TIME // len(who))
                ahead = client_uniforms(seed, AVAILABILITY, who[:, None], number + np.arange(count))
                row, turn = np.arange(len(who)), 0
            away = _quantile(self.away_s[kind], ahead[row, 2 * turn])
            begin = np.rint(self._later(at, away))
            part = (begin % DAY_S // (DAY_S / PARTS)).astype(np.int64)
            lasts = _quantile(self.stay_s[kind, part], ahead[row, 2 * turn + 1])
            end = begin + np.maximum(1.0, np.rint(lasts))
            seen = (end > warm) & (begin < end_s)
            owners.append(who[seen])
            begins.append(np.maximum(begin[seen] - warm, 0.0))
            ends.append(np.minimum(end[seen], end_s) - warm)
            goes_on = end < end_s
            who, kind, at, row = who[goes_on], kind[goes_on], end[goes_on], row[goes_on]
            number, turn = number + 2, turn + 1
            if number > 2 * _MOST:
                raise InputError(
                    "comes and goes too often", where=self.name, mend="shorten period_s"
                )
        owner, begin, end = (np.concatenate(lists) for lists in (owners, begins, ends))
        order = np.lexsort((begin, owner))
        counts = np.bincount(owner, minlength=traces)
        return _untouching(
            Presence(
                np.concatenate(([0], np.cumsum(counts))),
                begin[order],
                end[order],
                np.full(traces, float(period_s)),
                (),
                {"law": self.name, "seed": seed},
            )
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain numbers, five digits each: what is stored."""
        rounded = {
            name: _rounded(getattr(self, name)) for name in ("share", "stay_s", "away_s", "rhythm")
        }
        return {**rounded, "window_s": self.window_s, "name": self.name}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> "PresenceLaw":
        """Back from `to_dict`. Raises InputError where it is not one."""
        try:
            share, stay_s, away_s, rhythm = (
                np.array(data[k], float) for k in ("share", "stay_s", "away_s", "rhythm")
            )
            law = cls(share, stay_s, away_s, rhythm, float(data["window_s"]), str(data["name"]))
        except (KeyError, TypeError, ValueError) as wrong:
            raise InputError(f"is no law of presence ({wrong})", where="presence law") from None
        k = len(law.share)
        shapes = (law.stay_s.shape, law.away_s.shape, law.rhythm.shape)
        if shapes != ((k, PARTS, len(LEVELS)), (k, len(LEVELS)), (HOURS,)):
            raise InputError(f"has arrays of shapes {shapes}", where="presence law")
        return law

    def _class(self, u: Array) -> Array:
        upper = np.cumsum(self.share)
        return np.minimum(np.searchsorted(upper, u * upper[-1], side="right"), len(upper) - 1)

    def _operational(self, at_s: Array) -> Array:
        """Integral of the rhythm from 0, seconds."""
        day, inside = np.divmod(at_s, DAY_S)
        return day * DAY_S + np.interp(inside, *self._clock())

    def _later(self, at_s: Array, away_s: Array) -> Array:
        """When so much operational time has passed."""
        hours, passed = self._clock()
        day, inside = np.divmod(self._operational(at_s) + away_s, DAY_S)
        return day * DAY_S + np.interp(inside, passed, hours)

    def _clock(self) -> tuple[Array, Array]:
        width = DAY_S / HOURS
        return np.arange(HOURS + 1) * width, np.concatenate(([0.0], np.cumsum(self.rhythm) * width))


def fit(
    presence: Presence, *, counts: int = 5, duties: int = 1, name: str = "presence"
) -> PresenceLaw:
    """The law of traces, deterministic: quantiles of what each class did.

    Args:
        presence: traces that start again after their period; those without an interval are left
            out.
        counts, duties: classes by intervals a day, and within each by duty (equal parts).
        name: of the law.

    Raises:
        InputError: fewer traces with an interval than classes.
    """
    used = presence.take(presence.counts > 0)
    classes = counts * duties
    if len(used) < classes:
        raise InputError(
            f"{len(used)} traces for {classes} classes", where=name, mend="give more traces"
        )
    kind = _classes(used.counts / used.period_s, used.duty, counts, duties)
    rhythm = _rhythm(used)
    law = PresenceLaw(
        np.bincount(kind, minlength=classes) / len(kind),
        np.ones((classes, PARTS, len(LEVELS))),
        np.ones((classes, len(LEVELS))),
        rhythm,
        float(used.period_s.mean()),
        name,
    )
    owner = used.trace
    part = (used.begin_s % DAY_S // (DAY_S / PARTS)).astype(np.int64)
    following = np.append(used.begin_s[1:], 0.0)
    last = used.first[1:] - 1
    following[last] = used.begin_s[used.first[:-1]] + used.period_s
    away = law._operational(following) - law._operational(used.end_s)
    stays = used.lengths_s
    for k in range(classes):
        of = kind[owner] == k
        law.away_s[k] = np.quantile(np.maximum(away[of], 1.0), LEVELS)
        for p in range(PARTS):
            own = of & (part == p)
            law.stay_s[k, p] = np.quantile(stays[own if own.sum() >= _FEWEST else of], LEVELS)
    return law


def _classes(rate: Array, duty: Array, counts: int, duties: int) -> Array:
    """int64[T]: by rank of the rate, and within those by rank of the duty."""
    by_rate = _rank(rate) * counts // len(rate)
    kind = np.empty(len(rate), np.int64)
    for k in range(counts):
        of = np.flatnonzero(by_rate == k)
        kind[of] = k * duties + _rank(duty[of]) * duties // len(of)
    return kind


def _rank(values: Array) -> Array:
    rank = np.empty(len(values), np.int64)
    rank[np.argsort(values, kind="stable")] = np.arange(len(values))
    return rank


def _rhythm(presence: Presence) -> Array:
    """float64[HOURS]: comings an hour of being away, scaled to mean 1."""
    came = np.bincount((presence.begin_s % DAY_S // 3600).astype(np.int64), minlength=HOURS)
    away = np.maximum(1.0 - presence.by_hour(HOURS), 0.01)
    rate = (came + 0.5) / away
    return np.asarray(rate / rate.mean())


def _quantile(knots: Array, u: Array) -> Array:
    """float64[n]: geometric interpolation of knots[n, 17] at u."""
    piece = np.minimum(np.searchsorted(LEVELS, u, side="right") - 1, len(LEVELS) - 2)
    weight = (u - LEVELS[piece]) / (LEVELS[piece + 1] - LEVELS[piece])
    row = np.arange(len(u))
    low, high = np.log(knots[row, piece]), np.log(knots[row, piece + 1])
    return np.exp(low + weight * (high - low))


def _untouching(presence: Presence) -> Presence:
    """With intervals that touch made one."""
    if len(presence.begin_s) < 2:
        return presence
    same = presence.trace[1:] == presence.trace[:-1]
    starts = np.concatenate(([True], ~(same & (presence.begin_s[1:] <= presence.end_s[:-1]))))
    ends = np.append(starts[1:], True)
    counts = np.bincount(presence.trace[starts], minlength=len(presence))
    return Presence(
        np.concatenate(([0], np.cumsum(counts))),
        presence.begin_s[starts],
        presence.end_s[ends],
        presence.period_s,
        presence.names,
        presence.facts,
    )


def _rounded(values: Array) -> Any:
    return np.vectorize(lambda value: float(f"{value:.5g}"))(values).tolist()
