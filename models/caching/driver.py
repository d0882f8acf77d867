"""What happens at a request, made from the parts that a policy gives.

A policy is five handlers on rows (`tables`), which keep its own structures and `S.queue[x]`:

- ``hit(S, x)``: resident x was asked for;
- ``miss(S, x)``: absent x, of size ``S.extent[x]``, is about to enter (adapt to ghosts here);
- ``make_room(S, x)``: take one object out for x and return its row, NONE where there is none;
- ``insert(S, x)``: x enters; sets ``S.queue[x]`` to a mark other than 0;
- ``drop(S, x)``: resident x leaves without being evicted (expired, removed, pinned).

`make_room` and `drop` leave ``S.queue`` to the driver, which sets it to 0 afterwards; in `drop` it
still says where x was. A pinned object is taken out of the structures (as vLLM takes a block that
is held out of its free list) and comes back by `insert` when its last holder lets it go.
"""

from typing import Any, NamedTuple

import numpy as np

from mltwin.sim.jit import handler

from .admission import admits, note_request
from .tables import HIT, MISS, NEVER, NONE, REFUSED, REMOVED, TINY_LFU

REQUEST, FIND, FILL, REMOVE, PIN, UNPIN = range(6)
"""What `perform` does."""
PINNED = 255
"""`S.queue` of an object that is held."""


class Steps(NamedTuple):
    """The handlers of one policy, to be called from its kernels.

    access(S, x): 1 for a hit; objects of size 1, no expiry, no pins, everything admitted.
    request(S, x, size, now, ttl): HIT, MISS or REFUSED; the full form, `find` and then `fill`.
        A size below 0 asks for x to be removed: REMOVED, whether it was there or not. A ttl below 0
        says that x is written: ``~ttl`` begins anew where x is there.
    find(S, x, size, now): 1 if x is there and fresh; touches it.
    fill(S, x, size, now, ttl): take x in, evicting others; MISS or REFUSED.
    remove(S, x): take x out if it is there and not pinned; 1 if it was.
    pin(S, x), unpin(S, x): hold a resident x against eviction, let it go again.
    perform(S, what, x, size, now, ttl): any of these by number (REQUEST ...), for a caller that
        binds a policy as a first-class function.
    peeks: whether the policy says whom it would evict.
    """

    access: Any
    request: Any
    find: Any
    fill: Any
    remove: Any
    pin: Any
    unpin: Any
    perform: Any
    peeks: bool


@handler
def nothing(S: Any, x: Any) -> None:
    """A part that does nothing."""


@handler
def nobody(S: Any, x: Any) -> Any:
    """A `peek` of a policy that cannot say whom it would evict."""
    return np.uint64(NONE)


@handler
def expel(S: Any, y: Any) -> None:
    """Book-keeping for resident y, which the policy has taken out: it is evicted.

    The driver calls it after `make_room`; a policy that makes room within one of its parts at
    another time (in `hit`, in `insert`) calls it itself.
    """
    S.queue[y] = 0
    totals = S.tot[0]
    totals.resident -= 1
    if len(S.extent) > 1:
        totals.used -= S.extent[y]
        totals.evicted += 1
        totals.evicted_size += S.extent[y]
        S.victims[totals.victims] = y
        totals.victims += 1


@handler
def unmoved(S: Any, x: Any, change: int) -> None:
    """A `resize` of a policy that keeps no sums of sizes."""


