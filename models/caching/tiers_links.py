"""Links that share their bandwidth equally among what crosses, exact in integers.

With n transfers each gets rate // n units of work a tick (processor sharing: Kleinrock, Queueing
Systems II, 1976, section 4.4). So the work that each has attained since the link was idle is one
number for all, and a transfer ends when that number reaches its own finish level: a heap of levels,
two updates of one row a transfer.
"""

from typing import Any

from mltwin.sim.heap import pairs_pop, pairs_push
from mltwin.sim.jit import handler

from .tables import NEVER

FAR = 2**59


@handler
def join_link(T: Any, now: int, link: int, amount: int, id: int) -> None:
    """A transfer of so many bytes begins to cross."""
    pull(T, now, link)
    row, room = T.link[link], T.par[0].room
    pairs, count = T.crossing[link * room : (link + 1) * room], T.crossing_count[link : link + 1]
    pairs_push(pairs, count, row.attained + amount * row.units, id)
    row.peak = max(row.peak, count[0])
    aim(T, now, link)


@handler
def leave_link(T: Any, now: int, link: int) -> int:
    """The transfer that is over leaves; its request, or BACKGROUND."""
    pull(T, now, link)
    room = T.par[0].room
    pairs, count = T.crossing[link * room : (link + 1) * room], T.crossing_count[link : link + 1]
    id = pairs_pop(pairs, count)
    aim(T, now, link)
    return id


@handler
def pull(T: Any, now: int, link: int) -> None:
    """Bring a link's attained work up to now."""
    row, n = T.link[link], T.crossing_count[link]
    if n == 0:
        row.attained = 0
    else:
        row.attained += max(1, row.rate // n) * (now - row.since)
        row.busy += now - row.since
        if row.attained > FAR:  # count from here, before the numbers grow too large
            first = link * T.par[0].room
            for k in range(first, first + n):
                T.crossing[k].time -= row.attained
            row.attained = 0
    row.since = now


@handler
def aim(T: Any, now: int, link: int) -> None:
    """When the next transfer of a link ends; `pull` comes first."""
    row, n = T.link[link], T.crossing_count[link]
    if n == 0:
        row.ends = NEVER
        return
    left = T.crossing[link * T.par[0].room].time - row.attained
    share = max(1, row.rate // n)
    row.ends = now + max(0, (left + share - 1) // share)
