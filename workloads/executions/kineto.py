"""PyTorch profiler timelines (Kineto): a graph that replays the recorded step and can be changed.

What becomes what, per rank (one file):

- A GPU kernel, copy or memset is a task on its stream; NCCL kernels are collectives.
- A host thread is a row of tasks from one launch to the next, as long as that took; the kernel
  waits for its launch and `LAUNCH` (the least time from a launch to its kernel in the file).
- A call that waits for the GPU (``...Synchronize``, a blocking copy) waits for the kernel whose end
  it saw, and lasts the rest of its recorded time.
- A kernel that started later than its launch and its stream explain waits for a kernel of another
  stream that ended at most `NEAR` before; what nothing explains is a delay after the last of them.

So one rank replayed as it is gives the recorded times to the tick (a test holds it), and another
kernel time moves all that hangs on it, as in Daydream (ATC 2020, section 4). What threads of the
host wait for each other is not recorded: such waits stay as long as they were.

Collectives of several ranks start together and take as long as the shortest did: the rank that came
last waited for nobody.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from mltwin.models.training.tables import COLLECTIVE, COMPUTE, HOST, HOST_STREAM, NOTHING, Graph
from mltwin.sim.errors import InputError

from .kineto_events import GpuOp, HostCall, RankTrace, read_rank
from .pytorch_et import read_collectives
from .rows import TICKS_PER_US, TaskRows

NEAR = 5 * TICKS_PER_US
"""Ticks within which the end of a kernel is taken for what another stream waited for."""
SKEW_S = 60.0
"""Most seconds between the starts of two ranks' files that stand on one clock."""


def read_kineto(
    paths: Sequence[str | Path],
    *,
    common_clock: bool = True,
    execution_traces: Sequence[str | Path] | None = None,
) -> Graph:
    """The graph of a recorded step from the timelines of its ranks.

    Args:
        paths: one file a rank; ranks are those of ``distributedInfo``, else in the order given.
        common_clock: the ranks' clocks agree (one machine, or synchronised ones), so that ranks
            begin as far apart as they did; False starts all at 0.
        execution_traces: PyTorch execution traces of the same step, one for each of `paths`: they
            say how many bytes each collective moved, which older timelines do not.

    Raises:
        InputError: a file that is none, two files of one rank, collectives that do not fit each
            other or the execution traces, clocks that are more than `SKEW_S` apart.
    """
    traces = [read_rank(Path(path), number) for number, path in enumerate(paths)]
    if execution_traces is not None:
        if len(execution_traces) != len(traces):
            raise InputError(
                f"{len(execution_traces)} execution traces for {len(traces)} timelines"
            )
        for trace, path in zip(traces, execution_traces, strict=True):
            _set_bytes(trace, Path(path))
    traces.sort(key=lambda trace: trace.rank)
    for one, other in pairwise(traces):
        if one.rank == other.rank:
            raise InputError(
                f"is of rank {one.rank}, as is {one.path}",
                where=str(other.path),
                mend="give each rank's file once",
            )
    origin = min(trace.begin for trace in traces)
    spread = (max(trace.begin for trace in traces) - origin) / 1e12
    if common_clock and spread > SKEW_S:
        raise InputError(
            f"{len(traces)} traces begin {spread:.0f} s apart",
            mend="pass common_clock=False to let all begin at 0",
        )
    groups = _collectives(traces)
    drafts: list[_Draft] = []
    for trace in traces:
        drafts += _Rank(trace, origin if common_clock else trace.begin, groups).drafts()
    drafts.sort(key=lambda draft: (draft.start, draft.end, draft.number))
    rows = TaskRows(f"{len(paths)} Kineto files")
    for draft in drafts:
        rows.add(draft.id, after=draft.after, **draft.columns)
    facts = {"format": "kineto", "ranks": [trace.rank for trace in traces]}
    return rows.graph(facts)


