"""The event log: what happened when, as four fixed columns.

A kernel appends rows with `log_event`; a driver drains them between calls of the kernel. The
reference model of a system writes the same rows, so that the two can be compared with ``==``.
Off (a table of length 0) it costs one comparison an event.

A kernel that logs returns to its driver while `log_full` says so, before it takes the next event:

    while events are left:
        if log_full(S, MOST_ROWS_AN_EVENT): return
        ...
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .errors import KernelError
from .jit import handler
from .records import record, table
from .runspec import array_digest
from .ticks import TICKS_PER_S

if TYPE_CHECKING:
    import pandas as pd

LOG = record(
    "LOG",
    [
        ("time", "i8", "ticks"),
        ("kind", "i4", "what happened: a code of the system"),
        ("entity", "i4", "to whom: request, replica, flow, ..."),
        ("value", "i8", "how much: depends on the kind"),
    ],
)


@handler
def log_event(S: Any, time: int, kind: int, entity: int, value: int) -> None:
    """Append a row, unless the log is off. A row beyond the table is counted and lost."""
    capacity = len(S.log)
    if capacity == 0:
        return
    row = S.log_count[0]
    S.log_count[0] = row + 1
    if row < capacity:
        S.log[row].time = time
        S.log[row].kind = kind
        S.log[row].entity = entity
        S.log[row].value = value


@handler
def log_full(S: Any, margin: int) -> bool:
    """Whether fewer than margin rows are free, so that the driver must drain first."""
    capacity = len(S.log)
    return capacity > 0 and S.log_count[0] + margin > capacity


class EventLog:
    """The driver's side of the log: the buffer, and all rows drained from it so far.

    Args:
        capacity: rows of the buffer; 0 turns the log off. It must exceed what one event may log.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 0:
            raise ValueError(f"capacity of {capacity} rows")
        self.log = table(capacity, LOG)
        self.log_count = np.zeros(1, np.int64)
        self._drained: list[np.ndarray] = []

    def tables(self) -> dict[str, np.ndarray]:
        """The tables ``log`` and ``log_count`` for a world."""
        return {"log": self.log, "log_count": self.log_count}

    def drain(self) -> int:
        """Move the buffer's rows to the driver's side; the number of rows moved.

        Raises:
            KernelError: the kernel logged more than the buffer holds, so rows are lost.
        """
        count = int(self.log_count[0])
        if count > len(self.log):
            raise KernelError(
                f"the event log lost {count - len(self.log)} rows: "
                f"one event logged more than the buffer of {len(self.log)} had free"
            )
        if count:
            self._drained.append(self.log[:count].copy())
            self.log_count[0] = 0
        return count

    def rows(self) -> np.recarray:
        """All rows in the order in which they were logged, drained first."""
        self.drain()
        if len(self._drained) != 1:
            self._drained = [np.concatenate([table(0, LOG), *self._drained])]
        return self._drained[0].view(np.recarray)

    def digest(self) -> str:
        """SHA-256 (hex) of all rows: equal for equal behaviour."""
        return array_digest(self.rows())

    def to_frame(self, kind_names: Mapping[int, str] | None = None) -> "pd.DataFrame":
        """Columns time (ticks), time_s, kind (named where a name is known), entity, value."""
        import pandas as pd

        rows = self.rows()
        kinds = np.unique(rows["kind"])
        names = [str((kind_names or {}).get(int(kind), int(kind))) for kind in kinds]
        codes = np.searchsorted(kinds, rows["kind"])
        return pd.DataFrame(
            {
                "time": rows["time"],
                "time_s": rows["time"] / TICKS_PER_S,
                "kind": np.array(names, dtype=object)[codes] if len(kinds) else [],
                "entity": rows["entity"],
                "value": rows["value"],
            }
        )
