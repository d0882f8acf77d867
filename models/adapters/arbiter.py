"""One budget of bytes for KV, adapters and experts: who gets how much?

Objects of several classes are asked for one after the other; each has a size and a cost in ns (to
load it, or to compute it anew). `sharing` is one of

- `static`: each class has a fixed share and evicts its own least recently used.
- `marginal`: as static, but every `every` requests `step` bytes go from the class for which more
  memory would have helped least to the one for which it would have helped most, if that is more.
  What more memory would have helped is the cost of the misses since the last move that found their
  object in the class's ghost list: names of what was evicted last, up to `step` bytes of it. Where
  hit curves are concave this climbs to shares of equal marginal benefit (Cidon et al.,
  "Cliffhanger", NSDI 2016, section 4, whose shadow queues these are; there memory moves at every
  shadow hit, from a class drawn at random).
- `pool`: one order for all: the object of the least H = L + count cost / size goes, L being the H
  of the last one to go (GDSF, see `paging`): cost per byte, and age.

What a request asks for is pinned until its end. An object that cannot have room (larger than its
class may hold, or all the rest pinned) passes through without being kept.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mltwin.sim.errors import InputError
from mltwin.sim.jit import handler, kernel, types
from mltwin.sim.world import World, world_type

Ints = NDArray[np.int64]

SHARINGS = ("static", "marginal", "pool")
"""Ways to divide the budget, by name; the place is the code in the kernel."""
STATIC, MARGINAL, POOL = range(len(SHARINGS))

G_NAMES = ("cursor", "sharing", "classes", "budget", "step", "every", "heap", "moves", "next_move")
G = {name: place for place, name in enumerate(G_NAMES)}
PER_CLASS = (
    *("capacity", "used", "hits", "misses", "passed", "bytes_in", "bytes_out", "ghost_used"),
    *("benefit", "miss_cost"),
)

_LISTS = ("up", "down", "ghost_up", "ghost_down", "place", "heap_ids", "count", "stamp")
WORLD = world_type(
    {
        **dict.fromkeys(("request", "object", "kind", "size", "cost"), np.dtype(np.int64)),
        **dict.fromkeys(_LISTS, np.dtype(np.int64)),
        **dict.fromkeys(PER_CLASS, np.dtype(np.int64)),
        "held": np.dtype(np.int8),
        "ghost": np.dtype(np.int8),
        "hit": np.dtype(np.int8),
        "score": np.dtype(np.float64),
        "inflation": np.dtype(np.float64),
        "history": np.dtype(np.int64),
        "g": np.dtype(np.int64),
    }
)


@dataclass(frozen=True, eq=False)
class SharedInput:
    """References to objects of several classes.

    Attributes:
        request: int64[n] number of the request of each reference, non-decreasing from 0.
        object: int64[n] what is asked for.
        kind: int64[m] class of each object.
        size, cost: int64[m] bytes, and ns of a miss.
        capacity: int64[classes] bytes that each class may hold at first; they add up to the budget.
        sharing: place in `SHARINGS`.
        step, every: bytes and requests of `marginal`.
    """

    request: Ints
    object: Ints
    kind: Ints
    size: Ints
    cost: Ints
    capacity: Ints
    sharing: int = POOL
    step: int = 1
    every: int = 1

    @property
    def budget(self) -> int:
        """Bytes in all."""
        return int(self.capacity.sum())

    @property
    def requests(self) -> int:
        """How many there are."""
        return int(self.request[-1]) + 1 if len(self.request) else 0

    def check(self) -> None:
        """Raises InputError for what does not fit together."""
        if not len(self.request) or np.any(np.diff(self.request) < 0) or self.request[0] < 0:
            raise InputError("requests go back, or there are none", where="request")
        if not 0 <= self.object.min() <= self.object.max() < len(self.kind):
            raise InputError("a reference is to no object", where="object")
        if not 0 <= self.kind.min() <= self.kind.max() < len(self.capacity):
            raise InputError("an object is of no class", where="kind")
        if self.size.min() < 1 or self.cost.min() < 0 or self.capacity.min() < 0:
            raise InputError("sizes must be 1 or more, costs and shares 0 or more", where="size")
        if self.step < 1 or self.every < 1 or not 0 <= self.sharing < len(SHARINGS):
            raise InputError("step and every must be 1 or more", where="step")


@dataclass(frozen=True, eq=False)
class SharedOutcome:
    """What a replay leaves.

    Attributes:
        hit: int8[n].
        classes: for each name of `PER_CLASS`, int64[classes] at the end.
        history: int64[rows, 1 + classes]: request and bytes held of each class, every `every`.
        moves: how often bytes changed hands.
        held: ids of the objects in memory at the end.
    """

    hit: NDArray[np.int8]
    classes: dict[str, Ints]
    history: Ints
    moves: int
    held: Ints


_CURSOR, _SHARING, _CLASSES, _BUDGET = (G[k] for k in ("cursor", "sharing", "classes", "budget"))
_STEP, _EVERY, _HEAP, _MOVES, _NEXT = (
    G[k] for k in ("step", "every", "heap", "moves", "next_move")
)


@handler
def _push_front(up: Any, down: Any, front: int, x: int) -> None:
    up[x] = front
    down[x] = down[front]
    up[down[front]] = x
    down[front] = x


@handler
def _take_out(up: Any, down: Any, x: int) -> None:
    down[up[x]] = down[x]
    up[down[x]] = up[x]


@handler
def _less(S: Any, x: int, y: int) -> bool:
    return S.score[x] < S.score[y] or (S.score[x] == S.score[y] and x < y)


@handler
def _settle(S: Any, place: int) -> None:
    """Restore the heap's order around one place."""
    heap = S.heap_ids
    x = heap[place]
    while place > 0 and _less(S, x, heap[(place - 1) >> 1]):
        heap[place] = heap[(place - 1) >> 1]
        S.place[heap[place]] = place
        place = (place - 1) >> 1
    count = S.g[_HEAP]
    while True:
        child = 2 * place + 1
        if child >= count:
            break
        if child + 1 < count and _less(S, heap[child + 1], heap[child]):
            child += 1
        if not _less(S, heap[child], x):
            break
        heap[place] = heap[child]
        S.place[heap[place]] = place
        place = child
    heap[place] = x
    S.place[x] = place


