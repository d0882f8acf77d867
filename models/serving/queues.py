"""Waiting queues and finish heaps.

A waiting queue is a pairing heap threaded through the requests themselves (`child`, `sibling`),
ordered by (key, id): no memory of its own, O(1) insertion. Cancelled requests stay in it until
they come to the head. A finish heap holds a replica's decoding requests as finish count << 32 | id,
where the count is the replica's decode counter G at which the request has all its tokens.

Fredman et al., "The pairing heap", Algorithmica 1 (1986).
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler

from .hooks import REKEY
from .tables import CANCELLED, REMOTE, SWAPPED, WAITING

ID_MASK = 0xFFFFFFFF


@handler
def before(S: Any, a: int, b: int) -> bool:
    """Whether request a is served before b."""
    key_a = S.info[a].key
    key_b = S.info[b].key
    return key_a < key_b or (key_a == key_b and a < b)


@handler
def _meld(S: Any, a: int, b: int) -> int:
    if a < 0:
        return b
    if b < 0:
        return a
    if before(S, b, a):
        a, b = b, a
    S.req[b].sibling = S.req[a].child
    S.req[a].child = b
    return a


@handler
def queue_push(S: Any, r: int, i: int) -> None:
    """Put request i, whose key is set, into the waiting queue of replica r."""
    S.req[i].child = -1
    S.req[i].sibling = -1
    S.rep[r].root = _meld(S, np.int64(S.rep[r].root), np.int64(i))


@handler
def queue_pop(S: Any, r: int) -> None:
    """Take the head, which must be there, out of the queue (two-pass melding)."""
    req = S.req
    child = np.int64(req[S.rep[r].root].child)
    pairs = np.int64(-1)
    while child >= 0:
        a = child
        b = np.int64(req[a].sibling)
        if b < 0:
            req[a].sibling = pairs
            pairs = a
            break
        child = np.int64(req[b].sibling)
        req[a].sibling = -1
        req[b].sibling = -1
        melded = _meld(S, a, b)
        req[melded].sibling = pairs
        pairs = melded
    root = np.int64(-1)
    while pairs >= 0:
        following = np.int64(req[pairs].sibling)
        req[pairs].sibling = -1
        root = _meld(S, root, pairs)
        pairs = following
    S.rep[r].root = root


@handler
def queue_head(S: Any, r: int) -> int:
    """The request to be served next, -1 if none waits."""
    x = S.rep[r]
    while x.root >= 0 and S.req[x.root].state == CANCELLED:
        queue_pop(S, r)
    return np.int64(x.root)


@handler
def queue_rekey(S: Any, r: int, now: int) -> None:
    """Ask `priority` again for every waiting request, in queue order, and rebuild the queue."""
    _rebuild(S, r, now, True)


@handler
def queue_filter(S: Any, r: int) -> None:
    """Rebuild the queue of r without the requests that have left it."""
    _rebuild(S, r, np.int64(0), False)


@handler
def _rebuild(S: Any, r: int, now: int, rekey: bool) -> None:
    x = S.rep[r]
    chain = np.int64(-1)
    tail = np.int64(-1)
    while x.root >= 0:
        i = np.int64(x.root)
        queue_pop(S, r)
        state = S.req[i].state
        if state != WAITING and state != REMOTE and state != SWAPPED:
            continue
        S.req[i].child = -1
        if chain < 0:
            chain = i
        else:
            S.req[tail].child = i
        tail = i
    while chain >= 0:
        i = chain
        chain = np.int64(S.req[i].child)
        if rekey:
            S.info[i].key = ask_priority(S, r, i, now, REKEY)
        queue_push(S, r, i)


@handler
def ask_priority(S: Any, r: int, i: int, now: int, event: int) -> float:
    """The key that the priority policy gives request i at replica r; NaN is an error."""
    c = S.ctx[0]
    c.now = now
    c.request = i
    c.replica = r
    c.event = event
    key = S.priority(S.info[i], S.tenants, c, S.priority_params, S.priority_memory)
    if key != key:
        fail_request(S, ERROR_KEY, i, r)
    return key


ERROR_KEY = 1
ERROR_SCORE = 6


@handler
def fail_request(S: Any, code: int, i: int, answer: int) -> None:
    """Stop the run: the first error is kept."""
    g = S.glob[0]
    if g.error == 0:
        g.error = code
        g.error_request = i
        g.error_answer = answer


@handler
def finish_push(S: Any, r: int, n: int, key: int) -> None:
    """Add key to the finish heap of r, which holds n keys."""
    start = r * S.par[0].batch_stride
    heap = S.finish_heap
    place = np.int64(n)
    while place > 0:
        parent = (place - 1) >> 1
        if heap[start + parent] <= key:
            break
        heap[start + place] = heap[start + parent]
        place = parent
    heap[start + place] = key


@handler
def _finish_sink(heap: Any, start: int, n: int, place: int, key: int) -> None:
    while True:
        child = 2 * place + 1
        if child >= n:
            break
        if child + 1 < n and heap[start + child + 1] < heap[start + child]:
            child += 1
        if heap[start + child] >= key:
            break
        heap[start + place] = heap[start + child]
        place = child
    heap[start + place] = key


@handler
def finish_pop(S: Any, r: int, n: int) -> None:
    """Remove the least of the n keys of r."""
    start = r * S.par[0].batch_stride
    if n > 1:
        _finish_sink(S.finish_heap, start, n - 1, np.int64(0), S.finish_heap[start + n - 1])


@handler
def finish_find(S: Any, r: int, i: int) -> int:
    """Place of request i, which must be decoding, in the finish heap of r: a linear search."""
    start = r * S.par[0].batch_stride
    place = np.int64(0)
    while S.finish_heap[start + place] & ID_MASK != i:
        place += 1
    return place


@handler
def finish_remove(S: Any, r: int, n: int, place: int) -> None:
    """Remove the key at place from the n keys of r."""
    start = r * S.par[0].batch_stride
    heap = S.finish_heap
    last = heap[start + n - 1]
    if place == n - 1:
        return
    while place > 0:
        parent = (place - 1) >> 1
        if heap[start + parent] <= last:
            break
        heap[start + place] = heap[start + parent]
        place = parent
    _finish_sink(heap, start, n - 1, place, last)
