"""Which way a metric should go, and how large a change matters."""

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from mltwin.metrics import direction
from mltwin.sim.errors import InputError

Direction = Literal["lower", "higher", "steady"]
DIRECTIONS: tuple[Direction, ...] = ("lower", "higher", "steady")


@dataclass(frozen=True)
class Tolerance:
    """How far a metric's mean may move before it counts.

    size: 0.01 is 1 % of the baseline's value; where not `relative`, in the metric's own unit.
    """

    size: float
    relative: bool = True

    @property
    def text(self) -> str:
        """As people read it: `1 %` or `0.005`."""
        return f"{100 * self.size:g} %" if self.relative else f"{self.size:g}"

    def data(self) -> dict[str, float]:
        """As baselines hold it: `{"rel": 0.01}` or `{"abs": 0.005}`."""
        return {"rel" if self.relative else "abs": self.size}

    @classmethod
    def of_data(cls, data: Any, *, where: str) -> "Tolerance":
        """The tolerance that a baseline holds.

        Raises InputError for anything but a size of 0 or more under `rel` or `abs`.
        """
        if isinstance(data, dict) and len(data) == 1:
            ((kind, size),) = data.items()
            if kind in ("rel", "abs") and _is_size(size):
                return cls(float(size), kind == "rel")
        raise InputError(
            f"{data!r} is no tolerance", where=where, mend='write {"rel": 0.01} or {"abs": 5}'
        )


# The first pattern that fits a metric's name decides.
_DEFAULTS = (
    # Shares: half a point, as 1 % of a share near 0 or 1 is not what anyone means.
    (re.compile(r"attainment|_ratio$|_use$|^busy|_share$|_accuracy$"), Tolerance(0.005, False)),
    # Events that ought to be rare: their number is noisy.
    (re.compile(r"^(refused|cancelled|unfinished|preemptions)$"), Tolerance(0.05)),
    (re.compile(r"^(p9\d+|max)_"), Tolerance(0.02)),
)
_ELSE = Tolerance(0.01)


def default_tolerance(metric: str) -> Tolerance:
    """What a change must exceed to matter, by the kind of metric.

    >>> default_tolerance("mean_ttft_ms").text, default_tolerance("p99_ttft_ms").text
    ('1 %', '2 %')
    >>> default_tolerance("slo_attainment").text, default_tolerance("preemptions").text
    ('0.005', '5 %')
    """
    return next((found for pattern, found in _DEFAULTS if pattern.search(metric)), _ELSE)


def default_direction(metric: str) -> Direction:
    """`lower` or `higher` is better; `steady` where a metric is neither: any move counts."""
    way = direction(metric)
    return "lower" if way == "lower" else "higher" if way == "higher" else "steady"


def parse_tolerance(text: str, *, where: str = "--tol") -> Tolerance:
    """A tolerance as typed: `2%` or `0.02` of the baseline's value, `abs:5` in the metric's unit.

    >>> parse_tolerance("2%"), parse_tolerance("abs:5")
    (Tolerance(size=0.02, relative=True), Tolerance(size=5.0, relative=False))

    Raises InputError for what is no number of 0 or more.
    """
    kind, colon, number = text.strip().rpartition(":")
    percent = number.endswith("%")
    try:
        size = float(number.rstrip("% ")) / (100 if percent else 1)
    except ValueError:
        size = -1.0
    if not _is_size(size) or kind not in ("", "abs") or (colon and (percent or not kind)):
        raise InputError(
            f"{text!r} is no tolerance", where=where, mend="write 2%, 0.02 or abs:5 (a count, a ms)"
        )
    return Tolerance(size, relative=kind != "abs")


def _is_size(size: Any) -> bool:
    real = isinstance(size, int | float) and not isinstance(size, bool)
    return real and math.isfinite(size) and size >= 0
