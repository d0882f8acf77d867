"""What a Kineto timeline says, put in order: GPU work by stream, calls of the host by thread.

Trace events are those of the "Trace Event Format": ``X`` with ``ts`` and ``dur`` in microseconds.
GPU work has the categories ``kernel``, ``gpu_memcpy`` and ``gpu_memset`` and names its device,
stream and ``correlation``, by which the call that launched it is found (``cuda_runtime``,
``cuda_driver``).
"""

import json
import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mltwin.models.training.tables import COMMUNICATION_STREAM
from mltwin.sim.errors import InputError

from .rows import TICKS_PER_US, number, whole
from .wire import read_bytes

GPU_CATEGORIES = ("kernel", "gpu_memcpy", "gpu_memset")
CALL_CATEGORIES = ("cuda_runtime", "cuda_driver")
_NCCL = re.compile(r"nccl(?:Dev)?Kernel_?(\w+?)(?:_|\()", re.IGNORECASE)
_KINDS = {
    "allreduce": ("all_reduce", "dp"),
    "reducescatter": ("reduce_scatter", "dp"),
    "allgather": ("all_gather", "dp"),
    "broadcast": ("broadcast", "dp"),
    "reduce": ("reduce", "dp"),
    "sendrecv": ("send_recv", "ep"),
    "alltoall": ("all_to_all", "ep"),
}
_BYTES = {
    **dict.fromkeys(("Byte", "Char", "Bool", "Int8", "UInt8", "Float8_e4m3fn"), 1),
    **dict.fromkeys(("Half", "BFloat16", "Short"), 2),
    **dict.fromkeys(("Float", "Int"), 4),
    **dict.fromkeys(("Double", "Long"), 8),
}


@dataclass(frozen=True)
class GpuOp:
    """A kernel, copy or memset; times in ticks.

    Attributes:
        collective: its kind ("all_reduce", ...) if it is one of NCCL, else empty.
        ranks: what collectives are counted over: process group and its ranks, as far as told.
        nbytes: of a collective, 0 if not told.
    """

    name: str
    start: int
    end: int
    stream: int
    category: str
    collective: str
    ranks: tuple[str, ...]
    nbytes: float


@dataclass(frozen=True)
class HostCall:
    """A call that launches GPU work (place `op` of the trace) or waits for the GPU; ticks."""

    name: str
    start: int
    end: int
    op: int | None
    waits: bool
    waits_for_all: bool


@dataclass(frozen=True)
class RankTrace:
    """One rank's timeline.

    Attributes:
        ops: GPU work, by start.
        threads: calls of each host thread in order; host_end: last tick of each thread.
        begin: first tick of anything.
    """

    path: Path
    rank: int
    ops: list[GpuOp]
    threads: list[list[HostCall]]
    host_end: list[int]
    begin: int


def read_rank(path: Path, place: int) -> RankTrace:
    """One rank's timeline; `place` is its rank if the file does not tell.

    Raises:
        InputError: no timeline, no GPU work in it, several devices, an event without its times.
    """
    try:
        found = json.loads(read_bytes(path))
        events = list(found["traceEvents"])
    except (ValueError, KeyError, TypeError):
        raise InputError(
            "is no Kineto timeline", where=str(path), mend="give JSON with 'traceEvents'"
        ) from None
    told = found.get("distributedInfo")
    given = told.get("rank", place) if isinstance(told, dict) else place
    rank = whole(given, str(path), "rank")
    for row, event in enumerate(events):
        if not isinstance(event, dict) or not isinstance(event.get("args", {}), dict):
            raise InputError("is no trace event", where=f"{path}, event {row} of the list")
    spans = [event for event in events if event.get("ph") == "X"]
    gpu = [event for event in spans if event.get("cat") in GPU_CATEGORIES]
    if not gpu:
        raise InputError(
            "has no GPU work", where=str(path), mend="profile with ProfilerActivity.CUDA"
        )
    devices = {_argument(event, "device", path) for event in gpu}
    if len(devices) > 1:
        raise InputError(
            f"has work of the devices {sorted(devices)}",
            where=str(path),
            mend="give one file a device",
        )
    gpu.sort(key=lambda event: (_times(event, path), _argument(event, "correlation", path)))
    streams = _streams(gpu, path)
    calls = [event for event in spans if event.get("cat") in CALL_CATEGORIES]
    launches = {_argument(call, "correlation", path): call for call in calls}
    kinds = _Categories(spans, path)
    ops = [_gpu_op(event, streams, launches, kinds, path) for event in gpu]
    launched = {_argument(event, "correlation", path): i for i, event in enumerate(gpu)}
    threads = _threads(calls, launched, path)
    host_end = [
        max(_times(event, path)[1] for event in spans if _thread_of(event) == tid)
        for tid in threads
    ]
    begin = min(
        *(op.start for op in ops), *(call.start for line in threads.values() for call in line)
    )
    return RankTrace(path, rank, ops, list(threads.values()), host_end, begin)