def make_steps(
    *,
    hit: Any,
    make_room: Any,
    insert: Any,
    drop: Any,
    miss: Any = nothing,
    peek: Any = nobody,
    resize: Any = unmoved,
    counts: bool = False,
    refuses: bool = False,
) -> Steps:
    """The steps of a policy from its parts; ``peek(S, x)`` gives the next victim, untouched.

    ``resize(S, x, change)`` hears that resident x, about to be hit, has grown by so much.

    counts: whether it reads ``S.tot[0].clock``, the requests so far with this one (the full form
        always counts them).
    refuses: whether `make_room` may give NONE in a cache of unit objects, to keep x out.
    """

    @handler
    def access(S: Any, x: Any) -> int:
        if counts:
            S.tot[0].clock += 1
        if S.queue[x] != 0:
            hit(S, x)
            return 1
        miss(S, x)
        totals = S.tot[0]
        if totals.resident >= S.par[0].capacity:
            victim = make_room(S, x)
            if refuses and victim == NONE:
                return 0
            S.queue[victim] = 0
        else:
            totals.resident += 1
        insert(S, x)
        return 0

    @handler
    def leave(S: Any, x: Any) -> None:
        drop(S, x)
        S.queue[x] = 0
        totals = S.tot[0]
        totals.used -= S.extent[x]
        totals.resident -= 1
        totals.removed_size += S.extent[x]

    @handler
    def evict(S: Any, x: Any) -> Any:
        victim = make_room(S, x)
        if victim != NONE:
            expel(S, victim)
        return victim

    @handler
    def find(S: Any, x: Any, size: int, now: int) -> int:
        totals = S.tot[0]
        totals.victims = 0
        totals.clock += 1
        totals.now = now
        totals.asked_size += size
        note_request(S, x)
        if S.queue[x] == 0:
            totals.misses += 1
            return 0
        if S.queue[x] != PINNED:
            if S.expires[x] <= now:
                leave(S, x)
                totals.expired += 1
                totals.misses += 1
                return 0
            if S.extent[x] != size:
                totals.used += size - S.extent[x]
                totals.grown_size += size - S.extent[x]
                resize(S, x, size - S.extent[x])
                S.extent[x] = size
            hit(S, x)
        totals.hits += 1
        totals.hit_size += size
        while totals.used > S.par[0].capacity:
            if evict(S, x) == NONE:
                break
        return 1

    @handler
    def fill(S: Any, x: Any, size: int, now: int, ttl: int) -> int:
        totals = S.tot[0]
        totals.now = now
        totals.victims = 0
        settings = S.par[0]
        S.extent[x] = size
        victim = peek(S, x) if settings.admission == TINY_LFU else np.uint64(NONE)
        if size > settings.capacity or not admits(S, x, size, victim):
            totals.refused += 1
            return REFUSED
        miss(S, x)
        while totals.used + size > settings.capacity or totals.resident >= settings.max_objects:
            if evict(S, x) == NONE:
                totals.refused += 1
                return REFUSED
        insert(S, x)
        S.expires[x] = now + ttl if ttl > 0 else NEVER
        totals.used += size
        totals.resident += 1
        totals.inserted += 1
        totals.inserted_size += size
        return MISS

    @handler
    def remove(S: Any, x: Any) -> int:
        if S.queue[x] == 0 or S.queue[x] == PINNED:
            return 0
        leave(S, x)
        S.tot[0].removed += 1
        return 1

    @handler
    def request(S: Any, x: Any, size: int, now: int, ttl: int) -> int:
        if size < 0:
            S.tot[0].clock += 1
            remove(S, x)
            return REMOVED
        life = ~ttl if ttl < 0 else ttl
        if find(S, x, size, now):
            if ttl < 0 and S.queue[x] != 0:
                S.expires[x] = now + life if life > 0 else NEVER
            return HIT
        return fill(S, x, size, now, life)

    @handler
    def pin(S: Any, x: Any) -> None:
        if S.pins[x] == 0:
            drop(S, x)
            S.queue[x] = PINNED
            S.tot[0].pinned += 1
        S.pins[x] += 1

    @handler
    def unpin(S: Any, x: Any) -> None:
        S.pins[x] -= 1
        if S.pins[x] == 0:
            S.tot[0].pinned -= 1
            S.tot[0].victims = 0
            insert(S, x)

    @handler
    def perform(S: Any, what: int, x: Any, size: int, now: int, ttl: int) -> int:
        if what == REQUEST:
            return request(S, x, size, now, ttl)
        if what == FIND:
            return find(S, x, size, now)
        if what == FILL:
            return fill(S, x, size, now, ttl)
        if what == REMOVE:
            return remove(S, x)
        if what == PIN:
            pin(S, x)
        elif what == UNPIN:
            unpin(S, x)
        return 0

    return Steps(access, request, find, fill, remove, pin, unpin, perform, peek is not nobody)
