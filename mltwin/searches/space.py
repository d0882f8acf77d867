"""Spaces of scenario fields, written as sweeps write them: points of them from the unit cube."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mltwin.scenario import Scenario
from mltwin.sim.errors import InputError
from mltwin.sweeps.domains import Domain, Span, read_domain

Space = Mapping[str, Any]
"""Field to (low, high), to a list of values, or to a range as in a sweep: `from`, `to`, `scale`."""

_BELOW_ONE = 1 - 2.0**-53


@dataclass(frozen=True)
class Axis:
    """A field and the values it may take."""

    field: str
    domain: Domain

    @property
    def choices(self) -> tuple[Any, ...]:
        """The values, where they are listed; () for a range."""
        return () if isinstance(self.domain, Span) else self.domain.values

    @property
    def span(self) -> Span:
        """The range.

        Raises TypeError where the values are listed.
        """
        if not isinstance(self.domain, Span):
            raise TypeError(f"{self.field} has no range")
        return self.domain

    def at(self, share: float) -> Any:
        """The value at a share from 0 to 1 of the way."""
        return self.domain.at(min(max(share, 0.0), _BELOW_ONE))

    def holds(self, value: Any) -> bool:
        """Whether a value is one of the axis."""
        if self.choices:
            return value in self.choices
        return is_number(value) and self.span.low <= value <= self.span.high

    @property
    def text(self) -> str:
        """`1 to 64 (log)`, or the choices."""
        if self.choices:
            return ", ".join(label_of(c) for c in self.choices)
        return f"{self.span.low:g} to {self.span.high:g}{' (log)' if self.span.log else ''}"


def as_axes(scenario: Scenario, space: Space) -> list[Axis]:
    """The axes of a space.

    Raises InputError, naming the field, for a field that does not exist, or what is no range and
    no list.
    """
    if not space:
        raise InputError("there is no field to vary", where="space")
    return [_axis(scenario, name, given) for name, given in space.items()]


def parse_axis(text: str) -> tuple[str, Any]:
    """A field and its values as typed: `FIELD=1..64`, `FIELD=0.1..10:log`, `FIELD=a,b,c`.

    Raises InputError for anything else.
    """
    from mltwin.tomlfile import parse_value

    name, equals, given = text.partition("=")
    name, given = name.strip(), given.strip()
    if not equals or not name or not given:
        raise InputError(
            f"{text!r} varies nothing", where="--vary", mend="write field=1..64 or field=a,b"
        )
    low, dots, rest = given.partition("..")
    if not dots:
        return name, [parse_value(part.strip()) for part in given.split(",")]
    high, colon, scale = rest.partition(":")
    ends = {"from": parse_value(low.strip()), "to": parse_value(high.strip())}
    return name, ends | ({"scale": scale} if colon else {})


def label_of(value: Any) -> str:
    """A choice as text: its name where it has one."""
    if isinstance(value, Mapping):
        return str(value.get("name") or json.dumps(value, sort_keys=True))
    return str(value)


def own_value(scenario: Scenario, field: str) -> Any:
    """The value of a dotted field of a scenario; None where it has none."""
    here: Any = scenario.data()
    for part in field.split("."):
        if isinstance(here, list) and part.isdigit() and int(part) < len(here):
            here = here[int(part)]
        else:
            here = here.get(part) if isinstance(here, Mapping) else None
    return here


def is_number(value: Any) -> bool:
    """Whether a value is a finite number, and no truth value."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _axis(scenario: Scenario, name: str, given: Any) -> Axis:
    if isinstance(given, tuple) and len(given) == 2 and all(is_number(v) for v in given):
        given = {"from": given[0], "to": given[1]}
    if not isinstance(given, Mapping) and (
        isinstance(given, str) or not isinstance(given, Sequence)
    ):
        raise InputError(
            f"{given!r} is no range and no list of values",
            where=name,
            mend="write (low, high), {'from': .., 'to': .., 'scale': 'log'} or a list",
        )
    whole = isinstance(given, Mapping) and _takes_whole_only(scenario, name, given)
    return Axis(name, read_domain(given, where=name, whole=whole))


def _takes_whole_only(scenario: Scenario, name: str, given: Mapping[str, Any]) -> bool:
    """Whether a field takes the ends of a range, but nothing between whole numbers."""
    low, high = given.get("from"), given.get("to")
    if not (isinstance(low, int) and isinstance(high, int)) or isinstance(low, bool):
        return False
    try:
        scenario.set(name, low + 0.5)
    except InputError:
        scenario.set(name, low)  # refuses a field that does not exist, or takes no numbers
        return True
    return False