def _times(event: dict[str, Any], path: Path) -> tuple[int, int]:
    try:
        start, took = event["ts"], event["dur"]
        return _ticks(start), _ticks(start) + _ticks(took)
    except (KeyError, TypeError, ValueError, OverflowError):
        raise InputError(
            f"event {event.get('name')!r} has no times 'ts' and 'dur'", where=str(path)
        ) from None


def _ticks(us: Any) -> int:
    return us * TICKS_PER_US if isinstance(us, int) else round(float(us) * 1000) * 1000


def _thread_of(event: dict[str, Any]) -> str:
    return str(event.get("tid"))


def _argument(event: dict[str, Any], name: str, path: Path) -> int:
    value = event.get("args", {}).get(name)
    if not isinstance(value, int):
        raise InputError(
            f"{event.get('cat')} {event.get('name')!r} at {event.get('ts')} us names no {name}",
            where=str(path),
        )
    return value


def _streams(gpu: list[dict[str, Any]], path: Path) -> dict[int, int]:
    """The file's streams as ours: the busiest is 0, those with collectives next, then the rest."""
    work: Counter[int] = Counter()
    talks = set()
    for event in gpu:
        stream = _argument(event, "stream", path)
        work[stream] += 1
        if _NCCL.match(str(event.get("name"))):
            talks.add(stream)
    computing = [stream for stream, _ in work.most_common() if stream not in talks]
    order = [*computing[:1], *sorted(talks), *sorted(computing[1:])]
    if not computing:  # nothing but collectives: stream 0 stays for compute
        return {stream: COMMUNICATION_STREAM + i for i, stream in enumerate(sorted(talks))}
    return {stream: i for i, stream in enumerate(order)}


def _gpu_op(
    event: dict[str, Any],
    streams: dict[int, int],
    launches: dict[int, dict[str, Any]],
    kinds: "_Categories",
    path: Path,
) -> GpuOp:
    name, arguments = str(event.get("name")), event.get("args", {})
    start, end = _times(event, path)
    match = _NCCL.match(name)
    kind, category = "", ""
    if match:
        found = match.group(1).lower()
        kind, category = _KINDS.get(found, (found, "other"))
    else:
        category = kinds.of(launches.get(_argument(event, "correlation", path)), event)
    group = arguments.get("Process Group Name"), arguments.get("Process Group Ranks")
    nbytes = _BYTES.get(str(arguments.get("dtype")), 0) * number(
        arguments.get("In msg nelems", 0), str(path), "In msg nelems"
    )
    return GpuOp(
        name=name,
        start=start,
        end=end,
        stream=streams[_argument(event, "stream", path)],
        category=category,
        collective=kind,
        ranks=tuple(str(part) for part in group if part is not None),
        nbytes=nbytes,
    )


def _threads(
    calls: list[dict[str, Any]], place: dict[int, int], path: Path
) -> dict[str, list[HostCall]]:
    """Calls that launch or wait, by thread, in order; one that begins inside another is left out
    unless it launches."""
    threads: dict[str, list[HostCall]] = {}
    for call in sorted(calls, key=lambda call: _times(call, path)):
        name, (start, end) = str(call.get("name")), _times(call, path)
        op = place.get(_argument(call, "correlation", path))
        waits = "Synchronize" in name
        if op is not None or waits:
            threads.setdefault(_thread_of(call), []).append(
                HostCall(name, start, end, op, waits, waits and "Device" in name)
            )
    return threads


class _Categories:
    """What a kernel is for, by where its launch stands: autograd's thread, or the optimizer."""

    def __init__(self, spans: list[dict[str, Any]], path: Path) -> None:
        self.path = path
        self.backward = {
            _thread_of(event)
            for event in spans
            if str(event.get("name")).startswith("autograd::engine::evaluate_function")
        }
        self.optimizer = [
            (_thread_of(event), *_times(event, path))
            for event in spans
            if "Optimizer.step" in str(event.get("name"))
        ]

    def of(self, launch: dict[str, Any] | None, event: dict[str, Any]) -> str:
        """The category of a kernel that is no collective."""
        if event.get("cat") != "kernel":
            return "load"
        if launch is None:
            return "other"
        tid, (at, _) = _thread_of(launch), _times(launch, self.path)
        if any(tid == own and low <= at < high for own, low, high in self.optimizer):
            return "optimizer"
        return "backward" if tid in self.backward else "forward"