@handler
def _heap_out(S: Any, x: int) -> None:
    g = S.g
    place = S.place[x]
    g[_HEAP] -= 1
    last = S.heap_ids[g[_HEAP]]
    S.place[x] = -1
    if last != x:
        S.heap_ids[place] = last
        S.place[last] = place
        _settle(S, place)


@handler
def _drop(S: Any, x: int) -> None:
    """Evict object x; its name joins its class's ghosts."""
    c = S.kind[x]
    front = len(S.kind) + c
    if S.g[_SHARING] == POOL:
        S.inflation[0] = S.score[x]
        _heap_out(S, x)
    else:
        _take_out(S.up, S.down, x)
    S.held[x] = 0
    S.count[x] = 0
    S.used[c] -= S.size[x]
    S.bytes_out[c] += S.size[x]
    if S.g[_SHARING] != MARGINAL:
        return
    _push_front(S.ghost_up, S.ghost_down, front, x)
    S.ghost[x] = 1
    S.ghost_used[c] += S.size[x]
    while S.ghost_used[c] > S.g[_STEP]:
        oldest = S.ghost_up[front]
        _forget(S, oldest)


@handler
def _forget(S: Any, x: int) -> None:
    _take_out(S.ghost_up, S.ghost_down, x)
    S.ghost[x] = 0
    S.ghost_used[S.kind[x]] -= S.size[x]


@handler
def _least_unpinned(S: Any, request: int) -> int:
    """The object of the heap to go, -1 if all are pinned. Pinned ones are few: a plain scan of
    those above it."""
    heap = S.heap_ids
    if S.g[_HEAP] == 0:
        return -1
    if S.stamp[heap[0]] != request:
        return heap[0]
    best = np.int64(-1)
    for place in range(S.g[_HEAP]):
        x = heap[place]
        if S.stamp[x] != request and (best < 0 or _less(S, x, best)):
            best = x
    return best


@handler
def _room(S: Any, x: int, request: int) -> bool:
    """Make room for x; whether there is. What is evicted before it turns out that there is not
    stays evicted."""
    c = S.kind[x]
    if S.g[_SHARING] == POOL:
        if S.size[x] > S.g[_BUDGET]:
            return False
        while _total(S) + S.size[x] > S.g[_BUDGET]:
            victim = _least_unpinned(S, request)
            if victim < 0:
                return False
            _drop(S, victim)
        return True
    front = len(S.kind) + c
    if S.size[x] > S.capacity[c]:
        return False
    while S.used[c] + S.size[x] > S.capacity[c]:
        victim = S.up[front]
        if victim == front or S.stamp[victim] == request:
            return False
        _drop(S, victim)
    return True


@handler
def _total(S: Any) -> int:
    total = np.int64(0)
    for c in range(S.g[_CLASSES]):
        total += S.used[c]
    return total


