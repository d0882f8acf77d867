"""Max-min fair rates by progressive filling, over weighted bundles with caps.

Again and again the link whose remaining capacity per weight of unrated bundles is smallest (ties:
the lower link) sets that share for them (Bertsekas and Gallager, "Data Networks", section 6.5.2);
a cap is a link of its own. Links stand in a heap under a lower bound of their share: shares only
grow while the level of filling rises, so a link that comes up too early is put back.

`solve_all` rates every bundle. `repair.solve_touched` rates those that a change concerns, with the
same `fill`: the others keep their rates until the rising level meets one that cannot stand.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler
from mltwin.sim.ticks import NEVER

from .keyed_heap import heap_clear, heap_drop, heap_put
from .tables import CAPPED, HELD, NO_LINK, OPEN

EPS = 1e-11
"""Relative; shares nearer than this are equal, and less than this of a link is nothing."""
_TICK_SLACK = 1e-3
_ROUNDING = 1e-15
CANCELLED = 1e-3
"""A difference this small beside what was taken away has lost digits: sum anew."""


@handler
def solve_all(S: Any, now: int) -> None:
    """Rate all bundles anew."""
    net = S.net[0]
    net.full_solves += 1
    net.since_full = 0
    for k in range(net.active):
        c = S.active[k]
        b = S.bundle[c]
        b.state = OPEN
        b.bottleneck = NO_LINK
        b.rate = 0.0
        if b.cap < np.inf or b.first == b.last:
            heap_put(S.shares, S.share_place, S.share_count, net.links + c, b.cap)
    net.unfixed = net.active
    net.thawed += net.active
    for link in range(net.links):
        y = S.link[link]
        y.left = y.capacity
        y.bound = 0
        y.checked = net.stamp
        y.unfixed = y.crossing
        y.open = 0.0
        for k in range(y.first, y.first + y.crossing):
            y.open += S.bundle[S.cross[k].bundle].weight
        if y.crossing > 0:
            heap_put(S.shares, S.share_place, S.share_count, link, share_of(S, link))
    fill(S, now)


@handler
def fill(S: Any, now: int) -> None:
    """Rate all open bundles; thaw held ones where their rates cannot stand."""
    net = S.net[0]
    n_links = net.links
    while S.share_count[0] > 0:
        if net.unfixed == 0 and not _unsure(S):
            heap_clear(S.shares, S.share_place, S.share_count)
            break
        id = S.shares[0].id
        if id >= n_links:
            heap_drop(S.shares, S.share_place, S.share_count, id)
            if S.bundle[id - n_links].state == OPEN:
                _rate(S, id - n_links, S.bundle[id - n_links].cap, CAPPED, now)
            continue
        key = next_level(S, id)
        if key > S.shares[0].key or not _meet(S, id, now):
            requeue(S, id)


@handler
def share_of(S: Any, link: int) -> float:
    """What a link has left for each unit of weight of its unrated bundles, inf without any."""
    y = S.link[link]
    if y.unfixed == 0:
        return np.inf
    if y.capacity <= 0.0:
        return 0.0
    return max(0.0, y.left) / y.open


@handler
def next_level(S: Any, link: int) -> float:
    """The level of filling at which a link has to be looked at: inf if never."""
    y = S.link[link]
    share = share_of(S, link)
    if y.bound > 0 and y.checked != S.net[0].stamp:
        return min(share, y.level)
    return share


@handler
def requeue(S: Any, link: int) -> None:
    """Put a link where it belongs in the heap, or take it out if nothing can happen there."""
    key = next_level(S, link)
    if key == np.inf:
        heap_drop(S.shares, S.share_place, S.share_count, link)
    else:
        heap_put(S.shares, S.share_place, S.share_count, link, key)


@handler
def thaw(S: Any, c: int, here: int) -> None:
    """Take a held bundle's rate back: it is to be rated anew.

    The link `here` is put back into the heap by the caller, -1: none is.
    """
    b = S.bundle[c]
    if b.bottleneck >= 0:
        S.link[b.bottleneck].bound -= 1
    b.bottleneck = NO_LINK
    b.state = OPEN
    S.net[0].unfixed += 1
    S.net[0].thawed += 1
    for j in range(b.first, b.last):
        link = S.route[j]
        y = S.link[link]
        y.left += b.rate
        y.open += b.weight
        y.unfixed += 1
        if link != here:
            key = next_level(S, link)
            place = S.share_place[link]
            if place < 0 or key < S.shares[place].key:
                heap_put(S.shares, S.share_place, S.share_count, link, key)
    b.rate = 0.0
    if b.cap < np.inf or b.first == b.last:
        heap_put(S.shares, S.share_place, S.share_count, S.net[0].links + c, b.cap)


@handler
def _meet(S: Any, link: int, now: int) -> bool:
    """The level has reached the link. Whether it is done with; else it has to be put back."""
    y = S.link[link]
    stamp = S.net[0].stamp
    share = share_of(S, link)
    if y.bound > 0 and y.checked != stamp and share > y.level * (1.0 + EPS):
        # It would give those it holds back more, or does not hold them back any longer.
        y.checked = stamp
        if y.unfixed > 0 or y.left > EPS * y.capacity:
            _thaw_bound(S, link)
        return False
    known = y.checked == stamp or (y.bound > 0 and share >= y.level * (1.0 - EPS))
    if not known and _thaw_larger(S, link, share * (1.0 + EPS)):
        return False
    _rate_link(S, link, share, now)
    heap_drop(S.shares, S.share_place, S.share_count, link)
    return True


@handler
def _thaw_bound(S: Any, link: int) -> None:
    """Thaw the bundles that the link holds back."""
    y = S.link[link]
    for k in range(y.first, y.first + y.crossing):
        c = S.cross[k].bundle
        b = S.bundle[c]
        if b.state == HELD and b.bottleneck == link and b.rated != S.net[0].stamp:
            thaw(S, c, link)


@handler
def _thaw_larger(S: Any, link: int, most: float) -> bool:
    """Thaw the bundles on the link whose share is above what the link has for others."""
    y = S.link[link]
    found = False
    for k in range(y.first, y.first + y.crossing):
        c = S.cross[k].bundle
        b = S.bundle[c]
        if b.state == HELD and b.share > most and b.rated != S.net[0].stamp:
            thaw(S, c, link)
            found = True
    return found


@handler
def _rate_link(S: Any, link: int, share: float, now: int) -> None:
    """The link sets the share of its open bundles."""
    y = S.link[link]
    if S.net[0].uneven:
        share = _exact_share(S, link)
    # Bundles that it held back before are within EPS: the oldest level stays, so none can drift.
    y.level = min(y.level, share) if y.bound > 0 else share
    y.checked = S.net[0].stamp
    for k in range(y.first, y.first + y.crossing):
        c = S.cross[k].bundle
        if S.bundle[c].state == OPEN:
            _rate(S, c, share, link, now)


@handler
def _rate(S: Any, c: int, share: float, bottleneck: int, now: int) -> None:
    """Give an open bundle its share."""
    b = S.bundle[c]
    b.state = HELD
    b.bottleneck = bottleneck
    b.rated = S.net[0].stamp
    b.rate = b.weight * share
    S.net[0].unfixed -= 1
    for j in range(b.first, b.last):
        y = S.link[S.route[j]]
        y.left -= b.rate
        y.unfixed -= 1
        y.open -= b.weight
        if y.open < CANCELLED * b.weight:
            y.open = _open_weight(S, S.route[j])
    if bottleneck >= 0:
        S.link[bottleneck].bound += 1
    if share != b.share:
        pull(S, c, now)
        b.share = share
        set_end(S, c)
    elif b.dirty:
        set_end(S, c)


@handler
def _exact_share(S: Any, link: int) -> float:
    """`share_of` from sums made anew: unequal weights leave rounding errors in running ones."""
    y = S.link[link]
    y.open = _open_weight(S, link)
    y.left = y.capacity
    for k in range(y.first, y.first + y.crossing):
        b = S.bundle[S.cross[k].bundle]
        if b.state == HELD:
            y.left -= b.rate
    return share_of(S, link)


@handler
def _open_weight(S: Any, link: int) -> float:
    """Weight of a link's open bundles, summed anew."""
    y = S.link[link]
    total = 0.0
    if y.unfixed > 0:
        for k in range(y.first, y.first + y.crossing):
            b = S.bundle[S.cross[k].bundle]
            if b.state == OPEN:
                total += b.weight
    return total


