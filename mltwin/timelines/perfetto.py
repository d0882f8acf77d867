"""A timeline as a file for Perfetto (ui.perfetto.dev) or chrome://tracing.

Format: "Trace Event Format" (Google), JSON object form. Lanes are threads, slices complete events
(`X`), tracks nestable asynchronous events (`b`, `e`), counters `C`, arrows flow events (`s`, `f`),
moments instants (`i`). Times are microseconds; Perfetto counts whole nanoseconds and drops slices
that overlap by even one, so all times are cut to nanoseconds before they are written.
"""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import TICKS_PER_S

from .thin import Ints, Series, Slices, merge_slices, thin_series

if TYPE_CHECKING:
    from .timeline import Arrows, Timeline, Tracks

TICKS_PER_NS = TICKS_PER_S // 10**9
_TRACK_SHARE = 0.3  # of the events, at most, for tracks; arrows and instants have 0.1 each
_SMALL_SHARE = 0.1
_NOTES = 2  # events that say what is left out
# Among events of one instant: phases end, then tracks; tracks begin, then phases; then the rest,
# flow events after the slices that they belong to.
_END_PHASE, _END, _BEGIN, _BEGIN_PHASE, _SLICE, _OTHER = range(6)
Event = dict[str, Any]
Timed = tuple[int, int, Event]  # ns, place among events of that instant, the event


def write_perfetto(timeline: "Timeline", path: Path, max_events: int) -> list[str]:
    """See `Timeline.save`."""
    from mltwin.sim.store import write_atomically

    if path.suffix not in (".json", ".gz"):
        raise InputError(
            f"cannot write {path.suffix or 'a file without an ending'}",
            where=str(path),
            mend="use .json or .json.gz",
        )
    events, notes = perfetto_events(timeline, max_events)
    text = json.dumps(
        {
            "traceEvents": events,
            "displayTimeUnit": "ms",
            "otherData": {"title": timeline.title, **timeline.about, "left out": notes},
        },
        separators=(",", ":"),
    ).encode()
    content = gzip.compress(text, 6, mtime=0) if path.suffix == ".gz" else text
    try:
        write_atomically(path, lambda file: file.write(content))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None
    return notes


