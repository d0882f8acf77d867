"""In which order the evictable blocks of a replica go.

Least recently released first: a doubly linked list through the slots. With an `evict` policy: a
binary heap of slots by (score, order of release); `place` finds a slot in it, so that a block that
is held again leaves in O(log n), and one whose score changes moves.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler

from .queues import ERROR_SCORE, fail_request

NOWHERE = -1


@handler
def make_evictable(S: Any, r: int, slot: int, i: int, depth: int, behind: int, now: int) -> None:
    """The last holder of a block, request i, has released it with `behind` blocks behind it."""
    x = S.rep[r]
    x.evictable += 1
    if S.par[0].default_evict:
        start = r * S.par[0].block_stride
        S.slots[start + slot].previous = x.lru_tail
        S.slots[start + slot].next = NOWHERE
        if x.lru_tail >= 0:
            S.slots[start + x.lru_tail].next = slot
        else:
            x.lru_head = slot
        x.lru_tail = slot
    else:
        _score_push(S, r, slot, i, depth, behind, now)


@handler
def stop_evictable(S: Any, r: int, slot: int) -> None:
    """A block is held again, or evicted."""
    x = S.rep[r]
    x.evictable -= 1
    if S.par[0].default_evict:
        start = r * S.par[0].block_stride
        a = np.int64(S.slots[start + slot].previous)
        b = np.int64(S.slots[start + slot].next)
        if a >= 0:
            S.slots[start + a].next = b
        else:
            x.lru_head = b
        if b >= 0:
            S.slots[start + b].previous = a
        else:
            x.lru_tail = a
    else:
        _score_remove(S, r, slot)


@handler
def first_victim(S: Any, r: int) -> int:
    """The slot whose block is evicted now; there must be one."""
    x = S.rep[r]
    if S.par[0].default_evict:
        return np.int64(x.lru_head)
    start = r * S.par[0].block_stride
    slot = np.int64(S.evict_heap[start])
    x.last_evicted = S.scores[start + slot].score
    return slot


@handler
def _score_push(S: Any, r: int, slot: int, i: int, depth: int, behind: int, now: int) -> None:
    """Ask the evict policy for the block's score and put it into the replica's heap."""
    g = S.glob[0]
    place = r * S.par[0].block_stride + slot
    if S.par[0].wanted:
        kept = S.releases[place]
        kept.released = now
        kept.depth = depth
        kept.behind = behind
    _ask_score(S, r, slot, i, now, depth, behind)
    S.scores[place].released = g.releases
    g.releases += 1
    _score_up(S, r, slot, S.rep[r].evictable - 1)


@handler
def score_again(S: Any, r: int, slot: int, i: int) -> None:
    """Ask anew for the score of an evictable block: request i, which wants it, came or went.

    Its place in the order of release stays. Only where `par.wanted` is set.
    """
    place = r * S.par[0].block_stride + slot
    kept = S.releases[place]
    _ask_score(S, r, slot, i, np.int64(kept.released), np.int64(kept.depth), np.int64(kept.behind))
    _score_settle(S, r, slot, S.scores[place].place)


@handler
def _ask_score(S: Any, r: int, slot: int, i: int, released: int, depth: int, behind: int) -> None:
    """Show the policy a block: one row serves for all, the tables of slots stay small."""
    p = S.par[0]
    place = r * p.block_stride + slot
    note = S.notes[place]
    s = S.scores[place]
    row = S.blocks[0]
    row.released = released
    row.made = note.made
    row.score = s.score if note.seen >= 0 else -np.inf
    row.last_evicted = S.rep[r].last_evicted
    row.hits = note.hits
    row.new_hits = note.hits - max(note.seen, 0)
    row.depth = depth
    row.tokens_before = depth * p.block_tokens
    row.tokens_after = behind * p.block_tokens
    if p.wanted:
        row.wanted = S.releases[place].wanted
    c = S.ctx[0]
    c.now = S.glob[0].now
    c.replica = r
    c.request = i
    s.score = S.evict(row, c, S.evict_params, S.evict_memory)
    if s.score != s.score:
        fail_request(S, ERROR_SCORE, i, r)
    note.seen = note.hits


@handler
def _score_before(S: Any, a: int, b: int) -> bool:
    x = S.scores[a]
    y = S.scores[b]
    return x.score < y.score or (x.score == y.score and x.released < y.released)


@handler
def _score_up(S: Any, r: int, slot: int, place: int) -> None:
    start = r * S.par[0].block_stride
    heap = S.evict_heap
    while place > 0:
        parent = (place - 1) >> 1
        above = np.int64(heap[start + parent])
        if not _score_before(S, start + slot, start + above):
            break
        heap[start + place] = above
        S.scores[start + above].place = place
        place = parent
    heap[start + place] = slot
    S.scores[start + slot].place = place


@handler
def _score_remove(S: Any, r: int, slot: int) -> None:
    """Take the slot out of the heap, whose size has been lowered already."""
    start = r * S.par[0].block_stride
    last = np.int64(S.evict_heap[start + S.rep[r].evictable])
    if last != slot:
        _score_settle(S, r, last, S.scores[start + slot].place)


@handler
def _score_settle(S: Any, r: int, slot: int, place: int) -> None:
    """Put the slot where it belongs, from a place of the heap that is free for it."""
    start = r * S.par[0].block_stride
    heap = S.evict_heap
    n = S.rep[r].evictable
    while True:
        child = 2 * place + 1
        if child >= n:
            break
        if child + 1 < n and _score_before(
            S, start + np.int64(heap[start + child + 1]), start + np.int64(heap[start + child])
        ):
            child += 1
        below = np.int64(heap[start + child])
        if not _score_before(S, start + below, start + slot):
            break
        heap[start + place] = below
        S.scores[start + below].place = place
        place = child
    _score_up(S, r, slot, place)
