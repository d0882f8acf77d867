"""What a collective moves: the table of its transfers, and how algorithms hand it over."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from mltwin.sim.errors import InputError

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

KINDS = ("all_reduce", "reduce_scatter", "all_gather", "all_to_all", "broadcast", "send_recv")
"""Collectives. Their bytes, as in NCCL's tests: the buffer of one rank for all-reduce, broadcast
and send-receive; the whole vector (all shards) for reduce-scatter and all-gather; all that one
rank sends, its own part among it, for all-to-all."""


@dataclass(frozen=True, eq=False)
class Steps:
    """What an algorithm returns: transfers between members 0 .. n-1, T of them.

    A member below 0 is a switch that reduces or copies: -1 is the first of them.

    Attributes:
        source, target: int[T], members.
        share: float[T], bytes of the transfer as a fraction of those of the collective.
        after: int[T, D], transfers that must have ended before; -1: none.
        phase: int[T], for people: which step or part of the algorithm.
        chunk, count: int[T], the chunks ``chunk .. chunk + count - 1`` of the data; -1 and 0 where
            flows stand for many chunks (pipelined).
        adds: bool[T], the target adds what it gets to what it has (else it keeps a copy).
        pieces: number of chunks of the data; ``pieces / n`` of them are a rank's shard.
        home: int[pieces], the member a chunk belongs to before an all-gather or after a
            reduce-scatter or all-to-all.
        hops: int[T], latencies of a path that pass before all bytes have arrived.
        group: int[T], flows of one pipeline: they wait for ``hops`` of their mean latency; -1: own.
    """

    source: Ints
    target: Ints
    share: Floats
    after: Ints
    phase: npt.NDArray[np.int16]
    chunk: Ints
    count: Ints
    adds: Flags
    pieces: int
    home: Ints
    hops: Ints
    group: Ints


@dataclass(frozen=True, eq=False)
class Transfers:
    """The transfers of one collective (T rows), in columns; see :class:`Steps` for those not here.

    Attributes:
        kind, algorithm: their names.
        members: int32[n], the ranks that take part.
        source, target: int32[T], ranks; below 0: a switch, -1 the first one.
        bytes: float64[T].
        delay_s: float64[T], seconds of set-up before the path's latency.
        after_first, after: int64[T+1], int32[]: transfer ``t`` starts when all of
            ``after[after_first[t]:after_first[t + 1]]`` have ended.
        pipelined: rows are flows of many chunks at once, not single steps.
    """

    kind: str
    algorithm: str
    members: Ints
    source: Ints
    target: Ints
    bytes: Floats
    delay_s: Floats
    after_first: Longs
    after: Ints
    phase: npt.NDArray[np.int16]
    chunk: Ints
    count: Ints
    adds: Flags
    pieces: int
    home: Ints
    hops: Ints
    group: Ints
    pipelined: bool = field(default=False)

    def __len__(self) -> int:
        return len(self.source)

    @property
    def sent_bytes(self) -> float:
        """Sum over all transfers."""
        return float(self.bytes.sum())


def finish(
    steps: Steps, kind: str, algorithm: str, members: Ints, size: float, pipelined: bool
) -> Transfers:
    """The table of ``steps`` between ``members`` for a collective of ``size`` bytes."""

    def rank(member: Ints) -> Ints:
        return np.where(member < 0, member, members[np.maximum(member, 0)]).astype(np.int32)

    first, after = rows(steps.after)
    return Transfers(
        kind=kind,
        algorithm=algorithm,
        members=members,
        source=rank(steps.source),
        target=rank(steps.target),
        bytes=steps.share * size,
        delay_s=np.zeros(len(steps.source)),
        after_first=first,
        after=after,
        phase=steps.phase,
        chunk=steps.chunk,
        count=steps.count,
        adds=steps.adds,
        pieces=steps.pieces,
        home=steps.home,
        hops=steps.hops,
        group=steps.group,
        pipelined=pipelined,
    )


def rows(padded: Ints) -> tuple[Longs, Ints]:
    """A padded table (-1: nothing) as (first, values): the row ``i`` is
    ``values[first[i]:first[i + 1]]``."""
    kept = padded >= 0
    first = np.zeros(len(padded) + 1, np.int64)
    np.cumsum(kept.sum(axis=1), out=first[1:])
    return first, np.ascontiguousarray(padded[kept], np.int32)


def padded(lists: list[list[int]]) -> Ints:
    """Lists of numbers as the rows of a table, -1 where a list is shorter than the longest."""
    wide = np.full((len(lists), max((len(x) for x in lists), default=0)), -1, np.int32)
    for row, values in zip(wide, lists, strict=True):
        row[: len(values)] = values
    return wide


def steps_of(
    source: npt.ArrayLike,
    target: npt.ArrayLike,
    share: npt.ArrayLike,
    *,
    after: Ints | None = None,
    phase: npt.ArrayLike = 0,
    chunk: npt.ArrayLike = -1,
    count: npt.ArrayLike = 0,
    adds: npt.ArrayLike = False,
    pieces: int = 1,
    home: npt.ArrayLike | None = None,
    hops: npt.ArrayLike = 1,
    group: npt.ArrayLike = -1,
) -> Steps:
    """:class:`Steps` of arrays of any shape (flattened) and scalars (repeated)."""
    senders = np.asarray(source, np.int32)
    shape, size = senders.shape, senders.size

    def column(values: npt.ArrayLike, dtype: npt.DTypeLike) -> npt.NDArray[np.generic]:
        return np.ascontiguousarray(np.broadcast_to(values, shape).reshape(size), dtype)

    return Steps(
        source=senders.reshape(size),
        target=column(target, np.int32),
        share=column(share, np.float64),
        after=np.full((size, 0), -1, np.int32) if after is None else after.reshape(size, -1),
        phase=column(phase, np.int16),
        chunk=column(chunk, np.int32),
        count=column(count, np.int32),
        adds=column(adds, np.bool_),
        pieces=pieces,
        home=np.zeros(pieces, np.int32) if home is None else np.asarray(home, np.int32),
        hops=column(hops, np.int32),
        group=column(group, np.int32),
    )


def in_turn(*parts: Steps) -> Steps:
    """One after the other: a transfer of a later part that waits for nothing in it waits for all
    transfers of the last phase before it that went to its source. Chunks are those of the first
    part."""
    whole = parts[0]
    for part in parts[1:]:
        whole = _joined(whole, part)
    return whole


def _joined(one: Steps, two: Steps) -> Steps:
    offset = len(one.source)
    moved = np.where(two.after >= 0, two.after + offset, -1).astype(np.int32)
    waits = _into(one, two.source)
    waits[(two.after >= 0).any(axis=1)] = -1
    later = np.hstack([moved, waits])
    width = max(one.after.shape[1], later.shape[1])

    def wide(table: Ints) -> Ints:
        return np.pad(table, ((0, 0), (0, width - table.shape[1])), constant_values=-1)

    last = one.phase.max() + 1 if offset else 0
    groups = one.group.max() + 1 if offset else 0
    group = np.where(two.group >= 0, two.group + groups, -1).astype(np.int32)
    return Steps(
        source=np.concatenate([one.source, two.source]),
        target=np.concatenate([one.target, two.target]),
        share=np.concatenate([one.share, two.share]),
        after=np.vstack([wide(one.after), wide(later)]),
        phase=np.concatenate([one.phase, (two.phase + last).astype(np.int16)]),
        chunk=np.concatenate([one.chunk, two.chunk]),
        count=np.concatenate([one.count, two.count]),
        adds=np.concatenate([one.adds, two.adds]),
        pieces=one.pieces,
        home=one.home,
        hops=np.concatenate([one.hops, two.hops]),
        group=np.concatenate([one.group, group]),
    )


def _into(steps: Steps, sources: Ints) -> Ints:
    """For each of ``sources`` the transfers of the last phase to it, padded with -1."""
    last = np.full(max(int(steps.target.max(initial=0)), int(sources.max(initial=0))) + 1, -1)
    np.maximum.at(last, steps.target, steps.phase)
    final = np.flatnonzero(steps.phase == last[steps.target])
    final = final[np.argsort(steps.target[final], kind="stable")]
    to = steps.target[final]
    begin, end = np.searchsorted(to, sources), np.searchsorted(to, sources, side="right")
    wide = int((end - begin).max(initial=0))
    place = begin[:, None] + np.arange(wide)
    found = final[np.minimum(place, max(len(final) - 1, 0))] if len(final) else place
    return np.where(place < end[:, None], found, -1).astype(np.int32)


def size_of(size: float, what: str = "bytes") -> float:
    """``size`` if it is a finite positive number.

    Raises:
        InputError: it is not.
    """
    if not (np.isfinite(size) and size > 0):
        raise InputError(f"{what} is {size}", where=what, mend="give a positive number")
    return float(size)
