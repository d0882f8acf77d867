"""The file of measurements: a header line, then one JSON object a line and point.

Lines are appended and flushed one by one, so a killed run loses at most the line in hand; a torn
last line is dropped when the run goes on.
"""

import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mltwin.sim.errors import InputError

from .points import OPS, Point, point_key

FORMAT = "mltwin-measure-1"
RESULT_FIELDS = ("backend", "seconds", "spread", "repeats", "least", "watts", "skipped")


@dataclass(frozen=True)
class Header:
    """What was measured on, and how.

    Attributes:
        device: kind (``cpu`` or ``cuda``), name, count, memory, clock limits: what the backend
            can say.
        software: versions of libraries and driver.
        settings: warm-up, repeats, whether inputs are cold.
        started: local date and time, ISO 8601.
    """

    device: dict[str, Any]
    software: dict[str, Any]
    settings: dict[str, Any]
    started: str
    format: str = field(default=FORMAT)


def read_measurements(path: str | Path) -> tuple[Header, list[Point]]:
    """Header and all lines of a file; lines of points that could not be run hold ``skipped``.

    Raises:
        InputError: not such a file, or a line that is damaged (other than a torn last one).
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read ({error})", where=str(path)) from None
    lines = text.splitlines()
    if not lines:
        raise InputError("empty", where=str(path), mend="measure again")
    header = _header(_decode(lines[0], path, 1, torn=False), path)
    rows = []
    for number, line in enumerate(lines[1:], 2):
        torn = number == len(lines) and not text.endswith("\n")
        row = _decode(line, path, number, torn=torn)
        if row is not None:
            rows.append(_checked(row, path, number))
    return header, rows


def _decode(line: str, path: Path, number: int, *, torn: bool) -> Any:
    try:
        return json.loads(line)
    except json.JSONDecodeError as error:
        if torn:
            return None
        raise InputError(
            f"not JSON ({error})", where=f"{path}, line {number}", mend="remove the line"
        ) from None


def _header(data: Any, path: Path) -> Header:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(
            "not a file of measurements",
            where=f"{path}, line 1",
            mend=f"its first line must hold 'format': {FORMAT!r}",
        )
    try:
        return Header(**data)
    except TypeError as error:
        raise InputError(f"header: {error}", where=f"{path}, line 1") from None


def _checked(row: Any, path: Path, number: int) -> Point:
    where = f"{path}, line {number}"
    if not isinstance(row, dict) or row.get("op") not in OPS:
        raise InputError("no known 'op'", where=where, mend=f"use one of {list(OPS)}")
    if "skipped" in row:
        return row
    seconds = row.get("seconds")
    if not isinstance(seconds, int | float) or not math.isfinite(seconds) or seconds <= 0:
        raise InputError(f"'seconds' is {seconds!r}", where=where, mend="give a positive time")
    return row


def key_of(row: Point) -> str:
    """The key of the point that a line holds the result of."""
    return point_key({k: v for k, v in row.items() if k not in RESULT_FIELDS})


class Recorder:
    """Appends to a file; knows which points it holds.

    Raises:
        InputError: the file is from another device or another software, so that its lines and
            new ones would not be comparable.
    """

    def __init__(self, path: str | Path, header: Header) -> None:
        self.path = Path(path)
        self.done: set[tuple[str, str]] = set()
        if self.path.exists() and self.path.stat().st_size:
            self._resume(header)
        else:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._append(asdict(header))

    def _resume(self, header: Header) -> None:
        there, rows = read_measurements(self.path)
        for name in ("device", "software", "settings"):
            old, new = getattr(there, name), getattr(header, name)
            changed = sorted(k for k in {*old, *new} if old.get(k) != new.get(k))
            if changed:
                key = changed[0]
                raise InputError(
                    f"was measured with {name} {key} = {old.get(key)!r}, now {new.get(key)!r}",
                    where=str(self.path),
                    mend="measure into another file",
                )
        self.done = {(row["backend"], key_of(row)) for row in rows}
        text = self.path.read_text(encoding="utf-8")
        if not text.endswith("\n"):  # a torn last line
            self.path.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")

    def holds(self, backend: str, point: Point) -> bool:
        """True if the point was timed (or found impossible) through this backend."""
        return (backend, point_key(point)) in self.done

    def add(self, backend: str, point: Point, result: dict[str, Any]) -> None:
        """Append one line."""
        self._append({**point, "backend": backend, **result})
        self.done.add((backend, point_key(point)))

    def _append(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row, separators=(",", ":"), allow_nan=False) + "\n")
            file.flush()