@dataclass
class _Draft:
    """A task with its recorded times, which order the tasks."""

    id: tuple[Any, ...]
    start: int
    end: int
    number: int
    after: list[tuple[Any, ...]]
    columns: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Group:
    """A collective of several ranks: its key, and ticks of its shortest member."""

    key: tuple[Any, ...]
    ticks: int


_ALIKE = {"send_recv": ("all_to_all", "all_to_allv", "send", "recv")}


def _set_bytes(trace: RankTrace, path: Path) -> None:
    """Give a timeline's collectives the bytes that its execution trace tells."""
    told = read_collectives(path)
    places = [place for place, op in enumerate(trace.ops) if op.collective]
    if len(told) != len(places):
        raise InputError(
            f"has {len(told)} collectives, {trace.path} has {len(places)}",
            where=str(path),
            mend="give the execution trace of the same step",
        )
    for place, collective in zip(places, told, strict=True):
        op = trace.ops[place]
        if collective.kind not in (op.collective, *_ALIKE.get(op.collective, ())):
            raise InputError(
                f"node {collective.node} is {collective.kind}, where {trace.path} has {op.name}",
                where=str(path),
                mend="give the execution trace of the same step",
            )
        trace.ops[place] = replace(op, collective=collective.kind, nbytes=collective.nbytes)


def _collectives(traces: list[RankTrace]) -> dict[tuple[int, int], _Group]:
    """(rank, place of the kernel in its trace) -> the collective that it is part of."""
    found: dict[tuple[Any, ...], list[tuple[int, int, GpuOp]]] = {}
    for trace in traces:
        count: dict[tuple[Any, ...], int] = {}
        for place, op in enumerate(trace.ops):
            if op.collective:
                turn = count[op.ranks] = count.get(op.ranks, -1) + 1
                found.setdefault((op.ranks, turn), []).append((trace.rank, place, op))
    paths = {trace.rank: trace.path for trace in traces}
    groups: dict[tuple[int, int], _Group] = {}
    for key, members in found.items():
        first_rank, _, first = members[0]
        for rank, _, op in members[1:]:
            if op.collective != first.collective:
                raise InputError(
                    f"collective {key[1]} is {op.collective}, in {paths[first_rank]} it is "
                    f"{first.collective}",
                    where=str(paths[rank]),
                    mend="give traces of the same step of all ranks",
                )
        if len(members) > 1:
            group = _Group(key, min(op.end - op.start for _, _, op in members))
            groups |= {(rank, place): group for rank, place, _ in members}
    return groups


