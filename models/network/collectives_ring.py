"""Rings, chains, and the hierarchy made of rings."""

import numpy as np

from .collectives_table import Steps, in_turn, steps_of


def ring(kind: str, n: int, *, pipelined: bool = False) -> Steps:
    """All-reduce, reduce-scatter or all-gather round a ring: member ``r`` sends to ``r + 1``.

    A reduce-scatter takes n-1 steps of 1/n of the data, an all-gather as many, an all-reduce is
    one after the other (Patarasuk and Yuan 2009, "Bandwidth optimal all-reduce algorithms").
    Pipelined: one flow an edge.
    """
    laps = {"all_reduce": 2, "reduce_scatter": 1, "all_gather": 1}[kind]
    steps = laps * (n - 1)
    member = np.arange(n)
    if pipelined:
        return steps_of(
            member, (member + 1) % n, steps / n, pieces=n, home=member, hops=steps, group=0
        )
    step, source = np.meshgrid(np.arange(steps), member, indexing="ij")
    reducing = np.full(steps, kind != "all_gather")
    reducing[n - 1 :] = False
    turn = np.where(reducing, step.T + 1, step.T - (steps - (n - 1))).T
    # What it passes on must have come, and its own data is ready once it has sent before.
    before = np.stack([(step - 1) * n + (source - 1) % n, (step - 1) * n + source], axis=-1)
    return steps_of(
        source,
        (source + 1) % n,
        1 / n,
        after=np.where(step[..., None] > 0, before, -1).astype(np.int32).reshape(-1, 2),
        phase=step,
        chunk=(source - turn) % n,
        count=1,
        adds=np.broadcast_to(reducing[:, None], step.shape),
        pieces=n,
        home=member,
    )


def chain(n: int, root: int, chunks: int, *, pipelined: bool = False) -> Steps:
    """Broadcast along a ring from ``root``, in ``chunks`` pieces that follow each other."""
    place = np.arange(n - 1)
    if pipelined:
        return steps_of((root + place) % n, (root + place + 1) % n, 1.0, hops=n - 1, group=0)
    piece, place = np.meshgrid(np.arange(chunks), place, indexing="ij")
    here = np.arange(piece.size).reshape(piece.shape)
    got = np.where(place > 0, here - 1, -1)
    sent = np.where(piece > 0, here - (n - 1), -1)
    return steps_of(
        (root + place) % n,
        (root + place + 1) % n,
        1 / chunks,
        after=np.stack([got, sent], axis=-1).astype(np.int32).reshape(-1, 2),
        phase=place,
        chunk=piece,
        count=1,
        pieces=chunks,
    )


def hierarchical(kind: str, islands: int, island: int, *, pipelined: bool = False) -> Steps:
    """All-reduce, reduce-scatter or all-gather in ``islands`` of ``island`` members each.

    Reduce-scatter inside each island, then every member all-reduces its shard with the members of
    the same place in the other islands (its rail), then all-gather inside (Cho et al. 2019,
    BlueConnect; Jia et al. 2018, arXiv 1807.11205). All three by rings. Member ``i * island
    + l`` is the ``l``-th of island ``i``; chunks are numbered by place, then island.
    """
    m, g = islands, island
    inner = [np.arange(g) + i * g for i in range(m)]
    rails = [np.arange(m) * g + p for p in range(g)]
    parts = {
        "all_reduce": ("reduce_scatter", kind, "all_gather"),
        "reduce_scatter": ("reduce_scatter", kind),
        "all_gather": (kind, "all_gather"),
    }[kind]
    across = 1 if kind != "all_gather" else 0
    made = [
        _side_by_side(rails, part, pipelined, stride=m)
        if i == across
        else _side_by_side(inner, part, pipelined, stride=m, whole=True)
        for i, part in enumerate(parts)
        if (m if i == across else g) > 1
    ]
    return in_turn(*made)


def _side_by_side(
    rings: list[np.ndarray], kind: str, pipelined: bool, *, stride: int, whole: bool = False
) -> Steps:
    """The same ring over several sets of members at once.

    Args:
        stride: chunks of one place.
        whole: a ring moves all chunks of a place at once (inside an island); else ring ``p``
            moves the chunks of place ``p``, one at a time.
    """
    size, many = len(rings[0]), len(rings)
    one = ring(kind, size, pipelined=pipelined)
    members, number = np.stack(rings), np.arange(many)[:, None]
    after = np.where(one.after >= 0, one.after + number[:, :, None] * len(one.source), -1)
    chunk = one.chunk * stride if whole else number * stride + one.chunk
    places = many if not whole else size
    total = places * stride
    home = np.arange(total) % stride * places + np.arange(total) // stride
    return steps_of(
        members[:, one.source],
        members[:, one.target],
        one.share if whole else one.share / many,
        after=after.astype(np.int32).reshape(many * len(one.source), one.after.shape[1]),
        phase=one.phase,
        chunk=chunk if not pipelined else -1,
        count=one.count * (stride if whole else 1),
        adds=one.adds,
        pieces=total,
        home=home,
        hops=one.hops,
        group=np.broadcast_to(number, (many, len(one.source))) if pipelined else -1,
    )
