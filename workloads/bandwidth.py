"""Readers of bandwidth traces: Mahimahi, Pensieve's two columns (HSDPA, FCC, Puffer), UCC's 5G.

Each gives a `CapacityTrace`. What a link is able to carry is not what a download got: the
two-column and UCC files are throughputs of real transfers, so lower bounds of capacity.
"""

import datetime
import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from mltwin.models.network.bandwidth.tables import REPEAT, CapacityTrace
from mltwin.sim.errors import InputError

from .source import Source

PACKET_BYTES = 1500
BYTES_OF_MBIT = 1e6 / 8
MAHIMAHI_WINDOW_S = 0.1
_MOST_MS = 9_000_000_000


def read_bandwidth(
    path: str | os.PathLike[str],
    format: str | None = None,
    *,
    window_s: float | None = None,
    direction: str = "down",
    afterwards: str = REPEAT,
) -> CapacityTrace:
    """A bandwidth trace from a file, gz and xz too.

    Args:
        path: the file.
        format: one of `FORMATS`; None looks at the first line.
        window_s: means over windows of about this length, the bytes kept. None: 0.1 s for
            Mahimahi's packets, the file's own steps for others.
        direction: "down" or "up", where a file has both (UCC).
        afterwards: "repeat", "hold" or "stop".

    Raises:
        InputError: file, line and value are named.
    """
    source = Source(path)
    chosen = format or detect_bandwidth_format(source)
    if chosen not in FORMATS:
        raise InputError(
            f"no bandwidth format is called {chosen!r}",
            where=str(path),
            mend=f"use one of {', '.join(FORMATS)}",
        )
    if direction not in ("down", "up"):
        raise InputError(f"direction is {direction!r}", where=str(path), mend="say down or up")
    if window_s is not None and not (math.isfinite(window_s) and window_s > 0):
        raise InputError(f"window_s is {window_s}", where=str(path), mend="give more than 0")
    times, rates, duration_s, trace_window_s = FORMATS[chosen](source, window_s, direction)
    trace = CapacityTrace.make(
        times, rates, duration_s, afterwards=afterwards, name=source.path.name
    )
    return trace if trace_window_s is None else trace.resampled(trace_window_s)


def detect_bandwidth_format(source: Source) -> str:
    """The format that a file's first line looks like. Raises InputError where like none."""
    head = source.head(1)
    words = head[0].split() if head else []
    if head and head[0].startswith("Timestamp,"):
        return "ucc"
    if len(words) == 1 and words[0].isdigit():
        return "mahimahi"
    if len(words) == 2:
        return "cooked"
    raise source.error(
        f"is not a bandwidth trace that is known: {head[0][:60]!r}" if head else "is empty",
        mend=f"name its format, one of {', '.join(FORMATS)}",
    )


_Columns = tuple[Any, Any, float, float | None]


