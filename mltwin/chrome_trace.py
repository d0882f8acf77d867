"""A serving run as a timeline for Perfetto (ui.perfetto.dev) or chrome://tracing.

One process a pool, one thread a replica. Slices are runs of identical iterations (`decode x 12`,
`prefill 512`); counters show requests waiting and KV blocks in use; flow arrows follow KV
hand-overs. Format: "Trace Event Format" (Google), JSON array form with times in us.
"""

import gzip
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mltwin.models.serving.outcome import TRANSFER_END, TRANSFER_START
from mltwin.sim.errors import InputError

if TYPE_CHECKING:
    from .serving_result import ServingResult

TICKS_PER_US = 1e6


def write_chrome_trace(result: "ServingResult", path: Path, max_events: int) -> Path:
    """See `ServingResult.to_chrome_trace`.

    At most `max_events` events are written: the run's beginning, whole in time.
    """
    if path.suffix not in (".json", ".gz"):
        raise InputError(
            f"cannot write {path.suffix or 'a file without an ending'}",
            where=str(path),
            mend="use .json or .json.gz",
        )
    logged = _logged(result)
    text = json.dumps(
        {
            "traceEvents": trace_events(logged, max_events),
            "displayTimeUnit": "ms",
            "otherData": {"scenario": result.label, "digest": result.digest},
        },
        separators=(",", ":"),
    ).encode()
    content = gzip.compress(text, mtime=0) if path.suffix == ".gz" else text
    from mltwin.sim.store import write_atomically

    try:
        write_atomically(path, lambda file: file.write(content))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", where=str(path)) from None
    return path


def trace_events(result: "ServingResult", max_events: int) -> list[dict[str, Any]]:
    """The events, sorted by time after the names of processes and threads."""
    names = _names(result)
    events = [*_slices(result), *_flows(result)]
    events.sort(key=lambda event: (event["ts"], event["pid"], event["tid"]))
    return names + events[: max(0, max_events - len(names))]


def _logged(result: "ServingResult") -> "ServingResult":
    """The run with its logs: itself, or the scenario run once more."""
    if "batches" in result.tables:
        return result
    if result.scenario is None:
        raise InputError("the run kept no log and its scenario is unknown", where=result.label)
    again = result.scenario.run(result.seed, log=True, batches=True)
    if again.digest != result.digest:
        raise InputError(
            "running it again for its log gives another result",
            where=result.label,
            mend="the code or the data has changed since; run it anew",
        )
    return again  # type: ignore[return-value]


def _names(result: "ServingResult") -> list[dict[str, Any]]:
    named = []
    for i, pool in enumerate(result.facts["pools"]):
        title = f"{pool['name']} ({pool['role']}, {pool['gpu']})"
        named.append(_event("M", 0, i + 1, 0, "process_name", args={"name": title}))
    for replica, pool in enumerate(result.facts["pool_of"]):
        args = {"name": f"replica {replica}"}
        named.append(_event("M", 0, pool + 1, replica + 1, "thread_name", args=args))
    return named


def _event(phase: str, ts: float, pid: int, tid: int, name: str, **more: Any) -> dict[str, Any]:
    return {"ph": phase, "ts": ts, "pid": pid, "tid": tid, "name": name, **more}


def _slices(result: "ServingResult") -> list[dict[str, Any]]:
    """A slice and two counter samples for each run of identical iterations."""
    batches = result.tables["batches"]
    pool_of = result.facts["pool_of"]
    start = batches["start"] / TICKS_PER_US
    end = batches["end"] / TICKS_PER_US
    events = []
    fields = ("replica", "iterations", "decoding", "prefill_tokens", "context", "blocks", "waiting")
    rows = zip(start.tolist(), end.tolist(), *(batches[f].tolist() for f in fields), strict=True)
    for ts, stop, replica, iterations, decoding, prefill, context, blocks, waiting in rows:
        pid, tid = pool_of[replica] + 1, replica + 1
        args = {
            "iterations": iterations,
            "decoding": decoding,
            "prefill_tokens": prefill,
            "context": context,
        }
        name = _slice_name(iterations, decoding, prefill)
        events.append(_event("X", ts, pid, tid, name, dur=stop - ts, args=args))
        for what, value in (("KV blocks", blocks), ("waiting", waiting)):
            counter = f"{what}, replica {replica}"
            events.append(_event("C", stop, pid, tid, counter, args={what: value}))
    return events


def _slice_name(iterations: int, decoding: int, prefill: int) -> str:
    if prefill and decoding:
        return f"mixed {prefill} + {decoding}"
    if prefill:
        return f"prefill {prefill}"
    return f"decode x {iterations}" if iterations > 1 else "decode"


def _flows(result: "ServingResult") -> list[dict[str, Any]]:
    """An arrow for each KV transfer, from the source's thread to the destination's."""
    log = result.tables.get("log")
    if log is None:
        return []
    source = result.tables["requests"]["prefill_replica"]
    pool_of = result.facts["pool_of"]
    events = []
    moving = np.flatnonzero(np.isin(log["kind"], (TRANSFER_START, TRANSFER_END)))
    for i in moving.tolist():
        request, destination = int(log["entity"][i]), int(log["value"][i])
        starts = log["kind"][i] == TRANSFER_START
        replica = int(source[request]) if starts else destination
        if replica < 0:
            continue
        ts = float(log["time"][i]) / TICKS_PER_US
        more: dict[str, Any] = {"id": request, "cat": "kv"}
        if not starts:
            more["bp"] = "e"
        phase = "s" if starts else "f"
        events.append(_event(phase, ts, pool_of[replica] + 1, replica + 1, "KV transfer", **more))
    return events
