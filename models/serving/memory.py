"""Paged KV blocks of a replica, and the prefix cache among them.

blocks = free + evictable + pinned + private. Evictable and pinned blocks are *resident*: known by
their block id, held in slots. A private block belongs to one request and has no identity.

Residency is kept twice: a bit per replica for each block id (`holders`, read by routing and
matching) and a hash map from block id to slot per replica, sized to its capacity. Ids that belong
to one request (`name_blocks`), from `par.own_ids` on, are in the map only. In which order
evictable blocks go stands in `evicting`.
"""

from typing import Any

import numpy as np

from mltwin.sim.jit import handler

from .evicting import NOWHERE, first_victim, make_evictable, score_again, stop_evictable
from .stores import in_host, in_pool, store_clear, write_back, write_through
from .tables import SWAPPED


@handler
def blocks_for(S: Any, tokens: int) -> int:
    """Blocks that hold so many tokens."""
    b = S.par[0].block_tokens
    return (tokens + b - 1) // b


@handler
def is_resident(S: Any, r: int, block: int) -> bool:
    """Whether r holds a block under its id."""
    if block >= S.par[0].own_ids:
        return _in_map(S, r, block)
    word = S.holders[block * S.par[0].words + (r >> 6)]
    return (word >> np.uint64(r & 63)) & np.uint64(1) != np.uint64(0)


@handler
def _held_elsewhere(S: Any, r: int, block: int) -> bool:
    """Whether another replica than r has a block in its HBM."""
    words = S.par[0].words
    for w in range(words):
        held = S.holders[block * words + w]
        if w == r >> 6:
            held &= ~(np.uint64(1) << np.uint64(r & 63))
        if held != np.uint64(0):
            return True
    return False


@handler
def add_duplicates(S: Any) -> None:
    """A request is complete: the copies of blocks in HBM beyond the first are added up."""
    if S.par[0].stores:
        pool = S.stores[S.par[0].n_replicas]
        pool.duplicates_sum += pool.duplicates


@handler
def _mark_resident(S: Any, r: int, block: int, resident: bool) -> None:
    if block >= S.par[0].own_ids:
        return  # only its request asks for it, and looks into the map
    if S.par[0].stores and _held_elsewhere(S, r, block):
        S.stores[S.par[0].n_replicas].duplicates += 1 if resident else -1
    place = block * S.par[0].words + (r >> 6)
    bit = np.uint64(1) << np.uint64(r & 63)
    if resident:
        S.holders[place] = S.holders[place] | bit
    else:
        S.holders[place] = S.holders[place] & ~bit


@handler
def _bucket(S: Any, block: int) -> int:
    return ((np.int64(block) * 2654435761) & 0xFFFFFFFF) >> S.par[0].map_shift


@handler
def _find_slot(S: Any, r: int, block: int) -> int:
    """Slot of a resident block."""
    p = S.par[0]
    start = r * p.map_slots
    place = _bucket(S, block)
    while S.map_block[start + place] != block:
        place = (place + 1) & (p.map_slots - 1)
    return np.int64(S.map_slot[start + place])


@handler
def _in_map(S: Any, r: int, block: int) -> bool:
    """Whether the map of r has a block."""
    p = S.par[0]
    start = r * p.map_slots
    place = _bucket(S, block)
    while S.map_block[start + place] >= 0:
        if S.map_block[start + place] == block:
            return True
        place = (place + 1) & (p.map_slots - 1)
    return False


@handler
def _map_add(S: Any, r: int, block: int, slot: int) -> None:
    p = S.par[0]
    start = r * p.map_slots
    place = _bucket(S, block)
    while S.map_block[start + place] >= 0:
        place = (place + 1) & (p.map_slots - 1)
    S.map_block[start + place] = block
    S.map_slot[start + place] = slot


@handler
def _map_remove(S: Any, r: int, block: int) -> None:
    """Linear probing without tombstones: later entries move up (Knuth, TAOCP 6.4, algorithm R)."""
    p = S.par[0]
    start = r * p.map_slots
    mask = p.map_slots - 1
    hole = _bucket(S, block)
    while S.map_block[start + hole] != block:
        hole = (hole + 1) & mask
    place = hole
    while True:
        place = (place + 1) & mask
        other = np.int64(S.map_block[start + place])
        if other < 0:
            break
        if ((place - _bucket(S, other)) & mask) >= ((place - hole) & mask):
            S.map_block[start + hole] = other
            S.map_slot[start + hole] = S.map_slot[start + place]
            hole = place
    S.map_block[start + hole] = NOWHERE