def _mahimahi(source: Source, window_s: float | None, direction: str) -> _Columns:
    """One integer a line: the ms at which one packet of 1,500 bytes may pass (mm-link).

    A round lasts until the last stamp, and a packet at the very end belongs to it.
    """
    stamps: list[int] = []
    before = 0
    for number, line in source.lines():
        text = line.strip()
        if not text:
            continue
        if not (text.isascii() and text.isdigit()) or int(text) > _MOST_MS:
            raise source.error(f"{text[:40]!r} is not a whole number of ms", number)
        stamp = int(text)
        if stamp < before:
            raise source.error(f"{stamp} ms comes after {before} ms", number, "sort the lines")
        before = stamp
        stamps.append(stamp)
    if before == 0:
        raise source.error("has no time above 0 ms", mend="give at least one packet after 0 ms")
    wanted = MAHIMAHI_WINDOW_S if window_s is None else window_s
    windows = max(1, round(before / 1000 / wanted))
    at = np.minimum(np.array(stamps, np.int64) * windows // before, windows - 1)
    packets = np.bincount(at, minlength=windows)
    width_s = before / 1000 / windows
    times = np.arange(windows) * (before / 1000) / windows
    return times, packets * (PACKET_BYTES / width_s), before / 1000, None


def _cooked(source: Source, window_s: float | None, direction: str) -> _Columns:
    """Two columns, seconds and Mbit/s. A row's rate holds since the row before.

    So Pensieve reads them (Mao et al., SIGCOMM 2017, its `fixed_env.py`), and so they were logged:
    bytes since the last sample. The first row only says when the trace begins.
    """
    times: list[float] = []
    rates: list[float] = []
    for number, line in source.lines():
        words = line.split()
        if not words:
            continue
        if len(words) != 2:
            raise source.error(f"{len(words)} columns, seconds and Mbit/s are wanted", number)
        when, rate = (_number(source, word, number) for word in words)
        if times and when <= times[-1]:
            raise source.error(f"{when} s does not come after {times[-1]} s", number)
        if rate < 0:
            raise source.error(f"{rate} Mbit/s is below 0", number)
        times.append(when)
        rates.append(rate)
    if len(times) < 2:
        raise source.error("has fewer than two rows", mend="give at least two")
    began = np.array(times)
    return (
        began[:-1] - began[0],
        np.array(rates[1:]) * BYTES_OF_MBIT,
        float(began[-1] - began[0]),
        window_s,
    )


def _ucc(source: Source, window_s: float | None, direction: str) -> _Columns:
    """UCC's 5G logs: about a row a second, kbit/s while a file is downloaded (State D).

    Rows of one second are averaged. Pauses (State I) and seconds without a row say nothing about
    the link and are cut out: what is left are the seconds of the download, one after the other.
    """
    column = "DL_bitrate" if direction == "down" else "UL_bitrate"
    header: list[str] = []
    seconds: list[int] = []
    sums: list[float] = []
    counts: list[int] = []
    for number, line in source.lines():
        if not line.strip():
            continue
        cells = line.split(",")
        if not header:
            header = [cell.strip() for cell in cells]
            missing = [name for name in ("Timestamp", "State", column) if name not in header]
            if missing:
                raise source.error(f"has no column {missing[0]!r}", number)
            places = [header.index(name) for name in ("Timestamp", "State", column)]
            continue
        if len(cells) != len(header):
            raise source.error(f"{len(cells)} columns, the header has {len(header)}", number)
        stamp, state, text = (cells[place].strip() for place in places)
        second = _second(source, stamp, number)
        if seconds and second < seconds[-1]:
            raise source.error(f"{stamp} comes before the row above", number)
        if state != "D" or text == "-":
            continue
        rate = _number(source, text, number)
        if rate < 0:
            raise source.error(f"{rate} kbit/s is below 0", number)
        if seconds and second == seconds[-1]:
            sums[-1] += rate
            counts[-1] += 1
        else:
            seconds.append(second)
            sums.append(rate)
            counts.append(1)
    if not seconds:
        raise source.error("has no row of a running transfer", mend="State must be D somewhere")
    rates = np.array(sums) / np.array(counts) * (BYTES_OF_MBIT / 1000)
    return np.arange(len(rates), dtype=float), rates, float(len(rates)), window_s


def _number(source: Source, text: str, line: int) -> float:
    try:
        value = float(text)
    except ValueError:
        raise source.error(f"{text[:40]!r} is not a number", line) from None
    if not math.isfinite(value):
        raise source.error(f"{text!r} is not a finite number", line)
    return value


def _second(source: Source, stamp: str, line: int) -> int:
    try:
        moment = datetime.datetime.strptime(stamp, "%Y.%m.%d_%H.%M.%S")
    except ValueError:
        raise source.error(
            f"{stamp[:40]!r} is not a time", line, "write YYYY.MM.DD_HH.MM.SS"
        ) from None
    return int((moment - datetime.datetime(1970, 1, 1)).total_seconds())


FORMATS: dict[str, Callable[[Source, float | None, str], _Columns]] = {
    "mahimahi": _mahimahi,
    "cooked": _cooked,
    "ucc": _ucc,
}
"""Readers by name; ``cooked`` is that of HSDPA (Riiser 2013), FCC and Puffer as Pensieve's users
share them."""
