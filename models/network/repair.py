"""Rates after a change, worked out only where it reaches.

Flows that started or ended make their bundles dirty; links that lost a bundle are touched. The
other bundles are held at their rates while the dirty ones are filled anew in rising order, and the
level of filling thaws a held bundle when it meets a link on which its rate cannot stand:

- a link becomes the bottleneck of others at a share below the held bundle's: it must give way;
- the link that held the bundle back would now give more, or is not full any longer: it may grow.

Thawing a bundle puts its rate back where the level has not yet passed, so the order of filling
stays right and one pass suffices. At the end each bundle has a full link on which its share is the
greatest, which holds for max-min fair rates and no others (Bertsekas and Gallager, "Data Networks",
section 6.5.2), so the rates are those of a full solve (`certificate` checks this at every event in
tests).
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler

from .solver import fill, next_level, requeue, solve_all, thaw
from .tables import HELD

FULL_EVERY = 1024
"""Solves after which one is full, so that sums of rates do not collect rounding errors."""


@handler
def solve_touched(S: Any, now: int) -> None:
    """Rates after all changes of this instant."""
    net = S.net[0]
    if net.dirty == 0 and net.touched == 0:
        return
    if net.active > 0:
        net.stamp += 1
        net.solves += 1
        net.since_full += 1
        full = net.full_share == 0 or net.since_full >= FULL_EVERY
        if full or net.dirty * net.full_share > net.active:
            solve_all(S, now)
        else:
            _repair(S, now)
    for k in range(net.dirty):
        S.bundle[S.dirty[k]].dirty = 0
    for k in range(net.touched):
        S.link[S.touched[k]].touched = 0
    net.dirty = 0
    net.touched = 0


@handler
def _repair(S: Any, now: int) -> None:
    net = S.net[0]
    for k in range(net.dirty):
        c = S.dirty[k]
        if S.bundle[c].state == HELD:
            thaw(S, c, np.int64(-1))
    for k in range(net.touched):
        link = S.touched[k]
        if S.link[link].touched == 2:  # all its bundles are open; sums of old rates leave rounding
            S.link[link].left = S.link[link].capacity
        if next_level(S, link) < np.inf:
            requeue(S, link)
    fill(S, now)
