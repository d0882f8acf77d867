"""The rules of the Trace Event Format that a reader relies on, as checks of a finished file.

Rules: every event has ph, pid, tid, name and a finite ts >= 0, in order; complete events of a
thread nest or follow one another, to the nanosecond and as Perfetto reads them (ts * 1000, cut);
asynchronous events of an id pair and nest, as brackets do; every flow starts and ends once, in
time, within a slice of its thread; counters are finite numbers; processes and threads have names.
"""

import gzip
import itertools
import json
import math
from collections import defaultdict
from pathlib import Path
from typing import Any

Event = dict[str, Any]


def read(path: Path) -> dict[str, Any]:
    """The file's content; NaN and infinity are no JSON."""
    raw = path.read_bytes()
    text = gzip.decompress(raw) if path.suffix == ".gz" else raw

    def refuse(name: str) -> float:
        raise ValueError(f"{name} is no JSON")

    return json.loads(text.decode("utf-8"), parse_constant=refuse)


def problems(content: dict[str, Any]) -> list[str]:
    """Every broken rule, in words; empty for a good file."""
    events = content["traceEvents"]
    found = [p for event in events for p in _form(event)]
    if found:
        return found
    timed = [e for e in events if e["ph"] != "M"]
    found += [
        f"ts goes back to {b['ts']}" for a, b in itertools.pairwise(timed) if b["ts"] < a["ts"]
    ]
    return found + _names(events) + _nesting(timed) + _pairs(timed) + _flows(timed)


def ns(microseconds: float) -> int:
    """Nanoseconds as Perfetto's importer makes them."""
    return int(microseconds * 1000.0)


def _form(event: Event) -> list[str]:
    wanted = {"ph", "pid", "tid", "name", "ts"}
    missing = wanted - event.keys()
    if missing:
        return [f"{event} lacks {missing}"]
    if event["ph"] not in "MXbenCifs":
        return [f"unknown phase {event['ph']}"]
    bad = []
    if not isinstance(event["name"], str) or not event["name"]:
        bad.append(f"name {event['name']!r}")
    if not math.isfinite(event["ts"]) or event["ts"] < 0:
        bad.append(f"ts {event['ts']}")
    if event["ph"] == "X" and not (math.isfinite(event["dur"]) and event["dur"] >= 0):
        bad.append(f"dur {event['dur']}")
    if event["ph"] == "C" and not all(
        isinstance(v, int | float) and math.isfinite(v) for v in event["args"].values()
    ):
        bad.append(f"counter {event['args']}")
    if event["ph"] in "bensf" and ("id" not in event or "cat" not in event):
        bad.append(f"{event['ph']} without id or cat")
    return bad


def _names(events: list[Event]) -> list[str]:
    processes = {e["pid"] for e in events if e["name"] == "process_name"}
    threads = {(e["pid"], e["tid"]) for e in events if e["name"] == "thread_name"}
    bare = {e["pid"] for e in events} - processes
    unnamed = {(e["pid"], e["tid"]) for e in events if e["ph"] in "Xsf" and e["tid"]} - threads
    return [f"process {p} has no name" for p in bare] + [f"thread {t}: no name" for t in unnamed]


def _nesting(timed: list[Event]) -> list[str]:
    open_until: dict[tuple[int, int], list[int]] = defaultdict(list)
    found = []
    for e in (e for e in timed if e["ph"] == "X"):
        start, end = ns(e["ts"]), ns(e["ts"]) + ns(e["dur"])
        stack = open_until[e["pid"], e["tid"]]
        while stack and stack[-1] <= start:
            stack.pop()
        if stack and end > stack[-1]:
            found.append(f"{e['name']} of {start} to {end} ns overlaps one until {stack[-1]}")
        stack.append(end)
    return found


def _pairs(timed: list[Event]) -> list[str]:
    open_: dict[tuple[str, str], list[str]] = defaultdict(list)
    found = []
    for e in timed:
        key = (e.get("cat", ""), str(e.get("id", "")))
        if e["ph"] == "b":
            open_[key].append(e["name"])
        elif e["ph"] == "e" and (not open_[key] or open_[key].pop() != e["name"]):
            found.append(f"{key} ends {e['name']}, which is not the one that is open")
    return found + [f"{key} never ends {names}" for key, names in open_.items() if names]


def _flows(timed: list[Event]) -> list[str]:
    slices: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for e in timed:
        if e["ph"] == "X":
            slices[e["pid"], e["tid"]].append((ns(e["ts"]), ns(e["ts"]) + ns(e["dur"])))
    ends: dict[tuple[str, str], list[tuple[str, float]]] = defaultdict(list)
    found = []
    for e in timed:
        if e["ph"] not in "sf":
            continue
        ends[e["cat"], str(e["id"])].append((e["ph"], e["ts"]))
        at = ns(e["ts"])
        if not any(start <= at < end for start, end in slices[e["pid"], e["tid"]]):
            found.append(f"flow {e['id']} is in no slice at {at} ns")
        if e["ph"] == "f" and e.get("bp") != "e":
            found.append(f"flow {e['id']} ends without bp")
    for key, steps in ends.items():
        if [phase for phase, _ in steps] != ["s", "f"]:
            found.append(f"flow {key} has steps {steps}")
    return found