def perfetto_events(timeline: "Timeline", max_events: int) -> tuple[list[Event], list[str]]:
    """At most `max_events` events, sorted by time after the names, and what they leave out.

    Raises InputError where the lanes alone need more.
    """
    processes = _processes(timeline)
    notes = list(timeline.notes)
    head = list(_names(timeline, processes))
    pairs = len(np.unique(timeline.work.lane * (len(timeline.kinds) + 1) + timeline.work.kind))
    least = len(head) + pairs + 3 * len(timeline.counters) + _NOTES
    if max_events < least:
        raise InputError(
            f"{max_events} events are too few for {len(timeline.lanes)} lanes and "
            f"{len(timeline.counters)} counters",
            where="max_events",
            mend=f"allow at least {least}",
        )
    room = max_events - least
    timed = list(_tracks(timeline, processes, int(room * _TRACK_SHARE), notes))
    timed += _instants(timeline, processes, int(room * _SMALL_SHARE), notes)
    arrows, left = _shortened(timeline.arrows, int(room * _SMALL_SHARE) // 2)
    if left:
        notes.append(f"{left:,} arrows are left out")
    drawn = len(head) + len(timed) + 2 * sum(len(a.leaves) for a in arrows)
    work, series = _within_budget(timeline, max_events - drawn - _NOTES, pairs, notes)
    timed += _slices(timeline, processes, work)
    timed += _counters(timeline, processes, series)
    timed += _flows(timeline, processes, work, arrows)
    about, said = _notes_lane(timeline, notes)
    head, timed = head + about, timed + said
    times = np.array([ns for ns, _, _ in timed], np.int64)
    places = np.array([place for _, place, _ in timed], np.int64)
    stamps = microseconds(times).tolist()
    for (_, _, event), ts in zip(timed, stamps, strict=True):
        event["ts"] = ts
    order = np.lexsort((places, times)).tolist()
    return head + [timed[i][2] for i in order], notes


def microseconds(ns: NDArray[np.int64]) -> NDArray[np.float64]:
    """Whole nanoseconds as microseconds that give them back, also when a reader cuts the product
    with 1000 to an integer (Perfetto does)."""
    us = ns / 1e3
    return np.where((us * 1e3).astype(np.int64) < ns, np.nextafter(us, np.inf), us)


def _processes(timeline: "Timeline") -> dict[str, int]:
    """Process ids, in the order in which lanes, counters and tracks name them."""
    names = [lane.process for lane in timeline.lanes]
    names += [counter.process for counter in timeline.counters]
    names += [tracks.process for tracks in timeline.tracks]
    return {name: i + 1 for i, name in enumerate(dict.fromkeys(names))}


def _names(timeline: "Timeline", processes: dict[str, int]) -> Iterator[Event]:
    for name, pid in processes.items():
        yield _event("M", "process_name", pid, 0, ts=0, args={"name": name})
        yield _event("M", "process_sort_index", pid, 0, ts=0, args={"sort_index": pid})
    for i, lane in enumerate(timeline.lanes):
        args = {"name": lane.thread}
        yield _event("M", "thread_name", processes[lane.process], i + 1, ts=0, args=args)


def _event(phase: str, name: str, pid: int, tid: int, **more: Any) -> Event:
    return {"ph": phase, "name": name, "pid": pid, "tid": tid, **more}


def _within_budget(
    timeline: "Timeline", rest: int, least: int, notes: list[str]
) -> tuple[Slices, Series]:
    """Slices (`least` of them or more) and counter samples in `rest` events.

    What one leaves over the other may use.
    """
    work, series = timeline.work, timeline.samples
    most_series = min(max(rest // 3, rest - len(work)), rest - least)
    thinned, width = thin_series(series, most_series)
    if width:
        notes.append(
            f"{len(series):,} counter samples are drawn as {len(thinned):,}: the least, the "
            f"greatest and the last of every {_time(width)}"
        )
    merged, width = merge_slices(work, rest - len(thinned))
    if width:
        notes.append(
            f"{len(work):,} slices are drawn as {len(merged):,}: within every {_time(width)} of "
            "a lane those of a kind are put together, as long as they took"
        )
    return merged, thinned


def _time(ticks: int) -> str:
    from mltwin.text import short

    for unit, size in (("s", TICKS_PER_S), ("ms", 10**9), ("us", 10**6)):
        if ticks >= size:
            return f"{short(ticks / size)} {unit}"
    return f"{ticks / TICKS_PER_NS:g} ns"


def _slices(timeline: "Timeline", processes: dict[str, int], work: Slices) -> Iterator[Timed]:
    start, end = work.start // TICKS_PER_NS, work.end // TICKS_PER_NS
    pids = [processes[lane.process] for lane in timeline.lanes]
    duration = microseconds(end - start).tolist()
    numbers = {n: c.tolist() for part in (work.sums, work.peaks) for n, c in part.items()}
    count, lanes, kinds = work.count.tolist(), work.lane.tolist(), work.kind.tolist()
    for i, ns in enumerate(start.tolist()):
        args: dict[str, Any] = {name: column[i] for name, column in numbers.items() if column[i]}
        if count[i] > 1:
            args["slices"] = count[i]
        event = _event("X", timeline.slice_text(work, i), pids[lanes[i]], lanes[i] + 1)
        event |= {"cat": timeline.kinds[kinds[i]].name, "dur": duration[i], "args": args}
        yield ns, _SLICE, event


def _counters(timeline: "Timeline", processes: dict[str, int], series: Series) -> Iterator[Timed]:
    columns = (series.counter, series.time // TICKS_PER_NS, series.value)
    for i, ns, value in zip(*(column.tolist() for column in columns), strict=True):
        counter = timeline.counters[i]
        args = {counter.unit or "value": value}
        yield ns, _OTHER, _event("C", counter.name, processes[counter.process], 0, args=args)


def _tracks(
    timeline: "Timeline", processes: dict[str, int], most: int, notes: list[str]
) -> Iterator[Timed]:
    for tracks in timeline.tracks:
        cost = 2 + 2 * np.bincount(tracks.phase_owner, minlength=len(tracks.id))
        fits = int(np.searchsorted(np.cumsum(cost), most, side="right"))
        if fits < len(tracks.id):
            notes.append(
                f"{tracks.process}: {fits:,} of the {len(tracks.id):,} chosen ones are drawn"
            )
        most -= int(cost[:fits].sum())
        yield from _track_events(tracks, processes[tracks.process], fits)


def _track_events(tracks: "Tracks", pid: int, fits: int) -> Iterator[Timed]:
    start, end = tracks.start // TICKS_PER_NS, tracks.end // TICKS_PER_NS
    ids = [f"{tracks.process} {i}" for i in tracks.id.tolist()]

    def event(phase: str, name: str, row: int) -> Event:
        return _event(phase, name, pid, 0, cat=tracks.process, id=ids[row])

    for row in range(fits):
        args = {name: _plain(column[row]) for name, column in tracks.numbers.items()}
        args = {"id": int(tracks.id[row])} | {k: v for k, v in args.items() if v is not None}
        if end[row] <= start[row]:
            yield int(start[row]), _OTHER, event("n", tracks.name[row], row) | {"args": args}
            continue
        yield int(start[row]), _BEGIN, event("b", tracks.name[row], row) | {"args": args}
        yield int(end[row]), _END, event("e", tracks.name[row], row)
    begins, ends = tracks.phase_start // TICKS_PER_NS, tracks.phase_end // TICKS_PER_NS
    for i in np.flatnonzero((ends > begins) & (tracks.phase_owner < fits)).tolist():
        row, name = int(tracks.phase_owner[i]), tracks.phase_name[i]
        yield int(begins[i]), _BEGIN_PHASE, event("b", name, row)
        yield int(ends[i]), _END_PHASE, event("e", name, row)


def _plain(value: Any) -> Any:
    """A number that JSON holds; None for one that it does not."""
    value = value.item() if isinstance(value, np.generic) else value
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _instants(
    timeline: "Timeline", processes: dict[str, int], most: int, notes: list[str]
) -> Iterator[Timed]:
    shown = timeline.instants
    if len(shown) > most:
        chosen = np.unique(np.linspace(0, len(shown) - 1, max(most, 1)).astype(int))[:most]
        notes.append(f"{len(chosen):,} of {len(shown):,} events of lanes are drawn")
        shown = [timeline.instants[i] for i in chosen]
    for lane, time, text in shown:
        pid = processes[timeline.lanes[lane].process]
        yield time // TICKS_PER_NS, _OTHER, _event("i", text, pid, lane + 1, s="t")


def _shortened(arrows: "list[Arrows]", most: int) -> "tuple[list[Arrows], int]":
    """The first arrows of each list, `most` altogether, and how many are left out."""
    from dataclasses import replace

    kept, left = [], 0
    for group in arrows:
        take = min(most, len(group.leaves))
        left += len(group.leaves) - take
        most -= take
        columns = {n: getattr(group, n)[:take] for n in ("source", "leaves", "target", "arrives")}
        kept.append(replace(group, **columns))
    return kept, left


def _flows(
    timeline: "Timeline", processes: dict[str, int], work: Slices, arrows: "list[Arrows]"
) -> Iterator[Timed]:
    """Arrows whose ends lie in slices that are drawn; each end within its slice."""
    number = 0
    for group in arrows:
        leaves = _bound(work, group.source, group.leaves - 1)
        arrives = _bound(work, group.target, group.arrives)
        good = (leaves >= 0) & (arrives >= leaves)
        ends = (group.source, leaves, group.target, arrives)
        for source, out, target, into in zip(*(c[good].tolist() for c in ends), strict=True):
            number += 1
            for phase, lane, ns in (("s", source, out), ("f", target, into)):
                pid = processes[timeline.lanes[lane].process]
                event = _event(phase, group.name, pid, lane + 1, cat="flow", id=number)
                if phase == "f":
                    event["bp"] = "e"
                yield ns, _OTHER, event


def _bound(work: Slices, lane: Ints, time: Ints) -> Ints:
    """ns within the last slice of the lane that starts by `time`; -1 where there is none."""
    at = np.full(len(time), -1, np.int64)
    for one in np.unique(lane).tolist():
        mine = lane == one
        low, high = np.searchsorted(work.lane, [one, one + 1])
        found = low + np.searchsorted(work.start[low:high], time[mine], side="right") - 1
        at[mine] = np.where(found >= low, found, -1)
    row = np.maximum(at, 0)
    if not len(work):
        return at
    start, end = work.start[row] // TICKS_PER_NS, work.end[row] // TICKS_PER_NS
    inside = (at >= 0) & (end > start)
    return np.where(inside, np.clip(time // TICKS_PER_NS, start, end - 1), -1)


def _notes_lane(timeline: "Timeline", notes: list[str]) -> tuple[list[Event], list[Timed]]:
    """What is left out, as a slice over the whole of it, so that who looks sees it."""
    if not notes:
        return [], []
    low, high = (int(edge * 1e9) for edge in timeline.span_s())
    text = "Not shown: " + "; ".join(notes)
    event = _event("X", text, 0, 0, cat="notes", dur=(high - low) / 1e3, args={"notes": notes})
    named = _event("M", "process_name", 0, 0, ts=0, args={"name": "about this file"})
    return [named], [(low, _SLICE, event)]