class _Rank:
    """Tasks of one rank."""

    def __init__(
        self, trace: RankTrace, origin: int, groups: dict[tuple[int, int], _Group]
    ) -> None:
        self.trace, self.origin, self.groups = trace, origin, groups
        self.made: list[_Draft] = []
        # When each kernel was let go by its host, by place in trace.ops.
        self.launch: dict[int, tuple[tuple[Any, ...], int]] = {}
        self.on_stream = _in_order(trace.ops)
        self.by_end = sorted(range(len(trace.ops)), key=lambda place: trace.ops[place].end)

    def drafts(self) -> list[_Draft]:
        """All of them, in no particular order."""
        for thread, calls in enumerate(self.trace.threads):
            self._thread(thread, calls)
        launches = [self.trace.ops[p].start - at for p, (_, at) in self.launch.items()]
        least = max(0, min(launches, default=0))
        for stream in self.on_stream.values():
            previous = None
            for place in stream:
                self._kernel(place, previous, least)
                previous = place
        return self.made

    def _add(self, id: tuple[Any, ...], start: int, end: int, after: Any, **columns: Any) -> None:
        rank = self.trace.rank
        columns = {"device": rank, "duration": end - start} | columns
        after = [one for one in after if one is not None]
        self.made.append(_Draft((rank, *id), start, end, len(self.made), after, columns))

    def _thread(self, thread: int, calls: list[HostCall]) -> None:
        """Host tasks: until each launch or wait, then the rest of the wait."""
        stream = HOST_STREAM + thread
        at = self.origin
        host = {"kind": HOST, "stream": stream, "category": "host"}
        for number, call in enumerate(calls):
            begin = max(call.start, at)
            self._add(("host", thread, number), at, begin, [], **host, name=call.name)
            at = begin
            if call.op is not None:
                self.launch[call.op] = ((self.trace.rank, "host", thread, number), begin)
            seen = self._waited_for(call)
            if seen:
                resumes = max(begin, *(self.trace.ops[place].end for place in seen))
                at = max(resumes, call.end)
                ids = [(self.trace.rank, "gpu", place) for place in seen]
                self._add(("wait", thread, number), resumes, at, ids, **host, name=call.name)
        end = max(at, self.trace.host_end[thread])
        self._add(("host", thread, len(calls)), at, end, [], **host, name="host")

    def _waited_for(self, call: HostCall) -> list[int]:
        """Kernels for whose end a call of the host waited, by place."""
        ops = self.trace.ops
        if call.op is not None:  # a copy that had ended when its call returned
            return [call.op] if ops[call.op].end <= call.end else []
        if not call.waits:
            return []
        done = _ending_within(ops, self.by_end, call.start + 1, call.end)
        if call.waits_for_all:
            last: dict[int, int] = {}
            for place in done:
                last[ops[place].stream] = place
            return list(last.values())
        return done[-1:]

    def _kernel(self, place: int, previous: int | None, least: int) -> None:
        """A task of the GPU, and delays that bring it to its recorded start."""
        ops, rank, op = self.trace.ops, self.trace.rank, self.trace.ops[place]
        bounds: list[tuple[int, tuple[Any, ...] | None]] = [(self.origin, None)]
        if place in self.launch:
            launched, at = self.launch[place]
            self._add(
                ("launch", place),
                at,
                at + least,
                [launched],
                kind=NOTHING,
                device=-1,
                name="launch",
            )
            bounds.append((at + least, (rank, "launch", place)))
        if previous is not None:
            bounds.append((ops[previous].end, (rank, "gpu", previous)))
        free = max(at for at, _ in bounds)
        if op.start > free:
            other = self._other_stream(op, free)
            if other is not None:
                bounds.append((ops[other].end, (rank, "gpu", other)))
        latest, cause = max(bounds, key=lambda bound: bound[0])
        after = [id for _, id in bounds if id is not None]
        if op.start > latest:
            self._add(
                ("delay", place), latest, op.start, [cause], kind=NOTHING, device=-1, name="delay"
            )
            after.append((rank, "delay", place))
        columns: dict[str, Any] = {
            "kind": COLLECTIVE if op.collective else COMPUTE,
            "stream": op.stream,
            "category": op.category,
            "name": op.name,
            "bytes": op.nbytes,
        }
        group = self.groups.get((rank, place))
        if group is not None:
            columns |= {"group": group.key, "duration": group.ticks}
        self._add(("gpu", place), op.start, op.end, after, **columns)

    def _other_stream(self, op: GpuOp, free: int) -> int | None:
        """The kernel of another stream whose end let this one start: the last within `NEAR`."""
        best: int | None = None
        for stream, places in self.on_stream.items():
            if stream == op.stream:
                continue
            for place in _ending_within(self.trace.ops, places, op.start - NEAR, op.start):
                end = self.trace.ops[place].end
                if end > free and (best is None or end > self.trace.ops[best].end):
                    best = place
        return best


def _in_order(ops: list[GpuOp]) -> dict[int, list[int]]:
    """Places of each stream's kernels in the order in which they ran."""
    found: dict[int, list[int]] = {}
    for place in sorted(range(len(ops)), key=lambda p: (ops[p].start, ops[p].end, p)):
        found.setdefault(ops[place].stream, []).append(place)
    return found


def _ending_within(ops: list[GpuOp], places: list[int], low: int, high: int) -> list[int]:
    """Those of `places`, whose ends ascend, that end in low ... high."""

    def end(place: int) -> int:
        return ops[place].end

    return places[bisect_left(places, low, key=end) : bisect_right(places, high, key=end)]