@handler
def _unsure(S: Any) -> bool:
    """Whether a link in the heap holds bundles back though it has capacity left."""
    stamp = S.net[0].stamp
    for k in range(S.share_count[0]):
        id = S.shares[k].id
        if id < S.net[0].links:
            y = S.link[id]
            if y.bound > 0 and y.checked != stamp and y.left > EPS * y.capacity:
                return True
    return False


@handler
def pull(S: Any, c: int, now: int) -> None:
    """Bring what a bundle has moved up to now."""
    b = S.bundle[c]
    if now > b.since:
        b.work += b.share * (now - b.since)
        b.since = now


@handler
def set_end(S: Any, c: int) -> None:
    """Note when the next flow of a bundle ends; it has one."""
    b = S.bundle[c]
    heap_put(S.ends, S.end_place, S.end_count, c, end_tick(S, c, b.since))


@handler
def end_tick(S: Any, c: int, since: int) -> int:
    """The first whole tick at which the bundle's next flow has nothing left, NEVER if none.

    What a thousandth of a tick would move counts as nothing: float64 resolves no more.
    """
    b = S.bundle[c]
    left = S.member[b.member_first].level - b.work
    if left <= 0.0:
        return since
    if b.share <= 0.0:
        return np.int64(NEVER)
    length = left / b.share
    if length > float(NEVER - since):
        return np.int64(NEVER)
    return since + max(np.int64(0), np.int64(np.ceil(length - _TICK_SLACK - length * _ROUNDING)))
