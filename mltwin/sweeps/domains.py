"""What one field is varied over: values, or a range of numbers, straight or logarithmic, or whole.

In a study file or as plain data:

    [2.0, 4.0, 8.0]                                     the values
    { from = 1, to = 64, steps = 7, scale = "log" }     a range; a grid needs `steps`
    { from = 1, to = 8, integer = true }                whole numbers
    { choices = ["fcfs", "vtc"] }                       the values
    "fcfs"                                              one value
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field

from mltwin.fields import Section, build
from mltwin.sim.errors import InputError

# A power may differ in the last bits between C libraries; nobody types more digits than these.
_DIGITS = 12


@dataclass(frozen=True)
class Choices:
    """Values to choose from."""

    values: tuple[Any, ...]

    def at(self, share: float) -> Any:
        """The value at a share of the way, 0 <= share < 1."""
        return self.values[int(share * len(self.values))]

    def grid(self, where: str) -> list[Any]:
        """All values, in order."""
        del where
        return list(self.values)


@dataclass(frozen=True)
class Span:
    """A range of numbers, both ends in it.

    Attributes:
        low, high: the ends, low < high.
        steps: how many values a grid takes; None: it cannot be gridded.
        log: whether equal steps are equal ratios.
        integer: whether only whole numbers count.
    """

    low: float
    high: float
    steps: int | None
    log: bool
    integer: bool

    def at(self, share: float) -> float | int:
        """The number at a share of the way, 0 <= share < 1; each whole number is equally likely
        on a straight scale."""
        if self.integer and not self.log:
            return int(self.low) + int(share * (int(self.high) - int(self.low) + 1))
        return self._between(share)

    def grid(self, where: str) -> list[Any]:
        """`steps` numbers from end to end, those that round to the same whole number once.

        Raises InputError where no steps were given.
        """
        if self.steps is None:
            raise InputError("a grid needs steps", where=where, mend="add steps = 5")
        if self.steps == 1:
            return [self._between(0.0)]
        found = [self._between(i / (self.steps - 1)) for i in range(self.steps)]
        return list(dict.fromkeys(found))

    def _between(self, share: float) -> float | int:
        if share in (0.0, 1.0):
            value = self.high if share else self.low
        elif self.log:
            value = self.low * (self.high / self.low) ** share
        else:
            value = self.low + (self.high - self.low) * share
        return round(value) if self.integer else float(f"{value:.{_DIGITS}g}")


Domain = Choices | Span


class _Range(Section):
    """A range as it is written."""

    from_: float = Field(alias="from")
    to: float
    steps: int | None = Field(None, ge=1, le=100_000)
    scale: Literal["lin", "log"] = "lin"
    integer: bool | None = None


class _Listed(Section):
    """Choices as they are written."""

    choices: list[Any] = Field(min_length=1)


def is_domain(spec: Any) -> bool:
    """Whether plain data says what to vary over, and is not a table of fields."""
    return not isinstance(spec, Mapping) or bool(set(spec) & {"from", "to", "choices"})


def read_domain(spec: Any, *, where: str, whole: bool) -> Domain:
    """A domain from plain data.

    Args:
        spec: see above.
        where: file and field, for errors.
        whole: whether the field takes whole numbers only, where the range does not say.

    Raises InputError: no values, a value twice, a range that is none.
    """
    if isinstance(spec, Mapping):
        if "choices" in spec:
            return read_domain(build(_Listed, spec, where=where).choices, where=where, whole=whole)
        return _span(build(_Range, spec, where=where), spec, where, whole)
    if isinstance(spec, str) or not isinstance(spec, Sequence):
        return Choices((spec,))
    if not spec:
        raise InputError("has no values", where=where, mend="give at least one")
    seen = [repr(value) for value in spec]
    for i, text in enumerate(seen):
        if text in seen[:i]:
            raise InputError(f"{text} is there twice", where=where, mend="give each value once")
    return Choices(tuple(spec))


def _span(given: _Range, spec: Mapping[str, Any], where: str, whole: bool) -> Span:
    low, high = given.from_, given.to
    written_whole = all(isinstance(spec[end], int) for end in ("from", "to"))
    integer = written_whole and whole if given.integer is None else given.integer
    if not low < high:
        raise InputError(
            f"from {low:g} to {high:g} is no range", where=where, mend="from must be less than to"
        )
    if given.scale == "log" and low <= 0:
        raise InputError(f"no logarithm of {low:g}", where=where, mend="let from be above 0")
    if integer and not (float(low).is_integer() and float(high).is_integer()):
        raise InputError(
            f"{low:g} to {high:g} does not end in whole numbers",
            where=where,
            mend="give whole ends, or integer = false",
        )
    if not math.isfinite(high - low):
        raise InputError(f"{low:g} to {high:g} is too wide", where=where)
    return Span(low, high, given.steps, given.scale == "log", integer)
