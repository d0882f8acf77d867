"""Which nodes come and go, from a file: pre-emptions of spot instances, or a log of failures."""

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from mltwin.sim.errors import InputError

_UNITS = {"time_s": 10**9, "time_ms": 10**6}
_UP = {"add": 1, "up": 1, "remove": 0, "down": 0}


@dataclass(frozen=True, eq=False)
class Membership:
    """Nodes that come and go.

    Attributes:
        time: int64[R], ticks of 1 ns, in order.
        node: int64[R], number in `names`.
        up: int64[R], 1 it comes, 0 it goes.
        names: in the order of their first row.
    """

    time: np.ndarray
    node: np.ndarray
    up: np.ndarray
    names: tuple[str, ...]

    def there(self) -> np.ndarray:
        """Nodes that are there after each row."""
        return np.cumsum(np.where(self.up == 1, 1, -1))

    @property
    def mtbf(self) -> float:
        """Ticks between departures, infinite without any."""
        gone = int((self.up == 0).sum())
        return float(self.time[-1] - self.time[0]) / gone if gone else float("inf")


def read_membership(path: str | Path) -> Membership:
    """Read `time_s,event,node` (or `time_ms`), events add and remove (or up and down).

    Without a header the columns are time in ms, event and node, as in the traces of Parcae (Duan
    et al., NSDI 2024).

    Raises InputError naming file, line and column: no rows, a bad number or event, times that go
    back, a node that comes while it is there or goes while it is not.
    """
    try:
        with open(path, encoding="utf-8", newline="") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except FileNotFoundError:
        raise InputError("no such file", where=str(path), mend="check the path") from None
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"is not a text of commas: {error}", where=str(path)) from None
    order, unit, rows = _header(path, rows)
    number: dict[str, int] = {}
    here: set[str] = set()
    times: list[int] = []
    nodes: list[int] = []
    ups: list[int] = []
    for line, row in rows:
        where = f"{path}, line {line}"
        if len(row) != 3:
            raise InputError(f"{len(row)} columns", where=where, mend="give time, event and node")
        time, event, name = (row[place].strip() for place in order)
        ticks = _ticks(time, unit, where)
        if times and ticks < times[-1]:
            raise InputError(f"time {time} goes back", where=where, mend="sort the rows by time")
        up = _UP.get(event.lower())
        if up is None:
            raise InputError(f"event {event!r}", where=where, mend="write add or remove")
        if (name in here) == bool(up):
            state = "is there already" if up else "is not there"
            raise InputError(f"node {name!r} {state}", where=where, mend="mend the row")
        (here.add if up else here.discard)(name)
        times.append(ticks)
        nodes.append(number.setdefault(name, len(number)))
        ups.append(up)
    if not times:
        raise InputError("has no rows", where=str(path), mend="give nodes that come and go")
    return Membership(np.array(times), np.array(nodes), np.array(ups), tuple(number))


def _header(
    path: str | Path, rows: list[tuple[int, list[str]]]
) -> tuple[tuple[int, int, int], int, list[tuple[int, list[str]]]]:
    """Places of time, event and node, ticks of a unit of time, and the rows below the header."""
    names = [name.strip() for name in rows[0][1]] if rows else []
    if not names or names[0].lstrip("-").replace(".", "", 1).isdigit():
        return (0, 1, 2), _UNITS["time_ms"], rows
    time = next((name for name in names if name in _UNITS), None)
    if time is None or not {"event", "node"} <= set(names):
        raise InputError(
            f"columns {', '.join(names)}",
            where=f"{path}, line {rows[0][0]}",
            mend="name them time_s (or time_ms), event and node",
        )
    return (names.index(time), names.index("event"), names.index("node")), _UNITS[time], rows[1:]


def _ticks(text: str, unit: int, where: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value * unit < 2**62:
        raise InputError(f"time {text!r}", where=where, mend="give a number from 0 on")
    return round(value * unit)
