"""Limits on metrics: `slo_attainment >= 0.9`, `p99_ttft_ms <= 500`."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mltwin.metrics import direction
from mltwin.sim.errors import InputError

_WRITTEN = re.compile(r"\s*([A-Za-z_][\w.]*)\s*(<=|>=|=|:)\s*(\S+)\s*")


@dataclass(frozen=True)
class Limit:
    """What a metric has to keep: at least the bound, or at most."""

    metric: str
    bound: float
    least: bool

    def met(self, value: float | None) -> bool:
        """Whether a value keeps the limit; a missing one does not."""
        return self.slack(value) >= 0

    def slack(self, value: float | None) -> float:
        """How far a value is on the good side of the bound; -inf for a missing one."""
        if value is None or math.isnan(value):
            return -math.inf
        return value - self.bound if self.least else self.bound - value

    def better(self, one: float | None, other: float | None) -> bool:
        """Whether one value is further on the good side than the other."""
        return self.slack(one) > self.slack(other)

    def excess(self, value: float | None) -> float:
        """By how much of the bound a value misses it; not above 0 where it is kept.

        Samplers take it as a constraint; a missing value counts as a miss by the whole bound.
        """
        size = abs(self.bound) or 1.0
        slack = self.slack(value)
        return 1.0 if math.isinf(slack) else -slack / size

    @property
    def text(self) -> str:
        """`slo_attainment >= 0.9`."""
        return f"{self.metric} {'>=' if self.least else '<='} {self.bound:g}"


Limits = Mapping[str, float] | Iterable[str | Limit]
"""Metric to bound (the good side is the metric's own), or texts such as `p99_ttft_ms<=500`."""


def as_limits(given: Limits | None) -> tuple[Limit, ...]:
    """Limits from a mapping or from texts.

    Raises InputError for a text that is no limit, a bound that is not finite, or a metric whose
    better side is not known (give it as a text with `<=` or `>=`).
    """
    if given is None:
        return ()
    if isinstance(given, Mapping):
        return tuple(_by_name(name, bound) for name, bound in given.items())
    return tuple(item if isinstance(item, Limit) else parse_limit(item) for item in given)


def parse_limit(text: str, *, where: str = "limit") -> Limit:
    """A limit as typed: `p99_ttft_ms<=500`, `slo_attainment>=0.9`, or `p99_ttft_ms=500`.

    Raises InputError for anything else.
    """
    found = _WRITTEN.fullmatch(text)
    try:
        bound = float(found[3]) if found else math.nan
    except ValueError:
        bound = math.nan
    if found is None or math.isnan(bound):
        raise InputError(
            f"{text!r} is no limit", where=where, mend="write p99_ttft_ms<=500 or metric>=bound"
        )
    if found[2] in ("<=", ">="):
        return _checked(Limit(found[1], bound, found[2] == ">="))
    return _by_name(found[1], bound)


def one_limit(metric: str, least: float | None, most: float | None) -> Limit:
    """The limit of `least` or `most`.

    Raises InputError unless exactly one of the two is given.
    """
    if (least is None) == (most is None):
        raise InputError("give one of least and most", where=metric)
    if least is not None:
        return _checked(Limit(metric, float(least), True))
    assert most is not None
    return _checked(Limit(metric, float(most), False))


def _by_name(metric: str, bound: float) -> Limit:
    way = direction(metric)
    if way == "none":
        raise InputError(
            f"{metric!r} has no better side",
            where="limit",
            mend=f"write {metric}<={bound:g} or {metric}>={bound:g}",
        )
    return _checked(Limit(metric, float(bound), way == "higher"))


def _checked(limit: Limit) -> Limit:
    if not math.isfinite(limit.bound):
        raise InputError(f"{limit.bound} is no bound", where=limit.metric, mend="give a number")
    return limit


def mean_of(rows: Sequence[Any], metric: str) -> float | None:
    """The mean of a metric over rows; None if a row has none."""
    values = [row.metrics.get(metric) for row in rows]
    if not values or any(value is None for value in values):
        return None
    return float(np.mean(values))