@handler
def take_blocks(S: Any, r: int, n: int) -> None:
    """Claim n blocks; evicts where no free ones are left. free + evictable must suffice."""
    x = S.rep[r]
    if n <= x.free:
        x.free -= n
        return
    n -= x.free
    x.free = 0
    start = r * S.par[0].block_stride
    S.glob[0].evictions += n
    for _ in range(n):
        slot = first_victim(S, r)
        block = np.int64(S.slots[start + slot].block)
        stop_evictable(S, r, slot)
        _map_remove(S, r, block)
        _mark_resident(S, r, block, False)
        S.free_slot[start + x.free_slots] = slot
        x.free_slots += 1
        if S.par[0].write_back and block < S.par[0].own_ids:
            write_back(S, r, block)


@handler
def _block_of(S: Any, i: int, first: int, j: int) -> int:
    """Id of block j of request i, whose ids start at `first`: the trace's, or one of its own."""
    if S.par[0].has_own and j >= S.req[i].n_ids:
        return np.int64(S.own[i]) + j - S.req[i].n_ids
    return np.int64(S.block_ids[first + j])


@handler
def _ids_known(S: Any, i: int) -> int:
    """How many leading blocks of request i have ids."""
    known = np.int64(S.req[i].n_ids)
    if S.par[0].has_own and S.own[i] >= 0:
        tokens = np.int64(S.info[i].prompt) + S.req[i].output
        known = max(known, tokens // S.par[0].block_tokens)
    return known


@handler
def name_blocks(S: Any, i: int) -> None:
    """Give request i ids of its own for the blocks that the trace does not name."""
    if S.own[i] < 0:
        S.own[i] = S.glob[0].own_cursor
        S.glob[0].own_cursor += _ids_known(S, i) - S.req[i].n_ids


@handler
def _prefix_limit(S: Any, i: int) -> int:
    """How many leading blocks request i may find: one token is computed in any case."""
    return min(_ids_known(S, i), (np.int64(S.req[i].need) - 1) // S.par[0].block_tokens)


@handler
def match_prefix(S: Any, r: int, i: int) -> tuple[int, int]:
    """(leading resident blocks of request i on r, how many of them are evictable)."""
    start = r * S.par[0].block_stride
    limit = _prefix_limit(S, i)
    hit = np.int64(0)
    evictable = np.int64(0)
    first = S.block_start[i]
    while hit < limit:
        block = _block_of(S, i, first, hit)
        if not is_resident(S, r, block):
            break
        if S.slots[start + _find_slot(S, r, block)].references == 0:
            evictable += 1
        hit += 1
    return hit, evictable


@handler
def _reference(S: Any, r: int, block: int) -> None:
    """One more request holds a resident block."""
    slot = _find_slot(S, r, block)
    start = r * S.par[0].block_stride
    if S.slots[start + slot].references == 0:
        stop_evictable(S, r, slot)
    S.slots[start + slot].references += 1
    if not S.par[0].default_evict:
        S.notes[start + slot].hits += 1


@handler
def pin_prefix(S: Any, r: int, i: int, hit: int) -> None:
    """Request i holds its first `hit` blocks by reference."""
    first = S.block_start[i] if hit > 0 else np.int64(0)
    for j in range(hit):
        _reference(S, r, _block_of(S, i, first, j))
    S.req[i].shared = hit


@handler
def _describe_block(S: Any, r: int, slot: int, block: int) -> None:
    """What an `evict` policy may know of a block that has just become resident."""
    p = S.par[0]
    place = r * p.block_stride + slot
    note = S.notes[place]
    note.made = S.glob[0].now
    note.hits = 0
    note.seen = -1
    if p.wanted:
        known = block < p.own_ids
        S.releases[place].wanted = S.demand[block * p.n_replicas + r] if known else 0


@handler
def count_wanted(S: Any, r: int, i: int, change: int) -> None:
    """Request i joins (change 1) or leaves (-1) the queue of r: the blocks that it may find there.

    The demand for the trace's blocks is counted whether or not they are resident, so that one that
    becomes resident knows it at once. Ids of its own only request i asks for, and while it waits
    none of them becomes resident. A swapped request looks for no prefix.
    """
    if S.req[i].state == SWAPPED:
        return
    p = S.par[0]
    start = r * p.block_stride
    first = S.block_start[i]
    for j in range(_prefix_limit(S, i)):
        block = _block_of(S, i, first, j)
        if block < p.own_ids:
            S.demand[block * p.n_replicas + r] += change
        if is_resident(S, r, block):
            slot = _find_slot(S, r, block)
            S.releases[start + slot].wanted += change
            if S.slots[start + slot].references == 0:
                score_again(S, r, slot, np.int64(i))


@handler
def share_blocks(S: Any, r: int, i: int, tokens: int) -> None:
    """Make the full blocks of the first `tokens` tokens resident; give duplicates back."""
    upto = min(_ids_known(S, i), tokens // S.par[0].block_tokens)
    if S.par[0].write_through:
        q = S.req[i]
        write_through(S, r, i, np.int64(q.shared), min(upto, np.int64(q.n_ids)))
    _share(S, r, i, upto)


@handler
def share_fetched(S: Any, r: int, i: int, upto: int) -> None:
    """The first `upto` blocks of request i, fetched from the stores, become resident on r."""
    first = S.block_start[i]
    for j in range(np.int64(S.req[i].shared), upto):
        if _held_elsewhere(S, r, np.int64(S.block_ids[first + j])):
            S.stores[S.par[0].n_replicas].copies += 1
    _share(S, r, i, upto)


@handler
def _share(S: Any, r: int, i: int, upto: int) -> None:
    q = S.req[i]
    x = S.rep[r]
    start = r * S.par[0].block_stride
    first = S.block_start[i]
    for j in range(np.int64(q.shared), upto):
        block = _block_of(S, i, first, j)
        if is_resident(S, r, block):
            _reference(S, r, block)
            x.free += 1
        else:
            x.free_slots -= 1
            slot = np.int64(S.free_slot[start + x.free_slots])
            S.slots[start + slot].block = block
            S.slots[start + slot].references = 1
            if not S.par[0].default_evict:
                _describe_block(S, r, slot, block)
            _map_add(S, r, block, slot)
            _mark_resident(S, r, block, True)
    if upto > q.shared:
        q.shared = upto


@handler
def release_blocks(S: Any, r: int, i: int, total: int, now: int) -> None:
    """Request i gives back its `total` blocks, those held by reference among them."""
    q = S.req[i]
    shared = np.int64(q.shared)
    S.rep[r].free += total - shared
    if shared == 0:
        return
    start = r * S.par[0].block_stride
    first = S.block_start[i]
    for j in range(shared - 1, -1, -1):
        slot = _find_slot(S, r, _block_of(S, i, first, j))
        S.slots[start + slot].references -= 1
        if S.slots[start + slot].references == 0:
            make_evictable(S, r, slot, np.int64(i), np.int64(j), shared - 1 - j, now)
    q.shared = 0


@handler
def count_hits(S: Any, i: int) -> None:
    """Fill `hits`: leading blocks of request i that are resident on each replica.

    With stores also, behind these: those in reach of each, resident or in its stores.
    """
    p = S.par[0]
    n = min(np.int64(S.req[i].n_ids), (np.int64(S.req[i].need) - 1) // p.block_tokens)
    hits = S.hits
    for word in range(p.words):
        low = word * 64
        high = min(low + 64, p.n_replicas)
        alive = ~np.uint64(0) >> np.uint64(64 - (high - low))
        for r in range(low, high):
            hits[r] = n
        for j in range(n):
            block = np.int64(S.block_ids[S.block_start[i] + j])
            still = alive & S.holders[block * p.words + word]
            gone = alive ^ still
            if gone != np.uint64(0):
                for r in range(low, high):
                    if (gone >> np.uint64(r - low)) & np.uint64(1) != np.uint64(0):
                        hits[r] = j
            alive = still
            if alive == np.uint64(0):
                break
    if p.stores:
        for r in range(p.n_replicas):
            hosted = in_host(S, r, i, np.int64(hits[r]), n)
            hits[p.n_replicas + r] = in_pool(S, i, hosted, n)


@handler
def clear_memory(S: Any, r: int) -> None:
    """All KV of a replica is lost, its cache too."""
    p = S.par[0]
    x = S.rep[r]
    x.free = S.kinds[x.kind].blocks
    x.evictable = 0
    x.lru_head = NOWHERE
    x.lru_tail = NOWHERE
    x.last_evicted = 0.0
    x.host_free = S.kinds[x.kind].host_blocks
    if p.stores:
        store_clear(S, r)
    if not p.caching:
        return
    for place in range(r * p.map_slots, (r + 1) * p.map_slots):
        if S.map_block[place] >= 0:
            _mark_resident(S, r, np.int64(S.map_block[place]), False)
            S.map_block[place] = NOWHERE
    x.free_slots = S.kinds[x.kind].blocks
    for slot in range(x.free_slots):
        S.free_slot[r * p.block_stride + slot] = slot