@handler
def _refer(S: Any, number: int) -> None:
    x = S.object[number]
    request = S.request[number]
    c = S.kind[x]
    pool = S.g[_SHARING] == POOL
    if S.held[x] == 1:
        S.hit[number] = 1
        S.hits[c] += 1
        S.stamp[x] = request
        S.count[x] += 1
        if pool:
            _rank(S, x)
            _settle(S, S.place[x])
        else:
            _take_out(S.up, S.down, x)
            _push_front(S.up, S.down, len(S.kind) + c, x)
        return
    S.misses[c] += 1
    S.miss_cost[c] += S.cost[x]
    if S.ghost[x] == 1:
        S.benefit[c] += S.cost[x]
        _forget(S, x)
    if not _room(S, x, request):
        S.passed[c] += 1
        return
    S.held[x] = 1
    S.stamp[x] = request
    S.count[x] = 1
    S.used[c] += S.size[x]
    S.bytes_in[c] += S.size[x]
    if pool:
        _rank(S, x)
        S.heap_ids[S.g[_HEAP]] = x
        S.place[x] = S.g[_HEAP]
        S.g[_HEAP] += 1
        _settle(S, S.place[x])
    else:
        _push_front(S.up, S.down, len(S.kind) + c, x)


@handler
def _rank(S: Any, x: int) -> None:
    S.score[x] = S.inflation[0] + float(S.count[x]) * float(S.cost[x]) / float(S.size[x])


@handler
def _move(S: Any) -> None:
    """marginal: `step` bytes from the class of the least benefit to that of the greatest."""
    g = S.g
    donor, taker = np.int64(-1), np.int64(0)
    for c in range(g[_CLASSES]):
        if S.benefit[c] > S.benefit[taker]:
            taker = np.int64(c)
    for c in range(g[_CLASSES]):
        rich = c != taker and S.capacity[c] >= g[_STEP]
        if rich and (donor < 0 or S.benefit[c] < S.benefit[donor]):
            donor = np.int64(c)
    if donor >= 0 and S.benefit[donor] < S.benefit[taker]:
        g[_MOVES] += 1
        S.capacity[donor] -= g[_STEP]
        S.capacity[taker] += g[_STEP]
        while S.used[donor] > S.capacity[donor]:
            _drop(S, S.up[len(S.kind) + donor])
    for c in range(g[_CLASSES]):
        S.benefit[c] = 0


@handler
def _between(S: Any, request: int) -> None:
    """After `every` requests: note what is held, and move."""
    g = S.g
    row = (request // g[_EVERY] - 1) * (1 + g[_CLASSES])
    S.history[row] = request
    for c in range(g[_CLASSES]):
        S.history[row + 1 + c] = S.used[c]
    if g[_SHARING] == MARGINAL:
        _move(S)


@kernel(types.int64(WORLD, types.int64))
def advance_shared(S: Any, until: int) -> int:
    """Replay the references up to number `until`; how many were replayed."""
    g = S.g
    while g[_CURSOR] < min(until, len(S.object)):
        number = g[_CURSOR]
        while S.request[number] >= g[_NEXT]:
            _between(S, g[_NEXT])
            g[_NEXT] += g[_EVERY]
        _refer(S, number)
        g[_CURSOR] = number + 1
    return g[_CURSOR]


def make_shared(given: SharedInput) -> Any:
    """The World of an input."""
    objects, classes = len(given.kind), len(given.capacity)
    rows = objects + classes
    heads = np.arange(rows, dtype=np.int64)
    history = max(1, given.requests // given.every)
    per_class = {name: np.zeros(classes, np.int64) for name in PER_CLASS}
    per_class["capacity"] = given.capacity.astype(np.int64).copy()
    g = np.zeros(len(G), np.int64)
    for name in ("sharing", "budget", "step", "every"):
        g[G[name]] = getattr(given, name)
    g[G["classes"]], g[G["next_move"]] = classes, given.every
    columns = {name: getattr(given, name) for name in ("request", "object", "kind", "size", "cost")}
    return World(
        **{name: np.ascontiguousarray(column, np.int64) for name, column in columns.items()},
        **{name: heads.copy() for name in ("up", "down", "ghost_up", "ghost_down")},
        **{name: np.zeros(objects, np.int64) for name in ("heap_ids", "count")},
        **{name: np.full(objects, -1, np.int64) for name in ("place", "stamp")},
        **{name: np.zeros(objects, np.int8) for name in ("held", "ghost")},
        **per_class,
        hit=np.zeros(len(given.object), np.int8),
        score=np.zeros(objects),
        inflation=np.zeros(1),
        history=np.zeros(history * (1 + classes), np.int64),
        g=g,
    )


def replay_shared(given: SharedInput) -> SharedOutcome:
    """Replay all references of an input.

    Raises InputError for an input that does not fit together.
    """
    given.check()
    S = make_shared(given)
    advance_shared(S, len(given.object))
    rows = S.history.reshape(-1, 1 + len(given.capacity))
    return SharedOutcome(
        hit=S.hit,
        classes={name: getattr(S, name).copy() for name in PER_CLASS},
        history=rows[rows[:, 0] > 0],
        moves=int(S.g[G["moves"]]),
        held=np.flatnonzero(S.held),
    )
