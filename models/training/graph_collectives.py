"""A collective in a task graph as its single transfers, which share links with all that moves.

    done = add_collective(builder, transfers("all_reduce", [0, 1, 2, 3], 1e9, "ring"), after=ids)

Where links are not shared, one task a rank with a closed form of the time does, at a thousandth of
the cost.
"""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.ticks import ticks

from .graph import COMMUNICATION_STREAM, NOTHING, TRANSFER, GraphBuilder

if TYPE_CHECKING:
    from mltwin.models.network.collectives_table import Transfers


def add_collective(
    builder: GraphBuilder,
    table: "Transfers",
    *,
    after: ArrayLike | None = None,
    stream: int = COMMUNICATION_STREAM,
    name: str = "",
    category: str = "dp",
) -> NDArray[np.int64]:
    """Append the transfers of a collective; the tasks with which it is over on each rank.

    Each rank's stream first has a task of nothing, before which none of the rank's transfers begin,
    and then one that ends with the last of them: what is issued later waits behind it. Between the
    two the stream counts as idle, and compute of the device is not slowed.

    Args:
        builder: takes the tasks.
        table: of `mltwin.models.network.collectives.transfers`, not pipelined.
        after: int[n] or int[n, d], what each member of ``table.members`` waits for; -1: nothing.
        stream: of the devices (rank r is device r).
        name: of the transfers; the kind of the collective by default.
        category: of all tasks.

    Returns:
        int64[n], one task a member.

    Raises:
        InputError: a pipelined table, or one that uses switches.
    """
    if table.pipelined or (table.hops > 1).any():
        raise InputError(
            "flows of a pipeline cannot be tasks", mend="make the transfers with pipelined=False"
        )
    if len(table) and min(table.source.min(), table.target.min()) < 0:
        raise InputError(f"{table.algorithm} uses switches", mend="choose another algorithm")
    label = name or table.kind
    members = table.members
    begin = builder.add(
        kind=NOTHING, device=members, stream=stream, after=after, name=label, category=category
    )
    delay = ticks(table.delay_s)
    first = len(builder) + int((delay > 0).sum())
    waits = np.full(len(table), -1, np.int64)
    late = np.flatnonzero(delay > 0)
    if len(late):
        waits[late] = builder.add(
            kind=NOTHING, duration=delay[late], name=label, category=category, count=len(late)
        )
    sent = np.arange(first, first + len(table), dtype=np.int64)
    # A delayed transfer waits for its delay, and the delay for all else.
    starts = np.where(waits >= 0, waits, sent)
    place = np.full(int(members.max()) + 1, -1, np.int64)
    place[members] = np.arange(len(members))
    builder.add(
        kind=TRANSFER,
        source=table.source,
        target=table.target,
        bytes=table.bytes,
        after=waits,
        name=label,
        category=category,
        count=len(table),
    )
    for side in (table.source, table.target):
        builder.depend(starts, begin[place[side]])
    owner = np.repeat(np.arange(len(table)), np.diff(table.after_first))
    builder.depend(starts[owner], sent[table.after])
    done = builder.add(
        kind=NOTHING, device=members, stream=stream, after=begin, name=label, category=category
    )
    for side in (table.source, table.target):
        builder.depend(done[place[side]], sent)
    return done
